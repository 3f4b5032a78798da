"""Sweeping: deletes the pending uploads that nobody completed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from presign.backends.backend import ObjectStore
from presign.errors import ConfigurationError, StorageUnavailable
from presign.keys import check_prefix


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What a sweep found: how many objects it deleted and kept, and the keys that it could not delete."""

    deleted: int
    kept: int
    failed: tuple[str, ...]


def sweep(
    store: ObjectStore, *, prefix: str, older_than: timedelta, now: datetime, dry_run: bool = False
) -> SweepResult:
    """Delete the objects under ``prefix`` that were stored more than ``older_than`` before ``now``.

    ``older_than`` must be at least the longest lifetime of a ticket plus the completion window: until then, an upload
    can be completed. An object that a client replaces during the sweep is not deleted. If the storage cannot delete one
    object, the sweep goes on with the others. With ``dry_run`` nothing is deleted, and ``deleted`` says how many
    objects would be.

    In a bucket with versions, S3 keeps the deleted bytes as a noncurrent version. A lifecycle rule can delete those.

    Raises ConfigurationError for an empty prefix, and StorageUnavailable if the storage does not answer the listing.
    """
    if not check_prefix(prefix):
        raise ConfigurationError(
            "prefix must not be empty, or the sweep would delete published objects", field="prefix"
        )
    if older_than <= timedelta(0):
        raise ConfigurationError("older_than must be more than 0", field="older_than", value=str(older_than))
    deleted = kept = 0
    failed = []
    for listed in store.list_objects(prefix):
        if now - listed.stored_at <= older_than:
            kept += 1
            continue
        try:
            if not dry_run:
                store.delete(listed.key, head=listed)
        except StorageUnavailable:
            failed.append(listed.key)
        else:
            deleted += 1
    return SweepResult(deleted=deleted, kept=kept, failed=tuple(failed))
