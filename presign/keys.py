"""Object keys: made here from a random UUID under a checked prefix, never from anything that a client sent."""

from __future__ import annotations

import re
from uuid import UUID

from presign.errors import ConfigurationError

MAX_KEY_BYTES = 1024
"""The longest key that S3 and Google Cloud Storage take; Azure counts characters, which are bytes in an ASCII key."""

_HEX_DIGITS_OF_A_UUID = 32
# "$" collides with ${filename} and with escaped conditions in POST policies; the rest needs escaping somewhere.
_SEGMENT = re.compile(r"[A-Za-z0-9!_.*'()=@+,-]+", re.ASCII)


def check_prefix(prefix: str) -> str:
    """Return ``prefix`` if every key under it stays under it, on every storage; raises ConfigurationError if not.

    A prefix is empty (the whole bucket) or segments of ASCII letters, digits and ``!_.*'()=@+,-``, each followed by a
    slash, none of them ``.`` or ``..``.
    """
    if prefix == "":
        return prefix
    if prefix.startswith("/"):
        raise _bad_prefix(prefix, "must not start with a slash")
    if not prefix.endswith("/"):
        raise _bad_prefix(prefix, f"must end with a slash, or {prefix!a} would also cover {prefix + 'x'!a}")
    if len(prefix) + _HEX_DIGITS_OF_A_UUID > MAX_KEY_BYTES:
        raise _bad_prefix(prefix, "is too long", limit=MAX_KEY_BYTES - _HEX_DIGITS_OF_A_UUID)
    for segment in prefix[:-1].split("/"):
        if segment in {".", ".."} or not _SEGMENT.fullmatch(segment):
            raise _bad_prefix(prefix, f"has the segment {segment!a}, which some storage would read differently")
    return prefix


def make_key(prefix: str, object_id: UUID) -> str:
    """Return the key of one object: ``prefix``, checked before, and 32 hexadecimal digits."""
    return f"{prefix}{object_id.hex}"


def _bad_prefix(prefix: str, complaint: str, *, limit: int | None = None) -> ConfigurationError:
    return ConfigurationError(f"prefix {complaint}", field="prefix", value=prefix, limit=limit)
