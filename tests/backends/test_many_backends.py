"""Many backends in one process, each with keys of its own: none pays for the others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import boto3
import pytest
from google.auth.credentials import AnonymousCredentials

from presign import Backend, Presigner, UploadPolicy, UploadRequest
from presign.gcs import GCSBackend
from presign.s3 import S3Backend
from presign.signing import sigv4

# More than the shared cache of scopes holds.
COUNT = 70
NOON = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)
ANONYMOUS = AnonymousCredentials()  # type: ignore[no-untyped-call]
SESSION = boto3.Session("AKIDEXAMPLE", "a secret key that nobody has", region_name="eu-central-1")


def s3(number: int) -> S3Backend:
    # The region is a part of the key's derivation. A session of its own for each backend would take a second.
    return S3Backend(bucket="b", region=f"r-{number}", endpoint_url="http://127.0.0.1:1", session=SESSION)


def gcs(number: int) -> GCSBackend:
    return GCSBackend(bucket="bucket", hmac_access_id=f"GOOG{number}", hmac_secret="c2VjcmV0", credentials=ANONYMOUS)


@pytest.fixture
def derived() -> Callable[[], int]:
    """Returns how many keys were derived since the test began."""
    sigv4.hmac_scope.cache_clear()
    return lambda: sigv4.hmac_scope.cache_info().misses


@pytest.mark.parametrize("make_backend", [s3, gcs])
def test_a_backend_derives_its_key_once_a_day_however_many_others_sign(
    make_backend: Callable[[int], Backend], derived: Callable[[], int]
) -> None:
    now = NOON
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=1000, prefix="public/")
    presigners = [
        Presigner(
            backend=make_backend(number),
            policy=policy,
            secret="a secret of many different bytes",
            clock=lambda: now,
        )
        for number in range(COUNT)
    ]

    def issue() -> None:
        for each in presigners:
            each.issue(UploadRequest(content_type="image/png", size=1))

    issue()
    assert derived() == COUNT
    for _ in range(3):
        now += timedelta(seconds=1)
        issue()
    assert derived() == COUNT
    now += timedelta(days=1)
    issue()
    assert derived() == 2 * COUNT
