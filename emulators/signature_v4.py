"""Judge of V4 signatures: AWS4-HMAC-SHA256, GOOG4-RSA-SHA256 and GOOG4-HMAC-SHA256.

Sources: Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)",
"Signature Calculations for the Authorization Header", "Authenticating Requests in Browser-Based Uploads Using POST";
Cloud Storage, "Signatures", "Canonical requests", "V4 signing process with your own program".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from emulators.received_request import ReceivedRequest, Refusal, percent_encoded

LONGEST_EXPIRY = timedelta(seconds=604_800)
GREATEST_SKEW = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """The words in which one provider speaks V4, and the status and code of each of its refusals."""

    algorithms: frozenset[str]
    parameter_prefix: str
    header_prefix: str
    must_be_signed: tuple[str, ...]
    service: str
    terminator: str
    malformed: tuple[int, str]
    malformed_form: tuple[int, str]
    unsigned_header: tuple[int, str]
    unsent_header: tuple[int, str]
    too_early: tuple[int, str]
    expired: tuple[int, str]
    unknown_key: tuple[int, str]


AWS4 = Dialect(
    algorithms=frozenset({"AWS4-HMAC-SHA256"}),
    parameter_prefix="X-Amz-",
    header_prefix="x-amz-",
    must_be_signed=("x-amz-",),
    service="s3",
    terminator="aws4_request",
    malformed=(400, "AuthorizationQueryParametersError"),
    malformed_form=(400, "InvalidArgument"),
    unsigned_header=(403, "AccessDenied"),
    unsent_header=(403, "SignatureDoesNotMatch"),
    too_early=(403, "AccessDenied"),
    expired=(403, "AccessDenied"),
    unknown_key=(403, "InvalidAccessKeyId"),
)

GOOG4 = Dialect(
    algorithms=frozenset({"GOOG4-RSA-SHA256", "GOOG4-HMAC-SHA256"}),
    parameter_prefix="X-Goog-",
    header_prefix="x-goog-",
    must_be_signed=("x-goog-", "x-amz-"),
    service="storage",
    terminator="goog4_request",
    malformed=(400, "MalformedSecurityHeader"),
    malformed_form=(400, "InvalidArgument"),
    unsigned_header=(400, "MalformedSecurityHeader"),
    unsent_header=(400, "MalformedSecurityHeader"),
    too_early=(403, "RequestTimeTooSkewed"),
    expired=(400, "ExpiredToken"),
    unknown_key=(403, "InvalidSecurity"),
)


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A credential scope: who signed, for which day, region, service."""

    key_id: str
    date: str
    region: str
    service: str
    terminator: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{self.terminator}"


class VerifyingKey(Protocol):
    """What the storage knows of a signer."""

    @property
    def algorithm(self) -> str: ...

    @property
    def session_token(self) -> str | None: ...

    def verifies(self, signature: str, string_to_sign: bytes, scope: Scope) -> bool:
        """True for this key's own signature in lower-case hexadecimal."""
        ...


@dataclass(frozen=True, kw_only=True)
class HmacKey:
    """A secret shared with the storage; a temporary one has a session token."""

    secret: str = field(repr=False)
    algorithm: str = "AWS4-HMAC-SHA256"
    session_token: str | None = field(default=None, repr=False)

    def verifies(self, signature: str, string_to_sign: bytes, scope: Scope) -> bool:
        key = (self.algorithm.partition("-")[0] + self.secret).encode()
        for part in (scope.date, scope.region, scope.service, scope.terminator):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        expected = hmac.new(key, string_to_sign, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected.encode(), signature.encode())


@dataclass(frozen=True, kw_only=True)
class RsaKey:
    """The public key of a service account."""

    public_key: RSAPublicKey
    algorithm: str = "GOOG4-RSA-SHA256"
    session_token: None = None

    def verifies(self, signature: str, string_to_sign: bytes, scope: Scope) -> bool:
        if not re.fullmatch("([0-9a-f]{2})+", signature):
            return False
        try:
            self.public_key.verify(bytes.fromhex(signature), string_to_sign, PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, kw_only=True)
class Admission:
    """Who signed a request, and the payload hash that the signature binds."""

    key_id: str
    payload: str = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Verifies signatures of one dialect against known keys at a given time."""

    dialect: Dialect
    keys: Mapping[str, VerifyingKey]
    region: str | None = None
    checks_expiry: bool = True

    def is_signed_by_query(self, request: ReceivedRequest) -> bool:
        """True if any signature parameter was sent, whatever its case: such a request is never anonymous."""
        prefix = self.dialect.parameter_prefix.lower()
        names = {prefix + name for name in ("algorithm", "credential", "signature")}
        return any(name.lower() in names for name, _ in request.query)

    def check_query(self, request: ReceivedRequest, now: datetime) -> Admission:
        """Admit a presigned URL within its lifetime, else raise Refusal."""
        dialect, prefix = self.dialect, self.dialect.parameter_prefix
        names = [name.lower() for name, _ in request.query]
        if len(set(names)) != len(names):
            raise Refusal(*dialect.malformed, "A query parameter was sent twice.")
        algorithm, credential, date, expires, signed_headers, signature = (
            self._required(dict(request.query), prefix + name, dialect.malformed)
            for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
        )
        if not re.fullmatch("[1-9][0-9]{0,5}", expires) or timedelta(seconds=int(expires)) > LONGEST_EXPIRY:
            raise Refusal(*dialect.malformed, f"{prefix}Expires must be 1 to 604800 seconds.")
        scope = self._scope(algorithm, credential, date, dialect.malformed)
        signed_at = self._signed_at(date, now, dialect.malformed)
        if self.checks_expiry and now > signed_at + timedelta(seconds=int(expires)):
            raise Refusal(*dialect.expired, "Request has expired")
        key = self._key(scope, algorithm)
        self._check_session_token(key, request.parameter(prefix + "Security-Token"))
        payload = self._bound_payload(request, signed_headers)
        unsigned_query = tuple(pair for pair in request.query if pair[0] != prefix + "Signature")
        self._check_request(request, unsigned_query, signed_headers, payload, algorithm, date, scope, key, signature)
        return Admission(key_id=scope.key_id, payload=payload)

    def check_authorization_header(self, request: ReceivedRequest, now: datetime) -> Admission:
        """Admit a request signed in its Authorization header (S3 only), else raise Refusal."""
        malformed = (400, "AuthorizationHeaderMalformed")
        match = re.fullmatch(
            r"(?P<algorithm>\S+) Credential=(?P<credential>[^\s,]+), ?"
            r"SignedHeaders=(?P<signed>[^\s,]+), ?Signature=(?P<signature>\S+)",
            request.header("authorization") or "",
        )
        if match is None:
            raise Refusal(*malformed, "The authorization header is malformed.")
        date, payload = request.header("x-amz-date"), request.header("x-amz-content-sha256")
        if date is None:
            raise Refusal(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
        if payload is None:
            raise Refusal(400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
        scope = self._scope(match["algorithm"], match["credential"], date, malformed)
        if abs(now - _timestamp(date, malformed)) > GREATEST_SKEW:
            raise Refusal(403, "RequestTimeTooSkewed", "The request time and the current time differ too much.")
        key = self._key(scope, match["algorithm"])
        self._check_session_token(key, request.header("x-amz-security-token"))
        self._bound_payload(request, match["signed"])
        self._check_request(
            request, request.query, match["signed"], payload, match["algorithm"], date, scope, key, match["signature"]
        )
        return Admission(key_id=scope.key_id, payload=payload)

    def check_form(self, fields: Mapping[str, str], now: datetime) -> Admission:
        """Admit the signature fields of a POST form (names in lower case), else raise Refusal."""
        dialect, prefix = self.dialect, self.dialect.header_prefix
        algorithm, credential, date, signature = (
            self._required(fields, prefix + name, dialect.malformed_form)
            for name in ("algorithm", "credential", "date", "signature")
        )
        scope = self._scope(algorithm, credential, date, dialect.malformed_form)
        if now > self._signed_at(date, now, dialect.malformed_form) + LONGEST_EXPIRY:
            raise Refusal(*dialect.expired, "The signing key's seven days are over.")
        key = self._key(scope, algorithm)
        self._check_session_token(key, fields.get(prefix + "security-token"))
        if not key.verifies(signature, fields["policy"].encode(), scope):
            raise self._mismatch()
        return Admission(key_id=scope.key_id)

    def _check_request(
        self,
        request: ReceivedRequest,
        query: tuple[tuple[str, str], ...],
        signed_headers: str,
        payload: str,
        algorithm: str,
        date: str,
        scope: Scope,
        key: VerifyingKey,
        signature: str,
    ) -> None:
        names = signed_headers.split(";")
        lines = (f"{name}:{request.header(name)}\n" for name in names)
        pairs = sorted((percent_encoded(name), percent_encoded(value)) for name, value in query)
        canonical_request = "\n".join(
            (
                request.method,
                percent_encoded(request.path, keep_slashes=True),
                "&".join(f"{name}={value}" for name, value in pairs),
                "".join(lines),
                signed_headers,
                payload,
            )
        )
        digest = hashlib.sha256(canonical_request.encode()).hexdigest()
        if not key.verifies(signature, f"{algorithm}\n{date}\n{scope}\n{digest}".encode(), scope):
            raise self._mismatch()

    def _bound_payload(self, request: ReceivedRequest, signed_headers: str) -> str:
        """The payload hash of a request whose list of signed headers is well formed and leaves nothing out."""
        dialect = self.dialect
        names = signed_headers.split(";")
        if "host" not in names or names != sorted(set(names)) or signed_headers != signed_headers.lower():
            raise Refusal(*dialect.malformed, "SignedHeaders must be sorted, in lower case, and hold host.")
        for name, _ in request.headers:
            if name.startswith(dialect.must_be_signed) and name not in names:
                message = f"There were headers present in the request which were not signed: {name}"
                raise Refusal(*dialect.unsigned_header, message)
        for name in names:
            if request.header(name) is None:
                raise Refusal(*dialect.unsent_header, f"Header was included in signedheaders, but not sent: {name}")
        return request.header(dialect.header_prefix + "content-sha256") or "UNSIGNED-PAYLOAD"

    def _scope(self, algorithm: str, credential: str, date: str, malformed: tuple[int, str]) -> Scope:
        if algorithm not in self.dialect.algorithms:
            raise Refusal(*malformed, "The algorithm is not supported.")
        parts = credential.rsplit("/", 4)
        if len(parts) != 5 or not all(parts):
            raise Refusal(*malformed, "The credential must be KEY/DATE/REGION/SERVICE/TERMINATOR.")
        scope = Scope(key_id=parts[0], date=parts[1], region=parts[2], service=parts[3], terminator=parts[4])
        if (scope.service, scope.terminator) != (self.dialect.service, self.dialect.terminator):
            raise Refusal(*malformed, "The credential's service or terminator is wrong.")
        if self.region is not None and scope.region != self.region:
            raise Refusal(*malformed, f"The credential's region is wrong; expecting '{self.region}'.")
        if not date.startswith(scope.date + "T"):
            raise Refusal(*malformed, "The credential's date is not that of the request.")
        return scope

    def _signed_at(self, date: str, now: datetime, malformed: tuple[int, str]) -> datetime:
        signed_at = _timestamp(date, malformed)
        if signed_at - now > GREATEST_SKEW:
            raise Refusal(*self.dialect.too_early, "Request is not yet valid")
        return signed_at

    def _key(self, scope: Scope, algorithm: str) -> VerifyingKey:
        key = self.keys.get(scope.key_id)
        if key is None:
            raise Refusal(*self.dialect.unknown_key, "The key Id you provided does not exist in our records.")
        if key.algorithm != algorithm:
            raise self._mismatch()
        return key

    def _check_session_token(self, key: VerifyingKey, sent: str | None) -> None:
        if key.session_token is not None and sent is None:
            raise Refusal(*self.dialect.unknown_key, "A temporary key needs its session token.")
        if sent is not None and not hmac.compare_digest(sent.encode(), (key.session_token or "").encode()):
            raise Refusal(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")

    @staticmethod
    def _required(values: Mapping[str, str], name: str, malformed: tuple[int, str]) -> str:
        value = values.get(name)
        if not value:
            raise Refusal(*malformed, f"{name} is missing.")
        return value

    @staticmethod
    def _mismatch() -> Refusal:
        return Refusal(403, "SignatureDoesNotMatch", "The signature we calculated does not match the one you provided.")


def _timestamp(date: str, malformed: tuple[int, str]) -> datetime:
    if not re.fullmatch("[0-9]{8}T[0-9]{6}Z", date):
        raise Refusal(*malformed, "The date must be YYYYMMDD'T'HHMMSS'Z'.")
    try:
        return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise Refusal(*malformed, "The date does not exist.") from error
