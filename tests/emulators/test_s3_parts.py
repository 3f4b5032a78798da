"""Uploads in parts to the S3 reference: what boto3 and raw requests may do, and what is refused."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from emulators.s3_bucket import S3Bucket
from emulators.s3_parts import PartLimits
from emulators.s3_reference import S3Reference
from emulators.s3_rights import Leniency, Right
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from emulators.wire import Attempt, send

TARGET = {"Bucket": "uploads", "Key": "pending/film"}
BODIES = (b"eight by", b"more than eight bytes", b"end")


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running reference with parts of eight bytes, and clients of several identities."""

    bucket: S3Bucket
    owner: Any = field(repr=False)
    sender: Any = field(repr=False)
    lister: Any = field(repr=False)


def _run(lenient: frozenset[Leniency] = frozenset()) -> Iterator[Server]:
    bucket = S3Bucket()
    on_pending: dict[str, Any] = {"bucket": "uploads", "prefix": "pending/"}
    rights = {
        "SENDER": [Right(actions=frozenset({"PutObject"}), **on_pending)],
        "LISTER": [Right(actions=frozenset({"ListBucketMultipartUploads"}), bucket="uploads")],
    }
    app = S3Reference(
        buckets={"uploads": bucket},
        access_keys={name: HmacKey(secret=f"{name}'s secret") for name in ("OWNER", *rights)},
        rights=rights,
        lenient=lenient,
        part_limits=PartLimits(smallest_part_bytes=8, largest_bytes=30),
    )
    with serve(app) as url:
        owner, sender, lister = (
            boto3.client(
                "s3",
                region_name="us-east-1",
                endpoint_url=url,
                aws_access_key_id=name,
                aws_secret_access_key=f"{name}'s secret",
                config=Config(
                    signature_version="s3v4",
                    s3={"addressing_style": "path"},
                    request_checksum_calculation="when_required",
                    retries={"total_max_attempts": 1},
                ),
            )
            for name in ("OWNER", "SENDER", "LISTER")
        )
        yield Server(bucket=bucket, owner=owner, sender=sender, lister=lister)


@pytest.fixture
def s3() -> Iterator[Server]:
    yield from _run()


def _begin(s3: Server, **options: Any) -> dict[str, Any]:
    return {**TARGET, "UploadId": s3.owner.create_multipart_upload(**TARGET, **options)["UploadId"]}


def _digest(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def _outcome(call: Any, **arguments: Any) -> tuple[int, str]:
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"].get("Code", "")
    return 200, ""


def test_parts_become_one_object_with_the_headers_of_the_beginning(s3: Server) -> None:
    upload = _begin(s3, ContentType="video/mp4", Metadata={"tenant": "7"})
    for number, body in enumerate(BODIES, start=1):
        s3.owner.upload_part(**upload, PartNumber=number, Body=body)
    listed = s3.owner.list_parts(**upload)
    assert [(part["PartNumber"], part["Size"]) for part in listed["Parts"]] == [(1, 8), (2, 21), (3, 3)]
    assert TARGET["Key"] not in s3.bucket.objects
    parts = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in listed["Parts"]]
    s3.owner.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
    found = s3.owner.get_object(**TARGET)
    assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (
        b"".join(BODIES),
        "video/mp4",
        {"tenant": "7"},
    )
    assert found["ETag"].endswith('-3"')
    for call in (s3.owner.list_parts, s3.owner.abort_multipart_upload):
        assert _outcome(call, **upload) == (404, "NoSuchUpload")


def test_a_hashed_upload_lists_its_digests_and_wants_them_back(s3: Server) -> None:
    upload = _begin(s3, ChecksumAlgorithm="SHA256")
    for number, body in enumerate(BODIES, start=1):
        s3.owner.upload_part(**upload, PartNumber=number, Body=body, ChecksumSHA256=_digest(body))
    listed = s3.owner.list_parts(**upload)["Parts"]
    assert [part["ChecksumSHA256"] for part in listed] == [_digest(body) for body in BODIES]
    bare = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in listed]
    hashed = [{**one, "ChecksumSHA256": part["ChecksumSHA256"]} for one, part in zip(bare, listed, strict=True)]
    wrong = [{**hashed[0], "ChecksumSHA256": _digest(b"other")}, *hashed[1:]]
    for parts, outcome in ((bare, (400, "InvalidRequest")), (wrong, (400, "InvalidPart")), (hashed, (200, ""))):
        assert _outcome(s3.owner.complete_multipart_upload, **upload, MultipartUpload={"Parts": parts}) == outcome
    composite = _digest(b"".join(hashlib.sha256(body).digest() for body in BODIES))
    head = s3.owner.head_object(**TARGET, ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == f"{composite}-3"


def test_a_part_that_is_not_what_the_upload_expects_is_refused(s3: Server) -> None:
    plain, hashed = _begin(s3), _begin(s3, ChecksumAlgorithm="SHA256")
    put, body = s3.owner.upload_part, BODIES[0]
    right, wrong = {"ChecksumSHA256": _digest(body)}, {"ChecksumSHA256": _digest(b"other")}
    refused: dict[str, tuple[dict[str, Any], tuple[int, str]]] = {
        "a digest nobody announced": ({**plain, **right}, (400, "InvalidRequest")),
        "no digest": (hashed, (400, "InvalidRequest")),
        "another algorithm": ({**hashed, "ChecksumCRC32": "AAAAAA=="}, (400, "InvalidRequest")),
        "another digest": ({**hashed, **wrong}, (400, "BadDigest")),
        "another MD5": ({**plain, "ContentMD5": base64.b64encode(b"x" * 16).decode()}, (400, "BadDigest")),
        "another key": ({**plain, "Key": "pending/other"}, (404, "NoSuchUpload")),
        "another upload": ({**plain, "UploadId": "other"}, (404, "NoSuchUpload")),
        "number 0": ({**plain, "PartNumber": 0}, (400, "InvalidArgument")),
        "number 10,001": ({**plain, "PartNumber": 10_001}, (400, "InvalidArgument")),
        "too many bytes": ({**plain, "Body": b"x" * 31}, (400, "EntityTooLarge")),
    }
    outcomes = {name: _outcome(put, **{"PartNumber": 1, "Body": body, **sent}) for name, (sent, _) in refused.items()}
    assert outcomes == {name: outcome for name, (_, outcome) in refused.items()}
    assert not any(upload.parts for upload in s3.bucket.uploads.values())


def test_a_signed_length_number_and_upload_hold_for_a_presigned_part(s3: Server) -> None:
    upload, other = _begin(s3), _begin(s3)
    url = s3.owner.generate_presigned_url(
        "upload_part", Params={**upload, "PartNumber": 2, "ContentLength": len(BODIES[1])}
    )
    attempt = Attempt(method="PUT", url=url, body=BODIES[1])
    changed = {
        "a byte less": attempt.with_body(BODIES[1][:-1]),
        "a byte more": attempt.with_body(BODIES[1] + b"!"),
        "another number": attempt.with_parameter("partNumber", "1"),
        "another upload": attempt.with_parameter("uploadId", other["UploadId"]),
        "an unsigned copy source": attempt.with_header("x-amz-copy-source", "/uploads/pending/film"),
        "an unsigned digest": attempt.with_header("x-amz-checksum-sha256", _digest(BODIES[1])),
        "a commit": attempt.without_parameter("partNumber").with_method("POST"),
        "an abort": attempt.without_parameter("partNumber").with_method("DELETE").with_body(b""),
        "a list": attempt.without_parameter("partNumber").with_method("GET").with_body(b""),
    }
    statuses = {name: send(each).status for name, each in changed.items()}
    assert statuses == dict.fromkeys(changed, 403)
    assert send(attempt).status == 200
    assert [list(each.parts) for each in s3.bucket.uploads.values()] == [[2], []]


def test_headers_that_would_have_no_effect_on_a_part_are_refused(s3: Server) -> None:
    upload = _begin(s3)
    for header in ("x-amz-acl", "x-amz-meta-a", "x-amz-storage-class", "if-none-match"):
        url = s3.owner.generate_presigned_url("upload_part", Params={**upload, "PartNumber": 1})
        answer = send(Attempt(method="PUT", url=url, body=BODIES[0]).with_header(header, "public-read"))
        assert answer.outcome == ((501, "NotImplemented") if header == "if-none-match" else (403, "AccessDenied"))
    assert not s3.bucket.uploads[upload["UploadId"]].parts


def test_a_completion_of_parts_that_are_missing_small_or_out_of_order_is_refused(s3: Server) -> None:
    upload = _begin(s3)
    for number, body in ((1, b"small"), (2, BODIES[1])):
        s3.owner.upload_part(**upload, PartNumber=number, Body=body)
    etags = {part["PartNumber"]: part["ETag"] for part in s3.owner.list_parts(**upload)["Parts"]}
    lists = {
        (400, "InvalidPart"): [{"PartNumber": 3, "ETag": etags[1]}],
        (400, "InvalidPartOrder"): [{"PartNumber": number, "ETag": etags[number]} for number in (2, 1)],
        (400, "EntityTooSmall"): [{"PartNumber": number, "ETag": etags[number]} for number in (1, 2)],
        (400, "MalformedXML"): [],
    }
    for outcome, parts in lists.items():
        found = _outcome(s3.owner.complete_multipart_upload, **upload, MultipartUpload={"Parts": parts})
        assert found == outcome
    s3.owner.put_object(**TARGET, Body=b"first")
    parts = [{"PartNumber": 2, "ETag": etags[2]}]
    complete = s3.owner.complete_multipart_upload
    assert _outcome(complete, **upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*") == (
        412,
        "PreconditionFailed",
    )
    assert upload["UploadId"] in s3.bucket.uploads, "the upload stays open"
    assert s3.bucket.objects[TARGET["Key"]].body == b"first"


def test_lists_of_parts_and_of_uploads_come_in_pages(s3: Server) -> None:
    upload = _begin(s3)
    for number in (1, 2, 5, 9):
        s3.owner.upload_part(**upload, PartNumber=number, Body=BODIES[1])
    pages = list(s3.owner.get_paginator("list_parts").paginate(**upload, PaginationConfig={"PageSize": 3}))
    assert [[part["PartNumber"] for part in page["Parts"]] for page in pages] == [[1, 2, 5], [9]]
    for key in ("pending/a b", "pending/\u00e9", "elsewhere", "pending/film"):
        s3.owner.create_multipart_upload(Bucket="uploads", Key=key)
    paginator = s3.owner.get_paginator("list_multipart_uploads")
    found = paginator.paginate(Bucket="uploads", Prefix="pending/", PaginationConfig={"PageSize": 2})
    keys = [[each["Key"] for each in page["Uploads"]] for page in found]
    assert keys == [["pending/a b", "pending/film"], ["pending/film", "pending/\u00e9"]]


def test_each_step_of_an_upload_needs_its_own_right(s3: Server) -> None:
    upload = _begin(s3)
    etag = s3.sender.upload_part(**upload, PartNumber=1, Body=BODIES[1])["ETag"]
    denied = (403, "AccessDenied")
    for call in (s3.sender.list_parts, s3.sender.abort_multipart_upload, s3.lister.list_parts):
        assert _outcome(call, **upload) == denied
    assert _outcome(s3.sender.list_multipart_uploads, Bucket="uploads") == denied
    assert len(s3.lister.list_multipart_uploads(Bucket="uploads")["Uploads"]) == 1
    for call, more in (
        (s3.lister.upload_part, {"PartNumber": 1, "Body": BODIES[1]}),
        (s3.lister.complete_multipart_upload, {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": etag}]}}),
    ):
        assert _outcome(call, **upload, **more) == denied
    s3.sender.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    assert s3.bucket.objects[TARGET["Key"]].body == BODIES[1]


def test_only_a_store_that_ignores_checksums_takes_a_part_with_another_digest() -> None:
    for server in _run(frozenset({Leniency.UNCHECKED_CHECKSUMS})):
        upload = _begin(server)
        wrong = {"PartNumber": 1, "Body": BODIES[0], "ChecksumSHA256": _digest(b"other")}
        assert _outcome(server.owner.upload_part, **upload, **wrong) == (200, "")
