"""The calls of one request, side by side in bounded threads: none delays another, and other requests get their turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from presign.http.bounded_threads import BoundedThreads, run_into

T = TypeVar("T")


def run_side_by_side(threads: BoundedThreads, calls: Sequence[Callable[[], T]], *, at_once: int) -> list[Future[T]]:
    """Return the future results of ``calls``, in their order; ``at_once`` threads at most make them, one after another.

    A thread that makes several calls saves the start of a thread for each. If calls of other requests wait for a
    thread, it lets them have a turn after each of its own. A call whose future is cancelled before is never made.
    Raises RuntimeError if the system has no thread for any of the calls.
    """
    futures: list[Future[T]] = [Future() for _ in calls]
    waiting = deque(zip(futures, calls, strict=True))

    def run() -> None:
        while True:
            try:
                future, call = waiting.popleft()
            except IndexError:
                return
            if run_into(future, call) and waiting and threads.are_all_taken:
                # Without another thread of the system, this one makes the next call too: none may be lost.
                with suppress(RuntimeError):
                    threads.submit(run)
                    return

    for started in range(min(at_once, len(calls))):
        try:
            threads.submit(run)
        except RuntimeError:
            # The threads that run make the other calls too.
            if started == 0:
                raise
            break
    return futures


def when_all_ended(futures: Iterable[Future[Any]]) -> Future[None]:
    """Return a future that ends after all of ``futures``; cancelling it cancels none of them."""
    all_ended: Future[None] = Future()
    pending = list(futures)
    left, lock = len(pending), threading.Lock()

    def note_end(_: object) -> None:
        nonlocal left
        with lock:
            left -= 1
            is_last = left == 0
        if is_last and all_ended.set_running_or_notify_cancel():
            all_ended.set_result(None)

    for future in pending:
        future.add_done_callback(note_end)
    if not pending:
        all_ended.set_result(None)
    return all_ended
