"""Apply the resources of the Azure program: CORS and containers to Azurite, roles and rules to memory.

An unknown resource type and an input that nothing uses raise NotApplied, so no test can pass without the real effect.
Azurite has no Resource Manager. So what Azure refuses there, and what the program could get wrong, is refused here:
names that Azure does not take, public containers in an account that forbids them, roles that nobody defined.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, CorsRule, PublicAccess

from emulators.azurite import ACCOUNT_KEY, Azurite
from tests.infra.applied_cloud import AppliedMocks, AppliedType, if_there, with_values
from tests.infra.engine.provider import NotApplied
from tests.infra.inputs import Inputs

SUBSCRIPTION = "/subscriptions/00000000-0000-4000-8000-000000000001"
DELEGATOR = f"{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/db58b8e5-c6ad-4a2a-8342-4190687cbf4a"
BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"

_ACCOUNT_NAME = re.compile(r"[a-z0-9]{3,24}", re.ASCII)
_RESOURCE_GROUP = re.compile(rf"{SUBSCRIPTION}/resourceGroups/[\w().-]+", re.ASCII)
# What a custom role of the program can contain. A misspelt action has no effect, and Azure refuses it.
_DATA_ACTIONS = frozenset(f"{BLOBS}/{action}" for action in ("read", "write", "delete", "add/action"))
_ACTIONS = frozenset({"Microsoft.Storage/storageAccounts/blobServices/containers/read"})
_BLOB_TYPES = frozenset({"blockBlob", "appendBlob"})
_ACCOUNT_SETTINGS = (
    *("kind", "allowBlobPublicAccess", "allowSharedKeyAccess", "allowCrossTenantReplication"),
    *("enableHttpsTrafficOnly", "minimumTlsVersion"),
)
# The data plane names the level `container` or `blob`, or leaves it out.
_ACCESS_LEVELS: Mapping[str, PublicAccess | None] = {
    "None": None,
    "Blob": PublicAccess.BLOB,
    "Container": PublicAccess.CONTAINER,
}


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A role for a principal, on an account or a container."""

    principal_id: str
    principal_type: str
    role_id: str
    scope: str


@dataclass(kw_only=True)
class AzureState:
    """What Azure Resource Manager would hold after one run of the program."""

    resource_groups: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    account: dict[str, Any] = field(default_factory=dict)
    services: dict[str, Any] = field(default_factory=dict)
    containers: dict[str, str] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)
    identities: dict[str, str] = field(default_factory=dict)
    roles: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    assignments: list[Assignment] = field(default_factory=list)


class AzuriteCloud(AppliedMocks):
    """The parts of Azure that the program needs; ``azurite`` has the account, whatever name Pulumi chooses.

    ``groups`` are resource groups that exist already.
    """

    def __init__(self, azurite: Azurite, *, groups: tuple[str, ...] = ()) -> None:
        self.azurite = azurite
        self.account_name = azurite.account_url.rpartition("/")[2]
        self.state = AzureState(resource_groups={name: {} for name in groups})
        self._admin = BlobServiceClient(
            azurite.account_url,
            credential=AzureNamedKeyCredential(self.account_name, ACCOUNT_KEY),
            api_version="2020-12-06",
        )
        self._suffix = uuid.uuid4().hex[:8]
        super().__init__("azure-native", self._applied_types())

    def _applied_types(self) -> Iterator[AppliedType]:
        state = self.state

        def nothing(inputs: Mapping[str, Any]) -> None:
            """Do nothing: what the account had is gone with the account."""

        yield AppliedType(
            token="azure-native:resources:ResourceGroup",
            apply=self._resource_group,
            look_up=lambda _, inputs: if_there(inputs["resourceGroupName"] in state.resource_groups, inputs),
            remove=lambda inputs: _drop(state.resource_groups, inputs["resourceGroupName"]),
            named_by="resourceGroupName",
            computed=frozenset({"name"}),
        )
        yield AppliedType(
            token="azure-native:storage:StorageAccount",
            apply=self._account,
            look_up=self._read_account,
            remove=lambda inputs: state.account.clear(),
            named_by="accountName",
            computed=frozenset({"name", "primaryEndpoints"}),
            change=self._account,
            replaced_by=frozenset({"accountName", "resourceGroupName", "location"}),
        )
        yield AppliedType(
            token="azure-native:storage:BlobServiceProperties",
            apply=self._blob_service,
            look_up=self._read_blob_service,
            remove=nothing,
            computed=frozenset({"name"}),
            change=self._blob_service,
        )
        yield AppliedType(
            token="azure-native:storage:BlobContainer",
            apply=self._container,
            look_up=self._read_container,
            remove=self._remove_container,
            computed=frozenset({"name"}),
            change=self._container,
        )
        yield AppliedType(
            token="azure-native:storage:ManagementPolicy",
            apply=self._lifecycle,
            look_up=self._read_lifecycle,
            remove=lambda inputs: state.rules.clear(),
            change=self._lifecycle,
        )
        yield AppliedType(
            token="azure-native:managedidentity:UserAssignedIdentity",
            apply=self._identity,
            look_up=lambda _, inputs: if_there(inputs["resourceName"] in state.identities, inputs),
            remove=lambda inputs: _drop(state.identities, inputs["resourceName"]),
            named_by="resourceName",
            computed=frozenset({"principalId", "clientId", "name"}),
        )
        yield AppliedType(
            token="azure-native:authorization:RoleDefinition",
            apply=self._role,
            look_up=self._read_role,
            remove=lambda inputs: _drop(state.roles, _role_definition_id(inputs["roleDefinitionId"])),
        )
        yield AppliedType(
            token="azure-native:authorization:RoleAssignment",
            apply=self._assignment,
            look_up=lambda _, inputs: if_there(self._find_assignment(inputs), inputs),
            remove=self._remove_assignment,
        )

    @property
    def account_id(self) -> str:
        group = self.state.account["resourceGroupName"]
        return f"{SUBSCRIPTION}/resourceGroups/{group}/providers/Microsoft.Storage/storageAccounts/{self.account_name}"

    def _resource_group(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        group = inputs.take("resourceGroupName", default=f"{name}{self._suffix}")
        self.state.resource_groups[group] = inputs.take("tags", default={})
        return f"{SUBSCRIPTION}/resourceGroups/{group}", {"name": group}

    def _account(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        chosen = inputs.take("accountName", default=f"{name}{self._suffix}")
        if not _ACCOUNT_NAME.fullmatch(chosen):
            raise NotApplied(f"Azure takes no account with the name {chosen}")
        self.state.account = {each: inputs.take(each) for each in _ACCOUNT_SETTINGS} | {
            "sku": inputs.nested("sku").take("name"),
            "resourceGroupName": self._group(inputs),
            "tags": inputs.take("tags", default={}),
            "chosenName": chosen,
        }
        # Azurite has one account. Its name takes the place of the chosen one.
        return self.account_id, {
            "name": self.account_name,
            "primaryEndpoints": {"blob": f"{self.azurite.account_url}/"},
        }

    def _blob_service(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        self._check_account(inputs)
        if inputs.take("blobServicesName") != "default":
            raise NotApplied("Azure knows no blob service but default")
        rules = [
            # All five are required.
            CorsRule(
                rule.take("allowedOrigins"),
                rule.take("allowedMethods"),
                allowed_headers=rule.take("allowedHeaders"),
                exposed_headers=rule.take("exposedHeaders"),
                max_age_in_seconds=int(rule.take("maxAgeInSeconds")),
            )
            for rule in inputs.nested("cors").nested_list("corsRules")
        ]
        self._admin.set_service_properties(cors=rules)
        for kind in ("deleteRetentionPolicy", "containerDeleteRetentionPolicy"):
            retention = inputs.nested(kind)
            enabled, days = retention.take("enabled"), retention.take("days", default=None)
            if enabled == (days is None):
                raise NotApplied(f"{kind} has days if and only if it is enabled")
            self.state.services[kind] = days
        return f"{self.account_id}/blobServices/default", {"name": "default"}

    def _container(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        self._check_account(inputs)
        container, access = inputs.take("containerName"), inputs.take("publicAccess")
        if access != "None" and not self.state.account["allowBlobPublicAccess"]:
            raise NotApplied("Azure answers 409 PublicAccessNotPermitted: the account forbids public containers")
        with suppress(ResourceExistsError):
            self._admin.create_container(container)
        self.set_access(container, access)
        self.state.containers[container] = access
        return self.container_id(container), {"name": container}

    def set_access(self, container: str, access: str) -> None:
        """Set who may read a container, as ``publicAccess`` names it; also for what somebody changes by hand."""
        level = _ACCESS_LEVELS[access]
        self._admin.get_container_client(container).set_container_access_policy({}, public_access=level)

    def access(self, container: str) -> str:
        """Return who may read a container, as ``publicAccess`` names it."""
        found = self._admin.get_container_client(container).get_container_properties().public_access
        return next(access for access, level in _ACCESS_LEVELS.items() if level == found)

    def set_cors(self, *rules: CorsRule) -> None:
        """Set the account's CORS rules by hand."""
        self._admin.set_service_properties(cors=list(rules))

    def _read_account(self, identifier: str, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        account = self.state.account
        if not account:
            return None
        settings = {each: account[each] for each in _ACCOUNT_SETTINGS}
        return with_values(inputs, **settings, sku={"name": account["sku"]}, tags=account["tags"])

    def _read_blob_service(self, identifier: str, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if not self.state.account:
            return None
        cors = [
            {
                "allowedOrigins": rule.allowed_origins.split(","),
                "allowedMethods": rule.allowed_methods.split(","),
                "allowedHeaders": rule.allowed_headers.split(","),
                "exposedHeaders": rule.exposed_headers.split(","),
                "maxAgeInSeconds": rule.max_age_in_seconds,
            }
            for rule in self._admin.get_service_properties()["cors"]
        ]
        retention = {
            kind: {"enabled": days is not None, **({} if days is None else {"days": days})}
            for kind, days in self.state.services.items()
        }
        return with_values(inputs, cors={"corsRules": cors}, **retention)

    def _read_container(self, identifier: str, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        try:
            return with_values(inputs, publicAccess=self.access(inputs["containerName"]))
        except ResourceNotFoundError:
            return None

    def _read_lifecycle(self, identifier: str, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        def after(days: int) -> dict[str, Any]:
            return {"delete": {"daysAfterCreationGreaterThan": days}}

        rules = [
            {
                "name": rule["name"],
                "enabled": True,
                "type": "Lifecycle",
                "definition": {
                    "actions": {"baseBlob": after(rule["days"]), "snapshot": after(rule["snapshotDays"])},
                    "filters": {"blobTypes": rule["blobTypes"], "prefixMatch": rule["prefixMatch"]},
                },
            }
            for rule in self.state.rules
        ]
        return with_values(inputs, policy={"rules": rules}) if rules else None

    def _read_role(self, identifier: str, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if identifier not in self.state.roles:
            return None
        actions, data_actions = self.state.roles[identifier]
        [known] = inputs["permissions"]
        now = {
            "actions": _ordered(actions, known["actions"]),
            "dataActions": _ordered(data_actions, known["dataActions"]),
        }
        return with_values(inputs, permissions=[{**known, **now}])

    def container_id(self, container: str) -> str:
        return f"{self.account_id}/blobServices/default/containers/{container}"

    def _lifecycle(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        self._check_account(inputs)
        if inputs.take("managementPolicyName") != "default":
            raise NotApplied("Azure knows no management policy but default")
        self.state.rules.clear()
        for rule in inputs.nested("policy").nested_list("rules"):
            definition = rule.nested("definition")
            filters, actions = definition.nested("filters"), definition.nested("actions")
            if rule.take("type") != "Lifecycle" or rule.take("enabled") is not True:
                raise NotApplied("the rule has no effect")
            blob_types = filters.take("blobTypes")
            if not set(blob_types) <= _BLOB_TYPES:
                raise NotApplied(f"Azure expires blobs of the types {sorted(_BLOB_TYPES)}")
            self.state.rules.append(
                {
                    "name": rule.take("name"),
                    "blobTypes": blob_types,
                    "prefixMatch": filters.take("prefixMatch"),
                    "days": actions.nested("baseBlob").nested("delete").take("daysAfterCreationGreaterThan"),
                    "snapshotDays": actions.nested("snapshot").nested("delete").take("daysAfterCreationGreaterThan"),
                }
            )
        return f"{self.account_id}/managementPolicies/default", {}

    def _identity(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        group, principal = self._group(inputs), str(uuid.uuid4())
        inputs.take("tags", default={})
        name = inputs.take("resourceName", default=name)
        self.state.identities[name] = principal
        identifier = (
            f"{SUBSCRIPTION}/resourceGroups/{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
        )
        return identifier, {"principalId": principal, "clientId": str(uuid.uuid4()), "name": name}

    def _role(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        scope, role_id = inputs.take("scope"), inputs.take("roleDefinitionId")
        if not _RESOURCE_GROUP.fullmatch(scope) or inputs.take("assignableScopes") != [scope]:
            raise NotApplied("Azure defines custom roles for a resource group or for what is above it")
        if inputs.take("roleType") != "CustomRole" or not inputs.take("roleName") or not inputs.take("description"):
            raise NotApplied("a custom role has a name and a description")
        [permission] = inputs.nested_list("permissions")
        actions, data_actions = frozenset(permission.take("actions")), frozenset(permission.take("dataActions"))
        if permission.take("notActions") or permission.take("notDataActions"):
            raise NotApplied("nothing is excluded from these roles")
        if not actions <= _ACTIONS or not data_actions <= _DATA_ACTIONS:
            raise NotApplied(f"these actions are not known here: {sorted(actions | data_actions)}")
        identifier = _role_definition_id(role_id)
        if identifier in self.state.roles:
            raise NotApplied(f"there are two roles with the ID {role_id}")
        self.state.roles[identifier] = (actions, data_actions)
        return identifier, {}

    def _assignment(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        identifier = _guid(inputs.take("roleAssignmentName"))
        assignment = Assignment(
            principal_id=_guid(inputs.take("principalId")),
            principal_type=inputs.take("principalType"),
            role_id=inputs.take("roleDefinitionId"),
            scope=inputs.take("scope"),
        )
        if assignment.role_id == DELEGATOR and assignment.scope != self.account_id:
            raise NotApplied("a delegation key is an account's, so the role has no effect on a container")
        if assignment.role_id != DELEGATOR and assignment.role_id not in self.state.roles:
            raise NotApplied(f"nobody has defined the role {assignment.role_id}")
        if assignment.scope not in {self.account_id, *map(self.container_id, self.state.containers)}:
            raise NotApplied(f"there is no resource {assignment.scope}")
        self.state.assignments.append(assignment)
        return f"{assignment.scope}/providers/Microsoft.Authorization/roleAssignments/{identifier}", {}

    def _remove_container(self, inputs: Mapping[str, Any]) -> None:
        self._admin.delete_container(inputs["containerName"])
        _drop(self.state.containers, inputs["containerName"])

    def _remove_assignment(self, inputs: Mapping[str, Any]) -> None:
        assignment = self._find_assignment(inputs)
        assert assignment is not None
        self.state.assignments.remove(assignment)

    def _find_assignment(self, inputs: Mapping[str, Any]) -> Assignment | None:
        wanted = (inputs["principalId"], inputs["roleDefinitionId"], inputs["scope"])
        return next(
            (each for each in self.state.assignments if (each.principal_id, each.role_id, each.scope) == wanted), None
        )

    def rights(self, principal_id: str) -> dict[str, set[str]]:
        """Return what a principal may do, by container, or ``account``: short names of actions and data actions."""
        found: dict[str, set[str]] = {}
        for assignment in self.state.assignments:
            if assignment.principal_id != principal_id:
                continue
            place = "account" if assignment.scope == self.account_id else assignment.scope.rpartition("/")[2]
            names = found.setdefault(place, set())
            if assignment.role_id == DELEGATOR:
                names.add("delegate")
                continue
            actions, data_actions = self.state.roles[assignment.role_id]
            names |= {f"container {action.rpartition('/')[2]}" for action in actions}
            names |= {action.removeprefix(f"{BLOBS}/") for action in data_actions}
        return found

    def _group(self, inputs: Inputs) -> str:
        group = str(inputs.take("resourceGroupName"))
        if group not in self.state.resource_groups:
            raise NotApplied(f"there is no resource group {group}")
        return group

    def _check_account(self, inputs: Inputs) -> None:
        self._group(inputs)
        if inputs.take("accountName") != self.account_name:
            raise NotApplied("this resource belongs to another account")


def _drop(resources: dict[str, Any], name: str) -> None:
    del resources[name]


def _ordered(now: frozenset[str], known: list[str]) -> list[str]:
    """Return what is there ``now`` in the order that is ``known``, because Azure keeps no order."""
    return sorted(now, key=lambda each: (known.index(each) if each in known else len(known), each))


def _role_definition_id(guid: str) -> str:
    return f"{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{_guid(guid)}"


def _guid(text: str) -> str:
    return str(uuid.UUID(text))
