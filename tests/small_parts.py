"""Policies and backends for files in parts: of 5 MiB, the least of Amazon S3, or as small as the tests' files."""

from __future__ import annotations

from typing import Any

from demo_server.storages.local_storage import PENDING_PREFIX, REGION
from presign import PartLimits
from presign.s3 import S3Backend
from tests.conftest import Store

MEBIBYTE = 1024**2
PART_BYTES = 5 * MEBIBYTE
POLICY: dict[str, Any] = {
    "content_types": {"image/png"},
    "max_bytes": 100 * MEBIBYTE,
    "prefix": "public/",
    "pending_prefix": PENDING_PREFIX,
    "parts_from_bytes": PART_BYTES,
    "part_bytes": PART_BYTES,
}
"""The settings of an UploadPolicy whose files come in parts."""

SMALL_LIMITS = PartLimits(min_part_bytes=8, max_part_bytes=100, max_parts=1000, max_bytes=10_000)


class SmallPartsBackend(S3Backend):
    """A backend for the S3 reference, which takes such parts."""

    def __init__(self, store: Store, *, sign_guards: bool | None = None) -> None:
        super().__init__(
            bucket=store.bucket,
            region=REGION,
            endpoint_url=store.endpoint_url,
            session=store.session,
            sign_guards=sign_guards,
        )

    @property
    def parts(self) -> Any:
        parts = super().parts
        parts.limits = SMALL_LIMITS
        return parts
