"""An SDK's client that is built when it is first used."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

C = TypeVar("C")


class LazyClient(Generic[C]):
    """Build a client at the first call of ``get``, once, also when threads call it at the same time.

    A backend that only signs never needs the client, and SDKs take long to build one.
    """

    def __init__(self, build: Callable[[], C]) -> None:
        self._build = build
        self._lock = threading.Lock()
        self._client: C | None = None

    @classmethod
    def of(cls, client: C) -> LazyClient[C]:
        """Return what gives a client that is there already."""
        lazy = cls(lambda: client)
        lazy.get()
        return lazy

    def get(self) -> C:
        """Return the client."""
        with self._lock:
            if self._client is None:
                self._client = self._build()
            return self._client
