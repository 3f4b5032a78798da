"""Servers as child processes: started on a free loopback port, awaited, weighed and stopped with all they started."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from emulators.ports import HOST, is_free

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 5.0


class ServerFailed(Exception):
    """A server did not start, or ended too early; the message has the end of what it said."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a process and all that it started hold, in bytes.

    ``resident`` adds up every process's resident set and so counts shared pages once for each; ``proportional`` (PSS)
    shares them out, and is what the machine would have back if all of them ended.
    """

    resident: int
    proportional: int
    processes: int


def tree(pid: int) -> list[psutil.Process]:
    """Return the process and all that it started, as far as they still run."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory(pid: int) -> Memory:
    """Weigh the process and all that it started."""
    resident = proportional = processes = 0
    for process in tree(pid):
        with suppress(psutil.NoSuchProcess):
            weighed = process.memory_full_info()
            resident += weighed.rss
            # Only Linux shares pages out; elsewhere what a process has to itself is the nearest.
            proportional += getattr(weighed, "pss", weighed.uss)
            processes += 1
    return Memory(resident=resident, proportional=proportional, processes=processes)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, that the process and all that it started have used."""
    total = 0.0
    for process in tree(pid):
        with suppress(psutil.NoSuchProcess):
            total += _scheduled_seconds(process)
    return total


def _scheduled_seconds(process: psutil.Process) -> float:
    if sys.platform == "linux":
        # The clock that clock_getcpuclockid(3) names: nanoseconds, where psutil has ticks of 10 ms.
        try:
            return time.clock_gettime((~process.pid << 3) | 2)
        except OSError:
            return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def running(
    command: Sequence[str], *, port: int, environment: Mapping[str, str], directory: Path = ROOT
) -> Iterator[int]:
    """Run a server until the block ends, and yield its process's number once ``port`` is listened on."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while is_free(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise ServerFailed(f"{command[0]} does not serve:\n{log.read().decode(errors='replace')[-2000:]}")
                time.sleep(0.05)
            yield process.pid
            if process.poll() is not None:
                log.seek(0)
                raise ServerFailed(f"{command[0]} ended:\n{log.read().decode(errors='replace')[-2000:]}")
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    started = tree(process.pid)
    for each in started:
        with suppress(psutil.NoSuchProcess):
            each.terminate()
    _, alive = psutil.wait_procs(started, timeout=STOP_SECONDS)
    for each in alive:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()


def address(port: int) -> str:
    """Return the loopback address of ``port``."""
    return f"http://{HOST}:{port}"
