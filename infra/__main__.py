"""The Pulumi program: a bucket for uploads on AWS, and the identities that sign, verify and publish them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_aws import get_caller_identity_output

from presign_infra.aws import UploadBucket, UploadSigner
from presign_infra.aws.settings import Settings, read_settings
from presign_infra.env_file import bucket_address, demo_variables, env_file_text
from presign_infra.role_trust import oidc_trust, service_trust


def role_trust(settings: Settings, oidc_subjects: Sequence[str]) -> pulumi.Output[Mapping[str, Any]] | None:
    """Return the trust policy of a role that the program makes, or None if it makes none."""
    trust = settings.role_trust
    if trust is None:
        return None
    if trust == "oidc":
        return pulumi.Output.from_input(
            oidc_trust(settings.oidc_provider_arn, audience=settings.oidc_audience, subjects=oidc_subjects)
        )
    account_id = get_caller_identity_output().account_id
    return account_id.apply(lambda account_id: service_trust(trust, account_id=account_id))


settings = read_settings()

signer = UploadSigner(
    "uploads-signer",
    prefix=settings.public_prefix,
    pending_prefix=settings.pending_prefix,
    allow_verification=settings.allow_verification,
    separate_verifier=settings.separate_verifier,
    allow_listing=settings.allow_listing,
    publish_in_parts=settings.publish_in_parts,
    signature_max_age_minutes=settings.signature_max_age_minutes,
    server_signature_max_age_minutes=settings.server_signature_max_age_minutes,
    kms_key_arn=settings.kms_key_arn,
    create_user=settings.create_user,
    roles=settings.signer_roles,
    verifier_roles=settings.verifier_roles,
    role_trust=role_trust(settings, settings.oidc_subjects),
    verifier_role_trust=(role_trust(settings, settings.verifier_oidc_subjects) if settings.separate_verifier else None),
    instance_profiles=settings.role_trust == "ec2",
    permissions_boundary=settings.permissions_boundary,
    path=settings.iam_path,
    access_key_generation=settings.access_key_generation,
    keep_previous_access_key=settings.keep_previous_access_key,
    protect=settings.protect,
    tags=settings.tags,
)
uploads = UploadBucket(
    "uploads",
    allowed_origins=settings.allowed_origins,
    public_prefix=settings.public_prefix,
    pending_prefix=settings.pending_prefix,
    expire_pending_after_days=settings.expire_pending_after_days,
    public_read=settings.public_read,
    cloudfront=settings.cloudfront,
    abort_uploads_after_days=settings.abort_uploads_after_days,
    cors_max_age_seconds=settings.cors_max_age_seconds,
    versioning=settings.versioning,
    expire_old_versions_after_days=settings.expire_old_versions_after_days,
    kms_key_arn=settings.kms_key_arn,
    log_bucket=settings.log_bucket,
    log_prefix=settings.log_prefix,
    bucket_name=settings.bucket_name,
    existing_bucket=settings.existing_bucket,
    existing_bucket_settings=settings.existing_bucket_settings,
    force_destroy=settings.force_destroy,
    protect=settings.protect,
    # If AWS refuses to delete a bucket with objects, the application can still work with it.
    deleted_before=signer.identities,
    tags=settings.tags,
)
signer.allow(uploads.arn)

address = pulumi.Output.all(uploads.bucket, uploads.region).apply(
    lambda outputs: bucket_address(
        outputs[0], settings.public_prefix, region=outputs[1], endpoint_url=settings.endpoint_url
    )
)
environment: dict[str, pulumi.Input[str]] = {
    **demo_variables(
        address,
        pending_prefix=settings.pending_prefix,
        # With a distribution, the links of S3 itself do not work.
        public_read=settings.public_read and not settings.cloudfront,
        allowed_origins=settings.allowed_origins,
        region=uploads.region,
    )
}

pulumi.export("bucket", uploads.bucket)
pulumi.export("region", uploads.region)
pulumi.export("prefix", settings.public_prefix)
pulumi.export("pendingPrefix", settings.pending_prefix or "")
pulumi.export("presignBucket", address)
if uploads.public_url is not None:
    pulumi.export("publicUrl", uploads.public_url)
if settings.existing_bucket is not None:
    pulumi.export("existingBucketDocuments", uploads.documents)
if signer.access_key_id is not None and signer.secret_access_key is not None:
    environment["AWS_ACCESS_KEY_ID"] = signer.access_key_id
    environment["AWS_SECRET_ACCESS_KEY"] = signer.secret_access_key
    pulumi.export("accessKeyId", signer.access_key_id)
    pulumi.export("secretAccessKey", signer.secret_access_key)
if signer.verifier_access_key_id is not None and signer.verifier_secret_access_key is not None:
    environment["PRESIGN_VERIFIER_ACCESS_KEY_ID"] = signer.verifier_access_key_id
    environment["PRESIGN_VERIFIER_SECRET_ACCESS_KEY"] = signer.verifier_secret_access_key
    pulumi.export("verifierAccessKeyId", signer.verifier_access_key_id)
    pulumi.export("verifierSecretAccessKey", signer.verifier_secret_access_key)
of_roles = {
    "policyArn": signer.policy_arn,
    "verifierPolicyArn": signer.verifier_policy_arn,
    "roleArn": signer.role_arn,
    "verifierRoleArn": signer.verifier_role_arn,
    "instanceProfile": signer.instance_profile,
    "verifierInstanceProfile": signer.verifier_instance_profile,
}
for name, output in of_roles.items():
    if output is not None:
        pulumi.export(name, output)
pulumi.export("env", pulumi.Output.secret(pulumi.Output.all(**environment).apply(env_file_text)))
