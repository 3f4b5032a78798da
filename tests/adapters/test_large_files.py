"""Large files over HTTP: on a real S3 server, and completions that take longer than a request waits."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from demo_server.storages.local_storage import PENDING_PREFIX
from presign import (
    Accept,
    Completion,
    InspectedObject,
    Presigner,
    Reject,
    StorageUnavailable,
    Ticket,
    UploadOptions,
    UploadPolicy,
    UploadRequest,
)
from presign.http.async_endpoints import MAX_THREADS, AsyncEndpoints
from presign.http.request_body import MAX_BODY_BYTES
from presign.presigner import MAX_OWNER_BYTES
from tests.adapters.serving import ADAPTERS
from tests.conftest import PNG, TOKEN_SECRET, Store
from tests.small_parts import PART_BYTES, POLICY, SmallPartsBackend
from tests.threads import threads_named, wait_for

ALICE = {"X-User": "alice"}
SMALL = 20
TINY = PNG.ljust(50, b"\0")


def _owner(user: str | None) -> str | None:
    return user


def _presigner(store: Store, *, backend: Any = None, **options: Any) -> Presigner:
    hooks = {name: options.pop(name) for name in ("inspect", "on_complete") if name in options}
    return Presigner(
        name="videos",
        backend=backend or store.backend(),
        policy=UploadPolicy(**POLICY | options),
        secret=TOKEN_SECRET,
        **hooks,
    )


def _in_small_parts(store: Store, **options: Any) -> Presigner:
    sizes = {"max_bytes": 1000, "parts_from_bytes": 40, "part_bytes": SMALL}
    return _presigner(store, **{"backend": SmallPartsBackend(store), **sizes, **options})


@contextmanager
def _client(adapter: str, presigner: Presigner, **options: Any) -> Iterator[httpx.Client]:
    with (
        ADAPTERS[adapter]([presigner], _owner, **options) as url,
        httpx.Client(base_url=f"{url}/videos", headers=ALICE, timeout=60) as client,
    ):
        yield client


def _ticket(client: httpx.Client, size: int, **members: Any) -> Any:
    answer = client.post("upload", json={"type": "image/png", "size": size, "name": "cat.png", **members})
    assert answer.status_code == 200, answer.text
    return answer.json()


def _send(request: Any, body: bytes) -> int:
    return httpx.request(request["method"], request["url"], headers=request["headers"], content=body).status_code


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# A real S3 server


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_parts_go_to_a_real_server_in_parallel_and_are_resumed_after_half_of_them(
    seaweedfs: Store, adapter: str
) -> None:
    file = PNG.ljust(PART_BYTES, b"a") + b"b" * PART_BYTES + b"c" * PART_BYTES + b"the rest"
    parts = [file[start : start + PART_BYTES] for start in range(0, len(file), PART_BYTES)]
    digests = [hashlib.sha256(part).hexdigest() for part in parts]
    presigner = _presigner(seaweedfs)
    with _client(adapter, presigner) as client, ThreadPoolExecutor(4) as pool:
        ticket = _ticket(client, len(file), hashes_parts=True)
        token = {"token": ticket["token"]}
        assert (ticket["parts"]["count"], ticket["parts"]["needs_sha256"]) == (4, True)

        def send(numbers: list[int]) -> list[int]:
            body = {**token, "numbers": numbers, "sha256": [digests[number - 1] for number in numbers]}
            requests = client.post("parts", json=body).json()["requests"]
            assert [request["number"] for request in requests] == numbers
            return list(pool.map(lambda each: _send(each, parts[each["number"] - 1]), requests))

        assert send([4, 2]) == [200, 200]
        assert client.post("parts/list", json=token).json()["numbers"] == [2, 4]
        assert client.post("complete", json=token).json()["numbers"] == [1, 3]
        assert send([1, 3]) == [200, 200]
        stored = client.post("complete", json=token)
        assert (stored.status_code, stored.json()["size"]) == (200, len(file))
        assert client.post("parts/list", json=token).json()["numbers"] == [1, 2, 3, 4]
    published = seaweedfs.admin.get_object(Bucket=seaweedfs.bucket, Key=ticket["key"])["Body"].read()
    assert hashlib.sha256(published).digest() == hashlib.sha256(file).digest()
    seaweedfs.admin.delete_object(Bucket=seaweedfs.bucket, Key=ticket["key"])


def test_a_real_server_forgets_the_parts_of_an_aborted_upload(seaweedfs: Store) -> None:
    with _client("asgi", _presigner(seaweedfs)) as client:
        ticket = _ticket(client, PART_BYTES + 7)
        token = {"token": ticket["token"]}
        _, last = ticket["parts"]["requests"]
        assert _send(last, b"seven b") == 200
        key = PENDING_PREFIX + ticket["key"].rpartition("/")[2]
        began = seaweedfs.admin.list_multipart_uploads(Bucket=seaweedfs.bucket, Prefix=key)
        assert len(began["Uploads"]) == 1
        assert client.post("abort", json=token, headers={"X-User": "bob"}).status_code == 403
        assert client.post("parts/list", json=token).json()["numbers"] == [2]
        assert client.post("abort", json=token).json() == {}
        assert "Uploads" not in seaweedfs.admin.list_multipart_uploads(Bucket=seaweedfs.bucket, Prefix=key)
        assert _send(last, b"seven b") == 404
        assert _code(client.post("complete", json=token)) == (410, "upload_ended")
        assert not seaweedfs.holds(ticket["key"])


# Completions that take longer than a request waits


class _Slow:
    """An ``inspect`` that waits until it is released, and counts its calls."""

    def __init__(self, verdict: Any) -> None:
        self.verdict = verdict
        self.released = threading.Event()
        self.calls = 0

    def __call__(self, uploaded: InspectedObject) -> Any:
        self.calls += 1
        assert self.released.wait(30)
        return self.verdict


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def _stored(presigner: Presigner) -> Ticket:
    """Send a file in parts. Its ticket does not come over HTTP, where a busy machine may be too late for a time-out."""
    ticket = presigner.issue(UploadRequest(content_type="image/png", size=len(TINY)), owner="alice")
    assert ticket.parts is not None
    for request in ticket.parts.requests:
        start = (request.number - 1) * SMALL
        assert _send(request.to_dict(), TINY[start : start + SMALL]) == 200
    return ticket


def _asked_until_it_ends(client: httpx.Client, token: Any) -> httpx.Response:
    deadline = time.monotonic() + 30
    while (answer := client.post("complete", json=token)).status_code == 202:
        assert time.monotonic() < deadline
    return answer


def test_a_completion_that_takes_long_is_answered_with_202_and_its_result_when_asked_again(
    adapter: str, s3_reference: Store
) -> None:
    inspect, told = _Slow(Accept()), list[Completion]()
    presigner = _in_small_parts(s3_reference, inspect=inspect, on_complete=told.append)
    ticket = _stored(presigner)
    token = {"token": ticket.token}
    with _client(adapter, presigner, timeout_seconds=0.2) as client:
        for _ in range(3):
            answer = client.post("complete", json=token)
            assert _code(answer) == (202, "completion_pending")
            assert (answer.headers["retry-after"], answer.headers["cache-control"]) == ("1", "no-store")
        steps = [client.post("complete", json=token).json()["progress"]["step"]]
        while steps[-1] != "inspecting" and len(steps) < 100:
            steps.append(client.post("complete", json=token).json()["progress"]["step"])
        assert steps[-1] == "inspecting"
        assert _code(client.post("abort", json=token)) == (202, "completion_pending")
        assert _code(client.post("complete", json=token, headers={"X-User": "bob"})) == (403, "invalid_token")
        assert told == []
        inspect.released.set()
        answer = _asked_until_it_ends(client, token)
        assert (answer.status_code, answer.json()["key"]) == (200, ticket.key)
        assert inspect.calls == 1, "who asks again waits for the same completion"
        assert [each.owner for each in told] == ["alice"]
        assert _asked_until_it_ends(client, token).json() == answer.json()


def test_the_reason_of_a_refusal_reaches_the_client_that_asks_again(adapter: str, s3_reference: Store) -> None:
    inspect = _Slow(Reject("the picture is too dark"))
    presigner = _in_small_parts(s3_reference, inspect=inspect)
    token = {"token": _stored(presigner).token}
    with _client(adapter, presigner, timeout_seconds=0.2) as client:
        assert _code(client.post("complete", json=token)) == (202, "completion_pending")
        inspect.released.set()
        answer = _asked_until_it_ends(client, token)
        assert _code(answer) == (422, "rejected")
        assert answer.json()["detail"] == "the picture is too dark"
        assert _code(_asked_until_it_ends(client, token)) == (410, "upload_ended")


def test_coroutine_functions_of_the_application_run_also_after_the_first_answer(
    adapter: str, s3_reference: Store
) -> None:
    inspect, told = _Slow(Accept()), list[str]()

    async def on_complete(completion: Completion) -> None:
        told.append(completion.stored.key)

    presigner = _in_small_parts(s3_reference, inspect=inspect, on_complete=on_complete)
    ticket = _stored(presigner)
    token = {"token": ticket.token}
    with _client(adapter, presigner, timeout_seconds=0.2) as client:
        assert _code(client.post("complete", json=token)) == (202, "completion_pending")
        inspect.released.set()
        assert _asked_until_it_ends(client, token).status_code == 200
        assert told == [ticket.key]


# What must not block the event loop


class _Hanging(SmallPartsBackend):
    """Begins, lists and aborts no upload: the calls wait until they are released, and then fail."""

    released: threading.Event

    @property
    def parts(self) -> Any:
        return _HangingParts(super().parts, self.released)


class _HangingParts:
    def __init__(self, parts: Any, released: threading.Event) -> None:
        self._parts = parts
        self._released = released

    def __getattr__(self, name: str) -> Any:
        return self._wait if name in {"begin", "list_parts", "abort"} else getattr(self._parts, name)

    def _wait(self, *args: Any, **options: Any) -> Any:
        self._released.wait(30)
        raise StorageUnavailable("the storage failed at last")


@pytest.mark.parametrize("adapter", ["asgi", "fastapi"])
def test_a_storage_that_hangs_when_a_large_file_begins_or_is_listed_blocks_no_other_request(
    adapter: str, s3_reference: Store
) -> None:
    backend = _Hanging(s3_reference)
    backend.released = threading.Event()
    request = UploadRequest(content_type="image/png", size=len(TINY), hashes_parts=True)
    token = {"token": _in_small_parts(s3_reference).issue(request, owner="alice").token}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("upload", {"type": "image/png", "size": len(TINY)}),
        ("parts/list", token),
        ("abort", token),
    ]
    presigner = _in_small_parts(s3_reference, backend=backend)
    with _client(adapter, presigner) as client, ThreadPoolExecutor(30) as pool:
        hanging = [pool.submit(client.post, path, json=body) for path, body in calls[:2] * 10 + calls[2:]]
        wait_for(lambda: len(threads_named("presign parts")) >= MAX_THREADS)
        for _ in range(3):
            assert _ticket(client, 30)["method"] == "POST"
            body = {**token, "numbers": [1], "sha256": ["0" * 64]}
            assert client.post("parts", json=body).status_code == 200
        assert not any(each.done() for each in hanging)
        backend.released.set()
        assert {_code(each.result()) for each in hanging} == {(503, "storage_unavailable")}
    backend.released.clear()
    with _client(adapter, presigner, timeout_seconds=0.2) as client:
        for path, body in calls:
            answer = client.post(path, json=body)
            assert _code(answer) == (503, "storage_unavailable")
            assert answer.headers["retry-after"] == "5"
            assert "within 0.2 seconds" in answer.json()["detail"]
    backend.released.set()


def test_a_small_ticket_and_the_requests_of_parts_are_signed_without_a_thread(s3_reference: Store) -> None:
    presigner = _in_small_parts(s3_reference)
    token = presigner.issue(UploadRequest(content_type="image/png", size=len(TINY)), owner="alice").token
    threads: list[str] = []

    class Watched(SmallPartsBackend):
        def sign_upload(self, *args: Any, **options: Any) -> Any:
            threads.append(threading.current_thread().name)
            return super().sign_upload(*args, **options)

        @property
        def parts(self) -> Any:
            threads.append(threading.current_thread().name)
            return super().parts

    backend = Watched(s3_reference)
    answers = AsyncEndpoints().answers(_in_small_parts(s3_reference, backend=backend))

    def threads_of(path: str, body: Any) -> set[str]:
        async def ask() -> None:
            assert await answers[path](json.dumps(body).encode(), "alice")

        threads.clear()
        asyncio.run(ask())
        return {*threads}

    here = threading.current_thread().name
    assert threads_of("/upload", {"type": "image/png", "size": 30}) == {here}
    assert threads_of("/parts", {"token": token, "numbers": [2]}) == {here}
    assert threads_of("/upload", {"type": "image/png", "size": 50}) == {"presign parts"}
    assert threads_of("/parts/list", {"token": token}) == {"presign parts"}


def test_only_a_token_that_opens_here_is_one_of_a_file_in_parts(s3_reference: Store) -> None:
    presigner = _in_small_parts(s3_reference)
    large = presigner.issue(UploadRequest(content_type="image/png", size=len(TINY)), owner="alice").token
    small = presigner.issue(UploadRequest(content_type="image/png", size=30), owner="alice").token
    assert [presigner.is_in_parts(token) for token in (large, small, f"{large}x", "x", "")] == [True, *[False] * 4]


# Lengths


def test_the_token_of_a_file_with_a_long_name_fits_into_an_address_that_gunicorn_takes(s3_reference: Store) -> None:
    for content_disposition, name in ((None, "\U0001f408" * 255), ("attachment", "\u00fc" * 200)):
        presigner = _presigner(s3_reference, content_disposition=content_disposition)
        ticket = presigner.issue(UploadRequest(content_type="image/png", size=10**8, name=name), owner="o" * 64)
        presigner.abort(ticket.token, owner="o" * 64)
        line = f"GET /files/pictures/s3/multipart/{ticket.token}/10000?key={quote(ticket.key)} HTTP/1.1"
        # gunicorn's own limit, without its option --limit-request-line.
        assert 1000 < len(line) <= 4094


def test_the_longest_token_fits_into_a_body_together_with_the_digests_of_100_parts(s3_reference: Store) -> None:
    presigner = _presigner(
        s3_reference,
        prefix="p" * 480 + "/",
        pending_prefix="q" * 480 + "/",
        max_bytes=10**12,
        content_disposition="attachment",
        cache_control="c" * 200,
        metadata={"m" * 48: "v" * 2000},
    )
    options = UploadOptions(tags={f"{index}".ljust(128, "t"): "v" * 256 for index in range(10)}, storage_class="C" * 64)
    request = UploadRequest(
        content_type="image/png", size=10**12, name="\U0001f408" * 255, sha256=None, hashes_parts=True
    )
    owner = "o" * MAX_OWNER_BYTES
    ticket = presigner.issue(request, owner=owner, options=options)
    digests = ["f" * 64] * 100
    body = json.dumps({"token": ticket.token, "numbers": list(range(9901, 10_001)), "sha256": digests})
    assert ticket.parts is not None
    assert ticket.parts.plan.count > 9900
    assert 16 * 1024 < len(body) <= MAX_BODY_BYTES
    presigner.abort(ticket.token, owner=owner)
