"""Percent-encoding as canonical requests have it: all but RFC 3986's unreserved characters, once."""

from __future__ import annotations

import string
from urllib.parse import quote

_UNRESERVED = f"{string.ascii_letters}{string.digits}-._~".encode()
_UNRESERVED_AND_SLASH = _UNRESERVED + b"/"


def quote_path(path: str) -> str:
    """Return ``path`` as a canonical URI, its slashes left as they are."""
    # Keys are new each time, so that keeping them quoted would not help; finding that there is nothing to quote does.
    return quote(path, safe="/~") if path.encode().translate(None, _UNRESERVED_AND_SLASH) else path


def quote_value(value: str) -> str:
    """Return ``value`` as it stands in a canonical query, its slashes encoded too."""
    # Names and numbers are letters and digits alone, which str finds out soonest.
    if value.isascii() and value.isalnum():
        return value
    return quote(value, safe="~") if value.encode().translate(None, _UNRESERVED) else value
