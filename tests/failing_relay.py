"""A relay in front of a storage server: it forwards every request unchanged, and fails those that a test chooses."""

from __future__ import annotations

import http.client
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

_FORWARDING_SECONDS = 30
# These belong to one connection, so the relay sends its own.
_OF_THE_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
_END_OF_HEADERS = b"\r\n\r\n"
_REASONS = {200: "OK", 500: "Internal Server Error", 503: "Service Unavailable"}


@dataclass(frozen=True, kw_only=True)
class Event:
    """A request that arrived at the relay; or, with a ``status``, what the server answered to it."""

    request: str
    status: int | None = None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How a request fails, and how many in a row.

    - ``answer``: a status that stands instead of the storage's answer; or the relay closes the connection without an
      answer, closes it in the middle of the request's own body ("cut request"), after the status line or in the middle
      of the body of the storage's answer ("cut headers", "cut"), never sends the rest of that body ("stall"), never
      answers, or forwards the request only after ``disarm`` ("late"), unless the client is gone by then.
    - ``done``: whether the storage did what was asked, so that only its answer is lost. The cuts of the answer and
      "stall" imply it.
    - ``times``: how many requests in a row fail. An SDK repeats a failed request, so a failure that lasts has many.
    - ``only``: a text in the targets of the requests that count; the others are forwarded.
    """

    answer: Literal[200, 500, 503, "close", "cut request", "cut headers", "cut", "stall", "hang", "late"]
    done: bool = False
    times: int = 1
    only: str = ""

    def __str__(self) -> str:
        answered = f"{self.answer}{' when done' if self.done else ''}"
        return f"{answered}, once" if self.times == 1 else f"{answered}, {self.times} times"


class Relay:
    """The running relay of ``run_relay``; ``url`` is where it listens.

    ``requests`` has the method and the target of each request since ``arm`` or ``disarm``, and ``failed`` how many of
    them failed. ``reached`` is set as soon as the first of them has. ``events`` has all requests and all answers of the
    server, also those that the client does not get, in the order in which they came.

    While ``is_down`` is true, the relay closes every connection without a word, as a machine whose server has ended.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[str] = []
        self.events: list[Event] = []
        self.is_down = False
        self.failed = 0
        self.reached = threading.Event()
        self._lock = threading.Lock()
        self._failure: Failure | None = None
        self._at = 0
        self._released = threading.Event()
        self._connections: set[socket.socket] = set()

    def arm(self, failure: Failure, *, at: int) -> None:
        """Let request number ``at`` from now on fail, counted from 0, and those after it that ``failure`` names."""
        self._set(failure, at)

    def disarm(self) -> None:
        """Forward everything from now on, and close the connections of the requests that hang."""
        self._set(None, 0)

    def cut(self) -> None:
        """Break the connections that the clients have now."""
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    @property
    def connections(self) -> int:
        """How many connections the clients have now."""
        with self._lock:
            return len(self._connections)

    @contextmanager
    def connected(self, connection: socket.socket) -> Iterator[None]:
        """Make a connection known as long as the block runs."""
        with self._lock:
            self._connections.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._connections.discard(connection)

    def note(self, event: Event) -> None:
        """Add an event."""
        with self._lock:
            self.events.append(event)

    def _set(self, failure: Failure | None, at: int) -> None:
        with self._lock:
            self._released.set()
            self._released = threading.Event()
            self.reached = threading.Event()
            self.requests, self.failed = [], 0
            self._failure, self._at = failure, at

    def next_failure(self, request: str) -> tuple[Failure | None, threading.Event, threading.Event]:
        """Count a request; return how it fails, and the events that say so and that end its hanging."""
        with self._lock:
            failure = self._failure
            number = sum(failure.only in each for each in self.requests) if failure is not None else 0
            self.requests.append(request)
            self.events.append(Event(request=request))
            if failure is None or failure.only not in request or not self._at <= number < self._at + failure.times:
                return None, self.reached, self._released
            self.failed += 1
            return failure, self.reached, self._released


@contextmanager
def run_relay(server_url: str) -> Iterator[Relay]:
    """Yield a relay in front of the server at ``server_url``, which speaks HTTP without TLS.

    Method, target, headers (Host too, because Signature Version 4 signs it) and body reach the server as they came.
    """
    server = _Server(server_url)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.relay
    finally:
        server.relay.disarm()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A client may keep its connection open.
    block_on_close = False

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        parts = urlsplit(upstream)
        self.upstream = (parts.hostname or "", parts.port or 80)
        self.relay = Relay(f"http://127.0.0.1:{self.server_port}")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client or a server that is gone: killed processes are what the tests are about."""
        if not isinstance(sys.exc_info()[1], ConnectionError | http.client.HTTPException):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        # The base class shortens a path with two slashes at its beginning.
        target = self.requestline.split()[1]
        if self.server.relay.is_down:
            self._close()
            return
        failure, reached, released = self.server.relay.next_failure(f"{self.command} {target}")
        length = int(self.headers.get("Content-Length", 0))
        is_cut = failure is not None and failure.answer == "cut request"
        body = self.rfile.read(length // 2 if is_cut else length)
        if len(body) < length:
            # The client is gone, or its connection is cut now.
            self._forward_beginning(target, body)
            if failure is not None:
                reached.set()
            self._close()
            return
        try:
            if failure is None:
                self.wfile.write(self._forward(target, body))
                return
            is_done = failure.done or failure.answer in ("cut headers", "cut", "stall")
            answer = self._forward(target, body) if is_done else b""
        finally:
            if failure is not None:
                reached.set()
        match failure.answer:
            case "late":
                released.wait()
                # A client that has given up may send the same again, and would then have sent it twice.
                if self._is_connected():
                    self.wfile.write(self._forward(target, body))
                    return
            case "cut headers":
                self.wfile.write(answer[: answer.index(b"\r\n") + 2])
            case 200 | 500 | 503:
                self.wfile.write(self._failed(failure.answer))
                return
            case "cut" | "stall" if not answer.endswith(_END_OF_HEADERS):
                self.wfile.write(answer[:-1])
        if failure.answer in ("stall", "hang"):
            released.wait()
        self._close()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815  (the base class's names)

    def log_message(self, *_: object) -> None:
        """Write nothing to the test's output."""

    def handle(self) -> None:
        with self.server.relay.connected(self.connection):
            super().handle()

    def _is_connected(self) -> bool:
        with suppress(BlockingIOError):
            return bool(self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        return True

    def _close(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _forward_beginning(self, target: str, body: bytes) -> None:
        with suppress(OSError):
            self._begin(target, body).close()

    def _begin(self, target: str, body: bytes) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(*self.server.upstream, timeout=_FORWARDING_SECONDS)
        try:
            connection.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
        except OSError:
            connection.close()
            raise
        return connection

    def _forward(self, target: str, body: bytes) -> bytes:
        connection = self._begin(target, body)
        try:
            answer = connection.getresponse()
            content = answer.read()
            self.server.relay.note(Event(request=f"{self.command} {target}", status=answer.status))
            headers = [pair for pair in answer.getheaders() if pair[0].lower() not in _OF_THE_CONNECTION]
            # The answer to HEAD says how long the content would be.
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            if length is not None and answer.status != 204:
                headers.append(("Content-Length", length))
            return _response(answer.status, answer.reason, headers, content)
        finally:
            connection.close()

    def _failed(self, status: int) -> bytes:
        content = b"" if self.command == "HEAD" else b"<html><body>A load balancer's page</body></html>"
        headers = [("Content-Type", "text/html"), ("Content-Length", str(len(content)))]
        return _response(status, _REASONS[status], headers, content)


def _response(status: int, reason: str, headers: list[tuple[str, str]], content: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode("latin-1") + _END_OF_HEADERS + content
