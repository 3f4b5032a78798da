"""The completions of large files, which take longer than a request can wait: asked again, each goes on."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from presign.errors import CompletionPending, StorageUnavailable
from presign.http.bounded_threads import BoundedThreads

KEPT_SECONDS = 300.0
"""How long the result of a completion is kept for a client that has not asked again."""

_MAX_COMPLETIONS = 1000
_RETRY_AFTER_SECONDS = 1

T = TypeVar("T")


@dataclass
class _Started:
    completion: Future[Any]
    ended_at: float | None = None


class LongCompletions:
    """Run completions in ``max_threads`` threads of their own; whoever asks for the same one again waits for the same.

    A request that waits too long is answered with CompletionPending, and the completion goes on. Its result, also an
    error such as RuleViolated, is kept for the client's next request for ``KEPT_SECONDS``, and delivered once. Another
    process knows nothing of it, and completes anew, which ends in the same state.

    ``clock`` counts seconds. Safe to use from several threads.
    """

    def __init__(self, *, max_threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._threads = BoundedThreads(max_threads=max_threads, name="presign large")
        self._clock = clock
        self._lock = threading.Lock()
        self._started: OrderedDict[Hashable, _Started] = OrderedDict()

    def join(self, key: Hashable, complete: Callable[[], T]) -> Future[T]:
        """Return the future result of the completion under ``key``, which is started if there is none.

        Raises StorageUnavailable if there are too many completions.
        """
        with self._lock:
            self._forget_old()
            started = self._started.get(key)
            if started is not None:
                return started.completion
            if len(self._started) >= _MAX_COMPLETIONS:
                raise StorageUnavailable(f"{_MAX_COMPLETIONS} large files are being completed")
            started = self._started[key] = _Started(self._threads.submit(complete))
        # Outside of the lock, because the callback is called at once if the completion has ended.
        started.completion.add_done_callback(lambda _: self._note_end(started))
        return started.completion

    def deliver(self, key: Hashable, completion: Future[T]) -> T:
        """Return the result of a completion that ``join`` returned, or raise its error, and forget it.

        Raises CompletionPending if it has not ended.
        """
        if not completion.done():
            raise CompletionPending("the file is being put together and verified", retry_after=_RETRY_AFTER_SECONDS)
        with self._lock:
            started = self._started.get(key)
            if started is not None and started.completion is completion:
                del self._started[key]
        return completion.result()

    def result(self, key: Hashable, complete: Callable[[], T], *, timeout_seconds: float) -> T:
        """Join the completion under ``key``, wait for it, and deliver its result.

        Raises CompletionPending after ``timeout_seconds``, and StorageUnavailable if there are too many completions.
        """
        completion = self.join(key, complete)
        wait([completion], timeout_seconds)
        return self.deliver(key, completion)

    def _note_end(self, started: _Started) -> None:
        started.ended_at = self._clock()

    def _forget_old(self) -> None:
        oldest = self._clock() - KEPT_SECONDS
        for key in [key for key, each in self._started.items() if each.ended_at is not None and each.ended_at < oldest]:
            del self._started[key]
