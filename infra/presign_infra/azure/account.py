"""The component for the storage account that browsers upload to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_azure_native import storage

from presign_infra.azure import rights
from presign_infra.prefixes import require_prefix

_NOT_IN_ACCOUNT_NAMES = re.compile(r"[^a-z0-9]+")
_CONTAINER_NAME = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)


class UploadAccount(pulumi.ComponentResource):
    """A storage account for uploads: a container for what is published, and a private one for what is pending.

    - ``resource_group_name``: the resource group that the account is created in.
    - ``allowed_origins``: the origins of the pages that upload, such as ``https://app.example.com``, without a path.
    - ``container``: where verified uploads are published.
    - ``pending_container``: where uploads wait, unreadable for the public, until they are verified. With None, uploads
      go straight to ``container``, which must then be private: an Azure ticket binds neither type nor size.
    - ``pending_prefix``: what the names of pending blobs begin with. Azure deletes nothing else by itself.
    - ``expire_pending_after_days``: Azure deletes a blob that is still pending after this many days. Unfinished blocks
      need no rule: Azure deletes them a week after the last one.
    - ``public_read``: everybody may read the blobs in ``container``, but not list them. With False, the account allows
      no public access at all.
    - ``metadata_names``: the names in the ``metadata`` of the application's policies, for CORS.
    - ``cors_max_age_seconds``: how long a browser may remember the answer to a preflight request.
    - ``soft_delete_days``: how long Azure keeps what was deleted, uploads that were refused included; 0 keeps nothing.
    - ``account_name``: 3 to 24 lower-case letters and digits, unique in all of Azure; by default, Pulumi chooses one.
    - ``sku``: how Azure keeps copies, such as ``Standard_LRS`` or ``Standard_ZRS``.
    - ``protect``: the engine refuses to delete the account, its containers and its settings. Azure deletes an account
      and a container with all blobs in it.

    Account keys are switched off: only identities of Microsoft Entra ID can sign. Raises ValueError for names, origins
    or numbers that cannot work.
    """

    account: pulumi.Output[str]
    """The account's name."""
    account_id: pulumi.Output[str]
    """The account's ID in Azure Resource Manager."""
    blob_endpoint: pulumi.Output[str]
    """The blob service's URL, such as ``https://account.blob.core.windows.net/``."""
    container: pulumi.Output[str]
    """The name of the container for published uploads."""
    container_id: pulumi.Output[str]
    """That container's ID in Azure Resource Manager."""
    pending_container: pulumi.Output[str] | None
    """The name of the container for pending uploads, or None if uploads go straight to ``container``."""
    pending_container_id: pulumi.Output[str] | None
    """That container's ID in Azure Resource Manager, or None."""

    def __init__(
        self,
        name: str,
        *,
        resource_group_name: pulumi.Input[str],
        allowed_origins: Sequence[str],
        container: str = "uploads",
        pending_container: str | None = "uploads-pending",
        pending_prefix: str = "pending/",
        expire_pending_after_days: int = 9,
        public_read: bool = True,
        metadata_names: Sequence[str] = (),
        cors_max_age_seconds: int = 3600,
        soft_delete_days: int = 7,
        account_name: str | None = None,
        location: str | None = None,
        sku: str = "Standard_LRS",
        protect: bool = True,
        tags: Mapping[str, str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        require_container_name(container, setting="container")
        if pending_container is not None:
            require_container_name(pending_container, setting="pending_container")
            require_prefix(pending_prefix, name="pending_prefix")
            if pending_container == container:
                raise ValueError(
                    "pending_container and container must differ, because a container is public as a whole"
                )
        elif public_read:
            raise ValueError(
                "public_read needs a pending_container, because Azure enforces neither the type nor the size of an "
                "upload; give one, or set public_read=False"
            )
        if not 0 <= soft_delete_days <= 365:
            raise ValueError(f"soft_delete_days must be from 0 to 365; it is {soft_delete_days}")
        cors = rights.cors_rule(allowed_origins, metadata_names=metadata_names, max_age_seconds=cors_max_age_seconds)
        rules = rights.lifecycle_rules(pending_container, pending_prefix, expire_after_days=expire_pending_after_days)
        super().__init__("presign:azure:UploadAccount", name, {}, opts)
        options = pulumi.ResourceOptions(parent=self, protect=protect)

        account = storage.StorageAccount(
            # Pulumi appends eight characters to this name. An account's name has at most 24, and no hyphens.
            f"{_NOT_IN_ACCOUNT_NAMES.sub('', name.lower())[:9]}account",
            resource_group_name=resource_group_name,
            account_name=account_name,
            location=location,
            kind=storage.Kind.STORAGE_V2,
            sku=storage.SkuArgs(name=sku),
            allow_blob_public_access=public_read,
            # Otherwise everybody with an account key could sign everything.
            allow_shared_key_access=False,
            allow_cross_tenant_replication=False,
            enable_https_traffic_only=True,
            minimum_tls_version=storage.MinimumTlsVersion.TLS1_2,
            tags=tags,
            opts=options,
        )
        retention = storage.DeleteRetentionPolicyArgs(
            enabled=soft_delete_days > 0, days=soft_delete_days if soft_delete_days else None
        )
        storage.BlobServiceProperties(
            f"{name}-blob-service",
            resource_group_name=resource_group_name,
            account_name=account.name,
            # Azure knows no other name for the blob service of an account.
            blob_services_name="default",
            cors=storage.CorsRulesArgs(cors_rules=[storage.CorsRuleArgs(**cors)]),
            delete_retention_policy=retention,
            container_delete_retention_policy=retention,
            opts=options,
        )
        published = storage.BlobContainer(
            f"{name}-container",
            resource_group_name=resource_group_name,
            account_name=account.name,
            container_name=container,
            # `Container` would let everybody list the blobs, too.
            public_access=storage.PublicAccess.BLOB if public_read else storage.PublicAccess.NONE,
            opts=options,
        )
        pending: storage.BlobContainer | None = None
        if pending_container is not None:
            pending = storage.BlobContainer(
                f"{name}-pending-container",
                resource_group_name=resource_group_name,
                account_name=account.name,
                container_name=pending_container,
                public_access=storage.PublicAccess.NONE,
                opts=options,
            )
            storage.ManagementPolicy(
                f"{name}-lifecycle",
                resource_group_name=resource_group_name,
                account_name=account.name,
                management_policy_name="default",
                policy=storage.ManagementPolicySchemaArgs(rules=[_management_rule(rule) for rule in rules]),
                opts=options,
            )

        self.account = account.name
        self.account_id = account.id
        self.blob_endpoint = account.primary_endpoints.apply(lambda endpoints: endpoints.blob)
        self.container = published.name
        self.container_id = published.id
        self.pending_container = None if pending is None else pending.name
        self.pending_container_id = None if pending is None else pending.id
        self.register_outputs({"account": self.account, "container": self.container})


def require_container_name(name: str, *, setting: str) -> str:
    """Return ``name`` if it can be a container's name; raise ValueError, with the name of the setting, otherwise."""
    if not _CONTAINER_NAME.fullmatch(name):
        raise ValueError(
            f"{setting} must have 3 to 63 lower-case letters, digits and single hyphens, and must begin and end with a "
            f'letter or a digit; it is "{name}"'
        )
    return name


def _management_rule(rule: Mapping[str, Any]) -> storage.ManagementPolicyRuleArgs:
    days = rule["days_after_creation_greater_than"]
    return storage.ManagementPolicyRuleArgs(
        name=rule["name"],
        enabled=True,
        type=storage.RuleType.LIFECYCLE,
        definition=storage.ManagementPolicyDefinitionArgs(
            actions=storage.ManagementPolicyActionArgs(
                base_blob=storage.ManagementPolicyBaseBlobArgs(
                    delete=storage.DateAfterModificationArgs(days_after_creation_greater_than=days)
                ),
                snapshot=storage.ManagementPolicySnapShotArgs(
                    delete=storage.DateAfterCreationArgs(days_after_creation_greater_than=days)
                ),
            ),
            filters=storage.ManagementPolicyFilterArgs(
                blob_types=rule["blob_types"], prefix_match=rule["prefix_match"]
            ),
        ),
    )
