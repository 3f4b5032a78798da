"""The user delegation key: the service issues it to an identity, and it signs instead of the account key."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from presign.azure.account import Account
from presign.backends.expiring_credentials import CredentialsRenewer, ExpiringCredentials
from presign.backends.failures import MAX_CLOCK_SKEW, storage_failed
from presign.signing.hmac_sha256 import HmacSha256Key
from presign.signing.sas import DelegationKey, decode_key

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient

SigningKey = HmacSha256Key | DelegationKey
"""A key that signs uploads: an account key, or an identity's user delegation key."""

_CALL = "Get User Delegation Key"
_LIFETIME = timedelta(hours=24)
_RENEWAL_FRACTION = 4
"""The key is renewed in the last quarter of its lifetime."""


def keep_signing_key(account: Account, container: str, *, version: str) -> CredentialsRenewer[SigningKey]:
    """Return the account's key, or the delegation key of its identity, which is fetched now and renewed later.

    ``version`` is the service version that issues the key. ``container`` is named in messages. Raises
    ConfigurationError if the service refuses the identity, and StorageUnavailable.
    """
    if account.key is not None:
        key = account.key
        return CredentialsRenewer(
            lambda: ExpiringCredentials(credentials=key, renew_at=None, expires_at=None), what="the Azure account key"
        )
    # The SDK takes long to import, and no ticket that an account key signs needs it.
    from presign.azure.client import build_client

    client = build_client(account, api_version=version)
    return CredentialsRenewer(
        lambda: fetch_delegation_key(client, account, container, datetime.now(timezone.utc).replace(microsecond=0)),
        what="the Azure user delegation key",
    )


def fetch_delegation_key(
    client: BlobServiceClient, account: Account, container: str, now: datetime
) -> ExpiringCredentials[SigningKey]:
    """Ask the service for a key that is valid for 24 hours from ``now`` on, in whole seconds.

    The key's start lies 15 minutes in the past, because the storage's clock may be behind. Raises ConfigurationError
    if the service refuses the identity, and StorageUnavailable.
    """
    from azure.core.exceptions import AzureError  # here for the reason that keep_signing_key gives

    from presign.azure.failures import explain_failure

    start, end = now - MAX_CLOCK_SKEW, now + _LIFETIME
    try:
        key = client.get_user_delegation_key(start, end)
        signed_expiry = key.signed_expiry or ""
        expires_at = datetime.strptime(signed_expiry, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        delegation_key = DelegationKey(
            signed_oid=key.signed_oid or "",
            signed_tid=key.signed_tid or "",
            signed_start=key.signed_start or "",
            signed_expiry=signed_expiry,
            signed_service=key.signed_service or "",
            signed_version=key.signed_version or "",
            key=decode_key(key.value or ""),
        )
    except AzureError as error:
        raise explain_failure(account, container, _CALL, error, now) from None
    except (AttributeError, ValueError):
        # The SDK raises these for a response that is not a delegation key, such as a proxy's HTML page.
        raise storage_failed(account.storage_name(container), _CALL, "no delegation key") from None
    return ExpiringCredentials(
        credentials=delegation_key,
        renew_at=expires_at - (expires_at - now) / _RENEWAL_FRACTION,
        expires_at=expires_at,
    )
