"""The demo's API on uvicorn, which listens several times on one socket.

uvloop accepts one connection for each listening handle in one iteration of its event loop. uvicorn makes one handle for
each socket that it gets, and copies of a socket share its queue of new connections. ``UVICORN_HOST`` and
``UVICORN_PORT`` say where, as for uvicorn itself::

    python -m bench.servers.many_listeners 16 presign.uvicorn:JoinedWritesProtocol
"""

from __future__ import annotations

import os
import socket
import sys

import uvicorn

_BACKLOG = 2048


def main(listeners: int, protocol: str) -> None:
    """Serve with the HTTP protocol that ``protocol`` names, until the process is told to stop."""
    config = uvicorn.Config(
        "demo_server.app:create_app",
        factory=True,
        http=protocol,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
    )
    # Before the socket listens, which says that the server is ready.
    config.load()
    address = (os.environ["UVICORN_HOST"], int(os.environ["UVICORN_PORT"]))
    first = socket.create_server(address, backlog=_BACKLOG)
    uvicorn.Server(config).run(sockets=[first, *(first.dup() for _ in range(listeners - 1))])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
