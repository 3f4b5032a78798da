"""Azure Blob Storage on this machine: Azurite with an account of the demo's own, provisioned for the page."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.blob import BlobServiceClient, CorsRule, PublicAccess

from demo_server.local_storage import BUCKET, PUBLIC_PREFIX
from emulators import azurite
from emulators.ports import is_free
from emulators.processes import stop_leftover
from emulators.seaweedfs import StartFailed

_ACCOUNT = "presigndemo"
_KEY_BYTES = 64
# Without it a browser asks again before every upload.
_PREFLIGHT_SECONDS = 600


@contextmanager
def local_azure(directory: Path, *, origins: Sequence[str], say: Callable[[str], None]) -> Iterator[dict[str, str]]:
    """Run Azurite for pages of ``origins``, and yield the environment that points the demo at it.

    Uploads, the account's key and the port are kept in ``directory``, so that the next run serves the same URLs.
    Raises StartFailed.
    """
    directory = directory.resolve() / "azure"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    pid_path = directory / "azurite.pid"
    stop_leftover(pid_path, directory)
    state = _State(directory / "state.json")
    say(f"Starting Azurite, a local Azure Blob Storage, with its data in {directory} (a few seconds)")
    port = state.port if state.port and is_free(state.port) else 0
    server = azurite.Azurite(directory=directory, blob_port=port, account_name=_ACCOUNT, account_key=state.account_key)
    try:
        server.start()
    except azurite.StartFailed as error:
        raise StartFailed(str(error)) from None
    try:
        pid_path.write_text(str(server.pid))
        state.port = server.port
        state.save()
        say(f"Provisioning the container {BUCKET}: CORS for {', '.join(origins)}, public reads of its blobs")
        _provision(server.connection_string, origins)
        yield {
            "PRESIGN_BUCKET": f"azblob://{_ACCOUNT}/{BUCKET}/{PUBLIC_PREFIX}?"
            + urlencode({"endpoint_url": server.account_url}),
            "AZURE_STORAGE_CONNECTION_STRING": server.connection_string,
        }
    finally:
        server.stop()
        pid_path.unlink(missing_ok=True)


class _State:
    """What is remembered between runs, in a file that only its owner can read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self.port: int | None = kept.get("port")
        self.account_key: str = kept.get("account_key") or base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()

    def save(self) -> None:
        self._path.touch(mode=0o600)
        self._path.write_text(json.dumps({"port": self.port, "account_key": self.account_key}))


def _provision(connection_string: str, origins: Sequence[str]) -> None:
    # A ticket's headers differ with the policy: If-None-Match, x-ms-blob-content-disposition, x-ms-meta-... .
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
    except AzureError as error:
        raise StartFailed(f"Azurite could not be provisioned: {error}") from None
