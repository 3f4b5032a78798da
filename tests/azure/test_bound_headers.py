"""Bound request headers, on the reference server in emulators/, because Azurite does not check them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from azure.storage.blob import BlobServiceClient

from emulators.azure_reference import KEY_FIELDS, AzureReference, Blob
from emulators.azurite import ACCOUNT_KEY, ACCOUNT_NAME, Azurite
from emulators.serving import serve
from emulators.wire import Attempt, send
from presign import Grant
from presign.azure import AzureBackend
from tests.azure.accounts import GRANT, KEY, PNG, Change, Identity, RunningAccount, as_sent, grant, utc_now
from tests.azure.tampering import TAMPERED, TAMPERED_KEYS


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """The reference server, and a backend that signs for it with a delegation key from Azurite."""

    app: AzureReference
    backend: AzureBackend
    azurite: Azurite

    @property
    def blobs(self) -> dict[str, Blob]:
        return {**self.app.containers["uploads"], **self.app.containers["other"]}

    def signed(self, grant: Grant, body: bytes = PNG, *, at: datetime | None = None) -> Attempt:
        attempt = as_sent(self.backend.sign_upload(grant, at or utc_now()), body)
        self.learn_key(attempt)
        return attempt

    def learn_key(self, attempt: Attempt) -> None:
        fields = {name: attempt.parameter(name) for name in KEY_FIELDS}
        times = [datetime.strptime(fields[name], "%Y-%m-%dT%H:%M:%SZ") for name in ("skt", "ske")]
        service = BlobServiceClient(self.azurite.account_url, credential=Identity(), api_version=fields["skv"])
        key = service.get_user_delegation_key(times[0], times[1])
        self.app.delegation_keys[tuple(fields.values())] = key.value or ""


@pytest.fixture(scope="module")
def running_verifier(identity_account: RunningAccount) -> Iterator[Verifier]:
    app = AzureReference(
        account_name=ACCOUNT_NAME,
        account_key=ACCOUNT_KEY,
        containers={"uploads": {}, "other": {}},
        delegation_keys={},
    )
    with serve(app) as url:
        backend = identity_account.backend(public_account_url=f"{url}/{ACCOUNT_NAME}", bind_headers=True)
        yield Verifier(app=app, backend=backend, azurite=identity_account.azurite)


@pytest.fixture
def verifier(running_verifier: Verifier) -> Verifier:
    for container in running_verifier.app.containers.values():
        container.clear()
    return running_verifier


EXACT = grant(
    min_bytes=len(PNG),
    max_bytes=len(PNG),
    content_disposition="inline",
    cache_control="no-store",
    metadata={"tenant": "7"},
    create_only=True,
)


def test_an_upload_with_bound_headers_is_accepted_if_it_is_sent_unchanged(verifier: Verifier) -> None:
    attempt = verifier.signed(EXACT)
    assert attempt.parameter("sv") == "2026-04-06"
    assert set(attempt.parameter("srh").split(",")) == {
        "x-ms-blob-type",
        "content-type",
        "x-ms-blob-content-type",
        "x-ms-blob-content-disposition",
        "x-ms-blob-cache-control",
        "x-ms-meta-tenant",
        "if-none-match",
        "content-length",
    }
    assert "content-length" not in {name.lower() for name, _ in attempt.headers}
    assert send(attempt).status == 201
    blob = verifier.blobs[KEY]
    assert blob.body == PNG
    assert blob.headers["content-type"] == "image/png"
    assert send(attempt).outcome == (403, "UnauthorizedBlobOverwrite")


def test_the_length_is_not_bound_if_the_grant_has_a_range_of_sizes(verifier: Verifier) -> None:
    attempt = verifier.signed(GRANT, b"any length")
    assert "content-length" not in attempt.parameter("srh").split(",")
    assert send(attempt).status == 201


def own_blob(verifier: Verifier) -> str:
    """The URL, with a signature to read it, of an HTML page on the same server."""
    app = verifier.app
    app.containers["other"]["page"] = Blob(body=b"<script>", etag='"1"', headers={}, metadata={})
    url = verifier.backend.object_url("").partition("/uploads/")[0]
    backend = AzureBackend(container="other", account_url=url, account_key=ACCOUNT_KEY)
    return backend.sign_download("page", utc_now(), expires_in=timedelta(seconds=60), content_disposition="inline")


def test_copying_from_elsewhere_is_refused_where_the_length_is_bound(verifier: Verifier) -> None:
    copying = verifier.signed(EXACT).with_header("x-ms-copy-source", own_blob(verifier)).with_body(b"")
    assert send(copying).outcome == (403, "AuthenticationFailed")
    assert list(verifier.blobs) == ["page"]


def test_the_reference_copies_from_a_url_where_the_length_is_open(verifier: Verifier) -> None:
    source = own_blob(verifier)
    copying = verifier.signed(GRANT, b"").with_header("x-ms-copy-source", source)
    outcomes = [
        send(copying.with_body(PNG)).outcome,
        send(copying.with_header("x-ms-copy-source", source.replace("sig=", "sig=A"))).outcome,
        send(copying.with_header("x-ms-source-if-match", '"2"')).outcome,
    ]
    assert outcomes == [
        (400, "InvalidHeaderValue"),
        (403, "AuthenticationFailed"),
        (412, "SourceConditionNotMet"),
    ]
    assert list(verifier.blobs) == ["page"]
    assert send(copying).status == 201
    assert (verifier.blobs[KEY].body, verifier.blobs[KEY].headers["content-type"]) == (b"<script>", "image/png")


def test_an_uploader_may_choose_a_tier_that_nobody_can_read_from(verifier: Verifier) -> None:
    assert send(verifier.signed(EXACT).with_header("x-ms-access-tier", "Archive")).status == 201
    url = verifier.backend.object_url("").partition("/uploads/")[0]
    backend = AzureBackend(container="uploads", account_url=url, account_key=ACCOUNT_KEY)
    download = backend.sign_download(KEY, utc_now(), expires_in=timedelta(seconds=60), content_disposition="inline")
    head = send(Attempt(method="HEAD", url=download))
    assert (head.status, head.headers["x-ms-access-tier"]) == (200, "Archive")
    assert send(Attempt(method="GET", url=download)).outcome == (409, "BlobArchived")


BOUND: dict[str, Change] = {
    "one byte more": lambda a: a.with_body(PNG + b"\0"),
    "one byte less": lambda a: a.with_body(PNG[:-1]),
    "no bytes": lambda a: a.with_body(b""),
    "another type": lambda a: a.with_header("Content-Type", "text/html"),
    "no type": lambda a: a.without_header("Content-Type"),
    "two types": lambda a: a.with_another_header("Content-Type", "text/html"),
    "another blob content type": lambda a: a.with_header("x-ms-blob-content-type", "text/html"),
    "no blob content type": lambda a: a.without_header("x-ms-blob-content-type"),
    "an empty blob content type": lambda a: a.with_header("x-ms-blob-content-type", ""),
    "two blob content types": lambda a: a.with_another_header("x-ms-blob-content-type", "text/html"),
    "another blob type": lambda a: a.with_header("x-ms-blob-type", "AppendBlob"),
    "no blob type": lambda a: a.without_header("x-ms-blob-type"),
    "another disposition": lambda a: a.with_header("x-ms-blob-content-disposition", "attachment"),
    "no disposition": lambda a: a.without_header("x-ms-blob-content-disposition"),
    "another cache control": lambda a: a.with_header("x-ms-blob-cache-control", "max-age=999999"),
    "no cache control": lambda a: a.without_header("x-ms-blob-cache-control"),
    "other metadata": lambda a: a.with_header("x-ms-meta-tenant", "8"),
    "no metadata": lambda a: a.without_header("x-ms-meta-tenant"),
    "overwriting": lambda a: a.without_header("If-None-Match"),
    "no bound headers": lambda a: a.without_parameter("srh"),
    "fewer bound headers": lambda a: a.with_parameter("srh", "content-type,x-ms-blob-type"),
    "bound headers in another order": lambda a: a.with_parameter(
        "srh", ",".join(reversed(a.parameter("srh").split(",")))
    ),
    "more bound headers": lambda a: a.with_parameter("srh", a.parameter("srh") + ",host"),
    "a version that binds no headers": lambda a: a.with_parameter("sv", "2025-07-05"),
    "the oldest version, without bound headers": lambda a: a.with_parameter("sv", "2020-12-06").without_parameter(
        "srh"
    ),
    "bound query parameters": lambda a: a.with_another_parameter("srq", "comp"),
    "copying from elsewhere": lambda a: a.with_header("x-ms-copy-source", "https://evil.example/x").with_body(b""),
}


@pytest.mark.parametrize("change", BOUND.values(), ids=BOUND)
def test_an_upload_with_a_tampered_bound_header_stores_nothing(verifier: Verifier, change: Change) -> None:
    answer = send(change(verifier.signed(EXACT)))
    assert answer.status in {400, 403, 501}
    assert verifier.blobs == {}


TAMPERED_ON_THE_REFERENCE = {
    name: change
    for name, change in (TAMPERED | TAMPERED_KEYS).items()
    # A signature for the loopback interface has no protocol.
    if name not in {"any protocol", "no protocol"}
}


@pytest.mark.parametrize("change", TAMPERED_ON_THE_REFERENCE.values(), ids=TAMPERED_ON_THE_REFERENCE)
def test_the_reference_refuses_the_tampering_that_azurite_refuses(verifier: Verifier, change: Change) -> None:
    answer = send(change(verifier.signed(EXACT)))
    assert answer.status in {400, 403, 501}
    assert verifier.blobs == {}


@pytest.mark.parametrize("offset", [timedelta(seconds=-61), timedelta(minutes=15, seconds=30)])
def test_the_reference_refuses_a_ticket_after_its_end_and_before_its_start(
    verifier: Verifier, offset: timedelta
) -> None:
    assert send(verifier.signed(EXACT, at=utc_now() + offset)).outcome == (403, "AuthenticationFailed")


def test_the_reference_refuses_an_unknown_delegation_key(verifier: Verifier) -> None:
    attempt = verifier.signed(EXACT)
    verifier.app.delegation_keys.clear()
    assert send(attempt).outcome == (403, "AuthenticationFailed")


def test_a_signature_of_the_account_key_is_accepted_and_binds_no_headers(verifier: Verifier) -> None:
    url = verifier.backend.object_url("").partition("/uploads/")[0]
    backend = AzureBackend(container="uploads", account_url=url, account_key=ACCOUNT_KEY)
    attempt = as_sent(backend.sign_upload(EXACT, utc_now()))
    assert send(attempt.with_another_parameter("srh", "content-type")).outcome == (403, "AuthenticationFailed")
    assert send(attempt).status == 201
    download = backend.sign_download(KEY, utc_now(), expires_in=timedelta(seconds=60), content_disposition="inline")
    answer = send(Attempt(method="GET", url=download))
    assert (answer.body, answer.headers["content-disposition"]) == (PNG, "inline")
