"""The settings of a stack on Azure, and the messages for wrong settings, which come before any resource is created."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pulumi_azure_native import storage

from emulators.azurite import Azurite
from tests.azure.accounts import Identity
from tests.infra.azure.azurite_cloud import AzuriteCloud
from tests.infra.azure.program import PROJECT_FILE, AzureStack, deploy
from tests.infra.pulumi_program import ROOT, read_config
from tests.infra.settings_of_clouds import check_declarations, check_page, example, problems, program_of_ones_own

PAGE = ROOT / "docs" / "provisioning-azure.md"
ID = "11059fcc-5514-4800-b5f8-49808b9cfab6"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"publicPrefix": "public"}, 'publicPrefix must end with a slash, as in "public/"; it is "public"'),
        ({"pendingPrefix": "/pending/"}, "pendingPrefix must not start with a slash"),
        ({"pendingPrefix": "public/new/"}, "pendingPrefix and presign-azure:publicPrefix must not overlap"),
        ({"container": "Uploads"}, "container must have 3 to 63 lower-case letters"),
        ({"container": "$web"}, "container must have 3 to 63 lower-case letters"),
        ({"pendingContainer": "a--b"}, "pendingContainer must have 3 to 63 lower-case letters"),
        ({"pendingContainer": "uploads"}, "pendingContainer must differ from container"),
        ({"accountName": "my-account"}, "accountName must have 3 to 24 lower-case letters and digits"),
        ({"resourceGroup": "media."}, "resourceGroup must be the name of a resource group"),
        ({"expirePendingAfterDays": 0}, "expirePendingAfterDays must be a whole number from 1 to 3650"),
        ({"softDeleteDays": 366}, "softDeleteDays must be a whole number from 0 to 365"),
        ({"corsMaxAgeSeconds": -1}, "corsMaxAgeSeconds must be a whole number from 0 to 86400"),
        ({"allowedOrigins": ["*"]}, 'allowedOrigins must not be "*" unless presign-azure:allowAnyOrigin is true'),
        ({"allowedOrigins": ["https://app.example.com/"]}, "allowedOrigins must have origins without a path"),
        (
            {"allowedOrigins": [f"https://app{number:03}.example.com" for number in range(100)]},
            "allowedOrigins cannot be used: allowed_origins and metadata_names must be shorter: the CORS rule would",
        ),
        (
            {"metadataNames": [f"n{number}" for number in range(59)]},
            "metadataNames cannot be used: metadata_names must have at most 58 names, because a CORS rule of",
        ),
        ({"metadataNames": "owner"}, "metadataNames must be a list of names; set each of them with pulumi config set"),
        ({"metadataNames": ["Owner"]}, "metadataNames must have names of at most 64 lower-case letters"),
        ({"metadataNames": ["7up"]}, "metadataNames must have names of at most 64 lower-case letters"),
        (
            {"pendingPrefix": "", "uploadInParts": False},
            "publicRead must be false while pendingPrefix is empty, because Azure enforces neither the type",
        ),
        ({"pendingPrefix": "", "publicRead": False}, "uploadInParts must be false while pendingPrefix is empty"),
        (
            {"allowVerification": False, "separateVerifier": True},
            "separateVerifier must be false while allowVerification is false",
        ),
        (
            {"allowVerification": False, "publishInParts": True},
            "publishInParts must be false while pendingPrefix is empty or allowVerification is false",
        ),
        ({"principalType": "User"}, "principalType must be ServicePrincipal while signerPrincipalId and"),
        (
            {"separateVerifier": True, "signerPrincipalId": ID, "verifierPrincipalId": ID.upper()},
            "verifierPrincipalId must differ from signerPrincipalId",
        ),
        ({"tags": {"Team": "a", "team": "b"}}, "tags must have names that differ in more than their case"),
        ({"bindHeaders": True}, "bindHeaders must be false while uploadInParts is true"),
        ({"verifierPrincipalId": ID}, "verifierPrincipalId must be empty while separateVerifier is false"),
        (
            {"verifierPrincipalId": ID, "signerPrincipalId": ID, "separateVerifier": True},
            "verifierPrincipalId must differ from signerPrincipalId",
        ),
        ({"signerPrincipalId": "me@example.com"}, "signerPrincipalId must be an object ID"),
        ({"principalType": "Person"}, "principalType must be one of ServicePrincipal, User, Group"),
        ({"replication": "Premium"}, "replication must be one of LRS, ZRS, GRS, RAGRS, GZRS, RAGZRS"),
        ({"publicRead": "yes"}, 'publicRead must be true or false; it is "yes"'),
        ({"tags": {"team": 1.5}}, 'tags must map names to texts; the value of "team" is none'),
        ({"tags": {"a/b": "c"}}, "tags must have names of 1 to 128 characters without"),
        ({"tags": {f"tag{number}": "x" for number in range(51)}}, "tags must have at most 50 tags; it has 51"),
        (
            {"pendingContainr": "x"},
            "pendingContainr is not a setting of this program; did you mean pendingContainer?",
        ),
    ],
)
def test_a_wrong_setting_stops_the_program_with_a_message_that_names_its_key(
    config: Mapping[str, Any], message: str
) -> None:
    [problem] = problems(PROJECT_FILE, config)
    assert problem.startswith(f"presign-azure:{message}")


def test_all_wrong_settings_are_reported_together() -> None:
    lines = problems(PROJECT_FILE, {"publicPrefix": "public", "replication": "", "protect": "perhaps"})
    assert [line.split()[0].partition(":")[2] for line in lines] == ["publicPrefix", "replication", "protect"]


def test_every_declared_key_has_a_type_a_default_and_a_description() -> None:
    check_declarations(PROJECT_FILE)


def test_the_page_names_every_setting_with_its_default() -> None:
    check_page(
        PAGE,
        PROJECT_FILE,
        {
            "resourceGroup": "created",
            "accountName": "chosen by Pulumi",
            "allowedOrigins": "`http://localhost:8080`",
            "metadataNames": "none",
            "signerPrincipalId": "created",
            "verifierPrincipalId": "created",
            "tags": "none",
        },
    )
    defaults = {key: declared["default"] for key, declared in read_config(PROJECT_FILE).items()}
    assert [defaults[key] for key in ("resourceGroup", "accountName", "signerPrincipalId", "verifierPrincipalId")] == [
        ""
    ] * 4
    assert [defaults[key] for key in ("allowedOrigins", "metadataNames", "tags")] == [["http://localhost:8080"], [], {}]


def test_the_replications_are_skus_of_the_provider() -> None:
    described = read_config(PROJECT_FILE)["replication"]["description"]
    names = described.partition("copies. ")[2].rstrip(".").replace(" or ", ", ").split(", ")
    assert {f"Standard_{name}" for name in names} <= {sku.value for sku in storage.SkuName}


def test_the_example_of_the_page_is_a_program(azurite: Azurite, tmp_path: Path) -> None:
    cloud = AzuriteCloud(azurite)
    stack = deploy(cloud, program=program_of_ones_own(tmp_path, example(PAGE, "pulumi")))
    assert cloud.state.containers == {"avatars": "Blob", "uploads-pending": "None"}
    assert {each.parent for name, each in stack.run.resources.items() if "signer-" in name} == {"avatars-signer"}


def test_the_example_with_two_identities_signs_uploads(
    stack_with_two_identities: AzureStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def managed_identity(*, client_id: str) -> Identity:
        asked.append(client_id)
        return Identity()

    monkeypatch.setattr("azure.identity.ManagedIdentityCredential", managed_identity)
    source = example(PAGE, "two identities").replace(
        'account_name="myaccount"', f'account_url="{stack_with_two_identities.account_url}"'
    )
    variables: dict[str, Any] = {}
    exec(source, variables)
    assert len(asked) == 2
    assert repr(variables["backend"]) == repr(stack_with_two_identities.backend())


@pytest.fixture
def stack_with_two_identities(azurite: Azurite) -> AzureStack:
    return deploy(AzuriteCloud(azurite), {"separateVerifier": True})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('UploadAccount("a", **ANY, allowed_origins=[])', "at least one origin"),
        ('UploadAccount("a", **ANY, **PAGES, container="Uploads")', "container must have 3 to 63 lower-case letters"),
        ('UploadAccount("a", **ANY, **PAGES, pending_container="uploads")', "must differ"),
        ('UploadAccount("a", **ANY, **PAGES, pending_container=None)', "public_read needs a pending_container"),
        ('UploadAccount("a", **ANY, **PAGES, pending_prefix="new")', "pending_prefix must end with a slash"),
        ('UploadAccount("a", **ANY, **PAGES, expire_pending_after_days=0)', "must be at least 1"),
        ('UploadAccount("a", **ANY, **PAGES, soft_delete_days=366)', "soft_delete_days must be from 0 to 365"),
        ('UploadAccount("a", **ANY, **PAGES, metadata_names=["a-b"])', "metadata_names must have names"),
        ('UploadIdentities("i", **IDS, separate_verifier=True, allow_verification=False)', "separate_verifier needs"),
        ('UploadIdentities("i", **IDS, publish_in_parts=True, allow_verification=False)', "publish_in_parts needs"),
        ('UploadIdentities("i", **IDS, verifier=Principal(object_id="x"))', "verifier needs separate_verifier=True"),
        ('UploadIdentities("i", **{**IDS, "pending_container_id": None})', "need a pending container"),
        ('Principal(object_id="x", type="Person")', "type must be one of ServicePrincipal, User, Group"),
    ],
)
def test_a_component_refuses_arguments_that_make_no_sense(
    azurite: Azurite, tmp_path: Path, call: str, message: str
) -> None:
    source = (
        "from presign_infra.azure import Principal, UploadAccount, UploadIdentities\n"
        'ANY = {"resource_group_name": "g"}\n'
        'PAGES = {"allowed_origins": ["https://a.example"]}\n'
        'IDS = dict(resource_group_name="g", account_name="a", account_id="a", container_id="c", '
        'pending_container_id="p")\n'
        f"{call}\n"
    )
    with pytest.raises(ValueError, match=message):
        deploy(AzuriteCloud(azurite), program=program_of_ones_own(tmp_path, source))
