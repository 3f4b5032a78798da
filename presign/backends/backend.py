"""The protocol that a storage service must implement so that a Presigner can use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol

from presign.messages import Grant, Rule


class SignedUpload(NamedTuple):
    """The request that a client must send, and the time at which the storage stops accepting it.

    ``fields`` are a POST form's fields, in order. ``headers`` are a PUT's headers, without those that HTTP clients set
    themselves. ``repr`` leaves out everything that grants access. A named tuple is faster to make than a dataclass,
    and one is made for every ticket.
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
    """The storage's description of an object.

    - ``size``: in bytes.
    - ``sha256``: in hexadecimal digits, or None if the storage has no such checksum of the whole object.
    - ``content_disposition``, ``cache_control``, ``content_encoding``: None if not set.
    - ``metadata``: names are in lower case, without the service's prefix.
    - ``unexpected_headers``: headers that a client can store although no grant has them, and that a download would
      return, such as Expires or Content-Language.
    - ``first_bytes``: the object's first bytes, if the storage returned them together with the description.
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
    unexpected_headers: Mapping[str, str] = field(default_factory=dict)
    first_bytes: bytes | None = field(default=None, repr=False)


class Backend(Protocol):
    """One bucket or container of a storage service, with the credentials to sign for it.

    Signing is pure computation, unless ``signing_does_io`` says otherwise. ``check``, ``head``, ``read`` and ``delete``
    call the service; they raise StorageUnavailable if it does not answer, or answers with an error of its own.
    """

    @property
    def name(self) -> str:
        """The storage's name in messages, such as ``"s3://bucket"``, without credentials."""

    @property
    def signing_does_io(self) -> bool:
        """Whether each signature is a call to a service, so that an event loop must sign in a thread."""

    def check(self) -> None:
        """Raise ConfigurationError, with the setting and the remedy, if the service refuses the settings."""

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return the rules that the storage itself enforces on an upload signed for ``grant``."""

    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        """Return the strictest request that this service has for ``grant``, valid from ``now``, an aware datetime.

        Raises CredentialsUnavailable.
        """

    def sign_download(
        self, key: str, now: datetime, *, expires_in: timedelta, content_disposition: str | None = None
    ) -> str:
        """Return a URL that reads one object, valid from ``now`` for at most ``expires_in``.

        Raises CredentialsUnavailable, and ConfigurationError for a lifetime that the service does not accept.
        """

    def object_url(self, key: str) -> str:
        """Return the object's own URL; the bucket's policy decides who can read it."""

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """Return the description of the object under ``key``.

        Returns None if there is no object, or none that the credentials may read. The result has up to ``first_bytes``
        bytes of the object if the service returns both in one response; otherwise the caller uses ``read``.
        """

    def read(self, key: str, *, offset: int, length: int, etag: str) -> bytes:
        """Return at most ``length`` bytes from ``offset`` on.

        Raises StorageUnavailable if the object no longer has this ``etag``.
        """

    def delete(self, key: str) -> None:
        """Delete the object; do nothing if there is none."""
