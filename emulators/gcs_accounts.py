"""Service accounts of the GCS reference: their keys, and the bearer tokens that their signed assertions buy.

Source: Google Identity, "Using OAuth 2.0 for Server to Server Applications".
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulators.received_request import ReceivedRequest, Refusal

TOKEN_LIFETIME = timedelta(hours=1)
# google-auth names this audience whatever the account's token_uri is.
GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"
ASSERTION_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class TokenEndpoint:
    """Gives bearer tokens to `accounts` (public keys by e-mail), and knows whose they are; `tokens` are valid as well.

    The identity of one of `tokens` is the token itself. With `anonymous` nobody needs one.
    """

    def __init__(
        self,
        *,
        accounts: Mapping[str, rsa.RSAPublicKey],
        tokens: frozenset[str],
        anonymous: bool,
        clock: Callable[[], datetime],
    ) -> None:
        self._accounts = dict(accounts)
        self._tokens = tokens
        self._anonymous = anonymous
        self._clock = clock
        self._issued: dict[str, tuple[str, datetime]] = {}

    def identity(self, received: ReceivedRequest) -> str:
        """Whose token a request carries; refused without a valid one."""
        authorization = received.header("authorization")
        if authorization is None and self._anonymous:
            return "anonymous"
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() == "bearer":
            if token in self._tokens:
                return token
            identity, until = self._issued.get(token, ("", None))
            if until is not None and self._clock() < until:
                return identity
        raise Refusal(401, "authError", "Invalid Credentials")

    async def answer(self, request: Request) -> Response:
        """Give a token for a proper assertion."""
        form = parse_qs((await request.body()).decode("latin-1"))
        try:
            if form.get("grant_type") != [ASSERTION_GRANT]:
                raise ValueError("unsupported grant type")
            identity = self._check_assertion(form.get("assertion", [""])[0], own_url=str(request.url))
        except (ValueError, KeyError, TypeError, InvalidSignature):
            return JSONResponse({"error": "invalid_grant", "error_description": "Invalid JWT"}, status_code=400)
        token = secrets.token_urlsafe(24)
        self._issued[token] = (identity, self._clock() + TOKEN_LIFETIME)
        seconds = int(TOKEN_LIFETIME.total_seconds())
        return JSONResponse({"access_token": token, "expires_in": seconds, "token_type": "Bearer"})

    def _check_assertion(self, assertion: str, *, own_url: str) -> str:
        header, claims, signature = assertion.split(".")
        if json.loads(_base64url_decoded(header)).get("alg") != "RS256":
            raise ValueError("unsupported algorithm")
        claimed = json.loads(_base64url_decoded(claims))
        public_key = self._accounts[claimed["iss"]]
        public_key.verify(_base64url_decoded(signature), f"{header}.{claims}".encode(), PKCS1v15(), SHA256())
        now = self._clock().timestamp()
        if not claimed["iat"] - 300 <= now < claimed["exp"] <= claimed["iat"] + 3600:
            raise ValueError("not valid at this time")
        if claimed["aud"] not in (GOOGLE_TOKEN_URI, own_url):
            raise ValueError("meant for somebody else")
        return str(claimed["iss"])


def _base64url_decoded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not Base64") from error


def generate_credentials(path: Path, *, token_uri: str) -> None:
    """Write a service account's JSON that only its owner may read; a key that is there already stays."""
    if path.exists():
        account = {**json.loads(path.read_text()), "token_uri": token_uri}
    else:
        pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {
            "type": "service_account",
            "project_id": "reference",
            "private_key_id": secrets.token_hex(20),
            "private_key": pem.decode(),
            "client_email": "signer@reference.iam.gserviceaccount.com",
            "client_id": "100000000000000000001",
            "token_uri": token_uri,
        }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(account, file, indent=2)


def trusted_account(path: Path) -> dict[str, rsa.RSAPublicKey]:
    """The client e-mail and public key of a service account's JSON."""
    account = json.loads(path.read_text())
    key = serialization.load_pem_private_key(account["private_key"].encode(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"{path}: private_key is not an RSA key")
    return {account["client_email"]: key.public_key()}
