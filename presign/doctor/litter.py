"""Everything that an examination may have stored, and how it is deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from presign.backends.backend import ObjectStore
from presign.backends.parts import PartsStore
from presign.errors import PresignError, StorageUnavailable
from presign.messages import GrantInParts


class Litter:
    """Remember what may be stored, before it is sent, and delete it. Nothing that was never named here is deleted."""

    def __init__(self) -> None:
        self._objects: dict[tuple[int, str], tuple[ObjectStore, str]] = {}
        self._uploads: list[tuple[PartsStore, GrantInParts]] = []

    def add(self, store: ObjectStore, key: str) -> None:
        """Remember an object that a request may store under ``key``."""
        self._objects[id(store), key] = (store, key)

    def add_upload(self, store: PartsStore, grant: GrantInParts) -> None:
        """Remember an upload in parts that has begun."""
        self._uploads.append((store, grant))

    def forget(self, store: ObjectStore, key: str) -> None:
        """Forget an object that is deleted by now."""
        self._objects.pop((id(store), key), None)

    def clear(self) -> Iterator[tuple[str, str]]:
        """Delete everything, and yield the keys that could not be deleted, each with the reason.

        In a bucket with versions, the deletion of a missing object leaves a delete marker. So nothing is deleted that a
        listing does not show, if the credentials may list. Otherwise a missing object looks like one that they may not
        read.
        """
        while self._uploads:
            parts, grant = self._uploads.pop()
            try:
                parts.abort(grant)
            except PresignError as error:
                yield grant.upload_key, error.detail
        listed: dict[tuple[int, str], Collection[str] | None] = {}
        while self._objects:
            (identity, key), (store, _) = self._objects.popitem()
            folder = key.rpartition("/")[0] + "/"
            if (identity, folder) not in listed:
                listed[identity, folder] = _keys_under(store, folder)
            known = listed[identity, folder]
            if known is not None and key not in known:
                continue
            try:
                _delete(store, key)
            except PresignError as error:
                yield key, error.detail


def _keys_under(store: ObjectStore, prefix: str) -> Collection[str] | None:
    """Return the keys under ``prefix``, or None if the credentials may not list them."""
    try:
        return {each.key for each in store.list_objects(prefix)}
    except PresignError:
        return None


def _delete(store: ObjectStore, key: str) -> None:
    head = store.head(key)
    store.delete(key, head=head)
    if head is not None and store.head(key) is not None:
        store.delete(key)
        if store.head(key) is not None:
            raise StorageUnavailable("it is still there after it was deleted")
