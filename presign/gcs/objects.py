"""The objects of one bucket: described, read, listed and deleted through the JSON API.

Source: "Objects" and "Customer-supplied encryption keys", Cloud Storage documentation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from google.api_core.exceptions import GoogleAPICallError, NotFound, PreconditionFailed

from presign.backends.backend import ListedObject, ObjectChanged, ObjectHead
from presign.backends.failures import storage_failed
from presign.errors import StorageUnavailable
from presign.gcs.json_api import FAILURES, TIMEOUTS, JsonApi, failed, object_path

_PARTIAL_CONTENT = 206
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
        query = {"projection": "noAcl", "prettyPrint": "false"}
        try:
            answer = self._api.send("GET", object_path(self.bucket, key), query)
        except FAILURES as error:
            if isinstance(error, GoogleAPICallError) and error.code in {403, 404}:
                return None
            raise failed(self.bucket, "GET", error) from None
        try:
            return object_head(json.loads(answer.content))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise self.incomplete("GET") from None

    def incomplete(self, call: str) -> StorageUnavailable:
        """Return the error to raise if the answer to ``call`` lacks what every answer has."""
        return storage_failed(f"gs://{self.bucket}", call, "incomplete content")

    def read(self, key: str, *, offset: int, length: int, etag: str, version: str | None = None) -> bytes:
        """Return a range of the object's bytes; raises ObjectChanged if the object was replaced or deleted."""
        headers = {
            "If-Match": etag,
            "Range": f"bytes={offset}-{offset + length - 1}",
            # Without this, the storage decompresses what was stored with Content-Encoding: gzip.
            "Accept-Encoding": "gzip",
        }
        try:
            answer = self._api.send(
                "GET",
                object_path(self.bucket, key),
                {"alt": "media"},
                headers=headers,
                # If the storage ignores the range, it returns the whole object.
                max_bytes=offset + length,
            )
        except (NotFound, PreconditionFailed):
            raise ObjectChanged(f"gs://{self.bucket}: the object was replaced while it was read") from None
        except FAILURES as error:
            raise failed(self.bucket, "GET", error) from None
        return answer.content if answer.status == _PARTIAL_CONTENT else answer.content[offset : offset + length]

    def delete(self, key: str, *, head: ObjectHead | ListedObject | None = None) -> None:
        """Delete the object, or only the generation that ``head`` describes.

        Without ``head``, a bucket with versions keeps the bytes as a noncurrent version. With it, the bytes are gone,
        unless the bucket has soft delete.
        """
        query: dict[str, str] = {}
        if head is not None:
            generation = str(generation_of(head))
            query = {"generation": generation, "ifGenerationMatch": generation}
        try:
            self._api.send("DELETE", object_path(self.bucket, key), query)
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


def object_head(resource: Mapping[str, Any]) -> ObjectHead:
    """Return the description of an object from its JSON; raises KeyError and ValueError if something is missing."""
    return ObjectHead(
        size=int(resource["size"]),
        content_type=resource.get("contentType") or "",
        etag=resource["etag"],
        version=str(resource["generation"]),
        content_disposition=resource.get("contentDisposition") or None,
        cache_control=resource.get("cacheControl") or None,
        content_encoding=resource.get("contentEncoding") or None,
        metadata={name.lower(): value for name, value in (resource.get("metadata") or {}).items()},
        unexpected_headers=_unexpected_headers(resource),
        # A customer-supplied key encrypts both checksums, too; without the key the API leaves them out.
        readable=resource.get("crc32c") is not None or resource.get("md5Hash") is not None,
    )


def _unexpected_headers(resource: Mapping[str, Any]) -> dict[str, str]:
    """Return the attributes that no grant has.

    The storage class, the Cloud KMS key and an event-based hold are not among them: objects get them from the bucket's
    defaults, which the verifier need not have the right to read. A client cannot choose them either: Google refuses an
    ``x-goog-*`` header that is not signed, and a form field that the policy does not cover.
    """
    found = {
        "content-language": resource.get("contentLanguage"),
        "custom-time": resource.get("customTime"),
        "temporary-hold": resource.get("temporaryHold"),
        "retention": (resource.get("retention") or {}).get("mode"),
    }
    return {name: str(value) for name, value in found.items() if value}
