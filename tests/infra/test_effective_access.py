"""Who may do what with the provisioned bucket, tried over HTTP. SeaweedFS enforces the policies and the CORS rule.

The tests use the program and its policies unchanged. Only the form POST is tested with ``local_signer_policy``:
SeaweedFS, unlike AWS, refuses it for a signer whose policy names only objects and not the bucket.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from botocore.exceptions import ClientError

from infra.presign_infra.s3_policies import bucket_policy, local_signer_policy
from tests.infra.boto3_cloud import Boto3Cloud
from tests.infra.conftest import ADMIN, SeaweedFSWithTls, cloud_on
from tests.infra.engine.provider import whole_numbers
from tests.infra.pulumi_program import INFRA
from tests.infra.test_provisioning import DeployedStack, deploy

PAGE = "https://app.example.com"


def deploy_with_objects(
    cloud: Boto3Cloud, config: Mapping[str, Any] | None = None, *, program: Path = INFRA
) -> DeployedStack:
    """Deploy a stack for one page, with one pending object, one published object and one outside both prefixes."""
    stack = deploy(cloud, {"allowedOrigins": [PAGE], **(config or {})}, program=program)
    stack.cloud.s3.put_object(Bucket=stack.bucket, Key="private/plan.pdf", Body=b"plan")
    stack.cloud.s3.put_object(Bucket=stack.bucket, Key="pending/new.png", Body=b"new")
    stack.cloud.s3.put_object(Bucket=stack.bucket, Key="public/cat.png", Body=b"cat")
    return stack


@pytest.fixture(scope="module")
def stack(seaweedfs: SeaweedFSWithTls) -> DeployedStack:
    return deploy_with_objects(cloud_on(seaweedfs))


@pytest.fixture(scope="module")
def upload_only_stack(seaweedfs: SeaweedFSWithTls) -> DeployedStack:
    """A stack with a private bucket and a signer that may not verify."""
    return deploy_with_objects(cloud_on(seaweedfs), {"publicRead": False, "allowVerification": False})


@pytest.fixture(scope="module")
def two_identities_stack(seaweedfs: SeaweedFSWithTls) -> DeployedStack:
    """A stack with one identity that signs and one that verifies and publishes."""
    return deploy_with_objects(cloud_on(seaweedfs), {"separateVerifier": True})


@pytest.fixture(scope="module")
def straight_stack(seaweedfs: SeaweedFSWithTls) -> DeployedStack:
    """A stack without a pending prefix."""
    return deploy_with_objects(cloud_on(seaweedfs), {"pendingPrefix": ""})


def url(stack: DeployedStack, key: str) -> str:
    return f"{stack.cloud.endpoint_url}/{stack.bucket}/{key}"


def presigned_url(stack: DeployedStack, operation: str, key: str) -> str:
    parameters = {"Bucket": stack.bucket, "Key": key}
    return str(stack.signer_client("s3").generate_presigned_url(operation, Params=parameters, ExpiresIn=60))


def stored_keys(stack: DeployedStack) -> set[str]:
    listing = stack.cloud.s3.list_objects_v2(Bucket=stack.bucket)
    return {entry["Key"] for entry in listing.get("Contents", [])}


def status(call: Callable[[], object]) -> int:
    """Return the status of the error that ``call`` must get from the server."""
    with pytest.raises(ClientError) as error:
        call()
    return int(error.value.response["ResponseMetadata"]["HTTPStatusCode"])


def refused(call: Callable[[], object]) -> bool:
    """Return whether the storage refused a signed call because the signer lacks the permission."""
    try:
        call()
    except ClientError as error:
        return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] == 403)
    return False


def test_a_url_presigned_with_the_access_key_uploads_under_the_pending_prefix(
    stack: DeployedStack, http: httpx.Client
) -> None:
    assert http.put(presigned_url(stack, "put_object", "pending/dog.png"), content=b"dog").status_code == 200
    assert stack.cloud.s3.get_object(Bucket=stack.bucket, Key="pending/dog.png")["Body"].read() == b"dog"


@pytest.mark.parametrize(
    "key",
    [
        "pendings/x",
        "public/x",
        "publicity/x",
        "private/x",
        "x",
        "pendin",
        "pending",
        "Pending/x",
    ],
)
def test_a_url_presigned_with_the_access_key_uploads_nowhere_else(
    stack: DeployedStack, http: httpx.Client, key: str
) -> None:
    assert http.put(presigned_url(stack, "put_object", key), content=b"x").status_code == 403
    assert key not in stored_keys(stack)


@pytest.mark.parametrize("key", ["pending/../x", "pending/../public/x", "pending/./../x"])
def test_dots_in_an_object_key_do_not_lead_out_of_the_prefix(
    stack: DeployedStack, http: httpx.Client, key: str
) -> None:
    before = stored_keys(stack)
    signed = presigned_url(stack, "put_object", key)
    # httpx would remove the dots from the path. With a raw path, the URL is sent exactly as it was signed.
    raw = httpx.URL(signed).copy_with(raw_path=signed.split("/", 3)[3].join(["/", ""]).encode())
    assert http.put(raw, content=b"x").status_code in {400, 403}
    assert stored_keys(stack) == before


def test_the_access_key_reads_and_deletes_what_is_pending(stack: DeployedStack) -> None:
    s3, target = stack.signer_client("s3"), {"Bucket": stack.bucket, "Key": "pending/to-verify.png"}
    s3.put_object(**target, Body=b"png")
    assert s3.head_object(**target)["ContentLength"] == 3
    assert s3.get_object(**target, Range="bytes=0-1")["Body"].read() == b"pn"
    s3.delete_object(**target)
    assert target["Key"] not in stored_keys(stack)


def test_the_access_key_uploads_in_parts_only_under_the_pending_prefix(stack: DeployedStack) -> None:
    s3, target = stack.signer_client("s3"), {"Bucket": stack.bucket, "Key": "pending/film.mp4"}
    upload = {**target, "UploadId": s3.create_multipart_upload(**target)["UploadId"]}
    part = {"PartNumber": 1, "ETag": s3.upload_part(**upload, PartNumber=1, Body=b"film")["ETag"]}
    assert len(s3.list_parts(**upload)["Parts"]) == 1
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]})
    assert "pending/film.mp4" in stored_keys(stack)
    for key in ("private/film.mp4", "public/film.mp4"):
        assert refused(partial(s3.create_multipart_upload, Bucket=stack.bucket, Key=key))


def publish(s3: Any, bucket: str, key: str, *, source_etag: str) -> Any:
    """Copy ``pending/new.png`` to ``key`` as the application publishes it."""
    return s3.copy_object(
        Bucket=bucket,
        Key=key,
        CopySource={"Bucket": bucket, "Key": "pending/new.png"},
        CopySourceIfMatch=source_etag,
        IfNoneMatch="*",
        MetadataDirective="REPLACE",
        TaggingDirective="REPLACE",
        ContentType="image/png",
    )


def test_the_access_key_publishes_a_pending_object_once_and_everybody_reads_it(
    stack: DeployedStack, http: httpx.Client
) -> None:
    s3, bucket = stack.signer_client("s3"), stack.bucket
    etag = s3.head_object(Bucket=bucket, Key="pending/new.png")["ETag"]
    assert http.get(url(stack, "public/new.png")).status_code in {403, 404}
    assert status(lambda: publish(s3, bucket, "public/new.png", source_etag='"0"')) == 412
    publish(s3, bucket, "public/new.png", source_etag=etag)
    assert status(lambda: publish(s3, bucket, "public/new.png", source_etag=etag)) == 412
    assert s3.head_object(Bucket=bucket, Key="public/new.png")["ContentType"] == "image/png"
    assert http.get(url(stack, "public/new.png")).content == b"new"


def test_a_copy_source_with_a_slash_in_front_is_the_same_source(stack: DeployedStack) -> None:
    s3, bucket = stack.signer_client("s3"), stack.bucket
    s3.copy_object(Bucket=bucket, Key="public/slash.png", CopySource=f"/{bucket}/pending/new.png")
    assert "public/slash.png" in stored_keys(stack)


def test_nothing_but_a_copy_of_a_pending_object_is_written_under_the_public_prefix(
    stack: DeployedStack, http: httpx.Client
) -> None:
    """The signer may read each of these sources except the one elsewhere, so only the condition refuses them."""
    s3, bucket, admin, before = stack.signer_client("s3"), stack.bucket, stack.cloud.s3, stored_keys(stack)
    target = {"Bucket": bucket, "Key": "public/x"}
    upload_id = admin.create_multipart_upload(**target)["UploadId"]
    attempts: dict[str, Callable[[], object]] = {
        "upload": lambda: s3.put_object(**target, Body=b"x"),
        "begin an upload in parts": lambda: s3.create_multipart_upload(**target),
        "upload a part": lambda: s3.upload_part(**target, UploadId=upload_id, PartNumber=1, Body=b"x"),
        "copy a published object": lambda: s3.copy_object(**target, CopySource=f"{bucket}/public/cat.png"),
        "copy a published object over itself": lambda: s3.copy_object(
            Bucket=bucket, Key="public/cat.png", CopySource=f"{bucket}/public/cat.png", MetadataDirective="REPLACE"
        ),
        "copy a part of a published object": lambda: s3.upload_part_copy(
            **target, UploadId=upload_id, PartNumber=1, CopySource=f"{bucket}/public/cat.png"
        ),
        "copy from elsewhere": lambda: s3.copy_object(**target, CopySource=f"{bucket}/private/plan.pdf"),
    }
    assert [name for name, attempt in attempts.items() if not refused(attempt)] == []
    form = s3.generate_presigned_post(bucket, "public/x")
    assert http.post(form["url"], data=form["fields"], files={"file": b"x"}).status_code == 403
    admin.abort_multipart_upload(**target, UploadId=upload_id)
    assert stored_keys(stack) == before


@pytest.mark.parametrize("source", ["pending/new.png", "public/cat.png", "private/plan.pdf"])
def test_no_upload_is_a_copy_even_if_its_signature_says_so(
    stack: DeployedStack, http: httpx.Client, source: str
) -> None:
    """The signer may read the first two sources, so only the condition refuses them."""
    s3, bucket, before = stack.signer_client("s3"), stack.bucket, stored_keys(stack)
    target = {"Bucket": bucket, "Key": "pending/copy"}
    upload_id = s3.create_multipart_upload(**target)["UploadId"]
    copy_source = f"{bucket}/{source}"
    assert refused(lambda: s3.copy_object(**target, CopySource=copy_source))
    assert refused(lambda: s3.upload_part_copy(**target, UploadId=upload_id, PartNumber=1, CopySource=copy_source))
    signed = s3.generate_presigned_url("copy_object", Params={**target, "CopySource": copy_source})
    assert http.put(signed, headers={"x-amz-copy-source": copy_source}).status_code == 403
    s3.abort_multipart_upload(**target, UploadId=upload_id)
    assert stored_keys(stack) == before


def test_the_access_key_lists_only_what_is_pending(stack: DeployedStack) -> None:
    s3, bucket = stack.signer_client("s3"), stack.bucket
    listing = s3.list_objects_v2(Bucket=bucket, Prefix="pending/")
    assert "pending/new.png" in {entry["Key"] for entry in listing["Contents"]}
    for prefix in ({}, {"Prefix": ""}, {"Prefix": "public/"}, {"Prefix": "pending"}, {"Prefix": "p"}):
        assert refused(partial(s3.list_objects_v2, Bucket=bucket, **prefix)), prefix


def test_of_two_identities_the_one_that_signs_only_uploads(
    two_identities_stack: DeployedStack, http: httpx.Client
) -> None:
    stack, s3, bucket = two_identities_stack, two_identities_stack.signer_client("s3"), two_identities_stack.bucket
    assert http.put(presigned_url(stack, "put_object", "pending/dog.png"), content=b"dog").status_code == 200
    attempts: dict[str, Callable[[], object]] = {
        "read": lambda: s3.get_object(Bucket=bucket, Key="pending/new.png"),
        "read the headers": lambda: s3.head_object(Bucket=bucket, Key="pending/new.png"),
        "delete": lambda: s3.delete_object(Bucket=bucket, Key="pending/new.png"),
        "list": lambda: s3.list_objects_v2(Bucket=bucket, Prefix="pending/"),
        "publish": lambda: s3.copy_object(Bucket=bucket, Key="public/x", CopySource=f"{bucket}/pending/new.png"),
        "upload elsewhere": lambda: s3.put_object(Bucket=bucket, Key="public/x", Body=b"x"),
    }
    assert [name for name, attempt in attempts.items() if not refused(attempt)] == []


def test_of_two_identities_the_other_one_verifies_and_publishes_but_uploads_nothing(
    two_identities_stack: DeployedStack, http: httpx.Client
) -> None:
    stack, s3, bucket = two_identities_stack, two_identities_stack.verifier_client("s3"), two_identities_stack.bucket
    etag = s3.head_object(Bucket=bucket, Key="pending/new.png")["ETag"]
    publish(s3, bucket, "public/new.png", source_etag=etag)
    assert http.get(url(stack, "public/new.png")).content == b"new"
    assert len(s3.list_objects_v2(Bucket=bucket, Prefix="pending/")["Contents"]) >= 1
    attempts: dict[str, Callable[[], object]] = {
        "upload": lambda: s3.put_object(Bucket=bucket, Key="pending/x", Body=b"x"),
        "upload in parts": lambda: s3.create_multipart_upload(Bucket=bucket, Key="pending/x"),
        "upload to the public prefix": lambda: s3.put_object(Bucket=bucket, Key="public/x", Body=b"x"),
        "overwrite what is published": lambda: s3.put_object(Bucket=bucket, Key="public/cat.png", Body=b"x"),
        "delete what is published": lambda: s3.delete_object(Bucket=bucket, Key="public/cat.png"),
        "read elsewhere": lambda: s3.get_object(Bucket=bucket, Key="private/plan.pdf"),
    }
    assert [name for name, attempt in attempts.items() if not refused(attempt)] == []
    s3.delete_object(Bucket=bucket, Key="pending/new.png", IfMatch=etag)
    assert "pending/new.png" not in stored_keys(stack)


def test_a_verifier_that_publishes_in_parts_copies_parts_and_may_also_upload(seaweedfs: SeaweedFSWithTls) -> None:
    stack = deploy_with_objects(cloud_on(seaweedfs), {"publishInParts": True, "separateVerifier": True})
    s3, target = stack.verifier_client("s3"), {"Bucket": stack.bucket, "Key": "public/film.mp4"}
    upload = {**target, "UploadId": s3.create_multipart_upload(**target)["UploadId"]}
    copied = s3.upload_part_copy(**upload, PartNumber=1, CopySource=f"{stack.bucket}/pending/new.png")
    part = {"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]}, IfNoneMatch="*")
    assert stack.cloud.s3.get_object(**target)["Body"].read() == b"new"
    s3.put_object(Bucket=stack.bucket, Key="public/direct.png", Body=b"x")


def test_in_the_straight_way_the_access_key_uploads_reads_and_deletes_under_the_public_prefix(
    straight_stack: DeployedStack, http: httpx.Client
) -> None:
    stack, s3, bucket = straight_stack, straight_stack.signer_client("s3"), straight_stack.bucket
    assert http.put(presigned_url(stack, "put_object", "public/dog.png"), content=b"dog").status_code == 200
    assert http.get(url(stack, "public/dog.png")).content == b"dog"
    assert http.put(presigned_url(stack, "put_object", "pending/dog.png"), content=b"dog").status_code == 403
    for source in ("public/cat.png", "pending/new.png"):
        call = partial(s3.copy_object, Bucket=bucket, Key="public/copy.png", CopySource=f"{bucket}/{source}")
        assert refused(call), source
    assert s3.head_object(Bucket=bucket, Key="public/dog.png")["ContentLength"] == 3
    s3.delete_object(Bucket=bucket, Key="public/dog.png")
    assert "public/dog.png" not in stored_keys(stack)


def test_the_access_key_can_do_nothing_else(stack: DeployedStack) -> None:
    s3, iam, bucket, user = stack.signer_client("s3"), stack.signer_client("iam"), stack.bucket, stack.signer_user
    every_origin = {"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["PUT"]}]}
    attempts: dict[str, Callable[[], object]] = {
        "read elsewhere": lambda: s3.get_object(Bucket=bucket, Key="private/plan.pdf"),
        "read the headers of an object elsewhere": lambda: s3.head_object(Bucket=bucket, Key="private/plan.pdf"),
        "delete elsewhere": lambda: s3.delete_object(Bucket=bucket, Key="private/plan.pdf"),
        "delete what is published": lambda: s3.delete_object(Bucket=bucket, Key="public/cat.png"),
        "list versions": lambda: s3.list_object_versions(Bucket=bucket, Prefix="pending/"),
        "list uploads": lambda: s3.list_multipart_uploads(Bucket=bucket),
        "change an object's ACL": lambda: s3.put_object_acl(Bucket=bucket, Key="public/cat.png", ACL="public-read"),
        "change a pending object's ACL": lambda: s3.put_object_acl(
            Bucket=bucket, Key="pending/new.png", ACL="public-read"
        ),
        "change a pending object's tags": lambda: s3.put_object_tagging(
            Bucket=bucket, Key="pending/new.png", Tagging={"TagSet": []}
        ),
        "change the bucket's ACL": lambda: s3.put_bucket_acl(Bucket=bucket, ACL="public-read"),
        "change the policy": lambda: s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Statement": []})),
        "delete the policy": lambda: s3.delete_bucket_policy(Bucket=bucket),
        "change CORS": lambda: s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=every_origin),
        "delete CORS": lambda: s3.delete_bucket_cors(Bucket=bucket),
        "delete the bucket": lambda: s3.delete_bucket(Bucket=bucket),
        "make a bucket": lambda: s3.create_bucket(Bucket=f"{bucket}-2"),
        "make a user": lambda: iam.create_user(UserName="mallory"),
        "list users": lambda: iam.list_users(),
        "change its own policy": lambda: iam.put_user_policy(UserName=user, PolicyName="more", PolicyDocument="{}"),
    }
    assert [name for name, attempt in attempts.items() if not refused(attempt)] == []


@pytest.mark.xfail(
    strict=True, reason="SeaweedFS lets every user create access keys for itself; AWS does not, as moto shows"
)
def test_the_access_key_cannot_create_another_access_key(stack: DeployedStack) -> None:
    assert refused(lambda: stack.signer_client("iam").create_access_key(UserName=stack.signer_user))


def test_without_verification_the_access_key_uploads_but_neither_reads_nor_deletes(
    upload_only_stack: DeployedStack, http: httpx.Client
) -> None:
    stack, s3 = upload_only_stack, upload_only_stack.signer_client("s3")
    before = stored_keys(stack)
    assert http.put(presigned_url(stack, "put_object", "pending/dog.png"), content=b"dog").status_code == 200
    for key in ("pending/new.png", "public/cat.png"):
        assert http.get(presigned_url(stack, "get_object", key)).status_code == 403
        assert refused(partial(s3.head_object, Bucket=stack.bucket, Key=key))
        assert refused(partial(s3.delete_object, Bucket=stack.bucket, Key=key))
    assert stored_keys(stack) == before | {"pending/dog.png"}


def test_a_new_signature_is_not_above_the_maximum_age(seaweedfs: SeaweedFSWithTls, http: httpx.Client) -> None:
    stack = deploy(cloud_on(seaweedfs), {"signatureMaxAgeMinutes": 5})
    assert http.put(presigned_url(stack, "put_object", "pending/dog.png"), content=b"dog").status_code == 200


def test_everybody_reads_under_the_prefix(stack: DeployedStack, http: httpx.Client) -> None:
    response = http.get(url(stack, "public/cat.png"))
    assert (response.status_code, response.content) == (200, b"cat")


def test_the_documents_for_an_existing_bucket_make_it_what_a_new_one_is(
    seaweedfs: SeaweedFSWithTls, http: httpx.Client
) -> None:
    cloud, bucket = cloud_on(seaweedfs), f"existing-{uuid4().hex}"
    cloud.s3.create_bucket(Bucket=bucket)
    cloud.bucket_is_ready(bucket)
    stack = deploy_with_objects(cloud, {"existingBucket": bucket})
    assert http.get(url(stack, "public/cat.png")).status_code == 403
    documents = whole_numbers(stack.run.outputs["existingBucketDocuments"])
    cloud.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(documents["policy"]))
    cloud.s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=documents["cors"])
    cloud.s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=documents["lifecycle"])
    test_without_a_signature_only_reads_under_the_prefix_are_allowed(stack, http)
    test_everybody_reads_under_the_prefix(stack, http)
    test_the_page_may_send_uploads_and_reads_across_origins(stack, http, "PUT")
    assert http.put(presigned_url(stack, "put_object", "pending/dog.png"), content=b"dog").status_code == 200
    # What others keep in the bucket is as it was, over plain http too.
    keys = (ADMIN.access_key_id, ADMIN.secret_access_key)
    plain = cloud.client("s3", *keys, endpoint_url=seaweedfs.endpoint_url)
    assert plain.get_object(Bucket=bucket, Key="private/plan.pdf")["Body"].read() == b"plan"
    for key in ("pending/dog.png", "public/cat.png"):
        assert refused(partial(plain.get_object, Bucket=bucket, Key=key)), key


def test_without_a_signature_only_reads_under_the_prefix_are_allowed(stack: DeployedStack, http: httpx.Client) -> None:
    before = stored_keys(stack)
    for method, key in (
        ("GET", "private/plan.pdf"),
        ("HEAD", "private/plan.pdf"),
        ("GET", "pending/new.png"),
        ("HEAD", "pending/new.png"),
        ("GET", "pending/none"),
        ("GET", "?list-type=2&prefix=pending/"),
        ("GET", ""),
        ("GET", "?list-type=2&prefix=public/"),
        ("GET", "?uploads"),
        ("GET", "?policy"),
        ("GET", "?cors"),
        ("PUT", "pending/x"),
        ("PUT", "public/x"),
        ("PUT", "private/x"),
        ("POST", "public/x?uploads"),
        ("DELETE", "public/cat.png"),
        ("DELETE", "pending/new.png"),
        ("PUT", "public/cat.png?acl"),
        ("PUT", "?policy"),
    ):
        assert http.request(method, url(stack, key)).status_code == 403, f"{method} {key}"
    assert stored_keys(stack) == before


def test_without_a_signature_nobody_reads_from_a_bucket_behind_a_distribution(
    seaweedfs: SeaweedFSWithTls, http: httpx.Client
) -> None:
    """SeaweedFS has no distributions. So the policy of such a bucket takes the place of the private bucket's."""
    stack = deploy_with_objects(cloud_on(seaweedfs), {"publicRead": False})
    arn = "arn:aws:cloudfront::123456789012:distribution/E2ABCDEFGHIJKL"
    document = bucket_policy(stack.arn, "public/", public_read=False, distribution_arn=arn, deny_customer_keys=True)
    stack.cloud.s3.put_bucket_policy(Bucket=stack.bucket, Policy=json.dumps(document))
    assert http.get(url(stack, "public/cat.png")).status_code == 403
    assert http.get(url(stack, "public/cat.png"), headers={"aws-source-arn": arn}).status_code == 403
    assert http.get(presigned_url(stack, "get_object", "public/cat.png")).content == b"cat"


def test_without_a_signature_nobody_reads_from_a_private_bucket(
    upload_only_stack: DeployedStack, http: httpx.Client
) -> None:
    assert http.get(url(upload_only_stack, "public/cat.png")).status_code == 403


def test_plain_http_is_refused_even_with_a_valid_signature(stack: DeployedStack, seaweedfs: SeaweedFSWithTls) -> None:
    plain_http_url = seaweedfs.endpoint_url
    assert httpx.get(f"{plain_http_url}/{stack.bucket}/public/cat.png").status_code == 403
    outputs = stack.run.outputs
    s3 = stack.cloud.client("s3", outputs["accessKeyId"], outputs["secretAccessKey"], endpoint_url=plain_http_url)
    assert refused(lambda: s3.put_object(Bucket=stack.bucket, Key="pending/x", Body=b"x"))


def test_an_upload_that_brings_its_own_key_for_encryption_is_refused(stack: DeployedStack) -> None:
    """The administrator may do everything else, so only the bucket policy refuses it."""
    target = {"Bucket": stack.bucket, "Key": "pending/own-key", "Body": b"x"}
    own_key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    for s3 in (stack.signer_client("s3"), stack.cloud.s3):
        assert refused(partial(s3.put_object, **target, **own_key))
        assert refused(partial(s3.create_multipart_upload, Bucket=stack.bucket, Key="pending/own-key", **own_key))
    assert "pending/own-key" not in stored_keys(stack)


def preflight(http: httpx.Client, stack: DeployedStack, method: str, origin: str) -> httpx.Response:
    """Ask the storage, as a browser does, whether a page of ``origin`` may upload with ``method``."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type,x-amz-checksum-sha256,x-amz-meta-name",
    }
    return http.options(url(stack, "pending/x"), headers=headers)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "HEAD"])
def test_the_page_may_send_uploads_and_reads_across_origins(
    stack: DeployedStack, http: httpx.Client, method: str
) -> None:
    response = preflight(http, stack, method, PAGE)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == PAGE
    assert method in response.headers["access-control-allow-methods"]
    assert "x-amz-checksum-sha256" in response.headers["access-control-allow-headers"].lower()


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
@pytest.mark.parametrize("origin", ["https://evil.example.com", "http://app.example.com", f"{PAGE}.evil.com", "null"])
def test_the_preflight_request_of_another_origin_is_refused(
    stack: DeployedStack, http: httpx.Client, method: str, origin: str
) -> None:
    response = preflight(http, stack, method, origin)
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


def test_a_browser_asks_once_an_hour_whether_a_page_may_upload(stack: DeployedStack, http: httpx.Client) -> None:
    assert preflight(http, stack, "POST", PAGE).headers["access-control-max-age"] == "3600"


def test_a_page_may_not_send_methods_that_uploads_do_not_need(stack: DeployedStack, http: httpx.Client) -> None:
    allowed = preflight(http, stack, "DELETE", PAGE).headers.get("access-control-allow-methods", "")
    assert {method.strip() for method in allowed.split(",")} <= {"GET", "PUT", "POST", "HEAD", ""}


def test_the_page_can_read_the_location_and_the_etag_of_an_upload(stack: DeployedStack, http: httpx.Client) -> None:
    response = http.get(url(stack, "public/cat.png"), headers={"Origin": PAGE})
    exposed = {name.strip().lower() for name in response.headers["access-control-expose-headers"].split(",")}
    assert {"location", "etag"} <= exposed


def local_signer_client(stack: DeployedStack, *, pending_prefix: str | None) -> Any:
    """Return a boto3 client of a new user with ``local_signer_policy`` as its inline policy."""
    iam, user = stack.cloud.iam, f"local-{uuid4().hex}"
    document = local_signer_policy(
        stack.arn, "public/", pending_prefix=pending_prefix, allow_verification=True, allow_listing=True
    )
    iam.create_user(UserName=user)
    iam.put_user_policy(UserName=user, PolicyName="upload", PolicyDocument=json.dumps(document))
    access_key = iam.create_access_key(UserName=user)["AccessKey"]
    return stack.cloud.client("s3", access_key["AccessKeyId"], access_key["SecretAccessKey"])


@pytest.fixture(scope="module")
def local_signer(stack: DeployedStack) -> Any:
    return local_signer_client(stack, pending_prefix="pending/")


def form_post(http: httpx.Client, s3: Any, bucket: str, key: str) -> int:
    """Upload with a form POST as a browser does, and return the status."""
    form = s3.generate_presigned_post(bucket, key, Conditions=[["content-length-range", 1, 10]])
    return http.post(form["url"], data=form["fields"], files={"file": b"form"}).status_code


FORM_KEYS = ["pending/form.png", "public/form.png", "pendings/form.png", "publicity/form.png", "form.png"]


@pytest.mark.parametrize("key", FORM_KEYS)
def test_the_local_signer_policy_allows_a_form_post_only_under_the_pending_prefix(
    stack: DeployedStack, http: httpx.Client, local_signer: Any, key: str
) -> None:
    allowed = key == "pending/form.png"
    assert form_post(http, local_signer, stack.bucket, key) == (204 if allowed else 403)
    assert (key in stored_keys(stack)) == allowed


@pytest.mark.parametrize("key", FORM_KEYS)
def test_the_local_signer_policy_of_the_straight_way_allows_a_form_post_only_under_the_public_prefix(
    straight_stack: DeployedStack, http: httpx.Client, key: str
) -> None:
    s3 = local_signer_client(straight_stack, pending_prefix=None)
    allowed = key == "public/form.png"
    assert form_post(http, s3, straight_stack.bucket, key) == (204 if allowed else 403)
    assert (key in stored_keys(straight_stack)) == allowed


def test_the_local_signer_policy_allows_all_that_completing_an_upload_needs(
    stack: DeployedStack, http: httpx.Client, local_signer: Any
) -> None:
    s3, bucket = local_signer, stack.bucket
    target = {"Bucket": bucket, "Key": "pending/local.png"}
    signed = s3.generate_presigned_url("put_object", Params=target, ExpiresIn=60)
    assert http.put(signed, content=b"local").status_code == 200
    etag = s3.head_object(**target)["ETag"]
    assert s3.get_object(**target, IfMatch=etag)["Body"].read() == b"local"
    assert target["Key"] in {entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket, Prefix="pending/")["Contents"]}
    s3.copy_object(
        Bucket=bucket,
        Key="public/local.png",
        CopySource=f"{bucket}/pending/local.png",
        CopySourceIfMatch=etag,
        IfNoneMatch="*",
        MetadataDirective="REPLACE",
    )
    s3.delete_object(**target, IfMatch=etag)
    assert s3.head_object(Bucket=bucket, Key="public/local.png")["ContentLength"] == 5
    assert target["Key"] not in stored_keys(stack)


def test_seaweedfs_holds_the_conditions_of_the_local_signer_policy(stack: DeployedStack, local_signer: Any) -> None:
    s3, bucket, before = local_signer, stack.bucket, stored_keys(stack)
    attempts: dict[str, Callable[[], object]] = {
        "copy into the pending prefix": lambda: s3.copy_object(
            Bucket=bucket, Key="pending/copy", CopySource=f"{bucket}/pending/new.png"
        ),
        "upload to the public prefix": lambda: s3.put_object(Bucket=bucket, Key="public/x", Body=b"x"),
        "upload to the public prefix in parts": lambda: s3.create_multipart_upload(Bucket=bucket, Key="public/x"),
        "copy a published object": lambda: s3.copy_object(
            Bucket=bucket, Key="public/x", CopySource=f"{bucket}/public/cat.png"
        ),
        "copy from elsewhere": lambda: s3.copy_object(
            Bucket=bucket, Key="public/x", CopySource=f"{bucket}/private/plan.pdf"
        ),
        "delete what is published": lambda: s3.delete_object(Bucket=bucket, Key="public/cat.png"),
        "list the bucket": lambda: s3.list_objects_v2(Bucket=bucket),
        "list what is published": lambda: s3.list_objects_v2(Bucket=bucket, Prefix="public/"),
    }
    assert [name for name, attempt in attempts.items() if not refused(attempt)] == []
    assert stored_keys(stack) == before
