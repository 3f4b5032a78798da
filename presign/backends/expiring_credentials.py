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
class ExpiringCredentials(Generic[T]):
    """A value with the times from which it should be renewed and must not be used; None for never.

    Equal to itself alone, so that what is derived from the value can be cached by it.
    """

    credentials: T
    renew_at: datetime | None
    expires_at: datetime | None


class CredentialsRenewer(Generic[T]):
    """Answers an expiring value without I/O as long as it is good.

    From ``renew_at`` on, a thread calls ``fetch`` while the old value goes on being answered. Only a value past its
    expiry (the program was idle, or ``fetch`` kept failing) makes ``current`` wait for that thread, ``wait_seconds`` at
    most. ``what`` names the value in messages. Shared between threads, and usable after a fork.
    """

    def __init__(
        self, fetch: Callable[[], ExpiringCredentials[T]], *, what: str, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._fetch = fetch
        self._what = what
        self._wait_seconds = wait_seconds
        self._current = fetch()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._retry_at: datetime | None = None

    def __repr__(self) -> str:
        return f"CredentialsRenewer({self._what!r})"

    def current(self, now: datetime) -> ExpiringCredentials[T]:
        """Return the value, good at ``now``; raises CredentialsUnavailable if it expired and no new one came."""
        current = self._current
        if current.renew_at is None or now < current.renew_at:
            return current
        expired = current.expires_at is not None and now >= current.expires_at
        thread = self._renew(current, now, urgently=expired)
        if not expired:
            return current
        if thread is not None:
            thread.join(self._wait_seconds)
        current = self._current
        if current.expires_at is not None and now >= current.expires_at:
            raise CredentialsUnavailable(f"{self._what} expired and could not be renewed")
        return current

    def _renew(self, current: ExpiringCredentials[T], now: datetime, *, urgently: bool) -> threading.Thread | None:
        with self._lock:
            # Another caller's thread may have come and gone since.
            if self._current is not current:
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
            self._current = self._fetch()
        except Exception as error:
            # Only the kind: an SDK's message may hold what it tried to authenticate with.
            _log.warning("%s could not be renewed: %s", self._what, type(error).__name__)
