"""Large files: one upload in parts, which the server begins, signs, lists, commits and aborts.

A client only sends parts, with requests that the server has signed for their exact numbers and sizes. What the store
lists decides, and never what a client says. The server commits the upload to ``Grant.upload_key``; what follows is the
completion of any other upload.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import repeat

from presign.backends.backend import Backend, ObjectChanged
from presign.backends.parts import KeyTaken, NoSuchUpload, PartsStore, PartToSign, StoredPart
from presign.errors import (
    ConfigurationError,
    InvalidRequest,
    PartsMissing,
    RuleViolated,
    StorageUnavailable,
    UploadEnded,
)
from presign.messages import Grant, GrantInParts, PartPlan, PartsDigest, Rule, SignedParts, UploadedParts
from presign.policy import UploadPolicy
from presign.verification import checksum_violation

DEFAULT_FROM_BYTES = 100 * 1024**2
"""From this size on, files come in parts by default: a connection that breaks then costs minutes."""

PARTS_AT_ONCE = 8
"""For how many parts a client should ask at a time: about twice as many as it sends in parallel."""

MAX_PARTS_AT_ONCE = 100
"""For how many parts a client can ask at a time."""

REQUEST_LIFETIME = timedelta(minutes=15)
"""How long the request of a part is valid, if ``UploadPolicy.max_expires_in`` is not shorter."""

_MEBIBYTE = 1024**2
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ATTEMPTS = 3
_MAX_NAMED = 10


@dataclass(frozen=True, kw_only=True)
class FilesInParts:
    """Which files come in parts: those of at least ``from_bytes``, with one exception.

    A file with a SHA-256 of at most ``checked_whole_up_to`` bytes comes in one request, because the storage checks it
    there, and cannot check it in parts.
    """

    from_bytes: int
    checked_whole_up_to: int

    def includes(self, size: int | None, sha256: str | None) -> bool:
        """Say whether a file with this size and SHA-256 comes in parts; without a size, it comes in one request."""
        return size is not None and size >= self.from_bytes and (sha256 is None or size > self.checked_whole_up_to)


def files_in_parts(backend: Backend, policy: UploadPolicy) -> FilesInParts:
    """Return which files come in parts; if none does, ``from_bytes`` is above ``policy.max_bytes``.

    By default, no file comes in parts that the policy would then not allow, for example because it wants the storage
    itself to enforce a rule. Raises ConfigurationError if ``policy`` asks for parts and ``backend`` has none, or takes
    no such parts.
    """
    store, chosen = backend.parts, policy.parts_from_bytes
    if store is None:
        if chosen is not None and chosen <= policy.max_bytes:
            raise ConfigurationError(
                f"{backend.name} stores no files in parts; leave parts_from_bytes out",
                field="parts_from_bytes",
                value=str(chosen),
            )
        return FilesInParts(from_bytes=policy.max_bytes + 1, checked_whole_up_to=0)
    too_large = backend.max_upload_bytes + 1
    first_size = too_large if chosen is None else min(chosen, too_large)
    if policy.pending_prefix is None and store.needs_pending_key and first_size <= policy.max_bytes:
        raise ConfigurationError(
            f"on {backend.name}, a file that comes in parts needs a pending_prefix, because a client can change it "
            "until its ticket expires",
            field="pending_prefix",
        )
    if chosen is not None:
        found = FilesInParts(from_bytes=first_size, checked_whole_up_to=0)
    else:
        grants = policy.possible_grants()
        hashed = [grant for grant in grants if grant.sha256 is not None]
        checks_whole = all(Rule.CHECKSUM in backend.enforces(grant) for grant in hashed)
        found = FilesInParts(
            from_bytes=DEFAULT_FROM_BYTES
            if _keeps_all(store, policy, grants, checks_whole=checks_whole)
            else too_large,
            checked_whole_up_to=backend.max_upload_bytes if checks_whole else 0,
        )
    limits = store.limits
    if found.from_bytes <= policy.max_bytes and not limits.min_part_bytes <= policy.part_bytes <= limits.max_part_bytes:
        raise ConfigurationError(
            f"part_bytes must be between {limits.min_part_bytes} and {limits.max_part_bytes} on {backend.name}",
            field="part_bytes",
            value=str(policy.part_bytes),
        )
    return found


def _keeps_all(store: PartsStore, policy: UploadPolicy, grants: Sequence[Grant], *, checks_whole: bool) -> bool:
    """Say whether the storage enforces on parts whatever the policy wants the storage to enforce.

    It does not if a client can change the object itself. Its tickets then permit more than those for one request.
    """
    if store.needs_pending_key:
        return False
    needed = set(policy.require_at_storage)
    if policy.pending_prefix is None:
        needed.add(Rule.CREATE_ONLY)
    in_parts = [grant for grant in grants if not checks_whole or grant.sha256 is None]
    return not any(needed & set(grant.rules) - store.enforces(grant) for grant in in_parts)


def part_bytes_for(store: PartsStore, grant: Grant, part_bytes: int) -> int:
    """Return the size of the parts: ``part_bytes``, or more if a file of this size would have too many of them."""
    needed = -(-grant.max_bytes // store.limits.max_parts)
    return part_bytes if needed <= part_bytes else -(-needed // _MEBIBYTE) * _MEBIBYTE


def compares_before_commit(store: PartsStore, grant: Grant) -> bool:
    """Say whether the store's list shows the digests of a file's parts; otherwise completion reads the whole file."""
    return store.checks_sha256(grant) and store.lists_sha256(grant)


def begin(
    store: PartsStore,
    grant: Grant,
    *,
    part_bytes: int,
    hashes_parts: bool,
    resumable_until: datetime,
    parts_sha256: str | None = None,
) -> GrantInParts:
    """Begin an upload for ``grant``, which has an exact size, and return the grant together with the upload.

    A file that would have too many parts of ``part_bytes`` gets larger ones. With ``hashes_parts`` or ``parts_sha256``,
    every part must have the SHA-256 that was signed with it, if the store checks that. Raises StorageUnavailable.
    """
    needs_sha256 = (hashes_parts or parts_sha256 is not None) and store.checks_sha256(grant)
    return GrantInParts.of(
        grant,
        upload_id=store.begin(grant, needs_sha256=needs_sha256),
        part_bytes=part_bytes_for(store, grant, part_bytes),
        needs_sha256=needs_sha256,
        resumable_until=resumable_until,
        parts_sha256=parts_sha256,
        compared_before_commit=parts_sha256 is not None and compares_before_commit(store, grant),
    )


def part_bytes_of(store: PartsStore, size: int, wanted: int | None, *, default: int) -> int:
    """Return how many bytes the parts of a file have: ``wanted`` by the client, or ``default``.

    Raises InvalidRequest if the store takes no such parts, or a file of this ``size`` would have too many of them.
    """
    if wanted is None:
        return default
    limits = store.limits
    least = max(limits.min_part_bytes, -(-size // limits.max_parts))
    if not least <= wanted <= limits.max_part_bytes:
        raise InvalidRequest(
            f"'part_size' must be between {least} and {limits.max_part_bytes} bytes for this file",
            field="part_size",
            value=wanted,
            limit=least if wanted < least else limits.max_part_bytes,
        )
    return wanted


def plan_of(grant: GrantInParts) -> PartPlan:
    """Return what a client needs to know about the parts of its file."""
    return PartPlan(
        part_size=grant.part_bytes,
        count=grant.part_count,
        at_once=min(PARTS_AT_ONCE, grant.part_count),
        needs_sha256=grant.needs_sha256,
        resumable_until=grant.resumable_until,
    )


def sign(
    store: PartsStore,
    grant: GrantInParts,
    numbers: Sequence[int],
    sha256: Sequence[str] | None,
    now: datetime,
    *,
    expires_in: timedelta,
    url_alone: bool = False,
) -> SignedParts:
    """Return the requests of the parts with these ``numbers``; ``sha256`` has their digests in the same order.

    ``url_alone`` is for clients that send no headers with a part; see PartsStore.sign.

    Raises InvalidRequest for a number that the file does not have, for one that occurs twice, for more than 100
    numbers, and for digests that are missing or too many.
    """
    parts = _checked_parts(grant, numbers, sha256)
    remaining = grant.resumable_until - now.replace(microsecond=0)
    requests, expires_at = store.sign(grant, parts, now, expires_in=min(expires_in, remaining), url_alone=url_alone)
    return SignedParts(requests=tuple(requests), expires_at=expires_at, now=now)


def uploaded(store: PartsStore, grant: GrantInParts, exists: Callable[[], bool]) -> UploadedParts:
    """Return what the store has of the file; all of it if the upload has ended and its object ``exists``.

    Raises UploadEnded if there is neither.
    """
    try:
        numbers: Sequence[int] = [part.number for part in _whole_parts(grant, store.list_parts(grant))]
        is_committed = not numbers and exists()
    except NoSuchUpload:
        if not exists():
            raise ended(grant) from None
        numbers, is_committed = (), True
    if is_committed:
        numbers = range(1, grant.part_count + 1)
    return UploadedParts(key=grant.key, size=grant.max_bytes, plan=plan_of(grant), numbers=tuple(numbers))


def commit(store: PartsStore, grant: GrantInParts, exists: Callable[[], bool]) -> bool:
    """Make one object of the parts that the store has; return False if the upload has ended already.

    ``exists`` says whether there is an object of this upload. Raises PartsMissing, and RuleViolated for parts that do
    not have the granted digest: these are deleted, and the upload ends. Can be interrupted at any step and
    called again: the store then has no such upload any more, because it has the object.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            parts = _whole_parts(grant, store.list_parts(grant))
            if len(parts) < grant.part_count:
                if exists():
                    return False
                raise _missing(grant, parts)
            violation = _digest_violation(grant, parts)
            if violation is not None:
                abort(store, grant)
                # Another call may have committed other parts, which were sent after these were listed.
                if exists():
                    return False
                raise violation
            store.commit(grant, parts)
            return True
        except NoSuchUpload:
            return False
        except KeyTaken:
            # Nobody else's object can be there, because keys are random: another call has just committed.
            store.abort(grant)
            return False
        except ObjectChanged:
            # A client sent a part again after it was listed.
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")


def abort(store: PartsStore, grant: GrantInParts) -> None:
    """End the upload and delete its parts. Do nothing if it has ended, also if it was completed.

    A part that is being sent can still arrive after an abort, so the upload is aborted again until it is gone
    ("AbortMultipartUpload", Amazon S3 API Reference).
    """
    for _ in range(_ATTEMPTS):
        store.abort(grant)
        try:
            store.list_parts(grant)
        except NoSuchUpload:
            return


def ended(grant: Grant) -> UploadEnded:
    """Return the error for an upload that the store does not have any more."""
    return UploadEnded(
        f"the upload to {grant.upload_key} was aborted, rejected or forgotten; ask for a new ticket and upload again",
        field="key",
        value=grant.upload_key,
    )


def _whole_parts(grant: GrantInParts, parts: Sequence[StoredPart]) -> list[StoredPart]:
    """Return the parts that belong to the file and have their right size, in the order of their numbers.

    SeaweedFS lists a part that was sent twice twice. The last one of the right size counts.
    """
    whole = {
        part.number: part
        for part in parts
        if 1 <= part.number <= grant.part_count and part.size == grant.size_of(part.number)
    }
    return [whole[number] for number in sorted(whole)]


def _digest_violation(grant: GrantInParts, parts: Sequence[StoredPart]) -> RuleViolated | None:
    if grant.parts_sha256 is None or not grant.compared_before_commit:
        return None
    digests = [part.sha256 for part in parts if part.sha256 is not None]
    if len(digests) < len(parts):
        raise StorageUnavailable(f"the store lists parts of {grant.upload_key} without the SHA-256 that it has checked")
    stored = PartsDigest.of(digests, part_size=grant.part_bytes).sha256
    return None if stored == grant.parts_sha256 else checksum_violation(stored, grant.parts_sha256)


def _missing(grant: GrantInParts, parts: Sequence[StoredPart]) -> PartsMissing:
    present = {part.number for part in parts}
    numbers = tuple(number for number in range(1, grant.part_count + 1) if number not in present)
    shown = [str(number) for number in numbers[:_MAX_NAMED]] + ["..."] * (len(numbers) > _MAX_NAMED)
    return PartsMissing(
        f"the store lacks {len(numbers)} of {grant.part_count} parts: {', '.join(shown)}", numbers=numbers
    )


def _checked_parts(grant: GrantInParts, numbers: Sequence[int], sha256: Sequence[str] | None) -> list[PartToSign]:
    if not isinstance(numbers, list | tuple | range) or not 1 <= len(numbers) <= MAX_PARTS_AT_ONCE:
        raise InvalidRequest(
            f"'numbers' must be a list of 1 to {MAX_PARTS_AT_ONCE} part numbers",
            field="numbers",
            limit=MAX_PARTS_AT_ONCE,
        )
    # A loop over the numbers would take as long as a third of the signatures.
    if set(map(type, numbers)) != {int} or not 1 <= min(numbers) <= max(numbers) <= grant.part_count:
        wrong = next(each for each in numbers if type(each) is not int or not 1 <= each <= grant.part_count)
        raise InvalidRequest(
            f"'numbers' must be whole numbers from 1 to {grant.part_count}, which is how many parts the file has",
            field="numbers",
            value=str(wrong),
            limit=grant.part_count,
        )
    if len(set(numbers)) < len(numbers):
        raise InvalidRequest("'numbers' has the same number twice", field="numbers")
    if not grant.needs_sha256:
        if sha256 is not None:
            raise InvalidRequest("'sha256' must be absent: the parts of this upload are not hashed", field="sha256")
        to_sign = list(map(PartToSign, numbers, repeat(grant.part_bytes)))
        last = grant.part_count
        if last in numbers:
            to_sign[numbers.index(last)] = PartToSign(last, grant.size_of(last))
        return to_sign
    if not isinstance(sha256, list | tuple) or len(sha256) != len(numbers):
        raise InvalidRequest("'sha256' must be a list with one digest for each of the 'numbers'", field="sha256")
    for digest in sha256:
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise InvalidRequest("'sha256' must have digests of 64 lower-case hexadecimal digits", field="sha256")
    return [PartToSign(number, grant.size_of(number), digest) for number, digest in zip(numbers, sha256, strict=True)]
