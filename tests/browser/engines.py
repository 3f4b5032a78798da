"""Chromium, Firefox and WebKit behind one small interface, so that one test does the same in each of them.

Firefox speaks WebDriver BiDi itself. WebKit has `WebKitWebDriver`, of Debian's webkit2gtk-driver, and needs a display.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from playwright.sync_api import Page, sync_playwright
from selenium.webdriver import Remote
from selenium.webdriver.common.bidi.common import command_builder
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.file_detector import UselessFileDetector
from selenium.webdriver.remote.remote_connection import RemoteConnection
from selenium.webdriver.remote.websocket_connection import WebSocketConnection
from selenium.webdriver.webkitgtk.options import Options as WebKitOptions

from emulators.chromium import launch_chromium
from emulators.ports import HOST, accepts_connections, free_port
from emulators.processes import ServerProcess

START_SECONDS = 60.0
WAIT_SECONDS = 60.0
_ANSWER_SECONDS = 60.0
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 5.0
_MINI_BROWSERS = ("usr/lib/*/webkit2gtk-4.*/MiniBrowser", "usr/libexec/webkit2gtk-4.*/MiniBrowser")
# A file of an input is backed by the disk, as a dropped one is; a File that a script makes is not.
_MAKE_SOURCE = """(() => {
    const source = document.createElement("input");
    Object.assign(source, { type: "file", multiple: true, id: "drop-source" });
    document.body.append(source);
})()"""
_DROP_SOURCE = """((selector) => {
    const source = document.getElementById("drop-source");
    const dataTransfer = new DataTransfer();
    for (const file of source.files) dataTransfer.items.add(file);
    source.remove();
    const options = { dataTransfer, bubbles: true, cancelable: true, composed: true };
    for (const type of ["dragenter", "dragover", "drop"]) {
        const isUnhandled = document.querySelector(selector).dispatchEvent(new DragEvent(type, options));
        if (type !== "dragenter" && isUnhandled) throw new Error(`the page did not handle ${type}`);
    }
})"""
_KEEP_ERRORS = """(() => {
    window.errorsOfTheTest = [];
    const keep = (reason) => window.errorsOfTheTest.push(String(reason?.stack ?? reason));
    addEventListener("error", (event) => keep(event.error ?? event.message));
    addEventListener("unhandledrejection", (event) => keep(event.reason));
})()"""
# Each protocol waits for promises in a way of its own; a value that is asked for again and again is the same in all.
_SETTLE = """(() => {
    window.settled = null;
    (async () => PROMISE)().then(
        (value) => (window.settled = { value }),
        (reason) => (window.settled = { error: String(reason?.stack ?? reason) }),
    );
})()"""


class Driver(Protocol):
    """What a test needs of a browser; each engine does it in its own way."""

    def open(self, url: str) -> None:
        """Load a page, and return when its scripts ran."""

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, which JSON can hold."""

    def choose(self, selector: str, paths: Sequence[Path]) -> None:
        """Give files to a file input, as its dialog would."""

    def click(self, selector: str) -> None:
        """Move the mouse to the first such element and click."""

    def drop(self, selector: str, paths: Sequence[Path]) -> None:
        """Drop files onto an element."""


class BrowserPage:
    """A page in some browser; elements go by their test ids.

    Waits end with what the page shows if a condition is not met in time.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def open(self, url: str) -> None:
        """Load the page, and keep its uncaught errors from now on."""
        self._driver.open(url)
        # WebKit's driver may return before its first page is loaded.
        address = json.dumps(url)
        loaded = f"document.readyState === 'complete' && location.href.startsWith({address})"
        self.wait_until(lambda: self._driver.evaluate(loaded) is True, f"{url} is loaded")
        self._driver.evaluate(_KEEP_ERRORS)

    def leave(self) -> None:
        """Leave the page, which ends its uploads."""
        self._driver.open("about:blank")

    def choose(self, test_id: str, *paths: Path) -> None:
        """Give files to a file input, as its dialog would."""
        self._driver.choose(_selector(test_id), paths)

    def drop(self, test_id: str, *paths: Path) -> None:
        """Drop files onto an element."""
        self._driver.drop(_selector(test_id), paths)

    def click(self, test_id: str) -> None:
        """Move the mouse to the first element that is visible, and click."""
        self.wait_until(lambda: self.is_visible(test_id), f"{test_id} is visible")
        self._driver.click(_selector(test_id))

    def texts(self, test_id: str) -> list[str]:
        """Return the text of each element."""
        return self._each(test_id, "element.textContent.trim()")

    def attributes(self, test_id: str, name: str) -> list[str]:
        """Return an attribute of each element."""
        return self._each(test_id, f"element.getAttribute({json.dumps(name)})")

    def progress(self) -> float:
        """Return the value of the first progress bar, from 0 to 1; 0 without one."""
        return float((self._each("progress", "element.value / element.max") or [0])[0])

    def is_visible(self, test_id: str) -> bool:
        """Say whether the first element is visible."""
        return self._each(test_id, "element.checkVisibility()")[:1] == [True]

    def errors(self) -> list[str]:
        """Return the uncaught errors since the page was opened."""
        kept: list[str] = self._driver.evaluate("window.errorsOfTheTest")
        return kept

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, which JSON can hold."""
        return self._driver.evaluate(expression)

    def settled(self, promise: str, *, seconds: float = WAIT_SECONDS) -> Any:
        """Return what the promise of a JavaScript expression becomes, which JSON can hold; a rejection is an error."""
        self._driver.evaluate(_SETTLE.replace("PROMISE", promise))
        self.wait_until(lambda: self._driver.evaluate("window.settled !== null") is True, promise, seconds=seconds)
        outcome = self._driver.evaluate("window.settled")
        if "error" in outcome:
            raise AssertionError(outcome["error"])
        return outcome.get("value")

    def wait_until(self, is_met: Callable[[], bool], condition: str, *, seconds: float = WAIT_SECONDS) -> None:
        """Return once a condition is met; its description is for the error."""
        deadline = time.monotonic() + seconds
        while not is_met():
            if time.monotonic() > deadline:
                shown = self._driver.evaluate("document.body.innerText")
                raise AssertionError(f"not within {seconds:.0f} s: {condition}. The page shows:\n{shown}")
            time.sleep(_POLL_SECONDS)

    def _each(self, test_id: str, expression: str) -> list[Any]:
        selector = json.dumps(_selector(test_id))
        found: list[Any] = self._driver.evaluate(
            f"[...document.querySelectorAll({selector})].map((element) => {expression})"
        )
        return found


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A browser that this machine has."""

    name: str
    launch: Callable[[], AbstractContextManager[Driver]]


def found_engines() -> list[Engine]:
    """Return Chromium, which every run needs, and those of Firefox and WebKit that this machine has."""
    engines = [Engine(name="chromium", launch=_launch_chromium)]
    # Not `firefox`, which is a snap on Ubuntu, and a snap sees no file of a test.
    if shutil.which("firefox-esr"):
        engines.append(Engine(name="firefox", launch=_launch_firefox))
    if shutil.which("WebKitWebDriver") and shutil.which("Xvfb"):
        engines.append(Engine(name="webkit", launch=_launch_webkit))
    return engines


def _selector(test_id: str) -> str:
    return f'[data-testid="{test_id}"]'


class _Chromium:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._session = page.context.new_cdp_session(page)

    def open(self, url: str) -> None:
        self._page.goto(url)

    def evaluate(self, expression: str) -> Any:
        return self._page.evaluate(expression)

    def choose(self, selector: str, paths: Sequence[Path]) -> None:
        self._page.locator(selector).set_input_files(list(paths))

    def click(self, selector: str) -> None:
        self._page.locator(selector).first.click()

    def drop(self, selector: str, paths: Sequence[Path]) -> None:
        """Drop the files themselves, as the desktop does: Chromium makes the events and what they hold."""
        self._page.locator(selector).scroll_into_view_if_needed()
        box = self._page.locator(selector).bounding_box()
        assert box is not None
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self._session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})


class _Firefox:
    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection
        self._send("session.new", capabilities={"alwaysMatch": {"unhandledPromptBehavior": {"default": "accept"}}})
        self._context = self._send("browsingContext.getTree")["contexts"][0]["context"]

    def open(self, url: str) -> None:
        self._send("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        # Through JSON, because BiDi describes every value with its type.
        answer = self._send(
            "script.evaluate",
            expression=f"JSON.stringify({expression})",
            target={"context": self._context},
            awaitPromise=False,
        )
        if answer["type"] == "exception":
            raise AssertionError(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"].get("value", "null"))

    def choose(self, selector: str, paths: Sequence[Path]) -> None:
        files = [str(path) for path in paths]
        self._send("input.setFiles", context=self._context, element=self._find(selector), files=files)

    def click(self, selector: str) -> None:
        self.evaluate(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{ block: 'center' }})")
        origin = {"type": "element", "element": self._find(selector)}
        steps = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        self._send(
            "input.performActions",
            context=self._context,
            actions=[{"type": "pointer", "id": "mouse", "actions": steps}],
        )

    def drop(self, selector: str, paths: Sequence[Path]) -> None:
        """Let a script make the events; BiDi has none for files that are dragged."""
        _drop_by_script(self, selector, paths)

    def _find(self, selector: str) -> dict[str, str]:
        locator = {"type": "css", "value": selector}
        nodes = self._send("browsingContext.locateNodes", context=self._context, locator=locator)["nodes"]
        return {"sharedId": nodes[0]["sharedId"]}

    def _send(self, method: str, **parameters: object) -> Any:
        return self._connection.execute(command_builder(method, parameters))  # type: ignore[no-untyped-call]


class _WebKit:
    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def open(self, url: str) -> None:
        self._remote.get(url)

    def evaluate(self, expression: str) -> Any:
        return self._remote.execute_script(f"return {expression}")

    def choose(self, selector: str, paths: Sequence[Path]) -> None:
        self._remote.find_element("css selector", selector).send_keys("\n".join(str(path) for path in paths))

    def click(self, selector: str) -> None:
        self._remote.find_element("css selector", selector).click()

    def drop(self, selector: str, paths: Sequence[Path]) -> None:
        """Let a script make the events; WebDriver has none for files that are dragged."""
        _drop_by_script(self, selector, paths)


def _drop_by_script(driver: Driver, selector: str, paths: Sequence[Path]) -> None:
    driver.evaluate(_MAKE_SOURCE)
    driver.choose("#drop-source", paths)
    driver.evaluate(f"{_DROP_SOURCE}({json.dumps(selector)})")


@contextmanager
def _launch_chromium() -> Iterator[Driver]:
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        yield _Chromium(browser.new_page())
        browser.close()


@contextmanager
def _launch_firefox() -> Iterator[Driver]:
    with tempfile.TemporaryDirectory(prefix="firefox-", ignore_cleanup_errors=True) as home, ExitStack() as stack:
        profile = Path(home, "profile")
        profile.mkdir()
        command = ["firefox-esr", "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port=0"]
        # Its orderly end takes ten seconds, and saves only what nobody needs.
        process = _run(stack, command, name="Firefox", home=Path(home), grace_seconds=0)
        listening = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
        process.wait_until(lambda: listening.search(process.log) is not None, seconds=START_SECONDS)
        address = listening.search(process.log)
        assert address is not None
        connection = WebSocketConnection(f"{address[1]}/session", _ANSWER_SECONDS, 0.005)  # type: ignore[no-untyped-call]
        stack.callback(connection.close)
        # First the process, for which the connection would wait.
        stack.callback(process.stop)
        yield _Firefox(connection)


@contextmanager
def _launch_webkit() -> Iterator[Driver]:
    with ExitStack() as stack:
        home, environment = _webkit_environment(stack)
        port = free_port()
        driver = _run(
            stack,
            ["WebKitWebDriver", f"--port={port}"],
            name="WebKitWebDriver",
            home=home,
            environment=environment,
        )
        driver.wait_until(lambda: accepts_connections(port), seconds=START_SECONDS)
        options = WebKitOptions()
        options.binary_location = _mini_browser()
        options.add_argument("--automation")
        options.unhandled_prompt_behavior = "accept"
        client = ClientConfig(remote_server_addr=f"http://{HOST}:{port}", timeout=int(_ANSWER_SECONDS))
        # Files are given by their paths, not sent to the machine of the browser.
        remote = Remote(
            command_executor=RemoteConnection(client_config=client),
            options=options,
            file_detector=UselessFileDetector(),
        )
        stack.callback(remote.quit)
        yield _WebKit(remote)


@contextmanager
def visited_by_webkit(url: str) -> Iterator[None]:
    """Let WebKit show a page that needs no driver while the block lasts.

    What a driver starts is a private window, in which no file can be kept.
    """
    with ExitStack() as stack:
        home, environment = _webkit_environment(stack)
        _run(stack, [_mini_browser(), url], name="MiniBrowser", home=home, environment=environment)
        yield


def _mini_browser() -> str:
    browser = next((path for pattern in _MINI_BROWSERS for path in Path("/").glob(pattern)), None)
    assert browser, "WebKitWebDriver is installed without the MiniBrowser that it drives"
    return str(browser)


def _webkit_environment(stack: ExitStack) -> tuple[Path, dict[str, str]]:
    """Start a screen, and return a home and the variables for a program that shows WebKit on it."""
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="webkit-", ignore_cleanup_errors=True)))
    screen = ["-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
    display = _run(stack, ["Xvfb", *screen], name="Xvfb", home=home)
    number = re.compile(r"^\d+$", re.MULTILINE)
    display.wait_until(lambda: number.search(display.log) is not None, seconds=START_SECONDS)
    found = number.search(display.log)
    assert found is not None
    # As root its sandbox cannot start.
    return home, {"DISPLAY": f":{found[0]}", "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1"}


def _run(
    stack: ExitStack,
    command: Sequence[str],
    *,
    name: str,
    home: Path,
    environment: Mapping[str, str] | None = None,
    grace_seconds: float = _GRACE_SECONDS,
) -> ServerProcess:
    """Run a program, with a home of its own, until the stack ends."""
    folders = {name: str(home) for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CACHE_HOME")}
    process = ServerProcess(
        command,
        name=name,
        directory=home,
        environment={**os.environ, **folders, **(environment or {})},
        log_name=f"{Path(command[0]).name}.log",
        grace_seconds=grace_seconds,
    )
    stack.callback(process.stop)
    return process
