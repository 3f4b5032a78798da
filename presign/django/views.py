"""The views of the HTTP contract: ``<alias>/upload``, ``<alias>/complete``, three for files in parts, and Uppy's.

All are coroutine functions. Under ASGI, they wait for the storage in threads of their own, so a storage that hangs
blocks no other view, and a request waits for a limited time (see ``presign.http.async_endpoints``). Under WSGI, they
wait in the thread of the request. Under both, everything else happens in that thread, whose database connection is the
request's. Two kinds of completions always have other threads and database connections of their own: those of files that
came in parts, which can take minutes, and those of a list, which run side by side.

The order is: authorise, then the media type, then the CSRF token, and then the body or the query. Under ASGI, Django
itself has received the body before it calls any view.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NamedTuple, TypeVar

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.core.signals import got_request_exception
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from presign.django.authorization import as_presign_error, check_verdict, owner_of
from presign.django.completing import complete_upload
from presign.django.configuration import aliases, read_settings
from presign.django.presigners import get_presigner
from presign.errors import Forbidden, InvalidRequest
from presign.http import companion as uppy
from presign.http.async_endpoints import AsyncEndpoints
from presign.http.endpoints import (
    SUCCESS_HEADERS,
    answer_abort,
    answer_list_parts,
    answer_parts,
    answer_parts_for_uppy,
    begins_at_storage,
)
from presign.http.lists import ListAnswer, Lists, is_list
from presign.http.problems import (
    ProblemResponse,
    is_server_fault,
    problem_response,
    problem_response_for_status,
)
from presign.http.request_body import MAX_BODY_BYTES, check_declared_length, check_media_type, read_limited
from presign.messages import CompletionRequest, UploadRequest
from presign.presigner import AwaitResult, awaiter_of_running_loop

T = TypeVar("T")


class _Work(NamedTuple):
    """What makes the body of an answer, and what waits for that on an event loop.

    ``outlasts_request``: the call may go on after the request was answered.
    """

    call: Callable[[AwaitResult | None], bytes]
    wait: Callable[[Callable[[], bytes]], Awaitable[bytes]]
    outlasts_request: bool = False


class _ListWork(NamedTuple):
    """What starts the threads that make the answer to a list."""

    start: Callable[[AwaitResult | None], ListAnswer]


_Prepare = Callable[[str, bytes, str | None], _Work]
_PrepareAny = Callable[[str, bytes, str | None], _Work | _ListWork]
_Body = Callable[[HttpRequest, str], bytes]
_Refusal = Callable[[HttpRequest, str], ProblemResponse | None]

_log = logging.getLogger("presign")
_endpoints = AsyncEndpoints()


async def upload(request: HttpRequest, alias: str) -> HttpResponse:
    """Answer with a ticket, or with the tickets of a list."""
    return _response(await _outcome(request, alias, _upload_or_uploads, _refusal_of_other_methods, _body_or_list))


async def complete(request: HttpRequest, alias: str) -> HttpResponse:
    """Answer with the stored object, or with the objects of a list."""
    return _response(await _outcome(request, alias, _complete_or_completions, _refusal_of_other_methods, _body_or_list))


async def sign_parts(request: HttpRequest, alias: str) -> HttpResponse:
    """Answer with the requests of parts."""
    return _response(await _outcome(request, alias, _sign_parts, _refusal_of_other_methods, _body))


async def list_parts(request: HttpRequest, alias: str) -> HttpResponse:
    """Answer with the numbers of the parts that are stored."""
    return _response(await _outcome(request, alias, _list_parts, _refusal_of_other_methods, _body))


async def abort(request: HttpRequest, alias: str) -> HttpResponse:
    """End an upload in parts, and answer with an empty object."""
    return _response(await _outcome(request, alias, _abort, _refusal_of_other_methods, _body))


async def companion(request: HttpRequest, alias: str, name: str) -> HttpResponse:
    """Answer what Uppy asks for in its Companion mode."""
    found = uppy.find(name, str(request.method))

    def refusal(request: HttpRequest, alias: str) -> ProblemResponse | None:
        if not read_settings(alias).companion:
            return _not_found()
        return found if isinstance(found, ProblemResponse) else None

    def body(request: HttpRequest, alias: str) -> bytes:
        assert isinstance(found, uppy.Call)  # noqa: S101  (any other request was refused)
        if found.max_body_bytes:
            posted = _read_json(request, found.max_body_bytes)
        else:
            _check_csrf(request)
            posted = b""
        return found.body_for(get_presigner(alias), request.META["QUERY_STRING"], posted)

    def prepare(alias: str, body: bytes, owner: str | None) -> _Work:
        assert isinstance(found, uppy.Call)  # noqa: S101
        prepared = _PREPARE_FOR_UPPY[found.path](alias, body, owner)
        translate = partial(found.answer_from, get_presigner(alias))
        return prepared._replace(call=lambda await_result: translate(prepared.call(await_result)))

    outcome = await _outcome(request, alias, prepare, refusal, body)
    return _response(uppy.with_message(outcome) if isinstance(outcome, ProblemResponse) else outcome)


for _view in (upload, complete, sign_parts, list_parts, abort, companion):
    # Django's middleware would read a form's body to find the CSRF token, before the view can authorise. The view makes
    # the same check itself, after that. Before Django 5, the decorator csrf_exempt takes no coroutine function.
    setattr(_view, "csrf_exempt", True)  # noqa: B010  (mypy knows no attributes of functions)
    # A ticket cannot be rolled back, so no view runs in a transaction.
    transaction.non_atomic_requests(_view)


def _upload(alias: str, body: bytes, owner: str | None) -> _Work:
    presigner, upload_request = get_presigner(alias), UploadRequest.from_json(body)
    presigner.prepare_in_background()
    waits_for_storage = begins_at_storage(presigner, upload_request)
    return _Work(
        lambda _: presigner.issue(upload_request, owner=owner).to_json(),
        _endpoints.in_storage_thread if waits_for_storage else _endpoints.in_upload_thread,
    )


def _complete(alias: str, body: bytes, owner: str | None) -> _Work:
    presigner, token = get_presigner(alias), CompletionRequest.from_json(body).token
    call = partial(_stored_object, alias, token, owner)
    if not presigner.is_in_parts(token):
        return _Work(call, _endpoints.in_completion_thread)
    wait = partial(_endpoints.in_long_completion_thread, presigner, token, owner)
    return _Work(call, wait, outlasts_request=True)


def _stored_object(alias: str, token: str, owner: str | None, await_result: AwaitResult | None) -> bytes:
    return complete_upload(alias, token, owner=owner, await_result=await_result).to_json()


def _upload_or_uploads(alias: str, body: bytes, owner: str | None) -> _Work | _ListWork:
    if not is_list(body):
        return _upload(alias, body, owner)

    def start(_: AwaitResult | None) -> ListAnswer:
        def around(call: Callable[[], bytes]) -> Callable[[], bytes]:
            return partial(_with_own_connections, call)

        answer = _lists(alias).uploads(get_presigner(alias), body, owner, around=around)
        answer.issue()
        return answer

    return _ListWork(start)


def _complete_or_completions(alias: str, body: bytes, owner: str | None) -> _Work | _ListWork:
    if not is_list(body):
        return _complete(alias, body, owner)

    def start(await_result: AwaitResult | None) -> ListAnswer:
        def call_for(token: str, _: bool) -> Callable[[], bytes]:
            return partial(_with_own_connections, partial(_stored_object, alias, token, owner, await_result))

        return _lists(alias).completions(get_presigner(alias), body, owner, call_for=call_for, to_json=bytes)

    return _ListWork(start)


def _lists(alias: str) -> Lists:
    return _endpoints.lists.limited_to(read_settings(alias).max_files)


def _sign_parts(alias: str, body: bytes, owner: str | None) -> _Work:
    return _Work(lambda _: answer_parts(get_presigner(alias), body, owner), _endpoints.in_upload_thread)


def _sign_parts_for_uppy(alias: str, body: bytes, owner: str | None) -> _Work:
    return _Work(lambda _: answer_parts_for_uppy(get_presigner(alias), body, owner), _endpoints.in_upload_thread)


def _list_parts(alias: str, body: bytes, owner: str | None) -> _Work:
    return _Work(lambda _: answer_list_parts(get_presigner(alias), body, owner), _endpoints.in_storage_thread)


def _abort(alias: str, body: bytes, owner: str | None) -> _Work:
    return _Work(lambda _: answer_abort(get_presigner(alias), body, owner), _endpoints.in_storage_thread)


_PREPARE: Mapping[str, _Prepare] = {
    "/upload": _upload,
    "/parts": _sign_parts,
    "/parts/list": _list_parts,
    "/abort": _abort,
}
_PREPARE_FOR_UPPY: Mapping[str, _Prepare] = {**_PREPARE, "/parts": _sign_parts_for_uppy}


async def _outcome(
    request: HttpRequest, alias: str, prepare: _PrepareAny, refusal_of: _Refusal, body_of: _Body
) -> HttpResponse | ProblemResponse:
    try:
        refusal = refusal_of(request, alias) if alias in aliases() else _not_found()
        if refusal is not None:
            return refusal
        authorize = read_settings(alias).authorize
        # The function that is called here may make a coroutine, which then runs on the event loop.
        verdict = await sync_to_async(lambda: authorize(request))()
        if inspect.isawaitable(verdict):
            verdict = await verdict
        work = await sync_to_async(lambda: prepare(alias, *_receive(request, alias, verdict, body_of)))()
        is_asgi = isinstance(request, ASGIRequest)
        # Under WSGI, the event loop of the request ends with it, and a call in another thread may go on.
        await_result = awaiter_of_running_loop() if is_asgi else None
        if isinstance(work, _ListWork):
            answer = await sync_to_async(work.start)(await_result)
            content = await _endpoints.finished(answer, explain=partial(_problem, request))
        elif is_asgi or work.outlasts_request:
            content = await work.wait(partial(_with_own_connections, partial(work.call, await_result)))
        else:
            content = await sync_to_async(work.call)(awaiter_of_running_loop())
        return HttpResponse(content, headers=SUCCESS_HEADERS)
    except Exception as error:
        return _problem(request, error)


def _receive(request: HttpRequest, alias: str, verdict: object, body_of: _Body) -> tuple[bytes, str | None]:
    """Return the body and the owner of an allowed request; raises a PresignError for any other."""
    check_verdict(verdict, request)
    return body_of(request, alias), owner_of(request)


def _with_own_connections(work: Callable[[], T]) -> T:
    """Call ``work``, and close this thread's database connections: Django does so only in a request's own thread."""
    try:
        return work()
    finally:
        connections.close_all()


class _CsrfCheck(CsrfViewMiddleware):
    """Django's own check, which returns the reason of a refusal instead of a page."""

    def _reject(self, request: HttpRequest, reason: str) -> str:
        return reason


def _check_csrf(request: HttpRequest) -> None:
    check = _CsrfCheck(lambda _: HttpResponse())
    check.process_request(request)
    reason = check.process_view(request, None, (), {})
    if reason:
        raise Forbidden(f"CSRF verification failed: {reason}")


def _refusal_of_other_methods(request: HttpRequest, alias: str) -> ProblemResponse | None:
    if request.method == "POST":
        return None
    return problem_response_for_status(405, title="Method Not Allowed", headers={"Allow": "POST"})


def _not_found() -> ProblemResponse:
    return problem_response_for_status(404, title="Not Found")


def _body(request: HttpRequest, alias: str) -> bytes:
    return _read_json(request, MAX_BODY_BYTES)


def _body_or_list(request: HttpRequest, alias: str) -> bytes:
    return _read_json(request, MAX_BODY_BYTES, _lists(alias).max_body_bytes)


def _read_json(request: HttpRequest, limit: int, list_limit: int = 0) -> bytes:
    content_length = request.META.get("CONTENT_LENGTH")
    check_media_type(request.META.get("CONTENT_TYPE"))
    check_declared_length(content_length, max(limit, list_limit))
    _check_csrf(request)
    read = request.read
    if isinstance(request, WSGIRequest) and not content_length:
        # Django takes a body without a length for an empty one. Servers that know its end say so.
        read = request.META["wsgi.input"].read if request.META.get("wsgi.input_terminated") else read
    try:
        return read_limited(read, limit, list_limit=list_limit, content_length=content_length)
    except OSError:
        raise InvalidRequest("the body ended too early") from None


def _problem(request: HttpRequest, error: Exception) -> ProblemResponse:
    error = as_presign_error(error)
    if is_server_fault(error):
        _log.error("%s failed", request.path, exc_info=error, extra={"request": request})
        # Reporters of errors, such as Sentry's, listen to this signal.
        got_request_exception.send(sender=None, request=request)
    return problem_response(error)


def _response(outcome: HttpResponse | ProblemResponse) -> HttpResponse:
    if isinstance(outcome, ProblemResponse):
        outcome = HttpResponse(outcome.body, status=outcome.status, headers=outcome.wsgi_headers)
    return _with_length(outcome)


def _with_length(response: HttpResponse) -> HttpResponse:
    # Without a length, servers answer in chunks. Django's own CommonMiddleware adds it, where a project has that.
    response.headers["Content-Length"] = str(len(response.content))
    return response
