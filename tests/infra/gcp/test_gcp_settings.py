"""The settings of a stack on Google Cloud, and the messages for wrong ones, before any resource is created."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from presign.policy import MAX_RESUMABLE_FOR
from presign.presigner import COMPLETION_WINDOW
from tests.infra.gcp.program import PROJECT_FILE, deploy
from tests.infra.gcp.reference_cloud import ReferenceCloud
from tests.infra.pulumi_program import ROOT, read_config
from tests.infra.settings_of_clouds import check_declarations, check_page, example, problems, program_of_ones_own

PAGE = ROOT / "docs" / "provisioning-google.md"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"publicPrefix": "public"}, 'publicPrefix must end with a slash, as in "public/"; it is "public"'),
        ({"pendingPrefix": "/pending/"}, "pendingPrefix must not start with a slash"),
        ({"pendingPrefix": "public/new/"}, "pendingPrefix and presign-gcp:publicPrefix must not overlap"),
        ({"bucketName": "My_Bucket"}, "bucketName must have 3 to 63 lowercase letters"),
        ({"bucketName": "media.example.com"}, "bucketName must have 3 to 63 lowercase letters"),
        ({"bucketName": "goog-media"}, "bucketName must have 3 to 63 lowercase letters"),
        ({"bucketName": "my-google-media"}, "bucketName must have 3 to 63 lowercase letters"),
        ({"location": ""}, "location must be a location such as EU or europe-west1, while gcp:region is not set"),
        (
            {"location": "Europe (West)"},
            'location must be a location such as EU or europe-west1; it is "Europe (West)"',
        ),
        ({"expirePendingAfterDays": 0}, "expirePendingAfterDays must be a whole number from 1 to 3650"),
        ({"abortUploadsAfterDays": "soon"}, "abortUploadsAfterDays must be a whole number from 1 to 3650"),
        ({"softDeleteDays": 3}, "softDeleteDays must be 0, or from 7 to 90, because Google allows no less; it is 3"),
        ({"softDeleteDays": 91}, "softDeleteDays must be a whole number from 0 to 90"),
        ({"corsMaxAgeSeconds": -1}, "corsMaxAgeSeconds must be a whole number from 0 to 86400"),
        ({"allowedOrigins": ["*"]}, 'allowedOrigins must not be "*" unless presign-gcp:allowAnyOrigin is true'),
        ({"allowedOrigins": ["https://app.example.com/"]}, "allowedOrigins must have origins without a path"),
        ({"allowedOrigins": ["https://*.example.com"]}, "allowedOrigins must name each origin in full"),
        ({"metadataNames": "owner"}, "metadataNames must be a list of names; set each of them with pulumi config set"),
        ({"metadataNames": ["Owner"]}, "metadataNames must have names of at most 64 lower-case letters"),
        (
            {"allowVerification": False, "separateVerifier": True},
            "separateVerifier must be false while allowVerification is false",
        ),
        ({"signWith": "password"}, 'signWith must be one of signBlob, hmacKey, privateKey; it is "password"'),
        ({"accessKeyGeneration": 0}, "accessKeyGeneration must be a whole number from 1 to"),
        ({"keepPreviousAccessKey": True}, "keepPreviousAccessKey must be false while accessKeyGeneration is 1"),
        (
            {"keepPreviousAccessKey": True, "accessKeyGeneration": 2},
            "keepPreviousAccessKey must be false while signWith is signBlob",
        ),
        ({"impersonators": ["user:me@example.com"] * 2}, "impersonators must name each member once"),
        ({"impersonators": "user:me@example.com"}, "impersonators must be a list of members"),
        ({"impersonators": ["allUsers"]}, "impersonators must have members such as user:me@example.com"),
        ({"impersonators": ["allAuthenticatedUsers"]}, "impersonators must have members such as user:me@example.com"),
        ({"impersonators": ["me@example.com"]}, "impersonators must have members such as user:me@example.com"),
        ({"publicRead": "yes"}, 'publicRead must be true or false; it is "yes"'),
        ({"tags": {"Team": "media"}}, "tags must have names and values of at most 63 lower-case letters"),
        ({"tags": {"team": 1.5}}, 'tags must map names to texts; the value of "team" is none'),
        ({"tags": {f"tag{number}": "x" for number in range(65)}}, "tags must have at most 64 tags; it has 65"),
        ({"bucketname": "x"}, "bucketname is not a setting of this program; did you mean bucketName?"),
    ],
)
def test_a_wrong_setting_stops_the_program_with_a_message_that_names_its_key(
    config: Mapping[str, Any], message: str
) -> None:
    [problem] = problems(PROJECT_FILE, {"location": "EU", **config})
    assert problem.startswith(f"presign-gcp:{message}")


def test_all_wrong_settings_are_reported_together() -> None:
    lines = problems(PROJECT_FILE, {"publicPrefix": "public", "signWith": "", "protect": "perhaps"})
    assert [line.split()[0].partition(":")[2] for line in lines] == ["publicPrefix", "location", "signWith", "protect"]


def test_every_declared_key_has_a_type_a_default_and_a_description() -> None:
    check_declarations(PROJECT_FILE)


def test_the_default_rules_delete_no_file_that_is_resumed_and_inspected_as_late_as_possible() -> None:
    days = {
        key: timedelta(days=read_config(PROJECT_FILE)[key]["default"])
        for key in ("abortUploadsAfterDays", "expirePendingAfterDays")
    }
    assert days["abortUploadsAfterDays"] >= MAX_RESUMABLE_FOR
    assert days["expirePendingAfterDays"] > MAX_RESUMABLE_FOR + COMPLETION_WINDOW


def test_the_page_names_every_setting_with_its_default() -> None:
    check_page(
        PAGE,
        PROJECT_FILE,
        {
            "bucketName": "chosen by Pulumi",
            "location": "`gcp:region`",
            "allowedOrigins": "`http://localhost:8080`",
            "metadataNames": "none",
            "impersonators": "none",
            "tags": "none",
        },
    )
    defaults = {key: declared["default"] for key, declared in read_config(PROJECT_FILE).items()}
    assert [defaults[key] for key in ("bucketName", "location")] == ["", ""]
    assert [defaults[key] for key in ("allowedOrigins", "metadataNames", "impersonators", "tags")] == [
        ["http://localhost:8080"],
        [],
        [],
        {},
    ]


def test_the_example_of_the_page_is_a_program(tmp_path: Path) -> None:
    cloud = ReferenceCloud()
    stack = deploy(cloud, program=program_of_ones_own(tmp_path, example(PAGE, "pulumi")))
    assert set(cloud.rights("allUsers")) == {"avatars/"}
    assert len(cloud.state.accounts) == 2
    assert {each.parent for name, each in stack.run.resources.items() if "signer-" in name} == {"avatars-signer"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('UploadBucket("b", location="EU", allowed_origins=[])', "at least one origin"),
        ('UploadBucket("b", **ANY, public_prefix="up")', "public_prefix must end with a slash"),
        ('UploadBucket("b", **ANY, pending_prefix="public/new/")', "must not overlap"),
        ('UploadBucket("b", **ANY, expire_pending_after_days=0)', "expire_pending_after_days must be at least 1"),
        ('UploadBucket("b", **ANY, abort_uploads_after_days=0)', "abort_uploads_after_days must be at least 1"),
        ('UploadBucket("b", **ANY, soft_delete_days=3)', "soft_delete_days must be 0, or from 7 to 90"),
        ('UploadBucket("b", **ANY, metadata_names=["a-b"])', "metadata_names must have names"),
        ('UploadIdentities("i", **IDS, separate_verifier=True, allow_verification=False)', "separate_verifier needs"),
        (
            'UploadIdentities("i", **IDS, sign_with="password")',
            "sign_with must be one of signBlob, hmacKey",
        ),
        ('UploadIdentities("i", **IDS, keep_previous_key=True)', "key_generation of at least 2"),
    ],
)
def test_a_component_refuses_arguments_that_make_no_sense(tmp_path: Path, call: str, message: str) -> None:
    source = (
        "from presign_infra.gcp import UploadBucket, UploadIdentities\n"
        'ANY = {"location": "EU", "allowed_origins": ["https://a.example"]}\n'
        'IDS = dict(bucket="b", public_folder="public/", pending_folder="pending/")\n'
        f"{call}\n"
    )
    with pytest.raises(ValueError, match=message):
        deploy(ReferenceCloud(), program=program_of_ones_own(tmp_path, source))
