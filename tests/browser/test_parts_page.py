"""Large files on the demo's page: bars and figures of confirmed bytes, and uploads that go on after a reload."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Locator, Page, Request, Route, expect

from tests.browser.axe import barriers_at_every_width
from tests.browser.conftest import TYPES, expect_state, open_page, pick, slow_down
from tests.demo_process import Demo, running_demo

pytestmark = pytest.mark.browser

MIB = 1024**2
SIZE = 16 * MIB
PART = 5 * MIB
"""The smallest part that S3 takes. The file has four parts, and the last one has 1 MiB."""
HELD = (2, 3)
UNTIL = r"until \d+ \w+,? \d\d:\d\d"
REMEMBERED = "async () => (await import('/client/resume.js')).unfinishedUploads()"


@dataclass(kw_only=True)
class Traffic:
    """What the page sends: the bytes of its requests to the API, and the numbers of the parts."""

    api: str
    requests: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)

    def note(self, request: Request) -> None:
        numbers = parse_qs(urlsplit(request.url).query).get("partNumber")
        if numbers and request.method == "PUT":
            self.parts.append(int(numbers[0]))
        elif request.url.startswith(self.api) and request.method == "POST":
            self.requests.append(len(request.post_data_buffer or b""))
            self.paths.append(urlsplit(request.url).path)

    def forget(self) -> None:
        for noted in (self.requests, self.paths, self.parts):
            noted.clear()


class HeldParts:
    """Parts that the page sends and that no storage gets, so that an upload stays where it is."""

    def __init__(self, page: Page) -> None:
        # Not page.route, which makes the browser send a Cache-Control to the storage.
        self._session = page.context.new_cdp_session(page)
        patterns = [{"urlPattern": f"*partNumber={number}&*"} for number in HELD]
        self._session.send("Fetch.enable", {"patterns": patterns})

    def release(self) -> None:
        self._session.send("Fetch.disable")


@pytest.fixture(scope="module")
def parts_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    settings = {"PRESIGN_PARTS_FROM_BYTES": str(PART), "PRESIGN_PART_BYTES": str(PART), "PRESIGN_TYPES": TYPES}
    with running_demo(tmp_path_factory.mktemp("parts"), **settings) as demo:
        yield demo


@pytest.fixture
def traffic(page: Page, parts_demo: Demo) -> Traffic:
    traffic = Traffic(api=parts_demo.api)
    page.on("request", traffic.note)
    return traffic


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "archive.zip"
    path.write_bytes(b"PK\x03\x04" + os.urandom(SIZE - 4))
    return path


def _bar(row: Locator) -> tuple[float, float]:
    """Return how many per cent a bar shows as stored, and as sent."""
    value, sent = row.get_by_test_id("progress").evaluate("(bar) => [bar.value, bar.style.getPropertyValue('--sent')]")
    return float(value), float(sent)


def _leave_unfinished(page: Page, demo: Demo, archive: Path, traffic: Traffic) -> Locator:
    """Reload the page when the parts that are not held are stored, and return the offer to go on.

    The traffic is then that of the new page.
    """
    open_page(page, demo)
    held = HeldParts(page)
    expect(pick(page, archive).locator(".figures")).to_contain_text("37 %")
    traffic.forget()
    page.reload()
    held.release()
    offer = page.get_by_test_id("unfinished-upload")
    expect(offer).to_have_count(1)
    return offer


def _choose_again(page: Page, offer: Locator, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        offer.get_by_test_id("again").press("Enter")
    assert not chooser.value.is_multiple()
    chooser.value.set_files(path)


def _expect_counted(page: Page, traffic: Traffic, sent: str) -> None:
    """Wait until the page's proof says what the browser has sent: nothing of the file to the server."""
    proof = page.get_by_test_id("proof")
    expect(page.get_by_test_id("proof-sent")).to_have_text(sent)
    expect(page.get_by_test_id("proof-forwarded")).to_have_text("0 bytes")
    expect(proof).to_contain_text(f"only {len(traffic.requests)} requests with ")
    shown = re.search(r"requests with ([\d.]+) KiB of JSON", str(proof.text_content()))
    assert shown
    assert float(shown[1]) == pytest.approx(sum(traffic.requests) / 1024, abs=0.06)


def test_a_bar_shows_what_is_stored_and_lighter_what_was_sent_and_a_paused_file_keeps_what_is_stored(
    page: Page, parts_demo: Demo, traffic: Traffic, archive: Path
) -> None:
    open_page(page, parts_demo)
    held = HeldParts(page)
    slow_down(page, 4 * MIB)
    row = pick(page, archive)
    page.wait_for_function(
        """() => {
            const bar = document.querySelector("[data-testid=progress]");
            return Number(bar?.style.getPropertyValue("--sent")) > bar?.value + 1;
        }"""
    )
    slow_down(page, -1)
    figures = row.locator(".figures")
    expect(figures).to_contain_text("37 %")
    assert _bar(row) == (37, 37)
    row.get_by_test_id("pause").click()
    expect(figures).to_have_text("37 % stored")
    assert _bar(row) == (37, 37)
    traffic.parts.clear()
    row.get_by_test_id("resume").click()
    expect_state(row, "uploading")
    expect(figures).to_have_text("37 %")
    row.locator("summary").click()
    expect(row.get_by_test_id("parts")).to_have_text("2 of 4 stored, 5 MiB each")
    expiry = re.compile(rf"^Can go on {UNTIL} \(\d+ days \d+ h\)$")
    expect(page.get_by_test_id("proof-expiry")).to_have_text(expiry)
    expect(row.get_by_test_id("expiry")).to_have_text(expiry)
    assert page.locator("[data-progress=current]").get_attribute("data-step") == "pending"
    held.release()
    expect_state(row, "done")
    assert set(traffic.parts) == set(HELD)
    _expect_counted(page, traffic, "16 MiB")
    for place in ("proof-expiry", "expiry"):
        expect(page.get_by_test_id(place)).to_have_text("Over: it allows nothing any more")
    expect(page.get_by_test_id("proof")).to_contain_text("in 4 parts of 5 MiB")


def test_a_reloaded_page_offers_to_go_on_and_then_sends_only_what_is_missing(
    page: Page, parts_demo: Demo, traffic: Traffic, archive: Path
) -> None:
    offer = _leave_unfinished(page, parts_demo, archive, traffic)
    expect(offer).to_contain_text("archive.zip")
    expect(offer.get_by_test_id("stored")).to_have_text("6 MiB of 16 MiB stored")
    expect(offer).to_contain_text(re.compile(f"Can go on {UNTIL}"))
    assert barriers_at_every_width(page, "main") == {}
    held = HeldParts(page)
    _choose_again(page, offer, archive)
    row = page.get_by_test_id("upload-row")
    expect(row.get_by_test_id("message")).to_have_text("Going on with what is missing")
    expect(row.locator(".figures")).to_have_text("37 %")
    expect(page.get_by_test_id("unfinished")).to_be_hidden()
    expect(page.locator("#uploads-title")).to_be_focused()
    other_tab = page.context.new_page()
    other_tab.goto(parts_demo.page)
    assert other_tab.evaluate(REMEMBERED) == []
    other_tab.close()
    held.release()
    expect_state(row, "done")
    assert sorted(traffic.parts) == list(HELD)
    _expect_counted(page, traffic, "10 MiB")
    assert httpx.get(str(row.get_by_test_id("result-link").get_attribute("href"))).content == archive.read_bytes()
    assert page.evaluate("Object.keys(localStorage)") == []


def test_a_discarded_upload_is_ended_at_the_server_and_not_offered_again(
    page: Page, parts_demo: Demo, traffic: Traffic, archive: Path
) -> None:
    offer = _leave_unfinished(page, parts_demo, archive, traffic)
    [upload] = page.evaluate(REMEMBERED)
    page.get_by_test_id("unfinished-hide").press("Enter")
    expect(page.get_by_test_id("unfinished")).to_be_hidden()
    expect(page.get_by_test_id("file-input")).to_be_focused()
    page.reload()
    offer.get_by_test_id("discard").press("Enter")
    expect(offer).to_have_count(0)
    expect(page.get_by_test_id("file-input")).to_be_focused()
    expect(page.get_by_role("status")).to_contain_text("“archive.zip” is discarded")
    assert page.evaluate("Object.keys(localStorage)") == []
    answer = httpx.post(f"{parts_demo.api}/parts/list", json={"token": upload["ticket"]["token"]})
    assert answer.json()["code"] == "upload_ended"


def test_a_completion_that_takes_long_is_said_to_verify_and_publish_the_file(
    page: Page, parts_demo: Demo, archive: Path
) -> None:
    open_page(page, parts_demo)
    answers = [{"code": "completion_pending", "detail": "the upload is still being completed"}]
    headers = {"Access-Control-Allow-Origin": parts_demo.page, "Retry-After": "2"}

    def answer(route: Route) -> None:
        if route.request.method == "POST" and answers:
            route.fulfill(status=202, json=answers.pop(), headers=headers)
        else:
            route.continue_()

    page.route(f"{parts_demo.api}/complete", answer)
    row = pick(page, archive)
    expect_state(row, "inspecting")
    expect(row.get_by_test_id("message")).to_have_text("Being verified and published. This can take minutes.")
    expect(page.get_by_role("status")).to_contain_text("archive.zip is being verified. This can take minutes.")
    expect_state(row, "done")


def test_another_file_than_the_one_that_was_begun_is_named_and_not_uploaded(
    page: Page, parts_demo: Demo, traffic: Traffic, archive: Path, tmp_path: Path
) -> None:
    offer = _leave_unfinished(page, parts_demo, archive, traffic)
    notice = page.get_by_test_id("unfinished-notice")
    other = tmp_path / "other.zip"
    other.write_bytes(archive.read_bytes())
    _choose_again(page, offer, other)
    expect(notice).to_have_text("“other.zip” is another file. Choose “archive.zip” with 16 MiB, or discard its upload.")
    os.utime(archive, (0, 0))
    _choose_again(page, offer, archive)
    expect(notice).to_contain_text("“archive.zip” was changed since its upload began.")
    archive.write_bytes(b"PK\x03\x04")
    _choose_again(page, offer, archive)
    expect(notice).to_contain_text("“archive.zip” had 16 MiB, and has 4 bytes now since its upload began.")
    expect(page.get_by_test_id("upload-row")).to_have_count(0)
    assert set(traffic.paths) <= {"/parts/list"}
    page.route(f"{parts_demo.api}/abort", lambda route: route.abort())
    offer.get_by_test_id("discard").click()
    expect(notice).to_contain_text(re.compile(f"its parts stay stored {UNTIL}"))
    expect(offer).to_have_count(0)
