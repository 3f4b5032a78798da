"""Everything that an examination may have stored, and how it is deleted."""

from __future__ import annotations

from collections.abc import Iterator

from presign.backends.backend import ObjectStore
from presign.backends.parts import PartsStore
from presign.errors import PresignError
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
        """Delete everything, and yield the keys that could not be deleted, each with the reason."""
        while self._uploads:
            parts, grant = self._uploads.pop()
            try:
                parts.abort(grant)
            except PresignError as error:
                yield grant.upload_key, error.detail
        while self._objects:
            _, (store, key) = self._objects.popitem()
            try:
                head = store.head(key)
                store.delete(key, head=head)
                if head is not None and store.head(key) is not None:
                    store.delete(key)
                    if store.head(key) is not None:
                        yield key, "it is still there after it was deleted"
            except PresignError as error:
                yield key, error.detail
