"""What all signatures of one second share, made once in that second."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

MOST_KEPT = 64

_SECOND = timedelta(seconds=1)


class PerSecond(Generic[K, V]):
    """Answers ``make(second, key)``, ``second`` counted from 1970, and keeps it as long as that second lasts.

    Signatures are written to the second, and come many to one. Whatever is kept goes when a call names another second,
    or more than 64 keys. Threads that ask at once may each make a value of their own: ``make`` must answer equal ones.
    """

    __slots__ = ("_latest", "_make")

    def __init__(self, make: Callable[[int, K], V]) -> None:
        self._make = make
        beginning = datetime.fromtimestamp(0, timezone.utc)
        self._latest: tuple[datetime, datetime, int, dict[K, V]] = (beginning, beginning, 0, {})

    def get(self, now: datetime, key: K) -> V:
        """Return the value for ``key`` in the second of ``now``, which is aware."""
        start, end, second, values = self._latest
        # Comparing is much cheaper than asking ``now`` for its timestamp.
        if not start <= now < end:
            second = int(now.timestamp())
            start = datetime.fromtimestamp(second, timezone.utc)
            values = {}
            self._latest = start, start + _SECOND, second, values
        value = values.get(key)
        if value is None:
            value = self._make(second, key)
            if len(values) >= MOST_KEPT:
                values = {}
                self._latest = start, end, second, values
            values[key] = value
        return value
