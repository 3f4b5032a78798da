"""Connection strings, as the portal shows them under Access keys."""

from __future__ import annotations

from typing import NamedTuple

from presign.errors import ConfigurationError

PUBLIC_CLOUD_SUFFIX = "core.windows.net"


class ConnectionString(NamedTuple):
    """What a connection string says; the account key is in base64."""

    account_name: str
    account_url: str
    account_key: str


# Every emulator has this account and this key: "Use the Azurite emulator", well-known storage account and key.
_DEVELOPMENT_STORAGE = ConnectionString(
    account_name="devstoreaccount1",
    account_url="http://127.0.0.1:10000/devstoreaccount1",
    account_key="Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
)


def read_connection_string(setting: str, text: str) -> ConnectionString:
    """Return the parts of the connection string that ``setting`` contains.

    Raises ConfigurationError, without the string, because it contains a secret. The parts themselves are not checked.
    """
    pairs = [part.partition("=") for part in text.strip().strip(";").split(";")]
    values = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if values.get("usedevelopmentstorage", "").lower() == "true":
        return _DEVELOPMENT_STORAGE
    name, key = values.get("accountname"), values.get("accountkey")
    if not name or not key:
        raise ConfigurationError(
            f"{setting} must have AccountName=...;AccountKey=..., as the portal shows it under Access keys; "
            "a shared access signature can sign no others",
            field=setting,
        )
    protocol = values.get("defaultendpointsprotocol") or "https"
    suffix = values.get("endpointsuffix") or PUBLIC_CLOUD_SUFFIX
    url = values.get("blobendpoint") or f"{protocol}://{name}.blob.{suffix}"
    return ConnectionString(account_name=name, account_url=url, account_key=key)
