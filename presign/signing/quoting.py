"""Percent-encoding for canonical requests: every character except the unreserved ones of RFC 3986, once."""

from __future__ import annotations

import string
from urllib.parse import quote

_UNRESERVED = f"{string.ascii_letters}{string.digits}-._~".encode()
_UNRESERVED_AND_SLASH = _UNRESERVED + b"/"


def quote_path(path: str) -> str:
    """Return ``path`` percent-encoded, its slashes unchanged."""
    # Every key is new, so a cache would not help. A key that needs no encoding is the common case, and fast to find.
    return quote(path, safe="/~") if path.encode().translate(None, _UNRESERVED_AND_SLASH) else path


def quote_value(value: str) -> str:
    """Return a query parameter's name or value percent-encoded, its slashes too."""
    # Names and numbers often have only letters and digits, and this is the fastest check for that.
    if value.isascii() and value.isalnum():
        return value
    return quote(value, safe="~") if value.encode().translate(None, _UNRESERVED) else value
