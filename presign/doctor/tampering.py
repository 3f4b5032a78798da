"""Uploads that a ticket does not allow, which the storage must refuse."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

from presign.backends.backend import ObjectHead
from presign.doctor.report import Severity
from presign.doctor.sending import Answer
from presign.doctor.session import BODY, LIFETIME, MAX_BYTES, MIN_BYTES, Result, Session, Way
from presign.messages import Grant, Rule
from presign.testing.requests import UploadAttempt

_OTHER_TYPE = "text/html"
_MARGIN = timedelta(seconds=15)
_SECOND = timedelta(seconds=1)
_FORM_EXTRAS = {"Content-Encoding": "gzip", "Cache-Control": "max-age=9", "Expires": "Thu, 01 Jan 2099 00:00:00 GMT"}
_AZURE_EXTRAS = {"x-ms-blob-content-encoding": "gzip"}
_PUT_EXTRAS = {"Content-Encoding": "gzip"}


def check_rules(session: Session, way: Way) -> Iterator[Result]:
    """Break each rule that the backend says the storage enforces."""
    checks: dict[Rule, Callable[[Session, Way], Iterator[Result]]] = {
        Rule.SIZE: _size,
        Rule.TYPE: _type,
        Rule.CHECKSUM: _checksum,
        Rule.HEADERS: _headers,
        Rule.CREATE_ONLY: _create_only,
    }
    sha256 = hashlib.sha256(BODY).hexdigest()
    promised = session.backend.enforces(session.grant(create_only=way.create_only, sha256=sha256))
    if way.mechanism == "put":
        promised |= session.backend.enforces(session.grant(create_only=True, sha256=sha256))
    session.has_shown(way.mechanism)
    for rule, check in checks.items():
        if rule not in promised:
            continue
        session.current = f"rule-{rule.value.replace('_', '-')}"
        seen = list(check(session, way))
        if seen and all(each.outcome == "good" for each in seen):
            session.has_shown(way.mechanism, rule)
        yield from seen


def _size(session: Session, way: Way) -> Iterator[Result]:
    for body in (BODY[:-1], BODY + b"!"):
        attempt = session.sign(session.grant(create_only=way.create_only), body=body)
        yield _judge(session.send(attempt), "rule-size", f"{way.described} with {len(body) - len(BODY):+d} byte")
    ranged = session.grant(create_only=way.create_only, size=None)
    if Rule.SIZE in session.backend.enforces(ranged):
        for size in (MIN_BYTES - 1, MAX_BYTES + 1):
            attempt = session.sign(session.grant(create_only=way.create_only, size=None), body=b"x" * size)
            what = f"{way.described} of {size} bytes, where {MIN_BYTES} to {MAX_BYTES} are allowed"
            yield _judge(session.send(attempt), "rule-size", what)


def _type(session: Session, way: Way) -> Iterator[Result]:
    attempt = session.sign(session.grant(create_only=way.create_only)).with_type(_OTHER_TYPE)
    yield _judge(session.send(attempt), "rule-type", f"{way.described} with the type {_OTHER_TYPE}")


def _checksum(session: Session, way: Way) -> Iterator[Result]:
    digest = hashlib.sha256(BODY).hexdigest()
    attempt = session.sign(session.grant(create_only=way.create_only, sha256=digest))
    yield _judge(
        session.send(attempt.with_body(BODY[::-1])),
        "rule-checksum",
        f"{way.described} with other bytes than were hashed",
    )
    answer = session.send(session.sign(session.grant(create_only=way.create_only, sha256=digest)))
    if not answer.is_accepted:
        yield Result.unknown("rule-checksum", f"the storage answers {answer.status} to the right bytes, too")


def _headers(session: Session, way: Way) -> Iterator[Result]:
    sample = session.sign(session.grant(create_only=way.create_only))
    extras = _AZURE_EXTRAS if sample.is_azure else _FORM_EXTRAS if sample.fields else _PUT_EXTRAS
    obeyed, answered = [], []
    for name, value in extras.items():
        grant = session.grant(create_only=way.create_only)
        answer = session.send(session.sign(grant).with_extra(name, value))
        head = session.store.head(grant.upload_key) if answer.is_accepted else None
        if head is not None and _has_extras(grant, head):
            obeyed.append(name)
        elif not answer.is_accepted and not answer.is_refused:
            answered.append(answer.status)
    if obeyed:
        listed = ", ".join(obeyed)
        yield Result.bad(
            "rule-headers", f"the storage obeys {listed} in {way.described}, which the ticket does not have"
        )
    elif answered:
        yield Result.unknown(
            "rule-headers", f"the storage answers {answered[0]} to {way.described} with another header"
        )
    else:
        yield Result.good(
            "rule-headers", f"the storage obeys no header of {way.described} that the ticket does not have"
        )


def _has_extras(grant: Grant, head: ObjectHead) -> bool:
    return bool(head.content_encoding or head.unexpected_headers) or head.cache_control != grant.cache_control


def _create_only(session: Session, way: Way) -> Iterator[Result]:
    attempt = session.sign(session.grant(create_only=True))
    if not session.send(attempt).is_accepted:
        yield Result.unknown("rule-create-only", "the storage refuses the first upload, too")
        return
    seen = _judge(session.send(attempt), "rule-create-only", "a second upload with the same create-only ticket")
    if seen.outcome == "bad" and session.base_pending_prefix is None:
        # Completion cannot keep this rule for uploads to their final key.
        seen = replace(seen, severity=Severity.FAILURE)
    yield seen


def check_forgeries(session: Session, way: Way) -> Iterator[Result]:
    """Change what only the signer may choose: the key, the signature and the time."""
    session.current = "key-bound"
    grant = session.grant(create_only=way.create_only)
    other = session.new_key()
    session.cleanup.add(session.store, other)
    moved = session.sign(grant).with_key(grant.upload_key, other)
    yield _judge(session.send(moved), "key-bound", f"{way.described} with another key")
    session.current = "signature-checked"
    forged = session.sign(session.grant(create_only=way.create_only)).with_signature(_forged)
    yield _judge(session.send(forged), "signature-checked", f"{way.described} with a forged signature")
    session.current = "expiry-checked"
    late = session.store_now - LIFETIME - _MARGIN
    expired = session.sign(session.grant(create_only=way.create_only), at=late)
    yield _judge(session.send(expired), "expiry-checked", f"{way.described} with a ticket that has expired")
    yield from _signature_age(session, way)


def _signature_age(session: Session, way: Way) -> Iterator[Result]:
    """Use a ticket shortly before its end: one of the usual lifetime, and then one of the longest."""
    session.current = "signature-age"
    lifetimes = [LIFETIME]
    if (
        session.diagnosis is not None
        and session.diagnosis.can_limit_signature_age
        and session.max_expires_in > LIFETIME
    ):
        lifetimes.append(session.max_expires_in)
    for lifetime in lifetimes:
        age = lifetime - _MARGIN
        grant = session.grant(create_only=way.create_only, expires_in=lifetime)
        answer = session.send(session.sign(grant, at=session.store_now - age))
        what = f"{way.described} with a ticket of {age // _SECOND} seconds"
        if answer.is_accepted:
            yield Result.good("signature-age", f"the storage accepts {what}")
        elif answer.is_refused:
            detail = f"the storage refuses {what}, which is valid for {lifetime // _SECOND}"
            # Tickets of the usual lifetime work.
            yield Result.bad("signature-age", detail, severity=Severity.WARNING if lifetime > LIFETIME else None)
            return
        else:
            yield Result.unknown("signature-age", f"the storage answers {answer.status}")


def check_unsigned_headers(session: Session) -> Iterator[Result]:
    """Add headers that nobody signed to a PUT: a copy's source, an access control list, tags, a class, a key."""
    way = next((way for way in session.working_ways if way.mechanism == "put"), None)
    if way is None:
        return
    yield from _copies(session, way)
    obeyed, lists = [], []
    session.current = "unsigned-attributes"
    sample = session.sign(session.grant(create_only=way.create_only))
    for headers in sample.attribute_headers():
        grant = session.grant(create_only=way.create_only)
        attempt = session.sign(grant)
        if not session.send(attempt.with_headers(headers)).is_accepted:
            continue
        name = min(headers)
        head = session.store.head(grant.upload_key)
        seen = head.unexpected_headers.keys() if head is not None else set()
        # What the description shows is no access control list.
        others = session.backend.unexpected_attributes(grant).keys() - seen
        if others or _everybody_reads(session, grant, attempt):
            lists.append(name)
        elif head is not None and (not head.readable or head.unexpected_headers):
            obeyed.append(name)
    if lists:
        yield Result.bad("unsigned-acl", f"the storage obeys {', '.join(lists)}, which nobody signed")
    else:
        yield Result.good("unsigned-acl", "a client cannot give its upload an access control list")
    if obeyed and sample.is_azure:
        # No signature of Azure covers them, unless headers are bound.
        detail = f"a client can add {', '.join(obeyed)}, as on every Azure account; completion refuses such uploads"
        yield Result.good("unsigned-attributes", detail)
    elif obeyed:
        yield Result.bad("unsigned-attributes", f"the storage obeys {', '.join(obeyed)}, which nobody signed")
    else:
        yield Result.good("unsigned-attributes", "a client cannot give its upload attributes that nobody signed")


def _copies(session: Session, way: Way) -> Iterator[Result]:
    session.current = "unsigned-copy"
    other_body = BODY[::-1]
    source_grant = session.grant(create_only=way.create_only)
    source = session.sign(source_grant, body=other_body)
    if not session.send(source).is_accepted:
        yield Result.unknown("unsigned-copy", "the upload to copy was refused")
        return
    source_url = session.object_url(source_grant, source)
    for headers in source.copy_headers(source_url):
        grant = session.grant(create_only=way.create_only)
        session.send(session.sign(grant).with_headers(headers))
        head = session.store.head(grant.upload_key)
        if head is None:
            continue
        stored = session.store.read(grant.upload_key, offset=0, length=len(BODY), etag=head.etag)
        if stored == other_body:
            yield Result.bad("unsigned-copy", f"the storage obeys {', '.join(headers)}, which nobody signed")
            return
    yield Result.good("unsigned-copy", "a client cannot copy another object into its upload")


def _everybody_reads(session: Session, grant: Grant, attempt: UploadAttempt) -> bool:
    if session.base_pending_prefix is None or session.pending_is_public:
        return False
    return session.sender.send("GET", session.object_url(grant, attempt)).status == 200


def _judge(answer: Answer, code: str, what: str) -> Result:
    if answer.is_refused:
        return Result.good(code, f"the storage refuses {what}")
    if answer.is_accepted:
        return Result.bad(code, f"the storage accepts {what}")
    return Result.unknown(code, f"the storage answers {answer.status} to {what}")


def _forged(signature: str) -> str:
    return ("A" if signature[:1] != "A" else "B") + signature[1:]
