"""The conformance checks. Each one sends real requests, and compares the storage's answers with the tickets.

::

    import pytest
    from presign.testing import CHECKS, Subject

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_conformance(check):
        check(Subject(backend=MyBackend(...)))

A check deletes what it stored. It raises AssertionError with the difference between the ticket and the storage. The
backend's credentials need permission to read and delete under both prefixes.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from presign.backends.backend import Backend, ObjectStore
from presign.errors import (
    ConfigurationError,
    InvalidRequest,
    InvalidToken,
    NotUploaded,
    PresignError,
    RuleViolated,
    StorageUnavailable,
)
from presign.messages import Completion, Grant, Rule, StoredObject, Ticket, UploadRequest
from presign.policy import UploadPolicy
from presign.presigner import Presigner
from presign.testing.interruption import InterruptedBackend
from presign.testing.requests import UploadAttempt

MIN_BYTES = 10
MAX_BYTES = 100
CONTENT_TYPE = "text/plain"
BODY = b"exactly what was granted"
REPLAYS = 200
"""How many clients send the same create-only ticket at once."""

_SECRET = secrets.token_urlsafe(32)
_REFUSALS = range(400, 500)
# More than any backend needs for one completion.
_MAX_STEPS = 12
_MAX_AGE = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The backend under test.

    - ``prefix``: the prefix under which the checks may publish.
    - ``pending_prefix``: where the uploads of the checks wait; None if they go straight to ``prefix``.
    - ``upload_bucket``: the bucket or container of pending uploads, if it is not the backend's own.
    - ``other_bucket``: another bucket or container of the same owner, in which the checks try to store.
    - ``ssl_context``: how to trust the storage's certificate; by default the system's way.
    """

    backend: Backend
    prefix: str = "public/"
    pending_prefix: str | None = "pending/"
    upload_bucket: str | None = None
    other_bucket: str = "other"
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)

    @property
    def store(self) -> ObjectStore:
        """Where the uploads of the checks are stored."""
        return self.backend if self.pending_prefix is None else self.backend.pending

    @property
    def bucket(self) -> str:
        """The bucket or container to which the tickets of the checks write."""
        return self.upload_bucket or self.backend.name.rpartition("/")[2]

    def upload_key(self, ticket: Ticket) -> str:
        """Return the key under which ``ticket`` stores the upload."""
        return ticket.key if self.pending_prefix is None else self.pending_prefix + ticket.key.rpartition("/")[2]


def accepts_a_valid_upload(subject: Subject) -> None:
    """Accept a file that is sent with its ticket, and complete it twice with the same result."""
    digest = hashlib.sha256(BODY).hexdigest()
    for request in (
        _request(subject),
        _request(subject, size=len(BODY)),
        _request(subject, size=len(BODY), sha256=digest),
    ):
        presigner = _presigner(
            subject, content_disposition="attachment", cache_control="max-age=60", metadata={"tenant": "7"}
        )
        ticket = presigner.issue(replace(request, name="notes \u00fc.txt"))
        _require(ticket.expires_at > ticket.now, "the ticket has already expired when it is issued")
        _accepted(subject, UploadAttempt.of(ticket, BODY))
        stored = presigner.complete(ticket.token)
        _require(stored.size == len(BODY) and stored.content_type == CONTENT_TYPE, f"stored as {stored}")
        _require(presigner.complete(ticket.token) == stored, "the second completion returns another object")
        _delete(subject, ticket)


def enforces_the_size_range(subject: Subject) -> None:
    """Accept the smallest and the largest size, and refuse 0 bytes, one byte less and one byte more."""
    presigner = _presigner(subject)
    request = UploadRequest(content_type=CONTENT_TYPE)
    for size in (MIN_BYTES, MAX_BYTES):
        ticket = presigner.issue(replace(request, size=size) if presigner.requires_size else request)
        _accepted(subject, UploadAttempt.of(ticket, b"x" * size))
        _require(presigner.complete(ticket.token).size == size, "completed with another size")
        _delete(subject, ticket)
    if presigner.requires_size:
        _raises(InvalidRequest, lambda: presigner.issue(request), "a request without the size that the storage needs")
        return
    for size in (0, MIN_BYTES - 1, MAX_BYTES + 1):
        _refused_as_promised(subject, presigner, request, Rule.SIZE, partial(UploadAttempt.with_body, body=b"x" * size))


def enforces_an_exact_size(subject: Subject) -> None:
    """Accept only the size that the request declared."""
    presigner = _presigner(subject)
    request = UploadRequest(content_type=CONTENT_TYPE, size=len(BODY))
    for body in (BODY[:-1], BODY + b"x"):
        _refused_as_promised(subject, presigner, request, Rule.SIZE, partial(UploadAttempt.with_body, body=body))


def enforces_the_content_type(subject: Subject) -> None:
    """Refuse a content type that was not granted, whether the size was declared or not."""
    for request in (_request(subject), _request(subject, size=len(BODY))):
        for other in ("text/html", "text/plain;charset=utf-8"):
            change = partial(UploadAttempt.with_type, content_type=other)
            _refused_as_promised(subject, _presigner(subject), request, Rule.TYPE, change)


def enforces_the_checksum(subject: Subject) -> None:
    """Refuse bytes of the right size that are not the bytes that the ticket was issued for."""
    request = UploadRequest(content_type=CONTENT_TYPE, size=len(BODY), sha256=hashlib.sha256(BODY).hexdigest())
    change = partial(UploadAttempt.with_body, body=BODY[:-1] + b"!")
    _refused_as_promised(subject, _presigner(subject), request, Rule.CHECKSUM, change)


def enforces_the_headers(subject: Subject) -> None:
    """Keep headers that were not granted off the object."""
    request = _request(subject)
    name = "x-ms-blob-content-encoding" if _speaks_azure(subject, request) else "Content-Encoding"
    _refused_as_promised(subject, _presigner(subject), request, Rule.HEADERS, lambda d: d.with_extra(name, "gzip"))


def enforces_create_only(subject: Subject) -> None:
    """Let exactly one of many clients win that send the same create-only ticket at once, and never overwrite."""
    if not _supports(subject, create_only=True):
        return
    presigner = _presigner(subject, create_only=True)
    ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)))
    if ticket.enforced[Rule.CREATE_ONLY] != "storage":
        _require(
            subject.pending_prefix is not None,
            "the ticket says that completion enforces create-only, which it cannot without a pending place",
        )
        return
    bodies = [f"{number:0{len(BODY)}}".encode() for number in range(REPLAYS)]
    with ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(lambda body: UploadAttempt.of(ticket, body).send(subject.ssl_context), bodies))
    winners = [body for body, status in zip(bodies, statuses, strict=True) if status < 300]
    _require(len(winners) == 1, f"the storage accepted {len(winners)} of {REPLAYS} replays")
    _require(_stored_bytes(subject, ticket) == winners[0], "the object does not have the winner's bytes")
    _refused(subject, UploadAttempt.of(ticket, BODY), "a replay before completion")
    presigner.complete(ticket.token)
    if subject.pending_prefix is None:
        _refused(subject, UploadAttempt.of(ticket, BODY), "a replay after completion")
    _delete(subject, ticket)


def keeps_a_pending_upload_private(subject: Subject) -> None:
    """Let nobody read an upload before it is completed, neither where it waits nor where it will be."""
    if subject.pending_prefix is None:
        return
    presigner = _presigner(subject)
    ticket = presigner.issue(_request(subject, size=len(BODY)))
    attempt = UploadAttempt.of(ticket, BODY)
    _accepted(subject, attempt)
    for url in (attempt.object_url(subject.upload_key(ticket)), subject.backend.object_url(ticket.key)):
        status = _download(url).send(subject.ssl_context)
        _require(status in _REFUSALS, f"the storage answered {status} to somebody who reads a pending upload")
    presigner.complete(ticket.token)
    _delete(subject, ticket)


def keeps_what_it_published(subject: Subject) -> None:
    """Answer the same, and hold the same bytes, whatever is sent with the ticket after completion."""
    if subject.pending_prefix is None:
        return
    presigner = _presigner(subject)
    ticket = presigner.issue(_request(subject, size=len(BODY)))
    _accepted(subject, UploadAttempt.of(ticket, BODY))
    stored = presigner.complete(ticket.token)
    for body in (BODY[::-1], b"<script>alert(1)</script>"[: len(BODY)], BODY):
        UploadAttempt.of(ticket, body).send(subject.ssl_context)
        _require(presigner.complete(ticket.token) == stored, "a completion after a replay returns another object")
        _require(_published_bytes(subject, stored) == BODY, "a replay changed the bytes of a published object")
        _require(not _is_stored(subject, ticket), "a replay is still pending after completion")
    _delete(subject, ticket)


def refuses_a_copy_that_nobody_signed(subject: Subject) -> None:
    """Refuse to copy another object into the upload, although the signer may read that object."""
    presigner = _presigner(subject)
    secret = b"only for its own owner, and no one else"
    private = presigner.issue(_request(subject, size=len(secret)), owner="alice")
    _accepted(subject, UploadAttempt.of(private, secret))
    ticket = presigner.issue(_request(subject, size=len(BODY)), owner="mallory")
    attempt = UploadAttempt.of(ticket, BODY)
    source = UploadAttempt.of(private, b"").object_url(subject.upload_key(private))
    for headers in _copy_headers(ticket, source):
        copying = attempt
        for name, value in headers.items():
            copying = copying.with_header(name, value)
        copying.send(subject.ssl_context)
        head = subject.store.head(subject.upload_key(ticket))
        _require(
            head is None or _stored_bytes(subject, ticket) == BODY,
            f"the storage obeyed {', '.join(headers)}: the upload has the bytes of another object",
        )
    for each in (private, ticket):
        subject.store.delete(subject.upload_key(each))


def refuses_attributes_that_nobody_signed(subject: Subject) -> None:
    """Let no client give the object an access control list, tags, a storage class or a key of its own."""
    for headers in _attribute_headers(_presigner(subject).issue(_request(subject, size=len(BODY)))):
        presigner = _presigner(subject)
        ticket = presigner.issue(_request(subject, size=len(BODY)))
        attempt = UploadAttempt.of(ticket, BODY)
        changed = attempt
        for name, value in headers.items():
            changed = changed.with_header(name, value)
        names = ", ".join(headers)
        status = changed.send(subject.ssl_context)
        if status not in _REFUSALS:
            status = _download(attempt.object_url(subject.upload_key(ticket))).send(subject.ssl_context)
            _require(
                subject.pending_prefix is None or status in _REFUSALS,
                f"the storage obeyed {names}: everybody can read the pending upload",
            )
            try:
                presigner.complete(ticket.token)
            except RuleViolated:
                _require(subject.backend.head(ticket.key) is None, f"an upload with {names} was refused and published")
            else:
                head = subject.backend.head(ticket.key)
                _require(
                    head is not None and head.readable and not head.unexpected_headers,
                    f"completion accepts an upload with {names}",
                )
        subject.store.delete(subject.upload_key(ticket))
        subject.backend.delete(ticket.key)


def refuses_the_token_of_another_presigner(subject: Subject) -> None:
    """Refuse a token that a presigner of another name or another prefix issued, and change nothing."""
    presigner = _presigner(subject, name="documents")
    ticket = presigner.issue(_request(subject, size=len(BODY)))
    _accepted(subject, UploadAttempt.of(ticket, BODY))
    others = (
        _presigner(subject, name="avatars"),
        _presigner(subject, name="documents", prefix=f"{subject.prefix}other/"),
        _presigner(subject, name="documents", content_types={"image/png"}),
    )
    for other in others:
        _raises(InvalidToken, partial(other.complete, ticket.token), "the token of another presigner")
    _require(presigner.complete(ticket.token).key == ticket.key, "completed another key")
    _delete(subject, ticket)


def finishes_an_interrupted_completion(subject: Subject) -> None:
    """End in the same state, and tell the application, after a completion that failed at any of its steps."""
    if subject.pending_prefix is None:
        return
    for step in range(_MAX_STEPS):
        for after in (False, True):
            told: list[Completion] = []
            backend: Any = InterruptedBackend(
                subject.backend, fail_at=step, after=after, failure=StorageUnavailable("interrupted on purpose")
            )
            ticket = _presigner(subject).issue(_request(subject, size=len(BODY)))
            _accepted(subject, UploadAttempt.of(ticket, BODY))
            try:
                _presigner(replace(subject, backend=backend), on_complete=told.append).complete(ticket.token)
            except StorageUnavailable:
                is_interrupted = True
            else:
                is_interrupted = False
            presigner = _presigner(subject, on_complete=told.append)
            stored = presigner.complete(ticket.token)
            _require(presigner.complete(ticket.token) == stored, "a repeated completion returns another object")
            _require(_published_bytes(subject, stored) == BODY, "an interrupted completion published other bytes")
            _require(not _is_stored(subject, ticket), "an interrupted completion left the upload")
            _require({each.stored for each in told} == {stored}, f"the application was told {told}")
            _delete(subject, ticket)
            if not is_interrupted:
                return


def detects_a_replaced_object(subject: Subject) -> None:
    """Refuse to replace a completed object, or complete it again with another etag."""
    if subject.pending_prefix is not None:
        return
    presigner = _presigner(subject)
    ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)))
    _accepted(subject, UploadAttempt.of(ticket, BODY))
    first = presigner.complete(ticket.token)
    status = UploadAttempt.of(ticket, BODY[::-1]).send(subject.ssl_context)
    again = presigner.complete(ticket.token)
    _require(
        (status in _REFUSALS) == (again.etag == first.etag),
        f"the storage answered {status} to the second upload, and the etag does not fit that",
    )
    _delete(subject, ticket)


def binds_a_ticket_to_its_key(subject: Subject) -> None:
    """Refuse a ticket for another key, another prefix and another bucket."""
    ticket = _presigner(subject).issue(_request(subject))
    upload_key = subject.upload_key(ticket)
    for other in (f"{subject.prefix}other", ticket.key, f"{upload_key}x", "elsewhere/x"):
        if other != upload_key:
            _refused(subject, UploadAttempt.of(ticket, BODY).with_key(upload_key, other), f"another key, {other}")
    bucket = subject.bucket
    attempt = UploadAttempt.of(ticket, BODY)
    elsewhere = attempt.with_bucket(bucket, subject.other_bucket)
    _require(elsewhere.url != attempt.url, f"the ticket's URL does not name the bucket {bucket}")
    _refused(subject, elsewhere, "another bucket")
    _require(not _is_stored(subject, ticket), "an object is stored under the key")


def refuses_a_tampered_ticket(subject: Subject) -> None:
    """Refuse a ticket in which one signed thing is changed: policy, scope, date, times or permissions."""
    for size in (None, len(BODY)):
        ticket = _presigner(subject).issue(_request(subject, size=size))
        tampered = UploadAttempt.of(ticket, BODY).tampered()
        _require(len(tampered) > 1, "the ticket has nothing that is signed")
        for name, attempt in tampered.items():
            _refused(subject, attempt, f"a changed {name}")
        _require(not _is_stored(subject, ticket), "an object is stored under the key")


def refuses_a_ticket_before_its_start(subject: Subject) -> None:
    """Refuse a URL that becomes valid in an hour. A form has no start: its policy has an expiration only."""
    ticket = _presigner(subject, clock_offset=timedelta(hours=1)).issue(_request(subject))
    if not ticket.fields:
        _refused(subject, UploadAttempt.of(ticket, BODY), "a ticket that is not valid yet")
        _require(not _is_stored(subject, ticket), "an object is stored under the key")


def refuses_a_forged_signature(subject: Subject) -> None:
    """Refuse a ticket whose signature is changed or empty."""
    ticket = _presigner(subject).issue(_request(subject, size=len(BODY)))
    attempt = UploadAttempt.of(ticket, BODY)
    for forge in (lambda signature: ("A" if signature[0] != "A" else "B") + signature[1:], lambda signature: ""):
        _refused(subject, attempt.with_signature(forge), "a forged signature")
    _require(not _is_stored(subject, ticket), "an object is stored under the key")
    _accepted(subject, attempt)
    _delete(subject, ticket)


def stores_under_unusual_keys(subject: Subject) -> None:
    """Store under keys that need encoding in a URL or a form."""
    for name in ("a b", "a+b", "a%20b", "a~b!*'()", "a&b=c", "\u00e9\u6f22", "a..b", "A" * 200):
        key = f"{subject.prefix}odd/{name}"
        pending_key = None if subject.pending_prefix is None else f"{subject.pending_prefix}odd/{name}"
        grant = Grant(
            key=key,
            pending_key=pending_key,
            content_type=CONTENT_TYPE,
            min_bytes=len(BODY),
            max_bytes=len(BODY),
            expires_in=timedelta(seconds=60),
        )
        for store, each in ((subject.store, grant.upload_key), (subject.backend, key)):
            store.delete(each)
        signed = subject.backend.sign_upload(grant, datetime.now(timezone.utc))
        attempt = UploadAttempt.of(signed, BODY)
        _accepted(subject, attempt)
        head = subject.store.head(grant.upload_key)
        if head is None or head.size != len(BODY):
            raise AssertionError(f"nothing is stored under {grant.upload_key!a}")
        if pending_key is not None:
            _require(subject.backend.publish(grant, head).size == len(BODY), f"{key!a} is published with another size")
            published = subject.backend.head(key)
            _require(published is not None and published.size == len(BODY), f"nothing is published under {key!a}")
        for store, each in ((subject.store, grant.upload_key), (subject.backend, key)):
            store.delete(each)
            _require(store.head(each) is None, f"{each!a} is not deleted")


def refuses_an_expired_ticket(subject: Subject) -> None:
    """Refuse a ticket that expired a second ago."""
    clock_offset = timedelta(seconds=-62)
    ticket = _presigner(subject, clock_offset=clock_offset).issue(_request(subject, size=len(BODY)))
    _require(ticket.expires_at <= datetime.now(timezone.utc), "the ticket says that it has not expired yet")
    _refused(subject, UploadAttempt.of(ticket, BODY), "an expired ticket")
    _require(not _is_stored(subject, ticket), "an object is stored under the key")


def completes_only_an_existing_upload(subject: Subject) -> None:
    """Refuse completion before the upload, by another owner, and with a changed token, without side effects."""
    presigner = _presigner(subject)
    ticket = presigner.issue(_request(subject), owner="alice")
    _raises(NotUploaded, lambda: presigner.complete(ticket.token, owner="alice"), "completion before the upload")
    _accepted(subject, UploadAttempt.of(ticket, BODY))
    _raises(InvalidToken, lambda: presigner.complete(ticket.token, owner="bob"), "another owner's completion")
    _raises(InvalidToken, lambda: presigner.complete(ticket.token[:-4], owner="alice"), "a truncated token")
    other = presigner.issue(_request(subject), owner="alice")
    _raises(NotUploaded, lambda: presigner.complete(other.token, owner="alice"), "the token of another key")
    _require(presigner.complete(ticket.token, owner="alice").key == ticket.key, "completed another key")
    _delete(subject, ticket)


def reads_and_deletes_the_named_object(subject: Subject) -> None:
    """Describe, read, list and delete the object under the given key, and no other."""
    presigner = _presigner(subject)
    ticket = presigner.issue(_request(subject, size=len(BODY)))
    store, key = subject.store, subject.upload_key(ticket)
    _require(store.head(key) is None, "head describes an object that does not exist")
    store.delete(key)
    _accepted(subject, UploadAttempt.of(ticket, BODY))
    head = store.head(key)
    if head is None or head.size != len(BODY) or not head.etag:
        raise AssertionError(f"the head is {head}")
    with_bytes = store.head(key, first_bytes=8)
    _require(
        with_bytes is not None
        and (with_bytes.size, with_bytes.etag, with_bytes.content_type) == (head.size, head.etag, head.content_type)
        and with_bytes.first_bytes in {None, BODY[:8]},
        f"the head with the first bytes is {with_bytes}",
    )
    read = store.read(key, offset=8, length=4, etag=head.etag)
    _require(read == BODY[8:12], f"bytes 8 to 11 are {read!r}")
    if subject.pending_prefix is not None:
        listed = [each for each in store.list_objects(subject.pending_prefix) if each.key == key]
        _require([each.etag for each in listed] == [head.etag], f"the listing of the object is {listed}")
        _require(abs(datetime.now(timezone.utc) - listed[0].stored_at) < _MAX_AGE, f"the listing is {listed}")
    store.delete(key, head=replace(head, etag=f"{head.etag[:-1]}{'0' if head.etag[-1] != '0' else '1'}", version=None))
    _require(store.head(key) is not None, "a delete of another etag deleted the object")
    presigner.complete(ticket.token)
    url = presigner.sign_download(ticket.key, expires_in=timedelta(seconds=60), content_disposition="attachment")
    _require(_download(url).send(subject.ssl_context) == 200, "the download URL does not work")
    # Everybody may read a public object, with whatever signature.
    if _download(subject.backend.object_url(ticket.key)).send(subject.ssl_context) in _REFUSALS:
        old_presigner = _presigner(subject, clock_offset=timedelta(seconds=-3600))
        expired = old_presigner.sign_download(ticket.key, expires_in=timedelta(seconds=60))
        _require(_download(expired).send(subject.ssl_context) in _REFUSALS, "an expired download URL works")
    _delete(subject, ticket)


CHECKS: tuple[Callable[[Subject], None], ...] = (
    accepts_a_valid_upload,
    enforces_the_size_range,
    enforces_an_exact_size,
    enforces_the_content_type,
    enforces_the_checksum,
    enforces_the_headers,
    enforces_create_only,
    keeps_a_pending_upload_private,
    keeps_what_it_published,
    refuses_a_copy_that_nobody_signed,
    refuses_attributes_that_nobody_signed,
    refuses_the_token_of_another_presigner,
    finishes_an_interrupted_completion,
    detects_a_replaced_object,
    binds_a_ticket_to_its_key,
    refuses_a_forged_signature,
    refuses_a_tampered_ticket,
    refuses_a_ticket_before_its_start,
    stores_under_unusual_keys,
    refuses_an_expired_ticket,
    completes_only_an_existing_upload,
    reads_and_deletes_the_named_object,
)
"""Every check. A backend conforms if none of them raises."""


def _presigner(
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


def _request(subject: Subject, *, size: int | None = None, sha256: str | None = None) -> UploadRequest:
    """Return a request with ``size``, and with the size of BODY if there is none and the storage needs one."""
    needs_size = size is None and _presigner(subject).requires_size
    return UploadRequest(content_type=CONTENT_TYPE, size=len(BODY) if needs_size else size, sha256=sha256)


def _copy_headers(ticket: Ticket, source: str) -> list[dict[str, str]]:
    """Return the headers with which each dialect copies the object at the URL ``source``."""
    if any(name.lower() == "x-ms-blob-type" for name in ticket.headers):
        return [{"x-ms-copy-source": source}, {"x-ms-copy-source": source, "x-ms-requires-sync": "true"}]
    path = urlsplit(source).path
    return [{"x-amz-copy-source": path}, {"x-goog-copy-source": path}]


def _attribute_headers(ticket: Ticket) -> list[dict[str, str]]:
    """Return headers that would give the object an attribute which its ticket does not have."""
    if any(name.lower() == "x-ms-blob-type" for name in ticket.headers):
        return [{"x-ms-tags": "a=b"}, {"x-ms-access-tier": "Cool"}, {"x-ms-blob-content-language": "en"}]
    customer_key = secrets.token_bytes(32)
    key, digest = (base64.b64encode(each).decode() for each in (customer_key, hashlib.md5(customer_key).digest()))  # noqa: S324  (the protocol's digest)
    prefix = "x-amz-server-side-encryption-customer"
    return [
        {"x-amz-acl": "public-read"},
        {"x-goog-acl": "public-read"},
        {"x-amz-tagging": "a=b"},
        {"x-amz-storage-class": "GLACIER"},
        {"x-goog-storage-class": "ARCHIVE"},
        {f"{prefix}-algorithm": "AES256", f"{prefix}-key": key, f"{prefix}-key-md5": digest},
    ]


def _is_stored(subject: Subject, ticket: Ticket) -> bool:
    """Say whether an upload with ``ticket`` is stored, and not yet published."""
    return subject.store.head(subject.upload_key(ticket)) is not None


def _stored_bytes(subject: Subject, ticket: Ticket) -> bytes:
    key = subject.upload_key(ticket)
    head = subject.store.head(key)
    if head is None:
        raise AssertionError("the uploaded object does not exist")
    return subject.store.read(key, offset=0, length=MAX_BYTES, etag=head.etag)


def _published_bytes(subject: Subject, stored: StoredObject) -> bytes:
    return subject.backend.read(stored.key, offset=0, length=MAX_BYTES, etag=stored.etag)


def _download(url: str) -> UploadAttempt:
    return UploadAttempt(method="GET", url=url, headers={}, fields={}, body=b"")


def _supports(subject: Subject, **policy: Any) -> bool:
    """Say whether a presigner with this policy can be built on the backend."""
    try:
        _presigner(subject, **policy)
    except ConfigurationError:
        return False
    return True


def _refused_as_promised(
    subject: Subject,
    presigner: Presigner,
    request: UploadRequest,
    rule: Rule,
    change: Callable[[UploadAttempt], UploadAttempt],
) -> None:
    ticket = presigner.issue(request)
    changed = change(UploadAttempt.of(ticket, BODY))
    if ticket.enforced[rule] == "storage":
        _refused(subject, changed, f"a violation of {rule.value}, which the ticket says the storage enforces")
        _require(
            not _is_stored(subject, ticket),
            f"an upload that violates {rule.value} was refused, but is stored",
        )
        return
    _accepted(subject, changed)
    try:
        presigner.complete(ticket.token)
    except RuleViolated as violation:
        _require(violation.rule == rule.value, f"completion reports {violation.rule} for a violation of {rule.value}")
    else:
        raise AssertionError(f"completion accepts an object that violates {rule.value}")
    _require(
        not _is_stored(subject, ticket),
        f"an object that violates {rule.value} still exists after completion",
    )
    _require(subject.backend.head(ticket.key) is None, f"an object that violates {rule.value} was published")


def _accepted(subject: Subject, attempt: UploadAttempt) -> None:
    status = attempt.send(subject.ssl_context)
    _require(200 <= status < 300, f"the storage answered {status} to an upload that the ticket allows")


def _refused(subject: Subject, attempt: UploadAttempt, what: str) -> None:
    status = attempt.send(subject.ssl_context)
    _require(status in _REFUSALS, f"the storage answered {status} to {what}")


def _raises(error: type[PresignError], call: Callable[[], object], what: str) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"{what} does not raise {error.__name__}")


def _require(condition: bool, complaint: str) -> None:
    # ``python -O`` would remove an assert statement.
    if not condition:
        raise AssertionError(complaint)


def _delete(subject: Subject, ticket: Ticket) -> None:
    for store, key in ((subject.backend, ticket.key), (subject.store, subject.upload_key(ticket))):
        store.delete(key)
        _require(store.head(key) is None, "a deleted object still exists")


def _speaks_azure(subject: Subject, request: UploadRequest) -> bool:
    return any(name.lower() == "x-ms-blob-type" for name in _presigner(subject).issue(request).headers)
