"""The settings of a stack, and the messages for wrong settings, which come before any resource is created."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pulumi
import pytest

from presign.policy import MAX_RESUMABLE_FOR
from presign.presigner import COMPLETION_WINDOW
from tests.infra.boto3_cloud import Boto3Cloud
from tests.infra.pulumi_program import INFRA, PROVISIONING_PAGE, read_config, run_program
from tests.infra.test_provisioning import deploy

ORIGIN_KEY = "presign:allowedOrigins"
OIDC = {
    "createUser": False,
    "roleTrust": "oidc",
    "oidcProviderArn": "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com",
    "oidcSubjects": ["repo:example/web:ref:refs/heads/main"],
}
KMS_KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


class CloudWithoutResources(Boto3Cloud):
    """A cloud that fails the test when the program registers a resource."""

    def __init__(self) -> None:
        self.region = "eu-central-1"

    def new_resource(self, args: Any) -> Any:
        raise AssertionError(f"the program registered {args.name} although its settings are wrong")


def problems(config: Mapping[str, Any]) -> list[str]:
    """Return the lines of the message with which the program stops."""
    with pytest.raises(pulumi.RunError) as error:
        run_program(INFRA, CloudWithoutResources(), config)
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"publicPrefix": "public"}, 'presign:publicPrefix must end with a slash, as in "public/"; it is "public"'),
        ({"publicPrefix": ""}, 'presign:publicPrefix must end with a slash, as in "public/"; it is ""'),
        ({"publicPrefix": "/public/"}, 'presign:publicPrefix must not start with a slash; it is "/public/"'),
        ({"publicPrefix": "/"}, 'presign:publicPrefix must not start with a slash; it is "/"'),
        ({"publicPrefix": "a/../b/"}, "presign:publicPrefix must have segments of ASCII letters"),
        ({"publicPrefix": "a//b/"}, "presign:publicPrefix must have segments of ASCII letters"),
        ({"publicPrefix": "*/"}, "presign:publicPrefix must have segments of ASCII letters"),
        ({"publicPrefix": "${aws:username}/"}, "presign:publicPrefix must have segments of ASCII letters"),
        ({"publicPrefix": "p" * 256 + "/"}, "presign:publicPrefix must have at most 256 characters; it has 257"),
        ({"pendingPrefix": "pending"}, 'presign:pendingPrefix must end with a slash, as in "public/"; it is "pending"'),
        ({"pendingPrefix": "/pending/"}, "presign:pendingPrefix must not start with a slash"),
        ({"pendingPrefix": "p@nding/"}, "presign:pendingPrefix must have ASCII letters, digits and _.- alone"),
        ({"pendingPrefix": "public/"}, "presign:pendingPrefix and presign:publicPrefix must not overlap"),
        ({"pendingPrefix": "public/new/"}, "presign:pendingPrefix and presign:publicPrefix must not overlap"),
        (
            {"pendingPrefix": "media/", "publicPrefix": "media/public/"},
            "presign:pendingPrefix and presign:publicPrefix must not overlap, because nobody may read an upload before "
            'it is verified; they are "media/" and "media/public/". Choose two folders',
        ),
        (
            {"pendingPrefix": "q" * 150 + "/", "publicPrefix": "p" * 150 + "/"},
            "presign:pendingPrefix and presign:publicPrefix must be shorter: the policy of the IAM user would have",
        ),
        (
            {"pendingPrefix": "q" * 250 + "/", "publicPrefix": "p" * 250 + "/", "separateVerifier": True},
            "presign:pendingPrefix and presign:publicPrefix must be shorter: the policy of the IAM user would have",
        ),
        (
            {"expirePendingAfterDays": 0},
            'presign:expirePendingAfterDays must be a whole number from 1 to 3650; it is "0"',
        ),
        (
            {"separateVerifier": True, "allowVerification": False},
            "presign:separateVerifier must be false while allowVerification is false",
        ),
        ({"publishInParts": True, "pendingPrefix": ""}, "presign:publishInParts must be false while pendingPrefix is"),
        (
            {"publishInParts": True, "allowVerification": False},
            "presign:publishInParts must be false while pendingPrefix is empty or allowVerification is false",
        ),
        ({"allowListing": "maybe"}, 'presign:allowListing must be true or false; it is "maybe"'),
        ({"allowedOrigins": ["*"]}, f'{ORIGIN_KEY} must not be "*"'),
        ({"allowedOrigins": []}, f"{ORIGIN_KEY} must name at least one origin"),
        ({"allowedOrigins": "https://app.example.com"}, f"{ORIGIN_KEY} must be a list of texts; set each of them with"),
        ({"allowedOrigins": [8080]}, f"{ORIGIN_KEY} must be a list of texts; set each of them with"),
        ({"allowedOrigins": ["https://app.example.com/"]}, f"{ORIGIN_KEY} must have origins without a path"),
        ({"allowedOrigins": ["https://app.example.com/up"]}, f"{ORIGIN_KEY} must have origins without a path"),
        ({"allowedOrigins": ["https://app.example.com?a"]}, f"{ORIGIN_KEY} must have origins without a path"),
        ({"allowedOrigins": ["app.example.com"]}, f"{ORIGIN_KEY} must have origins that start with https://"),
        ({"allowedOrigins": ["ftp://app.example.com"]}, f"{ORIGIN_KEY} must have origins that start with https://"),
        ({"allowedOrigins": ["https://"]}, f"{ORIGIN_KEY} must have origins that start with https://"),
        ({"allowedOrigins": ["https://App.example.com"]}, f"{ORIGIN_KEY} must have origins in lower case"),
        ({"allowedOrigins": ["https://app.example.com:443"]}, f"{ORIGIN_KEY} must have origins without the scheme's"),
        ({"allowedOrigins": ["https://app.example.com:99999"]}, f"{ORIGIN_KEY} must have origins such as https://"),
        ({"allowedOrigins": ["https://a*.example.com"]}, f"{ORIGIN_KEY} must have origins of a lowercase host"),
        ({"allowedOrigins": ["https://me@app.example.com"]}, f"{ORIGIN_KEY} must have origins of a lowercase host"),
        ({"allowedOrigins": ["null"]}, f"{ORIGIN_KEY} must have origins that start with https://"),
        ({"bucketName": "My_Bucket"}, "presign:bucketName must have 3 to 63 lowercase letters"),
        ({"bucketName": "media.example.com"}, "presign:bucketName must have 3 to 63 lowercase letters"),
        ({"bucketName": "xn--media"}, "presign:bucketName must not begin or end with a text that AWS reserves"),
        (
            {"abortUploadsAfterDays": 0},
            'presign:abortUploadsAfterDays must be a whole number from 1 to 3650; it is "0"',
        ),
        ({"abortUploadsAfterDays": "soon"}, "presign:abortUploadsAfterDays must be a whole number from 1 to 3650"),
        ({"signatureMaxAgeMinutes": -5}, "presign:signatureMaxAgeMinutes must be a whole number from 0 to 10080"),
        ({"signatureMaxAgeMinutes": 10081}, "presign:signatureMaxAgeMinutes must be a whole number from 0 to 10080"),
        ({"signatureMaxAgeMinutes": "1.5"}, "presign:signatureMaxAgeMinutes must be a whole number from 0 to 10080"),
        ({"accessKeyGeneration": 0}, "presign:accessKeyGeneration must be a whole number from 1 to"),
        ({"keepPreviousAccessKey": True}, "presign:keepPreviousAccessKey must be false while accessKeyGeneration is 1"),
        ({"publicRead": "yes"}, 'presign:publicRead must be true or false; it is "yes"'),
        ({"tags": ["team"]}, "presign:tags must map names to texts; set each of them with"),
        (
            {"tags": {"version": 1.5}},
            'presign:tags must map names to texts; the value of "version" is none. Write it with quotes into the '
            "stack's file, Pulumi.test.yaml",
        ),
        ({"tags": {"team": ["a"]}}, 'presign:tags must map names to texts; the value of "team" is none'),
        ({"tags": {"aws:team": "media"}}, "presign:tags must have names of 1 to 128 characters"),
        ({"tags": {f"tag{i}": "x" for i in range(51)}}, "presign:tags must have at most 50 tags; it has 51"),
        (
            {"allowedOrigin": ["x"]},
            "presign:allowedOrigin is not a setting of this program; did you mean allowedOrigins?",
        ),
        ({"colour": "red"}, "presign:colour is not a setting of this program"),
        (
            {"presing:publicRead": "false"},
            "presing:publicRead has a namespace that this program does not read; its namespaces are presign and aws. "
            "Did you mean presign:publicRead? Remove the other one with pulumi config rm presing:publicRead",
        ),
        ({"AWS:region": "eu-west-1"}, "AWS:region has a namespace that this program does not read"),
        ({"logBucket": "my.logs"}, "presign:logBucket must have 3 to 63 lowercase letters, digits and hyphens"),
        ({"logBucket": "my-logs", "bucketName": "my-logs"}, "presign:logBucket must be another bucket than bucketName"),
        ({"logPrefix": "/logs/"}, "presign:logPrefix must not start with a slash"),
        (
            {"existingBucket": "media", "bucketName": "media"},
            "presign:bucketName must not be set while existingBucket is, because it is for a new bucket",
        ),
        (
            {"existingBucket": "media", "forceDestroy": True},
            "presign:forceDestroy must not be set while existingBucket",
        ),
        (
            {"existingBucket": "media", "existingBucketSettings": ["cors", "acl"]},
            "presign:existingBucketSettings must have some of ownership, accessBlock, policy, encryption, cors, "
            "lifecycle, logging, versioning; one is 'acl'",
        ),
        ({"existingBucketSettings": ["cors"]}, "presign:existingBucketSettings must be empty while existingBucket is"),
        (
            {"existingBucket": "media", "versioning": True},
            'presign:versioning must not be set while existingBucketSettings does not have "versioning"',
        ),
        (
            {"existingBucket": "media", "logBucket": "media", "existingBucketSettings": ["logging"]},
            "presign:logBucket must be another bucket than existingBucket",
        ),
        ({"roleTrust": "fargate", "createUser": False}, "presign:roleTrust must be empty or one of ec2, ecs, lambda"),
        ({"roleTrust": "ecs"}, "presign:roleTrust must be empty while createUser is true"),
        (
            {**OIDC, "oidcProviderArn": "https://token.actions.githubusercontent.com"},
            "presign:oidcProviderArn must be the ARN of a provider in IAM, such as arn:aws:iam::123456789012",
        ),
        ({**OIDC, "oidcSubjects": []}, "presign:oidcSubjects must name at least one subject, or every token"),
        ({**OIDC, "oidcSubjects": ["repo:example/*"]}, "presign:oidcSubjects must have whole subjects"),
        ({**OIDC, "separateVerifier": True}, "presign:verifierOidcSubjects must name at least one subject"),
        ({**OIDC, "verifierOidcSubjects": ["worker"]}, "presign:verifierOidcSubjects must be empty"),
        ({**OIDC, "oidcAudience": ""}, "presign:oidcAudience must be one audience without a wildcard"),
        ({"oidcSubjects": ["web"]}, "presign:oidcSubjects must be empty, because no role of the program trusts"),
        ({"oidcProviderArn": OIDC["oidcProviderArn"]}, "presign:oidcProviderArn must be empty unless roleTrust is"),
        ({"permissionsBoundary": "limits"}, "presign:permissionsBoundary must be the ARN of a policy"),
        (
            {"permissionsBoundary": "arn:aws:iam::123456789012:policy/limits", "createUser": False},
            "presign:permissionsBoundary must be empty while createUser is false and roleTrust is empty",
        ),
        ({"iamPath": "uploads/"}, "presign:iamPath must be / or begin and end with a slash, such as /uploads/"),
        (
            {"kmsKeyArn": "alias/uploads", "publicRead": False},
            "presign:kmsKeyArn must be the ARN of a key, such as arn:aws:kms:eu-central-1:123456789012:key/...",
        ),
        ({"cloudFront": True, "publicRead": False}, "presign:cloudFront must be false while publicRead is false"),
        ({"kmsKeyArn": KMS_KEY}, "presign:kmsKeyArn must be empty while publicRead is true"),
        (
            {"kmsKeyArn": KMS_KEY, "publicRead": False, "aws:region": "us-east-1"},
            "presign:kmsKeyArn must be in the bucket's region, us-east-1; it is in eu-central-1",
        ),
        (
            {"serverSignatureMaxAgeMinutes": 16, "signatureMaxAgeMinutes": 15},
            "presign:serverSignatureMaxAgeMinutes must be at most signatureMaxAgeMinutes, which is 15",
        ),
        (
            {"serverSignatureMaxAgeMinutes": 5, "allowVerification": False},
            "presign:serverSignatureMaxAgeMinutes must be 0 while allowVerification is false",
        ),
        ({"signerRoles": ["app"]}, "presign:signerRoles must be empty while createUser is true"),
        ({"createUser": False, "verifierRoles": ["app"]}, "presign:verifierRoles must be empty while separateVerifier"),
        (
            {"createUser": False, "signerRoles": ["arn:aws:iam::123456789012:role/app"]},
            "presign:signerRoles must have names of roles, which are the last part of their ARNs",
        ),
        ({"createUser": False, "signerRoles": ["app", "app"]}, "presign:signerRoles must name each role once"),
        ({"createUser": False, "signerRoles": "app"}, "presign:signerRoles must be a list of texts"),
        ({"aws:endpoints": "http://127.0.0.1"}, "aws:endpoints must be a list of maps, as in infra/Pulumi.local.yaml"),
        ({"protect": ""}, 'presign:protect must be true or false; it is ""'),
        (
            {"abortUploadsAfterDays": ""},
            'presign:abortUploadsAfterDays must be a whole number from 1 to 3650; it is ""',
        ),
        ({"tags": {"a#b": "x"}}, "presign:tags must have letters, digits, spaces and _.:/=+@- alone"),
        ({"tags": {"team": "a;b"}}, "presign:tags must have letters, digits, spaces and _.:/=+@- alone"),
        ({"tags": {"Team": "a", "team": "b"}}, "presign:tags must have names that differ in more than their case"),
        ({**OIDC, "oidcSubjects": ["${aws:username}"]}, "presign:oidcSubjects must have whole subjects"),
        ({**OIDC, "oidcAudience": "${aws:username}"}, "presign:oidcAudience must be one audience without a wildcard"),
        (
            {"createUser": False, "keepPreviousAccessKey": True, "accessKeyGeneration": 2},
            "presign:keepPreviousAccessKey must be false while createUser is false",
        ),
        (
            {"existingBucket": "my-bucket", "existingBucketSettings": ["versioning"]},
            'presign:existingBucketSettings must not have "versioning" while versioning is not set',
        ),
        (
            {"existingBucket": "my-bucket", "existingBucketSettings": ["logging"]},
            'presign:existingBucketSettings must not have "logging" while logBucket is not set',
        ),
        (
            {"createUser": False, "separateVerifier": True, "signerRoles": ["web"], "verifierRoles": ["job", "web"]},
            'presign:verifierRoles must have no role of signerRoles, or there is one identity; both have "web"',
        ),
    ],
)
def test_a_wrong_setting_stops_the_program_with_a_message_that_names_its_key(
    config: Mapping[str, Any], message: str
) -> None:
    [problem] = problems(config)
    assert problem.startswith(message)


def test_long_prefixes_are_accepted_for_a_managed_policy(moto_cloud: Boto3Cloud) -> None:
    prefixes = {"pendingPrefix": "q" * 150 + "/", "publicPrefix": "p" * 150 + "/"}
    assert deploy(moto_cloud, {**prefixes, "createUser": False}).run.outputs["policyArn"]


def test_the_public_prefix_of_the_straight_way_may_be_long(moto_cloud: Boto3Cloud) -> None:
    prefix = "p" * 255 + "/"
    stack = deploy(moto_cloud, {"pendingPrefix": "", "publicPrefix": prefix, "signatureMaxAgeMinutes": 10080})
    assert stack.run.outputs["prefix"] == prefix


def test_all_wrong_settings_are_reported_together() -> None:
    lines = problems({"publicPrefix": "public", "allowedOrigins": ["*"], "protect": "perhaps"})
    assert [line.split()[0] for line in lines] == [
        "presign:publicPrefix",
        "presign:allowedOrigins",
        "presign:protect",
    ]


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com",
        "http://localhost:8080",
        "http://[::1]:3000",
        "https://*.example.com",
        "http://127.0.0.1",
    ],
)
def test_origins_that_browsers_send_are_used_unchanged(moto_cloud: Boto3Cloud, origin: str) -> None:
    stack = deploy(moto_cloud, {"allowedOrigins": [origin]})
    assert stack.cloud.s3.get_bucket_cors(Bucket=stack.bucket)["CORSRules"][0]["AllowedOrigins"] == [origin]


def test_every_declared_key_has_a_type_a_default_and_a_description() -> None:
    """Without a default, the engine would ask for a value on the first ``pulumi up``."""
    declared = read_config("Pulumi.yaml")
    python_types = {"string": str, "boolean": bool, "integer": int, "array": list, "object": dict}
    assert declared
    for key, entry in declared.items():
        assert set(entry) - {"items"} == {"type", "default", "description"}, key
        assert type(entry["default"]) is python_types[entry["type"]], key
        assert ("items" in entry) == (entry["type"] == "array"), key


def test_the_default_rules_delete_no_file_that_is_resumed_and_inspected_as_late_as_possible() -> None:
    days = {
        key: timedelta(days=read_config("Pulumi.yaml")[key]["default"])
        for key in ("abortUploadsAfterDays", "expirePendingAfterDays")
    }
    assert days["abortUploadsAfterDays"] >= MAX_RESUMABLE_FOR
    assert days["expirePendingAfterDays"] > MAX_RESUMABLE_FOR + COMPLETION_WINDOW


def test_the_page_about_provisioning_names_every_setting_with_its_default() -> None:
    page = PROVISIONING_PAGE.read_text(encoding="utf-8")
    table = re.search(r"<!-- table: settings -->\n(.*?)<!-- end of table -->", page, re.DOTALL)
    assert table
    documented = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table[1], re.MULTILINE))
    defaults = {key: declared["default"] for key, declared in read_config("Pulumi.yaml").items()}
    in_words = {
        "bucketName": "chosen by Pulumi",
        "publicPrefix": "`public/`",
        "pendingPrefix": "`pending/`",
        "allowedOrigins": "`http://localhost:8080`",
        "signerRoles": "none",
        "verifierRoles": "none",
        "logBucket": "none",
        "roleTrust": "none",
        "oidcProviderArn": "none",
        "oidcAudience": "`sts.amazonaws.com`",
        "oidcSubjects": "none",
        "verifierOidcSubjects": "none",
        "permissionsBoundary": "none",
        "iamPath": "`/`",
        "kmsKeyArn": "none",
        "existingBucket": "none",
        "existingBucketSettings": "none",
        "logPrefix": "`uploads/`",
        "tags": "none",
    }
    assert documented == {key: f"`{json.dumps(default)}`" for key, default in defaults.items()} | in_words
    defaults_in_words = {
        "publicPrefix": "public/",
        "pendingPrefix": "pending/",
        "allowedOrigins": ["http://localhost:8080"],
        "logPrefix": "uploads/",
        "oidcAudience": "sts.amazonaws.com",
        "iamPath": "/",
    }
    for key in in_words:
        assert defaults[key] == defaults_in_words.get(key, type(defaults[key])()), key


def test_the_defaults_of_pulumi_yaml_are_enough_to_run_the_program(moto_cloud: Boto3Cloud) -> None:
    """The program itself has no defaults, so it would stop at a key that Pulumi.yaml does not declare."""
    assert deploy(moto_cloud).run.outputs["prefix"] == "public/"


def test_the_local_stack_sets_only_declared_keys() -> None:
    local = read_config("infra/Pulumi.local.yaml")
    keys = {key.removeprefix("presign:") for key in local if key.startswith("presign:")}
    assert keys
    assert keys <= set(read_config("Pulumi.yaml"))


def test_the_local_stack_runs_against_a_local_server(moto_cloud: Boto3Cloud) -> None:
    local = read_config("infra/Pulumi.local.yaml")
    stack = deploy(moto_cloud, local)
    endpoint = local["aws:endpoints"][0]["s3"].replace(":", "%3A").replace("/", "%2F")
    assert stack.run.outputs["presignBucket"].endswith(f"&endpoint_url={endpoint}")
    assert not any(resource.protect for resource in stack.run.resources.values())
