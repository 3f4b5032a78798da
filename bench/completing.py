"""A fresh process that completes uploads: ``python -m bench.completing CLOUD WAY``.

``WAY`` is ``presign``, or ``sdk`` for the calls that one would write with the cloud's SDK: describe the object, read
its first bytes, copy it and delete it. The settings are in the environment. The standard input has a list of uploads,
each with its token, its pending key and its final key; the standard output gets the figures. All in JSON.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

SECRET = "the secret of the benchmark's completion tokens"
PENDING_PREFIX = "pending/"
TYPE = "image/png"
_FIRST_BYTES = 4096

Upload = dict[str, str]
Complete = Callable[[Upload], object]


def new_presigner() -> Any:
    """Return the presigner of the storage that the environment names; the benchmark issues tickets with it, too."""
    from presign import Presigner, UploadPolicy
    from presign.backends import open_backend

    backend, prefix = open_backend(os.environ["PRESIGN_BUCKET"])
    policy = UploadPolicy(content_types={TYPE}, max_bytes=10 * 2**20, prefix=prefix, pending_prefix=PENDING_PREFIX)
    return Presigner(backend=backend, policy=policy, secret=SECRET)


def storage_address() -> tuple[SplitResult, dict[str, str]]:
    """Return the address of the storage that the environment names, and the parameters in its query."""
    address = urlsplit(os.environ["PRESIGN_BUCKET"])
    return address, {name: values[0] for name, values in parse_qs(address.query).items()}


def by_presign() -> Complete:
    """Complete with presign, which a worker prepares when it starts."""
    presigner = new_presigner()
    presigner.prepare()
    return lambda upload: presigner.complete(upload["token"])


def by_s3_sdk() -> Complete:
    """Complete with boto3."""
    import boto3

    address, options = storage_address()
    bucket = address.netloc
    client = boto3.client(
        "s3",
        region_name=options["region"],
        endpoint_url=options["endpoint_url"],
        aws_access_key_id=os.environ["PRESIGN_VERIFIER_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["PRESIGN_VERIFIER_SECRET_ACCESS_KEY"],
    )

    def complete(upload: Upload) -> None:
        pending, key = upload["pending_key"], upload["key"]
        head = client.head_object(Bucket=bucket, Key=pending)
        client.get_object(Bucket=bucket, Key=pending, Range=f"bytes=0-{_FIRST_BYTES - 1}")["Body"].read()
        client.copy_object(
            Bucket=bucket,
            Key=key,
            CopySource={"Bucket": bucket, "Key": pending},
            CopySourceIfMatch=head["ETag"],
            MetadataDirective="REPLACE",
            ContentType=TYPE,
        )
        client.delete_object(Bucket=bucket, Key=pending)

    return complete


def by_azure_sdk() -> Complete:
    """Complete with azure-storage-blob. Copy Blob, because Azurite has no Put Blob From URL."""
    from azure.core import MatchConditions
    from azure.storage.blob import BlobSasPermissions, BlobServiceClient, generate_blob_sas

    address, options = storage_address()
    service = BlobServiceClient.from_connection_string(os.environ["AZURE_STORAGE_CONNECTION_STRING"])
    pending_container: Any = service.get_container_client(options["pending_container"])
    container: Any = service.get_container_client(address.path.split("/")[1])

    def complete(upload: Upload) -> None:
        pending = pending_container.get_blob_client(upload["pending_key"])
        properties = pending.get_blob_properties()
        pending.download_blob(0, _FIRST_BYTES).readall()
        signature = generate_blob_sas(
            pending.account_name,
            pending.container_name,
            pending.blob_name,
            account_key=service.credential.account_key,
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(timezone.utc) + timedelta(minutes=15),
        )
        container.get_blob_client(upload["key"]).start_copy_from_url(
            f"{pending.url}?{signature}",
            requires_sync=True,
            source_etag=properties.etag,
            source_match_condition=MatchConditions.IfNotModified,
        )
        pending.delete_blob()

    return complete


def by_gcs_sdk() -> Complete:
    """Complete with google-cloud-storage."""
    from google.cloud import storage  # type: ignore[import-untyped]

    address, options = storage_address()
    client: Any = storage.Client(client_options={"api_endpoint": options["endpoint_url"]})
    bucket, pending_bucket = client.bucket(address.netloc), client.bucket(options["pending_bucket"])

    def complete(upload: Upload) -> None:
        pending = pending_bucket.get_blob(upload["pending_key"])
        pending.download_as_bytes(end=_FIRST_BYTES - 1)
        bucket.blob(upload["key"]).rewrite(pending, if_source_generation_match=pending.generation)
        pending.delete()

    return complete


BY_SDK: dict[str, Callable[[], Complete]] = {"s3": by_s3_sdk, "azure": by_azure_sdk, "gcs": by_gcs_sdk}


def measure(start: Callable[[], Complete], uploads: list[Upload]) -> dict[str, Any]:
    """Return how long the start took, and each completion; and the CPU time of a completion after the first."""
    begun = time.perf_counter()
    complete = start()
    started = time.perf_counter() - begun
    gc.collect()
    seconds = []
    cpu = 0.0
    for number, upload in enumerate(uploads):
        if number == 1:
            cpu = time.process_time()
        begun = time.perf_counter()
        complete(upload)
        seconds.append(time.perf_counter() - begun)
    cpu = (time.process_time() - cpu) / (len(uploads) - 1)
    return {"start_seconds": started, "seconds": seconds, "cpu_seconds": cpu}


if __name__ == "__main__":
    cloud, way = sys.argv[1:]
    start = {"presign": by_presign, "sdk": BY_SDK[cloud]}[way]
    print(json.dumps(measure(start, json.load(sys.stdin))))
