"""AWS's settings in the environment: presign reads what botocore would find, or lets botocore decide."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.endpoint_provider import EndpointProvider
from botocore.loaders import create_loader

from presign.s3 import S3Backend, partitions
from presign.s3.environment import read_environment
from presign.s3.partitions import endpoint_of, is_region
from presign.s3.session import build_client, new_session

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a secret"}
PARTITIONS: list[dict[str, Any]] = create_loader().load_data("partitions")["partitions"]
REGIONS = [
    region
    for partition in PARTITIONS
    for region in partition["regions"]
    # Such a name stands for no single region, and each call understands it in its own way.
    if not region.endswith("-global")
]
OTHER_STORE = "http://localhost:9000"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a home without settings."""
    for name in os.environ:
        if name.startswith(("AWS_", "BOTO")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def _set(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def _found_by_botocore(region: str | None, endpoint_url: str | None) -> tuple[Any, ...]:
    session = new_session()
    client = build_client(session, region=region, endpoint_url=endpoint_url)
    credentials = session.get_credentials()
    assert credentials is not None
    frozen = credentials.get_frozen_credentials()
    return frozen.access_key, frozen.secret_key, frozen.token, client.meta.region_name, client.meta.endpoint_url


@pytest.mark.parametrize(
    ("settings", "region", "endpoint_url"),
    [
        ({"AWS_REGION": "eu-west-1"}, None, None),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, None, None),
        ({"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-west-2"}, None, None),
        ({"AWS_DEFAULT_REGION": "", "AWS_REGION": "eu-west-2"}, None, None),
        ({"AWS_REGION": "eu-west-1"}, "us-east-1", None),
        ({"AWS_REGION": "eu-west-1", "AWS_SESSION_TOKEN": "a token"}, None, None),
        ({"AWS_REGION": "eu-west-1", "AWS_SECURITY_TOKEN": "an old token"}, None, None),
        ({"AWS_REGION": "eu-west-1", "AWS_SECURITY_TOKEN": "an old", "AWS_SESSION_TOKEN": "a token"}, None, None),
        ({"AWS_REGION": "eu-west-1", "AWS_SECURITY_TOKEN": "", "AWS_SESSION_TOKEN": "a token"}, None, None),
        ({"AWS_ENDPOINT_URL": OTHER_STORE}, None, None),
        ({"AWS_ENDPOINT_URL_S3": OTHER_STORE, "AWS_ENDPOINT_URL": "http://localhost:9001"}, None, None),
        ({"AWS_ENDPOINT_URL_S3": "", "AWS_ENDPOINT_URL": "http://localhost:9001"}, None, None),
        ({"AWS_ENDPOINT_URL_S3": "http://localhost:9001"}, None, OTHER_STORE),
        ({"AWS_ENDPOINT_URL_S3": OTHER_STORE, "AWS_REGION": "garage"}, None, None),
        ({}, None, OTHER_STORE),
        ({}, "garage", OTHER_STORE),
        ({}, "fips", OTHER_STORE),
        ({}, "1a", OTHER_STORE),
        ({"AWS_REGION": "eu-west-1"}, None, "https://s3.eu-west-1.amazonaws.com"),
        ({"AWS_REGION": "eu-west-1", "AWS_CONFIG_FILE": "/no/such/file"}, None, None),
        ({"AWS_REGION": "eu-west-1", "AWS_LAMBDA_FUNCTION_NAME": "tickets", "AWS_EXECUTION_ENV": "x"}, None, None),
        ({"AWS_REGION": "eu-west-1", "AWS_ROLE_ARN": "arn:aws:iam::1:role/x"}, None, None),
        ({"AWS_REGION": "eu-west-1", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1/"}, None, None),
    ],
)
def test_what_is_read_without_boto3_is_what_boto3_finds(
    settings: dict[str, str], region: str | None, endpoint_url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, {**KEYS, **settings})
    found = read_environment(region=region, endpoint_url=endpoint_url)
    assert found is not None
    assert tuple(found) == _found_by_botocore(region, endpoint_url)


def test_the_endpoint_of_each_region_is_the_one_that_botocores_rules_give() -> None:
    loader = create_loader()
    rules = EndpointProvider(loader.load_service_model("s3", "endpoint-rule-set-1"), loader.load_data("partitions"))
    flags = dict.fromkeys(("UseFIPS", "UseDualStack", "Accelerate", "UseGlobalEndpoint"), False)
    theirs = {region: rules.resolve_endpoint(Region=region, **flags).url for region in REGIONS}
    assert {region: endpoint_of(region) for region in REGIONS} == theirs
    assert len(theirs) > 30


@pytest.mark.parametrize("region", ["us-east-1", "cn-north-1", "us-gov-west-1", "eu-future-9"])
def test_the_endpoint_of_a_region_is_the_one_that_a_client_of_boto3_has(region: str) -> None:
    session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="s")
    assert endpoint_of(region) == build_client(session, region=region, endpoint_url=None).meta.endpoint_url


def test_every_region_of_the_partitions_is_a_region_and_others_are_none() -> None:
    assert all(is_region(region) for partition in PARTITIONS for region in partition["regions"])
    assert not any(map(is_region, ("eu-central1", "a b", "-", "s3", "", "eu-west-1\n")))
    assert endpoint_of("aws-global") is None


_SETTINGS_THAT_BOTO3_JUDGES = [
    {"AWS_PROFILE": "work"},
    {"AWS_DEFAULT_PROFILE": "work"},
    {"AWS_SECRET_ACCESS_KEY": ""},
    {"AWS_ACCESS_KEY_ID": ""},
    {"AWS_CREDENTIAL_EXPIRATION": "2099-01-01T00:00:00Z"},
    {"AWS_USE_FIPS_ENDPOINT": "true"},
    {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
    {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
    {"AWS_DEFAULTS_MODE": "auto"},
    {"AWS_DATA_PATH": "/no/such/folder"},
    {"AWS_A_SETTING_OF_NEXT_YEAR": "1"},
    {"BOTOCORE_EXPERIMENTAL__PLUGINS": "a=b"},
    {"AWS_REGION": "aws-global"},
    {"AWS_REGION": "EU-WEST-1"},
    {"AWS_REGION": "eu-west1"},
    {"AWS_REGION": ""},
    {"AWS_REGION": "", "AWS_ENDPOINT_URL_S3": "https://s3.eu-west-1.amazonaws.com"},
    {"AWS_REGION": "garage", "AWS_ENDPOINT_URL_S3": "https://s3.eu-west-1.amazonaws.com"},
    {"AWS_REGION": "fips-us-east-1", "AWS_ENDPOINT_URL_S3": OTHER_STORE},
    {"AWS_REGION": "us-east-1-fips", "AWS_ENDPOINT_URL_S3": OTHER_STORE},
    {"AWS_REGION": "1", "AWS_ENDPOINT_URL_S3": OTHER_STORE},
]


@pytest.mark.parametrize("settings", _SETTINGS_THAT_BOTO3_JUDGES, ids=str)
def test_boto3_judges_every_setting_that_could_change_what_it_finds(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, {**KEYS, "AWS_REGION": "eu-west-1", **settings})
    assert read_environment(region=None, endpoint_url=None) is None


@pytest.mark.parametrize("name", [".aws/config", ".aws/credentials", ".aws/models/s3/2006-03-01/x.json"])
def test_boto3_reads_the_files_of_the_home(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, {**KEYS, "AWS_REGION": "eu-west-1"})
    assert read_environment(region=None, endpoint_url=None) is not None
    (home / name).parent.mkdir(parents=True)
    (home / name).write_text("")
    assert read_environment(region=None, endpoint_url=None) is None


@pytest.mark.parametrize("variable", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_a_file_that_a_variable_names_changes_the_endpoint_of_tickets(
    variable: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "settings").write_text("[default]\nregion = eu-north-1\n")
    _set(monkeypatch, {**KEYS, "AWS_REGION": "eu-west-1", variable: "$HOME/settings"})
    assert S3Backend(bucket="my-bucket").object_url("k") == "https://my-bucket.s3.eu-north-1.amazonaws.com/k"


def test_any_settings_together_are_read_as_boto3_reads_them_or_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = {
        "AWS_ACCESS_KEY_ID": ("AKIAEXAMPLE", "AKIAANOTHER", ""),
        "AWS_SECRET_ACCESS_KEY": ("a secret", "another secret", None),
        "AWS_SESSION_TOKEN": (None, "", "a token"),
        "AWS_SECURITY_TOKEN": (None, "", "an old token"),
        "AWS_REGION": (None, "", "eu-west-2", "us-gov-west-1", "nowhere"),
        "AWS_DEFAULT_REGION": (None, None, "", "cn-north-1", "ap-south-1"),
        "AWS_ENDPOINT_URL": (None, None, "", "http://localhost:9001"),
        "AWS_ENDPOINT_URL_S3": (None, None, "", OTHER_STORE, "https://s3.eu-west-2.amazonaws.com"),
        "AWS_USE_FIPS_ENDPOINT": (None, None, None, "true"),
        "AWS_PROFILE": (None, None, None, "work"),
        "AWS_CA_BUNDLE": (None, "/no/such/file"),
    }
    draw = random.Random(13)
    compared = 0
    for _ in range(100):
        for name, values in choices.items():
            value = draw.choice(values)
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        region, endpoint_url = draw.choice((None, None, "eu-west-3")), draw.choice((None, None, OTHER_STORE))
        found = read_environment(region=region, endpoint_url=endpoint_url)
        # Each comparison builds a client of boto3, which takes long. After None, boto3 decides, so nothing is compared.
        if found is not None and compared < 12:
            assert tuple(found) == _found_by_botocore(region, endpoint_url)
            compared += 1
    assert compared == 12


def test_the_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, {**KEYS, "AWS_SESSION_TOKEN": "a token", "AWS_REGION": "eu-west-1"})
    shown = repr(read_environment(region=None, endpoint_url=None))
    assert "AKIAEXAMPLE" in shown
    assert "a secret" not in shown
    assert "a token" not in shown


def test_botocore_itself_is_asked_for_its_partitions_if_they_are_in_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {region: endpoint_of(region) for region in REGIONS}
    partitions._partitions.cache_clear()
    monkeypatch.setattr(partitions, "find_spec", lambda name: None)
    assert {region: endpoint_of(region) for region in REGIONS} == expected
    monkeypatch.undo()
    partitions._partitions.cache_clear()
