"""What the application admits. Pure: a request in, a grant or an error out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import product
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote
from uuid import UUID

from presign.errors import ConfigurationError, InvalidRequest, TooLarge, TooSmall, TypeNotAdmitted
from presign.keys import check_prefix, make_key
from presign.upload import Grant, Rule, UploadRequest, is_media_type

DEFAULT_EXPIRY = timedelta(seconds=60)
EXPIRY_CAP = timedelta(hours=1)
# Browsers run scripts in these when they are opened from the bucket's own address (stored cross-site scripting).
_ACTIVE_SUBTYPE = re.compile(r"(?:.*\+)?xml|html|xsl|(?:x-)?(?:java|ecma|live|j|vb)script.*|x-mixed-replace", re.ASCII)
_METADATA_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}", re.ASCII)
_PRINTABLE_ASCII = re.compile(r"[\x20-\x7e]+", re.ASCII)
_MAX_METADATA_BYTES = 2048
_PLACEHOLDER_SHA256 = "0" * 64


@dataclass(frozen=True, kw_only=True)
class UploadPolicy:
    """What may be uploaded, and what every object will carry; raises ConfigurationError where it makes no sense.

    - ``content_types``: exact media types. What browsers run scripts in (html, svg, xml, javascript) is admitted only
      with ``allow_active_content=True``.
    - ``max_bytes``, ``min_bytes``: bounds of the size, in bytes, both inclusive. A size that the request declares
      becomes the only size that is granted.
    - ``prefix``: where the keys are made, such as ``"public/"``.
    - ``expires_in``: how long a ticket is good for; above ``max_expires_in`` it is refused.
    - ``create_only``: never overwrite, not even by sending the same ticket twice. Without a ``cache_control`` these
      objects carry ``no-cache``: browsers add one of their own to a request with If-None-Match (Fetch standard,
      HTTP-network-or-cache fetch), each its own, and the storage would keep it.
    - ``require_size``, ``require_sha256``: refuse requests that do not declare these.
    - ``disposition``: send objects to be shown or saved under the name that the request gives.
    - ``cache_control``, ``metadata``: sent with every object.
    - ``verify_content``: completion compares an object's first bytes with its content type.
    - ``require_at_storage``: rules that the storage itself must enforce. No presigner can be built on a backend that
      does not, for some request that this policy admits.
    """

    content_types: Collection[str]
    max_bytes: int
    prefix: str
    min_bytes: int = 1
    expires_in: timedelta = DEFAULT_EXPIRY
    max_expires_in: timedelta = EXPIRY_CAP
    create_only: bool = False
    require_size: bool = False
    require_sha256: bool = False
    disposition: Literal["inline", "attachment"] | None = None
    cache_control: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    allow_active_content: bool = False
    verify_content: bool = True
    require_at_storage: Collection[Rule] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "content_types", self._checked_content_types())
        object.__setattr__(self, "metadata", MappingProxyType(_checked_metadata(self.metadata)))
        object.__setattr__(self, "require_at_storage", frozenset(Rule(rule) for rule in self.require_at_storage))
        if self.create_only and self.cache_control is None:
            object.__setattr__(self, "cache_control", "no-cache")
        check_prefix(self.prefix)
        if self.max_bytes < 1:
            raise ConfigurationError("max_bytes must be at least 1", field="max_bytes", value=self.max_bytes)
        if not 0 <= self.min_bytes <= self.max_bytes:
            raise ConfigurationError(
                f"min_bytes must lie between 0 and max_bytes ({self.max_bytes})",
                field="min_bytes",
                value=self.min_bytes,
            )
        if not timedelta(seconds=1) <= self.expires_in <= self.max_expires_in:
            raise ConfigurationError(
                f"expires_in must lie between 1 second and max_expires_in ({self.max_expires_in}); "
                "a longer one has to be asked for with max_expires_in",
                field="expires_in",
                value=str(self.expires_in),
                limit=str(self.max_expires_in),
            )
        if self.disposition not in {None, "inline", "attachment"}:
            raise ConfigurationError(
                "disposition must be 'inline', 'attachment' or None", field="disposition", value=str(self.disposition)
            )
        if self.cache_control is not None and not _PRINTABLE_ASCII.fullmatch(self.cache_control):
            raise ConfigurationError("cache_control must be printable ASCII", field="cache_control")

    def decide(self, request: UploadRequest, *, object_id: UUID, owner: str | None = None) -> Grant:
        """Admit the request under the key that ``object_id`` makes, or raise the InvalidRequest that says why not."""
        # Media types are case-insensitive (RFC 9110 section 8.3.1), and the storage compares letters.
        content_type = request.content_type.lower()
        if content_type not in self.content_types:
            admitted = ", ".join(sorted(self.content_types))
            raise TypeNotAdmitted(
                f"'type' must be one of {admitted}", field="type", value=request.content_type, limit=admitted
            )
        min_bytes, max_bytes = self.min_bytes, self.max_bytes
        if request.size is not None:
            if request.size > max_bytes:
                raise TooLarge(
                    f"'size' is {request.size} bytes, and at most {max_bytes} are admitted",
                    field="size",
                    value=request.size,
                    limit=max_bytes,
                )
            if request.size < min_bytes:
                raise TooSmall(
                    f"'size' is {request.size} bytes, and at least {min_bytes} are needed",
                    field="size",
                    value=request.size,
                    limit=min_bytes,
                )
            min_bytes = max_bytes = request.size
        elif self.require_size:
            raise InvalidRequest("'size' is required", field="size")
        if self.require_sha256 and request.sha256 is None:
            raise InvalidRequest("'sha256' is required", field="sha256")
        return Grant(
            key=make_key(self.prefix, object_id),
            content_type=content_type,
            min_bytes=min_bytes,
            max_bytes=max_bytes,
            expires_in=self.expires_in,
            create_only=self.create_only,
            sha256=request.sha256,
            content_disposition=content_disposition(self.disposition, request.name) if self.disposition else None,
            cache_control=self.cache_control,
            metadata=self.metadata,
            verify_content=self.verify_content,
            owner=owner,
        )

    def admissible_grants(self) -> list[Grant]:
        """Return one grant of each shape that ``decide`` can give, so that a backend can be asked what it enforces."""
        exact = {self.min_bytes, self.max_bytes}
        sizes = sorted(exact) if self.require_size else [None, *sorted(exact)]
        digests = [_PLACEHOLDER_SHA256] if self.require_sha256 else [None, _PLACEHOLDER_SHA256]
        content_type = min(self.content_types)
        return [
            self.decide(UploadRequest(content_type=content_type, size=size, sha256=sha256), object_id=UUID(int=0))
            for size, sha256 in product(sizes, digests)
        ]

    def _checked_content_types(self) -> frozenset[str]:
        if isinstance(self.content_types, str) or not self.content_types:
            raise ConfigurationError("content_types must name at least one type, as a set", field="content_types")
        for content_type in self.content_types:
            if "*" in content_type or not is_media_type(content_type):
                raise ConfigurationError(
                    f"content_types must be exact media types such as image/png, not {content_type!a}",
                    field="content_types",
                    value=content_type,
                )
            if is_active(content_type) and not self.allow_active_content:
                raise ConfigurationError(
                    f"content_types has {content_type}, which browsers run scripts in; "
                    "serve it from a domain without cookies and say allow_active_content=True if that is meant",
                    field="content_types",
                    value=content_type,
                )
        return frozenset(content_type.lower() for content_type in self.content_types)


def is_active(content_type: str) -> bool:
    """Say whether browsers may run scripts in a document of this media type (html, svg, xml, javascript and kin)."""
    subtype = content_type.lower().partition(";")[0].partition("/")[2].strip()
    return _ACTIVE_SUBTYPE.fullmatch(subtype) is not None


def content_disposition(disposition: str, name: str | None) -> str:
    """Return a Content-Disposition value that keeps any file name, in ASCII (RFC 6266, appendix D)."""
    if name is None:
        return disposition
    fallback = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in name)
    if fallback == name:
        return f'{disposition}; filename="{name}"'
    return f"{disposition}; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe='')}"


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    for name, value in metadata.items():
        # Azure takes C# identifiers, S3 lower-cases, and a leading or trailing space does not survive HTTP.
        if not _METADATA_NAME.fullmatch(name):
            raise ConfigurationError(
                f"metadata names are lower-case letters, digits and underscores, not {name!a}",
                field="metadata",
                value=name,
            )
        if not _PRINTABLE_ASCII.fullmatch(value) or value != value.strip():
            raise ConfigurationError(
                f"metadata {name!a} must be printable ASCII without spaces around it", field="metadata", value=name
            )
    if sum(len(name) + len(value) for name, value in metadata.items()) > _MAX_METADATA_BYTES:
        raise ConfigurationError("metadata is too large", field="metadata", limit=_MAX_METADATA_BYTES)
    return dict(metadata)
