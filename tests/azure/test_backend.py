"""The backend's own calls: head, read and delete, on Azurite and on servers that fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from presign import StorageUnavailable
from presign.azure import AzureBackend, client
from presign.backends.backend import ObjectChanged
from tests.azure.accounts import GRANT, KEY, PNG, RunningAccount, as_sent, utc_now
from tests.azure.stub_server import Respond, StubServer, dropped_once, error_answer, no_answer, stalled_body


def test_head_read_and_delete_agree_with_what_is_stored(account: RunningAccount) -> None:
    backend = account.backend()
    assert backend.head(KEY) is None
    backend.delete(KEY)
    assert account.send(as_sent(backend.sign_upload(GRANT, utc_now()))).status == 201
    head = backend.head(KEY)
    assert head is not None
    assert (head.size, head.content_type) == (len(PNG), "image/png")
    assert '"' not in head.etag
    assert backend.read(KEY, offset=0, length=4, etag=head.etag) == PNG[:4]
    assert backend.read(KEY, offset=4, length=1000, etag=head.etag) == PNG[4:]
    backend.delete(KEY)
    backend.delete(KEY)
    assert backend.head(KEY) is None


def test_reading_a_replaced_blob_fails(account: RunningAccount) -> None:
    blob = account.admin.get_blob_client("uploads", KEY)
    blob.upload_blob(b"first")
    backend = account.backend()
    head = backend.head(KEY)
    assert head is not None
    blob.upload_blob(b"second", overwrite=True)
    with pytest.raises(ObjectChanged, match=f"the blob {KEY} was replaced or deleted meanwhile"):
        backend.read(KEY, offset=0, length=10, etag=head.etag)
    blob.delete_blob()
    with pytest.raises(ObjectChanged):
        backend.read(KEY, offset=0, length=10, etag=head.etag)


def test_metadata_names_are_in_lower_case(account: RunningAccount) -> None:
    account.admin.get_blob_client("uploads", KEY).upload_blob(b"x", metadata={"Tenant": "Seven"})
    head = account.backend().head(KEY)
    assert head is not None
    assert dict(head.metadata) == {"tenant": "Seven"}


def test_a_blob_that_a_client_has_leased_is_deleted(account: RunningAccount) -> None:
    blob = account.admin.get_blob_client("uploads", KEY)
    blob.upload_blob(b"x")
    blob.acquire_lease(-1)
    account.backend().delete(KEY)
    assert account.backend().head(KEY) is None


Call = Callable[[AzureBackend], object]
CALLS: dict[str, Call] = {
    "check": lambda backend: backend.check(),
    "head": lambda backend: backend.head(KEY),
    "read": lambda backend: backend.read(KEY, offset=0, length=10, etag="0x1"),
    "delete": lambda backend: backend.delete(KEY),
}


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Ends the silence of a server that does not answer."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def _short_read_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.READ_TIMEOUT_SECONDS == 10
    monkeypatch.setattr(client, "READ_TIMEOUT_SECONDS", 0.5)


@pytest.mark.usefixtures("_short_read_timeout")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_that_the_storage_does_not_answer_fails_after_one_read_timeout(
    stub: Callable[[Respond], StubServer], released: threading.Event, call: Call
) -> None:
    server = stub(no_answer(released))
    begun = time.monotonic()
    with pytest.raises(StorageUnavailable, match=r"does not answer \(ServiceResponseTimeoutError\)"):
        call(server.backend())
    assert time.monotonic() - begun < 5
    assert server.requests == 1


@pytest.mark.usefixtures("_short_read_timeout")
def test_a_body_that_stalls_is_not_requested_again(
    stub: Callable[[Respond], StubServer], released: threading.Event
) -> None:
    server = stub(stalled_body(released))
    begun = time.monotonic()
    with pytest.raises(StorageUnavailable, match=r"does not answer \(ServiceResponseTimeoutError\)"):
        CALLS["read"](server.backend())
    assert time.monotonic() - begun < 5
    assert server.requests == 1


@pytest.mark.parametrize(("call", "status"), [("check", 200), ("head", 404), ("delete", 404)])
def test_a_request_whose_connection_breaks_is_repeated(
    stub: Callable[[Respond], StubServer], call: str, status: int
) -> None:
    server = stub(dropped_once(error_answer(status)))
    CALLS[call](server.backend())
    assert server.requests == 2


def test_a_storage_that_is_busy_is_asked_twice_at_most(stub: Callable[[Respond], StubServer]) -> None:
    server = stub(error_answer(503, "ServerBusy"))
    with pytest.raises(StorageUnavailable, match="answered Get Blob Properties with ServerBusy"):
        server.backend().head(KEY)
    assert server.requests == 2
