"""Azure Blob Storage on this machine: Azurite with an account of the demo's own."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.blob import BlobServiceClient, CorsRule, PublicAccess

from demo_server.storages.folder import read_state, save_state
from demo_server.storages.local_storage import BUCKET, PENDING_BUCKET, PUBLIC_PREFIX, LocalStorage, pending_place
from emulators.azurite import Azurite
from emulators.ports import is_free
from emulators.processes import StartFailed

_ACCOUNT = "presigndemo"
_KEY_BYTES = 64
# Without it a browser asks again before every upload.
_PREFLIGHT_SECONDS = 600


@contextmanager
def run_azure(
    directory: Path, *, origins: Sequence[str], report: Callable[[str], None], pending_prefix: str | None
) -> Iterator[LocalStorage]:
    """Run Azurite for pages of ``origins`` while the block lasts.

    A container is public or private as a whole, so uploads wait in a private one until they are verified.
    Uploads, the account's key and the port are kept in ``directory``, so that the next run serves the same URLs.
    Raises StartFailed.
    """
    state = read_state(directory)
    account_key = state.get("account_key") or base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
    earlier_port = state.get("port", 0)
    report(f"Starting Azurite, a local Azure Blob Storage, with its data in {directory} (a few seconds)")
    server = Azurite(
        directory=directory,
        blob_port=earlier_port if is_free(earlier_port) else 0,
        account_name=_ACCOUNT,
        account_key=account_key,
    )
    with server:
        save_state(directory, {"port": server.port, "account_key": account_key})
        report(
            f"Provisioning the container {BUCKET}: CORS for {', '.join(origins)}, public reads of its blobs"
            f"{pending_place(pending_prefix, PENDING_BUCKET)}"
        )
        _provision(server.connection_string, origins)
        pending = {} if pending_prefix is None else {"pending_container": PENDING_BUCKET}
        yield LocalStorage(
            server=server.process,
            environment={
                "PRESIGN_BUCKET": f"azblob://{_ACCOUNT}/{BUCKET}/{PUBLIC_PREFIX}?"
                + urlencode({"endpoint_url": server.account_url, **pending}),
                "AZURE_STORAGE_CONNECTION_STRING": server.connection_string,
                # A verifier's key of the user's own belongs to another account.
                "AZURE_STORAGE_VERIFIER_KEY": "",
            },
        )


def _provision(connection_string: str, origins: Sequence[str]) -> None:
    # The headers of a ticket depend on the policy: If-None-Match, x-ms-blob-content-disposition, x-ms-meta-... .
    rule = CorsRule(
        list(origins),
        ["GET", "HEAD", "PUT"],
        allowed_headers=["*"],
        exposed_headers=["ETag", "x-ms-error-code"],
        max_age_in_seconds=_PREFLIGHT_SECONDS,
    )
    try:
        with BlobServiceClient.from_connection_string(connection_string) as service:
            service.set_service_properties(cors=[rule])
            with suppress(ResourceExistsError):
                service.create_container(BUCKET, public_access=PublicAccess.BLOB)
            with suppress(ResourceExistsError):
                service.create_container(PENDING_BUCKET)
    except AzureError as error:
        raise StartFailed(f"Azurite could not be provisioned: {error}") from None
