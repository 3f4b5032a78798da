"""A relay in front of a storage server, which counts the bytes of each request, and breaks connections when told to."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from emulators.serving import serve

_OF_THE_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"})
_ANSWER_SECONDS = 60
_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]


@dataclass(kw_only=True)
class Received:
    """A request as it arrived; ``status`` is None until the storage has answered, and stays so if the request broke."""

    method: str
    length: int
    bytes: int = 0
    status: int | None = None

    @property
    def is_whole(self) -> bool:
        return self.bytes == self.length


class CountingRelay:
    """The running relay of ``run_counting_relay``; ``requests`` are in the order of their arrival."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Received] = []
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._is_cut = False

    def of(self, method: str) -> list[Received]:
        with self._lock:
            return [request for request in self.requests if request.method == method]

    def cut(self) -> None:
        """Break all connections, and every new one until ``mend``."""
        with self._lock:
            self._is_cut = True
            for each in self._sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        with self._lock:
            self._is_cut = False

    def add(self, received: Received) -> None:
        with self._lock:
            self.requests.append(received)

    @contextmanager
    def connected(self, *sockets: socket.socket) -> Iterator[bool]:
        """Make sockets known as long as the block runs; yield whether they may be used."""
        with self._lock:
            self._sockets.update(sockets)
            is_whole = not self._is_cut
        try:
            yield is_whole
        finally:
            with self._lock:
                self._sockets.difference_update(sockets)


@contextmanager
def run_counting_relay(server_url: str) -> Iterator[CountingRelay]:
    """Yield a relay to ``server_url``. It forwards everything as it came, while it comes; Host too, which is signed."""
    relay = CountingRelay()

    async def forward(request: Request) -> Response:
        received = Received(method=request.method, length=int(request.headers.get("content-length", 0)))
        relay.add(received)

        async def body() -> AsyncIterator[bytes]:
            async for chunk in request.stream():
                received.bytes += len(chunk)
                yield chunk

        target = (request.scope["raw_path"] + b"?" + request.scope["query_string"]).removesuffix(b"?").decode()
        headers = [(name, value) for name, value in request.headers.raw if name != b"connection"]
        content = body() if received.length else None
        with suppress(ClientDisconnect):
            async with httpx.AsyncClient(timeout=_ANSWER_SECONDS) as client:
                answer = await client.request(request.method, server_url + target, headers=headers, content=content)
            received.status = answer.status_code
            response = Response(answer.content, answer.status_code)
            kept = [pair for pair in answer.headers.raw if pair[0].decode().lower() not in _OF_THE_CONNECTION]
            length = answer.headers.get("content-length") if request.method == "HEAD" else str(len(answer.content))
            response.raw_headers = [*kept, *([(b"content-length", length.encode())] if length else [])]
            return response
        # Nobody gets this response.
        return Response(status_code=400)

    app = Starlette(routes=[Route("/{path:path}", forward, methods=_METHODS)])
    with serve(app) as counted_url, _Wire(counted_url, relay) as wire:
        relay.url = f"http://127.0.0.1:{wire.server_address[1]}"
        thread = threading.Thread(target=wire.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            relay.cut()
            wire.shutdown()
            thread.join()


class _Wire(socketserver.ThreadingTCPServer):
    """Carries bytes to the server that counts, and knows nothing of HTTP."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, url: str, relay: CountingRelay) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        parts = urlsplit(url)
        self.upstream = (parts.hostname or "", parts.port or 80)
        self.relay = relay


class _Connection(socketserver.BaseRequestHandler):
    server: _Wire

    def handle(self) -> None:
        with (
            socket.create_connection(self.server.upstream) as upstream,
            self.server.relay.connected(self.request, upstream) as is_whole,
        ):
            if is_whole:
                back = threading.Thread(target=_carry, args=(upstream, self.request), daemon=True)
                back.start()
                _carry(self.request, upstream)
                back.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
