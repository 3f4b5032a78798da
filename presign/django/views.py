"""The views of the HTTP contract: ``<alias>/upload``, ``<alias>/complete``, and three for files that come in parts.

All are coroutine functions. Under ASGI, they do their work in threads of their own, so a storage that hangs blocks no
other view. Under WSGI, they do it in the thread of the request, whose database connection it is. Only the completion of
a file that came in parts, which can take minutes, has another thread and a database connection of its own.

The order is: authorise, then the media type, then the CSRF token, and then the body. Under ASGI, Django itself has
received the body before it calls any view.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.core.signals import got_request_exception
from django.db import close_old_connections, transaction
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from presign.django.authorization import as_presign_error, check_verdict, owner_of
from presign.django.completing import complete_upload
from presign.django.configuration import aliases, read_settings
from presign.django.presigners import get_presigner
from presign.errors import Forbidden, InvalidRequest
from presign.http.async_endpoints import MAX_THREADS, TIMEOUT_SECONDS
from presign.http.endpoints import (
    SUCCESS_HEADERS,
    answer_abort,
    answer_list_parts,
    answer_parts,
    answer_upload,
)
from presign.http.long_completions import LongCompletions
from presign.http.problems import (
    ProblemResponse,
    is_server_fault,
    problem_response,
    problem_response_for_status,
)
from presign.http.request_body import check_declared_length, check_media_type, read_limited
from presign.messages import CompletionRequest, StoredObject
from presign.presigner import AwaitResult, Presigner, awaiter_of_running_loop

_Answer = Callable[[HttpRequest, str, bytes, str | None, AwaitResult], bytes]

_log = logging.getLogger("presign")
_threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="presign")
_long_completions = LongCompletions(max_threads=MAX_THREADS)


async def upload(request: HttpRequest, alias: str) -> HttpResponse:
    """Answer with a ticket."""
    return await _respond(request, alias, _by_alias(answer_upload))


async def complete(request: HttpRequest, alias: str) -> HttpResponse:
    """Answer with the stored object."""
    return await _respond(request, alias, _complete)


async def sign_parts(request: HttpRequest, alias: str) -> HttpResponse:
    """Answer with the requests of parts."""
    return await _respond(request, alias, _by_alias(answer_parts))


async def list_parts(request: HttpRequest, alias: str) -> HttpResponse:
    """Answer with the numbers of the parts that are stored."""
    return await _respond(request, alias, _by_alias(answer_list_parts))


async def abort(request: HttpRequest, alias: str) -> HttpResponse:
    """End an upload in parts, and answer with an empty object."""
    return await _respond(request, alias, _by_alias(answer_abort))


for _view in (upload, complete, sign_parts, list_parts, abort):
    # Django's middleware would read a form's body to find the CSRF token, before the view can authorise. The view makes
    # the same check itself, after that. Before Django 5, the decorator csrf_exempt takes no coroutine function.
    _view.csrf_exempt = True  # type: ignore[attr-defined]
    # A ticket cannot be rolled back, so no view runs in a transaction.
    transaction.non_atomic_requests(_view)


def _by_alias(answer: Callable[[Presigner, bytes, str | None], bytes]) -> _Answer:
    """Return ``answer`` for the presigner of an alias."""

    def answer_request(
        request: HttpRequest, alias: str, body: bytes, owner: str | None, await_result: AwaitResult
    ) -> bytes:
        return answer(get_presigner(alias), body, owner)

    return answer_request


def _complete(request: HttpRequest, alias: str, body: bytes, owner: str | None, await_result: AwaitResult) -> bytes:
    token = CompletionRequest.from_json(body).token
    complete = partial(complete_upload, alias, token, owner=owner)
    presigner = get_presigner(alias)
    if not presigner.is_in_parts(token):
        return complete(await_result=await_result).to_json()
    # Under WSGI, the event loop of the request ends with it, and the completion may go on.
    lasting = await_result if isinstance(request, ASGIRequest) else None
    alone = partial(_with_own_connections, partial(complete, await_result=lasting))
    key = (presigner, token, owner)
    stored: StoredObject = _long_completions.result(key, alone, timeout_seconds=TIMEOUT_SECONDS)
    return stored.to_json()


async def _respond(request: HttpRequest, alias: str, answer: _Answer) -> HttpResponse:
    try:
        if alias not in aliases():
            return _response(problem_response_for_status(404, title="Not Found"))
        if request.method != "POST":
            problem = problem_response_for_status(405, title="Method Not Allowed", headers={"Allow": "POST"})
            return _response(problem)
        authorize = read_settings(alias).authorize
        # The function that is called here may make a coroutine, which then runs on the event loop.
        verdict = await _in_thread(request, lambda: authorize(request))
        if inspect.isawaitable(verdict):
            verdict = await verdict
        work = partial(_answer, request, alias, answer, verdict, awaiter_of_running_loop())
        return await _in_thread(request, work)
    except Exception as error:
        return _problem(request, as_presign_error(error))


def _answer(
    request: HttpRequest, alias: str, answer: _Answer, verdict: object, await_result: AwaitResult
) -> HttpResponse:
    check_verdict(verdict, request)
    check_media_type(request.META.get("CONTENT_TYPE"))
    check_declared_length(request.META.get("CONTENT_LENGTH"))
    _check_csrf(request)
    content = answer(request, alias, _read_body(request), owner_of(request), await_result)
    return _with_length(HttpResponse(content, headers=SUCCESS_HEADERS))


async def _in_thread(request: HttpRequest, work: Callable[[], Any]) -> Any:
    if isinstance(request, ASGIRequest):
        return await sync_to_async(_with_own_connections, thread_sensitive=False, executor=_threads)(work)
    return await sync_to_async(work, thread_sensitive=True)()


def _with_own_connections(work: Callable[[], Any]) -> Any:
    """Call ``work``, and end this thread's database connections as Django does with those of a request's thread."""
    close_old_connections()
    try:
        return work()
    finally:
        close_old_connections()


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


def _read_body(request: HttpRequest) -> bytes:
    read = request.read
    if isinstance(request, WSGIRequest) and not request.META.get("CONTENT_LENGTH"):
        # Django takes a body without a length for an empty one. Servers that know its end say so.
        read = request.META["wsgi.input"].read if request.META.get("wsgi.input_terminated") else read
    try:
        return read_limited(read)
    except OSError:
        raise InvalidRequest("the body ended too early") from None


def _problem(request: HttpRequest, error: Exception) -> HttpResponse:
    if is_server_fault(error):
        _log.error("%s failed", request.path, exc_info=error, extra={"request": request})
        # Reporters of errors, such as Sentry's, listen to this signal.
        got_request_exception.send(sender=None, request=request)
    return _response(problem_response(error))


def _response(problem: ProblemResponse) -> HttpResponse:
    return _with_length(HttpResponse(problem.body, status=problem.status, headers=problem.wsgi_headers))


def _with_length(response: HttpResponse) -> HttpResponse:
    # Without a length, servers answer in chunks. Django's own CommonMiddleware adds it, where a project has that.
    response.headers["Content-Length"] = str(len(response.content))
    return response
