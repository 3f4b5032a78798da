"""The conformance checks. Each one sends real requests, and compares the storage's answers with the tickets.

::

    import pytest
    from presign.testing import CHECKS, Subject

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_conformance(check):
        check(Subject(backend=MyBackend(...)))

A check deletes what it stored. It raises AssertionError with the difference between the ticket and the storage. The
backend's credentials need permission to read and delete under the prefix.
"""

from __future__ import annotations

import hashlib
import secrets
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from presign.backends.backend import Backend
from presign.errors import ConfigurationError, InvalidToken, NotUploaded, PresignError, RuleViolated
from presign.messages import Grant, Rule, Ticket, UploadRequest
from presign.policy import UploadPolicy
from presign.presigner import Presigner
from presign.testing.requests import UploadAttempt

MIN_BYTES = 10
MAX_BYTES = 100
CONTENT_TYPE = "text/plain"
BODY = b"exactly what was granted"
REPLAYS = 200
"""How many clients send the same create-only ticket at once."""

_SECRET = secrets.token_urlsafe(32)
_REFUSALS = range(400, 500)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The backend under test.

    - ``prefix``: the prefix under which the checks may write.
    - ``other_bucket``: another bucket or container of the same owner, in which the checks try to store.
    - ``ssl_context``: how to trust the storage's certificate; by default the system's way.
    """

    backend: Backend
    prefix: str = "public/"
    other_bucket: str = "other"
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)


def accepts_a_valid_upload(subject: Subject) -> None:
    """Accept a file that is sent with its ticket, and complete it twice with the same result."""
    for declared in ({}, {"size": len(BODY)}, {"size": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest()}):
        presigner = _presigner(
            subject, content_disposition="attachment", cache_control="max-age=60", metadata={"tenant": "7"}
        )
        ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE, name="notes \u00fc.txt", **declared))
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
        ticket = presigner.issue(request)
        _accepted(subject, UploadAttempt.of(ticket, b"x" * size))
        _require(presigner.complete(ticket.token).size == size, "completed with another size")
        _delete(subject, ticket)
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
    for request in (
        UploadRequest(content_type=CONTENT_TYPE),
        UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)),
    ):
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
    request = UploadRequest(content_type=CONTENT_TYPE)
    name = "x-ms-blob-content-encoding" if _speaks_azure(subject, request) else "Content-Encoding"
    _refused_as_promised(subject, _presigner(subject), request, Rule.HEADERS, lambda d: d.with_extra(name, "gzip"))


def enforces_create_only(subject: Subject) -> None:
    """Let exactly one of many clients win that send the same create-only ticket at once, and never overwrite."""
    if not _supports(subject, create_only=True):
        return
    presigner = _presigner(subject, create_only=True)
    ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)))
    _require(
        ticket.enforced[Rule.CREATE_ONLY] == "storage",
        "the ticket says that completion enforces create-only, which it cannot",
    )
    bodies = [f"{number:0{len(BODY)}}".encode() for number in range(REPLAYS)]
    with ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(lambda body: UploadAttempt.of(ticket, body).send(subject.ssl_context), bodies))
    winners = [body for body, status in zip(bodies, statuses, strict=True) if status < 300]
    _require(len(winners) == 1, f"the storage accepted {len(winners)} of {REPLAYS} replays")
    head = subject.backend.head(ticket.key)
    if head is None:
        raise AssertionError("the winner's object does not exist")
    stored = subject.backend.read(ticket.key, offset=0, length=len(BODY), etag=head.etag)
    _require(stored == winners[0], "the object does not have the winner's bytes")
    presigner.complete(ticket.token)
    _refused(subject, UploadAttempt.of(ticket, BODY), "a replay after completion")
    _delete(subject, ticket)


def detects_a_replaced_object(subject: Subject) -> None:
    """Refuse to replace a completed object, or complete it again with another etag."""
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
    ticket = _presigner(subject).issue(UploadRequest(content_type=CONTENT_TYPE))
    for other in (f"{subject.prefix}other", f"{ticket.key}x", "elsewhere/x"):
        _refused(subject, UploadAttempt.of(ticket, BODY).with_key(ticket.key, other), f"another key, {other}")
    bucket = subject.backend.name.rpartition("/")[2]
    attempt = UploadAttempt.of(ticket, BODY)
    elsewhere = attempt.with_bucket(bucket, subject.other_bucket)
    _require(elsewhere.url != attempt.url, f"the ticket's URL does not name the bucket {bucket}")
    _refused(subject, elsewhere, "another bucket")
    _require(subject.backend.head(ticket.key) is None, "an object is stored under the key")


def refuses_a_tampered_ticket(subject: Subject) -> None:
    """Refuse a ticket in which one signed thing is changed: policy, scope, date, times or permissions."""
    for size in (None, len(BODY)):
        ticket = _presigner(subject).issue(UploadRequest(content_type=CONTENT_TYPE, size=size))
        tampered = UploadAttempt.of(ticket, BODY).tampered()
        _require(len(tampered) > 1, "the ticket has nothing that is signed")
        for name, attempt in tampered.items():
            _refused(subject, attempt, f"a changed {name}")
        _require(subject.backend.head(ticket.key) is None, "an object is stored under the key")


def refuses_a_ticket_before_its_start(subject: Subject) -> None:
    """Refuse a URL that becomes valid in an hour. A form has no start: its policy has an expiration only."""
    ticket = _presigner(subject, clock_offset=timedelta(hours=1)).issue(UploadRequest(content_type=CONTENT_TYPE))
    if not ticket.fields:
        _refused(subject, UploadAttempt.of(ticket, BODY), "a ticket that is not valid yet")
        _require(subject.backend.head(ticket.key) is None, "an object is stored under the key")


def refuses_a_forged_signature(subject: Subject) -> None:
    """Refuse a ticket whose signature is changed or empty."""
    ticket = _presigner(subject).issue(UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)))
    attempt = UploadAttempt.of(ticket, BODY)
    for forge in (lambda signature: ("A" if signature[0] != "A" else "B") + signature[1:], lambda signature: ""):
        _refused(subject, attempt.with_signature(forge), "a forged signature")
    _require(subject.backend.head(ticket.key) is None, "an object is stored under the key")
    _accepted(subject, attempt)
    _delete(subject, ticket)


def stores_under_unusual_keys(subject: Subject) -> None:
    """Store under keys that need encoding in a URL or a form."""
    for name in ("a b", "a+b", "a%20b", "a~b!*'()", "a&b=c", "\u00e9\u6f22", "a..b", "A" * 200):
        key = f"{subject.prefix}odd/{name}"
        grant = Grant(
            key=key,
            content_type=CONTENT_TYPE,
            min_bytes=MIN_BYTES,
            max_bytes=MAX_BYTES,
            expires_in=timedelta(seconds=60),
        )
        subject.backend.delete(key)
        signed = subject.backend.sign_upload(grant, datetime.now(timezone.utc))
        attempt = UploadAttempt.of(signed, BODY)
        _accepted(subject, attempt)
        head = subject.backend.head(key)
        _require(head is not None and head.size == len(BODY), f"nothing is stored under {key!a}")
        subject.backend.delete(key)
        _require(subject.backend.head(key) is None, f"{key!a} is not deleted")


def refuses_an_expired_ticket(subject: Subject) -> None:
    """Refuse a ticket that expired a second ago."""
    clock_offset = timedelta(seconds=-62)
    ticket = _presigner(subject, clock_offset=clock_offset).issue(
        UploadRequest(content_type=CONTENT_TYPE, size=len(BODY))
    )
    _require(ticket.expires_at <= datetime.now(timezone.utc), "the ticket says that it has not expired yet")
    _refused(subject, UploadAttempt.of(ticket, BODY), "an expired ticket")
    _require(subject.backend.head(ticket.key) is None, "an object is stored under the key")


def completes_only_an_existing_upload(subject: Subject) -> None:
    """Refuse completion before the upload, by another owner, and with a changed token, without side effects."""
    presigner = _presigner(subject)
    ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE), owner="alice")
    _raises(NotUploaded, lambda: presigner.complete(ticket.token, owner="alice"), "completion before the upload")
    _accepted(subject, UploadAttempt.of(ticket, BODY))
    _raises(InvalidToken, lambda: presigner.complete(ticket.token, owner="bob"), "another owner's completion")
    _raises(InvalidToken, lambda: presigner.complete(ticket.token[:-4], owner="alice"), "a truncated token")
    other = presigner.issue(UploadRequest(content_type=CONTENT_TYPE), owner="alice")
    _raises(NotUploaded, lambda: presigner.complete(other.token, owner="alice"), "the token of another key")
    _require(presigner.complete(ticket.token, owner="alice").key == ticket.key, "completed another key")
    _delete(subject, ticket)


def reads_and_deletes_the_named_object(subject: Subject) -> None:
    """Describe, read and delete the object under the given key, and no other."""
    presigner = _presigner(subject)
    ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE))
    _require(subject.backend.head(ticket.key) is None, "head describes an object that does not exist")
    subject.backend.delete(ticket.key)
    _accepted(subject, UploadAttempt.of(ticket, BODY))
    head = subject.backend.head(ticket.key)
    if head is None or head.size != len(BODY) or not head.etag:
        raise AssertionError(f"the head is {head}")
    with_bytes = subject.backend.head(ticket.key, first_bytes=8)
    _require(
        with_bytes is not None
        and (with_bytes.size, with_bytes.etag, with_bytes.content_type) == (head.size, head.etag, head.content_type)
        and with_bytes.first_bytes in {None, BODY[:8]},
        f"the head with the first bytes is {with_bytes}",
    )
    read = subject.backend.read(ticket.key, offset=8, length=4, etag=head.etag)
    _require(read == BODY[8:12], f"bytes 8 to 11 are {read!r}")
    url = presigner.sign_download(ticket.key, expires_in=timedelta(seconds=60), content_disposition="attachment")
    download = UploadAttempt(method="GET", url=url, headers={}, fields={}, body=b"")
    _require(download.send(subject.ssl_context) == 200, "the download URL does not work")
    old_presigner = _presigner(subject, clock_offset=timedelta(seconds=-3600))
    expired = old_presigner.sign_download(ticket.key, expires_in=timedelta(seconds=60))
    _require(replace(download, url=expired).send(subject.ssl_context) in _REFUSALS, "an expired download URL works")
    _delete(subject, ticket)


CHECKS: tuple[Callable[[Subject], None], ...] = (
    accepts_a_valid_upload,
    enforces_the_size_range,
    enforces_an_exact_size,
    enforces_the_content_type,
    enforces_the_checksum,
    enforces_the_headers,
    enforces_create_only,
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


def _presigner(subject: Subject, *, clock_offset: timedelta = timedelta(0), **policy: Any) -> Presigner:
    """Return a presigner for 10 to 100 bytes of text whose clock is ahead of this machine's by ``clock_offset``."""
    rules: dict[str, Any] = {
        "content_types": {CONTENT_TYPE},
        "min_bytes": MIN_BYTES,
        "max_bytes": MAX_BYTES,
        "prefix": subject.prefix,
    }
    return Presigner(
        backend=subject.backend,
        policy=UploadPolicy(**rules | policy),
        secret=_SECRET,
        clock=lambda: datetime.now(timezone.utc) + clock_offset,
    )


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
            subject.backend.head(ticket.key) is None, f"an upload that violates {rule.value} was refused, but is stored"
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
        subject.backend.head(ticket.key) is None, f"an object that violates {rule.value} still exists after completion"
    )


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
    subject.backend.delete(ticket.key)
    _require(subject.backend.head(ticket.key) is None, "a deleted object still exists")


def _speaks_azure(subject: Subject, request: UploadRequest) -> bool:
    return any(name.lower() == "x-ms-blob-type" for name in _presigner(subject).issue(request).headers)
