"""The page on each storage that the demo can start: the same uploads, and other pages are refused."""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from demo_server.settings import StorageName
from demo_server.storages.local_storage import BUCKET
from demo_server.storages.run import run_local_storage
from emulators.ports import HOST
from tests.browser.conftest import TYPES, expect_state, open_page, pick
from tests.demo_process import Demo, running_demo

# As client/storage.js sends it: the listener for progress makes the browser send a CORS preflight.
SEND = """([ticket, content]) => new Promise((resolve) => {
    const file = new Blob([content]);
    const form = new FormData();
    for (const [name, value] of Object.entries(ticket.fields)) form.append(name, value);
    form.append("file", file);
    const xhr = new XMLHttpRequest();
    xhr.upload.onprogress = () => {};
    xhr.onloadend = () => resolve(xhr.status);
    xhr.open(ticket.method, ticket.url);
    for (const [name, value] of Object.entries(ticket.headers)) xhr.setRequestHeader(name, value);
    xhr.send(ticket.method === "PUT" ? file : form);
})"""
NO_ANSWER = 0
Arguments = tuple[str, ...]
ARGUMENTS: tuple[Arguments, ...] = ((), ("--create-only",), ("--create-only", "--require-sha256"))
CONTENT = "thirty-one bytes of a text file"

pytestmark = pytest.mark.browser


@dataclass(frozen=True, kw_only=True)
class Provisioned:
    """A running storage, whose CORS rules allow the pages on some ports: one for each way of running the demo."""

    environment: Mapping[str, str] = field(repr=False)
    page_ports: Mapping[Arguments, str]
    directory: Path
    _started: ExitStack = field(repr=False)
    _demos: dict[Arguments, Demo] = field(default_factory=dict, repr=False)

    def demo(self, *arguments: str) -> Demo:
        """Return the demo with these arguments on this storage; it runs until the storage stops."""
        if arguments not in self._demos:
            directory = self.directory / f"demo{len(self._demos)}"
            directory.mkdir()
            settings = {"PRESIGN_PAGE_PORT": self.page_ports[arguments], "PRESIGN_TYPES": TYPES, **self.environment}
            self._demos[arguments] = self._started.enter_context(running_demo(directory, *arguments, **settings))
        return self._demos[arguments]


@pytest.fixture(scope="module", params=get_args(StorageName))
def storage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provisioned]:
    with ExitStack() as started:
        # The ports stay reserved until the demos start and while they run, so that no other program takes them.
        page_ports = {}
        for arguments in ARGUMENTS:
            reserved = started.enter_context(socket.socket())
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind((HOST, 0))
            page_ports[arguments] = str(reserved.getsockname()[1])
        origins = [f"http://localhost:{port}" for port in page_ports.values()]
        directory = tmp_path_factory.mktemp(request.param)
        running = started.enter_context(
            run_local_storage(directory, origins=origins, report=print, storage=request.param)
        )
        yield Provisioned(environment=running.environment, page_ports=page_ports, directory=directory, _started=started)


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=" ".join)
def test_every_storage_takes_a_picture_from_the_page_which_shows_it(
    page: Page, storage: Provisioned, arguments: Arguments, png: Path
) -> None:
    demo = storage.demo(*arguments)
    open_page(page, demo)
    row = pick(page, png)
    expect_state(row, "done")
    url = row.get_by_test_id("result-link").get_attribute("href")
    assert url
    stored = httpx.get(url)
    assert stored.content == png.read_bytes()
    assert stored.headers["content-type"] == "image/png"
    page.wait_for_function("() => document.querySelector('[data-testid=preview]').naturalWidth === 256")


@pytest.mark.parametrize("arguments", ARGUMENTS[:2], ids=" ".join)
def test_an_upload_whose_responses_were_lost_is_sent_again_only_if_the_server_misses_it(
    page: Page, storage: Provisioned, arguments: Arguments, png: Path
) -> None:
    answers: dict[str, list[int]] = {"storage": [], "complete": []}
    not_uploaded = {"responseCode": 409, "body": b64encode(b'{"code": "not_uploaded"}').decode()}
    first_completion: dict[str, Any] = {}
    session = page.context.new_cdp_session(page)

    def lose_the_first_responses(paused: dict[str, Any]) -> None:
        command, parameters = "Fetch.continueRequest", {"requestId": paused["requestId"]}
        if paused["request"]["method"] in {"POST", "PUT"}:
            is_completion = paused["request"]["url"].startswith(demo.api)
            seen = answers["complete" if is_completion else "storage"]
            seen.append(paused["responseStatusCode"])
            if len(seen) == 1 and is_completion and first_completion:
                command, parameters = "Fetch.fulfillRequest", {**parameters, **first_completion}
            elif len(seen) == 1:
                command, parameters = "Fetch.failRequest", {**parameters, "errorReason": "ConnectionReset"}
        session.send(command, parameters)

    demo = storage.demo(*arguments)
    open_page(page, demo)
    # Not page.route, which loses the file in a form, and adds a Cache-Control to every request.
    session.on("Fetch.requestPaused", lose_the_first_responses)
    # The bucket, and the one for pending uploads, whose name begins with the other's.
    urls = (f"*/{BUCKET}*", f"{demo.api}/complete")
    session.send("Fetch.enable", {"patterns": [{"urlPattern": url, "requestStage": "Response"} for url in urls]})

    row = pick(page, png)
    expect_state(row, "done")
    assert (len(answers["storage"]), len(answers["complete"])) == (1, 2)
    assert answers["storage"][0] in {200, 201}
    _holds_the_picture(row, png)

    open_page(page, demo)
    cors = {"Access-Control-Allow-Origin": "*", "Content-Type": "application/problem+json"}
    first_completion |= not_uploaded | {"responseHeaders": [{"name": n, "value": v} for n, v in cors.items()]}
    for seen in answers.values():
        seen.clear()
    row = pick(page, png)
    expect_state(row, "done")
    assert (len(answers["storage"]), len(answers["complete"])) == (2, 2)
    _holds_the_picture(row, png)


def _holds_the_picture(row: Locator, png: Path) -> None:
    url = row.get_by_test_id("result-link").get_attribute("href")
    assert url
    assert httpx.get(url).content == png.read_bytes()


@pytest.mark.parametrize("arguments", ARGUMENTS[:2], ids=" ".join)
def test_every_storage_takes_uploads_from_the_page_and_from_no_other_origin(
    page: Page, storage: Provisioned, arguments: Arguments
) -> None:
    demo = storage.demo(*arguments)
    ticket = _ticket(demo)
    page.goto(f"{demo.api}/openapi.json")
    assert page.evaluate(SEND, [ticket, CONTENT]) == NO_ANSWER
    refused = httpx.post(f"{demo.api}/complete", json={"token": ticket["token"]})
    assert refused.json()["code"] == "not_uploaded"
    open_page(page, demo)
    assert page.evaluate(SEND, [ticket, CONTENT]) in {200, 201}
    completed = httpx.post(f"{demo.api}/complete", json={"token": ticket["token"]})
    assert completed.status_code == 200, completed.text
    assert ticket["object_url"] == completed.json()["object_url"]
    assert httpx.get(ticket["object_url"]).text == CONTENT


def test_missing_cors_rules_are_named_for_every_storage(
    page: Page, storage: Provisioned, tmp_path: Path, png: Path
) -> None:
    with running_demo(tmp_path, PRESIGN_TYPES=TYPES, **storage.environment) as elsewhere:
        open_page(page, elsewhere)
        row = pick(page, png)
        expect_state(row, "failed", timeout_ms=60_000)
        expect(row.get_by_test_id("message")).to_contain_text("CORS")
        expect(row.get_by_test_id("message")).to_contain_text(elsewhere.page)


def _ticket(demo: Demo) -> Any:
    answer = httpx.post(f"{demo.api}/upload", json={"type": "text/plain", "size": len(CONTENT), "name": "a note.txt"})
    assert answer.status_code == 200, answer.text
    return answer.json()
