"""axe-core in a page of Chromium: it finds what keeps people with disabilities from using it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page

from emulators.npm_packages import install

WIDTHS = (320, 375, 768, 1280)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
# A list that is scrolled hides the text that axe would measure.
_HEIGHT = 8000
_PACKAGE = Path(__file__).with_name("axe_package")
# axe's own options of this check, but for pseudo-elements: with those it would measure no contrast of the text
# beside one, such as the line that joins the items of a list.
_CONFIGURE = """axe.configure({
    checks: [{
        id: "color-contrast",
        options: {
            ignorePseudo: true,
            ignoreUnicode: true,
            ignoreLength: false,
            boldValue: 700,
            boldTextPt: 14,
            largeTextPt: 18,
            contrastRatio: { normal: { expected: 4.5 }, large: { expected: 3 } },
            shadowOutlineEmMax: 0.2,
            textStrokeEmMin: 0.03,
        },
    }],
})"""
# Colours that are changing at the moment have another contrast than those that stay.
_STILL = """(async () => {
    for (const animation of document.getAnimations()) animation.finish();
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
})()"""
# What axe cannot decide counts too, because nobody would look at it; except for text that another element covers, such
# as the letters below a picture.
_RUN = """async (selector) => {
    const options = { resultTypes: ["violations", "incomplete"] };
    const { violations, incomplete } = await axe.run(selector ?? document, options);
    const isCovered = ({ any }) => any.some(({ data }) => data?.messageKey === "bgOverlap");
    return [...violations, ...incomplete].flatMap(({ id, nodes }) =>
        nodes.filter((node) => !isCovered(node)).map((node) => `${id}: ${node.html}\\n    ${node.failureSummary}`));
}"""


def barriers(page: Page, selector: str | None = None) -> list[str]:
    """Return what axe finds on the page, or in one element, as it looks now."""
    if not page.evaluate("'axe' in window"):
        # Not as a script element, which a page's policy may forbid.
        page.evaluate(_axe())
        page.evaluate(_CONFIGURE)
    page.evaluate(_STILL)
    found: list[str] = page.evaluate(_RUN, selector)
    return found


def barriers_at_every_width(page: Page, selector: str | None = None) -> dict[str, list[str]]:
    """Return what axe finds in light and dark, at each width; the state of the page stays the same."""
    found = {}
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": _HEIGHT})
            found[f"{scheme}, {width} px"] = barriers(page, selector)
    return {where: barriers for where, barriers in found.items() if barriers}


@cache
def _axe() -> str:
    install(_PACKAGE)
    return (_PACKAGE / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
