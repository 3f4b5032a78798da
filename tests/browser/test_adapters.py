"""Chromium, the JavaScript client and the adapters: cookies, bearer tokens and other origins work as documented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from emulators.serving import serve
from presign import Unauthenticated
from presign.asgi import create_app
from tests.browser.fastapi_example import fastapi_example, sign_in
from tests.browser.origins import allowed_by
from tests.conftest import PNG, Store

pytestmark = pytest.mark.browser

CLIENT = Path(__file__).resolve().parents[2] / "client"
PAGE = HTMLResponse("<!doctype html><title>A page</title>")
UPLOAD = """async (bytes) => {
    const { upload } = await import("/client/index.js");
    const file = new File([new Uint8Array(bytes)], "cat.png", { type: "image/png" });
    try {
        return await upload(file, { api: "/files" });
    } catch (error) {
        return { code: error.code, message: error.message };
    }
}"""
POST = """async ([url, options]) => {
    try {
        const answer = await fetch(url, { method: "POST", body: '{"type": "image/png"}', ...options });
        return [answer.status, (await answer.json()).code ?? null];
    } catch (error) {
        return [0, error.name];
    }
}"""
JSON = {"Content-Type": "application/json"}
NAMED = {**JSON, "Authorization": "Bearer alice", "X-CSRFToken": "a token"}


def test_the_client_uploads_to_the_fastapi_example_with_the_cookie_of_its_login(
    page: Page, seaweedfs: Store, tmp_path: Path
) -> None:
    with fastapi_example(seaweedfs, tmp_path) as app:
        app.mount("/client", StaticFiles(directory=CLIENT))
        app.add_route("/page", lambda request: PAGE)
        with serve(app) as url, allowed_by(seaweedfs, url):
            page.goto(f"{url}/page")
            assert page.evaluate(UPLOAD, list(PNG))["code"] == "unauthenticated"
            assert sign_in(page, "wrong") == 401
            assert sign_in(page) == 200
            stored = page.evaluate(UPLOAD, list(PNG))
            assert stored.get("size") == len(PNG), stored
            assert seaweedfs.holds(stored["key"])
            assert page.evaluate("async () => (await fetch('/uploads')).json()") == [stored["key"]]


def _user_of_cookie_and_headers(request: Request) -> str:
    sent = (request.cookies.get("user"), request.headers.get("authorization"), request.headers.get("x-csrftoken"))
    if sent != ("alice", "Bearer alice", "a token"):
        raise Unauthenticated(f"sign in; you sent {sent}")
    return "alice"


def test_a_page_of_an_allowed_origin_sends_cookies_and_named_headers_and_no_other_page_does(
    page: Page, s3_reference: Store
) -> None:
    presigner = s3_reference.presigner()
    pages = Starlette(routes=[Route("/", lambda request: PAGE)])
    # By one host name, because a cookie goes to every port of its site.
    with serve(pages, host="localhost") as page_url, serve(pages, host="localhost") as other_url:
        options: dict[str, Any] = {"authorize": _user_of_cookie_and_headers, "allowed_origins": [page_url]}
        named = ("authorization", "x-csrftoken")
        mounts = {
            "/both": create_app(presigner, allow_credentials=True, allowed_headers=named, **options),
            "/cookies": create_app(presigner, allow_credentials=True, **options),
            "/headers": create_app(presigner, allowed_headers=named, **options),
        }
        with serve(Starlette(routes=[Mount(path, app) for path, app in mounts.items()]), host="localhost") as api:
            page.context.add_cookies([{"name": "user", "value": "alice", "url": api}])
            with_cookies = {"headers": NAMED, "credentials": "include"}
            page.goto(page_url)
            assert page.evaluate(POST, [f"{api}/both/upload", with_cookies]) == [200, None]
            assert page.evaluate(POST, [f"{api}/both/upload", {"headers": NAMED}]) == [401, "unauthenticated"]
            # The browser gets 401 here, as the named headers are missing, and may read it.
            unnamed = {"headers": JSON, "credentials": "include"}
            assert page.evaluate(POST, [f"{api}/cookies/upload", unnamed]) == [401, "unauthenticated"]
            assert page.evaluate(POST, [f"{api}/cookies/upload", with_cookies]) == [0, "TypeError"]
            assert page.evaluate(POST, [f"{api}/headers/upload", with_cookies]) == [0, "TypeError"]
            assert page.evaluate(POST, [f"{api}/headers/upload", {"headers": NAMED}]) == [401, "unauthenticated"]
            page.goto(other_url)
            assert page.evaluate(POST, [f"{api}/both/upload", with_cookies]) == [0, "TypeError"]
