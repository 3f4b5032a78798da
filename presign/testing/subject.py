"""What every check works with: the backend under test, presigners and requests for it, and requirements."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from presign.backends.backend import Backend, ObjectStore
from presign.errors import (
    PresignError,
)
from presign.messages import Completion, Ticket, UploadRequest
from presign.policy import UploadPolicy
from presign.presigner import Presigner
from presign.testing.requests import UploadAttempt

MIN_BYTES = 10
MAX_BYTES = 100
CONTENT_TYPE = "text/plain"
BODY = b"exactly what was granted"
REPLAYS = 200
"""How many clients send the same ticket at once."""

REFUSALS = range(400, 500)
"""The statuses with which a storage refuses a request."""

_SECRET = secrets.token_urlsafe(32)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The backend under test.

    - ``prefix``: the prefix under which the checks may publish.
    - ``pending_prefix``: the prefix of the checks' pending uploads; None if uploads go straight to ``prefix``.
    - ``upload_bucket``: the bucket or container of pending uploads, if it is not the backend's own.
    - ``other_bucket``: another bucket or container of the same owner, in which the checks try to store.
    - ``ssl_context``: how to trust the storage's certificate; by default the system's way.
    - ``transport``: returns the status of the storage's answer to a request; by default over HTTP. A storage without
      HTTP has one of its own, such as ``MemoryBackend.send``.
    """

    backend: Backend
    prefix: str = "public/"
    pending_prefix: str | None = "pending/"
    upload_bucket: str | None = None
    other_bucket: str = "other"
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    transport: Callable[[UploadAttempt], int] | None = None

    @property
    def store(self) -> ObjectStore:
        """The store to which the checks upload."""
        return self.backend if self.pending_prefix is None else self.backend.pending

    @property
    def bucket(self) -> str:
        """The bucket or container to which the tickets of the checks write."""
        return self.upload_bucket or self.backend.name.rpartition("/")[2]

    def send(self, attempt: UploadAttempt) -> int:
        """Send the request to the storage, and return the status of the answer."""
        return attempt.send(self.ssl_context) if self.transport is None else self.transport(attempt)

    def upload_key(self, ticket: Ticket) -> str:
        """Return the key under which ``ticket`` stores the upload."""
        return ticket.key if self.pending_prefix is None else self.pending_prefix + ticket.key.rpartition("/")[2]


def make_presigner(
    subject: Subject,
    *,
    clock_offset: timedelta = timedelta(0),
    name: str = "conformance",
    on_complete: Callable[[Completion], None] | None = None,
    **policy: Any,
) -> Presigner:
    """Return a presigner for 10 to 100 bytes of text whose clock is ahead of this machine's by ``clock_offset``."""
    rules: dict[str, Any] = {
        "content_types": {CONTENT_TYPE},
        "min_bytes": MIN_BYTES,
        "max_bytes": MAX_BYTES,
        "prefix": subject.prefix,
        "pending_prefix": subject.pending_prefix,
    }
    return Presigner(
        name=name,
        on_complete=on_complete,
        backend=subject.backend,
        policy=UploadPolicy(**rules | policy),
        secret=_SECRET,
        clock=lambda: datetime.now(timezone.utc) + clock_offset,
    )


def make_request(subject: Subject, *, size: int | None = None, sha256: str | None = None) -> UploadRequest:
    """Return a request with ``size``; without one, it has the size of BODY if the storage requires a size."""
    needs_size = size is None and make_presigner(subject).requires_size
    return UploadRequest(content_type=CONTENT_TYPE, size=len(BODY) if needs_size else size, sha256=sha256)


def is_stored(subject: Subject, ticket: Ticket) -> bool:
    """Say whether an upload with ``ticket`` is stored, and not yet published."""
    return subject.store.head(subject.upload_key(ticket)) is not None


def stored_bytes(subject: Subject, ticket: Ticket) -> bytes:
    """Return the bytes of the upload that ``ticket`` stored, before it is published."""
    key = subject.upload_key(ticket)
    head = subject.store.head(key)
    if head is None:
        raise AssertionError("the uploaded object does not exist")
    return subject.store.read(key, offset=0, length=MAX_BYTES, etag=head.etag)


def download(url: str) -> UploadAttempt:
    """Return the request that reads what is at ``url``."""
    return UploadAttempt(method="GET", url=url, headers={}, fields={}, body=b"")


def require_accepted(subject: Subject, attempt: UploadAttempt) -> None:
    """Send the request, and require that the storage accepts it."""
    status = subject.send(attempt)
    require(200 <= status < 300, f"the storage answered {status} to an upload that the ticket allows")


def require_refused(subject: Subject, attempt: UploadAttempt, what: str) -> None:
    """Send the request, and require that the storage refuses it; ``what`` describes it."""
    status = subject.send(attempt)
    require(status in REFUSALS, f"the storage answered {status} to {what}")


def require_raises(error: type[PresignError], call: Callable[[], object], what: str) -> None:
    """Require that ``call`` raises ``error``; ``what`` describes the call."""
    try:
        call()
    except error:
        return
    raise AssertionError(f"{what} does not raise {error.__name__}")


def require(condition: bool, complaint: str) -> None:
    """Raise AssertionError with ``complaint`` unless the condition holds."""
    # ``python -O`` would remove an assert statement.
    if not condition:
        raise AssertionError(complaint)


def delete_upload(subject: Subject, ticket: Ticket) -> None:
    """Delete the upload of ``ticket`` and its published copy, and require that both are gone."""
    for store, key in ((subject.backend, ticket.key), (subject.store, subject.upload_key(ticket))):
        store.delete(key)
        require(store.head(key) is None, "a deleted object still exists")
