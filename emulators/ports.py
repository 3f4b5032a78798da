"""Free ports of the loopback interface, which every server here listens on."""

from __future__ import annotations

import random
import socket
import sys

HOST = "127.0.0.1"
GRPC_OFFSET = 10_000
"""How far above its own port a SeaweedFS server listens for gRPC."""

# Systems give outgoing connections ports from 32768 on, some from 49152. A port below stays free until it is used.
_CANDIDATES = range(12_000, 22_000)
_returned: set[int] = set()


def free_port() -> int:
    """Return a loopback port that is free now, and whose companion for gRPC (10,000 above) is free too.

    No port is returned twice in one process, because the caller that got it first may not listen on it yet.
    """
    while True:
        port = random.SystemRandom().choice(_CANDIDATES)
        if port not in _returned and is_free(port) and is_free(port + GRPC_OFFSET):
            _returned.add(port)
            return port


def is_free(port: int, host: str = HOST) -> bool:
    """Say whether a server could listen on ``port`` of ``host`` now."""
    return listen_error(port, host) is None


def listen_error(port: int, host: str = HOST) -> OSError | None:
    """Return what keeps a server from listening on ``port`` of ``host`` now, or None."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if sys.platform != "win32":
                # As servers do; without it a port counts as taken for a minute after its last connection.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def accepts_connections(port: int, host: str = HOST) -> bool:
    """Say whether a server listens on ``port`` of ``host`` now."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
