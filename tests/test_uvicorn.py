"""The HTTP protocol for uvicorn: responses in one piece, nothing lost or out of order, and clients that misbehave."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs

import httpx
import psutil
import pytest
from starlette.types import Receive, Scope, Send

from emulators.serving import serve
from presign.uvicorn import MAX_GATHERED_BYTES, JoinedWritesProtocol, JoinedWritesTransport

ROOT = Path(__file__).resolve().parents[1]
MEBIBYTE = 1024 * 1024


class Recorder:
    """A transport that records how it is called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes]] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.calls.append(("write", data))

    def write_eof(self) -> None:
        self.calls.append(("write_eof", b""))

    def close(self) -> None:
        self.closing = True
        self.calls.append(("close", b""))

    def abort(self) -> None:
        self.closing = True
        self.calls.append(("abort", b""))

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 1000


def joined(recorder: Recorder) -> JoinedWritesTransport:
    return JoinedWritesTransport(cast(asyncio.Transport, recorder), asyncio.get_running_loop())


async def _next_turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def test_what_is_written_in_one_turn_is_sent_in_one_piece_and_in_order() -> None:
    async def scenario() -> list[tuple[str, bytes]]:
        recorder = Recorder()
        transport = joined(recorder)
        transport.write(b"head ")
        transport.write(b"body ")
        transport.writelines([b"two ", b"lines"])
        assert recorder.calls == []
        assert transport.get_write_buffer_size() == 1000 + len(b"head body two lines")
        await _next_turn()
        assert transport.get_write_buffer_size() == 1000
        transport.write(b"next")
        await _next_turn()
        await _next_turn()
        return recorder.calls

    assert asyncio.run(scenario()) == [("write", b"head body two lines"), ("write", b"next")]


@pytest.mark.parametrize("end", ["close", "write_eof"])
def test_closing_sends_what_was_written_first(end: str) -> None:
    async def scenario() -> list[tuple[str, bytes]]:
        recorder = Recorder()
        transport = joined(recorder)
        transport.write(b"answer")
        getattr(transport, end)()
        await _next_turn()
        return recorder.calls

    assert asyncio.run(scenario()) == [("write", b"answer"), (end, b"")]


def test_aborting_sends_nothing() -> None:
    async def scenario() -> list[tuple[str, bytes]]:
        recorder = Recorder()
        transport = joined(recorder)
        transport.write(b"answer")
        transport.abort()
        await _next_turn()
        return recorder.calls

    assert asyncio.run(scenario()) == [("abort", b"")]


def test_nothing_is_written_to_a_connection_that_is_closing() -> None:
    async def scenario() -> list[tuple[str, bytes]]:
        recorder = Recorder()
        transport = joined(recorder)
        transport.write(b"written before the client went away")
        recorder.closing = True
        await _next_turn()
        transport.write(b"written after that")
        transport.write(b"x" * (MAX_GATHERED_BYTES + 1))
        await _next_turn()
        return recorder.calls

    assert asyncio.run(scenario()) == []


def test_no_more_is_gathered_than_the_limit() -> None:
    async def scenario() -> list[int]:
        recorder = Recorder()
        transport = joined(recorder)
        for size in (1, MAX_GATHERED_BYTES, MAX_GATHERED_BYTES - 1, 1, 1):
            transport.write(b"x" * size)
        await _next_turn()
        return [len(data) for _, data in recorder.calls]

    assert asyncio.run(scenario()) == [1, MAX_GATHERED_BYTES, MAX_GATHERED_BYTES, 1]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Return as many bytes as the path says, in pieces of the size that the query says."""
    length = int(scope["path"][1:])
    piece = int(parse_qs(scope["query_string"]).get(b"piece", [length])[0]) or 1
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]})
    pattern = bytes(i % 251 for i in range(251))
    for start in range(0, length, piece):
        size = min(piece, length - start)
        body = (pattern * (size // 251 + 2))[start % 251 : start % 251 + size]
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}], ids=["kept alive", "closed"])
@pytest.mark.parametrize(
    "path", ["/0", "/1", "/2000?piece=7", "/65536", "/5000000", "/5000000?piece=65536", "/5000000?piece=60000"]
)
def test_responses_of_every_size_arrive_whole(path: str, headers: dict[str, str]) -> None:
    with serve(app, http=JoinedWritesProtocol) as url, httpx.Client() as client:
        for _ in range(3):
            answer = client.get(f"{url}{path}", headers=headers)
            length = int(path[1:].partition("?")[0])
            assert answer.content == bytes(i % 251 for i in range(length))


def test_a_client_that_closes_its_side_after_its_request_gets_the_answer() -> None:
    with serve(app, http=JoinedWritesProtocol) as url:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30) as connection:
                connection.sendall(b"GET /5 HTTP/1.1\r\nHost: x\r\n\r\n")
                connection.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
            assert answer.endswith(bytes(range(5)))


@dataclass(frozen=True, kw_only=True)
class Server:
    """uvicorn in a process of its own."""

    port: int
    process: psutil.Process
    log: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


@contextmanager
def _server(directory: Path, loop: str) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = directory / "log"
    command = [
        *(sys.executable, "-m", "uvicorn", "--no-access-log", "--log-level", "warning", "--port", str(port)),
        *("--loop", loop, "--http", "presign.uvicorn:JoinedWritesProtocol", "tests.test_uvicorn:app"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            _wait_until_served(port)
            yield Server(port=port, process=psutil.Process(process.pid), log=log)
        finally:
            process.kill()


def _wait_until_served(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/1")
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


LOOPS = ["asyncio", "uvloop"] if sys.platform != "win32" else ["asyncio"]


@pytest.mark.parametrize("loop", LOOPS)
def test_1000_clients_that_go_away_leave_no_line_in_the_log(tmp_path: Path, loop: str) -> None:
    with _server(tmp_path, loop) as server:
        for number in range(1000):
            with server.connect() as connection:
                # The client goes away before, while and after the server sends 20 responses.
                connection.sendall(b"GET /1500 HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
                time.sleep(number // 2 % 5 * 0.0003)
                if number % 2:
                    # Closing then sends a reset.
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert httpx.get(f"http://127.0.0.1:{server.port}/5").content == bytes(range(5))
        assert server.log.read_text() == ""


@pytest.mark.parametrize("piece", [1000, 65536])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_never_reads_costs_little_memory(tmp_path: Path, loop: str, piece: int) -> None:
    with _server(tmp_path, loop) as server:
        before = server.process.memory_info().rss
        with server.connect() as connection:
            connection.sendall(b"GET /%d?piece=%d HTTP/1.1\r\nHost: x\r\n\r\n" % (300 * MEBIBYTE, piece))
            largest = 0
            for _ in range(20):
                time.sleep(0.1)
                largest = max(largest, server.process.memory_info().rss)
                assert largest - before < 20 * MEBIBYTE
            assert httpx.get(f"http://127.0.0.1:{server.port}/5").status_code == 200, "others are served meanwhile"
            assert len(connection.recv(65536)) > 0
