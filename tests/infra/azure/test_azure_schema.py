"""What Azurite cannot show: the values that Azure takes, as the schema of Pulumi's provider documents them.

mypy checks the names and the types of arguments. These tests are about texts and numbers.
"""

from __future__ import annotations

import inspect

import pytest
from pulumi_azure_native import authorization, storage

from emulators.azurite import Azurite
from tests.infra.azure.azurite_cloud import AzuriteCloud
from tests.infra.azure.program import AzureStack, deploy
from tests.infra.settings_of_clouds import documented


@pytest.fixture(scope="module")
def stack(azurite: Azurite) -> AzureStack:
    return deploy(AzuriteCloud(azurite))


def test_the_values_of_the_account_are_members_of_the_schemas_enumerations(stack: AzureStack) -> None:
    account = stack.inputs("uploadsaccount")
    assert storage.Kind(account["kind"]) is storage.Kind.STORAGE_V2
    assert storage.SkuName(account["sku"]["name"])
    assert storage.MinimumTlsVersion(account["minimumTlsVersion"]) is storage.MinimumTlsVersion.TLS1_2
    for name in ("uploads-container", "uploads-pending-container"):
        assert storage.PublicAccess(stack.inputs(name)["publicAccess"])
    [rule] = stack.inputs("uploads-blob-service")["cors"]["corsRules"]
    assert all(storage.AllowedMethods(method) for method in rule["allowedMethods"])
    assert authorization.PrincipalType(stack.inputs("uploads-signer-delegator")["principalType"])


def test_a_cors_rule_has_the_five_members_that_the_schema_requires(stack: AzureStack) -> None:
    parameters = inspect.signature(storage.CorsRuleArgs).parameters.values()
    required = {parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty}
    assert len(required) == 5
    [rule] = stack.inputs("uploads-blob-service")["cors"]["corsRules"]
    assert {"".join(f"_{c.lower()}" if c.isupper() else c for c in name) for name in rule} == required


def test_the_blob_service_and_the_management_policy_have_the_only_name_that_the_schema_allows(
    stack: AzureStack,
) -> None:
    assert "must be 'default'" in documented(storage.BlobServicePropertiesArgs, "blob_services_name")
    assert stack.inputs("uploads-blob-service")["blobServicesName"] == "default"
    assert "always be 'default'" in documented(storage.ManagementPolicyArgs, "management_policy_name")
    assert stack.inputs("uploads-lifecycle")["managementPolicyName"] == "default"


def test_the_lifecycle_rule_names_the_types_of_blobs_that_the_schema_can_delete(stack: AzureStack) -> None:
    [rule] = stack.inputs("uploads-lifecycle")["policy"]["rules"]
    text = documented(storage.ManagementPolicyFilterArgs, "blob_types")
    assert all(f" {blob_type} " in text.replace(".", " ") for blob_type in rule["definition"]["filters"]["blobTypes"])
    assert storage.RuleType(rule["type"])


def test_the_limits_of_soft_delete_are_those_of_the_schema() -> None:
    text = documented(storage.DeleteRetentionPolicyArgs, "days")
    assert "minimum specified value can be 1 and the maximum value can be 365" in text
