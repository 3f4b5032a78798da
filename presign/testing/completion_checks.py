"""The checks of completion: what it publishes and when, and that the published object does not change."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial

from presign.errors import (
    InvalidToken,
    NotUploaded,
    RuleViolated,
    StorageUnavailable,
)
from presign.messages import Completion, StoredObject, Ticket, UploadRequest
from presign.presigner import Presigner
from presign.testing.interruption import interrupt_each_step
from presign.testing.requests import UploadAttempt
from presign.testing.subject import (
    BODY,
    CONTENT_TYPE,
    MAX_BYTES,
    REFUSALS,
    REPLAYS,
    Subject,
    delete_upload,
    download,
    is_stored,
    make_presigner,
    make_request,
    require,
    require_accepted,
    require_raises,
    stored_bytes,
)

_MAX_AGE = timedelta(minutes=5)


def keeps_a_pending_upload_private(subject: Subject) -> None:
    """Let nobody read an upload before it is completed, neither where it waits nor where it will be."""
    if subject.pending_prefix is None:
        return
    presigner = make_presigner(subject)
    ticket = presigner.issue(make_request(subject, size=len(BODY)))
    attempt = UploadAttempt.of(ticket, BODY)
    require_accepted(subject, attempt)
    for url in (attempt.object_url(subject.upload_key(ticket)), subject.backend.object_url(ticket.key)):
        status = subject.send(download(url))
        require(status in REFUSALS, f"the storage answered {status} to somebody who reads a pending upload")
    presigner.complete(ticket.token)
    delete_upload(subject, ticket)


def keeps_what_it_published(subject: Subject) -> None:
    """Keep the published bytes and the answer, whatever is sent with the ticket before and after completion."""
    if subject.pending_prefix is None:
        return
    presigner = make_presigner(subject)
    ticket = presigner.issue(make_request(subject, size=len(BODY)))
    attempt = UploadAttempt.of(ticket, BODY)
    require_accepted(subject, attempt)
    others = [f"{number:0{len(BODY)}}".encode() for number in range(REPLAYS)]
    readable: set[bytes] = set()

    def replay(body: bytes) -> None:
        subject.send(attempt.with_body(body))
        head = subject.backend.head(ticket.key)
        if head is not None:
            readable.add(subject.backend.read(ticket.key, offset=0, length=MAX_BYTES, etag=head.etag))

    with ThreadPoolExecutor(16) as pool:
        replays = [pool.submit(replay, body) for body in others]
        stored = _complete_until_it_succeeds(presigner, ticket)
        for each in replays:
            each.result()
    published = _published_bytes(subject, stored)
    require(published in {BODY, *others}, "the published bytes were not sent by any client")
    require(readable <= {published}, f"{len(readable)} different contents were readable under the final key")
    for body in (BODY[::-1], b"<script>alert(1)</script>"[: len(BODY)], BODY):
        subject.send(attempt.with_body(body))
        require(presigner.complete(ticket.token) == stored, "a completion after a replay returns another object")
        require(_published_bytes(subject, stored) == published, "a replay changed the bytes of a published object")
        require(not is_stored(subject, ticket), "a replay is still pending after completion")
    delete_upload(subject, ticket)


def _complete_until_it_succeeds(presigner: Presigner, ticket: Ticket) -> StoredObject:
    for _ in range(REPLAYS):
        try:
            return presigner.complete(ticket.token)
        except (NotUploaded, StorageUnavailable):
            # Another client has replaced the upload at that moment.
            continue
    raise AssertionError("the upload is never completed while clients replace it")


def refuses_a_copy_that_nobody_signed(subject: Subject) -> None:
    """Refuse to copy another object into the upload, although the signer may read that object."""
    presigner = make_presigner(subject)
    secret = b"only for its own owner, and no one else"
    private = presigner.issue(make_request(subject, size=len(secret)), owner="alice")
    require_accepted(subject, UploadAttempt.of(private, secret))
    ticket = presigner.issue(make_request(subject, size=len(BODY)), owner="mallory")
    attempt = UploadAttempt.of(ticket, BODY)
    source = UploadAttempt.of(private, b"").object_url(subject.upload_key(private))
    for headers in attempt.copy_headers(source):
        subject.send(attempt.with_headers(headers))
        head = subject.store.head(subject.upload_key(ticket))
        require(
            head is None or stored_bytes(subject, ticket) == BODY,
            f"the storage obeyed {', '.join(headers)}: the upload has the bytes of another object",
        )
    for each in (private, ticket):
        subject.store.delete(subject.upload_key(each))


def refuses_attributes_that_nobody_signed(subject: Subject) -> None:
    """Let no client give the object an access control list, tags, a storage class or its own encryption key."""
    sample = make_presigner(subject).issue(make_request(subject, size=len(BODY)))
    for headers in UploadAttempt.of(sample, BODY).attribute_headers():
        presigner = make_presigner(subject)
        ticket = presigner.issue(make_request(subject, size=len(BODY)))
        attempt = UploadAttempt.of(ticket, BODY)
        names = ", ".join(headers)
        status = subject.send(attempt.with_headers(headers))
        if status not in REFUSALS:
            status = subject.send(download(attempt.object_url(subject.upload_key(ticket))))
            require(
                subject.pending_prefix is None or status in REFUSALS,
                f"the storage obeyed {names}: everybody can read the pending upload",
            )
            try:
                presigner.complete(ticket.token)
            except RuleViolated:
                require(subject.backend.head(ticket.key) is None, f"an upload with {names} was refused and published")
            else:
                head = subject.backend.head(ticket.key)
                require(
                    head is not None and head.readable and not head.unexpected_headers,
                    f"completion accepts an upload with {names}",
                )
        subject.store.delete(subject.upload_key(ticket))
        subject.backend.delete(ticket.key)


def refuses_the_token_of_another_presigner(subject: Subject) -> None:
    """Refuse a token that a presigner of another name or another prefix issued, and change nothing."""
    presigner = make_presigner(subject, name="documents")
    ticket = presigner.issue(make_request(subject, size=len(BODY)))
    require_accepted(subject, UploadAttempt.of(ticket, BODY))
    others = (
        make_presigner(subject, name="avatars"),
        make_presigner(subject, name="documents", prefix=f"{subject.prefix}other/"),
        make_presigner(subject, name="documents", content_types={"image/png"}),
    )
    for other in others:
        require_raises(InvalidToken, partial(other.complete, ticket.token), "the token of another presigner")
    require(presigner.complete(ticket.token).key == ticket.key, "completed another key")
    delete_upload(subject, ticket)


def finishes_an_interrupted_completion(subject: Subject) -> None:
    """End in the same state, and tell the application, after a completion that failed at any of its steps."""
    if subject.pending_prefix is not None:
        interrupt_completions(subject)


def interrupt_completions(subject: Subject) -> int:
    """Interrupt one completion before and one after each of its steps; return how many were interrupted."""

    def upload() -> Ticket:
        ticket = make_presigner(subject).issue(make_request(subject, size=len(BODY)))
        require_accepted(subject, UploadAttempt.of(ticket, BODY))
        return ticket

    def check(ticket: Ticket, stored: StoredObject) -> None:
        require(_published_bytes(subject, stored) == BODY, "an interrupted completion published other bytes")
        require(not is_stored(subject, ticket), "an interrupted completion left the upload")

    def telling(subject: Subject, tell: Callable[[Completion], None]) -> Presigner:
        return make_presigner(subject, on_complete=tell)

    return interrupt_each_step(subject, upload=upload, make_presigner=telling, check=check)


def detects_a_replaced_object(subject: Subject) -> None:
    """Refuse a second upload after completion, or return another etag when the upload is completed again."""
    if subject.pending_prefix is not None:
        return
    presigner = make_presigner(subject)
    ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)))
    require_accepted(subject, UploadAttempt.of(ticket, BODY))
    first = presigner.complete(ticket.token)
    status = subject.send(UploadAttempt.of(ticket, BODY[::-1]))
    again = presigner.complete(ticket.token)
    require(
        (status in REFUSALS) == (again.etag == first.etag),
        f"the storage answered {status} to the second upload, and the etag does not fit that",
    )
    delete_upload(subject, ticket)


def completes_only_an_existing_upload(subject: Subject) -> None:
    """Refuse completion before the upload, by another owner, and with a changed token, without side effects."""
    presigner = make_presigner(subject)
    ticket = presigner.issue(make_request(subject), owner="alice")
    require_raises(NotUploaded, lambda: presigner.complete(ticket.token, owner="alice"), "completion before the upload")
    require_accepted(subject, UploadAttempt.of(ticket, BODY))
    require_raises(InvalidToken, lambda: presigner.complete(ticket.token, owner="bob"), "another owner's completion")
    require_raises(InvalidToken, lambda: presigner.complete(ticket.token[:-4], owner="alice"), "a truncated token")
    other = presigner.issue(make_request(subject), owner="alice")
    require_raises(NotUploaded, lambda: presigner.complete(other.token, owner="alice"), "the token of another key")
    require(presigner.complete(ticket.token, owner="alice").key == ticket.key, "completed another key")
    delete_upload(subject, ticket)


def reads_and_deletes_the_named_object(subject: Subject) -> None:
    """Describe, read, list and delete the object under the given key, and no other."""
    presigner = make_presigner(subject)
    ticket = presigner.issue(make_request(subject, size=len(BODY)))
    store, key = subject.store, subject.upload_key(ticket)
    require(store.head(key) is None, "head describes an object that does not exist")
    store.delete(key)
    require_accepted(subject, UploadAttempt.of(ticket, BODY))
    head = store.head(key)
    if head is None or head.size != len(BODY) or not head.etag:
        raise AssertionError(f"the head is {head}")
    with_bytes = store.head(key, first_bytes=8)
    require(
        with_bytes is not None
        and (with_bytes.size, with_bytes.etag, with_bytes.content_type) == (head.size, head.etag, head.content_type)
        and with_bytes.first_bytes in {None, BODY[:8]},
        f"the head with the first bytes is {with_bytes}",
    )
    read = store.read(key, offset=8, length=4, etag=head.etag)
    require(read == BODY[8:12], f"bytes 8 to 11 are {read!r}")
    if subject.pending_prefix is not None:
        listed = [each for each in store.list_objects(subject.pending_prefix) if each.key == key]
        require([each.etag for each in listed] == [head.etag], f"the listing of the object is {listed}")
        require(abs(datetime.now(timezone.utc) - listed[0].stored_at) < _MAX_AGE, f"the listing is {listed}")
    store.delete(key, head=replace(head, etag=f"{head.etag[:-1]}{'0' if head.etag[-1] != '0' else '1'}", version=None))
    require(store.head(key) is not None, "a delete of another etag deleted the object")
    presigner.complete(ticket.token)
    url = presigner.sign_download(ticket.key, expires_in=timedelta(seconds=60), content_disposition="attachment")
    require(subject.send(download(url)) == 200, "the download URL does not work")
    # Everybody may read a public object, with whatever signature.
    if subject.send(download(subject.backend.object_url(ticket.key))) in REFUSALS:
        old_presigner = make_presigner(subject, clock_offset=timedelta(seconds=-3600))
        expired = old_presigner.sign_download(ticket.key, expires_in=timedelta(seconds=60))
        require(subject.send(download(expired)) in REFUSALS, "an expired download URL works")
    delete_upload(subject, ticket)


def _published_bytes(subject: Subject, stored: StoredObject) -> bytes:
    return subject.backend.read(stored.key, offset=0, length=MAX_BYTES, etag=stored.etag)
