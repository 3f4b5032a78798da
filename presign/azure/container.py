"""One container of a storage account, for the server's own requests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import (
    BlobClient,
    BlobLeaseClient,
    BlobProperties,
    BlobServiceClient,
    BlobType,
    ContainerProperties,
)

from presign.azure.account import Account
from presign.azure.client import error_code, refuse_late_responses
from presign.azure.failures import call_failed, explain_failure, lacks_permission
from presign.backends.backend import ListedObject, ObjectChanged, ObjectHead
from presign.backends.failures import MAX_CLOCK_SKEW, check_clock, storage_failed
from presign.backends.lazy_client import LazyClient
from presign.errors import StorageUnavailable

ENDED_SUFFIX = ".ended"
"""What the name of a pending blob has at its end if it is the mark of an ended upload in parts."""

BLOB_EXISTS_CODES = frozenset({"BlobAlreadyExists", "InvalidBlobType"})
"""The codes if there is a blob already. The second one: a client has put a page blob or an append blob there."""

_PRECONDITION_FAILED = 412
_LEASED = "LeaseIdMissing"
_ARCHIVE_TIER = "Archive"
# The tiers that a client may choose. Premium accounts report tiers of their own, which nobody chooses.
_CHOSEN_TIERS = frozenset({"Hot", "Cool", "Cold", _ARCHIVE_TIER, "Smart"})
# Get Blob Properties answers with status 409 and one of these codes if only the uploader has the blob's key.
_UNREADABLE_CODES = frozenset({"BlobUsesCustomerSpecifiedEncryption", "BlobCustomerSpecifiedEncryptionMismatch"})


class BlobContainer:
    """The blobs of one container: an ObjectStore. ``account`` authenticates the requests that ``client`` sends."""

    def __init__(self, *, account: Account, container: str, client: LazyClient[BlobServiceClient]) -> None:
        self.account = account
        self.container = container
        self._client = client

    def __repr__(self) -> str:
        return f"BlobContainer(account_url={self.account.url!r}, container={self.container!r})"

    def blob(self, key: str) -> BlobClient:
        """Return the SDK's client for one blob."""
        return self._client.get().get_blob_client(self.container, key)

    def failed(self, call: str, error: Exception) -> StorageUnavailable:
        """Return the error to raise after ``call`` failed."""
        return call_failed(self.account, self.container, call, error)

    def incomplete(self, call: str) -> StorageUnavailable:
        """Return the error to raise if the answer to ``call`` lacks headers that every answer has.

        If the connection breaks, Python's HTTP client returns the headers that came before, without an error.
        """
        return storage_failed(self.account.storage_name(self.container), call, "incomplete headers")

    def properties(self, lifetime: timedelta = MAX_CLOCK_SKEW) -> ContainerProperties | None:
        """Return the container's properties; None if the credentials are an identity that may not read them.

        The clock must not be slow by more than ``lifetime``. Raises ConfigurationError, which names the setting and the
        remedy, and StorageUnavailable.
        """
        responses: list[Any] = []
        try:
            properties = (
                self._client.get()
                .get_container_client(self.container)
                .get_container_properties(raw_response_hook=responses.append)
            )
        except AzureError as error:
            if self.account.key is None and lacks_permission(error):
                return None
            call = "Get Container Properties"
            raise explain_failure(self.account, self.container, call, error, _utc_now()) from None
        for response in responses:
            check_clock(response.http_response.headers.get("Date"), _utc_now(), lifetime=lifetime)
        return properties

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """Return what Get Blob Properties says; None for 404, and if the identity may not read."""
        try:
            properties = self.blob(key).get_blob_properties()
        except ResourceNotFoundError:
            return None
        except AzureError as error:
            if lacks_permission(error):
                return None
            if error_code(error) in _UNREADABLE_CODES:
                return self._unreadable_head(key)
            raise self.failed("Get Blob Properties", error) from None
        if properties.size is None or not properties.etag:
            raise self.incomplete("Get Blob Properties")
        return _object_head(properties)

    def read(self, key: str, *, offset: int, length: int, etag: str, version: str | None = None) -> bytes:
        """Return a range of the blob's bytes; raises ObjectChanged if the blob was replaced or deleted meanwhile."""
        try:
            stream = self.blob(key).download_blob(
                offset,
                length,
                **if_match(etag),
                max_concurrency=1,
                raw_response_hook=refuse_late_responses(),
            )
            content: bytes = stream.readall()
        except (AzureError, ValueError) as error:
            # The SDK raises ValueError for an answer that broke off before its Content-Range header.
            if isinstance(error, ResourceNotFoundError) or is_precondition_failure(error):
                raise self.changed(key) from None
            raise self.failed("Get Blob", error) from None
        return content

    def delete(self, key: str, *, head: ObjectHead | ListedObject | None = None) -> None:
        """Delete the blob and its snapshots: a client that may create a blob may also make snapshots of it.

        A client that may write the blob, because it sends blocks, may also lease it. The lease is broken first; this
        needs the right ``.../containers/blobs/write``.

        With ``head``, only a blob with that ETag is deleted, and its version too if the account keeps versions. An
        account with soft delete keeps everything for a while.
        """
        version = self._version(key, head)
        condition = {} if head is None else if_match(head.etag)
        try:
            self._delete_blob(self.blob(key), condition)
        except ResourceNotFoundError:
            # An earlier call may have been interrupted after this step: the version must still go.
            pass
        except AzureError as error:
            if head is not None and is_precondition_failure(error) and error_code(error) != _LEASED:
                return
            raise self.failed("Delete Blob", error) from None
        if version is not None:
            self._delete_version(key, version)

    def _delete_blob(self, blob: BlobClient, condition: dict[str, Any]) -> None:
        try:
            blob.delete_blob(delete_snapshots="include", **condition)
        except HttpResponseError as error:
            if error_code(error) != _LEASED:
                raise
            BlobLeaseClient(blob).break_lease(lease_break_period=0)
            blob.delete_blob(delete_snapshots="include", **condition)

    def list_objects(self, prefix: str) -> Iterator[ListedObject]:
        """Return the blobs whose names begin with ``prefix``, without snapshots and previous versions.

        The mark of an ended upload is kept as long as an upload in parts, because it is as old as the end.
        """
        try:
            for blob in self._client.get().get_container_client(self.container).list_blobs(name_starts_with=prefix):
                yield ListedObject(
                    key=blob.name,
                    etag=_plain_etag(blob.etag),
                    stored_at=blob.last_modified,
                    began_earlier=blob.name.endswith(ENDED_SUFFIX),
                )
        except AzureError as error:
            raise self.failed("List Blobs", error) from None

    def list_uncommitted(self, prefix: str) -> Iterator[str]:
        """Return the names that begin with ``prefix`` and have blocks, but no blob.

        In a listing, they lack everything that a blob has, such as a content type ("List Blobs", "Uncommitted blobs in
        the response").
        """
        container = self._client.get().get_container_client(self.container)
        try:
            for blob in container.list_blobs(name_starts_with=prefix, include=["uncommittedblobs"]):
                if not blob.content_settings.content_type:
                    yield blob.name
        except AzureError as error:
            raise self.failed("List Blobs", error) from None

    def mark_ended(self, key: str) -> None:
        """Remember that the upload to ``key`` has ended; do nothing if that is remembered already."""
        try:
            self.blob(f"{key}{ENDED_SUFFIX}").upload_blob(b"", match_condition=MatchConditions.IfMissing)
        except AzureError as error:
            if error_code(error) not in BLOB_EXISTS_CODES:
                raise self.failed("Put Blob", error) from None

    def is_marked_ended(self, key: str) -> bool:
        """Say whether ``mark_ended`` was called for ``key``, and no sweep has deleted the mark since."""
        return self.head(f"{key}{ENDED_SUFFIX}") is not None

    def find_snapshot(self, key: str) -> str | None:
        """Return the time of one snapshot of the blob, or None if it has none. One request."""
        container = self._client.get().get_container_client(self.container)
        try:
            # Two results are enough: the blob itself, and one snapshot.
            pages = container.list_blobs(key, include=["snapshots"], results_per_page=2).by_page()
            for blob in next(pages, ()):
                if blob.name == key and blob.snapshot:
                    return str(blob.snapshot)
        except (AzureError, AttributeError) as error:
            # The SDK raises AttributeError for an answer that broke off within its headers.
            raise self.failed("List Blobs", error) from None
        return None

    def changed(self, key: str) -> ObjectChanged:
        """Return the error to raise if the blob is not the one that the caller expects."""
        return ObjectChanged(f"the blob {key} was replaced or deleted meanwhile", field="key", value=key)

    def _unreadable_head(self, key: str) -> ObjectHead | None:
        # A listing returns the ETag without the client's key. With the ETag, exactly this blob can be deleted.
        for listed in self.list_objects(key):
            if listed.key == key:
                return ObjectHead(size=0, content_type="", etag=listed.etag, readable=False)
            break
        return None

    def _version(self, key: str, head: ObjectHead | ListedObject | None) -> str | None:
        if isinstance(head, ListedObject) and head.version is None:
            # Only a listing with all previous versions would say which one is the current one.
            current = self.head(key)
            return current.version if current is not None and current.etag == head.etag else None
        return None if head is None else head.version

    def _delete_version(self, key: str, version: str) -> None:
        # Delete Blob without a version only makes the current version a previous one, which keeps its bytes.
        try:
            self.blob(key).delete_blob(version_id=version)
        except ResourceNotFoundError:
            return
        except AzureError as error:
            raise self.failed("Delete Blob of a version", error) from None


def if_match(etag: str) -> dict[str, Any]:
    """Return the SDK's arguments for a request that must fail unless the blob has this ETag."""
    return {"etag": f'"{etag}"', "match_condition": MatchConditions.IfNotModified}


def is_precondition_failure(error: Exception) -> bool:
    """Say whether the service refused the request because of one of its conditions."""
    return isinstance(error, HttpResponseError) and error.status_code == _PRECONDITION_FAILED


def _object_head(properties: BlobProperties) -> ObjectHead:
    headers = properties.content_settings
    return ObjectHead(
        size=properties.size,
        content_type=headers.content_type or "",
        etag=_plain_etag(properties.etag),
        version=properties.version_id,
        # Azure stores no SHA-256. It stores an MD5, but the client may choose its value.
        sha256=None,
        content_disposition=headers.content_disposition or None,
        cache_control=headers.cache_control or None,
        content_encoding=headers.content_encoding or None,
        metadata={name.lower(): value for name, value in (properties.metadata or {}).items()},
        unexpected_headers=_unexpected_headers(properties),
    )


def _unexpected_headers(properties: BlobProperties) -> dict[str, str]:
    """Return what no ticket gives to a blob, although its signature permits it."""
    is_block_blob = properties.blob_type in {None, BlobType.BLOCKBLOB}
    unexpected: dict[str, Any] = {
        "content-language": properties.content_settings.content_language,
        "x-ms-blob-type": None if is_block_blob else BlobType(properties.blob_type).value,
        "x-ms-access-tier": _chosen_tier(properties),
        "x-ms-tag-count": properties.tag_count,
        # A copy from elsewhere. While an asynchronous copy runs, the blob's bytes still change.
        "x-ms-copy-status": properties.copy.status,
        "x-ms-legal-hold": "true" if properties.has_legal_hold else None,
        "x-ms-immutability-policy-until-date": properties.immutability_policy.expiry_time,
    }
    return {name: str(value) for name, value in unexpected.items() if value}


def _chosen_tier(properties: BlobProperties) -> str | None:
    """Return the access tier if the client has chosen it, or if it makes the blob unreadable."""
    tier = str(properties.blob_tier or "")
    is_default = properties.blob_tier_inferred or tier not in _CHOSEN_TIERS
    return tier if tier == _ARCHIVE_TIER or not is_default else None


def _plain_etag(etag: str | None) -> str:
    return (etag or "").strip('"')


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)
