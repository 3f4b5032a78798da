"""The measurements of ``bench.growth`` inside one process: memory, tenants, kinds, tokens and waiting connections.

Each of them runs in a fresh process (``in_fresh_process``), so none counts the memory that another one has kept. Times
are CPU time.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import cycle
from multiprocessing import get_context
from typing import Any

import boto3
import psutil
import uvloop
from botocore.credentials import Credentials
from fastapi import FastAPI
from flask import Flask
from google.auth.credentials import AnonymousCredentials

from bench.rounds import Sample
from bench.ticket_servers import AWS, BUCKET, REGION
from emulators.ports import HOST
from presign import Backend, Presigner, UploadOptions, UploadPolicy, UploadRequest
from presign.asgi import create_app
from presign.azure import AzureBackend
from presign.fastapi import create_router
from presign.flask import create_blueprint
from presign.gcs import GCSBackend
from presign.presigner import MAX_OWNER_BYTES
from presign.s3 import S3Backend

RESIDENT = "resident_bytes"
SECONDS_PER_TICKET = "cpu_seconds_per_ticket"
BYTES_PER_TENANT = "resident_bytes_per_tenant"
TOKEN_BYTES, TICKET_BYTES, FIELDS_BYTES = "token_bytes", "ticket_bytes", "fields_bytes"
SESSION_BYTES = "session_resident_bytes"
TURNS = "turns"

_SECRET = "a secret of at least 16 bytes"
_PNG = UploadRequest(content_type="image/png", size=48_213)
_BODY = b'{"type":"image/png","size":48213,"name":"cat.png"}'
_SECOND = timedelta(seconds=1)
_BACKLOG = 2048
_WARM_UP_TICKETS = 2_000
_TICKETS_OF_A_KIND = 1_000
_TICKETS_OF_A_TOKEN = 5_000


def in_fresh_process(measure: Callable[[], Any]) -> Any:
    """Return what ``measure`` returns in a new process, which has imported nothing before."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure).result()


# Memory


def memory_by_tickets(counts: Sequence[int]) -> list[Sample]:
    """Issue tickets, each for another object, and return the resident bytes after each of the ascending ``counts``.

    ``cpu_seconds_per_ticket`` is the mean since the count before.
    """
    presigner = _presigner(_s3(_session()))
    process, issued = psutil.Process(), 0
    samples: list[Sample] = []
    for count in counts:
        start = time.process_time()
        for index in range(issued, count):
            presigner.issue(UploadRequest(content_type="image/png", size=index % 1_000_000 + 1, name=f"{index}.png"))
        seconds = (time.process_time() - start) / (count - issued)
        gc.collect()
        issued = count
        samples.append({"tickets": count, RESIDENT: process.memory_info().rss, SECONDS_PER_TICKET: seconds})
    return samples


# Tenants


class _Clock:
    """A clock that stands still until ``pass_second`` is called."""

    def __init__(self) -> None:
        self.now = datetime.now(timezone.utc)

    def __call__(self) -> datetime:
        return self.now

    def pass_second(self) -> None:
        self.now += _SECOND


def tenants_of_one_presigner(count: int, tickets: int) -> Sample:
    """Issue tickets for ``count`` owners in turn, each with a prefix of his own, from one presigner."""
    clock = _Clock()
    presigner = _presigner(_s3(_session()), clock=clock)
    tenants = [(f"tenant-{number}", UploadOptions(prefix=f"public/tenant-{number}/")) for number in range(count)]

    def issue(tenant: tuple[str, UploadOptions]) -> None:
        owner, options = tenant
        presigner.issue(_PNG, owner=owner, options=options)

    return _tenants_in_turn(lambda: tenants, issue, tickets=tickets, clock=None)


def tenants_with_backends(cloud: str, count: int, tickets: int, *, in_one_second: bool = False) -> Sample:
    """Issue tickets from ``count`` presigners in turn, each with a backend and keys of its own.

    Unless ``in_one_second``, each presigner's tickets are in different seconds, so that nothing made for one of them
    serves another. That is the worst case. On S3, all backends share boto3's client: see ``memory_of_boto3``.
    """
    clock = _Clock()
    make = _MAKERS[cloud]()
    return _tenants_in_turn(
        lambda: [_presigner(make(number), clock=clock) for number in range(count)],
        lambda presigner: presigner.issue(_PNG),
        tickets=tickets,
        clock=None if in_one_second else clock,
    )


def _tenants_in_turn(
    make: Callable[[], Sequence[Any]], issue: Callable[[Any], object], *, tickets: int, clock: _Clock | None
) -> Sample:
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    tenants = make()

    def issue_in_turn(count: int) -> None:
        for number, tenant in zip(range(count), cycle(tenants), strict=False):
            if clock is not None and number % len(tenants) == 0:
                clock.pass_second()
            issue(tenant)

    issue_in_turn(max(_WARM_UP_TICKETS, len(tenants)))
    start = time.process_time()
    issue_in_turn(tickets)
    seconds = (time.process_time() - start) / tickets
    gc.collect()
    kept = process.memory_info().rss - before
    return {"tenants": len(tenants), SECONDS_PER_TICKET: seconds, BYTES_PER_TENANT: kept / len(tenants)}


class _TenantSession(boto3.Session):
    """A session with keys of its own, which shares everything else with another session, and boto3's client too."""

    def __init__(self, number: int, *, like: boto3.Session, client: object) -> None:
        vars(self).update(vars(like))
        self._keys = Credentials(f"AKIA{number:016d}", f"{number:040d}")
        self._shared_client = client

    def get_credentials(self) -> Any:
        return self._keys

    def client(self, *arguments: Any, **options: Any) -> Any:
        return self._shared_client


def _s3_maker() -> Callable[[int], Backend]:
    session = _session()
    client = session.client("s3")
    return lambda number: _s3(_TenantSession(number, like=session, client=client))


def _azure_maker() -> Callable[[int], Backend]:
    def make(number: int) -> Backend:
        key = base64.b64encode(f"{number:064d}".encode()).decode()
        return AzureBackend(
            account_name=f"account{number:06d}", account_key=key, container="files", pending_container="pending"
        )

    return make


def _google_maker() -> Callable[[int], Backend]:
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    return lambda number: GCSBackend(
        bucket=BUCKET,
        hmac_access_id=f"GOOG1E{number:055d}",
        hmac_secret=base64.b64encode(f"{number:030d}".encode()).decode(),
        credentials=anonymous,
    )


_MAKERS = {"S3": _s3_maker, "Azure": _azure_maker, "Google": _google_maker}
CLOUDS = tuple(_MAKERS)


def memory_of_boto3(count: int) -> Sample:
    """Return what boto3's session and client of a tenant take, as the mean of ``count`` tenants, before any upload."""
    process = psutil.Process()
    kept: list[object] = []

    def make(number: int) -> None:
        session = boto3.Session(f"AKIA{number:016d}", "x" * 40, region_name=REGION)
        kept.append((session, session.client("s3")))

    make(0)
    before, start = process.memory_info().rss, time.process_time()
    for number in range(count):
        make(number)
    seconds = (time.process_time() - start) / count
    return {SESSION_BYTES: (process.memory_info().rss - before) / count, "session_cpu_seconds": seconds}


# Kinds


def kinds_in_one_application(framework: str, count: int) -> Sample:
    """Ask the last of ``count`` kinds for tickets, in the process, without a server."""
    backend = _s3(_session())
    kinds = [
        Presigner(backend=backend, policy=_policy(f"kind-{number}/"), secret=_SECRET, name=f"kind-{number}")
        for number in range(count)
    ]
    ask = _ASKERS[framework](kinds, f"/kind-{count - 1}/upload")

    async def measure() -> float:
        for _ in range(_TICKETS_OF_A_KIND // 10):
            await ask()
        start = time.process_time()
        for _ in range(_TICKETS_OF_A_KIND):
            await ask()
        return (time.process_time() - start) / _TICKETS_OF_A_KIND

    return {"kinds": count, SECONDS_PER_TICKET: asyncio.run(measure())}


async def _anybody() -> None:
    return None


async def _anybody_who_asks(request: object) -> None:
    return None


def _ask_asgi(kinds: Sequence[Presigner], path: str) -> Callable[[], Awaitable[None]]:
    return _asker(create_app(kinds, authorize=_anybody_who_asks), path)


def _ask_fastapi(kinds: Sequence[Presigner], path: str) -> Callable[[], Awaitable[None]]:
    app = FastAPI()
    app.include_router(create_router(kinds, authorize=_anybody), prefix="/files")
    return _asker(app, f"/files{path}")


def _asker(app: Callable[..., Awaitable[None]], path: str) -> Callable[[], Awaitable[None]]:
    statuses: list[int] = []
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": _BODY, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def ask() -> None:
        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "scheme": "http",
            "method": "POST",
            "path": path,
        }
        scope |= {"raw_path": path.encode(), "root_path": "", "query_string": b"", "headers": headers}
        await app(scope, receive, send)
        if statuses.pop() != 200:
            raise AssertionError(f"POST {path} is not answered with a ticket")

    return ask


def _ask_flask(kinds: Sequence[Presigner], path: str) -> Callable[[], Awaitable[None]]:
    app = Flask(__name__)
    app.register_blueprint(create_blueprint(kinds, authorize=lambda request: None), url_prefix="/files")
    client = app.test_client()

    async def ask() -> None:
        if client.post(f"/files{path}", data=_BODY, content_type="application/json").status_code != 200:
            raise AssertionError(f"POST {path} is not answered with a ticket")

    return ask


_ASKERS = {
    "presign.asgi": _ask_asgi,
    "presign.fastapi": _ask_fastapi,
    "presign.flask, with its test client": _ask_flask,
}
FRAMEWORKS = tuple(_ASKERS)


# Tokens


def _token_cases() -> Iterator[tuple[str, Callable[[], Presigner], UploadRequest, str | None, UploadOptions]]:
    name = UploadRequest(content_type="image/png", size=48_213, name="\U0001f408" * 251 + ".png")
    metadata = {f"{'m' * 60}{number}": "v" * 190 for number in range(8)}
    tags = {f"{'t' * 120}{number}": "v" * 256 for number in range(10)}
    plain = partial(_presigner, _s3(_session()))
    with_headers = partial(plain, policy=_policy("public/", content_disposition="attachment", metadata=metadata))
    everything = partial(
        plain,
        policy=_policy(
            "p" * 900 + "/", pending_prefix="q" * 900 + "/", content_disposition="attachment", metadata=metadata
        ),
    )
    none, most = UploadOptions(), UploadOptions(tags=tags, storage_class="STANDARD_IA")
    yield "short", plain, _PNG, None, none
    yield "an owner of 100 bytes", plain, _PNG, "o" * 100, none
    yield f"an owner of {MAX_OWNER_BYTES:,} bytes", plain, _PNG, "o" * MAX_OWNER_BYTES, none
    yield "a name of 255 characters of 4 bytes", plain, name, None, none
    yield "the same name, shown by browsers, and 2 KB of metadata", with_headers, name, None, none
    yield "everything at its limit", everything, name, "o" * MAX_OWNER_BYTES, most


def tokens() -> dict[str, Sample]:
    """Return the sizes and the CPU time of tickets whose tokens hold more and more, by case."""
    samples: dict[str, Sample] = {}
    for case, make, request, owner, options in _token_cases():
        presigner = make()
        ticket = presigner.issue(request, owner=owner, options=options)
        start = time.process_time()
        for _ in range(_TICKETS_OF_A_TOKEN):
            presigner.issue(request, owner=owner, options=options)
        samples[case] = {
            TOKEN_BYTES: len(ticket.token),
            TICKET_BYTES: len(ticket.to_json()),
            FIELDS_BYTES: sum(len(name) + len(value) for name, value in ticket.fields.items()),
            SECONDS_PER_TICKET: (time.process_time() - start) / _TICKETS_OF_A_TOKEN,
        }
    return samples


# Connections that wait


def turns_to_accept(connections: int, *, loop: str, listeners: int) -> Sample:
    """Return after how many turns of an idle event loop all ``connections`` that wait are accepted."""
    event_loop = uvloop.new_event_loop() if loop == "uvloop" else asyncio.new_event_loop()
    try:
        return {TURNS: event_loop.run_until_complete(_turns_to_accept(connections, listeners))}
    finally:
        event_loop.close()


async def _turns_to_accept(connections: int, listeners: int) -> int:
    accepted = 0

    class Counted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            nonlocal accepted
            accepted += 1

    first = socket.create_server((HOST, 0), backlog=_BACKLOG)
    loop = asyncio.get_running_loop()
    sockets = [first, *(first.dup() for _ in range(listeners - 1))]
    servers = [await loop.create_server(Counted, sock=each, backlog=_BACKLOG) for each in sockets]
    # The kernel connects them: nobody has accepted them yet.
    clients = [socket.create_connection(first.getsockname()) for _ in range(connections)]
    turns = 0
    while accepted < connections:
        turns += 1
        await asyncio.sleep(0)
    for client in clients:
        client.close()
    for server in servers:
        server.close()
    return turns


def _session() -> boto3.Session:
    return boto3.Session(AWS["AWS_ACCESS_KEY_ID"], AWS["AWS_SECRET_ACCESS_KEY"], region_name=REGION)


def _s3(session: boto3.Session) -> S3Backend:
    return S3Backend(bucket=BUCKET, session=session)


def _policy(prefix: str, **options: Any) -> UploadPolicy:
    return UploadPolicy(content_types={"image/png"}, max_bytes=10 * 2**20, prefix=prefix, **options)


def _presigner(
    backend: Backend,
    *,
    policy: UploadPolicy | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> Presigner:
    return Presigner(backend=backend, policy=policy or _policy("public/"), secret=_SECRET, clock=clock)
