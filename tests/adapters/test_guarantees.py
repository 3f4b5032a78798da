"""Every framework's adapter gives the same guarantees; each is proved on a real server, over a socket."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from presign import (
    Accept,
    CredentialsUnavailable,
    Forbidden,
    InspectedObject,
    NotYet,
    Presigner,
    Reject,
    StorageUnavailable,
    TooManyRequests,
    Unauthenticated,
    UploadPolicy,
)
from presign.http.request_body import MAX_BODY_BYTES
from tests.adapters.serving import ADAPTERS, serve_naively
from tests.adapters.unfinished import answer_to_unfinished
from tests.conftest import PNG, TOKEN_SECRET, Store

JSON = {"Content-Type": "application/json"}
ALICE = {"X-User": "alice"}
PATHS = tuple(f"/avatars/{name}" for name in ("upload", "complete", "parts", "parts/list", "abort"))
PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code"}
PART_BYTES = 5 * 1024**2
FILM = (PNG.ljust(PART_BYTES, b"\0"), b"the end")
SECRET_DETAIL = "a detail that nobody may read"


def _decide(user: str | None) -> str | None:
    refusals: dict[str | None, Exception] = {
        None: Unauthenticated("sign in"),
        "guest": Forbidden("guests may not upload"),
        "eager": TooManyRequests("slow down", retry_after=7),
        "unlucky": CredentialsUnavailable("the credentials expired"),
        "crash": RuntimeError(SECRET_DETAIL),
    }
    if user in refusals:
        raise refusals[user]
    return user


def _inspect(uploaded: InspectedObject) -> Accept | Reject | NotYet:
    failures: dict[str | None, Exception] = {
        "storage-down.png": StorageUnavailable("the storage did not answer"),
        "crash.png": RuntimeError(SECRET_DETAIL),
    }
    if uploaded.name in failures:
        raise failures[uploaded.name]
    if uploaded.name == "slow.png":
        return NotYet(retry_after=9)
    return Reject("the picture is too dark") if uploaded.name == "dark.png" else Accept()


@pytest.fixture(scope="module")
def kinds(s3_reference: Store) -> list[Presigner]:
    def kind(name: str, content_type: str) -> Presigner:
        policy = UploadPolicy(content_types={content_type}, max_bytes=100, min_bytes=10, prefix=f"public/{name}/")
        return Presigner(
            name=name, backend=s3_reference.backend(), policy=policy, secret=TOKEN_SECRET, inspect=_inspect
        )

    films = Presigner(
        name="films",
        backend=s3_reference.backend(),
        policy=UploadPolicy(
            content_types={"image/png"},
            max_bytes=10 * PART_BYTES,
            prefix="public/films/",
            parts_from_bytes=PART_BYTES,
            part_bytes=PART_BYTES,
        ),
        secret=TOKEN_SECRET,
    )
    return [kind("avatars", "image/png"), kind("documents", "application/pdf"), films]


@dataclass(frozen=True, kw_only=True)
class Api:
    """A served adapter, as a client sees it."""

    url: str

    def post(self, path: str, body: object = None, **options: Any) -> httpx.Response:
        options.setdefault("headers", ALICE)
        if "content" not in options:
            options["json"] = body
        return httpx.post(f"{self.url}{path}", timeout=10, **options)

    def ticket(self, name: str = "cat.png", *, stored: bytes | None = None) -> dict[str, Any]:
        """Return a ticket of alice's, after the file is stored."""
        answer = self.post("/avatars/upload", {"type": "image/png", "name": name})
        assert answer.status_code == 200, answer.text
        ticket: dict[str, Any] = answer.json()
        if stored is not None:
            assert httpx.post(ticket["url"], data=ticket["fields"], files={"file": stored}).status_code == 201
        return ticket

    def completion(self, name: str = "cat.png", *, stored: bytes = PNG) -> httpx.Response:
        return self.post("/avatars/complete", {"token": self.ticket(name, stored=stored)["token"]})


@pytest.fixture(scope="module", params=ADAPTERS)
def api(request: pytest.FixtureRequest, kinds: list[Presigner]) -> Iterator[Api]:
    with ADAPTERS[request.param](kinds, _decide) as url:
        yield Api(url=url)


@pytest.fixture(scope="module")
def naive_api(kinds: list[Presigner]) -> Iterator[Api]:
    with serve_naively(kinds, _decide) as url:
        yield Api(url=url)


def _is_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem.keys() >= PROBLEM_MEMBERS
    assert (problem["status"], problem["code"]) == (status, code)
    return problem


def authorises_before_it_reads_the_body(api: Api) -> None:
    for path in PATHS:
        for user, status, code in ((None, 401, "unauthenticated"), ("guest", 403, "forbidden")):
            headers = {**JSON, "Content-Length": "1000", **({"X-User": user} if user else {})}
            _is_problem(answer_to_unfinished(f"{api.url}{path}", headers), status, code)


def authorises_before_it_judges_the_request(api: Api) -> None:
    for path in PATHS:
        for changes in (
            {"Content-Type": "text/plain", "Content-Length": "1000"},
            {"Content-Length": str(MAX_BODY_BYTES + 1)},
            {"Transfer-Encoding": "chunked"},
        ):
            _is_problem(answer_to_unfinished(f"{api.url}{path}", JSON | changes), 401, "unauthenticated")
        _is_problem(api.post(path, content=b"{", headers=JSON), 401, "unauthenticated")


def refuses_a_body_that_is_declared_too_large_before_it_comes(api: Api) -> None:
    for path in PATHS:
        headers = {**JSON, **ALICE, "Content-Length": str(MAX_BODY_BYTES + 1)}
        problem = _is_problem(answer_to_unfinished(f"{api.url}{path}", headers), 413, "body_too_large")
        assert problem["limit"] == MAX_BODY_BYTES


def refuses_a_chunked_body_as_soon_as_it_is_too_large(api: Api) -> None:
    chunk = b"%x\r\n%s\r\n" % (1024, b" " * 1024)
    for path in PATHS:
        headers = {**JSON, **ALICE, "Transfer-Encoding": "chunked"}
        answer = answer_to_unfinished(f"{api.url}{path}", headers, chunk * (MAX_BODY_BYTES // 1024 + 1))
        _is_problem(answer, 413, "body_too_large")


def refuses_another_media_type_before_the_body_comes(api: Api) -> None:
    for path in PATHS:
        for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None):
            headers = {**ALICE, "Content-Length": "1000", **({"Content-Type": media_type} if media_type else {})}
            _is_problem(answer_to_unfinished(f"{api.url}{path}", headers), 415, "unsupported_media_type")


def refuses_a_malformed_body(api: Api) -> None:
    for path in PATHS:
        for body in (b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 5000, b'{"unknown": 1}', b"{}"):
            _is_problem(api.post(path, content=body, headers={**JSON, **ALICE}), 400, "invalid_request")


def refuses_other_methods(api: Api) -> None:
    for path in PATHS:
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            answer = httpx.request(method, f"{api.url}{path}")
            _is_problem(answer, 405, "method_not_allowed")
            assert answer.headers["allow"] == "POST"
        assert httpx.head(f"{api.url}{path}").status_code == 405


def lets_no_cache_store_an_answer(api: Api) -> None:
    answers = [
        api.post("/avatars/upload", {"type": "image/png"}),
        api.completion(),
        api.completion("slow.png"),
        api.post("/avatars/upload", {"type": "text/html"}),
        api.post("/avatars/upload", {"type": "image/png"}, headers={}),
        api.post("/avatars/upload", {"type": "image/png"}, headers={"X-User": "crash"}),
        httpx.get(f"{api.url}/avatars/upload"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 202, 415, 401, 500, 405]
    for answer in answers:
        assert answer.headers.get("cache-control") == "no-store", answer.text


def says_when_to_ask_again(api: Api) -> None:
    request = {"type": "image/png"}
    for answer, status, code, seconds in (
        (api.post(PATHS[0], request, headers={"X-User": "eager"}), 429, "too_many_requests", "7"),
        (api.post(PATHS[1], request, headers={"X-User": "eager"}), 429, "too_many_requests", "7"),
        (api.post(PATHS[0], request, headers={"X-User": "unlucky"}), 503, "credentials_unavailable", "5"),
        (api.completion("storage-down.png"), 503, "storage_unavailable", "5"),
        (api.completion("slow.png"), 202, "completion_pending", "9"),
    ):
        _is_problem(answer, status, code)
        assert answer.headers["retry-after"] == seconds


def explains_each_refusal_with_its_code(api: Api) -> None:
    for body, status, code, members in (
        ({"type": "text/html"}, 415, "type_not_allowed", {"field": "type", "limit": ["image/png"]}),
        ({"type": "image/png", "size": 101}, 413, "too_large", {"field": "size", "value": 101, "limit": 100}),
        ({"type": "image/png", "size": 9}, 422, "too_small", {"field": "size", "value": 9, "limit": 10}),
    ):
        problem = _is_problem(api.post("/avatars/upload", body), status, code)
        assert problem.items() >= members.items()
    _is_problem(api.post("/avatars/complete", {"token": "x"}), 403, "invalid_token")
    _is_problem(api.post("/avatars/complete", {"token": api.ticket()["token"]}), 409, "not_uploaded")
    _is_problem(api.completion(stored=b"<html>, and no picture"), 422, "rule_violated")
    _is_problem(api.completion("dark.png"), 422, "rejected")


def hides_what_failed_inside(api: Api) -> None:
    for answer in (
        api.post("/avatars/upload", {"type": "image/png"}, headers={"X-User": "crash"}),
        api.completion("crash.png"),
    ):
        _is_problem(answer, 500, "internal")
        assert SECRET_DETAIL not in answer.text
        assert "Traceback" not in answer.text


def completes_for_the_owner_alone(api: Api) -> None:
    token = {"token": api.ticket(stored=PNG)["token"]}
    _is_problem(api.post("/avatars/complete", token, headers={"X-User": "bob"}), 403, "invalid_token")
    assert api.post("/avatars/complete", token).status_code == 200


def keeps_kinds_apart_by_their_names(api: Api) -> None:
    ticket = api.ticket(stored=PNG)
    assert ticket["key"].startswith("public/avatars/")
    _is_problem(api.post("/documents/upload", {"type": "image/png"}), 415, "type_not_allowed")
    _is_problem(api.post("/documents/complete", {"token": ticket["token"]}), 403, "invalid_token")
    document = api.post("/documents/upload", {"type": "application/pdf"}).json()
    assert document["key"].startswith("public/documents/")


GUARANTEES: tuple[Callable[[Api], None], ...] = (
    authorises_before_it_reads_the_body,
    authorises_before_it_judges_the_request,
    refuses_a_body_that_is_declared_too_large_before_it_comes,
    refuses_a_chunked_body_as_soon_as_it_is_too_large,
    refuses_another_media_type_before_the_body_comes,
    refuses_a_malformed_body,
    refuses_other_methods,
    lets_no_cache_store_an_answer,
    says_when_to_ask_again,
    explains_each_refusal_with_its_code,
    hides_what_failed_inside,
    completes_for_the_owner_alone,
    keeps_kinds_apart_by_their_names,
)
by_guarantee = pytest.mark.parametrize("guarantee", GUARANTEES, ids=lambda guarantee: guarantee.__name__)


@by_guarantee
def test_an_adapter_gives_the_guarantee(api: Api, guarantee: Callable[[Api], None]) -> None:
    guarantee(api)
    assert api.post("/avatars/upload", {"type": "image/png"}).status_code == 200, "the next request is served"


@by_guarantee
def test_the_guarantee_is_missed_where_it_is_not_given(naive_api: Api, guarantee: Callable[[Api], None]) -> None:
    with pytest.raises((AssertionError, KeyError)):
        guarantee(naive_api)


def test_a_file_is_uploaded_and_completed(api: Api) -> None:
    ticket = api.ticket(stored=PNG)
    answer = api.post("/avatars/complete", {"token": ticket["token"]})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json().keys() == {"key", "object_url", "etag", "version", "size", "type"}
    assert (answer.json()["key"], answer.json()["size"]) == (ticket["key"], len(PNG))
    assert api.post("/avatars/complete", {"token": ticket["token"]}).json() == answer.json(), "it can be repeated"


def test_a_large_file_is_sent_in_parts_resumed_and_completed(api: Api) -> None:
    request = {"type": "image/png", "size": sum(map(len, FILM)), "name": "a.png", "hashes_parts": True}
    ticket = api.post("/films/upload", request).json()
    token, plan = {"token": ticket["token"]}, ticket["parts"]
    assert (plan["count"], plan["needs_sha256"], plan["requests"]) == (2, True, [])
    digests = [hashlib.sha256(part).hexdigest() for part in FILM]
    for number, part in ((2, FILM[1]), (1, FILM[0])):
        problem = _is_problem(api.post("/films/complete", token), 409, "parts_missing")
        assert problem["numbers"] == ([1, 2] if number == 2 else [1])
        signed = api.post("/films/parts", {**token, "numbers": [number], "sha256": [digests[number - 1]]})
        assert signed.headers.get("cache-control") == "no-store"
        (part_request,) = signed.json()["requests"]
        sent = httpx.put(part_request["url"], content=part, headers=part_request["headers"])
        assert (part_request["method"], sent.status_code) == ("PUT", 200)
    listed = api.post("/films/parts/list", token).json()
    described = {name: value for name, value in plan.items() if name != "requests"}
    assert listed == {**described, "size": request["size"], "numbers": [1, 2]}
    stored = api.post("/films/complete", token)
    assert (stored.status_code, stored.json()["size"]) == (200, request["size"])
    assert api.post("/films/complete", token).json() == stored.json()


def test_a_large_file_is_aborted_and_its_bad_requests_are_explained(api: Api) -> None:
    ticket = api.post("/films/upload", {"type": "image/png", "size": PART_BYTES + 1}).json()
    token = {"token": ticket["token"]}
    assert len(ticket["parts"]["requests"]) == 2
    for path, body, field in (
        ("parts", token, "numbers"),
        ("parts", {"numbers": [1]}, "token"),
        ("parts", {**token, "numbers": [3]}, "numbers"),
        ("parts", {**token, "numbers": "1"}, "numbers"),
        ("parts", {**token, "numbers": [1], "sha256": ["0" * 64]}, "sha256"),
        ("parts", {**token, "numbers": [1], "etag": "x"}, "etag"),
        ("parts/list", {**token, "numbers": [1]}, "numbers"),
        ("abort", {"token": 7}, "token"),
    ):
        problem = _is_problem(api.post(f"/films/{path}", body), 400, "invalid_request")
        assert problem["field"] == field
    for path, body in (("parts", {**token, "numbers": [1]}), ("parts/list", token), ("abort", token)):
        _is_problem(api.post(f"/films/{path}", body, headers={"X-User": "bob"}), 403, "invalid_token")
        _is_problem(api.post(f"/avatars/{path}", body), 403, "invalid_token")
        _is_problem(api.post(f"/films/{path}", {**body, "token": api.ticket()["token"]}), 403, "invalid_token")
    for _ in range(2):
        answer = api.post("/films/abort", token)
        assert (answer.status_code, answer.json()) == (200, {})
    _is_problem(api.post("/films/parts/list", token), 410, "upload_ended")
    _is_problem(api.post("/films/complete", token), 410, "upload_ended")


@pytest.mark.parametrize("framing", ["declared", "chunked"])
def test_a_body_at_the_limit_is_read(api: Api, framing: str) -> None:
    body = json.dumps({"type": "image/png"}).encode().ljust(MAX_BODY_BYTES)
    content: Any = body if framing == "declared" else iter([body[:5000], body[5000:]])
    assert api.post("/avatars/upload", content=content, headers={**JSON, **ALICE}).status_code == 200
