"""An ObjectStore that is built when it is first asked."""

from __future__ import annotations

from collections.abc import Iterator

from presign.backends.backend import ListedObject, ObjectHead, ObjectStore
from presign.backends.lazy_client import LazyClient


class LazyStore:
    """Hand every call on to the store that ``store`` builds. A presigner that only signs never asks it anything."""

    def __init__(self, store: LazyClient[ObjectStore]) -> None:
        self._store = store

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """See ObjectStore.head."""
        return self._store.get().head(key, first_bytes=first_bytes)

    def read(self, key: str, *, offset: int, length: int, etag: str, version: str | None = None) -> bytes:
        """See ObjectStore.read."""
        return self._store.get().read(key, offset=offset, length=length, etag=etag, version=version)

    def delete(self, key: str, *, head: ObjectHead | ListedObject | None = None) -> None:
        """See ObjectStore.delete."""
        self._store.get().delete(key, head=head)

    def list_objects(self, prefix: str) -> Iterator[ListedObject]:
        """See ObjectStore.list_objects."""
        return self._store.get().list_objects(prefix)
