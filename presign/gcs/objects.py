"""The objects of one bucket: described, read, listed and deleted through the JSON API.

Source: "Objects" and "Customer-supplied encryption keys", Cloud Storage documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.api_core.exceptions import GoogleAPICallError, NotFound, PreconditionFailed
from urllib3.exceptions import HTTPError

from presign.backends.backend import ListedObject, ObjectChanged, ObjectHead
from presign.gcs.json_api import FAILURES, TIMEOUTS, JsonApi, failed

_LISTED_FIELDS = "items(name,etag,generation,timeCreated),nextPageToken"


class GcsObjects:
    """The objects of ``bucket``; an ObjectStore."""

    def __init__(self, api: JsonApi, bucket: str) -> None:
        self._api = api
        self.bucket = bucket

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """Return the object's description, without first bytes.

        Returns None for 404, and for 403, which is the answer for a missing object if the credentials may not list.
        """
        try:
            blob = self._api.call(lambda client: client.bucket(self.bucket).get_blob(key, timeout=TIMEOUTS, retry=None))
        except FAILURES as error:
            if isinstance(error, GoogleAPICallError) and error.code == 403:
                return None
            raise failed(self.bucket, "GET", error) from None
        try:
            return None if blob is None else object_head(blob)
        except AttributeError as error:
            # The SDK has read no JSON, because the answer broke off within its headers.
            raise failed(self.bucket, "GET", error) from None

    def read(self, key: str, *, offset: int, length: int, etag: str, version: str | None = None) -> bytes:
        """Return a range of the object's bytes; raises ObjectChanged if the object was replaced or deleted."""
        last = offset + length - 1
        try:
            return self._api.call(lambda client: _download(client.bucket(self.bucket).blob(key), offset, last, etag))
        except (NotFound, PreconditionFailed):
            raise ObjectChanged(f"gs://{self.bucket}: the object was replaced while it was read") from None
        except FAILURES as error:
            raise failed(self.bucket, "GET", error) from None

    def delete(self, key: str, *, head: ObjectHead | ListedObject | None = None) -> None:
        """Delete the object, or only the generation that ``head`` describes.

        Without ``head``, a bucket with versions keeps the bytes as a noncurrent version. With it, the bytes are gone,
        unless the bucket has soft delete.
        """
        generation = None if head is None else generation_of(head)
        try:
            self._api.call(
                lambda client: (
                    client.bucket(self.bucket)
                    .blob(key, generation=generation)
                    .delete(if_generation_match=generation, timeout=TIMEOUTS, retry=None)
                )
            )
        except (NotFound, PreconditionFailed):
            return
        except FAILURES as error:
            raise failed(self.bucket, "DELETE", error) from None

    def list_objects(self, prefix: str) -> Iterator[ListedObject]:
        """Return the objects under ``prefix``; this needs the right to list them (storage.objects.list)."""
        page_token: str | None = None
        while True:
            blobs, page_token = self._page(prefix, page_token)
            for blob in blobs:
                yield ListedObject(
                    key=blob.name, etag=blob.etag, stored_at=blob.time_created, version=str(blob.generation)
                )
            if not page_token:
                return

    def _page(self, prefix: str, page_token: str | None) -> tuple[list[Any], str | None]:
        def fetch(client: Any) -> tuple[list[Any], str | None]:
            listing = client.list_blobs(
                self.bucket,
                prefix=prefix,
                page_token=page_token,
                fields=_LISTED_FIELDS,
                timeout=TIMEOUTS,
                retry=None,
            )
            return list(next(listing.pages, ())), listing.next_page_token

        try:
            return self._api.call(fetch)
        except FAILURES as error:
            raise failed(self.bucket, "LIST", error) from None


def generation_of(head: ObjectHead | ListedObject) -> int:
    """Return the generation that a description names; 0, which no object has, if it names none."""
    return int(head.version or 0)


def object_head(blob: Any) -> ObjectHead:
    """Return the description of an object that the SDK has loaded."""
    return ObjectHead(
        size=blob.size,
        content_type=blob.content_type or "",
        etag=blob.etag,
        version=str(blob.generation),
        content_disposition=blob.content_disposition or None,
        cache_control=blob.cache_control or None,
        content_encoding=blob.content_encoding or None,
        metadata={name.lower(): value for name, value in (blob.metadata or {}).items()},
        unexpected_headers=_unexpected_headers(blob),
        # A customer-supplied key encrypts both checksums, too; without the key the API leaves them out.
        readable=blob.crc32c is not None or blob.md5_hash is not None,
    )


def _unexpected_headers(blob: Any) -> dict[str, str]:
    """Return the attributes that no grant has.

    The storage class, the Cloud KMS key and an event-based hold are not among them: objects get them from the bucket's
    defaults, which the verifier need not have the right to read. A client cannot choose them either: Google refuses an
    ``x-goog-*`` header that is not signed, and a form field that the policy does not cover.
    """
    found = {
        "content-language": blob.content_language,
        "custom-time": blob.custom_time,
        "temporary-hold": blob.temporary_hold,
        "retention": blob.retention.mode,
    }
    return {name: str(value) for name, value in found.items() if value}


def _download(blob: Any, first: int, last: int, etag: str) -> bytes:
    try:
        content: bytes = blob.download_as_bytes(
            start=first, end=last, raw_download=True, if_etag_match=etag, checksum=None, timeout=TIMEOUTS, retry=None
        )
    except GoogleAPICallError as error:
        # If a download is refused, the SDK leaves the connection open.
        if error.response is not None:
            error.response.close()
        raise
    except HTTPError as error:
        # A raw download is read through urllib3, not through requests, which would raise an OSError if it breaks off.
        raise ConnectionError(f"the download broke off ({type(error).__name__})") from None
    return content
