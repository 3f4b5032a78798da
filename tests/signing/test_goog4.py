"""GOOG4 against google-cloud-storage, byte for byte, on generated inputs.

The SDK signs with whatever ``google.auth.credentials.Signing`` it is given. Most inputs are signed on both sides with
the same HMAC, which is as sensitive to every byte of the string to sign as RSA and a hundred times faster; a part is
signed with a service account's RSA key of 2048 bits. The SDK knows no GOOG4-HMAC-SHA256: there its URL is signed anew,
by Google's description written out here.
"""

from __future__ import annotations

import base64
import hmac
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import AnonymousCredentials, Signing
from google.cloud import storage  # type: ignore[import-untyped]
from google.cloud.storage._signing import generate_signed_url_v4, get_canonical_headers  # type: ignore[import-untyped]
from google.oauth2 import service_account

from presign.signing import sigv4
from presign.signing.bucket_location import BucketLocation
from presign.signing.post_policy import FormSigner

SEED = 20260131
INPUTS = 10_000
RSA_INPUTS = 300
EMAIL = "signer@project.iam.gserviceaccount.com"

# Every kind of character that a key may hold: reserved, unreserved, escapes, spaces, accents, CJK, emoji, combining.
KEY_ALPHABET = "abcXYZ019-._~ !\"#$%&'()*+,/:;<=>?@[\\]^`{|}" + "äéßÿ" + "日本語" + "🦊" + "e\u0301" + "\u00a0"
ASCII = "".join(map(chr, range(0x21, 0x7F)))
# The SDK sorts "name=value" and Google's description sorts names: no name here is another with "-" or "." behind.
QUERY_NAMES = ["response-content-disposition", "response-content-type", "generation", "userProject", "x-note", "A~b"]
HEADER_NAMES = [
    "Cache-Control",
    "Content-Disposition",
    "Content-MD5",
    "Content-Type",
    "x-goog-content-length-range",
    "x-goog-if-generation-match",
    "x-goog-meta-a",
    "x-goog-meta-ab",
    "x-goog-meta-a_b",
]
BUCKETS = ["uploads", "up.loads.example.com", "up_loads-2"]


class SharedHmac(Signing):
    """Signs for the SDK and for presign with the same HMAC in RSA's stead."""

    signer = None
    signer_email = EMAIL

    def sign_bytes(self, message: bytes) -> bytes:
        return hmac.digest(b"shared", message, "sha256")

    def hexdigest(self, message: bytes) -> str:
        return self.sign_bytes(message).hex()


class AsPresignKey:
    """A service account's credentials as a signing key."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def hexdigest(self, message: bytes) -> str:
        signature: bytes = self._credentials.sign_bytes(message)
        return signature.hex()


@dataclass(frozen=True, kw_only=True)
class UrlInput:
    method: str
    key: str
    base_url: str
    path_prefix: str
    timestamp: str
    expires_seconds: int
    headers: dict[str, str]
    query: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class FormInput:
    key: str
    bucket: str
    fields: dict[str, str]
    min_bytes: int
    max_bytes: int
    expires_seconds: int


def url_inputs(count: int) -> Iterator[UrlInput]:
    chance = random.Random(SEED)
    for _ in range(count):
        bucket = chance.choice(BUCKETS)
        base_url, path_prefix = chance.choice(
            [
                ("https://storage.googleapis.com", f"/{bucket}/"),
                (f"https://{bucket}.storage.googleapis.com", "/"),
                ("https://uploads.example.com", "/"),
                ("http://localhost:4443", f"/{bucket}/"),
            ]
        )
        yield UrlInput(
            method=chance.choice(["GET", "PUT", "HEAD", "DELETE"]),
            key=_text(chance, KEY_ALPHABET, 40),
            base_url=base_url,
            path_prefix=path_prefix,
            timestamp=_moment(chance).strftime("%Y%m%dT%H%M%SZ"),
            expires_seconds=chance.randint(1, 604_800),
            headers=_headers(chance),
            query={name: _text(chance, KEY_ALPHABET, 20) for name in chance.sample(QUERY_NAMES, chance.randint(0, 3))},
        )


def form_inputs(count: int) -> Iterator[FormInput]:
    chance = random.Random(SEED + 1)
    for _ in range(count):
        bounds = sorted([chance.randint(0, 2**40), chance.randint(0, 2**40)])
        yield FormInput(
            key=_text(chance, KEY_ALPHABET, 40),
            bucket=chance.choice(BUCKETS),
            fields={name: _text(chance, KEY_ALPHABET, 30) for name in chance.sample(HEADER_NAMES, 3)},
            min_bytes=bounds[0],
            max_bytes=bounds[1],
            expires_seconds=chance.randint(1, 604_800),
        )


def _text(chance: random.Random, alphabet: str, longest: int) -> str:
    return "".join(chance.choices(alphabet, k=chance.randint(1, longest)))


def _headers(chance: random.Random) -> dict[str, str]:
    headers = {name: _header_value(chance) for name in chance.sample(HEADER_NAMES, chance.randint(0, 6))}
    if chance.random() < 0.3:
        headers["x-goog-content-sha256"] = f"{chance.getrandbits(256):064x}"
    return headers


def _header_value(chance: random.Random) -> str:
    # With runs of spaces inside, which the canonical form folds.
    return " ".join(_text(chance, ASCII, 12) + " " * chance.randint(0, 2) for _ in range(chance.randint(1, 3))).strip()


def _moment(chance: random.Random) -> datetime:
    return datetime(2020, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=chance.randint(0, 2_000_000_000))


def sdk_url(given: UrlInput, credentials: Any) -> str:
    quoted: str = storage.blob._quote(given.key, safe=b"/~")
    url: str = generate_signed_url_v4(
        credentials,
        resource=f"{given.path_prefix}{quoted}",
        expiration=given.expires_seconds,
        api_access_endpoint=given.base_url,
        method=given.method,
        headers=dict(given.headers),
        query_parameters=dict(given.query),
        _request_timestamp=given.timestamp,
    )
    return url


def our_url(given: UrlInput, scope: sigv4.Scope) -> str:
    url_signer = sigv4.UrlSigner(scope=scope, timestamp=given.timestamp, expires_seconds=given.expires_seconds)
    location = BucketLocation.at(given.base_url, given.path_prefix)
    headers = {name.lower(): value for name, value in given.headers.items()}
    return url_signer.sign_url(location, given.method, given.key, headers, given.query.items())


def in_order(url: str) -> list[str]:
    """The URL with its parameters sorted: the SDK sends them sorted, presign the caller's own first."""
    base, _, query = url.partition("?")
    return [base, *sorted(query.split("&"))]


def rsa_scope(key: Any, timestamp: str) -> sigv4.Scope:
    return sigv4.key_scope(
        dialect=sigv4.GOOG4_RSA, access_key=EMAIL, key=key, date=timestamp[:8], region="auto", service="storage"
    )


@pytest.fixture(scope="module")
def account() -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "type": "service_account",
        "client_email": EMAIL,
        "private_key": pem.decode(),
        "token_uri": "http://unknown.invalid/token",
    }


@pytest.fixture(scope="module")
def credentials(account: dict[str, str]) -> Any:
    return service_account.Credentials.from_service_account_info(account)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def client() -> Any:
    return storage.Client(project="project", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]


def test_signed_urls_are_the_sdks_byte_for_byte() -> None:
    key = SharedHmac()
    without_query = 0
    for given in url_inputs(INPUTS):
        ours, theirs = our_url(given, rsa_scope(key, given.timestamp)), sdk_url(given, key)
        assert in_order(ours) == in_order(theirs), given
        if not given.query:
            without_query += 1
            assert ours == theirs, given
    assert without_query > INPUTS / 10


class RecordingKey:
    """A key that keeps the string to sign, in the place of Google's test key."""

    def hexdigest(self, message: bytes) -> str:
        self.message = message.decode()
        return "signature"


def test_the_string_to_sign_of_a_signed_payload_is_the_one_of_googles_vector() -> None:
    # "Signed Payload Instead of UNSIGNED-PAYLOAD", storage/v1/v4_signatures.json in googleapis/conformance-tests.
    key = RecordingKey()
    scope = sigv4.key_scope(
        dialect=sigv4.GOOG4_RSA,
        access_key="test-iam-credentials@dummy-project-id.iam.gserviceaccount.com",
        key=key,
        date="20190201",
        region="auto",
        service="storage",
    )
    headers = {
        "x-goog-content-sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b982",
        "x-testcasemetadata-payload-value": "hello",
    }
    location = BucketLocation.at("https://storage.googleapis.com", "/test-bucket/")
    url_signer = sigv4.UrlSigner(scope=scope, timestamp="20190201T090000Z", expires_seconds=10)
    url_signer.sign_url(location, "PUT", "test-object", headers)
    assert key.message == (
        "GOOG4-RSA-SHA256\n20190201T090000Z\n20190201/auto/storage/goog4_request\n"
        "be21a0841a897930ff5cf72e6e74ec5274efd76c3fe4cde6678f24a0a3d6dbec"
    )


def test_signed_urls_are_the_sdks_byte_for_byte_with_a_service_accounts_rsa_key(credentials: Any) -> None:
    key = AsPresignKey(credentials)
    for given in url_inputs(RSA_INPUTS):
        assert in_order(our_url(given, rsa_scope(key, given.timestamp))) == in_order(sdk_url(given, credentials)), given


def signed_with_an_hmac_key(url: str, given: UrlInput, *, secret: str) -> str:
    """The SDK's URL, signed anew with an HMAC key as Google's "Signatures" and "Canonical requests" describe it."""
    algorithm = "GOOG4-HMAC-SHA256"
    unsigned, _, _ = url.replace("=GOOG4-RSA-SHA256", f"={algorithm}").partition("&X-Goog-Signature=")
    base, _, query = unsigned.partition("?")
    host = urlsplit(given.base_url).netloc
    lines, pairs = get_canonical_headers({**given.headers, "Host": host})
    signed_headers = ";".join(name for name, _ in pairs)
    path = base.removeprefix(given.base_url)
    payload = given.headers.get("x-goog-content-sha256", "UNSIGNED-PAYLOAD")
    request = "\n".join([given.method, path, query, *lines, "", signed_headers, payload])
    scope = [given.timestamp[:8], "auto", "storage", "goog4_request"]
    string_to_sign = "\n".join([algorithm, given.timestamp, "/".join(scope), sha256(request.encode()).hexdigest()])
    key = f"GOOG4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return f"{unsigned}&X-Goog-Signature={hmac.digest(key, string_to_sign.encode(), 'sha256').hex()}"


def test_urls_signed_with_an_hmac_key_are_the_sdks_but_for_the_algorithm() -> None:
    chance = random.Random(SEED)
    for given in url_inputs(INPUTS):
        secret = _text(chance, ASCII, 80)
        scope = sigv4.hmac_scope(
            dialect=sigv4.GOOG4_HMAC,
            access_key=EMAIL,
            secret_key=secret,
            date=given.timestamp[:8],
            region="auto",
            service="storage",
        )
        theirs = signed_with_an_hmac_key(sdk_url(given, SharedHmac()), given, secret=secret)
        assert in_order(our_url(given, scope)) == in_order(theirs), given


def sdk_form(given: FormInput, client: Any, credentials: Any) -> dict[str, str]:
    signed = client.generate_signed_post_policy_v4(
        given.bucket,
        given.key,
        expiration=timedelta(seconds=given.expires_seconds),
        conditions=[["content-length-range", given.min_bytes, given.max_bytes]],
        fields=dict(given.fields),
        credentials=credentials,
    )
    fields: dict[str, str] = signed["fields"]
    return fields


def assert_same_form(given: FormInput, theirs: dict[str, str], key: Any) -> None:
    timestamp = theirs["x-goog-date"]
    scope = rsa_scope(key, timestamp)
    their_policy = base64.b64decode(theirs["policy"]).decode()
    document = json.loads(their_policy)
    signer = FormSigner(bucket=given.bucket, scope=scope, timestamp=timestamp, expiration=document["expiration"])
    ours = signer.sign({"key": given.key, **given.fields}, min_bytes=given.min_bytes, max_bytes=given.max_bytes)
    policy = base64.b64decode(ours["policy"]).decode()
    assert in_any_order(json.loads(policy)) == in_any_order(document), given
    # Nothing differs but the order of the conditions, and that the SDK escapes what is not ASCII.
    assert policy == json.dumps(json.loads(policy), separators=(",", ":"), ensure_ascii=False), given
    assert their_policy == json.dumps(document, separators=(",", ":")), given
    assert scope.key.hexdigest(theirs["policy"].encode()) == theirs["x-goog-signature"], given
    assert scope.key.hexdigest(ours["policy"].encode()) == ours["x-goog-signature"], given
    own = {"policy": theirs["policy"], "x-goog-signature": theirs["x-goog-signature"]}
    assert {**ours, **own} == theirs, given


def in_any_order(document: dict[str, Any]) -> tuple[list[str], str, list[str]]:
    return list(document), document["expiration"], sorted(json.dumps(item) for item in document["conditions"])


def test_post_policies_say_and_are_signed_as_the_sdks_do(client: Any) -> None:
    key = SharedHmac()
    for given in form_inputs(INPUTS):
        assert_same_form(given, sdk_form(given, client, key), key)


def test_post_policies_are_signed_as_the_sdks_are_with_a_service_accounts_rsa_key(
    client: Any, credentials: Any
) -> None:
    for given in form_inputs(RSA_INPUTS):
        assert_same_form(given, sdk_form(given, client, credentials), AsPresignKey(credentials))
