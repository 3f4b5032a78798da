"""Good uploads of each kind, which must be stored as their tickets say, and can be read, published and deleted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Literal

from presign.backends.backend import AlreadyPublished, ObjectChanged
from presign.backends.parts import KeyTaken, NoSuchUpload, PartsStore, PartToSign
from presign.doctor.access import judge_published
from presign.doctor.patient import BODY, LIFETIME, Patient, Seen, Way
from presign.doctor.sending import Answer
from presign.errors import StorageUnavailable
from presign.messages import Grant, GrantInParts, PartRequest, Rule
from presign.testing.requests import UploadAttempt

_CODE = re.compile(rb"<Code>(\w{1,64})</Code>")
_NO_SUCH_METHOD = frozenset({405, 501})
_WEEK = timedelta(days=7)


def check_uploads(patient: Patient) -> Iterator[Seen]:
    """Send one upload of each kind, and of each content type."""
    for way in _ways(patient):
        for content_type in patient.content_types:
            grant = patient.grant(create_only=way.create_only, content_type=content_type)
            patient.current = "upload"
            try:
                answer = patient.send(patient.sign(grant))
            except StorageUnavailable as error:
                yield Seen.bad("unreachable", f"{error.detail} to {way.described}")
                continue
            if not answer.is_accepted:
                yield refusal(answer, f"{way.described} of {content_type}", way.mechanism)
                continue
            yield Seen.good("upload", f"the storage accepts {way.described} of {content_type}")
            patient.current = "read"
            head = patient.store.head(grant.upload_key)
            if head is None:
                yield Seen.bad("read", "the verifier does not find an upload that the storage has accepted")
                continue
            if way not in patient.working_ways:
                patient.working_ways.append(way)
            read = patient.store.read(grant.upload_key, offset=0, length=len(BODY), etag=head.etag)
            if read != BODY or head.content_type != content_type:
                yield Seen.bad("read", f"the upload is stored as {head.content_type!a} with {head.size} bytes")
                continue
            yield Seen.good("read", f"the verifier can read {way.described}")
            if head.content_disposition != grant.content_disposition:
                yield Seen.bad("headers-kept", f"the storage lost the Content-Disposition of {way.described}")
            else:
                yield Seen.good("headers-kept", f"the storage keeps the headers of {way.described}")


def check_publication(patient: Patient) -> Iterator[Seen]:
    """Publish an upload as completion does, if the doctor can delete the published object."""
    if patient.base_pending_prefix is None or not patient.working_ways:
        return
    patient.current = "publish"
    if not patient.may_delete_published:
        yield Seen.unknown(
            "publish",
            f"the verifier may not delete what is under {patient.base_prefix}, so the doctor published nothing",
        )
        yield Seen.unknown("public-read", "the doctor published nothing that could be read")
        return
    grant = patient.grant(create_only=patient.working_ways[-1].create_only)
    patient.litter.add(patient.backend, grant.key)
    head = patient.store.head(grant.upload_key) if patient.send(patient.sign(grant)).is_accepted else None
    if head is None:
        yield Seen.unknown("publish", "the upload to publish was refused")
        return
    if head.version is not None and (patient.diagnosis is None or patient.diagnosis.versions_need_a_right):
        reason = "the bucket keeps versions, and a published object could stay as one, so the doctor published nothing"
        yield Seen.unknown("publish", reason)
        yield Seen.unknown("public-read", "the doctor published nothing that could be read")
        return
    try:
        published = patient.backend.publish(grant, head)
    except StorageUnavailable as error:
        yield Seen.bad("publish", f"the verifier cannot publish an upload: {error.detail}")
        return
    except AlreadyPublished:
        yield Seen.bad("publish", "the storage says that there is an object under a key that is new")
        return
    if published.size != len(BODY) or patient.backend.head(grant.key) is None:
        yield Seen.bad("publish", "the verifier does not find the object that it has published")
        return
    yield Seen.good("publish", "the verifier can publish an upload")
    yield from judge_published(patient, grant.key)


def check_versions(patient: Patient) -> Iterator[Seen]:
    """Delete an upload, and find out whether its bytes are gone."""
    if not patient.working_ways:
        return
    patient.current = "versions"
    grant = patient.grant(create_only=patient.working_ways[-1].create_only)
    head = patient.store.head(grant.upload_key) if patient.send(patient.sign(grant)).is_accepted else None
    if head is None:
        yield Seen.unknown("versions", "the upload to delete was refused")
    elif head.version is None:
        yield Seen.good("versions", "the storage keeps no versions")
    else:
        patient.store.delete(grant.upload_key, head=head)
        try:
            patient.store.read(grant.upload_key, offset=0, length=len(BODY), etag=head.etag, version=head.version)
        except ObjectChanged:
            yield Seen.good("versions", "a deleted upload is gone, with its version")
        except StorageUnavailable as error:
            yield Seen.unknown("versions", f"whether the version of a deleted upload is gone: {error.detail}")
        else:
            folder = patient.folder if patient.pending_prefix is None else patient.pending_prefix
            yield Seen.bad(
                "versions", f"a deleted upload stays as a version; so does everything that is deleted under {folder}"
            )


def check_listing(patient: Patient) -> Iterator[Seen]:
    """List pending uploads as the sweep does."""
    if patient.pending_prefix is None:
        return
    patient.current = "listing"
    try:
        next(iter(patient.store.list_objects(patient.pending_prefix)), None)
    except StorageUnavailable as error:
        yield Seen.unknown(
            "listing",
            f"the verifier may not list pending uploads ({error.detail}), so a lifecycle rule must delete them, and "
            "not the sweep",
        )
        return
    yield Seen.good("listing", "the verifier may list pending uploads, as the sweep does")


def check_parts(patient: Patient) -> Iterator[Seen]:
    """Send a file of one part, and commit it; the key, the size and the headers must be those that were signed."""
    store = patient.backend.parts
    if store is None or not patient.with_parts or (store.needs_pending_key and patient.base_pending_prefix is None):
        return
    patient.current = "parts"
    try:
        _try_to_end(patient, store)
    except StorageUnavailable as error:
        yield Seen.bad("parts", f"the signer may not list and abort parts, so none were sent: {error.detail}")
        return
    if patient.diagnosis is not None:
        patient.current = "parts-expiry"
        try:
            yield Seen.of(patient.diagnosis.parts_expiry(patient.new_key()))
        except StorageUnavailable as error:
            yield Seen.unknown("parts-expiry", error.detail)
    patient.current = "parts"
    try:
        first = _begin(patient, store)
        yield from _send_parts(patient, store, first)
        if Rule.CREATE_ONLY in store.enforces(first):
            yield from _refuse_second(patient, store, _begin(patient, store, first.upload_key))
    except StorageUnavailable as error:
        yield Seen.bad("parts", f"an upload in parts fails: {error.detail}")
    except (KeyTaken, NoSuchUpload) as error:
        yield Seen.bad("parts", f"the storage confuses an upload in parts with another one ({type(error).__name__})")


def _try_to_end(patient: Patient, store: PartsStore) -> None:
    """List and abort an upload that nobody began; raises StorageUnavailable without the right to do so."""
    unknown = _in_parts(patient.grant(), store, upload_id="00" * 8)
    store.abort(unknown)
    try:
        store.list_parts(unknown)
    except NoSuchUpload:
        return


def _begin(patient: Patient, store: PartsStore, key: str | None = None) -> GrantInParts:
    decided = patient.grant() if key is None else patient.grant_under(key)
    upload_id = store.begin(decided, needs_sha256=False)
    grant = _in_parts(decided, store, upload_id=upload_id)
    patient.litter.add(patient.store if grant.pending_key is not None else patient.backend, grant.upload_key)
    patient.litter.add_upload(store, grant)
    return grant


def _in_parts(decided: Grant, store: PartsStore, *, upload_id: str) -> GrantInParts:
    return GrantInParts.of(
        decided,
        upload_id=upload_id,
        part_bytes=max(store.limits.min_part_bytes, len(BODY)),
        needs_sha256=False,
        resumable_until=datetime.now(timezone.utc) + _WEEK,
    )


def _send_parts(patient: Patient, store: PartsStore, grant: GrantInParts) -> Iterator[Seen]:
    rules = store.enforces(grant)
    attempt = _part(patient, store, grant)
    shown = set[Rule]()
    if Rule.SIZE in rules:
        answers = [patient.send(attempt.with_body(body)) for body in (BODY[:-1], BODY + b"!")]
        if any(answer.is_accepted for answer in answers):
            yield Seen.bad("rule-size", "the storage accepts a part of another size")
        elif all(answer.is_refused for answer in answers):
            shown.add(Rule.SIZE)
            yield Seen.good("rule-size", "the storage refuses a part of another size")
    answer = patient.send(attempt)
    if not answer.is_accepted:
        yield refusal(answer, "a part", "parts")
        return
    if patient.origin is not None and store.answers_with_etag:
        yield from exposed(patient, answer, "a part")
    parts = store.list_parts(grant)
    if [(part.number, part.size) for part in parts] != [(1, len(BODY))]:
        yield Seen.bad("parts", f"the storage lists {len(parts)} parts of an upload with one")
        return
    store.commit(grant, parts)
    head = patient.store.head(grant.upload_key)
    if head is None or head.size != len(BODY):
        yield Seen.bad("parts", "the verifier does not find a file that came in parts")
        return
    yield Seen.good("parts", "the storage takes a file in parts")
    if head.content_type == grant.content_type:
        shown.add(Rule.TYPE)
    if head.content_disposition == grant.content_disposition and not head.unexpected_headers:
        shown.add(Rule.HEADERS)
    patient.has_shown("parts", *(shown & rules))


def _refuse_second(patient: Patient, store: PartsStore, grant: GrantInParts) -> Iterator[Seen]:
    """Commit another upload to a key that has an object by now."""
    if not patient.send(_part(patient, store, grant)).is_accepted:
        return
    try:
        store.commit(grant, store.list_parts(grant))
    except KeyTaken:
        patient.has_shown("parts", Rule.CREATE_ONLY)
        yield Seen.good("rule-create-only", "the storage refuses to commit parts over an object")
        return
    yield Seen.bad("rule-create-only", "the storage commits parts over an object")


def _part(patient: Patient, store: PartsStore, grant: GrantInParts) -> UploadAttempt:
    (request,), _ = store.sign(grant, [PartToSign(1, len(BODY))], datetime.now(timezone.utc), expires_in=LIFETIME)
    return _attempt(request)


def _attempt(request: PartRequest) -> UploadAttempt:
    return UploadAttempt(method="PUT", url=request.url, headers=request.headers, fields={}, body=BODY)


def _ways(patient: Patient) -> list[Way]:
    """Return the ways in which the backend signs uploads for the policy, the one for ordinary grants first."""
    ways: dict[str, Way] = {}
    for create_only in (False, True) if patient.create_only is None else (patient.create_only,):
        signed = patient.backend.sign_upload(patient.grant(create_only=create_only), datetime.now(timezone.utc))
        mechanism: Literal["post", "put"] = "post" if signed.method == "POST" else "put"
        ways.setdefault(mechanism, Way(mechanism=mechanism, create_only=create_only))
    return list(ways.values())


def refusal(answer: Answer, what: str, mechanism: str) -> Seen:
    """Return the finding for a good upload that was not accepted."""
    if answer.is_redirect:
        return Seen.bad("redirect", f"the storage answers {answer.status} to {what}")
    if mechanism == "post" and answer.status in _NO_SUCH_METHOD:
        return Seen.bad("post", f"the storage answers {answer.status} to {what}")
    if answer.status in {400, 403} and answer.mentions("kms:"):
        return Seen.bad("kms", f"the storage answers {answer.status} to {what}, and names kms")
    found = _CODE.search(answer.body)
    named = "" if found is None else f" ({found[1].decode()})"
    return Seen.bad(
        "parts" if mechanism == "parts" else "upload", f"the storage answers {answer.status}{named} to {what}"
    )


def exposed(patient: Patient, answer: Answer, what: str) -> Iterator[Seen]:
    """Say whether a page can read the headers of an answer that uploaders need."""
    wanted = () if patient.diagnosis is None else patient.diagnosis.exposed_headers
    shown = {name.strip().lower() for name in answer.headers.get("Access-Control-Expose-Headers", "").split(",")}
    missing = [name for name in wanted if name not in shown and "*" not in shown]
    if missing:
        yield Seen.bad("cors-exposed", f"the answer to {what} does not expose {', '.join(missing)}")
    elif wanted:
        yield Seen.good("cors-exposed", f"the answer to {what} exposes {', '.join(wanted)}")
