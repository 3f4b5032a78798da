"""The Azure program on Azurite, and what is asked of it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.storage.blob import BlobServiceClient

from presign.azure import AzureBackend
from tests.azure.accounts import Identity
from tests.infra.azure.azurite_cloud import AzuriteCloud
from tests.infra.pulumi_program import INFRA, ProgramRun, run_program

PROGRAM = INFRA / "azure"
PROJECT_FILE = "infra/azure/Pulumi.yaml"
PAGE, FOREIGN_PAGE = "https://app.example.com", "https://evil.example.com"

# On first use, these modules load. The program's own warnings stay errors.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from pulumi_azure_native import authorization, managedidentity, resources, storage

    _LOADED = (
        authorization.RoleAssignment,
        managedidentity.UserAssignedIdentity,
        resources.ResourceGroup,
        storage.StorageAccount,
    )


@dataclass(frozen=True, kw_only=True)
class AzureStack:
    """A run of the program, and the cloud that has its resources."""

    run: ProgramRun
    cloud: AzuriteCloud

    def inputs(self, name: str) -> Mapping[str, Any]:
        return self.run.resources[name].inputs

    @property
    def account_url(self) -> str:
        return self.cloud.azurite.account_url

    @property
    def container(self) -> str:
        return str(self.run.outputs["container"])

    @property
    def pending_container(self) -> str:
        return str(self.run.outputs["pendingContainer"])

    @property
    def admin(self) -> BlobServiceClient:
        return self.cloud._admin

    def backend(self) -> AzureBackend:
        """A backend for the stack's containers, with an identity that Azurite accepts."""
        return AzureBackend(
            container=self.container,
            pending_container=self.pending_container or None,
            account_name=self.cloud.account_name,
            account_url=self.account_url,
            credential=Identity(),
        )


def deploy(cloud: AzuriteCloud, config: Mapping[str, Any] | None = None, *, program: Path = PROGRAM) -> AzureStack:
    """Run ``program`` for pages of PAGE, with ``config``."""
    settings = {"allowedOrigins": [PAGE], **(config or {})}
    return AzureStack(run=run_program(program, cloud, settings, project_file=PROJECT_FILE), cloud=cloud)
