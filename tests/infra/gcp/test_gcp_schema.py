"""What the reference server cannot show: the values that Google takes, as Pulumi's provider documents them.

mypy checks the names and the types of arguments. These tests are about texts and numbers.
"""

from __future__ import annotations

import pytest
from pulumi_gcp import projects, serviceaccount, storage

from tests.infra.gcp.program import GoogleStack, deploy
from tests.infra.gcp.reference_cloud import ReferenceCloud
from tests.infra.settings_of_clouds import documented


@pytest.fixture(scope="module")
def stack() -> GoogleStack:
    return deploy(ReferenceCloud())


@pytest.mark.parametrize(("public", "value"), [(True, "inherited"), (False, "enforced")])
def test_public_access_prevention_has_a_value_of_the_schema(public: bool, value: str) -> None:
    bucket = deploy(ReferenceCloud(), {"publicRead": public}).run.resources["uploads-bucket"]
    assert bucket.inputs["publicAccessPrevention"] == value
    assert f'"{value}"' in documented(storage.BucketArgs, "public_access_prevention")


def test_the_actions_of_the_lifecycle_rules_are_those_of_the_schema(stack: GoogleStack) -> None:
    text = documented(storage.BucketLifecycleRuleActionArgs, "type")
    assert [f"`{rule['action']}`" in text for rule in stack.settings["lifecycle"]] == [True, True]


def test_the_limits_of_soft_delete_are_those_of_the_schema() -> None:
    text = documented(storage.BucketSoftDeletePolicyArgs, "retention_duration_seconds")
    assert f"between {7 * 86_400}(7 days) and {90 * 86_400}(90 days)" in text
    assert "must be set to 0" in text


def test_a_managed_folder_ends_with_a_slash_and_keeps_its_objects_when_it_is_deleted(stack: GoogleStack) -> None:
    assert "Must include trailing '/'" in documented(storage.ManagedFolderArgs, "name")
    assert "will remain" in documented(storage.ManagedFolderArgs, "force_destroy")
    assert all(folder.endswith("/") for _, folder in stack.cloud.state.folders)


def test_the_ids_of_roles_and_accounts_have_the_form_of_the_schema(stack: GoogleStack) -> None:
    assert "Cannot contain `-`" in documented(projects.IAMCustomRoleArgs, "role_id")
    assert not any("-" in role.rpartition("/")[2] for role in stack.cloud.state.roles)
    assert "must be 6-30 characters long" in documented(serviceaccount.AccountArgs, "account_id")
    longest = deploy(ReferenceCloud(), {"separateVerifier": True, "bucketName": "b" * 63})
    assert all(6 <= len(email.partition("@")[0]) <= 30 for email in longest.cloud.state.accounts)


def test_a_member_may_be_everybody_and_a_role_a_custom_one() -> None:
    assert "**allUsers**" in documented(storage.ManagedFolderIamMemberArgs, "member")
    assert "custom roles must be of the format" in documented(storage.ManagedFolderIamMemberArgs, "role")
