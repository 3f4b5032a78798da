"""Policies, CORS rules and lifecycle rules for the upload bucket and its signer, as pure functions.

The Pulumi program (``infra/``), the local demo and the tests all use these functions, so no cloud SDK is imported here.
The results have the shapes of AWS's own APIs: policies are IAM policy documents, and the rules are what boto3's
``put_bucket_cors`` and ``put_bucket_lifecycle_configuration`` take.

A bucket has two prefixes. Uploads go to the *pending* prefix, which is private. A server-side copy publishes what was
verified under the *public* prefix. By default, this copy is the only way to write there, and no ticket can copy.

S3 answers a HEAD request for a missing object with 403 instead of 404, unless the caller may list the bucket. The
signer may not list. The verifier may list the pending prefix only, and AWS does not document which of the two answers
it then gets. Code that looks up an object must therefore treat both as "no such object".
https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

# Not by its full name: the tests and the demo import this package from the repository's folder.
from .prefixes import require_prefix, require_separate_prefixes

POLICY_LANGUAGE_VERSION = "2012-10-17"

# AWS counts the characters of all inline policies of a user together, without white space.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
_MAX_INLINE_POLICY_LENGTH = 2048

LONGEST_ARN_PREFIX = "arn:aws-us-gov:s3:::"
"""What is in front of a bucket's name in its ARN, where this is longest."""

SHORTEST_BUCKET_ARN = "arn:aws:s3:::b-b"
"""An ARN as short as a bucket's can be. A policy that is too long with it is always too long."""

_UPLOAD_ACTIONS = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")

# An upload must not be a copy. On a store that obeys unsigned headers, only this condition prevents that.
_NOT_A_COPY = {"Null": {"s3:x-amz-copy-source": "true"}}


def objects_arn(bucket_arn: str, prefix: str) -> str:
    """Return the ARN pattern of all objects under ``prefix``, such as ``arn:aws:s3:::media/public/*``."""
    return f"{bucket_arn}/{require_prefix(prefix)}*"


def policy_document(*statements: dict[str, Any]) -> dict[str, Any]:
    """Return an IAM policy document with exactly ``statements``; raise ValueError if there are none."""
    if not statements:
        raise ValueError("a policy document needs at least one statement")
    return {"Version": POLICY_LANGUAGE_VERSION, "Statement": list(statements)}


def require_inline_length(document: Mapping[str, Any], *, prefixes_name: str = "prefix and pending_prefix") -> None:
    """Raise ValueError if ``document`` is too long for a user that has no other inline policy.

    Both prefixes occur in most statements, so only shorter prefixes help. ``prefixes_name`` is what the error message
    calls them.
    """
    length = len("".join(json.dumps(document).split()))
    if length > _MAX_INLINE_POLICY_LENGTH:
        raise ValueError(
            f"{prefixes_name} must be shorter: the policy of the IAM user would have {length} characters, and AWS "
            f"allows {_MAX_INLINE_POLICY_LENGTH}. Two identities have shorter policies, and roles have a longer limit"
        )


def public_read_statement(bucket_arn: str, public_prefix: str) -> dict[str, Any]:
    """Return the statement that lets everybody read the objects under ``public_prefix``, but not list them."""
    return {
        "Sid": "PublicReadUnderPrefix",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": objects_arn(bucket_arn, public_prefix),
    }


def deny_plain_http_statement(bucket_arn: str, *, only_under: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the statement that denies every request without TLS, including correctly signed ones.

    ``only_under`` limits it to the objects under these prefixes.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html
    """
    return {
        "Sid": "DenyPlainHttp",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [bucket_arn, f"{bucket_arn}/*"] if only_under is None else _all_under(bucket_arn, only_under),
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def deny_customer_keys_statement(bucket_arn: str, *, only_under: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the statement that denies uploads that bring their own key for encryption (SSE-C).

    Nobody could read such an object without this key, neither to verify it nor to use it. ``only_under`` limits it to
    the objects under these prefixes.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html
    """
    return {
        "Sid": "DenyCustomerKeys",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": f"{bucket_arn}/*" if only_under is None else _all_under(bucket_arn, only_under),
        "Condition": {"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": "false"}},
    }


def _all_under(bucket_arn: str, prefixes: Sequence[str]) -> list[str]:
    return [objects_arn(bucket_arn, prefix) for prefix in prefixes]


def distribution_read_statement(bucket_arn: str, public_prefix: str, distribution_arn: str) -> dict[str, Any]:
    """Return the statement that lets one distribution of CloudFront read the objects under ``public_prefix``.

    It names the distribution, so AWS does not take the policy for a public one, and no access block is in the way.
    https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-restricting-access-to-s3.html
    """
    return {
        "Sid": "DistributionReadUnderPrefix",
        "Effect": "Allow",
        "Principal": {"Service": "cloudfront.amazonaws.com"},
        "Action": "s3:GetObject",
        "Resource": objects_arn(bucket_arn, public_prefix),
        "Condition": {"StringEquals": {"aws:SourceArn": distribution_arn}},
    }


def bucket_policy(
    bucket_arn: str,
    public_prefix: str,
    *,
    public_read: bool,
    distribution_arn: str | None = None,
    deny_plain_http: bool = True,
    deny_customer_keys: bool = False,
    only_under: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return the bucket's policy: no plain http and, with ``public_read``, anonymous reads under ``public_prefix``.

    ``distribution_arn`` is a distribution of CloudFront that may read there. ``deny_customer_keys`` refuses uploads
    with a key for encryption of their own. With ``only_under``, both refusals concern only the objects under these
    prefixes, and not what others keep in the bucket.

    Use ``deny_plain_http=False`` only for a local store that does not speak TLS. If the policy would have no statement,
    ValueError is raised.
    """
    require_prefix(public_prefix)
    statements = []
    if public_read:
        statements.append(public_read_statement(bucket_arn, public_prefix))
    if distribution_arn is not None:
        statements.append(distribution_read_statement(bucket_arn, public_prefix, distribution_arn))
    if deny_plain_http:
        statements.append(deny_plain_http_statement(bucket_arn, only_under=only_under))
    if deny_customer_keys:
        statements.append(deny_customer_keys_statement(bucket_arn, only_under=only_under))
    return policy_document(*statements)


def signer_policy(
    bucket_arn: str,
    prefix: str,
    *,
    pending_prefix: str | None,
    allow_verification: bool,
    allow_listing: bool = False,
    publish_in_parts: bool = False,
    sweep_parts: bool = False,
    signature_max_age_minutes: int | None = None,
    server_signature_max_age_minutes: int | None = None,
    kms_key_arn: str | None = None,
) -> dict[str, Any]:
    """Return the policy of the identity that signs uploads: it may upload to one prefix, and nothing else.

    Uploads go to ``pending_prefix``. With None they go straight to ``prefix``. If that prefix is public, everybody can
    then read an upload before it is verified.

    A presigned request cannot do more than its signer, so this policy limits every ticket. A POST and a PUT need only
    ``s3:PutObject``, also with a checksum, a type or metadata. The two other upload actions are for uploads in parts,
    which the server begins, lists, commits and ends with the same identity.

    No upload may be a copy. Otherwise a ticket could copy whatever the signer may read.

    ``allow_verification`` adds the rights of ``verifier_policy``, for an application that has one identity. Two
    identities are safer: then the one that signs may read nothing. ``allow_listing``, ``publish_in_parts`` and
    ``sweep_parts`` belong to these rights.

    ``signature_max_age_minutes`` denies requests whose signature is older, even if the request itself expires later.
    AWS applies this limit to presigned URLs and to signed requests. It does not apply it to form POSTs, whose policy
    document has its own expiry.
    https://docs.aws.amazon.com/AmazonS3/latest/API/bucket-policy-s3-sigv4-conditions.html

    ``server_signature_max_age_minutes`` is a smaller limit for what only the server does: it reads and deletes what is
    pending, and publishes it. The server sends such a request as soon as it has signed it.

    ``kms_key_arn`` is the key that encrypts the bucket. The policy then lets S3 use it for objects of this bucket.

    Raises ValueError for a prefix, two prefixes or an age that cannot work, and for ``publish_in_parts`` or
    ``sweep_parts`` without a pending prefix or without verification.
    """
    require_prefix(prefix)
    if publish_in_parts and not allow_verification:
        raise ValueError("publish_in_parts needs allow_verification=True, because only the one that verifies publishes")
    if sweep_parts and not allow_verification:
        raise ValueError("sweep_parts needs allow_verification=True, because only the one that verifies sweeps")
    if pending_prefix is not None:
        require_separate_prefixes(pending_prefix, prefix, public_name="prefix")
    upload = {
        "Sid": "UploadUnderPrefix" if pending_prefix is None else "UploadToPending",
        "Effect": "Allow",
        "Action": list(_UPLOAD_ACTIONS),
        "Resource": objects_arn(bucket_arn, prefix if pending_prefix is None else pending_prefix),
        "Condition": _NOT_A_COPY,
    }
    verification = (
        _verification_statements(
            bucket_arn,
            prefix,
            pending_prefix=pending_prefix,
            allow_listing=allow_listing,
            publish_in_parts=publish_in_parts,
            sweep_parts=sweep_parts,
        )
        if allow_verification
        else []
    )
    # An upload in parts also needs the right to decrypt: S3 reads the parts to put them together.
    key_actions = ("kms:GenerateDataKey", "kms:Decrypt")
    key_use = [] if kms_key_arn is None else [use_key_statement(kms_key_arn, bucket_arn, key_actions)]
    return policy_document(
        *(upload, *verification, *key_use),
        *_signature_age_limits([upload], verification, signature_max_age_minutes, server_signature_max_age_minutes),
    )


def verifier_policy(
    bucket_arn: str,
    prefix: str,
    *,
    pending_prefix: str | None,
    allow_listing: bool = False,
    publish_in_parts: bool = False,
    sweep_parts: bool = False,
    signature_max_age_minutes: int | None = None,
    server_signature_max_age_minutes: int | None = None,
    kms_key_arn: str | None = None,
) -> dict[str, Any]:
    """Return the policy of an identity that verifies and publishes uploads, while another one only signs them.

    - It reads and deletes what is under ``pending_prefix``, in every version.
    - It copies from there to ``prefix``. No other request may write there: neither an upload nor a copy from elsewhere.
    - It reads what is published, to recognise a completion that is repeated. It cannot delete it.
    - ``allow_listing``: it lists the objects under ``pending_prefix``, and no others. ``presign sweep`` needs this.
    - ``sweep_parts``: it lists the unfinished uploads in parts of the whole bucket, and can end those under
      ``pending_prefix``. ``presign sweep`` then ends them too. A bucket with ``lifecycle_rules`` does not need this: S3
      itself ends them.
    - ``publish_in_parts``: it also publishes objects above 5 GB, which S3 copies only in parts. Then it may also upload
      to ``prefix`` directly. No condition can prevent that: creating and completing a copy in parts needs the same
      right, ``s3:PutObject``, and neither request names a source.

    It may not set or read tags. A copy with tags also needs ``s3:PutObjectTagging`` on ``prefix``.

    With ``pending_prefix=None``, it reads and deletes what is under ``prefix``, and nothing is copied. In a bucket with
    versions, it deletes no version there, so the bytes of a refused upload stay as one, which is not public.

    The two limits for signatures and ``kms_key_arn`` are as in ``signer_policy``. Raises ValueError for a prefix, two
    prefixes or an age that cannot work, and for ``publish_in_parts`` or ``sweep_parts`` without a pending prefix.
    """
    require_prefix(prefix)
    if pending_prefix is not None:
        require_separate_prefixes(pending_prefix, prefix, public_name="prefix")
    statements = _verification_statements(
        bucket_arn,
        prefix,
        pending_prefix=pending_prefix,
        allow_listing=allow_listing,
        publish_in_parts=publish_in_parts,
        sweep_parts=sweep_parts,
    )
    # Without a pending prefix, the verifier copies nothing, so it encrypts nothing.
    key_actions = ("kms:Decrypt",) if pending_prefix is None else ("kms:GenerateDataKey", "kms:Decrypt")
    key_use = [] if kms_key_arn is None else [use_key_statement(kms_key_arn, bucket_arn, key_actions)]
    return policy_document(
        *(*statements, *key_use),
        *_signature_age_limits([], statements, signature_max_age_minutes, server_signature_max_age_minutes),
    )


def identity_policies(
    bucket_arn: str,
    prefix: str,
    *,
    pending_prefix: str | None,
    allow_verification: bool,
    separate_verifier: bool,
    allow_listing: bool,
    publish_in_parts: bool,
    signature_max_age_minutes: int | None,
    server_signature_max_age_minutes: int | None = None,
    kms_key_arn: str | None = None,
) -> list[dict[str, Any]]:
    """Return the policies of all identities: of the one that signs and, with ``separate_verifier``, of the other one.

    The other arguments are those of ``signer_policy`` and ``verifier_policy``. Raises ValueError as these do, and for
    a separate verifier without ``allow_verification``.
    """
    if separate_verifier and not allow_verification:
        raise ValueError("separate_verifier needs allow_verification=True, or the verifier would have no rights")
    signer = signer_policy(
        bucket_arn,
        prefix,
        pending_prefix=pending_prefix,
        allow_verification=allow_verification and not separate_verifier,
        allow_listing=allow_listing,
        publish_in_parts=publish_in_parts and not separate_verifier,
        signature_max_age_minutes=signature_max_age_minutes,
        server_signature_max_age_minutes=server_signature_max_age_minutes,
        kms_key_arn=kms_key_arn,
    )
    if not separate_verifier:
        return [signer]
    verifier = verifier_policy(
        bucket_arn,
        prefix,
        pending_prefix=pending_prefix,
        allow_listing=allow_listing,
        publish_in_parts=publish_in_parts,
        signature_max_age_minutes=signature_max_age_minutes,
        server_signature_max_age_minutes=server_signature_max_age_minutes,
        kms_key_arn=kms_key_arn,
    )
    return [signer, verifier]


def _verification_statements(
    bucket_arn: str,
    prefix: str,
    *,
    pending_prefix: str | None,
    allow_listing: bool,
    publish_in_parts: bool,
    sweep_parts: bool,
) -> list[dict[str, Any]]:
    published = objects_arn(bucket_arn, prefix)
    if pending_prefix is None:
        if publish_in_parts:
            raise ValueError("publish_in_parts needs a pending_prefix, because without one nothing is copied")
        if sweep_parts:
            raise ValueError("sweep_parts needs a pending_prefix, because only pending uploads are swept")
        return [
            {
                "Sid": "VerifyUnderPrefix",
                "Effect": "Allow",
                # Of versions, it may only read: what was published and deleted by mistake can be brought back.
                "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:DeleteObject"],
                "Resource": published,
            }
        ]
    statements: list[dict[str, Any]] = [
        {
            "Sid": "VerifyPending",
            "Effect": "Allow",
            # If the bucket has versions, the version that was judged is read and deleted.
            "Action": [
                *("s3:GetObject", "s3:GetObjectVersion", "s3:DeleteObject", "s3:DeleteObjectVersion"),
                *(("s3:AbortMultipartUpload",) if sweep_parts else ()),
            ],
            "Resource": objects_arn(bucket_arn, pending_prefix),
        },
        {
            "Sid": "ReadPublished",
            "Effect": "Allow",
            "Action": ["s3:GetObject"],
            "Resource": published,
        },
    ]
    if publish_in_parts:
        statements.append(
            {
                "Sid": "PublishInParts",
                "Effect": "Allow",
                "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
                "Resource": published,
            }
        )
    else:
        # AWS compares with the header as it was sent. Its examples have no slash in front, and S3 accepts both.
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/amazon-s3-policy-keys.html
        source = f"{bucket_arn.rpartition(':')[2]}/{pending_prefix}*"
        statements.append(
            {
                "Sid": "PublishFromPending",
                "Effect": "Allow",
                "Action": ["s3:PutObject"],
                "Resource": published,
                "Condition": {"StringLike": {"s3:x-amz-copy-source": [source, f"/{source}"]}},
            }
        )
    if allow_listing:
        statements.append(
            {
                "Sid": "ListPending",
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": bucket_arn,
                "Condition": {"StringLike": {"s3:prefix": f"{pending_prefix}*"}},
            }
        )
    if sweep_parts:
        statements.append(
            {
                "Sid": "ListUnfinished",
                "Effect": "Allow",
                "Action": ["s3:ListBucketMultipartUploads"],
                # AWS knows no condition that limits this list to a prefix.
                "Resource": bucket_arn,
            }
        )
    return statements


def use_key_statement(kms_key_arn: str, bucket_arn: str, actions: Sequence[str]) -> dict[str, Any]:
    """Return the statement that allows ``actions`` of a KMS key, only through S3 and for objects of one bucket.

    S3 names the bucket to KMS if the bucket has a bucket key, and otherwise the object.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#encryption-context
    """
    partition, region = kms_key_arn.split(":")[1], kms_key_arn.split(":")[3]
    suffix = ".cn" if partition == "aws-cn" else ""
    return {
        "Sid": "UseKey",
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": kms_key_arn,
        "Condition": {
            "StringEquals": {"kms:ViaService": f"s3.{region}.amazonaws.com{suffix}"},
            "StringLike": {"kms:EncryptionContext:aws:s3:arn": [bucket_arn, f"{bucket_arn}/*"]},
        },
    }


def _signature_age_limits(
    uploads: Sequence[dict[str, Any]],
    verification: Sequence[dict[str, Any]],
    max_age_minutes: int | None,
    server_max_age_minutes: int | None,
) -> list[dict[str, Any]]:
    """Return the statements that deny signatures above two limits: one for all requests, and one for the server's."""
    on_objects = [each for each in (*uploads, *verification) if each["Resource"].endswith("*")]
    # Only the actions that this policy allows: a role may be allowed more by other policies.
    rights = dict.fromkeys((action, each["Resource"]) for each in on_objects for action in each["Action"])
    denied = []
    if server_max_age_minutes is not None:
        _require_at_least_one("server_signature_max_age_minutes", server_max_age_minutes)
        tickets = {(action, each["Resource"]) for each in uploads for action in each["Action"]}
        for statement in on_objects[len(uploads) :]:
            resource = statement["Resource"]
            # A presigned download reads what is published, so it may be as old as any ticket.
            is_download = statement["Sid"] in {"ReadPublished", "VerifyUnderPrefix"}
            actions = [
                action
                for action in statement["Action"]
                if (action, resource) not in tickets and not (is_download and action == "s3:GetObject")
            ]
            if actions:
                sid = f"DenyOld{statement['Sid']}"
                denied.append(_deny_old_signatures(sid, actions, resource, server_max_age_minutes))
                # What the smaller limit denies needs no other one.
                rights = {right: None for right in rights if right not in {(each, resource) for each in actions}}
    if max_age_minutes is not None and rights:
        _require_at_least_one("signature_max_age_minutes", max_age_minutes)
        actions, resources = (list(dict.fromkeys(each)) for each in zip(*rights, strict=True))
        denied.insert(0, _deny_old_signatures("DenyOldSignatures", actions, resources, max_age_minutes))
    return denied


def _deny_old_signatures(
    sid: str, actions: Sequence[str], resource: str | Sequence[str], max_age_minutes: int
) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Action": actions,
        "Resource": resource,
        # In milliseconds. A request without a signature age does not match, so it is not denied.
        "Condition": {"NumericGreaterThan": {"s3:signatureAge": str(max_age_minutes * 60_000)}},
    }


def local_signer_policy(
    bucket_arn: str,
    prefix: str,
    *,
    pending_prefix: str | None,
    allow_verification: bool,
    allow_listing: bool = False,
) -> dict[str, Any]:
    """Return ``signer_policy`` in the form that SeaweedFS needs for a user's inline policy.

    The local demo uses it; the Pulumi program never does. SeaweedFS 4.48 enforces all its conditions. The form differs
    from ``signer_policy`` in two points:

    - The upload statement also names the bucket's own ARN, because SeaweedFS checks a form POST against the bucket
      before it reads the key. On AWS this would allow nothing more.
    - ``s3:ListMultipartUploadParts`` is missing, as in ``local_policy``.

    Two limits of AWS are missing in SeaweedFS. Every user may create access keys for itself. And if the environment
    variable ``WEED_S3_SSE_KEY`` gives the server an encryption key, the server ignores the case of letters in
    resources, and treats a copy as an upload: a user may then copy what it can read to the pending prefix, and cannot
    publish.
    """
    document = signer_policy(
        bucket_arn,
        prefix,
        pending_prefix=pending_prefix,
        allow_verification=allow_verification,
        allow_listing=allow_listing,
    )
    upload, *others = document["Statement"]
    return local_policy(policy_document({**upload, "Resource": [bucket_arn, upload["Resource"]]}, *others))


def local_policy(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a policy of this module without the action that SeaweedFS does not know in a user's inline policy.

    It is ``s3:ListMultipartUploadParts``. There, a user who may upload parts may also list them.
    """
    unknown = "s3:ListMultipartUploadParts"
    return policy_document(
        *(
            {**statement, "Action": [action for action in statement["Action"] if action != unknown]}
            for statement in document["Statement"]
        )
    )


def cors_rules(allowed_origins: Sequence[str], *, max_age_seconds: int | None = None) -> list[dict[str, Any]]:
    """Return the bucket's CORS rules: pages of ``allowed_origins`` may upload and read, with any header.

    A page reads ``Location`` and ``ETag`` from the response to an upload, so these headers are exposed. For
    ``max_age_seconds``, a browser does not ask again whether it may send a request; with None, it asks after 5 seconds.
    Chromium asks after two hours at the latest.
    """
    if not allowed_origins:
        raise ValueError("allowed_origins must name at least one origin")
    return [
        {
            "AllowedOrigins": list(allowed_origins),
            "AllowedMethods": ["GET", "PUT", "POST", "HEAD"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["Location", "ETag"],
            **({} if max_age_seconds is None else {"MaxAgeSeconds": max_age_seconds}),
        }
    ]


def lifecycle_rules(
    abort_uploads_after_days: int,
    *,
    pending_prefix: str | None,
    expire_pending_after_days: int,
    expire_old_versions_after_days: int | None = None,
    only_under: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Return the bucket's lifecycle rules: S3 deletes what nobody finished or completed.

    - The parts of an unfinished upload go after ``abort_uploads_after_days``. No listing of objects shows such parts,
      but AWS bills them until the upload is aborted.
    - What is under ``pending_prefix`` goes after ``expire_pending_after_days``, and so does each version that a newer
      one has replaced. With ``pending_prefix=None``, this rule is absent.
    - In the whole bucket, a version that a newer one or a deletion has replaced goes after
      ``expire_old_versions_after_days``, and so does the marker of a deletion that has no versions any more. With None,
      this rule is absent. Without versioning, it has nothing to do.

    With ``only_under``, the first and the last rule concern only what is under these prefixes, one rule each, and not
    what others keep in the bucket.

    S3 counts days from the upload, and then waits for the next midnight in UTC. An upload may be completed up to 25
    hours after its ticket, so with one day S3 could delete it too early. A file in parts may be completed up to 7 days
    after its ticket, and S3 counts its days from the beginning of its upload. So with less than 7 days for parts and 9
    for pending objects, S3 could delete such a file before it is completed, or while it is inspected. Raises ValueError
    for less than one day.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html
    """
    _require_at_least_one("abort_uploads_after_days", abort_uploads_after_days)
    _require_at_least_one("expire_pending_after_days", expire_pending_after_days)
    rules = _for_each_prefix(
        "AbortIncompleteUploads",
        only_under,
        {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": abort_uploads_after_days}},
    )
    if pending_prefix is not None:
        rules.append(
            {
                "ID": "ExpirePendingUploads",
                "Status": "Enabled",
                "Filter": {"Prefix": require_prefix(pending_prefix, name="pending_prefix")},
                "Expiration": {"Days": expire_pending_after_days},
                "NoncurrentVersionExpiration": {"NoncurrentDays": expire_pending_after_days},
            }
        )
    if expire_old_versions_after_days is not None:
        _require_at_least_one("expire_old_versions_after_days", expire_old_versions_after_days)
        rules += _for_each_prefix(
            "ExpireOldVersions",
            only_under,
            {
                "Expiration": {"ExpiredObjectDeleteMarker": True},
                "NoncurrentVersionExpiration": {"NoncurrentDays": expire_old_versions_after_days},
            },
        )
    return rules


def _for_each_prefix(name: str, prefixes: Sequence[str] | None, actions: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one rule for the whole bucket, or one for each of ``prefixes``; a bucket's rules have different IDs."""
    ids = {name: ""} if prefixes is None else {f"{name}{number}": each for number, each in enumerate(prefixes, start=1)}
    return [
        {"ID": rule_id, "Status": "Enabled", "Filter": {"Prefix": prefix}, **actions} for rule_id, prefix in ids.items()
    ]


def _require_at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1; it is {value}")
