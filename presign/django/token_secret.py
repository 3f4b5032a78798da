"""The secret of the tokens, derived from Django's own."""

from __future__ import annotations

from django.conf import settings
from django.utils.crypto import salted_hmac

_SALT = "presign.django.token"


def derived_secrets(alias: str) -> list[bytes]:
    """Return one secret for each of SECRET_KEY_FALLBACKS, and last, which signs, the one of SECRET_KEY."""
    keys = [*reversed(settings.SECRET_KEY_FALLBACKS), settings.SECRET_KEY]
    return [bytes(salted_hmac(_SALT, alias, secret=key, algorithm="sha256").digest()) for key in keys]
