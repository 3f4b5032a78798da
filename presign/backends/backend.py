"""The protocol that a storage service must implement so that a Presigner can use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol

from presign.backends.failures import MAX_CLOCK_SKEW
from presign.backends.parts import PartsStore
from presign.errors import StorageUnavailable
from presign.messages import Grant, Rule
from presign.progress import ReportBytes, ignore_bytes

PublishOption = Literal["tags", "storage_class"]
"""What an object can get at publication besides its headers, if its storage supports it."""


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
    - ``unexpected_headers``: what the object has although no grant allows it: headers that a download would return,
      such as Expires, and attributes such as tags, a storage class or an archive tier.
    - ``first_bytes``: the object's first bytes, if the storage returned them together with the description.
    - ``readable``: False if the storage needs a key for this object that only the client has. The size, the type and
      the ETag may then be unknown: 0 and empty texts.
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
    readable: bool = True


@dataclass(frozen=True, kw_only=True)
class ListedObject:
    """An object in a listing: its key, its ETag, and the time when it was stored, by the storage's clock.

    ``began_earlier``: ``stored_at`` is the time when its upload in parts began, which may be days earlier.
    ``is_upload``: False for what the backend stores itself, to remember that an upload has ended.
    """

    key: str
    etag: str
    stored_at: datetime
    version: str | None = None
    began_earlier: bool = False
    is_upload: bool = True


class ObjectChanged(StorageUnavailable):
    """For backends to raise: the object was replaced or deleted after it was described."""


class AlreadyPublished(Exception):
    """For ``Backend.publish`` to raise: there is an object under the key already, and it was left as it is."""


class ObjectStore(Protocol):
    """The objects of one bucket or container, for the server's own requests.

    Every method calls the service. All of them raise StorageUnavailable if it does not answer, or answers with an error
    of its own.
    """

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """Return the description of the object under ``key``.

        Returns None if there is no object, or none that the credentials may read. The result has up to ``first_bytes``
        bytes of the object if the service returns both in one response; otherwise the caller uses ``read``.
        """

    def read(self, key: str, *, offset: int, length: int, etag: str, version: str | None = None) -> bytes:
        """Return at most ``length`` bytes from ``offset`` on; raises ObjectChanged unless the object has this ETag.

        With ``version``, read that version. A storage that never gives the same ETag to two objects may ignore it.
        """

    def delete(self, key: str, *, head: ObjectHead | ListedObject | None = None) -> None:
        """Delete the object; do nothing if there is none.

        With ``head``, delete only the object that it describes, and its version if the storage keeps versions. Do
        nothing if another object is under ``key`` by now.
        """

    def list_objects(self, prefix: str) -> Iterator[ListedObject]:
        """Return the objects whose keys begin with ``prefix``. The pages of the listing are fetched as needed."""


class Backend(ObjectStore, Protocol):
    """One bucket or container of a storage service, with the credentials to sign for it.

    Signing is pure computation, unless ``signing_does_io`` says otherwise. ``check`` and ``publish`` call the service;
    they raise StorageUnavailable if it does not answer, or answers with an error of its own.
    """

    @property
    def name(self) -> str:
        """The storage's name, such as ``"s3://bucket"``, without credentials.

        Messages contain it. Completion tokens are bound to it, so a new name makes earlier tokens invalid.
        """

    @property
    def signing_does_io(self) -> bool:
        """Whether each signature is a call to a service, so that an event loop must sign in a thread."""

    @property
    def pending(self) -> ObjectStore:
        """Where uploads with a pending key are stored: the backend itself, or another bucket or container."""

    @property
    def has_public_prefixes(self) -> bool:
        """Whether objects under one prefix can be public while the rest of the same bucket is private."""

    @property
    def max_upload_bytes(self) -> int:
        """The largest object that one upload request can store."""

    @property
    def parts(self) -> PartsStore | None:
        """What stores a large file in parts, under ``Grant.upload_key``; None if this backend has no such uploads."""

    @property
    def checks_expiry_late(self) -> bool:
        """Whether the service may refuse an upload that began before the ticket expired and ends after it."""

    @property
    def publish_options(self) -> frozenset[PublishOption]:
        """What ``publish`` can give to an object besides its headers."""

    def check(self, *, lifetime: timedelta = MAX_CLOCK_SKEW) -> None:
        """Raise ConfigurationError, with the setting and the remedy, if the service refuses the settings.

        ``lifetime`` is how long a ticket lasts. This machine's clock must not be slow by more.
        """

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return the rules that the storage itself enforces on an upload signed for ``grant``."""

    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        """Return the strictest request that this service has for ``grant``, valid from ``now``, an aware datetime.

        The request stores the object under ``grant.upload_key``: in ``pending`` if the grant has a pending key. Raises
        CredentialsUnavailable.
        """

    def sign_download(
        self, key: str, now: datetime, *, expires_in: timedelta, content_disposition: str | None = None
    ) -> str:
        """Return a URL that reads one object, valid from ``now`` for at most ``expires_in``.

        Raises CredentialsUnavailable, and ConfigurationError for a lifetime that the service does not accept.
        """

    def object_url(self, key: str) -> str:
        """Return the object's own URL; the bucket's policy decides who can read it."""

    def unexpected_attributes(self, grant: Grant) -> Mapping[str, str]:
        """Return what a client added to the upload of ``grant`` and ``head`` does not show.

        An example is an access control list on a store that obeys headers which nobody signed. Send at most one
        request.
        """

    def publish(self, grant: Grant, head: ObjectHead, *, report_copied: ReportBytes = ignore_bytes) -> ObjectHead:
        """Copy the pending object that ``head`` describes to ``grant.key``, and return the copy's description.

        The storage itself copies exactly the bytes that ``head`` describes. The copy has the headers, metadata, tags
        and storage class of ``grant``, and nothing else of the pending object. Its description has the same size,
        content type, ETag and version that ``head`` returns for it later. Raises ObjectChanged if the pending object
        was replaced or deleted, and AlreadyPublished if ``grant.key`` exists; neither changes anything.

        ``report_copied`` is called during a copy of several steps.
        """
