"""Uploads of one large file during which one thing fails, at a random moment."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import parse_qs, urlsplit

import pytest

from emulators.npm_packages import node
from emulators.ports import HOST, free_port
from presign import InvalidToken, UploadEnded
from presign.backends.backend import Backend
from tests.conftest import PNG
from tests.failing_relay import Event, Failure, Relay, run_relay
from tests.faults import api_server
from tests.faults.stores import KillableStore

ROOT = Path(__file__).resolve().parent.parent.parent
COUNT = int(os.environ.get("FAULTS", "6"))
"""How many faults each storage gets. With seed 1, fewer than six would leave out a kind of fault on every storage."""
SEED = os.environ.get("FAULTS_SEED", "1")
"""Which ones; the message of a failure names it."""
PAGE = Path(__file__).with_name("page.mjs")
WAIT_SECONDS = 120
MAX_RUNS = 3
FORGOTTEN = 410
"""The status of an event that no server sent: the storage had the part before it was killed, and has it no more."""
SLOW_CLOCK_SECONDS = 2 * 3600
JUMP_MS = 3_600_000
STALL_SECONDS, WAIT_FOR_ANSWER_SECONDS = 4, 30
"""After how long a client gives up a request that stands still, instead of a minute."""
COMMAND = (
    "import sys; import presign.uploading.connections as connections; "
    "connections._ANSWER_SECONDS = float(sys.argv.pop(1)); "
    "from presign.__main__ import main; sys.argv[0] = 'presign'; main()"
)

Kind = Literal[
    "a part's connection is cut",
    "a part is answered with 500",
    "a part is answered with 503",
    "a part stalls",
    "a part's request has expired",
    "the server's answer is lost",
    "the server is killed",
    "the storage is killed",
    "the client is closed",
    "the machine sleeps",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
Who = Literal["page", "command"]
_SERVER_PATHS = ("/upload", "/complete")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What fails, to whom, and when: at the part that is sent as number ``at``, counted from 0."""

    kind: Kind
    who: Who
    at: int
    done: bool
    variant: float

    def __str__(self) -> str:
        return f"{self.kind}, {self.who}, at part {self.at}{', done' if self.done else ''}, {self.variant:.3f}"


def draw_faults(seed: str, count: int, *, parts: int) -> list[Fault]:
    """Return faults, every kind about as often as the others; the same ones for the same seed."""
    draw = random.Random(seed)
    kinds: list[Kind] = []
    while len(kinds) < count:
        kinds += draw.sample(KINDS, len(KINDS))
    return [
        Fault(
            kind=kind,
            who=draw.choice(get_args(Who)),
            at=draw.randrange(parts),
            done=draw.random() < 0.5,
            variant=draw.random(),
        )
        for kind in kinds[:count]
    ]


@dataclass(kw_only=True)
class World:
    """A storage, the application's server, and a relay before each of them."""

    store: KillableStore
    storage: Relay
    api: Relay
    folder: Path
    backend: Backend = field(repr=False)
    api_port: int
    _server: subprocess.Popen[str] | None = None

    @property
    def clock(self) -> Path:
        return self.folder / "clock"

    def start_api(self) -> None:
        self._server = subprocess.Popen(
            [
                *(sys.executable, "-m", api_server.__name__, str(self.api_port)),
                *(self.store.address_at(self.storage.url), str(self.clock), str(self.store.part_bytes)),
            ],
            cwd=ROOT,
            env={**_environment(), **self.store.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"

    def kill_api(self) -> None:
        server = self._server
        if server is not None:
            server.kill()
            server.communicate()
        self._server = None

    def set_clock_back(self, seconds: int) -> None:
        # The server may read it at any moment.
        new = self.clock.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self.clock)

    def held_parts(self, tokens: list[str]) -> set[tuple[str, str]]:
        """Return the parts that the storage itself lists for the uploads of these tokens; see ``part_of``."""
        held = set()
        for token, kind in itertools.product(tokens, api_server.KINDS):
            presigner = api_server.make_presigner(self.backend, kind, part_bytes=self.store.part_bytes)
            # A token is of one kind of upload.
            with suppress(InvalidToken, UploadEnded):
                listed = presigner.list_parts(token, owner=api_server.OWNER)
                digests = ["0" * 64] * len(listed.numbers) if listed.plan.needs_sha256 else None
                numbers = list(listed.numbers)
                if numbers:
                    signed = presigner.sign_parts(token, numbers, owner=api_server.OWNER, sha256=digests)
                    held |= {part_of(f"PUT {request.url}") for request in signed.requests}
        return held

    def content_of(self, key: str) -> bytes:
        head = self.backend.head(key)
        assert head is not None, f"there is no {key}"
        return self.backend.read(key, offset=0, length=head.size, etag=head.etag)


@contextmanager
def running_world(store: KillableStore, folder: Path) -> Iterator[World]:
    """Start everything; what this machine knows of clouds is not used."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment.items():
            patch.setenv(name, value)
        stack.callback(store.stop)
        store.start()
        storage = stack.enter_context(run_relay(store.url))
        port = free_port()
        api = stack.enter_context(run_relay(f"http://{HOST}:{port}"))
        backend = api_server.opened_backend(store.address_at(storage.url))
        world = World(store=store, storage=storage, api=api, folder=folder, backend=backend, api_port=port)
        world.set_clock_back(0)
        world.start_api()
        stack.callback(world.kill_api)
        yield world


def part_of(request: str) -> tuple[str, str]:
    """Return which part a request of a client is for: the upload, and the part in it."""
    parts = urlsplit(request.partition(" ")[2])
    query = parse_qs(parts.query)
    upload = [parts.path, *query.get("uploadId", [])]
    return " ".join(upload), (query.get("partNumber") or query["blockid"])[0]


class Client:
    """The page or the command with one file and one folder for its state; it can be run again."""

    def __init__(self, world: World, fault: Fault, number: int) -> None:
        self._world = world
        self._fault = fault
        self._state = world.folder / f"state-{number}"
        self.path = world.folder / f"film-{number}.png"
        size = (world.store.part_count - 1) * world.store.part_bytes + world.store.part_bytes // 3
        self.content = PNG + random.Random(number).randbytes(size - len(PNG))
        self.path.write_bytes(self.content)
        self.process: subprocess.Popen[str] | None = None
        self.runs = 0

    @property
    def is_page(self) -> bool:
        return self._fault.who == "page"

    @property
    def tokens(self) -> list[str]:
        """The tokens of the uploads that the client could go on with."""
        if not self._state.exists():
            return []
        records = [json.loads(path.read_text()) for path in self._state.iterdir() if path.suffix != ".new"]
        return [record["ticket"]["token"] if self.is_page else record["token"] for record in records]

    def start(self) -> None:
        self.runs += 1
        kind = "brief" if self._fault.kind == "the machine sleeps" else "files"
        api = f"{self._world.api.url}/{kind}"
        give_up = STALL_SECONDS if self._fault.kind == "a part stalls" else WAIT_FOR_ANSWER_SECONDS
        if self.is_page:
            options = {
                "api": api,
                "path": str(self.path),
                "type": "image/png",
                "state": str(self._state),
                "isPatient": "killed" in self._fault.kind,
                "giveUpMs": 1000 * give_up,
            }
            command = [str(node()), str(PAGE), json.dumps(options)]
        else:
            command = [sys.executable, "-c", COMMAND, str(give_up), "upload", str(self.path), "--api", api]
            command += ["--state", str(self._state), "--json", "--type", "image/png"]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self) -> tuple[str | None, str]:
        """Wait until the client ends; return the key of what is stored, or None, and all that the client said."""
        assert self.process is not None
        stdout, stderr = self.process.communicate(timeout=WAIT_SECONDS)
        said = f"{stdout}{stderr}"
        try:
            answer: Mapping[str, Any] = json.loads(stdout)
        except json.JSONDecodeError:
            answer = {}
        return answer.get("key"), said

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()

    def jump(self, clocks: str, ms: int) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{clocks} {ms}\n")
        self.process.stdin.flush()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an upload ended; ``key`` is None if it did not, and ``said`` is what the client wrote.

    - ``sent_again``: parts that were sent although the storage had them at that time.
    - ``runs``: how often the client was started: twice if it was closed, once more for each time it gave up.
    """

    key: str | None
    said: str
    sent_again: list[tuple[str, str]]
    runs: int


def check_fault(world: World, number: int) -> None:
    """Upload a file during fault ``number``; fail unless it ends with its bytes, and no part was sent in vain."""
    fault = draw_faults(f"{SEED} {world.store.name}", COUNT, parts=world.store.part_count)[number]
    outcome, client = upload_during(world, fault, number)
    told = f"FAULTS_SEED={SEED} FAULTS={COUNT}, fault {number}: {fault}\n{outcome.said}"
    assert outcome.key is not None, told
    assert world.content_of(outcome.key) == client.content, told
    assert outcome.sent_again == [], told
    assert client.tokens == [], told
    assert outcome.runs == (2 if fault.kind == "the client is closed" else 1), told
    client.path.unlink()


def upload_during(world: World, fault: Fault, number: int) -> tuple[Outcome, Client]:
    """Upload a file while ``fault`` happens, as a person does it: they run again what gave up, or was closed."""
    client = Client(world, fault, number)
    del world.storage.events[:]
    try:
        _arm(world, fault)
        client.start()
        _act(world, fault, client)
        key, said = client.end()
        while key is None and client.runs < MAX_RUNS:
            client.start()
            key, more = client.end()
            said += more
    finally:
        client.kill()
        world.storage.disarm()
        world.api.disarm()
        world.storage.is_down = world.api.is_down = False
        world.set_clock_back(0)
    again = sent_again(world.storage.events, world.store.part_text)
    return Outcome(key=key, said=said, sent_again=again, runs=client.runs), client


def sent_again(events: list[Event], part_text: str) -> list[tuple[str, str]]:
    """Return the parts that a client sent although the storage had them.

    What the storage has is what it has answered, also if the client did not get the answer, until it is FORGOTTEN.
    """
    held: set[tuple[str, str]] = set()
    again = []
    for event in events:
        if not event.request.startswith("PUT ") or part_text not in event.request:
            continue
        part = part_of(event.request)
        if event.status is None and part in held:
            again.append(part)
        elif event.status == FORGOTTEN:
            held.discard(part)
        elif event.status is not None and 200 <= event.status <= 299:
            held.add(part)
    return again


def _arm(world: World, fault: Fault) -> None:
    parts, done, at = world.store.part_text, fault.done, fault.at
    match fault.kind:
        case "a part's connection is cut":
            answer: Any = ("cut request", "close", "cut headers")[int(fault.variant * 3)]
            world.storage.arm(Failure(answer=answer, done=done, only=parts, times=1 + done), at=at)
        case "a part is answered with 500" | "a part is answered with 503":
            answer = 500 if "500" in fault.kind else 503
            world.storage.arm(Failure(answer=answer, done=done, only=parts, times=1 + int(fault.variant * 3)), at=at)
        case "a part stalls":
            world.storage.arm(Failure(answer="hang", done=done, only=parts), at=at)
        case "a part's request has expired":
            world.set_clock_back(SLOW_CLOCK_SECONDS)
            # Nothing fails by itself: the storage refuses what was signed too long ago.
            world.storage.arm(Failure(answer="late", only=parts), at=0)
        case "the server's answer is lost":
            path = _SERVER_PATHS[int(fault.variant * 2)]
            world.api.arm(Failure(answer=("close", 503)[at % 2], done=done, only=path), at=0)
        case "the server is killed" if done:
            world.api.arm(Failure(answer="late", only="/complete"), at=0)
        case "the server is killed" | "the storage is killed":
            world.storage.arm(Failure(answer="late", only=parts), at=at)
        case "the client is closed" | "the machine sleeps":
            world.storage.arm(Failure(answer="hang", done=done, only=parts), at=at)


def _act(world: World, fault: Fault, client: Client) -> None:
    """Do at the armed moment what the relay cannot do by itself."""
    match fault.kind:
        case "a part's request has expired":
            _reach(world.storage, client)
            world.set_clock_back(0)
            world.storage.disarm()
        case "the server is killed":
            _reach(world.api if fault.done else world.storage, client)
            world.kill_api()
            world.storage.disarm()
            world.api.disarm()
            time.sleep(fault.variant)
            world.start_api()
        case "the storage is killed":
            _reach(world.storage, client)
            world.storage.is_down = True
            world.store.kill()
            world.store.start()
            held = world.held_parts(client.tokens)
            for event in [each for each in world.storage.events if each.status in (200, 201)]:
                if part_of(event.request) not in held:
                    world.storage.note(Event(request=event.request, status=FORGOTTEN))
            world.storage.is_down = False
            world.storage.disarm()
        case "the client is closed":
            _reach(world.storage, client)
            client.kill()
            world.storage.disarm()
            _until_quiet(world.storage)
            client.start()
        case "the machine sleeps":
            _reach(world.storage, client)
            assert client.process is not None
            client.process.send_signal(signal.SIGSTOP)
            world.storage.cut()
            world.api.cut()
            world.storage.disarm()
            if client.is_page and fault.variant < 0.75:
                # What was signed may have expired by the clocks of the page only, by that of the storage only, or both.
                client.jump("both" if fault.variant < 0.5 else "wall", JUMP_MS if fault.variant < 0.6 else -JUMP_MS)
            if fault.variant >= 0.25:
                time.sleep(api_server.KINDS["brief"].total_seconds())
            client.process.send_signal(signal.SIGCONT)
        case _:
            pass


def _reach(relay: Relay, client: Client) -> None:
    assert client.process is not None
    deadline = time.monotonic() + WAIT_SECONDS
    while not relay.reached.wait(0.05):
        if client.process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the moment of the fault did not come: {client.end()[1]}")


def _until_quiet(relay: Relay) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while relay.connections:
        assert time.monotonic() < deadline, "requests of the client that was closed go on"
        time.sleep(0.01)


def _environment() -> dict[str, str]:
    left_out = ("PRESIGN", "AWS_", "AZURE_", "GCS_", "GOOGLE_")
    names = [name for name in os.environ if not name.startswith(left_out) and not name.lower().endswith("_proxy")]
    return {**{name: os.environ[name] for name in names}, "PYTHONPATH": str(ROOT)}
