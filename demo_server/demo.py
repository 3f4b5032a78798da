"""The demo: a storage unless one is named, the API and the page, each a process of its own."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from pydantic import SecretStr

from demo_server.app import bad_settings, build_presigner
from demo_server.serve_api import SHUTDOWN_SECONDS
from demo_server.settings import Settings, read_settings
from demo_server.storages.run import run_local_storage
from emulators.ports import accepts_connections
from emulators.processes import ServerProcess
from presign import ConfigurationError

_START_SECONDS = 60.0
_API_GRACE_SECONDS = SHUTDOWN_SECONDS + 2.0
_PAGE_GRACE_SECONDS = 1.0
_WATCH_SECONDS = 0.2
_API = "demo_server.serve_api"
_PAGE = "demo_server.serve_page"


class ServerEnded(Exception):
    """A server of the demo ended by itself; the message is a sentence that says which."""


def run_demo(settings: Settings, *, report: Callable[[str], None]) -> NoReturn:
    """Run the demo until an exception ends it, such as KeyboardInterrupt; all that was started is stopped then.

    ``report`` gets the lines that the user reads. Raises BadSettings, StartFailed and StorageUnavailable while the demo
    starts, and ServerEnded when one of its servers ends by itself: a demo without its storage can only fail, and a
    script that runs it must notice.
    """
    make = _make_process(os.environ)
    with ExitStack() as started:
        environment = environment_of(settings)
        servers: list[ServerProcess] = []
        if settings.bucket is None:
            storage = started.enter_context(
                run_local_storage(
                    settings.data_dir,
                    origins=settings.origins,
                    report=report,
                    storage=settings.storage,
                    pending_prefix=settings.pending_prefix,
                    max_bytes=settings.max_bytes,
                )
            )
            environment |= storage.environment
            servers.append(storage.server)
        os.environ.update(environment)
        # The other processes read their settings from the environment, so the environment is what has to be right.
        settings = read_settings()
        presigner = build_presigner(settings)
        report(f"Checking that {presigner.backend.name} answers")
        try:
            presigner.check()
        except ConfigurationError as error:
            raise bad_settings(error, settings) from None
        page = _start("the page's server", _PAGE, _PAGE_GRACE_SECONDS, started)
        api = _start("the API", _API, _API_GRACE_SECONDS, started)
        servers += [page, api]
        page.wait_until(lambda: accepts_connections(settings.page_port, settings.host), seconds=_START_SECONDS)
        api.wait_until(lambda: accepts_connections(settings.port, settings.host), seconds=_START_SECONDS)
        report(f"The API is at {settings.api_origin}; it lets everybody upload, because it is a demo")
        report(f"Open {settings.page_origin} and drop a file; Ctrl-C stops everything")
        _watch(servers, make)


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the settings, options included, as the variables that the other processes read."""
    # A default stays unset: it agrees with every other setting, and a value that the user chose may not.
    values = settings.model_dump(exclude_unset=True)
    secret = values.get("secret") or secrets.token_urlsafe(32)
    return {f"PRESIGN_{name.upper()}": _variable(value) for name, value in {**values, "secret": secret}.items()}


def _variable(value: object) -> str:
    """Return the text from which ``read_settings`` makes ``value``."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _start(name: str, module: str, grace_seconds: float, started: ExitStack) -> ServerProcess:
    server = ServerProcess(
        [sys.executable, "-m", module],
        name=name,
        directory=Path.cwd(),
        environment=os.environ,
        grace_seconds=grace_seconds,
    )
    started.callback(server.stop)
    return server


def _watch(servers: Sequence[ServerProcess], make: int | None) -> NoReturn:
    while True:
        for server in servers:
            status = server.poll()
            if status is not None:
                log = f"; its log is {server.log_path}" if server.log_path else ""
                raise ServerEnded(f"{server.name} ended by itself with status {status}{log}")
        if make is not None and os.getppid() != make:
            # make was killed: nobody can stop the demo with Ctrl-C any more.
            raise KeyboardInterrupt
        time.sleep(_WATCH_SECONDS)


def _make_process(environment: Mapping[str, str]) -> int | None:
    """Return the process id of the ``make`` that started this process, or None if make did not."""
    return os.getppid() if "MAKELEVEL" in environment else None
