"""Signature Version 4: scopes, canonical requests and query signing.

Source: "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)", Amazon S3 API Reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote

from presign.errors import ConfigurationError
from presign.signing.hmac_sha256 import HmacSha256Key

ALGORITHM = "AWS4-HMAC-SHA256"
MAX_EXPIRES_SECONDS = 604_800
"""The longest lifetime of a presigned URL: seven days."""

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, kw_only=True)
class Scope:
    """One access key on one day in one region and service, with the key that signs there.

    ``credential`` is the value of X-Amz-Credential; ``query_credential`` the same, encoded for a query. Only ``key``
    could sign, and it is left out of ``repr`` with the rest that identifies the account.
    """

    name: str
    credential: str = field(repr=False)
    query_credential: str = field(repr=False)
    key: HmacSha256Key = field(repr=False)


@lru_cache(maxsize=64)
def open_scope(*, access_key: str, secret_key: str, date: str, region: str, service: str) -> Scope:
    """Return the scope of ``date`` (YYYYMMDD), its signing key derived once and kept."""
    key = f"AWS4{secret_key}".encode()
    for part in (date, region, service, "aws4_request"):
        key = HmacSha256Key(key).digest(part.encode())
    name = f"{date}/{region}/{service}/aws4_request"
    credential = f"{access_key}/{name}"
    return Scope(name=name, credential=credential, query_credential=quote(credential, safe=""), key=HmacSha256Key(key))


@lru_cache(maxsize=4096)
def quote_path(path: str) -> str:
    """Return ``path`` as a canonical URI: everything but unreserved characters and slashes percent-encoded, once."""
    return quote(path, safe="/~")


@lru_cache(maxsize=256)
def _quote_value(value: str) -> str:
    return quote(value, safe="~")


def presign_query(
    *,
    method: str,
    host: str,
    path: str,
    scope: Scope,
    timestamp: str,
    expires_seconds: int,
    headers: Mapping[str, str],
    query: Iterable[tuple[str, str]] = (),
    session_token: str | None = None,
) -> str:
    """Return the query string, without ``?``, that makes ``method`` on ``path`` good for ``expires_seconds``.

    ``path`` is a canonical URI (see ``quote_path``), ``timestamp`` is YYYYMMDDTHHMMSSZ, ``headers`` (lower-case names,
    without ``host``) are those that the client must send with exactly these values; ``query`` are further parameters,
    not encoded. Raises ConfigurationError outside 1 to 604,800 seconds.
    """
    if not 1 <= expires_seconds <= MAX_EXPIRES_SECONDS:
        raise ConfigurationError(
            f"a presigned URL is good for 1 to {MAX_EXPIRES_SECONDS} seconds",
            field="expires_in",
            value=expires_seconds,
            limit=MAX_EXPIRES_SECONDS,
        )
    if headers:
        signed = {"host": host, **headers}
        names = sorted(signed)
        canonical_headers = "".join([f"{name}:{' '.join(signed[name].split())}\n" for name in names])
        signed_headers = ";".join(names)
        query_signed_headers = "%3B".join(names)
    else:
        canonical_headers = f"host:{host}\n"
        signed_headers = query_signed_headers = "host"

    own = [f"{_quote_value(name)}={_quote_value(value)}" for name, value in query]
    auth = [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        f"X-Amz-Credential={scope.query_credential}",
        f"X-Amz-Date={timestamp}",
        f"X-Amz-Expires={expires_seconds}",
        f"X-Amz-SignedHeaders={query_signed_headers}",
    ]
    if session_token is not None:
        auth.append(f"X-Amz-Security-Token={_quote_value(session_token)}")
    parameters = own + auth
    # Sorting "name=value" would put a name before its own extension by the rank of "=", not of its end.
    canonical_query = "&".join(sorted(parameters, key=_name_and_value))

    canonical_request = (
        f"{method}\n{path}\n{canonical_query}\n{canonical_headers}\n{signed_headers}\n{UNSIGNED_PAYLOAD}"
    )
    hashed = sha256(canonical_request.encode()).hexdigest()
    string_to_sign = f"{ALGORITHM}\n{timestamp}\n{scope.name}\n{hashed}"
    signature = scope.key.hexdigest(string_to_sign.encode())
    return f"{'&'.join(parameters)}&X-Amz-Signature={signature}"


def _name_and_value(parameter: str) -> tuple[str, str]:
    name, _, value = parameter.partition("=")
    return name, value
