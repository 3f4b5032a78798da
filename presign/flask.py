"""The HTTP contract as a Flask blueprint.

::

    app.register_blueprint(create_blueprint(presigner, authorize=current_user), url_prefix="/files")
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from functools import partial

import click
import orjson
from flask import Blueprint, Flask, Request, Response, current_app, request
from werkzeug.exceptions import HTTPException

from presign.errors import ConfigurationError, InvalidRequest
from presign.http import companion as uppy
from presign.http.async_endpoints import MAX_THREADS, TIMEOUT_SECONDS
from presign.http.endpoints import ANSWERS, ANSWERS_FOR_UPPY, SUCCESS_HEADERS, presigners_by_path
from presign.http.long_completions import LongCompletions
from presign.http.openapi import openapi
from presign.http.problems import ProblemResponse, is_server_fault, problem_response, problem_response_for_status
from presign.http.request_body import MAX_BODY_BYTES, check_declared_length, check_media_type, read_limited
from presign.messages import CompletionRequest
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

    Raises ConfigurationError for two presigners with the same name, and for a limit of 0 or less.
    """
    if timeout_seconds <= 0:
        raise ConfigurationError("timeout_seconds must be more than 0", field="timeout_seconds")
    blueprint = Blueprint(name, __name__)
    completions = LongCompletions(max_threads=MAX_THREADS)
    for path, each in presigners_by_path(presigner).items():
        prefix = f"{path[1:]}_" if path else ""
        for end, answer in {**ANSWERS, "/complete": _completer(completions, timeout_seconds)}.items():
            view, endpoint = _view(each, authorize, answer, _body), f"{prefix}{end[1:].replace('/', '_')}"
            blueprint.add_url_rule(f"{path}{end}", endpoint, view, methods=["POST"], provide_automatic_options=False)
            # Flask answers other methods outside of the blueprint, where no problem document can be made.
            blueprint.add_url_rule(
                f"{path}{end}",
                f"{endpoint}_other_methods",
                _answer_other_method,
                methods=_OTHER_METHODS,
                provide_automatic_options=False,
            )
        blueprint.add_url_rule(f"{path}/openapi.json", f"{prefix}openapi", _document(each, companion), methods=["GET"])
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


def _completer(completions: LongCompletions, timeout_seconds: float) -> _Answer:
    """Return what answers ``POST /complete``; a large file is completed in another thread than the request's."""

    def answer(presigner: Presigner, body: bytes, owner: str | None) -> bytes:
        token = CompletionRequest.from_json(body).token
        if not presigner.is_in_parts(token):
            return presigner.complete(token, owner=owner).to_json()
        # Flask documents this as the way to the application behind the proxy.
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001

        def complete() -> bytes:
            # The request's own context ends with the request, and the completion may go on.
            with app.app_context():
                return presigner.complete(token, owner=owner).to_json()

        key = (presigner, token, owner)
        # In an empty context, where `flask.request` is not the request of a client that has gone.
        alone = partial(Context().run, complete)
        progress = partial(presigner.completion_progress, token)
        return completions.result(key, alone, timeout_seconds=timeout_seconds, progress=progress)

    return answer


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


def _body(presigner: Presigner) -> bytes:
    return _read_json(MAX_BODY_BYTES)


def _read_json(limit: int) -> bytes:
    check_media_type(request.headers.get("Content-Type"))
    check_declared_length(request.headers.get("Content-Length"), limit)
    # After a function that ran before the request and read the body, the stream is empty, and Flask keeps the body.
    body = read_limited(request.stream.read, limit) or request.get_data()
    check_declared_length(str(len(body)), limit)
    if len(body) < (request.content_length or 0):
        raise InvalidRequest("the body ended too early")
    return body


def _document(presigner: Presigner, companion: bool) -> _View:
    document = orjson.dumps(openapi(presigner, companion=companion))
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
    kept = {name: value for name, value in error.get_headers() if name not in {"Content-Type", "Content-Length"}}
    return _response(problem_response_for_status(status, title=error.name, headers=kept))


def _response(problem: ProblemResponse) -> Response:
    if (request.endpoint or "").endswith(_COMPANION):
        problem = uppy.with_message(problem)
    return Response(problem.body, status=problem.status, headers=problem.wsgi_headers)
