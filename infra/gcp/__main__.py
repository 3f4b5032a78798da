"""The Pulumi program: a bucket for uploads on Google Cloud, and the service accounts that sign, verify and publish."""

from __future__ import annotations

import sys
from pathlib import Path

import pulumi

# The components are in the folder above, and this program's environment does not have them as a package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from presign_infra.env_file import demo_variables, env_file_text
from presign_infra.gcp import UploadBucket, UploadIdentities
from presign_infra.gcp.addresses import bucket_address
from presign_infra.gcp.settings import read_settings

# Where docs/provisioning-google.md says to save the keys. Git ignores files with these names.
SIGNER_FILE = ".env.google-signer.json"
VERIFIER_FILE = ".env.google-verifier.json"

settings = read_settings()

uploads = UploadBucket(
    "uploads",
    allowed_origins=settings.allowed_origins,
    location=settings.location,
    public_prefix=settings.public_prefix,
    pending_prefix=settings.pending_prefix,
    expire_pending_after_days=settings.expire_pending_after_days,
    public_read=settings.public_read,
    abort_uploads_after_days=settings.abort_uploads_after_days,
    metadata_names=settings.metadata_names,
    cors_max_age_seconds=settings.cors_max_age_seconds,
    soft_delete_days=settings.soft_delete_days,
    bucket_name=settings.bucket_name,
    force_destroy=settings.force_destroy,
    protect=settings.protect,
    labels=settings.labels,
)
identities = UploadIdentities(
    "uploads-signer",
    bucket=uploads.bucket,
    public_folder=uploads.public_folder,
    pending_folder=uploads.pending_folder,
    allow_verification=settings.allow_verification,
    separate_verifier=settings.separate_verifier,
    allow_listing=settings.allow_listing,
    # Links to private objects are signed, and whoever signs them must be allowed to read.
    sign_downloads=not settings.public_read,
    sign_with=settings.sign_with,
    key_generation=settings.access_key_generation,
    keep_previous_key=settings.keep_previous_access_key,
    impersonators=settings.impersonators,
    protect=settings.protect,
)

has_two_keys = identities.verifier_credentials is not None
address = pulumi.Output.all(uploads.bucket, identities.signer_email).apply(
    lambda outputs: bucket_address(
        outputs[0],
        settings.public_prefix,
        service_account_email=outputs[1] if settings.sign_with == "signBlob" else None,
        verifier_credentials=VERIFIER_FILE if has_two_keys else None,
        endpoint_url=settings.endpoint_url,
    )
)
environment: dict[str, pulumi.Input[str]] = {
    **demo_variables(
        address,
        pending_prefix=settings.pending_prefix,
        public_read=settings.public_read,
        allowed_origins=settings.allowed_origins,
    )
}

pulumi.export("bucket", uploads.bucket)
pulumi.export("prefix", settings.public_prefix)
pulumi.export("pendingPrefix", settings.pending_prefix or "")
pulumi.export("presignBucket", address)
pulumi.export("signerEmail", identities.signer_email)
pulumi.export("verifierEmail", identities.verifier_email)
if identities.hmac_access_id is not None and identities.hmac_secret is not None:
    environment["GCS_HMAC_ACCESS_ID"] = identities.hmac_access_id
    environment["GCS_HMAC_SECRET"] = identities.hmac_secret
    pulumi.export("hmacAccessId", identities.hmac_access_id)
    pulumi.export("hmacSecret", identities.hmac_secret)
if identities.signer_credentials is not None:
    environment["GOOGLE_APPLICATION_CREDENTIALS"] = SIGNER_FILE
    pulumi.export("signerCredentials", identities.signer_credentials)
if identities.verifier_credentials is not None:
    pulumi.export("verifierCredentials", identities.verifier_credentials)
text = pulumi.Output.all(**environment).apply(env_file_text)
pulumi.export("env", pulumi.Output.secret(text) if settings.sign_with == "hmacKey" else text)
