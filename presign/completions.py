"""What the completions of one presigner share: the keys that are being completed, and the objects already hashed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from presign.errors import CompletionPending

_RETRY_AFTER_SECONDS = 1
_MAX_RECENT_ITEMS = 1024


class ExclusiveKeys:
    """Let only one thread at a time work on each key; raise CompletionPending in the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: set[str] = set()

    @contextmanager
    def claim(self, key: str) -> Iterator[None]:
        """Hold ``key`` while the block lasts; raises CompletionPending if another thread holds it."""
        with self._lock:
            if key in self._keys:
                raise CompletionPending("the upload is being completed", retry_after=_RETRY_AFTER_SECONDS)
            self._keys.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._keys.discard(key)


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
