"""What a failed call to an Azure account means: the setting that is wrong and its remedy, or a storage that is down."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError

from presign.azure.account import Account, key_remedy
from presign.azure.client import error_code
from presign.backends.failures import check_clock, missing_bucket, storage_failed, unreachable
from presign.errors import ConfigurationError, StorageUnavailable, sanitize

_MISSING_PERMISSION_CODES = frozenset({"AuthorizationPermissionMismatch", "InsufficientAccountPermissions"})
_ROLES_REMEDY = (
    "give it the roles Storage Blob Delegator on the account and Storage Blob Data Contributor on the container"
)
_IDENTITY_REMEDY = "check AZURE_CLIENT_ID, AZURE_TENANT_ID and the other settings that the identity comes from"


def lacks_permission(error: AzureError) -> bool:
    """Say whether the service accepts the credentials, but does not permit this call."""
    return error_code(error) in _MISSING_PERMISSION_CODES


def explain_failure(
    account: Account, container: str, call: str, error: AzureError, now: datetime
) -> ConfigurationError | StorageUnavailable:
    """Return the error to raise after a call failed that shows whether the settings are correct.

    ``now`` is compared with the time in the response.
    """
    if not isinstance(error, HttpResponseError):
        return call_failed(account, container, call, error)
    response: Any = error.response
    if response is None:
        # No request was sent.
        return ConfigurationError(
            f"the identity for {account.url} gets no token ({sanitize(error_code(error))}); {_IDENTITY_REMEDY}, or set "
            "AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_KEY",
            field=account.setting,
        )
    try:
        check_clock(response.headers.get("Date"), now)
    except ConfigurationError as wrong_clock:
        return wrong_clock
    if error_code(error) == "ContainerNotFound":
        return missing_bucket(container, account.url, kind="container")
    if error.status_code in {401, 403}:
        return _refused_credentials(account, error)
    return call_failed(account, container, call, error)


def call_failed(account: Account, container: str, call: str, error: Exception) -> StorageUnavailable:
    """Return the error to raise after a call failed, for whatever reason."""
    if not isinstance(error, HttpResponseError):
        return unreachable(account.url, error)
    return storage_failed(account.storage_name(container), call, error_code(error))


def _refused_credentials(account: Account, error: AzureError) -> ConfigurationError:
    code = error_code(error)
    if code == "KeyBasedAuthenticationNotPermitted":
        remedy = "the account does not allow keys: allow key access, or pass an identity (credential)"
    elif account.key is not None:
        remedy = key_remedy(account.setting)
    elif lacks_permission(error):
        remedy = _ROLES_REMEDY
    else:
        remedy = _IDENTITY_REMEDY
    if code == "AuthorizationFailure":
        remedy += ", and the account's network rules"
    credentials = "account key" if account.key is not None else "identity"
    return ConfigurationError(
        f"{account.url} refuses the {credentials} ({sanitize(code)}); {remedy}", field=account.setting
    )
