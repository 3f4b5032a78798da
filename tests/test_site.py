"""The documentation site builds strictly, names all that is public, and loads nothing from other hosts."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from sphinx.util.inventory import InventoryFile

from emulators.chromium import launch_chromium

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = ["presign", "presign.asgi", "presign.azure", "presign.django", "presign.fastapi", "presign.flask"]
PUBLIC += ["presign.gcs", "presign.s3", "presign.testing"]

WRONG_PAGE = """
# A page with three mistakes

[a page](nowhere.md), [a heading](types.md#nowhere)

```{eval-rst}
.. autofunction:: presign.nothing_of_this_name
```
"""


def _command(source: Path, target: Path) -> list[str]:
    """Return the command of ``make docs``, for another source and target."""
    makefile = (ROOT / "Makefile").read_text()
    (line,) = re.findall(r"^\t\$\(BIN\)/(python -m sphinx .*) docs docs/_build$", makefile, re.MULTILINE)
    return [sys.executable, *line.split()[1:], "--conf-dir", str(ROOT / "docs"), str(source), str(target)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    built = subprocess.run(_command(ROOT / "docs", target), capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return target


@pytest.fixture(scope="module")
def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_make_docs_fails_on_a_broken_link_a_broken_anchor_and_a_missing_name(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    (source / "index.md").write_text(WRONG_PAGE + "\n```{toctree}\ntypes\n```\n")
    (source / "types.md").write_text((ROOT / "docs" / "types.md").read_text())
    built = subprocess.run(_command(source, tmp_path / "out"), capture_output=True, text=True, check=False)
    assert built.returncode != 0
    for complaint in ("'nowhere.md'", "'nowhere'", "nothing_of_this_name"):
        assert complaint in built.stderr, built.stderr
    assert len(re.findall("WARNING", built.stderr)) == 3, built.stderr


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    with (site / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, path: path)
    named = {name for kind, names in inventory.items() if kind.startswith("py:") for name in names}
    public = {f"{module}.{name}" for module in PUBLIC for name in _public_names(module)}
    assert public <= named, public - named


def _public_names(module: str) -> list[str]:
    """Return ``__all__`` of a module, which is not imported: that takes as long as the rest of the test."""
    path = ROOT.joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    (names,) = re.findall(r"^__all__ = (\[.*?\])", source.read_text(), re.MULTILINE | re.DOTALL)
    found: list[str] = ast.literal_eval(names)
    return found


def test_no_page_and_no_style_sheet_names_a_file_of_another_host(pages: list[Path], site: Path) -> None:
    loaded = [address for page in pages for address in _Loaded.of(page)]
    for style in site.rglob("*.css"):
        loaded += re.findall(r"url\(\s*['\"]?([^'\")]+)", style.read_text())
        loaded += re.findall(r"@import\s+['\"]([^'\"]+)", style.read_text())
    assert len(loaded) > len(pages)
    assert [address for address in loaded if re.match(r"(?:[a-z]+:)?//", address)] == []


class _Loaded(HTMLParser):
    """Collects the addresses of everything that a browser loads for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    @classmethod
    def of(cls, page: Path) -> Iterator[str]:
        parser = cls()
        parser.feed(page.read_text())
        yield from parser.addresses

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        loads_link = tag == "link" and not {"index", "search", "next", "prev"} & set((given.get("rel") or "").split())
        names = ("src", "href") if loads_link else ("src", "data", "poster")
        self.addresses += [value for name in names if (value := given.get(name))]


@pytest.mark.browser
def test_a_browser_loads_the_site_from_its_own_files_alone_and_every_page_fits_a_phone(
    pages: list[Path], site: Path
) -> None:
    requests: list[str] = []
    failures: list[str] = []
    with sync_playwright() as playwright:
        page = launch_chromium(playwright).new_page(viewport={"width": 390, "height": 800})
        page.on("request", lambda request: requests.append(request.url))
        page.on("requestfailed", lambda request: failures.append(request.url))
        page.on("pageerror", lambda error: failures.append(str(error)))
        for each in pages:
            page.goto(each.as_uri())
            # This element, and not the whole page, scrolls sideways if something in it is too wide.
            too_wide = page.eval_on_selector(".content", "content => content.scrollWidth - content.clientWidth")
            assert too_wide <= 0, each
    assert len(requests) > len(pages)
    assert {url for url in requests if not url.startswith((site.as_uri(), "data:"))} == set()
    assert failures == []
