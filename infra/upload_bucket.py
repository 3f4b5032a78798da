"""The bucket that browsers upload to, as one component."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pulumi
from pulumi_aws import s3

import policies


class UploadBucket(pulumi.ComponentResource):
    """A bucket whose objects under one prefix everybody may read, if wanted, and nothing else is public.

    `allowed_origins` are the origins of the pages that upload, as browsers send them, without a path.
    `public_prefix` ends with a slash; a ValueError says so otherwise.
    `public_read=False` keeps the whole bucket private: no public statement, and every public access block stays on.
    `abort_uploads_after_days` is when the parts of an unfinished upload go away.
    `bucket_name` is left to auto-naming unless given, so that a replacement never collides with its predecessor.
    `force_destroy` deletes the objects along with the bucket; without it AWS refuses to delete a bucket that has any.
    `protect` makes the engine refuse to delete the bucket itself, while its rules can still be changed.
    """

    bucket: pulumi.Output[str]
    """The bucket's name."""
    arn: pulumi.Output[str]
    region: pulumi.Output[str]
    """The region that the bucket is in, such as `eu-central-1`."""

    def __init__(
        self,
        name: str,
        *,
        allowed_origins: Sequence[str],
        public_prefix: str = "public/",
        public_read: bool = True,
        abort_uploads_after_days: int = 7,
        bucket_name: str | None = None,
        force_destroy: bool = False,
        protect: bool = True,
        tags: Mapping[str, str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        policies.require_prefix(public_prefix, name="public_prefix")
        super().__init__("presign:aws:UploadBucket", name, {}, opts)
        of_this = pulumi.ResourceOptions(parent=self)

        bucket = s3.Bucket(
            f"{name}-bucket",
            bucket=bucket_name,
            force_destroy=force_destroy,
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self, protect=protect),
        )

        # ACLs are off: who may read is in the bucket's policy and in no object's ACL.
        ownership = s3.BucketOwnershipControls(
            f"{name}-ownership",
            bucket=bucket.bucket,
            rule=s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            opts=of_this,
        )
        access_block = s3.BucketPublicAccessBlock(
            f"{name}-access-block",
            bucket=bucket.bucket,
            block_public_acls=True,
            ignore_public_acls=True,
            block_public_policy=not public_read,
            restrict_public_buckets=not public_read,
            opts=of_this,
        )
        s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket.bucket,
            policy=bucket.arn.apply(
                lambda arn: json.dumps(policies.bucket_policy(arn, public_prefix, public_read=public_read))
            ),
            # AWS puts its own access block on every new bucket and refuses a public policy while that one stands.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[access_block, ownership]),
        )

        s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket.bucket,
            rules=[
                s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    apply_server_side_encryption_by_default=(
                        s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                            sse_algorithm="AES256"
                        )
                    )
                )
            ],
            opts=of_this,
        )
        s3.BucketCorsConfiguration(
            f"{name}-cors",
            bucket=bucket.bucket,
            cors_rules=[
                s3.BucketCorsConfigurationCorsRuleArgs(
                    allowed_origins=rule["AllowedOrigins"],
                    allowed_methods=rule["AllowedMethods"],
                    allowed_headers=rule["AllowedHeaders"],
                    expose_headers=rule["ExposeHeaders"],
                )
                for rule in policies.cors_rules(allowed_origins)
            ],
            opts=of_this,
        )
        s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket.bucket,
            rules=[
                s3.BucketLifecycleConfigurationRuleArgs(
                    id=rule["ID"],
                    status=rule["Status"],
                    filter=s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=rule["Filter"]["Prefix"]),
                    abort_incomplete_multipart_upload=(
                        s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                            days_after_initiation=rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
                        )
                    ),
                )
                for rule in policies.lifecycle_rules(abort_uploads_after_days)
            ],
            opts=of_this,
        )

        self.bucket = bucket.bucket
        self.arn = bucket.arn
        self.region = bucket.region
        self.register_outputs({"bucket": self.bucket, "arn": self.arn, "region": self.region})
