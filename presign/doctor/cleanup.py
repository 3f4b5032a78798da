"""Everything that an examination may have stored, and how it is deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from presign.backends.backend import ObjectStore
from presign.backends.parts import PartsStore
from presign.errors import PresignError, StorageUnavailable
from presign.messages import GrantInParts

_MOST_VERSIONS = 4
"""More often than the doctor writes to one key."""


class Cleanup:
    """Remember what may be stored, before it is sent, and delete it. No other upload is deleted.

    ``readable`` is the folder in which the credentials have read an upload: an object there that they then do not find
    is missing, even if the storage refuses to delete it. ``keeps_versions`` says that the storage has named a version.
    """

    def __init__(self) -> None:
        self.readable: str | None = None
        self.keeps_versions = False
        self._objects: dict[tuple[int, str], tuple[ObjectStore, bool]] = {}
        self._uploads: list[tuple[PartsStore, GrantInParts]] = []

    def add(self, store: ObjectStore, key: str, *, if_listed: bool = False) -> None:
        """Remember an object that a request may store under ``key``.

        With ``if_listed``, it is hardly ever stored, so it is deleted only if a listing shows it.
        """
        self._objects[id(store), key] = (store, if_listed)

    def add_upload(self, store: PartsStore, grant: GrantInParts) -> None:
        """Remember an upload in parts that has begun."""
        self._uploads.append((store, grant))

    def forget(self, store: ObjectStore, key: str) -> None:
        """Forget an object that is deleted by now."""
        self._objects.pop((id(store), key), None)

    def clear(self) -> Iterator[tuple[str, str]]:
        """Delete everything, and yield the keys that could not be deleted, each with the reason.

        In a bucket with versions, the deletion of a missing object leaves a delete marker. So nothing is deleted that a
        listing does not show, if the credentials may list. If they may not, nothing is deleted there that they do not
        find, if they can read. Otherwise a missing object looks like one that they may not read.
        """
        while self._uploads:
            parts, grant = self._uploads.pop()
            try:
                parts.abort(grant)
            except PresignError as error:
                yield grant.upload_key, error.detail
        listed: dict[tuple[int, str], Collection[str] | None] = {}
        while self._objects:
            (identity, key), (store, if_listed) = self._objects.popitem()
            folder = key.rpartition("/")[0] + "/"
            if (identity, folder) not in listed:
                listed[identity, folder] = _keys_under(store, folder)
            known = listed[identity, folder]
            if known is None:
                stored = [] if if_listed else [key]
            else:
                # On Azure, the abort of an upload leaves an object whose name begins with the upload's key.
                stored = [each for each in known if each == key or each.startswith(f"{key}.")]
            for each in stored:
                try:
                    self._delete(store, each)
                except PresignError as error:
                    yield each, error.detail

    def _delete(self, store: ObjectStore, key: str) -> None:
        head = store.head(key)
        is_missing = head is None and self.readable is not None and key.startswith(self.readable)
        if is_missing and self.keeps_versions:
            return
        try:
            store.delete(key, head=head)
        except PresignError:
            if is_missing:
                return
            raise
        # Below a version that is deleted, an earlier one appears: the same key was written twice.
        for _ in range(_MOST_VERSIONS):
            if head is None or (head := store.head(key)) is None:
                return
            store.delete(key, head=head if head.version is not None else None)
        if store.head(key) is not None:
            raise StorageUnavailable("it is still there after it was deleted")


def _keys_under(store: ObjectStore, prefix: str) -> Collection[str] | None:
    """Return the keys under ``prefix``, or None if the credentials may not list them."""
    try:
        return {each.key for each in store.list_objects(prefix)}
    except PresignError:
        return None
