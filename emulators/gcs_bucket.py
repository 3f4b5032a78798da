"""What the GCS reference holds, who may do what with it, and which object a request names.

Sources: Cloud Storage, "IAM permissions for XML requests", "IAM permissions for JSON methods" (who replaces an object
needs the right to delete it; who may not list a bucket does not learn that an object is missing).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Any

import google_crc32c

from emulators.cors import CorsRule
from emulators.received_request import Refusal

METADATA_PREFIX = "x-goog-meta-"


@dataclass(frozen=True, kw_only=True)
class GcsObject:
    """One generation of an object."""

    body: bytes = field(repr=False)
    generation: int
    created: datetime
    content_type: str
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    metadata: Mapping[str, str]
    metageneration: int = 1
    storage_class: str = "STANDARD"
    part_count: int | None = None

    @property
    def md5_hash(self) -> str | None:
        """None for an object that came in parts: Cloud Storage knows only its CRC32C."""
        return None if self.part_count is not None else base64.b64encode(hashlib.md5(self.body).digest()).decode()

    @property
    def crc32c(self) -> str:
        return base64.b64encode(crc32c_of(self.body)).decode()

    @property
    def xml_etag(self) -> str:
        """The XML API's ETag: the MD5 in hexadecimal and quotes, and the number of parts if it came in parts."""
        count = "" if self.part_count is None else f"-{self.part_count}"
        return f'"{hashlib.md5(self.body).hexdigest()}{count}"'

    @property
    def json_etag(self) -> str:
        """The JSON API's etag: opaque, another for each generation."""
        return base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode()

    def headers(self) -> dict[str, str]:
        optional = {
            "cache-control": self.cache_control,
            "content-disposition": self.content_disposition,
            "content-encoding": self.content_encoding,
            "content-language": self.content_language,
        }
        return {
            "content-type": self.content_type,
            "last-modified": format_datetime(self.created, usegmt=True),
            **{name: value for name, value in optional.items() if value is not None},
            **self.identity_headers(),
            "x-goog-storage-class": self.storage_class,
            **{METADATA_PREFIX + name: value for name, value in self.metadata.items()},
        }

    def identity_headers(self) -> dict[str, str]:
        return {
            "x-goog-generation": str(self.generation),
            "x-goog-metageneration": str(self.metageneration),
            "x-goog-hash": f"crc32c={self.crc32c}" + (f",md5={self.md5_hash}" if self.md5_hash else ""),
            "x-goog-stored-content-encoding": self.content_encoding or "identity",
            "x-goog-stored-content-length": str(len(self.body)),
        }

    def resource(self, bucket: str, name: str) -> dict[str, Any]:
        """The JSON API's representation."""
        created = self.created.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        optional = {
            "cacheControl": self.cache_control,
            "contentDisposition": self.content_disposition,
            "contentEncoding": self.content_encoding,
            "contentLanguage": self.content_language,
            "metadata": dict(self.metadata) or None,
            "md5Hash": self.md5_hash,
        }
        return {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{self.generation}",
            "bucket": bucket,
            "name": name,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "contentType": self.content_type,
            "size": str(len(self.body)),
            "crc32c": self.crc32c,
            "etag": self.json_etag,
            "storageClass": self.storage_class,
            "timeCreated": created,
            "updated": created,
            **{member: value for member, value in optional.items() if value is not None},
        }


@dataclass(frozen=True, kw_only=True)
class GcsPart:
    """A part of an upload."""

    body: bytes = field(repr=False)
    last_modified: datetime

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.body).hexdigest()}"'


@dataclass(kw_only=True)
class GcsUpload:
    """An upload in parts: the headers of its beginning, and the parts received, by number."""

    key: str
    values: Mapping[str, str]
    initiated: datetime
    parts: dict[int, GcsPart] = field(default_factory=dict)


@dataclass(kw_only=True)
class GcsBucket:
    """Objects by name, uploads in parts by id, CORS rules, and the prefix that anybody may read (None: nobody).

    `listed_by_anybody` lets everybody list the bucket. `lifecycle` has rules as the JSON API shows them; none has an
    effect.
    """

    objects: dict[str, GcsObject] = field(default_factory=dict)
    uploads: dict[str, GcsUpload] = field(default_factory=dict)
    cors: tuple[CorsRule, ...] = ()
    public_prefix: str | None = None
    listed_by_anybody: bool = False
    lifecycle: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Target:
    """The bucket and the object name that a request names; the name is empty where it names the bucket."""

    name: str
    bucket: GcsBucket
    key: str

    @property
    def stored(self) -> GcsObject | None:
        return self.bucket.objects.get(self.key)


@dataclass(frozen=True, kw_only=True)
class GcsRight:
    """Permissions such as `create`, for `storage.objects.create`, on the objects of one bucket below a prefix.

    The permissions are create, get, list and delete; listParts, abort and listUploads for `storage.multipartUploads`;
    and getBucket for `storage.buckets.get`. A bucket None stands for each.
    """

    permissions: frozenset[str]
    bucket: str | None = None
    prefix: str = ""


class GcsStore:
    """All buckets, the generations given so far, and the rights of those who are limited, by identity.

    An identity is a service account's e-mail, an HMAC key's access id or a bearer token; who has no entry in `rights`
    may do everything.
    """

    def __init__(
        self,
        *,
        buckets: Mapping[str, GcsBucket],
        rights: Mapping[str, Sequence[GcsRight]],
        clock: Callable[[], datetime],
    ) -> None:
        self.buckets = dict(buckets)
        self.clock = clock
        self._rights = dict(rights)
        self._last_generation = 0

    def bucket(self, name: str) -> GcsBucket:
        """The bucket of this name; refused if there is none."""
        bucket = self.buckets.get(name)
        if bucket is None:
            raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist.")
        return bucket

    def target(self, name: str, key: str) -> Target:
        """The object of this name, there or not."""
        check_name(key)
        return Target(name=name, bucket=self.bucket(name), key=key)

    def may(self, identity: str, permission: str, bucket: str, key: str = "") -> bool:
        """True if one of an identity's rights gives a permission."""
        rights = self._rights.get(identity)
        return rights is None or any(
            permission in right.permissions and right.bucket in (None, bucket) and key.startswith(right.prefix)
            for right in rights
        )

    def require(self, identity: str, permission: str, target: Target) -> None:
        """Refuse what no right gives."""
        if not self.may(identity, permission, target.name, target.key):
            message = (
                f"{identity} does not have storage.objects.{permission} access to the Google Cloud Storage object."
            )
            raise Refusal(403, "AccessDenied", message)

    def require_writing(self, identity: str, target: Target) -> None:
        """Refuse to write an object without the right to create it, and to delete the one that it replaces."""
        self.require(identity, "create", target)
        if target.stored is not None:
            self.require(identity, "delete", target)

    def require_known(self, identity: str, target: Target) -> None:
        """Refuse to tell who may not list the bucket that an object is missing."""
        if target.stored is None and not self.may(identity, "list", target.name):
            raise Refusal(403, "AccessDenied", f"{identity} does not have storage.objects.list access to the bucket.")

    def store_as_sent(
        self, target: Target, body: bytes, values: Mapping[str, str], *, part_count: int | None = None
    ) -> GcsObject:
        """Store bytes with what `values`, headers or form fields by lower-case name, say of them."""
        return self.store(
            target,
            body,
            content_type=values.get("content-type"),
            cache_control=values.get("cache-control"),
            content_disposition=values.get("content-disposition"),
            content_encoding=values.get("content-encoding"),
            content_language=values.get("content-language"),
            storage_class=values.get("x-goog-storage-class"),
            metadata={
                name.removeprefix(METADATA_PREFIX): value
                for name, value in values.items()
                if name.startswith(METADATA_PREFIX)
            },
            part_count=part_count,
        )

    def store(
        self,
        target: Target,
        body: bytes,
        *,
        content_type: str | None,
        metadata: Mapping[str, str],
        cache_control: str | None = None,
        content_disposition: str | None = None,
        content_encoding: str | None = None,
        content_language: str | None = None,
        storage_class: str | None = None,
        part_count: int | None = None,
    ) -> GcsObject:
        """Make this the object's newest generation, the only one that is kept."""
        now = self.clock()
        self._last_generation = max(self._last_generation + 1, int(now.timestamp() * 1_000_000))
        stored = GcsObject(
            body=body,
            generation=self._last_generation,
            created=now,
            content_type=content_type or "application/octet-stream",
            cache_control=cache_control,
            content_disposition=content_disposition,
            content_encoding=content_encoding,
            content_language=content_language,
            metadata=metadata,
            storage_class=storage_class or "STANDARD",
            part_count=part_count,
        )
        target.bucket.objects[target.key] = stored
        return stored


def crc32c_of(body: bytes) -> bytes:
    """The CRC32C in four bytes."""
    return int(google_crc32c.value(body)).to_bytes(4, "big")


def check_name(key: str) -> None:
    """Refuse what cannot be an object's name."""
    if len(key.encode()) > 1024 or "\r" in key or "\n" in key or key in (".", ".."):
        raise Refusal(400, "InvalidObjectName", "The specified object name is not valid.")


def check_generation(wanted: str | None, stored: GcsObject | None) -> None:
    """Refuse if another generation is there than the one wanted; 0 wants none."""
    if wanted is not None and not wanted.isdecimal():
        raise Refusal(400, "InvalidArgument", "The generation must be a number.")
    if wanted is not None and int(wanted) != (stored.generation if stored else 0):
        raise Refusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")
