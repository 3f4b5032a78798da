"""The backend for one container of an Azure storage account."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote

from azure.core import MatchConditions
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobProperties

from presign.azure.account import read_account
from presign.azure.client import build_client, refuse_late_responses
from presign.azure.delegation_key import SigningKey, fetch_delegation_key
from presign.azure.failures import call_failed, explain_failure, lacks_permission
from presign.backends.addresses import read_address
from presign.backends.backend import ObjectHead, SignedUpload
from presign.backends.expiring_credentials import CredentialsRenewer, ExpiringCredentials
from presign.backends.failures import MAX_CLOCK_SKEW, check_clock
from presign.backends.lazy_client import LazyClient
from presign.backends.object_headers import HeaderNames
from presign.errors import ConfigurationError, CredentialsUnavailable, StorageUnavailable
from presign.keys import check_prefix
from presign.messages import Grant, Rule
from presign.signing import sas
from presign.signing.per_second_cache import PerSecondCache
from presign.signing.quoting import quote_path
from presign.signing.signing_time import SigningTime, signing_time

_SECOND = timedelta(seconds=1)
_CLOCK_SKEW_SECONDS = MAX_CLOCK_SKEW // _SECOND
_CONTAINER = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*|\$root|\$web", re.ASCII)
_HEADERS = HeaderNames(
    metadata_prefix="x-ms-meta-",
    content_disposition="x-ms-blob-content-disposition",
    cache_control="x-ms-blob-cache-control",
)
_ARCHIVE_TIER = "Archive"
_UNBOUND_RULES = frozenset({Rule.CREATE_ONLY})
_BOUND_RULES = frozenset({Rule.CREATE_ONLY, Rule.TYPE, Rule.SIZE})

_RequestHeaders = tuple[tuple[str, str], ...]
# What a signature permits beside the blob's name: permissions, lifetime, content disposition, request headers.
_Permission = tuple[str, timedelta, str, _RequestHeaders]


class AzureBackend:
    """One container of an Azure storage account, with the account key or the identity that signs for it.

    - ``account_name``: by default the name in ``account_url`` or the connection string, or ``AZURE_STORAGE_ACCOUNT``.
    - ``account_url``: the blob service's URL, as this program reaches it; by default
      ``https://ACCOUNT.blob.core.windows.net``. An emulator has the account in the path:
      ``http://127.0.0.1:10000/devstoreaccount1``.
    - ``public_account_url``: the same service's URL as browsers reach it, if it differs (containers, own domains).
    - ``endpoint_suffix``: the domain of a sovereign cloud, such as ``core.chinacloudapi.cn``.
    - One of ``connection_string``, ``account_key`` (base64) and ``credential`` (of azure-identity). By default
      ``AZURE_STORAGE_CONNECTION_STRING``, else ``AZURE_STORAGE_KEY``, else ``DefaultAzureCredential()``.
    - ``bind_headers``: if an identity signs, bind the upload's headers and exact length to the signature (``srh``).
      This needs service version 2026-04-06; regions and emulators without that version refuse such uploads.

    An account key signs service SAS. An identity signs user delegation SAS, with a delegation key that is fetched when
    the backend is built, and renewed in the background. Raises ConfigurationError and StorageUnavailable.
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
        _check_container(container)
        account = read_account(
            account_name=account_name,
            account_url=account_url,
            public_account_url=public_account_url,
            endpoint_suffix=endpoint_suffix,
            connection_string=connection_string,
            account_key=account_key,
            credential=credential,
        )
        _check_bind_headers(bind_headers, signs_with_account_key=account.key is not None)
        self._account = account
        self._container = container
        self._base_url = f"{account.public_url}/{container}/"
        self._protocol = "https" if account.public_url.startswith("https://") else ""
        self._binds_headers = bind_headers
        self._version = sas.HEADER_BINDING_VERSION if bind_headers else sas.VERSION
        self._client = LazyClient(lambda: build_client(account, api_version=self._version))
        self._credentials: CredentialsRenewer[SigningKey] = CredentialsRenewer(
            self._load_signing_key,
            what="the Azure user delegation key" if account.key is None else "the Azure account key",
        )
        self._signers = PerSecondCache(self._make_signer)

    def __repr__(self) -> str:
        return (
            f"AzureBackend(account_name={self._account.name!r}, container={self._container!r}, "
            f"account_url={self._account.url!r})"
        )

    @property
    def name(self) -> str:
        """The storage's name in messages."""
        return self._account.storage_name(self._container)

    @property
    def signing_does_io(self) -> bool:
        """False: the signing key is in memory."""
        return False

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return the rules that Azure enforces: create-only; with bound headers and an exact size, type and size too.

        A client may use the signature for Put Blob From URL or Copy Blob, which take size and type from another blob.
        Those requests have no body, so a bound length above 0 prevents them. Without such a length, the storage
        enforces create-only alone.
        """
        return _BOUND_RULES if self._binds_headers and grant.exact_bytes else _UNBOUND_RULES

    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        """Return a Put Blob that can create the blob, and never overwrite one.

        The permission is ``sp=c`` (create) for every grant: each upload has a new key, so no upload overwrites a blob.
        """
        headers = {
            "x-ms-blob-type": "BlockBlob",
            "Content-Type": grant.content_type,
            "x-ms-blob-content-type": grant.content_type,
            **_HEADERS.of_object(grant),
        }
        if grant.create_only:
            # Azure does not need this header. Azurite looks for the blob long before it writes it, so without the
            # header two uploads at the same time could both succeed.
            headers["If-None-Match"] = "*"
        bound = self._bound_headers(grant, headers) if self._binds_headers else ()
        url, expires_at = self._sign(grant.key, now, ("c", grant.expires_in, "", bound))
        return SignedUpload("PUT", url, headers, {}, expires_at)

    def sign_download(
        self, key: str, now: datetime, *, expires_in: timedelta, content_disposition: str | None = None
    ) -> str:
        """Return a URL for Get Blob; the storage sends ``content_disposition`` as a header of the response."""
        _check_one_line("key", key)
        _check_one_line("content_disposition", content_disposition or "")
        url, _ = self._sign(key, now, ("r", expires_in, content_disposition or "", ()))
        return url

    def object_url(self, key: str) -> str:
        """Return the blob's own URL, on the account URL that browsers reach."""
        return f"{self._base_url}{quote_path(key)}"

    def check(self) -> None:
        """Ask for the container's properties.

        An identity that may not read them passes, because a signer does not need that permission.
        """
        responses: list[Any] = []
        try:
            self._client.get().get_container_client(self._container).get_container_properties(
                raw_response_hook=responses.append
            )
        except AzureError as error:
            if self._account.key is not None or not lacks_permission(error):
                call = "Get Container Properties"
                raise explain_failure(self._account, self._container, call, error, _utc_now()) from None
        for response in responses:
            check_clock(response.http_response.headers.get("Date"), _utc_now())

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """Return what Get Blob Properties says; None for 404, and if the identity may not read."""
        try:
            properties = self._blob(key).get_blob_properties()
        except ResourceNotFoundError:
            return None
        except AzureError as error:
            if lacks_permission(error):
                return None
            raise self._failed("Get Blob Properties", error) from None
        return _object_head(properties)

    def read(self, key: str, *, offset: int, length: int, etag: str) -> bytes:
        """Return a range of the blob's bytes; raises StorageUnavailable if the blob was replaced meanwhile."""
        try:
            stream = self._blob(key).download_blob(
                offset,
                length,
                etag=f'"{etag}"',
                match_condition=MatchConditions.IfNotModified,
                max_concurrency=1,
                raw_response_hook=refuse_late_responses(),
            )
            content: bytes = stream.readall()
        except AzureError as error:
            raise self._failed("Get Blob", error) from None
        return content

    def delete(self, key: str) -> None:
        """Delete the blob, and its snapshots, because a client that may create a blob may also make snapshots of it.

        An account with soft delete keeps both for a while.
        """
        try:
            self._blob(key).delete_blob(delete_snapshots="include")
        except ResourceNotFoundError:
            return
        except AzureError as error:
            raise self._failed("Delete Blob", error) from None

    def _bound_headers(self, grant: Grant, headers: Mapping[str, str]) -> _RequestHeaders:
        bound = tuple((name.lower(), value) for name, value in headers.items())
        if grant.exact_bytes is None:
            return bound
        # Bound, but not in the ticket: HTTP clients send it themselves, and browsers let no script set it.
        return (*bound, ("content-length", str(grant.exact_bytes)))

    def _sign(self, key: str, now: datetime, permission: _Permission) -> tuple[str, datetime]:
        signer, expires_at = self._signers.get(now, (self._credentials.current(now), permission))
        return f"{self._base_url}{quote_path(key)}?{signer.sign(key)}", expires_at

    def _make_signer(
        self, unix_second: int, key: tuple[ExpiringCredentials[SigningKey], _Permission]
    ) -> tuple[sas.SasSigner, datetime]:
        """Return the signer for one second's blobs with the same permission, and the time at which it expires."""
        credentials, (permissions, expires_in, content_disposition, request_headers) = key
        # The start lies in the past, because the storage's clock may be behind.
        start = signing_time(unix_second - _CLOCK_SKEW_SECONDS).iso
        end = _compute_end(unix_second, expires_in, credentials.expires_at)
        if isinstance(credentials.credentials, sas.DelegationKey):
            start = max(start, credentials.credentials.signed_start)
        signer = sas.SasSigner(
            credentials.credentials,
            account=self._account.name,
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

    def _load_signing_key(self) -> ExpiringCredentials[SigningKey]:
        if self._account.key is not None:
            return ExpiringCredentials(credentials=self._account.key, renew_at=None, expires_at=None)
        now = _utc_now().replace(microsecond=0)
        return fetch_delegation_key(self._client.get(), self._account, self._container, now)

    def _blob(self, key: str) -> BlobClient:
        return self._client.get().get_blob_client(self._container, key)

    def _failed(self, call: str, error: AzureError) -> StorageUnavailable:
        return call_failed(self._account, self._container, call, error)


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
        raise ConfigurationError(f"the address must look like {example}", field="url")
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


def _check_container(container: str) -> None:
    if not isinstance(container, str) or not _CONTAINER.fullmatch(container):
        raise ConfigurationError(
            "container must be a container's name: 3 to 63 lower-case letters, digits and single hyphens",
            field="container",
            value=container if isinstance(container, str) else type(container).__name__,
        )


def _check_bind_headers(bind_headers: bool, *, signs_with_account_key: bool) -> None:
    if not isinstance(bind_headers, bool):
        raise ConfigurationError("bind_headers must be True or False", field="bind_headers")
    if bind_headers and signs_with_account_key:
        raise ConfigurationError(
            "bind_headers needs an identity (credential), because an account key cannot bind headers",
            field="bind_headers",
        )


def _object_head(properties: BlobProperties) -> ObjectHead:
    headers = properties.content_settings
    unexpected_headers = {"content-language": headers.content_language} if headers.content_language else {}
    if properties.blob_tier == _ARCHIVE_TIER:
        # A client may choose the tier, and an archived blob cannot be read, and so not verified.
        unexpected_headers["x-ms-access-tier"] = _ARCHIVE_TIER
    return ObjectHead(
        size=properties.size,
        content_type=headers.content_type or "",
        etag=(properties.etag or "").strip('"'),
        version=properties.version_id,
        # Azure stores no SHA-256. It stores an MD5, but the client may choose its value.
        sha256=None,
        content_disposition=headers.content_disposition or None,
        cache_control=headers.cache_control or None,
        content_encoding=headers.content_encoding or None,
        metadata={name.lower(): value for name, value in (properties.metadata or {}).items()},
        unexpected_headers=unexpected_headers,
    )


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


def _check_one_line(field: str, value: str) -> None:
    # A signature covers values that are separated by line ends; a value with one could be read as two.
    if "\n" in value or "\r" in value:
        raise ConfigurationError(f"{field} must not contain line ends", field=field)


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)
