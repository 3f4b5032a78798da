"""Verification: compares a stored object with every rule of its grant."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from presign.backends.backend import ObjectHead
from presign.errors import ConfigurationError, RuleViolated
from presign.inspection import ReadRange
from presign.messages import Grant, GrantInParts, PartsDigest, Rule
from presign.progress import ReportBytes, ignore_bytes

_CHUNK_BYTES = 8 * 1024 * 1024
_BROWSERS_OWN_CACHE_CONTROL = frozenset({"no-cache", "max-age=0"})


def first_bytes_needed(grant: Grant) -> int:
    """Return how many first bytes ``Backend.head`` should fetch for this grant.

    The answer is 0 for a grant with a checksum, because S3 returns a checksum only with the whole object.
    """
    if not grant.verify_content or grant.sha256 is not None:
        return 0
    # Only a completion needs it, and it compiles many patterns when it is imported.
    from presign.content import FIRST_BYTES

    return FIRST_BYTES


def reads_the_object(grant: Grant, head: ObjectHead) -> bool:
    """Say whether ``find_violation`` would read the whole object, because the storage has no checksum of it."""
    return _hashed_in_parts(grant) is not None or (grant.sha256 is not None and head.sha256 is None)


def find_violation(
    grant: Grant,
    head: ObjectHead,
    read: ReadRange,
    *,
    max_hashed_bytes: int,
    is_hashed: bool = False,
    report_hashed: ReportBytes = ignore_bytes,
) -> RuleViolated | None:
    """Return the first rule of ``grant`` that the object breaks, or None if it keeps all of them.

    ``read`` is called only if ``head`` lacks the first bytes, or a checksum that the grant needs. With ``is_hashed``,
    the checksum of this object has been verified before. ``report_hashed`` is called while the object is read for its
    checksum. Raises ConfigurationError if the object is larger than ``max_hashed_bytes`` and would have to be read.
    """
    return (
        _readability_violation(head)
        or _size_violation(grant, head)
        or _type_violation(grant, head)
        or _header_violation(grant, head)
        or (None if is_hashed else _checksum_violation(grant, head, read, max_hashed_bytes, report_hashed))
        or _content_violation(grant, head, read)
    )


def _readability_violation(head: ObjectHead) -> RuleViolated | None:
    if head.readable:
        return None
    return RuleViolated(
        "the object is encrypted with a key that only the client has", rule=Rule.HEADERS.value, field="encryption"
    )


def _size_violation(grant: Grant, head: ObjectHead) -> RuleViolated | None:
    if grant.min_bytes <= head.size <= grant.max_bytes:
        return None
    return RuleViolated(
        f"the object has {head.size} bytes, and the ticket allowed {grant.min_bytes} to {grant.max_bytes}",
        rule=Rule.SIZE.value,
        field="size",
        value=head.size,
        limit=grant.min_bytes if head.size < grant.min_bytes else grant.max_bytes,
    )


def _type_violation(grant: Grant, head: ObjectHead) -> RuleViolated | None:
    if head.content_type == grant.content_type:
        return None
    return RuleViolated(
        f"the object is stored as {head.content_type!a}, and the ticket allowed {grant.content_type}",
        rule=Rule.TYPE.value,
        field="type",
        value=head.content_type,
        limit=grant.content_type,
    )


def _header_violation(grant: Grant, head: ObjectHead) -> RuleViolated | None:
    for name, stored, granted in (
        ("content_disposition", head.content_disposition, grant.content_disposition),
        ("cache_control", head.cache_control, grant.cache_control),
        ("content_encoding", head.content_encoding, None),
    ):
        if not _is_acceptable(name, stored, granted, is_pending=grant.pending_key is not None):
            return RuleViolated(
                f"the object's {name} differs from the ticket's",
                rule=Rule.HEADERS.value,
                field=name,
                value=stored,
                limit=granted,
            )
    for name, stored in head.unexpected_headers.items():
        return RuleViolated(
            f"the object has {name}, which the ticket does not allow",
            rule=Rule.HEADERS.value,
            field=name,
            value=stored,
        )
    if not _is_acceptable_metadata(head.metadata, grant.metadata, is_pending=grant.pending_key is not None):
        return RuleViolated(
            "the object's metadata differs from the ticket's", rule=Rule.HEADERS.value, field="metadata"
        )
    return None


def _is_acceptable(name: str, stored: str | None, granted: str | None, *, is_pending: bool) -> bool:
    if stored is None and is_pending:
        # Some stores drop these headers. The published copy gets them as they were granted.
        return True
    if name == "cache_control" and stored in _BROWSERS_OWN_CACHE_CONTROL:
        # A browser whose developer tools disable the cache sends it with every request, and SeaweedFS stores it.
        # Caches then keep the object for a shorter time than granted, which does no harm.
        return True
    return _normalized(stored) == _normalized(granted)


def _is_acceptable_metadata(stored: Mapping[str, str], granted: Mapping[str, str], *, is_pending: bool) -> bool:
    if is_pending:
        return all(name in granted and _normalized(granted[name]) == _normalized(stored[name]) for name in stored)
    return {name: _normalized(value) for name, value in stored.items()} == {
        name: _normalized(value) for name, value in granted.items()
    }


def _normalized(value: str | None) -> str | None:
    """Return ``value`` with single spaces: signatures treat several spaces as one, and stores may do so too."""
    return value if value is None or "  " not in value else " ".join(value.split())


def _checksum_violation(
    grant: Grant, head: ObjectHead, read: ReadRange, max_hashed_bytes: int, report_hashed: ReportBytes
) -> RuleViolated | None:
    if reads_the_object(grant, head) and head.size > max_hashed_bytes:
        raise ConfigurationError(
            f"the storage has no SHA-256 of an object of {head.size} bytes, and completion reads at most "
            f"{max_hashed_bytes} bytes to compute one; raise the policy's max_hashed_bytes",
            field="max_hashed_bytes",
            value=head.size,
            limit=max_hashed_bytes,
        )
    in_parts = _hashed_in_parts(grant)
    if in_parts is not None:
        stored = _digest_of_parts(in_parts, head.size, read, report_hashed)
        return None if stored == in_parts.parts_sha256 else checksum_violation(stored, in_parts.parts_sha256)
    if grant.sha256 is None:
        return None
    stored = head.sha256 or _sha256(range(head.size), head.size, read, report_hashed).hex()
    return None if stored == grant.sha256 else checksum_violation(stored, grant.sha256)


def checksum_violation(stored: str, granted: str | None) -> RuleViolated:
    """Return the error of a file that has other bytes than were granted, with both digests."""
    return RuleViolated(
        "the object's bytes are not the bytes that the ticket was issued for",
        rule=Rule.CHECKSUM.value,
        field="sha256",
        value=stored,
        limit=granted,
    )


def _hashed_in_parts(grant: Grant) -> GrantInParts | None:
    """Return ``grant`` if the object must be read to compute the SHA-256 of its parts."""
    if isinstance(grant, GrantInParts) and grant.parts_sha256 is not None and not grant.compared_before_commit:
        return grant
    return None


def _digest_of_parts(grant: GrantInParts, size: int, read: ReadRange, report_hashed: ReportBytes) -> str:
    every_byte = range(size)
    parts = (every_byte[first : first + grant.part_bytes] for first in range(0, size, grant.part_bytes))
    digests = [_sha256(part, size, read, report_hashed).hex() for part in parts]
    return PartsDigest.of(digests, part_size=grant.part_bytes).sha256


def _content_violation(grant: Grant, head: ObjectHead, read: ReadRange) -> RuleViolated | None:
    if not grant.verify_content or not head.size:
        return None
    from presign.content import FIRST_BYTES, find_mismatch  # here for the reason that first_bytes_needed gives

    first_bytes = head.first_bytes if head.first_bytes is not None else read(0, FIRST_BYTES)
    found = find_mismatch(grant.content_type, first_bytes)
    if found is None:
        return None
    return RuleViolated(
        f"the object's type is {grant.content_type}, but its first bytes are {found}",
        rule=Rule.TYPE.value,
        field="type",
        value=found,
        limit=grant.content_type,
    )


def _sha256(part: range, size: int, read: ReadRange, report_hashed: ReportBytes) -> bytes:
    """Return the digest of the bytes at ``part`` of an object of ``size`` bytes."""
    digest = hashlib.sha256()
    for first in range(part.start, part.stop, _CHUNK_BYTES):
        stop = min(first + _CHUNK_BYTES, part.stop)
        digest.update(read(first, stop - first))
        report_hashed(stop, size)
    return digest.digest()
