"""Free ports of the loopback interface, which every server here listens on."""

from __future__ import annotations

import socket
import sys

HOST = "127.0.0.1"
GRPC_OFFSET = 10_000
"""How far above its own port a SeaweedFS server listens for gRPC."""

_LAST_PORT = 65_535


def free_port() -> int:
    """Return a loopback port that is free now, and whose companion for gRPC (10,000 above) is free too."""
    while True:
        with socket.socket() as candidate:
            candidate.bind((HOST, 0))
            port: int = candidate.getsockname()[1]
        if port + GRPC_OFFSET > _LAST_PORT:
            port -= GRPC_OFFSET
        if is_free(port) and is_free(port + GRPC_OFFSET):
            return port


def is_free(port: int, host: str = HOST) -> bool:
    """Say whether a server could listen on ``port`` now."""
    with socket.socket() as probe:
        if sys.platform != "win32":
            # As servers do; without it a port counts as taken for a minute after its last connection.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
