"""URLs for the blobs of one container, with shared access signatures."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from presign.azure.delegation_key import SigningKey
from presign.backends.expiring_credentials import CredentialsRenewer, ExpiringCredentials
from presign.backends.failures import MAX_CLOCK_SKEW
from presign.errors import ConfigurationError, CredentialsUnavailable
from presign.signing import sas
from presign.signing.per_second_cache import PerSecondCache
from presign.signing.quoting import quote_path
from presign.signing.signing_time import SigningTime, signing_time

_SECOND = timedelta(seconds=1)
_CLOCK_SKEW_SECONDS = MAX_CLOCK_SKEW // _SECOND

RequestHeaders = tuple[tuple[str, str], ...]


class Permission(NamedTuple):
    """What a signature permits beside the blob's name.

    ``permissions`` are the letters of ``sp``. ``content_disposition`` is a header of the response to a read.
    ``request_headers`` are those that the client must send.
    """

    permissions: str
    expires_in: timedelta
    content_disposition: str = ""
    request_headers: RequestHeaders = ()


class ContainerSigner:
    """Sign URLs for the blobs of one container, with an account key or a user delegation key.

    ``service_url`` is the URL of the account's blob service under which the URLs are used. ``version`` is the service
    version of the signatures.
    """

    def __init__(
        self,
        credentials: CredentialsRenewer[SigningKey],
        *,
        account_name: str,
        service_url: str,
        container: str,
        version: str,
    ) -> None:
        self._credentials = credentials
        self._account_name = account_name
        self._container = container
        self._base_url = f"{service_url}/{container}/"
        self._protocol = "https" if service_url.startswith("https://") else ""
        self._version = version
        self._signers = PerSecondCache(self._make_signer)

    def blob_url(self, key: str) -> str:
        """Return the blob's URL, without a signature."""
        return f"{self._base_url}{quote_path(key)}"

    def sign(self, key: str, now: datetime, permission: Permission) -> tuple[str, datetime]:
        """Return the blob's URL with a signature, and the time at which the signature expires.

        Raises CredentialsUnavailable, and ConfigurationError for a lifetime that cannot be signed.
        """
        signer, expires_at = self._signers.get(now, (self._credentials.current(now), permission))
        return f"{self._base_url}{quote_path(key)}?{signer.sign(key)}", expires_at

    def _make_signer(
        self, unix_second: int, key: tuple[ExpiringCredentials[SigningKey], Permission]
    ) -> tuple[sas.SasSigner, datetime]:
        """Return the signer for one second's blobs with the same permission, and the time at which it expires."""
        credentials, permission = key
        # The start lies in the past, because the storage's clock may be behind.
        start = signing_time(unix_second - _CLOCK_SKEW_SECONDS).iso
        end = _compute_end(unix_second, permission.expires_in, credentials.expires_at)
        if isinstance(credentials.credentials, sas.DelegationKey):
            start = max(start, credentials.credentials.signed_start)
        signer = sas.SasSigner(
            credentials.credentials,
            account=self._account_name,
            container=self._container,
            permissions=permission.permissions,
            start=start,
            expiry=end.iso,
            protocol=self._protocol,
            version=self._version,
            content_disposition=permission.content_disposition,
            request_headers=dict(permission.request_headers),
        )
        return signer, end.time


def _compute_end(unix_second: int, expires_in: timedelta, credentials_expire_at: datetime | None) -> SigningTime:
    """Return the time at which a signature expires: after ``expires_in``, but not later than its key."""
    if not isinstance(expires_in, timedelta) or expires_in < _SECOND:
        raise ConfigurationError("expires_in must be a timedelta of at least one second", field="expires_in")
    last = unix_second + expires_in // _SECOND
    if credentials_expire_at is not None:
        key_last = int(credentials_expire_at.timestamp())
        if key_last <= unix_second + 1:
            raise CredentialsUnavailable("the Azure user delegation key is about to expire")
        last = min(last, key_last)
    try:
        return signing_time(last)
    except (OverflowError, ValueError):
        raise ConfigurationError("expires_in ends after the year 9999; shorten it", field="expires_in") from None
