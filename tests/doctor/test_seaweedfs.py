"""The doctor on SeaweedFS, provisioned as the demo does it: in good order, and with faults in its real settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from demo_server.storages.local_storage import BUCKET, PENDING_PREFIX, PUBLIC_PREFIX, REGION
from demo_server.storages.run import run_local_storage
from demo_server.storages.s3 import provision_user
from infra.presign_infra.s3_policies import bucket_policy, local_signer_policy, policy_document, public_read_statement
from presign import ConfigurationError, Presigner, Rule, UploadPolicy
from presign.backends.knowledge import StoreKnowledge
from presign.doctor import Report, Severity, examine
from presign.s3 import S3Backend
from tests.conftest import TOKEN_SECRET, read_state
from tests.doctor.faults import Fault, bad, require_found
from tests.doctor.s3_store import ORIGIN

_ARN = f"arn:aws:s3:::{BUCKET}"


@dataclass(frozen=True, kw_only=True)
class Weed:
    """The running store, and clients and keys of its identities."""

    endpoint_url: str
    admin: Any = field(repr=False)
    iam: Any = field(repr=False)
    signer: boto3.Session = field(repr=False)
    verifier: boto3.Session = field(repr=False)

    def backend(self, **options: Any) -> S3Backend:
        values: dict[str, Any] = {
            "bucket": BUCKET,
            "region": REGION,
            "endpoint_url": self.endpoint_url,
            "session": self.signer,
            "verifier_session": self.verifier,
        }
        return S3Backend(**values | options)

    def left(self) -> list[str]:
        listed = self.admin.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        uploads = self.admin.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        return [entry["Key"] for entry in (*listed, *uploads)]


def _session(access_key: str, secret_key: str) -> boto3.Session:
    return boto3.Session(aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=REGION)


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    directory: Path = tmp_path_factory.mktemp("seaweedfs")
    with run_local_storage(directory, origins=[ORIGIN], report=print) as running:
        found = running.environment
        endpoint_url = parse_qs(urlsplit(found["PRESIGN_BUCKET"]).query)["endpoint_url"][0]
        keys = read_state(directory)["admin"]
        admin = _session(keys["access_key_id"], keys["secret_access_key"])
        yield Weed(
            endpoint_url=endpoint_url,
            admin=admin.client("s3", endpoint_url=endpoint_url),
            iam=admin.client("iam", endpoint_url=endpoint_url),
            signer=_session(found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]),
            verifier=_session(found["PRESIGN_VERIFIER_ACCESS_KEY_ID"], found["PRESIGN_VERIFIER_SECRET_ACCESS_KEY"]),
        )


def _examine(backend: S3Backend, **options: Any) -> Report:
    return examine(backend, prefix=PUBLIC_PREFIX, pending_prefix=PENDING_PREFIX, origin=ORIGIN, **options)


def test_the_one_rule_that_seaweedfs_does_not_keep_is_found_and_then_no_longer_promised(
    weed: Weed, tmp_path: Path
) -> None:
    report = _examine(weed.backend())
    assert [(finding.code, finding.severity) for finding in bad(report)] == [("rule-headers", Severity.WARNING)]
    assert "Content-Encoding, Cache-Control, Expires in a POST form" in bad(report)[0].detail
    assert weed.left() == []
    report.learned.write(tmp_path / "learned.json")
    backend = weed.backend(learned=tmp_path / "learned.json")
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=100, prefix=PUBLIC_PREFIX)
    plain, create_only = (
        policy.possible_grants()[0],
        UploadPolicy(
            content_types={"image/png"}, max_bytes=100, prefix=PUBLIC_PREFIX, create_only=True, require_size=True
        ).possible_grants()[0],
    )
    assert backend.enforces(plain) == weed.backend().enforces(plain) - {Rule.HEADERS}
    assert backend.enforces(create_only) == weed.backend().enforces(create_only)
    assert backend.parts.enforces(plain) == weed.backend().parts.enforces(plain)
    strict = UploadPolicy(
        content_types={"image/png"}, max_bytes=100, prefix=PUBLIC_PREFIX, require_at_storage={Rule.HEADERS}
    )
    Presigner(backend=weed.backend(), policy=strict, secret=TOKEN_SECRET)
    with pytest.raises(ConfigurationError, match="does not itself enforce headers"):
        Presigner(backend=backend, policy=strict, secret=TOKEN_SECRET)
    again = _examine(backend)
    assert bad(again) == [], again.to_text()
    assert {finding.code for finding in again.of(Severity.UNKNOWN)} == {
        "parts-expiry",
        "pending-expiry",
        "public-read",
        "publish",
        "tls",
    }
    assert weed.left() == []


def test_a_bucket_policy_that_lets_everybody_read_pending_uploads_is_found(weed: Weed) -> None:
    everything = policy_document(
        public_read_statement(_ARN, PUBLIC_PREFIX), public_read_statement(_ARN, PENDING_PREFIX)
    )
    before = bucket_policy(_ARN, PUBLIC_PREFIX, public_read=True, deny_plain_http=False)
    weed.admin.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(everything))
    try:
        report = _examine(weed.backend(learned=_put_only(weed)))
    finally:
        weed.admin.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(before))
    fault = Fault(
        name="public",
        setting=None,
        code="pending-private",
        severity=Severity.FAILURE,
        sentence="everybody can read what is under pending/",
        # So can the signer.
        causes=frozenset({"signer-reads"}),
    )
    require_found(fault, report)
    assert weed.left() == []


def test_a_bucket_without_cors_rules_is_found(weed: Weed) -> None:
    before = weed.admin.get_bucket_cors(Bucket=BUCKET)["CORSRules"]
    weed.admin.delete_bucket_cors(Bucket=BUCKET)
    try:
        report = _examine(weed.backend(learned=_put_only(weed)))
    finally:
        weed.admin.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": before})
    fault = Fault(
        name="cors",
        setting=None,
        code="cors-preflight",
        severity=Severity.FAILURE,
        sentence=f"preflight request of {ORIGIN}",
        paste=ORIGIN,
        causes=frozenset({"cors-answer", "cors-exposed"}),
    )
    require_found(fault, report)
    assert weed.left() == []


def test_a_signer_for_another_prefix_is_found(weed: Weed) -> None:
    elsewhere = local_signer_policy(_ARN, PUBLIC_PREFIX, pending_prefix="incoming/", allow_verification=False)
    key = provision_user(weed.iam, "elsewhere", elsewhere)
    session = _session(key.access_key_id, key.secret_access_key)
    report = _examine(weed.backend(session=session, learned=_put_only(weed)))
    fault = Fault(
        name="signer",
        setting=None,
        code="upload",
        severity=Severity.FAILURE,
        sentence=r"answers 403 \(AccessDenied\) to a PUT",
        paste=f"{_ARN}/{PENDING_PREFIX}*",
        causes=frozenset({"parts"}),
    )
    require_found(fault, report)
    assert weed.left() == []


def test_a_secret_key_that_is_not_the_stores_is_found(weed: Weed) -> None:
    keys = weed.signer.get_credentials()
    assert keys is not None
    report = _examine(weed.backend(session=_session(keys.access_key or "", "another secret key")))
    assert [finding.code for finding in bad(report)] == ["credentials"]
    assert "SignatureDoesNotMatch" in report.findings[0].detail
    assert "another secret key" not in report.to_text()


def _put_only(weed: Weed) -> StoreKnowledge:
    """What SeaweedFS keeps with a PUT, so that its one gap with forms is no finding."""
    put = frozenset({Rule.SIZE, Rule.TYPE, Rule.CHECKSUM, Rule.CREATE_ONLY})
    plain = weed.backend()
    return StoreKnowledge(
        storage=plain.name, host=plain.diagnosis().host, shown={"put": put, "parts": frozenset({Rule.SIZE})}
    )
