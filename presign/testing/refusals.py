"""How the storage in memory refuses a request."""

from __future__ import annotations


class RefusedByStorage(Exception):
    """The storage refuses a request; the message says why, and ``status`` is the status of its answer."""

    def __init__(self, reason: str, *, status: int) -> None:
        super().__init__(f"{reason} (status {status})")
        self.status = status
