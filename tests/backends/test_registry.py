from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from presign import ConfigurationError, open_backend
from presign.backends.registry import prefix_of_address
from tests.fresh_process import run_fresh

ADDRESSES = {
    "s3": ("s3://bucket/public/?region=eu-central-1", {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}),
    "azure": ("azblob://account/uploads/public/", {"AZURE_STORAGE_KEY": "a2V5"}),
    "gcs": (
        "gs://bucket/public/?endpoint_url=http://127.0.0.1:9",
        {"GCS_HMAC_ACCESS_ID": "GOOG1EOPENING000000001", "GCS_HMAC_SECRET": "a" * 40},
    ),
}
SDKS = ("boto3", "botocore", "azure.core", "azure.storage.blob", "google.auth", "google.cloud.storage")


@pytest.mark.parametrize("address", [None, 5, "", "bucket", "ftp://bucket/", "s3:/bucket", "S3://bucket/", "://"])
def test_an_address_of_an_unknown_scheme_is_refused_with_the_schemes_that_exist(address: Any) -> None:
    with pytest.raises(ConfigurationError, match="s3://, azblob://, gs://"):
        open_backend(address)
    with pytest.raises(ConfigurationError, match="s3://, azblob://, gs://"):
        prefix_of_address(address)


@pytest.mark.parametrize("cloud", ADDRESSES)
def test_an_address_with_a_key_in_the_environment_opens_its_backend_and_imports_no_sdk(
    cloud: str, tmp_path: Path
) -> None:
    address, settings = ADDRESSES[cloud]
    script = (
        "import sys, warnings; warnings.simplefilter('ignore'); from presign import open_backend\n"
        f"backend, prefix = open_backend({address!r})\n"
        "print(backend.name, prefix, *sorted(sys.modules), sep='\\n')"
    )
    name, prefix, *modules = run_fresh("-c", script, settings=settings, home=tmp_path)
    assert name.startswith(address.partition("://")[0])
    assert prefix == prefix_of_address(address) == "public/"
    assert not set(SDKS) & set(modules)


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("s3://bucket", ""),
        ("gs://bucket/?endpoint_url=https://x/y/", ""),
        ("azblob://account/uploads", ""),
        ("azblob://account/uploads/a/b%2B/", "a/b+/"),
    ],
)
def test_the_prefix_of_an_address_is_known_without_opening_it(address: str, prefix: str) -> None:
    assert prefix_of_address(address) == prefix
    with pytest.raises(ConfigurationError, match="slash"):
        prefix_of_address(f"{address.partition('?')[0]}//x")


@pytest.mark.parametrize("cloud", ADDRESSES)
def test_a_missing_sdk_is_named_with_the_extra_that_brings_it(cloud: str, tmp_path: Path) -> None:
    address, settings = ADDRESSES[cloud]
    hidden = {"s3": "boto3", "azure": "azure", "gcs": "google"}[cloud]
    script = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {hidden!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        f"from presign import open_backend, ConfigurationError\n"
        "try:\n"
        f"    open_backend({address!r})\n"
        "except ConfigurationError as error:\n"
        "    print(error)\n"
    )
    [message] = run_fresh("-c", script, settings=settings, home=tmp_path)
    assert f'pip install "presign-uploads[{cloud}]"' in message
