"""The resources that the program creates, read back from moto. test_mutants.py runs some of these tests as well."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError
from pulumi.runtime.mocks import MockResourceArgs

from tests.infra.boto3_cloud import Boto3Cloud
from tests.infra.engine.provider import NotApplied
from tests.infra.pulumi_program import INFRA, ProgramRun, run_program

ORIGINS = ["https://app.example.com", "http://localhost:8080"]


@dataclass(frozen=True, kw_only=True)
class DeployedStack:
    """A run of the program, and the cloud that has its resources."""

    run: ProgramRun
    cloud: Boto3Cloud

    @property
    def bucket(self) -> str:
        return str(self.run.outputs["bucket"])

    @property
    def arn(self) -> str:
        return f"arn:aws:s3:::{self.bucket}"

    def inputs(self, name: str) -> Mapping[str, Any]:
        return self.run.resources[name].inputs

    @property
    def signer_user(self) -> str:
        """The name of the IAM user that signs."""
        return str(self.inputs("uploads-signer-policy")["user"])

    @property
    def verifier_user(self) -> str:
        """The name of the IAM user that verifies, if it is not the one that signs."""
        return str(self.inputs("uploads-signer-verifier-policy")["user"])

    def signer_client(self, service: str) -> Any:
        """Return a boto3 client that signs with the stack's access key."""
        return self.cloud.client(service, self.run.outputs["accessKeyId"], self.run.outputs["secretAccessKey"])

    def verifier_client(self, service: str) -> Any:
        """Return a boto3 client that signs with the separate verifier's access key."""
        outputs = self.run.outputs
        return self.cloud.client(service, outputs["verifierAccessKeyId"], outputs["verifierSecretAccessKey"])


def deploy(cloud: Boto3Cloud, config: Mapping[str, Any] | None = None, *, program: Path = INFRA) -> DeployedStack:
    """Run ``program`` with ``config``, in the region of ``cloud``."""
    return DeployedStack(run=run_program(program, cloud, {"aws:region": cloud.region, **(config or {})}), cloud=cloud)


@contextmanager
def iam_enforced(stack: DeployedStack) -> Iterator[None]:
    """Let moto check every request against the policies of its signer, as AWS does. By default, moto checks nothing.

    The bucket policy is removed during this time: moto ignores conditions, so the statement against plain http would
    deny every request. In test_effective_access.py, SeaweedFS enforces the bucket policy and the signer's policy.
    """
    reset_url = f"{stack.cloud.endpoint_url}/moto-api/reset-auth"
    policy = stack.cloud.s3.get_bucket_policy(Bucket=stack.bucket)["Policy"]
    stack.cloud.s3.delete_bucket_policy(Bucket=stack.bucket)
    headers = {"Content-Type": "text/plain"}
    urlopen(Request(reset_url, data=b"0", headers=headers)).close()
    try:
        yield
    finally:
        urlopen(Request(reset_url, data=b"inf", headers=headers)).close()
        stack.cloud.s3.put_bucket_policy(Bucket=stack.bucket, Policy=policy)


def error_code(call: Callable[[], object]) -> str:
    """Return the code of the error that ``call`` must get from the server."""
    with pytest.raises(ClientError) as error:
        call()
    return str(error.value.response["Error"]["Code"])


@pytest.fixture(scope="module")
def stack(moto_url: str) -> DeployedStack:
    return deploy(Boto3Cloud(moto_url), {"allowedOrigins": ORIGINS})


@pytest.fixture(scope="module")
def private_stack(moto_url: str) -> DeployedStack:
    return deploy(Boto3Cloud(moto_url), {"publicRead": False, "allowVerification": False})


@pytest.fixture(scope="module")
def straight_stack(moto_url: str) -> DeployedStack:
    return deploy(Boto3Cloud(moto_url), {"pendingPrefix": ""})


@pytest.fixture(scope="module")
def two_identities_stack(moto_url: str) -> DeployedStack:
    return deploy(Boto3Cloud(moto_url), {"separateVerifier": True})


def test_the_program_creates_the_documented_resources_and_no_others(stack: DeployedStack) -> None:
    assert {name: resource.type for name, resource in stack.run.resources.items()} == {
        "uploads": "presign:aws:UploadBucket",
        "uploads-bucket": "aws:s3/bucket:Bucket",
        "uploads-ownership": "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
        "uploads-access-block": "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        "uploads-policy": "aws:s3/bucketPolicy:BucketPolicy",
        "uploads-encryption": (
            "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
        ),
        "uploads-cors": "aws:s3/bucketCorsConfiguration:BucketCorsConfiguration",
        "uploads-lifecycle": "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        "uploads-signer": "presign:aws:UploadSigner",
        "uploads-signer-user": "aws:iam/user:User",
        "uploads-signer-policy": "aws:iam/userPolicy:UserPolicy",
        "uploads-signer-access-key-odd": "aws:iam/accessKey:AccessKey",
    }


def test_every_resource_is_a_child_of_its_component(stack: DeployedStack) -> None:
    for name, resource in stack.run.resources.items():
        if name not in {"uploads", "uploads-signer"}:
            assert resource.parent == ("uploads-signer" if name.startswith("uploads-signer") else "uploads"), name


def test_the_bucket_policy_waits_for_the_access_block_and_the_ownership_controls(stack: DeployedStack) -> None:
    assert {"uploads-access-block", "uploads-ownership", "uploads-bucket"} <= stack.run.resources[
        "uploads-policy"
    ].dependencies


def test_all_settings_of_the_bucket_wait_for_the_bucket(stack: DeployedStack) -> None:
    for name in ("ownership", "access-block", "encryption", "cors", "lifecycle"):
        assert stack.run.resources[f"uploads-{name}"].dependencies == {"uploads-bucket"}


def test_the_bucket_is_deleted_before_what_the_application_signs_with(stack: DeployedStack) -> None:
    # What a resource depends on is deleted after it.
    assert stack.run.resources["uploads-bucket"].dependencies == {
        "uploads-signer-user",
        "uploads-signer-access-key-odd",
    }


def test_by_default_everything_but_the_access_keys_is_protected(stack: DeployedStack) -> None:
    components = {"uploads", "uploads-signer"}
    unprotected = {name for name, resource in stack.run.resources.items() if not resource.protect}
    assert unprotected == {*components, "uploads-signer-access-key-odd"}


def test_with_protect_off_no_resource_is_protected(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {"protect": False, "forceDestroy": True})
    assert not any(resource.protect for resource in stack.run.resources.values())
    assert stack.inputs("uploads-bucket")["forceDestroy"] is True


def test_objects_are_not_destroyed_with_the_bucket_by_default(stack: DeployedStack) -> None:
    assert stack.inputs("uploads-bucket")["forceDestroy"] is False


def test_the_cors_rule_allows_exactly_what_uploads_need(stack: DeployedStack) -> None:
    assert stack.cloud.s3.get_bucket_cors(Bucket=stack.bucket)["CORSRules"] == [
        {
            "AllowedOrigins": ORIGINS,
            "AllowedMethods": ["GET", "PUT", "POST", "HEAD"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["Location", "ETag"],
            "MaxAgeSeconds": 3600,
        }
    ]


def test_the_bucket_policy_allows_public_reads_under_the_prefix_and_denies_plain_http_and_customer_keys(
    stack: DeployedStack,
) -> None:
    assert json.loads(stack.cloud.s3.get_bucket_policy(Bucket=stack.bucket)["Policy"]) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "PublicReadUnderPrefix",
                "Effect": "Allow",
                "Principal": "*",
                "Action": "s3:GetObject",
                "Resource": f"{stack.arn}/public/*",
            },
            {
                "Sid": "DenyPlainHttp",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [stack.arn, f"{stack.arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
            {
                "Sid": "DenyCustomerKeys",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:PutObject",
                "Resource": f"{stack.arn}/*",
                "Condition": {"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": "false"}},
            },
        ],
    }


def test_a_bucket_with_public_reads_blocks_public_acls_and_allows_a_public_policy(stack: DeployedStack) -> None:
    assert stack.cloud.s3.get_public_access_block(Bucket=stack.bucket)["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": False,
        "RestrictPublicBuckets": False,
    }


def test_a_private_bucket_has_every_access_block_and_no_public_statement(private_stack: DeployedStack) -> None:
    s3, bucket = private_stack.cloud.s3, private_stack.bucket
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": True,
    }
    statements = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert [(statement["Sid"], statement["Effect"]) for statement in statements] == [
        ("DenyPlainHttp", "Deny"),
        ("DenyCustomerKeys", "Deny"),
    ]


@pytest.fixture(scope="module")
def distribution_stack(moto_url: str) -> DeployedStack:
    """A stack whose published objects everybody reads through CloudFront, and whose bucket is private."""
    return deploy(Boto3Cloud(moto_url), {"cloudFront": True})


def distribution(stack: DeployedStack) -> Any:
    """Return the distribution that reads the bucket."""
    found = stack.cloud.cloudfront.list_distributions()["DistributionList"]["Items"]
    [one] = [each for each in found if each["Origins"]["Items"][0]["DomainName"].startswith(f"{stack.bucket}.")]
    return stack.cloud.cloudfront.get_distribution(Id=one["Id"])["Distribution"]


def test_only_one_distribution_reads_from_a_private_bucket_and_only_what_is_published(
    distribution_stack: DeployedStack,
) -> None:
    stack = distribution_stack
    block = stack.cloud.s3.get_public_access_block(Bucket=stack.bucket)["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True}
    read, *denied = json.loads(stack.cloud.s3.get_bucket_policy(Bucket=stack.bucket)["Policy"])["Statement"]
    assert read == {
        "Sid": "DistributionReadUnderPrefix",
        "Effect": "Allow",
        "Principal": {"Service": "cloudfront.amazonaws.com"},
        "Action": "s3:GetObject",
        "Resource": f"{stack.arn}/public/*",
        "Condition": {"StringEquals": {"aws:SourceArn": distribution(stack)["ARN"]}},
    }
    assert {statement["Effect"] for statement in denied} == {"Deny"}


def test_the_distribution_signs_its_reads_and_answers_only_with_tls(distribution_stack: DeployedStack) -> None:
    """moto does not return which access control a distribution has, so the input is read."""
    stack, config = distribution_stack, distribution(distribution_stack)["DistributionConfig"]
    [origin] = config["Origins"]["Items"]
    [origin_input] = stack.inputs("uploads-distribution")["origins"]
    assert origin["DomainName"] == f"{stack.bucket}.s3.eu-central-1.amazonaws.com"
    access = stack.cloud.cloudfront.get_origin_access_control(Id=origin_input["originAccessControlId"])
    signing = access["OriginAccessControl"]["OriginAccessControlConfig"]
    assert (signing["SigningBehavior"], signing["SigningProtocol"]) == ("always", "sigv4")
    assert signing["OriginAccessControlOriginType"] == "s3"
    behavior = config["DefaultCacheBehavior"]
    assert behavior["ViewerProtocolPolicy"] == "redirect-to-https"
    assert sorted(behavior["AllowedMethods"]["Items"]) == ["GET", "HEAD"]
    assert config["Enabled"] is True


def test_the_outputs_have_the_address_of_the_distribution(distribution_stack: DeployedStack) -> None:
    outputs = distribution_stack.run.outputs
    assert outputs["publicUrl"] == f"https://{distribution(distribution_stack)['DomainName']}"
    assert "\nPRESIGN_PUBLIC_READ=false\n" in outputs["env"]


def test_without_cloudfront_there_is_no_distribution(stack: DeployedStack) -> None:
    assert "publicUrl" not in stack.run.outputs
    assert not any(resource.type.startswith("aws:cloudfront") for resource in stack.run.resources.values())


def test_the_bucket_owner_owns_every_object(stack: DeployedStack) -> None:
    controls = stack.cloud.s3.get_bucket_ownership_controls(Bucket=stack.bucket)["OwnershipControls"]
    assert controls == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


def test_objects_are_encrypted_at_rest(stack: DeployedStack) -> None:
    [rule] = stack.cloud.s3.get_bucket_encryption(Bucket=stack.bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


@pytest.fixture(scope="module")
def encrypted_stack(moto_url: str) -> DeployedStack:
    """A private stack of two identities with a KMS key of its own."""
    cloud = Boto3Cloud(moto_url)
    key = cloud.client("kms", "admin", "admin-secret").create_key()["KeyMetadata"]["Arn"]
    return deploy(cloud, {"kmsKeyArn": key, "publicRead": False, "separateVerifier": True})


def kms_key(stack: DeployedStack) -> str:
    """Return the ARN of the key that encrypts the bucket."""
    [rule] = stack.cloud.s3.get_bucket_encryption(Bucket=stack.bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert rule["BucketKeyEnabled"] is True
    return str(rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"])


def test_a_kms_key_encrypts_what_the_signer_uploads(encrypted_stack: DeployedStack) -> None:
    stack, target = encrypted_stack, {"Bucket": encrypted_stack.bucket, "Key": "pending/cat.png"}
    with iam_enforced(stack):
        stack.signer_client("s3").put_object(**target, Body=b"cat")
        found = stack.verifier_client("s3").get_object(**target)
    assert found["Body"].read() == b"cat"
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", kms_key(stack))


def test_the_identities_may_use_the_kms_key_through_the_bucket_and_no_other_key(encrypted_stack: DeployedStack) -> None:
    """The documents are compared word for word, because moto knows neither the conditions nor the resources of KMS."""
    stack, key = encrypted_stack, kms_key(encrypted_stack)
    statement = {
        "Sid": "UseKey",
        "Effect": "Allow",
        "Action": ["kms:GenerateDataKey", "kms:Decrypt"],
        "Resource": key,
        "Condition": {
            "StringEquals": {"kms:ViaService": "s3.eu-central-1.amazonaws.com"},
            "StringLike": {"kms:EncryptionContext:aws:s3:arn": [stack.arn, f"{stack.arn}/*"]},
        },
    }
    assert user_policy(stack)["Statement"] == [upload_statement(stack.arn), statement]
    assert user_policy(stack, stack.verifier_user)["Statement"] == [*verify_statements(stack.arn), statement]


OWN_CORS = [{"AllowedOrigins": ["https://other.example.com"], "AllowedMethods": ["GET"]}]


def existing_bucket(cloud: Boto3Cloud) -> str:
    """Make a bucket that belongs to no stack, with a CORS rule and a policy of its own; return its name."""
    bucket = f"existing-{uuid4().hex}"
    cloud.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": cloud.region})
    cloud.s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": OWN_CORS})
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutBucketAcl", "Resource": f"arn:aws:s3:::{bucket}"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    cloud.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    return bucket


@pytest.fixture(scope="module")
def existing_bucket_stack(moto_url: str) -> DeployedStack:
    cloud = Boto3Cloud(moto_url)
    return deploy(cloud, {"existingBucket": existing_bucket(cloud)})


def test_nothing_of_an_existing_bucket_is_changed(existing_bucket_stack: DeployedStack) -> None:
    stack, s3, bucket = existing_bucket_stack, existing_bucket_stack.cloud.s3, existing_bucket_stack.bucket
    assert {resource.type for resource in stack.run.resources.values() if resource.parent == "uploads"} == set()
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == OWN_CORS
    [statement] = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert statement["Action"] == "s3:PutBucketAcl"
    for call in (s3.get_bucket_lifecycle_configuration, s3.get_bucket_ownership_controls, s3.get_public_access_block):
        assert error_code(partial(call, Bucket=bucket)).startswith(("NoSuch", "OwnershipControlsNotFound"))


def test_the_signer_uploads_to_an_existing_bucket(existing_bucket_stack: DeployedStack) -> None:
    stack, target = existing_bucket_stack, {"Bucket": existing_bucket_stack.bucket, "Key": "pending/cat.png"}
    assert stack.run.outputs["presignBucket"] == f"s3://{stack.bucket}/public/?region=eu-central-1"
    with iam_enforced(stack):
        stack.signer_client("s3").put_object(**target, Body=b"cat")
        assert stack.signer_client("s3").get_object(**target)["Body"].read() == b"cat"
        target["Key"] = "private/cat.png"
        assert error_code(lambda: stack.signer_client("s3").put_object(**target, Body=b"cat")) == "AccessDenied"


def test_what_an_existing_bucket_lacks_is_an_output(existing_bucket_stack: DeployedStack, stack: DeployedStack) -> None:
    documents, bucket = existing_bucket_stack.run.outputs["existingBucketDocuments"], existing_bucket_stack.bucket
    new = json.loads(stack.cloud.s3.get_bucket_policy(Bucket=stack.bucket)["Policy"].replace(stack.bucket, bucket))
    both = [f"arn:aws:s3:::{bucket}/public/*", f"arn:aws:s3:::{bucket}/pending/*"]
    read, *denied = new["Statement"]
    assert documents["policy"]["Statement"] == [read, *({**each, "Resource": both} for each in denied)]
    [rule] = documents["cors"]["CORSRules"]
    assert {**rule, "AllowedOrigins": ORIGINS} == stack.cloud.s3.get_bucket_cors(Bucket=stack.bucket)["CORSRules"][0]
    assert "existingBucketDocuments" not in stack.run.outputs


def test_no_rule_of_an_existing_bucket_deletes_what_others_keep_there(
    existing_bucket_stack: DeployedStack, stack: DeployedStack, moto_cloud: Boto3Cloud
) -> None:
    rules = existing_bucket_stack.run.outputs["existingBucketDocuments"]["lifecycle"]["Rules"]
    assert {rule["Filter"]["Prefix"] for rule in rules} == {"public/", "pending/"}
    assert len({rule["ID"] for rule in rules}) == len(rules)

    def actions(of: Any) -> dict[str, list[Any]]:
        unnamed = [{key: rule[key] for key in rule if key not in {"ID", "Filter", "Status"}} for rule in of]
        return {
            prefix: [
                each for each, rule in zip(unnamed, of, strict=True) if prefix.startswith(rule["Filter"]["Prefix"])
            ]
            for prefix in ("public/", "pending/")
        }

    assert actions(rules) == actions(lifecycle(stack))
    config = {"existingBucket": existing_bucket(moto_cloud), "existingBucketSettings": ["lifecycle", "policy"]}
    made = deploy(moto_cloud, {**config, "pendingPrefix": "", "publicRead": False})
    assert {rule["Filter"]["Prefix"] for rule in lifecycle(made)} == {"public/"}
    statements = json.loads(moto_cloud.s3.get_bucket_policy(Bucket=made.bucket)["Policy"])["Statement"]
    for statement in statements:
        assert statement["Resource"] == [f"{made.arn}/public/*"]


def test_only_the_named_settings_of_an_existing_bucket_are_replaced(moto_cloud: Boto3Cloud) -> None:
    bucket = existing_bucket(moto_cloud)
    config = {"existingBucket": bucket, "existingBucketSettings": ["cors", "versioning"], "versioning": True}
    stack = deploy(moto_cloud, {**config, "allowedOrigins": ORIGINS})
    children = {name for name, resource in stack.run.resources.items() if resource.parent == "uploads"}
    assert children == {"uploads-cors", "uploads-versioning"}
    assert moto_cloud.s3.get_bucket_cors(Bucket=bucket)["CORSRules"][0]["AllowedOrigins"] == ORIGINS
    assert moto_cloud.s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert "s3:PutBucketAcl" in moto_cloud.s3.get_bucket_policy(Bucket=bucket)["Policy"]
    assert set(stack.run.outputs["existingBucketDocuments"]) == {"policy", "lifecycle"}


def test_an_existing_bucket_that_is_missing_stops_the_program(moto_cloud: Boto3Cloud) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        deploy(moto_cloud, {"existingBucket": f"missing-{uuid4().hex}"})


def lifecycle(stack: DeployedStack) -> Any:
    return stack.cloud.s3.get_bucket_lifecycle_configuration(Bucket=stack.bucket)["Rules"]


def abort_rule(days: int) -> dict[str, Any]:
    return {
        "ID": "AbortIncompleteUploads",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days},
    }


def expire_rule(prefix: str, days: int) -> dict[str, Any]:
    return {
        "ID": "ExpirePendingUploads",
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "Expiration": {"Days": days},
        "NoncurrentVersionExpiration": {"NoncurrentDays": days},
    }


def old_versions_rule(days: int) -> dict[str, Any]:
    return {
        "ID": "ExpireOldVersions",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
        "NoncurrentVersionExpiration": {"NoncurrentDays": days},
    }


def test_parts_of_unfinished_uploads_and_pending_uploads_are_deleted_after_some_days(stack: DeployedStack) -> None:
    assert lifecycle(stack) == [abort_rule(7), expire_rule("pending/", 9), old_versions_rule(30)]


def test_the_days_of_the_lifecycle_rules_are_settings(moto_cloud: Boto3Cloud) -> None:
    days = {"abortUploadsAfterDays": 3, "expirePendingAfterDays": 4, "expireOldVersionsAfterDays": 5}
    stack = deploy(moto_cloud, {**days, "pendingPrefix": "new/"})
    assert lifecycle(stack) == [abort_rule(3), expire_rule("new/", 4), old_versions_rule(5)]


def test_in_the_straight_way_no_object_expires(straight_stack: DeployedStack) -> None:
    assert lifecycle(straight_stack) == [abort_rule(7), old_versions_rule(30)]


@pytest.mark.parametrize("versioning", [False, True])
def test_with_versioning_a_deleted_object_can_be_brought_back(moto_cloud: Boto3Cloud, versioning: bool) -> None:
    stack = deploy(moto_cloud, {"versioning": versioning})
    s3, bucket = stack.cloud.s3, stack.bucket
    # moto takes the condition of the statement that refuses plain http for fulfilled.
    s3.delete_bucket_policy(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="public/cat.png", Body=b"cat")
    s3.delete_object(Bucket=bucket, Key="public/cat.png")
    versions = s3.list_object_versions(Bucket=bucket).get("Versions", [])
    kept = [s3.get_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"]) for each in versions]
    assert [each["Body"].read() for each in kept] == ([b"cat"] if versioning else [])


def test_requests_are_recorded_in_another_bucket(moto_cloud: Boto3Cloud) -> None:
    s3, logs = moto_cloud.s3, f"logs-{uuid4().hex}"
    s3.create_bucket(Bucket=logs, CreateBucketConfiguration={"LocationConstraint": moto_cloud.region})
    config = {"logBucket": logs, "logPrefix": "media/"}
    with pytest.raises(ClientError, match="InvalidTargetBucketForLogging"):
        deploy(moto_cloud, config)

    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": ["s3:PutObject"],
        "Resource": f"arn:aws:s3:::{logs}/media/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    s3.put_bucket_policy(Bucket=logs, Policy=json.dumps(policy))
    stack = deploy(Boto3Cloud(moto_cloud.endpoint_url), config)
    logging = s3.get_bucket_logging(Bucket=stack.bucket)["LoggingEnabled"]
    assert (logging["TargetBucket"], logging["TargetPrefix"]) == (logs, "media/")


def test_by_default_no_request_is_recorded(stack: DeployedStack) -> None:
    assert "LoggingEnabled" not in stack.cloud.s3.get_bucket_logging(Bucket=stack.bucket)


def user_policy(stack: DeployedStack, user: str | None = None) -> Any:
    """Return the document of the only policy of ``user``, by default the signer."""
    user = user or stack.signer_user
    [name] = stack.cloud.iam.list_user_policies(UserName=user)["PolicyNames"]
    assert stack.cloud.iam.list_attached_user_policies(UserName=user)["AttachedPolicies"] == []
    return stack.cloud.iam.get_user_policy(UserName=user, PolicyName=name)["PolicyDocument"]


def access_key_ids(stack: DeployedStack, user: str | None = None) -> list[str]:
    """Return the ids of the access keys that the server has for ``user``, by default the signer."""
    keys = stack.cloud.iam.list_access_keys(UserName=user or stack.signer_user)["AccessKeyMetadata"]
    return [key["AccessKeyId"] for key in keys]


def access_key_resources(stack: DeployedStack) -> set[str]:
    """Return the names of the access keys among the program's resources."""
    return {name for name in stack.run.resources if "access-key" in name}


UPLOAD_ACTIONS = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
PENDING_ACTIONS = ["s3:GetObject", "s3:GetObjectVersion", "s3:DeleteObject", "s3:DeleteObjectVersion"]


def upload_statement(arn: str, prefix: str = "pending/", *, sid: str = "UploadToPending") -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": UPLOAD_ACTIONS,
        "Resource": f"{arn}/{prefix}*",
        "Condition": {"Null": {"s3:x-amz-copy-source": "true"}},
    }


def verify_statements(arn: str, *, pending: str = "pending/", public: str = "public/") -> list[dict[str, Any]]:
    bucket = arn.removeprefix("arn:aws:s3:::")
    return [
        {"Sid": "VerifyPending", "Effect": "Allow", "Action": PENDING_ACTIONS, "Resource": f"{arn}/{pending}*"},
        {"Sid": "ReadPublished", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": f"{arn}/{public}*"},
        {
            "Sid": "PublishFromPending",
            "Effect": "Allow",
            "Action": ["s3:PutObject"],
            "Resource": f"{arn}/{public}*",
            "Condition": {"StringLike": {"s3:x-amz-copy-source": [f"{bucket}/{pending}*", f"/{bucket}/{pending}*"]}},
        },
        {
            "Sid": "ListPending",
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": arn,
            "Condition": {"StringLike": {"s3:prefix": f"{pending}*"}},
        },
    ]


def test_the_signer_policy_allows_uploads_verification_and_publication_and_nothing_else(stack: DeployedStack) -> None:
    assert user_policy(stack) == {
        "Version": "2012-10-17",
        "Statement": [upload_statement(stack.arn), *verify_statements(stack.arn)],
    }


def test_without_verification_the_signer_may_only_upload(private_stack: DeployedStack) -> None:
    assert user_policy(private_stack) == {
        "Version": "2012-10-17",
        "Statement": [upload_statement(private_stack.arn)],
    }


def test_a_separate_verifier_leaves_the_signer_nothing_but_uploads(two_identities_stack: DeployedStack) -> None:
    stack = two_identities_stack
    assert user_policy(stack)["Statement"] == [upload_statement(stack.arn)]
    assert user_policy(stack, stack.verifier_user)["Statement"] == verify_statements(stack.arn)
    assert stack.verifier_user != stack.signer_user


def test_in_the_straight_way_the_signer_uploads_and_verifies_under_the_public_prefix(
    straight_stack: DeployedStack,
) -> None:
    assert user_policy(straight_stack)["Statement"] == [
        upload_statement(straight_stack.arn, "public/", sid="UploadUnderPrefix"),
        {
            "Sid": "VerifyUnderPrefix",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:DeleteObject"],
            "Resource": f"{straight_stack.arn}/public/*",
        },
    ]


def test_the_signer_policy_denies_signatures_above_the_maximum_age_in_milliseconds(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {"signatureMaxAgeMinutes": 15})
    assert user_policy(stack)["Statement"] == [
        upload_statement(stack.arn),
        *verify_statements(stack.arn),
        {
            "Sid": "DenyOldSignatures",
            "Effect": "Deny",
            "Action": UPLOAD_ACTIONS + PENDING_ACTIONS,
            "Resource": [f"{stack.arn}/pending/*", f"{stack.arn}/public/*"],
            "Condition": {"NumericGreaterThan": {"s3:signatureAge": "900000"}},
        },
    ]


@pytest.fixture(scope="module")
def two_limits_stack(moto_url: str) -> DeployedStack:
    return deploy(Boto3Cloud(moto_url), {"signatureMaxAgeMinutes": 60, "serverSignatureMaxAgeMinutes": 5})


def test_what_only_the_server_does_has_a_smaller_limit_for_signatures(two_limits_stack: DeployedStack) -> None:
    stack = two_limits_stack
    limits = {
        each["Sid"]: (each["Action"], each["Resource"], each["Condition"]["NumericGreaterThan"]["s3:signatureAge"])
        for each in user_policy(stack)["Statement"]
        if each["Effect"] == "Deny"
    }
    assert limits == {
        "DenyOldSignatures": (
            [*UPLOAD_ACTIONS, "s3:GetObject"],
            [f"{stack.arn}/pending/*", f"{stack.arn}/public/*"],
            "3600000",
        ),
        "DenyOldVerifyPending": (PENDING_ACTIONS, f"{stack.arn}/pending/*", "300000"),
        "DenyOldPublishFromPending": (["s3:PutObject"], f"{stack.arn}/public/*", "300000"),
    }


def test_the_limit_for_the_server_is_that_of_the_separate_verifier(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {"serverSignatureMaxAgeMinutes": 5, "separateVerifier": True})
    assert {each["Effect"] for each in user_policy(stack)["Statement"]} == {"Allow"}
    sids = [each["Sid"] for each in user_policy(stack, stack.verifier_user)["Statement"] if each["Effect"] == "Deny"]
    assert sids == ["DenyOldVerifyPending", "DenyOldPublishFromPending"]


def test_the_rights_to_list_and_to_publish_in_parts_are_settings(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {"allowListing": False, "publishInParts": True, "separateVerifier": True})
    assert user_policy(stack)["Statement"] == [upload_statement(stack.arn)]
    assert user_policy(stack, stack.verifier_user)["Statement"] == [
        *verify_statements(stack.arn)[:2],
        {
            "Sid": "PublishInParts",
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": f"{stack.arn}/public/*",
        },
    ]


def test_every_statement_uses_the_prefixes_of_the_stack(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {"publicPrefix": "media/originals/", "pendingPrefix": "media/new/"})
    assert user_policy(stack)["Statement"] == [
        upload_statement(stack.arn, "media/new/"),
        *verify_statements(stack.arn, pending="media/new/", public="media/originals/"),
    ]
    policy = json.loads(stack.cloud.s3.get_bucket_policy(Bucket=stack.bucket)["Policy"])
    assert policy["Statement"][0]["Resource"] == f"{stack.arn}/media/originals/*"
    assert stack.run.outputs["prefix"] == "media/originals/"
    assert stack.run.outputs["pendingPrefix"] == "media/new/"
    assert "\nPRESIGN_PENDING_PREFIX=media/new/\n" in stack.run.outputs["env"]


def managed_policy(stack: DeployedStack, output: str) -> Any:
    version = stack.cloud.iam.get_policy_version(PolicyArn=stack.run.outputs[output], VersionId="v1")
    return version["PolicyVersion"]["Document"]["Statement"]


def test_without_a_user_there_is_a_managed_policy_and_no_access_key(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {"createUser": False})
    types = {resource.type for resource in stack.run.resources.values()}
    assert not types & {"aws:iam/user:User", "aws:iam/userPolicy:UserPolicy", "aws:iam/accessKey:AccessKey"}
    assert set(stack.run.outputs) == {
        "bucket",
        "region",
        "prefix",
        "pendingPrefix",
        "presignBucket",
        "policyArn",
        "env",
    }
    assert "ACCESS_KEY" not in stack.run.outputs["env"]
    assert managed_policy(stack, "policyArn") == [upload_statement(stack.arn), *verify_statements(stack.arn)]


def test_without_users_each_identity_has_a_managed_policy(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {"createUser": False, "separateVerifier": True})
    assert managed_policy(stack, "policyArn") == [upload_statement(stack.arn)]
    assert managed_policy(stack, "verifierPolicyArn") == verify_statements(stack.arn)
    assert "ACCESS_KEY" not in stack.run.outputs["env"]


ROLES = {"createUser": False, "separateVerifier": True}
ISSUER = "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF"
PROVIDER = f"arn:aws:iam::123456789012:oidc-provider/{ISSUER}"
BOUNDARY = "arn:aws:iam::123456789012:policy/limits"


def trust(stack: DeployedStack, output: str = "roleArn") -> Any:
    """Return the only statement of a role's trust policy."""
    role = stack.run.outputs[output].rpartition("/")[2]
    [statement] = stack.cloud.iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]["Statement"]
    return statement


@pytest.fixture(scope="module")
def roles_stack(moto_url: str) -> DeployedStack:
    return deploy(Boto3Cloud(moto_url), {**ROLES, "roleTrust": "ecs"})


def role_client(stack: DeployedStack, output: str) -> Any:
    """Return a boto3 client of S3 that has taken on the role in this output."""
    sts = stack.cloud.client("sts", "admin", "admin-secret")
    credentials = sts.assume_role(RoleArn=stack.run.outputs[output], RoleSessionName="task")["Credentials"]
    return boto3.client(
        "s3",
        endpoint_url=stack.cloud.endpoint_url,
        region_name=stack.cloud.region,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )


def test_iam_gives_each_role_of_the_program_its_own_rights(roles_stack: DeployedStack) -> None:
    stack, bucket = roles_stack, roles_stack.bucket
    signer, verifier = role_client(stack, "roleArn"), role_client(stack, "verifierRoleArn")
    pending = {"Bucket": bucket, "Key": "pending/cat.png"}
    with iam_enforced(stack):
        signer.put_object(**pending, Body=b"cat")
        assert verifier.get_object(**pending)["Body"].read() == b"cat"
        for call in (
            lambda: signer.get_object(**pending),
            lambda: signer.put_object(Bucket=bucket, Key="public/cat.png", Body=b"cat"),
            lambda: verifier.put_object(**pending, Body=b"cat"),
            lambda: verifier.delete_object(Bucket=bucket, Key="public/cat.png"),
        ):
            assert error_code(call) == "AccessDenied"


def test_only_tasks_of_the_account_take_on_the_role_of_ecs(roles_stack: DeployedStack) -> None:
    for output in ("roleArn", "verifierRoleArn"):
        assert trust(roles_stack, output) == {
            "Effect": "Allow",
            "Principal": {"Service": "ecs-tasks.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}},
        }


def test_an_instance_of_ec2_gets_the_role_with_an_instance_profile(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {**ROLES, "roleTrust": "ec2"})
    assert trust(stack)["Principal"] == {"Service": "ec2.amazonaws.com"}
    for profile, role in (("instanceProfile", "roleArn"), ("verifierInstanceProfile", "verifierRoleArn")):
        name = stack.run.outputs[profile]
        [found] = stack.cloud.iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]
        assert found["Arn"] == stack.run.outputs[role]


def test_a_function_of_lambda_takes_on_the_role(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {"createUser": False, "roleTrust": "lambda"})
    assert trust(stack) == {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    assert not {"verifierRoleArn", "instanceProfile"} & set(stack.run.outputs)


def test_only_tokens_with_exactly_this_audience_and_subject_take_on_a_role(moto_cloud: Boto3Cloud) -> None:
    subjects = {"oidcSubjects": ["system:serviceaccount:web:uploads"], "verifierOidcSubjects": ["worker", "sweeper"]}
    stack = deploy(moto_cloud, {**ROLES, "roleTrust": "oidc", "oidcProviderArn": PROVIDER, **subjects})
    for output, expected in (("roleArn", subjects["oidcSubjects"]), ("verifierRoleArn", ["worker", "sweeper"])):
        assert trust(stack, output) == {
            "Effect": "Allow",
            "Principal": {"Federated": PROVIDER},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {f"{ISSUER}:aud": "sts.amazonaws.com", f"{ISSUER}:sub": expected}},
        }


def test_the_program_makes_no_role_by_default(stack: DeployedStack) -> None:
    assert not any(resource.type == "aws:iam/role:Role" for resource in stack.run.resources.values())


def test_roles_have_the_permissions_boundary_and_the_path(moto_cloud: Boto3Cloud) -> None:
    config = {**ROLES, "roleTrust": "ec2", "permissionsBoundary": BOUNDARY, "iamPath": "/uploads/"}
    stack, iam = deploy(moto_cloud, config), moto_cloud.iam
    for output in ("roleArn", "verifierRoleArn"):
        role = iam.get_role(RoleName=stack.run.outputs[output].rpartition("/")[2])["Role"]
        assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == BOUNDARY
        assert role["Path"] == "/uploads/"
    assert ":policy/uploads/" in stack.run.outputs["policyArn"]
    profile = iam.get_instance_profile(InstanceProfileName=stack.run.outputs["instanceProfile"])
    assert profile["InstanceProfile"]["Path"] == "/uploads/"


def test_users_have_the_permissions_boundary_and_the_path(moto_cloud: Boto3Cloud) -> None:
    """moto does not keep the boundary of a user, so the input is read."""
    config = {"separateVerifier": True, "permissionsBoundary": BOUNDARY, "iamPath": "/uploads/"}
    stack = deploy(moto_cloud, config)
    for name, user in (("", stack.signer_user), ("-verifier", stack.verifier_user)):
        assert stack.inputs(f"uploads-signer{name}-user")["permissionsBoundary"] == BOUNDARY
        assert moto_cloud.iam.get_user(UserName=user)["User"]["Path"] == "/uploads/"


def test_the_outputs_contain_the_bucket_and_a_complete_env_file(stack: DeployedStack) -> None:
    outputs = dict(stack.run.outputs)
    key, secret = outputs.pop("accessKeyId"), outputs.pop("secretAccessKey")
    assert [key] == access_key_ids(stack)
    assert outputs == {
        "bucket": stack.bucket,
        "region": "eu-central-1",
        "prefix": "public/",
        "pendingPrefix": "pending/",
        "presignBucket": f"s3://{stack.bucket}/public/?region=eu-central-1",
        "env": (
            f"PRESIGN_BUCKET=s3://{stack.bucket}/public/?region=eu-central-1\n"
            "PRESIGN_PENDING_PREFIX=pending/\n"
            "PRESIGN_PUBLIC_READ=true\n"
            "AWS_DEFAULT_REGION=eu-central-1\n"
            "PRESIGN_ALLOWED_ORIGINS=https://app.example.com,http://localhost:8080\n"
            f"AWS_ACCESS_KEY_ID={key}\n"
            f"AWS_SECRET_ACCESS_KEY={secret}"
        ),
    }


def test_the_env_file_has_the_key_that_signs_and_the_key_that_verifies(two_identities_stack: DeployedStack) -> None:
    stack, outputs = two_identities_stack, two_identities_stack.run.outputs
    variables = dict(line.split("=", 1) for line in outputs["env"].splitlines())
    keys = {name: value for name, value in variables.items() if "KEY" in name}
    assert keys == {
        "AWS_ACCESS_KEY_ID": outputs["accessKeyId"],
        "AWS_SECRET_ACCESS_KEY": outputs["secretAccessKey"],
        "PRESIGN_VERIFIER_ACCESS_KEY_ID": outputs["verifierAccessKeyId"],
        "PRESIGN_VERIFIER_SECRET_ACCESS_KEY": outputs["verifierSecretAccessKey"],
    }
    assert access_key_ids(stack) == [outputs["accessKeyId"]]
    assert access_key_ids(stack, stack.verifier_user) == [outputs["verifierAccessKeyId"]]


def test_the_env_file_of_the_straight_way_has_an_empty_pending_prefix(straight_stack: DeployedStack) -> None:
    # Without quotes: docker would take them as part of the value.
    assert "\nPRESIGN_PENDING_PREFIX=\n" in straight_stack.run.outputs["env"]


def test_the_env_file_of_a_private_bucket_says_that_reads_are_not_public(private_stack: DeployedStack) -> None:
    assert "\nPRESIGN_PUBLIC_READ=false\n" in private_stack.run.outputs["env"]


def test_the_secret_key_and_the_env_file_are_the_only_secret_outputs(stack: DeployedStack) -> None:
    assert stack.run.secret_outputs == {"secretAccessKey", "env"}


def test_both_secret_keys_are_secret_outputs(two_identities_stack: DeployedStack) -> None:
    assert two_identities_stack.run.secret_outputs == {"secretAccessKey", "verifierSecretAccessKey", "env"}


@pytest.mark.parametrize("output", ["secretAccessKey", "verifierSecretAccessKey"])
def test_a_secret_key_is_in_no_plain_output_and_no_input(two_identities_stack: DeployedStack, output: str) -> None:
    run = two_identities_stack.run
    secret = run.outputs[output]
    plain_outputs = {name: value for name, value in run.outputs.items() if name not in run.secret_outputs}
    assert secret not in json.dumps(plain_outputs)
    assert all(secret not in json.dumps(dict(resource.inputs)) for resource in run.resources.values())


def test_the_bucket_address_contains_a_local_endpoint(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {"aws:endpoints": [{"s3": "http://127.0.0.1:5566", "iam": "http://127.0.0.1:5566"}]})
    address = f"s3://{stack.bucket}/public/?region=eu-central-1&endpoint_url=http%3A%2F%2F127.0.0.1%3A5566"
    assert stack.run.outputs["presignBucket"] == address
    assert f"PRESIGN_BUCKET='{address}'\n" in stack.run.outputs["env"]


def test_an_origin_with_a_wildcard_is_in_the_cors_rule_and_not_in_the_env_file(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {"allowedOrigins": ["*"], "allowAnyOrigin": True})
    assert stack.cloud.s3.get_bucket_cors(Bucket=stack.bucket)["CORSRules"][0]["AllowedOrigins"] == ["*"]
    assert "PRESIGN_ALLOWED_ORIGINS" not in stack.run.outputs["env"]


def test_the_bucket_has_the_configured_name(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {"bucketName": "media-of-example-com"})
    assert stack.run.outputs["bucket"] == "media-of-example-com"


def test_without_a_configured_name_the_engine_names_the_bucket(stack: DeployedStack) -> None:
    assert "bucket" not in stack.inputs("uploads-bucket")


def test_tags_are_on_the_bucket_and_on_the_user(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {"tags": {"team": "media", "cost centre": "42"}})
    expected = [{"Key": "cost centre", "Value": "42"}, {"Key": "team", "Value": "media"}]
    assert sorted(stack.cloud.s3.get_bucket_tagging(Bucket=stack.bucket)["TagSet"], key=str) == expected
    assert sorted(stack.cloud.iam.list_user_tags(UserName=stack.signer_user)["Tags"], key=str) == expected


def test_numbers_and_booleans_become_the_texts_of_tags(moto_cloud: Boto3Cloud) -> None:
    """``pulumi config set --path tags.floor 5`` stores a number."""
    stack = deploy(moto_cloud, {"tags": {"floor": 5, "billed": True}})
    tags = {tag["Key"]: tag["Value"] for tag in stack.cloud.s3.get_bucket_tagging(Bucket=stack.bucket)["TagSet"]}
    assert tags == {"floor": "5", "billed": "true"}


def test_rotation_creates_a_second_access_key_that_works_while_the_first_is_kept(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {"accessKeyGeneration": 2, "keepPreviousAccessKey": True})
    assert access_key_resources(stack) == {"uploads-signer-access-key-odd", "uploads-signer-access-key-even"}
    assert len(access_key_ids(stack)) == 2
    assert stack.run.outputs["accessKeyId"] in access_key_ids(stack)
    with iam_enforced(stack):
        stack.signer_client("s3").put_object(Bucket=stack.bucket, Key="pending/cat.png", Body=b"cat")


def test_the_rotation_replaces_the_verifiers_access_key_as_well(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {"accessKeyGeneration": 2, "keepPreviousAccessKey": True, "separateVerifier": True})
    assert access_key_resources(stack) == {
        f"uploads-signer{role}-access-key-{slot}" for role in ("", "-verifier") for slot in ("odd", "even")
    }
    assert stack.run.outputs["verifierAccessKeyId"] in access_key_ids(stack, stack.verifier_user)


def test_after_the_rotation_only_the_new_access_key_is_left(moto_cloud: Boto3Cloud) -> None:
    stack = deploy(moto_cloud, {"accessKeyGeneration": 2})
    assert access_key_resources(stack) == {"uploads-signer-access-key-even"}


def test_iam_allows_the_access_key_to_upload_verify_publish_and_delete(stack: DeployedStack) -> None:
    s3, bucket = stack.signer_client("s3"), stack.bucket
    with iam_enforced(stack):
        s3.put_object(Bucket=bucket, Key="pending/cat.png", Body=b"cat")
        assert s3.get_object(Bucket=bucket, Key="pending/cat.png")["Body"].read() == b"cat"
        s3.copy_object(Bucket=bucket, Key="public/cat.png", CopySource=f"{bucket}/pending/cat.png")
        s3.delete_object(Bucket=bucket, Key="pending/cat.png")
        assert s3.head_object(Bucket=bucket, Key="public/cat.png")["ContentLength"] == 3


def test_iam_allows_the_access_key_to_upload_in_parts_under_the_prefix(stack: DeployedStack) -> None:
    s3 = stack.signer_client("s3")
    target = {"Bucket": stack.bucket, "Key": "pending/film.mp4"}
    with iam_enforced(stack):
        upload = {**target, "UploadId": s3.create_multipart_upload(**target)["UploadId"]}
        s3.upload_part(**upload, PartNumber=1, Body=b"film")
        assert len(s3.list_parts(**upload)["Parts"]) == 1
        s3.abort_multipart_upload(**upload)


def test_iam_denies_the_access_key_everything_else(stack: DeployedStack) -> None:
    """What only a condition denies is tried in test_effective_access.py, because moto ignores conditions."""
    s3, iam, bucket, user = stack.signer_client("s3"), stack.signer_client("iam"), stack.bucket, stack.signer_user
    with iam_enforced(stack):
        for call in (
            lambda: s3.put_object(Bucket=bucket, Key="pendings/cat.png", Body=b"cat"),
            lambda: s3.put_object(Bucket=bucket, Key="publicity/cat.png", Body=b"cat"),
            lambda: s3.put_object(Bucket=bucket, Key="private/cat.png", Body=b"cat"),
            lambda: s3.put_object(Bucket=bucket, Key="cat.png", Body=b"cat"),
            lambda: s3.get_object(Bucket=bucket, Key="private/plan.pdf"),
            lambda: s3.delete_object(Bucket=bucket, Key="private/plan.pdf"),
            lambda: s3.delete_object(Bucket=bucket, Key="public/cat.png"),
            lambda: s3.put_object_acl(Bucket=bucket, Key="public/cat.png", ACL="public-read"),
            lambda: s3.put_object_acl(Bucket=bucket, Key="pending/cat.png", ACL="public-read"),
            lambda: s3.put_object_tagging(Bucket=bucket, Key="pending/cat.png", Tagging={"TagSet": []}),
            lambda: s3.put_bucket_acl(Bucket=bucket, ACL="public-read"),
            lambda: s3.put_bucket_policy(Bucket=bucket, Policy="{}"),
            lambda: s3.delete_bucket_policy(Bucket=bucket),
            lambda: s3.delete_bucket_cors(Bucket=bucket),
            lambda: s3.delete_public_access_block(Bucket=bucket),
            lambda: s3.delete_bucket(Bucket=bucket),
            lambda: s3.create_bucket(Bucket=f"{bucket}-2"),
            lambda: s3.list_buckets(),
            lambda: iam.list_users(),
            lambda: iam.create_user(UserName="mallory"),
            lambda: iam.create_access_key(UserName=user),
            lambda: iam.put_user_policy(UserName=user, PolicyName="more", PolicyDocument="{}"),
        ):
            assert error_code(call) == "AccessDenied"


def test_without_verification_iam_denies_reads_and_deletes(private_stack: DeployedStack) -> None:
    s3, bucket = private_stack.signer_client("s3"), private_stack.bucket
    with iam_enforced(private_stack):
        s3.put_object(Bucket=bucket, Key="pending/cat.png", Body=b"cat")
        for key in ("pending/cat.png", "public/cat.png"):
            assert error_code(partial(s3.get_object, Bucket=bucket, Key=key)) == "AccessDenied"
            assert error_code(partial(s3.delete_object, Bucket=bucket, Key=key)) == "AccessDenied"
        assert error_code(lambda: s3.put_object(Bucket=bucket, Key="public/cat.png", Body=b"cat")) == "AccessDenied"


def test_iam_gives_each_of_two_identities_its_own_rights(two_identities_stack: DeployedStack) -> None:
    stack, bucket = two_identities_stack, two_identities_stack.bucket
    signer, verifier = stack.signer_client("s3"), stack.verifier_client("s3")
    with iam_enforced(stack):
        signer.put_object(Bucket=bucket, Key="pending/cat.png", Body=b"cat")
        for call in (
            lambda: signer.head_object(Bucket=bucket, Key="pending/cat.png"),
            lambda: signer.delete_object(Bucket=bucket, Key="pending/cat.png"),
            lambda: signer.list_objects_v2(Bucket=bucket, Prefix="pending/"),
            lambda: signer.put_object(Bucket=bucket, Key="public/cat.png", Body=b"cat"),
            lambda: verifier.put_object(Bucket=bucket, Key="pending/dog.png", Body=b"dog"),
            lambda: verifier.create_multipart_upload(Bucket=bucket, Key="pending/dog.png"),
            lambda: verifier.delete_object(Bucket=bucket, Key="public/cat.png"),
        ):
            assert error_code(call) in {"AccessDenied", "403"}
        verifier.copy_object(Bucket=bucket, Key="public/cat.png", CopySource=f"{bucket}/pending/cat.png")
        verifier.delete_object(Bucket=bucket, Key="pending/cat.png")


def test_an_unsupported_resource_type_fails_the_run(tmp_path: Path, moto_cloud: Boto3Cloud) -> None:
    (tmp_path / "__main__.py").write_text("from pulumi_aws import sqs\nsqs.Queue('surprise')\n")
    with pytest.raises(NotApplied, match="the resource type aws:sqs/queue:Queue is not supported"):
        run_program(tmp_path, moto_cloud)


@pytest.mark.parametrize(
    ("typ", "inputs", "unused"),
    [
        ("aws:s3/bucket:Bucket", {"acl": "public-read"}, "acl"),
        (
            "aws:s3/bucketCorsConfiguration:BucketCorsConfiguration",
            {"corsRules": [{"allowedOrigins": ["*"], "allowedMethods": ["GET"], "allowedHeader": ["*"]}]},
            "AllowedHeader",
        ),
    ],
)
def test_an_input_that_no_call_uses_fails_the_run(
    moto_cloud: Boto3Cloud, typ: str, inputs: dict[str, Any], unused: str
) -> None:
    bucket, _ = moto_cloud.new_resource(
        MockResourceArgs(typ="aws:s3/bucket:Bucket", name="bucket-with-nothing-else", inputs={}, custom=True)
    )
    name = {} if typ == "aws:s3/bucket:Bucket" else {"bucket": bucket}
    with pytest.raises(NotApplied, match=unused):
        moto_cloud.new_resource(MockResourceArgs(typ=typ, name="surprise", inputs={**name, **inputs}, custom=True))
