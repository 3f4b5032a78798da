"""What a holder of a key of the S3 reference may do, and what lenient stores let everybody do.

Sources: Amazon S3, "Actions, resources, and condition keys"; for each leniency the servers named there, as measured.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from enum import Enum, auto

from emulators.received_request import Refusal


class Leniency(Enum):
    """One way in which a real store is less strict than Amazon S3."""

    UNSIGNED_HEADERS = auto()
    """Obey `x-amz-*` headers that the signature does not cover, a copy source, an ACL, tags, a storage class and a
    customer's key among them (MinIO, Ceph). Whoever may write an object may then also set its ACL and its tags. In a
    PUT with a copy source the body, its length, its checksums and `If-None-Match` have no effect; the condition on the
    source has."""

    UNCHECKED_CHECKSUMS = auto()
    """Store a body whatever `x-amz-checksum-*` and Content-MD5 say (Ceph; older MinIO; Garage)."""

    FORMS_LOSE_HEADERS = auto()
    """Of a form's fields keep Content-Type and metadata alone, neither Content-Disposition nor Cache-Control (Ceph)."""

    LATE_FORM_EXPIRY = auto()
    """Judge the expiry of a form only when its whole body is there (SeaweedFS)."""

    REQUEST_CACHE_CONTROL = auto()
    """Give an object the Cache-Control of the request that brought its form (SeaweedFS)."""

    UNCHECKED_CONDITIONS = auto()
    """Store a form whatever its policy says of its fields, the key and the type among them (RustFS, CVE-2026-27607)."""

    UNCHECKED_SIZES = auto()
    """Store a form of any size, whatever its policy says (RustFS, CVE-2026-27607)."""

    UNCHECKED_EXPIRY = auto()
    """Obey a form or a presigned URL that has expired (moto)."""

    UNCHECKED_IF_NONE_MATCH = auto()
    """Overwrite an object although `If-None-Match: *` forbids it (older MinIO, older Garage)."""

    NO_FORMS = auto()
    """Answer 501 to every form (Cloudflare R2, Backblaze B2)."""

    CEPH_COPY_CONDITION = auto()
    """Know the condition on the ETag of a copy's source as `x-amz-copy-if-match` alone (Ceph)."""

    UNCONDITIONAL_COPIES = auto()
    """Copy whatever the ETag of the source is (no store that was measured)."""


MINIO = frozenset({Leniency.UNSIGNED_HEADERS})
CEPH = frozenset(
    {
        Leniency.UNSIGNED_HEADERS,
        Leniency.UNCHECKED_CHECKSUMS,
        Leniency.FORMS_LOSE_HEADERS,
        Leniency.CEPH_COPY_CONDITION,
    }
)
SEAWEEDFS = frozenset({Leniency.LATE_FORM_EXPIRY, Leniency.REQUEST_CACHE_CONTROL})


@dataclass(frozen=True, kw_only=True)
class Right:
    """Actions such as `PutObject` on the keys of one bucket (None: of each) that begin with `prefix`.

    `never_copies` is the condition `Null: {"s3:x-amz-copy-source": "true"}` of a policy; `copies_only_from` is
    `StringLike: {"s3:x-amz-copy-source": "BUCKET/PREFIX*"}`, given as `BUCKET/PREFIX`.
    """

    actions: frozenset[str]
    bucket: str | None = None
    prefix: str = ""
    never_copies: bool = False
    copies_only_from: str | None = None

    def allows(self, action: str, bucket: str, key: str, copy_source: str | None) -> bool:
        """True if this right alone is enough; `copy_source` is `BUCKET/KEY`, or None if nothing is copied."""
        return (
            action in self.actions
            and self.bucket in (None, bucket)
            and key.startswith(self.prefix)
            and not (self.never_copies and copy_source is not None)
            and (self.copies_only_from is None or (copy_source or "").startswith(self.copies_only_from))
        )


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sent a request, and the payload hash that the signature binds; `rights` None: everything is allowed."""

    key_id: str
    payload: str
    rights: Sequence[Right] | None
    lenient: frozenset[Leniency]

    def may(self, action: str, bucket: str, key: str = "", *, copy_source: str | None = None) -> bool:
        """True if one of the rights allows an action on a key, or on the bucket if the key is empty."""
        return self.rights is None or any(right.allows(action, bucket, key, copy_source) for right in self.rights)

    def require(self, action: str, bucket: str, key: str = "", *, copy_source: str | None = None) -> None:
        """Refuse what no right allows."""
        if not self.may(action, bucket, key, copy_source=copy_source):
            message = f"User: {self.key_id} is not authorized to perform: s3:{action}"
            raise Refusal(403, "AccessDenied", message)

    def require_kms(self, action: str, denied_to: Set[str]) -> None:
        """Refuse those who may not use the KMS key of a bucket."""
        if self.key_id in denied_to:
            message = f"User: {self.key_id} is not authorized to perform: kms:{action} on this resource"
            raise Refusal(403, "AccessDenied", message)

    def require_writing(
        self, bucket: str, key: str, *, sets_acl: bool, sets_tags: bool, copy_source: str | None = None
    ) -> None:
        """Refuse to write an object without the rights for it, for its ACL and for its tags."""
        self.require("PutObject", bucket, key, copy_source=copy_source)
        if Leniency.UNSIGNED_HEADERS in self.lenient:
            return
        if sets_acl:
            self.require("PutObjectAcl", bucket, key, copy_source=copy_source)
        if sets_tags:
            self.require("PutObjectTagging", bucket, key, copy_source=copy_source)
