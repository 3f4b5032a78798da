"""What the identities may do on Azure, which headers pages may send, and what expires: pure functions, without an SDK.

A role is a list of *data actions*, which concern blobs, and of *actions*, which concern the account and the container.
Azure's own roles allow more than presign needs, so each container has roles of its own. A custom role can be assigned
to a container, but it must be defined for a resource group.

Sources: "Permissions for calling data operations", "Storage Blob Delegator", "Cross-Origin Resource Sharing support for
Azure Storage" and "Lifecycle management policies", Azure Storage documentation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BLOB_DELEGATOR = "db58b8e5-c6ad-4a2a-8342-4190687cbf4a"
"""Azure's role Storage Blob Delegator: it fetches the keys that sign, and reads and writes nothing."""

MAX_CORS_LENGTH = 2048
"""Azure's limit for the text of all CORS rules of an account."""

MAX_CORS_HEADERS = 64
"""Azure's limit for the headers that a CORS rule names in full."""

_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_READ_CONTAINER = "Microsoft.Storage/storageAccounts/blobServices/containers/read"

# Azure wants identifiers of C#. presign takes lower-case letters, digits and underscores.
_METADATA_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)

# In the order in which a browser lists them in its preflight request.
_TICKET_HEADERS = (
    "content-type",
    "if-none-match",
    "x-ms-blob-cache-control",
    "x-ms-blob-content-disposition",
    "x-ms-blob-content-type",
    "x-ms-blob-type",
)


@dataclass(frozen=True, kw_only=True)
class Role:
    """The rights of one identity in one container; ``kind`` names it, such as ``signs pending uploads``."""

    kind: str
    actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...]


def signer_role(*, upload_in_parts: bool) -> Role:
    """Return the rights that sign uploads: the blob may be created, and never replaced.

    With ``upload_in_parts``, the identity may also write, because a block needs that. It may then replace a blob that
    is there, but the tickets for whole files still permit creation alone.
    """
    return Role(
        kind="signs uploads",
        data_actions=(f"{_BLOBS}/add/action", *((f"{_BLOBS}/write",) if upload_in_parts else ())),
    )


def pending_verifier_role(*, upload_in_parts: bool) -> Role:
    """Return the rights that verify pending uploads: read, list and delete; with parts, also put them together.

    Azure has no right to list that is not also the right to read. Reading the container tells whether it is private.
    """
    return Role(
        kind="verifies uploads",
        actions=(_READ_CONTAINER,),
        data_actions=(
            f"{_BLOBS}/read",
            f"{_BLOBS}/delete",
            *((f"{_BLOBS}/write",) if upload_in_parts else ()),
        ),
    )


def publisher_role(*, publish_in_parts: bool) -> Role:
    """Return the rights that publish: a blob may be created by a copy, and read; not replaced, and not deleted.

    With ``publish_in_parts``, the identity may also publish blobs above 5,000 MiB, which Azure copies in blocks. Then
    it may also replace what is published, because blocks need the right to write.
    """
    return Role(
        kind="publishes uploads",
        actions=(_READ_CONTAINER,),
        data_actions=(
            f"{_BLOBS}/read",
            f"{_BLOBS}/add/action",
            *((f"{_BLOBS}/write",) if publish_in_parts else ()),
        ),
    )


def in_place_verifier_role() -> Role:
    """Return the rights that verify uploads in the container to which they go straight: read, list and delete."""
    return Role(
        kind="verifies uploads", actions=(_READ_CONTAINER,), data_actions=(f"{_BLOBS}/read", f"{_BLOBS}/delete")
    )


def merge_roles(*roles: Role) -> Role:
    """Return one role with the rights of all ``roles``, for an identity that has several tasks in one container."""
    return Role(
        kind=", ".join(role.kind for role in roles),
        actions=tuple(dict.fromkeys(action for role in roles for action in role.actions)),
        data_actions=tuple(dict.fromkeys(action for role in roles for action in role.data_actions)),
    )


def require_metadata_names(names: Sequence[str], *, setting: str = "metadata_names") -> None:
    """Raise ValueError unless ``names`` are names of metadata that Azure stores; ``setting`` is for the message."""
    for name in names:
        if not _METADATA_NAME.fullmatch(name):
            raise ValueError(
                f"{setting} must have names of at most 64 lower-case letters, digits and _ that begin with a letter, "
                f"because Azure stores no others; it has {name!a}"
            )


def cors_rule(allowed_origins: Sequence[str], *, metadata_names: Sequence[str], max_age_seconds: int) -> dict[str, Any]:
    """Return the CORS rule: pages of ``allowed_origins`` may send the headers that a ticket can have, and no others.

    ``metadata_names`` are the names in the ``metadata`` of the application's policies. Azure has five rules and 2 KiB
    for a whole account. Raises ValueError for no origin, for names that Azure does not store, for more than 64 headers,
    and above 2 KiB.
    """
    if not allowed_origins:
        raise ValueError("allowed_origins must name at least one origin")
    require_metadata_names(metadata_names)
    rule: dict[str, Any] = {
        "allowed_origins": list(allowed_origins),
        "allowed_methods": ["GET", "HEAD", "PUT"],
        "allowed_headers": [*_TICKET_HEADERS, *(f"x-ms-meta-{name}" for name in metadata_names)],
        "exposed_headers": ["ETag", "x-ms-error-code"],
        "max_age_in_seconds": max_age_seconds,
    }
    if len(rule["allowed_headers"]) > MAX_CORS_HEADERS:
        raise ValueError(
            f"metadata_names must have at most {MAX_CORS_HEADERS - len(_TICKET_HEADERS)} names, because a CORS rule of "
            f"Azure has at most {MAX_CORS_HEADERS} headers; it has {len(metadata_names)}"
        )
    texts = [",".join(value) if isinstance(value, list) else str(value) for value in rule.values()]
    length = len(",".join(texts))
    if length > MAX_CORS_LENGTH:
        raise ValueError(
            f"allowed_origins and metadata_names must be shorter: the CORS rule would have {length} characters, and "
            f"Azure allows {MAX_CORS_LENGTH}"
        )
    return rule


def lifecycle_rules(
    pending_container: str | None, pending_prefix: str, *, expire_after_days: int
) -> list[dict[str, Any]]:
    """Return the rule with which Azure deletes what nobody completed: blobs and snapshots, by their creation.

    It names each type of blob that Azure can expire; Azure has no expiry for page blobs. Without a pending container,
    there is no rule. Raises ValueError for less than one day.
    """
    if expire_after_days < 1:
        raise ValueError(f"expire_pending_after_days must be at least 1; it is {expire_after_days}")
    if pending_container is None:
        return []
    return [
        {
            "name": "ExpirePendingUploads",
            "blob_types": ["blockBlob", "appendBlob"],
            "prefix_match": [f"{pending_container}/{pending_prefix}"],
            "days_after_creation_greater_than": expire_after_days,
        }
    ]
