"""A Pulumi program of one's own, with two components of presign: profile pictures and who uploads them."""

import pulumi

from presign_infra.aws import UploadBucket, UploadSigner

avatars = UploadBucket("avatars", allowed_origins=["https://app.example.com"], public_prefix="avatars/")
signer = UploadSigner(
    "avatars-signer", bucket_arn=avatars.arn, prefix="avatars/", create_user=False, separate_verifier=True
)

pulumi.export("bucket", avatars.bucket)
pulumi.export("signerPolicy", signer.policy_arn)
pulumi.export("verifierPolicy", signer.verifier_policy_arn)
