"""The states of an upload's life on the page, in both ways: through a pending place, and straight to the final one."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import TYPES, expect_state, open_page, pick, slow_down
from tests.demo_process import Demo, running_demo

INSPECTING = {"code": "completion_pending", "detail": "the inspection of the upload has not ended"}
REJECTED = {"code": "rejected", "detail": "the scanner found Eicar-Test-Signature"}
PENDING_WAY = ["granted", "pending", "verified", "published"]
STRAIGHT_WAY = ["granted", "stored", "verified"]
# The shortest client: it sends the type alone, no size, and does not complete the upload.
MINIMAL_CLIENT = """async ([api, type, content]) => {
    const file = new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], "cat.png", { type });
    const answer = await fetch(`${api}/upload`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ type: file.type }),
    });
    const { url, fields } = await answer.json();
    const form = new FormData();
    form.append("Content-Type", file.type);
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append("file", file);
    const stored = await fetch(url, { method: "POST", body: form });
    return [stored.ok, `${url}${fields.key}`];
}"""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def straight_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo with a storage of its own, and uploads that go straight to their final place."""
    with running_demo(tmp_path_factory.mktemp("straight"), PRESIGN_TYPES=TYPES, PRESIGN_PENDING_PREFIX="") as demo:
        yield demo


@pytest.fixture(params=["pending", "straight"])
def demo_of_each_way(request: pytest.FixtureRequest) -> Demo:
    running: Demo = request.getfixturevalue({"pending": "demo", "straight": "straight_demo"}[request.param])
    return running


def _answer_completions(page: Page, demo: Demo, answers: Sequence[tuple[int, dict[str, str]]]) -> None:
    """Let the first completions get ``answers`` instead of the server's own; later ones reach the server."""
    session = page.context.new_cdp_session(page)
    remaining = list(answers)

    def answer(paused: dict[str, Any]) -> None:
        request_id = {"requestId": paused["requestId"]}
        if paused["request"]["method"] != "POST" or not remaining:
            session.send("Fetch.continueRequest", request_id)
            return
        status, problem = remaining.pop(0)
        headers = {
            "Access-Control-Allow-Origin": demo.page,
            "Access-Control-Expose-Headers": "Retry-After",
            "Content-Type": "application/problem+json",
            "Retry-After": "2",
        }
        answered = {
            "responseCode": status,
            "responseHeaders": [{"name": name, "value": value} for name, value in headers.items()],
            "body": base64.b64encode(json.dumps(problem).encode()).decode(),
        }
        session.send("Fetch.fulfillRequest", request_id | answered)

    # Not page.route, which makes the browser send a Cache-Control to the storage.
    session.on("Fetch.requestPaused", answer)
    session.send("Fetch.enable", {"patterns": [{"urlPattern": f"{demo.api}/complete"}]})


def _steps(row: Locator) -> dict[str, str]:
    """Return the progress of each step in a row's list."""
    items = row.get_by_test_id("life").locator("li").all()
    return {str(item.get_attribute("data-step")): str(item.get_attribute("data-progress")) for item in items}


def _url(row: Locator) -> str:
    url = row.get_by_test_id("result-link").get_attribute("href")
    assert url
    return url


def test_a_published_upload_has_gone_through_all_four_states_and_not_through_the_server(
    page: Page, demo: Demo, png: Path
) -> None:
    open_page(page, demo)
    row = pick(page, png)
    expect_state(row, "done")
    expect(row.get_by_test_id("message")).to_have_text("Verified and published")
    assert _steps(row) == dict.fromkeys(PENDING_WAY, "done")
    row.locator("summary").click()
    expect(row.get_by_test_id("life")).to_be_visible()
    expect(row.get_by_test_id("enforced")).to_contain_text("Size")
    expect(row.get_by_test_id("enforced")).to_contain_text("The storage, while it receives the file")
    expect(row.get_by_test_id("forwarded")).to_have_text("0")


def test_the_list_fills_while_the_upload_goes_on_and_marks_what_happens_now(
    page: Page, demo: Demo, tmp_path: Path
) -> None:
    large = tmp_path / "large.zip"
    large.write_bytes(b"PK\x03\x04" + bytes(3_000_000))
    open_page(page, demo)
    _answer_completions(page, demo, [(202, INSPECTING), (202, INSPECTING)])
    slow_down(page, 1_000_000)
    row = pick(page, large)
    current = row.get_by_test_id("life").locator("[aria-current=step]")
    expect_state(row, "uploading")
    expect(current).to_have_attribute("data-step", "pending")
    assert _steps(row) == {"granted": "done", "pending": "current", "verified": "open", "published": "open"}
    expect_state(row, "inspecting")
    expect(row.get_by_test_id("message")).to_have_text("Waiting for the inspection…")
    expect(page.get_by_role("status")).to_contain_text("large.zip waits for the inspection.")
    expect(current).to_have_attribute("data-step", "verified")
    assert _steps(row) == {"granted": "done", "pending": "done", "verified": "current", "published": "open"}
    expect_state(row, "done")
    expect(current).to_have_count(0)
    assert _steps(row) == dict.fromkeys(PENDING_WAY, "done")


def test_a_file_that_breaks_a_rule_ends_as_rejected(page: Page, demo_of_each_way: Demo, tmp_path: Path) -> None:
    fake = tmp_path / "fake.png"
    fake.write_text("<script>alert(1)</script>")
    open_page(page, demo_of_each_way)
    row = pick(page, fake)
    expect_state(row, "failed")
    names = list(_steps(row))
    assert (names[0], names[2:], _steps(row)["rejected"]) == ("granted", ["rejected"], "failed")
    expect(row.get_by_test_id("retry")).to_be_hidden()


def test_what_the_applications_inspection_says_is_shown(page: Page, demo: Demo, png: Path) -> None:
    open_page(page, demo)
    _answer_completions(page, demo, [(202, INSPECTING), (422, REJECTED)])
    row = pick(page, png)
    expect_state(row, "failed")
    expect(row.get_by_test_id("message")).to_contain_text(REJECTED["detail"])
    assert _steps(row) == {"granted": "done", "pending": "done", "rejected": "failed"}


def test_a_wait_for_the_inspection_can_be_cancelled(page: Page, demo: Demo, png: Path) -> None:
    open_page(page, demo)
    _answer_completions(page, demo, [(202, INSPECTING)])
    row = pick(page, png)
    expect_state(row, "inspecting")
    row.get_by_test_id("cancel").click()
    expect_state(row, "cancelled")
    expect(row.get_by_test_id("message")).to_contain_text("may be in the storage already")
    expect(row.locator("[aria-current]")).to_have_count(0)


def test_the_straight_way_says_that_the_file_is_in_its_place_before_it_is_verified(
    page: Page, straight_demo: Demo, png: Path
) -> None:
    open_page(page, straight_demo)
    row = pick(page, png)
    expect_state(row, "done")
    expect(row.get_by_test_id("message")).to_have_text("Stored and verified")
    assert _steps(row) == dict.fromkeys(STRAIGHT_WAY, "done")


def test_a_file_that_the_page_refuses_has_no_states(page: Page, demo: Demo, tmp_path: Path) -> None:
    script = tmp_path / "page.html"
    script.write_text("<script>alert(1)</script>")
    open_page(page, demo)
    row = pick(page, script)
    expect_state(row, "failed")
    expect(row.get_by_test_id("details")).to_be_hidden()


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_open_details_fit_every_width_in_both_schemes(
    page: Page, demo: Demo, png: Path, width: int, scheme: str
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of its literals
    open_page(page, demo)
    row = pick(page, png)
    expect_state(row, "done")
    row.locator("summary").click()
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    # A list of few files is as long as they are: details that are cut would need a second scroll bar.
    assert row.evaluate("(row) => row.parentElement.scrollHeight <= row.parentElement.clientHeight")
    assert page.evaluate(
        """() => [...document.querySelectorAll('details *')].every((element) => {
            const box = element.getBoundingClientRect();
            return element.className === 'visually-hidden' || box.width === 0
                || (box.left >= 0 && box.right <= window.innerWidth);
        })"""
    )


@pytest.mark.parametrize("arguments", [[], ["--create-only"]], ids=" ".join)
@pytest.mark.parametrize("prefix", ["pending/", ""], ids=["pending", "straight"])
def test_a_browser_whose_cache_is_disabled_keeps_its_uploads(
    page: Page, tmp_path: Path, png: Path, prefix: str, arguments: list[str]
) -> None:
    sent: list[str] = []
    session = page.context.new_cdp_session(page)
    session.on(
        "Network.requestWillBeSentExtraInfo",
        lambda event: sent.append(event["headers"].get("Cache-Control", "")) if _is_upload(event["headers"]) else None,
    )
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    with running_demo(tmp_path, *arguments, PRESIGN_TYPES=TYPES, PRESIGN_PENDING_PREFIX=prefix) as demo:
        open_page(page, demo)
        row = pick(page, png)
        expect_state(row, "done")
        assert httpx.get(_url(row)).content == png.read_bytes()
    assert sent == ["no-cache"]


def _is_upload(headers: dict[str, str]) -> bool:
    return headers.get("Content-Type", "").startswith(("multipart/form-data", "image/png"))


def test_a_client_that_sends_the_type_alone_stores_its_file(page: Page, straight_demo: Demo, png: Path) -> None:
    open_page(page, straight_demo)
    content = base64.b64encode(png.read_bytes()).decode()
    is_stored, url = page.evaluate(MINIMAL_CLIENT, [straight_demo.api, "image/png", content])
    assert is_stored
    read = httpx.get(url)
    assert (read.content, read.headers["content-type"]) == (png.read_bytes(), "image/png")
