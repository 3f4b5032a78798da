"""Waiting for what other threads do, and finding these threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object], *, seconds: float = 30) -> None:
    """Return as soon as ``condition()`` is true; fail if it is not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def threads_named(name: str) -> list[threading.Thread]:
    """Return the threads of this process that have this name."""
    return [thread for thread in threading.enumerate() if thread.name == name]
