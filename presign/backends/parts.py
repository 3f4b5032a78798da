"""The protocol of a storage service that stores one large file as several parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from presign.messages import Grant, GrantInParts, PartRequest, Rule


@dataclass(frozen=True, kw_only=True)
class PartLimits:
    """What a service takes, in bytes. The last part of a file may be smaller than ``min_part_bytes``."""

    min_part_bytes: int
    max_part_bytes: int
    max_parts: int
    max_bytes: int


class PartToSign(NamedTuple):
    """A part that a client is about to send: its number, its size in bytes, and its SHA-256 in hexadecimal digits."""

    number: int
    size: int
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class StoredPart:
    """A part that the store has; ``sha256`` is in hexadecimal digits, or None if the store does not list it."""

    number: int
    size: int
    etag: str
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class ListedUpload:
    """An upload that has begun and not ended."""

    key: str
    upload_id: str = field(repr=False)
    started_at: datetime


class NoSuchUpload(Exception):
    """For stores to raise: there is no such upload. It was committed or aborted, or the store has forgotten it."""


class KeyTaken(Exception):
    """For ``PartsStore.commit`` to raise: there is an object under the key already, and it was left as it is."""


class PartsStore(Protocol):
    """The uploads in parts of one bucket or container.

    Only the server begins, lists, commits and aborts uploads; a client sends parts, and nothing else. Every method
    except ``enforces``, ``sign`` and ``upload_url`` calls the service. All of these raise StorageUnavailable if it does
    not answer, or answers with an error of its own.
    """

    @property
    def limits(self) -> PartLimits:
        """What the service takes."""

    @property
    def needs_pending_key(self) -> bool:
        """Whether a client could also change the object itself, so that parts must never go to a final key."""

    @property
    def answers_with_etag(self) -> bool:
        """Whether the answer to a part has an ETag. Clients of S3, such as Uppy, do not go on without one."""

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return the rules that the storage itself enforces if the file of ``grant`` comes in parts."""

    def checks_sha256(self, grant: Grant) -> bool:
        """Say whether the service refuses a part whose bytes do not have the SHA-256 that was signed.

        The answer for a service that is not known to do so comes from trying it, with an upload under the same key.
        """

    def lists_sha256(self, grant: Grant) -> bool:
        """Say whether the service checks the SHA-256 of each part, and shows it in the list of an upload that needs it.

        ``commit`` then takes no part with another digest than the listed one.
        """

    def begin(self, grant: Grant, *, needs_sha256: bool) -> str:
        """Begin an upload to ``grant.upload_key`` with the headers and metadata of ``grant``, and return its id."""

    def sign(
        self,
        grant: GrantInParts,
        parts: Sequence[PartToSign],
        now: datetime,
        *,
        expires_in: timedelta,
        url_alone: bool = False,
    ) -> tuple[list[PartRequest], datetime]:
        """Return the requests of ``parts``, and the time from which the storage refuses them.

        The service takes each part with exactly its number and its size and, if there is one, its SHA-256. With
        ``url_alone``, which is for clients that send no headers with a part, the requests have only headers without
        which a part would not be stored. Raises CredentialsUnavailable.
        """

    def upload_url(self, grant: Grant) -> str:
        """Return the URL, without a signature, of the object that the upload will make."""

    def list_parts(self, grant: GrantInParts) -> list[StoredPart]:
        """Return the parts that the store has, in the order of their numbers.

        Raises NoSuchUpload. A store that knows no beginning of an upload returns an empty list instead.
        """

    def commit(self, grant: GrantInParts, parts: Sequence[StoredPart]) -> None:
        """Make one object of exactly ``parts``, in this order, unless there is one under the key.

        Raises NoSuchUpload, KeyTaken, and ObjectChanged if a part was replaced after it was listed.
        """

    def abort(self, grant: GrantInParts) -> None:
        """Forget the upload and its parts; do nothing if there is no such upload."""

    def list_uploads(self, prefix: str) -> Iterator[ListedUpload]:
        """Return the uploads to keys that begin with ``prefix``. The pages of the listing are fetched as needed."""

    def sweep(self, upload: ListedUpload) -> None:
        """Forget an upload that ``list_uploads`` returned; do nothing if it has ended."""
