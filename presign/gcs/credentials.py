"""Google credentials: an HMAC key, a service account's JSON, or what google-auth finds; and their scopes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from presign.backends.packages import require_package
from presign.errors import ConfigurationError
from presign.gcs.endpoints import GOOGLE_ENDPOINT

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from google.auth.credentials import Credentials

# A key of one's own signs without them, so a missing package is found here, as early as any other wrong setting.
require_package("cryptography")
require_package("google.auth")
require_package("google.cloud.storage")

CredentialsSource: TypeAlias = "str | os.PathLike[str] | Mapping[str, str] | Credentials"
"""A service account's JSON, as a path or as a mapping of its members; or credentials of google-auth."""

CREDENTIALS_SETTINGS = "credentials or GOOGLE_APPLICATION_CREDENTIALS"
VERIFIER_CREDENTIALS = "verifier_credentials"

_READ_WRITE_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_CLOUD_PLATFORM_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_OTHER_TYPES = {
    "credentials": "to use another type, set GOOGLE_APPLICATION_CREDENTIALS to its path",
    VERIFIER_CREDENTIALS: "to use another type, load it with google.auth and pass the credentials",
}
_EMAIL = re.compile(r"[^@/\s]+@[^@/\s]+", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class HmacCredentials:
    """An HMAC key; ``settings`` names the two settings that it comes from. ``repr`` leaves out the secret."""

    access_id: str
    secret: str = field(repr=False)
    settings: str


@dataclass(frozen=True, kw_only=True, eq=False)
class ServiceAccount:
    """A service account's JSON: its email address, its key, and its members; ``repr`` shows the address only."""

    email: str
    key: RSAPrivateKey = field(repr=False)
    members: Mapping[str, Any] = field(repr=False)

    def google_credentials(self) -> Credentials:
        """Return credentials of google-auth, with the scope that reads and deletes objects."""
        # A ticket needs none of google-auth, which takes longer to import than everything that it needs.
        from google.oauth2 import service_account

        load: Callable[..., Credentials] = service_account.Credentials.from_service_account_info
        return load(dict(self.members), scopes=[_READ_WRITE_SCOPE])


def read_hmac_credentials(access_id: str | None, secret: str | None) -> HmacCredentials | None:
    """Return the HMAC key that GCSBackend got, or None if it got none; raises ConfigurationError."""
    return _hmac_credentials(access_id, secret, settings="hmac_access_id and hmac_secret")


def hmac_credentials_from_environment() -> HmacCredentials | None:
    """Return the HMAC key of ``GCS_HMAC_ACCESS_ID`` and ``GCS_HMAC_SECRET``, or None; raises ConfigurationError."""
    return _hmac_credentials(
        os.environ.get("GCS_HMAC_ACCESS_ID") or None,
        os.environ.get("GCS_HMAC_SECRET") or None,
        settings="GCS_HMAC_ACCESS_ID and GCS_HMAC_SECRET",
    )


def settings_of(setting: str) -> str:
    """Return the settings that a message names for credentials that come from the argument ``setting``."""
    return CREDENTIALS_SETTINGS if setting == "credentials" else setting


def read_credentials(source: CredentialsSource, *, setting: str = "credentials") -> ServiceAccount | Credentials:
    """Return the credentials of ``source``, with the scope that reads and deletes objects.

    ``setting`` is the argument of GCSBackend that they come from. Raises ConfigurationError.
    """
    if not isinstance(source, str | os.PathLike | Mapping):
        from google.auth.credentials import Credentials  # here for the reason that ServiceAccount gives

        if isinstance(source, Credentials):
            return _with_scope(source)
    members = source if isinstance(source, Mapping) else _read_file(source, setting)
    if not isinstance(members, Mapping):
        raise not_a_service_account("is not a JSON object", setting=setting)
    if members.get("type") != "service_account":
        raise not_a_service_account(f"is of another type; {_OTHER_TYPES[setting]}", setting=setting)
    for name in ("client_email", "private_key", "token_uri"):
        if not isinstance(members.get(name), str):
            raise not_a_service_account(f"has no {name}", setting=setting)
    if not is_email(members["client_email"]):
        raise not_a_service_account("has a client_email that is no email address", setting=setting)
    key = _read_key(members["private_key"])
    if key is None:
        raise not_a_service_account("has a private_key that is no RSA key in PEM form", setting=setting)
    return ServiceAccount(email=members["client_email"], key=key, members=dict(members))


def default_credentials() -> Credentials:
    """Return the credentials that google-auth finds (Application Default Credentials); raises ConfigurationError."""
    import google.auth  # here for the reason that ServiceAccount gives

    try:
        credentials, _ = google.auth.default(scopes=[_CLOUD_PLATFORM_SCOPE])
    # google-auth raises many kinds of exceptions for a malformed file, and not all of them are its own.
    except Exception as error:
        raise ConfigurationError(
            f"no usable Google credentials found ({type(error).__name__}): {_remedy_for_default_credentials()}",
            field="credentials",
        ) from None
    return credentials


def _remedy_for_default_credentials() -> str:
    path = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if path and not os.path.isfile(path):
        return "GOOGLE_APPLICATION_CREDENTIALS names a file that does not exist; correct its path"
    if path:
        return (
            "the file that GOOGLE_APPLICATION_CREDENTIALS names holds no usable credentials; download a key of the "
            "service account again, as JSON"
        )
    return (
        "set GOOGLE_APPLICATION_CREDENTIALS to the path of a service account's JSON, or GCS_HMAC_ACCESS_ID and "
        "GCS_HMAC_SECRET to sign with an HMAC key"
    )


def verifying_credentials(given: ServiceAccount | Credentials | None, endpoint_url: str) -> Credentials:
    """Return the credentials that read and delete objects at ``endpoint_url``, where an HMAC key is not accepted.

    These are the ``given`` ones; or else the default credentials at Google, and anonymous ones on an emulator. Raises
    ConfigurationError.
    """
    if isinstance(given, ServiceAccount):
        return given.google_credentials()
    if given is not None:
        return given
    if endpoint_url == GOOGLE_ENDPOINT:
        return default_credentials()
    from google.auth.credentials import AnonymousCredentials  # here for the reason that ServiceAccount gives

    return AnonymousCredentials()  # type: ignore[no-untyped-call]


def is_email(value: object) -> TypeGuard[str]:
    """Say whether this is an email address that can be part of a credential scope."""
    return isinstance(value, str) and value.isascii() and _EMAIL.fullmatch(value) is not None


def find_account_email(credentials: Credentials, request: Callable[..., Any]) -> str:
    """Return the email address of the credentials' own service account; raises ConfigurationError.

    ``request`` is google-auth's transport: Compute Engine, Cloud Run and GKE ask their metadata server for the address.
    """
    from google.auth.exceptions import GoogleAuthError  # here for the reason that ServiceAccount gives

    if getattr(credentials, "service_account_email", None) == "default":
        try:
            credentials.refresh(request)  # type: ignore[no-untyped-call]
        except GoogleAuthError as error:
            raise ConfigurationError(
                f"the metadata server does not say which service account this is ({type(error).__name__}); "
                "attach one to the workload, or set service_account_email",
                field="service_account_email",
            ) from None
    email = getattr(credentials, "signer_email", None) or getattr(credentials, "service_account_email", None)
    if not is_email(email):
        raise ConfigurationError(
            "these Google credentials have no private key and name no service account; set service_account_email to "
            "the service account that should sign, or use a service account's JSON or an HMAC key",
            field="service_account_email",
        )
    return email


def not_a_service_account(complaint: str, *, setting: str = "credentials") -> ConfigurationError:
    """Return the error for credentials that are no service account's JSON; ``complaint`` continues "this ..."."""
    return ConfigurationError(
        f"{setting} must be a service account's JSON, and this {complaint}; "
        f"download a key of the service account, as JSON, and check {settings_of(setting)}",
        field=setting,
    )


def _hmac_credentials(access_id: str | None, secret: str | None, *, settings: str) -> HmacCredentials | None:
    if access_id is None and secret is None:
        return None
    if not access_id or not secret:
        raise ConfigurationError(f"{settings} must both be set, or neither", field="hmac_access_id")
    both = access_id + secret
    if not both.isascii() or "/" in access_id or both.split() != [both]:
        raise ConfigurationError(
            f"{settings} must be an HMAC key's access id and secret, as the console shows them", field="hmac_access_id"
        )
    return HmacCredentials(access_id=access_id, secret=secret, settings=settings)


def _read_file(path: str | os.PathLike[str], setting: str) -> object:
    # Without this check, open() would take a number for a file descriptor.
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError(
            f"{setting} must be the path of a service account's JSON, its members, or credentials of google-auth",
            field=setting,
            value=type(path).__name__,
        )
    try:
        with open(path, encoding="utf-8") as file:
            content = file.read()
    except UnicodeDecodeError:
        raise not_a_service_account("is not JSON", setting=setting) from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{setting} must be the path of a service account's JSON ({type(error).__name__}); "
            f"check {settings_of(setting)}",
            field=setting,
        ) from None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise not_a_service_account("is not JSON", setting=setting) from None


def _read_key(pem: str) -> RSAPrivateKey | None:
    """Return a private key, or None if this is no RSA key in PEM form, or one with a password."""
    # An HMAC key signs without it.
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), password=None)
    # It raises many kinds of exceptions for a malformed key.
    except Exception:
        return None
    return key if isinstance(key, RSAPrivateKey) else None


def _with_scope(credentials: Credentials) -> Credentials:
    from google.auth.credentials import with_scopes_if_required  # here for the reason that ServiceAccount gives
    from google.oauth2 import service_account

    scope = _READ_WRITE_SCOPE if isinstance(credentials, service_account.Credentials) else _CLOUD_PLATFORM_SCOPE
    scoped: Credentials = with_scopes_if_required(credentials, [scope])  # type: ignore[no-untyped-call]
    return scoped
