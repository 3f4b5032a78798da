"""An ASGI application served by uvicorn on a free loopback port for as long as a `with` block lasts."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

START_SECONDS = 10.0
STOP_SECONDS = 5.0
SETTLE_SECONDS = 10.0

_servers: dict[str, uvicorn.Server] = {}


class _LogLines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def serve(
    app: ASGIApp,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    http: type[asyncio.Protocol] | None = None,
    dates_answers: bool = True,
) -> Iterator[str]:
    """Yield the base URL of a server that is ready; port 0 takes a free one.

    ``http`` is the protocol that it speaks, by default uvicorn's own. ``dates_answers`` is whether each answer gets a
    Date header by this machine's clock; an application without it gives its own. A server that does not start raises
    RuntimeError with its log; what the server logged while the block ran is added as a note to whatever the block
    raises.
    """
    log = _LogLines()
    listener = socket.create_server((host, port), backlog=512)
    url = f"http://{host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        app,
        http=http or "auto",
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        date_header=dates_answers,
    )
    server = uvicorn.Server(config)
    logger = logging.getLogger("uvicorn")
    logger.addHandler(log)
    # A signal handler can only be set in the main thread, which stays the test runner's.
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="reference server", daemon=True)
    thread.start()
    try:
        _wait_until_started(server, thread, log)
        _servers[url] = server
        yield url
    except BaseException as error:
        if log.lines and hasattr(error, "add_note"):
            error.add_note("server log:\n" + "\n".join(log.lines))
        raise
    finally:
        _servers.pop(url, None)
        server.should_exit = True
        thread.join(STOP_SECONDS)
        server.force_exit = True
        thread.join(STOP_SECONDS)
        listener.close()
        logger.removeHandler(log)
    if thread.is_alive():
        raise RuntimeError("the reference server did not stop:\n" + "\n".join(log.lines))


def settle(url: str) -> None:
    """Wait until the server that ``serve`` runs at ``url`` has handled all requests that it received.

    A client can have its answer, or be gone, before the application has finished. Raises RuntimeError if the
    application does not finish.
    """
    tasks = _servers[url].server_state.tasks
    deadline = time.monotonic() + SETTLE_SECONDS
    while tasks:
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {SETTLE_SECONDS:g} seconds {len(tasks)} request(s) are still being handled")
        time.sleep(0.005)


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread, log: _LogLines) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the reference server did not start:\n" + "\n".join(log.lines))
        time.sleep(0.005)
