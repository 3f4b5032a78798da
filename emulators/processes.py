"""Servers as child processes that end when they are stopped, and when the process that started them ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import psutil

KILL_SECONDS = 5.0
_SUPERVISOR = Path(__file__).with_name("supervisor.py")


class StartFailed(Exception):
    """A server did not start; the message is a sentence that says why."""


class ServerProcess:
    """A command that runs under a supervisor (see ``emulators.supervisor``) until ``stop`` is called.

    ``name`` is for messages. The command runs in ``directory``, with ``environment`` alone. Its output is appended to
    the file ``log_name`` in that directory; without one it goes where this process's own output goes. The file
    ``pid_name`` holds its process id while it runs. ``leaves`` are files that the command does not remove itself. After
    ``stop`` the command has ``grace_seconds`` to end by itself. Raises StartFailed if the log cannot be written.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        directory: Path,
        environment: Mapping[str, str],
        log_name: str | None = None,
        pid_name: str | None = None,
        leaves: Sequence[Path] = (),
        grace_seconds: float,
    ) -> None:
        self.name = name
        self.log_path = None if log_name is None else directory / log_name
        self._grace_seconds = grace_seconds
        with writing_files():
            opened = None if self.log_path is None else self.log_path.open("ab")
        with opened or nullcontext() as log:
            self._log_start = 0 if log is None else log.tell()
            # An isolated interpreter starts fast. A session of its own keeps the terminal's Ctrl-C from the server:
            # this process alone decides when it stops.
            self._supervisor = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(_SUPERVISOR)),
                    *([] if pid_name is None else ["--pid-file", pid_name]),
                    *(f"--remove={path}" for path in leaves),
                    str(grace_seconds),
                    *command,
                ],
                cwd=directory,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )

    @property
    def log(self) -> str:
        """The command's output since its start; empty if it does not go to a file."""
        if self.log_path is None:
            return ""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def poll(self) -> int | None:
        """Return the command's exit status, or None while it runs; a signal counts as 128 and its number."""
        return self._supervisor.poll()

    def wait_until(self, is_ready: Callable[[], bool], *, seconds: float, error_pattern: str = "") -> None:
        """Return once ``is_ready()`` is true. If the command ends, or needs more than ``seconds``, raise StartFailed.

        The command is stopped then. The message quotes the last line of the log that matches ``error_pattern``, a
        regular expression.
        """
        deadline = time.monotonic() + seconds
        try:
            while not is_ready():
                if self.poll() is not None:
                    raise StartFailed(f"{self.name} ended with status {self.poll()}{self._reason(error_pattern)}")
                if time.monotonic() > deadline:
                    raise StartFailed(f"{self.name} did not answer in {seconds:.0f} s{self._reason(error_pattern)}")
                time.sleep(0.05)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the command and all that it started; nothing happens if it does not run."""
        assert self._supervisor.stdin is not None
        self._supervisor.stdin.close()
        try:
            self._supervisor.wait(self._grace_seconds + KILL_SECONDS)
        except subprocess.TimeoutExpired:
            kill_tree(self._supervisor.pid)
            self._supervisor.wait()

    def _reason(self, error_pattern: str) -> str:
        lines = [line for line in self.log.splitlines() if line.strip()]
        errors = [line for line in lines if re.search(error_pattern, line)]
        reason = f": {(errors or lines)[-1].strip()}" if lines else ""
        return f"{reason} (its log is {self.log_path})" if self.log_path else reason


@contextmanager
def writing_files() -> Iterator[None]:
    """Raise StartFailed, with the file's name, if the block cannot write a file."""
    try:
        yield
    except OSError as error:
        raise StartFailed(f"{error.filename or 'a file'} cannot be written: {error.strerror}") from None


def stop_server_of_earlier_run(pid_path: Path) -> None:
    """Stop the server of the process id in ``pid_path``, if an earlier run left it there.

    Another process may have the same id by now. So a process that does not work in the folder of ``pid_path`` is left
    alone.
    """
    with suppress(OSError, ValueError, psutil.Error):
        server = psutil.Process(int(pid_path.read_text()))
        if os.path.samefile(server.cwd(), pid_path.parent):
            kill_tree(server.pid)


def kill_tree(pid: int) -> None:
    """Kill a process and all that it started; do nothing if it does not run."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        processes = [*parent.children(recursive=True), parent]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=KILL_SECONDS)
