"""A relay in front of a storage that takes requests with and without TLS on one port, as a careless proxy does."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

_TLS_HANDSHAKE = 0x16
_SECONDS = 30


@contextmanager
def run_two_protocols(target: str, *, certificate: Path, key: Path, takes_http: bool) -> Iterator[str]:
    """Yield the https URL of a relay to ``target``; with ``takes_http``, requests without TLS reach it as well."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    host, port = urlsplit(target).hostname or "", urlsplit(target).port or 0
    listener = socket.create_server(("127.0.0.1", 0))

    def serve_one(client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(_SECONDS)
            first = client.recv(1, socket.MSG_PEEK)
            if first and first[0] != _TLS_HANDSHAKE and not takes_http:
                return
            near = context.wrap_socket(client, server_side=True) if first and first[0] == _TLS_HANDSHAKE else client
            with near, socket.create_connection((host, port), timeout=_SECONDS) as far:
                back = threading.Thread(target=_copy, args=(far, near), daemon=True)
                back.start()
                _copy(near, far)
                back.join(_SECONDS)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve_one, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        # A thread that waits in accept() does not notice that its socket is closed.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(_SECONDS)


def _copy(source: socket.socket, destination: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            destination.sendall(data)
        destination.shutdown(socket.SHUT_WR)
