"""Every framework's adapter gives the same guarantees; each is proved on a real server, over a socket."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from presign import (
    Accept,
    CredentialsUnavailable,
    Forbidden,
    Grant,
    GrantInParts,
    InspectedObject,
    NotYet,
    Presigner,
    Reject,
    StorageUnavailable,
    TooManyRequests,
    Unauthenticated,
    UploadPolicy,
    UploadRequest,
)
from presign.http.companion import MAX_PARTS_BODY_BYTES
from presign.http.lists import LIST_PATHS, MAX_FILES
from presign.http.openapi import schemas
from presign.http.request_body import MAX_BODY_BYTES
from tests.adapters.serving import ADAPTERS, serve_naively
from tests.adapters.unfinished import ANSWER_SECONDS, answer_to_unfinished
from tests.conftest import PNG, PNG_SHA256, TOKEN_SECRET, Store, seconds_ago
from tests.small_parts import SmallPartsBackend

JSON = {"Content-Type": "application/json"}
ALICE = {"X-User": "alice"}
PATHS = tuple(f"/avatars{path}" for path in ("/upload", "/complete", "/parts", "/parts/list", "/abort"))
LIST_BYTES = MAX_FILES * MAX_BODY_BYTES
PARAMS = "/avatars/s3/params"
MULTIPART = "/avatars/s3/multipart"
PART_BYTES = 20
LARGE = PNG.ljust(75, b"\0")
PARTS = [LARGE[start : start + PART_BYTES] for start in range(0, len(LARGE), PART_BYTES)]
DIGESTS = [hashlib.sha256(part).hexdigest() for part in PARTS]
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


class _Parts:
    """The uploads in parts of a store; the calls for some files fail."""

    def __init__(self, parts: Any) -> None:
        self._parts = parts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parts, name)

    def begin(self, grant: Grant, *, needs_sha256: bool) -> str:
        if grant.name == "not-begun.png":
            raise StorageUnavailable("the storage did not answer")
        upload_id: str = self._parts.begin(grant, needs_sha256=needs_sha256)
        return upload_id

    def sign(self, grant: GrantInParts, *args: Any, **options: Any) -> Any:
        if grant.name == "unsigned.png":
            raise CredentialsUnavailable("the credentials expired")
        return self._parts.sign(grant, *args, **options)

    def list_parts(self, grant: GrantInParts) -> Any:
        if grant.name == "storage-down.png":
            raise StorageUnavailable("the storage did not answer")
        if grant.name == "crash.png":
            raise RuntimeError(SECRET_DETAIL)
        return self._parts.list_parts(grant)


class _Backend(SmallPartsBackend):
    @property
    def parts(self) -> Any:
        return _Parts(super().parts)


def _kind(store: Store, name: str, content_type: str, **options: Any) -> Presigner:
    policy = UploadPolicy(
        content_types={content_type},
        max_bytes=100,
        min_bytes=10,
        prefix=f"public/{name}/",
        parts_from_bytes=60,
        part_bytes=PART_BYTES,
    )
    return Presigner(
        name=name, backend=_Backend(store), policy=policy, secret=TOKEN_SECRET, inspect=_inspect, **options
    )


@pytest.fixture(scope="module")
def kinds(s3_reference: Store) -> list[Presigner]:
    return [_kind(s3_reference, "avatars", "image/png"), _kind(s3_reference, "documents", "application/pdf")]


@dataclass(frozen=True, kw_only=True)
class Api:
    """A served adapter, as a client sees it."""

    url: str
    client: httpx.Client
    answer_seconds: float = ANSWER_SECONDS

    def post(self, path: str, body: object = None, **options: Any) -> httpx.Response:
        options.setdefault("headers", ALICE)
        if "content" not in options:
            options["json"] = body
        return self.request("POST", path, **options)

    def params(self, path: str = PARAMS, *, user: str | None = "alice", **query: str) -> httpx.Response:
        """Ask for a ticket as Uppy does in its Companion mode."""
        parameters = {"filename": "cat.png", "type": "image/png", "metadata[name]": "cat.png", **query}
        return self.request("GET", path, params=parameters, headers={"X-User": user} if user else {})

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.client.request(method, f"{self.url}{path}", **options)

    def uppy(self, method: str, end: str, *, user: str | None = "alice", **options: Any) -> httpx.Response:
        """Send what Uppy sends in its Companion mode for an upload in parts."""
        headers = {"X-User": user} if user else {}
        return self.request(method, f"{MULTIPART}{end}", headers=headers, **options)

    def begun(self, name: str = "cat.png", **metadata: object) -> dict[str, str]:
        """Begin an upload of alice's in parts, as Uppy does."""
        answer = self.uppy("POST", "", json=_as_uppy(name, **metadata))
        assert answer.status_code == 200, answer.text
        begun: dict[str, str] = answer.json()
        return begun

    def ticket(self, name: str = "cat.png", *, stored: bytes | None = None) -> dict[str, Any]:
        """Return a ticket of alice's, after the file is stored."""
        answer = self.post("/avatars/upload", {"type": "image/png", "name": name})
        assert answer.status_code == 200, answer.text
        ticket: dict[str, Any] = answer.json()
        if stored is not None:
            sent = self.client.post(ticket["url"], data=ticket["fields"], files={"file": stored})
            assert sent.status_code == 201
        return ticket

    def unfinished(self, path: str, headers: dict[str, str], body: bytes = b"") -> httpx.Response:
        return answer_to_unfinished(f"{self.url}{path}", headers, body, seconds=self.answer_seconds)

    def large_ticket(self, name: str = "cat.png", **members: Any) -> dict[str, Any]:
        """Return a ticket of alice's for a file that comes in parts."""
        answer = self.post("/avatars/upload", {"type": "image/png", "size": len(LARGE), "name": name, **members})
        assert answer.status_code == 200, answer.text
        ticket: dict[str, Any] = answer.json()
        assert ticket["parts"]["count"] == len(PARTS)
        return ticket

    def requests_of(self, ticket: dict[str, Any], numbers: list[int], **members: Any) -> list[dict[str, Any]]:
        answer = self.post("/avatars/parts", {"token": ticket["token"], "numbers": numbers, **members})
        assert answer.status_code == 200, answer.text
        requests: list[dict[str, Any]] = answer.json()["requests"]
        return requests

    def send(self, request: dict[str, Any]) -> None:
        part = PARTS[request["number"] - 1]
        assert len(part) == request["size"]
        answer = self.client.request(request["method"], request["url"], headers=request["headers"], content=part)
        assert answer.status_code == 200, answer.text

    def completion(self, name: str = "cat.png", *, stored: bytes = PNG) -> httpx.Response:
        return self.post("/avatars/complete", {"token": self.ticket(name, stored=stored)["token"]})


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    # A server that logs a failure of its own closes the connection after its answer.
    with httpx.Client(timeout=10, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        yield client


@pytest.fixture(scope="module", params=ADAPTERS)
def api(request: pytest.FixtureRequest, kinds: list[Presigner], client: httpx.Client) -> Iterator[Api]:
    with ADAPTERS[request.param](kinds, _decide, companion=True) as url:
        yield Api(url=url, client=client)


@pytest.fixture(scope="module")
def naive_api(kinds: list[Presigner], client: httpx.Client) -> Iterator[Api]:
    with serve_naively(kinds, _decide) as url:
        yield Api(url=url, client=client, answer_seconds=0.2)


def _as_uppy(name: str = "cat.png", **metadata: object) -> dict[str, Any]:
    sizes = {"size": len(LARGE), "part_size": PART_BYTES}
    return {"filename": name, "type": "image/png", "metadata": {"name": name, **sizes, **metadata}}


def _is_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem.keys() >= PROBLEM_MEMBERS
    assert (problem["status"], problem["code"]) == (status, code)
    return problem


def authorises_before_it_reads_the_body(api: Api, path: str) -> None:
    for user, status, code in ((None, 401, "unauthenticated"), ("guest", 403, "forbidden")):
        headers = {**JSON, "Content-Length": "1000", **({"X-User": user} if user else {})}
        _is_problem(api.unfinished(path, headers), status, code)


def authorises_before_it_judges_the_request(api: Api, path: str) -> None:
    for changes in (
        {"Content-Type": "text/plain", "Content-Length": "1000"},
        {"Content-Length": str(MAX_BODY_BYTES + 1)},
        {"Transfer-Encoding": "chunked"},
    ):
        _is_problem(api.unfinished(path, JSON | changes), 401, "unauthenticated")
    _is_problem(api.post(path, content=b"{", headers=JSON), 401, "unauthenticated")


def refuses_a_body_that_is_declared_too_large_before_it_comes(api: Api, path: str) -> None:
    limit = LIST_BYTES if path.removeprefix("/avatars") in LIST_PATHS else MAX_BODY_BYTES
    headers = {**JSON, **ALICE, "Content-Length": str(limit + 1)}
    problem = _is_problem(api.unfinished(path, headers), 413, "body_too_large")
    assert problem["limit"] == limit


def refuses_a_body_that_is_declared_too_large_and_is_no_list_at_its_first_byte(api: Api, path: str) -> None:
    for start in (b"{", b" ", b"\xff"):
        headers = {**JSON, **ALICE, "Content-Length": str(MAX_BODY_BYTES + 1)}
        problem = _is_problem(api.unfinished(path, headers, start), 413, "body_too_large")
        assert problem["limit"] == MAX_BODY_BYTES


def refuses_a_chunked_body_as_soon_as_it_is_too_large(api: Api, path: str) -> None:
    chunk = b"%x\r\n%s\r\n" % (1024, b" " * 1024)
    headers = {**JSON, **ALICE, "Transfer-Encoding": "chunked"}
    answer = api.unfinished(path, headers, chunk * (MAX_BODY_BYTES // 1024 + 1))
    _is_problem(answer, 413, "body_too_large")


def refuses_another_media_type_before_the_body_comes(api: Api, path: str) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None):
        headers = {**ALICE, "Content-Length": "1000", **({"Content-Type": media_type} if media_type else {})}
        _is_problem(api.unfinished(path, headers), 415, "unsupported_media_type")


def refuses_a_malformed_body(api: Api, path: str) -> None:
    for body in (b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 5000, b'{"unknown": 1}', b"{}"):
        _is_problem(api.post(path, content=body, headers={**JSON, **ALICE}), 400, "invalid_request")


def refuses_other_methods(api: Api, path: str) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        answer = api.request(method, path)
        _is_problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "POST"
    assert api.request("HEAD", path).status_code == 405


def lets_no_cache_store_an_answer(api: Api) -> None:
    answers = [
        api.post("/avatars/upload", {"type": "image/png"}),
        api.completion(),
        api.completion("slow.png"),
        api.post("/avatars/upload", {"type": "text/html"}),
        api.post("/avatars/upload", {"type": "image/png"}, headers={}),
        api.post("/avatars/upload", {"type": "image/png"}, headers={"X-User": "crash"}),
        api.request("GET", "/avatars/upload"),
        api.params(),
        api.params(type="text/html"),
        api.params("/avatars/s3/multipart"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 202, 415, 401, 500, 405, 200, 415, 405]
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
        assert api.client.post(ticket["url"], data=ticket["fields"], files={"file": PNG}).status_code == 201
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


def refuses_other_methods_than_get_from_uppy(api: Api) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = api.request(method, PARAMS)
        _is_problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "GET"


def authorises_uppy_before_it_judges_the_query(api: Api) -> None:
    for user, status, code in ((None, 401, "unauthenticated"), ("guest", 403, "forbidden")):
        for query in ({}, {"type": "no type"}, {"metadata[size]": "x"}):
            assert _is_problem(api.params(user=user, **query), status, code)["message"]


def answers_uppy_with_a_ticket_for_what_the_query_says(api: Api) -> None:
    ticket = api.params(**{"metadata[size]": str(len(PNG)), "metadata[sha256]": PNG_SHA256}).json()
    assert (ticket["method"], ticket["headers"]) == ("POST", {})
    assert ticket["fields"]["key"], "Uppy 6 refuses a form without it"
    assert "expires" not in ticket, "Uppy would end a transfer that takes longer"
    refused = api.client.post(ticket["url"], data=ticket["fields"], files={"file": PNG + b"x"})
    assert refused.status_code == 400, "the size is signed"
    assert api.client.post(ticket["url"], data=ticket["fields"], files={"file": PNG}).status_code == 201
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
        problem = _is_problem(api.client.get(f"{api.url}{PARAMS}?{malformed}", headers=ALICE), 400, "invalid_request")
        assert problem["message"] == problem["detail"]
    assert api.params(user="crash").json()["message"]


def tells_uppy_what_it_does_not_serve(api: Api) -> None:
    for method, name in (("GET", "sts"), ("GET", "multipart/x/y"), ("GET", "multipart//1"), ("GET", "multipart/x/1/2")):
        answer = api.request(method, f"/avatars/s3/{name}", headers=ALICE)
        assert "single ones and those in parts" in _is_problem(answer, 404, "not_found")["message"]
    for name, allowed in (
        ("multipart", "POST"),
        ("multipart/x", "DELETE, GET"),
        ("multipart/x/1", "GET"),
        ("multipart/x/batch", "GET"),
        ("multipart/x/complete", "POST"),
    ):
        answer = api.request("PUT", f"/avatars/s3/{name}", headers=ALICE)
        assert _is_problem(answer, 405, "method_not_allowed")["message"]
        assert answer.headers["allow"] == allowed


def takes_a_file_in_parts_from_uppy(api: Api) -> None:
    begun = api.begun()
    token, key = begun["uploadId"], begun["key"]
    query: dict[str, Any] = {"params": {"key": key}}
    for number in (1, 3):
        signed = api.uppy("GET", f"/{token}/{number}", **query).json()
        assert (signed["method"], signed["headers"]) == ("PUT", {}), "Uppy 6 sends no headers"
        assert "expires" not in signed, "Uppy would end a transfer that takes longer"
        sent = api.client.put(signed["url"], content=PARTS[number - 1])
        assert (sent.status_code, bool(sent.headers["etag"])) == (200, True)
    assert api.client.put(signed["url"], content=PARTS[2][:-1]).status_code == 403, "the length is signed"
    listed = api.uppy("GET", f"/{token}", **query).json()
    assert [(each["PartNumber"], each["Size"], bool(each["ETag"])) for each in listed] == [(1, 20, True), (3, 20, True)]
    # Whatever list Uppy posts, the store's own decides. The longest list has about 700 KB.
    own_list = {"parts": [{"PartNumber": number, "ETag": f'"{number:032x}"'} for number in range(1, 10_001)]}
    problem = _is_problem(api.uppy("POST", f"/{token}/complete", json=own_list, **query), 409, "parts_missing")
    assert (problem["numbers"], problem["message"]) == ([2, 4], problem["detail"])
    urls = api.uppy("GET", f"/{token}/batch", params={"key": key, "partNumbers": "2,4"}).json()["presignedUrls"]
    for number, url in urls.items():
        assert api.client.put(url, content=PARTS[int(number) - 1]).status_code == 200
    assert [each["Size"] for each in api.uppy("GET", f"/{token}").json()] == [20, 20, 20, 15]
    for _ in range(2):
        stored = api.uppy("POST", f"/{token}/complete", json={"parts": []}, **query)
        assert (stored.status_code, stored.json()) == (200, {"location": None, "key": key})
    assert api.post("/avatars/complete", {"token": token}).json()["key"] == key
    assert api.uppy("POST", f"/{token}/complete", json=own_list).status_code == 200, "also if it is asked again"


def ends_an_upload_in_parts_that_uppy_cancels(api: Api) -> None:
    token = api.begun()["uploadId"]
    for _ in range(2):
        answer = api.uppy("DELETE", f"/{token}")
        assert (answer.status_code, answer.json()) == (200, {})
    for method, end in (("GET", ""), ("POST", "/complete")):
        options: dict[str, Any] = {"json": {}} if method == "POST" else {}
        assert _is_problem(api.uppy(method, f"/{token}{end}", **options), 410, "upload_ended")["message"]


def gives_uppys_uploads_in_parts_to_their_owner_alone(api: Api) -> None:
    token = api.begun()["uploadId"]
    requests = (("GET", ""), ("GET", "/1"), ("GET", "/batch?partNumbers=1"), ("POST", "/complete"), ("DELETE", ""))
    for method, end in requests:
        options: dict[str, Any] = {"json": {}} if method == "POST" else {}
        for user, status, code in (
            ("bob", 403, "invalid_token"),
            (None, 401, "unauthenticated"),
            ("guest", 403, "forbidden"),
            ("eager", 429, "too_many_requests"),
            ("crash", 500, "internal"),
        ):
            answer = api.uppy(method, f"/{token}{end}", user=user, **options)
            assert _is_problem(answer, status, code)["message"]
            assert answer.headers["cache-control"] == "no-store"
        other = api.request(method, f"/documents/s3/multipart/{token}{end}", headers=ALICE, **options)
        assert _is_problem(other, 403, "invalid_token")["message"], "a token of avatars is worth nothing for documents"
    assert api.uppy("GET", f"/{token}").json() == []


def authorises_before_it_reads_what_uppy_posts(api: Api) -> None:
    token = api.begun()["uploadId"]
    for end, limit in (("", MAX_BODY_BYTES), (f"/{token}/complete", MAX_PARTS_BODY_BYTES)):
        path = f"{MULTIPART}{end}"
        _is_problem(api.unfinished(path, {**JSON, "Content-Length": "1000"}), 401, "unauthenticated")
        too_large = {**JSON, **ALICE, "Content-Length": str(limit + 1)}
        problem = _is_problem(api.unfinished(path, too_large), 413, "body_too_large")
        assert (problem["limit"], problem["message"]) == (limit, problem["detail"])
        another = {**ALICE, "Content-Type": "text/plain", "Content-Length": "1000"}
        assert _is_problem(api.unfinished(path, another), 415, "unsupported_media_type")["message"]
    chunk = b"%x\r\n%s\r\n" % (65536, b" " * 65536)
    headers = {**JSON, **ALICE, "Transfer-Encoding": "chunked"}
    answer = api.unfinished(path, headers, chunk * (MAX_PARTS_BODY_BYTES // 65536 + 1))
    _is_problem(answer, 413, "body_too_large")


def explains_each_refusal_of_parts_to_uppy_with_a_message(api: Api) -> None:
    for body, status, code, field in (
        (_as_uppy(size=None), 400, "invalid_request", "metadata.size"),
        (_as_uppy(size="1e9"), 400, "invalid_request", "metadata.size"),
        (_as_uppy(size=True), 400, "invalid_request", "metadata.size"),
        (_as_uppy(size=59), 400, "invalid_request", "metadata.size"),
        (_as_uppy(size=101), 413, "too_large", "size"),
        (_as_uppy(part_size=7), 400, "invalid_request", "part_size"),
        (_as_uppy(part_size="x"), 400, "invalid_request", "metadata.part_size"),
        (_as_uppy(part_size=None), 400, "invalid_request", "part_size"),
        (_as_uppy("../cat.png"), 400, "invalid_request", "name"),
        ({**_as_uppy(), "type": "text/html"}, 415, "type_not_allowed", "type"),
        ({**_as_uppy(), "type": None}, 400, "invalid_request", "type"),
        ({**_as_uppy(), "metadata": None}, 400, "invalid_request", "metadata.size"),
        ({**_as_uppy(), "metadata": []}, 400, "invalid_request", None),
        ([], 400, "invalid_request", None),
    ):
        problem = _is_problem(api.uppy("POST", "", json=body), status, code)
        assert (problem.get("field"), problem["message"]) == (field, problem["detail"]), body
    assert "shouldUseMultipart" in api.uppy("POST", "", json=_as_uppy(size=59)).json()["message"]
    assert "comes in parts" in api.params(**{"metadata[size]": "75"}).json()["message"]
    token = api.begun()["uploadId"]
    for end in ("/0", "/5", "/99999999999999999999", "/batch", "/batch?partNumbers=1,,2", "/batch?partNumbers=1,5"):
        answer = api.uppy("GET", f"/{token}{end}")
        assert answer.json()["message"] == answer.json()["detail"], end
        assert answer.status_code in {400, 404}, end
    for wrong in ("x", f"{token[:-1]}", api.ticket()["token"]):
        assert _is_problem(api.uppy("GET", f"/{wrong}/1"), 403, "invalid_token")["message"]


def lets_no_cache_store_an_answer_about_parts(api: Api) -> None:
    token = {"token": api.large_ticket()["token"]}
    answers = [
        api.post("/avatars/parts", {**token, "numbers": [2]}),
        api.post("/avatars/parts/list", token),
        api.post("/avatars/complete", token),
        api.post("/avatars/parts", {**token, "numbers": [5]}),
        api.post("/avatars/abort", token),
        api.post("/avatars/parts/list", token),
        *[api.post(path, token, headers={"X-User": "crash"}) for path in PATHS],
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 409, 400, 200, 410, 500, 500, 500, 500, 500]
    for answer in answers:
        assert answer.headers.get("cache-control") == "no-store", answer.text


def says_when_to_ask_again_about_parts(api: Api) -> None:
    large = {"type": "image/png", "size": len(LARGE), "name": "not-begun.png"}
    down = {"token": api.large_ticket("storage-down.png")["token"]}
    unsigned = {"token": api.large_ticket("unsigned.png", hashes_parts=True)["token"], "numbers": [1]}
    for answer, status, code, seconds in (
        *[(api.post(path, down, headers={"X-User": "eager"}), 429, "too_many_requests", "7") for path in PATHS],
        (api.post("/avatars/upload", large), 503, "storage_unavailable", "5"),
        (api.post("/avatars/parts", {**unsigned, "sha256": DIGESTS[:1]}), 503, "credentials_unavailable", "5"),
        *[(api.post(path, down), 503, "storage_unavailable", "5") for path in (PATHS[1], *PATHS[3:])],
    ):
        _is_problem(answer, status, code)
        assert answer.headers["retry-after"] == seconds


def explains_each_refusal_of_parts_with_its_code(api: Api) -> None:
    token, hashed = api.large_ticket()["token"], api.large_ticket(hashes_parts=True)["token"]
    for body, members in (
        ({"token": token, "numbers": []}, {"field": "numbers", "limit": 100}),
        ({"token": token, "numbers": list(range(1, 102))}, {"field": "numbers", "limit": 100}),
        ({"token": token, "numbers": [0]}, {"field": "numbers", "value": "0", "limit": 4}),
        ({"token": token, "numbers": [1, 5]}, {"field": "numbers", "value": "5", "limit": 4}),
        ({"token": token, "numbers": [1, 1]}, {"field": "numbers"}),
        ({"token": token, "numbers": [1.5]}, {"field": "numbers"}),
        ({"token": token, "numbers": [True]}, {"field": "numbers"}),
        ({"token": token, "numbers": 1}, {"field": "numbers"}),
        ({"token": token, "numbers": [[1]]}, {"field": "numbers"}),
        ({"token": token}, {"field": "numbers"}),
        ({"token": 1, "numbers": [1]}, {"field": "token"}),
        ({"token": token, "numbers": [1], "sha256": DIGESTS[:1]}, {"field": "sha256"}),
        ({"token": hashed, "numbers": [1]}, {"field": "sha256"}),
        ({"token": hashed, "numbers": [1, 2], "sha256": DIGESTS[:1]}, {"field": "sha256"}),
        ({"token": hashed, "numbers": [1], "sha256": ["x"]}, {"field": "sha256"}),
        ({"token": hashed, "numbers": [1], "sha256": [1]}, {"field": "sha256"}),
    ):
        problem = _is_problem(api.post("/avatars/parts", body), 400, "invalid_request")
        assert problem.items() >= members.items(), body
    problem = _is_problem(api.post("/avatars/complete", {"token": token}), 409, "parts_missing")
    assert problem["numbers"] == [1, 2, 3, 4]
    small = api.ticket()["token"]
    for path in PATHS[2:]:
        numbers = {"numbers": [1]} if path.endswith("/parts") else {}
        for wrong in ("x", "x.y.z", small, token[:-1], "\u00fc"):
            _is_problem(api.post(path, {"token": wrong, **numbers}), 403, "invalid_token")
    for _ in range(2):
        answer = api.post("/avatars/abort", {"token": token})
        assert (answer.status_code, answer.json()) == (200, {})
    for path in ("/avatars/parts/list", "/avatars/complete"):
        _is_problem(api.post(path, {"token": token}), 410, "upload_ended")


def hides_what_failed_inside_about_parts(api: Api) -> None:
    token = {"token": api.large_ticket("crash.png")["token"]}
    for path in ("/avatars/parts/list", "/avatars/complete", "/avatars/abort"):
        answer = api.post(path, token)
        _is_problem(answer, 500, "internal")
        assert SECRET_DETAIL not in answer.text
        assert "Traceback" not in answer.text


def signs_lists_aborts_and_completes_parts_for_the_owner_alone(api: Api) -> None:
    ticket = api.large_ticket()
    token = {"token": ticket["token"]}
    for request in ticket["parts"]["requests"]:
        api.send(request)
    for path in PATHS[1:]:
        numbers = {"numbers": [1]} if path.endswith("/parts") else {}
        _is_problem(api.post(path, token | numbers, headers={"X-User": "bob"}), 403, "invalid_token")
    assert api.post("/avatars/parts/list", token).json()["numbers"] == [1, 2, 3, 4]
    assert api.post("/avatars/complete", token).status_code == 200


def keeps_kinds_of_parts_apart_by_their_names(api: Api) -> None:
    token = {"token": api.large_ticket()["token"]}
    for path in ("/complete", "/parts", "/parts/list", "/abort"):
        numbers = {"numbers": [1]} if path == "/parts" else {}
        _is_problem(api.post(f"/documents{path}", token | numbers), 403, "invalid_token")
    assert api.post("/avatars/parts/list", token).json()["numbers"] == []


GUARANTEES_OF_EACH_PATH: tuple[Callable[[Api, str], None], ...] = (
    authorises_before_it_reads_the_body,
    authorises_before_it_judges_the_request,
    refuses_a_body_that_is_declared_too_large_before_it_comes,
    refuses_a_body_that_is_declared_too_large_and_is_no_list_at_its_first_byte,
    refuses_a_chunked_body_as_soon_as_it_is_too_large,
    refuses_another_media_type_before_the_body_comes,
    refuses_a_malformed_body,
    refuses_other_methods,
)
GUARANTEES: tuple[Callable[[Api], None], ...] = (
    lets_no_cache_store_an_answer,
    says_when_to_ask_again,
    explains_each_refusal_with_its_code,
    hides_what_failed_inside,
    completes_for_the_owner_alone,
    keeps_kinds_apart_by_their_names,
    refuses_other_methods_than_get_from_uppy,
    authorises_uppy_before_it_judges_the_query,
    answers_uppy_with_a_ticket_for_what_the_query_says,
    explains_each_refusal_to_uppy_with_a_message,
    tells_uppy_what_it_does_not_serve,
    takes_a_file_in_parts_from_uppy,
    ends_an_upload_in_parts_that_uppy_cancels,
    gives_uppys_uploads_in_parts_to_their_owner_alone,
    authorises_before_it_reads_what_uppy_posts,
    explains_each_refusal_of_parts_to_uppy_with_a_message,
    lets_no_cache_store_an_answer_about_parts,
    says_when_to_ask_again_about_parts,
    explains_each_refusal_of_parts_with_its_code,
    hides_what_failed_inside_about_parts,
    signs_lists_aborts_and_completes_parts_for_the_owner_alone,
    keeps_kinds_of_parts_apart_by_their_names,
)
by_guarantee = pytest.mark.parametrize("guarantee", GUARANTEES, ids=lambda guarantee: guarantee.__name__)
by_guarantee_of_each_path = pytest.mark.parametrize(
    "guarantee", GUARANTEES_OF_EACH_PATH, ids=lambda guarantee: guarantee.__name__
)
by_path = pytest.mark.parametrize("path", PATHS)


@by_path
@by_guarantee_of_each_path
def test_every_path_of_an_adapter_gives_the_guarantee(
    api: Api, guarantee: Callable[[Api, str], None], path: str
) -> None:
    guarantee(api, path)
    assert api.post("/avatars/upload", {"type": "image/png"}).status_code == 200, "the next request is served"


@by_path
@by_guarantee_of_each_path
def test_a_path_misses_the_guarantee_where_it_is_not_given(
    naive_api: Api, guarantee: Callable[[Api, str], None], path: str
) -> None:
    with pytest.raises(AssertionError):
        guarantee(naive_api, path)


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
    adapter: str, kinds: list[Presigner], client: httpx.Client
) -> None:
    with ADAPTERS[adapter](kinds, _decide) as url:
        assert Api(url=url, client=client).post("/avatars/upload", {"type": "image/png"}).status_code == 200
        assert Api(url=url, client=client).params().status_code == 404


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_uppy_must_send_the_size_where_the_policy_needs_it(
    adapter: str, s3_reference: Store, client: httpx.Client
) -> None:
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=100, prefix="public/", require_size=True)
    exact = Presigner(name="avatars", backend=s3_reference.backend(), policy=policy, secret=TOKEN_SECRET)
    with ADAPTERS[adapter]([exact], _decide, companion=True) as url:
        problem = _is_problem(Api(url=url, client=client).params(), 400, "invalid_request")
        assert (problem["field"], "setFileMeta" in problem["message"]) == ("metadata[size]", True)
        assert Api(url=url, client=client).params(**{"metadata[size]": "50"}).status_code == 200


@pytest.mark.parametrize("hashes_parts", [False, True], ids=["", "hashed"])
def test_a_large_file_is_sent_in_parts_resumed_and_completed(api: Api, s3_reference: Store, hashes_parts: bool) -> None:
    ticket = api.large_ticket(hashes_parts=hashes_parts)
    parts, token = ticket["parts"], {"token": ticket["token"]}
    assert (parts["part_size"], parts["count"], parts["needs_sha256"]) == (PART_BYTES, 4, hashes_parts)
    assert [each["number"] for each in parts["requests"]] == ([] if hashes_parts else [1, 2, 3, 4])
    listed = api.post("/avatars/parts/list", token)
    assert listed.headers["content-type"] == "application/json"
    assert listed.json() == {
        "key": ticket["key"],
        "size": len(LARGE),
        **{name: value for name, value in parts.items() if name != "requests"},
        "numbers": [],
    }
    for number in (4, 2):
        digests = {"sha256": [DIGESTS[number - 1]]} if hashes_parts else {}
        (request,) = api.requests_of(ticket, [number], **digests)
        assert request["method"] == "PUT"
        api.send(request)
    # Another page goes on with what the store has.
    stored = api.post("/avatars/parts/list", token).json()["numbers"]
    assert stored == [2, 4]
    problem = _is_problem(api.post("/avatars/complete", token), 409, "parts_missing")
    assert problem["numbers"] == [1, 3]
    for request in api.requests_of(ticket, [1, 3], **({"sha256": DIGESTS[::2]} if hashes_parts else {})):
        api.send(request)
    answer = api.post("/avatars/complete", token)
    assert (answer.status_code, answer.json()["size"], answer.json()["key"]) == (200, len(LARGE), ticket["key"])
    assert s3_reference.admin.get_object(Bucket=s3_reference.bucket, Key=ticket["key"])["Body"].read() == LARGE
    assert api.post("/avatars/complete", token).json() == answer.json(), "it can be repeated"
    assert api.post("/avatars/abort", token).status_code == 200
    assert s3_reference.holds(ticket["key"]), "an abort leaves a completed file alone"


def test_no_path_accepts_an_expired_token_of_a_large_file(api: Api, s3_reference: Store) -> None:
    last_week = _kind(s3_reference, "avatars", "image/png", clock=seconds_ago(7 * 24 * 3600))
    request = UploadRequest(content_type="image/png", size=len(LARGE), hashes_parts=True)
    token = last_week.issue(request, owner="alice").token
    for path in PATHS[1:]:
        numbers = {"numbers": [1]} if path.endswith("/parts") else {}
        _is_problem(api.post(path, {"token": token, **numbers}), 403, "token_expired")
    fresh = _kind(s3_reference, "avatars", "image/png", clock=seconds_ago(7 * 24 * 3600 - 600))
    token = fresh.issue(request, owner="alice").token
    assert api.post("/avatars/parts/list", {"token": token}).status_code == 200


def test_every_answer_about_parts_matches_its_schema(api: Api, kinds: list[Presigner]) -> None:
    described = schemas(kinds[0])
    ticket = api.large_ticket()
    token = {"token": ticket["token"]}
    for name, members in (
        ("Ticket", ticket),
        ("SignedParts", api.post("/avatars/parts", {**token, "numbers": [3]}).json()),
        ("UploadedParts", api.post("/avatars/parts/list", token).json()),
        ("Problem", api.post("/avatars/complete", token).json()),
        ("AbortedUpload", api.post("/avatars/abort", token).json()),
    ):
        schema = {**described[name], "additionalProperties": False}
        Draft202012Validator(schema).validate(members)


def test_a_request_for_parts_is_accepted_exactly_if_it_matches_the_schema(api: Api, kinds: list[Presigner]) -> None:
    validator = Draft202012Validator(schemas(kinds[0])["PartsRequest"])
    plain, hashed = api.large_ticket()["token"], api.large_ticket(hashes_parts=True)["token"]
    valid = [{"token": plain, "numbers": [1, 4]}, {"token": hashed, "numbers": [2], "sha256": DIGESTS[1:2]}]
    numbers: tuple[Any, ...] = ([], [0], [-1], [1, 1], [2.0], [1.5], ["1"], [True], [[1]], "1", 1, None)
    digests: tuple[Any, ...] = (None, [], "x", {}, [None], ["x"], ["A" * 64], ["0" * 63], ["0" * 65])
    changes: list[dict[str, Any]] = [
        *({"numbers": each} for each in numbers),
        *({"sha256": each} for each in digests),
        {"other": 1},
        {"token": 1},
    ]
    for members in valid:
        assert validator.is_valid(members)
        assert api.post("/avatars/parts", members).status_code == 200
    for change in changes:
        for members in valid:
            body = {**members, **change}
            # The schema does not know which token needs digests, and how many.
            is_known = "sha256" not in change or (members is valid[1] and change["sha256"])
            if is_known or not validator.is_valid(body):
                answer = api.post("/avatars/parts", body)
                assert (answer.status_code == 200) is validator.is_valid(body), (body, answer.text)
