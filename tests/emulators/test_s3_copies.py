"""The S3 reference copies, deletes, lists and limits as Amazon S3 does; a lenient one obeys what that one refuses."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from emulators.s3_bucket import S3Bucket
from emulators.s3_parts import PartLimits
from emulators.s3_reference import S3Reference
from emulators.s3_rights import CEPH, MINIO, SEAWEEDFS, Leniency, Right
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from emulators.wire import Attempt, Form, send

OWNER, SIGNER, PUBLISHER = "AKIAOWNER", "AKIASIGNER", "AKIAPUBLISHER"
PENDING, FINAL = "pending/ab/cat.png", "public/ab/cat.png"
BODY, OTHER = b"0123456789abcdefghij", b"other bytes"
RIGHTS = {
    SIGNER: [Right(actions=frozenset({"PutObject"}), bucket="uploads", prefix="pending/")],
    PUBLISHER: [
        Right(actions=frozenset({"GetObject", "DeleteObject"}), bucket="uploads", prefix="pending/"),
        Right(
            actions=frozenset({"PutObject"}), bucket="uploads", prefix="public/", copies_only_from="uploads/pending/"
        ),
    ],
}


class Server:
    """A running reference and clients of its users."""

    def __init__(self, url: str, app: S3Reference) -> None:
        self.url = url
        self.app = app
        self.owner = self.client_of(OWNER)

    @property
    def bucket(self) -> S3Bucket:
        return self.app.buckets["uploads"]

    def client_of(self, key_id: str) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=key_id,
            aws_secret_access_key="secret of " + key_id,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def put(self, key: str = PENDING, body: bytes = BODY, **options: Any) -> str:
        return str(self.owner.put_object(Bucket="uploads", Key=key, Body=body, **options)["ETag"])

    def copy(self, client: Any = None, source: str = PENDING, key: str = FINAL, **options: Any) -> Any:
        arguments = {"Bucket": "uploads", "Key": key, "CopySource": {"Bucket": "uploads", "Key": source}}
        return (client or self.owner).copy_object(**arguments | options)

    def ticket(self, key_id: str = SIGNER, key: str = PENDING, **params: Any) -> Attempt:
        """A PUT presigned for one type and a new object."""
        url = self.client_of(key_id).generate_presigned_url(
            "put_object",
            Params={"Bucket": "uploads", "Key": key, "ContentType": "image/png", "IfNoneMatch": "*", **params},
            ExpiresIn=60,
        )
        return Attempt(
            method="PUT", url=url, headers=(("Content-Type", "image/png"), ("If-None-Match", "*")), body=BODY
        )


def running(**options: Any) -> Iterator[Server]:
    app = S3Reference(
        buckets={"uploads": S3Bucket(public_prefix="public/"), "kept": S3Bucket(versioned=True)},
        access_keys={key_id: HmacKey(secret="secret of " + key_id) for key_id in (OWNER, SIGNER, PUBLISHER)},
        part_limits=PartLimits(largest_bytes=20, smallest_part_bytes=8),
        **options,
    )
    with serve(app) as url:
        yield Server(url, app)


@pytest.fixture
def s3() -> Iterator[Server]:
    yield from running(rights=RIGHTS)


@pytest.fixture
def minio() -> Iterator[Server]:
    """A store like MinIO whose signer may do everything."""
    yield from running(lenient=MINIO, rights={PUBLISHER: RIGHTS[PUBLISHER]})


def refused(call: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call()
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def test_a_copy_has_the_bytes_and_by_default_everything_else_but_class_and_acl(s3: Server) -> None:
    s3.put(ContentType="image/png", Metadata={"a": "b"}, Tagging="t=1", StorageClass="STANDARD_IA", ACL="public-read")
    answer = s3.copy()
    stored = s3.bucket.objects[FINAL]
    assert answer["CopyObjectResult"]["ETag"] == stored.etag == f'"{hashlib.md5(BODY).hexdigest()}"'
    assert (stored.body, stored.content_type, stored.metadata) == (BODY, "image/png", {"a": "b"})
    assert (stored.tags, stored.storage_class, stored.is_public) == ({"t": "1"}, "STANDARD", False)


def test_a_copy_that_replaces_has_only_what_it_was_given(s3: Server) -> None:
    s3.put(ContentType="text/html", CacheControl="no-cache", Metadata={"a": "b"}, Tagging="t=1")
    s3.bucket.objects[PENDING].annotations["note"] = "x"  # type: ignore[index]
    s3.copy(
        MetadataDirective="REPLACE",
        TaggingDirective="REPLACE",
        AnnotationDirective="EXCLUDE",
        ContentType="image/png",
        ContentDisposition="attachment",
    )
    stored = s3.bucket.objects[FINAL]
    assert (stored.content_type, stored.headers) == ("image/png", {"content-disposition": "attachment"})
    assert (stored.metadata, stored.tags, stored.annotations) == ({}, {}, {})


def test_annotations_are_copied_unless_excluded_and_need_their_own_rights(s3: Server) -> None:
    s3.put()
    s3.bucket.objects[PENDING].annotations["note"] = "x"  # type: ignore[index]
    publisher = s3.client_of(PUBLISHER)
    assert refused(lambda: s3.copy(publisher)) == (403, "AccessDenied")
    s3.copy(publisher, AnnotationDirective="EXCLUDE")
    assert s3.bucket.objects[FINAL].annotations == {}
    s3.copy()
    assert s3.bucket.objects[FINAL].annotations == {"note": "x"}


def test_a_copy_of_another_etag_than_the_one_named_is_refused(s3: Server) -> None:
    etag = s3.put()
    s3.put(body=OTHER)
    assert refused(lambda: s3.copy(CopySourceIfMatch=etag)) == (412, "PreconditionFailed")
    assert FINAL not in s3.bucket.objects


def test_a_copy_never_replaces_an_object_under_if_none_match(s3: Server) -> None:
    s3.put()
    s3.put(FINAL, OTHER)
    assert refused(lambda: s3.copy(IfNoneMatch="*")) == (412, "PreconditionFailed")
    assert s3.bucket.objects[FINAL].body == OTHER
    s3.copy()
    assert s3.bucket.objects[FINAL].body == BODY


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        pytest.param({"source": "pending/none"}, (404, "NoSuchKey"), id="no source"),
        pytest.param({"CopySource": "elsewhere/a"}, (404, "NoSuchBucket"), id="no bucket"),
        pytest.param({"CopySource": "uploads"}, (400, "InvalidArgument"), id="no key"),
        pytest.param({"ContentType": "image/png"}, (400, "InvalidRequest"), id="type without REPLACE"),
        pytest.param({"Tagging": "a=b"}, (400, "InvalidRequest"), id="tags without REPLACE"),
        pytest.param({"MetadataDirective": "KEEP"}, (400, "InvalidArgument"), id="unknown directive"),
        pytest.param({"key": PENDING}, (400, "InvalidRequest"), id="onto itself"),
        pytest.param({"CopySourceIfNoneMatch": "x"}, (501, "NotImplemented"), id="unknown condition"),
        pytest.param({"source": "pending/large"}, (400, "InvalidRequest"), id="more than one copy takes"),
    ],
)
def test_a_copy_that_cannot_be_made_as_asked_is_refused(
    s3: Server, options: dict[str, Any], outcome: tuple[int, str]
) -> None:
    s3.put()
    s3.put("pending/large", BODY + b"!")
    assert refused(lambda: s3.copy(**options)) == outcome
    assert FINAL not in s3.bucket.objects


def test_an_encoded_copy_source_names_the_decoded_key(s3: Server) -> None:
    s3.put("pending/ä b+c.png")
    s3.copy(source="pending/ä b+c.png")
    s3.copy(key="public/2", CopySource="/uploads/pending/ä b+c.png")
    assert s3.bucket.objects[FINAL].body == s3.bucket.objects["public/2"].body == BODY


def test_boto3s_own_multipart_copy_takes_what_is_too_large_for_one(s3: Server) -> None:
    s3.put("pending/large", BODY * 2)
    upload = s3.owner.create_multipart_upload(Bucket="uploads", Key=FINAL, ContentType="image/png", Metadata={"a": "b"})
    named = {"Bucket": "uploads", "Key": FINAL, "UploadId": upload["UploadId"]}
    source = {"CopySource": "uploads/pending/large", "CopySourceIfMatch": s3.bucket.objects["pending/large"].etag}
    parts = []
    for number, span in ((1, "bytes=0-19"), (2, "bytes=20-39")):
        answer = s3.owner.upload_part_copy(**named, **source, PartNumber=number, CopySourceRange=span)
        parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
    assert FINAL not in s3.bucket.objects
    done = s3.owner.complete_multipart_upload(**named, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
    stored = s3.bucket.objects[FINAL]
    assert (stored.body, stored.content_type, stored.metadata) == (BODY * 2, "image/png", {"a": "b"})
    assert done["ETag"] == stored.etag
    assert stored.etag.endswith('-2"')
    assert s3.bucket.uploads == {}


def test_a_multipart_copy_is_refused_where_it_would_not_be_whole_or_not_new(s3: Server) -> None:
    s3.put("pending/large", BODY * 2)
    s3.put(FINAL, OTHER)
    upload = s3.owner.create_multipart_upload(Bucket="uploads", Key=FINAL)
    named = {"Bucket": "uploads", "Key": FINAL, "UploadId": upload["UploadId"]}
    part = {**named, "CopySource": "uploads/pending/large"}

    def completed(numbers: list[int], **options: Any) -> tuple[int, str]:
        listed = [{"PartNumber": number, "ETag": etags.get(number, '"none"')} for number in numbers]
        return refused(
            lambda: s3.owner.complete_multipart_upload(**named, MultipartUpload={"Parts": listed}, **options)
        )

    assert refused(lambda: s3.owner.upload_part_copy(**part, PartNumber=1)) == (400, "InvalidRequest")
    bad_parts: list[dict[str, Any]] = [
        {"PartNumber": 0},
        {"PartNumber": 10_001},
        {"PartNumber": 1, "CopySourceRange": "bytes=30-40"},
    ]
    for bad in bad_parts:
        assert refused(partial(s3.owner.upload_part_copy, **part, **bad)) == (400, "InvalidArgument")
    stale = {"PartNumber": 1, "CopySourceIfMatch": '"stale"'}
    assert refused(lambda: s3.owner.upload_part_copy(**part, **stale)) == (412, "PreconditionFailed")
    spans = {1: "bytes=0-19", 2: "bytes=20-22", 3: "bytes=23-39"}
    etags = {
        number: s3.owner.upload_part_copy(**part, PartNumber=number, CopySourceRange=span)["CopyPartResult"]["ETag"]
        for number, span in spans.items()
    }
    assert completed([1, 4]) == (400, "InvalidPart")
    assert completed([3, 1]) == (400, "InvalidPartOrder")
    assert completed([1, 2, 3]) == (400, "EntityTooSmall")
    assert completed([1, 3], IfNoneMatch="*") == (412, "PreconditionFailed")
    assert s3.bucket.objects[FINAL].body == OTHER
    s3.owner.abort_multipart_upload(**named)
    assert s3.bucket.uploads == {}
    assert completed([1, 3]) == (404, "NoSuchUpload")


def test_a_delete_under_if_match_takes_only_that_object(s3: Server) -> None:
    etag = s3.put()
    s3.put(body=OTHER)
    delete = {"Bucket": "uploads", "Key": PENDING}
    assert refused(lambda: s3.owner.delete_object(**delete, IfMatch=etag)) == (412, "PreconditionFailed")
    assert s3.bucket.objects[PENDING].body == OTHER
    s3.owner.delete_object(**delete, IfMatch=s3.bucket.objects[PENDING].etag)
    assert s3.bucket.objects == {}
    assert refused(lambda: s3.owner.delete_object(**delete, IfMatch=etag)) == (404, "NoSuchKey")
    assert s3.owner.delete_object(**delete)["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_a_versioned_bucket_keeps_what_is_overwritten_and_what_is_deleted(s3: Server) -> None:
    named = {"Bucket": "kept", "Key": PENDING}
    first = s3.owner.put_object(**named, Body=BODY)["VersionId"]
    second = s3.owner.put_object(**named, Body=OTHER)["VersionId"]
    assert s3.owner.head_object(**named)["VersionId"] == second
    assert s3.owner.get_object(**named, VersionId=first)["Body"].read() == BODY
    marker = s3.owner.delete_object(**named)
    assert marker["DeleteMarker"] is True
    assert refused(lambda: s3.owner.get_object(**named)) == (404, "NoSuchKey")
    assert s3.owner.get_object(**named, VersionId=second)["Body"].read() == OTHER
    assert refused(lambda: s3.owner.get_object(**named, VersionId=marker["VersionId"])) == (405, "MethodNotAllowed")
    s3.owner.delete_object(**named, VersionId=marker["VersionId"])
    assert s3.owner.get_object(**named)["Body"].read() == OTHER
    s3.owner.delete_object(**named, VersionId=second)
    assert s3.owner.get_object(**named)["Body"].read() == BODY
    assert refused(lambda: s3.owner.get_object(**named, VersionId=second)) == (404, "NoSuchVersion")
    copied = s3.owner.copy_object(
        Bucket="uploads", Key=FINAL, CopySource={**named, "VersionId": first}, CopySourceIfMatch="*"
    )
    assert copied["CopySourceVersionId"] == first
    s3.owner.delete_object(**named, VersionId=first)
    assert s3.app.buckets["kept"].objects == {}


def test_a_listing_comes_in_pages_in_the_order_of_the_keys_bytes(s3: Server) -> None:
    keys = ["pending/a b", "pending/b&c", "pending/ä", "public/x"]
    for key in reversed(keys):
        s3.put(key)
    pages = s3.owner.get_paginator("list_objects_v2").paginate(
        Bucket="uploads", Prefix="pending/", PaginationConfig={"PageSize": 2}
    )
    listed = [[item["Key"] for item in page["Contents"]] for page in pages]
    assert listed == [keys[:2], keys[2:3]]
    after = s3.owner.list_objects_v2(Bucket="uploads", StartAfter=keys[1])["Contents"]
    assert [item["Key"] for item in after] == keys[2:]
    assert (after[0]["ETag"], after[0]["Size"]) == (s3.bucket.objects[keys[2]].etag, len(BODY))
    assert s3.owner.list_objects_v2(Bucket="uploads", MaxKeys=0)["KeyCount"] == 0
    bad = {"Bucket": "uploads", "ContinuationToken": "%"}
    assert refused(lambda: s3.owner.list_objects_v2(**bad)) == (400, "InvalidArgument")
    assert send(Attempt(method="GET", url=f"{s3.url}/uploads?list-type=2")).outcome == (403, "AccessDenied")


def test_a_head_tells_tags_class_and_acl_is_effective(s3: Server) -> None:
    s3.put(Tagging="a=1&b=2", StorageClass="STANDARD_IA", ACL="public-read")
    head = s3.owner.head_object(Bucket="uploads", Key=PENDING)
    assert head["StorageClass"] == "STANDARD_IA"
    assert head["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"] == "2"
    anonymous = send(Attempt(method="GET", url=f"{s3.url}/uploads/{PENDING}"))
    assert (anonymous.status, anonymous.body, "x-amz-tagging-count" in anonymous.headers) == (200, BODY, False)
    s3.put()
    assert send(Attempt(method="GET", url=f"{s3.url}/uploads/{PENDING}")).status == 403


def test_an_object_under_a_customers_key_is_read_with_that_key_alone(s3: Server) -> None:
    key: dict[str, Any] = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    named = {"Bucket": "uploads", "Key": PENDING}
    s3.put(**key)
    assert refused(lambda: s3.owner.head_object(**named))[0] == 400
    assert refused(lambda: s3.owner.get_object(**named)) == (400, "InvalidRequest")
    assert refused(lambda: s3.owner.get_object(**named, **{**key, "SSECustomerKey": "x" * 32}))[0] == 403
    assert refused(lambda: s3.copy()) == (400, "InvalidRequest")
    assert s3.owner.get_object(**named, **key)["Body"].read() == BODY
    s3.copy(CopySourceSSECustomerAlgorithm="AES256", CopySourceSSECustomerKey="k" * 32)
    assert s3.owner.get_object(Bucket="uploads", Key=FINAL)["Body"].read() == BODY


def test_an_archived_object_can_be_looked_at_but_not_read(s3: Server) -> None:
    s3.put(StorageClass="GLACIER")
    named = {"Bucket": "uploads", "Key": PENDING}
    assert s3.owner.head_object(**named)["StorageClass"] == "GLACIER"
    assert refused(lambda: s3.owner.get_object(**named)) == (403, "InvalidObjectState")
    assert refused(lambda: s3.copy()) == (403, "InvalidObjectState")


def test_a_signer_that_may_only_write_pending_objects_can_do_nothing_else(s3: Server) -> None:
    signer, denied = s3.client_of(SIGNER), (403, "AccessDenied")
    s3.put(FINAL, OTHER)
    assert send(s3.ticket()).status == 200
    assert send(s3.ticket(key="public/new")).outcome == denied
    named = {"Bucket": "uploads", "Key": PENDING}
    calls: list[Callable[[], Any]] = [
        lambda: signer.get_object(**named),
        lambda: signer.delete_object(**named),
        lambda: signer.list_objects_v2(Bucket="uploads"),
        lambda: signer.put_object(**named, Tagging="a=b"),
        lambda: signer.put_object(**named, ACL="public-read"),
        lambda: signer.create_multipart_upload(Bucket="uploads", Key=FINAL),
        lambda: s3.copy(signer, source=FINAL, key="pending/copy"),
    ]
    assert [refused(call) for call in calls] == [denied] * len(calls)
    assert refused(lambda: signer.head_object(**named))[0] == 403
    form = signer.generate_presigned_post("uploads", "public/new")
    assert send(Form.of(form["url"], form["fields"], BODY)).outcome == denied


def test_a_publisher_copies_and_deletes_but_writes_nothing_itself(s3: Server) -> None:
    publisher, denied = s3.client_of(PUBLISHER), (403, "AccessDenied")
    etag = s3.put()
    s3.put("elsewhere/x")
    assert refused(lambda: publisher.put_object(Bucket="uploads", Key=FINAL, Body=OTHER)) == denied
    assert refused(lambda: s3.copy(publisher, source="elsewhere/x")) == denied
    # Who may not list does not learn which keys are free.
    assert refused(lambda: publisher.get_object(Bucket="uploads", Key="pending/none")) == denied
    assert refused(lambda: s3.copy(publisher, source="pending/none")) == denied
    s3.copy(publisher, CopySourceIfMatch=etag, IfNoneMatch="*")
    publisher.delete_object(Bucket="uploads", Key=PENDING, IfMatch=etag)
    assert s3.bucket.objects[FINAL].body == BODY


def test_tags_and_annotations_are_copied_only_by_whom_may_read_and_write_them(s3: Server) -> None:
    publisher, denied = s3.client_of(PUBLISHER), (403, "AccessDenied")
    s3.put(Tagging="a=b")
    assert refused(lambda: s3.copy(publisher)) == denied
    for server in running(
        rights={PUBLISHER: [Right(actions=frozenset({"GetObject", "PutObject", "PutObjectTagging"}))]}
    ):
        server.put(Tagging="a=b")
        assert refused(partial(server.copy, server.client_of(PUBLISHER))) == denied
        server.copy(server.client_of(PUBLISHER), TaggingDirective="REPLACE")
    reads_only = frozenset({"GetObject", "PutObject", "GetObjectAnnotation"})
    for server in running(rights={PUBLISHER: [Right(actions=reads_only)]}):
        server.put()
        server.bucket.objects[PENDING].annotations["note"] = "x"  # type: ignore[index]
        assert refused(partial(server.copy, server.client_of(PUBLISHER))) == denied


def test_who_may_only_copy_cannot_begin_an_upload_in_parts_nor_touch_anothers(s3: Server) -> None:
    publisher, signer, denied = s3.client_of(PUBLISHER), s3.client_of(SIGNER), (403, "AccessDenied")
    s3.put()
    named = {"Bucket": "uploads", "Key": FINAL}
    # The requests that begin and complete it carry no copy source, so a condition on it refuses them.
    assert refused(lambda: publisher.create_multipart_upload(**named)) == denied
    named["UploadId"] = s3.owner.create_multipart_upload(**named)["UploadId"]
    part = {"PartNumber": 1, "CopySource": f"uploads/{PENDING}"}
    etag = publisher.upload_part_copy(**named, **part)["CopyPartResult"]["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.put("elsewhere/x")
    calls: list[Callable[[], Any]] = [
        lambda: publisher.complete_multipart_upload(**named, MultipartUpload=parts),
        lambda: publisher.abort_multipart_upload(**named),
        lambda: publisher.upload_part_copy(**named, PartNumber=2, CopySource="uploads/elsewhere/x"),
        lambda: signer.upload_part_copy(**named, **part),
    ]
    assert [refused(call) for call in calls] == [denied] * len(calls)
    for server in running(rights={SIGNER: [Right(actions=frozenset({"GetObject"}))]}):
        server.put()
        upload = server.owner.create_multipart_upload(Bucket="uploads", Key=FINAL)["UploadId"]
        reader = server.client_of(SIGNER)
        copy = partial(reader.upload_part_copy, Bucket="uploads", Key=FINAL, UploadId=upload, **part)
        assert refused(copy) == denied


def test_rights_for_an_unknown_key_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="AKIANOBODY"):
        S3Reference(buckets={}, access_keys={}, rights={"AKIANOBODY": []})


UNSIGNED = [
    pytest.param(("x-amz-copy-source", "/uploads/secret/plan"), id="copy source"),
    pytest.param(("x-amz-acl", "public-read"), id="acl"),
    pytest.param(("x-amz-tagging", "a=b"), id="tags"),
    pytest.param(("x-amz-storage-class", "GLACIER"), id="storage class"),
    pytest.param(("x-amz-meta-a", "b"), id="metadata"),
]


@pytest.mark.parametrize("header", UNSIGNED)
def test_the_strict_reference_refuses_unsigned_headers_and_stores_nothing(s3: Server, header: tuple[str, str]) -> None:
    s3.put("secret/plan", OTHER)
    attempt = s3.ticket(OWNER)
    assert send(attempt.with_header(*header)).outcome == (403, "AccessDenied")
    assert PENDING not in s3.bucket.objects
    assert send(attempt).status == 200


def test_a_signed_copy_source_on_a_put_is_a_copy_even_at_the_strict_reference(s3: Server) -> None:
    s3.put()
    url = s3.owner.generate_presigned_url(
        "copy_object", Params={"Bucket": "uploads", "Key": FINAL, "CopySource": f"uploads/{PENDING}"}, ExpiresIn=60
    )
    attempt = Attempt(method="PUT", url=url, headers=(("x-amz-copy-source", f"uploads/{PENDING}"),))
    assert send(attempt.with_header("x-amz-copy-source", "uploads/other")).outcome == (403, "SignatureDoesNotMatch")
    assert send(attempt).status == 200
    assert s3.bucket.objects[FINAL].body == BODY


def test_a_lenient_store_makes_a_copy_of_a_put_even_over_a_create_only_object(minio: Server) -> None:
    minio.put("secret/plan", OTHER)
    ticket = minio.ticket()
    assert send(ticket).status == 200
    assert send(ticket).outcome == (412, "PreconditionFailed")
    assert send(ticket.with_header("x-amz-copy-source", "/uploads/secret/plan")).status == 200
    assert minio.bucket.objects[PENDING].body == OTHER


def test_a_lenient_store_obeys_an_unsigned_acl_tags_class_and_customers_key(minio: Server) -> None:
    ticket = minio.ticket().with_header("x-amz-acl", "public-read").with_header("x-amz-tagging", "a=b")
    assert send(ticket).status == 200
    assert send(Attempt(method="GET", url=f"{minio.url}/uploads/{PENDING}")).body == BODY
    assert minio.bucket.objects[PENDING].tags == {"a": "b"}
    md5 = base64.b64encode(hashlib.md5(b"k" * 32).digest()).decode()
    locked = minio.ticket(key="pending/locked")
    for name, value in (("algorithm", "AES256"), ("key", base64.b64encode(b"k" * 32).decode()), ("key-MD5", md5)):
        locked = locked.with_header("x-amz-server-side-encryption-customer-" + name, value)
    assert send(locked).status == 200
    assert refused(lambda: minio.owner.head_object(Bucket="uploads", Key="pending/locked"))[0] == 400
    cold = minio.ticket(key="pending/cold").with_header("x-amz-storage-class", "GLACIER")
    assert send(cold).status == 200
    assert minio.bucket.objects["pending/cold"].is_archived


@pytest.mark.parametrize(
    "right",
    [
        pytest.param(Right(actions=frozenset({"PutObject"}), prefix="pending/"), id="reads nothing"),
        pytest.param(Right(actions=frozenset({"PutObject", "GetObject"}), never_copies=True), id="never copies"),
    ],
)
def test_a_limited_signer_closes_the_copy_hole_of_a_lenient_store(right: Right) -> None:
    for server in running(lenient=MINIO, rights={SIGNER: [right]}):
        server.put("secret/plan", OTHER)
        copying = server.ticket().with_header("x-amz-copy-source", "/uploads/secret/plan")
        assert send(copying).outcome == (403, "AccessDenied")
        assert PENDING not in server.bucket.objects
        assert send(server.ticket()).status == 200


def test_only_a_store_like_ceph_ignores_the_checksum(s3: Server) -> None:
    wrong = base64.b64encode(hashlib.sha256(OTHER).digest()).decode()

    def put(server: Server) -> int:
        ticket = server.ticket(ChecksumSHA256=wrong)
        return send(ticket.with_header("x-amz-checksum-sha256", wrong)).status

    assert put(s3) == 400
    for ceph in running(lenient=CEPH):
        assert put(ceph) == 200


def form(server: Server, **fields: str) -> Form:
    conditions = [{name: value} for name, value in fields.items()]
    signed = server.owner.generate_presigned_post("uploads", FINAL, Fields=dict(fields), Conditions=conditions)
    return Form.of(signed["url"], signed["fields"], BODY)


@pytest.mark.parametrize(
    ("lenient", "stored"),
    [
        pytest.param((), {"content-disposition": "attachment"}, id="strict"),
        pytest.param(CEPH, {}, id="Ceph"),
        pytest.param(SEAWEEDFS, {"content-disposition": "attachment", "cache-control": "no-cache"}, id="SeaweedFS"),
    ],
)
def test_what_becomes_of_a_forms_headers_and_of_the_browsers_cache_control(
    lenient: tuple[Leniency, ...], stored: dict[str, str]
) -> None:
    for server in running(lenient=lenient):
        attempt = form(server, **{"Content-Disposition": "attachment", "Content-Type": "image/png"}).attempt()
        assert send(attempt.with_header("Cache-Control", "no-cache")).status == 204
        assert server.bucket.objects[FINAL].headers == stored
        assert server.bucket.objects[FINAL].content_type == "image/png"


@pytest.mark.parametrize(
    ("lenient", "status"), [pytest.param((), 204, id="strict"), pytest.param(SEAWEEDFS, 403, id="SeaweedFS")]
)
def test_a_form_that_ends_after_its_expiry_is_refused_by_seaweedfs_alone(
    lenient: tuple[Leniency, ...], status: int
) -> None:
    now = datetime.now(timezone.utc)
    times = iter([now])
    # The first look at the clock is when the form's fields are there, each later one when its body is.
    for server in running(lenient=lenient, clock=lambda: next(times, now + timedelta(hours=2))):
        assert send(form(server)).status == status
        assert bool(server.bucket.objects) is (status == 204)
