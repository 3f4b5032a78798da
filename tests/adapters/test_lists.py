"""Many files in one request: each has the verdict that it would get alone, on every adapter and over a socket."""

from __future__ import annotations

import itertools
import json
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from presign import (
    Accept,
    Completion,
    CredentialsUnavailable,
    Grant,
    InspectedObject,
    NotYet,
    Presigner,
    Reject,
    StorageUnavailable,
    Unauthenticated,
    UploadPolicy,
)
from presign.http.lists import MAX_FILES
from presign.http.request_body import MAX_BODY_BYTES, MAX_LARGER_BODIES
from presign.testing import MemoryBackend
from tests.adapters.serving import ADAPTERS, serve_naively
from tests.adapters.unfinished import ANSWER_SECONDS, answer_to_unfinished
from tests.conftest import PNG, TOKEN_SECRET

JSON = {"Content-Type": "application/json"}
ALICE = {"X-User": "alice"}
UPLOAD, COMPLETE = PATHS = ("/pictures/upload", "/pictures/complete")
LIST_BYTES = MAX_FILES * MAX_BODY_BYTES
SECRET_DETAIL = "a detail that nobody may read"
PART_BYTES = 30
LARGE = PNG.ljust(75, b"\0")
SMALL = {"type": "image/png"}
TOGETHER = 4
DEADLINE_SECONDS = 60


class _Parts:
    """The uploads in parts of a memory backend, of which some cannot begin."""

    def __init__(self, parts: Any) -> None:
        self._parts = parts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parts, name)

    def begin(self, grant: Grant, *, needs_sha256: bool) -> str:
        _fail(grant.name)
        upload_id: str = self._parts.begin(grant, needs_sha256=needs_sha256)
        return upload_id


class _Backend(MemoryBackend):
    @property
    def parts(self) -> Any:
        return _Parts(super().parts)

    def sign_upload(self, grant: Grant, *args: Any) -> Any:
        _fail(grant.name)
        return super().sign_upload(grant, *args)


def _fail(name: str | None) -> None:
    failures: dict[str | None, Exception] = {
        "unsigned.png": CredentialsUnavailable("the credentials expired"),
        "not-begun.png": StorageUnavailable("the storage did not answer"),
        "no-ticket.png": RuntimeError(SECRET_DETAIL),
    }
    if name in failures:
        raise failures[name]


@dataclass(kw_only=True)
class _Server:
    """A served adapter, as a client sees it, and what the application behind it has seen."""

    backend: MemoryBackend
    client: httpx.Client
    answer_seconds: float
    url: str = ""
    decided: list[str | None] = field(default_factory=list)
    told: list[Completion] = field(default_factory=list)
    together: threading.Barrier = field(default_factory=lambda: threading.Barrier(TOGETHER))
    released: threading.Event = field(default_factory=threading.Event)

    def decide(self, user: str | None) -> str | None:
        self.decided.append(user)
        if user is None:
            raise Unauthenticated("sign in")
        return user

    def inspect(self, uploaded: InspectedObject) -> Accept | Reject | NotYet:
        match uploaded.name:
            case "storage-down.png":
                raise StorageUnavailable("the storage did not answer")
            case "crash.png":
                raise RuntimeError(SECRET_DETAIL)
            case "slow.png":
                return NotYet(retry_after=9)
            case "dark.png":
                return Reject("the picture is too dark")
            case "together.png":
                self.together.wait(self.answer_seconds)
            case "hangs.png":
                assert self.released.wait(DEADLINE_SECONDS)
        return Accept()

    def presigner(self) -> Presigner:
        policy = UploadPolicy(
            content_types={"image/png"},
            max_bytes=100,
            min_bytes=10,
            prefix="public/",
            parts_from_bytes=60,
            part_bytes=PART_BYTES,
        )
        return Presigner(
            name="pictures",
            backend=self.backend,
            policy=policy,
            secret=TOKEN_SECRET,
            inspect=self.inspect,
            on_complete=self.told.append,
        )

    def post(self, path: str, body: object, *, user: str | None = "alice") -> httpx.Response:
        headers = JSON | ({"X-User": user} if user else {})
        return self.client.post(f"{self.url}{path}", content=json.dumps(body), headers=headers)

    def listed(self, path: str, items: list[Any], *, user: str = "alice") -> list[dict[str, Any]]:
        answer = self.post(path, items, user=user)
        assert answer.status_code == 200, answer.text
        answers: list[dict[str, Any]] = answer.json()
        assert len(answers) == len(items)
        return answers

    def tickets(self, *names: str) -> list[dict[str, Any]]:
        answers = self.listed(UPLOAD, [{**SMALL, "name": name} for name in names])
        assert [each["status"] for each in answers] == [200] * len(names)
        return [each["body"] for each in answers]

    def tokens(self, *names: str) -> list[dict[str, str]]:
        """Upload a file of each name, and return the list that completes them."""
        tickets = self.tickets(*names)
        for ticket in tickets:
            self.backend.upload(ticket, PNG)
        return [{"token": ticket["token"]} for ticket in tickets]

    def large_token(self, name: str = "cat.png", **members: Any) -> dict[str, str]:
        ticket = self.post(UPLOAD, {**SMALL, "size": len(LARGE), "name": name, **members}).json()
        self.backend.upload(ticket, LARGE)
        return {"token": ticket["token"]}

    def unfinished(self, path: str, headers: dict[str, str], body: bytes = b"") -> httpx.Response:
        return answer_to_unfinished(f"{self.url}{path}", headers, body, seconds=self.answer_seconds)


@contextmanager
def _served(
    serve: Any, client: httpx.Client, *, answer_seconds: float = ANSWER_SECONDS, **options: Any
) -> Iterator[_Server]:
    server = _Server(backend=_Backend(), client=client, answer_seconds=answer_seconds)
    with serve([server.presigner()], server.decide, **options) as server.url:
        try:
            yield server
        finally:
            server.released.set()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    # A server that logs a failure of its own closes the connection after its answer.
    with httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        yield client


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=ADAPTERS)
def server(request: pytest.FixtureRequest, client: httpx.Client) -> Iterator[_Server]:
    with _served(ADAPTERS[request.param], client, companion=True) as server:
        yield server


@pytest.fixture
def naive_server(client: httpx.Client) -> Iterator[_Server]:
    with _served(serve_naively, client, answer_seconds=0.2) as server:
        yield server


def _verdict(item: dict[str, Any]) -> tuple[int, str | None, int | None]:
    assert item.keys() <= {"status", "body", "retry_after"}
    if item["status"] != 200:
        assert item["body"].keys() >= {"type", "title", "status", "detail", "code"}
        assert item["body"]["status"] == item["status"]
    return item["status"], item["body"].get("code"), item.get("retry_after")


def _is_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    return problem


def gives_each_file_the_ticket_or_the_problem_that_it_would_get_alone(server: _Server) -> None:
    large = {**SMALL, "size": len(LARGE)}
    requests: list[Any] = [
        {**SMALL, "name": "cat.png"},
        {"type": "text/html"},
        {**SMALL, "size": 101},
        {**SMALL, "size": 9},
        {**SMALL, "unknown": 1},
        {**SMALL, "name": "../cat.png"},
        {},
        {**SMALL, "name": "unsigned.png"},
        {**SMALL, "name": "no-ticket.png"},
        large,
        {**large, "name": "not-begun.png"},
        {**large, "name": "no-ticket.png"},
        {**SMALL, "size": 50},
    ]
    answers = server.listed(UPLOAD, requests)
    keys = [each["body"].get("key") for each in answers if each["status"] == 200]
    assert len({*keys}) == len(keys) == 3
    for item, asked in zip(answers, requests, strict=True):
        alone = server.post(UPLOAD, asked)
        assert item["status"] == alone.status_code, asked
        if alone.status_code == 200:
            assert item["body"].keys() == alone.json().keys()
        else:
            assert item["body"] == alone.json()
        assert str(item.get("retry_after")) == alone.headers.get("retry-after", "None")
        assert SECRET_DETAIL not in json.dumps(item)


def refuses_what_is_no_object_for_itself_alone(server: _Server) -> None:
    # An item of text is not read as JSON once more.
    items: list[Any] = [5, None, True, "", json.dumps(SMALL), [SMALL], [], {}]
    for path, valid in ((UPLOAD, SMALL), (COMPLETE, server.tokens("cat.png")[0])):
        verdicts = [_verdict(each) for each in server.listed(path, [*items, valid])]
        assert verdicts == [(400, "invalid_request", None)] * len(items) + [(200, None, None)]


def completes_each_file_of_a_list_whatever_happens_to_the_others(server: _Server) -> None:
    names = ("cat.png", "dark.png", "slow.png", "storage-down.png", "crash.png", "dog.png")
    items = [*server.tokens(*names), {"token": server.tickets("missing.png")[0]["token"]}, {"token": "x"}, {"token": 1}]
    answers = server.listed(COMPLETE, items)
    assert [_verdict(each) for each in answers] == [
        (200, None, None),
        (422, "rejected", None),
        (202, "completion_pending", 9),
        (503, "storage_unavailable", 5),
        (500, "internal", None),
        (200, None, None),
        (409, "not_uploaded", None),
        (403, "invalid_token", None),
        (400, "invalid_request", None),
    ]
    assert SECRET_DETAIL not in json.dumps(answers)
    assert answers[0]["body"].keys() == {"key", "object_url", "etag", "version", "size", "type"}
    assert server.listed(COMPLETE, items[:1]) == answers[:1], "it can be repeated"
    assert server.post(COMPLETE, items[0]).json() == answers[0]["body"]


def authorises_a_list_once_and_before_it_comes(server: _Server) -> None:
    for path in PATHS:
        headers = {**JSON, "Content-Length": str(LIST_BYTES)}
        _is_problem(server.unfinished(path, headers), 401, "unauthenticated")
        _is_problem(server.unfinished(path, headers, b"["), 401, "unauthenticated")
    tokens = server.tokens(*["cat.png"] * 3)
    for path, items in ((UPLOAD, [SMALL] * 3), (COMPLETE, tokens)):
        server.decided.clear()
        server.listed(path, items)
        assert server.decided == ["alice"]


def refuses_a_list_without_files_or_with_too_many_as_a_whole(server: _Server) -> None:
    for path in PATHS:
        assert _is_problem(server.post(path, []), 400, "invalid_request")["limit"] == MAX_FILES
        problem = _is_problem(server.post(path, [{}] * (MAX_FILES + 1)), 413, "too_many_files")
        assert (problem["value"], problem["limit"]) == (MAX_FILES + 1, MAX_FILES)
        for malformed in (b"[", b"[{]", b"[" * 5000, b'[{"type": "image/png"}', b"[{}] []"):
            answer = server.client.post(f"{server.url}{path}", content=malformed, headers=JSON | ALICE)
            _is_problem(answer, 400, "invalid_request")
    assert {each["status"] for each in server.listed(UPLOAD, [SMALL] * MAX_FILES)} == {200}


def refuses_a_list_as_soon_as_it_is_too_large(server: _Server) -> None:
    chunk = b"%x\r\n%s\r\n" % (65536, b" " * 65536)
    body = b"1\r\n[\r\n" + chunk * (LIST_BYTES // 65536)
    for path in PATHS:
        answer = server.unfinished(path, {**JSON, **ALICE, "Transfer-Encoding": "chunked"}, body)
        assert _is_problem(answer, 413, "body_too_large")["limit"] == LIST_BYTES


def completes_the_files_of_a_list_side_by_side(server: _Server) -> None:
    server.together.reset()
    answers = server.listed(COMPLETE, server.tokens(*["together.png"] * TOGETHER))
    assert [_verdict(each) for each in answers] == [(200, None, None)] * TOGETHER


def completes_a_token_that_comes_twice_once(server: _Server) -> None:
    small, large = server.tokens("cat.png")[0], server.large_token()
    server.told.clear()
    answers = server.listed(COMPLETE, [small, large, small, large])
    assert [each["status"] for each in answers] == [200] * 4
    assert answers[:2] == answers[2:]
    assert sorted(each.stored.key for each in server.told) == sorted(each["body"]["key"] for each in answers[:2])


def completes_a_list_for_its_owner_alone(server: _Server) -> None:
    tokens = [*server.tokens("cat.png", "dog.png"), server.large_token()]
    for _ in range(2):
        answers = server.listed(COMPLETE, tokens, user="bob")
        assert [_verdict(each) for each in answers] == [(403, "invalid_token", None)] * 3
    server.told.clear()
    assert {each["status"] for each in server.listed(COMPLETE, tokens)} == {200}
    assert [each.owner for each in server.told] == ["alice"] * 3


def gives_the_large_files_of_a_list_their_parts(server: _Server) -> None:
    large = {**SMALL, "size": len(LARGE)}
    answers = server.listed(UPLOAD, [large, SMALL, {**large, "hashes_parts": True}, large])
    assert [each["status"] for each in answers] == [200] * 4
    parts = [each["body"].get("parts") for each in answers]
    assert [plan and (plan["count"], len(plan["requests"])) for plan in parts] == [(3, 3), None, (3, 0), (3, 3)]
    whole, small, _, broken = (each["body"] for each in answers)
    server.backend.upload(whole, LARGE)
    server.backend.upload(small, PNG)
    server.backend.upload_part(broken["parts"]["requests"][1], LARGE[PART_BYTES : 2 * PART_BYTES])
    completed = server.listed(COMPLETE, [{"token": each["token"]} for each in (whole, small, broken)])
    assert [_verdict(each) for each in completed] == [
        (200, None, None),
        (200, None, None),
        (409, "parts_missing", None),
    ]
    assert [each["body"].get("size") for each in completed[:2]] == [len(LARGE), len(PNG)]
    assert completed[2]["body"]["numbers"] == [1, 3]


def lets_no_cache_store_the_answer_to_a_list(server: _Server) -> None:
    answers = [
        server.post(UPLOAD, [SMALL, {}]),
        server.post(COMPLETE, server.tokens("cat.png", "crash.png")),
        server.post(UPLOAD, []),
        server.post(COMPLETE, [{}] * (MAX_FILES + 1)),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 400, 413]
    assert [answer.headers["content-type"] for answer in answers[:2]] == ["application/json"] * 2
    for answer in answers:
        assert answer.headers.get("cache-control") == "no-store"


def takes_no_lists_at_other_addresses(server: _Server) -> None:
    token = server.large_token()
    for path in ("/parts", "/parts/list", "/abort", "/s3/multipart"):
        _is_problem(server.post(f"/pictures{path}", [{**token, "numbers": [1]}]), 400, "invalid_request")
        headers = {**JSON, **ALICE, "Content-Length": str(MAX_BODY_BYTES + 1)}
        assert (
            _is_problem(server.unfinished(f"/pictures{path}", headers), 413, "body_too_large")["limit"]
            == MAX_BODY_BYTES
        )


GUARANTEES: tuple[Callable[[_Server], None], ...] = (
    gives_each_file_the_ticket_or_the_problem_that_it_would_get_alone,
    refuses_what_is_no_object_for_itself_alone,
    completes_each_file_of_a_list_whatever_happens_to_the_others,
    authorises_a_list_once_and_before_it_comes,
    refuses_a_list_without_files_or_with_too_many_as_a_whole,
    refuses_a_list_as_soon_as_it_is_too_large,
    completes_the_files_of_a_list_side_by_side,
    completes_a_token_that_comes_twice_once,
    completes_a_list_for_its_owner_alone,
    gives_the_large_files_of_a_list_their_parts,
    lets_no_cache_store_the_answer_to_a_list,
    takes_no_lists_at_other_addresses,
)
by_guarantee = pytest.mark.parametrize("guarantee", GUARANTEES, ids=lambda guarantee: guarantee.__name__)


@by_guarantee
def test_an_adapter_gives_the_guarantee(server: _Server, guarantee: Callable[[_Server], None]) -> None:
    guarantee(server)
    assert server.post(UPLOAD, SMALL).status_code == 200, "the next request is served"


@by_guarantee
def test_the_guarantee_is_missed_where_it_is_not_given(
    naive_server: _Server, guarantee: Callable[[_Server], None]
) -> None:
    with pytest.raises((AssertionError, KeyError)):
        guarantee(naive_server)


@pytest.mark.parametrize("framing", ["declared", "chunked"])
def test_a_list_at_the_limit_is_read(server: _Server, framing: str) -> None:
    body = b"[" + json.dumps(SMALL).encode().ljust(LIST_BYTES - 2) + b"]"
    content: Any = body if framing == "declared" else iter([body[:5000], body[5000:]])
    answer = server.client.post(f"{server.url}{UPLOAD}", content=content, headers=JSON | ALICE)
    assert [each["status"] for each in answer.json()] == [200]


@pytest.mark.parametrize("adapter", ["asgi", "fastapi", "fastapi_directly"])
def test_one_more_larger_list_than_an_owner_may_send_at_the_same_time_is_refused(adapter: str) -> None:
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=100, prefix="public/")
    presigner = Presigner(backend=MemoryBackend(), policy=policy, secret=TOKEN_SECRET, name="pictures")
    larger = b"[".ljust(MAX_BODY_BYTES + 1)
    with ADAPTERS[adapter]([presigner], lambda user: user) as url, ExitStack() as stack:
        parts = urlsplit(f"{url}{UPLOAD}")
        fields = {"Host": "test", "Content-Length": str(LIST_BYTES), **JSON, **ALICE}
        lines = [f"POST {parts.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        address = (str(parts.hostname), int(parts.port or 0))
        connections = [stack.enter_context(socket.create_connection(address)) for _ in range(MAX_LARGER_BODIES + 1)]
        for connection in connections:
            connection.sendall("\r\n".join(lines).encode() + larger)
        answered, _, _ = select.select(connections, [], [], DEADLINE_SECONDS)
        assert len(answered) == 1
        assert answered[0].recv(100).startswith(b"HTTP/1.1 429 ")
        for user, body in (("bob", larger), ("alice", b"[")):
            content = body + json.dumps([SMALL]).encode()[1:]
            answer = httpx.post(f"{url}{UPLOAD}", content=content, headers={**JSON, "X-User": user})
            assert [each["status"] for each in answer.json()] == [200]
        assert len(select.select(connections, [], [], 0)[0]) == 1, "the others are still waited for"


def test_a_small_list_may_begin_with_spaces(server: _Server) -> None:
    content = b" \r\n\t" + json.dumps([SMALL]).encode()
    answer = server.client.post(f"{server.url}{UPLOAD}", content=content, headers=JSON | ALICE)
    assert [each["status"] for each in answer.json()] == [200]


def test_a_failure_of_the_server_for_one_file_is_logged_once_with_its_traceback(
    server: _Server, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = server.tokens("crash.png", "cat.png")
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        assert [each["status"] for each in server.listed(COMPLETE, [tokens[0], *tokens])] == [500, 500, 200]
    failures = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert failures == [SECRET_DETAIL]


def test_a_completion_that_hangs_delays_the_list_for_a_limited_time_and_spoils_no_other(
    adapter: str, client: httpx.Client
) -> None:
    with _served(ADAPTERS[adapter], client, timeout_seconds=0.5) as server:
        hanging, cat, dog = server.tokens("hangs.png", "cat.png", "dog.png")
        large = server.large_token("hangs.png")
        items = [hanging, large, cat, dog]
        # On a busy machine, the others may take more than half a second too.
        deadline = time.monotonic() + DEADLINE_SECONDS
        verdicts: list[Any] = []
        while verdicts[2:] != [(200, None, None)] * 2:
            assert time.monotonic() < deadline, verdicts
            answers = server.listed(COMPLETE, items)
            verdicts = [_verdict(each) for each in answers]
            # Another request may still be completing the upload.
            assert verdicts[0] in {(503, "storage_unavailable", 5), (202, "completion_pending", 1)}
            assert verdicts[1] == (202, "completion_pending", 1)
        assert answers[1]["body"]["progress"]["step"]
        assert [each.name for each in server.told if each.name == "hangs.png"] == []
        server.released.set()
        while {status for status, *_ in verdicts} != {200}:
            assert time.monotonic() < deadline, verdicts
            # The completion of the large file goes on, whoever asks for it.
            verdicts = [
                _verdict({"status": answer.status_code, "body": answer.json()})
                for answer in (server.post(COMPLETE, each) for each in items)
            ]
        assert [each.owner for each in server.told if each.name == "hangs.png"][:1] == ["alice"]


def test_two_lists_with_the_same_tokens_end_with_the_same_objects(adapter: str, client: httpx.Client) -> None:
    with _served(ADAPTERS[adapter], client) as server, ThreadPoolExecutor(2) as pool:
        tokens = server.tokens(*[f"{number}.png" for number in range(20)])
        both = list(pool.map(lambda order: server.listed(COMPLETE, order), (tokens, tokens[::-1])))
        assert {each["status"] for each in itertools.chain(*both)} <= {200, 202}
        again = server.listed(COMPLETE, tokens)
        assert [each["status"] for each in again] == [200] * 20
        assert sorted(server.backend.objects) == sorted(each["body"]["key"] for each in again)
