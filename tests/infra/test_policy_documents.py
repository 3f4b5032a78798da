"""The policy documents: their exact content, their limits, and the findings of an IAM linter."""

from __future__ import annotations

import json
import warnings
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.presign_infra.prefixes import require_prefix, require_separate_prefixes
from infra.presign_infra.role_trust import SERVICES, oidc_trust, service_trust
from infra.presign_infra.s3_policies import (
    LONGEST_ARN_PREFIX,
    bucket_policy,
    cors_rules,
    lifecycle_rules,
    local_signer_policy,
    policy_document,
    require_inline_length,
    signer_policy,
    verifier_policy,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import parliament  # type: ignore[import-untyped]

ARN = "arn:aws:s3:::media"
KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
DISTRIBUTION = "arn:aws:cloudfront::123456789012:distribution/E2ABCDEFGHIJKL"

DOCUMENTS = {
    "public bucket": bucket_policy(ARN, "public/", public_read=True),
    "private bucket": bucket_policy(ARN, "public/", public_read=False),
    "plain local bucket": bucket_policy(ARN, "public/", public_read=True, deny_plain_http=False),
    "straight signer": signer_policy(ARN, "public/", pending_prefix=None, allow_verification=True),
    "straight upload-only signer": signer_policy(ARN, "public/", pending_prefix=None, allow_verification=False),
    "straight verifier": verifier_policy(ARN, "public/", pending_prefix=None),
    "signer": signer_policy(ARN, "public/", pending_prefix="pending/", allow_verification=True, allow_listing=True),
    "upload-only signer": signer_policy(ARN, "public/", pending_prefix="pending/", allow_verification=False),
    "verifier": verifier_policy(ARN, "public/", pending_prefix="pending/", allow_listing=True),
    "verifier that publishes in parts": verifier_policy(
        ARN, "public/", pending_prefix="pending/", publish_in_parts=True
    ),
    "verifier that sweeps parts": verifier_policy(
        ARN, "public/", pending_prefix="pending/", allow_listing=True, sweep_parts=True
    ),
    "bucket with a distribution": bucket_policy(
        ARN, "public/", public_read=False, distribution_arn=DISTRIBUTION, deny_customer_keys=True
    ),
    "signer of an encrypted bucket": signer_policy(
        ARN, "public/", pending_prefix="pending/", allow_verification=True, kms_key_arn=KEY
    ),
    "straight verifier of an encrypted bucket": verifier_policy(ARN, "public/", pending_prefix=None, kms_key_arn=KEY),
    "signer with two maximum signature ages": signer_policy(
        ARN,
        "public/",
        pending_prefix="pending/",
        allow_verification=True,
        signature_max_age_minutes=60,
        server_signature_max_age_minutes=5,
    ),
    "signer with a maximum signature age": signer_policy(
        ARN,
        "media/originals/",
        pending_prefix="media/new/",
        allow_verification=True,
        allow_listing=True,
        signature_max_age_minutes=15,
    ),
}

NOT_A_COPY = {"Null": {"s3:x-amz-copy-source": "true"}}
UPLOAD_ACTIONS = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
VERIFY_AND_PUBLISH = [
    {
        "Sid": "VerifyPending",
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:DeleteObject", "s3:DeleteObjectVersion"],
        "Resource": f"{ARN}/pending/*",
    },
    {"Sid": "ReadPublished", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": f"{ARN}/public/*"},
    {
        "Sid": "PublishFromPending",
        "Effect": "Allow",
        "Action": ["s3:PutObject"],
        "Resource": f"{ARN}/public/*",
        "Condition": {"StringLike": {"s3:x-amz-copy-source": ["media/pending/*", "/media/pending/*"]}},
    },
]
LIST_PENDING = {
    "Sid": "ListPending",
    "Effect": "Allow",
    "Action": ["s3:ListBucket"],
    "Resource": ARN,
    "Condition": {"StringLike": {"s3:prefix": "pending/*"}},
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_iam_linter_finds_no_problem(name: str) -> None:
    findings = parliament.analyze_policy_string(json.dumps(DOCUMENTS[name])).findings
    assert [str(finding) for finding in findings] == []


@pytest.mark.parametrize("service", SERVICES)
def test_the_iam_linter_finds_no_problem_in_the_trust_policy_of_a_service(service: str) -> None:
    # The linter expects the resource of a policy, which a trust policy does not have.
    [statement] = service_trust(service, account_id="123456789012")["Statement"]
    document = policy_document({**statement, "Resource": "*"})
    findings = parliament.analyze_policy_string(json.dumps(document)).findings
    assert [finding.issue for finding in findings if finding.issue != "RESOURCE_STAR"] == []


@pytest.mark.parametrize(
    ("provider", "audience", "subjects"),
    [
        ("arn:aws:iam::123456789012:oidc-provider/a.example", "sts.amazonaws.com", []),
        ("arn:aws:iam::123456789012:oidc-provider/a.example", "sts.amazonaws.com", ["repo:example/*"]),
        ("arn:aws:iam::123456789012:oidc-provider/a.example", "sts.amazonaws.com", ["${aws:username}"]),
        ("arn:aws:iam::123456789012:oidc-provider/a.example", "", ["web"]),
        ("arn:aws:iam::123456789012:role/a", "sts.amazonaws.com", ["web"]),
    ],
)
def test_a_trust_policy_for_more_tokens_than_it_names_is_refused(
    provider: str, audience: str, subjects: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"audience and subjects|provider_arn"):
        oidc_trust(provider, audience=audience, subjects=subjects)


@pytest.mark.parametrize(
    "mistake",
    [
        {"Action": "s3:PutObjects"},
        {"Resource": ARN},
        {"Condition": {"Bool": {"aws:SecureTransports": "false"}}},
        {"Condition": {"StringLike": {"s3:x-amz-copy-sources": "media/pending/*"}}},
        {"Action": "s3:GetObject", "Condition": {"StringLike": {"s3:x-amz-copy-source": "media/pending/*"}}},
    ],
)
def test_the_iam_linter_finds_a_mistake(mistake: dict[str, Any]) -> None:
    statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"{ARN}/public/*", **mistake}
    assert parliament.analyze_policy_string(json.dumps(policy_document(statement))).findings


@pytest.mark.parametrize(
    ("pending_prefix", "sid", "resource"),
    [("pending/", "UploadToPending", f"{ARN}/pending/*"), (None, "UploadUnderPrefix", f"{ARN}/public/*")],
)
def test_without_verification_the_signer_may_only_upload_what_is_not_a_copy(
    pending_prefix: str | None, sid: str, resource: str
) -> None:
    assert signer_policy(ARN, "public/", pending_prefix=pending_prefix, allow_verification=False) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": sid,
                "Effect": "Allow",
                "Action": UPLOAD_ACTIONS,
                "Resource": resource,
                "Condition": NOT_A_COPY,
            }
        ],
    }


def test_the_verifier_reads_and_deletes_what_is_pending_and_writes_only_copies_of_it() -> None:
    assert verifier_policy(ARN, "public/", pending_prefix="pending/") == {
        "Version": "2012-10-17",
        "Statement": VERIFY_AND_PUBLISH,
    }


def test_the_verifier_may_also_list_what_is_pending() -> None:
    document = verifier_policy(ARN, "public/", pending_prefix="pending/", allow_listing=True)
    assert document["Statement"] == [*VERIFY_AND_PUBLISH, LIST_PENDING]


def test_one_identity_has_the_rights_of_both() -> None:
    signer = signer_policy(ARN, "public/", pending_prefix="pending/", allow_verification=False)
    both = signer_policy(ARN, "public/", pending_prefix="pending/", allow_verification=True, allow_listing=True)
    assert both["Statement"] == [*signer["Statement"], *VERIFY_AND_PUBLISH, LIST_PENDING]


def test_the_straight_way_has_the_rights_to_verify_and_delete_under_the_prefix() -> None:
    document = verifier_policy(ARN, "public/", pending_prefix=None, allow_listing=True)
    assert document["Statement"] == [
        {
            "Sid": "VerifyUnderPrefix",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:DeleteObject"],
            "Resource": f"{ARN}/public/*",
        }
    ]


def test_publishing_in_parts_allows_every_write_under_the_prefix() -> None:
    document = verifier_policy(ARN, "public/", pending_prefix="pending/", publish_in_parts=True)
    assert document["Statement"] == [
        *VERIFY_AND_PUBLISH[:2],
        {
            "Sid": "PublishInParts",
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": f"{ARN}/public/*",
        },
    ]


def test_publishing_in_parts_is_refused_where_nothing_is_published() -> None:
    with pytest.raises(ValueError, match="needs a pending_prefix"):
        verifier_policy(ARN, "public/", pending_prefix=None, publish_in_parts=True)
    with pytest.raises(ValueError, match="needs allow_verification=True"):
        signer_policy(ARN, "public/", pending_prefix="pending/", allow_verification=False, publish_in_parts=True)


@pytest.mark.parametrize("pending_prefix", ["pending/", None])
def test_the_local_signer_policy_differs_only_in_the_buckets_arn_and_one_action(pending_prefix: str | None) -> None:
    aws = signer_policy(ARN, "public/", pending_prefix=pending_prefix, allow_verification=True, allow_listing=True)[
        "Statement"
    ]
    local = local_signer_policy(
        ARN, "public/", pending_prefix=pending_prefix, allow_verification=True, allow_listing=True
    )["Statement"]
    assert local[1:] == aws[1:]
    assert local[0] == {
        **aws[0],
        "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
        "Resource": [ARN, aws[0]["Resource"]],
    }


def test_old_signatures_are_denied_for_every_action_on_objects() -> None:
    *allowed, deny = signer_policy(
        ARN,
        "public/",
        pending_prefix="pending/",
        allow_verification=True,
        allow_listing=True,
        signature_max_age_minutes=15,
    )["Statement"]
    assert deny == {
        "Sid": "DenyOldSignatures",
        "Effect": "Deny",
        "Action": [
            *UPLOAD_ACTIONS,
            "s3:GetObject",
            "s3:GetObjectVersion",
            "s3:DeleteObject",
            "s3:DeleteObjectVersion",
        ],
        "Resource": [f"{ARN}/pending/*", f"{ARN}/public/*"],
        "Condition": {"NumericGreaterThan": {"s3:signatureAge": "900000"}},
    }
    assert allowed[-1] == LIST_PENDING


def test_a_presigned_download_may_be_older_than_what_the_server_sends() -> None:
    document = verifier_policy(ARN, "public/", pending_prefix=None, server_signature_max_age_minutes=5)
    assert document["Statement"][1:] == [
        {
            "Sid": "DenyOldVerifyUnderPrefix",
            "Effect": "Deny",
            "Action": ["s3:GetObjectVersion", "s3:DeleteObject"],
            "Resource": f"{ARN}/public/*",
            "Condition": {"NumericGreaterThan": {"s3:signatureAge": "300000"}},
        }
    ]


def test_the_verifier_of_the_straight_way_encrypts_nothing() -> None:
    document = verifier_policy(ARN, "public/", pending_prefix=None, kms_key_arn=KEY)
    assert document["Statement"][1]["Action"] == ["kms:Decrypt"]


def test_in_china_the_key_is_used_through_the_service_of_china() -> None:
    key = KEY.replace(":aws:", ":aws-cn:").replace("eu-central-1", "cn-north-1")
    statement = signer_policy(ARN, "public/", pending_prefix="pending/", allow_verification=False, kms_key_arn=key)
    service = statement["Statement"][1]["Condition"]["StringEquals"]["kms:ViaService"]
    assert service == "s3.cn-north-1.amazonaws.com.cn"


LONGEST: dict[str, Any] = {
    "bucket_arn": LONGEST_ARN_PREFIX + "b" * 63,
    "allow_verification": True,
    "signature_max_age_minutes": 10080,
}


def test_who_sweeps_parts_lists_unfinished_uploads_and_ends_pending_ones() -> None:
    without = verifier_policy(ARN, "public/", pending_prefix="pending/", allow_listing=True)["Statement"]
    verify, *others = verifier_policy(ARN, "public/", pending_prefix="pending/", allow_listing=True, sweep_parts=True)[
        "Statement"
    ]
    assert verify == {**without[0], "Action": [*without[0]["Action"], "s3:AbortMultipartUpload"]}
    assert others == [
        *without[1:],
        {"Sid": "ListUnfinished", "Effect": "Allow", "Action": ["s3:ListBucketMultipartUploads"], "Resource": ARN},
    ]


@pytest.mark.parametrize(
    ("pending_prefix", "allow_verification", "needed"),
    [(None, True, "a pending_prefix"), ("pending/", False, "allow_verification=True")],
)
def test_nobody_sweeps_parts_without_a_pending_prefix_or_verification(
    pending_prefix: str | None, allow_verification: bool, needed: str
) -> None:
    with pytest.raises(ValueError, match=f"sweep_parts needs {needed}"):
        signer_policy(
            ARN, "public/", pending_prefix=pending_prefix, allow_verification=allow_verification, sweep_parts=True
        )


def test_the_largest_signer_policy_of_the_straight_way_fits_into_the_quota_for_inline_policies() -> None:
    require_inline_length(signer_policy(**LONGEST, prefix="p" * 255 + "/", pending_prefix=None))


def test_two_prefixes_of_32_characters_always_fit_into_the_quota_for_inline_policies() -> None:
    document = signer_policy(**LONGEST, prefix="p" * 31 + "/", pending_prefix="q" * 31 + "/", allow_listing=True)
    require_inline_length(document)


def test_a_policy_above_the_quota_for_inline_policies_is_refused() -> None:
    document = signer_policy(**LONGEST, prefix="p" * 49 + "/", pending_prefix="q" * 49 + "/", allow_listing=True)
    # AWS does not count white space. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    length = len("".join(json.dumps(document).split()))
    assert length > 2048
    with pytest.raises(ValueError, match=f"must be shorter: .* would have {length} characters, and AWS allows 2048"):
        require_inline_length(document)


@pytest.mark.parametrize(
    ("pending_prefix", "public_prefix"),
    [
        ("public/", "public/"),
        ("public/pending/", "public/"),
        ("media/", "media/public/"),
        ("Public/pending/", "public/"),
    ],
)
def test_prefixes_that_overlap_are_refused(pending_prefix: str, public_prefix: str) -> None:
    with pytest.raises(ValueError, match="pending_prefix and public_prefix must not overlap"):
        require_separate_prefixes(pending_prefix, public_prefix)
    for make in (verifier_policy, partial(signer_policy, allow_verification=False)):
        with pytest.raises(ValueError, match="pending_prefix and prefix must not overlap"):
            make(ARN, public_prefix, pending_prefix=pending_prefix)


@pytest.mark.parametrize(
    ("pending_prefix", "public_prefix"),
    [("pending/", "public/"), ("public-pending/", "public/"), ("media/pending/", "media/public/")],
)
def test_prefixes_that_do_not_overlap_are_accepted(pending_prefix: str, public_prefix: str) -> None:
    require_separate_prefixes(pending_prefix, public_prefix)


@pytest.mark.parametrize("prefix", ["pending=1/", "pending+/", "(pending)/", "pend@ing/"])
def test_a_pending_prefix_that_a_client_may_percent_encode_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="pending_prefix must have ASCII letters"):
        require_separate_prefixes(prefix, "public/")


@pytest.mark.parametrize(
    "prefix", ["", "public", "/", "/public/", "a//b/", "../", "a/./b/", "*/", "a?/", "$/", "ü/", "a b/"]
)
def test_a_prefix_that_is_not_the_path_of_a_folder_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match=r"^prefix must"):
        require_prefix(prefix)


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_accepted_prefix_is_a_wildcard_in_the_policy(prefix: str, tail: str) -> None:
    try:
        require_prefix(prefix + tail)
    except ValueError:
        return
    document = signer_policy(ARN, prefix + tail, pending_prefix=None, allow_verification=False)
    resource = document["Statement"][0]["Resource"]
    assert resource == f"{ARN}/{prefix}{tail}*"
    assert resource.count("*") == 1
    assert not {"?", "$"} & set(resource)


def test_a_policy_without_statements_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one statement"):
        bucket_policy(ARN, "public/", public_read=False, deny_plain_http=False)


@pytest.mark.parametrize("minutes", [0, -1])
def test_a_maximum_signature_age_below_one_minute_is_refused(minutes: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1; it is {minutes}"):
        signer_policy(ARN, "public/", pending_prefix=None, allow_verification=True, signature_max_age_minutes=minutes)


def test_cors_rules_without_an_origin_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one origin"):
        cors_rules([])


@pytest.mark.parametrize(
    ("days", "name"),
    [
        ({"abort_uploads_after_days": 0, "expire_pending_after_days": 2}, "abort_uploads_after_days"),
        ({"abort_uploads_after_days": 7, "expire_pending_after_days": 0}, "expire_pending_after_days"),
        (
            {"abort_uploads_after_days": 7, "expire_pending_after_days": 2, "expire_old_versions_after_days": 0},
            "expire_old_versions_after_days",
        ),
    ],
)
def test_lifecycle_rules_that_delete_before_one_day_are_refused(days: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1; it is 0"):
        lifecycle_rules(**days, pending_prefix="pending/")


def test_only_what_is_pending_expires() -> None:
    abort, expire = lifecycle_rules(7, pending_prefix="pending/", expire_pending_after_days=2)
    assert "Expiration" not in abort
    assert expire == {
        "ID": "ExpirePendingUploads",
        "Status": "Enabled",
        "Filter": {"Prefix": "pending/"},
        "Expiration": {"Days": 2},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 2},
    }
    assert lifecycle_rules(7, pending_prefix=None, expire_pending_after_days=2) == [abort]
