"""The Authorization header of a request to Azure's blob service that an account key signs.

Source: "Authorize with Shared Key", Azure Storage REST API reference.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable, Mapping

from presign.signing.hmac_sha256 import HmacSha256Key

# The headers whose values are signed without their names, in this order. The date is empty, because x-ms-date is sent.
_STANDARD_HEADERS = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
# The service sorts names as a dictionary does: it ignores hyphens, and underscores come before digits.
_SORTED_LIKE = {ord("-"): None, ord("_"): "/"}


def authorization(
    key: HmacSha256Key,
    *,
    account: str,
    method: str,
    path: str,
    query: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
) -> str:
    """Return the header's value.

    ``path`` is the request's, percent-encoded; an emulator has the account in it. The values of ``query`` are not
    encoded. The names of ``headers`` are in lower case. They include ``x-ms-date``, and ``content-length`` if the
    request has a body. Names have only letters, digits, hyphens, underscores and dots.
    """
    values = "\n".join([headers.get(name, "") for name in _STANDARD_HEADERS])
    own = "".join([f"{name}:{headers[name]}\n" for name in sorted(filter(_is_own, headers), key=_place)])
    parameters = "".join([f"\n{name}:{value}" for name, value in sorted(query)])
    digest = key.digest(f"{method}\n{values}\n{own}/{account}{path}{parameters}".encode())
    return f"SharedKey {account}:{b2a_base64(digest, newline=False).decode()}"


def _is_own(name: str) -> bool:
    return name.startswith("x-ms-")


def _place(name: str) -> tuple[str, list[bool]]:
    """Return what the service sorts names by: hyphens only decide between names that are the same without them."""
    return name.translate(_SORTED_LIKE), [character == "-" for character in name]
