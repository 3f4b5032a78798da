"""Addresses and endpoints: one spelling for each, and a clear error without what was pasted for everything else."""

from __future__ import annotations

import pytest

from presign import ConfigurationError
from presign.backends.addresses import Address, read_address, read_endpoint

EXAMPLE = "s3://bucket/prefix/?region=eu-central-1"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("s3://b", ("b", "", {})),
        ("s3://b/", ("b", "", {})),
        ("s3://b/a/b%20c/", ("b", "a/b%20c/", {})),
        ("s3://b/a/?region=x&flag=true", ("b", "a/", {"region": "x", "flag": "true"})),
        ("s3://b?region=a%3Ab", ("b", "", {"region": "a:b"})),
    ],
)
def test_an_address_is_taken_apart(url: str, address: tuple[str, str, dict[str, str]]) -> None:
    assert read_address(url, example=EXAMPLE, parameters={"region", "flag"}) == address


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("gs://b", "must look like s3://bucket/"),
        ("s3://[", "must look like s3://bucket/"),
        ("s3://bucket:port/", "must look like s3://bucket/"),
        ("s3://", "must look like s3://bucket/"),
        ("s3:///a", "must look like s3://bucket/"),
        ("s3://key:s3cr3t@b/", "must look like s3://bucket/"),
        ("s3://b/#s3cr3t", "must look like s3://bucket/"),
        ("s3://b/?s3cr3t", "name=value"),
        ("s3://b/?region=", "once, with a value"),
        ("s3://b/?region=a&region=b", "once, with a value"),
        ("s3://b/?other=s3cr3t", "once, with a value"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused_without_being_repeated(url: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        read_address(url, example=EXAMPLE, parameters={"region", "flag"})
    assert caught.value.field == "url"
    assert "s3cr3t" not in str(caught.value)


def test_a_flag_is_true_or_false_and_by_default_false() -> None:
    assert Address("b", "", {"flag": "true"}).flag("flag")
    assert not Address("b", "", {"flag": "false"}).flag("flag")
    assert not Address("b", "", {}).flag("flag")
    with pytest.raises(ConfigurationError, match="flag must be true or false"):
        Address("b", "", {"flag": "yes"}).flag("flag")


@pytest.mark.parametrize(
    ("url", "segments", "endpoint"),
    [
        ("https://Storage.Example.com/", 0, "https://storage.example.com"),
        ("https://storage.example.com:443", 0, "https://storage.example.com"),
        ("http://storage.example.com:80", 0, "http://storage.example.com"),
        ("http://127.0.0.1:9000", 0, "http://127.0.0.1:9000"),
        ("http://[::1]:9000", 0, "http://[::1]:9000"),
        ("http://127.0.0.1:10000/Account/", 1, "http://127.0.0.1:10000/Account"),
    ],
)
def test_an_endpoint_has_one_spelling(url: str, segments: int, endpoint: str) -> None:
    assert read_endpoint("endpoint_url", url, max_segments=segments) == endpoint


@pytest.mark.parametrize(
    "url",
    [
        "storage.example.com",
        "ftp://storage.example.com",
        "https://",
        "https://:443",
        "https://key:s3cr3t@storage.example.com",
        "https://storage.example.com/path",
        "https://storage.example.com?sig=s3cr3t",
        "https://storage.example.com#s3cr3t",
        "https://[",
        "https://storage.example.com:port",
        "https://storage.example.com:99999",
    ],
)
def test_an_endpoint_that_makes_no_sense_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="endpoint_url must be a scheme, a host") as caught:
        read_endpoint("endpoint_url", url)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.value is None


def test_a_path_is_taken_as_far_as_it_is_asked_for() -> None:
    with pytest.raises(ConfigurationError, match="account_url must be an account's URL"):
        read_endpoint("account_url", "https://example.com/a/b", described="an account's URL", max_segments=1)
