"""Signature Version 4, as Amazon and Google speak it: scopes, canonical requests and query signing.

Sources: "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)", Amazon S3 API Reference;
"Signatures", "Canonical requests" and "V4 signing process with your own program", Cloud Storage documentation.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple, Protocol

from presign.errors import ConfigurationError
from presign.signing.hmac_sha256 import HmacSha256Key
from presign.signing.quoting import quote_path, quote_value

MAX_EXPIRES_SECONDS = 604_800
"""The longest lifetime of a presigned URL: seven days."""

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_SHA256_OF_NOTHING = sha256().hexdigest()


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

    def string_to_sign(self, timestamp: str, hashed: str) -> str:
        """Return what ``key`` signs for a canonical request whose SHA-256 is ``hashed``, in hexadecimal digits."""
        return f"{self.dialect.algorithm}\n{timestamp}\n{self.name}\n{hashed}"


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
            f"{prefix}Algorithm={dialect.algorithm}&{prefix}Credential={quote_value(credential)}&{prefix}Date="
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


def check_expires_seconds(expires_seconds: int) -> None:
    """Raise ConfigurationError unless both providers take a signature of this lifetime: 1 to 604,800 seconds."""
    if not 1 <= expires_seconds <= MAX_EXPIRES_SECONDS:
        raise ConfigurationError(
            f"a presigned URL is good for 1 to {MAX_EXPIRES_SECONDS} seconds",
            field="expires_in",
            value=expires_seconds,
            limit=MAX_EXPIRES_SECONDS,
        )


class QueryTerms:
    """What the queries share that are good for the same time, such as all of one second.

    ``timestamp`` is YYYYMMDDTHHMMSSZ, on the scope's day. Raises ConfigurationError outside 1 to 604,800 seconds.
    """

    __slots__ = ("_canonical_start", "_key", "_parameters_end", "_parameters_start", "_string_to_sign", "prefix")

    def __init__(self, *, scope: Scope, timestamp: str, expires_seconds: int, session_token: str | None = None) -> None:
        check_expires_seconds(expires_seconds)
        self.prefix = prefix = scope.dialect.parameter_prefix
        start = f"{scope.query_start}{timestamp}&{prefix}Expires={expires_seconds}"
        token = "" if session_token is None else f"&{prefix}Security-Token={quote_value(session_token)}"
        # Signed by name: Algorithm, Credential, Date, Expires, Security-Token, SignedHeaders.
        self._canonical_start = f"{start}{token}&{prefix}SignedHeaders="
        self._parameters_start = f"{start}&{prefix}SignedHeaders="
        self._parameters_end = f"{token}&{prefix}Signature="
        self._string_to_sign = scope.string_to_sign(timestamp, "")
        self._key = scope.key

    def query(self, query_signed_headers: str) -> tuple[str, str]:
        """Return the signature's own parameters, as they are signed, and as they are sent, up to the signature."""
        return (
            f"{self._canonical_start}{query_signed_headers}",
            f"{self._parameters_start}{query_signed_headers}{self._parameters_end}",
        )

    def sign(self, hashed: str) -> str:
        """Return the signature of a canonical request whose SHA-256 is ``hashed``, both in hexadecimal digits."""
        return self._key.hexdigest(f"{self._string_to_sign}{hashed}".encode())


class QuerySigner:
    """Signs requests that differ in their further parameters alone, such as those for the parts of one upload.

    ``path`` is a canonical URI (see ``quoting``); ``headers`` (lower-case names, without ``host``) are those that the
    client must send with exactly these values.
    """

    __slots__ = ("_begun", "_canonical", "_end", "_parameters", "_start", "_terms")

    def __init__(self, terms: QueryTerms, *, method: str, host: str, path: str, headers: Mapping[str, str]) -> None:
        names, signed_headers, query_signed_headers = _signed_headers(tuple(headers))
        self._terms = terms
        self._canonical, self._parameters = terms.query(query_signed_headers)
        self._start = f"{method}\n{path}\n"
        self._end = _end(names, signed_headers, host, headers)
        # Hashed once for all requests whose further parameters come behind the signature's own.
        self._begun = sha256(f"{self._start}{self._canonical}".encode())

    def sign(self, query: Collection[tuple[str, str]] = ()) -> str:
        """Return the query string, without ``?``, that has the further parameters ``query``, not encoded.

        Raises ConfigurationError for a parameter that begins as the signature's own do.
        """
        given, in_order = _encoded(query, self._terms.prefix)
        if in_order:
            hashed = self._begun.copy()
            hashed.update(f"{given}{self._end}".encode())
        else:
            merged = _merged(self._canonical, query, self._terms.prefix)
            hashed = sha256(f"{self._start}{merged}{self._end}".encode())
        return f"{given[1:]}{'&' if given else ''}{self._parameters}{self._terms.sign(hashed.hexdigest())}"


class Place(NamedTuple):
    """Where a bucket's objects are: a quoted key behind ``base_url`` is an object's URL, whose path is signed whole."""

    base_url: str
    host: str
    path_prefix: str

    @classmethod
    def of(cls, endpoint: str, path_prefix: str = "/") -> Place:
        """Return the place behind an endpoint, which is a scheme and a host; the path begins and ends with a slash."""
        return cls(f"{endpoint}{path_prefix}", endpoint.partition("://")[2], path_prefix)

    @classmethod
    def of_bucket(cls, bucket: str, endpoint: str, *, virtual_hosted: bool = False) -> Place:
        """Return a bucket's place: below the service's endpoint, or on a host of its own under the endpoint's."""
        if not virtual_hosted:
            return cls.of(endpoint, f"/{quote_path(bucket)}/")
        scheme, host = endpoint.split("://")
        return cls.of(f"{scheme}://{bucket}.{host}")


def presigned_url(
    place: Place,
    terms: QueryTerms,
    method: str,
    key: str,
    headers: Mapping[str, str],
    query: Collection[tuple[str, str]] = (),
) -> str:
    """Return the URL for one request on an object, signed in its query; see QuerySigner for what each part is."""
    # Not by way of a QuerySigner, which for one request takes a third longer.
    quoted_key = quote_path(key)
    names, signed_headers, query_signed_headers = _signed_headers(tuple(headers))
    canonical, parameters = terms.query(query_signed_headers)
    if query:
        given, in_order = _encoded(query, terms.prefix)
        canonical = f"{canonical}{given}" if in_order else _merged(canonical, query, terms.prefix)
        parameters = f"{given[1:]}&{parameters}"
    end = _end(names, signed_headers, place.host, headers)
    hashed = sha256(f"{method}\n{place.path_prefix}{quoted_key}\n{canonical}{end}".encode()).hexdigest()
    return f"{place.base_url}{quoted_key}?{parameters}{terms.sign(hashed)}"


def authorized_headers(
    *,
    scope: Scope,
    timestamp: str,
    method: str,
    host: str,
    path: str,
    headers: Mapping[str, str],
    session_token: str | None = None,
) -> dict[str, str]:
    """Return ``headers`` and those that authenticate a request to S3 without a query and a body, all of them signed.

    For a server's own requests: unlike a presigned URL, nothing of this stands in anybody's log of URLs. ``path`` and
    ``headers`` are as in ``QuerySigner``.
    """
    sent = {**headers, "x-amz-content-sha256": _SHA256_OF_NOTHING, "x-amz-date": timestamp}
    if session_token is not None:
        sent["x-amz-security-token"] = session_token
    names, signed_headers, _ = _signed_headers(tuple(sent))
    canonical_request = f"{method}\n{path}\n\n{_canonical(names, host, sent)}\n{signed_headers}\n{_SHA256_OF_NOTHING}"
    hashed = sha256(canonical_request.encode()).hexdigest()
    signature = scope.key.hexdigest(scope.string_to_sign(timestamp, hashed).encode())
    sent["authorization"] = (
        f"{scope.dialect.algorithm} Credential={scope.credential}, "
        f"SignedHeaders={signed_headers}, Signature={signature}"
    )
    return sent


def _encoded(query: Collection[tuple[str, str]], prefix: str) -> tuple[str, bool]:
    """Return ``query`` as it stands behind other parameters, and whether it does so in the order of their names."""
    encoded, in_order = "", True
    # Behind all that begins as the signature's own parameters do.
    last = f"{prefix}\x7f"
    for name, value in query:
        quoted_name = quote_value(name)
        in_order = in_order and last < quoted_name
        last = quoted_name
        encoded = f"{encoded}&{quoted_name}={quote_value(value)}"
    return encoded, in_order


def _merged(canonical: str, query: Collection[tuple[str, str]], prefix: str) -> str:
    """Return all parameters in the order of their names, ``canonical`` being the signature's."""
    ordered = sorted([(quote_value(name), quote_value(value)) for name, value in query])
    place = bisect_left(ordered, (prefix,))
    if place < len(ordered) and ordered[place][0].startswith(prefix):
        raise ConfigurationError(f"query parameters that begin with {prefix} are the signature's own", field="query")
    merged = [f"{name}={value}" for name, value in ordered]
    merged.insert(place, canonical)
    return "&".join(merged)


def _end(names: Iterable[str], signed_headers: str, host: str, headers: Mapping[str, str]) -> str:
    """Return what a canonical request has behind its query: the headers, their names, and the payload's hash."""
    return f"\n{_canonical(names, host, headers)}\n{signed_headers}\n{UNSIGNED_PAYLOAD}"


def _canonical(names: Iterable[str], host: str, headers: Mapping[str, str]) -> str:
    values = {"host": host, **headers}
    return "".join([f"{name}:{' '.join(values[name].split())}\n" for name in names])


@lru_cache(maxsize=256)
def _signed_headers(names: tuple[str, ...]) -> tuple[list[str], str, str]:
    """Return the headers' names with ``host`` in order, as a canonical request has them, and as a query has them."""
    ordered = sorted(("host", *names))
    return ordered, ";".join(ordered), "%3B".join(ordered)
