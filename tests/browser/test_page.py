"""The page, used as a person uses it: real files through Chromium into SeaweedFS."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import TYPES, Storage, expect_state, open_page, pass_the_waits, pick, slow_down
from tests.conftest import Store
from tests.demo_process import Demo, running_demo

MEGABYTE = 1_000_000

pytestmark = pytest.mark.browser


def _zip_of(path: Path, size: int) -> Path:
    """Return a file of ``size`` bytes: the first bytes of a zip archive, then random ones."""
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        remaining = size - 4
        while remaining:
            remaining -= file.write(os.urandom(min(remaining, 8 * MEGABYTE)))
    return path


def _sha256(chunks: object) -> str:
    digest = hashlib.sha256()
    with chunks as stream:  # type: ignore[attr-defined]  # an open file or an answer
        while chunk := stream.read(MEGABYTE):
            digest.update(chunk)
    return digest.hexdigest()


def _answer_as_for_a_private_object(page: Page, demo: Demo) -> None:
    """Take the object's URL out of the API's answers: the demo's own objects are public."""
    session = page.context.new_cdp_session(page)

    def take_the_url_out(paused: dict[str, Any]) -> None:
        request_id = {"requestId": paused["requestId"]}
        if paused["request"]["method"] != "POST":
            session.send("Fetch.continueRequest", request_id)
            return
        body = session.send("Fetch.getResponseBody", request_id)
        answer = json.loads(base64.b64decode(body["body"]) if body["base64Encoded"] else body["body"])
        answer["object_url"] = None
        answered = {
            "responseCode": paused["responseStatusCode"],
            "responseHeaders": paused["responseHeaders"],
            "body": base64.b64encode(json.dumps(answer).encode()).decode(),
        }
        session.send("Fetch.fulfillRequest", request_id | answered)

    # Not page.route, which makes the browser send a Cache-Control to the storage.
    session.on("Fetch.requestPaused", take_the_url_out)
    session.send("Fetch.enable", {"patterns": [{"urlPattern": f"{demo.api}/*", "requestStage": "Response"}]})


def _wait_for_progress(page: Page, above: float) -> None:
    page.wait_for_function(
        "above => Number(document.querySelector('[data-testid=progress]')?.getAttribute('aria-valuenow') "
        "?? document.querySelector('[data-testid=progress]')?.value ?? 0) > above",
        arg=above,
        timeout=30_000,
    )


def test_a_picture_goes_into_the_bucket_and_is_shown(page: Page, demo: Demo, png: Path) -> None:
    open_page(page, demo)
    row = pick(page, png)
    expect_state(row, "done")
    link = row.get_by_test_id("result-link")
    url = link.get_attribute("href")
    assert url
    assert httpx.get(url).content == png.read_bytes()
    assert httpx.get(url).headers["content-type"] == "image/png"
    preview = row.get_by_test_id("preview")
    expect(preview).to_be_visible()
    page.wait_for_function("() => document.querySelector('[data-testid=preview]').naturalWidth === 256")


def test_no_byte_of_a_file_passes_through_the_application(page: Page, demo: Demo, png: Path) -> None:
    sent: dict[str, int] = {}
    page.on("request", lambda r: sent.update({r.url: len(r.post_data_buffer or b"")}) if r.method != "GET" else None)
    open_page(page, demo)
    expect_state(pick(page, png), "done")
    to_application = [size for url, size in sent.items() if url.startswith(demo.api)]
    assert len(to_application) == 2
    assert max(to_application) < 2000


def test_200_megabytes_arrive_whole_while_the_bar_moves(page: Page, demo: Demo, tmp_path: Path) -> None:
    big = _zip_of(tmp_path / "big.zip", 200 * MEGABYTE)
    open_page(page, demo)
    page.evaluate(
        """() => {
            window.seen = [];
            new MutationObserver(() => {
                const bar = document.querySelector('[data-testid=progress]');
                if (bar) window.seen.push(Number(bar.getAttribute('aria-valuenow') ?? bar.value));
            }).observe(document.body, {subtree: true, childList: true, attributes: true});
        }"""
    )
    row = pick(page, big)
    expect_state(row, "done", timeout_ms=180_000)
    seen = page.evaluate("() => [...new Set(window.seen)]")
    assert len([value for value in seen if 0 < value < 100]) >= 5, seen
    assert seen == sorted(seen), "the bar went back"
    url = row.get_by_test_id("result-link").get_attribute("href")
    assert url
    assert _sha256(urlopen(url)) == _sha256(big.open("rb"))


def test_several_files_go_at_once(page: Page, demo: Demo, png: Path, tmp_path: Path) -> None:
    notes = [tmp_path / f"note {n} ümlaut 猫.txt" for n in range(5)]
    for n, note in enumerate(notes):
        note.write_text(f"note {n}\n")
    open_page(page, demo)
    rows = pick(page, png, *notes)
    expect(rows).to_have_count(6)
    for n in range(6):
        expect_state(rows.nth(n), "done")
    urls = {rows.nth(n).get_by_test_id("result-link").get_attribute("href") for n in range(6)}
    assert len(urls) == 6
    bodies = {httpx.get(url).content for url in urls if url}
    assert {note.read_bytes() for note in notes} < bodies


def test_a_private_object_has_a_preview_and_no_link(page: Page, demo: Demo, png: Path) -> None:
    open_page(page, demo)
    _answer_as_for_a_private_object(page, demo)
    read: list[str] = []
    page.on("request", lambda r: read.append(r.url) if r.method == "GET" else None)
    row = pick(page, png)
    expect_state(row, "done")
    expect(row.get_by_test_id("preview")).to_be_visible()
    page.wait_for_function("() => document.querySelector('[data-testid=preview]').naturalWidth === 256")
    expect(row.get_by_test_id("result-link")).to_be_hidden()
    assert row.get_by_test_id("result-link").get_attribute("href") is None
    expect(row).to_contain_text("there is no public link")
    assert [url for url in read if "/presign-demo/" in url] == []


def test_a_user_can_ask_for_a_ticket_that_allows_only_the_bytes_of_the_file(page: Page, demo: Demo, png: Path) -> None:
    open_page(page, demo)
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.post_data or "") if r.url.endswith("/upload") else None)
    page.get_by_test_id("advanced").click()
    page.get_by_test_id("sha256-toggle").check()
    expect_state(pick(page, png), "done")
    assert hashlib.sha256(png.read_bytes()).hexdigest() in asked[-1]


def test_the_page_uploads_with_tickets_that_never_overwrite(page: Page, tmp_path: Path, png: Path) -> None:
    methods: list[str] = []
    page.on("request", lambda r: methods.append(r.method) if "/presign-demo/" in r.url else None)
    with running_demo(tmp_path, "--create-only", "--require-sha256", PRESIGN_TYPES=TYPES) as demo:
        open_page(page, demo)
        row = pick(page, png)
        expect_state(row, "done")
        assert "PUT" in methods
        url = row.get_by_test_id("result-link").get_attribute("href")
        assert url
        assert httpx.get(url).content == png.read_bytes()


def test_a_cancelled_upload_stores_nothing_and_can_be_tried_again(page: Page, demo: Demo, tmp_path: Path) -> None:
    open_page(page, demo)
    slow_down(page, 2 * MEGABYTE)
    tickets: list[str] = []
    page.on("response", lambda r: tickets.append(r.json()["object_url"]) if r.url.endswith("/upload") else None)
    row = pick(page, _zip_of(tmp_path / "slow.zip", 20 * MEGABYTE))
    _wait_for_progress(page, 5)
    row.get_by_test_id("cancel").click()
    expect_state(row, "cancelled")
    time.sleep(1)
    assert httpx.get(tickets[-1]).status_code in (403, 404)
    row.get_by_test_id("retry").click()
    slow_down(page, -1)
    expect_state(row, "done")


def test_a_type_that_is_not_allowed_is_refused_with_the_reason(page: Page, demo: Demo, tmp_path: Path) -> None:
    script = tmp_path / "page.html"
    script.write_text("<script>alert(1)</script>")
    open_page(page, demo)
    row = pick(page, script)
    expect_state(row, "failed")
    expect(row.get_by_test_id("message")).to_contain_text(re.compile("type|kind", re.IGNORECASE))


def test_a_file_that_is_too_large_is_refused_with_the_reason(page: Page, seaweedfs: Store, tmp_path: Path) -> None:
    with running_demo(tmp_path, "--max-bytes", "1MB", PRESIGN_TYPES=TYPES, **seaweedfs.environment) as demo:
        open_page(page, demo)
        row = pick(page, _zip_of(tmp_path / "large.zip", 2 * MEGABYTE))
        expect_state(row, "failed")
        expect(row.get_by_test_id("message")).to_contain_text("too large")


def test_a_file_whose_content_is_not_its_type_is_deleted_and_the_user_is_told(
    page: Page, demo: Demo, tmp_path: Path
) -> None:
    fake = tmp_path / "fake.png"
    fake.write_text("<script>alert(1)</script>")
    keys: list[str] = []
    page.on("response", lambda r: keys.append(r.json()["object_url"]) if r.url.endswith("/upload") else None)
    open_page(page, demo)
    row = pick(page, fake)
    expect_state(row, "failed")
    expect(row.get_by_test_id("message")).to_contain_text("deleted")
    assert httpx.get(keys[-1]).status_code in (403, 404)


def test_an_expired_ticket_is_replaced_once_and_then_the_user_is_told(
    page: Page, demo: Demo, tmp_path: Path, png: Path
) -> None:
    data = demo.data_directory
    assert data.exists()
    asked: list[float] = []
    with running_demo(tmp_path, "--expires-in", "1", PRESIGN_TYPES=TYPES) as short:
        open_page(page, short)
        page.on("request", lambda r: asked.append(time.monotonic()) if r.url.endswith("/upload") else None)

        def delayed(route: Route) -> None:
            time.sleep(2.2)
            route.continue_()

        page.route(re.compile("/presign-demo/"), delayed)
        row = pick(page, png)
        expect_state(row, "failed", timeout_ms=30_000)
        expect(row.get_by_test_id("message")).to_contain_text("expired")
        assert len(asked) == 2, "one new ticket, and no more"
        page.unroute(re.compile("/presign-demo/"))
        row.get_by_test_id("retry").click()
        expect_state(row, "done")


def test_an_upload_goes_on_after_the_storage_was_down(
    page: Page, storage_and_demo: tuple[Storage, Demo], tmp_path: Path
) -> None:
    storage, demo = storage_and_demo
    open_page(page, demo)
    slow_down(page, 3 * MEGABYTE)
    big = _zip_of(tmp_path / "interrupted.zip", 15 * MEGABYTE)
    row = pick(page, big)
    _wait_for_progress(page, 20)
    storage.kill()
    expect_state(row, "retrying")
    expect(row.get_by_test_id("message")).to_contain_text(re.compile("again", re.IGNORECASE))
    storage.restart()
    slow_down(page, -1)
    expect_state(row, "done", timeout_ms=60_000)
    url = row.get_by_test_id("result-link").get_attribute("href")
    assert url
    assert _sha256(urlopen(url)) == _sha256(big.open("rb"))


def test_missing_cors_rules_of_the_storage_are_named(page: Page, seaweedfs: Store, tmp_path: Path, png: Path) -> None:
    # The session's bucket allows http://localhost:8080, and this demo's page is on another port.
    with running_demo(tmp_path, PRESIGN_TYPES=TYPES, **seaweedfs.environment) as demo:
        open_page(page, demo)
        row = pick(page, png)
        expect_state(row, "failed", timeout_ms=60_000)
        expect(row.get_by_test_id("message")).to_contain_text("CORS")


def test_a_server_that_is_down_is_named(page: Page, seaweedfs: Store, tmp_path: Path, png: Path) -> None:
    with running_demo(tmp_path, PRESIGN_TYPES=TYPES, **seaweedfs.environment) as demo:
        page.clock.install()
        open_page(page, demo)
        page.route(f"{demo.api}/**", lambda route: route.abort("connectionrefused"))
        row = pick(page, png)
        pass_the_waits(page, row, until="failed")
        expect(row.get_by_test_id("message")).to_contain_text(demo.api)


@pytest.mark.parametrize("width", [320, 375, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_every_width_in_both_schemes(page: Page, demo: Demo, png: Path, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of its literals
    open_page(page, demo)
    expect_state(pick(page, png), "done")
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    background, text = page.evaluate(
        "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert _contrast(background, text) >= 7


def _contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_the_keyboard_alone_reaches_and_operates_everything(page: Page, demo: Demo, png: Path, tmp_path: Path) -> None:
    def tab_to(name: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("() => document.activeElement.dataset.testid ?? ''") == name:
                return
        raise AssertionError(f"Tab does not reach {name}")

    open_page(page, demo)
    tab_to("file-input")
    with page.expect_file_chooser() as chooser:
        page.get_by_test_id("file-input").press("Space")
    chooser.value.set_files([png])
    assert chooser.value.is_multiple()
    expect_state(page.get_by_test_id("upload-row"), "done")
    tab_to("result-link")
    tab_to("advanced")
    page.keyboard.press("Enter")
    tab_to("sha256-toggle")
    page.keyboard.press("Space")
    expect(page.get_by_test_id("sha256-toggle")).to_be_checked()
    slow_down(page, MEGABYTE)
    page.reload()
    row = pick(page, _zip_of(tmp_path / "slow.zip", 20 * MEGABYTE))
    _wait_for_progress(page, 1)
    tab_to("cancel")
    page.keyboard.press("Enter")
    expect_state(row, "cancelled")


def test_a_screen_reader_is_told_names_and_outcomes(page: Page, demo: Demo, png: Path) -> None:
    open_page(page, demo)
    row = pick(page, png)
    expect_state(row, "done")
    assert page.title()
    assert page.locator("html").get_attribute("lang") == "en"
    live = page.locator("[aria-live=polite], [role=status]")
    expect(live.first).to_contain_text("gradient.png")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, a, input, progress, [role=progressbar]')]
            .filter(e => e.offsetParent !== null)
            .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label')
                || e.getAttribute('aria-labelledby') || (e.labels && e.labels.length)))
            .map(e => e.outerHTML)"""
    )
    assert unnamed == []
