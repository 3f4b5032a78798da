"""The Pulumi program: a storage account for uploads on Azure, and the identities that sign, verify and publish them."""

from __future__ import annotations

import sys
from pathlib import Path

import pulumi
from pulumi_azure_native import resources

# The components are in the folder above, and this program's environment does not have them as a package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from presign_infra.azure import Principal, UploadAccount, UploadIdentities
from presign_infra.azure.addresses import container_address
from presign_infra.azure.settings import read_settings
from presign_infra.env_file import demo_variables, env_file_text

settings = read_settings()

if settings.resource_group is None:
    resource_group = resources.ResourceGroup("uploads-group", tags=settings.tags).name
else:
    resource_group = pulumi.Output.from_input(settings.resource_group)

uploads = UploadAccount(
    "uploads",
    resource_group_name=resource_group,
    allowed_origins=settings.allowed_origins,
    container=settings.container,
    pending_container=settings.pending_container,
    pending_prefix=settings.pending_prefix or "",
    expire_pending_after_days=settings.expire_pending_after_days,
    public_read=settings.public_read,
    metadata_names=settings.metadata_names,
    cors_max_age_seconds=settings.cors_max_age_seconds,
    soft_delete_days=settings.soft_delete_days,
    account_name=settings.account_name,
    sku=settings.sku,
    protect=settings.protect,
    tags=settings.tags,
)


def principal(object_id: str | None) -> Principal | None:
    """Return the principal with this object ID, or None for a managed identity of the program's own."""
    return None if object_id is None else Principal(object_id=object_id, type=settings.principal_type)


identities = UploadIdentities(
    "uploads-signer",
    resource_group_name=resource_group,
    account_name=uploads.account,
    account_id=uploads.account_id,
    container_id=uploads.container_id,
    pending_container_id=uploads.pending_container_id,
    allow_verification=settings.allow_verification,
    separate_verifier=settings.separate_verifier,
    upload_in_parts=settings.upload_in_parts,
    publish_in_parts=settings.publish_in_parts,
    signer=principal(settings.signer_principal_id),
    verifier=principal(settings.verifier_principal_id),
    protect=settings.protect,
    tags=settings.tags,
)

address = pulumi.Output.all(uploads.account, uploads.blob_endpoint).apply(
    lambda outputs: container_address(
        outputs[0],
        settings.container,
        settings.public_prefix,
        pending_container=settings.pending_container,
        blob_endpoint=outputs[1],
        bind_headers=settings.bind_headers,
    )
)
environment: dict[str, pulumi.Input[str]] = {
    **demo_variables(
        address,
        pending_prefix=settings.pending_prefix,
        public_read=settings.public_read,
        allowed_origins=settings.allowed_origins,
    )
}

pulumi.export("resourceGroup", resource_group)
pulumi.export("account", uploads.account)
pulumi.export("container", settings.container)
pulumi.export("pendingContainer", settings.pending_container or "")
pulumi.export("prefix", settings.public_prefix)
pulumi.export("pendingPrefix", settings.pending_prefix or "")
pulumi.export("presignBucket", address)
pulumi.export("signerPrincipalId", identities.signer_principal_id)
if identities.signer_client_id is not None and identities.signer_identity_id is not None:
    environment["AZURE_CLIENT_ID"] = identities.signer_client_id
    pulumi.export("signerClientId", identities.signer_client_id)
    pulumi.export("signerIdentityId", identities.signer_identity_id)
if identities.verifier_principal_id is not None:
    pulumi.export("verifierPrincipalId", identities.verifier_principal_id)
if identities.verifier_client_id is not None and identities.verifier_identity_id is not None:
    pulumi.export("verifierClientId", identities.verifier_client_id)
    pulumi.export("verifierIdentityId", identities.verifier_identity_id)
# It holds no secret: identities sign, and there is no key.
pulumi.export("env", pulumi.Output.all(**environment).apply(env_file_text))
