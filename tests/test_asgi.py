"""The HTTP contract: served by a real server, spoken to over a socket."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from openapi_spec_validator import validate as validate_openapi
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from emulators.serving import serve
from presign import (
    ConfigurationError,
    CredentialsUnavailable,
    Forbidden,
    InspectedObject,
    NotYet,
    Presigner,
    PresignError,
    Reject,
    TooManyRequests,
    Unauthenticated,
    UploadPolicy,
    UploadRequest,
)
from presign.asgi import MAX_BODY_BYTES, create_app, openapi
from presign.http.openapi import COMPANION, COMPANION_OPERATIONS, UPPY_SCHEMAS
from tests.conftest import PNG, TOKEN_SECRET, Store, upload

JSON = {"Content-Type": "application/json"}
PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code"}


def who(request: Request) -> str | None:
    """Authorise as an application would, from a header that stands for its session."""
    user = request.headers.get("x-user")
    refusals: dict[str | None, PresignError] = {
        "nobody": Unauthenticated("sign in"),
        "guest": Forbidden("guests may not upload"),
        "eager": TooManyRequests("slow down", retry_after=7),
    }
    if user in refusals:
        raise refusals[user]
    return user


async def nobody_in_particular(request: Request) -> None:
    return None


@pytest.fixture(scope="module")
def presigner(s3_reference: Store) -> Presigner:
    return s3_reference.presigner(content_types={"image/png", "text/plain"})


@pytest.fixture(scope="module")
def api(presigner: Presigner) -> Iterator[httpx.Client]:
    with serve(create_app(presigner, authorize=who)) as url, httpx.Client(base_url=url) as client:
        yield client


def _is_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem.keys() >= PROBLEM_MEMBERS
    assert (problem["status"], problem["code"]) == (status, code)
    assert "Traceback" not in answer.text
    return problem


def test_a_ticket_is_answered_used_and_completed(api: httpx.Client) -> None:
    answer = api.post("/upload", json={"type": "image/png", "size": len(PNG), "name": "cat.png"})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    ticket = answer.json()
    assert list(ticket) == [
        *("method", "url", "fields", "headers", "expires_at", "now", "key", "object_url", "enforced", "token"),
    ]
    assert ticket["enforced"] == {"size": "storage", "type": "storage", "headers": "storage"}
    stored = httpx.post(ticket["url"], data=ticket["fields"], files={"file": ("cat.png", PNG)})
    assert stored.status_code == 201
    completed = api.post("/complete", json={"token": ticket["token"]})
    assert completed.status_code == 200
    assert completed.json() == {
        "key": ticket["key"],
        "object_url": ticket["object_url"],
        "etag": completed.json()["etag"],
        "version": None,
        "size": len(PNG),
        "type": "image/png",
    }


def test_only_the_type_is_required(api: httpx.Client) -> None:
    assert api.post("/upload", json={"type": "image/png"}).status_code == 200


BAD_REQUESTS: dict[str, tuple[dict[str, Any], int, str]] = {
    "malformed JSON": ({"content": b'{"type": ', "headers": JSON}, 400, "invalid_request"),
    "no body": ({"headers": JSON}, 400, "invalid_request"),
    "not UTF-8": ({"content": b'{"type": "\xff"}', "headers": JSON}, 400, "invalid_request"),
    "deep nesting": ({"content": b"[" * 5000, "headers": JSON}, 400, "invalid_request"),
    "NaN": ({"content": b'{"type": "image/png", "size": NaN}', "headers": JSON}, 400, "invalid_request"),
    "an array": ({"json": []}, 400, "invalid_request"),
    "null": ({"json": None, "headers": JSON, "content": b"null"}, 400, "invalid_request"),
    "missing type": ({"json": {"size": 1}}, 400, "invalid_request"),
    "type of the wrong kind": ({"json": {"type": 1}}, 400, "invalid_request"),
    "size as text": ({"json": {"type": "image/png", "size": "20"}}, 400, "invalid_request"),
    "size as a fraction": ({"json": {"type": "image/png", "size": 1.5}}, 400, "invalid_request"),
    "negative size": ({"json": {"type": "image/png", "size": -1}}, 400, "invalid_request"),
    "absurd size": ({"json": {"type": "image/png", "size": 2**63}}, 400, "invalid_request"),
    "absurd number": ({"content": b'{"type": "image/png", "size": 1e999}', "headers": JSON}, 400, "invalid_request"),
    "over-long name": ({"json": {"type": "image/png", "name": "x" * 256}}, 400, "invalid_request"),
    "hostile name": ({"json": {"type": "image/png", "name": "../../etc/passwd"}}, 400, "invalid_request"),
    "NUL in the name": ({"json": {"type": "image/png", "name": "a\0b"}}, 400, "invalid_request"),
    "unknown field": ({"json": {"type": "image/png", "acl": "public-read"}}, 400, "invalid_request"),
    "key of the client's own": ({"json": {"type": "image/png", "key": "public/x"}}, 400, "invalid_request"),
    "bad checksum": ({"json": {"type": "image/png", "sha256": "x"}}, 400, "invalid_request"),
    "type not allowed": ({"json": {"type": "text/html"}}, 415, "type_not_allowed"),
    "too large": ({"json": {"type": "image/png", "size": 101}}, 413, "too_large"),
    "too small": ({"json": {"type": "image/png", "size": 9}}, 422, "too_small"),
    "1 MB body": ({"content": b'{"type": "' + b"x" * 1_000_000 + b'"}', "headers": JSON}, 413, "body_too_large"),
    "wrong content type": ({"content": b'{"type": "image/png"}', "headers": {"Content-Type": "text/plain"}}, 415, "unsupported_media_type"),
    "no content type": ({"content": b'{"type": "image/png"}'}, 415, "unsupported_media_type"),
    "a form": ({"data": {"type": "image/png"}}, 415, "unsupported_media_type"),
    "nobody": ({"json": {"type": "image/png"}, "headers": {"X-User": "nobody"}}, 401, "unauthenticated"),
    "a guest": ({"json": {"type": "image/png"}, "headers": {"X-User": "guest"}}, 403, "forbidden"),
    "too eager": ({"json": {"type": "image/png"}, "headers": {"X-User": "eager"}}, 429, "too_many_requests"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_for_a_ticket_is_answered_with_its_problem(api: httpx.Client, case: str) -> None:
    request, status, code = BAD_REQUESTS[case]
    if "content" in request:
        request.pop("json", None)
    _is_problem(api.post("/upload", **request), status, code)
    assert api.post("/upload", json={"type": "image/png"}).status_code == 200, "the next request is served"


def test_a_problem_names_field_value_and_limit(api: httpx.Client) -> None:
    problem = _is_problem(api.post("/upload", json={"type": "image/png", "size": 101}), 413, "too_large")
    assert (problem["field"], problem["value"], problem["limit"]) == ("size", 101, 100)
    problem = _is_problem(api.post("/upload", json={"type": "text/html"}), 415, "type_not_allowed")
    assert (problem["field"], problem["value"], problem["limit"]) == (
        "type",
        "text/html",
        ["image/png", "text/plain"],
    )


@pytest.mark.parametrize("body", [{}, [], {"token": 1}, {"token": None}, {"token": "x", "key": "public/x"}, "x", None])
def test_a_completion_that_is_not_a_token_is_an_invalid_request(api: httpx.Client, body: Any) -> None:
    _is_problem(api.post("/complete", content=json.dumps(body), headers=JSON), 400, "invalid_request")


def test_completion_says_what_is_wrong_with_the_token_or_the_upload(api: httpx.Client) -> None:
    ticket = api.post("/upload", json={"type": "image/png"}, headers={"X-User": "alice"}).json()
    token = ticket["token"]
    _is_problem(
        api.post("/complete", json={"token": token[:-3] + "AAA"}, headers={"X-User": "alice"}), 403, "invalid_token"
    )
    _is_problem(api.post("/complete", json={"token": token}, headers={"X-User": "bob"}), 403, "invalid_token")
    _is_problem(api.post("/complete", json={"token": token}, headers={"X-User": "nobody"}), 401, "unauthenticated")
    _is_problem(api.post("/complete", json={"token": token}, headers={"X-User": "alice"}), 409, "not_uploaded")
    httpx.post(ticket["url"], data=ticket["fields"], files={"file": ("cat.png", b"<html>not a png")})
    problem = _is_problem(
        api.post("/complete", json={"token": token}, headers={"X-User": "alice"}), 422, "rule_violated"
    )
    assert problem["rule"] == "type"
    _is_problem(api.post("/complete", json={"token": token}, headers={"X-User": "alice"}), 409, "not_uploaded")


@pytest.mark.parametrize("path", ["/upload", "/complete"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_refused_with_the_one_that_is_allowed(api: httpx.Client, path: str, method: str) -> None:
    answer = api.request(method, path)
    _is_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_another_address_is_not_found(api: httpx.Client) -> None:
    _is_problem(api.get("/"), 404, "not_found")
    _is_problem(api.post("/upload/x"), 404, "not_found")


def test_who_is_refused_sends_no_body_in_vain(api: httpx.Client) -> None:
    answer = api.post("/upload", content=b"x" * 1_000_000, headers={**JSON, "X-User": "nobody"})
    _is_problem(answer, 401, "unauthenticated")


def test_too_many_requests_and_unavailable_storage_say_when_to_come_back(
    s3_reference: Store, presigner: Presigner, caplog: pytest.LogCaptureFixture
) -> None:
    def without_credentials(request: Request) -> None:
        raise CredentialsUnavailable("the AWS credentials expired and could not be renewed")

    with serve(create_app(presigner, authorize=who)) as url:
        answer = httpx.post(f"{url}/upload", json={"type": "image/png"}, headers={"X-User": "eager"})
        assert answer.headers["retry-after"] == "7"
    with serve(create_app(presigner, authorize=without_credentials)) as url:
        answer = httpx.post(f"{url}/upload", json={"type": "image/png"})
        _is_problem(answer, 503, "credentials_unavailable")
        assert answer.headers["retry-after"] == "5"
    assert "credentials_unavailable" in caplog.text


def test_a_failure_of_ours_is_a_problem_without_its_cause(
    presigner: Presigner, caplog: pytest.LogCaptureFixture
) -> None:
    for error in (RuntimeError("secret detail"), ConfigurationError("secret detail")):

        def fails(request: Request, error: Exception = error) -> None:
            raise error

        with serve(create_app(presigner, authorize=fails)) as url:
            answer = httpx.post(f"{url}/upload", json={"type": "image/png"})
        _is_problem(answer, 500, "internal")
        assert "secret detail" not in answer.text


def test_a_reason_with_a_name_that_is_not_unicode_can_be_told(s3_reference: Store) -> None:
    presigner = Presigner(
        backend=s3_reference.backend(),
        policy=UploadPolicy(content_types={"image/png"}, max_bytes=100, prefix="public/"),
        secret=TOKEN_SECRET,
        inspect=lambda uploaded: Reject("the archive has \udcff.exe"),
    )
    ticket = presigner.issue(UploadRequest(content_type="image/png", size=len(PNG)))
    upload(ticket, PNG)
    with serve(create_app(presigner, authorize=nobody_in_particular)) as url:
        problem = _is_problem(httpx.post(f"{url}/complete", json={"token": ticket.token}), 422, "rejected")
    assert problem["detail"] == "the archive has ?.exe"


def test_an_async_authorize_is_awaited(presigner: Presigner) -> None:
    async def refuses(request: Request) -> str:
        raise Forbidden("not today")

    with serve(create_app(presigner, authorize=refuses)) as url:
        _is_problem(httpx.post(f"{url}/upload", json={"type": "image/png"}), 403, "forbidden")


def test_pages_of_an_allowed_origin_may_ask_and_read_and_no_others(presigner: Presigner) -> None:
    page, stranger = "https://www.example.com", "https://evil.example"
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    app = create_app(presigner, authorize=who, allowed_origins=[page])
    with serve(app) as url:
        for body, status in (({"type": "image/png"}, 200), ({"type": "text/html"}, 415)):
            answer = httpx.post(f"{url}/upload", json=body, headers={"Origin": page})
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == page
            assert answer.headers["access-control-expose-headers"] == "Retry-After"
            assert "Origin" in answer.headers["vary"]
            foreign = httpx.post(f"{url}/upload", json=body, headers={"Origin": stranger})
            assert "access-control-allow-origin" not in foreign.headers
        for path in ("/upload", "/complete", "/parts", "/parts/list", "/abort"):
            preflight = httpx.options(f"{url}{path}", headers={**ask, "Origin": page})
            assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, page)
            assert httpx.options(f"{url}{path}", headers={**ask, "Origin": stranger}).status_code == 400
            refused = httpx.post(f"{url}{path}", json={}, headers={"Origin": page})
            assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (400, page)


def test_pages_of_an_allowed_origin_may_use_uppys_companion_mode_and_no_others(presigner: Presigner) -> None:
    page, stranger = "https://www.example.com", "https://evil.example"
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    options: dict[str, Any] = {"authorize": who, "allowed_origins": [page], "allowed_headers": ["authorization"]}
    with serve(create_app(presigner, companion=True, **options)) as url:
        for query, status in (("type=image/png", 200), ("type=text/html", 415)):
            answer = httpx.get(f"{url}/s3/params?{query}", headers={"Origin": page})
            assert answer.status_code == status
            assert answer.headers.get_list("access-control-allow-origin") == [page]
            assert answer.headers["access-control-expose-headers"] == "Retry-After"
            foreign = httpx.get(f"{url}/s3/params?{query}", headers={"Origin": stranger})
            assert "access-control-allow-origin" not in foreign.headers
        assert httpx.options(f"{url}/s3/params", headers={**asked, "Origin": page}).status_code == 200
        assert httpx.options(f"{url}/s3/params", headers={**asked, "Origin": stranger}).status_code == 400
        abort = {**asked, "Access-Control-Request-Method": "DELETE"}
        assert httpx.options(f"{url}/s3/multipart/x", headers={**abort, "Origin": page}).status_code == 200
        assert httpx.options(f"{url}/s3/multipart/x", headers={**abort, "Origin": stranger}).status_code == 400
    with serve(create_app(presigner, **options)) as url:
        assert httpx.options(f"{url}/upload", headers={**asked, "Origin": page}).status_code == 400


@pytest.mark.parametrize("origins", ["https://www.example.com", ["*"]])
@pytest.mark.parametrize("allow_credentials", [False, True])
def test_origins_that_would_let_everybody_in_are_refused(
    presigner: Presigner, origins: Any, allow_credentials: bool
) -> None:
    with pytest.raises(ConfigurationError, match="allowed_origins"):
        create_app(presigner, authorize=who, allowed_origins=origins, allow_credentials=allow_credentials)


@pytest.mark.parametrize("headers", ["authorization", ["*"]])
def test_headers_must_be_named(presigner: Presigner, headers: Any) -> None:
    with pytest.raises(ConfigurationError, match="allowed_headers"):
        create_app(presigner, authorize=who, allowed_origins=["https://www.example.com"], allowed_headers=headers)


@pytest.mark.parametrize("options", [{"allow_credentials": True}, {"allowed_headers": ["authorization"]}])
def test_credentials_and_headers_without_an_origin_are_refused(presigner: Presigner, options: Any) -> None:
    with pytest.raises(ConfigurationError, match="allowed_origins"):
        create_app(presigner, authorize=who, **options)


def _preflight(url: str, origin: str, *headers: str) -> httpx.Response:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": ", ".join(headers)}
    return httpx.options(f"{url}/upload", headers={**asked, "Origin": origin})


def test_an_allowed_origin_may_send_cookies_and_named_headers_if_the_application_says_so(presigner: Presigner) -> None:
    page, stranger = "https://www.example.com", "https://evil.example"
    named = ("content-type", "authorization", "x-csrftoken")
    with serve(create_app(presigner, authorize=who, allowed_origins=[page])) as url:
        assert "access-control-allow-credentials" not in _preflight(url, page, "content-type").headers
        answer = httpx.post(f"{url}/upload", json={"type": "image/png"}, headers={"Origin": page})
        assert "access-control-allow-credentials" not in answer.headers
        assert _preflight(url, page, *named).status_code == 400
    app = create_app(
        presigner,
        authorize=who,
        allowed_origins=[page],
        allow_credentials=True,
        allowed_headers=("authorization", "x-csrftoken"),
    )
    with serve(app) as url:
        preflight = _preflight(url, page, *named)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-credentials"] == "true"
        assert preflight.headers["access-control-allow-origin"] == page
        allowed = {name.strip().lower() for name in preflight.headers["access-control-allow-headers"].split(",")}
        assert allowed >= {*named}
        assert _preflight(url, page, *named, "x-other").status_code == 400
        assert _preflight(url, stranger, *named).status_code == 400
        for body in ({"type": "image/png"}, {"type": "text/html"}):
            answer = httpx.post(f"{url}/upload", json=body, headers={"Origin": page})
            assert answer.headers["access-control-allow-credentials"] == "true"
            foreign = httpx.post(f"{url}/upload", json=body, headers={"Origin": stranger})
            assert not {name for name in foreign.headers if name.startswith("access-control-")}


def test_under_a_mount_the_contract_is_the_same(presigner: Presigner) -> None:
    mounted = Starlette(routes=[Mount("/files", create_app(presigner, authorize=who))])
    with serve(mounted) as url:
        assert httpx.post(f"{url}/files/upload", json={"type": "image/png"}).status_code == 200
        _is_problem(httpx.post(f"{url}/files/upload", json={"type": "text/html"}), 415, "type_not_allowed")
        _is_problem(httpx.get(f"{url}/files/upload"), 405, "method_not_allowed")
        _is_problem(httpx.post(f"{url}/files/other"), 404, "not_found")
        assert httpx.post(f"{url}/upload", json={"type": "image/png"}).status_code == 404


def test_a_client_that_hangs_up_in_its_body_leaves_the_server_well(api: httpx.Client) -> None:
    parts = urlsplit(str(api.base_url))
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    connection.putrequest("POST", "/upload")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b'{"type"')
    connection.close()
    assert api.post("/upload", json={"type": "image/png"}).status_code == 200


def test_a_body_at_the_limit_is_read(api: httpx.Client) -> None:
    body = b'{"type": "image/png"' + b" " * (MAX_BODY_BYTES - 21) + b"}"
    assert len(body) == MAX_BODY_BYTES
    assert api.post("/upload", content=body, headers=JSON).status_code == 200
    _is_problem(api.post("/upload", content=body + b" ", headers=JSON), 413, "body_too_large")


def test_openapi_describes_uppys_companion_mode_as_it_is_served(presigner: Presigner) -> None:
    with serve(create_app(presigner, authorize=who, companion=True)) as url:
        document = httpx.get(f"{url}/openapi.json").json()
        assert document == json.loads(json.dumps(openapi(presigner, companion=True)))
        described = document["paths"]["/s3/params"]
        for operation in COMPANION_OPERATIONS:
            document["paths"].pop(operation.path, None)
        for name in UPPY_SCHEMAS:
            del document["components"]["schemas"][name]
        assert document == openapi(presigner), "nothing else is changed"
        assert list(described) == ["get"]
        parameters = {each["name"]: each for each in described["get"]["parameters"]}
        assert [name for name, each in parameters.items() if each["required"]] == ["type"]
        query = {"type": "image/png", "filename": "cat.png", "metadata[size]": "50", "metadata[sha256]": "0" * 64}
        assert query.keys() == parameters.keys()
        assert httpx.get(f"{url}/s3/params", params=query).status_code == 200
        for name in parameters:
            answer = httpx.get(f"{url}/s3/params", params={**query, name: "\u202e"})
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), name
        codes = {status: ", ".join(codes) for status, codes in COMPANION.codes.items()}
        answers = described["get"]["responses"].items()
        assert {int(status): each["description"] for status, each in answers if status != "200"} == codes
        assert "invalid_request" in codes[400]


def test_openapi_describes_the_contract_as_it_is_served(api: httpx.Client, presigner: Presigner) -> None:
    document = api.get("/openapi.json").json()
    assert document == json.loads(json.dumps(openapi(presigner)))
    schemas = document["components"]["schemas"]
    ticket = api.post("/upload", json={"type": "image/png"}).json()
    assert sorted(schemas["Ticket"]["required"]) == sorted(ticket)
    assert sorted(schemas["Ticket"]["properties"]) == sorted({*ticket, "parts"}), "the ticket of a large file has parts"
    assert list(document["paths"]) == ["/upload", "/complete", "/parts", "/parts/list", "/abort"]
    assert schemas["UploadRequest"]["properties"]["type"]["enum"] == ["image/png", "text/plain"]
    described = {
        (path, status, code)
        for path, item in document["paths"].items()
        for status, response in item["post"]["responses"].items()
        if status != "200"
        for code in response["description"].split(", ")
    }
    for case, (_, status, code) in BAD_REQUESTS.items():
        assert ("/upload", str(status), code) in described, case
    for path, status, code in [
        ("/complete", 409, "parts_missing"),
        ("/complete", 410, "upload_ended"),
        ("/upload", 503, "storage_unavailable"),
        ("/parts", 400, "invalid_request"),
        ("/parts", 403, "token_expired"),
        ("/parts", 503, "credentials_unavailable"),
        ("/parts/list", 410, "upload_ended"),
        ("/parts/list", 503, "storage_unavailable"),
        ("/abort", 202, "completion_pending"),
        ("/abort", 403, "invalid_token"),
    ]:
        assert (path, str(status), code) in described
    for status, code in [(403, "invalid_token"), (409, "not_uploaded"), (422, "rule_violated"), (403, "token_expired")]:
        assert ("/complete", str(status), code) in described


# For each member: values of every JSON type, on both sides of each limit.
_MEMBERS: dict[str, list[Any]] = {
    "type": ["image/png", "text/plain", "text/html", "image/*", "", "image", 1, None, True, [], {}],
    "size": [
        *(0, 9, 10, 11, 99, 100, 101, -1, 2**63 - 1, 2**63, 2**64, 10**30),
        *(10.0, 100.0, 101.0, 10.5, -0.0, 1e2, 1e300, "20", None, True, [], {}),
    ],
    "name": [
        *("cat.png", "a b.png", "\u00fc.png", "\U0001f408.png", "x" * 255, "\U0001f408" * 255, "x" * 256, ""),
        *(".", "..", "...", ".hidden", "a/b", "a\\b", "a\0b", "a\nb", "a\n", "a\x7f", "a\x85", "a\u202eb", "a\u2069"),
        *("a\u200db", "a\u3000b", "a\u202f", 1, None, False, [], {}),
    ],
    "sha256": [
        "0" * 64,
        "9f" * 32,
        "A" * 64,
        "0" * 63,
        "0" * 65,
        "0" * 63 + "\n",
        "0" * 64 + "\n",
        "",
        0,
        None,
        [],
        {},
    ],
    "hashes_parts": [True, False, None, 0, 1, "true", [], {}],
    "part_size": [1, 5.0, None, 0, -1, 1.5, 2**63, "5", True, [], {}],
    "key": ["public/x", None],
}


def _bodies() -> st.SearchStrategy[Any]:
    """Requests of which most are valid but for one member, and JSON that is no request at all."""
    valid = {"type": "image/png", "size": 20, "name": "cat.png", "sha256": "0" * 64}
    members = st.sampled_from([(name, value) for name, values in _MEMBERS.items() for value in values])
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    names = st.tuples(st.just("name"), texts)
    sizes = st.tuples(st.just("size"), st.integers() | st.floats(allow_nan=False, allow_infinity=False))
    changes = st.lists(members | names | sizes, max_size=2)
    kept = st.sets(st.sampled_from(sorted(valid)))
    requests = st.builds(
        lambda kept, changes: {**{name: valid[name] for name in sorted(kept | {"type"})}, **dict(changes)},
        kept,
        changes,
    )
    without_type = requests.map(lambda body: {name: value for name, value in body.items() if name != "type"})
    lists = st.lists(requests | without_type | st.sampled_from([None, 1, "x", [], [valid]]), max_size=3)
    return requests | without_type | lists | st.sampled_from([None, True, 1, "x"])


def _validator(schema: dict[str, Any]) -> Draft202012Validator:
    # In JavaScript, and so in JSON Schema, $ is the end of the text. In Python it may stand before a last newline.
    return Draft202012Validator(json.loads(json.dumps(schema).replace('$"', r'\\Z"')))


@pytest.mark.parametrize(
    "policy", [{}, {"require_size": True, "require_sha256": True}, {"min_bytes": 0}], ids=["plain", "strict", "empty"]
)
def test_a_request_is_accepted_exactly_if_it_matches_the_schema(s3_reference: Store, policy: dict[str, Any]) -> None:
    presigner = s3_reference.presigner(content_types={"image/png", "text/plain"}, **policy)
    validator = _validator(openapi(presigner)["components"]["schemas"]["UploadRequest"])
    with serve(create_app(presigner, authorize=nobody_in_particular)) as url, httpx.Client(base_url=url) as client:

        @settings(max_examples=400, deadline=None, database=None)
        @given(_bodies())
        def check(body: Any) -> None:
            answer = client.post("/upload", content=json.dumps(body), headers=JSON)
            assert answer.status_code in {200, 400, 413, 415, 422}
            verdicts = [(body, answer.status_code)]
            if isinstance(body, list) and answer.status_code == 200:
                verdicts = list(zip(body, [each["status"] for each in answer.json()], strict=True))
            for request, status in verdicts:
                assert (status == 200) is validator.is_valid(request), (body, answer.text)

        check()


@pytest.mark.parametrize("name", ["type", "size", "name", "sha256", "hashes_parts", "part_size"])
def test_each_member_is_accepted_exactly_if_it_matches_the_schema(
    api: httpx.Client, presigner: Presigner, name: str
) -> None:
    validator = _validator(openapi(presigner)["components"]["schemas"]["UploadRequest"])
    for value in _MEMBERS[name]:
        body = {"type": "image/png", name: value}
        answer = api.post("/upload", content=json.dumps(body), headers=JSON)
        assert (answer.status_code == 200) is validator.is_valid(body), (body, answer.text)


@pytest.mark.parametrize("is_required", [False, True])
def test_a_digest_of_parts_is_accepted_exactly_if_it_matches_the_schema(s3_reference: Store, is_required: bool) -> None:
    part_size = 5 * 1024**2
    parts: dict[str, Any] = {"parts_from_bytes": 1, "part_bytes": part_size, "max_bytes": 2**30}
    presigner = s3_reference.presigner(require_sha256=is_required, **parts)
    validator = _validator(openapi(presigner)["components"]["schemas"]["UploadRequest"])
    digest: dict[str, Any] = {"part_size": part_size, "sha256": "0" * 64}
    no_digests: tuple[Any, ...] = ("0" * 64, 5, True, [], {}, {"sha256": "0" * 64}, {"part_size": 1})
    changes: list[dict[str, Any]] = [
        {},
        {"parts_digest": None},
        {"sha256": None, "parts_digest": None},
        {"sha256": "0" * 64},
        {"sha256": "0" * 64, "parts_digest": None},
        {"parts_digest": digest},
        {"sha256": None, "parts_digest": digest},
        {"sha256": "0" * 64, "parts_digest": digest},
        {"parts_digest": digest | {"part_size": float(part_size)}},
        *({"parts_digest": value} for value in no_digests),
        *({"parts_digest": digest | {"part_size": value}} for value in (0, -1, 1.5, True, "5", None, 2**63)),
        *({"parts_digest": digest | {"sha256": value}} for value in ("", "A" * 64, "0" * 64 + "\n", 0, None)),
        {"parts_digest": digest | {"count": 2}},
    ]
    accepted = []
    with serve(create_app(presigner, authorize=nobody_in_particular)) as url, httpx.Client(base_url=url) as client:
        for members in changes:
            body = {"type": "image/png", "size": 20, **members}
            answer = client.post("/upload", json=body)
            assert answer.status_code in {200, 400}
            assert (answer.status_code == 200) is validator.is_valid(body), (body, answer.text)
            accepted += [answer.status_code == 200]
    assert 0 < sum(accepted) < len(accepted)
    small = s3_reference.presigner(require_sha256=is_required)
    schema = openapi(small)["components"]["schemas"]["UploadRequest"]
    assert not _validator(schema).is_valid({"type": "image/png", "size": 20, "parts_digest": digest})


def test_every_answer_matches_its_schema(api: httpx.Client, presigner: Presigner) -> None:
    schemas = openapi(presigner)["components"]["schemas"]
    ticket = api.post("/upload", json={"type": "image/png"}).json()
    httpx.post(ticket["url"], data=ticket["fields"], files={"file": ("cat.png", PNG)})
    _validator(schemas["Ticket"]).validate(ticket)
    _validator(schemas["StoredObject"]).validate(api.post("/complete", json={"token": ticket["token"]}).json())
    for body in ({"type": "text/html"}, {"type": "image/png", "size": 101}, {"size": 1}, {"type": "image/png", "x": 1}):
        _validator(schemas["Problem"]).validate(api.post("/upload", json=body).json())


def test_lists_and_their_answers_match_the_schemas_of_the_document(presigner: Presigner) -> None:
    document = openapi(presigner, max_files=3)
    requests, answers = {}, {}
    for path in ("/upload", "/complete"):
        operation = document["paths"][path]["post"]
        schemas = {"components": document["components"]}
        requests[path] = _validator({**operation["requestBody"]["content"]["application/json"]["schema"], **schemas})
        answers[path] = _validator(
            {**operation["responses"]["200"]["content"]["application/json"]["schema"], **schemas}
        )
    picture = {"type": "image/png"}
    with (
        serve(create_app(presigner, authorize=nobody_in_particular, max_files=3)) as url,
        httpx.Client(base_url=url) as api,
    ):
        assert api.get("/openapi.json").json() == json.loads(json.dumps(document))
        for items, is_valid in (([], False), ([picture], True), ([picture] * 3, True), ([picture] * 4, False)):
            assert requests["/upload"].is_valid(items) is is_valid
            assert (api.post("/upload", json=items).status_code == 200) is is_valid
        listed = api.post("/upload", json=[picture, {"type": "text/html"}, {}]).json()
        assert [each["status"] for each in listed] == [200, 415, 400]
        answers["/upload"].validate(listed)
        answers["/upload"].validate(listed[0]["body"])
        ticket = listed[0]["body"]
        httpx.post(ticket["url"], data=ticket["fields"], files={"file": ("cat.png", PNG)})
        tokens = [{"token": ticket["token"]}, {"token": "x"}]
        requests["/complete"].validate(tokens)
        stored = api.post("/complete", json=tokens).json()
        assert [each["status"] for each in stored] == [200, 403]
        answers["/complete"].validate(stored)
        for wrong in ([{"status": 200}], [{"status": "200", "body": ticket}], [{**listed[1], "retry_after": "5"}]):
            assert not answers["/upload"].is_valid(wrong)
        for path in ("/parts", "/parts/list", "/abort"):
            described = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
            assert list(described) == ["$ref"]


@pytest.mark.parametrize("companion", [False, True])
def test_the_openapi_document_is_valid(presigner: Presigner, companion: bool) -> None:
    validate_openapi(openapi(presigner, companion=companion))


def test_the_log_of_a_session_holds_no_token_and_no_signature(
    api: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        ticket = api.post("/upload", json={"type": "image/png"}).json()
        api.post("/complete", json={"token": ticket["token"]})
        api.post("/complete", json={"token": ticket["token"] + "x"})
    for secret in (ticket["token"], ticket["fields"]["policy"], ticket["fields"]["x-amz-signature"]):
        assert secret not in caplog.text


def test_several_presigners_share_an_application_under_their_names(s3_reference: Store) -> None:
    def presigner(name: str, **policy: Any) -> Presigner:
        rules: dict[str, Any] = {"max_bytes": 100, "content_types": {"image/png"}}
        return Presigner(
            name=name,
            backend=s3_reference.backend(),
            policy=UploadPolicy(prefix=f"public/{name}/", **rules | policy),
            secret=TOKEN_SECRET,
        )

    kinds = [presigner("avatars"), presigner("documents", content_types={"text/plain"})]
    with serve(create_app(kinds, authorize=who)) as url, httpx.Client(base_url=url) as client:
        assert client.post("/documents/upload", json={"type": "image/png"}).json()["code"] == "type_not_allowed"
        ticket = client.post("/avatars/upload", json={"type": "image/png"}).json()
        assert ticket["key"].startswith("public/avatars/")
        httpx.post(ticket["url"], data=ticket["fields"], files={"file": ("cat.png", PNG)})
        _is_problem(client.post("/documents/complete", json={"token": ticket["token"]}), 403, "invalid_token")
        assert client.post("/avatars/complete", json={"token": ticket["token"]}).json()["key"] == ticket["key"]
        for kind in kinds:
            document = client.get(f"/{kind.name}/openapi.json").json()
            schema = document["components"]["schemas"]["UploadRequest"]
            assert schema["properties"]["type"]["enum"] == sorted(kind.policy.content_types)
        _is_problem(client.post("/upload", json={"type": "image/png"}), 404, "not_found")
    for presigners in ([], [presigner("avatars"), presigner("avatars")]):
        with pytest.raises(ConfigurationError, match="a name of its own"):
            create_app(presigners, authorize=who)


def test_a_place_that_another_presigner_sweeps_is_refused(s3_reference: Store) -> None:
    def presigner(name: str, **policy: Any) -> Presigner:
        return Presigner(
            name=name,
            backend=s3_reference.backend(),
            policy=UploadPolicy(max_bytes=100, content_types={"image/png"}, **policy),
            secret=TOKEN_SECRET,
        )

    avatars = presigner("avatars", prefix="public/")
    swept = presigner("documents", prefix="pending/documents/", pending_prefix=None)
    for presigners in ([avatars, swept], [swept, avatars]):
        with pytest.raises(ConfigurationError, match="the prefix of 'documents' lies in the pending_prefix of 'avatar"):
            create_app(presigners, authorize=who)
    create_app([avatars, presigner("documents", prefix="pending-documents/", pending_prefix=None)], authorize=who)


def test_an_inspection_without_a_verdict_is_202_with_retry_after_and_a_rejection_is_422(s3_reference: Store) -> None:
    verdicts: list[Any] = [NotYet(retry_after=9), Reject("the image is too dark")]
    loops: list[Any] = []

    async def inspect(uploaded: InspectedObject) -> Any:
        loops.append(asyncio.get_running_loop())
        return verdicts.pop(0)

    presigner = Presigner(
        backend=s3_reference.backend(),
        policy=UploadPolicy(content_types={"image/png"}, max_bytes=100, prefix="public/"),
        secret=TOKEN_SECRET,
        inspect=inspect,
    )

    async def remember_the_loop(request: Request) -> None:
        loops.append(asyncio.get_running_loop())

    with serve(create_app(presigner, authorize=remember_the_loop)) as url, httpx.Client(base_url=url) as client:
        ticket = client.post("/upload", json={"type": "image/png"}).json()
        httpx.post(ticket["url"], data=ticket["fields"], files={"file": ("cat.png", PNG)})
        answer = client.post("/complete", json={"token": ticket["token"]})
        _is_problem(answer, 202, "completion_pending")
        assert answer.headers["retry-after"] == "9"
        problem = _is_problem(client.post("/complete", json={"token": ticket["token"]}), 422, "rejected")
        assert problem["detail"] == "the image is too dark"
        _is_problem(client.post("/complete", json={"token": ticket["token"]}), 409, "not_uploaded")
    assert len({id(loop) for loop in loops}) == 1, "coroutine functions run on the server's loop"


def test_the_document_requires_the_size_where_the_storage_needs_it(s3_reference: Store) -> None:
    for upload_method, required in (("put", ["type", "size"]), ("post", ["type"])):
        document = openapi(s3_reference.presigner(upload_method=upload_method))
        assert document["components"]["schemas"]["UploadRequest"]["required"] == required
