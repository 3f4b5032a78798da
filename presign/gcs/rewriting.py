"""The copy of a pending object to its final key, which Cloud Storage makes on its own side.

Source: "Objects: rewrite" and "Request preconditions", Cloud Storage documentation.
"""

from __future__ import annotations

import json
import time
from typing import Any

from google.api_core.exceptions import NotFound, PreconditionFailed

from presign.backends.backend import AlreadyPublished, ObjectChanged, ObjectHead
from presign.errors import StorageUnavailable
from presign.gcs.json_api import FAILURES, JsonApi, failed, object_path
from presign.gcs.objects import GcsObjects, generation_of, object_head
from presign.messages import Grant
from presign.progress import ReportBytes, ignore_bytes

MAX_REWRITE_SECONDS = 600.0
"""After this time, a publication sends no further request. The last one may end later.

With the same location and storage class on both sides, Google copies no bytes, and one request is enough.
"""

# One request that really copies bytes takes longer than other requests.
_REWRITE_READ_SECONDS = 60.0


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
        except FAILURES as error:
            raise failed(self._destination.bucket, "REWRITE", error) from None
        except (AttributeError, KeyError, TypeError, ValueError):
            raise self._destination.incomplete("REWRITE") from None

    def _rewrite(self, grant: Grant, generation: int, report_copied: ReportBytes) -> Any:
        """Return the JSON of the copy."""
        deadline = time.monotonic() + self._max_seconds
        token: str | None = None
        while True:
            # Google requires the same arguments with each token.
            answer = self._rewrite_once(grant, generation, token)
            token = answer.get("rewriteToken")
            report_copied(int(answer["totalBytesRewritten"]), int(answer["objectSize"]))
            if token is None:
                return answer["resource"]
            if time.monotonic() > deadline:
                raise StorageUnavailable(
                    f"gs://{self._destination.bucket} did not copy the object within {self._max_seconds:g} seconds; "
                    "keep the pending bucket in the same location and storage class, where a copy moves no bytes"
                )

    def _rewrite_once(self, grant: Grant, generation: int, token: str | None) -> Any:
        """Return the JSON of the answer: what is copied already, and the copy or the token of the next request."""
        source = object_path(self._source.bucket, grant.upload_key)
        destination = object_path(self._destination.bucket, grant.key)
        query = {"ifGenerationMatch": "0", "ifSourceGenerationMatch": str(generation)}
        if token is not None:
            query["rewriteToken"] = token
        answer = self._api.send(
            "POST",
            f"{source}/rewriteTo{destination}",
            query,
            headers={"Content-Type": "application/json"},
            body=json.dumps(_properties(grant)).encode(),
            read_seconds=_REWRITE_READ_SECONDS,
        )
        return json.loads(answer.content)


def _properties(grant: Grant) -> dict[str, object]:
    """Return all properties of the copy: a rewrite that names properties copies none from its source."""
    properties: dict[str, object] = {
        "contentType": grant.content_type,
        "contentDisposition": grant.content_disposition,
        "cacheControl": grant.cache_control,
        "metadata": dict(grant.metadata),
        "storageClass": grant.storage_class,
    }
    return {name: value for name, value in properties.items() if value}
