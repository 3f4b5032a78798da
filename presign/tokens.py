"""Completion tokens: a grant, signed with the application's secret, for one kind of upload and a limited time.

The server stores nothing: any process with the same secret can complete an upload that another process issued.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from hashlib import sha256

import itsdangerous
import orjson

from presign.errors import ConfigurationError, InvalidToken, TokenExpired
from presign.messages import Grant, GrantInParts

MIN_SECRET_BYTES = 16
_MIN_DIFFERENT_BYTES = 5
_SECOND = timedelta(seconds=1)
_PURPOSE = b"presign.complete"
_GRANT_MEMBERS = 16
# The last character of a signature has two bits that carry nothing. Decoders of base64 accept other values of them, and
# padding, so that one token would have many spellings.
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", re.ASCII)


class CompletionTokens:
    """Issue and open completion tokens.

    ``secret`` is text or bytes of at least 16 bytes, or several such secrets, oldest first. The newest secret signs,
    and tokens signed with any of them are accepted, so a secret can be rotated while uploads are in progress.

    A token opens only with the same ``kind`` of upload and the same ``storage`` as it was issued with.
    """

    def __init__(self, secret: str | bytes | Sequence[str | bytes], *, kind: str = "", storage: str = "") -> None:
        secrets = secret if isinstance(secret, Sequence) and not isinstance(secret, str | bytes) else [secret]
        for each in secrets:
            if not isinstance(each, str | bytes):
                # None is what os.environ.get returns.
                raise ConfigurationError(
                    f"secret must be text or bytes, or a list of them, and has {type(each).__name__}; if it comes from "
                    "the environment, set its variable",
                    field="secret",
                )
        encoded = [each.encode() if isinstance(each, str) else each for each in secrets]
        if not encoded or any(len(each) < MIN_SECRET_BYTES for each in encoded):
            raise ConfigurationError(
                f"secret must have at least {MIN_SECRET_BYTES} bytes; make one with secrets.token_urlsafe(32)",
                field="secret",
                limit=MIN_SECRET_BYTES,
            )
        if any(len(set(each)) < _MIN_DIFFERENT_BYTES for each in encoded):
            raise ConfigurationError(
                "secret repeats a few characters, so it can be guessed; make one with secrets.token_urlsafe(32)",
                field="secret",
            )
        # In JSON, two different pairs of kind and storage never give the same text.
        context = _PURPOSE + orjson.dumps([kind, storage])
        deriver = itsdangerous.Signer(encoded, salt=context, key_derivation="hmac", digest_method=sha256)
        # With derivation "none", itsdangerous does not derive the keys again for every token.
        derived = [deriver.derive_key(each) for each in encoded]
        self._signer = itsdangerous.Signer(derived, salt=context, key_derivation="none", digest_method=sha256)

    def issue_in_parts(self, grant: GrantInParts) -> str:
        """Return a URL-safe token that opens to ``grant`` until its ``resumable_until``."""
        upload: tuple[object, ...] = (grant.upload_id, grant.part_bytes, grant.needs_sha256)
        if grant.parts_sha256 is not None:
            upload += (grant.parts_sha256, grant.compared_before_commit)
        return self.issue(grant, expires_at=grant.resumable_until, upload=upload)

    def issue(self, grant: Grant, *, expires_at: datetime, upload: tuple[object, ...] = ()) -> str:
        """Return a URL-safe token that opens to ``grant`` until ``expires_at``; see also ``issue_in_parts``.

        ``upload`` has the members that only a grant in parts has.
        """
        payload = orjson.dumps(
            [
                int(expires_at.timestamp()),
                grant.key,
                grant.content_type,
                grant.min_bytes,
                grant.max_bytes,
                grant.expires_in // _SECOND,
                grant.create_only,
                grant.sha256,
                grant.content_disposition,
                grant.cache_control,
                dict(grant.metadata),
                grant.verify_content,
                grant.owner,
                grant.pending_key,
                dict(grant.tags),
                grant.storage_class,
                grant.name,
                *upload,
            ]
        )
        return self._signer.sign(base64.urlsafe_b64encode(payload).rstrip(b"=")).decode()

    def open(self, token: str, *, now: datetime) -> Grant:
        """Return the grant of a token that one of the secrets signed; raises InvalidToken or TokenExpired.

        It is a GrantInParts if the token is one of ``issue_in_parts``.
        """
        try:
            if not _TOKEN.fullmatch(token):
                raise ValueError
            payload = self._signer.unsign(token)
            members = orjson.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
            expires_at, *rest = members
            grant = _grant(*rest[:_GRANT_MEMBERS])
            if len(rest) > _GRANT_MEMBERS:
                grant = _in_parts(grant, expires_at, *rest[_GRANT_MEMBERS:])
        except (itsdangerous.BadSignature, binascii.Error, ValueError, TypeError):
            # The cause contains the token, and so must not be chained.
            raise InvalidToken("the token was not issued by this application, or it was changed") from None
        if now >= datetime.fromtimestamp(expires_at, timezone.utc):
            raise TokenExpired("the token has expired; ask for a new ticket and upload again")
        return grant


def _grant(
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
    pending_key: str | None,
    tags: dict[str, str],
    storage_class: str | None,
    name: str | None,
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
        pending_key=pending_key,
        tags=tags,
        storage_class=storage_class,
        name=name,
    )


def _in_parts(
    grant: Grant,
    expires_at: int,
    upload_id: str,
    part_bytes: int,
    needs_sha256: bool,
    parts_sha256: str | None = None,
    compared_before_commit: bool = False,
) -> GrantInParts:
    return GrantInParts.of(
        grant,
        upload_id=upload_id,
        part_bytes=part_bytes,
        needs_sha256=needs_sha256,
        resumable_until=datetime.fromtimestamp(expires_at, timezone.utc),
        parts_sha256=parts_sha256,
        compared_before_commit=compared_before_commit,
    )
