"""The completions of large files, which take longer than a request can wait: asked again, each goes on."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from presign.errors import CompletionPending, StorageUnavailable
from presign.http.bounded_threads import BoundedThreads
from presign.http.side_by_side import run_side_by_side
from presign.progress import CompletionProgress

KEPT_SECONDS = 300.0
"""How long the result of a completion is kept for a client that has not asked again."""

_MAX_COMPLETIONS = 1000
# One user must not take the places of all others.
_MAX_OF_ONE_OWNER = 200
_RETRY_AFTER_SECONDS = 1

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)
Progress = Callable[[], CompletionProgress | None]
"""Returns how far a completion is; None if that is not known."""


def _unknown() -> None:
    return None


@dataclass
class _Started:
    completion: Future[Any]
    owner: str | None
    ended_at: float | None = None


class LongCompletions:
    """Run completions in ``max_threads`` threads of their own; whoever asks for the same one again waits for the same.

    A request that waits too long is answered with CompletionPending, and the completion goes on. Its result, also an
    error such as RuleViolated, is kept for the client's next request for ``KEPT_SECONDS``, and delivered once. It is
    forgotten earlier if its place is needed. The next request then completes anew, as in another process, which knows
    nothing of it. That ends in the same state.

    ``clock`` counts seconds. Safe to use from several threads.
    """

    def __init__(self, *, max_threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._threads = BoundedThreads(max_threads=max_threads, name="presign large")
        self._clock = clock
        self._lock = threading.Lock()
        self._started: OrderedDict[Hashable, _Started] = OrderedDict()

    def join(self, key: Hashable, complete: Callable[[], T], *, owner: str | None = None) -> Future[T]:
        """Return the future result of the completion under ``key``, which is started if there is none.

        If there are too many completions, or too many of ``owner``, it is StorageUnavailable.
        """
        return self.join_all({key: complete}, at_once=1, owner=owner)[key]

    def join_all(
        self, calls: Mapping[Key, Callable[[], T]], *, at_once: int, owner: str | None = None
    ) -> dict[Key, Future[T]]:
        """Do the same for all completions of one request; ``at_once`` threads at most make those that are started.

        If completions of other requests wait for a thread, they get their turn in between.
        """
        with self._lock:
            self._forget_old()
            joined = {key: self._started[key].completion for key in calls if key in self._started}
            new = [key for key in calls if key not in joined]
            admitted = new[: self._make_room(len(new), owner)]
            futures = run_side_by_side(self._threads, [calls[key] for key in admitted], at_once=at_once)
            started = {key: _Started(future, owner) for key, future in zip(admitted, futures, strict=True)}
            for key, each in started.items():
                self._started[key] = each
        for key, each in started.items():
            each.completion.add_done_callback(partial(self._note_end, each))
            joined[key] = each.completion
        for key in new[len(admitted) :]:
            joined[key] = Future()
            joined[key].set_exception(StorageUnavailable("too many large files are being completed"))
        return joined

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
        self,
        key: Hashable,
        complete: Callable[[], T],
        *,
        timeout_seconds: float,
        progress: Progress = _unknown,
        owner: str | None = None,
    ) -> T:
        """Join the completion under ``key``, wait for it, and deliver its result.

        Raises CompletionPending after ``timeout_seconds``, and StorageUnavailable if there are too many completions.
        """
        completion = self.join(key, complete, owner=owner)
        wait([completion], timeout_seconds)
        return self.deliver(key, completion, progress=progress)

    def _make_room(self, wanted: int, owner: str | None) -> int:
        """Return how many of the ``wanted`` completions can be started; forget the oldest results if that helps."""
        if owner is not None:
            running = [each for each in self._started.values() if each.owner == owner and each.ended_at is None]
            wanted = min(wanted, max(0, _MAX_OF_ONE_OWNER - len(running)))
        surplus = len(self._started) + wanted - _MAX_COMPLETIONS
        if surplus > 0:
            ended = [key for key, each in self._started.items() if each.ended_at is not None]
            for key in ended[:surplus]:
                del self._started[key]
        return min(wanted, _MAX_COMPLETIONS - len(self._started))

    def _note_end(self, started: _Started, _: object) -> None:
        started.ended_at = self._clock()

    def _forget_old(self) -> None:
        oldest = self._clock() - KEPT_SECONDS
        for key in [key for key, each in self._started.items() if each.ended_at is not None and each.ended_at < oldest]:
            del self._started[key]
