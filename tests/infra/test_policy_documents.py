"""The policy documents by themselves: their exact shape, their limits, and what a linter for IAM makes of them."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.policies import (
    bucket_policy,
    cors_rules,
    lifecycle_rules,
    local_signer_policy,
    policy_document,
    require_prefix,
    signer_policy,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import parliament  # type: ignore[import-untyped]

ARN = "arn:aws:s3:::media"

DOCUMENTS = {
    "public bucket": bucket_policy(ARN, "public/", public_read=True),
    "private bucket": bucket_policy(ARN, "public/", public_read=False),
    "plain local bucket": bucket_policy(ARN, "public/", public_read=True, deny_plain_http=False),
    "signer": signer_policy(ARN, "public/", allow_verification=True),
    "upload-only signer": signer_policy(ARN, "public/", allow_verification=False),
    "signer with a largest age": signer_policy(
        ARN, "media/originals/", allow_verification=True, signature_max_age_minutes=15
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_linter_for_iam_finds_nothing(name: str) -> None:
    findings = parliament.analyze_policy_string(json.dumps(DOCUMENTS[name])).findings
    assert [str(finding) for finding in findings] == []


@pytest.mark.parametrize(
    "broken",
    [
        {"Action": "s3:PutObjects"},
        {"Resource": ARN},
        {"Condition": {"Bool": {"aws:SecureTransports": "false"}}},
    ],
)
def test_the_linter_for_iam_would_find_a_slip(broken: dict[str, Any]) -> None:
    statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"{ARN}/public/*", **broken}
    assert parliament.analyze_policy_string(json.dumps(policy_document(statement))).findings


def test_a_signer_without_verification_has_one_statement_of_three_actions() -> None:
    assert signer_policy(ARN, "public/", allow_verification=False) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "UploadUnderPrefix",
                "Effect": "Allow",
                "Action": ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
                "Resource": "arn:aws:s3:::media/public/*",
            }
        ],
    }


def test_the_local_signer_differs_by_the_buckets_arn_and_one_action_alone() -> None:
    aws = signer_policy(ARN, "public/", allow_verification=True)["Statement"]
    local = local_signer_policy(ARN, "public/", allow_verification=True)["Statement"]
    assert local[1:] == aws[1:]
    assert local[0] == {
        **aws[0],
        "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
        "Resource": [ARN, f"{ARN}/public/*"],
    }


def test_a_document_fits_into_the_quota_of_inline_policies_whatever_the_prefix() -> None:
    longest = "p" * 255 + "/"
    document = signer_policy(f"arn:aws-us-gov:s3:::{'b' * 63}", longest, allow_verification=True)
    document["Statement"] += signer_policy(
        f"arn:aws-us-gov:s3:::{'b' * 63}", longest, allow_verification=False, signature_max_age_minutes=10080
    )["Statement"][1:]
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html counts without white space.
    assert len("".join(json.dumps(document).split())) <= 2048


@pytest.mark.parametrize(
    "prefix", ["", "public", "/", "/public/", "a//b/", "../", "a/./b/", "*/", "a?/", "$/", "ü/", "a b/"]
)
def test_a_prefix_that_means_something_else_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match=r"^prefix must"):
        require_prefix(prefix)


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_taken_prefix_never_widens_the_resource(prefix: str, tail: str) -> None:
    try:
        require_prefix(prefix + tail)
    except ValueError:
        return
    resource = signer_policy(ARN, prefix + tail, allow_verification=False)["Statement"][0]["Resource"]
    assert resource == f"{ARN}/{prefix}{tail}*"
    assert resource.count("*") == 1
    assert not {"?", "$"} & set(resource)


def test_a_policy_without_statements_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one statement"):
        bucket_policy(ARN, "public/", public_read=False, deny_plain_http=False)


@pytest.mark.parametrize("minutes", [0, -1])
def test_a_largest_signature_age_is_at_least_a_minute(minutes: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1; it is {minutes}"):
        signer_policy(ARN, "public/", allow_verification=True, signature_max_age_minutes=minutes)


def test_cors_needs_an_origin() -> None:
    with pytest.raises(ValueError, match="at least one origin"):
        cors_rules([])


def test_unfinished_uploads_are_kept_for_a_day_at_least() -> None:
    with pytest.raises(ValueError, match="at least 1; it is 0"):
        lifecycle_rules(0)
