"""The Google program on the reference server, and what is asked of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from emulators.gcs_bucket import GcsBucket
from emulators.gcs_reference import GcsReference
from presign.gcs import GCSBackend
from tests.gcs.reference import RemoteSigner
from tests.infra.gcp.reference_cloud import ReferenceCloud
from tests.infra.pulumi_program import INFRA, ProgramRun, run_program

PROGRAM = INFRA / "gcp"
PROJECT_FILE = "infra/gcp/Pulumi.yaml"
PAGE, FOREIGN_PAGE = "https://app.example.com", "https://evil.example.com"
TOKEN = "a-token"  # RemoteSigner's

# On first use, these modules load. The program's own warnings stay errors.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from pulumi_gcp import projects, serviceaccount, storage

    _LOADED = (projects.IAMCustomRole, serviceaccount.Account, storage.Bucket)


@dataclass(frozen=True, kw_only=True)
class GoogleStack:
    """A run of the program, and the cloud that has its resources."""

    run: ProgramRun
    cloud: ReferenceCloud

    @property
    def bucket(self) -> str:
        return str(self.run.outputs["bucket"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """The bucket's settings, as Google has them."""
        return self.cloud.state.buckets[self.bucket]

    @property
    def signer(self) -> str:
        return str(self.run.outputs["signerEmail"])

    @property
    def verifier(self) -> str:
        return str(self.run.outputs["verifierEmail"])


@dataclass(frozen=True, kw_only=True)
class RunningStack:
    """A stack whose bucket the reference server serves."""

    stack: GoogleStack
    url: str
    server: GcsReference
    http: httpx.Client

    @property
    def bucket(self) -> GcsBucket:
        return self.server.buckets[self.stack.bucket]

    def backend(self, **options: Any) -> GCSBackend:
        """A backend as an application builds it that runs as the verifier, and lets Google sign as the signer."""
        stack = self.stack
        credentials = RemoteSigner(stack.cloud.credentials(stack.signer))
        settings: dict[str, Any] = {"credentials": credentials, "service_account_email": stack.signer, **options}
        return GCSBackend(bucket=stack.bucket, endpoint_url=self.url, **settings)


def deploy(cloud: ReferenceCloud, config: Mapping[str, Any] | None = None, *, program: Path = PROGRAM) -> GoogleStack:
    """Run ``program`` for pages of PAGE, with ``config``."""
    settings = {"allowedOrigins": [PAGE], "location": "EU", **(config or {})}
    return GoogleStack(run=run_program(program, cloud, settings, project_file=PROJECT_FILE), cloud=cloud)


@contextmanager
def running(stack: GoogleStack) -> Iterator[RunningStack]:
    """Serve the bucket of ``stack``."""
    with stack.cloud.serve(tokens={TOKEN: stack.verifier}) as (url, server), httpx.Client() as http:
        yield RunningStack(stack=stack, url=url, server=server, http=http)
