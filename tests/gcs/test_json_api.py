"""Describing, reading, downloading and deleting objects, also on a storage that fails or hangs."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler

import google.oauth2.credentials
import pytest
from google.auth.credentials import AnonymousCredentials

from emulators.wire import Attempt, send
from presign import StorageUnavailable
from presign.backends import ObjectChanged, ObjectHead
from presign.gcs import GCSBackend
from tests.gcs.reference import BUCKET, GRANT, PENDING, PNG, Reference, answer, http_server, now, uploaded


def test_a_download_url_expires_and_sends_the_signed_content_disposition(gcs: Reference, kind: str) -> None:
    backend = gcs.backend(kind)
    key = "private/ä b.png"
    uploaded(backend, replace(GRANT, key=key))
    disposition = "attachment; filename=\"_ b.png\"; filename*=UTF-8''%C3%A4%20b.png"
    get = Attempt(
        method="GET",
        url=backend.sign_download(key, now(), expires_in=timedelta(minutes=1), content_disposition=disposition),
    )
    answer = send(get)
    assert (answer.status, answer.body, answer.headers["content-disposition"]) == (200, PNG, disposition)
    assert send(get.with_parameter("response-content-disposition", "inline")).outcome == (403, "SignatureDoesNotMatch")
    gcs.clock.append(timedelta(seconds=62))
    assert send(get).outcome == (400, "ExpiredToken")


def test_a_read_returns_the_range_and_fails_after_the_object_was_replaced(gcs: Reference, kind: str) -> None:
    backend = gcs.backend(kind)
    uploaded(backend)
    head = backend.head(GRANT.key)
    assert head is not None
    assert backend.read(GRANT.key, offset=1, length=3, etag=head.etag) == PNG[1:4]
    assert backend.read(GRANT.key, offset=0, length=10_000, etag=head.etag) == PNG
    uploaded(backend)
    with pytest.raises(ObjectChanged, match="gs://uploads"):
        backend.read(GRANT.key, offset=1, length=3, etag=head.etag)
    backend.delete(GRANT.key)
    with pytest.raises(ObjectChanged, match="gs://uploads"):
        backend.read(GRANT.key, offset=1, length=3, etag=head.etag)


def test_a_missing_object_has_no_description_and_deleting_it_does_nothing(gcs: Reference, kind: str) -> None:
    backend = gcs.backend(kind)
    assert backend.head("public/none") is None
    backend.delete("public/none")


def test_signing_and_reading_from_many_threads_at_once_is_safe(gcs: Reference, kind: str) -> None:
    backend = gcs.backend(kind)

    def round_trip(number: int) -> bool:
        key = f"public/{number}"
        uploaded(backend, replace(GRANT, key=key))
        head = backend.head(key)
        return head is not None and backend.read(key, offset=0, length=4, etag=head.etag) == PNG[:4]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(round_trip, range(40)))


def calls(backend: GCSBackend) -> dict[str, Callable[[], object]]:
    """Every call that reaches the storage, and has the same time-out."""
    return {
        "check": backend.check,
        "head": lambda: backend.head("k"),
        "read": lambda: backend.read("k", offset=0, length=1, etag="e"),
        "delete": lambda: backend.delete("k"),
        "list": lambda: list(backend.list_objects("p/")),
    }


def anonymous(gcs: Reference, url: str) -> GCSBackend:
    """A backend on another storage, which needs no token."""
    return gcs.backend("hmac", endpoint_url=url, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]


@contextmanager
def storage(respond: Callable[[BaseHTTPRequestHandler, int], None]) -> Iterator[tuple[str, list[str]]]:
    """Yield a storage's URL and the paths of its requests; ``respond`` gets each request and its number, from 1 on."""
    received: list[str] = []

    def count(request: BaseHTTPRequestHandler) -> None:
        if request.path.startswith(f"/storage/v1/b/{BUCKET}?projection="):
            # Nobody waits for this request: the SDK asks for the bucket's location in a thread, for its traces.
            answer(request, 403)
            return
        received.append(request.path)
        respond(request, len(received))

    with http_server(count) as url:
        yield url, received


@contextmanager
def hanging_server() -> Iterator[str]:
    """A server that lets clients connect and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("name", ["check", "head", "read", "delete", "list", "publish"])
def test_a_storage_that_answers_503_is_unavailable_after_one_retry(gcs: Reference, name: str) -> None:
    started = time.monotonic()
    with storage(lambda request, number: answer(request, 503)) as (url, received):
        backend = anonymous(gcs, url)
        head = ObjectHead(size=5, content_type="image/png", etag="e", version="1")
        every_call = calls(backend)
        every_call["publish"] = lambda: backend.publish(PENDING, head)
        with pytest.raises(StorageUnavailable):
            every_call[name]()
    assert time.monotonic() - started < 5
    # check() sends its signed request first, and does not repeat that one.
    assert len(received) == (1 if name == "check" else 2)


@pytest.mark.parametrize("failure", ["429", "500", "502", "503", "504", "closed"])
def test_a_call_is_repeated_once_after_a_passing_failure(gcs: Reference, failure: str) -> None:
    def fail_once(request: BaseHTTPRequestHandler, number: int) -> None:
        if number > 1:
            answer(request, 200, b'{"name": "k", "size": "5", "etag": "e", "generation": "1"}')
        elif failure == "closed":
            request.close_connection = True
        else:
            answer(request, int(failure))

    with storage(fail_once) as (url, received):
        head = anonymous(gcs, url).head("k")
    assert head is not None
    assert (head.size, head.etag, len(received)) == (5, "e", 2)


@pytest.mark.parametrize("status", [400, 401, 412, 501])
def test_a_call_is_not_repeated_after_a_lasting_failure(gcs: Reference, status: int) -> None:
    message = f"gs://uploads answered GET with {status}"
    with (
        storage(lambda request, number: answer(request, status)) as (url, received),
        pytest.raises(StorageUnavailable, match=message),
    ):
        anonymous(gcs, url).head("k")
    assert len(received) == 1


class NumberedToken(google.oauth2.credentials.Credentials):
    """Credentials whose tokens have a number."""

    number = 1

    def __init__(self) -> None:
        super().__init__(token="token 1")  # type: ignore[no-untyped-call]

    def refresh(self, request: object) -> None:
        self.number += 1
        self.token = f"token {self.number}"


@pytest.mark.parametrize("good", ["token 1", "token 2", "none"])
def test_a_token_that_is_refused_is_renewed_once(gcs: Reference, good: str) -> None:
    seen: list[str] = []

    def respond(request: BaseHTTPRequestHandler, number: int) -> None:
        seen.append(request.headers["authorization"].removeprefix("Bearer "))
        answer(request, 200 if seen[-1] == good else 401, b'{"name": "k", "size": "5", "etag": "e", "generation": "1"}')

    with storage(respond) as (url, _):
        backend = gcs.backend("hmac", endpoint_url=url, credentials=NumberedToken())
        if good == "none":
            with pytest.raises(StorageUnavailable, match="gs://uploads answered GET with 401"):
                backend.head("k")
        else:
            assert backend.head("k") is not None
    assert seen == (["token 1"] if good == "token 1" else ["token 1", "token 2"])


@pytest.mark.parametrize(("status", "content"), [(206, b"45"), (200, b"0123456789")])
def test_a_read_returns_its_range_also_if_the_storage_returns_everything(
    gcs: Reference, status: int, content: bytes
) -> None:
    seen: list[BaseHTTPRequestHandler] = []

    def respond(request: BaseHTTPRequestHandler, number: int) -> None:
        seen.append(request)
        answer(request, status, content)

    with storage(respond) as (url, _):
        assert anonymous(gcs, url).read("a/ä b", offset=4, length=2, etag="CAE=") == b"45"
    (request,) = seen
    assert request.path == "/download/storage/v1/b/uploads/o/a%2F%C3%A4%20b?alt=media"
    headers = ("range", "if-match", "accept-encoding")
    # Without the last one, the storage would decompress what is stored.
    assert [request.headers[name] for name in headers] == ["bytes=4-5", "CAE=", "gzip"]


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}", b'{"size": "many", "etag": "e", "generation": "1"}'])
@pytest.mark.parametrize("call", ["head", "publish"])
def test_an_answer_that_is_no_description_is_a_failure(gcs: Reference, content: bytes, call: str) -> None:
    with storage(lambda request, number: answer(request, 200, content)) as (url, received):
        backend = anonymous(gcs, url)
        head = ObjectHead(size=5, content_type="image/png", etag="e", version="1")
        with pytest.raises(StorageUnavailable, match="with incomplete content"):
            backend.head("k") if call == "head" else backend.publish(PENDING, head)
    assert len(received) == 1


PLAIN = {"name": "k", "size": "5", "etag": "e", "generation": "1", "crc32c": "AAAAAA==", "contentType": "image/png"}


@pytest.mark.parametrize(
    ("attributes", "unexpected"),
    [
        ({"contentLanguage": "de"}, {"content-language": "de"}),
        ({"customTime": "2026-01-02T03:04:05Z"}, {"custom-time": "2026-01-02T03:04:05Z"}),
        ({"temporaryHold": True}, {"temporary-hold": "True"}),
        ({"temporaryHold": False}, {}),
        ({"retention": {"mode": "Unlocked", "retainUntilTime": "2027-01-01T00:00:00Z"}}, {"retention": "Unlocked"}),
        # These come from the bucket's defaults.
        ({"storageClass": "NEARLINE"}, {}),
        ({"eventBasedHold": True}, {}),
        ({"kmsKeyName": "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"}, {}),
        ({"retentionExpirationTime": "2027-01-01T00:00:00Z"}, {}),
    ],
)
def test_head_shows_what_no_grant_has(
    gcs: Reference, attributes: dict[str, object], unexpected: dict[str, str]
) -> None:
    content = json.dumps(PLAIN | attributes).encode()
    with storage(lambda request, number: answer(request, 200, content)) as (url, _):
        head = anonymous(gcs, url).head("k")
    assert head is not None
    assert (head.unexpected_headers, head.readable) == (unexpected, True)


def test_head_says_that_an_object_needs_a_key_which_only_the_client_has(gcs: Reference) -> None:
    # Google: without the key, the metadata have neither the CRC32C nor the MD5.
    resource = {name: value for name, value in PLAIN.items() if name != "crc32c"}
    resource |= {"customerEncryption": {"encryptionAlgorithm": "AES256", "keySha256": "a"}}  # type: ignore[dict-item]
    with storage(lambda request, number: answer(request, 200, json.dumps(resource).encode())) as (url, _):
        head = anonymous(gcs, url).head("k")
    assert head is not None
    assert (head.readable, head.size, head.content_type) == (False, 5, "image/png")


def test_a_hanging_storage_or_token_service_keeps_no_call_longer_than_the_stated_time(gcs: Reference) -> None:
    end_of_test = threading.Event()

    def fail_then_hang(request: BaseHTTPRequestHandler, number: int) -> None:
        if number == 1:
            answer(request, 503)
        else:
            end_of_test.wait()

    def seconds_until_unavailable(call: Callable[[], object]) -> float:
        started = time.monotonic()
        with pytest.raises(StorageUnavailable):
            call()
        return time.monotonic() - started

    with hanging_server() as url, storage(fail_then_hang) as (failing_url, received), ThreadPoolExecutor(11) as pool:
        on_hanging_storage = calls(anonymous(gcs, url))
        with_hanging_token_service = calls(gcs.backend("rsa", credentials=gcs.info | {"token_uri": f"{url}/token"}))
        one_attempt = [
            pool.submit(seconds_until_unavailable, call)
            for call in [*on_hanging_storage.values(), *with_hanging_token_service.values()]
        ]
        after_failure = anonymous(gcs, failing_url)
        two_attempts = pool.submit(seconds_until_unavailable, lambda: after_failure.head("k"))
        # The two seconds beyond the promise are for a machine under load.
        assert max(future.result() for future in one_attempt) < 10 + 2
        assert two_attempts.result() < 15 + 2
        assert len(received) == 2
        end_of_test.set()
