"""The HTTP contract as an ASGI application, which any other ASGI application can mount.

``POST /upload`` returns a ticket, and ``POST /complete`` the stored object. For a large file, ``POST /parts`` returns
the requests of its parts, ``POST /parts/list`` says which are stored, and ``POST /abort`` ends the upload.
``GET /openapi.json`` describes them. Every error is an RFC 9457 problem document with a stable ``code``. With
``companion=True``, everything under ``/s3/`` is for Uppy's Companion mode.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any, cast

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from presign.errors import ConfigurationError, InvalidRequest
from presign.hooks import check_takes_one
from presign.http import companion as uppy
from presign.http.async_endpoints import MAX_THREADS, TIMEOUT_SECONDS, Answer, AsyncEndpoints
from presign.http.endpoints import SUCCESS_HEADERS, presigners_by_path
from presign.http.lists import MAX_FILES
from presign.http.openapi import openapi
from presign.http.problems import (
    ProblemResponse,
    is_server_fault,
    problem_response,
    problem_response_for_status,
)
from presign.http.request_body import (
    MAX_BODY_BYTES,
    LargerBodies,
    check_declared_length,
    check_media_type,
    declares_more_than,
    limit_of_larger_body,
)
from presign.presigner import Presigner

__all__ = ["MAX_BODY_BYTES", "MAX_FILES", "MAX_THREADS", "TIMEOUT_SECONDS", "Authorize", "create_app", "openapi"]

Authorize = Callable[[Request], str | Awaitable[str | None] | None]
"""Return the owner of a request, or None for no owner; or raise Unauthenticated, Forbidden or TooManyRequests.

Declare it with ``async def`` if it does not block: it then runs on the event loop. Anything else is called in a thread
of Starlette's pool, as Starlette does with endpoints, so it may block. The thread costs every request about as much as
the ticket itself.
"""

_RawHeaders = list[tuple[bytes, bytes]]
ClaimLarger = Callable[[], AbstractContextManager[object]]
"""Returns what is held while a body comes that is larger than others may be; raises TooManyRequests."""


def create_app(
    presigner: Presigner | Sequence[Presigner],
    *,
    authorize: Authorize,
    allowed_origins: Collection[str] = (),
    allowed_headers: Collection[str] = (),
    allow_credentials: bool = False,
    companion: bool = False,
    max_threads: int = MAX_THREADS,
    timeout_seconds: float = TIMEOUT_SECONDS,
    max_files: int = MAX_FILES,
) -> ASGIApp:
    """Return the application that serves the contract; it calls ``authorize`` before it reads any of the body.

    Several presigners can share one application. The paths of each then begin with its name, such as
    ``/avatars/upload``, ``/avatars/complete`` and ``/avatars/openapi.json``.

    - ``allowed_origins``: the origins whose pages may use the application (CORS), such as ``https://www.example.com``.
      Leave it empty if the application that mounts this one has a CORS middleware of its own.
    - ``allowed_headers``: the headers that those pages may send beside Content-Type, such as ``"authorization"`` for
      bearer tokens and ``"x-csrftoken"``.
    - ``allow_credentials``: whether those pages may send cookies. A page of any other origin cannot forge a request:
      only JSON is accepted, and a browser first asks whether the origin may send JSON (a preflight request).
    - ``companion``: also serve what Uppy 5 and 6 ask for in their Companion mode: ``GET /s3/params`` and everything
      under ``/s3/multipart`` (see docs/uppy.md). A page of any other origin can make a browser send the GET requests,
      but cannot read the answers.
    - ``max_threads``: how many completions can run at once. Completions wait for the storage, so they run in threads
      of their own: a storage that hangs does not block the application's other endpoints. Completions of files that
      come in parts, other calls to the storage, and calls to a service that signs have the same number of other
      threads each.
    - ``timeout_seconds``: how long a request waits for such a call. After that, the answer is a problem with status 503
      and Retry-After, and the call goes on in its thread. Set a longer time if completions read large objects to verify
      their SHA-256, as they do on Azure and Google Cloud Storage. For the completion of a file that came in parts, the
      status is 202: the client asks again, and waits for the same completion.
    - ``max_files``: how many files one request may have, if its body is a list. Such a body may have 32 KiB for each.

    Raises ConfigurationError for ``"*"`` as an origin or a header, for headers or credentials without an origin, for a
    limit of 0 or less, for an ``authorize`` that cannot be called with the request alone, for two presigners with the
    same name, and for one whose prefix lies in another's pending place.

    ::

        app = Starlette(routes=[Mount("/files", create_app(presigner, authorize=current_user))])
    """
    for name, names in (("allowed_origins", allowed_origins), ("allowed_headers", allowed_headers)):
        if isinstance(names, str) or "*" in names:
            raise ConfigurationError(f"{name} must be a list of names, without '*'", field=name)
    if (allowed_headers or allow_credentials) and not allowed_origins:
        raise ConfigurationError(
            "allowed_headers and allow_credentials have no effect without allowed_origins", field="allowed_origins"
        )
    check_takes_one(authorize, "authorize", "the request")
    answers = AsyncEndpoints(max_threads=max_threads, timeout_seconds=timeout_seconds, max_files=max_files)
    endpoint = partial(
        _Endpoint,
        authorize=_awaitable(authorize),
        cors_headers={origin.encode("latin-1"): _cors_headers(origin, allow_credentials) for origin in allowed_origins},
        larger_bodies=LargerBodies(),
    )
    endpoints: dict[str, ASGIApp] = {}
    routes: list[Route] = []
    for path, each in presigners_by_path(presigner).items():
        for end, answer in answers.answers(each).items():
            endpoints[f"{path}{end}"] = endpoint(answer, list_limit=answers.lists.body_limit(end))
        routes.append(Route(f"{path}/openapi.json", _document(each, companion, max_files), methods=["GET"]))
        if companion:
            app = _Companion(answers.answers_for_uppy(each), presigner=each, authorize=_awaitable(authorize))
            routes.append(Route(f"{path}{uppy.PREFIX}{{name:path}}", app))
    routes += [Route(path, each, methods=["POST"]) for path, each in endpoints.items()]
    others: ASGIApp = Starlette(routes=routes, exception_handlers={HTTPException: _http_problem})
    if allowed_origins:
        others = CORSMiddleware(
            others,
            allow_origins=list(allowed_origins),
            allow_methods=["POST", "GET", "DELETE"] if companion else ["POST"],
            allow_headers=["Content-Type", *allowed_headers],
            allow_credentials=allow_credentials,
            expose_headers=["Retry-After"],
        )
    return _Application(endpoints=endpoints, others=others)


def _document(presigner: Presigner, companion: bool, max_files: int) -> Callable[[Request], Awaitable[Response]]:
    document = orjson.dumps(openapi(presigner, companion=companion, max_files=max_files))

    async def describe(request: Request) -> Response:
        return Response(document, media_type="application/json")

    return describe


class _Application:
    """Call the endpoint of a POST directly, and Starlette for everything else: its layers cost more than a ticket."""

    def __init__(self, *, endpoints: Mapping[str, ASGIApp], others: ASGIApp) -> None:
        self._endpoints = endpoints
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._others
        if scope["type"] == "http" and scope["method"] == "POST":
            # In a mounted application, the path begins with the path of the mount.
            app = self._endpoints.get(scope["path"].removeprefix(scope.get("root_path", "")), app)
        await app(scope, receive, send)


class _Endpoint:
    """One POST of the contract: it authorizes, reads the body, and sends the answer or the problem.

    ``answer`` gets the body and the owner. ``cors_headers`` holds the headers for each allowed origin. A body that is a
    list may have ``list_limit`` bytes, if that is more than others may have. ``larger_bodies`` counts such lists.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        authorize: Callable[[Request], Awaitable[str | None]],
        cors_headers: Mapping[bytes, _RawHeaders],
        larger_bodies: LargerBodies,
        list_limit: int = 0,
    ) -> None:
        self._answer = answer
        self._larger_bodies = larger_bodies
        self._list_limit = list_limit
        self._authorize = authorize
        self._cors_headers = cors_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The server's own list: Starlette's Headers cost as much as reading the body.
        headers = dict(scope["headers"])
        cors_headers = self._cors_headers.get(headers.get(b"origin", b""), [])
        try:
            owner = await self._authorize(Request(scope, receive))
            content = await self._answer(await self._body(scope, headers, receive, owner), owner)
        except Exception as error:
            response = as_response(self._problem(error))
            response.raw_headers += cors_headers
            await response(scope, receive, send)
            if is_server_fault(error):
                # The server logs it.
                raise
            return
        answer_headers = [*success_headers(content), *cors_headers]
        await send({"type": "http.response.start", "status": 200, "headers": answer_headers})
        await send({"type": "http.response.body", "body": content})

    async def _body(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, owner: str | None) -> bytes:
        claim = partial(self._larger_bodies.claim, owner)
        return await read_json(headers, receive, MAX_BODY_BYTES, self._list_limit, claim)

    def _problem(self, error: Exception) -> ProblemResponse:
        return problem_response(error)


class _Companion:
    """Everything under ``/s3/``: what Uppy asks for, and problems. Starlette's middleware adds the CORS headers."""

    def __init__(
        self,
        answers: Mapping[str, Answer],
        *,
        presigner: Presigner,
        authorize: Callable[[Request], Awaitable[str | None]],
    ) -> None:
        self._answers = answers
        self._presigner = presigner
        self._authorize = authorize

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = uppy.find(scope["path_params"]["name"], scope["method"])
        app: ASGIApp = (
            as_response(found)
            if isinstance(found, ProblemResponse)
            else _CompanionCall(found, self._answers[found.path], presigner=self._presigner, authorize=self._authorize)
        )
        await app(scope, receive, send)


class _CompanionCall(_Endpoint):
    """One request of Uppy's, which an endpoint of the contract answers."""

    def __init__(
        self,
        call: uppy.Call,
        answer: Answer,
        *,
        presigner: Presigner,
        authorize: Callable[[Request], Awaitable[str | None]],
    ) -> None:
        async def translated(body: bytes, owner: str | None) -> bytes:
            return call.answer_from(presigner, await answer(body, owner))

        super().__init__(translated, authorize=authorize, cors_headers={}, larger_bodies=LargerBodies())
        self._call = call
        self._presigner = presigner

    async def _body(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, owner: str | None) -> bytes:
        limit = self._call.max_body_bytes
        body = await read_json(headers, receive, limit) if limit else b""
        return self._call.body_for(self._presigner, scope["query_string"].decode("latin-1"), body)

    def _problem(self, error: Exception) -> ProblemResponse:
        return uppy.with_message(problem_response(error))


async def read_json(
    headers: Mapping[bytes, bytes],
    receive: Receive,
    limit: int,
    list_limit: int = 0,
    claim_larger: ClaimLarger = nullcontext,
) -> bytes:
    """Return the body of a request with these headers, after a look at its media type; see ``read_body``."""
    check_media_type(headers.get(b"content-type", b"").decode("latin-1"))
    return await read_body(
        receive,
        limit,
        list_limit=list_limit,
        content_length=headers.get(b"content-length"),
        claim_larger=claim_larger,
    )


def _awaitable(authorize: Authorize) -> Callable[[Request], Awaitable[str | None]]:
    """Return a coroutine function: ``authorize`` itself, or one that calls it in a thread if it may block."""
    function: Any = authorize
    while isinstance(function, partial):
        function = function.func
    # An object with a coroutine function as __call__ counts as well.
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        return cast("Callable[[Request], Awaitable[str | None]]", authorize)

    async def in_thread(request: Request) -> str | None:
        owner = await run_in_threadpool(authorize, request)
        # A plain function may also return a coroutine.
        return await owner if inspect.isawaitable(owner) else owner

    return in_thread


async def read_body(
    receive: Receive,
    limit: int = MAX_BODY_BYTES,
    *,
    list_limit: int = 0,
    content_length: str | bytes | None = None,
    claim_larger: ClaimLarger = nullcontext,
) -> bytes:
    """Return the body of a request; raises BodyTooLarge after ``limit`` bytes, and InvalidRequest if it breaks off.

    A list may have ``list_limit`` bytes, if that is more. ``content_length`` is the header: a body that it says is too
    large is not read. If only a list may have that length, reading ends after first bytes that begin no list. While the
    rest of such a list comes, what ``claim_larger`` returns is held.
    """
    is_larger = declares_more_than(limit, content_length)
    if is_larger:
        check_declared_length(content_length, max(limit, list_limit))
    piece, is_last = await _next_piece(receive)
    if is_last and not is_larger and len(piece) <= limit:
        return piece
    # Not bytes: each of many small pieces would then cost a copy of all that came before.
    body = bytearray(piece)
    with ExitStack() as held:
        while True:
            begins_larger = len(body) > limit or (is_larger and bool(body))
            if begins_larger:
                limit, is_larger = limit_of_larger_body(body, limit, list_limit), False
            if is_last:
                return bytes(body)
            if begins_larger:
                held.enter_context(claim_larger())
            piece, is_last = await _next_piece(receive)
            body += piece


async def _next_piece(receive: Receive) -> tuple[bytes, bool]:
    """Return the next bytes of a body, and whether they are the last."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise InvalidRequest("the body ended too early")
    return message.get("body", b""), not message.get("more_body", False)


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (Starlette types every handler's error as Exception)
    return as_response(problem_response_for_status(error.status_code, title=error.detail, headers=error.headers))


def as_response(problem: ProblemResponse) -> Response:
    """Return a problem as Starlette's response."""
    return Response(problem.body, status_code=problem.status, headers=problem.headers)


def _raw(headers: Mapping[str, str]) -> _RawHeaders:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _cors_headers(origin: str, allow_credentials: bool) -> _RawHeaders:
    headers = {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": "Retry-After", "Vary": "Origin"}
    return _raw({**headers, "Access-Control-Allow-Credentials": "true"} if allow_credentials else headers)


_SUCCESS_HEADERS = _raw(SUCCESS_HEADERS)


def success_headers(content: bytes) -> _RawHeaders:
    """Return the headers of an answer with status 200, as a server takes them."""
    return [*_SUCCESS_HEADERS, (b"content-length", b"%d" % len(content))]
