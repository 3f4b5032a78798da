"""``python -m demo_server``: the storage unless one is named, the page, and the API; Ctrl-C stops all of them."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType

import psutil
import uvicorn
from dotenv import load_dotenv

from demo_server.app import bad_settings, build_presigner
from demo_server.local_storage import local_storage
from demo_server.settings import BadSettings, Settings, read_settings
from emulators.ports import is_free
from emulators.seaweedfs import StartFailed
from presign import ConfigurationError, StorageUnavailable

STATUS_FAILED = 1
STATUS_BAD_SETTINGS = 2
_PAGE_START_SECONDS = 20.0


class _PortTaken(Exception):
    """Another program listens on a port that the demo needs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo until it is interrupted, and return the process's status."""
    load_dotenv(".env")
    try:
        settings = read_settings(sys.argv[1:] if arguments is None else arguments)
        _require_free_ports(settings)
        signal.signal(signal.SIGTERM, _interrupt)
        with ExitStack() as started:
            _run(settings, started)
    except BadSettings as error:
        return _fail(str(error), STATUS_BAD_SETTINGS)
    except (_PortTaken, StartFailed, StorageUnavailable) as error:
        return _fail(str(error), STATUS_FAILED)
    except KeyboardInterrupt:
        pass
    _say("Stopped")
    return 0


def _run(settings: Settings, started: ExitStack) -> None:
    environment = _environment(settings)
    if settings.bucket is None:
        environment |= started.enter_context(
            local_storage(settings.data_dir, origins=settings.origins, say=_say, storage=settings.storage)
        )
    os.environ.update(environment)
    # The worker processes read the environment, so that is what has to make sense.
    settings = read_settings()
    presigner = build_presigner(settings)
    _say(f"Asking {presigner.backend.name} for an answer")
    try:
        presigner.backend.check()
    except ConfigurationError as error:
        raise bad_settings(error, settings) from None
    started.enter_context(_page(settings))
    _say(f"The API is at {settings.api_origin}; it lets everybody upload, for it is a demo")
    _say(f"Open {settings.page_origin} and drop a file; Ctrl-C stops everything")
    uvicorn.run(
        "demo_server.app:create_app",
        factory=True,
        http="demo_server.joined_writes:JoinedWritesProtocol",
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        proxy_headers=False,
        server_header=False,
        # A client that never ends its request must not keep the demo from ending.
        timeout_graceful_shutdown=3,
        log_config=_LOGGING,
    )


def _environment(settings: Settings) -> dict[str, str]:
    """Return the settings, options included, as the variables that the other processes read."""
    # Defaults stay unset, for a default agrees with everything, and what somebody said need not.
    values = settings.model_dump(exclude_none=True, exclude_unset=True, exclude={"secret"})
    secret = settings.secret.get_secret_value() if settings.secret else secrets.token_urlsafe(32)
    variables = {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in values.items()}
    return {f"PRESIGN_{name.upper()}": value for name, value in {**variables, "secret": secret}.items()}


@contextmanager
def _page(settings: Settings) -> Iterator[None]:
    command = [
        *(sys.executable, "-m", "uvicorn", "--factory", "--no-access-log", "--log-level", "warning"),
        *("--host", settings.host, "--port", str(settings.page_port), "demo_server.page:create_page"),
    ]
    # Its own session, as Ctrl-C is for this process, which then stops all that it started.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
    try:
        deadline = time.monotonic() + _PAGE_START_SECONDS
        while is_free(settings.page_port, settings.host):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StartFailed("the page's server did not start")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _require_free_ports(settings: Settings) -> None:
    for port, variable in ((settings.port, "PRESIGN_PORT"), (settings.page_port, "PRESIGN_PAGE_PORT")):
        if not is_free(port, settings.host):
            raise _PortTaken(
                f"port {port} is taken{_by_whom(port)}; stop what uses it, or choose another with {variable}"
            )


def _by_whom(port: int) -> str:
    # Other users' processes, and all processes on macOS, are only shown to root.
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid and connection.status == "LISTEN":
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  (a command line talks to its user)


def _fail(message: str, status: int) -> int:
    print(f"The demo cannot run: {message}", file=sys.stderr, flush=True)  # noqa: T201
    return status


_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "generic": {"format": "%(asctime)s %(levelname)s %(message)s"},
        # The path alone: a token is in a body, and a signature in an answer.
        "access": {
            "()": "uvicorn.logging.AccessFormatter",
            "fmt": "%(asctime)s %(status_code)s %(request_line)s",
            "use_colors": False,
        },
    },
    "handlers": {
        "console": {"formatter": "generic", "class": "logging.StreamHandler", "stream": "ext://sys.stderr"},
        "access": {"formatter": "access", "class": "logging.StreamHandler", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        "uvicorn": {"handlers": ["console"], "level": "WARNING", "propagate": False},
        "uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
        "presign": {"handlers": ["console"], "level": "INFO", "propagate": False},
    },
}


if __name__ == "__main__":
    sys.exit(main())
