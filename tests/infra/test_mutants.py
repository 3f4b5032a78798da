"""Deliberate mistakes in copies of the program. Each of them must fail the test that guards against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.infra import test_effective_access as access
from tests.infra import test_provisioning as provisioning
from tests.infra.boto3_cloud import Boto3Cloud
from tests.infra.conftest import SeaweedFSWithTls, cloud_on
from tests.infra.mutated_programs import Mutant
from tests.infra.pulumi_program import copy_program
from tests.infra.test_provisioning import deploy

UPLOAD_ONLY = {"publicRead": False, "allowVerification": False}
TWO_IDENTITIES = {"separateVerifier": True}
TWO_LIMITS = {"signatureMaxAgeMinutes": 60, "serverSignatureMaxAgeMinutes": 5}
STRAIGHT = {"pendingPrefix": ""}


SIGNER_WITH_ALL_ACTIONS = Mutant(
    name="the signer may do everything under the prefix",
    file="presign_infra/s3_policies.py",
    old='("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")',
    new='("s3:*",)',
    caught_by=provisioning.test_the_signer_policy_allows_uploads_verification_and_publication_and_nothing_else,
)
SIGNER_OF_THE_WHOLE_BUCKET = Mutant(
    name="the signer may write to the whole bucket, shown by IAM",
    file="presign_infra/s3_policies.py",
    old="objects_arn(bucket_arn, prefix if pending_prefix is None else pending_prefix)",
    new='f"{bucket_arn}/*"',
    caught_by=provisioning.test_iam_denies_the_access_key_everything_else,
)
PREFIX_WITHOUT_SLASH = Mutant(
    name="the prefix has no slash at the end",
    file="presign_infra/s3_policies.py",
    old='return f"{bucket_arn}/{require_prefix(prefix)}*"',
    new='return f"{bucket_arn}/{require_prefix(prefix)[:-1]}*"',
    caught_by=provisioning.test_iam_denies_the_access_key_everything_else,
)
READS_WITHOUT_VERIFICATION = Mutant(
    name="the signer may read without verification",
    file="presign_infra/s3_policies.py",
    old='"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")',
    new='"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:GetObject")',
    caught_by=provisioning.test_without_verification_the_signer_may_only_upload,
    config=UPLOAD_ONLY,
)
PLAIN_HTTP_ALLOWED = Mutant(
    name="the bucket policy allows plain http",
    file="presign_infra/s3_policies.py",
    old='{"aws:SecureTransport": "false"}',
    new='{"aws:SecureTransport": "true"}',
    caught_by=provisioning.test_the_bucket_policy_allows_public_reads_under_the_prefix_and_denies_plain_http_and_customer_keys,
)

UPLOADS_THAT_ARE_COPIES = Mutant(
    name="an upload may be a copy",
    file="presign_infra/s3_policies.py",
    old='        "Condition": _NOT_A_COPY,\n',
    new="",
    caught_by=provisioning.test_the_signer_policy_allows_uploads_verification_and_publication_and_nothing_else,
)
PUBLICATION_OF_ANYTHING = Mutant(
    name="any write publishes",
    file="presign_infra/s3_policies.py",
    old='                "Condition": {"StringLike": {"s3:x-amz-copy-source": [source, f"/{source}"]}},\n',
    new="",
    caught_by=provisioning.test_the_signer_policy_allows_uploads_verification_and_publication_and_nothing_else,
)
PUBLICATION_FROM_ANYWHERE = Mutant(
    name="a copy from anywhere in the bucket publishes",
    file="presign_infra/s3_policies.py",
    old="""source = f"{bucket_arn.rpartition(':')[2]}/{pending_prefix}*\"""",
    new="""source = f"{bucket_arn.rpartition(':')[2]}/*\"""",
    caught_by=provisioning.test_the_signer_policy_allows_uploads_verification_and_publication_and_nothing_else,
)
LISTING_OF_EVERYTHING = Mutant(
    name="the verifier may list the whole bucket",
    file="presign_infra/s3_policies.py",
    old='{"s3:prefix": f"{pending_prefix}*"}',
    new='{"s3:prefix": "*"}',
    caught_by=provisioning.test_the_signer_policy_allows_uploads_verification_and_publication_and_nothing_else,
)
SIGNER_THAT_VERIFIES = Mutant(
    name="the signer keeps the rights of the separate verifier",
    file="presign_infra/s3_policies.py",
    old="allow_verification=allow_verification and not separate_verifier,",
    new="allow_verification=allow_verification,",
    caught_by=provisioning.test_a_separate_verifier_leaves_the_signer_nothing_but_uploads,
    config=TWO_IDENTITIES,
)
VERIFIER_THAT_UPLOADS = Mutant(
    name="the separate verifier has the policy of the signer",
    file="presign_infra/aws/signer.py",
    old="texts[1],",
    new="texts[0],",
    caught_by=provisioning.test_a_separate_verifier_leaves_the_signer_nothing_but_uploads,
    config=TWO_IDENTITIES,
)

MUTANTS = [
    UPLOADS_THAT_ARE_COPIES,
    replace(
        UPLOADS_THAT_ARE_COPIES,
        name="an upload of the straight way may be a copy",
        caught_by=provisioning.test_in_the_straight_way_the_signer_uploads_and_verifies_under_the_public_prefix,
        config=STRAIGHT,
    ),
    PUBLICATION_OF_ANYTHING,
    PUBLICATION_FROM_ANYWHERE,
    LISTING_OF_EVERYTHING,
    SIGNER_THAT_VERIFIES,
    replace(
        SIGNER_THAT_VERIFIES,
        name="the signer keeps the rights of the separate verifier, shown by IAM",
        caught_by=provisioning.test_iam_gives_each_of_two_identities_its_own_rights,
    ),
    VERIFIER_THAT_UPLOADS,
    Mutant(
        name="the verifier may delete what is published",
        file="presign_infra/s3_policies.py",
        old='"Action": ["s3:GetObject"],',
        new='"Action": ["s3:GetObject", "s3:DeleteObject"],',
        caught_by=provisioning.test_iam_denies_the_access_key_everything_else,
    ),
    Mutant(
        name="every object expires",
        file="presign_infra/s3_policies.py",
        old='"Filter": {"Prefix": require_prefix(pending_prefix, name="pending_prefix")},',
        new='"Filter": {"Prefix": ""},',
        caught_by=provisioning.test_parts_of_unfinished_uploads_and_pending_uploads_are_deleted_after_some_days,
    ),
    Mutant(
        name="old versions of pending uploads stay",
        file="presign_infra/aws/bucket.py",
        old='noncurrent = rule.get("NoncurrentVersionExpiration")',
        new="noncurrent = None",
        caught_by=provisioning.test_parts_of_unfinished_uploads_and_pending_uploads_are_deleted_after_some_days,
    ),
    Mutant(
        name="pending uploads stay",
        file="__main__.py",
        old="    pending_prefix=settings.pending_prefix,\n    expire_pending_after_days",
        new="    pending_prefix=None,\n    expire_pending_after_days",
        caught_by=provisioning.test_parts_of_unfinished_uploads_and_pending_uploads_are_deleted_after_some_days,
    ),
    Mutant(
        name="the env file has the verifier's key as the one that signs",
        file="__main__.py",
        old='environment["PRESIGN_VERIFIER_ACCESS_KEY_ID"] = ',
        new='environment["AWS_ACCESS_KEY_ID"] = environment["PRESIGN_VERIFIER_ACCESS_KEY_ID"] = ',
        caught_by=provisioning.test_the_env_file_has_the_key_that_signs_and_the_key_that_verifies,
        config=TWO_IDENTITIES,
    ),
    Mutant(
        name="the verifier's secret access key is a plain output",
        file="__main__.py",
        old='pulumi.export("verifierSecretAccessKey", signer.verifier_secret_access_key)',
        new='pulumi.export("verifierSecretAccessKey", pulumi.Output.unsecret(signer.verifier_secret_access_key))',
        caught_by=provisioning.test_both_secret_keys_are_secret_outputs,
        config=TWO_IDENTITIES,
    ),
    Mutant(
        name="the env file of the straight way has quotes",
        file="presign_infra/env_file.py",
        old="return value if set(value) <= _UNQUOTED else shlex.quote(value)",
        new="return value if value and set(value) <= _UNQUOTED else shlex.quote(value)",
        caught_by=provisioning.test_the_env_file_of_the_straight_way_has_an_empty_pending_prefix,
        config=STRAIGHT,
    ),
    SIGNER_WITH_ALL_ACTIONS,
    replace(
        SIGNER_WITH_ALL_ACTIONS,
        name="the signer may do everything under the prefix, shown by IAM",
        caught_by=provisioning.test_without_verification_iam_denies_reads_and_deletes,
        config=UPLOAD_ONLY,
    ),
    SIGNER_OF_THE_WHOLE_BUCKET,
    replace(
        SIGNER_OF_THE_WHOLE_BUCKET,
        name="the signer may write to the whole bucket",
        caught_by=provisioning.test_without_verification_the_signer_may_only_upload,
        config=UPLOAD_ONLY,
    ),
    PREFIX_WITHOUT_SLASH,
    Mutant(
        name="the public prefix has no slash at the end",
        file="presign_infra/s3_policies.py",
        old='"Resource": objects_arn(bucket_arn, public_prefix),\n    }',
        new='"Resource": objects_arn(bucket_arn, public_prefix).replace("/*", "*"),\n    }',
        caught_by=provisioning.test_the_bucket_policy_allows_public_reads_under_the_prefix_and_denies_plain_http_and_customer_keys,
    ),
    Mutant(
        name="AWS's own access block still forbids a public policy",
        file="presign_infra/aws/bucket.py",
        old="block_public_policy=not directly_public,",
        new="block_public_policy=True,",
        caught_by="public policies are blocked",
    ),
    Mutant(
        name="the program has no access block",
        file="presign_infra/aws/bucket.py",
        old="access_block = s3.BucketPublicAccessBlock(",
        new="access_block = ownership if public_read else s3.BucketPublicAccessBlock(",
        caught_by="public policies are blocked",
    ),
    Mutant(
        name="the access block still restricts a bucket with a public policy",
        file="presign_infra/aws/bucket.py",
        old="restrict_public_buckets=not directly_public,",
        new="restrict_public_buckets=True,",
        caught_by=provisioning.test_a_bucket_with_public_reads_blocks_public_acls_and_allows_a_public_policy,
    ),
    Mutant(
        name="the access block does not restrict a private bucket",
        file="presign_infra/aws/bucket.py",
        old="restrict_public_buckets=not directly_public,",
        new="restrict_public_buckets=False,",
        caught_by=provisioning.test_a_private_bucket_has_every_access_block_and_no_public_statement,
        config=UPLOAD_ONLY,
    ),
    Mutant(
        name="public ACLs are allowed",
        file="presign_infra/aws/bucket.py",
        old="block_public_acls=True,",
        new="block_public_acls=False,",
        caught_by=provisioning.test_a_bucket_with_public_reads_blocks_public_acls_and_allows_a_public_policy,
    ),
    Mutant(
        name="the bucket policy waits for nothing",
        file="presign_infra/aws/bucket.py",
        old="depends_on=before_policy",
        new="depends_on=[]",
        caught_by=provisioning.test_the_bucket_policy_waits_for_the_access_block_and_the_ownership_controls,
        # A stack without a public policy. Otherwise the cloud may refuse the policy before the test checks the order.
        config=UPLOAD_ONLY,
    ),
    Mutant(
        name="the bucket policy does not wait for the access block",
        file="presign_infra/aws/bucket.py",
        old="depends_on=before_policy",
        new="depends_on=before_policy[:1]",
        caught_by=provisioning.test_the_bucket_policy_waits_for_the_access_block_and_the_ownership_controls,
        config=UPLOAD_ONLY,
    ),
    Mutant(
        name="an object belongs to its writer",
        file="presign_infra/aws/bucket.py",
        old='"BucketOwnerEnforced"',
        new='"ObjectWriter"',
        caught_by=provisioning.test_the_bucket_owner_owns_every_object,
    ),
    Mutant(
        name="the bucket is not protected",
        file="presign_infra/aws/bucket.py",
        old="opts=pulumi.ResourceOptions(parent=self, protect=protect, depends_on=deleted_before),",
        new="opts=pulumi.ResourceOptions(parent=self, depends_on=deleted_before),",
        caught_by=provisioning.test_by_default_everything_but_the_access_keys_is_protected,
    ),
    Mutant(
        name="the users and their access keys may be deleted before the bucket",
        file="presign_infra/aws/bucket.py",
        old="depends_on=deleted_before",
        new="depends_on=[]",
        caught_by=provisioning.test_the_bucket_is_deleted_before_what_the_application_signs_with,
    ),
    Mutant(
        name="the settings of the bucket are not protected",
        file="presign_infra/aws/bucket.py",
        old="return pulumi.ResourceOptions(parent=self, protect=protect, deleted_with=bucket)",
        new="return pulumi.ResourceOptions(parent=self, deleted_with=bucket)",
        caught_by=provisioning.test_by_default_everything_but_the_access_keys_is_protected,
    ),
    Mutant(
        name="the users are not protected",
        file="__main__.py",
        old="    keep_previous_access_key=settings.keep_previous_access_key,\n    protect=settings.protect,\n",
        new="    keep_previous_access_key=settings.keep_previous_access_key,\n",
        caught_by=provisioning.test_by_default_everything_but_the_access_keys_is_protected,
    ),
    Mutant(
        name="a CORS method is missing",
        file="presign_infra/s3_policies.py",
        old='["GET", "PUT", "POST", "HEAD"]',
        new='["GET", "PUT", "HEAD"]',
        caught_by=provisioning.test_the_cors_rule_allows_exactly_what_uploads_need,
    ),
    Mutant(
        name="an exposed header is missing",
        file="presign_infra/s3_policies.py",
        old='["Location", "ETag"]',
        new='["Location"]',
        caught_by=provisioning.test_the_cors_rule_allows_exactly_what_uploads_need,
    ),
    Mutant(
        name="the exposed headers do not reach Pulumi",
        file="presign_infra/aws/bucket.py",
        old='                        expose_headers=rule["ExposeHeaders"],\n',
        new="",
        caught_by=provisioning.test_the_cors_rule_allows_exactly_what_uploads_need,
    ),
    Mutant(
        name="browsers ask before each upload",
        file="presign_infra/aws/bucket.py",
        old='                        max_age_seconds=rule["MaxAgeSeconds"],\n',
        new="",
        caught_by=provisioning.test_the_cors_rule_allows_exactly_what_uploads_need,
    ),
    Mutant(
        name="markers of deletions stay",
        file="presign_infra/aws/bucket.py",
        old=', expired_object_delete_marker=expiration.get("ExpiredObjectDeleteMarker")',
        new="",
        caught_by=provisioning.test_parts_of_unfinished_uploads_and_pending_uploads_are_deleted_after_some_days,
    ),
    Mutant(
        name="the secret access key is a plain output",
        file="__main__.py",
        old='pulumi.export("secretAccessKey", signer.secret_access_key)',
        new='pulumi.export("secretAccessKey", pulumi.Output.unsecret(signer.secret_access_key))',
        caught_by=provisioning.test_the_secret_key_and_the_env_file_are_the_only_secret_outputs,
    ),
    Mutant(
        name="the env file is a plain output",
        file="__main__.py",
        old="pulumi.Output.secret(pulumi.Output.all(**environment).apply(env_file_text))",
        new="pulumi.Output.unsecret(pulumi.Output.all(**environment).apply(env_file_text))",
        caught_by=provisioning.test_the_secret_key_and_the_env_file_are_the_only_secret_outputs,
    ),
    Mutant(
        name="the env file of a private bucket says that reads are public",
        file="__main__.py",
        old="public_read=settings.public_read and not settings.cloudfront,",
        new="public_read=True,",
        caught_by=provisioning.test_the_env_file_of_a_private_bucket_says_that_reads_are_not_public,
        config=UPLOAD_ONLY,
    ),
    READS_WITHOUT_VERIFICATION,
    replace(
        READS_WITHOUT_VERIFICATION,
        name="the signer may read without verification, shown by IAM",
        caught_by=provisioning.test_without_verification_iam_denies_reads_and_deletes,
    ),
    Mutant(
        name="the signer may verify although the setting is off",
        file="__main__.py",
        old="    allow_verification=settings.allow_verification,\n",
        new="",
        caught_by=provisioning.test_without_verification_the_signer_may_only_upload,
        config=UPLOAD_ONLY,
    ),
    Mutant(
        name="the settings of an existing bucket are replaced",
        file="presign_infra/aws/bucket.py",
        old="made = SETTINGS if existing_bucket is None else existing_bucket_settings",
        new="made = SETTINGS if not existing_bucket_settings else existing_bucket_settings",
        caught_by=provisioning.test_nothing_of_an_existing_bucket_is_changed,
        config={"publicRead": False, "existingBucket": "existing-for-a-mutant"},
    ),
    Mutant(
        name="tasks of every account take on the role",
        file="presign_infra/role_trust.py",
        old='if service == "ecs":',
        new='if service == "fargate":',
        caught_by=provisioning.test_only_tasks_of_the_account_take_on_the_role_of_ecs,
        config={**provisioning.ROLES, "roleTrust": "ecs"},
    ),
    replace(
        SIGNER_THAT_VERIFIES,
        name="the role that signs has the rights of the one that verifies",
        caught_by=provisioning.test_iam_gives_each_role_of_the_program_its_own_rights,
        config={**provisioning.ROLES, "roleTrust": "ecs"},
    ),
    Mutant(
        name="the bucket behind a distribution is public itself",
        file="presign_infra/aws/bucket.py",
        old="directly_public = public_read and not cloudfront",
        new="directly_public = public_read",
        caught_by=provisioning.test_only_one_distribution_reads_from_a_private_bucket_and_only_what_is_published,
        config={"cloudFront": True},
    ),
    Mutant(
        name="every distribution of every account reads the bucket",
        file="presign_infra/s3_policies.py",
        old='{"StringEquals": {"aws:SourceArn": distribution_arn}}',
        new='{"StringLike": {"aws:SourceArn": "arn:aws:cloudfront::*:distribution/*"}}',
        caught_by=provisioning.test_only_one_distribution_reads_from_a_private_bucket_and_only_what_is_published,
        config={"cloudFront": True},
    ),
    Mutant(
        name="the distribution does not sign its reads",
        file="presign_infra/aws/bucket.py",
        old='signing_behavior="always"',
        new='signing_behavior="never"',
        caught_by=provisioning.test_the_distribution_signs_its_reads_and_answers_only_with_tls,
        config={"cloudFront": True},
    ),
    Mutant(
        name="what the server signs is as good as a ticket",
        file="presign_infra/aws/signer.py",
        old="                server_signature_max_age_minutes=server_signature_max_age_minutes,\n",
        new="",
        caught_by=provisioning.test_what_only_the_server_does_has_a_smaller_limit_for_signatures,
        config=TWO_LIMITS,
    ),
    PLAIN_HTTP_ALLOWED,
    Mutant(
        name="the version of the policy language does not exist",
        file="presign_infra/s3_policies.py",
        old='"2012-10-17"',
        new='"2024-10-17"',
        caught_by="Syntax errors in policy",
    ),
    Mutant(
        name="a resource is not a child of its component",
        file="presign_infra/aws/signer.py",
        old="            opts=protected,\n        )\n        keys",
        new="            opts=pulumi.ResourceOptions(protect=True),\n        )\n        keys",
        caught_by=provisioning.test_every_resource_is_a_child_of_its_component,
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mistake_in_the_program_fails_the_test_that_guards_against_it(
    mutant: Mutant, tmp_path: Path, moto_cloud: Boto3Cloud
) -> None:
    program = mutant.program(tmp_path)
    config = {"allowedOrigins": provisioning.ORIGINS, **mutant.config}
    if isinstance(mutant.caught_by, str):
        with pytest.raises(ClientError, match=mutant.caught_by):
            deploy(moto_cloud, config, program=program)
        return
    if name := config.get("existingBucket"):
        moto_cloud.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": moto_cloud.region})
    stack = deploy(moto_cloud, config, program=program)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        mutant.caught_by(stack)


@pytest.mark.parametrize(
    "config",
    [
        *({}, UPLOAD_ONLY, TWO_IDENTITIES, STRAIGHT, TWO_LIMITS),
        *({**provisioning.ROLES, "roleTrust": "ecs"}, {"cloudFront": True}),
    ],
    ids=["default", "upload only", "two identities", "straight", "two limits", "roles of tasks", "distribution"],
)
def test_a_copy_without_a_mistake_passes_every_test_that_catches_one(
    config: Mapping[str, Any], tmp_path: Path, moto_cloud: Boto3Cloud
) -> None:
    stack = deploy(moto_cloud, {"allowedOrigins": provisioning.ORIGINS, **config}, program=copy_program(tmp_path))
    guards = {mutant.caught_by for mutant in MUTANTS if mutant.config == config}
    assert guards
    for guard in guards:
        if not isinstance(guard, str):
            guard(stack)


MUTANTS_OVER_HTTP = [
    replace(
        UPLOADS_THAT_ARE_COPIES,
        caught_by=lambda stack, server, http: access.test_no_upload_is_a_copy_even_if_its_signature_says_so(
            stack, http, "public/cat.png"
        ),
    ),
    replace(
        PUBLICATION_OF_ANYTHING,
        caught_by=lambda stack, server, http: (
            access.test_nothing_but_a_copy_of_a_pending_object_is_written_under_the_public_prefix(stack, http)
        ),
    ),
    replace(
        PUBLICATION_FROM_ANYWHERE,
        caught_by=lambda stack, server, http: (
            access.test_nothing_but_a_copy_of_a_pending_object_is_written_under_the_public_prefix(stack, http)
        ),
    ),
    replace(
        LISTING_OF_EVERYTHING,
        caught_by=lambda stack, server, http: access.test_the_access_key_lists_only_what_is_pending(stack),
    ),
    replace(
        SIGNER_THAT_VERIFIES,
        caught_by=lambda stack, server, http: access.test_of_two_identities_the_one_that_signs_only_uploads(
            stack, http
        ),
    ),
    replace(
        VERIFIER_THAT_UPLOADS,
        file="presign_infra/s3_policies.py",
        old="    return [signer, verifier]",
        new="    return [signer, policy_document(*signer['Statement'], *verifier['Statement'])]",
        caught_by=lambda stack, server, http: (
            access.test_of_two_identities_the_other_one_verifies_and_publishes_but_uploads_nothing(stack, http)
        ),
    ),
    replace(
        PREFIX_WITHOUT_SLASH,
        caught_by=lambda stack, server, http: access.test_a_url_presigned_with_the_access_key_uploads_nowhere_else(
            stack, http, "pendings/x"
        ),
    ),
    replace(
        PLAIN_HTTP_ALLOWED,
        new='{"aws:SecureTransport": "never"}',
        caught_by=lambda stack, server, http: access.test_plain_http_is_refused_even_with_a_valid_signature(
            stack, server
        ),
    ),
    Mutant(
        name="the CORS rule allows every origin",
        file="presign_infra/s3_policies.py",
        old='"AllowedOrigins": list(allowed_origins),',
        new='"AllowedOrigins": ["*"],',
        caught_by=lambda stack, server, http: access.test_the_preflight_request_of_another_origin_is_refused(
            stack, http, "PUT", "https://evil.example.com"
        ),
    ),
    Mutant(
        name="an upload may bring its own key for encryption",
        file="presign_infra/aws/bucket.py",
        old="deny_customer_keys=True",
        new="deny_customer_keys=False",
        caught_by=lambda stack, server, http: access.test_an_upload_that_brings_its_own_key_for_encryption_is_refused(
            stack
        ),
    ),
    Mutant(
        name="the whole bucket is public",
        file="presign_infra/s3_policies.py",
        old='"Resource": objects_arn(bucket_arn, public_prefix),\n    }',
        new='"Resource": f"{bucket_arn}/*",\n    }',
        caught_by=lambda stack, server, http: access.test_without_a_signature_only_reads_under_the_prefix_are_allowed(
            stack, http
        ),
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS_OVER_HTTP, ids=lambda mutant: mutant.name)
def test_a_mistake_in_the_program_also_shows_over_http(
    mutant: Mutant, tmp_path: Path, seaweedfs: SeaweedFSWithTls, http: httpx.Client
) -> None:
    assert not isinstance(mutant.caught_by, str)
    stack = access.deploy_with_objects(cloud_on(seaweedfs), mutant.config, program=mutant.program(tmp_path))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        mutant.caught_by(stack, seaweedfs, http)
