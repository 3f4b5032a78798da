"""The component for the bucket that browsers upload to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_aws import cloudfront as cdn
from pulumi_aws import get_partition_output, s3

from presign_infra import s3_policies as policies
from presign_infra.prefixes import require_prefix, require_separate_prefixes

SETTINGS = ("ownership", "accessBlock", "policy", "encryption", "cors", "lifecycle", "logging", "versioning")
"""The settings of a bucket. Each of them is a whole in AWS's API: who sets one replaces the one before."""


# Policies that AWS itself manages. The second one adds `X-Content-Type-Options: nosniff`, and lets pages of all origins
# read, which they may do anyway: everybody may read without credentials.
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-managed-cache-policies.html
_CACHING_OPTIMIZED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-managed-response-headers-policies.html
_CORS_AND_SECURITY_HEADERS = "e61eb60c-9c35-4d20-a928-2b84e02af89c"


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
    - ``cloudfront``: everybody reads through a distribution of CloudFront, and the bucket itself stays private. It
      needs ``public_read=True``.
    - ``kms_key_arn``: the KMS key that encrypts the objects, in the bucket's region. Without it, S3 encrypts with keys
      of its own. Nobody reads such an object without a signature, so this needs ``public_read=False`` or
      ``cloudfront=True``.
    - ``log_bucket``: the name of another bucket, in which S3 records the requests, under ``log_prefix``. Its own policy
      must let ``logging.s3.amazonaws.com`` put objects there.
    - ``bucket_name``: by default, Pulumi chooses a unique name, so a new bucket can replace this one at any time.
    - ``existing_bucket``: the name of a bucket that is already there. The program neither makes nor deletes it, and
      changes only those of its settings that ``existing_bucket_settings`` names, one of ``SETTINGS`` each. Such a
      setting takes the place of the one that was there, and stays when it leaves the stack. The bucket's policy and
      lifecycle rules then concern only the two prefixes.
    - ``force_destroy``: deleting the bucket also deletes its objects. Without it, AWS refuses to delete a bucket that
      has objects.
    - ``protect``: the engine refuses to delete the bucket and its settings, which can still be changed.
    - ``deleted_before``: resources that are deleted after the bucket, such as ``UploadSigner.identities``. They stay if
      AWS refuses to delete the bucket. A bucket that is already there is not deleted.

    The bucket refuses requests over plain http, and uploads that bring their own key for encryption.

    Raises ValueError for a prefix, two prefixes, origins or a number of days that cannot work, and for a KMS key with
    public reads.
    """

    bucket: pulumi.Output[str]
    """The bucket's name."""
    arn: pulumi.Output[str]
    region: pulumi.Output[str]
    """The region that the bucket is in, such as `eu-central-1`."""
    public_url: pulumi.Output[str] | None
    """The address of the distribution without a slash at the end, or None without ``cloudfront``. The address of an
    object is this one, a slash, and the key."""
    documents: pulumi.Output[dict[str, Any]]
    """The bucket policy, the CORS rules and the lifecycle rules that an existing bucket needs and the program does not
    make, in the shapes of AWS's API. It is empty for a new bucket."""

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
        cloudfront: bool = False,
        kms_key_arn: str | None = None,
        log_bucket: str | None = None,
        log_prefix: str = "uploads/",
        bucket_name: str | None = None,
        existing_bucket: str | None = None,
        existing_bucket_settings: Sequence[str] = (),
        force_destroy: bool = False,
        protect: bool = True,
        deleted_before: Sequence[pulumi.Resource] = (),
        tags: Mapping[str, str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        require_prefix(public_prefix, name="public_prefix")
        if pending_prefix is not None:
            require_separate_prefixes(pending_prefix, public_prefix)
        if unknown := sorted(set(existing_bucket_settings) - set(SETTINGS)):
            raise ValueError(f"existing_bucket_settings must be some of {', '.join(SETTINGS)}; it has {unknown[0]!a}")
        if existing_bucket is None and existing_bucket_settings:
            raise ValueError("existing_bucket_settings needs existing_bucket; a new bucket has all settings")
        if existing_bucket is not None and (bucket_name is not None or force_destroy):
            raise ValueError("existing_bucket excludes bucket_name and force_destroy, which are for a new bucket")
        made = SETTINGS if existing_bucket is None else existing_bucket_settings
        if cloudfront and not public_read:
            raise ValueError("cloudfront needs public_read=True, because everybody may read through a distribution")
        directly_public = public_read and not cloudfront
        if kms_key_arn is not None and directly_public:
            raise ValueError(
                "kms_key_arn needs public_read=False or cloudfront=True, because KMS decrypts nothing for requests "
                "without a signature"
            )
        super().__init__("presign:aws:UploadBucket", name, {}, opts)

        if existing_bucket is None:
            options = self._make_bucket(name, bucket_name, force_destroy, protect, deleted_before, tags)
        else:
            found = s3.get_bucket_output(bucket=existing_bucket, opts=pulumi.InvokeOutputOptions(parent=self))
            self.bucket, self.region = found.bucket, found.bucket_region
            # The settings stay when they leave the stack. Without them, the bucket could be open to others.
            options = pulumi.ResourceOptions(parent=self, retain_on_delete=True)
        # Without protection, a setting can be turned off.
        optional = pulumi.ResourceOptions.merge(options, pulumi.ResourceOptions(protect=False))

        # The first preview knows the name, but not what AWS returns. So it can show policies with an ARN from the name.
        partition = get_partition_output(opts=pulumi.InvokeOutputOptions(parent=self)).partition
        self.arn = pulumi.Output.format("arn:{0}:s3:::{1}", partition, self.bucket)

        # Others may keep something in a bucket that is already there. Its rules must not delete or refuse that.
        prefixes = [public_prefix] if pending_prefix is None else [public_prefix, pending_prefix]
        only_under = None if existing_bucket is None else prefixes
        cors = policies.cors_rules(allowed_origins, max_age_seconds=cors_max_age_seconds)
        lifecycle = policies.lifecycle_rules(
            abort_uploads_after_days,
            pending_prefix=pending_prefix,
            expire_pending_after_days=expire_pending_after_days,
            expire_old_versions_after_days=expire_old_versions_after_days,
            only_under=only_under,
        )
        distribution = self._make_distribution(name, public_prefix, protect, tags) if cloudfront else None
        self.public_url = None if distribution is None else pulumi.Output.concat("https://", distribution.domain_name)
        policy = pulumi.Output.all(self.arn, None if distribution is None else distribution.arn).apply(
            lambda arns: policies.bucket_policy(
                arns[0],
                public_prefix,
                public_read=directly_public,
                distribution_arn=arns[1],
                deny_customer_keys=True,
                only_under=only_under,
            )
        )

        before_policy: list[pulumi.Resource] = []
        if "ownership" in made:
            # This turns ACLs off, so only policies decide who may read an object.
            ownership = s3.BucketOwnershipControls(
                f"{name}-ownership",
                bucket=self.bucket,
                rule=s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
                opts=options,
            )
            before_policy.append(ownership)
        if "accessBlock" in made:
            access_block = s3.BucketPublicAccessBlock(
                f"{name}-access-block",
                bucket=self.bucket,
                block_public_acls=True,
                ignore_public_acls=True,
                block_public_policy=not directly_public,
                restrict_public_buckets=not directly_public,
                opts=options,
            )
            before_policy.append(access_block)
        if "policy" in made:
            s3.BucketPolicy(
                f"{name}-policy",
                bucket=self.bucket,
                policy=policy.apply(json.dumps),
                # AWS blocks public policies on every new bucket. So the policy must wait until this block is replaced.
                opts=pulumi.ResourceOptions.merge(options, pulumi.ResourceOptions(depends_on=before_policy)),
            )
        if "encryption" in made:
            s3.BucketServerSideEncryptionConfiguration(
                f"{name}-encryption",
                bucket=self.bucket,
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
                opts=options,
            )
        if "cors" in made:
            s3.BucketCorsConfiguration(
                f"{name}-cors",
                bucket=self.bucket,
                cors_rules=[
                    s3.BucketCorsConfigurationCorsRuleArgs(
                        allowed_origins=rule["AllowedOrigins"],
                        allowed_methods=rule["AllowedMethods"],
                        allowed_headers=rule["AllowedHeaders"],
                        expose_headers=rule["ExposeHeaders"],
                        max_age_seconds=rule["MaxAgeSeconds"],
                    )
                    for rule in cors
                ],
                opts=options,
            )
        if "lifecycle" in made:
            s3.BucketLifecycleConfiguration(
                f"{name}-lifecycle",
                bucket=self.bucket,
                rules=[_lifecycle_rule(rule) for rule in lifecycle],
                opts=options,
            )
        if log_bucket is not None and "logging" in made:
            s3.BucketLogging(
                f"{name}-logging",
                bucket=self.bucket,
                target_bucket=log_bucket,
                target_prefix=log_prefix,
                opts=optional,
            )
        if versioning and "versioning" in made:
            s3.BucketVersioning(
                f"{name}-versioning",
                bucket=self.bucket,
                versioning_configuration=s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
                # When the setting is turned off, S3 suspends versioning.
                opts=optional,
            )

        documents = {
            "policy": policy,
            "cors": {"CORSRules": cors},
            "lifecycle": {"Rules": lifecycle},
        }
        self.documents = pulumi.Output.all(**{key: each for key, each in documents.items() if key not in made})
        self.register_outputs({"bucket": self.bucket, "arn": self.arn, "region": self.region})

    def _make_bucket(
        self,
        name: str,
        bucket_name: str | None,
        force_destroy: bool,
        protect: bool,
        deleted_before: Sequence[pulumi.Resource],
        tags: Mapping[str, str] | None,
    ) -> pulumi.ResourceOptions:
        """Make the bucket, and return the options of its settings."""
        bucket = s3.Bucket(
            f"{name}-bucket",
            bucket=bucket_name,
            force_destroy=force_destroy,
            tags=tags,
            # What a resource depends on is deleted after it.
            opts=pulumi.ResourceOptions(parent=self, protect=protect, depends_on=deleted_before),
        )
        self.bucket, self.region = bucket.bucket, bucket.region
        # The settings go with the bucket, and not before it. So they stay if AWS refuses to delete the bucket, which it
        # does while the bucket has objects.
        return pulumi.ResourceOptions(parent=self, protect=protect, deleted_with=bucket)

    def _make_distribution(
        self, name: str, public_prefix: str, protect: bool, tags: Mapping[str, str] | None
    ) -> cdn.Distribution:
        """Make a distribution that reads the bucket with signatures of its own; the bucket policy must allow it."""
        options = pulumi.ResourceOptions(parent=self, protect=protect)
        access = cdn.OriginAccessControl(
            f"{name}-origin-access",
            origin_access_control_origin_type="s3",
            signing_behavior="always",
            signing_protocol="sigv4",
            opts=options,
        )
        # Under a name without the region, S3 answers with redirects while the bucket is new.
        suffix = get_partition_output(opts=pulumi.InvokeOutputOptions(parent=self)).dns_suffix
        host = pulumi.Output.format("{0}.s3.{1}.{2}", self.bucket, self.region, suffix)
        return cdn.Distribution(
            f"{name}-distribution",
            enabled=True,
            comment=f"Published uploads, under {public_prefix}"[:128],
            http_version="http2and3",
            is_ipv6_enabled=True,
            origins=[
                cdn.DistributionOriginArgs(origin_id="bucket", domain_name=host, origin_access_control_id=access.id)
            ],
            default_cache_behavior=cdn.DistributionDefaultCacheBehaviorArgs(
                target_origin_id="bucket",
                allowed_methods=["GET", "HEAD"],
                cached_methods=["GET", "HEAD"],
                viewer_protocol_policy="redirect-to-https",
                compress=True,
                cache_policy_id=_CACHING_OPTIMIZED,
                response_headers_policy_id=_CORS_AND_SECURITY_HEADERS,
            ),
            restrictions=cdn.DistributionRestrictionsArgs(
                geo_restriction=cdn.DistributionRestrictionsGeoRestrictionArgs(restriction_type="none")
            ),
            viewer_certificate=cdn.DistributionViewerCertificateArgs(cloudfront_default_certificate=True),
            tags=tags,
            opts=options,
        )


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
