"""Pages of a test's own server may send files to the storage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.conftest import Store


@contextmanager
def allowed_by(store: Store, origin: str) -> Iterator[None]:
    """Let pages of ``origin`` send files to the store, beside those that may do it already."""
    rules: Any = store.admin.get_bucket_cors(Bucket=store.bucket)["CORSRules"]
    changed = {**rules[0], "AllowedOrigins": [*rules[0]["AllowedOrigins"], origin]}
    store.admin.put_bucket_cors(Bucket=store.bucket, CORSConfiguration={"CORSRules": [changed]})
    try:
        yield
    finally:
        store.admin.put_bucket_cors(Bucket=store.bucket, CORSConfiguration={"CORSRules": rules})
