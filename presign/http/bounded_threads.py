"""Threads for calls that may hang: their number is limited, and the process can end while they run."""

from __future__ import annotations

import contextvars
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


def run_into(future: Future[T], call: Callable[[], T]) -> bool:
    """Make the call, and end ``future`` with its result or its error; return False if ``future`` was cancelled before.

    The call is then not made.
    """
    if not future.set_running_or_notify_cancel():
        return False
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
    return True


class BoundedThreads:
    """Run calls in ``max_threads`` threads at most; further calls wait for a free thread.

    A caller that gives up cancels the future. A call that waits for a thread is then never made. A call that runs
    cannot be stopped: it keeps its thread until it ends, so abandoned calls never take more than ``max_threads``.

    The threads are daemons, unlike those of ``ThreadPoolExecutor`` and anyio: the interpreter does not wait for a call
    that hangs. Threads end when no call waits. Safe to use from several threads.
    """

    def __init__(self, *, max_threads: int, name: str) -> None:
        self._max_threads = max_threads
        self._name = name
        self._lock = threading.Lock()
        self._running_threads = 0
        self._waiting: OrderedDict[Future[Any], Callable[[], object]] = OrderedDict()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Return the future result of ``call``, which sees the caller's context variables."""
        future: Future[T] = Future()
        context = contextvars.copy_context()
        with self._lock:
            self._waiting[future] = lambda: context.run(call)
            starts_thread = self._running_threads < self._max_threads
            self._running_threads += starts_thread
        future.add_done_callback(self._forget)
        if starts_thread:
            try:
                threading.Thread(target=self._run_calls, name=self._name, daemon=True).start()
            except RuntimeError:
                # The system has no more threads.
                with self._lock:
                    self._running_threads -= 1
                future.cancel()
                raise
        return future

    @property
    def are_all_taken(self) -> bool:
        """Whether calls wait for a free thread."""
        with self._lock:
            return bool(self._waiting)

    def _run_calls(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running_threads -= 1
                    return
                future, call = self._waiting.popitem(last=False)
            run_into(future, call)

    def _forget(self, future: Future[Any]) -> None:
        with self._lock:
            self._waiting.pop(future, None)
