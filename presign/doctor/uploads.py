"""Good uploads of each kind, which must be stored as their tickets say, and can be read, published and deleted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Literal

from presign.backends.backend import AlreadyPublished, ObjectChanged, ObjectHead
from presign.backends.parts import KeyTaken, NoSuchUpload, PartsStore, PartToSign
from presign.doctor.access import judge_published
from presign.doctor.browser import ask_before, judge_exposed
from presign.doctor.sending import Answer
from presign.doctor.session import BODY, LIFETIME, Result, Session, Way
from presign.errors import StorageUnavailable
from presign.messages import Grant, GrantInParts, PartRequest, Rule
from presign.testing.requests import UploadAttempt

_CODE = re.compile(rb"<Code>(\w{1,64})</Code>")
_NO_SUCH_METHOD = frozenset({405, 501})
# In Azure's answer to a SAS that is valid for longer than the account's expiration policy allows.
_BREAKS_EXPIRATION_POLICY = "Policy violated"
_WEEK = timedelta(days=7)


def check_uploads(session: Session) -> Iterator[Result]:
    """Send one upload of each kind, and of each content type."""
    for way in _ways(session):
        for content_type in session.content_types:
            grant = session.grant(create_only=way.create_only, content_type=content_type)
            session.current = "upload"
            attempt = session.sign(grant)
            try:
                answer = session.send(attempt)
            except StorageUnavailable as error:
                yield Result.bad("unreachable", f"{error.detail} to {way.described}")
                continue
            if not answer.is_accepted:
                what = f"{way.described} of {content_type}"
                yield _refused_guards(session, grant, attempt, answer, what) or refusal(answer, what, way.mechanism)
                continue
            yield Result.good("upload", f"the storage accepts {way.described} of {content_type}")
            session.current = "read"
            try:
                head = session.store.head(grant.upload_key)
                if head is None:
                    yield Result.bad("read", "the verifier does not find an upload that the storage has accepted")
                    continue
                if way not in session.working_ways:
                    session.working_ways.append(way)
                read = session.store.read(grant.upload_key, offset=0, length=len(BODY), etag=head.etag)
            except StorageUnavailable as error:
                yield _failed("read", error, f"the verifier cannot read {way.described}")
                continue
            if read != BODY or head.content_type != content_type:
                yield Result.bad("read", f"the upload is stored as {head.content_type!a} with {head.size} bytes")
                continue
            session.cleanup.readable = grant.upload_key.rpartition("/")[0] + "/"
            session.cleanup.keeps_versions |= head.version is not None
            yield Result.good("read", f"the verifier can read {way.described}")
            if lost := _lost_headers(grant, head):
                yield Result.bad("headers-kept", f"the storage lost the {' and the '.join(lost)} of {way.described}")
            else:
                yield Result.good("headers-kept", f"the storage keeps the headers of {way.described}")


def _lost_headers(grant: Grant, head: ObjectHead) -> list[str]:
    """Return the names of the ticket's headers that the object does not have."""
    kept = {
        "Content-Disposition": head.content_disposition == grant.content_disposition,
        "Cache-Control": grant.cache_control is None or head.cache_control == grant.cache_control,
        "metadata": dict(head.metadata) == dict(grant.metadata),
    }
    return [name for name, is_kept in kept.items() if not is_kept]


def check_longest_tickets(session: Session) -> Iterator[Result]:
    """Send an upload in each way that works, with a ticket that is valid for as long as the policy allows."""
    session.current = "signature-lifetime"
    longest, usual = session.max_expires_in, f"{LIFETIME.seconds} seconds"
    if longest <= LIFETIME:
        return
    lasting = f"a ticket that is valid for {longest // timedelta(seconds=1)} seconds"
    for way in session.working_ways:
        answer = session.send(session.sign(session.grant(create_only=way.create_only, expires_in=longest)))
        if answer.is_accepted:
            yield Result.good("signature-lifetime", f"the storage accepts {way.described} with {lasting}")
        elif answer.is_refused:
            yield Result.bad(
                "signature-lifetime",
                f"the storage answers {answer.status}{_named_code(answer)} to {way.described} with {lasting}, and "
                f"accepts one for {usual}",
            )
        else:
            yield Result.unknown("signature-lifetime", f"the storage answers {answer.status}")


def check_publication(session: Session) -> Iterator[Result]:
    """Publish an upload as completion does, if the doctor can delete the published object."""
    if session.base_pending_prefix is None or not session.working_ways:
        return
    session.current = "publish"
    if not session.may_delete_published:
        yield Result.unknown(
            "publish",
            f"the verifier may not delete what is under {session.base_prefix}, so the doctor published nothing",
        )
        yield Result.unknown("public-read", "the doctor published nothing that could be read")
        return
    uploaded = session.upload()
    head = None if uploaded is None else session.store.head(uploaded[0].upload_key)
    if uploaded is None or head is None:
        yield Result.unknown("publish", "the upload to publish was refused")
        return
    grant, _ = uploaded
    session.cleanup.add(session.backend, grant.key)
    if head.version is not None and (session.diagnosis is None or session.diagnosis.versions_need_a_right):
        reason = "the bucket keeps versions, and a published object could stay as one, so the doctor published nothing"
        yield Result.unknown("publish", reason)
        yield Result.unknown("public-read", "the doctor published nothing that could be read")
        return
    try:
        published = session.backend.publish(grant, head)
    except StorageUnavailable as error:
        yield _failed("publish", error, "the verifier cannot publish an upload")
        return
    except AlreadyPublished:
        yield Result.bad("publish", "the storage says that there is an object under a key that is new")
        return
    if published.size != len(BODY) or session.backend.head(grant.key) is None:
        yield Result.bad("publish", "the verifier does not find the object that it has published")
        return
    yield Result.good("publish", "the verifier can publish an upload")
    yield from judge_published(session, grant.key)


def check_versions(session: Session) -> Iterator[Result]:
    """Delete an upload, and find out whether its bytes are gone."""
    if not session.working_ways:
        return
    session.current = "versions"
    uploaded = session.upload()
    if uploaded is None:
        yield Result.unknown("versions", "the upload to delete was refused")
        return
    key = uploaded[0].upload_key
    head = session.store.head(key)
    if head is None:
        yield Result.unknown("versions", "the verifier does not find the upload to delete")
    elif head.version is None:
        yield Result.good("versions", "the storage keeps no versions")
    else:
        session.store.delete(key, head=head)
        try:
            session.store.read(key, offset=0, length=len(BODY), etag=head.etag, version=head.version)
        except ObjectChanged:
            yield Result.good("versions", "a deleted upload is gone, with its version")
        except StorageUnavailable as error:
            yield Result.unknown("versions", f"whether the version of a deleted upload is gone: {error.detail}")
        else:
            folder = session.folder if session.pending_prefix is None else session.pending_prefix
            yield Result.bad(
                "versions", f"a deleted upload stays as a version; so does everything that is deleted under {folder}"
            )


def check_pending_expiry(session: Session) -> Iterator[Result]:
    """Find out whether the storage deletes pending uploads that nobody completes."""
    if session.pending_prefix is None or session.diagnosis is None or not session.working_ways:
        return
    session.current = "pending-expiry"
    uploaded = session.upload()
    if uploaded is None:
        yield Result.unknown("pending-expiry", "the upload to ask about was refused")
    else:
        yield Result.of(session.diagnosis.pending_expiry(uploaded[0].upload_key))


def check_listing(session: Session) -> Iterator[Result]:
    """List pending uploads as the sweep does."""
    if session.pending_prefix is None:
        return
    session.current = "listing"
    try:
        next(iter(session.store.list_objects(session.pending_prefix)), None)
    except StorageUnavailable as error:
        yield Result.unknown(
            "listing",
            f"the verifier may not list pending uploads ({error.detail}), so a lifecycle rule must delete them, and "
            "not the sweep",
        )
        return
    yield Result.good("listing", "the verifier may list pending uploads, as the sweep does")


def check_parts(session: Session) -> Iterator[Result]:
    """Send a file of one part, and commit it; the key, the size and the headers must be those that were signed."""
    store = session.backend.parts
    if store is None or not session.with_parts or (store.needs_pending_key and session.base_pending_prefix is None):
        return
    session.current = "parts"
    try:
        _try_to_end(session, store)
    except StorageUnavailable as error:
        yield Result.bad("parts", f"the signer may not list and abort parts, so none were sent: {error.detail}")
        return
    if session.diagnosis is not None:
        session.current = "parts-expiry"
        try:
            yield Result.of(session.diagnosis.parts_expiry(session.new_key()))
        except StorageUnavailable as error:
            yield Result.unknown("parts-expiry", error.detail)
    session.current = "parts"
    try:
        first = _begin(session, store)
        yield from _send_parts(session, store, first)
        yield from _copy_into_part(session, store)
        if Rule.CREATE_ONLY in store.enforces(first):
            yield from _refuse_second(session, store, _begin(session, store, first.upload_key))
    except StorageUnavailable as error:
        yield _failed("parts", error, "an upload in parts fails")
    except (KeyTaken, NoSuchUpload) as error:
        yield Result.bad("parts", f"the storage confuses an upload in parts with another one ({type(error).__name__})")


def _try_to_end(session: Session, store: PartsStore) -> None:
    """List and abort an upload that nobody began; raises StorageUnavailable without the right to do so."""
    unknown = _in_parts(session.grant(), store, upload_id="00" * 8)
    session.cleanup.add(session.store_of(unknown), unknown.upload_key, if_listed=True)
    store.abort(unknown)
    try:
        store.list_parts(unknown)
    except NoSuchUpload:
        return


def _begin(session: Session, store: PartsStore, key: str | None = None) -> GrantInParts:
    decided = session.grant() if key is None else session.grant_under(key)
    upload_id = store.begin(decided, needs_sha256=False)
    grant = _in_parts(decided, store, upload_id=upload_id)
    session.cleanup.add(session.store_of(grant), grant.upload_key)
    session.cleanup.add_upload(store, grant)
    return grant


def _in_parts(decided: Grant, store: PartsStore, *, upload_id: str) -> GrantInParts:
    return GrantInParts.of(
        decided,
        upload_id=upload_id,
        part_bytes=max(store.limits.min_part_bytes, len(BODY)),
        needs_sha256=False,
        resumable_until=datetime.now(timezone.utc) + _WEEK,
    )


def _send_parts(session: Session, store: PartsStore, grant: GrantInParts) -> Iterator[Result]:
    rules = store.enforces(grant)
    attempt = _part(session, store, grant)
    shown = set[Rule]()
    yield from _ask_before_parts(session, store, grant)
    if Rule.SIZE in rules:
        answers = [session.send(attempt.with_body(body)) for body in (BODY[:-1], BODY + b"!")]
        if any(answer.is_accepted for answer in answers):
            yield Result.bad("rule-size", "the storage accepts a part of another size")
        elif all(answer.is_refused for answer in answers):
            shown.add(Rule.SIZE)
            yield Result.good("rule-size", "the storage refuses a part of another size")
    answer = session.send(attempt)
    if not answer.is_accepted:
        yield refusal(answer, "a part", "parts")
        return
    if session.origin is not None and store.answers_with_etag:
        yield from judge_exposed(session, answer, "a part")
    parts = store.list_parts(grant)
    if [(part.number, part.size) for part in parts] != [(1, len(BODY))]:
        yield Result.bad("parts", f"the storage lists {len(parts)} parts of an upload with one")
        return
    store.commit(grant, parts)
    head = session.store.head(grant.upload_key)
    if head is None or head.size != len(BODY):
        yield Result.bad("parts", "the verifier does not find a file that came in parts")
        return
    yield Result.good("parts", "the storage takes a file in parts")
    if head.content_type == grant.content_type:
        shown.add(Rule.TYPE)
    if head.content_disposition == grant.content_disposition and not head.unexpected_headers:
        shown.add(Rule.HEADERS)
    session.has_shown("parts", *(shown & rules))


def _ask_before_parts(session: Session, store: PartsStore, grant: GrantInParts) -> Iterator[Result]:
    """Ask for a part as a page does, with a SHA-256 too if the store checks it."""
    if session.origin is None:
        return
    session.current = "cors-preflight"
    digest = hashlib.sha256(BODY).hexdigest()
    hashed = _part(session, store, grant, digest) if store.checks_sha256(grant) else None
    yield from ask_before(session, session.origin, _part(session, store, grant), "a part", with_checksum=hashed)


def _copy_into_part(session: Session, store: PartsStore) -> Iterator[Result]:
    """Add the source of a copy, which nobody signed, to a part; the source has another size, which a listing shows."""
    if not session.working_ways:
        return
    session.current = "unsigned-copy"
    body = BODY + b"!!"
    source = session.upload(body)
    if source is None:
        yield Result.unknown("unsigned-copy", "the upload to copy into a part was refused")
        return
    for headers in source[1].copy_headers(session.object_url(*source)):
        grant = _begin(session, store)
        session.send(_part(session, store, grant).with_headers(headers))
        if any(part.size == len(body) for part in store.list_parts(grant)):
            listed = ", ".join(headers)
            yield Result.bad("unsigned-copy", f"the storage obeys {listed} in a part, which nobody signed")
            return
    yield Result.good("unsigned-copy", "a client cannot copy another object into a part")


def _refuse_second(session: Session, store: PartsStore, grant: GrantInParts) -> Iterator[Result]:
    """Commit another upload to a key that has an object by now."""
    if not session.send(_part(session, store, grant)).is_accepted:
        return
    try:
        store.commit(grant, store.list_parts(grant))
    except KeyTaken:
        session.has_shown("parts", Rule.CREATE_ONLY)
        yield Result.good("rule-create-only", "the storage refuses to commit parts over an object")
        return
    yield Result.bad("rule-create-only", "the storage commits parts over an object")


def _part(session: Session, store: PartsStore, grant: GrantInParts, sha256: str | None = None) -> UploadAttempt:
    part = PartToSign(1, len(BODY), sha256)
    (request,), _ = store.sign(grant, [part], datetime.now(timezone.utc), expires_in=LIFETIME)
    attempt = _attempt(request)
    session.sent_methods.add(attempt.method)
    session.sent_headers |= {name.lower() for name in attempt.headers}
    return attempt


def _attempt(request: PartRequest) -> UploadAttempt:
    return UploadAttempt(method="PUT", url=request.url, headers=request.headers, fields={}, body=BODY)


def _ways(session: Session) -> list[Way]:
    """Return the ways in which the backend signs uploads for the policy, the one for ordinary grants first."""
    ways: dict[str, Way] = {}
    for create_only in (False, True) if session.create_only is None else (session.create_only,):
        signed = session.backend.sign_upload(session.grant(create_only=create_only), datetime.now(timezone.utc))
        # The first CORS rule to paste must already suffice for all tickets.
        for sha256 in (None, hashlib.sha256(BODY).hexdigest()):
            grant = session.grant(create_only=create_only, sha256=sha256)
            session.note_headers(session.backend.sign_upload(grant, datetime.now(timezone.utc)))
        mechanism: Literal["post", "put"] = "post" if signed.method == "POST" else "put"
        ways.setdefault(mechanism, Way(mechanism=mechanism, create_only=create_only))
    return list(ways.values())


def refusal(answer: Answer, what: str, mechanism: str) -> Result:
    """Return the finding for a good upload that was not accepted."""
    if answer.is_redirect:
        return Result.bad("redirect", f"the storage answers {answer.status} to {what}")
    if mechanism == "post" and answer.status in _NO_SUCH_METHOD:
        return Result.bad("post", f"the storage answers {answer.status} to {what}")
    if answer.status in {400, 403} and answer.mentions("kms:"):
        return Result.bad("kms", f"the storage answers {answer.status} to {what}, and names kms")
    if answer.mentions(_BREAKS_EXPIRATION_POLICY):
        seen = f"the storage answers {answer.status}{_named_code(answer)} to {what}"
        return Result.bad("signature-lifetime", f"{seen}, because its signature is valid for longer than it allows")
    code = "parts" if mechanism == "parts" else "upload"
    return Result.bad(code, f"the storage answers {answer.status}{_named_code(answer)} to {what}")


def _failed(code: str, error: StorageUnavailable, what: str) -> Result:
    """Return the finding for a call that the storage refused, perhaps because KMS does."""
    return Result.bad("kms" if "(kms:" in error.detail else code, f"{what}: {error.detail}")


def _named_code(answer: Answer) -> str:
    found = _CODE.search(answer.body)
    return "" if found is None else f" ({found[1].decode()})"


def _refused_guards(session: Session, grant: Grant, attempt: UploadAttempt, answer: Answer, what: str) -> Result | None:
    """Return the finding if the same upload is accepted without its guards, and None otherwise."""
    guards = session.guards_of(attempt)
    unguarded = session.sign_unguarded(grant) if guards else None
    if unguarded is None or not session.send(unguarded).is_accepted:
        return None
    return Result.bad(
        "guards",
        f"the storage answers {answer.status}{_named_code(answer)} to {what} with {', '.join(guards)}, and accepts it "
        "without them",
    )
