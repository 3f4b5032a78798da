"""What blocks (``authorize``, the storage, the renewal of credentials) blocks nothing else of the application."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from demo_server.storages.local_storage import BUCKET
from emulators.serving import serve
from presign import (
    Accept,
    ConfigurationError,
    InspectedObject,
    Presigner,
    Unauthenticated,
    UploadPolicy,
    UploadRequest,
)
from presign.asgi import MAX_THREADS, TIMEOUT_SECONDS, Authorize, create_app
from presign.s3 import S3Backend
from tests.conftest import PNG, TOKEN_SECRET, Store, png_request
from tests.threads import threads_named, wait_for

ROOT = Path(__file__).resolve().parents[1]
PNG_REQUEST = {"type": "image/png"}
BUSY_MACHINE_SECONDS = 15.0
"""How much longer an answer may take if other programs use the machine; what blocks takes longer still."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One answer, and how long it took."""

    status: int
    body: Any
    headers: Mapping[str, str]
    seconds: float


def _ask(
    url: str, requests: Sequence[tuple[str, str, Any]], *, while_running: Callable[[], None] | None = None
) -> list[Timed]:
    """Send all requests (method, path, JSON) at once, and return the answers in the same order."""
    host, _, port = url.removeprefix("http://").rpartition(":")

    async def ask(method: str, path: str, members: Any) -> Timed:
        # Of a real client, 200 at once would take more time than the server.
        began = time.monotonic()
        reader, writer = await asyncio.open_connection(host, int(port))
        content = b"" if members is None else json.dumps(members).encode()
        head = [
            *(f"{method} {path} HTTP/1.1", "Host: test", "Connection: close"),
            *("Content-Type: application/json", f"Content-Length: {len(content)}"),
        ]
        writer.write("\r\n".join([*head, "", ""]).encode() + content)
        answer = await reader.read()
        writer.close()
        seconds = time.monotonic() - began
        lines, _, body = answer.decode().partition("\r\n\r\n")
        status, *fields = lines.split("\r\n")
        headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        return Timed(
            status=int(status.split()[1]),
            body=json.loads(body) if "json" in headers["content-type"] else body,
            headers=headers,
            seconds=seconds,
        )

    async def ask_all() -> list[Timed]:
        answers = asyncio.gather(*[ask(*request) for request in requests])
        if while_running is not None:
            await asyncio.to_thread(while_running)
        return await answers

    return asyncio.run(ask_all())


@contextmanager
def _hanging_server() -> Iterator[str]:
    """A server that accepts connections, reads nothing and answers nothing."""
    accepted: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)

    def accept() -> None:
        while True:
            try:
                accepted.append(listener.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for connection in accepted:
            connection.close()


# authorize


def _thread_name(request: Request) -> str:
    raise Unauthenticated(threading.current_thread().name)


async def _thread_name_on_the_loop(request: Request) -> str:
    return _thread_name(request)


class _AsyncObject:
    async def __call__(self, request: Request) -> str:
        return _thread_name(request)


class _PlainObject:
    def __call__(self, request: Request) -> str:
        return _thread_name(request)


def _returns_a_coroutine(request: Request) -> Awaitable[str]:
    return _thread_name_on_the_loop(request)


def _with_option(request: Request, *, option: str) -> str:
    return _thread_name(request)


async def _async_with_option(request: Request, *, option: str) -> str:
    return _thread_name(request)


@pytest.mark.parametrize(
    ("authorize", "on_the_loop"),
    [
        (_thread_name, False),
        (_PlainObject(), False),
        (partial(_with_option, option="x"), False),
        (_thread_name_on_the_loop, True),
        (_AsyncObject(), True),
        (_AsyncObject().__call__, True),
        (partial(_async_with_option, option="x"), True),
        (partial(_AsyncObject()), True),
        (_returns_a_coroutine, True),
    ],
)
def test_authorize_runs_on_the_event_loop_only_if_it_is_declared_async(
    s3_reference: Store, authorize: Authorize, on_the_loop: bool
) -> None:
    with serve(create_app(s3_reference.presigner(), authorize=authorize)) as url:
        answer = httpx.post(f"{url}/upload", json=PNG_REQUEST)
    assert answer.status_code == 401
    assert (answer.json()["detail"] == "reference server") is on_the_loop


def test_the_owner_that_a_plain_authorize_returns_is_used(s3_reference: Store) -> None:
    presigner = s3_reference.presigner()
    with serve(create_app(presigner, authorize=lambda request: request.headers.get("x-user"))) as url:
        token = httpx.post(f"{url}/upload", json=PNG_REQUEST, headers={"X-User": "alice"}).json()["token"]
        for user, status in (("bob", 403), ("alice", 409)):
            answer = httpx.post(f"{url}/complete", json={"token": token}, headers={"X-User": user})
            assert answer.status_code == status


@pytest.mark.parametrize("path", ["/upload", "/complete"])
def test_a_plain_authorize_that_blocks_does_not_block_other_requests(s3_reference: Store, path: str) -> None:
    def slow(request: Request) -> str:
        time.sleep(1)
        raise Unauthenticated("sign in")

    with serve(create_app(s3_reference.presigner(), authorize=slow)) as url:
        began = time.monotonic()
        answers = _ask(url, [*[("POST", path, PNG_REQUEST)] * 20, ("GET", "/openapi.json", None)])
        took = time.monotonic() - began
    assert [answer.status for answer in answers] == [401] * 20 + [200]
    assert took < 1 + BUSY_MACHINE_SECONDS, "one after the other they take 20 seconds"
    assert answers[-1].seconds < BUSY_MACHINE_SECONDS


# A storage that hangs


@pytest.fixture
def tokens(s3_reference: Store) -> list[str]:
    presigner = s3_reference.presigner()
    return [presigner.issue(png_request()).token for _ in range(200)]


def _presigner(endpoint_url: str, session: boto3.Session) -> Presigner:
    return Presigner(
        backend=S3Backend(bucket=BUCKET, region="us-east-1", endpoint_url=endpoint_url, session=session),
        policy=UploadPolicy(content_types={"image/png"}, max_bytes=100, prefix="public/", pending_prefix=None),
        secret=TOKEN_SECRET,
    )


async def _everybody(request: Request) -> None:
    return None


def _application(presigner: Presigner, **options: Any) -> Starlette:
    """An application with an endpoint of its own, which Starlette runs in its thread pool."""

    def own_endpoint(request: Request) -> Response:
        return PlainTextResponse("still here")

    uploads = create_app(presigner, authorize=_everybody, **options)
    return Starlette(routes=[Route("/own", own_endpoint), Mount("/files", uploads)])


def test_200_completions_on_a_storage_that_hangs_are_answered_and_leave_other_endpoints_free(
    s3_reference: Store, tokens: list[str]
) -> None:
    own: list[Timed] = []
    threads: list[int] = []

    with _hanging_server() as storage, serve(_application(_presigner(storage, s3_reference.session))) as url:

        def watch() -> None:
            wait_for(lambda: len(threads_named("presign complete")) == MAX_THREADS)
            for _ in range(10):
                own.extend(_ask(url, [("GET", "/own", None)]))
                threads.append(len(threads_named("presign complete")))

        answers = _ask(url, [("POST", "/files/complete", {"token": token}) for token in tokens], while_running=watch)
        threads.append(len(threads_named("presign complete")))
    assert {answer.status for answer in answers} == {503}
    assert {answer.body["code"] for answer in answers} == {"storage_unavailable"}
    assert {answer.headers["retry-after"] for answer in answers} == {"5"}
    assert TIMEOUT_SECONDS < 10
    assert max(answer.seconds for answer in answers) < TIMEOUT_SECONDS + BUSY_MACHINE_SECONDS
    assert [answer.body for answer in own] == ["still here"] * 10
    assert max(answer.seconds for answer in own) < BUSY_MACHINE_SECONDS
    assert set(threads) == {MAX_THREADS}, "abandoned calls keep their threads, and there are no others"


def test_completions_are_served_again_when_the_storage_is_back(s3_reference: Store, tokens: list[str]) -> None:
    # Threads of the test before this one end when their connections are closed.
    wait_for(lambda: not threads_named("presign complete"))
    with _hanging_server() as storage:
        presigner = _presigner(storage, s3_reference.session)
        with serve(_application(presigner, max_threads=2, timeout_seconds=0.5)) as url:
            for _ in range(3):
                answers = _ask(url, [("POST", "/files/complete", {"token": token}) for token in tokens[:20]])
                assert {answer.status for answer in answers} == {503}
                assert max(answer.seconds for answer in answers) < BUSY_MACHINE_SECONDS
                assert len(threads_named("presign complete")) == 2
            presigner.backend = s3_reference.backend()
            assert len(threads_named("presign complete")) == 2
    # The hanging server has closed its connections.
    wait_for(lambda: not threads_named("presign complete"))
    with serve(_application(presigner)) as url:
        (answer,) = _ask(url, [("POST", "/files/complete", {"token": tokens[0]})])
    assert (answer.status, answer.body["code"]) == (409, "not_uploaded")


_SERVER = """
import sys
import uvicorn
from tests.test_asgi_blocking import _application, _presigner
import boto3

session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b")
app = _application(_presigner(sys.argv[1], session), timeout_seconds=1.0)
uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_server_can_be_stopped_while_the_storage_hangs(tokens: list[str], sent: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with _hanging_server() as storage:
        command = [sys.executable, "-c", _SERVER, storage, str(port)]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: _is_served(f"{url}/own"))
            answers = _ask(url, [("POST", "/files/complete", {"token": token}) for token in tokens[:30]])
            assert {answer.status for answer in answers} == {503}
            process.send_signal(sent)
            process.wait(10)
        finally:
            process.kill()
            process.wait()


def _is_served(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.TransportError:
        return False
    return True


# Signing that waits


@contextmanager
def _container_credentials(monkeypatch: pytest.MonkeyPatch, lifetime: timedelta) -> Iterator[threading.Event]:
    """Serve AWS credentials as a container's agent does; it answers as long as the event is set."""
    answers = threading.Event()
    answers.set()

    async def credentials(request: Request) -> Response:
        while not answers.is_set():
            await asyncio.sleep(0.02)
        expiration = (datetime.now(timezone.utc) + lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
        return JSONResponse(
            {"AccessKeyId": "ASIATEST", "SecretAccessKey": "secret", "Token": "t", "Expiration": expiration}
        )

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with serve(Starlette(routes=[Route("/", credentials)])) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        yield answers
        answers.set()


def test_while_the_renewal_of_expired_credentials_hangs_one_request_waits_and_the_loop_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lifetime = timedelta(seconds=4)
    with _container_credentials(monkeypatch, lifetime) as answers:
        presigner = _presigner("http://127.0.0.1:9", boto3.Session())
        with serve(_application(presigner)) as url:
            answers.clear()
            time.sleep(lifetime.total_seconds())
            watched: list[Timed] = []

            def watch() -> None:
                for _ in range(10):
                    watched.extend(_ask(url, [("GET", "/files/openapi.json", None)]))
                    time.sleep(0.1)

            refused = _ask(url, [("POST", "/files/upload", PNG_REQUEST)] * 30, while_running=watch)
            assert {(answer.status, answer.body["code"]) for answer in refused} == {(503, "credentials_unavailable")}
            seconds = sorted(answer.seconds for answer in refused)
            # botocore gives up after three attempts of two seconds each.
            assert seconds[-1] > 5, "one request waits for the renewal"
            assert seconds[-2] < seconds[-1] - 1, "the others are refused; if they waited too, all would end together"
            assert max(answer.seconds for answer in watched) < 5
            answers.set()
            wait_for(lambda: _ask(url, [("POST", "/files/upload", PNG_REQUEST)])[0].status == 200)


def test_requests_right_after_the_expiry_are_all_served_if_the_renewal_is_quick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lifetime = timedelta(seconds=3)
    with _container_credentials(monkeypatch, lifetime):
        presigner = _presigner("http://127.0.0.1:9", boto3.Session())
        with serve(_application(presigner)) as url:
            time.sleep(lifetime.total_seconds())
            answers = _ask(url, [("POST", "/files/upload", PNG_REQUEST)] * 20)
    assert [answer.status for answer in answers] == [200] * 20


def test_a_signing_service_that_hangs_leaves_other_endpoints_free(s3_reference: Store) -> None:
    release = threading.Event()

    class SignsWithAService(S3Backend):
        """Stands for signBlob, with which Google signs: each signature is a call."""

        @property
        def signing_does_io(self) -> bool:
            return True

        def sign_upload(self, *args: Any, **kwargs: Any) -> Any:
            release.wait(30)
            return super().sign_upload(*args, **kwargs)

    presigner = s3_reference.presigner()
    presigner.backend = SignsWithAService(
        bucket=s3_reference.bucket,
        region="us-east-1",
        endpoint_url=s3_reference.endpoint_url,
        session=s3_reference.session,
    )
    with serve(_application(presigner, timeout_seconds=1.0)) as url:
        answers = _ask(url, [*[("POST", "/files/upload", PNG_REQUEST)] * 50, ("GET", "/own", None)])
        assert {answer.body["code"] for answer in answers[:-1]} == {"credentials_unavailable"}
        assert answers[-1].seconds < BUSY_MACHINE_SECONDS
        assert len(threads_named("presign upload")) == MAX_THREADS
        release.set()
        (answer,) = _ask(url, [("POST", "/files/upload", PNG_REQUEST)])
        assert answer.status == 200


# Files in parts

LARGE: dict[str, Any] = {"type": "image/png", "size": 200 * 1024**2}


def _for_large_files(endpoint_url: str, session: boto3.Session) -> Presigner:
    return Presigner(
        backend=S3Backend(bucket=BUCKET, region="us-east-1", endpoint_url=endpoint_url, session=session),
        policy=UploadPolicy(content_types={"image/png"}, max_bytes=2**30, prefix="public/"),
        secret=TOKEN_SECRET,
    )


def test_a_storage_that_hangs_at_the_beginning_of_a_large_file_leaves_small_tickets_free(s3_reference: Store) -> None:
    token = _for_large_files(s3_reference.endpoint_url, s3_reference.session).issue(
        UploadRequest(content_type="image/png", size=LARGE["size"])
    )
    with _hanging_server() as storage:
        presigner = _for_large_files(storage, s3_reference.session)
        with serve(_application(presigner, timeout_seconds=1.0)) as url:
            waiting = [
                *[("POST", "/files/upload", LARGE)] * 9,
                *[("POST", "/files/parts/list", {"token": token.token})] * 5,
                ("POST", "/files/abort", {"token": token.token}),
            ]
            free = [
                ("POST", "/files/upload", PNG_REQUEST),
                ("POST", "/files/parts", {"token": token.token, "numbers": [1]}),
                ("GET", "/own", None),
            ]
            answers = _ask(url, waiting + free)
    assert {(answer.status, answer.body["code"]) for answer in answers[:-3]} == {(503, "storage_unavailable")}
    assert [answer.status for answer in answers[-3:]] == [200] * 3
    assert max(answer.seconds for answer in answers[-3:]) < BUSY_MACHINE_SECONDS


def test_a_large_file_that_takes_long_to_put_together_is_answered_with_202_and_completed_meanwhile(
    s3_reference: Store,
) -> None:
    release = threading.Event()

    def inspect(uploaded: InspectedObject) -> Accept:
        assert release.wait(60)
        return Accept()

    presigner = Presigner(
        backend=s3_reference.backend(),
        policy=UploadPolicy(
            content_types={"image/png"}, max_bytes=100, prefix="public/", parts_from_bytes=len(PNG), public_read=True
        ),
        secret=TOKEN_SECRET,
        inspect=inspect,
    )
    ticket = presigner.issue(png_request(size=len(PNG)))
    assert ticket.parts is not None
    (part,) = ticket.parts.requests
    assert httpx.put(part.url, headers=dict(part.headers), content=PNG).status_code == 200
    with serve(_application(presigner, timeout_seconds=0.5)) as url:
        for _ in range(2):
            (answer,) = _ask(url, [("POST", "/files/complete", {"token": ticket.token})])
            assert (answer.status, answer.body["code"]) == (202, "completion_pending")
            assert "retry-after" in answer.headers
        release.set()
        answers: list[Timed] = []

        def is_completed() -> bool:
            answers.extend(_ask(url, [("POST", "/files/complete", {"token": ticket.token})]))
            return answers[-1].status == 200

        wait_for(is_completed)
    assert {answer.status for answer in answers} <= {200, 202}
    assert answers[-1].body["size"] == len(PNG)


@pytest.mark.parametrize("options", [{"max_threads": 0}, {"timeout_seconds": 0}, {"timeout_seconds": -1}])
def test_limits_that_let_no_completion_through_are_refused(s3_reference: Store, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        create_app(s3_reference.presigner(), authorize=_everybody, **options)
