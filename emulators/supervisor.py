"""Run a command until standard input ends; then stop the command and everything that it started.

    python supervisor.py [--pid-file FILE] [--remove FILE]... GRACE_SECONDS COMMAND [ARGUMENT...]

The process that needs the command starts this program and holds the other end of its standard input. The operating
system closes that end when the process ends, also after ``kill -9``. So no server outlives the process that started it.

The command gets GRACE_SECONDS to end by itself before it is killed. Its process id is in the pid file while it runs.
The files to remove are those that it leaves behind. The exit status is the command's own.

This program is run by its path, in an isolated interpreter that starts fast, so it uses the standard library alone.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType

STATUS_NOT_STARTED = 127
_SIGNAL_STATUS = 128


class _Command:
    """The running command, with its process group."""

    def __init__(self, command: list[str], grace_seconds: float) -> None:
        # The group of its own makes it possible to signal the command and all that it started at once.
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        self._grace_seconds = grace_seconds
        self._ended = threading.Event()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self) -> int:
        """Return the command's status once it ended, and end what it left behind."""
        status = self._process.wait()
        self._ended.set()
        self._signal_group(force=True)
        return status if status >= 0 else _SIGNAL_STATUS - status

    def stop(self) -> None:
        """Ask the command to end, and kill it after the grace period."""
        self._signal_group(force=False)
        if not self._ended.wait(self._grace_seconds):
            self._signal_group(force=True)

    def _signal_group(self, *, force: bool) -> None:
        if sys.platform == "win32":
            # Windows has no signal that asks a whole tree of processes to end.
            tree = ["taskkill", "/F", "/T", "/PID", str(self.pid)]
            subprocess.run(tree, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        else:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL if force else signal.SIGTERM)


def main(arguments: list[str]) -> int:
    """Run the command of ``arguments``, and return its status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pid-file", type=Path)
    parser.add_argument("--remove", type=Path, action="append", default=[])
    parser.add_argument("grace_seconds", type=float)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    try:
        running = _Command(options.command, options.grace_seconds)
    except OSError as error:
        return _fail(f"{options.command[0]} cannot be started: {error.strerror}")

    def stop(signal_number: int, frame: FrameType | None) -> None:
        # The main thread waits for the command, and must go on waiting.
        threading.Thread(target=running.stop, daemon=True).start()

    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)
    threading.Thread(target=_stop_at_end_of_input, args=(running,), daemon=True).start()
    try:
        if options.pid_file is not None:
            options.pid_file.write_text(str(running.pid))
    except OSError as error:
        running.stop()
        running.wait()
        return _fail(f"{options.pid_file} cannot be written: {error.strerror}")
    status = running.wait()
    for path in options.remove:
        with suppress(OSError):
            path.unlink()
    with suppress(OSError):
        # By now the file may be that of a server which another process started in the same place.
        if options.pid_file is not None and options.pid_file.read_text() == str(running.pid):
            options.pid_file.unlink()
    return status


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return STATUS_NOT_STARTED


def _stop_at_end_of_input(running: _Command) -> None:
    # Not sys.stdin: the interpreter could not end while a thread reads from it.
    while os.read(0, 1):
        pass
    running.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
