"""The resources that the Azure program creates, and the rights that it gives. test_mutants.py runs some of these tests.

Azurite has no Resource Manager and checks no roles. So the rights are compared word for word with what Azure documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from emulators.azurite import Azurite
from presign import open_backend
from presign.azure import AzureBackend
from tests.azure.accounts import Identity
from tests.infra.azure.azurite_cloud import AzuriteCloud
from tests.infra.azure.program import PAGE, PROGRAM, AzureStack, deploy
from tests.infra.engine.provider import NotApplied

OTHER_SIGNER, OTHER_VERIFIER = "11059fcc-5514-4800-b5f8-49808b9cfab6", "ab1f708d-50f6-404c-a006-d71b2ac7a606"


@pytest.fixture(scope="module")
def stack(azurite: Azurite) -> AzureStack:
    return deploy(AzuriteCloud(azurite))


@pytest.fixture(scope="module")
def two_identities(azurite: Azurite) -> AzureStack:
    return deploy(AzuriteCloud(azurite), {"separateVerifier": True})


def test_the_program_creates_the_documented_resources_and_no_others(stack: AzureStack) -> None:
    assert {name: (resource.type, resource.parent) for name, resource in stack.run.resources.items()} == {
        "uploads-group": ("azure-native:resources:ResourceGroup", "presign-azure-test"),
        "uploads": ("presign:azure:UploadAccount", "presign-azure-test"),
        "uploadsaccount": ("azure-native:storage:StorageAccount", "uploads"),
        "uploads-blob-service": ("azure-native:storage:BlobServiceProperties", "uploads"),
        "uploads-container": ("azure-native:storage:BlobContainer", "uploads"),
        "uploads-pending-container": ("azure-native:storage:BlobContainer", "uploads"),
        "uploads-lifecycle": ("azure-native:storage:ManagementPolicy", "uploads"),
        "uploads-signer": ("presign:azure:UploadIdentities", "presign-azure-test"),
        "uploads-signer-identity": ("azure-native:managedidentity:UserAssignedIdentity", "uploads-signer"),
        "uploads-signer-pending-role": ("azure-native:authorization:RoleDefinition", "uploads-signer"),
        "uploads-signer-published-role": ("azure-native:authorization:RoleDefinition", "uploads-signer"),
        "uploads-signer-delegator": ("azure-native:authorization:RoleAssignment", "uploads-signer"),
        "uploads-signer-pending": ("azure-native:authorization:RoleAssignment", "uploads-signer"),
        "uploads-signer-published": ("azure-native:authorization:RoleAssignment", "uploads-signer"),
    }


def test_the_account_takes_no_account_key_no_plain_http_and_no_old_tls(stack: AzureStack) -> None:
    account = stack.cloud.state.account
    assert {name: account[name] for name in account if name not in {"resourceGroupName", "chosenName", "tags"}} == {
        "kind": "StorageV2",
        "sku": "Standard_LRS",
        "allowBlobPublicAccess": True,
        "allowSharedKeyAccess": False,
        "allowCrossTenantReplication": False,
        "enableHttpsTrafficOnly": True,
        "minimumTlsVersion": "TLS1_2",
    }


def test_everything_is_protected_but_an_empty_resource_group(stack: AzureStack) -> None:
    unprotected = {name for name, resource in stack.run.resources.items() if not resource.protect}
    assert unprotected == {"uploads", "uploads-signer", "uploads-group"}


def test_the_protection_can_be_turned_off(azurite: Azurite) -> None:
    stack = deploy(AzuriteCloud(azurite), {"protect": False})
    assert not any(resource.protect for resource in stack.run.resources.values())


def test_a_private_stack_forbids_public_access_to_the_whole_account(azurite: Azurite) -> None:
    stack = deploy(AzuriteCloud(azurite), {"publicRead": False})
    assert stack.cloud.state.account["allowBlobPublicAccess"] is False
    assert set(stack.cloud.state.containers.values()) == {"None"}


def test_azure_expires_what_is_pending_in_the_pending_container_and_nothing_else(azurite: Azurite) -> None:
    settings = {"pendingContainer": "waiting", "pendingPrefix": "new/", "expirePendingAfterDays": 3}
    stack = deploy(AzuriteCloud(azurite), settings)
    assert stack.cloud.state.rules == [
        {
            "name": "ExpirePendingUploads",
            "blobTypes": ["blockBlob", "appendBlob"],
            "prefixMatch": ["waiting/new/"],
            "days": 3,
            "snapshotDays": 3,
        }
    ]


@pytest.mark.parametrize(("days", "kept"), [(0, None), (30, 30)])
def test_azure_keeps_deleted_blobs_and_containers_as_long_as_the_setting_says(
    azurite: Azurite, days: int, kept: int | None
) -> None:
    stack = deploy(AzuriteCloud(azurite), {"softDeleteDays": days})
    assert stack.cloud.state.services == {"deleteRetentionPolicy": kept, "containerDeleteRetentionPolicy": kept}


def test_one_identity_signs_verifies_and_publishes_and_may_do_nothing_else(stack: AzureStack) -> None:
    assert stack.cloud.rights(stack.run.outputs["signerPrincipalId"]) == {
        "account": {"delegate"},
        "uploads-pending": {"add/action", "write", "read", "delete", "container read"},
        "uploads": {"read", "add/action", "container read"},
    }
    assert {each.principal_id for each in stack.cloud.state.assignments} == {stack.run.outputs["signerPrincipalId"]}


def test_of_two_identities_the_one_that_signs_only_writes_what_is_pending(two_identities: AzureStack) -> None:
    stack = two_identities
    assert stack.cloud.rights(stack.run.outputs["signerPrincipalId"]) == {
        "account": {"delegate"},
        "uploads-pending": {"add/action", "write"},
    }


def test_of_two_identities_the_other_one_verifies_and_publishes(two_identities: AzureStack) -> None:
    stack = two_identities
    assert stack.cloud.rights(stack.run.outputs["verifierPrincipalId"]) == {
        "account": {"delegate"},
        "uploads-pending": {"read", "delete", "write", "container read"},
        "uploads": {"read", "add/action", "container read"},
    }


@pytest.mark.parametrize(
    ("config", "signer", "verifier"),
    [
        (
            {"separateVerifier": True, "uploadInParts": False},
            {"account": {"delegate"}, "uploads-pending": {"add/action"}},
            {
                "account": {"delegate"},
                "uploads-pending": {"read", "delete", "container read"},
                "uploads": {"read", "add/action", "container read"},
            },
        ),
        (
            {"separateVerifier": True, "publishInParts": True},
            {"account": {"delegate"}, "uploads-pending": {"add/action", "write"}},
            {
                "account": {"delegate"},
                "uploads-pending": {"read", "delete", "write", "container read"},
                "uploads": {"read", "add/action", "write", "container read"},
            },
        ),
        (
            {"allowVerification": False, "uploadInParts": False},
            {"account": {"delegate"}, "uploads-pending": {"add/action"}},
            None,
        ),
        (
            {"pendingPrefix": "", "publicRead": False, "uploadInParts": False},
            {"account": {"delegate"}, "uploads": {"add/action", "read", "delete", "container read"}},
            None,
        ),
    ],
)
def test_each_setting_gives_just_the_rights_that_it_needs(
    azurite: Azurite,
    config: Mapping[str, Any],
    signer: Mapping[str, set[str]],
    verifier: Mapping[str, set[str]] | None,
) -> None:
    stack = deploy(AzuriteCloud(azurite), config)
    outputs = stack.run.outputs
    assert stack.cloud.rights(outputs["signerPrincipalId"]) == signer
    assert (stack.cloud.rights(outputs["verifierPrincipalId"]) if verifier else None) == verifier
    assert ("verifierPrincipalId" in outputs) == (verifier is not None)


def test_identities_that_exist_get_the_rights_and_no_managed_identity_is_created(azurite: Azurite) -> None:
    stack = deploy(
        AzuriteCloud(azurite),
        {
            "separateVerifier": True,
            "signerPrincipalId": OTHER_SIGNER,
            "verifierPrincipalId": OTHER_VERIFIER,
            "principalType": "User",
        },
    )
    assert stack.cloud.state.identities == {}
    assert set(stack.cloud.rights(OTHER_SIGNER)) == {"account", "uploads-pending"}
    assert set(stack.cloud.rights(OTHER_VERIFIER)) == {"account", "uploads-pending", "uploads"}
    assert {each.principal_type for each in stack.cloud.state.assignments} == {"User"}
    assert "AZURE_CLIENT_ID" not in stack.run.outputs["env"]
    assert not {"signerClientId", "verifierClientId"} & set(stack.run.outputs)


def test_a_resource_group_that_exists_is_used(azurite: Azurite) -> None:
    stack = deploy(AzuriteCloud(azurite, groups=("media",)), {"resourceGroup": "media"})
    assert "uploads-group" not in stack.run.resources
    assert stack.run.outputs["resourceGroup"] == "media"
    with pytest.raises(NotApplied, match="no resource group"):
        deploy(AzuriteCloud(azurite), {"resourceGroup": "media"})


def require_stable_names(azurite: Azurite, program: Path) -> None:
    """Check that roles and assignments have the same names in each run, and other ones in another account."""

    def names(cloud: AzuriteCloud, group: str) -> set[str]:
        stack = deploy(cloud, {"signerPrincipalId": OTHER_SIGNER, "resourceGroup": group}, program=program)
        return set(stack.cloud.state.roles) | {
            str(resource.inputs["roleAssignmentName"])
            for resource in stack.run.resources.values()
            if resource.type.endswith(":RoleAssignment")
        }

    first = names(AzuriteCloud(azurite, groups=("one",)), "one")
    assert first == names(AzuriteCloud(azurite, groups=("one",)), "one")
    assert not first & names(AzuriteCloud(azurite, groups=("two",)), "two")


def test_roles_and_assignments_keep_their_names_from_run_to_run_and_differ_from_account_to_account(
    azurite: Azurite,
) -> None:
    require_stable_names(azurite, PROGRAM)


def test_tags_are_on_everything_that_can_have_them(azurite: Azurite) -> None:
    stack = deploy(AzuriteCloud(azurite), {"tags": {"team": "media"}})
    tagged = {name for name, resource in stack.run.resources.items() if resource.inputs.get("tags")}
    assert tagged == {"uploads-group", "uploadsaccount", "uploads-signer-identity"}


def test_the_outputs_hold_the_address_and_no_secret(two_identities: AzureStack) -> None:
    run = two_identities.run
    assert run.secret_outputs == frozenset()
    assert set(run.outputs) == {
        *(
            "resourceGroup",
            "account",
            "container",
            "pendingContainer",
            "prefix",
            "pendingPrefix",
            "presignBucket",
            "env",
        ),
        *("signerPrincipalId", "signerClientId", "signerIdentityId"),
        *("verifierPrincipalId", "verifierClientId", "verifierIdentityId"),
    }
    lines = run.outputs["env"].splitlines()
    assert lines[1:] == [
        "PRESIGN_PENDING_PREFIX=pending/",
        "PRESIGN_PUBLIC_READ=true",
        f"PRESIGN_ALLOWED_ORIGINS={PAGE}",
        f"AZURE_CLIENT_ID={run.outputs['signerClientId']}",
    ]
    assert run.outputs["presignBucket"] in lines[0]


def test_presign_opens_the_address(stack: AzureStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presign.azure.account._default_credential", Identity)
    backend, prefix = open_backend(stack.run.outputs["presignBucket"])
    assert isinstance(backend, AzureBackend)
    assert prefix == "public/"
    assert repr(backend) == (
        f"AzureBackend(account_name='devstoreaccount1', container='uploads', pending_container='uploads-pending', "
        f"account_url='{stack.account_url}')"
    )
    backend.check()


def test_the_address_asks_for_bound_headers_if_the_setting_does(azurite: Azurite) -> None:
    stack = deploy(AzuriteCloud(azurite), {"bindHeaders": True, "uploadInParts": False})
    assert stack.run.outputs["presignBucket"].endswith("&bind_headers=true")
