"""The page: the files of ``demo_client/`` and ``client/`` on an origin of their own, and the page's settings."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo_server.settings import read_settings

_LOCAL_STORAGES = {"s3": "SeaweedFS", "azblob": "Azurite", "gs": "the reference GCS server"}
_ROOT = Path(__file__).resolve().parent.parent
PAGE_DIRECTORY = _ROOT / "demo_client"
CLIENT_DIRECTORY = _ROOT / "client"
_HEADERS = (
    # Uploads go to whatever host the ticket names, and previews come from there.
    (b"content-security-policy", b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src *; "
     b"img-src * blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
)  # fmt: skip


def create_page() -> ASGIApp:
    """Return the page's server as the environment describes it."""
    settings = read_settings()
    config = {
        "api": settings.api_origin,
        "types": sorted(settings.types),
        "min_bytes": settings.min_bytes,
        "max_bytes": settings.max_bytes,
        "sha256": "required" if settings.require_sha256 else "optional",
        "pending": settings.pending_prefix is not None,
        "storage": _storage_label(settings.bucket),
    }

    async def configuration(request: Request) -> Response:
        return JSONResponse(config)

    return _with_headers(
        Starlette(
            routes=[
                Route("/config.json", configuration),
                # The page imports "../client/index.js", which is the same file here and in the source tree.
                Mount("/client", StaticFiles(directory=CLIENT_DIRECTORY)),
                Mount("/", StaticFiles(directory=PAGE_DIRECTORY, html=True)),
            ]
        )
    )


def _storage_label(bucket: str | None) -> str:
    address, _, query = (bucket or "").partition("?")
    local = _LOCAL_STORAGES.get(address.partition("://")[0])
    return f"{local} on this machine" if local and "endpoint_url=http%3A%2F%2F127.0.0.1" in query else address


def _with_headers(app: ASGIApp) -> ASGIApp:
    async def with_headers(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        await app(scope, receive, send_with_headers)

    return with_headers
