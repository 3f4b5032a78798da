"""The policy documents: their exact content, their limits, and the findings of an IAM linter."""

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
    "signer with a maximum signature age": signer_policy(
        ARN, "media/originals/", allow_verification=True, signature_max_age_minutes=15
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_iam_linter_finds_no_problem(name: str) -> None:
    findings = parliament.analyze_policy_string(json.dumps(DOCUMENTS[name])).findings
    assert [str(finding) for finding in findings] == []


@pytest.mark.parametrize(
    "mistake",
    [
        {"Action": "s3:PutObjects"},
        {"Resource": ARN},
        {"Condition": {"Bool": {"aws:SecureTransports": "false"}}},
    ],
)
def test_the_iam_linter_finds_a_mistake(mistake: dict[str, Any]) -> None:
    statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"{ARN}/public/*", **mistake}
    assert parliament.analyze_policy_string(json.dumps(policy_document(statement))).findings


def test_without_verification_the_signer_policy_has_one_statement_with_three_actions() -> None:
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


def test_the_local_signer_policy_differs_only_in_the_buckets_arn_and_one_action() -> None:
    aws = signer_policy(ARN, "public/", allow_verification=True)["Statement"]
    local = local_signer_policy(ARN, "public/", allow_verification=True)["Statement"]
    assert local[1:] == aws[1:]
    assert local[0] == {
        **aws[0],
        "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
        "Resource": [ARN, f"{ARN}/public/*"],
    }


def test_the_largest_signer_policy_fits_into_the_quota_for_inline_policies() -> None:
    document = signer_policy(
        f"arn:aws-us-gov:s3:::{'b' * 63}", "p" * 255 + "/", allow_verification=True, signature_max_age_minutes=10080
    )
    # AWS does not count white space. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    assert len("".join(json.dumps(document).split())) <= 2048


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
    resource = signer_policy(ARN, prefix + tail, allow_verification=False)["Statement"][0]["Resource"]
    assert resource == f"{ARN}/{prefix}{tail}*"
    assert resource.count("*") == 1
    assert not {"?", "$"} & set(resource)


def test_a_policy_without_statements_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one statement"):
        bucket_policy(ARN, "public/", public_read=False, deny_plain_http=False)


@pytest.mark.parametrize("minutes", [0, -1])
def test_a_maximum_signature_age_below_one_minute_is_refused(minutes: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1; it is {minutes}"):
        signer_policy(ARN, "public/", allow_verification=True, signature_max_age_minutes=minutes)


def test_cors_rules_without_an_origin_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one origin"):
        cors_rules([])


def test_lifecycle_rules_that_delete_parts_before_one_day_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1; it is 0"):
        lifecycle_rules(0)
