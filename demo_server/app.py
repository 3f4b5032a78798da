"""The API: the HTTP contract of ``presign.asgi``, for pages of the allowed origins."""

from __future__ import annotations

import logging
import os

from starlette.requests import Request
from starlette.types import ASGIApp

from demo_server.settings import BadSettings, Settings, read_settings
from presign import Backend, Completion, ConfigurationError, Presigner, UploadPolicy, open_backend
from presign.asgi import create_app as create_api
from presign.errors import sanitize
from presign.tokens import CompletionTokens

_log = logging.getLogger("demo_server")

# The library's name of a setting, and the variable that the demo's user sets.
_VARIABLES = {
    "content_disposition": "PRESIGN_CONTENT_DISPOSITION",
    "content_types": "PRESIGN_TYPES",
    "create_only": "PRESIGN_CREATE_ONLY",
    "expires_in": "PRESIGN_EXPIRES_IN",
    "max_bytes": "PRESIGN_MAX_BYTES",
    "min_bytes": "PRESIGN_MIN_BYTES",
    "part_bytes": "PRESIGN_PART_BYTES",
    "parts_from_bytes": "PRESIGN_PARTS_FROM_BYTES",
    "pending_prefix": "PRESIGN_PENDING_PREFIX",
    "secret": "PRESIGN_SECRET",
}
# The same for what each cloud signs with: the first of the variables that is set, else the last.
_CREDENTIALS = {
    "s3": {"credentials": ["AWS_ACCESS_KEY_ID"]},
    "azblob": {
        "account_key": ["AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY"],
        "credential": ["AZURE_CLIENT_ID", "AZURE_STORAGE_CONNECTION_STRING"],
        "verifier_account_key": ["AZURE_STORAGE_VERIFIER_KEY"],
        "AZURE_STORAGE_CONNECTION_STRING": ["AZURE_STORAGE_CONNECTION_STRING"],
    },
    "gs": {
        "credentials": ["GCS_HMAC_ACCESS_ID", "GOOGLE_APPLICATION_CREDENTIALS"],
        "hmac_access_id": ["GCS_HMAC_ACCESS_ID"],
    },
}


async def allow_everybody(request: Request) -> None:
    """Let everybody upload, and complete, without an owner; a real application asks its own session here."""


def tell_the_application(completion: Completion) -> None:
    """Log which upload is verified; a real application records it here, under the key, if it has not done so before."""
    stored = completion.stored
    owner, name = (sanitize(value) if value else "not given" for value in (completion.owner, completion.name))
    _log.info(
        "The application is told: %s is verified, with %d bytes (owner: %s, name: %s)",
        stored.key,
        stored.size,
        owner,
        name,
    )


def check_policy_and_secret(settings: Settings) -> None:
    """Raise BadSettings, with the variable's name, for rules or a secret that the library refuses.

    Needs no storage, so that a mistake is reported before one is started.
    """
    try:
        _policy(settings, prefix="")
        if settings.secret is not None:
            CompletionTokens(settings.secret.get_secret_value())
    except ConfigurationError as error:
        raise bad_settings(error, settings) from None


def build_presigner(settings: Settings) -> Presigner:
    """Return the presigner that the settings describe; raises BadSettings with the variable's name."""
    # Both were filled in at the start: by the user, by the local storage, or with a new secret.
    assert settings.bucket is not None  # noqa: S101
    assert settings.secret is not None  # noqa: S101
    try:
        backend, prefix = _open_backend(settings, settings.bucket)
        policy = _policy(settings, prefix=prefix)
        return Presigner(
            backend=backend, policy=policy, secret=settings.secret.get_secret_value(), on_complete=tell_the_application
        )
    except ConfigurationError as error:
        raise bad_settings(error, settings) from None


def bad_settings(error: ConfigurationError, settings: Settings) -> BadSettings:
    """Return the library's error under the name of the variable that the demo's user set."""
    field = error.field or ""
    if field == "clock":
        return BadSettings(error.detail)
    scheme = (settings.bucket or "").partition("://")[0]
    variables = _CREDENTIALS.get(scheme, {}).get(field) or [_VARIABLES.get(field, "PRESIGN_BUCKET")]
    variable = next((name for name in variables if os.environ.get(name)), variables[-1])
    return BadSettings(f"{variable}: {error.detail}")


def create_app() -> ASGIApp:
    """Return the API as the environment describes it; each of the server's processes calls this."""
    settings = read_settings()
    return create_api(build_presigner(settings), authorize=allow_everybody, allowed_origins=settings.origins)


def _open_backend(settings: Settings, address: str) -> tuple[Backend, str]:
    if settings.verifier_access_key_id is None or settings.verifier_secret_access_key is None:
        return open_backend(address)
    # The settings allow a verifier's access key with s3:// alone; other clouds need no boto3.
    import boto3

    from presign.s3 import open_s3

    verifier = boto3.Session(
        aws_access_key_id=settings.verifier_access_key_id,
        aws_secret_access_key=settings.verifier_secret_access_key.get_secret_value(),
    )
    return open_s3(address, verifier_session=verifier)


def _policy(settings: Settings, *, prefix: str) -> UploadPolicy:
    return UploadPolicy(
        content_types=settings.types,
        min_bytes=settings.min_bytes,
        max_bytes=settings.max_bytes,
        parts_from_bytes=settings.parts_from_bytes,
        part_bytes=settings.part_bytes,
        prefix=prefix,
        pending_prefix=settings.pending_prefix,
        expires_in=settings.expiry,
        create_only=settings.create_only,
        require_sha256=settings.require_sha256,
        content_disposition=settings.content_disposition,
        public_read=settings.public_read,
    )
