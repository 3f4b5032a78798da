"""The keys that sign for Cloud Storage: an HMAC key, a service account's RSA key, and a key that Google holds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from presign.errors import ConfigurationError, CredentialsUnavailable
from presign.gcs.credentials import (
    CREDENTIALS_SETTINGS,
    HmacCredentials,
    ServiceAccount,
    find_account_email,
    is_email,
    not_a_service_account,
)
from presign.signing import sigv4

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.oauth2.service_account import Credentials as ServiceAccountCredentials

SIGN_BLOB_SECONDS = 10.0
"""The longest time, in seconds, that one signature by the IAM Service Account Credentials API may take."""

SIGN_BLOB_LIFETIME = timedelta(hours=12)
"""The time for which Google guarantees that a key that signs for ``signBlob`` stays valid."""

# A call that nobody waits for any longer ends soon after the wait.
_IAM_REQUEST_SECONDS = SIGN_BLOB_SECONDS + 2
_REGION = "auto"
_SERVICE = "storage"


@dataclass(frozen=True, kw_only=True)
class SigningIdentity:
    """An access id or a service account that signs, with its key; ``repr`` leaves out the key.

    - ``scope``: returns the credential scope of a day (YYYYMMDD).
    - ``max_lifetime``: the longest lifetime of its signatures, or None if the key itself sets no limit.
    - ``signing_does_io``: whether each signature is a call to Google.
    - ``setting``: the argument of GCSBackend that the key comes from.
    - ``settings_to_check``: the settings that a message names if Google refuses the key.
    """

    scope: Callable[[str], sigv4.Scope] = field(repr=False)
    max_lifetime: timedelta | None
    signing_does_io: bool
    setting: str
    settings_to_check: str


def hmac_identity(credentials: HmacCredentials) -> SigningIdentity:
    """Return the identity of an HMAC key."""

    # Its own, so that many backends with different keys do not drive each other's scopes out of a shared cache.
    @lru_cache(maxsize=2)
    def scope(date: str) -> sigv4.Scope:
        return sigv4.hmac_scope(
            access_key=credentials.access_id,
            secret_key=credentials.secret,
            date=date,
            region=_REGION,
            service=_SERVICE,
            dialect=sigv4.GOOG4_HMAC,
        )

    return SigningIdentity(
        scope=scope,
        max_lifetime=None,
        signing_does_io=False,
        setting="hmac_access_id",
        settings_to_check=credentials.settings,
    )


def service_account_identity(
    credentials: ServiceAccount | Credentials, service_account_email: str | None
) -> SigningIdentity:
    """Return the identity of a service account, which signs with its private key, or through ``signBlob``.

    ``service_account_email`` is the service account that ``signBlob`` signs as; by default, the credentials' own.
    Raises ConfigurationError.
    """
    if service_account_email is not None and not is_email(service_account_email):
        raise ConfigurationError(
            "service_account_email must be a service account's email address",
            field="service_account_email",
            value=service_account_email,
        )
    if isinstance(credentials, ServiceAccount):
        _check_email(service_account_email, credentials.email)
        return _rsa_identity(credentials.email, _rsa_key(credentials), max_lifetime=None, signing_does_io=False)
    # Whoever has such credentials has imported google-auth already.
    from google.auth.credentials import AnonymousCredentials
    from google.oauth2 import service_account

    if isinstance(credentials, service_account.Credentials):
        _check_email(service_account_email, credentials.service_account_email)
        return _private_key_identity(credentials)
    if isinstance(credentials, AnonymousCredentials):
        raise ConfigurationError(
            "anonymous credentials cannot sign: set hmac_access_id and hmac_secret, or other credentials",
            field="credentials",
        )
    return _sign_blob_identity(credentials, service_account_email)


def _check_email(given: str | None, own: str) -> None:
    if given not in {None, own}:
        raise ConfigurationError(
            "service_account_email differs from the service account in credentials; leave it out",
            field="service_account_email",
            value=given,
        )


def _rsa_key(account: ServiceAccount) -> _RsaKey:
    # An HMAC key signs without it.
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    padding, sha256 = PKCS1v15(), SHA256()
    return _RsaKey(lambda message: account.key.sign(message, padding, sha256))


def _private_key_identity(credentials: ServiceAccountCredentials) -> SigningIdentity:
    key = _RsaKey(credentials.signer.sign)
    try:
        key.hexdigest(b"")
    # Each kind of key that is no RSA key fails in its own way.
    except (AttributeError, TypeError, ValueError):
        raise not_a_service_account("has a private_key that is no RSA key") from None
    return _rsa_identity(credentials.service_account_email, key, max_lifetime=None, signing_does_io=False)


def _sign_blob_identity(credentials: Credentials, service_account_email: str | None) -> SigningIdentity:
    from google.auth import iam
    from google.auth.credentials import Signing
    from google.auth.transport.requests import Request

    request = partial(Request(), timeout=_IAM_REQUEST_SECONDS)
    email = service_account_email or find_account_email(credentials, request)
    sign: Callable[[bytes], bytes]
    if isinstance(credentials, Signing) and credentials.signer_email == email:
        sign = credentials.sign_bytes
    else:
        sign = iam.Signer(request, credentials, email).sign  # type: ignore[no-untyped-call]
    key = _SignBlobKey(sign, email=email)
    return _rsa_identity(email, key, max_lifetime=SIGN_BLOB_LIFETIME, signing_does_io=True)


def _rsa_identity(
    email: str, key: sigv4.SigningKey, *, max_lifetime: timedelta | None, signing_does_io: bool
) -> SigningIdentity:
    # Its own, so that many backends with different keys do not drive each other's scopes out of a shared cache.
    @lru_cache(maxsize=2)
    def scope(date: str) -> sigv4.Scope:
        return sigv4.key_scope(
            dialect=sigv4.GOOG4_RSA, access_key=email, key=key, date=date, region=_REGION, service=_SERVICE
        )

    return SigningIdentity(
        scope=scope,
        max_lifetime=max_lifetime,
        signing_does_io=signing_does_io,
        setting="credentials",
        settings_to_check=CREDENTIALS_SETTINGS,
    )


class _RsaKey:
    """A service account's private key; ``sign`` comes from cryptography or from google-auth, which parsed the key."""

    def __init__(self, sign: Callable[[bytes], bytes]) -> None:
        self._sign = sign

    def hexdigest(self, message: bytes, /) -> str:
        return self._sign(message).hex()


class _SignBlobKey:
    """A private key that Google holds; each signature is a call to the IAM Service Account Credentials API."""

    def __init__(self, sign: Callable[[bytes], bytes], *, email: str) -> None:
        self._sign = sign
        self._email = email

    def hexdigest(self, message: bytes, /) -> str:
        # Only a key that Google holds needs it.
        from concurrent.futures import Future
        from concurrent.futures import TimeoutError as FutureTimeoutError

        outcome: Future[bytes] = Future()

        def run() -> None:
            try:
                outcome.set_result(self._sign(message))
            except BaseException as error:
                outcome.set_exception(error)

        # The call runs in its own thread because google-auth limits the time of each request, but not of all together.
        threading.Thread(target=run, name="sign with signBlob", daemon=True).start()
        try:
            return outcome.result(SIGN_BLOB_SECONDS).hex()
        except FutureTimeoutError:
            raise CredentialsUnavailable(
                f"the IAM Service Account Credentials API did not sign within {SIGN_BLOB_SECONDS:g} seconds; "
                "check the network, and the API's status"
            ) from None
        except Exception as error:
            raise CredentialsUnavailable(
                f"the IAM Service Account Credentials API does not sign as {self._email} ({type(error).__name__}); "
                "enable that API, and grant roles/iam.serviceAccountTokenCreator on this service account to the "
                "identity that the program runs as"
            ) from None
