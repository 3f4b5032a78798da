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
from presign.progress import CompletionProgress

KEPT_SECONDS = 300.0
"""How long the result of a completion is kept for a client that has not asked again."""

_MAX_COMPLETIONS = 1000
_RETRY_AFTER_SECONDS = 1

T = TypeVar("T")
Progress = Callable[[], CompletionProgress | None]
"""Returns how far a completion is; None if that is not known."""


def _unknown() -> None:
    return None


@dataclass
class _Started:
    completion: Future[Any]
    ended_at: float | None = None


class LongCompletions:
    """Run completions in ``max_threads`` threads of their own; whoever asks for the same one again waits for the same.

    A request that waits too long is answered with CompletionPending, and the completion goes on. Its result, also an
    error such as RuleViolated, is kept for the client's next request for ``KEPT_SECONDS``, and delivered once. A result
    that nobody fetches gives its place to a new completion if there are too many. Whoever then asks for it, or asks
    another process, completes anew, which ends in the same state.

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
            if len(self._started) >= _MAX_COMPLETIONS and not self._forget_ended():
                raise StorageUnavailable(f"{_MAX_COMPLETIONS} large files are being completed")
            started = self._started[key] = _Started(self._threads.submit(complete))
        # Outside of the lock, because the callback is called at once if the completion has ended.
        started.completion.add_done_callback(lambda _: self._note_end(started))
        return started.completion

    def deliver(self, key: Hashable, completion: Future[T], *, progress: Progress = _unknown) -> T:
        """Return the result of a completion that ``join`` returned, or raise its error, and forget it.

        Raises CompletionPending if it has not ended; ``progress`` says how far it is.
        """
        if not completion.done():
            raise CompletionPending(
                "the file is being put together and verified", retry_after=_RETRY_AFTER_SECONDS, progress=progress()
            )
        with self._lock:
            started = self._started.get(key)
            if started is not None and started.completion is completion:
                del self._started[key]
        return completion.result()

    def result(
        self, key: Hashable, complete: Callable[[], T], *, timeout_seconds: float, progress: Progress = _unknown
    ) -> T:
        """Join the completion under ``key``, wait for it, and deliver its result.

        Raises CompletionPending after ``timeout_seconds``, and StorageUnavailable if there are too many completions.
        """
        completion = self.join(key, complete)
        wait([completion], timeout_seconds)
        return self.deliver(key, completion, progress=progress)

    def _note_end(self, started: _Started) -> None:
        started.ended_at = self._clock()

    def _forget_ended(self) -> bool:
        """Forget the oldest completion that has ended; return False if all of them still run.

        A request that was cancelled fetches no result: somebody who hangs up again and again must not take all places.
        """
        ended = next((key for key, each in self._started.items() if each.completion.done()), None)
        if ended is None:
            return False
        del self._started[ended]
        return True

    def _forget_old(self) -> None:
        oldest = self._clock() - KEPT_SECONDS
        for key in [key for key, each in self._started.items() if each.ended_at is not None and each.ended_at < oldest]:
            del self._started[key]
