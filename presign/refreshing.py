"""A value that expires, such as credentials: kept at hand, and renewed in the background before its time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from presign.errors import CredentialsUnavailable

T = TypeVar("T")

RETRY_INTERVAL = timedelta(seconds=30)
WAIT_SECONDS = 10.0

_log = logging.getLogger("presign")


@dataclass(frozen=True, kw_only=True, eq=False)
class Expiring(Generic[T]):
    """A value with the times from which it should be renewed and must not be used; None for never.

    Equal to itself alone, so that what is derived from the value can be cached by it.
    """

    value: T
    refresh_at: datetime | None
    expires_at: datetime | None


class Refreshing(Generic[T]):
    """Answers an expiring value without I/O as long as it is good.

    From ``refresh_at`` on, a thread calls ``fetch`` while the old value goes on being answered. Only a value past its
    expiry (the program was idle, or ``fetch`` kept failing) makes ``current`` wait for that thread, ``wait_seconds`` at
    most. ``what`` names the value in messages. Shared between threads, and usable after a fork.
    """

    def __init__(self, fetch: Callable[[], Expiring[T]], *, what: str, wait_seconds: float = WAIT_SECONDS) -> None:
        self._fetch = fetch
        self._what = what
        self._wait_seconds = wait_seconds
        self._held = fetch()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._retry_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Refreshing({self._what!r})"

    def current(self, now: datetime) -> Expiring[T]:
        """Return the value, good at ``now``; raises CredentialsUnavailable if it expired and no new one came."""
        held = self._held
        if held.refresh_at is None or now < held.refresh_at:
            return held
        expired = held.expires_at is not None and now >= held.expires_at
        thread = self._renew(held, now, urgently=expired)
        if not expired:
            return held
        if thread is not None:
            thread.join(self._wait_seconds)
        held = self._held
        if held.expires_at is not None and now >= held.expires_at:
            raise CredentialsUnavailable(f"{self._what} expired and could not be renewed")
        return held

    def _renew(self, held: Expiring[T], now: datetime, *, urgently: bool) -> threading.Thread | None:
        with self._lock:
            # Another caller's thread may have come and gone since.
            if self._held is not held:
                return None
            # After a fork the parent's thread is not alive here.
            if self._thread is not None and self._thread.is_alive():
                return self._thread
            if self._retry_at is not None and now < self._retry_at and not urgently:
                return None
            self._retry_at = now + RETRY_INTERVAL
            self._thread = threading.Thread(target=self._run, name=f"renew {self._what}", daemon=True)
            self._thread.start()
            return self._thread

    def _run(self) -> None:
        try:
            self._held = self._fetch()
        except Exception as error:
            # Only the kind: an SDK's message may hold what it tried to authenticate with.
            _log.warning("%s could not be renewed: %s", self._what, type(error).__name__)
