"""The page with several files, and with hundreds: what it shows of all of them, and what it does with all of them."""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import expect_state, open_page, pick, slow_down
from tests.demo_process import Demo

MEGABYTE = 1_000_000
MANY = 300
MAX_TASK_MS = 100
SIGNED_OUT = {"code": "unauthenticated", "detail": "the session has ended"}

# Collects what a screen reader is told, from the moment at which this is evaluated.
LISTEN = """() => {
    window.sentences = [];
    new MutationObserver((changes) => {
        for (const { addedNodes } of changes) for (const node of addedNodes) window.sentences.push(node.textContent);
    }).observe(document.querySelector("[role=status]"), { childList: true });
}"""
COUNT_URLS = """() => {
    window.urls = { made: 0, revoked: 0 };
    const { createObjectURL, revokeObjectURL } = URL;
    URL.createObjectURL = (blob) => { window.urls.made += 1; return createObjectURL.call(URL, blob); };
    URL.revokeObjectURL = (url) => { window.urls.revoked += 1; revokeObjectURL.call(URL, url); };
}"""

pytestmark = pytest.mark.browser


def _zip_of(path: Path, size: int) -> Path:
    path.write_bytes(b"PK\x03\x04" + os.urandom(size - 4))
    return path


def _zips(directory: Path, count: int, size: int) -> list[Path]:
    return [_zip_of(directory / f"archive {n}.zip", size) for n in range(count)]


def _photo(path: Path, width: int, height: int) -> Path:
    """A picture of noise, which no compression makes small."""
    rows = b"".join(b"\0" + os.urandom(3 * width) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    data = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def _refuse_tickets(page: Page, demo: Demo, count: int) -> None:
    """Let the API answer requests for the first ``count`` tickets as if nobody was signed in."""
    session = page.context.new_cdp_session(page)
    left = [count]

    def answer(paused: dict[str, Any]) -> None:
        request_id = {"requestId": paused["requestId"]}
        if paused["request"]["method"] != "POST" or left[0] == 0:
            session.send("Fetch.continueRequest", request_id)
            return
        content = json.loads(paused["request"]["postData"])
        left[0] -= len(content) if isinstance(content, list) else 1
        headers = {"Access-Control-Allow-Origin": demo.page, "Content-Type": "application/problem+json"}
        answered = {
            "responseCode": 401,
            "responseHeaders": [{"name": name, "value": value} for name, value in headers.items()],
            "body": base64.b64encode(json.dumps(SIGNED_OUT).encode()).decode(),
        }
        session.send("Fetch.fulfillRequest", request_id | answered)

    session.on("Fetch.requestPaused", answer)
    session.send("Fetch.enable", {"patterns": [{"urlPattern": f"{demo.api}/upload"}]})


def _drop(page: Page, *paths: Path) -> None:
    """Drop files and folders as the operating system does."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})


def _value(bar: Locator) -> float:
    return float(bar.evaluate("(bar) => bar.value"))


def _wait_for_bytes(row: Locator) -> None:
    expect(row).to_contain_text(re.compile(r"[1-9]\d? %"))


def _expect_states(rows: Locator, states: Sequence[str]) -> None:
    expect(rows).to_have_count(len(states))
    for n, state in enumerate(states):
        expect_state(rows.nth(n), state)


def test_the_total_bar_shows_bytes_speed_and_the_time_left_of_all_files(page: Page, demo: Demo, tmp_path: Path) -> None:
    open_page(page, demo)
    slow_down(page, MEGABYTE)
    pick(page, *_zips(tmp_path, 2, 2 * MEGABYTE))
    bar, figures = page.get_by_test_id("total-progress"), page.get_by_test_id("total-figures")
    expect(page.get_by_test_id("totals")).to_have_text("0 of 2 stored")
    expect(figures).to_have_text(re.compile(r"^[\d.]+ [KM]iB of 3.8 MiB · [\d.]+ [KM]iB/s · \d+ s left$"))
    assert 0 < _value(bar) < 100
    slow_down(page, -1)
    expect(page.get_by_test_id("totals")).to_have_text("2 of 2 stored")
    expect(figures).to_have_text("3.8 MiB")
    assert _value(bar) == 100


def test_a_paused_upload_sends_nothing_and_starts_again_with_figures_of_its_own(
    page: Page, demo: Demo, tmp_path: Path
) -> None:
    open_page(page, demo)
    slow_down(page, MEGABYTE)
    [path] = _zips(tmp_path, 1, 6 * MEGABYTE)
    row = pick(page, path)
    expect(row).to_contain_text("left")
    with page.expect_event("requestfailed") as stopped:
        row.get_by_test_id("pause").click()
    assert "/presign-demo" in stopped.value.url
    expect_state(row, "paused")
    expect(row.get_by_test_id("resume")).to_be_focused()
    expect(row.locator(".figures")).to_be_empty()
    assert _value(row.get_by_test_id("progress")) == 0
    row.get_by_test_id("resume").click()
    expect_state(row, "uploading")
    assert "/s" not in str(row.text_content()), "the speed before the pause is shown as the speed now"
    slow_down(page, -1)
    expect_state(row, "done")
    url = row.get_by_test_id("result-link").get_attribute("href")
    assert url
    assert httpx.get(url).content == path.read_bytes()


def test_all_files_are_paused_resumed_and_cancelled_at_once(page: Page, demo: Demo, tmp_path: Path) -> None:
    open_page(page, demo)
    slow_down(page, MEGABYTE // 2)
    rows = pick(page, *_zips(tmp_path, 8, 2 * MEGABYTE))
    _wait_for_bytes(rows.first)
    page.get_by_test_id("pause-all").click()
    _expect_states(page.get_by_test_id("upload-row"), ["paused"] * 8)
    expect(page.get_by_test_id("totals")).to_have_text("0 of 8 stored8 paused")
    expect(page.get_by_test_id("pause-all")).to_be_hidden()
    expect(page.get_by_test_id("resume-all")).to_be_focused()
    page.get_by_test_id("resume-all").click()
    _expect_states(page.get_by_test_id("upload-row"), ["uploading"] * 6 + ["waiting"] * 2)
    page.get_by_test_id("cancel-all").click()
    _expect_states(page.get_by_test_id("upload-row"), ["cancelled"] * 8)
    expect(page.get_by_test_id("cancel-all")).to_be_hidden()
    expect(page.locator("#uploads-title")).to_be_focused()


def test_what_failed_is_tried_again_at_once_and_stays_when_the_finished_files_are_cleared(
    page: Page, demo: Demo, tmp_path: Path
) -> None:
    script = tmp_path / "page.html"
    script.write_text("<script>alert(1)</script>")
    open_page(page, demo)
    _refuse_tickets(page, demo, 3)
    pick(page, script, *_zips(tmp_path, 3, 1000))
    _expect_states(page.get_by_test_id("upload-row"), ["failed"] * 4)
    expect(page.get_by_test_id("clear")).to_be_hidden()
    page.get_by_test_id("retry-all").click()
    _expect_states(page.get_by_test_id("upload-row"), ["failed", "done", "done", "done"])
    expect(page.get_by_test_id("retry-all")).to_be_hidden()
    page.get_by_test_id("clear").click()
    _expect_states(page.get_by_test_id("upload-row"), ["failed"])
    expect(page.get_by_test_id("upload-row")).to_contain_text("page.html")


def test_a_picture_is_shown_before_it_is_sent_small_and_without_urls_that_stay(
    page: Page, demo: Demo, tmp_path: Path
) -> None:
    open_page(page, demo)
    page.evaluate(COUNT_URLS)
    slow_down(page, 20_000)
    row = pick(page, _photo(tmp_path / "photo.png", 900, 600))
    preview = row.get_by_test_id("preview")
    expect(preview).to_be_visible()
    assert row.get_attribute("data-state") in {"waiting", "requesting", "uploading"}
    size = "(image) => [image.naturalWidth, image.naturalHeight]"
    assert preview.evaluate(size) == [256, 171]
    page.wait_for_function("() => window.urls.made > 0 && window.urls.revoked === window.urls.made")


def test_a_photo_that_the_browser_cannot_show_is_uploaded_and_keeps_its_badge(
    page: Page, demo: Demo, tmp_path: Path
) -> None:
    photo = tmp_path / "IMG_0001.HEIC"
    photo.write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(1000))
    open_page(page, demo)
    page.evaluate(COUNT_URLS)
    row = pick(page, photo)
    expect_state(row, "done")
    page.wait_for_function("() => window.urls.made > 0 && window.urls.revoked === window.urls.made")
    expect(row.get_by_test_id("preview")).to_be_hidden()
    expect(row.locator(".badge")).to_have_text("HEIC")


def test_the_file_chooser_offers_what_the_server_allows(page: Page, demo: Demo) -> None:
    open_page(page, demo)
    allowed = httpx.get(f"{demo.page}/config.json").json()["types"]
    assert allowed
    expect(page.get_by_test_id("file-input")).to_have_attribute(
        "accept", ",".join([*allowed, ".zip", ".heic", ".png", ".txt"])
    )


def test_a_folder_is_walked_whether_it_is_dropped_or_chosen(page: Page, demo: Demo, tmp_path: Path) -> None:
    trip = tmp_path / "trip"
    # Chromium gives a folder's entries in parts of 100. The page refuses HTML without a request, so that this is quick.
    (trip / "day 1" / "morning").mkdir(parents=True)
    (trip / "empty").mkdir()
    for n in range(105):
        (trip / f"page {n}.html").write_text("<p>")
    (trip / "day 1" / "morning" / "note.txt").write_text("sunny")
    (trip / ".DS_Store").write_text("what a system writes")
    open_page(page, demo)
    _drop(page, trip, _zip_of(tmp_path / "beside.zip", 1000))
    rows = page.get_by_test_id("upload-row")
    expect(rows).to_have_count(107)
    note = rows.filter(has_text="note.txt")
    expect(note).to_contain_text("trip/day 1/morning/note.txt")
    expect_state(note, "done")
    expect_state(rows.filter(has_text="beside.zip"), "done")
    page.get_by_test_id("folder-input").set_input_files(trip)
    expect(rows).to_have_count(213)
    expect(rows.filter(has_text="trip/day 1/morning/note.txt")).to_have_count(2)
    expect(rows.filter(has_text="DS_Store")).to_have_count(0)


def test_a_folder_without_files_is_named_as_such(page: Page, demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "empty" / "emptier").mkdir(parents=True)
    open_page(page, demo)
    _drop(page, tmp_path / "empty")
    expect(page.get_by_role("alert")).to_have_text("This folder has no files. Drop another one.")
    expect(page.get_by_test_id("upload-row")).to_have_count(0)


def test_the_proof_is_in_sight_and_the_ticket_expires_before_ones_eyes(page: Page, demo: Demo, png: Path) -> None:
    def seconds_left() -> int:
        found = re.search(r"^Expires in (?:(\d+) min )?(\d+) s$", str(expiry.text_content()))
        assert found, expiry.text_content()
        return 60 * int(found[1] or 0) + int(found[2])

    expiry = page.get_by_test_id("proof-expiry")
    page.clock.install()
    open_page(page, demo)
    row = pick(page, png)
    expect_state(row, "done")
    expect(expiry).to_be_visible()
    expect(page.get_by_test_id("proof-enforced")).to_contain_text("The storage, while it receives the file")
    expect(page.get_by_test_id("proof-forwarded")).to_have_text("0 bytes")
    expect(page.get_by_test_id("proof-sent")).to_have_text(f"{png.stat().st_size / 1024:.1f} KiB")
    expect(page.get_by_test_id("proof")).to_contain_text("only 2 requests")
    before = seconds_left()
    page.clock.fast_forward(20_000)
    assert before - 40 < seconds_left() <= before - 20
    row.locator("summary").click()
    expect(row.get_by_test_id("expiry")).to_have_text(str(expiry.text_content()))
    page.clock.fast_forward(60_000)
    expect(expiry).to_have_text("Expired: it allows nothing any more")
    expect(row.get_by_test_id("expiry")).to_have_text("Expired: it allows nothing any more")


def test_a_control_character_in_a_name_is_shown_and_named(page: Page, demo: Demo, tmp_path: Path) -> None:
    bell, override = tmp_path / "bell\a.txt", tmp_path / "gnp\u202etxt.zip"
    bell.write_text("ding")
    _zip_of(override, 1000)
    open_page(page, demo)
    rows = pick(page, bell, override)
    _expect_states(rows, ["failed", "failed"])
    for row, name, point in (
        (rows.nth(0), "bell[U+0007].txt", "U+0007"),
        (rows.nth(1), "gnp[U+202E]txt.zip", "U+202E"),
    ):
        expect(row.locator("bdi")).to_have_text(name)
        reason = f"“{name}” has a hidden character in its name: {point}. Rename the file and choose it again."
        expect(row.get_by_test_id("message")).to_have_text(reason)
        expect(row.get_by_test_id("retry")).to_be_hidden()


def test_a_row_says_that_it_waits_for_the_network_and_goes_on_when_there_is_one(
    page: Page, demo: Demo, tmp_path: Path
) -> None:
    open_page(page, demo)
    slow_down(page, MEGABYTE)
    row = pick(page, *_zips(tmp_path, 1, 4 * MEGABYTE))
    _wait_for_bytes(row)
    slow_down(page, MEGABYTE, offline=True)
    expect_state(row, "offline")
    expect(row.get_by_test_id("message")).to_have_text("Offline. The upload goes on when the network is back.")
    expect(row.locator(".figures")).to_be_empty()
    slow_down(page, -1)
    expect_state(row, "done")


def test_files_that_are_chosen_before_the_settings_are_there_are_not_lost(page: Page, demo: Demo, png: Path) -> None:
    page.route("**/config.json", lambda route: route.abort())
    open_page(page, demo)
    expect(page.get_by_role("alert")).to_contain_text("settings could not be loaded")
    with page.expect_event("requestfailed"):
        rows = pick(page, png)
    expect(rows).to_have_count(0)
    page.unroute("**/config.json")
    page.get_by_role("button", name="Try again").click()
    _expect_states(page.get_by_test_id("upload-row"), ["done"])
    expect(page.get_by_role("alert")).to_be_hidden()


def _task_milliseconds(trace: bytes) -> list[float]:
    """Return the processor time of each task of the page's main thread.

    A PerformanceObserver gives the time on the clock, in which other processes of a busy machine run too.
    """
    events = json.loads(trace)["traceEvents"]
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    return [
        event["tdur"] / 1000
        for event in events
        if event["name"].endswith("RunTask")
        and "tdur" in event
        and names.get((event["pid"], event["tid"])) == "CrRendererMain"
    ]


def test_300_files_at_once_leave_the_page_fluent_short_and_quiet(
    page: Page, chromium: Browser, demo: Demo, tmp_path: Path
) -> None:
    photos = [_photo(tmp_path / f"IMG_{n:04}.png", 24, 16) for n in range(MANY)]
    open_page(page, demo)
    page.evaluate(LISTEN)
    chromium.start_tracing(page=page, categories=["toplevel"])
    rows = pick(page, *photos)
    expect(rows).to_have_count(MANY)
    assert page.evaluate("() => document.documentElement.scrollHeight <= 1.5 * window.innerHeight")
    expect(page.get_by_test_id("totals")).to_have_text(f"{MANY} of {MANY} stored", timeout=120_000)
    expect(rows.and_(page.locator("[data-state=done]"))).to_have_count(MANY)
    page.get_by_test_id("clear").click()
    expect(rows).to_have_count(0)
    tasks = _task_milliseconds(chromium.stop_tracing())
    assert 1 < max(tasks) < MAX_TASK_MS
    assert 1 <= len(page.evaluate("() => window.sentences")) <= MANY / 10


def test_fingers_find_large_enough_targets_and_no_text_is_cut_off_on_the_smallest_screen(
    chromium: Browser, demo: Demo, tmp_path: Path, png: Path
) -> None:
    script = tmp_path / "page.html"
    script.write_text("<script>alert(1)</script>")
    context = chromium.new_context(viewport={"width": 320, "height": 700}, has_touch=True, is_mobile=True)
    page = context.new_page()
    open_page(page, demo)
    _expect_states(pick(page, png, script), ["done", "failed"])
    slow_down(page, MEGABYTE)
    row = pick(page, *_zips(tmp_path, 2, 3 * MEGABYTE)).nth(2)
    expect(row).to_contain_text("left")
    row.get_by_test_id("pause").click()
    expect_state(row, "paused")
    page.get_by_test_id("details").first.locator("summary").click()
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    small = """() => [...document.querySelectorAll("button, label.button, a.button, summary")]
        .filter((element) => element.checkVisibility())
        .map((element) => [element.textContent.trim(), element.getBoundingClientRect()])
        .filter(([, { width, height }]) => width < 44 || height < 44)
        .map(([text]) => text)"""
    assert page.evaluate(small) == []
    cut_off = """() => [...document.querySelectorAll("main p, main dd, main dt, main li, main h2, main button")]
        .filter((element) => element.checkVisibility() && element.getBoundingClientRect().right > window.innerWidth)
        .map((element) => element.textContent.trim())"""
    assert page.evaluate(cut_off) == []
    context.close()
