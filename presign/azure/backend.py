"""The backend for one container of an Azure storage account."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

from presign.azure.account import Account, read_account, read_verifier
from presign.azure.container_signer import ContainerSigner, Permission, RequestHeaders
from presign.azure.delegation_key import SigningKey, keep_signing_key
from presign.azure.headers import HEADERS
from presign.azure.parts import AzureParts
from presign.azure.publish_options import CALLS_VERSION, MAX_ONE_COPY_BYTES, check_publish_options
from presign.backends.addresses import read_address
from presign.backends.backend import ListedObject, ObjectHead, ObjectStore, PublishOption, SignedUpload
from presign.backends.expiring_credentials import CredentialsRenewer
from presign.backends.failures import MAX_CLOCK_SKEW
from presign.backends.knowledge import LearnedSource, read_knowledge
from presign.backends.lazy_client import LazyClient
from presign.backends.lazy_store import LazyStore
from presign.errors import ConfigurationError
from presign.keys import check_prefix
from presign.messages import Grant, Rule
from presign.progress import ReportBytes, ignore_bytes
from presign.signing import sas

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

    from presign.azure.blocks import PendingBlocks
    from presign.azure.container import BlobContainer
    from presign.backends.diagnosis import Diagnosis

_CONTAINER = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*|\$root|\$web", re.ASCII)
# The service reads the pending blob with this signature while it copies.
_COPY_SIGNATURE_LIFETIME = timedelta(minutes=15)
_UNBOUND_RULES = frozenset({Rule.CREATE_ONLY})
_BOUND_RULES = frozenset({Rule.CREATE_ONLY, Rule.TYPE, Rule.SIZE})
_PUBLISH_OPTIONS: frozenset[PublishOption] = frozenset({"tags", "storage_class"})


class AzureBackend:
    """One container of an Azure storage account, with the account key or the identity that signs for it.

    - ``account_name``: by default the name in ``account_url`` or the connection string, or ``AZURE_STORAGE_ACCOUNT``.
    - ``account_url``: the blob service's URL, as this program reaches it; by default
      ``https://ACCOUNT.blob.core.windows.net``. An emulator has the account in the path:
      ``http://127.0.0.1:10000/devstoreaccount1``.
    - ``public_account_url``: the same service's URL as browsers reach it, if it differs (containers, own domains).
    - ``endpoint_suffix``: the domain of a sovereign cloud, such as ``core.chinacloudapi.cn``.
    - ``allow_http``: accept URLs without TLS that are not on this machine, for a network that you trust.
    - One of ``connection_string``, ``account_key`` (base64) and ``credential`` (of azure-identity). By default
      ``AZURE_STORAGE_CONNECTION_STRING``, else ``AZURE_STORAGE_KEY``, else ``DefaultAzureCredential()``.
    - ``bind_headers``: if an identity signs, bind the upload's headers and exact length to the signature (``srh``).
      This needs service version 2026-04-06; regions and emulators without that version refuse such uploads.
    - ``pending_container``: the container where uploads wait until they are verified; by default ``container`` itself.
      A container is public or private as a whole. So if everybody may read ``container``, uploads need another one that
      is private.
    - ``learned``: what the account has shown, from the file that ``presign doctor --write`` has written. Tickets then
      say "storage" only of rules that it was seen to enforce.
    - ``verifier_account_key`` or ``verifier_credential``: verifies, publishes, deletes and lists blobs, and signs
      downloads; by default ``AZURE_STORAGE_VERIFIER_KEY``, else what signs uploads.

    Upload tickets permit only ``sp=c`` (create), except those for a file that comes in parts, which need ``sp=w``
    (write) for the pending blob (see AzureParts). So an identity that signs them, and is not the verifier, needs the
    role Storage Blob Delegator on the account, and a custom role whose only data action is
    ``.../containers/blobs/add/action`` on the pending container; for parts, it also needs
    ``.../containers/blobs/write``. The verifier needs Storage Blob Delegator on the
    account, and Storage Blob Data Contributor on both containers; Storage Blob Data Owner if the account keeps versions
    (deleting a version needs it) or if blobs get tags. An account with a hierarchical namespace has no tags, and
    refuses to publish a blob with tags. The container that tickets write to must have no legal hold and no default
    immutability policy: completion would refuse each upload because of them, and could not delete it.

    An account key signs service SAS. An identity signs user delegation SAS, with a delegation key that is fetched when
    the backend is built, and renewed in the background. Raises ConfigurationError and StorageUnavailable.

    ::

        backend = AzureBackend(account_name="myaccount", container="public", pending_container="pending")
    """

    def __init__(
        self,
        *,
        container: str,
        pending_container: str | None = None,
        account_name: str | None = None,
        account_url: str | None = None,
        public_account_url: str | None = None,
        endpoint_suffix: str | None = None,
        connection_string: str | None = None,
        account_key: str | None = None,
        credential: TokenCredential | None = None,
        verifier_account_key: str | None = None,
        verifier_credential: TokenCredential | None = None,
        bind_headers: bool = False,
        allow_http: bool = False,
        learned: LearnedSource = None,
    ) -> None:
        if pending_container is None:
            pending_container = container
        _check_container("container", container)
        _check_container("pending_container", pending_container)
        _check_flag("bind_headers", bind_headers)
        _check_flag("allow_http", allow_http)
        signer = read_account(
            account_name=account_name,
            account_url=account_url,
            public_account_url=public_account_url,
            endpoint_suffix=endpoint_suffix,
            connection_string=connection_string,
            account_key=account_key,
            credential=credential,
            allow_http=allow_http,
        )
        verifier = read_verifier(signer, account_key=verifier_account_key, credential=verifier_credential)
        _check_bind_headers(bind_headers, signs_with_account_key=signer.key is not None)
        self._account = signer
        self._verifier = verifier
        self._learned = read_knowledge(learned, storage=signer.storage_name(container), host=signer.public_host)
        self._binds_headers = bind_headers
        self._version = sas.HEADER_BINDING_VERSION if bind_headers else sas.VERSION
        self._container = container
        self._pending_container = pending_container
        self._containers = LazyClient(
            partial(
                _open_containers,
                verifier,
                [container, pending_container],
                api_version=max(self._version, CALLS_VERSION),
            )
        )
        self._pending_store = LazyStore(LazyClient(lambda: self._pending))
        self._credentials = keep_signing_key(signer, pending_container, version=self._version)
        self._verifier_credentials = (
            self._credentials if verifier is signer else keep_signing_key(verifier, container, version=self._version)
        )
        self._uploads = self._container_signer(self._credentials, signer.public_url, container)
        self._pending_uploads = self._container_signer(self._credentials, signer.public_url, pending_container)
        self._parts = (
            None if bind_headers else AzureParts(blocks=LazyClient(self._open_blocks), signer=self._pending_uploads)
        )
        self._downloads = self._container_signer(self._verifier_credentials, signer.public_url, container)
        self._copy_sources = self._container_signer(self._verifier_credentials, signer.url, pending_container)

    def __repr__(self) -> str:
        return (
            f"AzureBackend(account_name={self._account.name!r}, container={self._container!r}, "
            f"pending_container={self._pending_container!r}, account_url={self._account.url!r})"
        )

    @property
    def name(self) -> str:
        """The storage's name, with the account and the container."""
        return self._account.storage_name(self._container)

    @property
    def signing_does_io(self) -> bool:
        """False: the signing key is in memory."""
        return False

    @property
    def pending(self) -> ObjectStore:
        """The backend itself, or the blobs of ``pending_container``."""
        return self if self._pending_container == self._container else self._pending_store

    @property
    def has_public_prefixes(self) -> bool:
        """False: a container is public or private as a whole."""
        return False

    @property
    def max_upload_bytes(self) -> int:
        """5,000 MiB: the largest blob that Put Blob stores."""
        return MAX_ONE_COPY_BYTES

    @property
    def parts(self) -> AzureParts | None:
        """The blocks of pending blobs; None with ``bind_headers``, because nothing could be bound to all blocks."""
        return self._parts

    @property
    def checks_expiry_late(self) -> bool:
        """False: Azure checks the expiry when a request begins."""
        return False

    @property
    def publish_options(self) -> frozenset[PublishOption]:
        """Tags and an access tier (``storage_class``)."""
        return _PUBLISH_OPTIONS

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return the rules that Azure enforces: create-only; with bound headers and an exact size, type and size too.

        A client may use the signature for Put Blob From URL or Copy Blob, which take size and type from another blob.
        Those requests have no body, so a bound length above 0 prevents them. Without such a length, the storage
        enforces create-only and nothing else.
        """
        rules = _BOUND_RULES if self._binds_headers and grant.exact_bytes else _UNBOUND_RULES
        return rules if self._learned is None else rules & self._learned.of("put")

    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        """Return a Put Blob that can create the blob, and never overwrite one.

        The permission is ``sp=c`` (create) for every grant: each upload has a new key, so no upload overwrites a blob.
        Raises ConfigurationError for tags and a storage class that Azure does not accept.
        """
        if grant.pending_key is None:
            signer, key = self._uploads, grant.key
        else:
            signer, key = self._pending_uploads, grant.pending_key
            check_publish_options(grant)
        headers = {
            "x-ms-blob-type": "BlockBlob",
            "Content-Type": grant.content_type,
            "x-ms-blob-content-type": grant.content_type,
            **HEADERS.of_object(grant),
        }
        if grant.create_only:
            # Azure does not need this header. Azurite looks for the blob long before it writes it, so without the
            # header two uploads at the same time could both succeed.
            headers["If-None-Match"] = "*"
        bound = self._bound_headers(grant, headers) if self._binds_headers else ()
        url, expires_at = signer.sign(key, now, Permission("c", grant.expires_in, "", bound))
        return SignedUpload("PUT", url, headers, {}, expires_at)

    def sign_download(
        self, key: str, now: datetime, *, expires_in: timedelta, content_disposition: str | None = None
    ) -> str:
        """Return a URL for Get Blob; the storage sends ``content_disposition`` as a header of the response.

        The verifier's credentials sign it, because those that sign uploads need not permit reading.
        """
        _check_one_line("key", key)
        _check_one_line("content_disposition", content_disposition or "")
        url, _ = self._downloads.sign(key, now, Permission("r", expires_in, content_disposition or ""))
        return url

    def object_url(self, key: str) -> str:
        """Return the blob's own URL, on the account URL that browsers reach."""
        return self._uploads.blob_url(key)

    def diagnosis(self) -> Diagnosis:
        """Return what ``presign doctor`` asks Azure about these containers."""
        # Only presign doctor needs it.
        from presign.azure.diagnosis import AzureDiagnosis

        return AzureDiagnosis(
            signer=self._account,
            verifier=self._verifier,
            container=self._container,
            pending_container=self._pending_container,
        )

    def check(self, *, lifetime: timedelta = MAX_CLOCK_SKEW) -> None:
        """Request the properties of both containers as the verifier, and those of the pending one as the signer, too.

        An identity that may not read them passes, because a signer does not need that permission. If
        ``pending_container`` is another container, it must be private. The clock must not be slow by ``lifetime``.
        """
        self._objects.properties(lifetime)
        if self._pending_container != self._container:
            pending = self._pending.properties(lifetime)
            if pending is not None and pending.public_access is not None:
                raise ConfigurationError(
                    f"everybody may read the container {self._pending_container}, where uploads wait until they are "
                    "verified; set its public access level to private",
                    field="pending_container",
                    value=self._pending_container,
                )
        if self._verifier is not self._account:
            [pending_of_signer] = _open_containers(self._account, [self._pending_container], api_version=self._version)
            pending_of_signer.properties(lifetime)

    def prepare(self) -> None:
        """Load what the first completion needs; see Presigner.prepare. Raises StorageUnavailable without a token."""
        from presign.azure import publication  # noqa: F401

        self._objects.prepare()

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """Return what Get Blob Properties says; None for 404, and if the identity may not read.

        With ``first_bytes``, Get Blob is asked instead, which does not return the tier; see unexpected_attributes.

        ``unexpected_headers`` has what a client can do with a ticket besides a plain upload: a page or append blob, a
        copy from elsewhere, an access tier, tags, a language, a legal hold, an immutability policy. A blob under a
        customer-provided key is described as not readable. The MD5 is not compared, because the service computes it, or
        refuses a wrong one. Encryption scopes are not compared either: they change nothing for readers, and the
        published copy has none of the pending blob's.
        """
        return self._objects.head(key, first_bytes=first_bytes)

    def read(self, key: str, *, offset: int, length: int, etag: str, version: str | None = None) -> bytes:
        """Return a range of the blob's bytes; raises ObjectChanged if the blob was replaced or deleted meanwhile."""
        return self._objects.read(key, offset=offset, length=length, etag=etag, version=version)

    def delete(self, key: str, *, head: ObjectHead | ListedObject | None = None) -> None:
        """Delete the blob and its snapshots; with ``head``, delete only the blob that it describes, and its version.

        An account with soft delete keeps everything for a while.
        """
        self._objects.delete(key, head=head)

    def list_objects(self, prefix: str) -> Iterator[ListedObject]:
        """Return the blobs whose names begin with ``prefix``, without snapshots and previous versions."""
        return self._objects.list_objects(prefix)

    def unexpected_attributes(self, grant: Grant) -> Mapping[str, str]:
        """Return a snapshot that the client has made of its upload, and the access tier that it has chosen.

        This sends one List Blobs for each completion, because ``head`` shows no snapshots, and no tier with the first
        bytes. A snapshot has the blob's own bytes, because no ticket permits overwriting, and ``delete`` deletes it
        with the blob.
        """
        container = self._objects if grant.pending_key is None else self._pending
        return container.unexpected_attributes(grant.upload_key)

    def publish(self, grant: Grant, head: ObjectHead, *, report_copied: ReportBytes = ignore_bytes) -> ObjectHead:
        """Copy the pending blob with one Put Blob From URL, and above 5,000 MiB in blocks.

        The service reads the pending blob through a URL that the verifier signs. The call returns when the copy is
        complete; each request waits at most 10 seconds plus one second for each 10 MiB.
        """
        from presign.azure.publication import Publication  # here for the reason that _open_containers gives

        permission = Permission("r", _COPY_SIGNATURE_LIFETIME)
        return Publication(
            grant,
            head,
            source=self._pending,
            target=self._objects,
            sign_source=lambda: self._copy_sources.sign(grant.upload_key, _utc_now(), permission)[0],
            report_copied=report_copied,
        ).run()

    @property
    def _objects(self) -> BlobContainer:
        return self._containers.get()[0]

    @property
    def _pending(self) -> BlobContainer:
        return self._containers.get()[1]

    def _open_blocks(self) -> PendingBlocks:
        from presign.azure.blocks import PendingBlocks  # here for the reason that _open_containers gives

        return PendingBlocks(self._pending)

    def _container_signer(
        self, credentials: CredentialsRenewer[SigningKey], service_url: str, container: str
    ) -> ContainerSigner:
        return ContainerSigner(
            credentials,
            account_name=self._account.name,
            service_url=service_url,
            container=container,
            version=self._version,
        )

    def _bound_headers(self, grant: Grant, headers: Mapping[str, str]) -> RequestHeaders:
        bound = tuple((name.lower(), value) for name, value in headers.items())
        if grant.exact_bytes is None:
            return bound
        # Bound, but not in the ticket: HTTP clients send it themselves, and browsers let no script set it.
        return (*bound, ("content-length", str(grant.exact_bytes)))


def open_azure(url: str) -> tuple[AzureBackend, str]:
    """Return the backend and the prefix of ``azblob://account/container/prefix/?pending_container=...``.

    Parameters are ``endpoint_url`` and ``public_endpoint_url`` (``account_url`` and ``public_account_url`` of
    AzureBackend), ``endpoint_suffix``, ``pending_container``, ``learned`` (a path), and ``bind_headers`` and
    ``allow_http`` (``true`` or ``false``). Credentials come from the environment; a verifier's own key is in
    ``AZURE_STORAGE_VERIFIER_KEY``. Raises ConfigurationError for any other parameter, and StorageUnavailable.
    """
    example = "azblob://account/container/prefix/"
    address = read_address(
        url,
        example=example,
        parameters={
            "endpoint_url",
            "public_endpoint_url",
            "endpoint_suffix",
            "pending_container",
            "bind_headers",
            "allow_http",
            "learned",
        },
    )
    container, _, path = address.path.partition("/")
    if not container:
        raise ConfigurationError(f"the address must look like {example}", field="url")
    parameters = address.parameters
    prefix = check_prefix(unquote(path))
    backend = AzureBackend(
        container=unquote(container),
        pending_container=parameters.get("pending_container"),
        account_name=address.host,
        account_url=parameters.get("endpoint_url"),
        public_account_url=parameters.get("public_endpoint_url"),
        endpoint_suffix=parameters.get("endpoint_suffix"),
        bind_headers=address.flag("bind_headers"),
        allow_http=address.flag("allow_http"),
        learned=parameters.get("learned"),
    )
    return backend, prefix


def _open_containers(account: Account, names: Sequence[str], *, api_version: str) -> Sequence[BlobContainer]:
    # The SDK takes longer to import than everything else that a ticket needs, and an account key signs without it.
    from presign.azure.client import build_client
    from presign.azure.container import BlobContainer
    from presign.azure.requests import BlobRequests

    client = LazyClient(lambda: build_client(account, api_version=api_version))
    requests = BlobRequests(account, api_version=api_version)
    return [BlobContainer(account=account, container=name, client=client, requests=requests) for name in names]


def _check_container(setting: str, container: str) -> None:
    if not isinstance(container, str) or not _CONTAINER.fullmatch(container):
        raise ConfigurationError(
            f"{setting} must be a container's name: 3 to 63 lower-case letters, digits and single hyphens",
            field=setting,
            value=container if isinstance(container, str) else type(container).__name__,
        )


def _check_flag(setting: str, value: bool) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{setting} must be True or False", field=setting)


def _check_bind_headers(bind_headers: bool, *, signs_with_account_key: bool) -> None:
    if bind_headers and signs_with_account_key:
        raise ConfigurationError(
            "bind_headers needs an identity (credential), because an account key cannot bind headers",
            field="bind_headers",
        )


def _check_one_line(field: str, value: str) -> None:
    # The text that is signed has one value on each line, so a value with a line end could be read as two values.
    if "\n" in value or "\r" in value:
        raise ConfigurationError(f"{field} must not contain line ends", field=field)


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)
