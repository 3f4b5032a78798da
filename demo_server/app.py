"""The API: the HTTP contract of ``presign.asgi``, for pages of the allowed origins."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp

from demo_server.settings import BadSettings, Settings, read_settings
from presign import ConfigurationError, Presigner, UploadPolicy
from presign.asgi import create_app as create_api
from presign.s3 import open_s3

# How the library names a setting, and how the demo's user does.
_VARIABLES = {
    "content_types": "PRESIGN_TYPES",
    "credentials": "AWS_ACCESS_KEY_ID",
    "create_only": "PRESIGN_CREATE_ONLY",
    "expires_in": "PRESIGN_EXPIRES_IN",
    "max_bytes": "PRESIGN_MAX_BYTES",
    "min_bytes": "PRESIGN_MIN_BYTES",
    "secret": "PRESIGN_SECRET",
}


def admit_everybody(request: Request) -> None:
    """Let everybody upload, as nobody in particular: a real application asks its own session here."""


def build_presigner(settings: Settings) -> Presigner:
    """Return the presigner that the settings describe; raises BadSettings with the variable's name."""
    assert settings.bucket is not None  # noqa: S101  (filled in at start, by the user or by the local storage)
    assert settings.secret is not None  # noqa: S101  (likewise)
    try:
        backend, prefix = open_s3(settings.bucket)
        policy = UploadPolicy(
            content_types=settings.types,
            min_bytes=settings.min_bytes,
            max_bytes=settings.max_bytes,
            prefix=prefix,
            expires_in=settings.expiry,
            create_only=settings.create_only,
            require_sha256=settings.require_sha256,
            disposition=settings.disposition,
        )
        return Presigner(backend=backend, policy=policy, secret=settings.secret.get_secret_value())
    except ConfigurationError as error:
        raise bad_settings(error) from None


def bad_settings(error: ConfigurationError) -> BadSettings:
    """Return the library's complaint under the name that the demo's user gave the setting."""
    variable = _VARIABLES.get(error.field or "", "PRESIGN_BUCKET")
    return BadSettings(f"{variable}: {error.detail}")


def create_app() -> ASGIApp:
    """Return the API as the environment describes it; each of the server's processes calls this."""
    settings = read_settings()
    api = create_api(build_presigner(settings), authorize=admit_everybody)
    return CORSMiddleware(
        api,
        allow_origins=settings.origins,
        allow_methods=["POST"],
        allow_headers=["Content-Type"],
        expose_headers=["Retry-After"],
    )
