"""Digests that a request promises for its body, in Base64."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from emulators.received_request import Refusal


def base64_or_empty(text: str) -> bytes:
    """The decoded bytes, or none if the text is not Base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def is_digest(promised: str, digest: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(base64_or_empty(promised), digest)


def check_is_md5(promised: str | None) -> None:
    """Refuse a Content-MD5 that cannot be the digest of anything."""
    if promised is not None and len(base64_or_empty(promised)) != hashlib.md5().digest_size:
        raise Refusal(400, "InvalidDigest", "The Content-MD5 you specified is not valid.")


def check_md5(promised: str | None, body: bytes) -> None:
    """Refuse a body that is not the one promised."""
    if promised is not None and not is_digest(promised, hashlib.md5(body).digest()):
        raise Refusal(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
