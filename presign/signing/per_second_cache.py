"""A cache for values that are the same for all signatures of one second."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

MAX_ENTRIES = 64

_SECOND = timedelta(seconds=1)


class PerSecondCache(Generic[K, V]):
    """Make each value once per second.

    Signatures contain times in whole seconds, and a busy server makes many signatures in one second. ``make`` gets the
    second, as a Unix time, and the key. The cache forgets all values when the second changes, or when it would hold
    more than 64 of them. Two threads that ask at the same time may each call ``make``, so ``make`` must return equal
    values for equal arguments.
    """

    __slots__ = ("_latest", "_make")

    def __init__(self, make: Callable[[int, K], V]) -> None:
        self._make = make
        epoch = datetime.fromtimestamp(0, timezone.utc)
        self._latest: tuple[datetime, datetime, int, dict[K, V]] = (epoch, epoch, 0, {})

    def get(self, now: datetime, key: K) -> V:
        """Return the value for ``key`` in the second of ``now``, which must be aware."""
        start, end, unix_second, values = self._latest
        # A comparison of two datetimes is much cheaper than now.timestamp().
        if not start <= now < end:
            unix_second = int(now.timestamp())
            start = datetime.fromtimestamp(unix_second, timezone.utc)
            values = {}
            self._latest = start, start + _SECOND, unix_second, values
        value = values.get(key)
        if value is None:
            value = self._make(unix_second, key)
            if len(values) >= MAX_ENTRIES:
                values = {}
                self._latest = start, end, unix_second, values
            values[key] = value
        return value
