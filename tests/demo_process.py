"""The demo as its users run it: a process of its own, on free ports, without this machine's settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from emulators.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120.0
STOP_SECONDS = 30.0
READY = b"Ctrl-C stops everything"


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A running demo."""

    api: str
    page: str
    data_directory: Path
    log_path: Path
    process: psutil.Popen

    @property
    def log(self) -> str:
        return self.log_path.read_text()


def environment(directory: Path, **settings: str) -> dict[str, str]:
    """Return an environment without this machine's settings of presign and of the clouds, and of a `make` around it."""
    prefixes = ("AWS_", "AZURE_", "GCS_", "GOOGLE_", "MAKE", "MFLAGS", "PRESIGN_", "STORAGE_")
    kept = {n: v for n, v in os.environ.items() if not n.startswith(prefixes)}
    isolated = {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPATH": str(ROOT),
        "PRESIGN_DATA_DIR": str(directory / "data"),
    }
    return {**kept, **isolated, **settings}


def run_demo(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a demo that must end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "demo_server", *arguments],
        cwd=directory,
        env=environment(directory, **settings),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


@contextmanager
def running_demo(directory: Path, *arguments: str, **settings: str) -> Iterator[Demo]:
    """Run the demo while the block lasts, and end it with Ctrl-C; then nothing that it started may run."""
    settings = {"PRESIGN_PORT": str(free_port()), "PRESIGN_PAGE_PORT": str(free_port()), **settings}
    api_port, page_port = settings["PRESIGN_PORT"], settings["PRESIGN_PAGE_PORT"]
    log_path = directory / "demo.log"
    with log_path.open("ab") as log:
        log_start = log.tell()
        process = psutil.Popen(
            [sys.executable, "-m", "demo_server", *arguments],
            cwd=directory,
            env=environment(directory, **settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    demo = Demo(
        api=f"http://localhost:{api_port}",
        page=f"http://localhost:{page_port}",
        data_directory=directory / "data",
        log_path=log_path,
        process=process,
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        # A request would not tell this demo from an earlier one that has not ended yet.
        while READY not in log_path.read_bytes()[log_start:]:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the demo did not start:\n{demo.log}")
            time.sleep(0.05)
        yield demo
    finally:
        _interrupt(process, demo)


def processes_of(demo: Demo) -> list[psutil.Process]:
    """Return all processes that the demo has started, and those that they have started."""
    started: list[psutil.Process] = demo.process.children(recursive=True)
    return started


def wait_until_gone(processes: Iterable[psutil.Process], *, seconds: float) -> list[psutil.Process]:
    """Wait until the processes have ended, and return those that still run after ``seconds``."""
    deadline = time.monotonic() + seconds
    while (left := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _runs(process: psutil.Process) -> bool:
    # A process that ended and that nobody waits for stays as a zombie.
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _interrupt(process: psutil.Popen, demo: Demo) -> None:
    if process.poll() is not None:
        return
    started = processes_of(demo)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        process.kill()
        raise AssertionError(f"Ctrl-C did not stop the demo:\n{demo.log}") from None
    finally:
        left = wait_until_gone(started, seconds=5)
        for each in left:
            each.kill()
    assert not left, f"Ctrl-C left {left} running:\n{demo.log}"
