"""The checks of files that come in parts. A backend without parts passes them, because no policy gets parts from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from presign.errors import InvalidToken, PartsMissing, RuleViolated, UploadEnded
from presign.messages import Completion, PartRequest, PartsDigest, Rule, StoredObject, Ticket, UploadRequest
from presign.presigner import Presigner
from presign.testing.interruption import interrupt_each_step
from presign.testing.requests import UploadAttempt
from presign.testing.subject import (
    CONTENT_TYPE,
    REFUSALS,
    Subject,
    delete_upload,
    download,
    make_presigner,
    require,
    require_accepted,
    require_raises,
    require_refused,
)

# Azure's parameters of a block.
_UNSIGNED_PARAMETERS = frozenset({"comp", "blockid"})
_TAIL = b"the last part is smaller"


def stores_a_file_in_parts(subject: Subject) -> None:
    """Store a file of two parts, show which parts are there, and publish exactly its bytes, twice with one result."""
    for hashes_parts in (False, True):
        if not _has_parts(subject):
            return
        presigner, body = _presigner(subject), _body(subject)
        ticket = _issue(presigner, body, hashes_parts=hashes_parts)
        for number, part in enumerate(_parts_of(subject, body), start=1):
            require(presigner.list_parts(ticket.token).numbers == tuple(range(1, number)), "another list of parts")
            require_accepted(subject, _attempt(presigner, ticket, number, part))
        url = UploadAttempt.of(ticket, b"").object_url(subject.upload_key(ticket))
        status = subject.send(download(url))
        require(status in REFUSALS, f"the storage answered {status} to somebody who reads an unfinished upload")
        stored = presigner.complete(ticket.token)
        require((stored.size, stored.content_type) == (len(body), CONTENT_TYPE), f"stored as {stored}")
        require(presigner.complete(ticket.token) == stored, "the second completion returns another object")
        require(len(presigner.list_parts(ticket.token).numbers) == 2, "a completed upload lacks parts")
        require(_published(subject, ticket) == body, "the published bytes are not those of the parts")
        delete_upload(subject, ticket)


def refuses_another_part_than_was_signed(subject: Subject) -> None:
    """Refuse a part with another length, number, key or upload, and one that was signed too long ago."""
    if not _has_parts(subject):
        return
    presigner, body = _presigner(subject), _body(subject)
    ticket, other = _issue(presigner, body), _issue(presigner, body)
    whole = _parts_of(subject, body)[0]
    attempt = _attempt(presigner, ticket, 2, _TAIL)
    at_storage = ticket.enforced[Rule.SIZE] == "storage"
    for number, changed in ((2, _TAIL[:-1]), (2, _TAIL + b"!"), (2, b""), (1, whole[:-1])):
        status = subject.send(_attempt(presigner, ticket, number, changed))
        require(
            status in REFUSALS or not at_storage,
            f"the storage answered {status} to part {number} with {len(changed)} bytes",
        )
    others = _attempt(presigner, other, 2, _TAIL)
    # Where completion enforces the sizes, no signature covers which block is sent.
    unsigned = frozenset() if at_storage else _UNSIGNED_PARAMETERS
    for name, value in _parameters(attempt.url).items():
        if name in unsigned:
            continue
        other_value = _parameters(others.url).get(name, value)
        for changed_value in {other_value, _another(value)} - {value}:
            require_refused(subject, _with_parameter(attempt, name, changed_value), f"another {name}")
    require_refused(
        subject, attempt.with_key(subject.upload_key(ticket), f"{subject.upload_key(ticket)}x"), "another key"
    )
    for method, doing in (("POST", "commit"), ("DELETE", "abort"), ("GET", "list")):
        sent = replace(_without_parameter(attempt, "partNumber"), method=method)
        require_refused(subject, sent, f"a part's request that was made to {doing} the upload")
    late = _presigner(subject, clock_offset=timedelta(hours=-2))
    old = _issue(late, body)
    require_refused(subject, _attempt(late, old, 2, _TAIL), "a part that was signed too long ago")
    for each, by in ((ticket, presigner), (other, presigner), (old, late)):
        require(by.list_parts(each.token).numbers == (), "a part that was changed counts")
        require_raises(PartsMissing, partial(by.complete, each.token), "a completion with changed parts")
        by.abort(each.token)


def refuses_other_bytes_than_were_hashed(subject: Subject) -> None:
    """Refuse a part whose bytes do not have the SHA-256 that was signed with it, if the storage can do that."""
    if not _has_parts(subject):
        return
    presigner, body = _presigner(subject), _body(subject)
    ticket = _issue(presigner, body, hashes_parts=True)
    if ticket.parts is not None and ticket.parts.plan.needs_sha256:
        attempt = _attempt(presigner, ticket, 2, _TAIL)
        require_refused(subject, attempt.with_body(_TAIL[:-1] + b"!"), "other bytes than were hashed")
        require_refused(subject, replace(attempt, headers={}), "a part without its digest")
        require(presigner.list_parts(ticket.token).numbers == (), "a refused part is stored")
    presigner.abort(ticket.token)


def commits_only_whole_files(subject: Subject) -> None:
    """Publish nothing of a file with a missing part, of an aborted upload, and for another owner."""
    if not _has_parts(subject):
        return
    presigner, body = _presigner(subject), _body(subject)
    ticket = _issue(presigner, body)
    first, last = _parts_of(subject, body)
    require_raises(PartsMissing, lambda: presigner.complete(ticket.token), "a completion without any part")
    require_accepted(subject, _attempt(presigner, ticket, 2, last))
    try:
        presigner.complete(ticket.token)
    except PartsMissing as missing:
        require(missing.numbers == (1,), f"the missing parts are {missing.numbers}")
    else:
        raise AssertionError("a completion without the first part succeeds")
    require(subject.backend.head(ticket.key) is None, "a file with a missing part was published")
    for call in (presigner.complete, presigner.list_parts, presigner.abort):
        require_raises(InvalidToken, partial(call, ticket.token, owner="mallory"), "another owner's call")
    require_accepted(subject, _attempt(presigner, ticket, 1, first))
    presigner.abort(ticket.token)
    presigner.abort(ticket.token)
    for call in (presigner.complete, presigner.list_parts):
        require_raises(UploadEnded, partial(call, ticket.token), "a call for an aborted upload")
    unsent = _issue(presigner, body)
    presigner.abort(unsent.token)
    for call in (presigner.complete, presigner.list_parts):
        require_raises(UploadEnded, partial(call, unsent.token), "a call for an upload that was aborted without a part")
    require(subject.backend.head(ticket.key) is None, "an aborted upload was published")


def verifies_a_file_that_came_in_parts(subject: Subject) -> None:
    """Refuse a file of the right size with other content than its type, delete it, and publish nothing."""
    if not _has_parts(subject):
        return
    presigner, body = _presigner(subject), _body(subject)
    changed = b"\x7fELF" + body[4:]
    ticket = _issue(presigner, changed)
    for number, part in enumerate(_parts_of(subject, changed), start=1):
        require_accepted(subject, _attempt(presigner, ticket, number, part))
    require_raises(RuleViolated, lambda: presigner.complete(ticket.token), "a program that claims to be text")
    require(subject.store.head(subject.upload_key(ticket)) is None, "a refused file still exists")
    require(subject.backend.head(ticket.key) is None, "a refused file was published")
    _require_ended(presigner, ticket)


def verifies_the_digest_of_the_parts(subject: Subject) -> None:
    """Publish a file whose parts have the granted digest; refuse one with other bytes of the right size."""
    if not _has_parts(subject):
        return
    presigner, body = _presigner(subject), _body(subject)
    granted = _parts_of(subject, body)
    for sent, is_right in ((granted, True), ([granted[0], _TAIL[::-1]], False), ([granted[0][::-1], _TAIL], False)):
        digest = PartsDigest.of(map(_sha256, granted), part_size=_part_bytes(subject))
        ticket = _issue(presigner, body, parts_digest=digest)
        require(ticket.enforced[Rule.CHECKSUM] == "completion", "no storage checks the digest of the parts itself")
        for number, part in enumerate(sent, start=1):
            require_accepted(subject, _attempt(presigner, ticket, number, part))
        if is_right:
            presigner.complete(ticket.token)
            require(_published(subject, ticket) == body, "the published bytes are not those of the parts")
            delete_upload(subject, ticket)
        else:
            require_raises(RuleViolated, partial(presigner.complete, ticket.token), "parts with another digest")
            require(subject.store.head(subject.upload_key(ticket)) is None, "a refused file still exists")
            require(subject.backend.head(ticket.key) is None, "a file with another digest was published")
            _require_ended(presigner, ticket)


def _require_ended(presigner: Presigner, ticket: Ticket) -> None:
    """Require that nothing of the upload is left; a store that knows no beginning says that all parts are missing."""
    try:
        presigner.complete(ticket.token)
    except PartsMissing as missing:
        require(missing.numbers == (1, 2), f"of an upload that has ended, the parts {missing.numbers} are missing")
        require(presigner.list_parts(ticket.token).numbers == (), "an upload that has ended has parts")
    except UploadEnded:
        require_raises(UploadEnded, lambda: presigner.list_parts(ticket.token), "the list of an upload that has ended")
    else:
        raise AssertionError("an upload that has ended is completed")


def finishes_an_interrupted_completion_of_parts(subject: Subject) -> None:
    """End in the same state after a completion of parts that failed at any of its steps."""
    if _has_parts(subject) and subject.pending_prefix is not None:
        interrupt_completions_of_parts(subject)


def interrupt_completions_of_parts(subject: Subject) -> int:
    """Interrupt one completion before and one after each of its steps; return how many were interrupted."""
    body = _body(subject)

    def upload() -> Ticket:
        presigner = _presigner(subject)
        ticket = _issue(presigner, body)
        for number, part in enumerate(_parts_of(subject, body), start=1):
            require_accepted(subject, _attempt(presigner, ticket, number, part))
        return ticket

    def check(ticket: Ticket, stored: StoredObject) -> None:
        require(_published(subject, ticket) == body, "an interrupted completion published other bytes")
        require(subject.store.head(subject.upload_key(ticket)) is None, "an interrupted completion left the upload")

    def telling(subject: Subject, tell: Callable[[Completion], None]) -> Presigner:
        return _presigner(subject, on_complete=tell)

    return interrupt_each_step(subject, upload=upload, make_presigner=telling, check=check)


def _presigner(
    subject: Subject,
    *,
    clock_offset: timedelta = timedelta(0),
    on_complete: Callable[[Completion], None] | None = None,
) -> Presigner:
    return make_presigner(
        subject,
        clock_offset=clock_offset,
        on_complete=on_complete,
        max_bytes=10 * _part_bytes(subject),
        parts_from_bytes=1,
        part_bytes=_part_bytes(subject),
    )


def _has_parts(subject: Subject) -> bool:
    parts = subject.backend.parts
    return parts is not None and not (parts.needs_pending_key and subject.pending_prefix is None)


def _part_bytes(subject: Subject) -> int:
    """Return a size that is cheap to send, and that the backend takes."""
    if subject.backend.parts is None:
        raise AssertionError("the backend has no uploads in parts")
    return max(64, subject.backend.parts.limits.min_part_bytes)


def _body(subject: Subject) -> bytes:
    return b"large file, line for line\n".ljust(_part_bytes(subject), b"=") + _TAIL


def _parts_of(subject: Subject, body: bytes) -> list[bytes]:
    size = _part_bytes(subject)
    return [body[:size], body[size:]]


def _issue(
    presigner: Presigner, body: bytes, *, hashes_parts: bool = False, parts_digest: PartsDigest | None = None
) -> Ticket:
    ticket = presigner.issue(
        UploadRequest(
            content_type=CONTENT_TYPE,
            size=len(body),
            name="large.txt",
            hashes_parts=hashes_parts,
            parts_digest=parts_digest,
        )
    )
    require(ticket.parts is not None and ticket.parts.plan.count == 2, f"the ticket's parts are {ticket.parts}")
    return ticket


def _attempt(presigner: Presigner, ticket: Ticket, number: int, body: bytes) -> UploadAttempt:
    """Return the request of one part, from the ticket if it is there and from ``sign_parts`` otherwise."""
    parts = ticket.parts
    if parts is None:
        raise AssertionError("the ticket has no parts")
    found = {request.number: request for request in parts.requests}
    if number not in found:
        digests = [_sha256(body)] if parts.plan.needs_sha256 else None
        (found[number],) = presigner.sign_parts(ticket.token, [number], sha256=digests).requests
    return _of_part(found[number], body)


def _of_part(request: PartRequest, body: bytes) -> UploadAttempt:
    return UploadAttempt(method="PUT", url=request.url, headers=request.headers, fields={}, body=body)


def _published(subject: Subject, ticket: Ticket) -> bytes:
    head = subject.backend.head(ticket.key)
    if head is None:
        raise AssertionError("nothing was published")
    return subject.backend.read(ticket.key, offset=0, length=head.size, etag=head.etag)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _parameters(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


def _without_parameter(attempt: UploadAttempt, name: str) -> UploadAttempt:
    parameters = {sent: value for sent, value in _parameters(attempt.url).items() if sent != name}
    return replace(attempt, url=f"{attempt.url.partition('?')[0]}?{urlencode(parameters, quote_via=quote, safe='~')}")


def _with_parameter(attempt: UploadAttempt, name: str, value: str) -> UploadAttempt:
    parameters = {**_parameters(attempt.url), name: value}
    return replace(attempt, url=f"{attempt.url.partition('?')[0]}?{urlencode(parameters, quote_via=quote, safe='~')}")


def _another(value: str) -> str:
    """Return ``value`` with its last letter or digit changed, of the same length."""
    last = value[-1:]
    return f"{value[:-1]}{(int(last) % 9) + 1}" if last.isdigit() else f"{value[:-1]}{'b' if last != 'b' else 'c'}"
