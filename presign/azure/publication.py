"""Publication: the service copies a pending blob to its final name, exactly the bytes that were verified."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import NoReturn

from azure.core.exceptions import AzureError, HttpResponseError

from presign.azure import client
from presign.azure.client import error_code
from presign.azure.container import BlobContainer, is_precondition_failure
from presign.azure.headers import HEADERS
from presign.azure.publish_options import MAX_ONE_COPY_BYTES
from presign.backends.backend import AlreadyPublished, ObjectHead
from presign.messages import Grant
from presign.progress import ReportBytes
from presign.signing.quoting import quote_value

_MIB = 1024 * 1024
BLOCK_BYTES = 1000 * _MIB
"""The size of the blocks in which a larger blob is copied. A blob has up to 50,000 of them."""
MIN_COPIED_BYTES_PER_SECOND = 10 * _MIB
"""The slowest copy that a call waits for."""

_NOT_FOUND = 404
_NOT_IMPLEMENTED = 501
_NEVER_OVERWRITE = {"if-none-match": "*"}


class Publication:
    """The publication of the pending blob that ``head`` describes, from ``source`` to ``target``.

    ``sign_source`` returns the URL of the pending blob, with a signature that reads it. ``report_copied`` is called for
    each block of a blob that is copied in blocks.
    """

    def __init__(
        self,
        grant: Grant,
        head: ObjectHead,
        *,
        source: BlobContainer,
        target: BlobContainer,
        sign_source: Callable[[], str],
        report_copied: ReportBytes,
    ) -> None:
        self._grant = grant
        self._head = head
        self._source = source
        self._target = target
        self._sign_source = sign_source
        self._report_copied = report_copied
        self._source_etag = f'"{head.etag}"'

    def run(self) -> ObjectHead:
        """Copy the blob and return the copy's description; see ``Backend.publish``."""
        if self._head.size > MAX_ONE_COPY_BYTES:
            return self._copy_in_blocks()
        try:
            return self._copy()
        except AzureError as error:
            # Azurite does not implement Put Blob From URL.
            if isinstance(error, HttpResponseError) and error.status_code == _NOT_IMPLEMENTED:
                return self._copy_in_blocks()
            self._fail("Put Blob From URL", error)

    def _copy(self) -> ObjectHead:
        headers = {
            "x-ms-blob-type": "BlockBlob",
            "x-ms-copy-source": self._sign_source(),
            # Tags are copied only if a request asks for it, and this one does not.
            "x-ms-copy-source-blob-properties": "false",
            "x-ms-source-if-match": self._source_etag,
            **self._attributes(),
            **_NEVER_OVERWRITE,
        }
        answer = self._target.send("PUT", self._grant.key, headers, read_seconds=_copy_seconds(self._head.size))
        return self._copied_head(answer.headers)

    def _copy_in_blocks(self) -> ObjectHead:
        # Another call may stage blocks of another pending blob at the same time. The identifiers contain a digest of
        # the source's ETag, so this call commits only its own. All identifiers of a blob must have the same length.
        name = hashlib.sha256(self._head.etag.encode()).hexdigest()[:16]
        blocks: list[str] = []
        try:
            # At least one block: it checks the source's ETag even if the blob is empty.
            for offset in range(0, max(self._head.size, 1), BLOCK_BYTES):
                block_id = f"{name}-{len(blocks):05}"
                self._stage(block_id, offset)
                blocks.append(block_id)
                self._report_copied(min(offset + BLOCK_BYTES, self._head.size), self._head.size)
        except AzureError as error:
            self._fail("Put Block From URL", error)
        identifiers = "".join([f"<Latest>{_encoded(block_id)}</Latest>" for block_id in blocks])
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{identifiers}</BlockList>'
        headers = {"content-type": "application/xml", **self._attributes(), **_NEVER_OVERWRITE}
        try:
            answer = self._target.send(
                "PUT", self._grant.key, headers, query=[("comp", "blocklist")], body=body.encode()
            )
        except AzureError as error:
            self._fail("Put Block List", error)
        return self._copied_head(answer.headers)

    def _stage(self, block_id: str, offset: int) -> None:
        length = min(BLOCK_BYTES, self._head.size - offset)
        headers = {"x-ms-copy-source": self._sign_source(), "x-ms-source-if-match": self._source_etag}
        if length:
            # An empty blob has no range.
            headers["x-ms-source-range"] = f"bytes={offset}-{offset + length - 1}"
        query = [("comp", "block"), ("blockid", _encoded(block_id))]
        self._target.send("PUT", self._grant.key, headers, query=query, read_seconds=_copy_seconds(length))

    def _attributes(self) -> dict[str, str]:
        grant = self._grant
        headers = {"x-ms-blob-content-type": grant.content_type, **HEADERS.of_object(grant)}
        if grant.tags:
            pairs = [f"{quote_value(name)}={quote_value(value)}" for name, value in grant.tags.items()]
            headers["x-ms-tags"] = "&".join(pairs)
        if grant.storage_class is not None:
            headers["x-ms-access-tier"] = grant.storage_class
        return headers

    def _copied_head(self, headers: Mapping[str, str]) -> ObjectHead:
        grant = self._grant
        etag = headers.get("etag")
        if not etag:
            raise self._target.incomplete("Put Blob From URL")
        return ObjectHead(
            size=self._head.size,
            content_type=grant.content_type,
            etag=etag.strip('"'),
            version=headers.get("x-ms-version-id"),
            content_disposition=grant.content_disposition,
            cache_control=grant.cache_control,
            metadata=dict(grant.metadata),
        )

    def _fail(self, call: str, error: AzureError) -> NoReturn:
        code = error_code(error)
        if code == "BlobAlreadyExists":
            raise AlreadyPublished(self._grant.key) from None
        # The SDK's class would not do: it raises ResourceNotFoundError also for a source that may not be read.
        if code != "ContainerNotFound" and isinstance(error, HttpResponseError) and error.status_code == _NOT_FOUND:
            raise self._source.changed(self._grant.upload_key) from None
        if is_precondition_failure(error):
            # Only a look at the final name shows which condition failed, that on the source or that on the target.
            if code != "SourceConditionNotMet" and self._target.head(self._grant.key) is not None:
                raise AlreadyPublished(self._grant.key) from None
            raise self._source.changed(self._grant.upload_key) from None
        raise self._target.failed(call, error) from None


def _copy_seconds(size: int) -> float:
    """Return how many seconds to wait for the answer to a copy of ``size`` bytes; it comes after the last byte."""
    return client.READ_TIMEOUT_SECONDS + size / MIN_COPIED_BYTES_PER_SECOND


def _encoded(block_id: str) -> str:
    return base64.b64encode(block_id.encode()).decode()
