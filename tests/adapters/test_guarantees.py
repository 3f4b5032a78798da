"""Every framework's adapter gives the same guarantees; each is proved on a real server, over a socket."""

from __future__ import annotations

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
from tests.conftest import PNG, PNG_SHA256, TOKEN_SECRET, Store

JSON = {"Content-Type": "application/json"}
ALICE = {"X-User": "alice"}
PATHS = ("/avatars/upload", "/avatars/complete")
PARAMS = "/avatars/s3/params"
# A new connection for each request, but not a new SSL context, which takes longer than most of these tests.
CLIENT = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), timeout=10)
PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code"}
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

    return [kind("avatars", "image/png"), kind("documents", "application/pdf")]


@dataclass(frozen=True, kw_only=True)
class Api:
    """A served adapter, as a client sees it."""

    url: str

    def post(self, path: str, body: object = None, **options: Any) -> httpx.Response:
        options.setdefault("headers", ALICE)
        if "content" not in options:
            options["json"] = body
        return CLIENT.post(f"{self.url}{path}", **options)

    def params(self, path: str = PARAMS, *, user: str | None = "alice", **query: str) -> httpx.Response:
        """Ask for a ticket as Uppy does in its Companion mode."""
        parameters = {"filename": "cat.png", "type": "image/png", "metadata[name]": "cat.png", **query}
        headers = {"X-User": user} if user else {}
        return CLIENT.get(f"{self.url}{path}", params=parameters, headers=headers)

    def ticket(self, name: str = "cat.png", *, stored: bytes | None = None) -> dict[str, Any]:
        """Return a ticket of alice's, after the file is stored."""
        answer = self.post("/avatars/upload", {"type": "image/png", "name": name})
        assert answer.status_code == 200, answer.text
        ticket: dict[str, Any] = answer.json()
        if stored is not None:
            assert CLIENT.post(ticket["url"], data=ticket["fields"], files={"file": stored}).status_code == 201
        return ticket

    def completion(self, name: str = "cat.png", *, stored: bytes = PNG) -> httpx.Response:
        return self.post("/avatars/complete", {"token": self.ticket(name, stored=stored)["token"]})


@pytest.fixture(scope="module", params=ADAPTERS)
def api(request: pytest.FixtureRequest, kinds: list[Presigner]) -> Iterator[Api]:
    with ADAPTERS[request.param](kinds, _decide, True) as url:
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
            answer = CLIENT.request(method, f"{api.url}{path}")
            _is_problem(answer, 405, "method_not_allowed")
            assert answer.headers["allow"] == "POST"
        assert CLIENT.head(f"{api.url}{path}").status_code == 405
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = CLIENT.request(method, f"{api.url}{PARAMS}")
        _is_problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "GET"


def lets_no_cache_store_an_answer(api: Api) -> None:
    answers = [
        api.post("/avatars/upload", {"type": "image/png"}),
        api.completion(),
        api.completion("slow.png"),
        api.post("/avatars/upload", {"type": "text/html"}),
        api.post("/avatars/upload", {"type": "image/png"}, headers={}),
        api.post("/avatars/upload", {"type": "image/png"}, headers={"X-User": "crash"}),
        CLIENT.get(f"{api.url}/avatars/upload"),
        api.params(),
        api.params(type="text/html"),
        api.params("/avatars/s3/multipart"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 202, 415, 401, 500, 405, 200, 415, 404]
    for answer in answers:
        assert answer.headers.get("cache-control") == "no-store", answer.text


def says_when_to_ask_again(api: Api) -> None:
    request = {"type": "image/png"}
    for answer, status, code, seconds in (
        (api.post(PATHS[0], request, headers={"X-User": "eager"}), 429, "too_many_requests", "7"),
        (api.post(PATHS[1], request, headers={"X-User": "eager"}), 429, "too_many_requests", "7"),
        (api.post(PATHS[0], request, headers={"X-User": "unlucky"}), 503, "credentials_unavailable", "5"),
        (api.params(user="eager"), 429, "too_many_requests", "7"),
        (api.params(user="unlucky"), 503, "credentials_unavailable", "5"),
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
        api.params(user="crash"),
    ):
        _is_problem(answer, 500, "internal")
        assert SECRET_DETAIL not in answer.text
        assert "Traceback" not in answer.text


def completes_for_the_owner_alone(api: Api) -> None:
    for ticket in (api.ticket(stored=PNG), api.params().json()):
        assert CLIENT.post(ticket["url"], data=ticket["fields"], files={"file": PNG}).status_code == 201
        token = {"token": ticket["token"]}
        _is_problem(api.post("/avatars/complete", token, headers={"X-User": "bob"}), 403, "invalid_token")
        assert api.post("/avatars/complete", token).status_code == 200


def keeps_kinds_apart_by_their_names(api: Api) -> None:
    ticket = api.ticket(stored=PNG)
    assert ticket["key"].startswith("public/avatars/")
    _is_problem(api.post("/documents/upload", {"type": "image/png"}), 415, "type_not_allowed")
    _is_problem(api.post("/documents/complete", {"token": ticket["token"]}), 403, "invalid_token")
    document = api.post("/documents/upload", {"type": "application/pdf"}).json()
    assert document["key"].startswith("public/documents/")
    assert api.params().json()["key"].startswith("public/avatars/")
    _is_problem(api.params("/documents/s3/params"), 415, "type_not_allowed")


def authorises_uppy_before_it_judges_the_query(api: Api) -> None:
    for user, status, code in ((None, 401, "unauthenticated"), ("guest", 403, "forbidden")):
        for query in ({}, {"type": "no type"}, {"metadata[size]": "x"}):
            assert _is_problem(api.params(user=user, **query), status, code)["message"]


def answers_uppy_with_a_ticket_for_what_the_query_says(api: Api) -> None:
    ticket = api.params(**{"metadata[size]": str(len(PNG)), "metadata[sha256]": PNG_SHA256}).json()
    assert (ticket["method"], ticket["headers"]) == ("POST", {})
    assert ticket["fields"]["key"], "Uppy 6 refuses a form without it"
    assert "expires" not in ticket, "Uppy would end a transfer that takes longer"
    refused = CLIENT.post(ticket["url"], data=ticket["fields"], files={"file": PNG + b"x"})
    assert refused.status_code == 400, "the size is signed"
    assert CLIENT.post(ticket["url"], data=ticket["fields"], files={"file": PNG}).status_code == 201
    assert api.post("/avatars/complete", {"token": ticket["token"]}).json()["key"] == ticket["key"]


def explains_each_refusal_to_uppy_with_a_message(api: Api) -> None:
    for query, status, code, members in (
        ({"type": "text/html"}, 415, "type_not_allowed", {"field": "type", "limit": ["image/png"]}),
        ({"metadata[size]": "101"}, 413, "too_large", {"field": "size", "value": 101, "limit": 100}),
        ({"metadata[size]": "9"}, 422, "too_small", {"field": "size", "value": 9, "limit": 10}),
        ({"metadata[size]": "1e9"}, 400, "invalid_request", {"field": "metadata[size]", "value": "1e9"}),
        ({"metadata[size]": "9" * 5000}, 400, "invalid_request", {"field": "metadata[size]"}),
        ({"filename": "../cat.png"}, 400, "invalid_request", {"field": "name"}),
    ):
        problem = _is_problem(api.params(**query), status, code)
        assert problem.items() >= members.items()
        assert problem["message"] == problem["detail"]
    for malformed in ("", "type", "type=image/png&type=image/png", "type=%ff", "&".join(["a=b"] * 101)):
        problem = _is_problem(CLIENT.get(f"{api.url}{PARAMS}?{malformed}", headers=ALICE), 400, "invalid_request")
        assert problem["message"] == problem["detail"]
    assert api.params(user="crash").json()["message"]


def tells_uppy_that_it_serves_no_parts(api: Api) -> None:
    for method, name in (("POST", "multipart"), ("GET", "multipart/x/1"), ("DELETE", "multipart/x"), ("GET", "sts")):
        answer = CLIENT.request(method, f"{api.url}/avatars/s3/{name}", headers=ALICE)
        assert "shouldUseMultipart" in _is_problem(answer, 404, "not_found")["message"]


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
    authorises_uppy_before_it_judges_the_query,
    answers_uppy_with_a_ticket_for_what_the_query_says,
    explains_each_refusal_to_uppy_with_a_message,
    tells_uppy_that_it_serves_no_parts,
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


@pytest.mark.parametrize("framing", ["declared", "chunked"])
def test_a_body_at_the_limit_is_read(api: Api, framing: str) -> None:
    body = json.dumps({"type": "image/png"}).encode().ljust(MAX_BODY_BYTES)
    content: Any = body if framing == "declared" else iter([body[:5000], body[5000:]])
    assert api.post("/avatars/upload", content=content, headers={**JSON, **ALICE}).status_code == 200


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_uppys_companion_mode_is_served_only_where_the_application_asks_for_it(
    adapter: str, kinds: list[Presigner]
) -> None:
    with ADAPTERS[adapter](kinds, _decide, False) as url:
        assert Api(url=url).post("/avatars/upload", {"type": "image/png"}).status_code == 200
        assert Api(url=url).params().status_code == 404


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_uppy_must_send_the_size_where_the_policy_needs_it(adapter: str, s3_reference: Store) -> None:
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=100, prefix="public/", require_size=True)
    exact = Presigner(name="avatars", backend=s3_reference.backend(), policy=policy, secret=TOKEN_SECRET)
    with ADAPTERS[adapter]([exact], _decide, True) as url:
        problem = _is_problem(Api(url=url).params(), 400, "invalid_request")
        assert (problem["field"], "setFileMeta" in problem["message"]) == ("metadata[size]", True)
        assert Api(url=url).params(**{"metadata[size]": "50"}).status_code == 200
