"""The page and the client in Chromium, Firefox and WebKit: whichever of the last two this machine has.

`make test-browsers` installs both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.browser.conftest import TYPES
from tests.browser.engines import BrowserPage, Engine, found_engines
from tests.browser.relayed_storage import RelayedStorage, run_relayed_storage
from tests.demo_process import Demo, running_demo

MEGABYTE = 1_000_000
MAX_BYTES = 30 * MEGABYTE

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayedStorage]:
    with run_relayed_storage(tmp_path_factory.mktemp("storage")) as running:
        yield running


@pytest.fixture(scope="module")
def form_demo(storage: RelayedStorage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo as it is: browsers send forms."""
    settings = {"PRESIGN_TYPES": TYPES, "PRESIGN_MAX_BYTES": str(MAX_BYTES), **storage.environment}
    with running_demo(tmp_path_factory.mktemp("form"), **settings) as demo:
        yield demo


@pytest.fixture(scope="module")
def put_demo(storage: RelayedStorage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo whose tickets allow exact bytes only: browsers compute checksums, and send slices of files with PUT."""
    settings = {"PRESIGN_TYPES": TYPES, "PRESIGN_MAX_BYTES": str(MAX_BYTES), **storage.environment}
    with running_demo(tmp_path_factory.mktemp("put"), "--create-only", "--require-sha256", **settings) as demo:
        yield demo


@pytest.fixture(params=["form", "put"])
def demo(request: pytest.FixtureRequest) -> Demo:
    running: Demo = request.getfixturevalue(f"{request.param}_demo")
    return running


@pytest.fixture(scope="module", params=found_engines(), ids=lambda engine: engine.name)
def _page_of_engine(request: pytest.FixtureRequest) -> Iterator[BrowserPage]:
    engine: Engine = request.param
    with engine.launch() as driver:
        yield BrowserPage(driver)


@pytest.fixture
def page(_page_of_engine: BrowserPage, storage: RelayedStorage) -> Iterator[BrowserPage]:
    """A page on which no error may go unsaid."""
    yield _page_of_engine
    errors = _page_of_engine.errors()
    _page_of_engine.leave()
    storage.relay.release()
    assert errors == []


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A file that a browser sends in many pieces."""
    path = tmp_path / "large.zip"
    path.write_bytes(b"PK\x03\x04" + os.urandom(24 * MEGABYTE))
    return path


def _wait_for_states(page: BrowserPage, *states: str) -> None:
    wanted = list(states)
    page.wait_until(lambda: page.attributes("upload-row", "data-state") == wanted, f"the rows are {wanted}")


def _expect_stored(page: BrowserPage, *files: Path) -> None:
    """Expect that the links of the page's rows lead to exactly these files."""
    _wait_for_states(page, *("done" for _ in files))
    links = page.attributes("result-link", "href")
    assert sorted(httpx.get(link).content for link in links) == sorted(file.read_bytes() for file in files)


def test_files_that_are_picked_are_stored_as_they_are(page: BrowserPage, demo: Demo, png: Path, archive: Path) -> None:
    page.open(demo.page)
    page.choose("file-input", png, archive)
    _expect_stored(page, png, archive)
    types = {httpx.head(link).headers["content-type"] for link in page.attributes("result-link", "href")}
    assert types == {"image/png", "application/zip"}


def test_files_that_are_dropped_are_stored_as_they_are(page: BrowserPage, demo: Demo, png: Path, archive: Path) -> None:
    page.open(demo.page)
    page.drop("dropzone", png, archive)
    _expect_stored(page, png, archive)


def test_progress_is_that_of_the_bytes_and_an_upload_that_stood_still_goes_on(
    page: BrowserPage, demo: Demo, storage: RelayedStorage, archive: Path
) -> None:
    def wait_for_progress(least: float, most: float) -> None:
        page.wait_until(lambda: least <= page.progress() <= most, f"progress of {least} to {most}")

    page.open(demo.page)
    storage.relay.hold_after(5 * MEGABYTE)
    page.choose("file-input", archive)
    # Of 24 MB; the system and the browser may hold some more, which the browser counts as sent. WebKit may leave out
    # the last megabyte or two: it holds back an event that comes soon after another one, and here no later one follows.
    wait_for_progress(0.1, 0.5)
    assert page.attributes("upload-row", "data-state") == ["uploading"]
    storage.relay.hold_after(12 * MEGABYTE)
    wait_for_progress(0.55, 0.95)
    storage.relay.release()
    _expect_stored(page, archive)


def test_a_cancelled_upload_stores_nothing_and_can_be_tried_again(
    page: BrowserPage, demo: Demo, storage: RelayedStorage, archive: Path
) -> None:
    page.open(demo.page)
    before = storage.sizes()
    storage.relay.hold_after(5 * MEGABYTE)
    page.choose("file-input", archive)
    page.wait_until(lambda: page.progress() > 0.15, "progress of 15 %")
    page.click("cancel")
    _wait_for_states(page, "cancelled")
    storage.relay.release()
    assert storage.sizes() == before
    page.click("retry")
    _expect_stored(page, archive)
    assert storage.sizes() == sorted([*before, archive.stat().st_size])


def test_a_type_and_a_size_that_are_not_allowed_are_refused_with_the_reason(
    page: BrowserPage, form_demo: Demo, storage: RelayedStorage, tmp_path: Path
) -> None:
    script = tmp_path / "page.html"
    script.write_text("<script>alert(1)</script>")
    large = tmp_path / "large.zip"
    large.write_bytes(b"PK\x03\x04" + bytes(MAX_BYTES))
    before = storage.sizes()
    page.open(form_demo.page)
    page.drop("dropzone", script)
    _wait_for_states(page, "failed")
    assert "text/html" in page.texts("message")[0]
    page.open(form_demo.page)
    page.choose("file-input", large)
    _wait_for_states(page, "failed")
    assert "too large" in page.texts("message")[0]
    assert storage.sizes() == before


def test_a_file_whose_content_is_not_its_type_is_deleted_and_the_user_is_told(
    page: BrowserPage, demo: Demo, storage: RelayedStorage, tmp_path: Path
) -> None:
    fake = tmp_path / "fake.png"
    fake.write_text("<script>alert(1)</script>")
    before = storage.sizes()
    page.open(demo.page)
    page.choose("file-input", fake)
    _wait_for_states(page, "failed")
    assert "deleted" in page.texts("message")[0]
    assert storage.sizes() == before
