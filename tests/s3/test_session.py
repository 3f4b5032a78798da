"""The boto3 session: which of AWS's settings choose the endpoint and the region, and botocore's private parts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials

from emulators.s3_bucket import S3Bucket
from emulators.s3_reference import S3Reference
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from presign import ConfigurationError
from presign.backends.connections import Connections
from presign.s3 import S3Backend
from presign.s3.session import load_credentials, trusted_authorities
from tests.s3.broken_connections import broken

KEYS: Any = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "a secret"}


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({"AWS_USE_FIPS_ENDPOINT": "true"}, "my-bucket.s3-fips.us-east-2.amazonaws.com"),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "my-bucket.s3.dualstack.us-east-2.amazonaws.com"),
        (
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
            "my-bucket.s3-fips.dualstack.us-east-2.amazonaws.com",
        ),
    ],
)
def test_tickets_use_the_endpoint_that_boto3_uses(
    settings: dict[str, str], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    session = boto3.Session(**KEYS, region_name="us-east-2")
    url = S3Backend(bucket="my-bucket", session=session).object_url("k")
    assert urlsplit(url).netloc == host
    # Virtual-hosted style, because botocore presigns for the global endpoint otherwise.
    config = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    theirs = session.client("s3", config=config).generate_presigned_url(
        "get_object", Params={"Bucket": "my-bucket", "Key": "k"}
    )
    assert theirs.partition("?")[0] == url


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_comes_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "eu-west-2")
    backend = S3Backend(bucket="my-bucket", session=boto3.Session(**KEYS))
    assert backend.object_url("k") == "https://my-bucket.s3.eu-west-2.amazonaws.com/k"


def test_a_missing_region_is_refused_with_the_variable_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="set AWS_REGION") as caught:
        S3Backend(bucket="my-bucket", session=boto3.Session(**KEYS))
    assert caught.value.field == "region"
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    S3Backend(bucket="my-bucket", session=boto3.Session(**KEYS))


@pytest.mark.parametrize("region", ["eu-central1", "a b", "-", "s3"])
def test_a_region_that_aws_does_not_have_is_refused(region: str) -> None:
    with pytest.raises(ConfigurationError, match="not one of AWS's regions") as caught:
        S3Backend(bucket="my-bucket", region=region, session=boto3.Session(**KEYS))
    assert caught.value.field == "region"


def test_another_store_needs_no_region_and_takes_any() -> None:
    for region in (None, "garage"):
        backend = S3Backend(
            bucket="my-bucket", region=region, endpoint_url="http://localhost:9000", session=boto3.Session(**KEYS)
        )
        assert backend.object_url("k") == "http://localhost:9000/my-bucket/k"


def test_a_request_that_cannot_be_sent_is_repeated_through_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = S3Reference(
        buckets={"my-bucket": S3Bucket()}, access_keys={"AKIAEXAMPLE": HmacKey(secret="a secret")}, region="us-east-1"
    )
    with serve(reference) as url:
        backend = S3Backend(bucket="my-bucket", endpoint_url=url, session=boto3.Session(**KEYS))
        backend._requests.client.put_object(Bucket="my-bucket", Key="k", Body=b"0123456789")
        head = backend.head("k")
        assert head is not None
        monkeypatch.setattr(Connections, "send", broken)
        assert backend.head("k") == head
        assert backend.read("k", offset=1, length=2, etag=head.etag) == b"12"


def test_the_authorities_of_a_profile_are_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("[default]\nca_bundle = /of/the/default\n[profile other]\nca_bundle = /of/other\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    assert trusted_authorities(boto3.Session()) == "/of/the/default"
    assert trusted_authorities(boto3.Session(profile_name="other")) == "/of/other"
    monkeypatch.setenv("AWS_CA_BUNDLE", "/of/the/environment")
    assert trusted_authorities(boto3.Session(profile_name="other")) == "/of/the/environment"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_CA_BUNDLE")
    assert trusted_authorities(boto3.Session(**KEYS)) is None


def test_credentials_have_an_expiry_when_botocore_loses_its_private_one(monkeypatch: pytest.MonkeyPatch) -> None:
    expiry = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(hours=1)
    session = boto3.Session(**KEYS)
    credentials = _refreshable(expiry)
    monkeypatch.setattr(session, "get_credentials", lambda: credentials)
    now = datetime.now(timezone.utc)
    assert load_credentials(session).current(now).expires_at == expiry
    monkeypatch.delattr(credentials, "_expiry_time")
    # Without that attribute botocore promises ten minutes, so no ticket may live longer.
    monkeypatch.setattr(credentials, "get_frozen_credentials", lambda: credentials._frozen_credentials)
    guessed = load_credentials(session).current(now).expires_at
    assert guessed is not None
    assert timedelta(minutes=9) < guessed - now <= timedelta(minutes=10)


def _refreshable(expiry: datetime) -> Any:
    metadata = {
        "access_key": "AKIATEMPORARY",
        "secret_key": "a secret",
        "token": "a token",
        "expiry_time": expiry.isoformat(),
    }
    return RefreshableCredentials.create_from_metadata(metadata, refresh_using=lambda: metadata, method="test")
