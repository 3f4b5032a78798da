"""One container of a storage account, for the server's own requests."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError

from presign.azure.account import Account
from presign.azure.client import error_code
from presign.azure.failures import call_failed, explain_failure, lacks_permission
from presign.azure.headers import HEADERS
from presign.azure.requests import BlobRequests, Query
from presign.backends.backend import ListedObject, ObjectChanged, ObjectHead
from presign.backends.connections import Answer
from presign.backends.failures import MAX_CLOCK_SKEW, check_clock, storage_failed
from presign.backends.lazy_client import LazyClient
from presign.errors import StorageUnavailable

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, BlobServiceClient, ContainerProperties

ENDED_SUFFIX = ".ended"
"""What the name of a pending blob has at its end if it is the mark of an ended upload in parts."""

BLOB_EXISTS_CODES = frozenset({"BlobAlreadyExists", "InvalidBlobType"})
"""The codes if there is a blob already. The second one: a client has put a page blob or an append blob there."""

_CONFLICT = 409
_PRECONDITION_FAILED = 412
_RANGE_NOT_SATISFIABLE = 416
_LEASED = "LeaseIdMissing"
_SNAPSHOT = "x-ms-snapshot"
_ACCESS_TIER = "x-ms-access-tier"
_BLOCK_BLOB = "BlockBlob"
_ARCHIVE_TIER = "Archive"
# The tiers that a client may choose. Premium accounts report tiers of their own, which nobody chooses.
_CHOSEN_TIERS = frozenset({"Hot", "Cool", "Cold", _ARCHIVE_TIER, "Smart"})
# Get Blob Properties answers with status 409 and one of these codes if only the uploader has the blob's key.
_UNREADABLE_CODES = frozenset({"BlobUsesCustomerSpecifiedEncryption", "BlobCustomerSpecifiedEncryptionMismatch"})
_LISTED_BLOB = re.compile(r"<Blob>.*?<Name>([^<]*)</Name>(.*?)</Blob>", re.DOTALL)
_LISTED_VALUE = re.compile(r"<(\w+)>([^<]+)</")
_END_OF_LISTING = "</EnumerationResults>"


class BlobContainer:
    """The blobs of one container: an ObjectStore.

    ``account`` authenticates the requests. ``requests`` sends those of a completion, and ``client``, the SDK's, sends
    the others.
    """

    def __init__(
        self,
        *,
        account: Account,
        container: str,
        client: LazyClient[BlobServiceClient],
        requests: BlobRequests,
    ) -> None:
        self.account = account
        self.container = container
        self._client = client
        self._requests = requests

    def __repr__(self) -> str:
        return f"BlobContainer(account_url={self.account.url!r}, container={self.container!r})"

    def send(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str],
        *,
        query: Query = (),
        body: bytes = b"",
        read_seconds: float | None = None,
    ) -> Answer:
        """Return the answer to a request for one blob; raises AzureError. See BlobRequests.send."""
        return self._requests.send(
            method, self.container, key, query=query, headers=headers, body=body, read_seconds=read_seconds
        )

    def blob(self, key: str) -> BlobClient:
        """Return the SDK's client for one blob."""
        return self._client.get().get_blob_client(self.container, key)

    def prepare(self) -> None:
        """Load what the first request needs; an identity gets a token. Raises StorageUnavailable."""
        try:
            self._requests.prepare()
        except AzureError as error:
            raise self.failed("the request for a token", error) from None

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
        """Return what Get Blob Properties says; None for 404, and if the identity may not read.

        With ``first_bytes``, return what Get Blob says, which returns no access tier.
        """
        if first_bytes:
            try:
                return self._head_and_bytes(key, first_bytes)
            except ResourceNotFoundError:
                return None
            except HttpResponseError as error:
                # Get Blob returns nothing of a blob that is empty, or in the archive tier, or under a client's key.
                if error.status_code not in {_CONFLICT, _RANGE_NOT_SATISFIABLE} and not lacks_permission(error):
                    raise self.failed("Get Blob", error) from None
            except AzureError as error:
                raise self.failed("Get Blob", error) from None
        try:
            headers = self.send("HEAD", key, {}).headers
        except ResourceNotFoundError:
            return None
        except AzureError as error:
            if lacks_permission(error):
                return None
            if error_code(error) in _UNREADABLE_CODES:
                return self._unreadable_head(key)
            raise self.failed("Get Blob Properties", error) from None
        return self._described(headers, "Get Blob Properties")

    def read(self, key: str, *, offset: int, length: int, etag: str, version: str | None = None) -> bytes:
        """Return a range of the blob's bytes; raises ObjectChanged if the blob was replaced or deleted meanwhile."""
        headers = {"if-match": f'"{etag}"', "x-ms-range": f"bytes={offset}-{offset + length - 1}"}
        try:
            answer = self.send("GET", key, headers)
        except AzureError as error:
            if isinstance(error, ResourceNotFoundError) or is_precondition_failure(error):
                raise self.changed(key) from None
            if isinstance(error, HttpResponseError) and error.status_code == _RANGE_NOT_SATISFIABLE:
                return self._nothing_behind_the_end(key, etag)
            raise self.failed("Get Blob", error) from None
        if not answer.headers.get("content-range", "").startswith(f"bytes {offset}-"):
            raise self.incomplete("Get Blob")
        return answer.content

    def delete(self, key: str, *, head: ObjectHead | ListedObject | None = None) -> None:
        """Delete the blob and its snapshots: a client that may create a blob may also make snapshots of it.

        A client that may write the blob, because it sends blocks, may also lease it. The lease is broken first; this
        needs the right ``.../containers/blobs/write``.

        With ``head``, only a blob with that ETag is deleted, and its version too if the account keeps versions. An
        account with soft delete keeps everything for a while.
        """
        version = self._version(key, head)
        try:
            self._delete_blob(key, None if head is None else head.etag)
        except ResourceNotFoundError:
            # An earlier call may have been interrupted after this step: the version must still go.
            pass
        except AzureError as error:
            if head is not None and is_precondition_failure(error) and error_code(error) != _LEASED:
                return
            raise self.failed("Delete Blob", error) from None
        if version is not None:
            self._delete_version(key, version)

    def _delete_blob(self, key: str, etag: str | None) -> None:
        headers = {"x-ms-delete-snapshots": "include", **({} if etag is None else {"if-match": f'"{etag}"'})}
        try:
            self.send("DELETE", key, headers)
        except HttpResponseError as error:
            if error_code(error) != _LEASED:
                raise
            # No completion needs the SDK, which takes long to import, unless a client has leased the blob.
            from azure.storage.blob import BlobLeaseClient

            BlobLeaseClient(self.blob(key)).break_lease(lease_break_period=0)
            self.send("DELETE", key, headers)

    def list_objects(self, prefix: str) -> Iterator[ListedObject]:
        """Return the blobs whose names begin with ``prefix``, without snapshots and previous versions.

        The mark of an ended upload is kept as long as an upload in parts, because it is as old as the end.
        """
        try:
            for blob in self._client.get().get_container_client(self.container).list_blobs(name_starts_with=prefix):
                is_mark = blob.name.endswith(ENDED_SUFFIX)
                yield ListedObject(
                    key=blob.name,
                    etag=_plain_etag(blob.etag),
                    stored_at=blob.last_modified,
                    began_earlier=is_mark,
                    is_upload=not is_mark,
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

    def unexpected_attributes(self, key: str) -> dict[str, str]:
        """Return what only a listing shows: the time of a snapshot, and the access tier if the client has chosen it.

        One request.
        """
        query = (
            ("comp", "list"),
            ("include", "snapshots"),
            # Two results are enough: the blob itself, and one snapshot.
            ("maxresults", "2"),
            ("prefix", key),
            ("restype", "container"),
        )
        try:
            listing = self._requests.send("GET", self.container, query=query).text
        except AzureError as error:
            raise self.failed("List Blobs", error) from None
        if _END_OF_LISTING not in listing:
            raise self.incomplete("List Blobs")
        unexpected: dict[str, str] = {}
        for name, properties in _LISTED_BLOB.findall(listing):
            if html.unescape(name) == key:
                found = {name: html.unescape(value) for name, value in _LISTED_VALUE.findall(properties)}
                tier = _chosen_tier(found.get("AccessTier"), is_inferred=found.get("AccessTierInferred") == "true")
                for attribute, value in ((_SNAPSHOT, found.get("Snapshot")), (_ACCESS_TIER, tier)):
                    if value:
                        unexpected[attribute] = value
        return unexpected

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

    def _head_and_bytes(self, key: str, count: int) -> ObjectHead:
        """Return what Get Blob says of the blob, with its first bytes; raises AzureError."""
        answer = self.send("GET", key, {"x-ms-range": f"bytes=0-{count - 1}"})
        # In the answer to a range, the blob's size follows the slash: bytes 0-1023/48213.
        size = answer.headers.get("content-range", "").rpartition("/")[2]
        headers = {**answer.headers, "content-length": size}
        return self._described(headers, "Get Blob", first_bytes=answer.content[:count])

    def _described(self, headers: Mapping[str, str], call: str, first_bytes: bytes | None = None) -> ObjectHead:
        try:
            return _object_head(headers, first_bytes)
        except (KeyError, ValueError):
            raise self.incomplete(call) from None

    def _nothing_behind_the_end(self, key: str, etag: str) -> bytes:
        # Nobody says whether the service compares the ETag first.
        head = self.head(key)
        if head is None or head.etag != etag:
            raise self.changed(key)
        return b""

    def _version(self, key: str, head: ObjectHead | ListedObject | None) -> str | None:
        if isinstance(head, ListedObject) and head.version is None:
            # Only a listing with all previous versions would say which one is the current one.
            current = self.head(key)
            return current.version if current is not None and current.etag == head.etag else None
        return None if head is None else head.version

    def _delete_version(self, key: str, version: str) -> None:
        # Delete Blob without a version only makes the current version a previous one, which keeps its bytes.
        try:
            self.send("DELETE", key, {}, query=[("versionid", version)])
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


def _object_head(headers: Mapping[str, str], first_bytes: bytes | None) -> ObjectHead:
    """Return what the headers of an answer say. Raises KeyError and ValueError if some are missing."""
    return ObjectHead(
        size=int(headers["content-length"]),
        content_type=headers.get("content-type", ""),
        etag=_plain_etag(headers["etag"]),
        version=headers.get("x-ms-version-id"),
        # Azure stores no SHA-256. It stores an MD5, but the client may choose its value.
        sha256=None,
        content_disposition=headers.get("content-disposition") or None,
        cache_control=headers.get("cache-control") or None,
        content_encoding=headers.get("content-encoding") or None,
        metadata=HEADERS.metadata(headers),
        unexpected_headers=_unexpected_headers(headers),
        first_bytes=first_bytes,
    )


def _unexpected_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what no ticket gives to a blob, although its signature permits it."""
    blob_type = headers.get("x-ms-blob-type")
    unexpected = {
        "content-language": headers.get("content-language"),
        "x-ms-blob-type": None if blob_type in {None, _BLOCK_BLOB} else blob_type,
        _ACCESS_TIER: _chosen_tier(
            headers.get(_ACCESS_TIER), is_inferred=headers.get("x-ms-access-tier-inferred") == "true"
        ),
        "x-ms-tag-count": headers.get("x-ms-tag-count", "").lstrip("0"),
        # A copy from elsewhere. While an asynchronous copy runs, the blob's bytes still change.
        "x-ms-copy-status": headers.get("x-ms-copy-status"),
        "x-ms-legal-hold": headers.get("x-ms-legal-hold", "false").replace("false", ""),
        "x-ms-immutability-policy-until-date": headers.get("x-ms-immutability-policy-until-date"),
    }
    return {name: value for name, value in unexpected.items() if value}


def _chosen_tier(tier: str | None, *, is_inferred: bool) -> str | None:
    """Return the access tier if the client has chosen it, or if it makes the blob unreadable."""
    is_default = is_inferred or tier not in _CHOSEN_TIERS
    return tier if tier == _ARCHIVE_TIER or not is_default else None


def _plain_etag(etag: str | None) -> str:
    return (etag or "").strip('"')


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)
