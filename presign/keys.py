"""Object keys: a checked prefix and a template. A key contains no text that a client sent."""

from __future__ import annotations

import re
import string
from functools import lru_cache

from presign.errors import ConfigurationError

MAX_KEY_BYTES = 1024
"""The longest key that S3 and Google Cloud Storage take; Azure counts characters, which are bytes in an ASCII key."""

DEFAULT_KEY_TEMPLATE = "{id}"

_ID_DIGITS = 32
# "$" has a special meaning in POST policies (${filename} and escapes); other characters need escaping somewhere.
_SEGMENT = re.compile(r"[A-Za-z0-9!_.*'()=@+,-]+", re.ASCII)
_FIELDS = frozenset({"id", "owner", "ext"})
_TEXT = re.compile(r"[A-Za-z0-9!_.*'()=@+,/-]*", re.ASCII)
_SAFE_IN_OWNER = frozenset(f"{string.ascii_letters}{string.digits}_-".encode())


def check_prefix(prefix: str, *, field: str = "prefix") -> str:
    """Return ``prefix`` if every storage accepts keys under it unchanged; raise ConfigurationError otherwise.

    A prefix is empty (the whole bucket), or consists of segments that each end with a slash. A segment has ASCII
    letters, digits and ``!_.*'()=@+,-``, and is neither ``.`` nor ``..``. ``field`` names the setting in the error.
    """
    if not isinstance(prefix, str):
        raise ConfigurationError(f"{field} must be text such as 'public/'", field=field, value=type(prefix).__name__)
    if prefix == "":
        return prefix
    if prefix.startswith("/"):
        raise _bad_prefix(field, prefix, "must not start with a slash")
    if not prefix.endswith("/"):
        raise _bad_prefix(field, prefix, f"must end with a slash, or {prefix!a} would also cover {prefix + 'x'!a}")
    if len(prefix) + _ID_DIGITS > MAX_KEY_BYTES:
        raise _bad_prefix(field, prefix, "is too long", limit=MAX_KEY_BYTES - _ID_DIGITS)
    for segment in prefix[:-1].split("/"):
        if segment in {".", ".."} or not _SEGMENT.fullmatch(segment):
            raise _bad_prefix(field, prefix, f"has the segment {segment!a}, which some storages change or refuse")
    return prefix


def check_key_template(template: str) -> str:
    """Return ``template`` if it makes a new key for every upload; raise ConfigurationError otherwise.

    A template has ``{id}`` (32 random hexadecimal digits) once, and may have ``{owner}`` (see encode_owner) and
    ``{ext}`` (the usual extension of the content type, with its dot). All other text follows the rules for prefixes.

    >>> check_key_template("{owner}/{id}{ext}")
    '{owner}/{id}{ext}'
    """
    if not isinstance(template, str):
        raise _bad_template(type(template).__name__, "must be text such as '{owner}/{id}{ext}'")
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        raise _bad_template(template, "has an opening or a closing brace without the other one") from None
    names = [name for _, name, _, _ in parts if name is not None]
    if not set(names) <= _FIELDS or any(spec or conversion for _, name, spec, conversion in parts if name is not None):
        raise _bad_template(template, "may contain {id}, {owner} and {ext}, and no other braces")
    if names.count("id") != 1 or len(names) != len(set(names)):
        raise _bad_template(template, "must contain {id} once, and {owner} and {ext} at most once")
    if not all(_TEXT.fullmatch(text) for text, *_ in parts):
        raise _bad_template(template, "has characters that some storages change or refuse")
    if any(segment in {"", ".", "..", "{ext}"} for segment in template.split("/")):
        raise _bad_template(template, "must have segments that are not empty, and neither '.' nor '..'")
    return template


def encode_owner(owner: str) -> str:
    """Return ``owner`` as one segment of a key; different owners have different segments.

    ASCII letters, digits, ``_`` and ``-`` stay as they are. Every other byte of the UTF-8 form becomes ``=XX``.

    >>> encode_owner("ada@example.com")
    'ada=40example=2Ecom'
    """
    return "".join(chr(byte) if byte in _SAFE_IN_OWNER else f"={byte:02X}" for byte in owner.encode())


def make_key(prefix: str, object_id: str, *, template: str, owner: str | None, extension: str) -> str:
    """Return an object's key: the checked ``prefix`` followed by the checked ``template`` with its values.

    Raises ConfigurationError if the template needs an owner and there is none, or if the key would be too long.
    """
    if "{owner}" in template and not owner:
        raise ConfigurationError("key_template contains {owner}, so every ticket needs an owner", field="owner")
    key = prefix + template.format(id=object_id, owner=_encoded(owner or ""), ext=extension)
    if len(key) > MAX_KEY_BYTES:
        raise ConfigurationError("owner makes the key too long", field="owner", limit=MAX_KEY_BYTES)
    return key


_encoded = lru_cache(maxsize=1024)(encode_owner)


def _bad_prefix(field: str, prefix: str, complaint: str, *, limit: int | None = None) -> ConfigurationError:
    return ConfigurationError(f"{field} {complaint}", field=field, value=prefix, limit=limit)


def _bad_template(template: str, complaint: str) -> ConfigurationError:
    return ConfigurationError(f"key_template {complaint}", field="key_template", value=template)
