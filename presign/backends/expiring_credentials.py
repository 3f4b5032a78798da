"""Credentials that expire: kept in memory, and renewed by a thread before they expire."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from presign.backends.failures import warn
from presign.errors import CredentialsUnavailable

T = TypeVar("T")

RETRY_INTERVAL = timedelta(seconds=30)
"""How long after a renewal that failed the next one begins, as long as the old credentials are valid."""
WAIT_SECONDS = 10.0
"""How long one caller waits for the renewal of credentials that have expired."""
SHARED_WAIT_SECONDS = 1.0
"""How long after the renewal began all other callers wait for it, too."""


class CredentialsExpired(CredentialsUnavailable):
    """The credentials have expired and are being renewed; raised on an event loop, where waiting would block it.

    Repeat the call in a thread: it waits there.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class ExpiringCredentials(Generic[T]):
    """Credentials, the time from which they should be renewed, and the time from which they are not valid.

    A time is None if it never comes. An instance equals only itself, so it can be the key of a cache.
    """

    credentials: T = field(repr=False)
    renew_at: datetime | None
    expires_at: datetime | None

    def are_expired(self, now: datetime) -> bool:
        """Say whether the credentials are not valid at ``now``."""
        return self.expires_at is not None and now >= self.expires_at


class _Renewal:
    """One call of ``fetch`` in a thread of its own.

    ``has_ended`` is set when the outcome is stored, and before it is logged: a log handler may be slow.
    """

    def __init__(self, run: Callable[[threading.Event], None], *, name: str) -> None:
        self.has_ended = threading.Event()
        self.has_waiter = False
        self.shared_wait_ends_at = time.monotonic() + SHARED_WAIT_SECONDS
        self._thread = threading.Thread(target=run, args=(self.has_ended,), name=name, daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        # A forked process inherits the object without the thread.
        return self._thread.is_alive() and not self.has_ended.is_set()


class CredentialsRenewer(Generic[T]):
    """Keep credentials valid: ``fetch`` gets them now, and again in a thread from ``renew_at`` on.

    The old credentials are in use until they expire. They only expire if the program was idle, or if ``fetch`` hangs or
    fails. Callers then wait for the renewal: one of them for ``wait_seconds``, the others for SHARED_WAIT_SECONDS from
    its beginning, and nobody who calls on an event loop. ``what`` names the credentials in messages.

    Safe to use from several threads, and after a fork.
    """

    def __init__(
        self, fetch: Callable[[], ExpiringCredentials[T]], *, what: str, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._fetch = fetch
        self._what = what
        self._wait_seconds = wait_seconds
        self._latest = fetch()
        self._lock = threading.Lock()
        self._renewal: _Renewal | None = None
        self._retry_at: datetime | None = None

    def __repr__(self) -> str:
        return f"CredentialsRenewer({self._what!r})"

    def current(self, now: datetime) -> ExpiringCredentials[T]:
        """Return credentials that are valid at ``now``.

        Raises CredentialsUnavailable if they have expired and were not renewed in time, and CredentialsExpired if they
        have expired, the caller is on an event loop, and the same call in a thread would wait for the renewal.
        """
        latest = self._latest
        if latest.renew_at is None or now < latest.renew_at:
            return latest
        expired = latest.are_expired(now)
        renewal = self._renew(latest, now, urgently=expired)
        if not expired:
            return latest
        if renewal is not None:
            self._wait(renewal)
        latest = self._latest
        if latest.are_expired(now):
            raise CredentialsUnavailable(f"{self._what} expired and could not be renewed")
        return latest

    def _renew(self, replaced: ExpiringCredentials[T], now: datetime, *, urgently: bool) -> _Renewal | None:
        """Return the renewal that runs or that this call starts; None if it is too early, or already done."""
        with self._lock:
            if self._latest is not replaced:
                return None
            if self._renewal is not None and self._renewal.is_running:
                return self._renewal
            if self._retry_at is not None and now < self._retry_at and not urgently:
                return None
            self._retry_at = now + RETRY_INTERVAL
            self._renewal = _Renewal(self._run, name=f"renew {self._what}")
            return self._renewal

    def _wait(self, renewal: _Renewal) -> None:
        with self._lock:
            seconds = renewal.shared_wait_ends_at - time.monotonic()
            waits_longer = not renewal.has_waiter
            if _is_on_event_loop():
                if waits_longer or seconds > 0:
                    raise CredentialsExpired(f"{self._what} expired and are being renewed")
                return
            renewal.has_waiter = True
        renewal.has_ended.wait(self._wait_seconds if waits_longer else max(seconds, 0))

    def _run(self, has_ended: threading.Event) -> None:
        failure = None
        try:
            self._latest = self._fetch()
        except Exception as error:
            failure = error
        finally:
            has_ended.set()
        if failure is not None:
            # Only the kind: the message of an SDK may hold the credentials that it tried.
            warn("%s could not be renewed: %s", self._what, type(failure).__name__)


def _is_on_event_loop() -> bool:
    # Only for credentials that have expired: asyncio takes long to import.
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
