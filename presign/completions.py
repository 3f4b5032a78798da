"""What the completions of one presigner share: the keys that are being completed, and the objects already hashed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from presign.errors import CompletionPending
from presign.progress import CompletionProgress, CompletionStep, ReportBytes

_RETRY_AFTER_SECONDS = 1
_MAX_RECENT_ITEMS = 1024


class Reporter:
    """Where one completion notes how far it is. Safe to use from several threads."""

    def __init__(self) -> None:
        self.progress: CompletionProgress | None = None

    def begin(self, step: CompletionStep) -> None:
        """Note that ``step`` begins."""
        self.progress = CompletionProgress(step=step)

    def bytes_of(self, step: CompletionStep) -> ReportBytes:
        """Return what notes how many bytes ``step`` has processed."""

        def report(done: int, of: int) -> None:
            self.progress = CompletionProgress(step=step, done=done, of=of)

        return report


class ExclusiveKeys:
    """Let only one thread at a time work on each key; raise CompletionPending in the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reporters: dict[str, Reporter] = {}

    @contextmanager
    def claim(self, key: str) -> Iterator[Reporter]:
        """Hold ``key`` while the block lasts; raises CompletionPending if another thread holds it.

        The block gets the reporter from which ``progress`` reads.
        """
        reporter = Reporter()
        with self._lock:
            other = self._reporters.setdefault(key, reporter)
        if other is not reporter:
            raise CompletionPending(
                "the upload is being completed", retry_after=_RETRY_AFTER_SECONDS, progress=other.progress
            )
        try:
            yield reporter
        finally:
            with self._lock:
                del self._reporters[key]

    def progress(self, key: str) -> CompletionProgress | None:
        """Return how far the thread is that holds ``key``; None if there is none, or it has reported nothing."""
        with self._lock:
            reporter = self._reporters.get(key)
        return None if reporter is None else reporter.progress


class RecentItems:
    """Remember the last ``limit`` items that were added. Safe to use from several threads."""

    def __init__(self, limit: int = _MAX_RECENT_ITEMS) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._items: OrderedDict[object, None] = OrderedDict()

    def __contains__(self, item: object) -> bool:
        with self._lock:
            return item in self._items

    def add(self, item: object) -> None:
        """Remember ``item``, and forget the oldest one if there are too many."""
        with self._lock:
            self._items[item] = None
            self._items.move_to_end(item)
            if len(self._items) > self._limit:
                self._items.popitem(last=False)
