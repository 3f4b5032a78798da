"""The first completion of a worker: what it needs is loaded before, and no SDK is among it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from emulators.azurite import ACCOUNT_KEY, ACCOUNT_NAME, Azurite
from emulators.gcs_accounts import generate_credentials, trusted_account
from emulators.gcs_bucket import GcsBucket
from emulators.gcs_reference import GcsReference
from emulators.s3_bucket import S3Bucket
from emulators.s3_reference import S3Reference
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from presign import ConfigurationError, Presigner, UploadPolicy
from presign.http.async_endpoints import AsyncEndpoints
from presign.http.endpoints import answer_upload
from presign.testing import MemoryBackend
from tests.azure.accounts import prepare_account
from tests.completing_in_fresh_process import new_presigner
from tests.completing_process import PNG, PREFIX
from tests.conftest import png_request, upload
from tests.fresh_process import run_fresh

ACCESS_KEY, SECRET_KEY = "AKIAEXAMPLE", "a secret"
# The clients of the SDKs, which take longest to import. A completion imports no more than an SDK's exceptions and
# credentials.
CLIENTS = {"boto3", "botocore", "azure.storage.blob", "google.cloud.storage"}


@dataclass(frozen=True, kw_only=True)
class Storage:
    """A storage's address, and the environment with its credentials."""

    address: str
    environment: Mapping[str, str]


@pytest.fixture
def s3() -> Iterator[Storage]:
    app = S3Reference(
        buckets={"uploads": S3Bucket()}, access_keys={ACCESS_KEY: HmacKey(secret=SECRET_KEY)}, region="us-east-1"
    )
    with serve(app) as url:
        parameters = urlencode({"endpoint_url": url, "region": "us-east-1"})
        yield Storage(
            address=f"s3://uploads/{PREFIX}?{parameters}",
            environment={"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY},
        )


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[Storage]:
    with Azurite(directory=tmp_path / "azurite") as azurite:
        prepare_account(azurite, {"account_key": ACCOUNT_KEY})
        parameters = urlencode({"endpoint_url": azurite.account_url, "pending_container": "pending"})
        yield Storage(
            address=f"azblob://{ACCOUNT_NAME}/public/{PREFIX}?{parameters}",
            environment={"AZURE_STORAGE_KEY": ACCOUNT_KEY},
        )


@pytest.fixture
def gcs(tmp_path: Path) -> Iterator[Storage]:
    account = tmp_path / "account.json"
    generate_credentials(account, token_uri="http://unknown.invalid/token")
    app = GcsReference(
        buckets={"uploads": GcsBucket(public_prefix=PREFIX)}, service_accounts=trusted_account(account), hmac_keys={}
    )
    with serve(app) as url:
        generate_credentials(account, token_uri=f"{url}/token")
        parameters = urlencode({"endpoint_url": url, "credentials": account})
        yield Storage(address=f"gs://uploads/{PREFIX}?{parameters}", environment={})


@pytest.mark.parametrize("cloud", ["s3", "azure", "gcs"])
def test_a_prepared_worker_imports_nothing_at_its_first_completion(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cloud: str
) -> None:
    for name in os.environ:
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "GCS_")):
            monkeypatch.delenv(name)
    storage: Storage = request.getfixturevalue(cloud)
    # Only boto3 can read the files in which this machine's user may have settings.
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in storage.environment.items():
        monkeypatch.setenv(name, value)
    presigner = new_presigner(storage.address)

    def imported(how: str) -> list[list[str]]:
        tickets = [presigner.issue(png_request(size=len(PNG))) for _ in range(2)]
        for ticket in tickets:
            assert upload(ticket, PNG).status in {200, 201, 204}
        [line] = run_fresh(
            *("-m", "tests.completing_in_fresh_process", how, storage.address),
            settings=storage.environment,
            home=tmp_path,
            text="\n".join(ticket.token for ticket in tickets),
        )
        answer: list[list[str]] = json.loads(line)
        return answer

    assert imported("prepare") == [[], []]
    first, second = imported("not")
    assert "urllib3" in first, "without preparation, the first completion imports it"
    assert second == []
    assert not CLIENTS & {*first}


class Prepared(MemoryBackend):
    """A backend that counts how often it was prepared, and may fail."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__()
        self.failure = failure
        self.prepared = threading.Semaphore(0)

    def prepare(self) -> None:
        self.prepared.release()
        if self.failure is not None:
            raise self.failure


def presigner_of(backend: Any) -> Presigner:
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=1000, prefix="public/")
    return Presigner(backend=backend, policy=policy, secret="the secret of the prepared presigner")


def test_the_first_ticket_of_an_adapter_prepares_the_first_completion_once() -> None:
    backend = Prepared()
    presigner = presigner_of(backend)
    assert not backend.prepared.acquire(blocking=False)
    for _ in range(3):
        answer_upload(presigner, b'{"type": "image/png"}', None)
    assert backend.prepared.acquire(timeout=60)
    assert not backend.prepared.acquire(timeout=0.5)


def test_the_first_list_of_tickets_prepares_the_first_completion_too() -> None:
    backend = Prepared()
    AsyncEndpoints().lists.uploads(presigner_of(backend), b'[{"type": "image/png"}]', None)
    assert backend.prepared.acquire(timeout=60)


def test_a_preparation_that_fails_is_logged_and_raises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    presigner_of(Prepared(ConfigurationError("no credentials", field="credentials"))).prepare()
    assert "the first completion could not be prepared: no credentials" in caplog.text


def test_a_backend_without_preparation_needs_none() -> None:
    presigner_of(MemoryBackend()).prepare()
