"""A relay in front of a storage server: it forwards bytes unchanged, and holds an upload in the middle when told to.

It also says which parts clients began to send.
"""

from __future__ import annotations

import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, urlsplit

_CHUNK_BYTES = 64 * 1024


class HeldRelay:
    """The running relay of ``run_held_relay``; ``port`` is where it listens.

    It holds back what clients send, and never what the server sends. Thus the progress of an upload stands still, in
    every browser, until the test goes on.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._changed = threading.Condition()
        self._allowed: int | None = None
        self._parts: list[int] = []

    @property
    def parts(self) -> list[int]:
        """The numbers of the parts that clients began to send, each as often as that."""
        with self._changed:
            return list(self._parts)

    def note(self, head: bytes) -> None:
        """Take note of the head of a request."""
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        numbers = parse_qs(urlsplit(target).query).get("partNumber")
        if method == "PUT" and numbers:
            with self._changed:
                self._parts.append(int(numbers[0]))

    def hold_after(self, size: int) -> None:
        """Forward ``size`` more bytes of all clients together, and then nothing."""
        with self._changed:
            self._allowed = size
            self._changed.notify_all()

    def release(self) -> None:
        """Forward everything from now on."""
        with self._changed:
            self._allowed = None
            self._changed.notify_all()

    def wait_for_turn(self) -> None:
        """Return as soon as more bytes may be forwarded."""
        with self._changed:
            self._changed.wait_for(lambda: self._allowed is None or self._allowed > 0)

    def count(self, size: int) -> None:
        """Take note of bytes that are forwarded."""
        with self._changed:
            if self._allowed is not None:
                self._allowed -= size


@contextmanager
def run_held_relay(host: str, port: int) -> Iterator[HeldRelay]:
    """Yield a relay in front of the server at ``host`` and ``port``."""

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            client: socket.socket = self.request
            with socket.create_connection((host, port)) as server:
                answers = threading.Thread(target=_forward, args=(server, client), daemon=True)
                answers.start()
                _forward(client, server, relay)
                answers.join()

    with _Server((host, 0), Connection) as listener:
        relay = HeldRelay(listener.server_address[1])
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield relay
        finally:
            relay.release()
            listener.shutdown()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    # Browsers keep connections open.
    block_on_close = False

    def server_bind(self) -> None:
        # The system's own buffers would take megabytes, and a browser counts them as sent.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CHUNK_BYTES)
        super().server_bind()


class _Heads:
    """Finds the heads of requests in what one connection sends; bodies have a Content-Length."""

    def __init__(self, relay: HeldRelay) -> None:
        self._relay = relay
        self._head = b""
        self._body_bytes = 0

    def read(self, chunk: bytes) -> None:
        while chunk:
            skipped = min(self._body_bytes, len(chunk))
            self._body_bytes -= skipped
            head, end, chunk = (self._head + chunk[skipped:]).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return
            self._head = b""
            length = re.search(rb"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
            self._body_bytes = int(length[1]) if length else 0
            self._relay.note(head)


def _forward(source: socket.socket, target: socket.socket, relay: HeldRelay | None = None) -> None:
    heads = _Heads(relay) if relay is not None else None
    with suppress(OSError):
        while True:
            if relay is not None:
                relay.wait_for_turn()
            chunk = source.recv(_CHUNK_BYTES)
            if not chunk:
                break
            if relay is not None and heads is not None:
                heads.read(chunk)
                relay.count(len(chunk))
            target.sendall(chunk)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
