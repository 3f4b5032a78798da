"""Media types: which texts are one, which types run scripts, and whether an object's first bytes fit its type."""

from __future__ import annotations

import re
from collections.abc import Mapping

import puremagic

FIRST_BYTES = 1024
"""How many of an object's first bytes ``find_mismatch`` needs."""

_TOKEN = r"[A-Za-z0-9!#$&^_.+-]{1,127}"  # noqa: S105  (the grammar's word, RFC 6838 section 4.2)
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:; ?{_TOKEN}={_TOKEN})?", re.ASCII)
# A browser runs scripts in these when it opens them from the bucket's own address (stored cross-site scripting).
_ACTIVE_SUBTYPE = re.compile(r"(?:.*\+)?xml|html|xsl|(?:x-)?(?:java|ecma|live|j|vb)script.*|x-mixed-replace", re.ASCII)
# Other names of a format, by the name that puremagic gives it.
_ALIASES: Mapping[str, frozenset[str]] = {
    "application/gzip": frozenset({"application/x-gzip"}),
    "application/zip": frozenset({"application/x-zip-compressed"}),
    "audio/wav": frozenset({"audio/wave", "audio/x-wav", "audio/vnd.wave"}),
    "audio/mp4": frozenset({"video/mp4", "audio/x-m4a", "audio/m4a"}),
    "audio/x-m4a": frozenset({"video/mp4", "audio/mp4", "audio/m4a"}),
    "audio/webm": frozenset({"video/webm"}),
    "audio/ogg": frozenset({"application/ogg"}),
    "video/ogg": frozenset({"application/ogg"}),
    "image/bmp": frozenset({"image/x-ms-bmp"}),
    "image/heic": frozenset({"image/heif"}),
    "image/vnd.microsoft.icon": frozenset({"image/x-icon"}),
}
# puremagic finds a signature in the first bytes of every well-formed file of these types.
_TYPES_WITH_SIGNATURE = frozenset(
    {
        "application/gzip",
        "application/pdf",
        "application/zip",
        "audio/flac",
        "audio/ogg",
        "audio/wav",
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/heic",
        "image/heif",
        "image/jpeg",
        "image/png",
        "image/tiff",
        "image/vnd.microsoft.icon",
        "image/webp",
        "image/x-icon",
        "video/ogg",
        "video/webm",
    }
)
# A browser that must guess a type looks for these after white space (WHATWG MIME Sniffing, section 7.1), and then runs
# the scripts in the document. A file that claims another type must therefore not begin with one of them.
_MARKUP = re.compile(
    rb"(?:\xef\xbb\xbf)?[\t\n\x0c\r ]*<(?:!doctype|html|head|script|iframe|body|svg|\?xml|!--)[\s>/-]?", re.IGNORECASE
)


def is_media_type(value: str) -> bool:
    """Say whether ``value`` is one exact media type, with at most one parameter (RFC 9110 section 8.3.1)."""
    return _MEDIA_TYPE.fullmatch(value) is not None


def is_active(content_type: str) -> bool:
    """Say whether browsers may run scripts in a document of this type: html, svg, xml, javascript and the like."""
    subtype = content_type.lower().partition(";")[0].partition("/")[2].strip()
    return _ACTIVE_SUBTYPE.fullmatch(subtype) is not None


def find_mismatch(content_type: str, first_bytes: bytes) -> str | None:
    """Return the format that ``first_bytes`` have instead of ``content_type``, or None if the two fit.

    Types whose files all begin with a signature must have that signature. Any other type fits, unless the bytes are
    markup in which browsers run scripts and ``content_type`` is not a type for markup.
    """
    declared = content_type.partition(";")[0].strip()
    if _MARKUP.match(first_bytes) and not is_active(declared):
        return "markup (html, svg or xml)"
    if declared not in _TYPES_WITH_SIGNATURE:
        return None
    found = _types_by_signature(first_bytes)
    if declared in found or _ALIASES.get(declared, frozenset()) & found:
        return None
    return next((name for name in sorted(found) if name), "an unknown format")


def _types_by_signature(first_bytes: bytes) -> frozenset[str]:
    if not first_bytes:
        return frozenset()
    try:
        return frozenset(match.mime_type for match in puremagic.magic_string(first_bytes))
    except puremagic.PureError:
        return frozenset()


def extension_of(content_type: str) -> str:
    return {"image/png": ".png", "image/jpeg": ".jpg", "text/plain": ".txt"}.get(content_type, "")


def fit_extension(name: str, content_type: str) -> str:
    extension = extension_of(content_type)
    return name if name.lower().endswith(extension) else name + extension
