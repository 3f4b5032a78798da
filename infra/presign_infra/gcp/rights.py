"""What the identities may do on Google Cloud, which headers pages may send, and what expires: pure functions.

Google's own roles allow more than presign needs: Storage Object Viewer lists, and Storage Object User replaces. So each
identity has roles of its own, on a managed folder. A role there is valid for each object whose name begins with the
folder's name. An identity that may create objects but not delete them cannot replace one. So with a separate verifier,
no ticket overwrites anything, and nobody replaces what is published.

Sources: "IAM permissions for JSON methods" and "for XML requests", "Managed folders", "Configure CORS" and "Object
Lifecycle Management", Cloud Storage documentation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# As presign's policies take them.
_METADATA_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}", re.ASCII)

_TICKET_HEADERS = (
    "Cache-Control",
    "Content-Disposition",
    "Content-Type",
    "x-goog-content-length-range",
    "x-goog-content-sha256",
    "x-goog-if-generation-match",
)

_SIGN_BLOB = "iam.serviceAccounts.signBlob"


@dataclass(frozen=True, kw_only=True)
class Role:
    """The rights of one identity on one folder; ``kind`` names it, such as ``signs uploads``."""

    kind: str
    permissions: tuple[str, ...]


def signer_role() -> Role:
    """Return the rights that sign uploads: create an object, whole or in parts; never read or replace one."""
    return Role(
        kind="signs uploads",
        permissions=(
            "storage.objects.create",
            "storage.multipartUploads.create",
            "storage.multipartUploads.listParts",
            "storage.multipartUploads.abort",
        ),
    )


def verifier_role(*, allow_listing: bool) -> Role:
    """Return the rights that verify uploads: read and delete and, for ``presign sweep``, list."""
    return Role(
        kind="verifies uploads",
        permissions=(
            "storage.objects.get",
            "storage.objects.delete",
            *(("storage.objects.list",) if allow_listing else ()),
        ),
    )


def publisher_role() -> Role:
    """Return the rights that publish: create an object by a copy, and read it; not replace and not delete it."""
    return Role(kind="publishes uploads", permissions=("storage.objects.create", "storage.objects.get"))


def reader_role() -> Role:
    """Return the right to read objects, without the right to list them."""
    return Role(kind="reads what is published", permissions=("storage.objects.get",))


def sign_blob_role() -> Role:
    """Return the right to sign as a service account, without a key and without acting as it in any other way."""
    return Role(kind="signs without a key", permissions=(_SIGN_BLOB,))


def merge_roles(*roles: Role) -> Role:
    """Return one role with the rights of all ``roles``, for an identity that has several tasks on one folder."""
    return Role(
        kind=", ".join(role.kind for role in roles),
        permissions=tuple(dict.fromkeys(permission for role in roles for permission in role.permissions)),
    )


def role_id(bucket: str, name: str) -> str:
    """Return the ID of a custom role: letters, digits and underscores, and different for each bucket.

    Google keeps the ID of a deleted role for weeks, so the role of a new bucket needs a new ID.
    """
    return f"presign_{re.sub('[^A-Za-z0-9_]', '_', name)[:42]}_{_digest(bucket, name)}"


def account_id(bucket: str, kind: str) -> str:
    """Return the ID of a service account, of at most 30 characters; ``kind`` is ``signer`` or ``verifier``."""
    return f"presign-{kind}-{_digest(bucket)}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10]


def require_metadata_names(names: Sequence[str], *, setting: str = "metadata_names") -> None:
    """Raise ValueError unless ``names`` are names of metadata in presign; ``setting`` is for the message."""
    for name in names:
        if not _METADATA_NAME.fullmatch(name):
            raise ValueError(
                f"{setting} must have names of at most 64 lower-case letters, digits and _, as policies have them; it "
                f"has {name!a}"
            )


def cors_rules(
    allowed_origins: Sequence[str], *, metadata_names: Sequence[str], max_age_seconds: int
) -> list[dict[str, Any]]:
    """Return the CORS rule: pages of ``allowed_origins`` may send the headers that a ticket can have, and no others.

    Google has one list for the headers that a page may send and for those that it may read: ``ETag`` and ``Location``
    are among them for the latter. ``metadata_names`` are the names in the ``metadata`` of the application's policies.
    Raises ValueError for no origin, and for names that policies do not take.
    """
    if not allowed_origins:
        raise ValueError("allowed_origins must name at least one origin")
    require_metadata_names(metadata_names)
    return [
        {
            "origins": list(allowed_origins),
            "methods": ["GET", "HEAD", "POST", "PUT"],
            "response_headers": [
                *_TICKET_HEADERS,
                *(f"x-goog-meta-{name}" for name in metadata_names),
                "ETag",
                "Location",
            ],
            "max_age_seconds": max_age_seconds,
        }
    ]


def lifecycle_rules(
    abort_uploads_after_days: int, *, pending_prefix: str | None, expire_pending_after_days: int
) -> list[dict[str, Any]]:
    """Return the bucket's lifecycle rules: Google deletes what nobody finished or completed.

    - The parts of an unfinished upload go after ``abort_uploads_after_days``, in the whole bucket.
    - What is under ``pending_prefix`` goes after ``expire_pending_after_days``. With None, this rule is absent.

    Raises ValueError for less than one day.
    """
    for name, days in (
        ("abort_uploads_after_days", abort_uploads_after_days),
        ("expire_pending_after_days", expire_pending_after_days),
    ):
        if days < 1:
            raise ValueError(f"{name} must be at least 1; it is {days}")
    rules: list[dict[str, Any]] = [
        {"action": "AbortIncompleteMultipartUpload", "age": abort_uploads_after_days, "matches_prefixes": None}
    ]
    if pending_prefix is not None:
        rules.append({"action": "Delete", "age": expire_pending_after_days, "matches_prefixes": [pending_prefix]})
    return rules
