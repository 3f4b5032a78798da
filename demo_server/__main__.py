"""``python -m demo_server``: run the demo until Ctrl-C, and say what happens in sentences."""

from __future__ import annotations

import errno
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

import psutil
from dotenv import load_dotenv

from demo_server.app import check_policy_and_secret
from demo_server.demo import ServerEnded, run_demo
from demo_server.settings import BadSettings, Settings, read_settings
from emulators.ports import listen_error
from emulators.processes import StartFailed
from presign import StorageUnavailable

STATUS_FAILED = 1
STATUS_BAD_SETTINGS = 2
# A demo that was killed leaves its ports after about a second.
_PORT_SECONDS = 3.0


class _PortTaken(Exception):
    """Another program listens on a port that the demo needs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo until it is interrupted, and return the process's status."""
    load_dotenv(".env")
    try:
        settings = read_settings(sys.argv[1:] if arguments is None else arguments)
        check_policy_and_secret(settings)
        _require_free_ports(settings)
        _end_with_the_terminal()
        run_demo(settings, report=_print)
    except BadSettings as error:
        return _fail(f"The demo cannot run: {error}", STATUS_BAD_SETTINGS)
    except (_PortTaken, StartFailed, StorageUnavailable) as error:
        return _fail(f"The demo cannot run: {error}", STATUS_FAILED)
    except ServerEnded as error:
        return _fail(f"The demo has stopped: {error}", STATUS_FAILED)
    except KeyboardInterrupt:
        _print("Stopped")
        return 0


def _require_free_ports(settings: Settings) -> None:
    deadline = time.monotonic() + _PORT_SECONDS
    for port, variable in ((settings.port, "PRESIGN_PORT"), (settings.page_port, "PRESIGN_PAGE_PORT")):
        while error := listen_error(port, settings.host):
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise BadSettings(f"PRESIGN_HOST: this machine has no address {settings.host}")
            if error.errno == errno.EACCES:
                raise BadSettings(f"{variable}: this user may not listen on port {port}; choose one above 1023")
            if time.monotonic() > deadline:
                raise _PortTaken(
                    f"port {port} is taken{_by_whom(port)}; stop what uses it, or choose another with {variable}"
                )
            time.sleep(0.1)


def _by_whom(port: int) -> str:
    # Only root sees the processes of other users, and on macOS every process.
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid and connection.status == "LISTEN":
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


def _end_with_the_terminal() -> None:
    """Let the signals of a closed terminal and of ``kill`` end the demo as Ctrl-C does."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # nohup ignores SIGHUP, so that its command goes on.
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    # A second signal must not interrupt the stopping.
    signal.signal(signal_number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _print(line: str) -> None:
    # A terminal that was closed takes no more output.
    with suppress(OSError):
        print(line, flush=True)  # noqa: T201  (a command line talks to its user)


def _fail(message: str, status: int) -> int:
    with suppress(OSError):
        print(message, file=sys.stderr, flush=True)  # noqa: T201  (likewise)
    return status


if __name__ == "__main__":
    sys.exit(main())
