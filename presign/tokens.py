"""Completion tokens: a grant, signed with the application's secret, for one purpose and a limited time.

They keep the server stateless: any process with the same secret can complete what another one issued.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from hashlib import sha256

import itsdangerous
import orjson

from presign.errors import ConfigurationError, InvalidToken, TokenExpired
from presign.upload import Grant

MIN_SECRET_BYTES = 16
_PURPOSE = b"presign.complete"


class CompletionTokens:
    """Issues and opens completion tokens.

    ``secret`` is text or bytes of at least 16 bytes, or several of them, oldest first: the newest signs, all are
    accepted, so that a secret can be rotated without refusing what is under way.
    """

    def __init__(self, secret: str | bytes | Sequence[str | bytes]) -> None:
        secrets = [secret] if isinstance(secret, str | bytes) else list(secret)
        encoded = [each.encode() if isinstance(each, str) else each for each in secrets]
        if not encoded or any(len(each) < MIN_SECRET_BYTES for each in encoded):
            raise ConfigurationError(
                f"secret must have at least {MIN_SECRET_BYTES} bytes; make one with secrets.token_urlsafe(32)",
                field="secret",
                limit=MIN_SECRET_BYTES,
            )
        deriver = itsdangerous.Signer(encoded, salt=_PURPOSE, key_derivation="hmac", digest_method=sha256)
        # itsdangerous would derive the key anew for every token.
        derived = [deriver.derive_key(each) for each in encoded]
        self._signer = itsdangerous.Signer(derived, salt=_PURPOSE, key_derivation="none", digest_method=sha256)
        self._newest_key = derived[-1]

    def issue(self, grant: Grant, *, expires_at: datetime) -> str:
        """Return a token, safe in URLs, that opens to ``grant`` until ``expires_at``."""
        payload = orjson.dumps(
            [
                int(expires_at.timestamp()),
                grant.key,
                grant.content_type,
                grant.min_bytes,
                grant.max_bytes,
                int(grant.expires_in.total_seconds()),
                grant.create_only,
                grant.sha256,
                grant.content_disposition,
                grant.cache_control,
                dict(grant.metadata),
                grant.verify_content,
                grant.owner,
            ]
        )
        encoded = _url_safe(payload)
        # What Signer.sign writes, in a third of the time; it signs with the newest key, too.
        return f"{encoded.decode()}.{_url_safe(hmac.digest(self._newest_key, encoded, 'sha256')).decode()}"

    def open(self, token: str, *, now: datetime) -> Grant:
        """Return the grant of a token that this secret signed; raises InvalidToken, or TokenExpired at its time."""
        try:
            payload = self._signer.unsign(token)
            members = orjson.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
            expires_at, *rest = members
            grant = _grant_of(*rest)
        except (itsdangerous.BadSignature, binascii.Error, ValueError, TypeError):
            # The cause holds the token.
            raise InvalidToken("the token was not issued by this application, or has been changed") from None
        if now >= datetime.fromtimestamp(expires_at, timezone.utc):
            raise TokenExpired("the token's time is over; ask for a new ticket and upload again")
        return grant


def _url_safe(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def _grant_of(
    key: str,
    content_type: str,
    min_bytes: int,
    max_bytes: int,
    expires_in_seconds: int,
    create_only: bool,
    sha256_hex: str | None,
    content_disposition: str | None,
    cache_control: str | None,
    metadata: dict[str, str],
    verify_content: bool,
    owner: str | None,
) -> Grant:
    return Grant(
        key=key,
        content_type=content_type,
        min_bytes=min_bytes,
        max_bytes=max_bytes,
        expires_in=timedelta(seconds=expires_in_seconds),
        create_only=create_only,
        sha256=sha256_hex,
        content_disposition=content_disposition,
        cache_control=cache_control,
        metadata=metadata,
        verify_content=verify_content,
        owner=owner,
    )
