"""A small fake of clamd: it speaks the command INSTREAM strictly, and can fail in every way that a network can."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
COMMAND = b"zINSTREAM\0"
CLEAN = b"stream: OK\0"
FOUND = b"stream: Eicar-Signature FOUND\0"
TOO_LONG = b"INSTREAM size limit exceeded. ERROR\0"


class _NotTheProtocol(Exception):
    """The client sent something that clamd would not understand."""


@dataclass(kw_only=True)
class FakeClamd:
    """What the fake does, and what it has seen.

    ``answer`` replaces the verdict about a stream, and ``hang`` withholds every answer. ``close_after`` closes the
    connection after that many bytes of the object, with ``early_answer``. ``before_answer`` is called with the stream.
    """

    address: Any
    stream_max_length: int = 10_000_000
    answer: bytes | None = None
    piece_bytes: int | None = None
    hang: bool = False
    close_after: int | None = None
    early_answer: bytes = b""
    before_answer: Callable[[bytes], None] | None = None
    streams: list[bytes] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def serve(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rb") as file:
                answer = self._take_stream(file)
        except (_NotTheProtocol, OSError) as error:
            self.faults.append(str(error) or type(error).__name__)
            return
        if self.hang:
            self.stopping.wait(20)
            return
        pieces = self.piece_bytes or len(answer) or 1
        # A client may go before the end of an answer that is longer than clamd's.
        with suppress(OSError):
            for start in range(0, len(answer), pieces):
                connection.sendall(answer[start : start + pieces])

    def _take_stream(self, file: Any) -> bytes:
        if file.read(len(COMMAND)) != COMMAND:
            raise _NotTheProtocol("the command is not zINSTREAM")
        stream = b""
        while True:
            length = file.read(4)
            if len(length) != 4:
                raise _NotTheProtocol("the stream ends without a length of 0")
            size = int.from_bytes(length, "big")
            if size == 0:
                break
            if len(stream) + size > self.stream_max_length:
                return TOO_LONG
            chunk = file.read(size)
            if len(chunk) != size:
                raise _NotTheProtocol("a chunk is shorter than its length")
            stream += chunk
            if self.close_after is not None and len(stream) >= self.close_after:
                return self.early_answer
        self.streams.append(stream)
        if self.before_answer is not None:
            self.before_answer(stream)
        if self.answer is not None:
            return self.answer
        return FOUND if EICAR in stream else CLEAN


@contextmanager
def run_fake(where: Path | tuple[str, int] = ("127.0.0.1", 0), **behaviour: Any) -> Iterator[FakeClamd]:
    """Run the fake on a Unix socket or on a TCP port while the block lasts."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            fake.serve(self.request)

    kind = socketserver.ThreadingUnixStreamServer if isinstance(where, Path) else socketserver.ThreadingTCPServer
    address: Any = str(where) if isinstance(where, Path) else where
    with kind(address, Handler, bind_and_activate=False) as server:
        server.allow_reuse_address = True
        server.daemon_threads = True
        server.server_bind()
        server.server_activate()
        fake = FakeClamd(address=server.server_address, **behaviour)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            fake.stopping.set()
            server.shutdown()
            thread.join()
