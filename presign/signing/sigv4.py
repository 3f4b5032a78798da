"""Signature Version 4, as Amazon and Google speak it: scopes, canonical requests and query signing.

Sources: "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)", Amazon S3 API Reference;
"Signatures", "Canonical requests" and "V4 signing process with your own program", Cloud Storage documentation.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Protocol
from urllib.parse import quote

from presign.errors import ConfigurationError
from presign.signing.hmac_sha256 import HmacSha256Key

MAX_EXPIRES_SECONDS = 604_800
"""The longest lifetime of a presigned URL: seven days."""

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, kw_only=True, eq=False)
class Dialect:
    """The words in which a provider speaks Signature Version 4: one instance for each algorithm."""

    algorithm: str
    parameter_prefix: str
    request_type: str


AWS4 = Dialect(algorithm="AWS4-HMAC-SHA256", parameter_prefix="X-Amz-", request_type="aws4_request")
GOOG4_RSA = Dialect(algorithm="GOOG4-RSA-SHA256", parameter_prefix="X-Goog-", request_type="goog4_request")
GOOG4_HMAC = Dialect(algorithm="GOOG4-HMAC-SHA256", parameter_prefix="X-Goog-", request_type="goog4_request")

ALGORITHM = AWS4.algorithm


class SigningKey(Hashable, Protocol):
    """What signs: an HMAC key of one day, or an RSA key."""

    def hexdigest(self, message: bytes, /) -> str:
        """Return the message's signature in lower-case hexadecimal digits."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """One access key on one day in one region and service, with the key that signs there.

    ``credential`` is the value of X-Amz-Credential or X-Goog-Credential; ``query_start`` is a query up to
    the value of its date. Only ``key`` could sign, and it is left out of ``repr`` with the rest that
    identifies the account.
    """

    dialect: Dialect
    name: str
    credential: str = field(repr=False)
    query_start: str = field(repr=False)
    key: SigningKey = field(repr=False)


@lru_cache(maxsize=64)
def make_scope(*, dialect: Dialect, access_key: str, key: SigningKey, date: str, region: str, service: str) -> Scope:
    """Return the scope of ``date`` (YYYYMMDD) for a key that signs as it is, such as a service account's RSA key."""
    name = f"{date}/{region}/{service}/{dialect.request_type}"
    credential = f"{access_key}/{name}"
    prefix = dialect.parameter_prefix
    return Scope(
        dialect=dialect,
        name=name,
        credential=credential,
        query_start=(
            f"{prefix}Algorithm={dialect.algorithm}&{prefix}Credential={quote(credential, safe='')}&{prefix}Date="
        ),
        key=key,
    )


@lru_cache(maxsize=64)
def open_scope(
    *, access_key: str, secret_key: str, date: str, region: str, service: str, dialect: Dialect = AWS4
) -> Scope:
    """Return the scope of ``date`` (YYYYMMDD), its signing key derived once and kept."""
    key = (dialect.algorithm.partition("-")[0] + secret_key).encode()
    for part in (date, region, service, dialect.request_type):
        key = HmacSha256Key(key).digest(part.encode())
    return make_scope(
        dialect=dialect, access_key=access_key, key=HmacSha256Key(key), date=date, region=region, service=service
    )


# Each key is new, so that keeping them would not help; finding that there is nothing to encode does.
_needs_no_quoting = re.compile(r"[A-Za-z0-9_.~/-]*", re.ASCII).fullmatch


def quote_path(path: str) -> str:
    """Return ``path`` as a canonical URI: everything but unreserved characters and slashes percent-encoded, once."""
    return path if _needs_no_quoting(path) else quote(path, safe="/~")


def _quote_value(value: str) -> str:
    return value if value.isalnum() and value.isascii() else _quoted_value(value)


@lru_cache(maxsize=256)
def _quoted_value(value: str) -> str:
    return quote(value, safe="~")


def check_expires_seconds(expires_seconds: int) -> None:
    """Raise ConfigurationError unless both providers take a signature of this lifetime: 1 to 604,800 seconds."""
    if not 1 <= expires_seconds <= MAX_EXPIRES_SECONDS:
        raise ConfigurationError(
            f"a presigned URL is good for 1 to {MAX_EXPIRES_SECONDS} seconds",
            field="expires_in",
            value=expires_seconds,
            limit=MAX_EXPIRES_SECONDS,
        )


class QuerySigner:
    """Signs requests that differ in their further parameters alone, such as those for the parts of one upload.

    ``path`` is a canonical URI (see ``quote_path``), ``timestamp`` is YYYYMMDDTHHMMSSZ, ``headers`` (lower-case names,
    without ``host``) are those that the client must send with exactly these values. Raises ConfigurationError outside 1
    to 604,800 seconds.
    """

    __slots__ = ("_canonical", "_end", "_parameters", "_prefix", "_scope", "_start", "_string_to_sign")

    def __init__(
        self,
        *,
        method: str,
        host: str,
        path: str,
        scope: Scope,
        timestamp: str,
        expires_seconds: int,
        headers: Mapping[str, str],
        session_token: str | None = None,
    ) -> None:
        check_expires_seconds(expires_seconds)
        if headers:
            signed = {"host": host, **headers}
            names = sorted(signed)
            canonical_headers = "".join([f"{name}:{' '.join(signed[name].split())}\n" for name in names])
            signed_headers = ";".join(names)
            query_signed_headers = "%3B".join(names)
        else:
            canonical_headers = f"host:{host}\n"
            signed_headers = query_signed_headers = "host"

        self._scope = scope
        self._prefix = prefix = scope.dialect.parameter_prefix
        start = f"{scope.query_start}{timestamp}&{prefix}Expires={expires_seconds}"
        headers_parameter = f"&{prefix}SignedHeaders={query_signed_headers}"
        token_parameter = "" if session_token is None else f"&{prefix}Security-Token={_quote_value(session_token)}"
        # By name: Algorithm, Credential, Date, Expires, Security-Token, SignedHeaders.
        self._canonical = f"{start}{token_parameter}{headers_parameter}"
        self._parameters = f"{start}{headers_parameter}{token_parameter}"
        self._start = f"{method}\n{path}\n"
        self._end = f"\n{canonical_headers}\n{signed_headers}\n{UNSIGNED_PAYLOAD}"
        self._string_to_sign = f"{scope.dialect.algorithm}\n{timestamp}\n{scope.name}\n"

    def sign(self, query: Collection[tuple[str, str]] = ()) -> str:
        """Return the query string, without ``?``, that has the further parameters ``query``, not encoded."""
        canonical, parameters = self._canonical, self._parameters
        if query:
            own = [(_quote_value(name), _quote_value(value)) for name, value in query]
            canonical = _merged(sorted(own), canonical, self._prefix)
            parameters = f"{'&'.join([f'{name}={value}' for name, value in own])}&{parameters}"
        hashed = sha256(f"{self._start}{canonical}{self._end}".encode()).hexdigest()
        signature = self._scope.key.hexdigest(f"{self._string_to_sign}{hashed}".encode())
        return f"{parameters}&{self._prefix}Signature={signature}"


def presign_query(
    *,
    method: str,
    host: str,
    path: str,
    scope: Scope,
    timestamp: str,
    expires_seconds: int,
    headers: Mapping[str, str],
    query: Collection[tuple[str, str]] = (),
    session_token: str | None = None,
) -> str:
    """Return the query string, without ``?``, of one request; see QuerySigner for what each part is."""
    signer = QuerySigner(
        method=method,
        host=host,
        path=path,
        scope=scope,
        timestamp=timestamp,
        expires_seconds=expires_seconds,
        headers=headers,
        session_token=session_token,
    )
    return signer.sign(query)


def _merged(own: list[tuple[str, str]], signing: str, prefix: str) -> str:
    """Return sorted parameters with those of the signature, which share ``prefix``, among them."""
    before = [f"{name}={value}" for name, value in own if name < prefix]
    after = own[len(before) :]
    if after and after[0][0].startswith(prefix):
        raise ConfigurationError(f"query parameters that begin with {prefix} are the signature's own", field="query")
    return "&".join([*before, signing, *[f"{name}={value}" for name, value in after]])
