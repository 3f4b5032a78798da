"""The messages: a browser's request, the application's decision, the ticket, and the stored object."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Literal, NamedTuple

import orjson

from presign.errors import ConfigurationError, InvalidRequest, sanitize
from presign.media_types import is_media_type

Enforcer = Literal["storage", "completion"]
"""Who refuses a violation: the storage itself, or ``Presigner.complete``, which deletes the object."""

MAX_NAME_CHARACTERS = 255
MAX_SIZE_BYTES = 2**63 - 1

_REQUEST_MEMBERS = frozenset({"type", "size", "name", "sha256", "hashes_parts"})
_MAX_TAGS = 10
# The characters and the lengths that Azure accepts; S3 accepts "@" as well.
_TAG_NAME = re.compile(r"[A-Za-z0-9 +./:=_-]{1,128}", re.ASCII)
_TAG_VALUE = re.compile(r"[A-Za-z0-9 +./:=_-]{0,256}", re.ASCII)
_COMPLETION_MEMBERS = frozenset({"token"})
_PARTS_MEMBERS = frozenset({"token", "numbers", "sha256"})
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FORBIDDEN_CATEGORIES = {"Cc": "a control character", "Cs": "half a character"}
# A bidirectional override in a name makes it show another extension than it has (Unicode Technical Report 36).
_BIDI_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Rule(str, Enum):
    """A constraint that a grant may have; ``Ticket.enforced`` says who enforces each one."""

    SIZE = "size"
    """The object's size lies within the granted bounds."""
    TYPE = "type"
    """The object has exactly the granted content type."""
    CHECKSUM = "checksum"
    """The object's bytes have the granted SHA-256."""
    CREATE_ONLY = "create_only"
    """The upload never overwrites an object. Completion keeps this rule only for uploads with a pending key."""
    HEADERS = "headers"
    """The object has the granted content disposition, cache control and metadata, and no other headers."""

    # The hash function of Enum is written in Python. Every ticket looks rules up, and the hash of str takes a tenth of
    # the time.
    __hash__ = str.__hash__

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class UploadRequest:
    """A browser's request for a ticket; nothing in it is trusted.

    ``content_type`` is a media type, ``size`` the file's size in bytes, ``name`` the file's name without a path, and
    ``sha256`` the digest of its bytes in 64 lower-case hexadecimal digits. With ``hashes_parts``, the client computes
    the SHA-256 of each part of a file that comes in parts. Raises InvalidRequest for anything else.
    """

    content_type: str
    size: int | None = None
    name: str | None = None
    sha256: str | None = None
    hashes_parts: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.content_type, str) or not is_media_type(self.content_type):
            raise _invalid("type", self.content_type, "must be a media type such as image/png")
        if self.size is not None:
            if not isinstance(self.size, int) or isinstance(self.size, bool):
                raise _invalid("size", self.size, "must be a whole number of bytes")
            if not 0 <= self.size <= MAX_SIZE_BYTES:
                raise _invalid("size", str(self.size), f"must be between 0 and {MAX_SIZE_BYTES} bytes")
        if self.name is not None:
            _check_name(self.name)
        if self.sha256 is not None and not (isinstance(self.sha256, str) and _SHA256.fullmatch(self.sha256)):
            raise _invalid("sha256", self.sha256, "must be 64 lower-case hexadecimal digits")
        if self.hashes_parts is not False and self.hashes_parts is not True:
            raise _invalid("hashes_parts", self.hashes_parts, "must be true or false")

    @classmethod
    def from_json(cls, body: object) -> UploadRequest:
        """Read the HTTP contract's ``{"type", "size", "name", "sha256", "hashes_parts"}``, as bytes or already parsed.

        Only ``type`` is required; null means the same as an absent member. A size such as ``1270.0`` counts as a whole
        number, as in JSON Schema. Raises InvalidRequest, also for a member that the contract does not have.

        >>> UploadRequest.from_json(b'{"type": "image/png", "size": 48213}').size
        48213
        """
        members = _members(body, known=_REQUEST_MEMBERS)
        if "type" not in members:
            raise _invalid("type", None, "is required")
        size = members.get("size")
        return cls(
            content_type=members["type"],
            size=int(size) if isinstance(size, float) and size.is_integer() else size,
            name=members.get("name"),
            sha256=members.get("sha256"),
            hashes_parts=False if members.get("hashes_parts") is None else members["hashes_parts"],
        )


@dataclass(frozen=True, kw_only=True)
class CompletionRequest:
    """A browser's message with only the ticket's token, which ``repr`` leaves out.

    It says that the file is stored, or asks which parts of it are stored, or ends its upload in parts.
    """

    token: str = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.token, str):
            raise _invalid("token", self.token, "must be text")

    @classmethod
    def from_json(cls, body: object) -> CompletionRequest:
        """Read the HTTP contract's ``{"token"}``, as bytes or already parsed; raises InvalidRequest."""
        members = _members(body, known=_COMPLETION_MEMBERS)
        if "token" not in members:
            raise _invalid("token", None, "is required")
        return cls(token=members["token"])


@dataclass(frozen=True, kw_only=True)
class PartsRequest:
    """A browser's request for the requests of some parts of its file; nothing in it is trusted.

    ``token`` is the ticket's, and ``numbers`` are the parts' numbers. ``sha256`` has the parts' digests in the same
    order, if the ticket says that they are needed. ``repr`` leaves out the token.
    """

    token: str = field(repr=False)
    numbers: tuple[int, ...]
    sha256: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.token, str):
            raise _invalid("token", self.token, "must be text")
        if not isinstance(self.numbers, tuple) or not all(_is_whole(number) for number in self.numbers):
            raise _invalid("numbers", None, "must be a list of whole numbers")
        if self.sha256 is not None and not (
            isinstance(self.sha256, tuple) and all(isinstance(digest, str) for digest in self.sha256)
        ):
            raise _invalid("sha256", None, "must be a list of texts")

    @classmethod
    def from_json(cls, body: object) -> PartsRequest:
        """Read the HTTP contract's ``{"token", "numbers", "sha256"}``, as bytes or already parsed.

        ``sha256`` is not required; null means the same as an absent member. Raises InvalidRequest.

        >>> PartsRequest.from_json(b'{"token": "WzE3...", "numbers": [1, 2]}').numbers
        (1, 2)
        """
        members = _members(body, known=_PARTS_MEMBERS)
        for name in ("token", "numbers"):
            if name not in members:
                raise _invalid(name, None, "is required")
        return cls(
            token=members["token"],
            numbers=_as_tuple(members["numbers"]),
            sha256=_as_tuple(members.get("sha256")),
        )


@dataclass(frozen=True, kw_only=True)
class UploadOptions:
    """What the application chooses for one ticket; nothing of it comes from the browser.

    - ``prefix``: a longer prefix, which begins with the policy's own.
    - ``metadata``: more metadata. If the policy has the same name, this value replaces the policy's.
    - ``tags``: tags of the published object, on S3 and Azure.
    - ``storage_class``: the published object's storage class (S3 and Google Cloud Storage) or access tier (Azure), by
      the service's own name, such as ``"STANDARD_IA"``.

    ``tags`` and ``storage_class`` need a policy with a ``pending_prefix``. Wrong values raise ConfigurationError when
    the ticket is issued.
    """

    prefix: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    storage_class: str | None = None


@dataclass(frozen=True, kw_only=True)
class Grant:
    """The application's decision: one object that may be stored, with every constraint on it.

    Sizes are in bytes, both inclusive. ``sha256`` is in hexadecimal digits. With ``verify_content``, completion
    compares the object's first bytes with ``content_type``. Only ``owner``, to whom the ticket is issued, may complete
    it.

    With ``pending_key``, the upload is stored under that key, and completion publishes the object under ``key``. Only
    such an object can have ``tags`` and a ``storage_class``. ``name`` is the file's name, as the request gave it.
    """

    key: str
    content_type: str
    min_bytes: int
    max_bytes: int
    expires_in: timedelta
    pending_key: str | None = None
    create_only: bool = False
    sha256: str | None = None
    content_disposition: str | None = None
    cache_control: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    storage_class: str | None = None
    verify_content: bool = True
    owner: str | None = None
    name: str | None = None

    @property
    def upload_key(self) -> str:
        """The key under which the upload is stored: the pending key if there is one."""
        return self.key if self.pending_key is None else self.pending_key

    @property
    def exact_bytes(self) -> int | None:
        """The only size that is granted, in bytes, or None if a range is granted."""
        return self.max_bytes if self.min_bytes == self.max_bytes else None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of this grant. The storage must enforce each one, or completion must verify it."""
        return _RULES[self.sha256 is not None, self.create_only]


@dataclass(frozen=True, kw_only=True)
class GrantInParts(Grant):
    """A grant for a file that comes in parts of one upload, which the store has begun.

    - ``upload_id``: the store's name for the upload.
    - ``part_bytes``: the size of every part except the last, which has the rest of the file.
    - ``needs_sha256``: every part is signed together with its SHA-256.
    - ``resumable_until``: the time from which no part is signed and nothing is completed any more.
    """

    upload_id: str = field(repr=False)
    part_bytes: int
    needs_sha256: bool
    resumable_until: datetime

    @classmethod
    def of(
        cls, grant: Grant, *, upload_id: str, part_bytes: int, needs_sha256: bool, resumable_until: datetime
    ) -> GrantInParts:
        """Return ``grant`` together with the upload that has begun for it."""
        # A frozen dataclass without slots has all its members in __dict__.
        return cls(
            **vars(grant),
            upload_id=upload_id,
            part_bytes=part_bytes,
            needs_sha256=needs_sha256,
            resumable_until=resumable_until,
        )

    @property
    def part_count(self) -> int:
        """How many parts the file has."""
        return -(-self.max_bytes // self.part_bytes)

    def size_of(self, number: int) -> int:
        """Return the size of the part with this number, in bytes; numbers begin with 1."""
        return min(self.part_bytes, self.max_bytes - (number - 1) * self.part_bytes)


_ALWAYS = (Rule.SIZE, Rule.TYPE, Rule.HEADERS)
# The key says whether a grant has a checksum, and whether it is create-only.
_RULES = {
    (False, False): _ALWAYS,
    (True, False): (*_ALWAYS, Rule.CHECKSUM),
    (False, True): (*_ALWAYS, Rule.CREATE_ONLY),
    (True, True): (*_ALWAYS, Rule.CHECKSUM, Rule.CREATE_ONLY),
}


class PartRequest(NamedTuple):
    """The request that stores one part: a PUT of exactly ``size`` bytes to ``url`` with ``headers``.

    Parts are numbered from 1, in the order of the file. ``repr`` leaves out everything that grants access. A named
    tuple is faster to make than a dataclass, and a large file has thousands of parts.
    """

    number: int
    size: int
    url: str
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return f"PartRequest(number={self.number!r}, size={self.size!r})"

    def to_dict(self) -> dict[str, Any]:
        """Return the members of the HTTP contract."""
        return {
            "number": self.number,
            "size": self.size,
            "method": "PUT",
            "url": self.url,
            "headers": dict(self.headers),
        }


@dataclass(frozen=True, kw_only=True)
class PartPlan:
    """How a file is cut into parts.

    - ``part_size``: the size of every part in bytes, except the last, which has the rest of the file.
    - ``count``: how many parts there are.
    - ``at_once``: for how many parts to ask at a time, so that no request expires before it is sent.
    - ``needs_sha256``: the client gives the SHA-256 of a part when it asks for the part's request.
    - ``resumable_until``: until when parts can be sent and the upload can be completed.
    """

    part_size: int
    count: int
    at_once: int
    needs_sha256: bool
    resumable_until: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the members of the HTTP contract; times are datetimes."""
        return {
            "part_size": self.part_size,
            "count": self.count,
            "at_once": self.at_once,
            "needs_sha256": self.needs_sha256,
            "resumable_until": self.resumable_until,
        }


@dataclass(frozen=True, kw_only=True)
class TicketParts:
    """What a ticket says about the parts of a large file: the plan, and the requests of the first parts.

    There are no requests if the plan needs the SHA-256 of each part, which the server does not know yet.
    """

    plan: PartPlan
    requests: tuple[PartRequest, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the members of the HTTP contract; times are datetimes."""
        return {**self.plan.to_dict(), "requests": [request.to_dict() for request in self.requests]}


@dataclass(frozen=True, kw_only=True)
class SignedParts:
    """The requests of the parts that a client asked for; the storage refuses them from ``expires_at`` on."""

    requests: tuple[PartRequest, ...]
    expires_at: datetime
    now: datetime

    def to_json(self) -> bytes:
        """Return the HTTP contract's response body as JSON; times are RFC 3339 in UTC."""
        members = {
            "requests": [request.to_dict() for request in self.requests],
            "expires_at": self.expires_at,
            "now": self.now,
        }
        return orjson.dumps(members, option=orjson.OPT_UTC_Z)


@dataclass(frozen=True, kw_only=True)
class UploadedParts:
    """What the store has of a file of ``size`` bytes: the ``numbers`` of its complete parts, in ascending order."""

    size: int
    plan: PartPlan
    numbers: tuple[int, ...]

    def to_json(self) -> bytes:
        """Return the HTTP contract's response body as JSON; times are RFC 3339 in UTC."""
        members = {"size": self.size, **self.plan.to_dict(), "numbers": self.numbers}
        return orjson.dumps(members, option=orjson.OPT_UTC_Z)


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """Everything that a client needs to store one file; the client need not know which cloud it talks to.

    The client sends ``method`` to ``url``: with POST, a multipart form of ``fields`` followed by ``file``; with PUT,
    the file as the body, with ``headers``. ``expires_at`` and ``now`` are the server's times. ``object_url`` is None
    unless the policy says that everybody may read the object. ``enforced`` says who refuses a violation of each rule.
    ``repr`` leaves out everything that grants access.

    A large file comes in ``parts``. Then ``method``, ``url`` and ``headers`` say nothing more: the client sends the
    requests of the parts. ``url`` has no signature, so the storage refuses a client that does not know of parts.
    """

    method: Literal["POST", "PUT"]
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    fields: Mapping[str, str] = field(repr=False)
    expires_at: datetime
    now: datetime
    key: str
    object_url: str | None
    enforced: Mapping[Rule, Enforcer]
    token: str = field(repr=False)
    parts: TicketParts | None = None

    def to_json(self) -> bytes:
        """Return the HTTP contract's response body as JSON; times are RFC 3339 in UTC."""
        members: dict[str, Any] = {
            "method": self.method,
            "url": self.url,
            "fields": self.fields,
            "headers": self.headers,
            "expires_at": self.expires_at,
            "now": self.now,
            "key": self.key,
            "object_url": self.object_url,
            "enforced": {rule.value: enforcer for rule, enforcer in self.enforced.items()},
            "token": self.token,
        }
        if self.parts is not None:
            members["parts"] = self.parts.to_dict()
        return orjson.dumps(members, default=dict, option=orjson.OPT_UTC_Z)

    def to_dict(self) -> dict[str, Any]:
        """Return the HTTP contract's response body as a dictionary for a framework's own JSON encoder."""
        members: dict[str, Any] = orjson.loads(self.to_json())
        return members


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object that the storage holds after a completed upload.

    ``size`` is in bytes. ``object_url`` is None unless the policy says that everybody may read the object.
    ``version`` is None if the storage keeps no versions.
    """

    key: str
    object_url: str | None
    size: int
    content_type: str
    etag: str
    version: str | None = None

    def to_json(self) -> bytes:
        """Return the HTTP contract's response body as JSON."""
        return orjson.dumps(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the HTTP contract's response body as a dictionary for a framework's own JSON encoder."""
        return {
            "key": self.key,
            "object_url": self.object_url,
            "etag": self.etag,
            "version": self.version,
            "size": self.size,
            "type": self.content_type,
        }


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A completed upload, for the application's ``on_complete``.

    - ``kind``: the name of the presigner.
    - ``stored``: what the storage holds now.
    - ``owner``: the user to whom the ticket was issued.
    - ``name``: the file's name, as the client gave it when it asked for the ticket.
    - ``metadata``: the object's metadata: what the policy and the application chose.
    """

    kind: str
    stored: StoredObject
    owner: str | None
    name: str | None
    metadata: Mapping[str, str]


def check_tags(tags: object) -> None:
    """Raise ConfigurationError unless ``tags`` are tags that every storage with tags accepts."""
    if not isinstance(tags, Mapping):
        raise ConfigurationError("tags must be a mapping of text to text", field="tags")
    if len(tags) > _MAX_TAGS:
        raise ConfigurationError(
            f"an object can have {_MAX_TAGS} tags; leave some out", field="tags", value=len(tags), limit=_MAX_TAGS
        )
    for name, value in tags.items():
        is_text = isinstance(name, str) and isinstance(value, str)
        if not is_text or not _TAG_NAME.fullmatch(name) or not _TAG_VALUE.fullmatch(value):
            raise ConfigurationError(
                "tags must have names of 1 to 128 and values of at most 256 characters: ASCII letters, digits, spaces "
                "and + - . / : = _",
                field="tags",
                value=str(name),
            )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _as_tuple(value: Any) -> Any:
    """Return a list of JSON as a tuple, and its whole numbers as int, because 2.0 is a whole number in JSON Schema."""
    if not isinstance(value, list):
        return value
    return tuple(int(each) if isinstance(each, float) and each.is_integer() else each for each in value)


def _members(body: object, *, known: frozenset[str]) -> dict[str, Any]:
    if isinstance(body, bytes | bytearray | str):
        try:
            body = orjson.loads(body)
        except orjson.JSONDecodeError:
            # The cause's message repeats the body.
            raise InvalidRequest("the body is not JSON") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object")
    if not body.keys() <= known:
        member = min(str(member) for member in body.keys() - known)
        raise _invalid(member, None, f"is not known; known are {', '.join(sorted(known))}")
    return body


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise _invalid("name", name, "must be text")
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise _invalid("name", name, "is empty or too long", limit=MAX_NAME_CHARACTERS)
    if name in {".", ".."} or "/" in name or "\\" in name:
        raise _invalid("name", name, "must be a file's name, not a path")
    # A printable name has no control characters. A name that is not printable may still be valid: it may contain a
    # joiner or a wide space.
    if not name.isprintable():
        for position, character in enumerate(name, 1):
            kind = _forbidden_kind(character)
            if kind is not None:
                raise _invalid("name", name, f"has {kind} (U+{ord(character):04X}) at position {position}; remove it")


def _forbidden_kind(character: str) -> str | None:
    """Return what a character is that no file's name may have, or None for any other character."""
    if character in _BIDI_OVERRIDES:
        return "a character that changes the direction of text"
    return _FORBIDDEN_CATEGORIES.get(unicodedata.category(character))


def _invalid(member: str, value: object, complaint: str, *, limit: int | None = None) -> InvalidRequest:
    shown_value = value if isinstance(value, str) else None if value is None else type(value).__name__
    name = sanitize(member[:40])
    return InvalidRequest(f"'{name}' {complaint}", field=name, value=shown_value, limit=limit)
