"""What the reference GCS server stores: buckets and objects, with their representations in the XML and the JSON API."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Any

import google_crc32c

from emulators.cors import CorsRule

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
    metadata: Mapping[str, str]
    metageneration: int = 1

    @property
    def md5_hash(self) -> str:
        return base64.b64encode(hashlib.md5(self.body).digest()).decode()

    @property
    def crc32c(self) -> str:
        return base64.b64encode(crc32c(self.body)).decode()

    @property
    def xml_etag(self) -> str:
        """The XML API's ETag: the MD5 in hexadecimal and quotes."""
        return f'"{hashlib.md5(self.body).hexdigest()}"'

    @property
    def json_etag(self) -> str:
        """The JSON API's etag: opaque, another for each generation."""
        return base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode()

    def headers(self) -> dict[str, str]:
        optional = {
            "cache-control": self.cache_control,
            "content-disposition": self.content_disposition,
            "content-encoding": self.content_encoding,
        }
        return {
            "content-type": self.content_type,
            "last-modified": format_datetime(self.created, usegmt=True),
            **{name: value for name, value in optional.items() if value is not None},
            **self.identity_headers(),
            **{METADATA_PREFIX + name: value for name, value in self.metadata.items()},
        }

    def identity_headers(self) -> dict[str, str]:
        return {
            "x-goog-generation": str(self.generation),
            "x-goog-metageneration": str(self.metageneration),
            "x-goog-hash": f"crc32c={self.crc32c},md5={self.md5_hash}",
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
            "metadata": dict(self.metadata) or None,
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
            "md5Hash": self.md5_hash,
            "crc32c": self.crc32c,
            "etag": self.json_etag,
            "storageClass": "STANDARD",
            "timeCreated": created,
            "updated": created,
            **{member: value for member, value in optional.items() if value is not None},
        }


@dataclass(kw_only=True)
class GcsBucket:
    """Objects by name, CORS rules, and the prefix that anybody may read (None: nobody)."""

    objects: dict[str, GcsObject] = field(default_factory=dict)
    cors: tuple[CorsRule, ...] = ()
    public_prefix: str | None = None


def page_rule(*origins: str) -> CorsRule:
    """Return the rule that a page needs to upload with any ticket: the methods and headers of signed requests."""
    return CorsRule(
        allowed_origins=origins,
        allowed_methods=("GET", "HEAD", "POST", "PUT"),
        allowed_headers=("cache-control", "content-disposition", "content-md5", "content-type", "x-goog-*"),
        expose_headers=("ETag", "Location", "x-goog-generation"),
        max_age_seconds=3600,
    )


def crc32c(body: bytes) -> bytes:
    """Return the CRC32C of ``body`` as Cloud Storage encodes it."""
    return int(google_crc32c.value(body)).to_bytes(4, "big")
