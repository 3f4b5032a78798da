"""The copy of a pending object to its final key, which Cloud Storage makes on its own side.

Source: "Objects: rewrite" and "Request preconditions", Cloud Storage documentation.
"""

from __future__ import annotations

import time
from typing import Any

from google.api_core.exceptions import NotFound, PreconditionFailed

from presign.backends.backend import AlreadyPublished, ObjectChanged, ObjectHead
from presign.errors import StorageUnavailable
from presign.gcs.json_api import CONNECT_TIMEOUT_SECONDS, FAILURES, JsonApi, failed
from presign.gcs.objects import GcsObjects, generation_of, object_head
from presign.messages import Grant
from presign.progress import ReportBytes, ignore_bytes

MAX_REWRITE_SECONDS = 600.0
"""After this time, a publication sends no further request. The last one may end later.

With the same location and storage class on both sides, Google copies no bytes, and one request is enough.
"""

# One request that really copies bytes takes longer than other requests.
_REWRITE_TIMEOUTS = (CONNECT_TIMEOUT_SECONDS, 60.0)


class Rewriter:
    """Copy objects from ``source`` to ``destination``."""

    def __init__(
        self,
        api: JsonApi,
        *,
        source: GcsObjects,
        destination: GcsObjects,
        max_seconds: float = MAX_REWRITE_SECONDS,
    ) -> None:
        self._api = api
        self._source = source
        self._destination = destination
        self._max_seconds = max_seconds

    def publish(self, grant: Grant, head: ObjectHead, *, report_copied: ReportBytes = ignore_bytes) -> ObjectHead:
        """Copy the pending object that ``head`` describes to ``grant.key``; see Backend.publish.

        Only the live generation is copied. If a client has replaced the object since it was verified, this raises
        ObjectChanged, even if a bucket with versions still has the verified generation.
        """
        try:
            return object_head(self._rewrite(grant, generation_of(head), report_copied))
        except (NotFound, PreconditionFailed):
            # Google's answer does not say which of the two preconditions failed.
            if self._destination.head(grant.key) is not None:
                raise AlreadyPublished from None
            raise ObjectChanged(
                f"gs://{self._source.bucket}: the pending object was replaced or deleted before its publication"
            ) from None
        except (*FAILURES, TypeError) as error:
            # The SDK raises TypeError for an answer that broke off within its headers.
            raise failed(self._destination.bucket, "REWRITE", error) from None

    def _rewrite(self, grant: Grant, generation: int, report_copied: ReportBytes) -> Any:
        deadline = time.monotonic() + self._max_seconds
        token: str | None = None
        while True:
            # Google requires the same arguments with each token.
            destination, token, copied, size = self._rewrite_once(grant, generation, token)
            report_copied(copied, size)
            if token is None:
                return destination
            if time.monotonic() > deadline:
                raise StorageUnavailable(
                    f"gs://{self._destination.bucket} did not copy the object within {self._max_seconds:g} seconds; "
                    "keep the pending bucket in the same location and storage class, where a copy moves no bytes"
                )

    def _rewrite_once(self, grant: Grant, generation: int, token: str | None) -> tuple[Any, str | None, int, int]:
        """Return the copy, the token of the next request, and how many bytes are copied, of how many."""

        def rewrite(client: Any) -> tuple[Any, str | None, int, int]:
            destination = client.bucket(self._destination.bucket).blob(grant.key)
            _set_properties(destination, grant)
            next_token, copied, size = destination.rewrite(
                client.bucket(self._source.bucket).blob(grant.upload_key),
                token=token,
                if_generation_match=0,
                if_source_generation_match=generation,
                timeout=_REWRITE_TIMEOUTS,
                retry=None,
            )
            return destination, next_token, int(copied), int(size)

        return self._api.call(rewrite)


def _set_properties(destination: Any, grant: Grant) -> None:
    """Set all properties of the copy: a rewrite that names properties copies none from its source."""
    destination.content_type = grant.content_type
    if grant.content_disposition is not None:
        destination.content_disposition = grant.content_disposition
    if grant.cache_control is not None:
        destination.cache_control = grant.cache_control
    if grant.metadata:
        destination.metadata = dict(grant.metadata)
    if grant.storage_class is not None:
        destination.storage_class = grant.storage_class
