"""The widget in Chromium: in Django's admin and in a form, under a strict content security policy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import chromium, png  # noqa: F401  (fixtures)
from tests.django.example_process import PASSWORD, USER, Example, running_example

pytestmark = pytest.mark.browser
STORAGE_UPLOAD = re.compile(r"/presign-demo/?$")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    with running_example(tmp_path_factory.mktemp("django"), has_policy=True) as example:
        yield example


@pytest.fixture
def page(chromium: Browser, example: Example) -> Iterator[Page]:  # noqa: F811
    """A page that is signed in, with a strict policy, on which no error may go unsaid."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
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


def _wait_for(held: list[Route], page: Page) -> None:
    while not held:
        page.wait_for_timeout(20)


def test_a_photo_is_uploaded_in_the_admin_and_recorded(page: Page, example: Example, png: Path) -> None:  # noqa: F811
    before = len(example.recorded())
    _add_in_admin(page, example)
    page.get_by_label("Photo").set_input_files(png)
    expect(page.get_by_role("status")).to_contain_text("Uploaded: gradient.png")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    assert len(example.recorded()) == before + 1


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
