"""Servers as child processes on a free loopback port: start them, measure what they use, and stop them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from bench.ticket_servers import Server
from emulators.ports import HOST, free_port, is_free
from emulators.processes import kill_tree

_ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 60.0


class ServerFailed(Exception):
    """A server did not start, or ended too early; the message ends with its last output."""


class RunningServer:
    """A server's process and all processes that it started; ``url`` has no slash at its end."""

    def __init__(self, pid: int, url: str) -> None:
        self._pid = pid
        self.url = url

    def processes(self) -> list[psutil.Process]:
        """Return the processes that run now."""
        try:
            parent = psutil.Process(self._pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def resident_bytes(self) -> int:
        """Return the sum of the processes' resident sets; a page that several share counts once for each."""
        total = 0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def cpu_seconds(self) -> float:
        """Return the CPU time, user and system, that the processes have used."""
        return sum(cpu_seconds(process) for process in self.processes())


@contextmanager
def running(server: Server, *, workers: int = 1) -> Iterator[RunningServer]:
    """Run a server until the block ends; raises ServerFailed if it does not listen, or ends before."""
    port = free_port()
    settings = {"UVICORN_HOST": HOST, "UVICORN_PORT": str(port), "UVICORN_WORKERS": str(workers)}
    # Go and Rust have threads instead of worker processes.
    settings |= {"PORT": str(port), "WORKERS": str(workers), "GOMAXPROCS": str(workers)}
    with tempfile.TemporaryFile() as log:

        def failed(how: str) -> ServerFailed:
            log.seek(0)
            return ServerFailed(f"{server.name} {how}:\n{log.read().decode(errors='replace')[-2000:]}")

        process = subprocess.Popen(
            server.command,
            cwd=_ROOT,
            env={**os.environ, **server.environment, **settings},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        started = RunningServer(process.pid, f"http://{HOST}:{port}")
        try:
            deadline = time.monotonic() + _START_SECONDS
            while is_free(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise failed("does not listen")
                time.sleep(0.05)
            yield started
            if process.poll() is not None:
                raise failed("ended")
        finally:
            kill_tree(process.pid)
            process.wait()


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time, user and system, that one process has used; 0 if it has ended."""
    with suppress(psutil.NoSuchProcess, OSError):
        if sys.platform == "linux":
            # The clock that clock_getcpuclockid(3) returns has nanoseconds; psutil has ticks of 10 ms.
            return time.clock_gettime((~process.pid << 3) | 2)
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0
