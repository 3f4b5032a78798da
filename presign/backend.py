"""What a storage service must offer so that a Presigner can use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol

from presign.upload import Grant, Rule


class SignedUpload(NamedTuple):
    """The request that a client must send, and when the storage stops accepting it.

    ``fields`` are a POST form's, in order; ``headers`` are a PUT's, without those that HTTP clients set themselves. A
    named tuple, for one is made with every signature; what grants access is left out of ``repr``.
    """

    method: Literal["POST", "PUT"]
    url: str
    headers: Mapping[str, str]
    fields: Mapping[str, str]
    expires_at: datetime

    def __repr__(self) -> str:
        return f"SignedUpload(method={self.method!r}, expires_at={self.expires_at!r})"


@dataclass(frozen=True, kw_only=True)
class ObjectHead:
    """What the storage says of an object.

    ``size`` is in bytes. ``sha256`` is in hexadecimal, and None where the storage keeps no such checksum of the whole
    object. Headers that are not set are None; ``metadata`` names are in lower case, without the service's prefix.
    ``further_headers`` are those that a client can store, no grant asks for, and a download would answer with, such as
    Expires or Content-Language. ``first_bytes`` are the object's own, where they came with the answer.
    """

    size: int
    content_type: str
    etag: str
    version: str | None = None
    sha256: str | None = None
    content_disposition: str | None = None
    cache_control: str | None = None
    content_encoding: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    further_headers: Mapping[str, str] = field(default_factory=dict)
    first_bytes: bytes | None = field(default=None, repr=False)


class Backend(Protocol):
    """One bucket or container of a storage service, with the credentials to sign for it.

    Signing is pure computation, but where ``signing_does_io`` says otherwise. ``check``, ``head``, ``read`` and
    ``delete`` are calls to the service; they raise StorageUnavailable when it does not answer as it should.
    """

    @property
    def name(self) -> str:
        """What to call this storage in messages, such as ``"s3://bucket"``; never holds a credential."""

    @property
    def signing_does_io(self) -> bool:
        """Whether a signature is a call to a service, so that an event loop must leave it to a thread."""

    def check(self) -> None:
        """Raise ConfigurationError, naming the setting and the remedy, if the service refuses what it can be asked."""

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return the rules that the storage itself will enforce on an upload signed for ``grant``."""

    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        """Return the strongest request that this service has for ``grant``, good from ``now`` (aware).

        Raises CredentialsUnavailable.
        """

    def sign_download(
        self, key: str, now: datetime, *, expires_in: timedelta, content_disposition: str | None = None
    ) -> str:
        """Return a URL that reads one object from ``now`` on, for ``expires_in`` at most.

        Raises CredentialsUnavailable.
        """

    def object_url(self, key: str) -> str:
        """Return the object's own URL, readable by whomever the bucket's policy lets read."""

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """Return what is stored under ``key``, or None if nothing is, or nothing that the credentials may read.

        As many ``first_bytes`` come along if the service has both in one answer; else they are to be read.
        """

    def read(self, key: str, *, offset: int, length: int, etag: str) -> bytes:
        """Return at most ``length`` bytes from ``offset`` on, of the object that had this ``etag``."""

    def delete(self, key: str) -> None:
        """Delete the object; nothing happens if there is none."""
