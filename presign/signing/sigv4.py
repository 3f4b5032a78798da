"""Signature Version 4 for Amazon and Google: credential scopes, canonical requests, presigned URLs.

Sources: "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)", Amazon S3 API Reference;
"Signatures", "Canonical requests" and "V4 signing process with your own program", Cloud Storage documentation.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Protocol

from presign.errors import ConfigurationError
from presign.signing.bucket_location import BucketLocation
from presign.signing.hmac_sha256 import HmacSha256Key
from presign.signing.quoting import quote_path, quote_value

MAX_EXPIRES_SECONDS = 604_800
"""The longest lifetime of a presigned URL: seven days."""

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
GOOGLE_CONTENT_SHA256 = "x-goog-content-sha256"
"""A header of Google's requests: the SHA-256 of the body in hexadecimal digits."""
_EMPTY_SHA256 = sha256().hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Dialect:
    """The names that one provider uses in Signature Version 4; one instance for each algorithm."""

    algorithm: str
    parameter_prefix: str
    request_type: str


AWS4 = Dialect(algorithm="AWS4-HMAC-SHA256", parameter_prefix="X-Amz-", request_type="aws4_request")
GOOG4_RSA = Dialect(algorithm="GOOG4-RSA-SHA256", parameter_prefix="X-Goog-", request_type="goog4_request")
GOOG4_HMAC = Dialect(algorithm="GOOG4-HMAC-SHA256", parameter_prefix="X-Goog-", request_type="goog4_request")

ALGORITHM = AWS4.algorithm


class SigningKey(Hashable, Protocol):
    """A key that signs: an HMAC key derived for one day, or an RSA key."""

    def hexdigest(self, message: bytes, /) -> str:
        """Return the message's signature in lower-case hexadecimal digits."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A credential scope: one access key on one day in one region and service, with the key that signs there.

    ``credential`` is the value of X-Amz-Credential or X-Goog-Credential. ``query_prefix`` is the beginning of a
    presigned URL's query, up to the value of its date. ``repr`` leaves out ``key`` and what identifies the account.
    """

    dialect: Dialect
    name: str
    credential: str = field(repr=False)
    query_prefix: str = field(repr=False)
    key: SigningKey = field(repr=False)

    def string_to_sign(self, timestamp: str, hashed_request: str) -> str:
        """Return the string to sign; ``hashed_request`` is the canonical request's SHA-256 in hexadecimal digits."""
        return f"{self.dialect.algorithm}\n{timestamp}\n{self.name}\n{hashed_request}"


@lru_cache(maxsize=64)
def key_scope(*, dialect: Dialect, access_key: str, key: SigningKey, date: str, region: str, service: str) -> Scope:
    """Return the scope of ``date`` (YYYYMMDD) for a key that signs without derivation, such as an RSA key."""
    name = f"{date}/{region}/{service}/{dialect.request_type}"
    credential = f"{access_key}/{name}"
    prefix = dialect.parameter_prefix
    return Scope(
        dialect=dialect,
        name=name,
        credential=credential,
        query_prefix=(
            f"{prefix}Algorithm={dialect.algorithm}&{prefix}Credential={quote_value(credential)}&{prefix}Date="
        ),
        key=key,
    )


@lru_cache(maxsize=64)
def hmac_scope(
    *, access_key: str, secret_key: str, date: str, region: str, service: str, dialect: Dialect = AWS4
) -> Scope:
    """Return the scope of ``date`` (YYYYMMDD) for a secret key, from which the day's signing key is derived once."""
    key = (dialect.algorithm.partition("-")[0] + secret_key).encode()
    for part in (date, region, service, dialect.request_type):
        key = HmacSha256Key(key).digest(part.encode())
    return key_scope(
        dialect=dialect, access_key=access_key, key=HmacSha256Key(key), date=date, region=region, service=service
    )


def check_expires_seconds(expires_seconds: int) -> None:
    """Raise ConfigurationError unless both providers accept this lifetime: 1 to 604,800 seconds."""
    if not 1 <= expires_seconds <= MAX_EXPIRES_SECONDS:
        raise ConfigurationError(
            f"a presigned URL is valid for 1 to {MAX_EXPIRES_SECONDS} seconds",
            field="expires_in",
            value=expires_seconds,
            limit=MAX_EXPIRES_SECONDS,
        )


class UrlSigner:
    """Presign URLs that start and expire at the same time.

    ``timestamp`` is YYYYMMDDTHHMMSSZ, on the scope's day. Everything that these URLs have in common is put together
    once. Raises ConfigurationError unless ``expires_seconds`` lies between 1 and 604,800.
    """

    __slots__ = ("_canonical_head", "_query_head", "_query_tail", "prefix", "sign")

    def __init__(self, *, scope: Scope, timestamp: str, expires_seconds: int, session_token: str | None = None) -> None:
        check_expires_seconds(expires_seconds)
        prefix = scope.dialect.parameter_prefix
        self.prefix: str = prefix
        head = f"{scope.query_prefix}{timestamp}&{prefix}Expires={expires_seconds}"
        token = "" if session_token is None else f"&{prefix}Security-Token={quote_value(session_token)}"
        # The canonical request has the parameters sorted by name, so the token comes before the signed headers.
        self._canonical_head = f"{head}{token}&{prefix}SignedHeaders="
        self._query_head = f"{head}&{prefix}SignedHeaders="
        self._query_tail = f"{token}&{prefix}Signature="
        self.sign: Callable[[bytes], str] = _signing(scope.key, scope.string_to_sign(timestamp, "").encode())
        """Return the signature, in hexadecimal digits, of the canonical request that has these: its SHA-256."""

    def sign_url(
        self,
        location: BucketLocation,
        method: str,
        key: str,
        headers: Mapping[str, str],
        query: Collection[tuple[str, str]] = (),
    ) -> str:
        """Return a presigned URL for one request on an object.

        The client must send ``headers`` with exactly these values; names are in lower case, without ``host``. ``query``
        holds extra parameters, not yet encoded. Raises ConfigurationError for a parameter whose name begins with the
        signature's own prefix.
        """
        # RequestSeriesSigner would give the same URL, and take a third longer for a single one.
        quoted_key = quote_path(key)
        names, signed_headers, quoted_signed_headers = _signed_headers(tuple(headers))
        canonical_query, sent_query = self.queries(quoted_signed_headers)
        if query:
            encoded, sorts_last = _encoded(query, self.prefix)
            if sorts_last:
                canonical_query = f"{canonical_query}{encoded}"
            else:
                canonical_query = _merged(canonical_query, query, self.prefix)
            sent_query = f"{encoded[1:]}&{sent_query}"
        tail = _canonical_tail(names, signed_headers, location.host, headers)
        canonical_request = f"{method}\n{location.path_prefix}{quoted_key}\n{canonical_query}{tail}"
        signature = self.sign(sha256(canonical_request.encode()).hexdigest().encode())
        return f"{location.base_url}{quoted_key}?{sent_query}{signature}"

    def queries(self, quoted_signed_headers: str) -> tuple[str, str]:
        """Return the signature's parameters as the canonical request has them, and as the URL has them.

        The URL's parameters end with ``Signature=``, ready for the signature.
        """
        return (
            f"{self._canonical_head}{quoted_signed_headers}",
            f"{self._query_head}{quoted_signed_headers}{self._query_tail}",
        )


class RequestSeriesSigner:
    """Sign many requests that differ only in their extra query parameters, such as those for the parts of one upload.

    ``path`` is percent-encoded (see ``quoting``). The client must send ``headers`` with exactly these values; names are
    in lower case, without ``host``. The common beginning of the canonical requests is hashed once.
    """

    __slots__ = ("_canonical_query", "_hashed_head", "_head", "_sent_query", "_tail", "_url_signer")

    def __init__(self, url_signer: UrlSigner, *, method: str, host: str, path: str, headers: Mapping[str, str]) -> None:
        names, signed_headers, quoted_signed_headers = _signed_headers(tuple(headers))
        self._url_signer = url_signer
        self._canonical_query, self._sent_query = url_signer.queries(quoted_signed_headers)
        self._head = f"{method}\n{path}\n"
        self._tail = _canonical_tail(names, signed_headers, host, headers)
        self._hashed_head = sha256(f"{self._head}{self._canonical_query}".encode())

    def sign(self, query: Collection[tuple[str, str]] = ()) -> str:
        """Return the query string, without ``?``, with the extra parameters ``query``, which are not yet encoded.

        Raises ConfigurationError for a parameter whose name begins with the signature's own prefix.
        """
        encoded, sorts_last = _encoded(query, self._url_signer.prefix)
        if sorts_last:
            hashed = self._hashed_head.copy()
            hashed.update(f"{encoded}{self._tail}".encode())
        else:
            merged = _merged(self._canonical_query, query, self._url_signer.prefix)
            hashed = sha256(f"{self._head}{merged}{self._tail}".encode())
        signature = self._url_signer.sign(hashed.hexdigest().encode())
        return f"{encoded[1:]}{'&' if encoded else ''}{self._sent_query}{signature}"

    def numbered(self, url: str, name: str, others: str) -> Callable[[int], str]:
        """Return what signs ``url`` for requests that differ in one number alone, which is the parameter ``name``.

        ``others`` are the other extra parameters, percent-encoded and sorted, each after an ``&``. They must sort after
        ``name``, and that after the signature's own, as names do that begin with a small letter.
        """
        hashed_head = self._hashed_head.copy()
        hashed_head.update(f"&{name}=".encode())
        copy_head, sign_hash = hashed_head.copy, self._url_signer.sign
        tail = f"{others}{self._tail}".encode()
        before, after = f"{url}?{name}=", f"{others}&{self._sent_query}"

        def sign(number: int) -> str:
            hashed = copy_head()
            hashed.update(b"%d%b" % (number, tail))
            return f"{before}{number}{after}{sign_hash(hashed.hexdigest().encode())}"

        return sign


def authorized_headers(
    *,
    scope: Scope,
    timestamp: str,
    method: str,
    host: str,
    path: str,
    headers: Mapping[str, str],
    query: str = "",
    session_token: str | None = None,
) -> dict[str, str]:
    """Return ``headers`` together with the headers that authenticate a request to S3; all of them are signed.

    This is for the server's own requests without body: the signature stays out of URLs, and so out of the logs of URLs.
    ``path`` and ``headers`` are as in RequestSeriesSigner; ``query`` is canonical: sorted, encoded, without ``?``.
    """
    sent = {**headers, "x-amz-content-sha256": _EMPTY_SHA256, "x-amz-date": timestamp}
    if session_token is not None:
        sent["x-amz-security-token"] = session_token
    names, signed_headers, _ = _signed_headers(tuple(sent))
    canonical_headers = _canonical_headers(names, host, sent)
    canonical_request = f"{method}\n{path}\n{query}\n{canonical_headers}\n{signed_headers}\n{_EMPTY_SHA256}"
    hashed_request = sha256(canonical_request.encode()).hexdigest()
    signature = scope.key.hexdigest(scope.string_to_sign(timestamp, hashed_request).encode())
    sent["authorization"] = (
        f"{scope.dialect.algorithm} Credential={scope.credential}, "
        f"SignedHeaders={signed_headers}, Signature={signature}"
    )
    return sent


def _signing(key: SigningKey, beginning: bytes) -> Callable[[bytes], str]:
    """Return what signs messages that all begin so, given what follows."""
    if isinstance(key, HmacSha256Key):
        return key.for_messages_after(beginning).hexdigest
    return lambda following: key.hexdigest(beginning + following)


def _encoded(query: Collection[tuple[str, str]], prefix: str) -> tuple[str, bool]:
    """Return ``query`` encoded, each parameter after an ``&``, and whether it is sorted and sorts after the signature.

    Parameters that sort after the signature's own can be appended to them; others must be merged.
    """
    encoded, sorts_last = "", True
    # Every name that begins with the prefix sorts before this.
    last_name = f"{prefix}\x7f"
    for name, value in query:
        quoted_name = quote_value(name)
        sorts_last = sorts_last and last_name < quoted_name
        last_name = quoted_name
        encoded = f"{encoded}&{quoted_name}={quote_value(value)}"
    return encoded, sorts_last


def _merged(canonical_query: str, query: Collection[tuple[str, str]], prefix: str) -> str:
    """Return the signature's parameters and the extra ones in the order of their names."""
    extra = sorted([(quote_value(name), quote_value(value)) for name, value in query])
    index = bisect_left(extra, (prefix,))
    if index < len(extra) and extra[index][0].startswith(prefix):
        raise ConfigurationError(f"query parameters that begin with {prefix} belong to the signature", field="query")
    merged = [f"{name}={value}" for name, value in extra]
    merged.insert(index, canonical_query)
    return "&".join(merged)


def _canonical_tail(names: Iterable[str], signed_headers: str, host: str, headers: Mapping[str, str]) -> str:
    """Return the canonical request after its query: the headers, their names, and the payload's hash.

    Google takes the hash from the header that promises it. Amazon has no such header in a presigned URL.
    """
    payload = headers.get(GOOGLE_CONTENT_SHA256, UNSIGNED_PAYLOAD)
    return f"\n{_canonical_headers(names, host, headers)}\n{signed_headers}\n{payload}"


def _canonical_headers(names: Iterable[str], host: str, headers: Mapping[str, str]) -> str:
    values = {"host": host, **headers}
    return "".join([f"{name}:{' '.join(values[name].split())}\n" for name in names])


@lru_cache(maxsize=256)
def _signed_headers(names: tuple[str, ...]) -> tuple[list[str], str, str]:
    """Return the names of the headers and ``host``: sorted, as the canonical request has them, and percent-encoded."""
    ordered = sorted(("host", *names))
    return ordered, ";".join(ordered), "%3B".join(ordered)
