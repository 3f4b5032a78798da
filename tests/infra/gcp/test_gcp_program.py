"""The resources that the Google program creates, and the rights that it gives. test_gcp_mutants.py runs some of these.

The reference server has no lifecycle, no soft delete and no IAM Service Account Credentials API. So these are compared
word for word with what Google documents.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from presign import open_backend
from presign.gcs import GCSBackend
from tests.infra.gcp.program import PAGE, GoogleStack, deploy
from tests.infra.gcp.reference_cloud import ReferenceCloud

CREATE_IN_PARTS = {
    "storage.objects.create",
    "storage.multipartUploads.create",
    "storage.multipartUploads.listParts",
    "storage.multipartUploads.abort",
}


@pytest.fixture(scope="module")
def stack() -> GoogleStack:
    return deploy(ReferenceCloud())


@pytest.fixture(scope="module")
def two_identities() -> GoogleStack:
    return deploy(ReferenceCloud(), {"separateVerifier": True})


def rights(stack: GoogleStack, who: str) -> dict[str, set[str]]:
    return stack.cloud.rights(f"serviceAccount:{getattr(stack, who)}")


def test_the_program_creates_the_documented_resources_and_no_others(stack: GoogleStack) -> None:
    assert {name: (resource.type, resource.parent) for name, resource in stack.run.resources.items()} == {
        "uploads": ("presign:gcp:UploadBucket", "presign-gcp-test"),
        "uploads-bucket": ("gcp:storage/bucket:Bucket", "uploads"),
        "uploads-public-folder": ("gcp:storage/managedFolder:ManagedFolder", "uploads"),
        "uploads-pending-folder": ("gcp:storage/managedFolder:ManagedFolder", "uploads"),
        "uploads-reader-role": ("gcp:projects/iAMCustomRole:IAMCustomRole", "uploads"),
        "uploads-public-read": ("gcp:storage/managedFolderIamMember:ManagedFolderIamMember", "uploads"),
        "uploads-signer": ("presign:gcp:UploadIdentities", "presign-gcp-test"),
        "uploads-signer-account": ("gcp:serviceaccount/account:Account", "uploads-signer"),
        "uploads-signer-pending-role": ("gcp:projects/iAMCustomRole:IAMCustomRole", "uploads-signer"),
        "uploads-signer-public-role": ("gcp:projects/iAMCustomRole:IAMCustomRole", "uploads-signer"),
        "uploads-signer-sign-blob-role": ("gcp:projects/iAMCustomRole:IAMCustomRole", "uploads-signer"),
        "uploads-signer-pending": ("gcp:storage/managedFolderIamMember:ManagedFolderIamMember", "uploads-signer"),
        "uploads-signer-public": ("gcp:storage/managedFolderIamMember:ManagedFolderIamMember", "uploads-signer"),
        "uploads-signer-sign-blob": ("gcp:serviceaccount/iAMMember:IAMMember", "uploads-signer"),
    }


def test_everything_is_protected_but_keys_and_impersonators(stack: GoogleStack) -> None:
    assert {name for name, each in stack.run.resources.items() if not each.protect} == {"uploads", "uploads-signer"}
    settings = {"signWith": "privateKey", "impersonators": ["user:me@example.com"]}
    resources = deploy(ReferenceCloud(), settings).run.resources
    assert {name.removeprefix("uploads-signer-") for name, each in resources.items() if not each.protect} == {
        *("uploads", "uploads-signer", "key-1", "impersonation-by-user:me@example.com"),
    }


def test_the_protection_can_be_turned_off() -> None:
    unprotected = deploy(ReferenceCloud(), {"protect": False})
    assert not any(resource.protect for resource in unprotected.run.resources.values())


def test_the_bucket_has_uniform_access_and_the_settings_of_the_stack() -> None:
    settings = {
        "bucketName": "media-uploads",
        "location": "europe-west1",
        "softDeleteDays": 0,
        "forceDestroy": True,
        "tags": {"team": "media"},
    }
    bucket = deploy(ReferenceCloud(), settings).cloud.state.buckets["media-uploads"]
    assert {name: bucket[name] for name in bucket if name not in {"cors", "lifecycle"}} == {
        "location": "europe-west1",
        "uniform": True,
        "prevention": "inherited",
        "softDelete": 0,
        "forceDestroy": True,
        "labels": {"team": "media"},
    }


def test_the_region_of_the_provider_is_the_default_location() -> None:
    assert (
        deploy(ReferenceCloud(), {"location": "", "gcp:region": "europe-west4"}).settings["location"] == "europe-west4"
    )


def test_google_ends_what_nobody_finished_or_completed() -> None:
    settings = {"pendingPrefix": "new/", "expirePendingAfterDays": 3, "abortUploadsAfterDays": 2}
    assert deploy(ReferenceCloud(), settings).settings["lifecycle"] == [
        {"action": "AbortIncompleteMultipartUpload", "age": 2, "prefixes": None},
        {"action": "Delete", "age": 3, "prefixes": ["new/"]},
    ]
    straight = deploy(ReferenceCloud(), {"pendingPrefix": ""})
    assert [rule["action"] for rule in straight.settings["lifecycle"]] == ["AbortIncompleteMultipartUpload"]


def test_everybody_may_read_what_is_published_and_may_not_list_it(stack: GoogleStack) -> None:
    assert stack.cloud.rights("allUsers") == {"public/": {"storage.objects.get"}}


def test_a_private_stack_prevents_public_access_to_the_whole_bucket() -> None:
    stack = deploy(ReferenceCloud(), {"publicRead": False})
    assert stack.settings["prevention"] == "enforced"
    assert stack.cloud.rights("allUsers") == {}


def test_one_account_signs_verifies_and_publishes_and_may_do_nothing_else(stack: GoogleStack) -> None:
    assert stack.signer == stack.verifier
    assert rights(stack, "signer") == {
        "pending/": {*CREATE_IN_PARTS, "storage.objects.get", "storage.objects.delete", "storage.objects.list"},
        "public/": {"storage.objects.get", "storage.objects.create"},
    }
    assert stack.cloud.may_sign_as(stack.signer) == {f"serviceAccount:{stack.signer}"}
    assert list(stack.cloud.state.accounts) == [stack.signer]


def test_of_two_accounts_the_one_that_signs_only_creates_what_is_pending(two_identities: GoogleStack) -> None:
    assert rights(two_identities, "signer") == {"pending/": CREATE_IN_PARTS}


def test_of_two_accounts_the_other_one_verifies_publishes_and_lets_google_sign(two_identities: GoogleStack) -> None:
    stack = two_identities
    assert rights(stack, "verifier") == {
        "pending/": {"storage.objects.get", "storage.objects.delete", "storage.objects.list"},
        "public/": {"storage.objects.get", "storage.objects.create"},
    }
    assert stack.cloud.may_sign_as(stack.signer) == {f"serviceAccount:{stack.verifier}"}
    assert stack.cloud.may_sign_as(stack.verifier) == set()


@pytest.mark.parametrize(
    ("config", "signer"),
    [
        ({"allowVerification": False}, {"pending/": CREATE_IN_PARTS}),
        (
            {"allowVerification": False, "publicRead": False},
            {"pending/": CREATE_IN_PARTS, "public/": {"storage.objects.get"}},
        ),
        (
            {"pendingPrefix": "", "allowListing": False},
            {"public/": {*CREATE_IN_PARTS, "storage.objects.get", "storage.objects.delete"}},
        ),
    ],
)
def test_each_setting_gives_just_the_rights_that_it_needs(
    config: Mapping[str, Any], signer: Mapping[str, set[str]]
) -> None:
    assert rights(deploy(ReferenceCloud(), config), "signer") == signer


def test_only_impersonators_may_act_as_the_accounts() -> None:
    stack = deploy(ReferenceCloud(), {"separateVerifier": True, "impersonators": ["user:me@example.com"]})
    verifier = f"serviceAccount:{stack.verifier}"
    assert stack.cloud.may_sign_as(stack.signer) == {"user:me@example.com", verifier}
    assert stack.cloud.may_sign_as(stack.verifier) == {"user:me@example.com"}


def test_by_default_there_is_no_key_and_no_secret(stack: GoogleStack) -> None:
    assert (stack.cloud.state.keys, stack.cloud.state.hmac_keys) == ([], {})
    assert stack.run.secret_outputs == frozenset()
    assert stack.run.outputs["env"].splitlines() == [
        f"PRESIGN_BUCKET={stack.run.outputs['presignBucket']}",
        "PRESIGN_PENDING_PREFIX=pending/",
        "PRESIGN_PUBLIC_READ=true",
        f"PRESIGN_ALLOWED_ORIGINS={PAGE}",
    ]
    assert stack.run.outputs["presignBucket"] == (
        f"gs://{stack.bucket}/public/?service_account_email={stack.signer.replace('@', '%40')}"
    )


def test_an_hmac_key_is_secret_and_belongs_to_the_signer() -> None:
    stack = deploy(ReferenceCloud(), {"signWith": "hmacKey", "separateVerifier": True})
    outputs = stack.run.outputs
    assert stack.run.secret_outputs == {"hmacSecret", "env"}
    assert stack.cloud.state.hmac_keys == {outputs["hmacAccessId"]: (stack.signer, outputs["hmacSecret"])}
    assert f"GCS_HMAC_ACCESS_ID={outputs['hmacAccessId']}" in outputs["env"]
    assert outputs["presignBucket"] == f"gs://{stack.bucket}/public/"
    assert stack.cloud.state.account_grants == {}


def test_private_keys_are_secret_and_go_into_files_that_git_ignores(tmp_path: Path) -> None:
    stack = deploy(ReferenceCloud(), {"signWith": "privateKey", "separateVerifier": True})
    outputs = stack.run.outputs
    assert stack.run.secret_outputs == {"signerCredentials", "verifierCredentials"}
    assert json.loads(outputs["signerCredentials"])["client_email"] == stack.signer
    assert json.loads(outputs["verifierCredentials"])["client_email"] == stack.verifier
    assert "GOOGLE_APPLICATION_CREDENTIALS=.env.google-signer.json" in outputs["env"]
    assert outputs["presignBucket"].endswith("/public/?verifier_credentials=.env.google-verifier.json")


@pytest.mark.parametrize("kind", ["hmacKey", "privateKey"])
def test_the_previous_key_stays_as_long_as_the_setting_says(kind: str) -> None:
    def keys(**config: Any) -> set[str]:
        run = deploy(ReferenceCloud(), {"signWith": kind, **config}).run
        return {name.removeprefix("uploads-signer-") for name in run.resources if "-key-" in name}

    name = "hmac-key" if kind == "hmacKey" else "key"
    assert keys() == {f"{name}-1"}
    assert keys(accessKeyGeneration=2, keepPreviousAccessKey=True) == {f"{name}-1", f"{name}-2"}
    assert keys(accessKeyGeneration=2) == {f"{name}-2"}


def test_presign_opens_the_address_with_the_private_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = deploy(ReferenceCloud(), {"signWith": "privateKey", "separateVerifier": True})
    for name, output in (("signer", "signerCredentials"), ("verifier", "verifierCredentials")):
        (tmp_path / f".env.google-{name}.json").write_text(stack.run.outputs[output], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", ".env.google-signer.json")
    backend, prefix = open_backend(stack.run.outputs["presignBucket"])
    assert isinstance(backend, GCSBackend)
    assert (backend.name, prefix) == (f"gs://{stack.bucket}", "public/")


def test_a_local_server_is_in_the_address() -> None:
    stack = deploy(ReferenceCloud(), {"gcp:storageCustomEndpoint": "http://127.0.0.1:4443/storage/v1/"})
    assert stack.run.outputs["presignBucket"].endswith("&endpoint_url=http%3A%2F%2F127.0.0.1%3A4443")


def test_accounts_and_roles_of_two_buckets_have_different_names() -> None:
    first, second = (deploy(ReferenceCloud(), {"bucketName": name}) for name in ("one-bucket", "two-bucket"))
    assert not set(first.cloud.state.accounts) & set(second.cloud.state.accounts)
    assert not set(first.cloud.state.roles) & set(second.cloud.state.roles)
    again = deploy(ReferenceCloud(), {"bucketName": "one-bucket"})
    assert set(first.cloud.state.roles) == set(again.cloud.state.roles)
