"""The demo's page has no barrier that axe-core knows, in any of its states, light and dark, narrow and wide."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.axe import barriers, barriers_at_every_width
from tests.browser.conftest import open_page, pick
from tests.demo_process import Demo

pytestmark = pytest.mark.browser


def _rows(page: Page, state: str) -> Locator:
    return page.locator(f"[data-testid=upload-row][data-state={state}]")


def _open_details(page: Page) -> None:
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")


def test_the_empty_page_has_no_barrier(page: Page, demo: Demo) -> None:
    open_page(page, demo)
    assert barriers_at_every_width(page) == {}


def test_a_page_without_its_settings_has_no_barrier(page: Page, demo: Demo) -> None:
    page.route("**/config.json", lambda route: route.abort())
    page.goto(demo.page)
    expect(page.get_by_role("alert")).to_be_visible()
    assert barriers_at_every_width(page) == {}


def test_rows_that_ended_have_no_barrier_with_their_details_open(
    page: Page, demo: Demo, png: Path, tmp_path: Path
) -> None:
    fake = tmp_path / "fake.png"
    fake.write_text("<script>alert(1)</script>")
    script = tmp_path / "page.html"
    script.write_text("<script>alert(1)</script>")
    open_page(page, demo)
    pick(page, png, fake, script)
    expect(_rows(page, "done")).to_have_count(1)
    expect(_rows(page, "failed")).to_have_count(2)
    _open_details(page)
    assert barriers_at_every_width(page) == {}


def test_rows_that_run_or_wait_or_are_cancelled_have_no_barrier(page: Page, demo: Demo, tmp_path: Path) -> None:
    # The storage never answers.
    page.route("**/presign-demo*/**", lambda route: None)
    texts = [tmp_path / f"note-{number}.txt" for number in range(12)]
    for text in texts:
        text.write_text("a note")
    open_page(page, demo)
    pick(page, *texts)
    expect(_rows(page, "uploading")).not_to_have_count(0)
    _rows(page, "waiting").last.get_by_test_id("cancel").click()
    expect(_rows(page, "cancelled")).to_have_count(1)
    expect(_rows(page, "waiting")).not_to_have_count(0)
    _open_details(page)
    assert barriers_at_every_width(page) == {}


def test_a_barrier_is_found(page: Page, demo: Demo) -> None:
    open_page(page, demo)
    # The page's policy forbids styles in its HTML.
    page.evaluate(
        """() => {
            document.querySelector("main").append(document.createElement("button"), "pale");
            document.querySelector("main").style.color = "#aaa";
        }"""
    )
    found = {barrier.split(":")[0] for barrier in barriers(page)}
    assert found == {"button-name", "color-contrast"}
