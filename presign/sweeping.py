"""Sweeping: deletes the pending uploads that nobody completed, and ends the uploads in parts that nobody finished."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from presign.backends.backend import ObjectStore
from presign.backends.parts import ListedUpload, PartsStore
from presign.errors import ConfigurationError, StorageUnavailable
from presign.keys import check_prefix
from presign.policy import MAX_RESUMABLE_FOR

PARTS_OLDER_THAN = MAX_RESUMABLE_FOR + timedelta(days=1)
"""The age from which an upload in parts can be ended: its token has then expired a day ago."""


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What a sweep found: how many uploads it deleted and kept, and the keys that it could not delete.

    What the backend itself stores, to remember that an upload has ended, is deleted too, and not counted.
    ``aborted`` is the number of unfinished uploads in parts that it ended. If the storage did not list them,
    ``parts_failure`` says why; the usual reason is that the credentials may not do that.
    """

    deleted: int
    kept: int
    failed: tuple[str, ...]
    aborted: int = 0
    parts_failure: str | None = None


def sweep(
    store: ObjectStore,
    *,
    prefix: str,
    older_than: timedelta,
    now: datetime,
    dry_run: bool = False,
    parts: PartsStore | None = None,
    parts_older_than: timedelta = PARTS_OLDER_THAN,
) -> SweepResult:
    """Delete the objects under ``prefix`` that were stored more than ``older_than`` before ``now``.

    ``older_than`` must be at least the longest lifetime of a ticket plus the completion window: until then, an upload
    can be completed. An object that a client replaces during the sweep is not deleted. If the storage cannot delete one
    object, the sweep goes on with the others. With ``dry_run`` nothing is deleted, and ``deleted`` and ``aborted`` say
    how many objects and uploads would be.

    With ``parts``, the sweep also ends the uploads in parts that began more than ``parts_older_than`` before ``now``.
    This must be at least ``UploadPolicy.resumable_for`` plus the completion window. It is also the age from which an
    object is deleted that came in parts: S3 says of it when its upload began.

    In a bucket with versions, S3 keeps the deleted bytes as a noncurrent version. A lifecycle rule can delete those.

    Raises ConfigurationError for an empty prefix, and StorageUnavailable if the storage does not answer the listing.
    """
    if not check_prefix(prefix):
        raise ConfigurationError(
            "prefix must not be empty, or the sweep would delete published objects", field="prefix"
        )
    if older_than <= timedelta(0):
        raise ConfigurationError("older_than must be more than 0", field="older_than", value=str(older_than))
    deleted = kept = aborted = 0
    failed = []
    for listed in store.list_objects(prefix):
        if now - listed.stored_at <= (max(older_than, parts_older_than) if listed.began_earlier else older_than):
            kept += listed.is_upload
            continue
        try:
            if not dry_run:
                store.delete(listed.key, head=listed)
        except StorageUnavailable:
            failed.append(listed.key)
        else:
            deleted += listed.is_upload
    parts_failure = None
    try:
        if parts is not None:
            for upload in parts.list_uploads(prefix):
                if now - upload.started_at > parts_older_than:
                    if dry_run or _ends(parts, upload):
                        aborted += 1
                    else:
                        failed.append(upload.key)
    except StorageUnavailable as error:
        parts_failure = error.detail
    return SweepResult(deleted=deleted, kept=kept, failed=tuple(failed), aborted=aborted, parts_failure=parts_failure)


def _ends(parts: PartsStore, upload: ListedUpload) -> bool:
    """End an upload in parts; return False if the storage could not."""
    try:
        parts.sweep(upload)
    except StorageUnavailable:
        return False
    return True
