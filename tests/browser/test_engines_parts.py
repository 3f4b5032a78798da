"""Large files in Chromium, Firefox and WebKit: paused, resumed after a reload, and from where browsers read them badly.

`make test` tries whichever of Firefox and WebKit this machine has, with files of a few parts. `make test-browsers`
installs both, and sends 700 MiB too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from emulators.ports import free_port
from emulators.serving import serve
from tests.browser.conftest import TYPES
from tests.browser.engines import WAIT_SECONDS, BrowserPage, Engine, found_engines, visited_by_webkit
from tests.browser.large_file import GIB, MIB, sha256_at, sha256_of, space_for_uploads, write_large_zip
from tests.browser.page_memory import watched_memory
from tests.browser.relayed_storage import RelayedStorage, run_relayed_storage
from tests.demo_process import Demo, running_demo

pytestmark = pytest.mark.browser

CLIENT = Path(__file__).resolve().parents[2] / "client"
SMALL_PART = 5 * MIB
"""The smallest part that S3 takes."""
SMALL_FILE = 8 * SMALL_PART - 1
LARGE_PART = 16 * MIB
LARGE_FILE = 700 * MIB
MOST_IN_FLIGHT = 6
PAGE_BYTES = {"chromium": 300 * MIB, "firefox": 300 * MIB, "webkit": 600 * MIB}
"""The most that the process of a page may take. In WebKit, parts are read into memory before they are sent."""
BYTES_PER_SECOND = 2 * MIB
"""The slowest that an upload may be: it shares this machine with others."""
BEYOND_4_GIB = 4 * GIB + 700 * MIB + 123
MAKE_SOURCE = """(() => {
    const source = Object.assign(document.createElement("input"), { type: "file", id: "source" });
    source.dataset.testid = "source";
    document.body.prepend(source);
})()"""
# The page keeps a file, reloads, and uploads what it then finds. Where a page keeps many files, it closes the database
# some day, and browsers read files of a closed database badly.
KEEPING_PAGE = """<!doctype html><title>A page that keeps a file</title><script type="module">
const tell = (report) => fetch("/report", { method: "POST", body: JSON.stringify(report) });
addEventListener("error", (event) => tell({ error: String(event.message) }));
addEventListener("unhandledrejection", (event) => tell({ error: String(event.reason?.stack ?? event.reason) }));
const ended = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
});
const opening = indexedDB.open("kept", 1);
opening.onupgradeneeded = () => opening.result.createObjectStore("files");
const database = await ended(opening);
const files = (mode) => database.transaction("files", mode).objectStore("files");
if (!location.hash) {
    const bytes = await (await fetch("/kept.zip")).arrayBuffer();
    const store = files("readwrite");
    store.put(new File([bytes], "kept.zip", { type: "application/zip" }), "file");
    // Before that, a reload would abort the transaction, and the file would not be kept.
    await new Promise((resolve) => { store.transaction.oncomplete = resolve; });
    database.close();
    location.hash = "kept";
    location.reload();
} else {
    const file = await ended(files("readonly").get("file"));
    database.close();
    const { upload } = await import("/client/index.js");
    const { object_url } = await upload(file, { api: "API" });
    tell({ url: object_url });
}
</script>"""


@dataclass(kw_only=True)
class KeepingSite:
    """Serves a page that keeps `archive` in IndexedDB, uploads it to `api` after a reload, and reports what it got."""

    url: str = ""
    api: str = ""
    archive: Path = Path()
    reports: list[dict[str, str]] = field(default_factory=list)

    async def take_report(self, request: Request) -> Response:
        self.reports.append(json.loads(await request.body()))
        return Response(status_code=204)


@pytest.fixture(scope="module", params=found_engines(), ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.param
    return found


@pytest.fixture(scope="module")
def browser(engine: Engine) -> Iterator[BrowserPage]:
    with engine.launch() as driver:
        yield BrowserPage(driver)


@pytest.fixture
def page(browser: BrowserPage) -> Iterator[BrowserPage]:
    """A page on which no error may go unsaid."""
    yield browser
    errors = browser.errors()
    browser.leave()
    assert errors == []


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayedStorage]:
    with run_relayed_storage(tmp_path_factory.mktemp("storage")) as running:
        yield running


@pytest.fixture(scope="module")
def keeping_site() -> Iterator[KeepingSite]:
    site = KeepingSite()
    routes = [
        Route("/", lambda request: HTMLResponse(KEEPING_PAGE.replace("API", site.api))),
        Route("/kept.zip", lambda request: FileResponse(site.archive)),
        Route("/report", site.take_report, methods=["POST"]),
        Mount("/client", StaticFiles(directory=CLIENT)),
    ]
    with serve(Starlette(routes=routes)) as site.url:
        yield site


@pytest.fixture(scope="module")
def demo(
    storage: RelayedStorage, keeping_site: KeepingSite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Demo]:
    """A demo for its own page and for that which keeps files."""
    page_port = free_port()
    settings = {
        "PRESIGN_PAGE_PORT": str(page_port),
        "PRESIGN_ALLOWED_ORIGINS": f"http://localhost:{page_port},{keeping_site.url}",
        **_settings(SMALL_PART),
        **storage.environment,
    }
    with running_demo(tmp_path_factory.mktemp("demo"), **settings) as demo:
        yield demo


def _settings(part_bytes: int) -> dict[str, str]:
    return {
        "PRESIGN_TYPES": TYPES,
        "PRESIGN_PART_BYTES": str(part_bytes),
        "PRESIGN_PARTS_FROM_BYTES": str(part_bytes),
    }


def test_a_large_file_is_paused_and_goes_on_without_sending_a_stored_part_again(
    page: BrowserPage, engine: Engine, storage: RelayedStorage, demo: Demo, tmp_path: Path
) -> None:
    archive = write_large_zip(tmp_path / "large.zip", SMALL_FILE)
    _pause_and_go_on(page, engine, storage, demo, archive, part_bytes=SMALL_PART)


@pytest.mark.large
def test_700_mib_are_paused_and_go_on_without_sending_a_stored_part_again(
    page: BrowserPage, engine: Engine, tmp_path: Path
) -> None:
    with (
        space_for_uploads(LARGE_FILE) as directory,
        run_relayed_storage(directory / "storage") as storage,
        running_demo(tmp_path, **_settings(LARGE_PART), **storage.environment) as demo,
    ):
        archive = write_large_zip(directory / "large.zip", LARGE_FILE)
        _pause_and_go_on(page, engine, storage, demo, archive, part_bytes=LARGE_PART)


def test_a_reloaded_page_offers_to_go_on_and_sends_only_what_is_missing(
    page: BrowserPage, storage: RelayedStorage, demo: Demo, tmp_path: Path
) -> None:
    archive = write_large_zip(tmp_path / "large.zip", SMALL_FILE)
    page.open(demo.page)
    _begin_and_hold(page, storage, archive, SMALL_PART)
    page.leave()
    stored = storage.stored_parts()
    begun = len(storage.relay.parts)
    storage.relay.release()
    page.open(demo.page)
    page.wait_until(lambda: page.is_visible("unfinished-upload"), "the page offers to go on")
    assert "MiB of 40 MiB stored" in page.texts("unfinished-upload")[0]
    # No test can use the dialog of the system that this click would open.
    page.evaluate("void (document.getElementById('again').click = () => {})")
    page.click("again")
    page.choose("again-input", archive)
    _wait_for_state(page, "done")
    _expect_the_rest_alone(page, stored, storage.relay.parts[begun:], archive, SMALL_PART)
    assert page.evaluate("Object.keys(localStorage)") == []


def test_parts_beyond_the_first_4_gib_of_a_file_are_sent_as_they_are(
    page: BrowserPage, demo: Demo, tmp_path: Path
) -> None:
    end = write_large_zip(tmp_path / "end.zip", 2 * SMALL_PART + 1)
    huge = tmp_path / "huge.bin"
    with huge.open("wb") as file:
        # All before it is a hole, which takes no space on the disk.
        file.seek(BEYOND_4_GIB)
        file.write(end.read_bytes())
    page.open(demo.page)
    _choose_source(page, huge)
    assert page.evaluate("document.getElementById('source').files[0].size") == huge.stat().st_size
    file_end = f"document.getElementById('source').files[0].slice({BEYOND_4_GIB}, undefined, 'application/zip')"
    assert sha256_at(_upload(page, demo, file_end)) == sha256_of(end)


def test_a_file_that_was_kept_in_indexeddb_is_sent_by_a_later_page(
    browser: BrowserPage, engine: Engine, demo: Demo, keeping_site: KeepingSite, tmp_path: Path
) -> None:
    archive = write_large_zip(tmp_path / "kept.zip", 4 * SMALL_PART + 1)
    keeping_site.archive, keeping_site.api = archive, demo.api
    keeping_site.reports.clear()
    with _visited(browser, engine, keeping_site.url):
        browser.wait_until(lambda: bool(keeping_site.reports), "the page reports")
    [report] = keeping_site.reports
    assert "url" in report, report
    assert sha256_at(report["url"]) == sha256_of(archive)


@contextmanager
def _visited(browser: BrowserPage, engine: Engine, url: str) -> Iterator[None]:
    if engine.name == "webkit":
        with visited_by_webkit(url):
            yield
    else:
        browser.open(url)
        yield
        browser.leave()


def _pause_and_go_on(
    page: BrowserPage, engine: Engine, storage: RelayedStorage, demo: Demo, archive: Path, *, part_bytes: int
) -> None:
    size = archive.stat().st_size
    page.open(demo.page)
    started = time.monotonic()
    with watched_memory(engine.name) as memory:
        _begin_and_hold(page, storage, archive, part_bytes)
        page.click("pause")
        _wait_for_state(page, "paused")
        stored = storage.stored_parts()
        begun = len(storage.relay.parts)
        storage.relay.release()
        page.click("resume")
        _wait_for_state(page, "done", seconds=WAIT_SECONDS + size / BYTES_PER_SECOND)
    seconds = time.monotonic() - started
    print(f"{engine.name}, {size / MIB:.0f} MiB, paused with {len(stored)} parts: {seconds:.1f} s; {memory}")
    _expect_the_rest_alone(page, stored, storage.relay.parts[begun:], archive, part_bytes)
    assert memory.page < PAGE_BYTES[engine.name]


def _expect_the_rest_alone(
    page: BrowserPage, stored: set[int], sent_since: list[int], archive: Path, part_bytes: int
) -> None:
    """Expect that no part was sent which was stored before, and that the page's link leads to the file."""
    assert 2 <= len(stored) < _count(archive, part_bytes)
    assert sent_since
    assert not stored & set(sent_since)
    [url] = page.attributes("result-link", "href")
    assert sha256_at(url) == sha256_of(archive)


def _count(archive: Path, part_bytes: int) -> int:
    return -(-archive.stat().st_size // part_bytes)


def _begin_and_hold(page: BrowserPage, storage: RelayedStorage, archive: Path, part_bytes: int) -> None:
    """Begin an upload that stops in the middle, when at least two parts are stored."""
    # Those in flight hold less than a part each, so the rest of these bytes are of parts that ended.
    storage.relay.hold_after((MOST_IN_FLIGHT + 1) * part_bytes - part_bytes // 2)
    page.choose("file-input", archive)
    least = int(200 / _count(archive, part_bytes)) / 100
    page.wait_until(lambda: page.progress() >= least, f"progress of {least}")


def _wait_for_state(page: BrowserPage, state: str, *, seconds: float = WAIT_SECONDS) -> None:
    def is_met() -> bool:
        [current] = page.attributes("upload-row", "data-state")
        assert current == state or current not in {"done", "failed", "cancelled"}, page.texts("message")
        return current == state

    page.wait_until(is_met, f"the row is {state}", seconds=seconds)


def _choose_source(page: BrowserPage, path: Path) -> None:
    """Give a file to an input of the test's own, which uploads nothing."""
    page.evaluate(MAKE_SOURCE)
    page.choose("source", path)


def _upload(page: BrowserPage, demo: Demo, blob: str) -> str:
    """Upload what a JavaScript expression is, and return the address of what is stored."""
    uploaded = f"(await import('/client/index.js')).upload({blob}, {{ api: {demo.api!r} }})"
    url = page.settled(f"{uploaded}.then((stored) => stored.object_url)")
    assert isinstance(url, str)
    return url
