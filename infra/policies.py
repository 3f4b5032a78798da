"""What presign's bucket and its signer may do, as pure functions that return plain dictionaries.

No cloud SDK is imported here, so that the Pulumi program (`infra/`), the local demo and the tests all provision from
the same source. Every shape is the one of AWS's own APIs: policy documents as IAM reads them, CORS and lifecycle rules
as boto3's `put_bucket_cors` and `put_bucket_lifecycle_configuration` take them.

To a caller without `s3:ListBucket`, S3 answers a HEAD for a missing object with 403, not 404. The signer is
deliberately not given `s3:ListBucket`, so whoever looks an object up with its key has to read both as "not there".
https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

POLICY_LANGUAGE_VERSION = "2012-10-17"

# A subset of what presign takes as a prefix: `*`, `?` and `${...}` are wildcards inside a policy's Resource.
_SEGMENT = re.compile(r"[A-Za-z0-9!_.'()=@+,-]+", re.ASCII)

# A user's inline policies share 2,048 characters, and two statements repeat the prefix.
_MAX_PREFIX_LENGTH = 256


def require_prefix(prefix: str, *, name: str = "prefix") -> str:
    """Answers `prefix` unchanged when it names a folder, as in `public/`; raises ValueError, naming `name`, otherwise.

    Without its trailing slash `public` would also open `publicity/`; with a leading slash it would match no key that
    presign makes; a wildcard would open more than it says.
    """
    if not prefix.endswith("/"):
        raise ValueError(f'{name} must end with a slash, as in "public/"; it is "{prefix}"')
    if prefix.startswith("/"):
        raise ValueError(f'{name} must not start with a slash; it is "{prefix}"')
    if len(prefix) > _MAX_PREFIX_LENGTH:
        raise ValueError(f"{name} must have at most {_MAX_PREFIX_LENGTH} characters; it has {len(prefix)}")
    for segment in prefix[:-1].split("/"):
        if segment in {".", ".."} or not _SEGMENT.fullmatch(segment):
            raise ValueError(
                f"{name} must have segments of ASCII letters, digits and !_.'()=@+,- alone; one is {segment!a}"
            )
    return prefix


def objects_arn(bucket_arn: str, prefix: str) -> str:
    """Answers the ARN pattern of every object under `prefix`, for example `arn:aws:s3:::media/public/*`."""
    return f"{bucket_arn}/{require_prefix(prefix)}*"


def policy_document(*statements: dict[str, Any]) -> dict[str, Any]:
    """Answers an IAM policy document that holds exactly `statements`, at least one."""
    if not statements:
        raise ValueError("a policy document needs at least one statement")
    return {"Version": POLICY_LANGUAGE_VERSION, "Statement": list(statements)}


def public_read_statement(bucket_arn: str, public_prefix: str) -> dict[str, Any]:
    """Lets everybody read, and only read, the objects under `public_prefix`; listing is not included."""
    return {
        "Sid": "PublicReadUnderPrefix",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": objects_arn(bucket_arn, public_prefix),
    }


def deny_plain_http_statement(bucket_arn: str) -> dict[str, Any]:
    """Refuses every request that did not come over TLS, whoever signed it.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html
    """
    return {
        "Sid": "DenyPlainHttp",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [bucket_arn, f"{bucket_arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def bucket_policy(
    bucket_arn: str, public_prefix: str, *, public_read: bool, deny_plain_http: bool = True
) -> dict[str, Any]:
    """Answers the bucket's policy: no plain http and, with `public_read`, anonymous reads under `public_prefix`.

    `deny_plain_http=False` is for a store on the loopback interface that speaks no TLS. A private bucket without TLS
    has no statement left, hence no policy: that combination raises ValueError.
    """
    require_prefix(public_prefix)
    statements = []
    if public_read:
        statements.append(public_read_statement(bucket_arn, public_prefix))
    if deny_plain_http:
        statements.append(deny_plain_http_statement(bucket_arn))
    return policy_document(*statements)


def signer_policy(
    bucket_arn: str,
    prefix: str,
    *,
    allow_verification: bool,
    signature_max_age_minutes: int | None = None,
) -> dict[str, Any]:
    """Answers what the signing identity may do: upload under `prefix`, nothing else.

    A presigned request can do no more than its signer, so this policy bounds every ticket. A POST and a PUT, with
    checksum, type or metadata, both need `s3:PutObject` alone; the other two actions are for uploads in parts.

    `allow_verification` adds what completing an upload needs: reading the object's head and first bytes, and deleting
    an object that broke its ticket.

    `signature_max_age_minutes` refuses requests whose signature is older than that, whatever their own expiry says. AWS
    evaluates it for presigned URLs and signed requests; a browser form (POST) keeps the expiry in its policy document.
    https://docs.aws.amazon.com/AmazonS3/latest/API/bucket-policy-s3-sigv4-conditions.html
    """
    under_prefix = objects_arn(bucket_arn, prefix)
    statements: list[dict[str, Any]] = [
        {
            "Sid": "UploadUnderPrefix",
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
            "Resource": under_prefix,
        }
    ]
    if allow_verification:
        statements.append(
            {
                "Sid": "VerifyUnderPrefix",
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:DeleteObject"],
                "Resource": under_prefix,
            }
        )
    if signature_max_age_minutes is not None:
        if signature_max_age_minutes < 1:
            raise ValueError(f"signature_max_age_minutes must be at least 1; it is {signature_max_age_minutes}")
        statements.append(
            {
                "Sid": "DenyOldSignatures",
                "Effect": "Deny",
                # What is granted here and no more: a role may carry this policy beside others of its own.
                "Action": [action for statement in statements for action in statement["Action"]],
                "Resource": under_prefix,
                # Milliseconds. A Deny whose key is absent does not match, so other requests are untouched.
                "Condition": {"NumericGreaterThan": {"s3:signatureAge": str(signature_max_age_minutes * 60_000)}},
            }
        )
    return policy_document(*statements)


def local_signer_policy(bucket_arn: str, prefix: str, *, allow_verification: bool) -> dict[str, Any]:
    """Answers `signer_policy` as SeaweedFS takes it for a user's inline policy; the Pulumi program never writes it.

    SeaweedFS checks the form POST against the bucket before it has read the key, so the upload statement names the
    bucket's own ARN as well, which on AWS would grant nothing more. It does not know `s3:ListMultipartUploadParts` in
    an inline policy and lets whoever may put a part list the parts.
    """
    document = signer_policy(bucket_arn, prefix, allow_verification=allow_verification)
    upload, *others = document["Statement"]
    local_upload = {
        **upload,
        "Action": [action for action in upload["Action"] if action != "s3:ListMultipartUploadParts"],
        "Resource": [bucket_arn, upload["Resource"]],
    }
    return policy_document(local_upload, *others)


def cors_rules(allowed_origins: Sequence[str]) -> list[dict[str, Any]]:
    """Answers the bucket's CORS rules: pages of `allowed_origins` may upload and read, with any header.

    `Location` and `ETag` are exposed because the page reads them off the answer to an upload.
    """
    if not allowed_origins:
        raise ValueError("allowed_origins must name at least one origin")
    return [
        {
            "AllowedOrigins": list(allowed_origins),
            "AllowedMethods": ["GET", "PUT", "POST", "HEAD"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["Location", "ETag"],
        }
    ]


def lifecycle_rules(abort_uploads_after_days: int) -> list[dict[str, Any]]:
    """Answers the bucket's lifecycle rules: parts of uploads that nobody finished go away after so many days.

    Such parts are invisible in listings and are billed until they are aborted.
    """
    if abort_uploads_after_days < 1:
        raise ValueError(f"abort_uploads_after_days must be at least 1; it is {abort_uploads_after_days}")
    return [
        {
            "ID": "AbortIncompleteUploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": abort_uploads_after_days},
        }
    ]
