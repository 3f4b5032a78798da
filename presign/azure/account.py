"""A storage account: its name, its URLs and what signs for it, read from arguments and from the environment."""

from __future__ import annotations

import inspect
import ipaddress
import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from presign.azure.connection_string import PUBLIC_CLOUD_SUFFIX, read_connection_string
from presign.backends.addresses import check_tls, read_endpoint
from presign.backends.packages import require_package
from presign.errors import ConfigurationError
from presign.signing.hmac_sha256 import HmacSha256Key
from presign.signing.sas import decode_key

if TYPE_CHECKING:
    from azure.core.credentials import AzureNamedKeyCredential, TokenCredential

# With an account key, the SDK is imported only when something other than a ticket is asked for. So a missing package is
# found here, as early as any other wrong setting.
require_package("azure.core")
require_package("azure.storage.blob")

ACCOUNT_VARIABLE = "AZURE_STORAGE_ACCOUNT"
KEY_VARIABLE = "AZURE_STORAGE_KEY"
CONNECTION_STRING_VARIABLE = "AZURE_STORAGE_CONNECTION_STRING"
VERIFIER_KEY_VARIABLE = "AZURE_STORAGE_VERIFIER_KEY"

_KEY_REMEDIES = {
    "account_key": f"check the account key ({KEY_VARIABLE} or {CONNECTION_STRING_VARIABLE})",
    "verifier_account_key": f"check the verifier's account key ({VERIFIER_KEY_VARIABLE})",
}

_SUFFIX = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+", re.ASCII | re.IGNORECASE)
_ACCOUNT_NAME = re.compile(r"[a-z0-9]{3,24}", re.ASCII)
# ACCOUNT.blob.SUFFIX, or ACCOUNT.zNN.blob.SUFFIX if the account has an Azure DNS zone endpoint.
_ACCOUNT_HOST = re.compile(r"([a-z0-9]{3,24})(?:\.z[0-9]+)?\.blob\..+", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Account:
    """A storage account.

    - ``url``: the blob service's URL, as this program reaches it.
    - ``public_url``: the same service's URL, as browsers reach it.
    - ``key``: signs service SAS; None if an identity signs.
    - ``key_or_identity``: authenticates this program's own requests: the same key in base64, or the identity.
    - ``setting``: where the key or the identity comes from, such as ``account_key``, for messages.
    """

    name: str
    url: str
    public_url: str
    key: HmacSha256Key | None = field(repr=False)
    key_or_identity: str | TokenCredential = field(repr=False)
    setting: str

    @property
    def credential(self) -> AzureNamedKeyCredential | TokenCredential:
        """What authenticates this program's own requests, as the SDK takes it."""
        if not isinstance(self.key_or_identity, str):
            return self.key_or_identity
        # The SDK takes long to import, and no ticket that an account key signs needs it.
        from azure.core.credentials import AzureNamedKeyCredential

        return AzureNamedKeyCredential(self.name, self.key_or_identity)

    @property
    def public_host(self) -> str:
        """The host of ``public_url``, with a port if it has one."""
        return urlsplit(self.public_url).netloc

    def storage_name(self, container: str) -> str:
        """Return the name of one container's storage in messages."""
        return f"azblob://{self.name}/{container}"


def read_account(
    *,
    account_name: str | None,
    account_url: str | None,
    public_account_url: str | None,
    endpoint_suffix: str | None,
    connection_string: str | None,
    account_key: str | None,
    credential: TokenCredential | None,
    allow_http: bool,
) -> Account:
    """Return the account that the arguments describe; the environment fills in what they leave out.

    AzureBackend says what the arguments mean. Raises ConfigurationError, which names the setting and the remedy and
    contains no secret.
    """
    _check_types(
        {
            "account_name": account_name,
            "account_url": account_url,
            "public_account_url": public_account_url,
            "endpoint_suffix": endpoint_suffix,
            "connection_string": connection_string,
            "account_key": account_key,
        }
    )
    _check_credential("credential", credential)
    secrets = (connection_string, account_key, credential)
    if sum(secret is not None for secret in secrets) > 1:
        raise ConfigurationError("give only one of connection_string, account_key and credential", field="credential")
    connection_string_setting = "connection_string"
    if secrets == (None, None, None):
        connection_string_setting = CONNECTION_STRING_VARIABLE
        connection_string = _read_variable(CONNECTION_STRING_VARIABLE)
        if connection_string is None:
            account_key = _key_from_environment(account_name)
    if endpoint_suffix is not None:
        _check_suffix(endpoint_suffix, url_is_given=account_url is not None or connection_string is not None)
    url_setting = "account_url"
    if connection_string is not None:
        parsed = read_connection_string(connection_string_setting, connection_string)
        _check_account_name(parsed.account_name, setting=connection_string_setting, described="AccountName")
        _check_same_account(connection_string_setting, parsed.account_name, account_name)
        account_name, account_key = parsed.account_name, parsed.account_key
        if account_url is None:
            account_url, url_setting = parsed.account_url, connection_string_setting
    if account_url is None:
        name = _find_name(account_name, "account_name is not set")
        url = f"https://{name}.blob.{(endpoint_suffix or PUBLIC_CLOUD_SUFFIX).lower()}"
    else:
        url = _read_url(url_setting, account_url)
        name = _match_name_with_url(url_setting, url, account_name)
    public_url = url if public_account_url is None else _read_url("public_account_url", public_account_url)
    check_tls(url_setting, url, allow_http=allow_http)
    check_tls("public_account_url", public_url, allow_http=allow_http)
    if account_key is None:
        _check_identity_url(url_setting, url)
        identity = credential or _default_credential()
        return Account(
            name=name,
            url=url,
            public_url=public_url,
            key=None,
            key_or_identity=identity,
            setting="credential",
        )
    return Account(
        name=name,
        url=url,
        public_url=public_url,
        key=_decode_key(account_key, setting="account_key"),
        key_or_identity=account_key,
        setting="account_key",
    )


def read_verifier(signer: Account, *, account_key: str | None, credential: TokenCredential | None) -> Account:
    """Return the same account with the credentials that verify and publish; by default those of ``signer``.

    The environment fills in what the arguments leave out. Raises ConfigurationError, like ``read_account``.
    """
    _check_types({"verifier_account_key": account_key})
    _check_credential("verifier_credential", credential)
    if account_key is not None and credential is not None:
        raise ConfigurationError(
            "give only one of verifier_account_key and verifier_credential", field="verifier_credential"
        )
    if credential is not None:
        _check_identity_url("account_url", signer.url)
        return replace(signer, key=None, key_or_identity=credential, setting="verifier_credential")
    account_key = account_key if account_key is not None else _read_variable(VERIFIER_KEY_VARIABLE)
    if account_key is None:
        return signer
    return replace(
        signer,
        key=_decode_key(account_key, setting="verifier_account_key"),
        key_or_identity=account_key,
        setting="verifier_account_key",
    )


def key_remedy(setting: str) -> str:
    """Return what to do about a wrong account key that comes from ``setting``."""
    return _KEY_REMEDIES[setting]


def _check_types(texts: dict[str, str | None]) -> None:
    for setting, value in texts.items():
        if not isinstance(value, str | None):
            raise ConfigurationError(f"{setting} must be text, not {type(value).__name__}", field=setting)


def _check_credential(setting: str, credential: object) -> None:
    get_token = getattr(credential, "get_token", None)
    if credential is not None and (not callable(get_token) or inspect.iscoroutinefunction(get_token)):
        # The message does not repeat the value, because somebody may have passed an account key here.
        raise ConfigurationError(
            f"{setting} must be a credential of azure-identity (not of azure.identity.aio), "
            f"such as DefaultAzureCredential(), not {type(credential).__name__}",
            field=setting,
        )


def _read_variable(name: str) -> str | None:
    """Return the environment variable's value; an empty variable counts as not set."""
    return os.environ.get(name) or None


def _key_from_environment(account_name: str | None) -> str | None:
    key, key_account = _read_variable(KEY_VARIABLE), _read_variable(ACCOUNT_VARIABLE)
    if key is not None and key_account is not None:
        _check_same_account(f"{KEY_VARIABLE} with {ACCOUNT_VARIABLE}", key_account, account_name)
    return key


def _check_same_account(setting: str, settings_account: str, account_name: str | None) -> None:
    if account_name not in {None, settings_account}:
        raise ConfigurationError(
            f"{setting} is for the account {settings_account}, not for {account_name}",
            field="account_name",
            value=account_name,
            limit=settings_account,
        )


def _check_suffix(suffix: str, *, url_is_given: bool) -> None:
    if url_is_given:
        raise ConfigurationError(
            "endpoint_suffix is a part of the account's URL, but account_url or the connection string "
            "gives the URL already; leave endpoint_suffix out",
            field="endpoint_suffix",
            value=suffix,
        )
    if not _SUFFIX.fullmatch(suffix):
        raise ConfigurationError(
            f"endpoint_suffix must be a domain such as {PUBLIC_CLOUD_SUFFIX}", field="endpoint_suffix", value=suffix
        )


def _find_name(name: str | None, problem: str) -> str:
    """Return the checked name, by default that of the environment; without one, the error begins with ``problem``."""
    if name is None:
        name = _read_variable(ACCOUNT_VARIABLE)
    if name is None:
        raise ConfigurationError(f"{problem}: pass account_name, or set {ACCOUNT_VARIABLE}", field="account_name")
    _check_account_name(name, setting="account_name", described="account_name")
    return name


def _match_name_with_url(setting: str, url: str, account_name: str | None) -> str:
    """Return ``account_name``, or by default the name that ``url`` contains; raise an error if the two differ."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    matched = _ACCOUNT_HOST.fullmatch(host)
    name_in_url = parts.path.removeprefix("/") or (matched[1] if matched else None)
    if name_in_url is None and (host == "localhost" or _is_ip_address(host)):
        raise ConfigurationError(
            f"{setting} has no account name; add it as the path, such as http://127.0.0.1:10000/devstoreaccount1",
            field=setting,
            value=url,
        )
    if account_name is None:
        account_name = name_in_url
    name = _find_name(account_name, f"account_name is not set, and {setting} does not contain it")
    if name_in_url not in {None, name}:
        raise ConfigurationError(
            f"{setting} is the URL of the account {name_in_url}, not of {name}", field=setting, value=url, limit=name
        )
    return name


def _check_account_name(name: str, *, setting: str, described: str) -> None:
    if not _ACCOUNT_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{described} must be a storage account's name: 3 to 24 lower-case letters and digits",
            field=setting,
            value=name,
        )


def _read_url(setting: str, url: str) -> str:
    described = "a blob service's URL, such as https://account.blob.core.windows.net"
    endpoint = read_endpoint(setting, url, described=described, max_segments=1)
    if " " in endpoint or not endpoint.isprintable():
        raise ConfigurationError(f"{setting} must be {described}", field=setting)
    return endpoint


def _check_identity_url(setting: str, url: str) -> None:
    if not url.startswith("https://"):
        raise ConfigurationError(
            f"{setting} must begin with https:// if an identity signs, because its tokens must not be sent in the "
            f"clear; correct {setting}, or set {KEY_VARIABLE}",
            field=setting,
            value=url,
        )


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _decode_key(account_key: str, *, setting: str) -> HmacSha256Key:
    try:
        return decode_key(account_key)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error.detail}; {key_remedy(setting)}", field=setting) from None


def _default_credential() -> TokenCredential:
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError:
        raise ConfigurationError(
            f"{KEY_VARIABLE} is not set, and without an account key azure-identity is needed: "
            'pip install "presign-uploads[azure]"',
            field="credential",
        ) from None
    try:
        return DefaultAzureCredential()
    except (ValueError, OSError) as error:
        # The message does not repeat azure-identity's, which may contain a setting's value.
        raise ConfigurationError(
            f"the identity's settings cannot be used ({type(error).__name__}); "
            "check the environment variables that begin with AZURE_, and the files that they name",
            field="credential",
        ) from None
