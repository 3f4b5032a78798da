"""Each framework's adapter on a real server, with the same presigners and the same decision who may upload.

A framework is added here, in one place: with a function like the others, and a line in ADAPTERS.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated

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
from presign.fastapi import create_router
from presign.flask import create_blueprint
from tests.django import project as _project  # noqa: F401  (configures Django)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

Decide = Callable[[str | None], str | None]
"""Returns the owner for the value of the header X-User, which stands for a session, or raises a PresignError."""

Serve = Callable[[Sequence[Presigner], Decide], AbstractContextManager[str]]
"""Serves several presigners by name, and yields the URL under which their names stand."""

STOP_SECONDS = 10
_PATHS = ("upload", "complete", "parts", "parts/list", "abort")


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


@contextmanager
def _asgi(presigners: Sequence[Presigner], decide: Decide) -> Iterator[str]:
    async def authorize(request: Request) -> str | None:
        return decide(request.headers.get("x-user"))

    app = create_app(presigners, authorize=authorize)
    with serve(Starlette(routes=[Mount("/files", app)])) as url:
        yield f"{url}/files"


@contextmanager
def _fastapi(presigners: Sequence[Presigner], decide: Decide) -> Iterator[str]:
    def session(x_user: Annotated[str | None, Header()] = None) -> str | None:
        return x_user

    async def authorize(user: str | None = Depends(session)) -> str | None:
        return decide(user)

    app = FastAPI()
    app.include_router(create_router(presigners, authorize=authorize), prefix="/files")
    with serve(app) as url:
        yield f"{url}/files"


@contextmanager
def _flask(presigners: Sequence[Presigner], decide: Decide) -> Iterator[str]:
    def authorize(request: FlaskRequest) -> str | None:
        return decide(request.headers.get("X-User"))

    app = Flask(__name__)
    app.register_blueprint(create_blueprint(presigners, authorize=authorize), url_prefix="/files")
    with serve_wsgi(app) as url:
        yield f"{url}/files"


@contextmanager
def _django(presigners: Sequence[Presigner], decide: Decide) -> Iterator[str]:
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
        }
        for each in presigners
    }
    with override_settings(PRESIGN=described, ROOT_URLCONF="tests.django.project_urls", ALLOWED_HOSTS=["127.0.0.1"]):
        django_presigners._presigners.update({each.name: each for each in presigners})
        with serve_wsgi(WSGIHandler()) as url:
            yield f"{url}/uploads"


ADAPTERS: dict[str, Serve] = {"asgi": _asgi, "fastapi": _fastapi, "flask": _flask, "django": _django}


@contextmanager
def serve_naively(presigners: Sequence[Presigner], decide: Decide) -> Iterator[str]:
    """What gives none of the guarantees: the proof that each test of one can fail."""
    presigner = presigners[0]

    async def answer(request: Request) -> Response:
        try:
            members = await request.json()
            decide(request.headers.get("x-user"))
            if request.url.path.endswith("/complete"):
                return JSONResponse((await presigner.complete_async(members["token"])).to_dict())
            return JSONResponse(presigner.issue(UploadRequest.from_json(members)).to_dict())
        except PresignError as error:
            return JSONResponse({"error": error.detail}, status_code=error.status)
        except Exception:
            return PlainTextResponse(traceback.format_exc(), status_code=500)

    paths = [f"/{each.name}/{name}" for each in presigners for name in _PATHS]
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    with serve(Starlette(routes=[Route(path, answer, methods=methods) for path in paths])) as url:
        yield url
