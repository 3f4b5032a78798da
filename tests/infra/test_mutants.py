"""Mistakes made on purpose in copies of the program: each must be caught by the test that is named beside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.infra import test_effective_access as access
from tests.infra import test_provisioning as provisioning
from tests.infra.boto3_cloud import Boto3Cloud
from tests.infra.conftest import SeaweedFSWithTls, cloud_on
from tests.infra.pulumi_program import INFRA
from tests.infra.test_provisioning import deploy

UPLOAD_ONLY = {"publicRead": False, "allowVerification": False}


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One text of one file replaced by another, and the test that then fails, or what the cloud refuses it with."""

    name: str
    file: str
    old: str
    new: str
    caught_by: Callable[..., None] | str
    config: Mapping[str, Any] = field(default_factory=dict)


MUTANTS = [
    Mutant(
        name="the signer may do everything under the prefix",
        file="policies.py",
        old='["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]',
        new='["s3:*"]',
        caught_by=provisioning.test_the_signer_may_upload_and_verify_under_the_prefix_and_that_is_its_whole_policy,
    ),
    Mutant(
        name="the signer may do everything, as IAM decides",
        file="policies.py",
        old='["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]',
        new='["s3:*"]',
        caught_by=provisioning.test_iam_refuses_reads_and_deletes_without_verification,
        config=UPLOAD_ONLY,
    ),
    Mutant(
        name="the signer's resource is the whole bucket",
        file="policies.py",
        old="under_prefix = objects_arn(bucket_arn, prefix)",
        new='under_prefix = f"{bucket_arn}/*"',
        caught_by=provisioning.test_iam_refuses_the_key_everything_else,
    ),
    Mutant(
        name="the signer's resource is the whole bucket, word for word",
        file="policies.py",
        old="under_prefix = objects_arn(bucket_arn, prefix)",
        new='under_prefix = f"{bucket_arn}/*"',
        caught_by=provisioning.test_without_verification_the_signer_may_only_upload,
        config=UPLOAD_ONLY,
    ),
    Mutant(
        name="a prefix without its slash",
        file="policies.py",
        old='return f"{bucket_arn}/{require_prefix(prefix)}*"',
        new='return f"{bucket_arn}/{require_prefix(prefix)[:-1]}*"',
        caught_by=provisioning.test_iam_refuses_the_key_everything_else,
    ),
    Mutant(
        name="public reads without the slash",
        file="policies.py",
        old='"Resource": objects_arn(bucket_arn, public_prefix),',
        new='"Resource": objects_arn(bucket_arn, public_prefix).replace("/*", "*"),',
        caught_by=provisioning.test_the_bucket_policy_opens_reads_under_the_prefix_and_refuses_plain_http,
    ),
    Mutant(
        name="the access block left as AWS makes it",
        file="upload_bucket.py",
        old="block_public_policy=not public_read,",
        new="block_public_policy=True,",
        caught_by="public policies are blocked",
    ),
    Mutant(
        name="no access block of the program's own",
        file="upload_bucket.py",
        old="access_block = s3.BucketPublicAccessBlock(",
        new="access_block = ownership if public_read else s3.BucketPublicAccessBlock(",
        caught_by="public policies are blocked",
    ),
    Mutant(
        name="the access block left on behind a public policy",
        file="upload_bucket.py",
        old="restrict_public_buckets=not public_read,",
        new="restrict_public_buckets=True,",
        caught_by=provisioning.test_a_public_bucket_blocks_acls_and_lets_its_policy_be_public,
    ),
    Mutant(
        name="the access block removed from a private bucket",
        file="upload_bucket.py",
        old="restrict_public_buckets=not public_read,",
        new="restrict_public_buckets=False,",
        caught_by=provisioning.test_a_private_bucket_keeps_every_block_and_has_no_public_statement,
        config=UPLOAD_ONLY,
    ),
    Mutant(
        name="public ACLs let in",
        file="upload_bucket.py",
        old="block_public_acls=True,",
        new="block_public_acls=False,",
        caught_by=provisioning.test_a_public_bucket_blocks_acls_and_lets_its_policy_be_public,
    ),
    Mutant(
        name="the policy waits for nothing",
        file="upload_bucket.py",
        old="depends_on=[access_block, ownership]",
        new="depends_on=[]",
        caught_by=provisioning.test_the_bucket_policy_waits_for_the_access_block_and_the_ownership_controls,
        # A public policy would race the access block, and sometimes be refused before its order is looked at.
        config=UPLOAD_ONLY,
    ),
    Mutant(
        name="the policy does not wait for the access block",
        file="upload_bucket.py",
        old="depends_on=[access_block, ownership]",
        new="depends_on=[ownership]",
        caught_by=provisioning.test_the_bucket_policy_waits_for_the_access_block_and_the_ownership_controls,
        config=UPLOAD_ONLY,
    ),
    Mutant(
        name="objects owned by whoever writes them",
        file="upload_bucket.py",
        old='"BucketOwnerEnforced"',
        new='"ObjectWriter"',
        caught_by=provisioning.test_the_bucket_owner_owns_every_object,
    ),
    Mutant(
        name="a bucket that is not protected",
        file="upload_bucket.py",
        old="opts=pulumi.ResourceOptions(parent=self, protect=protect),",
        new="opts=pulumi.ResourceOptions(parent=self),",
        caught_by=provisioning.test_the_bucket_alone_is_protected_by_default,
    ),
    Mutant(
        name="a CORS method missing",
        file="policies.py",
        old='["GET", "PUT", "POST", "HEAD"]',
        new='["GET", "PUT", "HEAD"]',
        caught_by=provisioning.test_the_cors_rule_is_exactly_the_one_that_uploads_need,
    ),
    Mutant(
        name="an exposed header missing",
        file="policies.py",
        old='["Location", "ETag"]',
        new='["Location"]',
        caught_by=provisioning.test_the_cors_rule_is_exactly_the_one_that_uploads_need,
    ),
    Mutant(
        name="the exposed headers dropped on the way to Pulumi",
        file="upload_bucket.py",
        old='                    expose_headers=rule["ExposeHeaders"],\n',
        new="",
        caught_by=provisioning.test_the_cors_rule_is_exactly_the_one_that_uploads_need,
    ),
    Mutant(
        name="the secret exported plain",
        file="__main__.py",
        old='pulumi.export("secretAccessKey", signer.secret_access_key)',
        new='pulumi.export("secretAccessKey", pulumi.Output.unsecret(signer.secret_access_key))',
        caught_by=provisioning.test_the_secret_key_and_the_env_file_are_the_only_secret_outputs,
    ),
    Mutant(
        name="the env file exported plain",
        file="__main__.py",
        old="pulumi.Output.secret(pulumi.Output.all(**environment).apply(env_text))",
        new="pulumi.Output.unsecret(pulumi.Output.all(**environment).apply(env_text))",
        caught_by=provisioning.test_the_secret_key_and_the_env_file_are_the_only_secret_outputs,
    ),
    Mutant(
        name="reads without verification",
        file="policies.py",
        old='"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],',
        new='"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:GetObject"],',
        caught_by=provisioning.test_without_verification_the_signer_may_only_upload,
        config=UPLOAD_ONLY,
    ),
    Mutant(
        name="reads without verification, as IAM decides",
        file="policies.py",
        old='"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],',
        new='"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:GetObject"],',
        caught_by=provisioning.test_iam_refuses_reads_and_deletes_without_verification,
        config=UPLOAD_ONLY,
    ),
    Mutant(
        name="verification although it was turned off",
        file="__main__.py",
        old="    allow_verification=settings.allow_verification,\n",
        new="",
        caught_by=provisioning.test_without_verification_the_signer_may_only_upload,
        config=UPLOAD_ONLY,
    ),
    Mutant(
        name="plain http let in",
        file="policies.py",
        old='{"aws:SecureTransport": "false"}',
        new='{"aws:SecureTransport": "true"}',
        caught_by=provisioning.test_the_bucket_policy_opens_reads_under_the_prefix_and_refuses_plain_http,
    ),
    Mutant(
        name="a policy language version that does not exist",
        file="policies.py",
        old='"2012-10-17"',
        new='"2024-10-17"',
        caught_by="Syntax errors in policy",
    ),
    Mutant(
        name="a child that is not one",
        file="upload_signer.py",
        old='iam.User(f"{name}-user", tags=tags, opts=of_this)',
        new='iam.User(f"{name}-user", tags=tags)',
        caught_by=provisioning.test_every_resource_is_a_child_of_its_component,
    ),
]


def mutated_program(mutant: Mutant, directory: Path) -> Path:
    """Copies the program to `directory` with the mutant's text in place of the original, which must occur once."""
    program = directory / "infra"
    shutil.copytree(INFRA, program, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    source = (program / mutant.file).read_text(encoding="utf-8")
    assert source.count(mutant.old) == 1, f"{mutant.name}: {mutant.file} has the text {source.count(mutant.old)} times"
    (program / mutant.file).write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
    return program


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mistake_in_the_program_fails_the_test_that_guards_against_it(
    mutant: Mutant, tmp_path: Path, moto_cloud: Boto3Cloud
) -> None:
    program = mutated_program(mutant, tmp_path)
    config = {"allowedOrigins": provisioning.ORIGINS, **mutant.config}
    if isinstance(mutant.caught_by, str):
        with pytest.raises(ClientError, match=mutant.caught_by):
            deploy(moto_cloud, config, program=program)
        return
    stack = deploy(moto_cloud, config, program=program)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        mutant.caught_by(stack)


@pytest.mark.parametrize("config", [{}, UPLOAD_ONLY], ids=["default", "upload only"])
def test_a_copy_without_a_mistake_passes_every_test_that_catches_one(
    config: Mapping[str, Any], tmp_path: Path, moto_cloud: Boto3Cloud
) -> None:
    program = tmp_path / "infra"
    shutil.copytree(INFRA, program, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    stack = deploy(moto_cloud, {"allowedOrigins": provisioning.ORIGINS, **config}, program=program)
    guards = {mutant.caught_by for mutant in MUTANTS if mutant.config == config}
    assert guards
    for guard in guards:
        if not isinstance(guard, str):
            guard(stack)


MUTANTS_OVER_HTTP = [
    Mutant(
        name="a prefix without its slash",
        file="policies.py",
        old='return f"{bucket_arn}/{require_prefix(prefix)}*"',
        new='return f"{bucket_arn}/{require_prefix(prefix)[:-1]}*"',
        caught_by=lambda stack, server, http: access.test_a_url_presigned_with_the_issued_key_uploads_nowhere_else(
            stack, http, "publicity/x"
        ),
    ),
    Mutant(
        name="plain http let in",
        file="policies.py",
        old='{"aws:SecureTransport": "false"}',
        new='{"aws:SecureTransport": "never"}',
        caught_by=lambda stack, server, http: access.test_plain_http_is_refused_to_everybody_even_with_a_good_signature(
            stack, server
        ),
    ),
    Mutant(
        name="every origin let in",
        file="policies.py",
        old='"AllowedOrigins": list(allowed_origins),',
        new='"AllowedOrigins": ["*"],',
        caught_by=lambda stack, server, http: access.test_a_foreign_origin_fails_the_preflight(
            stack, http, "PUT", "https://evil.example.com"
        ),
    ),
    Mutant(
        name="the whole bucket public",
        file="policies.py",
        old='"Resource": objects_arn(bucket_arn, public_prefix),',
        new='"Resource": f"{bucket_arn}/*",',
        caught_by=lambda stack, server, http: access.test_everybody_can_do_nothing_but_read_under_the_prefix(
            stack, http
        ),
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS_OVER_HTTP, ids=lambda mutant: mutant.name)
def test_a_mistake_shows_over_http_as_well(
    mutant: Mutant, tmp_path: Path, seaweedfs: SeaweedFSWithTls, http: httpx.Client
) -> None:
    assert not isinstance(mutant.caught_by, str)
    stack = access.deploy_with_objects(cloud_on(seaweedfs), program=mutated_program(mutant, tmp_path))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        mutant.caught_by(stack, seaweedfs, http)
