"""The HTTP contract as a Flask blueprint.

::

    app.register_blueprint(create_blueprint(presigner, authorize=current_user), url_prefix="/files")
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from functools import partial
from io import BytesIO
from types import TracebackType
from typing import IO, cast

import click
import orjson
from flask import (
    Blueprint,
    Flask,
    Request,
    Response,
    copy_current_request_context,
    current_app,
    got_request_exception,
    request,
)
from werkzeug.exceptions import HTTPException

from presign.errors import ConfigurationError, InvalidRequest
from presign.hooks import check_takes_one
from presign.http import companion as uppy
from presign.http.async_endpoints import MAX_THREADS, TIMEOUT_SECONDS
from presign.http.bounded_threads import BoundedThreads
from presign.http.endpoints import ANSWERS, ANSWERS_FOR_UPPY, SUCCESS_HEADERS, answer_upload, presigners_by_path
from presign.http.lists import MAX_FILES, Lists, is_list
from presign.http.long_completions import LongCompletions
from presign.http.openapi import openapi
from presign.http.problems import ProblemResponse, is_server_fault, problem_response, problem_response_for_status
from presign.http.request_body import MAX_BODY_BYTES, check_media_type, read_limited
from presign.messages import CompletionRequest, StoredObject
from presign.presigner import Presigner

__all__ = ["MAX_THREADS", "TIMEOUT_SECONDS", "Authorize", "create_blueprint"]

Authorize = Callable[[Request], str | Awaitable[str | None] | None]
"""Return the owner of a request (None for anybody), or raise Unauthenticated, Forbidden or TooManyRequests.

``flask.abort(401)`` and the like refuse a request as well. A coroutine function needs ``flask[async]``.
"""

_Answer = Callable[[Presigner, bytes, str | None], bytes]
_View = Callable[[], Response]
_COMPANION = "companion"
_OTHER_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT"]


def create_blueprint(
    presigner: Presigner | Sequence[Presigner],
    *,
    authorize: Authorize,
    name: str = "presign",
    companion: bool = False,
    timeout_seconds: float = TIMEOUT_SECONDS,
    max_files: int = MAX_FILES,
) -> Blueprint:
    """Return a blueprint with ``POST /upload`` and ``POST /complete``; ``authorize`` decides before any body is read.

    For large files, it also has ``POST /parts``, ``POST /parts/list`` and ``POST /abort``. ``GET /openapi.json``
    describes all of them. Several presigners share one blueprint. Each then has addresses of its own, which begin with
    its name, such as ``/avatars/upload``. ``name`` is the blueprint's own name: an application that registers two
    blueprints needs two names. ``companion`` also serves what Uppy 5 and 6 ask for in their Companion mode, under
    ``/s3/`` (see docs/uppy.md).

    ``flask presign doctor`` examines the storage of each presigner (see docs/doctor.md). Its group has the name of the
    blueprint.

    Completions wait for the storage in the thread of their request, so give the server threads, such as
    ``gunicorn --threads 8``. CSRF protection of the application stays on: the page sends the token in a header.

    The completion of a file that came in parts can take minutes, so it has another thread. There, ``inspect`` and
    ``on_complete`` have an application context, and no request. After ``timeout_seconds``, the answer has the status
    202: the client asks again, and waits for the same completion.

    ``max_files`` is how many files one request may have, if its body is a list. Such a body may have 32 KiB for each.
    The completions of a list run side by side in other threads, each with a copy of the request's context. A request
    waits ``timeout_seconds`` for all of them.

    Raises ConfigurationError for two presigners with the same name, for a limit of 0 or less, and for an ``authorize``
    that cannot be called with the request alone.
    """
    if timeout_seconds <= 0:
        raise ConfigurationError("timeout_seconds must be more than 0", field="timeout_seconds")
    check_takes_one(authorize, "authorize", "the request")
    blueprint = Blueprint(name, __name__)
    completions = LongCompletions(max_threads=MAX_THREADS)
    lists = _lists(completions, timeout_seconds, max_files)
    answers = {**ANSWERS, "/upload": _uploader(lists), "/complete": _completer(lists, completions, timeout_seconds)}
    for path, each in presigners_by_path(presigner).items():
        prefix = f"{path[1:]}_" if path else ""
        for end, answer in answers.items():
            body = partial(_body, lists.body_limit(end))
            view, endpoint = _view(each, authorize, answer, body), f"{prefix}{end[1:].replace('/', '_')}"
            blueprint.add_url_rule(f"{path}{end}", endpoint, view, methods=["POST"], provide_automatic_options=False)
            # Flask answers other methods outside of the blueprint, where no problem document can be made.
            blueprint.add_url_rule(
                f"{path}{end}",
                f"{endpoint}_other_methods",
                _answer_other_method,
                methods=_OTHER_METHODS,
                provide_automatic_options=False,
            )
        document = _document(each, companion, max_files)
        blueprint.add_url_rule(f"{path}/openapi.json", f"{prefix}openapi", document, methods=["GET"])
        if companion:
            blueprint.add_url_rule(
                f"{path}{uppy.PREFIX}<path:name>",
                f"{prefix}{_COMPANION}",
                _companion_view(each, authorize),
                methods=["POST", *_OTHER_METHODS],
                provide_automatic_options=False,
            )
    blueprint.cli.add_command(_doctor(list(presigners_by_path(presigner).values())))
    # Flask logs the error, and raises it in debug mode, before it asks for this response.
    blueprint.register_error_handler(500, _internal_problem)
    return blueprint


def _doctor(presigners: Sequence[Presigner]) -> click.Command:
    """Return the command ``flask presign doctor``."""

    @click.command("doctor")
    @click.option("--origin", help="The origin of the page that uploads; without it, CORS is not checked.")
    @click.option("--json", "as_json", is_flag=True, help="Print each report as one JSON object.")
    def doctor(origin: str | None, as_json: bool) -> None:
        """Send good and tampered uploads to the storage of each presigner, and say what is wrong with it."""
        try:
            # It needs urllib3, which an application on Flask need not have.
            from presign.doctor import examine_presigner
            from presign.doctor.command import print_reports
        except ModuleNotFoundError as error:
            raise click.ClickException(f'this needs {error.name}: pip install "presign-uploads[cli]"') from None
        examinations = [partial(examine_presigner, each, origin=origin) for each in presigners]
        raise click.exceptions.Exit(print_reports(examinations, as_json=as_json))

    return doctor


def _view(presigner: Presigner, authorize: Authorize, answer: _Answer, body_for: Callable[[Presigner], bytes]) -> _View:
    def view() -> Response:
        try:
            owner: str | None = current_app.ensure_sync(authorize)(request)
            content = answer(presigner, body_for(presigner), owner)
        except HTTPException as error:
            if error.response is not None or error.code is None:
                # A complete response of the application's own, such as a redirect.
                raise
            return _http_problem(error, error.code)
        except Exception as error:
            if is_server_fault(error):
                raise
            return _response(problem_response(error))
        return Response(content, headers=SUCCESS_HEADERS)

    return view


def _lists(completions: LongCompletions, timeout_seconds: float, max_files: int) -> Lists:
    # Each kind has threads of its own: completions that hang take none from tickets.
    return Lists(
        max_files=max_files,
        max_threads=MAX_THREADS,
        timeout_seconds=timeout_seconds,
        signing_threads=BoundedThreads(max_threads=MAX_THREADS, name="presign upload"),
        storage_threads=BoundedThreads(max_threads=MAX_THREADS, name="presign parts"),
        completion_threads=BoundedThreads(max_threads=MAX_THREADS, name="presign complete"),
        long_completions=completions,
    )


def _uploader(lists: Lists) -> _Answer:
    """Return what answers ``POST /upload``."""

    def answer(presigner: Presigner, body: bytes, owner: str | None) -> bytes:
        if not is_list(body):
            return answer_upload(presigner, body, owner)
        tickets = lists.uploads(presigner, body, owner)
        tickets.issue()
        return tickets.wait(_explain)

    return answer


def _completer(lists: Lists, completions: LongCompletions, timeout_seconds: float) -> _Answer:
    """Return what answers ``POST /complete``; a large file is completed in another thread than the request's."""

    def answer(presigner: Presigner, body: bytes, owner: str | None) -> bytes:
        if is_list(body):
            call_for = partial(_completion_call, presigner, owner)
            listed = lists.completions(presigner, body, owner, call_for=call_for, to_json=StoredObject.to_json)
            return listed.wait(_explain)
        token = CompletionRequest.from_json(body).token
        if not presigner.is_in_parts(token):
            return presigner.complete(token, owner=owner).to_json()
        key = (presigner, token, owner)
        complete = _completion_call(presigner, owner, token, True)
        progress = partial(presigner.completion_progress, token)
        stored = completions.result(key, complete, timeout_seconds=timeout_seconds, progress=progress, owner=owner)
        return stored.to_json()

    return answer


def _completion_call(
    presigner: Presigner, owner: str | None, token: str, outlasts_request: bool
) -> Callable[[], StoredObject]:
    """Return the call that completes an upload in another thread than the request's."""
    # Each call begins in an empty context, and there pushes its own contexts of the application and the request. In the
    # request's context, several threads would share `flask.g` and the database session, or use them after the request.
    if not outlasts_request:
        return partial(Context().run, copy_current_request_context(partial(presigner.complete, token, owner=owner)))
    app = _application()

    def complete() -> StoredObject:
        with app.app_context():
            return presigner.complete(token, owner=owner)

    return partial(Context().run, complete)


def _application() -> Flask:
    # Flask documents this as the way to the application behind the proxy.
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    return app


def _explain(error: Exception) -> ProblemResponse:
    """Return the problem of one item of a list; report an error that is the server's fault as Flask does."""
    if isinstance(error, HTTPException) and error.response is None and error.code is not None:
        return _problem_of(error, error.code)
    if is_server_fault(error):
        app = _application()
        traceback = cast("TracebackType", error.__traceback__)
        app.log_exception((type(error), error, traceback))
        got_request_exception.send(app, _async_wrapper=app.ensure_sync, exception=error)
    return problem_response(error)


def _companion_view(presigner: Presigner, authorize: Authorize) -> Callable[[str], Response]:
    def view(name: str) -> Response:
        if request.method == "OPTIONS":
            return _preflight_answer(", ".join([*uppy.methods_of(name), "OPTIONS"]))
        found = uppy.find(name, request.method)
        if isinstance(found, ProblemResponse):
            return _response(found)
        call = found

        def body_for(presigner: Presigner) -> bytes:
            posted = _read_json(call.max_body_bytes) if call.max_body_bytes else b""
            return call.body_for(presigner, request.query_string.decode("latin-1"), posted)

        def answer(presigner: Presigner, body: bytes, owner: str | None) -> bytes:
            return call.answer_from(presigner, ANSWERS_FOR_UPPY[call.path](presigner, body, owner))

        return _view(presigner, authorize, answer, body_for)()

    return view


def _body(list_limit: int, presigner: Presigner) -> bytes:
    return _read_json(MAX_BODY_BYTES, list_limit)


def _read_json(limit: int, list_limit: int = 0) -> bytes:
    check_media_type(request.headers.get("Content-Type"))
    content_length = request.headers.get("Content-Length")
    body = read_limited(_reader(), limit, list_limit=list_limit, content_length=content_length)
    if len(body) < (request.content_length or 0):
        raise InvalidRequest("the body ended too early")
    return body


def _reader() -> Callable[[int], bytes]:
    stream: IO[bytes] | None = None

    def read(size: int) -> bytes:
        nonlocal stream
        if stream is not None:
            return stream.read(size)
        stream = request.stream
        start = stream.read(size)
        if not start:
            # A function that ran before the request has read the body, and Flask keeps it.
            stream = BytesIO(request.get_data())
            start = stream.read(size)
        return start

    return read


def _document(presigner: Presigner, companion: bool, max_files: int) -> _View:
    document = orjson.dumps(openapi(presigner, companion=companion, max_files=max_files))
    return lambda: Response(document, mimetype="application/json")


def _answer_other_method() -> Response:
    if request.method == "OPTIONS":
        return _preflight_answer("OPTIONS, POST")
    return _response(problem_response_for_status(405, title="Method Not Allowed", headers={"Allow": "POST"}))


def _preflight_answer(methods: str) -> Response:
    # A preflight request must succeed: flask-cors adds its headers to this answer.
    return Response(status=204, headers={"Allow": methods})


def _internal_problem(error: Exception) -> Response:
    # The cause of werkzeug's InternalServerError is not the client's business.
    return _response(problem_response(error))


def _http_problem(error: HTTPException, status: int) -> Response:
    return _response(_problem_of(error, status))


def _problem_of(error: HTTPException, status: int) -> ProblemResponse:
    kept = {name: value for name, value in error.get_headers() if name not in {"Content-Type", "Content-Length"}}
    return problem_response_for_status(status, title=error.name, headers=kept)


def _response(problem: ProblemResponse) -> Response:
    if (request.endpoint or "").endswith(_COMPANION):
        problem = uppy.with_message(problem)
    return Response(problem.body, status=problem.status, headers=problem.wsgi_headers)
