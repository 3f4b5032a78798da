"""Each framework's adapter on a real server, with the same presigners and the same decision who may upload.

A framework is added here, in one place: with a function like the others, and a line in ADAPTERS.
"""

from __future__ import annotations

import json
import threading
import traceback
from asyncio import to_thread
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Protocol
from unittest.mock import patch

from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest
from django.test.utils import override_settings
from fastapi import Depends, FastAPI, Header
from flask import Flask
from flask import Request as FlaskRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from werkzeug.serving import make_server

from emulators.serving import serve
from presign import Presigner, PresignError, UploadRequest
from presign.asgi import create_app
from presign.django import presigners as django_presigners
from presign.django import views as django_views
from presign.fastapi import create_router
from presign.flask import create_blueprint
from presign.http import companion as uppy
from presign.http.async_endpoints import TIMEOUT_SECONDS, AsyncEndpoints
from presign.http.endpoints import ANSWERS
from tests.django import project as _project  # noqa: F401  (configures Django)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

Decide = Callable[[str | None], str | None]
"""Returns the owner for the value of the header X-User, which stands for a session, or raises a PresignError."""


class Serve(Protocol):
    """Serves several presigners by name, and yields the URL under which their names stand.

    ``companion`` says whether Uppy's Companion mode is served too, and ``timeout_seconds`` is how long a request waits
    for the completion of a large file.
    """

    def __call__(
        self,
        presigners: Sequence[Presigner],
        decide: Decide,
        *,
        companion: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> AbstractContextManager[str]: ...


STOP_SECONDS = 10


@contextmanager
def serve_wsgi(app: WSGIApplication) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    # At the end, a request that never ends must not be waited for.
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(STOP_SECONDS)
        server.server_close()


def _from_the_request(decide: Decide) -> Callable[..., Awaitable[str | None]]:
    """Return an ``authorize`` that takes the request alone, so that FastAPI resolves nothing."""

    async def authorize(request: Request) -> str | None:
        return decide(request.headers.get("x-user"))

    return authorize


def _from_a_dependency(decide: Decide) -> Callable[..., Awaitable[str | None]]:
    """Return an ``authorize`` with a dependency, which FastAPI resolves."""

    def session(x_user: Annotated[str | None, Header()] = None) -> str | None:
        return x_user

    async def authorize(user: str | None = Depends(session)) -> str | None:
        return decide(user)

    return authorize


@contextmanager
def _asgi(
    presigners: Sequence[Presigner],
    decide: Decide,
    *,
    companion: bool = False,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Iterator[str]:
    authorize = _from_the_request(decide)
    app = create_app(presigners, authorize=authorize, companion=companion, timeout_seconds=timeout_seconds)
    with serve(Starlette(routes=[Mount("/files", app)])) as url:
        yield f"{url}/files"


@contextmanager
def _fastapi(
    presigners: Sequence[Presigner],
    decide: Decide,
    *,
    companion: bool = False,
    timeout_seconds: float = TIMEOUT_SECONDS,
    new_authorize: Callable[[Decide], Callable[..., Awaitable[str | None]]] = _from_a_dependency,
) -> Iterator[str]:
    app = FastAPI()
    authorize = new_authorize(decide)
    router = create_router(presigners, authorize=authorize, companion=companion, timeout_seconds=timeout_seconds)
    app.include_router(router, prefix="/files")
    with serve(app) as url:
        yield f"{url}/files"


@contextmanager
def _flask(
    presigners: Sequence[Presigner],
    decide: Decide,
    *,
    companion: bool = False,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Iterator[str]:
    def authorize(request: FlaskRequest) -> str | None:
        return decide(request.headers.get("X-User"))

    app = Flask(__name__)
    blueprint = create_blueprint(presigners, authorize=authorize, companion=companion, timeout_seconds=timeout_seconds)
    app.register_blueprint(blueprint, url_prefix="/files")
    with serve_wsgi(app) as url:
        yield f"{url}/files"


@contextmanager
def _django(
    presigners: Sequence[Presigner],
    decide: Decide,
    *,
    companion: bool = False,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Iterator[str]:
    def authorize(request: HttpRequest) -> bool:
        owner = decide(request.headers.get("X-User"))
        request.user = SimpleNamespace(pk=owner, is_authenticated=True)
        # Django's own test client does the same: the tests of CSRF protection are in tests/django/.
        request._dont_enforce_csrf_checks = True
        return True

    described = {
        each.name: {
            "backend": lambda backend=each.backend: backend,
            "content_types": list(each.policy.content_types),
            "max_bytes": each.policy.max_bytes,
            "prefix": each.policy.prefix,
            "authorize": authorize,
            "companion": companion,
        }
        for each in presigners
    }
    with (
        override_settings(PRESIGN=described, ROOT_URLCONF="tests.django.project_urls", ALLOWED_HOSTS=["127.0.0.1"]),
        patch.object(django_views, "_endpoints", AsyncEndpoints(timeout_seconds=timeout_seconds)),
    ):
        django_presigners._presigners.update({each.name: each for each in presigners})
        with serve_wsgi(WSGIHandler()) as url:
            yield f"{url}/uploads"


ADAPTERS: dict[str, Serve] = {
    "asgi": _asgi,
    "fastapi": _fastapi,
    "fastapi_directly": partial(_fastapi, new_authorize=_from_the_request),
    "flask": _flask,
    "django": _django,
}


@contextmanager
def serve_naively(presigners: Sequence[Presigner], decide: Decide) -> Iterator[str]:
    """What gives none of the guarantees: the proof that each test of one can fail."""
    presigner = presigners[0]

    async def one(path: str, members: Any) -> Response:
        if path.endswith("/complete"):
            return JSONResponse((await presigner.complete_async(members["token"])).to_dict())
        if path.endswith("/parts"):
            return Response(presigner.sign_parts(members["token"], members["numbers"]).to_json())
        if path.endswith("/parts/list"):
            return Response((await to_thread(presigner.list_parts, members["token"])).to_json())
        if path.endswith("/abort"):
            await to_thread(presigner.abort, members["token"])
            return JSONResponse({})
        ticket = await to_thread(presigner.issue, UploadRequest.from_json(members))
        return JSONResponse(ticket.to_dict())

    async def answer(request: Request) -> Response:
        try:
            query = {"type": request.query_params.get("type"), "name": request.query_params.get("filename")}
            members: Any = query if request.method == "GET" else await request.json()
            decide(request.headers.get("x-user"))
            path = request.url.path
            call = uppy.find(path.partition("/s3/")[2], request.method)
            if isinstance(call, uppy.Call) and call.path != "/upload":
                body = call.body_for(presigner, request.url.query, b"")
                answer = await to_thread(ANSWERS[call.path], presigner, body, None)
                return Response(call.answer_from(presigner, answer))
            if not isinstance(members, list):
                return await one(path, members)
            listed = []
            for each in members:
                decide(request.headers.get("x-user"))
                listed.append({"status": 200, "body": json.loads(bytes((await one(path, each)).body))})
            return JSONResponse(listed)
        except PresignError as error:
            return JSONResponse({"error": error.detail}, status_code=error.status)
        except Exception:
            return PlainTextResponse(traceback.format_exc(), status_code=500)

    paths = [f"/{each.name}{name}" for each in presigners for name in (*ANSWERS, "/s3/{name:path}")]
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    with serve(Starlette(routes=[Route(path, answer, methods=methods) for path in paths])) as url:
        yield url
