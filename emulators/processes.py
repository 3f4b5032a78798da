"""Processes that tests and the demo started, stopped with all that they started in turn."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

STOP_SECONDS = 1.0


def stop_leftover(pid_path: Path, directory: Path) -> None:
    """Stop the server on ``directory`` that a killed run left behind, whose process id ``pid_path`` tells."""
    with suppress(FileNotFoundError, ValueError, psutil.Error):
        leftover = psutil.Process(int(pid_path.read_text()))
        # The number may have gone to another process since.
        if any(str(directory) in argument for argument in leftover.cmdline()):
            stop_tree(leftover.pid)


def stop_tree(pid: int) -> None:
    """Stop a process and all that it started; nothing happens if it does not run."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        processes = [*parent.children(recursive=True), parent]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=STOP_SECONDS)
        # SIGTERM can hang; what was acknowledged to a client is on disk by then.
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=STOP_SECONDS)
