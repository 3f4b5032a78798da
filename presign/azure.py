"""Azure Blob Storage: block blobs uploaded with shared access signatures."""

from __future__ import annotations

import ipaddress
import os
import re
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential, TokenCredential
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobServiceClient

from presign.addresses import read_address, read_endpoint
from presign.backend import ObjectHead, SignedUpload
from presign.backends.expiring_credentials import CredentialsRenewer, ExpiringCredentials
from presign.errors import ConfigurationError, CredentialsUnavailable, StorageUnavailable, shown
from presign.keys import check_prefix
from presign.signing import sas
from presign.signing.hmac_sha256 import HmacSha256Key
from presign.signing.per_second import PerSecond
from presign.signing.quoting import quote_path
from presign.signing.timestamps import stamp_of
from presign.upload import Grant, Rule

PUBLIC_CLOUD_SUFFIX = "core.windows.net"
CLOCK_SKEW = timedelta(minutes=15)
"""How far a signature's start lies in the past, for a storage whose clock is behind (Azure's own advice)."""

_SECOND = timedelta(seconds=1)
_SKEW_SECONDS = CLOCK_SKEW // _SECOND
_DELEGATION_KEY_LIFETIME = timedelta(hours=24)
_ARCHIVE = "Archive"
_CONTAINER = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*|\$root|\$web", re.ASCII)
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}", re.ASCII)
# ACCOUNT.blob.SUFFIX, and ACCOUNT.zNN.blob.SUFFIX for accounts with Azure DNS zone endpoints.
_ACCOUNT_HOST = re.compile(r"([a-z0-9]{3,24})(?:\.z[0-9]+)?\.blob\..+", re.ASCII)
_DEVELOPMENT_ACCOUNT = "devstoreaccount1"
_DEVELOPMENT_URL = f"http://127.0.0.1:10000/{_DEVELOPMENT_ACCOUNT}"
# Public, the same in every emulator: "Use the Azurite emulator", well-known storage account and key.
_DEVELOPMENT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_KEY_REMEDY = "check the account key (AZURE_STORAGE_KEY or AZURE_STORAGE_CONNECTION_STRING)"
_ROLE_REMEDY = (
    "give it the roles Storage Blob Delegator on the account and Storage Blob Data Contributor on the container"
)
_NOT_PERMITTED = frozenset({"AuthorizationPermissionMismatch", "InsufficientAccountPermissions"})
_ALWAYS_RULES = frozenset({Rule.CREATE_ONLY})
_BOUND_RULES = frozenset({Rule.CREATE_ONLY, Rule.TYPE, Rule.SIZE})


@dataclass(frozen=True, kw_only=True)
class _Settings:
    account_name: str | None
    account_url: str | None
    account_key: str | None = field(repr=False)
    credential: TokenCredential | None = field(repr=False)


_HeldKey = ExpiringCredentials[HmacSha256Key] | ExpiringCredentials[sas.DelegationKey]
_Headers = tuple[tuple[str, str], ...]


class AzureBackend:
    """One container of an Azure storage account, with the account key or the identity that signs for it.

    - ``account_name``: by default what ``account_url`` or the connection string says, else ``AZURE_STORAGE_ACCOUNT``.
    - ``account_url``: of the blob service, as this program reaches it; by default
      ``https://ACCOUNT.blob.core.windows.net``. An emulator has the account in the path:
      ``http://127.0.0.1:10000/devstoreaccount1``.
    - ``public_account_url``: the same account as browsers reach it, where that differs (containers, own domains).
    - ``endpoint_suffix``: of a sovereign cloud, such as ``core.chinacloudapi.cn``.
    - One of ``connection_string``, ``account_key`` (base64) and ``credential`` (of azure-identity). By default
      ``AZURE_STORAGE_CONNECTION_STRING``, else ``AZURE_STORAGE_KEY``, else ``DefaultAzureCredential()``.
    - ``bind_headers``: with an identity, bind the upload's headers and exact length to the signature (``srh``), from
      service version 2026-04-06 on. Regions and emulators that do not know that version refuse such uploads.

    An account key signs service SAS. An identity signs user delegation SAS, with a delegation key that is fetched when
    the backend is built and renewed in the background. Raises ConfigurationError and StorageUnavailable.
    """

    def __init__(
        self,
        *,
        container: str,
        account_name: str | None = None,
        account_url: str | None = None,
        public_account_url: str | None = None,
        endpoint_suffix: str | None = None,
        connection_string: str | None = None,
        account_key: str | None = None,
        credential: TokenCredential | None = None,
        bind_headers: bool = False,
    ) -> None:
        if not _CONTAINER.fullmatch(container):
            raise ConfigurationError(
                "container must be a container's name: 3 to 63 lower-case letters, digits and single hyphens",
                field="container",
                value=container,
            )
        settings = _settings(
            account_name=account_name,
            account_url=account_url,
            endpoint_suffix=endpoint_suffix,
            connection_string=connection_string,
            account_key=account_key,
            credential=credential,
        )
        self._account_name, self._account_url = _account(
            settings.account_name, settings.account_url, endpoint_suffix or PUBLIC_CLOUD_SUFFIX
        )
        public_url = _checked_url("public_account_url", public_account_url or self._account_url)
        scheme, host = urlsplit(public_url).scheme, urlsplit(public_url).hostname or ""
        if scheme != "https" and not _is_loopback(host):
            raise ConfigurationError(
                "browsers must reach the account by https, except on this machine itself; "
                "correct account_url, or set public_account_url",
                field="public_account_url",
                value=public_url,
            )
        self._container = container
        self._protocol = "https" if scheme == "https" else ""
        self._base_url = f"{public_url}/{container}/"
        self._version = sas.HEADER_BINDING_VERSION if bind_headers else sas.VERSION
        self._binds_headers = bind_headers
        self._client_lock = threading.Lock()
        self._client: BlobServiceClient | None = None
        self._account_key: ExpiringCredentials[HmacSha256Key] | None = None
        self._delegation_key: CredentialsRenewer[sas.DelegationKey] | None = None
        if settings.account_key is not None:
            if bind_headers:
                raise ConfigurationError(
                    "bind_headers needs an identity (credential), for an account key cannot bind headers",
                    field="bind_headers",
                )
            self._account_key = ExpiringCredentials(
                credentials=_decoded_key(settings.account_key), renew_at=None, expires_at=None
            )
            self._credential: AzureNamedKeyCredential | TokenCredential = AzureNamedKeyCredential(
                self._account_name, settings.account_key
            )
        else:
            self._credential = settings.credential or _default_credential()
            self._delegation_key = CredentialsRenewer(self._fetch_delegation_key, what="the Azure user delegation key")
        self._kept = PerSecond(self._open_signer)

    def __repr__(self) -> str:
        return (
            f"AzureBackend(account_name={self._account_name!r}, container={self._container!r}, "
            f"account_url={self._account_url!r})"
        )

    @property
    def name(self) -> str:
        """What to call this storage in messages."""
        return f"azblob://{self._account_name}/{self._container}"

    @property
    def signing_does_io(self) -> bool:
        """False: credentials are at hand."""
        return False

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return what Azure enforces: create-only, and with bound headers the type and the size where one is granted.

        A signature that may create a blob may also copy one from elsewhere (Put Blob From URL, Copy Blob), which takes
        size and type from there. Only a bound length other than 0 shuts that out, and without it nothing else is
        claimed.
        """
        return _BOUND_RULES if self._binds_headers and grant.exact_bytes else _ALWAYS_RULES

    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        """Return a Put Blob that can create the blob, and never overwrite one.

        The signature permits creating alone (``sp=c``) for every grant: keys are new, so nothing asks for more.
        """
        headers = {
            "x-ms-blob-type": "BlockBlob",
            "Content-Type": grant.content_type,
            "x-ms-blob-content-type": grant.content_type,
        }
        if grant.content_disposition is not None:
            headers["x-ms-blob-content-disposition"] = grant.content_disposition
        if grant.cache_control is not None:
            headers["x-ms-blob-cache-control"] = grant.cache_control
        for name, value in grant.metadata.items():
            headers[f"x-ms-meta-{name}"] = value
        if grant.create_only:
            # Not needed by Azure, and by Azurite, which looks first and writes later.
            headers["If-None-Match"] = "*"
        bound: _Headers = ()
        if self._binds_headers:
            bound = tuple((name.lower(), value) for name, value in headers.items())
            if grant.exact_bytes is not None:
                # Bound, and not in the ticket: every HTTP client sends it by itself, and browsers let no script set it.
                bound += (("content-length", str(grant.exact_bytes)),)
        url, expires_at = self._signed_url(grant.key, "c", now, grant.expires_in, request_headers=bound)
        return SignedUpload("PUT", url, headers, {}, expires_at)

    def sign_download(
        self, key: str, now: datetime, *, expires_in: timedelta, content_disposition: str | None = None
    ) -> str:
        """Return a URL for Get Blob; the storage answers with ``content_disposition`` where one is given."""
        url, _ = self._signed_url(key, "r", now, expires_in, content_disposition or "")
        return url

    def object_url(self, key: str) -> str:
        """Return the blob's own URL, on the account URL that browsers reach."""
        return f"{self._base_url}{quote_path(key)}"

    def check(self) -> None:
        """Ask for the container's properties; an identity that may not read them passes, for a signer need not."""
        answers: list[object] = []
        try:
            self._service().get_container_client(self._container).get_container_properties(
                raw_response_hook=lambda answer: answers.append(answer.http_response)
            )
        except HttpResponseError as error:
            code = _code(error)
            if error.response is None:
                raise self._refused(code) from None
            _check_clock(error.response)
            if code == "ContainerNotFound":
                raise ConfigurationError(
                    f"the container {self._container} does not exist at {self._account_url}; "
                    "create it, or correct its name",
                    field="container",
                    value=self._container,
                ) from None
            if code in _NOT_PERMITTED and self._account_key is None:
                return
            if error.status_code in {401, 403}:
                raise self._refused(code) from None
            raise self._unavailable("Get Container Properties", error) from None
        except AzureError as error:
            raise self._unreachable(error) from None
        for answer in answers:
            _check_clock(answer)

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """Return what Get Blob Properties says; None for 404, and where the identity may not read."""
        try:
            blob = self._blob(key).get_blob_properties()
        except ResourceNotFoundError:
            return None
        except AzureError as error:
            if _code(error) in _NOT_PERMITTED:
                return None
            raise self._unavailable("Get Blob Properties", error) from None
        headers = blob.content_settings
        further_headers = {"content-language": headers.content_language} if headers.content_language else {}
        if blob.blob_tier == _ARCHIVE:
            # A client may choose the tier, and of an archived blob no byte can be read to verify it.
            further_headers["x-ms-access-tier"] = _ARCHIVE
        return ObjectHead(
            size=blob.size,
            content_type=headers.content_type or "",
            etag=(blob.etag or "").strip('"'),
            version=blob.version_id,
            # Azure keeps no SHA-256, only an MD5 that the client may choose freely.
            sha256=None,
            content_disposition=headers.content_disposition or None,
            cache_control=headers.cache_control or None,
            content_encoding=headers.content_encoding or None,
            metadata={name.lower(): value for name, value in (blob.metadata or {}).items()},
            further_headers=further_headers,
        )

    def read(self, key: str, *, offset: int, length: int, etag: str) -> bytes:
        """Return a range of the blob's bytes; raises StorageUnavailable if it has been replaced meanwhile."""
        try:
            content: bytes = (
                self._blob(key)
                .download_blob(
                    offset,
                    length,
                    etag=f'"{etag}"',
                    match_condition=MatchConditions.IfNotModified,
                    max_concurrency=1,
                )
                .readall()
            )
        except AzureError as error:
            raise self._unavailable("Get Blob", error) from None
        return content

    def delete(self, key: str) -> None:
        """Delete the blob and its snapshots, which whoever may create a blob may also make; soft delete keeps them."""
        try:
            self._blob(key).delete_blob(delete_snapshots="include")
        except ResourceNotFoundError:
            return
        except AzureError as error:
            raise self._unavailable("Delete Blob", error) from None

    def _signed_url(
        self,
        key: str,
        permissions: str,
        now: datetime,
        expires_in: timedelta,
        content_disposition: str = "",
        request_headers: _Headers = (),
    ) -> tuple[str, datetime]:
        held = self._account_key or self._current_delegation_key(now)
        signer, expires_at = self._kept.get(now, (held, permissions, expires_in, content_disposition, request_headers))
        return f"{self._base_url}{quote_path(key)}?{signer.sign(key)}", expires_at

    def _current_delegation_key(self, now: datetime) -> ExpiringCredentials[sas.DelegationKey]:
        assert self._delegation_key is not None  # noqa: S101  (without an account key there is always this one)
        held = self._delegation_key.current(now)
        if held.expires_at is not None and held.expires_at - now < _SECOND:
            raise CredentialsUnavailable("the Azure user delegation key is about to expire")
        return held

    def _open_signer(
        self,
        second: int,
        key: tuple[_HeldKey, str, timedelta, str, _Headers],
    ) -> tuple[sas.SasSigner, datetime]:
        """Return what signs for the blobs of one second that are granted alike, and when that grant ends."""
        held, permissions, expires_in, content_disposition, request_headers = key
        last = second + expires_in // _SECOND
        start = stamp_of(second - _SKEW_SECONDS).iso
        if held.expires_at is not None:
            last = min(last, int(held.expires_at.timestamp()))
        if isinstance(held.credentials, sas.DelegationKey):
            start = max(start, held.credentials.signed_start)
        end = stamp_of(last)
        signer = sas.SasSigner(
            held.credentials,
            account=self._account_name,
            container=self._container,
            permissions=permissions,
            start=start,
            expiry=end.iso,
            protocol=self._protocol,
            version=self._version,
            content_disposition=content_disposition,
            request_headers=dict(request_headers),
        )
        return signer, end.time

    def _fetch_delegation_key(self) -> ExpiringCredentials[sas.DelegationKey]:
        now = datetime.now(timezone.utc).replace(microsecond=0)
        try:
            answer = self._service().get_user_delegation_key(now - CLOCK_SKEW, now + _DELEGATION_KEY_LIFETIME)
        except HttpResponseError as error:
            code = _code(error)
            if error.response is not None:
                _check_clock(error.response)
                if error.status_code not in {401, 403}:
                    raise self._unavailable("Get User Delegation Key", error) from None
            raise self._refused(code) from None
        except AzureError as error:
            raise self._unreachable(error) from None
        signed_expiry = answer.signed_expiry or ""
        expires_at = datetime.strptime(signed_expiry, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        key = sas.DelegationKey(
            signed_oid=answer.signed_oid or "",
            signed_tid=answer.signed_tid or "",
            signed_start=answer.signed_start or "",
            signed_expiry=signed_expiry,
            signed_service=answer.signed_service or "",
            signed_version=answer.signed_version or "",
            key=sas.decode_key(answer.value or ""),
        )
        return ExpiringCredentials(credentials=key, renew_at=expires_at - (expires_at - now) / 4, expires_at=expires_at)

    def _service(self) -> BlobServiceClient:
        with self._client_lock:
            if self._client is None:
                self._client = BlobServiceClient(
                    self._account_url,
                    credential=self._credential,
                    # A region may not know the SDK's newest version yet.
                    api_version=self._version,
                    connection_timeout=5,
                    read_timeout=30,
                    retry_total=2,
                    # Waits of a second or two; by default they are of 15 and 18.
                    initial_backoff=0,
                    increment_base=1,
                    random_jitter_range=1,
                )
            return self._client

    def _blob(self, key: str) -> BlobClient:
        return self._service().get_blob_client(self._container, key)

    def _refused(self, code: str) -> ConfigurationError:
        if code == "KeyBasedAuthenticationNotPermitted":
            remedy = "the account does not allow keys: allow key access, or pass an identity (credential)"
        elif self._account_key is not None:
            remedy = _KEY_REMEDY
        elif code in _NOT_PERMITTED:
            remedy = _ROLE_REMEDY
        else:
            remedy = "check AZURE_CLIENT_ID, AZURE_TENANT_ID and what else the identity comes from"
        if code == "AuthorizationFailure":
            remedy += ", and the account's network rules"
        refused, setting = (
            ("account key", "account_key") if self._account_key is not None else ("identity", "credential")
        )
        return ConfigurationError(f"{self._account_url} refuses the {refused} ({shown(code)}); {remedy}", field=setting)

    def _unreachable(self, error: AzureError) -> StorageUnavailable:
        return StorageUnavailable(
            f"{self._account_url} does not answer ({type(error).__name__}); check the account's name and the network"
        )

    def _unavailable(self, call: str, error: AzureError) -> StorageUnavailable:
        return StorageUnavailable(f"{self.name} answered {call} with {shown(_code(error))}")


def open_azure(url: str) -> tuple[AzureBackend, str]:
    """Return the backend and the prefix of ``azblob://account/container/prefix/?endpoint_suffix=...``.

    Parameters are ``endpoint_url`` and ``public_endpoint_url`` (``account_url`` and ``public_account_url`` of
    AzureBackend), ``endpoint_suffix``, and ``bind_headers`` (``true`` or ``false``). Credentials come from the
    environment. Raises ConfigurationError for any other, and StorageUnavailable.
    """
    example = "azblob://account/container/prefix/"
    address = read_address(
        url,
        example=example,
        parameters={"endpoint_url", "public_endpoint_url", "endpoint_suffix", "bind_headers"},
    )
    container, _, path = address.path.partition("/")
    if not container:
        raise ConfigurationError(f"must look like {example}", field="url")
    parameters = address.parameters
    bind_headers = address.flag("bind_headers")
    prefix = check_prefix(unquote(path))
    backend = AzureBackend(
        container=unquote(container),
        account_name=address.host,
        account_url=parameters.get("endpoint_url"),
        public_account_url=parameters.get("public_endpoint_url"),
        endpoint_suffix=parameters.get("endpoint_suffix"),
        bind_headers=bind_headers,
    )
    return backend, prefix


def _settings(
    *,
    account_name: str | None,
    account_url: str | None,
    endpoint_suffix: str | None,
    connection_string: str | None,
    account_key: str | None,
    credential: TokenCredential | None,
) -> _Settings:
    if sum(given is not None for given in (connection_string, account_key, credential)) > 1:
        raise ConfigurationError(
            "give one of connection_string, account_key and credential, not more", field="credential"
        )
    setting = "connection_string"
    if connection_string is None and account_key is None and credential is None:
        setting = "AZURE_STORAGE_CONNECTION_STRING"
        connection_string = os.environ.get(setting) or None
        if connection_string is None:
            account_key = os.environ.get("AZURE_STORAGE_KEY") or None
            own_account = os.environ.get("AZURE_STORAGE_ACCOUNT") or None
            if account_key is not None and own_account is not None and (account_name or own_account) != own_account:
                raise ConfigurationError(
                    f"AZURE_STORAGE_KEY belongs to the account {own_account} (AZURE_STORAGE_ACCOUNT), "
                    f"not to {account_name}",
                    field="account_name",
                    value=account_name,
                    limit=own_account,
                )
    if endpoint_suffix is not None and (account_url is not None or connection_string is not None):
        raise ConfigurationError(
            "endpoint_suffix makes the account's URL, which account_url or the connection string gives already",
            field="endpoint_suffix",
            value=endpoint_suffix,
        )
    if connection_string is not None:
        own_account, own_url, account_key = _read_connection_string(setting, connection_string)
        if account_name not in {None, own_account}:
            raise ConfigurationError(
                f"{setting} is for the account {own_account}, not for {account_name}",
                field="account_name",
                value=account_name,
                limit=own_account,
            )
        account_name, account_url = own_account, account_url or own_url
    return _Settings(account_name=account_name, account_url=account_url, account_key=account_key, credential=credential)


def _read_connection_string(setting: str, connection_string: str) -> tuple[str, str, str]:
    pairs = [part.partition("=") for part in connection_string.strip().strip(";").split(";")]
    values = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if values.get("usedevelopmentstorage", "").lower() == "true":
        return _DEVELOPMENT_ACCOUNT, _DEVELOPMENT_URL, _DEVELOPMENT_KEY
    name, key = values.get("accountname"), values.get("accountkey")
    if not name or not key:
        # The string itself is a secret.
        raise ConfigurationError(
            f"{setting} must have AccountName=...;AccountKey=..., as the portal shows it under Access keys; "
            "a shared access signature can sign no others",
            field=setting,
        )
    protocol = values.get("defaultendpointsprotocol") or "https"
    suffix = values.get("endpointsuffix") or PUBLIC_CLOUD_SUFFIX
    return name, values.get("blobendpoint") or f"{protocol}://{name}.blob.{suffix}", key


def _account(name: str | None, url: str | None, suffix: str) -> tuple[str, str]:
    if url is None:
        name = name or os.environ.get("AZURE_STORAGE_ACCOUNT") or None
        if name is None:
            raise ConfigurationError(
                "account_name is not set: pass account_name, or set AZURE_STORAGE_ACCOUNT", field="account_name"
            )
        _check_account_name(name)
        return name, _checked_url("endpoint_suffix", f"https://{name}.blob.{suffix}")
    url = _checked_url("account_url", url)
    parts = urlsplit(url)
    of_host = _ACCOUNT_HOST.fullmatch(parts.hostname or "")
    named_by_url = parts.path.removeprefix("/") or (of_host[1] if of_host else None)
    if named_by_url is None and _is_address(parts.hostname or ""):
        raise ConfigurationError(
            "account_url without a host's name has the account as its path, such as "
            "http://127.0.0.1:10000/devstoreaccount1",
            field="account_url",
            value=url,
        )
    name = name or named_by_url or os.environ.get("AZURE_STORAGE_ACCOUNT") or None
    if name is None:
        raise ConfigurationError(
            "account_name is not set, and account_url does not say it: pass account_name, or set AZURE_STORAGE_ACCOUNT",
            field="account_name",
        )
    if named_by_url not in {None, name}:
        raise ConfigurationError(
            f"account_url is that of the account {named_by_url}, not of {name}",
            field="account_url",
            value=url,
            limit=name,
        )
    _check_account_name(name)
    return name, url


def _check_account_name(name: str) -> None:
    if not _ACCOUNT.fullmatch(name):
        raise ConfigurationError(
            "account_name must be a storage account's name: 3 to 24 lower-case letters and digits",
            field="account_name",
            value=name,
        )


def _checked_url(setting: str, url: str) -> str:
    described = "a blob service's URL, such as https://account.blob.core.windows.net"
    return read_endpoint(setting, url, described=described, segments=1)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _decoded_key(account_key: str) -> HmacSha256Key:
    try:
        return sas.decode_key(account_key)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error.detail}; {_KEY_REMEDY}", field="account_key") from None


def _default_credential() -> TokenCredential:
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError:
        raise ConfigurationError(
            "no account key is set, and for an identity azure-identity is missing: pip install presign[azure]",
            field="credential",
        ) from None
    return DefaultAzureCredential()


def _check_clock(response: Any) -> None:
    try:
        theirs = parsedate_to_datetime(response.headers["Date"])
        skew = abs(theirs - datetime.now(timezone.utc))
    except (KeyError, TypeError, ValueError):
        return
    if skew >= CLOCK_SKEW:
        raise ConfigurationError(
            "this machine's clock is more than 15 minutes off; set it, for no signature will be accepted",
            field="clock",
        ) from None


def _code(error: AzureError) -> str:
    # Only the code: a message may repeat what was signed.
    code: Any = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or type(error).__name__)
