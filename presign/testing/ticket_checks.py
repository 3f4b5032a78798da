"""The checks of what a ticket permits, and of what the storage refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from presign.errors import (
    ConfigurationError,
    InvalidRequest,
    RuleViolated,
)
from presign.messages import Grant, Rule, UploadRequest
from presign.presigner import Presigner
from presign.testing.requests import UploadAttempt
from presign.testing.subject import (
    BODY,
    CONTENT_TYPE,
    MAX_BYTES,
    MIN_BYTES,
    REFUSALS,
    REPLAYS,
    Subject,
    delete_upload,
    is_stored,
    make_presigner,
    make_request,
    require,
    require_accepted,
    require_raises,
    require_refused,
    stored_bytes,
)


def accepts_a_valid_upload(subject: Subject) -> None:
    """Accept a file that is sent with its ticket, and complete it twice with the same result."""
    digest = hashlib.sha256(BODY).hexdigest()
    for request in (
        make_request(subject),
        make_request(subject, size=len(BODY)),
        make_request(subject, size=len(BODY), sha256=digest),
    ):
        presigner = make_presigner(
            subject, content_disposition="attachment", cache_control="max-age=60", metadata={"tenant": "7"}
        )
        ticket = presigner.issue(replace(request, name="notes \u00fc.txt"))
        require(ticket.expires_at > ticket.now, "the ticket has already expired when it is issued")
        require_accepted(subject, UploadAttempt.of(ticket, BODY))
        stored = presigner.complete(ticket.token)
        require(stored.size == len(BODY) and stored.content_type == CONTENT_TYPE, f"stored as {stored}")
        require(presigner.complete(ticket.token) == stored, "the second completion returns another object")
        delete_upload(subject, ticket)


def enforces_the_size_range(subject: Subject) -> None:
    """Accept the smallest and the largest size, and refuse 0 bytes, one byte less and one byte more."""
    presigner = make_presigner(subject)
    request = UploadRequest(content_type=CONTENT_TYPE)
    for size in (MIN_BYTES, MAX_BYTES):
        ticket = presigner.issue(replace(request, size=size) if presigner.requires_size else request)
        require_accepted(subject, UploadAttempt.of(ticket, b"x" * size))
        require(presigner.complete(ticket.token).size == size, "completed with another size")
        delete_upload(subject, ticket)
    if presigner.requires_size:
        require_raises(
            InvalidRequest, lambda: presigner.issue(request), "a request without the size that the storage needs"
        )
        return
    for size in (0, MIN_BYTES - 1, MAX_BYTES + 1):
        _refused_as_promised(subject, presigner, request, Rule.SIZE, partial(UploadAttempt.with_body, body=b"x" * size))


def enforces_an_exact_size(subject: Subject) -> None:
    """Accept only the size that the request declared."""
    presigner = make_presigner(subject)
    request = UploadRequest(content_type=CONTENT_TYPE, size=len(BODY))
    for body in (BODY[:-1], BODY + b"x"):
        _refused_as_promised(subject, presigner, request, Rule.SIZE, partial(UploadAttempt.with_body, body=body))


def enforces_the_content_type(subject: Subject) -> None:
    """Refuse a content type that was not granted, whether the size was declared or not."""
    for request in (make_request(subject), make_request(subject, size=len(BODY))):
        for other in ("text/html", "text/plain;charset=utf-8"):
            change = partial(UploadAttempt.with_type, content_type=other)
            _refused_as_promised(subject, make_presigner(subject), request, Rule.TYPE, change)


def enforces_the_checksum(subject: Subject) -> None:
    """Refuse bytes of the right size that are not the bytes that the ticket was issued for."""
    request = UploadRequest(content_type=CONTENT_TYPE, size=len(BODY), sha256=hashlib.sha256(BODY).hexdigest())
    change = partial(UploadAttempt.with_body, body=BODY[:-1] + b"!")
    _refused_as_promised(subject, make_presigner(subject), request, Rule.CHECKSUM, change)


def enforces_the_headers(subject: Subject) -> None:
    """Refuse an object with headers that were not granted."""
    request = make_request(subject)
    is_azure = UploadAttempt.of(make_presigner(subject).issue(request), BODY).is_azure
    name = "x-ms-blob-content-encoding" if is_azure else "Content-Encoding"
    _refused_as_promised(subject, make_presigner(subject), request, Rule.HEADERS, lambda d: d.with_extra(name, "gzip"))


def enforces_create_only(subject: Subject) -> None:
    """Accept one of many uploads that are sent at once with the same create-only ticket, and never overwrite it."""
    if not _supports(subject, create_only=True):
        return
    presigner = make_presigner(subject, create_only=True)
    ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)))
    if ticket.enforced[Rule.CREATE_ONLY] != "storage":
        require(
            subject.pending_prefix is not None,
            "the ticket says that completion enforces create-only, which it cannot without a pending key",
        )
        return
    bodies = [f"{number:0{len(BODY)}}".encode() for number in range(REPLAYS)]
    with ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(lambda body: subject.send(UploadAttempt.of(ticket, body)), bodies))
    winners = [body for body, status in zip(bodies, statuses, strict=True) if status < 300]
    require(len(winners) == 1, f"the storage accepted {len(winners)} of {REPLAYS} replays")
    require(stored_bytes(subject, ticket) == winners[0], "the object does not have the winner's bytes")
    require_refused(subject, UploadAttempt.of(ticket, BODY), "a replay before completion")
    presigner.complete(ticket.token)
    if subject.pending_prefix is None:
        require_refused(subject, UploadAttempt.of(ticket, BODY), "a replay after completion")
    delete_upload(subject, ticket)


def binds_a_ticket_to_its_key(subject: Subject) -> None:
    """Refuse a ticket for another key, another prefix and another bucket."""
    ticket = make_presigner(subject).issue(make_request(subject))
    upload_key = subject.upload_key(ticket)
    for other in (f"{subject.prefix}other", ticket.key, f"{upload_key}x", "elsewhere/x"):
        if other != upload_key:
            elsewhere = UploadAttempt.of(ticket, BODY).with_key(upload_key, other)
            require_refused(subject, elsewhere, f"another key, {other}")
    bucket = subject.bucket
    attempt = UploadAttempt.of(ticket, BODY)
    elsewhere = attempt.with_bucket(bucket, subject.other_bucket)
    require(elsewhere.url != attempt.url, f"the ticket's URL does not name the bucket {bucket}")
    require_refused(subject, elsewhere, "another bucket")
    require(not is_stored(subject, ticket), "an object is stored under the key")


def refuses_a_tampered_ticket(subject: Subject) -> None:
    """Refuse a ticket in which one signed thing is changed: policy, scope, date, times or permissions."""
    for size in (None, len(BODY)):
        ticket = make_presigner(subject).issue(make_request(subject, size=size))
        tampered = UploadAttempt.of(ticket, BODY).tampered()
        require(len(tampered) > 1, "the ticket has nothing that is signed")
        for name, attempt in tampered.items():
            require_refused(subject, attempt, f"a changed {name}")
        require(not is_stored(subject, ticket), "an object is stored under the key")


def refuses_a_ticket_before_its_start(subject: Subject) -> None:
    """Refuse a URL that becomes valid in an hour. A form has no start: its policy has an expiration only."""
    ticket = make_presigner(subject, clock_offset=timedelta(hours=1)).issue(make_request(subject))
    if not ticket.fields:
        require_refused(subject, UploadAttempt.of(ticket, BODY), "a ticket that is not valid yet")
        require(not is_stored(subject, ticket), "an object is stored under the key")


def refuses_a_forged_signature(subject: Subject) -> None:
    """Refuse a ticket whose signature is changed or empty."""
    ticket = make_presigner(subject).issue(make_request(subject, size=len(BODY)))
    attempt = UploadAttempt.of(ticket, BODY)
    for forge in (lambda signature: ("A" if signature[0] != "A" else "B") + signature[1:], lambda signature: ""):
        require_refused(subject, attempt.with_signature(forge), "a forged signature")
    require(not is_stored(subject, ticket), "an object is stored under the key")
    require_accepted(subject, attempt)
    delete_upload(subject, ticket)


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
        require_accepted(subject, attempt)
        head = subject.store.head(grant.upload_key)
        if head is None or head.size != len(BODY):
            raise AssertionError(f"nothing is stored under {grant.upload_key!a}")
        if pending_key is not None:
            require(subject.backend.publish(grant, head).size == len(BODY), f"{key!a} is published with another size")
            published = subject.backend.head(key)
            require(published is not None and published.size == len(BODY), f"nothing is published under {key!a}")
        for store, each in ((subject.store, grant.upload_key), (subject.backend, key)):
            store.delete(each)
            require(store.head(each) is None, f"{each!a} is not deleted")


def refuses_an_expired_ticket(subject: Subject) -> None:
    """Refuse a ticket that expired a second ago."""
    clock_offset = timedelta(seconds=-62)
    ticket = make_presigner(subject, clock_offset=clock_offset).issue(make_request(subject, size=len(BODY)))
    require(ticket.expires_at <= datetime.now(timezone.utc), "the ticket says that it has not expired yet")
    require_refused(subject, UploadAttempt.of(ticket, BODY), "an expired ticket")
    require(not is_stored(subject, ticket), "an object is stored under the key")


def _supports(subject: Subject, **policy: Any) -> bool:
    """Say whether a presigner with this policy can be built on the backend."""
    try:
        make_presigner(subject, **policy)
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
    """Require that whoever ``enforced`` names refuses the changed upload; a storage may refuse more."""
    ticket = presigner.issue(request)
    changed = change(UploadAttempt.of(ticket, BODY))
    status = subject.send(changed)
    if status in REFUSALS:
        require(not is_stored(subject, ticket), f"an upload that violates {rule.value} was refused, but is stored")
        return
    require(
        ticket.enforced[rule] != "storage",
        f"the storage answered {status} to a violation of {rule.value}, which the ticket says the storage enforces",
    )
    try:
        presigner.complete(ticket.token)
    except RuleViolated as violation:
        require(violation.rule == rule.value, f"completion reports {violation.rule} for a violation of {rule.value}")
    else:
        raise AssertionError(f"completion accepts an object that violates {rule.value}")
    require(not is_stored(subject, ticket), f"an object that violates {rule.value} still exists after completion")
    require(subject.backend.head(ticket.key) is None, f"an object that violates {rule.value} was published")
