"""The component for the identities that sign, verify and publish uploads in one storage account."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import authorization, managedidentity

from presign_infra.azure import rights

PRINCIPAL_TYPES = ("ServicePrincipal", "User", "Group")
"""What can have the rights: an application or a managed identity, a person, or a group."""

# Any fixed UUID does. Names that follow from it are the same in each run, and differ between accounts.
_NAMES = uuid.UUID("6d0a3a70-6c6a-4f0b-9f5e-5a8d2a9f7b11")


@dataclass(frozen=True, kw_only=True)
class Principal:
    """An identity of Microsoft Entra ID that exists already: its object ID, and one of ``PRINCIPAL_TYPES``."""

    object_id: pulumi.Input[str]
    type: str = "ServicePrincipal"

    def __post_init__(self) -> None:
        if self.type not in PRINCIPAL_TYPES:
            raise ValueError(f'type must be one of {", ".join(PRINCIPAL_TYPES)}; it is "{self.type}"')


class UploadIdentities(pulumi.ComponentResource):
    """A managed identity that may sign uploads to one container, and publish what it verified in another one.

    - ``account_name``, ``account_id``, ``container_id``, ``pending_container_id``: of an UploadAccount. With None for
      the last one, uploads go straight to the container.
    - ``resource_group_name``: the resource group for the managed identities.
    - ``allow_verification``: the identity may also read and delete what is pending, and publish it. Completing an
      upload needs it.
    - ``separate_verifier``: a second identity has these rights. The first one may then only create blobs.
    - ``upload_in_parts``: large files may come in blocks. The identities may then also write pending blobs.
    - ``publish_in_parts``: the one that verifies may also publish blobs above 5,000 MiB. Then it may also replace what
      is published.
    - ``signer``, ``verifier``: principals that exist already, and get the rights in place of new managed identities.
    - ``protect``: the engine refuses to delete the identities and their rights, which can still be changed.

    Raises ValueError for settings that exclude each other.
    """

    signer_principal_id: pulumi.Output[str]
    """The object ID of the identity that signs."""
    signer_client_id: pulumi.Output[str] | None
    """The client ID of its managed identity: ``AZURE_CLIENT_ID``; None for a principal that existed already."""
    signer_identity_id: pulumi.Output[str] | None
    """The ID in Azure Resource Manager of its managed identity, which an application is given; or None."""
    verifier_principal_id: pulumi.Output[str] | None
    """The object ID of the separate verifier, or None if there is none."""
    verifier_client_id: pulumi.Output[str] | None
    """The client ID of the separate verifier's managed identity, or None."""
    verifier_identity_id: pulumi.Output[str] | None
    """The ID in Azure Resource Manager of the separate verifier's managed identity, or None."""

    def __init__(
        self,
        name: str,
        *,
        resource_group_name: pulumi.Input[str],
        account_name: pulumi.Input[str],
        account_id: pulumi.Input[str],
        container_id: pulumi.Input[str],
        pending_container_id: pulumi.Input[str] | None,
        allow_verification: bool = True,
        separate_verifier: bool = False,
        upload_in_parts: bool = True,
        publish_in_parts: bool = False,
        signer: Principal | None = None,
        verifier: Principal | None = None,
        protect: bool = False,
        location: str | None = None,
        tags: Mapping[str, str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        if separate_verifier and not allow_verification:
            raise ValueError("separate_verifier needs allow_verification=True, or the verifier would have no rights")
        if verifier is not None and not separate_verifier:
            raise ValueError("verifier needs separate_verifier=True, because otherwise the signer verifies")
        if pending_container_id is None and (upload_in_parts or publish_in_parts):
            raise ValueError(
                "upload_in_parts and publish_in_parts need a pending container, because without one neither is possible"
            )
        if publish_in_parts and not allow_verification:
            raise ValueError(
                "publish_in_parts needs allow_verification=True, because only the one that verifies publishes"
            )
        super().__init__("presign:azure:UploadIdentities", name, {}, opts)
        self._options = pulumi.ResourceOptions(parent=self, protect=protect)
        self._account_name = pulumi.Output.from_input(account_name)
        self._account_id = pulumi.Output.from_input(account_id)
        published = pulumi.Output.from_input(container_id)
        pending = None if pending_container_id is None else pulumi.Output.from_input(pending_container_id)

        signs = {"pending": rights.signer_role(upload_in_parts=upload_in_parts)}
        verifies = {
            "pending": rights.pending_verifier_role(upload_in_parts=upload_in_parts),
            "published": rights.publisher_role(publish_in_parts=publish_in_parts),
        }
        if pending is None:
            signs = {"published": rights.signer_role(upload_in_parts=False)}
            verifies = {"published": rights.in_place_verifier_role()}
        places = {"published": published, **({} if pending is None else {"pending": pending})}

        def grant(identity: str, principal: _Principal, roles: Mapping[str, rights.Role]) -> None:
            self._assign(
                f"{identity}-delegator",
                principal,
                scope=self._account_id,
                role_id=self._account_id.apply(_delegator_id),
            )
            for place, role in roles.items():
                definition = self._define_role(f"{identity}-{place}-role", role)
                self._assign(f"{identity}-{place}", principal, scope=places[place], role_id=definition.id)

        signing = self._principal(name, signer, resource_group_name, location, tags)
        verifying: _Principal | None = None
        if separate_verifier:
            grant(name, signing, signs)
            verifying = self._principal(f"{name}-verifier", verifier, resource_group_name, location, tags)
            grant(f"{name}-verifier", verifying, verifies)
        else:
            grant(name, signing, _union(signs, verifies) if allow_verification else signs)

        self.signer_principal_id = signing.object_id
        self.signer_client_id = signing.client_id
        self.signer_identity_id = signing.identity_id
        self.verifier_principal_id = None if verifying is None else verifying.object_id
        self.verifier_client_id = None if verifying is None else verifying.client_id
        self.verifier_identity_id = None if verifying is None else verifying.identity_id
        outputs = {
            "signerPrincipalId": self.signer_principal_id,
            "signerClientId": self.signer_client_id,
            "verifierPrincipalId": self.verifier_principal_id,
            "verifierClientId": self.verifier_client_id,
        }
        self.register_outputs({key: value for key, value in outputs.items() if value is not None})

    def _principal(
        self,
        name: str,
        given: Principal | None,
        resource_group_name: pulumi.Input[str],
        location: str | None,
        tags: Mapping[str, str] | None,
    ) -> _Principal:
        if given is not None:
            return _Principal(object_id=pulumi.Output.from_input(given.object_id), type=given.type)
        identity = managedidentity.UserAssignedIdentity(
            f"{name}-identity",
            resource_group_name=resource_group_name,
            location=location,
            tags=tags,
            opts=self._options,
        )
        return _Principal(object_id=identity.principal_id, client_id=identity.client_id, identity_id=identity.id)

    def _define_role(self, name: str, role: rights.Role) -> authorization.RoleDefinition:
        # A custom role can be defined for a resource group, but not for an account or a container.
        scope = self._account_id.apply(_resource_group_id)
        return authorization.RoleDefinition(
            name,
            scope=scope,
            assignable_scopes=[scope],
            role_definition_id=self._account_id.apply(lambda account: _guid(account, name)),
            # Role names must be unique in a tenant, and accounts' names are unique in all of Azure.
            role_name=self._account_name.apply(lambda account: f"presign {name} of {account}"),
            role_type="CustomRole",
            description=self._account_name.apply(
                lambda account: f"presign {role.kind} in the storage account {account}."
            ),
            permissions=[
                authorization.PermissionArgs(
                    actions=list(role.actions),
                    not_actions=[],
                    data_actions=list(role.data_actions),
                    not_data_actions=[],
                )
            ],
            opts=self._options,
        )

    def _assign(
        self, name: str, principal: _Principal, *, scope: pulumi.Output[str], role_id: pulumi.Output[str]
    ) -> None:
        authorization.RoleAssignment(
            name,
            # Azure cannot change an assignment. So its name, a GUID, contains everything that it assigns.
            role_assignment_name=pulumi.Output.all(scope, principal.object_id, role_id).apply(
                lambda parts: _guid(*parts)
            ),
            scope=scope,
            role_definition_id=role_id,
            principal_id=principal.object_id,
            # Without its type, Azure looks for the principal, and does not find a new one for some minutes.
            principal_type=principal.type,
            opts=self._options,
        )


@dataclass(frozen=True, kw_only=True)
class _Principal:
    """A principal that gets rights; the two last members are those of a managed identity of this program."""

    object_id: pulumi.Output[str]
    type: str = "ServicePrincipal"
    client_id: pulumi.Output[str] | None = None
    identity_id: pulumi.Output[str] | None = None


def _union(*all_roles: Mapping[str, rights.Role]) -> dict[str, rights.Role]:
    places = dict.fromkeys(place for roles in all_roles for place in roles)
    return {place: rights.merge_roles(*(roles[place] for roles in all_roles if place in roles)) for place in places}


def _guid(*parts: str) -> str:
    return str(uuid.uuid5(_NAMES, "\n".join(parts)))


def _resource_group_id(resource_id: str) -> str:
    return resource_id.partition("/providers/")[0]


def _delegator_id(account_id: str) -> str:
    subscription = "/".join(account_id.split("/")[:3])
    return f"{subscription}/providers/Microsoft.Authorization/roleDefinitions/{rights.BLOB_DELEGATOR}"
