"""The React example in Chromium, in React's StrictMode, with the FastAPI example and SeaweedFS."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Request, expect
from starlette.responses import FileResponse, Response

from emulators.npm_packages import install, node
from emulators.serving import serve
from tests.browser.conftest import Network
from tests.browser.fastapi_example import fastapi_example, sign_in
from tests.browser.origins import allowed_by
from tests.conftest import PNG, Store

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "react"
CLIENT = ROOT / "client"
MAX_LINES = {"use_uploads.js": 30, "app.jsx": 60, "main.jsx": 60}
FILE_BYTES = 1_000_000
SLOW_BYTES_PER_SECOND = 400_000
END_SECONDS = 30.0
# The same as main.jsx, with a count of how often React runs an effect, and a way to take the component away.
UNMOUNTABLE = """
import { StrictMode, useEffect } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app.jsx";

globalThis.effects = 0;

function Counted() {
  useEffect(() => void (globalThis.effects += 1), []);
  return <App />;
}

const root = createRoot(document.getElementById("root"));
root.render(<StrictMode><Counted /></StrictMode>);
globalThis.unmount = () => root.unmount();
"""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    install(CLIENT)
    install(EXAMPLE)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.png" for name in ("one", "two", "three")]
    for path in paths:
        path.write_bytes(PNG + os.urandom(FILE_BYTES))
    return paths


def _bundle(main: str) -> str:
    """Return a bundle for development, in which StrictMode runs every effect twice."""
    esbuild = CLIENT / "node_modules" / "esbuild" / "bin" / "esbuild"
    alias = f"--alias:presign-uploads={CLIENT / 'index.js'}"
    options = ["--bundle", "--loader=jsx", "--jsx=automatic", "--format=esm", "--target=es2022", alias]
    result = subprocess.run(
        [str(node()), str(esbuild), *options],
        cwd=EXAMPLE,
        input=main,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@contextmanager
def _open_example(page: Page, store: Store, directory: Path, main: str) -> Iterator[None]:
    script = _bundle(main)
    with fastapi_example(store, directory) as app:
        app.add_route("/page", lambda request: FileResponse(EXAMPLE / "index.html"))
        app.add_route("/dist/main.js", lambda request: Response(script, media_type="text/javascript"))
        with serve(app) as url, allowed_by(store, url):
            page.goto(f"{url}/page")
            assert sign_in(page) == 200
            yield


@dataclass(kw_only=True)
class Requests:
    """How many tickets and completions the page has asked for, alone or in lists, and how many files it has sent."""

    tickets: int = 0
    completions: int = 0
    files: int = 0
    broken_files: int = 0


def _count_requests(page: Page, store: Store) -> Requests:
    requests = Requests()

    def is_file(request: Request) -> bool:
        return request.url.startswith(store.endpoint_url) and request.method in ("POST", "PUT")

    def on_request(request: Request) -> None:
        content = request.post_data_json if request.url.endswith(("/files/upload", "/files/complete")) else None
        count = len(content) if isinstance(content, list) else 1
        requests.tickets += count * request.url.endswith("/files/upload")
        requests.completions += count * request.url.endswith("/files/complete")
        requests.files += is_file(request)

    def on_failure(request: Request) -> None:
        requests.broken_files += is_file(request)

    page.on("request", on_request)
    page.on("requestfailed", on_failure)
    return requests


def _row(page: Page, path: Path) -> Locator:
    return page.get_by_role("listitem").filter(has_text=path.name)


def _loaded(page: Page, path: Path) -> float:
    value: float = page.get_by_role("progressbar", name=path.name).evaluate("bar => bar.value")
    return value


def _wait_for_progress(page: Page, path: Path, *, beyond: float) -> None:
    script = "([name, beyond]) => document.querySelector(`[aria-label='${name}']`).value > beyond"
    page.wait_for_function(script, arg=[path.name, beyond])


def _expect_state(row: Locator, state: str) -> None:
    expect(row).to_have_attribute("data-state", state)


def test_the_example_is_short() -> None:
    for name, most in MAX_LINES.items():
        assert len((EXAMPLE / name).read_text().splitlines()) <= most, name


def test_three_files_are_uploaded_with_progress_pause_cancel_and_retry(
    page: Page, seaweedfs: Store, tmp_path: Path, pictures: list[Path]
) -> None:
    with _open_example(page, seaweedfs, tmp_path, (EXAMPLE / "main.jsx").read_text()):
        requests = _count_requests(page, seaweedfs)
        network = Network(page)
        network.limit_uploads(SLOW_BYTES_PER_SECOND)
        page.get_by_label("Pictures").set_input_files(pictures)
        one, two, three = (_row(page, path) for path in pictures)
        _wait_for_progress(page, pictures[0], beyond=0)
        first = _loaded(page, pictures[0])
        _wait_for_progress(page, pictures[0], beyond=first)
        assert 0 < first < FILE_BYTES
        for row in (one, two, three):
            _expect_state(row, "uploading")

        two.get_by_role("button", name="Cancel").click()
        _expect_state(two, "cancelled")
        three.get_by_role("button", name="Pause").click()
        _expect_state(three, "paused")
        network.limit_uploads()
        _expect_state(one, "done")
        _expect_state(three, "paused")
        three.get_by_role("button", name="Resume").click()
        _expect_state(three, "done")
        _expect_state(two, "cancelled")
        two.get_by_role("button", name="Retry").click()
        _expect_state(two, "done")

        # No file has two tickets, and only the two uploads that were stopped were sent again.
        assert requests == Requests(tickets=3, completions=3, files=5, broken_files=2)
        keys = page.evaluate("async () => (await fetch('/uploads')).json()")
        bodies = [seaweedfs.admin.get_object(Bucket=seaweedfs.bucket, Key=key)["Body"].read() for key in keys]
        assert sorted(bodies) == sorted(path.read_bytes() for path in pictures)

        one.get_by_role("button", name="Remove").click()
        expect(page.get_by_role("listitem")).to_have_count(2)


def test_a_component_that_leaves_the_page_ends_its_uploads(
    page: Page, seaweedfs: Store, tmp_path: Path, pictures: list[Path]
) -> None:
    with _open_example(page, seaweedfs, tmp_path, UNMOUNTABLE):
        requests = _count_requests(page, seaweedfs)
        network = Network(page)
        network.limit_uploads(SLOW_BYTES_PER_SECOND)
        page.get_by_label("Pictures").set_input_files(pictures)
        _wait_for_progress(page, pictures[0], beyond=0)
        for path in pictures:
            _expect_state(_row(page, path), "uploading")
        assert page.evaluate("effects") == 2, "StrictMode runs every effect twice"
        page.evaluate("unmount()")
        expect(page.get_by_role("listitem")).to_have_count(0)
        network.limit_uploads()
        # Each upload is broken, or goes on to its completion.
        deadline = time.monotonic() + END_SECONDS
        while requests.broken_files + requests.completions < len(pictures) and time.monotonic() < deadline:
            page.wait_for_timeout(50)
        assert requests == Requests(tickets=3, completions=0, files=3, broken_files=3)
        assert page.evaluate("async () => (await fetch('/uploads')).json()") == []
