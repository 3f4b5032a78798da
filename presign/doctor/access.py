"""Who may do what: the identities of the application, and everybody else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timezone

from presign.backends.backend import ListedObject, ObjectStore
from presign.doctor.session import BODY, LIFETIME, Aborted, Result, Session
from presign.errors import StorageUnavailable
from presign.messages import Grant
from presign.testing.requests import UploadAttempt

# The MD5 of other bytes: a storage that permits the upload refuses it for this, and so stores nothing.
_WRONG_MD5 = {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}


def check_deletion(session: Session) -> Iterator[Result]:
    """Find out whether what the doctor sends can be deleted, where possible before it sends anything."""
    session.current = "delete"
    try:
        yield _judge_deletion(session)
    except StorageUnavailable as error:
        yield Result.bad("delete", f"the verifier may not delete pending objects: {error.detail}")
        raise Aborted from None
    session.may_delete_published = _may_delete(session.backend, f"{session.prefix}{os.urandom(16).hex()}")


def _judge_deletion(session: Session) -> Result:
    """Delete what is not there, or else one upload; raises StorageUnavailable if the storage does not permit it."""
    key = session.new_key()
    allowed = Result.good("delete", "the verifier may delete pending objects")
    if _may_delete(session.store, key):
        return allowed
    try:
        # The condition may need the right to read.
        session.store.delete(key)
    except StorageUnavailable:
        if session.diagnosis is None or not session.diagnosis.hides_missing_objects:
            raise
    else:
        return allowed
    grant = session.grant(create_only=bool(session.create_only))
    if not session.send(session.sign(grant)).is_accepted:
        return Result.unknown("delete", "the upload to delete was refused")
    session.store.delete(grant.upload_key, head=session.store.head(grant.upload_key))
    session.cleanup.forget(session.store, grant.upload_key)
    return allowed


def _may_delete(store: ObjectStore, key: str) -> bool:
    """Delete another object than the one that is not there: without a condition, a delete marker could be left."""
    other = ListedObject(key=key, etag="0" * 32, stored_at=datetime.now(timezone.utc))
    try:
        store.delete(key, head=other)
    except StorageUnavailable:
        return False
    return True


def check_strangers(session: Session) -> Iterator[Result]:
    """Read and list as somebody without credentials."""
    if not session.working_ways:
        return
    session.current = "pending-private" if session.base_pending_prefix is not None else "public-read"
    uploaded = session.upload()
    if uploaded is None:
        yield Result.unknown(session.current, "the upload to read was refused")
        return
    url = session.object_url(*uploaded)
    if session.base_pending_prefix is None:
        yield from _judge_public(session, session.sender.send("GET", url).status)
    else:
        status = session.sender.send("GET", url).status
        session.pending_is_public = status == 200
        if session.pending_is_public:
            yield Result.bad("pending-private", f"everybody can read what is under {session.base_pending_prefix}")
        else:
            yield Result.good("pending-private", f"the storage answers {status} to strangers who read a pending upload")
    if session.diagnosis is None:
        yield Result.unknown("pending-unlisted", "nothing is known of this storage's listings")
        return
    places = [("public-unlisted", session.base_prefix, False)]
    if session.base_pending_prefix is not None:
        places.insert(0, ("pending-unlisted", session.base_pending_prefix, True))
    for code, prefix, is_pending in places:
        session.current = code
        status = session.sender.send("GET", session.diagnosis.list_url(prefix, is_pending=is_pending)).status
        if status == 200:
            yield Result.bad(code, f"everybody can list what is under {prefix or 'the whole bucket'}")
        else:
            yield Result.good(code, f"the storage answers {status} to strangers who list {prefix or 'the bucket'}")


def judge_published(session: Session, key: str) -> Iterator[Result]:
    """Read a published object as somebody without credentials."""
    session.current = "public-read"
    yield from _judge_public(session, session.sender.send("GET", session.backend.object_url(key)).status)


def check_rights(session: Session) -> Iterator[Result]:
    """Try what the credentials that sign should not permit."""
    diagnosis = session.diagnosis
    if diagnosis is None or not session.working_ways:
        return
    if not diagnosis.can_limit_signer:
        yield Result.unknown(
            "signer-writes-elsewhere",
            "an account key signs, which may do everything; an identity with few rights is safer",
        )
        return
    elsewhere = None
    if session.base_prefix and session.base_pending_prefix != "":
        elsewhere = f"presign-doctor-elsewhere/{os.urandom(16).hex()}"
        yield from _try_to_write(session, elsewhere, "signer-writes-elsewhere", "outside of the prefixes for uploads")
    if diagnosis.has_two_identities and session.base_pending_prefix is not None:
        key = f"{session.prefix}{os.urandom(16).hex()}"
        yield from _try_to_write(session, key, "signer-writes-final", f"under {session.base_prefix}, past verification")
    session.current = "signer-reads"
    uploaded = session.upload()
    if uploaded is not None:
        for observation in diagnosis.rights_of_signer(
            stored_key=uploaded[0].upload_key, missing_key=session.new_key(), elsewhere_key=elsewhere
        ):
            yield Result.of(observation)


def _try_to_write(session: Session, key: str, code: str, where: str) -> Iterator[Result]:
    """Send uploads that a storage with the right to store them refuses for their MD5, so that nothing is stored."""
    session.current = code
    allowed_grant = session.grant(create_only=True)
    allowed = session.sign(allowed_grant, at=session.store_now)
    grant = Grant(
        key=key,
        content_type=allowed_grant.content_type,
        min_bytes=len(BODY),
        max_bytes=len(BODY),
        expires_in=LIFETIME,
        create_only=True,
    )
    forbidden = UploadAttempt.of(session.backend.sign_upload(grant, session.store_now), BODY)
    if allowed.fields or forbidden.fields:
        yield Result.unknown(code, "these settings sign no PUT")
        return
    permitted = session.sender.attempt(allowed.with_headers(_WRONG_MD5))
    if permitted.status == 403:
        yield Result.unknown(code, "the storage answers 403 to a wrong MD5, too")
        return
    answer = session.sender.attempt(forbidden.with_headers(_WRONG_MD5))
    if answer.is_accepted:
        session.cleanup.add(session.backend, key)
    if answer.status == 403:
        yield Result.good(code, f"the signer may not store objects {where}")
    elif answer.is_accepted or answer.status == permitted.status:
        yield Result.bad(code, f"the signer may store objects {where}")
    else:
        yield Result.unknown(code, f"the storage answers {answer.status} to an upload {where}")


def _judge_public(session: Session, status: int) -> Iterator[Result]:
    if session.public_read is None or (status == 200) == session.public_read:
        who = "everybody can" if status == 200 else "strangers cannot"
        yield Result.good("public-read", f"{who} read what is under {session.base_prefix or 'the whole bucket'}")
    elif session.public_read:
        yield Result.bad("public-read", f"the storage answers {status} to strangers who read a published object")
    else:
        yield Result.bad("public-read", f"everybody can read what is under {session.base_prefix or 'the whole bucket'}")
