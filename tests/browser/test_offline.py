"""Chromium loses its network, or the answer of `/complete`, and no byte of a file that arrived is sent again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from playwright.sync_api import Page, Request

from demo_server.storages.local_storage import BUCKET, REGION
from demo_server.storages.run import run_local_storage
from tests.browser.conftest import TYPES, Network
from tests.browser.counting_relay import CountingRelay, run_counting_relay
from tests.conftest import read_state
from tests.demo_process import Demo, running_demo

FILES = 20
FILE_BYTES = 400_000
BYTES_PER_SECOND = 1_000_000
# A file needs some seconds, so that it is still being sent when the test takes the network away.
FEW_BYTES_PER_SECOND = 50_000
CONCURRENCY = 3
OFFLINE_SECONDS = 90
CHECK_SECONDS = 30
END_SECONDS = 120.0

pytestmark = pytest.mark.browser

START = """async ([api, files, size, options]) => {
    const { complete, createUploader } = await import("/client/index.js");
    const header = Uint8Array.from([137, 80, 78, 71, 13, 10, 26, 10]);
    const page = { states: {}, onLine: [], complete };
    for (const event of ["offline", "online"]) addEventListener(event, () => page.onLine.push(navigator.onLine));
    const uploader = createUploader({ api, ...options });
    uploader.on("change", ({ id, state }) => {
        const states = (page.states[id] ??= []);
        if (states.at(-1) !== state) states.push(state);
    });
    const blobs = Array.from({ length: files }, (_, index) => {
        const bytes = new Uint8Array(size).fill(index);
        bytes.set(header);
        return new File([bytes], `${index}.png`, { type: "image/png" });
    });
    uploader.add(blobs);
    globalThis.page = page;
    globalThis.uploader = uploader;
}"""
SOME_ARE_DONE = "() => uploader.totals.done >= 5"
EACH_THAT_RUNS_HAS_SENT_A_PART = """() => {
    const isInTheMiddle = ({ state, loaded, file }) => state === "uploading" && loaded > 0 && loaded < 0.6 * file.size;
    return uploader.totals.running === 3 && uploader.items.filter(isInTheMiddle).length === 3;
}"""
ITEMS = """() => uploader.items.map(({ id, state, loaded, result, error, ticket }) =>
    ({ id, state, loaded, key: result?.key, code: error?.code, token: error?.token, ticket: ticket?.token }))"""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A demo whose storage is behind a relay that counts."""

    demo: Demo
    relay: CountingRelay
    admin: Any

    def keys(self) -> set[str]:
        listed = self.admin.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {item["Key"] for item in listed}

    def body_of(self, key: str) -> bytes:
        body: bytes = self.admin.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    directory = tmp_path_factory.mktemp("offline")
    # The page's origin is not known yet, and this is no test of CORS.
    with run_local_storage(directory / "storage", origins=["*"], report=print) as running:
        state = read_state(directory / "storage")
        endpoint_url = f"http://127.0.0.1:{state['port']}"
        admin = boto3.client(
            "s3",
            region_name=REGION,
            endpoint_url=endpoint_url,
            aws_access_key_id=state["admin"]["access_key_id"],
            aws_secret_access_key=state["admin"]["secret_access_key"],
        )
        with run_counting_relay(endpoint_url) as relay:
            environment = {
                name: value.replace(
                    f"127.0.0.1%3A{state['port']}", relay.url.removeprefix("http://").replace(":", "%3A")
                )
                for name, value in running.environment.items()
            }
            assert environment != dict(running.environment)
            with running_demo(directory, PRESIGN_TYPES=TYPES, PRESIGN_EXPIRES_IN="600", **environment) as demo:
                yield Setting(demo=demo, relay=relay, admin=admin)


@dataclass(kw_only=True)
class Sent:
    """What the page sends to the server and to the storage; ``ended`` has the statuses, and 0 for a broken request.

    A request with a list counts once for each of its files.
    """

    setting: Setting
    begun: list[str] = field(default_factory=list)
    ended: list[tuple[str, int]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> Sent:
        page.on("request", self._on_begin)
        page.on("requestfailed", lambda request: self._on_end(request, 0))
        page.on("response", lambda response: self._on_end(response.request, response.status))
        return self

    def _on_begin(self, request: Request) -> None:
        if kind := self._kind(request):
            items = _items(kind, request)
            self.begun += [kind] * len(items)
            if kind == "complete":
                self.tokens += [item["token"] for item in items]

    def _on_end(self, request: Request, status: int) -> None:
        if kind := self._kind(request):
            self.ended += [(kind, status)] * len(_items(kind, request))

    def _kind(self, request: Request) -> str:
        if request.method != "POST":
            return "look" if request.method == "HEAD" else ""
        if request.url.startswith(self.setting.relay.url):
            return "file"
        return {f"{self.setting.demo.api}/upload": "ticket", f"{self.setting.demo.api}/complete": "complete"}[
            request.url
        ]


def _items(kind: str, request: Request) -> list[Any]:
    """Return what a request asks for; a file that is sent is one item without content."""
    content = json.loads(request.post_data or "") if kind in ("ticket", "complete") else None
    return content if isinstance(content, list) else [content]


def _start(page: Page, setting: Setting, *, files: int, size: int = FILE_BYTES, **options: Any) -> Sent:
    sent = Sent(setting=setting).watch(page)
    # The page's own script is not needed, and has its own tests.
    page.goto(f"{setting.demo.page}/client/index.js")
    page.evaluate(START, [setting.demo.api, files, size, options])
    return sent


def _wait_until_finished(page: Page) -> list[dict[str, Any]]:
    page.wait_for_function("() => uploader.totals.waiting + uploader.totals.running === 0", timeout=END_SECONDS * 1000)
    items: list[dict[str, Any]] = page.evaluate(ITEMS)
    return items


def _break_connections(page: Page, setting: Setting) -> None:
    """Break them, and wait until each file that was being sent waits for the network."""
    setting.relay.cut()
    page.wait_for_function("() => uploader.items.filter(({ state }) => state === 'offline').length === 3")


def _wait_offline(page: Page, sent: Sent, clock: str) -> None:
    """Let OFFLINE_SECONDS pass: really, or by the clock of the page, which also fires its timers."""
    if clock == "real":
        page.wait_for_timeout(OFFLINE_SECONDS * 1000)
        return
    for _ in range(OFFLINE_SECONDS // CHECK_SECONDS):
        expected = sent.begun.count("file") + CONCURRENCY
        page.clock.fast_forward(CHECK_SECONDS * 1000)
        deadline = time.monotonic() + END_SECONDS
        while sent.begun.count("file") < expected or len(sent.begun) > len(sent.ended):
            assert time.monotonic() < deadline, "not every file that waits tries whether the network is there"
            page.wait_for_timeout(20)


@pytest.mark.parametrize("clock", ["of the page", pytest.param("real", marks=pytest.mark.large)])
def test_twenty_files_survive_ninety_seconds_offline_and_only_broken_requests_are_repeated(
    page: Page, setting: Setting, clock: str
) -> None:
    if clock != "real":
        page.clock.install()
    # The first requests to a server take longest, and the requests that are counted below must not be repeated.
    _start(page, setting, files=CONCURRENCY, concurrency=CONCURRENCY)
    _wait_until_finished(page)
    keys_before, files_before = setting.keys(), len(setting.relay.of("POST"))
    network = Network(page)
    network.limit_uploads(BYTES_PER_SECOND)
    # With one attempt for each request, a failure that counts is the end of its file.
    sent = _start(page, setting, files=FILES, attempts=1, concurrency=CONCURRENCY)
    page.wait_for_function(SOME_ARE_DONE, timeout=END_SECONDS * 1000)
    network.limit_uploads(FEW_BYTES_PER_SECOND)
    page.wait_for_function(EACH_THAT_RUNS_HAS_SENT_A_PART, timeout=END_SECONDS * 1000)
    network.go_offline(lambda: _break_connections(page, setting))
    assert page.evaluate("navigator.onLine") is False
    items = page.evaluate(ITEMS)
    interrupted = [item["id"] for item in items if item["state"] == "offline"]
    stored = sum(item["state"] == "done" for item in items)
    assert sent.ended.count(("file", 0)) == CONCURRENCY
    assert len(sent.begun) == len(sent.ended), "nothing is sent while the files wait"

    sent_before, received_before = len(sent.begun), len(setting.relay.requests)
    _wait_offline(page, sent, clock)
    attempts = sent.begun[sent_before:]
    checks = OFFLINE_SECONDS // CHECK_SECONDS
    # A check is one request, and a look whether the storage is there.
    assert CONCURRENCY * (checks - 1) <= attempts.count("file") <= CONCURRENCY * checks
    assert attempts.count("look") <= attempts.count("file")
    assert set(attempts) == {"file", "look"}
    assert len(setting.relay.requests) == received_before
    assert sum(item["state"] == "done" for item in page.evaluate(ITEMS)) == stored

    broken_offline = sent.ended.count(("file", 0))
    setting.relay.mend()
    network.go_online()
    items = _wait_until_finished(page)
    assert [(item["state"], item["code"]) for item in items] == [("done", None)] * FILES
    assert page.evaluate("page.onLine") == [False, True]
    states = page.evaluate("page.states")
    for item in items:
        once = ["waiting", "requesting", "uploading", "verifying", "done"]
        seen = states[str(item["id"])]
        if item["id"] in interrupted:
            assert [state for state in seen if state != "offline"][:3] == once[:3]
            assert "offline" in seen
            assert seen[-2:] == once[-2:]
            assert set(seen) == {*once, "offline"}
        else:
            assert seen == once

    # A ticket and a completion for each file; a file is sent once, and again only if its request broke.
    assert sent.begun.count("ticket") == FILES
    assert len(sent.tokens) == len(set(sent.tokens)) == FILES
    assert sent.ended.count(("file", 0)) == broken_offline
    received = setting.relay.of("POST")[files_before:]
    whole = [request for request in received if request.is_whole]
    broken = [request for request in received if not request.is_whole]
    assert len(whole) == FILES
    assert {request.status for request in whole} <= {200, 201, 204}
    assert len(broken) <= CONCURRENCY
    assert all(request.bytes < FILE_BYTES for request in broken)
    # Everything is published, and nothing is left in the pending place.
    assert setting.keys() - keys_before == {item["key"] for item in items}
    for item in items:
        expected = b"\x89PNG\r\n\x1a\n" + bytes([item["id"] - 1]) * (FILE_BYTES - 8)
        assert setting.body_of(item["key"]) == expected


class LostAnswers:
    """Breaks the next requests to complete an upload: before the server gets them, or after it has done the work."""

    def __init__(self, page: Page, demo: Demo, stage: str) -> None:
        self.left = 0
        self.statuses: list[int | None] = []
        self._session = page.context.new_cdp_session(page)
        # Not page.route, which makes the browser send a Cache-Control to the storage.
        self._session.on("Fetch.requestPaused", self._on_paused)
        patterns = [{"urlPattern": f"{demo.api}/complete", "requestStage": stage}]
        self._session.send("Fetch.enable", {"patterns": patterns})

    def _on_paused(self, paused: dict[str, Any]) -> None:
        request_id = {"requestId": paused["requestId"]}
        if paused["request"]["method"] != "POST" or not self.left:
            self._session.send("Fetch.continueRequest", request_id)
            return
        self.left -= 1
        self.statuses.append(paused.get("responseStatusCode"))
        self._session.send("Fetch.failRequest", {**request_id, "errorReason": "ConnectionReset"})


def _was_done(lost: LostAnswers, stage: str) -> bool:
    return lost.statuses == [200] if stage == "Response" else lost.statuses == [None]


@pytest.mark.parametrize("stage", ["Request", "Response"])
def test_a_completion_whose_answer_is_lost_is_repeated_with_its_token_and_without_the_file(
    page: Page, setting: Setting, stage: str
) -> None:
    lost = LostAnswers(page, setting.demo, stage)
    lost.left = 1
    sent = _start(page, setting, files=1)
    (item,) = _wait_until_finished(page)
    assert _was_done(lost, stage)
    assert item["state"] == "done"
    assert sent.tokens == [item["ticket"]] * 2
    assert (sent.begun.count("ticket"), sent.begun.count("file")) == (1, 1)
    assert len(setting.body_of(item["key"])) == FILE_BYTES


@pytest.mark.parametrize("end", ["complete", "retry"])
@pytest.mark.parametrize("stage", ["Request", "Response"])
def test_an_upload_that_was_given_up_at_its_completion_ends_later_with_its_token_and_without_the_file(
    page: Page, setting: Setting, stage: str, end: str
) -> None:
    lost = LostAnswers(page, setting.demo, stage)
    lost.left = 1
    sent = _start(page, setting, files=1, attempts=1)
    (item,) = _wait_until_finished(page)
    assert _was_done(lost, stage)
    assert (item["state"], item["token"]) == ("failed", item["ticket"])
    if end == "complete":
        stored = page.evaluate("([token, api]) => page.complete(token, { api })", [item["token"], setting.demo.api])
        key = stored["key"]
    else:
        page.evaluate("id => uploader.retry(id)", item["id"])
        (item,) = _wait_until_finished(page)
        assert item["state"] == "done"
        key = item["key"]
    assert sent.tokens == [item["ticket"]] * 2
    assert (sent.begun.count("ticket"), sent.begun.count("file")) == (1, 1)
    assert len(setting.body_of(key)) == FILE_BYTES
