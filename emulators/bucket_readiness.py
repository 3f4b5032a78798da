"""Waiting for an S3 server that answers for a bucket before it can store objects in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from emulators.processes import StartFailed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROBE_KEY = "presign-readiness-probe"
_PAUSE_SECONDS = 0.1


def wait_until_bucket_takes_objects(s3: S3Client, bucket: str, *, timeout_seconds: float = 60.0) -> None:
    """Return once an object can be stored in ``bucket`` and read back, and objects of earlier runs can be read.

    SeaweedFS answers 500 for each of these while it makes or loads the bucket's volumes, for several seconds under
    load. The object that is stored is deleted again. Raises StartFailed after ``timeout_seconds``, and ClientError at
    once for an answer that time does not change, such as 403.
    """
    deadline = time.monotonic() + timeout_seconds
    for step in (_read_an_object, _store_and_read_an_object, _delete_the_probe):
        _repeat_until_the_server_can(lambda step=step: step(s3, bucket), bucket, deadline)  # type: ignore[misc]


def _repeat_until_the_server_can(call: Callable[[], None], bucket: str, deadline: float) -> None:
    while True:
        try:
            call()
            return
        except (BotoCoreError, ClientError) as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else None
            if status is not None and status < 500:
                raise
            if time.monotonic() > deadline:
                raise StartFailed(f"the store takes no objects in the bucket {bucket}: {error}") from None
        time.sleep(_PAUSE_SECONDS)


def _read_an_object(s3: S3Client, bucket: str) -> None:
    for entry in s3.list_objects_v2(Bucket=bucket, MaxKeys=1).get("Contents", []):
        if entry["Size"] > 0:
            s3.get_object(Bucket=bucket, Key=entry["Key"], Range="bytes=0-0")["Body"].read()


def _store_and_read_an_object(s3: S3Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key=PROBE_KEY, Body=b"probe")
    s3.get_object(Bucket=bucket, Key=PROBE_KEY)["Body"].read()


def _delete_the_probe(s3: S3Client, bucket: str) -> None:
    s3.delete_object(Bucket=bucket, Key=PROBE_KEY)
