"""What travels: the browser's request, the application's decision, the ticket, and what is stored at the end."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Literal

import orjson

from presign.errors import InvalidRequest

Enforcer = Literal["storage", "completion"]
"""Who refuses a violation: the storage itself, or ``Presigner.complete``, which deletes the object."""

MAX_NAME_CHARACTERS = 255
MAX_SIZE_BYTES = 2**63 - 1

_REQUEST_MEMBERS = frozenset({"type", "size", "name", "sha256"})
_COMPLETION_MEMBERS = frozenset({"token"})
_TOKEN = r"[A-Za-z0-9!#$&^_.+-]{1,127}"  # noqa: S105  (the grammar's word, RFC 6838 section 4.2)
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:; ?{_TOKEN}={_TOKEN})?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
# A name with a bidirectional override shows another extension than it has (Unicode Technical Report 36).
_BIDI_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Rule(str, Enum):
    """A constraint that a grant may carry; ``Ticket.enforced`` says who holds each."""

    SIZE = "size"
    """The object's size lies within the granted bounds."""
    TYPE = "type"
    """The object carries exactly the granted content type."""
    CHECKSUM = "checksum"
    """The object's bytes have the granted SHA-256."""
    CREATE_ONLY = "create_only"
    """An object that exists is never overwritten. Only the storage can enforce that; no completion could verify it."""
    HEADERS = "headers"
    """The object carries the granted disposition, cache control and metadata, no encoding, and nothing beside them."""

    def __str__(self) -> str:
        return self.value


def is_media_type(value: str) -> bool:
    """Say whether ``value`` is one exact media type, with one parameter at most (RFC 9110 section 8.3.1)."""
    return _MEDIA_TYPE.fullmatch(value) is not None


@dataclass(frozen=True, kw_only=True)
class UploadRequest:
    """What a browser asks for; nothing in it is trusted.

    ``content_type`` is a media type, ``size`` the file's size in bytes, ``name`` its name without a path, ``sha256``
    the digest of its bytes in 64 lower-case hexadecimal digits. Raises InvalidRequest for anything else.
    """

    content_type: str
    size: int | None = None
    name: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.content_type, str) or not is_media_type(self.content_type):
            raise _malformed("type", self.content_type, "must be a media type such as image/png")
        if self.size is not None:
            if not isinstance(self.size, int) or isinstance(self.size, bool):
                raise _malformed("size", self.size, "must be a whole number of bytes")
            if not 0 <= self.size <= MAX_SIZE_BYTES:
                raise _malformed("size", str(self.size), f"must be between 0 and {MAX_SIZE_BYTES} bytes")
        if self.name is not None:
            _check_name(self.name)
        if self.sha256 is not None and not (isinstance(self.sha256, str) and _SHA256.fullmatch(self.sha256)):
            raise _malformed("sha256", self.sha256, "must be 64 lower-case hexadecimal digits")

    @classmethod
    def from_json(cls, body: object) -> UploadRequest:
        """Read the HTTP contract's ``{"type", "size", "name", "sha256"}``, as bytes or parsed.

        Raises InvalidRequest, also for any other member.
        """
        members = _members(body, known=_REQUEST_MEMBERS)
        if "type" not in members:
            raise _malformed("type", None, "is required")
        return cls(
            content_type=members["type"],
            size=members.get("size"),
            name=members.get("name"),
            sha256=members.get("sha256"),
        )


@dataclass(frozen=True, kw_only=True)
class CompletionRequest:
    """What a browser sends when its upload is stored: the ticket's token, which is left out of ``repr``."""

    token: str = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.token, str):
            raise _malformed("token", self.token, "must be text")

    @classmethod
    def from_json(cls, body: object) -> CompletionRequest:
        """Read the HTTP contract's ``{"token"}``, as bytes or parsed; raises InvalidRequest."""
        members = _members(body, known=_COMPLETION_MEMBERS)
        if "token" not in members:
            raise _malformed("token", None, "is required")
        return cls(token=members["token"])


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What the application decided: one object, and every constraint on it.

    Sizes are in bytes, both inclusive. ``sha256`` is in hexadecimal. ``verify_content`` asks completion to compare the
    first bytes with ``content_type``. ``owner`` is whom the ticket was issued to, and who alone may complete it.
    """

    key: str
    content_type: str
    min_bytes: int
    max_bytes: int
    expires_in: timedelta
    create_only: bool = False
    sha256: str | None = None
    content_disposition: str | None = None
    cache_control: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    verify_content: bool = True
    owner: str | None = None

    @property
    def exact_bytes(self) -> int | None:
        """The only size that is granted, in bytes, or None where a range is."""
        return self.max_bytes if self.min_bytes == self.max_bytes else None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that this grant carries, each to be enforced by the storage or verified on completion."""
        rules = [Rule.SIZE, Rule.TYPE, Rule.HEADERS]
        if self.sha256 is not None:
            rules.append(Rule.CHECKSUM)
        if self.create_only:
            rules.append(Rule.CREATE_ONLY)
        return tuple(rules)


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """All that a client needs to store one file, knowing no cloud.

    Send ``method`` to ``url``: with POST, a multipart form of ``fields`` and then ``file``, last; with PUT, the file as
    the body under ``headers``. ``expires_at`` and ``now`` are the server's times. ``enforced`` says who refuses a
    violation of each rule. What grants access is left out of ``repr``.
    """

    method: Literal["POST", "PUT"]
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    fields: Mapping[str, str] = field(repr=False)
    expires_at: datetime
    now: datetime
    key: str
    object_url: str
    enforced: Mapping[Rule, Enforcer]
    token: str = field(repr=False)

    def encode(self) -> bytes:
        """Return the HTTP contract's answer in JSON; times are RFC 3339 in UTC."""
        return orjson.dumps(
            {
                "method": self.method,
                "url": self.url,
                "fields": self.fields,
                "headers": self.headers,
                "expires_at": self.expires_at,
                "now": self.now,
                "key": self.key,
                "object_url": self.object_url,
                "enforced": {rule._value_: enforcer for rule, enforcer in self.enforced.items()},
                "token": self.token,
            },
            default=dict,
            option=orjson.OPT_UTC_Z,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the HTTP contract's answer as a framework's own JSON encoder takes it."""
        answer: dict[str, Any] = orjson.loads(self.encode())
        return answer


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """What the storage holds after a completed upload. ``size`` is in bytes; ``version`` is None without versioning."""

    key: str
    url: str
    size: int
    content_type: str
    etag: str
    version: str | None = None

    def encode(self) -> bytes:
        """Return the HTTP contract's answer in JSON."""
        return orjson.dumps(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Return the HTTP contract's answer as a framework's own JSON encoder takes it."""
        return {
            "key": self.key,
            "url": self.url,
            "etag": self.etag,
            "version": self.version,
            "size": self.size,
            "type": self.content_type,
        }


def _members(body: object, *, known: frozenset[str]) -> dict[str, Any]:
    if isinstance(body, bytes | bytearray | str):
        try:
            body = orjson.loads(body)
        except orjson.JSONDecodeError:
            # Its message repeats the document.
            raise InvalidRequest("the body is not JSON") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object")
    if not body.keys() <= known:
        member = min(str(member) for member in body.keys() - known)
        raise _malformed(member, None, f"is not known; known are {', '.join(sorted(known))}")
    return body


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise _malformed("name", name, "must be text")
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise _malformed("name", name, "is empty or too long", limit=MAX_NAME_CHARACTERS)
    if name in {".", ".."} or "/" in name or "\\" in name:
        raise _malformed("name", name, "must be a file's name, not a path")
    # What is printable holds neither; what is not may still be a name, with a joiner or a wide space in it.
    if not name.isprintable() and any(unicodedata.category(c) in {"Cc", "Cs"} or c in _BIDI_OVERRIDES for c in name):
        raise _malformed("name", name, "holds control characters")


def _malformed(member: str, value: object, complaint: str, *, limit: int | None = None) -> InvalidRequest:
    shown_value = value if isinstance(value, str) else None if value is None else type(value).__name__
    name = ascii(member[:40])[1:-1]
    return InvalidRequest(f"'{name}' {complaint}", field=name, value=shown_value, limit=limit)
