"""The HTTP contract as an ASGI application, mountable in any other.

``POST /upload`` answers a ticket, ``POST /complete`` the stored object; every error is an RFC 9457 problem document
with a stable ``code``. ``GET /openapi.json`` describes it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from presign.errors import (
    ConfigurationError,
    CredentialsUnavailable,
    Forbidden,
    InvalidRequest,
    InvalidToken,
    NotUploaded,
    PresignError,
    RuleViolated,
    StorageUnavailable,
    TokenExpired,
    TooLarge,
    TooManyRequests,
    TooSmall,
    TypeNotAllowed,
    Unauthenticated,
)
from presign.messages import MAX_NAME_CHARACTERS, MAX_SIZE_BYTES, CompletionRequest, Rule, UploadRequest
from presign.presigner import Presigner

Authorize = Callable[[Request], str | Awaitable[str | None] | None]
"""Says whom a request comes from (None for anybody), or raises Unauthenticated, Forbidden or TooManyRequests."""

MAX_BODY_BYTES = 16 * 1024
"""The largest request body that is read: metadata and tokens are far smaller."""

RETRY_AFTER_SECONDS = 5

_log = logging.getLogger("presign")


class _BodyTooLarge(PresignError):
    code = "body_too_large"
    status = 413
    title = "The request's body is too large"


class _UnsupportedMediaType(PresignError):
    code = "unsupported_media_type"
    status = 415
    title = "The request's body must be JSON"


def create_app(presigner: Presigner, *, authorize: Authorize, allowed_origins: Collection[str] = ()) -> ASGIApp:
    """Return the application that serves the contract; ``authorize`` is asked before anything of a body is read.

    ``allowed_origins`` are those whose pages may ask from elsewhere (CORS), such as ``https://www.example.com``; leave
    it empty where the application that mounts this one has a CORS middleware of its own.
    """
    document = orjson.dumps(openapi(presigner))

    def issue(body: bytes, owner: str | None) -> bytes:
        return presigner.issue(UploadRequest.from_json(body), owner=owner).to_json()

    def complete(body: bytes, owner: str | None) -> bytes:
        return presigner.complete(CompletionRequest.from_json(body).token, owner=owner).to_json()

    async def describe(request: Request) -> Response:
        return Response(document, media_type="application/json")

    if isinstance(allowed_origins, str) or "*" in allowed_origins:
        raise ConfigurationError("allowed_origins must name origins, each as a text", field="allowed_origins")
    shared_with = {origin.encode("latin-1"): _sharing_headers(origin) for origin in allowed_origins}
    does_io = presigner.backend.signing_does_io
    endpoints = {
        "/upload": _Endpoint(issue, authorize=authorize, in_thread=does_io, shared_with=shared_with),
        "/complete": _Endpoint(complete, authorize=authorize, in_thread=True, shared_with=shared_with),
    }
    routes = [Route(path, endpoint, methods=["POST"]) for path, endpoint in endpoints.items()]
    others: ASGIApp = Starlette(
        routes=[*routes, Route("/openapi.json", describe, methods=["GET"])],
        exception_handlers={HTTPException: _http_problem},
    )
    if allowed_origins:
        others = CORSMiddleware(
            others, allow_origins=list(allowed_origins), allow_methods=["POST"], allow_headers=["Content-Type"]
        )
    return _Application(endpoints=endpoints, others=others)


class _Application:
    """Hands a POST to its endpoint at once, and everything else to Starlette, whose layers cost more than a ticket."""

    def __init__(self, *, endpoints: Mapping[str, ASGIApp], others: ASGIApp) -> None:
        self._endpoints = endpoints
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._others
        if scope["type"] == "http" and scope["method"] == "POST":
            # Under a mount the path still begins with where that is.
            app = self._endpoints.get(scope["path"].removeprefix(scope.get("root_path", "")), app)
        await app(scope, receive, send)


class _Endpoint:
    """One POST of the contract, with its problem documents, readable to pages of the allowed origins.

    ``answer`` gets the body and whom it comes from; ``in_thread`` where it does I/O. ``shared_with`` has the headers
    that an origin's pages need.
    """

    def __init__(
        self,
        answer: Callable[[bytes, str | None], bytes],
        *,
        authorize: Authorize,
        in_thread: bool,
        shared_with: Mapping[bytes, list[tuple[bytes, bytes]]],
    ) -> None:
        self._answer = answer
        self._authorize = authorize
        self._in_thread = in_thread
        self._shared_with = shared_with

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Looked up as the server handed them over: wrapping them costs as much as reading the body.
        headers = dict(scope["headers"])
        sharing = self._shared_with.get(headers.get(b"origin", b""), [])
        try:
            owner = self._authorize(Request(scope, receive))
            if owner is not None and not isinstance(owner, str):
                owner = await owner
            _check_media_type(headers.get(b"content-type", b""))
            body = await _read_body(receive)
            content = (
                await run_in_threadpool(self._answer, body, owner) if self._in_thread else self._answer(body, owner)
            )
        except Exception as error:
            response = _problem(error)
            response.raw_headers += sharing
            await response(scope, receive, send)
            if not isinstance(error, PresignError | ClientDisconnect) or isinstance(error, ConfigurationError):
                # For the server to log.
                raise
            return
        # A ticket is for one client and one use; no cache on the way may keep it.
        answered = [
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            (b"content-length", b"%d" % len(content)),
            *sharing,
        ]
        await send({"type": "http.response.start", "status": 200, "headers": answered})
        await send({"type": "http.response.body", "body": content})


def openapi(presigner: Presigner) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the contract, with this presigner's types and bounds in it."""
    policy = presigner.policy
    required = ["type", *(["size"] if policy.require_size else []), *(["sha256"] if policy.require_sha256 else [])]
    text = {"type": "string"}
    moment = {"type": "string", "format": "date-time"}
    uri = {"type": "string", "format": "uri"}
    texts = {"type": "object", "additionalProperties": text}
    return {
        "openapi": "3.1.0",
        "info": {"title": "presign", "version": "1", "summary": "Tickets for uploads straight to object storage."},
        "paths": {
            "/upload": {
                "post": _operation(
                    "upload",
                    "Ask for a ticket for one file.",
                    "UploadRequest",
                    "Ticket",
                    (
                        InvalidRequest,
                        Unauthenticated,
                        Forbidden,
                        TooLarge,
                        TypeNotAllowed,
                        TooSmall,
                        TooManyRequests,
                        CredentialsUnavailable,
                    ),
                )
            },
            "/complete": {
                "post": _operation(
                    "complete",
                    "Have an upload verified, once it is stored.",
                    "Completion",
                    "StoredObject",
                    (
                        InvalidRequest,
                        Unauthenticated,
                        Forbidden,
                        InvalidToken,
                        TokenExpired,
                        NotUploaded,
                        RuleViolated,
                        TooManyRequests,
                        StorageUnavailable,
                    ),
                )
            },
        },
        "components": {
            "schemas": {
                "UploadRequest": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": required,
                    "properties": {
                        "type": {"type": "string", "enum": sorted(policy.content_types)},
                        "size": {
                            "type": "integer",
                            "minimum": policy.min_bytes,
                            "maximum": min(policy.max_bytes, MAX_SIZE_BYTES),
                            "description": "In bytes; what is declared here becomes the only size that is accepted.",
                        },
                        "name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARACTERS},
                        "sha256": {
                            "type": "string",
                            "pattern": "^[0-9a-f]{64}$",
                            "description": "Of the file's bytes; the ticket is then good for those bytes only.",
                        },
                    },
                },
                "Ticket": {
                    "type": "object",
                    "description": "Send method to url: with POST a multipart form of fields, then file, last; "
                    "with PUT the file under headers.",
                    "required": [
                        "method",
                        "url",
                        "fields",
                        "headers",
                        "expires_at",
                        "now",
                        "key",
                        "object_url",
                        "enforced",
                        "token",
                    ],
                    "properties": {
                        "method": {"type": "string", "enum": ["POST", "PUT"]},
                        "url": uri,
                        "fields": texts,
                        "headers": texts,
                        "expires_at": moment,
                        "now": moment,
                        "key": text,
                        "object_url": uri,
                        "enforced": {
                            "type": "object",
                            "propertyNames": {"enum": [rule.value for rule in Rule]},
                            "additionalProperties": {"type": "string", "enum": ["storage", "completion"]},
                        },
                        "token": text,
                    },
                },
                "Completion": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["token"],
                    "properties": {"token": text},
                },
                "StoredObject": {
                    "type": "object",
                    "required": ["key", "url", "etag", "version", "size", "type"],
                    "properties": {
                        "key": text,
                        "url": uri,
                        "etag": text,
                        "version": {"type": ["string", "null"]},
                        "size": {"type": "integer"},
                        "type": text,
                    },
                },
                "Problem": {
                    "type": "object",
                    "description": "RFC 9457; code is stable, detail is for people.",
                    "required": ["type", "title", "status", "detail", "code"],
                    "properties": {
                        "type": text,
                        "title": text,
                        "status": {"type": "integer"},
                        "detail": text,
                        "code": text,
                        "field": text,
                        "value": {"type": ["string", "integer"]},
                        "limit": {"type": ["string", "integer"]},
                        "rule": {"type": "string", "enum": [rule.value for rule in Rule]},
                    },
                },
            }
        },
    }


def _operation(
    name: str, summary: str, body: str, answer: str, errors: tuple[type[PresignError], ...]
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": answer, "content": _content("application/json", answer)}}
    of_every_body: tuple[type[PresignError], ...] = (_BodyTooLarge, _UnsupportedMediaType)
    for error in errors + of_every_body:
        response = responses.setdefault(
            str(error.status), {"description": "", "content": _content("application/problem+json", "Problem")}
        )
        response["description"] += f"{', ' if response['description'] else ''}{error.code}"
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {"required": True, "content": _content("application/json", body)},
        "responses": responses,
    }


def _content(media_type: str, schema: str) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _sharing_headers(origin: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", b"Retry-After"),
        (b"vary", b"Origin"),
    ]


def _check_media_type(content_type: bytes) -> None:
    if content_type != b"application/json" and content_type.partition(b";")[0].strip().lower() != b"application/json":
        raise _UnsupportedMediaType("the content type must be application/json", field="content-type")


async def _read_body(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise _BodyTooLarge(f"the body may have {MAX_BODY_BYTES} bytes", limit=MAX_BODY_BYTES)
        if not message.get("more_body", False):
            return body


def _problem(error: Exception) -> Response:
    if isinstance(error, ClientDisconnect):
        error = InvalidRequest("the body ended too early")
    if not isinstance(error, PresignError) or isinstance(error, ConfigurationError):
        return _problem_response({**PresignError("the server failed; its log says more").problem(), "code": "internal"})
    headers = {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, CredentialsUnavailable | StorageUnavailable):
        _log.error("%s: %s", error.code, error.detail)
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    elif isinstance(error, _BodyTooLarge):
        # The rest of the body is not read, so that the connection is good for nothing more.
        headers["Connection"] = "close"
    return _problem_response(error.problem(), headers)


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (Starlette types every handler's error as Exception)
    codes = {404: "not_found", 405: "method_not_allowed"}
    detail = {404: "there is nothing at this address", 405: "this address does not take this method"}
    return _problem_response(
        {
            "type": "about:blank",
            "title": error.detail,
            "status": error.status_code,
            "detail": detail.get(error.status_code, error.detail),
            "code": codes.get(error.status_code, "http_error"),
        },
        error.headers,
    )


def _problem_response(problem: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(problem),
        status_code=int(str(problem["status"])),
        media_type="application/problem+json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
