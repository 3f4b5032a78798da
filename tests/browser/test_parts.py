"""Large files in parts, from Chromium to SeaweedFS: paused, resumed, and gone on with by a page that was reloaded."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Request, Response
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from demo_server.storages.local_storage import PENDING_PREFIX, PUBLIC_PREFIX
from emulators.npm_packages import install, node
from emulators.serving import serve
from presign import Presigner, UploadPolicy
from presign.asgi import create_app
from tests.browser.origins import allowed_by
from tests.conftest import TOKEN_SECRET, Store

pytestmark = pytest.mark.browser

MIB = 1024**2
PARTS = 8
LARGE_PART = 15 * MIB
SMALL_PART = 5 * MIB
"""The smallest part that S3 takes."""
CLIENT = Path(__file__).resolve().parents[2] / "client"
POLICY = "default-src 'none'; script-src 'self'; connect-src *"
PAGE = HTMLResponse('<!doctype html><title>A page</title><input type="file">')
START = """async ([client, kind, stop, digest]) => {
    const { createUploader } = await import(client);
    const uploader = window.uploader = createUploader({ api: `/files/${kind}`, digest });
    window.progress = [];
    uploader.on("change", ({ state, loaded, file }) => {
        if (state !== "uploading") return;
        progress.push(loaded);
        if (!stop || loaded < file.size / 4) return;
        if (stop === "pause") uploader.pause();
        else location.reload();
        stop = null;
    });
    uploader.add(document.querySelector("input").files);
}"""
FINISHED = """async () => {
    await uploader.finished();
    const [{ state, loaded, result, error }] = uploader.items;
    return { state, loaded, key: result?.key, message: error?.message };
}"""


@dataclass(kw_only=True)
class Traffic:
    """The numbers of the parts that the browser sent, and of those that the server listed, in the order of events."""

    sent: list[int] = field(default_factory=list)
    confirmed: list[int] = field(default_factory=list)
    tickets: int = 0
    listed: set[int] | None = None
    workers: list[str] = field(default_factory=list)
    sent_since: list[int] = field(default_factory=list)

    def note_request(self, request: Request) -> None:
        if number := _part_number(request):
            (self.sent if self.listed is None else self.sent_since).append(number)
        self.tickets += request.url.endswith("/upload")

    def note_response(self, response: Response) -> None:
        if response.url.endswith("/parts/list"):
            self.listed = set(response.json()["numbers"])
        elif (number := _part_number(response.request)) and response.ok:
            self.confirmed.append(number)


def _part_number(request: Request) -> int | None:
    numbers = parse_qs(urlsplit(request.url).query).get("partNumber")
    return int(numbers[0]) if numbers and request.method == "PUT" else None


def _film(directory: Path, part_bytes: int) -> Path:
    """Return a file each of whose parts is another one."""
    path, size = directory / "film.mp4", PARTS * part_bytes
    with path.open("wb") as file:
        file.write(b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41")
        for number in range(size // MIB):
            file.seek(number * MIB + 64)
            file.write(hashlib.sha256(b"%d" % number).digest() * 1000)
        file.truncate(size)
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client as esbuild cuts it into files that the page loads when it needs them."""
    install(CLIENT)
    directory = tmp_path_factory.mktemp("bundle")
    esbuild = CLIENT / "node_modules" / "esbuild" / "bin" / "esbuild"
    options = ["--bundle", "--splitting", "--minify", "--format=esm", "--target=es2022", f"--outdir={directory}"]
    entries = [str(CLIENT / name) for name in ("index.js", "hash_worker.js")]
    subprocess.run([str(node()), str(esbuild), *entries, *options], check=True, capture_output=True)
    return directory


@pytest.fixture
def site(seaweedfs: Store, bundle: Path) -> Iterator[str]:
    """A page with a strict Content-Security-Policy, and the API beside it."""
    presigners = [
        Presigner(
            name=name,
            backend=seaweedfs.backend(),
            policy=UploadPolicy(
                content_types={"video/mp4"},
                max_bytes=PARTS * part_bytes,
                parts_from_bytes=PARTS * part_bytes,
                part_bytes=part_bytes,
                require_sha256=name == "bound",
                prefix=PUBLIC_PREFIX,
                pending_prefix=PENDING_PREFIX,
            ),
            secret=TOKEN_SECRET,
        )
        for name, part_bytes in (("large", LARGE_PART), ("small", SMALL_PART), ("bound", SMALL_PART))
    ]

    async def with_policy(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["content-security-policy"] = POLICY
        return response

    app = Starlette(
        routes=[
            Route("/page", lambda request: PAGE),
            Mount("/client", StaticFiles(directory=CLIENT)),
            Mount("/bundle", StaticFiles(directory=bundle)),
            Mount("/files", create_app(presigners, authorize=lambda request: "alice")),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=with_policy)],
    )
    with serve(app) as url, allowed_by(seaweedfs, url):
        yield url


@pytest.fixture
def traffic(page: Page) -> Traffic:
    traffic = Traffic()
    page.on("request", traffic.note_request)
    page.on("response", traffic.note_response)
    page.on("worker", lambda worker: traffic.workers.append(urlsplit(worker.url).path))
    return traffic


def test_a_large_file_goes_in_parts_and_a_paused_one_goes_on_with_those_that_are_missing(
    page: Page, site: str, traffic: Traffic, seaweedfs: Store, tmp_path: Path
) -> None:
    film = _film(tmp_path, LARGE_PART)
    page.goto(f"{site}/page")
    page.set_input_files("input", film)
    page.evaluate(START, ["/client/index.js", "large", "pause"])
    paused = page.evaluate(FINISHED)
    assert paused["state"] == "paused", paused
    assert 2 * LARGE_PART <= paused["loaded"] < PARTS * LARGE_PART
    page.evaluate("uploader.resume()")
    _expect_stored(page, seaweedfs, film)
    _expect_only_missing_parts(traffic)
    assert traffic.tickets == 1
    assert set(traffic.workers) == {"/client/hash_worker.js"}
    progress = page.evaluate("progress")
    assert progress == sorted(progress)


def test_a_reloaded_page_goes_on_with_the_upload_when_the_file_is_chosen_again(
    page: Page, site: str, traffic: Traffic, seaweedfs: Store, tmp_path: Path
) -> None:
    film = _film(tmp_path, SMALL_PART)
    page.goto(f"{site}/page")
    page.set_input_files("input", film)
    with page.expect_event("load"):
        page.evaluate(START, ["/bundle/index.js", "small", "reload"])
    remembered = page.evaluate("async () => (await import('/client/resume.js')).unfinishedUploads()")
    assert [upload["name"] for upload in remembered] == ["film.mp4"]
    page.set_input_files("input", film)
    page.evaluate(START, ["/bundle/index.js", "small", None])
    _expect_stored(page, seaweedfs, film)
    _expect_only_missing_parts(traffic)
    assert page.evaluate("Object.keys(localStorage)") == []
    assert set(traffic.workers) == {"/bundle/hash_worker.js"}
    assert page.workers == []


def test_a_page_asks_for_a_ticket_for_the_digest_of_the_parts(
    page: Page, site: str, traffic: Traffic, seaweedfs: Store, tmp_path: Path
) -> None:
    film = _film(tmp_path, SMALL_PART)
    page.goto(f"{site}/page")
    page.set_input_files("input", film)
    page.evaluate(START, ["/bundle/index.js", "bound", None, True])
    _expect_stored(page, seaweedfs, film)
    assert traffic.tickets == 1
    assert set(traffic.workers) == {"/bundle/hash_worker.js"}
    page.set_input_files("input", film)
    page.evaluate(START, ["/bundle/index.js", "bound", None, False])
    assert "sha256" in page.evaluate(FINISHED)["message"]


def _expect_only_missing_parts(traffic: Traffic) -> None:
    assert traffic.listed is not None
    assert 2 <= len(traffic.listed) < PARTS
    assert sorted(traffic.sent_since) == sorted(set(range(1, PARTS + 1)) - traffic.listed)
    assert len(traffic.confirmed) == len(set(traffic.confirmed))


def _expect_stored(page: Page, store: Store, film: Path) -> None:
    outcome = page.evaluate(FINISHED)
    assert outcome["state"] == "done", outcome
    assert outcome["loaded"] == film.stat().st_size
    body = store.admin.get_object(Bucket=store.bucket, Key=outcome["key"])["Body"]
    stored = hashlib.sha256()
    for chunk in body.iter_chunks(MIB):
        stored.update(chunk)
    assert stored.hexdigest() == hashlib.sha256(film.read_bytes()).hexdigest()
