"""The HTTP contract as an ASGI application, which any other ASGI application can mount.

``POST /upload`` returns a ticket, ``POST /complete`` the stored object, and ``GET /openapi.json`` describes both. Every
error is an RFC 9457 problem document with a stable ``code``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar, cast

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from presign.backends.expiring_credentials import CredentialsExpired
from presign.errors import (
    ConfigurationError,
    CredentialsUnavailable,
    InvalidRequest,
    PresignError,
    StorageUnavailable,
)
from presign.http.bounded_threads import BoundedThreads
from presign.http.endpoints import SUCCESS_HEADERS, answer_complete, answer_upload
from presign.http.openapi import openapi
from presign.http.problems import (
    ProblemResponse,
    is_server_fault,
    problem_response,
    problem_response_for_status,
)
from presign.http.request_body import MAX_BODY_BYTES, BodyTooLarge, check_media_type
from presign.presigner import Presigner, awaiter_of_running_loop

__all__ = ["MAX_BODY_BYTES", "Authorize", "create_app", "openapi"]

Authorize = Callable[[Request], str | Awaitable[str | None] | None]
"""Return the owner of a request, or None for no owner; or raise Unauthenticated, Forbidden or TooManyRequests.

Declare it with ``async def`` if it does not block: it then runs on the event loop. Anything else is called in a thread
of Starlette's pool, as Starlette does with endpoints, so it may block. The thread costs every request about as much as
the ticket itself.
"""

MAX_THREADS = 20
TIMEOUT_SECONDS = 9.0

T = TypeVar("T")
_Answer = Callable[[bytes, str | None], Awaitable[bytes]]
_RawHeaders = list[tuple[bytes, bytes]]


def create_app(
    presigner: Presigner | Sequence[Presigner],
    *,
    authorize: Authorize,
    allowed_origins: Collection[str] = (),
    max_threads: int = MAX_THREADS,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> ASGIApp:
    """Return the application that serves the contract; it calls ``authorize`` before it reads any of the body.

    Several presigners can share one application. The paths of each then begin with its name, such as
    ``/avatars/upload``, ``/avatars/complete`` and ``/avatars/openapi.json``.

    - ``allowed_origins``: the origins whose pages may use the application (CORS), such as ``https://www.example.com``.
      Leave it empty if the application that mounts this one has a CORS middleware of its own.
    - ``max_threads``: how many completions can run at once. Completions wait for the storage, so they run in threads
      of their own: a storage that hangs does not block the application's other endpoints. If ``presigner`` calls a
      service to sign, the same number of other threads makes these calls.
    - ``timeout_seconds``: how long a request waits for such a call. After that, the answer is a problem with status 503
      and Retry-After, and the call goes on in its thread. Set a longer time if completions read large objects to verify
      their SHA-256, as they do on Azure and Google Cloud Storage.

    Raises ConfigurationError for ``"*"`` as an origin, for a limit of 0 or less, for two presigners with the same
    name, and for a presigner whose prefix lies in the ``pending_prefix`` of another one in the same bucket.
    """
    if isinstance(allowed_origins, str) or "*" in allowed_origins:
        raise ConfigurationError(
            "allowed_origins must be a list of origins without '*', such as ['https://www.example.com']",
            field="allowed_origins",
        )
    if max_threads < 1:
        raise ConfigurationError("max_threads must be at least 1", field="max_threads", value=max_threads)
    if timeout_seconds <= 0:
        raise ConfigurationError("timeout_seconds must be more than 0", field="timeout_seconds")
    upload_threads = BoundedThreads(max_threads=max_threads, name="presign upload")
    complete_threads = BoundedThreads(max_threads=max_threads, name="presign complete")
    endpoint = partial(
        _Endpoint,
        authorize=_awaitable(authorize),
        cors_headers={origin.encode("latin-1"): _cors_headers(origin) for origin in allowed_origins},
    )
    endpoints: dict[str, ASGIApp] = {}
    routes: list[Route] = []
    for path, each in _paths(presigner).items():
        endpoints[f"{path}/upload"] = endpoint(_uploader(each, upload_threads, timeout_seconds))
        endpoints[f"{path}/complete"] = endpoint(_completer(each, complete_threads, timeout_seconds))
        routes.append(Route(f"{path}/openapi.json", _document(each), methods=["GET"]))
    routes += [Route(path, each, methods=["POST"]) for path, each in endpoints.items()]
    others: ASGIApp = Starlette(routes=routes, exception_handlers={HTTPException: _http_problem})
    if allowed_origins:
        others = CORSMiddleware(
            others, allow_origins=list(allowed_origins), allow_methods=["POST"], allow_headers=["Content-Type"]
        )
    return _Application(endpoints=endpoints, others=others)


def _paths(presigner: Presigner | Sequence[Presigner]) -> dict[str, Presigner]:
    """Return each presigner under the beginning of its paths, which is empty for a single presigner."""
    if isinstance(presigner, Presigner):
        return {"": presigner}
    paths = {f"/{each.name}": each for each in presigner}
    if not paths or len(paths) != len(presigner):
        raise ConfigurationError("every presigner needs a name of its own, such as name='avatars'", field="presigner")
    for one in presigner:
        for other in presigner:
            _check_apart(one, other)
    return paths


def _check_apart(one: Presigner, other: Presigner) -> None:
    """Raise ConfigurationError if the sweep of ``one`` would delete what ``other`` stores under final keys.

    If ``one`` has another container or bucket for pending uploads, nothing is published there.
    """
    pending_prefix = one.policy.pending_prefix
    if pending_prefix is None or one.backend.pending is not one.backend or one.backend.name != other.backend.name:
        return
    if other.policy.prefix.startswith(pending_prefix):
        raise ConfigurationError(
            f"the prefix of {other.name!r} lies in the pending_prefix of {one.name!r}, {pending_prefix!a}, where old "
            "objects are deleted; choose another one",
            field="prefix",
            value=other.policy.prefix,
        )


def _uploader(presigner: Presigner, threads: BoundedThreads, timeout_seconds: float) -> _Answer:
    signing_does_io = presigner.backend.signing_does_io

    async def upload(body: bytes, owner: str | None) -> bytes:
        if not signing_does_io:
            try:
                return answer_upload(presigner, body, owner)
            except CredentialsExpired:
                # A thread can wait until they are renewed; the event loop must not.
                pass
        ticket = threads.submit(partial(answer_upload, presigner, body, owner))
        late = CredentialsUnavailable(f"there was no signature within {timeout_seconds:g} seconds")
        return await _result(ticket, timeout_seconds, late)

    return upload


def _completer(presigner: Presigner, threads: BoundedThreads, timeout_seconds: float) -> _Answer:
    async def complete(body: bytes, owner: str | None) -> bytes:
        # Coroutine functions of the application run here, on the loop that its other coroutines use.
        await_result = awaiter_of_running_loop()
        stored = threads.submit(partial(answer_complete, presigner, body, owner, await_result))
        late = StorageUnavailable(f"the completion did not end within {timeout_seconds:g} seconds")
        return await _result(stored, timeout_seconds, late)

    return complete


def _document(presigner: Presigner) -> Callable[[Request], Awaitable[Response]]:
    document = orjson.dumps(openapi(presigner))

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

    ``answer`` gets the body and the owner. ``cors_headers`` holds the headers for each allowed origin.
    """

    def __init__(
        self,
        answer: _Answer,
        *,
        authorize: Callable[[Request], Awaitable[str | None]],
        cors_headers: Mapping[bytes, _RawHeaders],
    ) -> None:
        self._answer = answer
        self._authorize = authorize
        self._cors_headers = cors_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The server's own list: Starlette's Headers cost as much as reading the body.
        headers = dict(scope["headers"])
        cors_headers = self._cors_headers.get(headers.get(b"origin", b""), [])
        try:
            owner = await self._authorize(Request(scope, receive))
            check_media_type(headers.get(b"content-type", b"").decode("latin-1"))
            content = await self._answer(await _read_body(receive), owner)
        except Exception as error:
            response = _response(problem_response(error))
            response.raw_headers += cors_headers
            await response(scope, receive, send)
            if is_server_fault(error):
                # The server logs it.
                raise
            return
        answer_headers = [*_SUCCESS_HEADERS, (b"content-length", b"%d" % len(content)), *cors_headers]
        await send({"type": "http.response.start", "status": 200, "headers": answer_headers})
        await send({"type": "http.response.body", "body": content})


async def _result(future: Future[T], seconds: float, late: PresignError) -> T:
    """Return the result of a call in a thread; raise ``late`` if it is not there after ``seconds``."""
    waiting = asyncio.wrap_future(future)
    try:
        done, _ = await asyncio.wait([waiting], timeout=seconds)
    finally:
        # A call that still waits for a thread is then not made. On a call that has ended, this has no effect.
        waiting.cancel()
    if not done:
        raise late
    return waiting.result()


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


async def _read_body(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("the body ended too early")
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return body


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (Starlette types every handler's error as Exception)
    return _response(problem_response_for_status(error.status_code, title=error.detail, headers=error.headers))


def _response(problem: ProblemResponse) -> Response:
    return Response(problem.body, status_code=problem.status, headers=problem.headers)


def _raw(headers: Mapping[str, str]) -> _RawHeaders:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _cors_headers(origin: str) -> _RawHeaders:
    return _raw(
        {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": "Retry-After", "Vary": "Origin"}
    )


_SUCCESS_HEADERS = _raw(SUCCESS_HEADERS)
