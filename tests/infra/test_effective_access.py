"""Who may do what on the provisioned bucket, tried over HTTP against SeaweedFS, which enforces policies and CORS.

The program and its documents are unchanged. SeaweedFS refuses a form POST by a user whose policy names only objects,
which AWS allows; so the POST is shown with `local_signer_policy`, and PUT with the program's own statements.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from botocore.exceptions import ClientError

from infra.policies import local_signer_policy
from tests.infra.boto3_cloud import Boto3Cloud
from tests.infra.conftest import SeaweedFSWithTls, cloud_on
from tests.infra.pulumi_program import INFRA
from tests.infra.test_provisioning import Deployed, deploy

PAGE = "https://app.example.com"


def deploy_with_objects(cloud: Boto3Cloud, *, program: Path = INFRA) -> Deployed:
    """Deploys the stack for one page, with one object under the prefix and one of the application's own outside."""
    deployed = deploy(cloud, {"allowedOrigins": [PAGE]}, program=program)
    deployed.cloud.s3.put_object(Bucket=deployed.bucket, Key="private/plan.pdf", Body=b"plan")
    deployed.cloud.s3.put_object(Bucket=deployed.bucket, Key="public/cat.png", Body=b"cat")
    return deployed


@pytest.fixture(scope="module")
def stack(seaweedfs: SeaweedFSWithTls) -> Deployed:
    return deploy_with_objects(cloud_on(seaweedfs))


@pytest.fixture(scope="module")
def upload_only_stack(seaweedfs: SeaweedFSWithTls) -> Deployed:
    """A private bucket whose signer may not verify."""
    deployed = deploy(cloud_on(seaweedfs), {"publicRead": False, "allowVerification": False})
    deployed.cloud.s3.put_object(Bucket=deployed.bucket, Key="public/cat.png", Body=b"cat")
    return deployed


def url(stack: Deployed, key: str) -> str:
    return f"{stack.cloud.endpoint_url}/{stack.bucket}/{key}"


def presigned(stack: Deployed, method: str, key: str) -> str:
    parameters = {"Bucket": stack.bucket, "Key": key}
    return str(stack.signer("s3").generate_presigned_url(method, Params=parameters, ExpiresIn=60))


def keys(stack: Deployed) -> set[str]:
    listing = stack.cloud.s3.list_objects_v2(Bucket=stack.bucket)
    return {entry["Key"] for entry in listing.get("Contents", [])}


def refused(call: Callable[[], object]) -> bool:
    """Answers whether the storage refused a signed call for want of permission."""
    try:
        call()
    except ClientError as error:
        return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] == 403)
    return False


def test_a_url_presigned_with_the_issued_key_uploads_under_the_prefix(stack: Deployed, http: httpx.Client) -> None:
    assert http.put(presigned(stack, "put_object", "public/dog.png"), content=b"dog").status_code == 200
    assert stack.cloud.s3.get_object(Bucket=stack.bucket, Key="public/dog.png")["Body"].read() == b"dog"


@pytest.mark.parametrize(
    "key",
    [
        "publicity/x",
        "private/x",
        "x",
        "publi",
        "public",
        pytest.param(
            "Public/x",
            marks=pytest.mark.xfail(
                strict=True, reason="SeaweedFS compares resources regardless of case; AWS does not"
            ),
        ),
    ],
)
def test_a_url_presigned_with_the_issued_key_uploads_nowhere_else(
    stack: Deployed, http: httpx.Client, key: str
) -> None:
    assert http.put(presigned(stack, "put_object", key), content=b"x").status_code == 403
    assert key not in keys(stack)


@pytest.mark.parametrize("key", ["public/../x", "public/../private/x", "public/./../x"])
def test_dots_in_a_key_do_not_climb_out_of_the_prefix(stack: Deployed, http: httpx.Client, key: str) -> None:
    before = keys(stack)
    signed = presigned(stack, "put_object", key)
    # httpx would normalise the path before it is sent; the raw target is sent as it was signed.
    raw = httpx.URL(signed).copy_with(raw_path=signed.split("/", 3)[3].join(["/", ""]).encode())
    assert http.put(raw, content=b"x").status_code in {400, 403}
    assert keys(stack) == before


def test_the_issued_key_reads_and_deletes_under_the_prefix(stack: Deployed) -> None:
    s3, where = stack.signer("s3"), {"Bucket": stack.bucket, "Key": "public/to-verify.png"}
    s3.put_object(**where, Body=b"png")
    assert s3.head_object(**where)["ContentLength"] == 3
    assert s3.get_object(**where, Range="bytes=0-1")["Body"].read() == b"pn"
    s3.delete_object(**where)
    assert where["Key"] not in keys(stack)


def test_the_issued_key_uploads_in_parts_under_the_prefix_alone(stack: Deployed) -> None:
    s3, where = stack.signer("s3"), {"Bucket": stack.bucket, "Key": "public/film.mp4"}
    upload = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    part = {"PartNumber": 1, "ETag": s3.upload_part(**upload, PartNumber=1, Body=b"film")["ETag"]}
    assert len(s3.list_parts(**upload)["Parts"]) == 1
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]})
    assert "public/film.mp4" in keys(stack)
    assert refused(lambda: s3.create_multipart_upload(Bucket=stack.bucket, Key="private/film.mp4"))


def test_the_issued_key_can_do_nothing_else(stack: Deployed) -> None:
    s3, iam, bucket = stack.signer("s3"), stack.signer("iam"), stack.bucket
    user = stack.inputs("uploads-signer-policy")["user"]
    everybody = {"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["PUT"]}]}
    attempts: dict[str, Callable[[], object]] = {
        "read elsewhere": lambda: s3.get_object(Bucket=bucket, Key="private/plan.pdf"),
        "look elsewhere": lambda: s3.head_object(Bucket=bucket, Key="private/plan.pdf"),
        "delete elsewhere": lambda: s3.delete_object(Bucket=bucket, Key="private/plan.pdf"),
        "copy from elsewhere": lambda: s3.copy_object(
            Bucket=bucket, Key="public/plan.pdf", CopySource={"Bucket": bucket, "Key": "private/plan.pdf"}
        ),
        "list": lambda: s3.list_objects_v2(Bucket=bucket),
        "list under the prefix": lambda: s3.list_objects_v2(Bucket=bucket, Prefix="public/"),
        "list uploads": lambda: s3.list_multipart_uploads(Bucket=bucket),
        "change an object's ACL": lambda: s3.put_object_acl(Bucket=bucket, Key="public/cat.png", ACL="public-read"),
        "change the bucket's ACL": lambda: s3.put_bucket_acl(Bucket=bucket, ACL="public-read"),
        "change the policy": lambda: s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Statement": []})),
        "delete the policy": lambda: s3.delete_bucket_policy(Bucket=bucket),
        "change CORS": lambda: s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=everybody),
        "delete CORS": lambda: s3.delete_bucket_cors(Bucket=bucket),
        "delete the bucket": lambda: s3.delete_bucket(Bucket=bucket),
        "make a bucket": lambda: s3.create_bucket(Bucket=f"{bucket}-2"),
        "make a user": lambda: iam.create_user(UserName="mallory"),
        "list users": lambda: iam.list_users(),
        "change its own policy": lambda: iam.put_user_policy(UserName=user, PolicyName="more", PolicyDocument="{}"),
    }
    assert [name for name, attempt in attempts.items() if not refused(attempt)] == []


@pytest.mark.xfail(
    strict=True, reason="SeaweedFS lets every user make keys for itself; AWS does not, and moto shows that"
)
def test_the_issued_key_cannot_issue_another(stack: Deployed) -> None:
    user = stack.inputs("uploads-signer-policy")["user"]
    assert refused(lambda: stack.signer("iam").create_access_key(UserName=user))


def test_without_verification_the_issued_key_uploads_and_neither_reads_nor_deletes(
    upload_only_stack: Deployed, http: httpx.Client
) -> None:
    stack, s3 = upload_only_stack, upload_only_stack.signer("s3")
    assert http.put(presigned(stack, "put_object", "public/dog.png"), content=b"dog").status_code == 200
    assert http.get(presigned(stack, "get_object", "public/cat.png")).status_code == 403
    assert refused(lambda: s3.head_object(Bucket=stack.bucket, Key="public/cat.png"))
    assert refused(lambda: s3.delete_object(Bucket=stack.bucket, Key="public/cat.png"))
    assert keys(stack) == {"public/cat.png", "public/dog.png"}


def test_a_fresh_signature_is_not_too_old(seaweedfs: SeaweedFSWithTls, http: httpx.Client) -> None:
    stack = deploy(cloud_on(seaweedfs), {"signatureMaxAgeMinutes": 5})
    assert http.put(presigned(stack, "put_object", "public/dog.png"), content=b"dog").status_code == 200


def test_everybody_reads_under_the_prefix(stack: Deployed, http: httpx.Client) -> None:
    answer = http.get(url(stack, "public/cat.png"))
    assert (answer.status_code, answer.content) == (200, b"cat")


def test_everybody_can_do_nothing_but_read_under_the_prefix(stack: Deployed, http: httpx.Client) -> None:
    before = keys(stack)
    for method, key in (
        ("GET", "private/plan.pdf"),
        ("HEAD", "private/plan.pdf"),
        ("GET", ""),
        ("GET", "?list-type=2&prefix=public/"),
        ("GET", "?uploads"),
        ("GET", "?policy"),
        ("GET", "?cors"),
        ("PUT", "public/x"),
        ("PUT", "private/x"),
        ("POST", "public/x?uploads"),
        ("DELETE", "public/cat.png"),
        ("PUT", "public/cat.png?acl"),
        ("PUT", "?policy"),
    ):
        assert http.request(method, url(stack, key)).status_code == 403, f"{method} {key}"
    assert keys(stack) == before


def test_nobody_reads_from_a_private_bucket_without_a_signature(
    upload_only_stack: Deployed, http: httpx.Client
) -> None:
    assert http.get(url(upload_only_stack, "public/cat.png")).status_code == 403


def test_plain_http_is_refused_to_everybody_even_with_a_good_signature(
    stack: Deployed, seaweedfs: SeaweedFSWithTls
) -> None:
    plain = seaweedfs.endpoint_url
    assert httpx.get(f"{plain}/{stack.bucket}/public/cat.png").status_code == 403
    outputs = stack.run.outputs
    s3 = stack.cloud.client("s3", outputs["accessKeyId"], outputs["secretAccessKey"], endpoint_url=plain)
    assert refused(lambda: s3.put_object(Bucket=stack.bucket, Key="public/x", Body=b"x"))


def preflight(http: httpx.Client, stack: Deployed, method: str, origin: str) -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type,x-amz-checksum-sha256,x-amz-meta-name",
    }
    return http.options(url(stack, "public/x"), headers=headers)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "HEAD"])
def test_the_page_may_send_uploads_and_reads_across_origins(stack: Deployed, http: httpx.Client, method: str) -> None:
    answer = preflight(http, stack, method, PAGE)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert method in answer.headers["access-control-allow-methods"]
    assert "x-amz-checksum-sha256" in answer.headers["access-control-allow-headers"].lower()


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
@pytest.mark.parametrize("origin", ["https://evil.example.com", "http://app.example.com", f"{PAGE}.evil.com", "null"])
def test_a_foreign_origin_fails_the_preflight(stack: Deployed, http: httpx.Client, method: str, origin: str) -> None:
    answer = preflight(http, stack, method, origin)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_is_not_offered_methods_that_uploads_do_not_need(stack: Deployed, http: httpx.Client) -> None:
    offered = preflight(http, stack, "DELETE", PAGE).headers.get("access-control-allow-methods", "")
    assert {method.strip() for method in offered.split(",")} <= {"GET", "PUT", "POST", "HEAD", ""}


def test_the_page_can_read_the_location_and_the_etag_of_an_upload(stack: Deployed, http: httpx.Client) -> None:
    answer = http.get(url(stack, "public/cat.png"), headers={"Origin": PAGE})
    exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert {"location", "etag"} <= exposed


@pytest.mark.parametrize(("key", "status"), [("public/form.png", 204), ("publicity/form.png", 403), ("form.png", 403)])
def test_the_locally_widened_policy_lets_a_form_post_under_the_prefix_alone(
    stack: Deployed, http: httpx.Client, key: str, status: int
) -> None:
    iam, user = stack.cloud.iam, f"local-{stack.bucket}-{key.replace('/', '-')}"
    document = local_signer_policy(stack.arn, "public/", allow_verification=True)
    iam.create_user(UserName=user)
    iam.put_user_policy(UserName=user, PolicyName="upload", PolicyDocument=json.dumps(document))
    issued = iam.create_access_key(UserName=user)["AccessKey"]
    s3 = stack.cloud.client("s3", issued["AccessKeyId"], issued["SecretAccessKey"])
    form = s3.generate_presigned_post(stack.bucket, key, Conditions=[["content-length-range", 1, 10]])
    answer = http.post(form["url"], data=form["fields"], files={"file": b"form"})
    assert answer.status_code == status
    assert (key in keys(stack)) == (status == 204)
