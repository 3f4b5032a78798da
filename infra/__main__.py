"""Provisions what a back end that uses presign needs on AWS: a bucket for uploads and an identity that signs them."""

from __future__ import annotations

import pulumi

import config
from env_file import env_text, presign_bucket
from upload_bucket import UploadBucket
from upload_signer import UploadSigner

settings = config.read()

uploads = UploadBucket(
    "uploads",
    allowed_origins=settings.allowed_origins,
    public_prefix=settings.public_prefix,
    public_read=settings.public_read,
    abort_uploads_after_days=settings.abort_uploads_after_days,
    bucket_name=settings.bucket_name,
    force_destroy=settings.force_destroy,
    protect=settings.protect,
    tags=settings.tags,
)
signer = UploadSigner(
    "uploads-signer",
    bucket_arn=uploads.arn,
    prefix=settings.public_prefix,
    allow_verification=settings.allow_verification,
    signature_max_age_minutes=settings.signature_max_age_minutes,
    create_user=settings.create_user,
    access_key_generation=settings.access_key_generation,
    keep_previous_access_key=settings.keep_previous_access_key,
    tags=settings.tags,
)

address = pulumi.Output.all(uploads.bucket, uploads.region).apply(
    lambda known: presign_bucket(known[0], settings.public_prefix, region=known[1], endpoint_url=settings.endpoint_url)
)
environment: dict[str, pulumi.Input[str]] = {"PRESIGN_BUCKET": address, "AWS_DEFAULT_REGION": uploads.region}
# The demo server compares origins word for word; a rule with a wildcard is the bucket's alone.
if exact_origins := [origin for origin in settings.allowed_origins if "*" not in origin]:
    environment["PRESIGN_ALLOWED_ORIGINS"] = ",".join(exact_origins)

pulumi.export("bucket", uploads.bucket)
pulumi.export("region", uploads.region)
pulumi.export("prefix", settings.public_prefix)
pulumi.export("presignBucket", address)
if signer.access_key_id is not None and signer.secret_access_key is not None:
    environment["AWS_ACCESS_KEY_ID"] = signer.access_key_id
    environment["AWS_SECRET_ACCESS_KEY"] = signer.secret_access_key
    pulumi.export("accessKeyId", signer.access_key_id)
    pulumi.export("secretAccessKey", signer.secret_access_key)
if signer.policy_arn is not None:
    pulumi.export("policyArn", signer.policy_arn)
pulumi.export("env", pulumi.Output.secret(pulumi.Output.all(**environment).apply(env_text)))
