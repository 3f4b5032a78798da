"""An S3 backend whose files come in parts that are as small as the tests' files; Amazon S3's have 5 MiB at least."""

from __future__ import annotations

from typing import Any

from demo_server.storages.local_storage import REGION
from presign import PartLimits
from presign.s3 import S3Backend
from tests.conftest import Store

SMALL_LIMITS = PartLimits(min_part_bytes=8, max_part_bytes=100, max_parts=1000, max_bytes=10_000)


class SmallPartsBackend(S3Backend):
    """A backend for the S3 reference, which takes such parts."""

    def __init__(self, store: Store) -> None:
        super().__init__(bucket=store.bucket, region=REGION, endpoint_url=store.endpoint_url, session=store.session)

    @property
    def parts(self) -> Any:
        parts = super().parts
        parts.limits = SMALL_LIMITS
        return parts
