"""Policies, CORS rules and lifecycle rules for the upload bucket and its signer, as pure functions.

The Pulumi program (``infra/``), the local demo and the tests all use these functions, so no cloud SDK is imported here.
The results have the shapes of AWS's own APIs: policies are IAM policy documents, and the rules are what boto3's
``put_bucket_cors`` and ``put_bucket_lifecycle_configuration`` take.

The signer does not get ``s3:ListBucket``. Without it, S3 answers a HEAD request for a missing object with 403 instead
of 404. Code that looks up an object with the signer's key must therefore treat both as "no such object".
https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

POLICY_LANGUAGE_VERSION = "2012-10-17"

# Some prefixes that presign accepts are refused here: `*`, `?` and `${...}` are wildcards in a policy's Resource.
_SEGMENT = re.compile(r"[A-Za-z0-9!_.'()=@+,-]+", re.ASCII)

# All inline policies of a user together have at most 2,048 characters, and the prefix is in up to three statements.
_MAX_PREFIX_LENGTH = 256


def require_prefix(prefix: str, *, name: str = "prefix") -> str:
    """Return ``prefix`` if it is the path of a folder, such as ``public/``; raise ValueError otherwise.

    ``name`` is what the error message calls the prefix. Without the slash at the end, ``public`` would also cover
    ``publicity/``. With a slash at the beginning, the prefix would match no key of presign. With a wildcard, it would
    cover more than it seems to.
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
    """Return the ARN pattern of all objects under ``prefix``, such as ``arn:aws:s3:::media/public/*``."""
    return f"{bucket_arn}/{require_prefix(prefix)}*"


def policy_document(*statements: dict[str, Any]) -> dict[str, Any]:
    """Return an IAM policy document with exactly ``statements``; raise ValueError if there are none."""
    if not statements:
        raise ValueError("a policy document needs at least one statement")
    return {"Version": POLICY_LANGUAGE_VERSION, "Statement": list(statements)}


def public_read_statement(bucket_arn: str, public_prefix: str) -> dict[str, Any]:
    """Return the statement that lets everybody read the objects under ``public_prefix``, but not list them."""
    return {
        "Sid": "PublicReadUnderPrefix",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": objects_arn(bucket_arn, public_prefix),
    }


def deny_plain_http_statement(bucket_arn: str) -> dict[str, Any]:
    """Return the statement that denies every request without TLS, including correctly signed ones.

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
    """Return the bucket's policy: no plain http and, with ``public_read``, anonymous reads under ``public_prefix``.

    Use ``deny_plain_http=False`` only for a local store that does not speak TLS. If ``public_read`` is False as well,
    the policy would have no statement, and ValueError is raised.
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
    """Return the policy of the identity that signs uploads: it may upload under ``prefix``, and nothing else.

    A presigned request cannot do more than its signer, so this policy limits every ticket. A POST and a PUT need only
    ``s3:PutObject``, also if they carry a checksum, a type or metadata. The two other upload actions are for uploads in
    parts.

    ``allow_verification`` also allows what completing an upload needs: reading an object, and deleting an object that
    broke a rule of its ticket.

    ``signature_max_age_minutes`` denies requests whose signature is older, even if the request itself expires later.
    AWS applies this limit to presigned URLs and to signed requests. It does not apply it to form POSTs, whose policy
    document has its own expiry.
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
        _require_at_least_one("signature_max_age_minutes", signature_max_age_minutes)
        statements.append(
            {
                "Sid": "DenyOldSignatures",
                "Effect": "Deny",
                # Only the actions that this policy allows: a role may be allowed more by other policies.
                "Action": [action for statement in statements for action in statement["Action"]],
                "Resource": under_prefix,
                # In milliseconds. A request without a signature age does not match, so it is not denied.
                "Condition": {"NumericGreaterThan": {"s3:signatureAge": str(signature_max_age_minutes * 60_000)}},
            }
        )
    return policy_document(*statements)


def local_signer_policy(bucket_arn: str, prefix: str, *, allow_verification: bool) -> dict[str, Any]:
    """Return ``signer_policy`` in the form that SeaweedFS needs for a user's inline policy.

    The local demo uses it; the Pulumi program never does. It differs from ``signer_policy`` in two points:

    - The upload statement also names the bucket's own ARN, because SeaweedFS checks a form POST against the bucket
      before it reads the key. On AWS this would allow nothing more.
    - ``s3:ListMultipartUploadParts`` is missing, because SeaweedFS does not know it in an inline policy. There, a user
      who may upload parts may also list them.
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
    """Return the bucket's CORS rules: pages of ``allowed_origins`` may upload and read, with any header.

    A page reads ``Location`` and ``ETag`` from the response to an upload, so these headers are exposed.
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
    """Return the bucket's lifecycle rules: S3 deletes the parts of unfinished uploads after this many days.

    No listing of objects shows such parts, but AWS bills them until the upload is aborted.
    """
    _require_at_least_one("abort_uploads_after_days", abort_uploads_after_days)
    return [
        {
            "ID": "AbortIncompleteUploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": abort_uploads_after_days},
        }
    ]


def _require_at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1; it is {value}")
