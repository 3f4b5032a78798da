"""A relay in front of a storage that takes requests with and without TLS on one port, as a careless proxy does."""

from __future__ import annotations

import select
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
                _copy_both_ways(near, far)

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


def _copy_both_ways(near: socket.socket, far: socket.socket) -> None:
    """Copy until one side ends. One thread does both, because two may not use the same TLS connection at a time."""
    other = {near: far, far: near}
    while True:
        # What TLS has decrypted already is no longer at the socket, so `select` does not see it.
        decrypted = isinstance(near, ssl.SSLSocket) and near.pending() > 0
        ready = [near] if decrypted else select.select([near, far], [], [], _SECONDS)[0]
        if not ready:
            return
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            other[source].sendall(data)
