"""The widget in Chromium: in Django's admin and in a form, under a strict content security policy."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FileChooser, Page, Route, expect

from tests.browser.axe import SCHEMES, WIDTHS, barriers_at_every_width
from tests.browser.conftest import chromium, png  # noqa: F401  (fixtures)
from tests.django.example_process import PASSWORD, USER, Example, running_example

pytestmark = pytest.mark.browser
WAIT_SECONDS = 60.0
STORAGE_UPLOAD = re.compile(r"/presign-demo/?$")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    with running_example(tmp_path_factory.mktemp("django"), has_policy=True) as example:
        yield example


@pytest.fixture
def page(chromium: Browser, example: Example) -> Iterator[Page]:  # noqa: F811
    """A page that is signed in, with a strict policy, on which no error may go unsaid."""
    with _signed_in(chromium, example) as page:
        yield page


@pytest.fixture
def page_for_axe(chromium: Browser, example: Example) -> Iterator[Page]:  # noqa: F811
    """The same without the policy: axe changes styles to measure."""
    with _signed_in(chromium, example, bypass_csp=True) as page:
        yield page


@contextmanager
def _signed_in(chromium: Browser, example: Example, *, bypass_csp: bool = False) -> Iterator[Page]:  # noqa: F811
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, bypass_csp=bypass_csp)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    page.goto(f"{example.url}/admin/login/?next=/admin/")
    page.get_by_label("Username").fill(USER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    yield page
    context.close()
    assert not errors


def _add_in_admin(page: Page, example: Example) -> None:
    page.goto(f"{example.url}/admin/photos/photo/add/")
    page.get_by_label("Title").fill("a gradient")


def _hold_uploads(page: Page) -> list[Route]:
    held: list[Route] = []
    page.route(STORAGE_UPLOAD, lambda route: held.append(route))
    return held


def _wait_for(happened: Sequence[object], page: Page) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not happened:
        assert time.monotonic() < deadline, f"nothing happened in {WAIT_SECONDS:.0f} s"
        page.wait_for_timeout(20)


def test_a_photo_is_uploaded_in_the_admin_and_recorded(page: Page, example: Example, png: Path) -> None:  # noqa: F811
    before = len(example.recorded())
    _add_in_admin(page, example)
    page.get_by_label("Photo").set_input_files(png)
    expect(page.get_by_role("status")).to_contain_text("Uploaded: gradient.png")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    assert len(example.recorded()) == before + 1


def test_a_file_that_is_chosen_before_the_script_is_loaded_is_uploaded(
    page: Page,
    example: Example,
    png: Path,  # noqa: F811
) -> None:
    held: list[Route] = []
    page.route("**/presign/upload_widget.js", lambda route: held.append(route))
    page.goto(example.url, wait_until="commit")
    page.get_by_label("Photo").set_input_files(png)
    _wait_for(held, page)
    held[0].continue_()
    expect(page.get_by_role("status")).to_contain_text("Uploaded")
    assert page.locator("[data-presign-token]").input_value() != ""


def test_the_buttons_wait_for_the_upload_and_the_progress_is_shown(
    page: Page,
    example: Example,
    png: Path,  # noqa: F811
) -> None:
    _add_in_admin(page, example)
    held = _hold_uploads(page)
    page.get_by_label("Photo").set_input_files(png)
    expect(page.get_by_role("progressbar")).to_be_visible()
    save = page.get_by_role("button", name="Save", exact=True)
    expect(save).to_be_disabled()
    page.get_by_label("Title").press("Enter")
    page.evaluate("document.querySelector('#photo_form').requestSubmit()")
    page.wait_for_timeout(300)
    assert page.url.endswith("/add/")
    _wait_for(held, page)
    held[0].continue_()
    expect(save).to_be_enabled()
    expect(page.get_by_role("progressbar")).to_be_hidden()
    expect(page.get_by_role("status")).to_contain_text("Uploaded")


def test_a_cancelled_upload_leaves_the_form_without_a_file(page: Page, example: Example, png: Path) -> None:  # noqa: F811
    _add_in_admin(page, example)
    held = _hold_uploads(page)
    page.get_by_label("Photo").set_input_files(png)
    _wait_for(held, page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_have_text("The upload was cancelled.")
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_enabled()
    assert page.get_by_label("Photo").input_value() == ""
    assert page.locator("[data-presign-token]").input_value() == ""


def test_a_refused_file_says_the_reason_and_the_form_cannot_be_sent(
    page: Page, example: Example, tmp_path: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    _add_in_admin(page, example)
    page.get_by_label("Photo").set_input_files(text)
    expect(page.get_by_role("status")).to_contain_text("Files of type text/plain are not allowed")
    # The same file would be refused again.
    expect(page.locator("[data-presign-action]")).to_be_hidden()
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_timeout(300)
    assert page.url.endswith("/add/")


def test_a_failed_upload_can_be_tried_again_with_one_click(page: Page, example: Example, png: Path) -> None:  # noqa: F811
    _add_in_admin(page, example)
    refused = "<Error><Code>SignatureDoesNotMatch</Code></Error>"
    cors = {"Access-Control-Allow-Origin": "*"}
    page.route(STORAGE_UPLOAD, lambda route: route.fulfill(status=403, headers=cors, body=refused))
    page.get_by_label("Photo").set_input_files(png)
    page.get_by_role("button", name="Try again").wait_for()
    page.unroute(STORAGE_UPLOAD)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("status")).to_contain_text("Uploaded")
    assert page.get_by_label("Photo").evaluate("(input) => input.validity.valid")


def test_a_form_with_another_error_keeps_the_upload(page: Page, example: Example, png: Path) -> None:  # noqa: F811
    _add_in_admin(page, example)
    page.get_by_label("Photo").set_input_files(png)
    expect(page.get_by_role("status")).to_contain_text("Uploaded")
    page.get_by_label("Title").fill(" ")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("A file is uploaded")
    page.get_by_label("Title").fill("a gradient")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()


def test_who_changes_a_title_need_not_upload_again(page: Page, example: Example, png: Path) -> None:  # noqa: F811
    _add_in_admin(page, example)
    page.get_by_label("Photo").set_input_files(png)
    expect(page.get_by_role("status")).to_contain_text("Uploaded")
    page.get_by_role("button", name="Save and continue editing").click()
    keys = example.recorded()
    page.get_by_label("Title").fill("another title")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()
    assert example.recorded() == keys


def test_the_form_of_a_page_uploads_as_well(page: Page, example: Example, png: Path) -> None:  # noqa: F811
    page.goto(example.url)
    page.get_by_label("Title").fill("a gradient")
    page.get_by_label("Photo").set_input_files(png)
    expect(page.get_by_role("status")).to_contain_text("Uploaded")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("saved as public/")).to_be_visible()


def test_a_row_that_is_added_later_uploads_like_the_first(page: Page, example: Example, png: Path) -> None:  # noqa: F811
    page.goto(example.url)
    page.evaluate(
        """() => {
          const form = document.querySelector("form");
          const row = document.querySelector("[data-presign-upload]").cloneNode(true);
          row.querySelector("[data-presign-token]").name = "photo-2";
          row.querySelector("[data-presign-file]").id = "id_photo-2";
          form.append(row);
        }"""
    )
    page.locator("#id_photo-2").set_input_files(png)
    expect(page.get_by_role("status").nth(1)).to_contain_text("Uploaded")
    assert page.locator("[name=photo-2]").input_value() != ""
    assert page.locator("[name=photo]").input_value() == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 1280])
def test_the_widget_fits_every_width(
    page: Page,
    example: Example,
    png: Path,  # noqa: F811
    scheme: str,
    width: int,
    tmp_path: Path,
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 800})
    held = _hold_uploads(page)
    for name, address in (("admin", f"{example.url}/admin/photos/photo/add/"), ("page", example.url)):
        page.goto(address)
        page.get_by_label("Photo").set_input_files(png)
        expect(page.get_by_role("progressbar")).to_be_visible()
        _wait_for(held, page)
        page.evaluate("document.querySelector('[data-presign-progress]').value = 0.4")
        page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}-uploading.png")
        overflow = page.evaluate(
            """() => [...document.querySelectorAll("[data-presign-upload] *")]
              .filter((each) => each.getBoundingClientRect().right > innerWidth).map((each) => each.outerHTML)"""
        )
        assert overflow == []
        held.pop().continue_()
        expect(page.get_by_role("status")).to_contain_text("Uploaded")
        page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}-stored.png")
        text = tmp_path / "notes.txt"
        text.write_text("no picture")
        page.get_by_label("Photo").set_input_files(text)
        expect(page.get_by_role("status")).to_contain_text("are not allowed")
        page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}-failed.png")


def _forms(example: Example) -> tuple[str, str]:
    return f"{example.url}/admin/photos/photo/add/", example.url


def _fail_uploads(page: Page) -> None:
    refused = "<Error><Code>SignatureDoesNotMatch</Code></Error>"
    cors = {"Access-Control-Allow-Origin": "*"}
    page.route(STORAGE_UPLOAD, lambda route: route.fulfill(status=403, headers=cors, body=refused))


def test_the_widget_has_no_barrier_in_any_of_its_states(
    page_for_axe: Page,
    example: Example,
    png: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    page = page_for_axe

    def barriers() -> dict[str, list[str]]:
        return barriers_at_every_width(page, "[data-presign-upload]")

    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    for address in _forms(example):
        page.goto(address)
        assert barriers() == {}
        held = _hold_uploads(page)
        page.get_by_label("Photo").set_input_files(png)
        expect(page.get_by_role("progressbar")).to_be_visible()
        _wait_for(held, page)
        assert barriers() == {}
        held[0].continue_()
        expect(page.get_by_role("status")).to_contain_text("Uploaded")
        assert barriers() == {}
        page.get_by_label("Photo").set_input_files(text)
        expect(page.get_by_role("status")).to_contain_text("are not allowed")
        assert barriers() == {}
        page.unroute(STORAGE_UPLOAD)
        _fail_uploads(page)
        page.get_by_label("Photo").set_input_files(png)
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        assert barriers() == {}
        page.unroute(STORAGE_UPLOAD)


def test_a_barrier_of_the_widget_is_found(page_for_axe: Page, example: Example) -> None:
    page_for_axe.goto(example.url)
    page_for_axe.evaluate("document.querySelector('label[for=id_photo]').remove()")
    found = barriers_at_every_width(page_for_axe, "[data-presign-upload]")
    assert {barrier.split(":")[0] for barriers in found.values() for barrier in barriers} == {"label"}
    assert len(found) == len(WIDTHS) * len(SCHEMES)


@pytest.mark.parametrize("form", [0, 1], ids=["admin", "page"])
def test_the_keyboard_alone_chooses_cancels_tries_again_and_sends(
    page: Page,
    example: Example,
    png: Path,  # noqa: F811
    form: int,
) -> None:
    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"Tab does not reach {selector}")

    def choose() -> None:
        page.keyboard.press("Enter")
        _wait_for(choosers, page)
        choosers.pop().set_files(png)

    def focused() -> str:
        named: str = page.evaluate("document.activeElement.id")
        return named

    choosers: list[FileChooser] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    before = len(example.recorded())
    page.goto(_forms(example)[form])
    tab_to("#id_title")
    page.keyboard.type("a gradient")
    tab_to("#id_photo")
    held = _hold_uploads(page)
    choose()
    _wait_for(held, page)
    tab_to("[data-presign-action]")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("The upload was cancelled.")
    # The button is gone; whoever pressed it stays in the widget, at what comes next.
    assert focused() == "id_photo"
    page.unroute(STORAGE_UPLOAD)
    _fail_uploads(page)
    choose()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    page.unroute(STORAGE_UPLOAD)
    tab_to("[data-presign-action]")
    page.keyboard.press("Space")
    expect(page.get_by_role("status")).to_contain_text("Uploaded")
    assert focused() == "id_photo"
    tab_to("[name=_save], form button:not([data-presign-action])")
    page.keyboard.press("Enter")
    expect(page.get_by_text("was added successfully" if form == 0 else "saved as public/")).to_be_visible()
    assert len(example.recorded()) == before + 1
