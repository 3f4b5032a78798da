"""The component for the bucket that browsers upload to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_aws import get_partition_output, s3

from presign_infra import s3_policies as policies
from presign_infra.prefixes import require_prefix, require_separate_prefixes


class UploadBucket(pulumi.ComponentResource):
    """A bucket for uploads. Everybody may read what is published under one prefix; nothing else is public.

    - ``allowed_origins``: the origins of the pages that upload, such as ``https://app.example.com``, without a path.
    - ``public_prefix``: where verified uploads are published, with a slash at the end.
    - ``pending_prefix``: where uploads wait, unreadable for the public, until they are verified. With None, uploads go
      straight to ``public_prefix``, and everybody may read them before they are verified.
    - ``expire_pending_after_days``: S3 deletes an upload that is still pending after this many days. With less than
      9 days, it could delete a large file that was resumed for a week, while the file is inspected.
    - ``public_read``: with False, the whole bucket is private, and all of AWS's public access blocks stay on.
    - ``abort_uploads_after_days``: S3 deletes the parts of an unfinished upload after this many days.
    - ``cors_max_age_seconds``: so long, a browser does not ask again whether a page may upload.
    - ``versioning``: S3 keeps what is replaced or deleted, so a mistake can be undone. A later False stops this, and
      leaves the versions that exist to the next setting.
    - ``expire_old_versions_after_days``: S3 deletes such a version after this many days.
    - ``kms_key_arn``: the KMS key that encrypts the objects, in the bucket's region. Without it, S3 encrypts with keys
      of its own. Nobody reads such an object without a signature, so this needs ``public_read=False``.
    - ``log_bucket``: the name of another bucket, in which S3 records the requests, under ``log_prefix``. Its own policy
      must let ``logging.s3.amazonaws.com`` put objects there.
    - ``bucket_name``: by default, Pulumi chooses a unique name, so a new bucket can replace this one at any time.
    - ``force_destroy``: deleting the bucket also deletes its objects. Without it, AWS refuses to delete a bucket that
      has objects.
    - ``protect``: the engine refuses to delete the bucket and its settings, which can still be changed.

    The bucket refuses requests over plain http, and uploads that bring their own key for encryption.

    Raises ValueError for a prefix, two prefixes, origins or a number of days that cannot work, and for a KMS key with
    public reads.
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
        pending_prefix: str | None = "pending/",
        expire_pending_after_days: int = 9,
        public_read: bool = True,
        abort_uploads_after_days: int = 7,
        cors_max_age_seconds: int = 3600,
        versioning: bool = False,
        expire_old_versions_after_days: int = 30,
        kms_key_arn: str | None = None,
        log_bucket: str | None = None,
        log_prefix: str = "uploads/",
        bucket_name: str | None = None,
        force_destroy: bool = False,
        protect: bool = True,
        tags: Mapping[str, str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        require_prefix(public_prefix, name="public_prefix")
        if pending_prefix is not None:
            require_separate_prefixes(pending_prefix, public_prefix)
        if kms_key_arn is not None and public_read:
            raise ValueError("kms_key_arn needs public_read=False, because KMS decrypts nothing without a signature")
        super().__init__("presign:aws:UploadBucket", name, {}, opts)

        bucket = s3.Bucket(
            f"{name}-bucket",
            bucket=bucket_name,
            force_destroy=force_destroy,
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self, protect=protect),
        )

        # The first preview knows the name, but not what AWS returns. So it can show policies with an ARN from the name.
        partition = get_partition_output(opts=pulumi.InvokeOutputOptions(parent=self)).partition
        arn = pulumi.Output.format("arn:{0}:s3:::{1}", partition, bucket.bucket)

        # The settings go with the bucket, and not before it. So they stay if AWS refuses to delete the bucket, which it
        # does while the bucket has objects.
        child_options = pulumi.ResourceOptions(parent=self, protect=protect, deleted_with=bucket)

        # This turns ACLs off, so only policies decide who may read an object.
        ownership = s3.BucketOwnershipControls(
            f"{name}-ownership",
            bucket=bucket.bucket,
            rule=s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            opts=child_options,
        )
        access_block = s3.BucketPublicAccessBlock(
            f"{name}-access-block",
            bucket=bucket.bucket,
            block_public_acls=True,
            ignore_public_acls=True,
            block_public_policy=not public_read,
            restrict_public_buckets=not public_read,
            opts=child_options,
        )
        s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket.bucket,
            policy=arn.apply(
                lambda arn: json.dumps(
                    policies.bucket_policy(arn, public_prefix, public_read=public_read, deny_customer_keys=True)
                )
            ),
            # AWS blocks public policies on every new bucket. So the policy must wait until this block is replaced.
            opts=pulumi.ResourceOptions.merge(
                child_options, pulumi.ResourceOptions(depends_on=[access_block, ownership])
            ),
        )

        s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket.bucket,
            rules=[
                s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    apply_server_side_encryption_by_default=(
                        s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                            sse_algorithm="AES256" if kms_key_arn is None else "aws:kms",
                            kms_master_key_id=kms_key_arn,
                        )
                    ),
                    # S3 then asks KMS for a key of the bucket from time to time, and not for each object.
                    bucket_key_enabled=None if kms_key_arn is None else True,
                )
            ],
            opts=child_options,
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
                    max_age_seconds=rule["MaxAgeSeconds"],
                )
                for rule in policies.cors_rules(allowed_origins, max_age_seconds=cors_max_age_seconds)
            ],
            opts=child_options,
        )
        s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket.bucket,
            rules=[
                _lifecycle_rule(rule)
                for rule in policies.lifecycle_rules(
                    abort_uploads_after_days,
                    pending_prefix=pending_prefix,
                    expire_pending_after_days=expire_pending_after_days,
                    expire_old_versions_after_days=expire_old_versions_after_days,
                )
            ],
            opts=child_options,
        )
        if log_bucket is not None:
            s3.BucketLogging(
                f"{name}-logging",
                bucket=bucket.bucket,
                target_bucket=log_bucket,
                target_prefix=log_prefix,
                # Without protection, the setting can be turned off.
                opts=pulumi.ResourceOptions(parent=self, deleted_with=bucket),
            )
        if versioning:
            s3.BucketVersioning(
                f"{name}-versioning",
                bucket=bucket.bucket,
                versioning_configuration=s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
                # Without protection, the setting can be turned off. Then S3 suspends versioning.
                opts=pulumi.ResourceOptions(parent=self, deleted_with=bucket),
            )

        self.bucket = bucket.bucket
        self.arn = arn
        self.region = bucket.region
        self.register_outputs({"bucket": self.bucket, "arn": self.arn, "region": self.region})


def _lifecycle_rule(rule: Mapping[str, Any]) -> s3.BucketLifecycleConfigurationRuleArgs:
    abort = rule.get("AbortIncompleteMultipartUpload")
    expiration = rule.get("Expiration")
    noncurrent = rule.get("NoncurrentVersionExpiration")
    return s3.BucketLifecycleConfigurationRuleArgs(
        id=rule["ID"],
        status=rule["Status"],
        filter=s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=rule["Filter"]["Prefix"]),
        abort_incomplete_multipart_upload=(
            s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                days_after_initiation=abort["DaysAfterInitiation"]
            )
            if abort
            else None
        ),
        expiration=(
            s3.BucketLifecycleConfigurationRuleExpirationArgs(
                days=expiration.get("Days"), expired_object_delete_marker=expiration.get("ExpiredObjectDeleteMarker")
            )
            if expiration
            else None
        ),
        noncurrent_version_expiration=(
            s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                noncurrent_days=noncurrent["NoncurrentDays"]
            )
            if noncurrent
            else None
        ),
    )
