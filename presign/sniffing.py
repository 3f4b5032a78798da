"""Whether an object's first bytes contradict its content type, judged by puremagic's table of signatures."""

from __future__ import annotations

import re
from collections.abc import Mapping

import puremagic

from presign.policy import is_active

FIRST_BYTES = 1024
"""How many bytes ``contradiction`` wants to see."""

# Names in use for one format, by the name that puremagic gives it.
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
# puremagic finds a signature for these at the first bytes of every well-formed file.
_ALWAYS_RECOGNISED = frozenset(
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
# A browser that guesses the type of what it was told is text or unknown looks for these, after white space
# (WHATWG MIME Sniffing, section 7.1), and so they hide in no file that claims to be something else.
_MARKUP = re.compile(
    rb"(?:\xef\xbb\xbf)?[\t\n\x0c\r ]*<(?:!doctype|html|head|script|iframe|body|svg|\?xml|!--)[\s>/-]?", re.IGNORECASE
)


def contradiction(content_type: str, first_bytes: bytes) -> str | None:
    """Return what ``first_bytes`` are instead of ``content_type``, or None where nothing speaks against it.

    Types whose files all begin with a signature must show it. All others pass, unless the bytes are markup that
    browsers run scripts in and ``content_type`` is not.
    """
    declared = content_type.partition(";")[0].strip()
    if _MARKUP.match(first_bytes) and not is_active(declared):
        return "markup (html, svg or xml)"
    if declared not in _ALWAYS_RECOGNISED:
        return None
    found = _signatures(first_bytes)
    if declared in found or _ALIASES.get(declared, frozenset()) & found:
        return None
    return next((name for name in sorted(found) if name), "an unknown format")


def _signatures(first_bytes: bytes) -> frozenset[str]:
    if not first_bytes:
        return frozenset()
    try:
        return frozenset(match.mime_type for match in puremagic.magic_string(first_bytes))
    except puremagic.PureError:
        return frozenset()
