"""SeaweedFS behind a relay, through which browsers and demos reach it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3

from demo_server.storages.local_storage import BUCKET, REGION
from demo_server.storages.run import run_local_storage
from emulators.ports import HOST
from tests.browser.held_relay import HeldRelay, run_held_relay
from tests.conftest import read_state


@dataclass(frozen=True, kw_only=True)
class RelayedStorage:
    """The running storage; `environment` is what a demo needs to use it, and `admin` asks it without the relay."""

    relay: HeldRelay
    environment: dict[str, str] = field(repr=False)
    admin: Any = field(repr=False)

    def sizes(self) -> list[int]:
        """Return the sizes of all objects, in their pending place and in their final one."""
        buckets = [bucket["Name"] for bucket in self.admin.list_buckets()["Buckets"]]
        listings = [self.admin.list_objects_v2(Bucket=bucket) for bucket in buckets]
        return sorted(stored["Size"] for listing in listings for stored in listing.get("Contents", ()))

    def stored_parts(self) -> set[int]:
        """Return the numbers of the parts that the storage has, of the only upload that was begun."""
        [upload] = self.admin.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
        listed = self.admin.list_parts(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
        return {part["PartNumber"] for part in listed.get("Parts", ())}


@contextmanager
def run_relayed_storage(directory: Path) -> Iterator[RelayedStorage]:
    """Yield a storage that keeps its data in `directory`."""
    # The page's origin is not known yet, and these tests do not test CORS rules.
    with run_local_storage(directory, origins=["*"], report=print) as running:
        bucket = running.environment["PRESIGN_BUCKET"]
        endpoint = urlsplit(parse_qs(urlsplit(bucket).query)["endpoint_url"][0])
        assert endpoint.port is not None
        key = read_state(directory)["admin"]
        admin = boto3.client(
            "s3",
            region_name=REGION,
            endpoint_url=endpoint.geturl(),
            aws_access_key_id=key["access_key_id"],
            aws_secret_access_key=key["secret_access_key"],
        )
        with run_held_relay(HOST, endpoint.port) as relay:
            behind = bucket.replace(str(endpoint.port), str(relay.port))
            assert behind != bucket
            environment = {**running.environment, "PRESIGN_BUCKET": behind}
            yield RelayedStorage(relay=relay, environment=environment, admin=admin)
