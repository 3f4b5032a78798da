"""Object keys: a checked prefix and a random UUID. Nothing that a client sends becomes part of a key."""

from __future__ import annotations

import re
from uuid import UUID

from presign.errors import ConfigurationError

MAX_KEY_BYTES = 1024
"""The longest key that S3 and Google Cloud Storage take; Azure counts characters, which are bytes in an ASCII key."""

_UUID_HEX_DIGITS = 32
# "$" has a special meaning in POST policies (${filename} and escapes); other characters need escaping somewhere.
_SEGMENT = re.compile(r"[A-Za-z0-9!_.*'()=@+,-]+", re.ASCII)


def check_prefix(prefix: str) -> str:
    """Return ``prefix`` if every storage keeps all keys under it; raise ConfigurationError otherwise.

    A prefix is empty (the whole bucket), or consists of segments that each end with a slash. A segment has ASCII
    letters, digits and ``!_.*'()=@+,-``, and is neither ``.`` nor ``..``.
    """
    if not isinstance(prefix, str):
        raise ConfigurationError("prefix must be text such as 'public/'", field="prefix", value=type(prefix).__name__)
    if prefix == "":
        return prefix
    if prefix.startswith("/"):
        raise _bad_prefix(prefix, "must not start with a slash")
    if not prefix.endswith("/"):
        raise _bad_prefix(prefix, f"must end with a slash, or {prefix!a} would also cover {prefix + 'x'!a}")
    if len(prefix) + _UUID_HEX_DIGITS > MAX_KEY_BYTES:
        raise _bad_prefix(prefix, "is too long", limit=MAX_KEY_BYTES - _UUID_HEX_DIGITS)
    for segment in prefix[:-1].split("/"):
        if segment in {".", ".."} or not _SEGMENT.fullmatch(segment):
            raise _bad_prefix(prefix, f"has the segment {segment!a}, which not every storage reads the same way")
    return prefix


def make_key(prefix: str, object_id: UUID) -> str:
    """Return an object's key: the checked ``prefix`` followed by 32 hexadecimal digits."""
    return f"{prefix}{object_id.hex}"


def _bad_prefix(prefix: str, complaint: str, *, limit: int | None = None) -> ConfigurationError:
    return ConfigurationError(f"prefix {complaint}", field="prefix", value=prefix, limit=limit)
