"""The system's Chromium on the demo's page: browser, page and storage as a user has them."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import psutil
import pytest
from playwright.sync_api import Browser, CDPSession, Locator, Page, expect, sync_playwright

from demo_server.storages.run import run_local_storage
from emulators.chromium import launch_chromium
from emulators.seaweedfs import AccessKey, SeaweedFS
from tests.conftest import read_state
from tests.demo_process import Demo, running_demo

TYPES = "image/heic,image/png,application/zip,text/plain"
expect.set_options(timeout=20_000)

_sessions: WeakKeyDictionary[Page, CDPSession] = WeakKeyDictionary()


@dataclass(kw_only=True)
class Storage:
    """The storage under the demo, which a test may take away and bring back."""

    directory: Path
    environment: Mapping[str, str]
    again: SeaweedFS | None = None

    @property
    def log(self) -> str:
        return (self.directory / "s3" / "weed.log").read_text(errors="replace")

    def kill(self) -> None:
        server = psutil.Process(int((self.directory / "s3" / "weed.pid").read_text()))
        server.kill()
        server.wait(5)

    def restart(self) -> None:
        state = read_state(self.directory)
        self.again = SeaweedFS(
            directory=self.directory / "s3", admin=AccessKey(**state["admin"]), s3_port=state["port"]
        )
        self.again.start()


@pytest.fixture(scope="module")
def chromium(request: pytest.FixtureRequest) -> Iterator[Browser]:
    marked = request.node.get_closest_marker("browser")
    assert marked, "mark this module with pytest.mark.browser: `make test-without-browser` then leaves it out"
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A fresh page, on which nothing may go wrong unsaid: an uncaught error fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not errors


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo with the storage of its own."""
    directory = tmp_path_factory.mktemp("demo")
    with running_demo(directory, PRESIGN_TYPES=TYPES, PRESIGN_MAX_BYTES="300MB") as demo:
        yield demo


@pytest.fixture
def storage_and_demo(tmp_path: Path) -> Iterator[tuple[Storage, Demo]]:
    """A storage of the test's own, and a demo on it."""
    directory = tmp_path / "storage"
    # The page's origin is not known yet, and tests of network failures do not test CORS.
    with run_local_storage(directory, origins=["*"], report=print) as running:
        storage = Storage(directory=directory, environment=running.environment)
        with running_demo(tmp_path, PRESIGN_TYPES=TYPES, **running.environment) as demo:
            yield storage, demo
        if storage.again is not None:
            storage.again.stop()


@pytest.fixture
def png(tmp_path: Path) -> Path:
    """A real picture: 256 by 256 pixels of a gradient."""
    rows = b"".join(b"\0" + bytes(v for x in range(256) for v in (x, y, 128)) for y in range(256))
    header = struct.pack(">IIBBBBB", 256, 256, 8, 2, 0, 0, 0)
    path = tmp_path / "gradient.png"
    data = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def open_page(page: Page, demo: Demo) -> None:
    page.goto(demo.page)
    expect(page.get_by_test_id("dropzone")).to_be_visible()


def pick(page: Page, *paths: Path) -> Locator:
    """Pick files, and return their rows."""
    page.get_by_test_id("file-input").set_input_files(list(paths))
    return page.get_by_test_id("upload-row")


def slow_down(page: Page, bytes_per_second: int, *, offline: bool = False) -> None:
    """Let the page send no more than this, or nothing at all; -1 ends it."""
    # Chromium obeys the first session that limits the network, as long as it is there.
    if page not in _sessions:
        _sessions[page] = page.context.new_cdp_session(page)
        _sessions[page].send("Network.enable")
    _sessions[page].send(
        "Network.emulateNetworkConditions",
        {"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_second},
    )


def expect_state(row: Locator, state: str, *, timeout_ms: float = 20_000) -> None:
    expect(row).to_have_attribute("data-state", state, timeout=timeout_ms)


def pass_the_waits(page: Page, row: Locator, *, until: str, seconds: float = 90.0) -> None:
    """End each wait of the page at once, until a row is in a state.

    Call ``page.clock.install()`` before the page is opened.
    """
    deadline = time.monotonic() + seconds
    while row.get_attribute("data-state") != until:
        assert time.monotonic() < deadline, f"the row is {row.get_attribute('data-state')}, and not {until}"
        page.clock.fast_forward(60_000)
        page.wait_for_timeout(50)


class Network:
    """The network of one page, which a test makes slow or takes away."""

    def __init__(self, page: Page) -> None:
        # One session: each has conditions of its own, and all of them hold.
        self._session = page.context.new_cdp_session(page)
        self._session.send("Network.enable")

    def limit_uploads(self, bytes_per_second: int = -1) -> None:
        """Make every upload slow from now on, also one that goes on; -1 is no limit."""
        self._set("Network.emulateNetworkConditions", offline=False, bytes_per_second=bytes_per_second)

    def go_offline(self, break_connections: Callable[[], None]) -> None:
        """Take the network away. Chromium would let the requests that go on end, so the caller breaks them."""
        self._set("Network.overrideNetworkState", offline=True)
        break_connections()
        self._set("Network.emulateNetworkConditions", offline=True)

    def go_online(self) -> None:
        self._set("Network.emulateNetworkConditions", offline=False)
        self._set("Network.overrideNetworkState", offline=False)

    def _set(self, method: str, *, offline: bool, bytes_per_second: int = -1) -> None:
        limits = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_second}
        self._session.send(method, {"offline": offline, **limits})


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
