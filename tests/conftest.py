"""The storage servers that the tests use, each started once; a server that does not start fails the run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import boto3
import botocore.loaders
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from demo_server.storages.local_storage import BUCKET, PENDING_PREFIX, PUBLIC_PREFIX, REGION
from demo_server.storages.run import run_local_storage
from demo_server.storages.s3 import provision_user
from emulators.cors import CorsRule
from emulators.s3_bucket import S3Bucket
from emulators.s3_parts import PartLimits
from emulators.s3_reference import S3Reference
from emulators.seaweedfs import AccessKey
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from emulators.wire import Answer, Attempt, Form, send
from infra.presign_infra.s3_policies import local_signer_policy, policy_document
from presign import Presigner, Ticket, UploadPolicy, UploadRequest
from presign.s3 import S3Backend

# Google's SDK asks for a bucket's metadata in a thread of its own, for up to two minutes after its server is gone. That
# thread draws random numbers, and Hypothesis then fails tests of other modules, because it cannot repeat them.
os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"

# Each session of boto3 would read the descriptions of the services anew, which takes 0.1 s of CPU time.
botocore.session.create_loader = cache(botocore.loaders.create_loader)

# Long files that pytest would begin late. The other workers would then have nothing to do while one runs such a file.
BEGUN_FIRST = (
    "tests/test_demo.py",
    "tests/test_client.py",
    "tests/uploading/test_command.py",
    "tests/test_site.py",
    "tests/test_demo_lifecycle.py",
)

PAGE_ORIGIN = "http://localhost:8080"
TOKEN_SECRET = "the secret of the tests' tokens"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde"
PNG_SHA256 = hashlib.sha256(PNG).hexdigest()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of BEGUN_FIRST; all others keep their order."""
    order = {name: place for place, name in enumerate(BEGUN_FIRST)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))


@dataclass(frozen=True, kw_only=True)
class Store:
    """A running S3 server, with one identity that may upload either way, verify and publish in one bucket."""

    name: str
    endpoint_url: str
    bucket: str
    session: boto3.Session = field(repr=False)
    admin: Any = field(repr=False)

    def backend(self, **options: Any) -> S3Backend:
        values: dict[str, Any] = {
            "bucket": self.bucket,
            "region": REGION,
            "endpoint_url": self.endpoint_url,
            "session": self.session,
        }
        return S3Backend(**values | options)

    def presigner(
        self, *, clock: Callable[[], datetime] | None = None, upload_method: str = "auto", **policy: Any
    ) -> Presigner:
        rules: dict[str, Any] = {
            "content_types": {"image/png"},
            "max_bytes": 100,
            "min_bytes": 10,
            "prefix": PUBLIC_PREFIX,
            "public_read": True,
            # The straight way. test_completion.py has the way through the pending place.
            "pending_prefix": None,
        }
        return Presigner(
            backend=self.backend(upload_method=upload_method),
            policy=UploadPolicy(**rules | policy),
            secret=TOKEN_SECRET,
            clock=clock or (lambda: datetime.now(timezone.utc)),
        )

    @property
    def environment(self) -> dict[str, str]:
        """What points a demo server at this store."""
        keys = self.session.get_credentials()
        assert keys is not None
        query = urlencode({"region": REGION, "endpoint_url": self.endpoint_url})
        return {
            "PRESIGN_BUCKET": f"s3://{self.bucket}/{PUBLIC_PREFIX}?{query}",
            "AWS_ACCESS_KEY_ID": keys.access_key or "",
            "AWS_SECRET_ACCESS_KEY": keys.secret_key or "",
        }

    def holds(self, key: str) -> bool:
        """Say whether an object is there, asked with the administrator's key."""
        try:
            self.admin.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return False
            raise
        return True


def png_request(**changes: Any) -> UploadRequest:
    return UploadRequest(**{"content_type": "image/png"} | changes)


def as_sent(ticket: Ticket, body: bytes) -> Form | Attempt:
    """Exactly what a client sends for a ticket."""
    if ticket.method == "POST":
        return Form.of(ticket.url, dict(ticket.fields), body)
    return Attempt(method="PUT", url=ticket.url, headers=tuple(ticket.headers.items()), body=body)


def upload(ticket: Ticket, body: bytes) -> Answer:
    return send(as_sent(ticket, body))


def seconds_ago(seconds: float) -> Callable[[], datetime]:
    return lambda: datetime.now(timezone.utc) - timedelta(seconds=seconds)


@pytest.fixture(scope="session")
def seaweedfs_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the storage of ``seaweedfs`` keeps its data and its keys."""
    return tmp_path_factory.mktemp("seaweedfs")


@pytest.fixture(scope="session")
def seaweedfs(seaweedfs_directory: Path) -> Iterator[Store]:
    with run_local_storage(seaweedfs_directory, origins=[PAGE_ORIGIN], report=print) as running:
        endpoint_url = _parameter(running.environment["PRESIGN_BUCKET"], "endpoint_url")
        admin = session_of(AccessKey(**read_state(seaweedfs_directory)["admin"]))
        iam = admin.client("iam", region_name=REGION, endpoint_url=endpoint_url)
        yield Store(
            name="SeaweedFS",
            endpoint_url=endpoint_url,
            bucket=BUCKET,
            session=session_of(provision_user(iam, "tests", _either_way(f"arn:aws:s3:::{BUCKET}"))),
            admin=client_of(endpoint_url, admin),
        )


@pytest.fixture(scope="session")
def s3_reference() -> Iterator[Store]:
    rule = CorsRule(
        allowed_origins=(PAGE_ORIGIN,),
        allowed_methods=("GET", "PUT", "POST", "HEAD"),
        allowed_headers=("*",),
        expose_headers=("Location", "ETag"),
        max_age_seconds=600,
    )
    app = S3Reference(
        buckets={BUCKET: S3Bucket(cors=(rule,), public_prefix=PUBLIC_PREFIX), "other": S3Bucket()},
        access_keys={"AKIAREFERENCE": HmacKey(secret="a secret of the reference")},
        region=REGION,
        # Copies in parts are tried with small objects.
        part_limits=PartLimits(smallest_part_bytes=8),
    )
    with serve(app) as endpoint_url:
        session = boto3.Session(aws_access_key_id="AKIAREFERENCE", aws_secret_access_key="a secret of the reference")
        yield Store(
            name="the S3 reference",
            endpoint_url=endpoint_url,
            bucket=BUCKET,
            session=session,
            admin=client_of(endpoint_url, session),
        )


@pytest.fixture(params=["seaweedfs", "s3_reference"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each S3 server in turn."""
    running: Store = request.getfixturevalue(request.param)
    return running


def _either_way(bucket_arn: str) -> dict[str, Any]:
    """Return the policy of one identity that signs, verifies and publishes uploads: pending ones and straight ones."""
    pending = local_signer_policy(
        bucket_arn, PUBLIC_PREFIX, pending_prefix=PENDING_PREFIX, allow_verification=True, allow_listing=True
    )
    straight = local_signer_policy(bucket_arn, PUBLIC_PREFIX, pending_prefix=None, allow_verification=True)
    return policy_document(*pending["Statement"], *straight["Statement"])


def session_of(key: AccessKey) -> boto3.Session:
    return boto3.Session(aws_access_key_id=key.access_key_id, aws_secret_access_key=key.secret_access_key)


def client_of(endpoint_url: str, session: boto3.Session) -> Any:
    return session.client(
        "s3",
        region_name=REGION,
        endpoint_url=endpoint_url,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def _parameter(url: str, name: str) -> str:
    return parse_qs(urlsplit(url).query)[name][0]


def read_state(directory: Path) -> Any:
    """Return what the local SeaweedFS keeps between runs: its port and its keys."""
    return json.loads((directory / "s3" / "state.json").read_text())
