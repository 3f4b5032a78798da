"""What the S3 reference holds: objects, their versions, uploads in parts, and which of them a request names."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from urllib.parse import parse_qsl

from emulators.cors import CorsRule
from emulators.received_request import ReceivedRequest, Refusal
from emulators.s3_lifecycle import LifecycleRule

STORED_HEADERS = ("cache-control", "content-disposition", "content-encoding", "content-language", "expires")
METADATA_PREFIX = "x-amz-meta-"
CUSTOMER_KEY_PREFIX = "x-amz-server-side-encryption-customer-"
PUBLIC_ACLS = frozenset({"public-read", "public-read-write"})
ARCHIVE_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})


@dataclass(frozen=True, kw_only=True)
class S3Object:
    """What was stored: bytes, representation headers, metadata, checksums in Base64, other `x-amz-*` attributes.

    `annotations` are there only if a test puts them there: no request of the reference writes them.
    """

    body: bytes = field(repr=False)
    etag: str
    content_type: str
    last_modified: datetime
    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    checksums: Mapping[str, str]
    attributes: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    customer_key_md5: str | None = field(default=None, repr=False)
    version_id: str | None = None

    @property
    def storage_class(self) -> str:
        return self.attributes.get("x-amz-storage-class", "STANDARD")

    @property
    def is_archived(self) -> bool:
        return self.storage_class in ARCHIVE_CLASSES

    @property
    def is_public(self) -> bool:
        """True if the object's own ACL lets anybody read it."""
        return bool(PUBLIC_ACLS & {self.attributes.get("acl"), self.attributes.get("x-amz-acl")})

    @property
    def tags(self) -> dict[str, str]:
        by_header = parse_qsl(self.attributes.get("x-amz-tagging", ""), keep_blank_values=True)
        by_field = re.findall(r"<Key>(.*?)</Key>\s*<Value>(.*?)</Value>", self.attributes.get("tagging", ""))
        return dict((*by_header, *by_field))

    def version_headers(self) -> dict[str, str]:
        return {} if self.version_id is None else {"x-amz-version-id": self.version_id}

    def check_customer_key(self, sent_md5: str | None) -> None:
        """Refuse a read without the key that the object was encrypted with."""
        if self.customer_key_md5 is not None and sent_md5 is None:
            message = (
                "The object was stored using a form of Server Side Encryption. "
                "The correct parameters must be provided to retrieve the object."
            )
            raise Refusal(400, "InvalidRequest", message)
        if self.customer_key_md5 is None and sent_md5 is not None:
            raise Refusal(400, "InvalidRequest", "The encryption parameters are not applicable to this object.")
        if sent_md5 != self.customer_key_md5:
            raise Refusal(403, "AccessDenied", "Access Denied")


@dataclass(frozen=True, kw_only=True)
class UploadedPart:
    """A part of an upload, with the checksums that came with it, in Base64."""

    body: bytes = field(repr=False)
    last_modified: datetime
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class MultipartUpload:
    """An upload in parts: what its object will carry, the algorithm of its checksums, the parts received, by number."""

    key: str
    values: Mapping[str, str]
    initiated: datetime
    algorithm: str | None = None
    parts: dict[int, UploadedPart] = field(default_factory=dict)


@dataclass(kw_only=True)
class S3Bucket:
    """Objects by key, CORS rules, and the prefix that anybody may read (None: nobody).

    `listed_by_anybody` lets everybody list the bucket. The bucket's policy denies a signature older than
    `max_signature_age_seconds`. The objects are under a KMS key: the identities of `kms_denied_to` may not write with
    it, and those of `kms_decrypt_denied_to` may not read.
    `objects` has what a read without a version finds. In a `versioned` bucket `versions` has every version of a key,
    oldest first; None stands for a delete marker.
    """

    objects: dict[str, S3Object] = field(default_factory=dict)
    cors: tuple[CorsRule, ...] = ()
    public_prefix: str | None = None
    listed_by_anybody: bool = False
    max_signature_age_seconds: int | None = None
    kms_denied_to: frozenset[str] = frozenset()
    kms_decrypt_denied_to: frozenset[str] = frozenset()
    versioned: bool = False
    versions: dict[str, dict[str, S3Object | None]] = field(default_factory=dict)
    uploads: dict[str, MultipartUpload] = field(default_factory=dict)
    lifecycle: tuple[LifecycleRule, ...] = ()

    def new_version_id(self) -> str | None:
        return secrets.token_urlsafe(24) if self.versioned else None

    def put(self, key: str, stored: S3Object) -> None:
        """Make this the current object of a key."""
        self.objects[key] = stored
        if stored.version_id is not None:
            self.versions.setdefault(key, {})[stored.version_id] = stored

    def find(self, key: str, version_id: str | None) -> S3Object:
        """The current object of a key, or one of its versions; refused if there is none."""
        stored = self.objects.get(key)
        if version_id is not None and version_id != (stored and (stored.version_id or "null")):
            versions = self.versions.get(key, {})
            if version_id not in versions:
                raise Refusal(404, "NoSuchVersion", "The specified version does not exist.")
            stored = versions[version_id]
            if stored is None:
                raise Refusal(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
        if stored is None:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        return stored

    def delete(self, key: str) -> dict[str, str]:
        """Delete the current object and return the answer's headers; a versioned bucket keeps it behind a marker."""
        self.objects.pop(key, None)
        marker = self.new_version_id()
        if marker is None:
            return {}
        self.versions.setdefault(key, {})[marker] = None
        return {"x-amz-delete-marker": "true", "x-amz-version-id": marker}

    def delete_version(self, key: str, version_id: str) -> dict[str, str]:
        """Delete one version for ever and return the answer's headers; the youngest one left becomes current."""
        headers = {"x-amz-version-id": version_id}
        if version_id == "null" and key not in self.versions:
            self.objects.pop(key, None)
            return headers
        versions = self.versions.get(key, {})
        was_marker = version_id in versions and versions.pop(version_id) is None
        current = versions[list(versions)[-1]] if versions else None
        if current is not None:
            self.objects[key] = current
        elif key in self.versions:
            self.objects.pop(key, None)
        return {**headers, "x-amz-delete-marker": "true"} if was_marker else headers


@dataclass(frozen=True, kw_only=True)
class Target:
    """The bucket and the key that a request names; the key is empty where it names the bucket."""

    name: str
    bucket: S3Bucket
    key: str

    @property
    def stored(self) -> S3Object | None:
        return self.bucket.objects.get(self.key)

    def check_absent(self) -> None:
        """Refuse to write over an object."""
        if self.stored is not None:
            raise precondition_failed()

    def store(
        self,
        body: bytes,
        values: Mapping[str, str],
        *,
        now: datetime,
        checksums: Mapping[str, str],
        etag: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> S3Object:
        """Store bytes with what `values`, headers or form fields by lower-case name, say of them."""
        stored = S3Object(
            body=body,
            etag=etag or etag_of(body),
            content_type=values.get("content-type") or "binary/octet-stream",
            last_modified=now,
            headers={name: values[name] for name in STORED_HEADERS if name in values},
            metadata={
                name.removeprefix(METADATA_PREFIX): value
                for name, value in values.items()
                if name.startswith(METADATA_PREFIX)
            },
            checksums=checksums,
            attributes={
                name: values[name]
                for name in ("acl", "tagging", "x-amz-acl", "x-amz-storage-class", "x-amz-tagging")
                if name in values
            },
            annotations=annotations or {},
            customer_key_md5=customer_key_md5(values),
            version_id=self.bucket.new_version_id(),
        )
        self.bucket.put(self.key, stored)
        return stored


def etag_of(body: bytes) -> str:
    """The ETag of an object that came in one request."""
    return f'"{hashlib.md5(body).hexdigest()}"'


def precondition_failed() -> Refusal:
    return Refusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")


def check_key(key: str) -> None:
    """Refuse a key that is too long."""
    if len(key.encode()) > 1024:
        raise Refusal(400, "KeyTooLongError", "Your key is too long")


def customer_key_md5(values: Mapping[str, str], prefix: str = CUSTOMER_KEY_PREFIX) -> str | None:
    """The MD5 of the customer's key that headers or fields name, None if they name none."""
    sent = [values.get(prefix + name) for name in ("algorithm", "key", "key-md5")]
    if sent == [None, None, None]:
        return None
    if None in sent or sent[0] != "AES256":
        message = "Requests specifying Server Side Encryption with Customer provided keys must provide a key."
        raise Refusal(400, "InvalidArgument", message)
    return sent[2]


def header_values(received: ReceivedRequest) -> dict[str, str]:
    """The request's headers by lower-case name."""
    return {name: received.header(name) or "" for name, _ in received.headers}


def writing_conditions(values: Mapping[str, str]) -> dict[str, str]:
    """The condition under which an object is written; refused unless it is one that S3 knows."""
    conditions = {name: values[name] for name in ("if-match", "if-none-match") if name in values}
    if len(conditions) > 1 or conditions.get("if-none-match", "*") != "*":
        raise Refusal(501, "NotImplemented", "A header you provided implies functionality that is not implemented.")
    return conditions


def is_etag(wanted: str, etag: str) -> bool:
    """True if a condition names this ETag, with or without quotes, or any."""
    return wanted in ("*", etag, etag.strip('"'))


def xml_time(moment: datetime) -> str:
    """A time as S3 writes it in its documents."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
