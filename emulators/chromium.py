"""The system's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from playwright.sync_api import Browser, Playwright

from emulators.processes import StartFailed

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Without these Chromium looks for its makers' servers, and as root it needs the sandbox off.
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def launch_chromium(playwright: Playwright, *, flags: Sequence[str] = ()) -> Browser:
    """Start the browser with ``flags`` beside those that it always gets; raises StartFailed if there is none."""
    executable = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if executable is None:
        raise StartFailed("Chromium is missing: run `make chromium` as root, or `make test-without-browser`")
    return playwright.chromium.launch(executable_path=executable, args=[*_FLAGS, *flags])
