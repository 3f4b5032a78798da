"""The doctor on moto, which checks no signature: nothing that a ticket says holds there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from presign.doctor import Severity, examine
from presign.s3 import S3Backend
from tests.doctor.faults import bad

_BUCKET = "uploads"


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def _client(url: str) -> Any:
    return boto3.Session("AKIAMOTO", "a secret").client("s3", region_name="us-east-1", endpoint_url=url)


def test_a_store_that_checks_no_signature_is_found_and_nothing_is_left(moto_url: str) -> None:
    client = _client(moto_url)
    client.create_bucket(Bucket=_BUCKET)
    backend = S3Backend(
        bucket=_BUCKET, region="us-east-1", endpoint_url=moto_url, session=boto3.Session("AKIAMOTO", "a secret")
    )
    report = examine(backend, prefix="public/")
    found = {(finding.code, finding.severity) for finding in bad(report)}
    assert ("signature-checked", Severity.FAILURE) in found, report.to_text()
    assert ("expiry-checked", Severity.FAILURE) in found
    assert ("rule-size", Severity.WARNING) in found
    # moto has a lifecycle, and no rule in it.
    assert {("parts-expiry", Severity.WARNING), ("pending-expiry", Severity.WARNING)} <= found
    # Each paste replaces the rules that are there, so the second one must not undo the first one.
    for expiry in (finding for finding in bad(report) if finding.code.endswith("-expiry")):
        client.put_bucket_lifecycle_configuration(Bucket=_BUCKET, LifecycleConfiguration=json.loads(expiry.paste or ""))
    assert {finding.code for finding in examine(backend, prefix="public/").of(Severity.OK)} >= {
        "parts-expiry",
        "pending-expiry",
    }
    assert report.learned.of("post") == frozenset()
    assert client.list_objects_v2(Bucket=_BUCKET).get("Contents", []) == []
    assert client.list_multipart_uploads(Bucket=_BUCKET).get("Uploads", []) == []


def test_a_lifecycle_rule_for_unfinished_parts_is_seen(moto_url: str) -> None:
    client = _client(moto_url)
    client.create_bucket(Bucket="with-a-rule")
    rule: dict[str, Any] = {
        "ID": "parts",
        "Status": "Enabled",
        "Filter": {"Prefix": "pending/"},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 8},
    }
    client.put_bucket_lifecycle_configuration(Bucket="with-a-rule", LifecycleConfiguration={"Rules": [rule]})
    session = boto3.Session("AKIAMOTO", "a secret")
    diagnosis = S3Backend(bucket="with-a-rule", region="us-east-1", endpoint_url=moto_url, session=session).diagnosis()
    assert diagnosis.parts_expiry("pending/x").detail.endswith("after 8 days")
    assert diagnosis.parts_expiry("elsewhere/x").outcome == "bad"


@pytest.mark.parametrize(
    ("chosen", "status", "detail"),
    [
        ({"Prefix": "pending/"}, "Enabled", "the storage deletes pending uploads that nobody completes after 9 days"),
        ({"Prefix": ""}, "Enabled", "the storage deletes pending uploads that nobody completes after 9 days"),
        ({"Prefix": "public/"}, "Enabled", "no rule deletes pending uploads that nobody completes"),
        ({"Prefix": "pending/"}, "Disabled", "no rule deletes pending uploads that nobody completes"),
        ({"And": {"Prefix": "pending/", "Tags": [{"Key": "a", "Value": "b"}]}}, "Enabled", "no rule deletes pending"),
    ],
)
def test_a_lifecycle_rule_for_every_pending_upload_is_seen(
    moto_url: str, chosen: dict[str, Any], status: str, detail: str
) -> None:
    client, bucket = _client(moto_url), f"expiring-{uuid4().hex[:8]}"
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="pending/x", Body=b"x")
    rule: dict[str, Any] = {"ID": "pending", "Status": status, "Filter": chosen, "Expiration": {"Days": 9}}
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    session = boto3.Session("AKIAMOTO", "a secret")
    diagnosis = S3Backend(bucket=bucket, region="us-east-1", endpoint_url=moto_url, session=session).diagnosis()
    assert detail in diagnosis.pending_expiry("pending/x").detail
