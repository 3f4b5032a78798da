"""Lists of files: in which threads their items are made, and what a request does that cannot wait any longer."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import tracemalloc
from collections.abc import Awaitable
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

import pytest

from presign import Accept, ConfigurationError, Grant, InspectedObject, Presigner, UploadPolicy, UploadRequest
from presign.backends.expiring_credentials import CredentialsExpired
from presign.http.async_endpoints import AsyncEndpoints, _issue_in_turns
from presign.http.lists import MAX_FILES, TooManyFiles, Uploads, is_list
from presign.http.request_body import MAX_BODY_BYTES
from presign.messages import MAX_NAME_CHARACTERS
from presign.parts import PARTS_AT_ONCE
from presign.testing import MemoryBackend
from tests.conftest import PNG, TOKEN_SECRET

SMALL = {"type": "image/png"}
LARGE: dict[str, Any] = {"type": "image/png", "size": 75}
SECONDS = 60


class _Watched(MemoryBackend):
    """A backend that notes in which thread each signature is made, and each upload in parts begins."""

    signing_service = False
    expired = False

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[str] = []

    @property
    def signing_does_io(self) -> bool:
        return self.signing_service

    def sign_upload(self, grant: Grant, now: datetime) -> Any:
        name = threading.current_thread().name
        self.threads.append(name)
        if self.expired and name == threading.main_thread().name:
            raise CredentialsExpired("the credentials expired")
        return super().sign_upload(grant, now)

    @property
    def parts(self) -> Any:
        self.threads.append(threading.current_thread().name)
        return super().parts


def _presigner(backend: MemoryBackend, **options: Any) -> Presigner:
    policy = UploadPolicy(
        content_types={"image/png"}, max_bytes=100, prefix="public/", parts_from_bytes=60, part_bytes=30
    )
    return Presigner(backend=backend, policy=policy, secret=TOKEN_SECRET, **options)


def _ask(endpoints: AsyncEndpoints, presigner: Presigner, path: str, items: list[Any]) -> list[Any]:
    async def ask() -> bytes:
        return await endpoints.answers(presigner)[path](json.dumps(items).encode(), "alice")

    answers: list[Any] = json.loads(asyncio.run(ask()))
    return answers


def _parts_stored(backend: MemoryBackend, presigner: Presigner, count: int) -> list[dict[str, str]]:
    content = PNG.ljust(LARGE["size"])
    answers = _ask(AsyncEndpoints(), presigner, "/upload", [LARGE] * count)
    for each in answers:
        backend.upload(each["body"], content)
    return [{"token": each["body"]["token"]} for each in answers]


async def _awaited(awaitable: Awaitable[bytes]) -> bytes:
    return await awaitable


def _stored(backend: MemoryBackend, presigner: Presigner, count: int) -> list[dict[str, str]]:
    answers = _ask(AsyncEndpoints(), presigner, "/upload", [SMALL] * count)
    for each in answers:
        backend.upload(each["body"], PNG)
    return [{"token": each["body"]["token"]} for each in answers]


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b"[]", True), (b" \r\n\t[", True), (b"{}", False), (b'"["', False), (b"", False), (b"\xef\xbb\xbf[]", False)],
)
def test_a_list_is_known_by_its_first_character(body: bytes, expected: bool) -> None:
    assert is_list(body) is expected


def test_tickets_are_signed_without_a_thread_and_large_files_begin_in_threads() -> None:
    backend = _Watched()
    presigner = _presigner(backend)
    backend.threads.clear()
    answers = _ask(AsyncEndpoints(), presigner, "/upload", [SMALL, LARGE, SMALL])
    assert [each["status"] for each in answers] == [200] * 3
    here = threading.current_thread().name
    assert backend.threads[:2] == [here, here]
    assert {*backend.threads[2:]} == {"presign parts"}


@pytest.mark.parametrize(("signing_service", "expired"), [(True, False), (False, True)], ids=["service", "expired"])
def test_tickets_whose_signature_needs_io_are_signed_in_threads(signing_service: bool, expired: bool) -> None:
    backend = _Watched()
    presigner = _presigner(backend)
    backend.signing_service, backend.expired = signing_service, expired
    backend.threads.clear()
    answers = _ask(AsyncEndpoints(), presigner, "/upload", [SMALL, SMALL])
    assert [each["status"] for each in answers] == [200] * 2
    here = threading.current_thread().name
    assert [name for name in backend.threads if name != here] == ["presign upload"] * 2
    assert backend.threads.count(here) == (2 if expired else 0)


def test_other_requests_are_served_between_tickets_that_take_long_such_as_with_rsa_keys() -> None:
    issued, seen = list[str](), list[int]()

    def new_id() -> str:
        issued.append("")
        time.sleep(0.002)
        return f"{len(issued):032x}"

    presigner = _presigner(MemoryBackend(), new_id=new_id)
    upload = AsyncEndpoints().answers(presigner)["/upload"]

    async def count_while(task: asyncio.Future[bytes]) -> None:
        while not task.done():
            seen.append(len(issued))
            await asyncio.sleep(0)

    async def run() -> None:
        await count_while(asyncio.ensure_future(upload(json.dumps([SMALL] * 20).encode(), None)))

    asyncio.run(run())
    assert sorted({*seen, len(issued)}) == [*range(21)]


def test_the_tickets_of_a_list_are_issued_in_few_turns_if_they_take_microseconds() -> None:
    turns = list[int]()

    class Counted:
        def issue(self, count: int) -> bool:
            turns.append(count)
            return sum(turns) < 100

    asyncio.run(_issue_in_turns(cast("Uploads", Counted())))
    assert turns[0] == 1
    # One turn can be long because other programs use the machine.
    assert len(turns) < 20


def test_the_signatures_of_many_parts_leave_the_event_loop_to_other_requests() -> None:
    backend = _Watched()
    presigner = _presigner(backend)
    presigner = Presigner(backend=backend, policy=replace(presigner.policy, max_bytes=10_000), secret=TOKEN_SECRET)
    sign = AsyncEndpoints().answers(presigner)["/parts"]
    token = presigner.issue(UploadRequest(content_type="image/png", size=900)).token
    for count, expected in ((PARTS_AT_ONCE, threading.current_thread().name), (PARTS_AT_ONCE + 1, "presign upload")):
        backend.threads.clear()
        body = json.dumps({"token": token, "numbers": [*range(1, count + 1)]}).encode()
        assert len(json.loads(asyncio.run(_awaited(sign(body, None))))["requests"]) == count
        assert {*backend.threads} == {expected}


@pytest.mark.parametrize("max_files", [0, -1])
def test_a_limit_of_nothing_is_refused(max_files: int) -> None:
    with pytest.raises(ConfigurationError, match="max_files"):
        AsyncEndpoints(max_files=max_files)


def test_the_application_chooses_how_many_files_a_request_may_have() -> None:
    assert AsyncEndpoints().lists.max_body_bytes == MAX_FILES * MAX_BODY_BYTES
    endpoints, presigner = AsyncEndpoints(max_files=2), _presigner(MemoryBackend())
    assert endpoints.lists.max_body_bytes == 2 * MAX_BODY_BYTES
    assert len(_ask(endpoints, presigner, "/upload", [SMALL] * 2)) == 2
    with pytest.raises(TooManyFiles) as raised:
        _ask(endpoints, presigner, "/upload", [SMALL] * 3)
    assert (raised.value.value, raised.value.limit) == (3, 2)


@pytest.mark.parametrize("value", ["[]", "{}", "1.5", '{"type":"image/png"}', '"a text"'])
def test_a_list_with_far_more_values_than_its_files_need_is_refused_before_it_is_read(value: str) -> None:
    endpoints, presigner = AsyncEndpoints(), _presigner(MemoryBackend())
    count = endpoints.lists.max_body_bytes // (len(value) + 1)
    body = f"[{','.join([value] * (count - 1))}]".encode()

    async def ask() -> bytes:
        return await endpoints.answers(presigner)["/upload"](body, "alice")

    tracemalloc.start()
    try:
        with pytest.raises(TooManyFiles) as raised:
            asyncio.run(ask())
        # The values would take more than 20 MB. Threads of other tests may take some.
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert raised.value.limit == MAX_FILES


def test_names_of_commas_are_not_taken_for_more_values() -> None:
    digest = {"part_size": 5, "sha256": "0" * 64}
    item = {"name": "," * MAX_NAME_CHARACTERS, "size": 5, "hashes_parts": True, "part_size": 5, "parts_digest": digest}
    answers = _ask(AsyncEndpoints(), _presigner(MemoryBackend()), "/upload", [{**SMALL, **item}] * MAX_FILES)
    assert {each["body"].get("field") for each in answers} == {"parts_digest"}, "the file is too small for parts"


class _Hanging:
    """An ``inspect`` that waits until it is released, as long as it ``hangs``, and keeps the keys of these files."""

    def __init__(self) -> None:
        self.hangs = True
        self.released = threading.Event()
        self.keys: list[str] = []

    def __call__(self, uploaded: InspectedObject) -> Accept:
        if self.hangs:
            self.keys.append(uploaded.key)
            assert self.released.wait(SECONDS)
        return Accept()


def test_a_list_that_hangs_leaves_threads_to_other_requests_and_its_waiting_calls_are_not_made() -> None:
    backend, inspect = MemoryBackend(), _Hanging()
    presigner = _presigner(backend, inspect=inspect)
    tokens = _stored(backend, presigner, 10)
    other = _stored(backend, presigner, 1)[0]
    endpoints = AsyncEndpoints(max_threads=4, timeout_seconds=0.5)
    answers = _ask(endpoints, presigner, "/complete", tokens)
    assert {(each["status"], each["retry_after"]) for each in answers} == {(503, 5)}
    assert len(inspect.keys) == 2, "a list takes half of the threads"
    inspect.hangs = False
    patient = AsyncEndpoints(max_threads=4, timeout_seconds=SECONDS)
    patient._complete_threads = endpoints._complete_threads

    async def complete() -> bytes:
        return await patient.answers(presigner)["/complete"](json.dumps(other).encode(), "alice")

    assert json.loads(asyncio.run(complete()))["size"] == len(PNG)
    inspect.released.set()


def test_a_list_of_large_files_leaves_threads_to_other_requests() -> None:
    backend, inspect = MemoryBackend(), _Hanging()
    presigner = _presigner(backend, inspect=inspect)
    tokens = _parts_stored(backend, presigner, 6)
    other = _parts_stored(backend, presigner, 1)[0]
    endpoints = AsyncEndpoints(max_threads=4, timeout_seconds=0.5)
    answers = _ask(endpoints, presigner, "/complete", tokens)
    assert {each["status"] for each in answers} == {202}
    while len(inspect.keys) < 2:
        time.sleep(0.005)
    inspect.hangs = False
    patient = AsyncEndpoints(max_threads=4, timeout_seconds=SECONDS)
    patient._long_completions = endpoints._long_completions

    async def complete() -> bytes:
        return await patient.answers(presigner)["/complete"](json.dumps(other).encode(), "alice")

    assert json.loads(asyncio.run(complete()))["size"] == LARGE["size"], "a list takes half of the threads"
    assert len(inspect.keys) == 2
    inspect.released.set()
    patient = AsyncEndpoints(max_threads=4, timeout_seconds=SECONDS)
    patient.lists._long_completions = endpoints._long_completions
    assert [each["status"] for each in _ask(patient, presigner, "/complete", tokens)] == [200] * 6
    assert len(inspect.keys) == 2, "each file was completed once"


def test_a_request_that_is_cancelled_gives_its_waiting_calls_up() -> None:
    backend, released, begun = MemoryBackend(), threading.Event(), list[str]()

    def inspect(uploaded: InspectedObject) -> Accept:
        begun.append(uploaded.key)
        assert released.wait(SECONDS)
        return Accept()

    presigner = _presigner(backend, inspect=inspect)
    tokens = _stored(backend, presigner, 6)
    endpoints = AsyncEndpoints(max_threads=1, timeout_seconds=SECONDS)

    async def run() -> None:
        asking = asyncio.ensure_future(endpoints.answers(presigner)["/complete"](json.dumps(tokens).encode(), "alice"))
        while not begun:
            await asyncio.sleep(0.005)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        released.set()
        # The only thread gives each request its turn, so it would have made the other calls in between.
        for _ in tokens:
            await endpoints.in_completion_thread(lambda: None)

    asyncio.run(run())
    assert len(begun) == 1


def test_a_failure_to_start_any_thread_is_a_failure_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = MemoryBackend()
    presigner = _presigner(backend)
    tokens = _stored(backend, presigner, 2)

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start"):
        _ask(AsyncEndpoints(), presigner, "/complete", tokens)
