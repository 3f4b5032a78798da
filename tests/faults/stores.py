"""The storage of each cloud as a server that can be killed, and started again with the same data on the same port."""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import boto3
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobServiceClient
from botocore.config import Config

from emulators.azurite import ACCOUNT_KEY, ACCOUNT_NAME, Azurite
from emulators.bucket_readiness import wait_until_bucket_takes_objects
from emulators.gcs_accounts import generate_credentials
from emulators.ports import HOST, accepts_connections, free_port
from emulators.processes import ServerProcess, kill_tree
from emulators.seaweedfs import AccessKey, SeaweedFS
from tests.faults import gcs_on_disk

START_SECONDS = 60.0


class KillableStore(ABC):
    """A storage in ``folder``.

    - ``address_at``: what opens a backend whose tickets lead to another address, such as a relay's.
    - ``environment``: the credentials for that.
    - ``part_text``: is in the address of every request for a part, and in no other one.
    - ``part_bytes``: as few as the storage takes; ``part_count``: how many parts a file has in these tests.
    """

    name: str
    part_text: str
    part_bytes: int
    part_count: int

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    @abstractmethod
    def url(self) -> str: ...

    @property
    @abstractmethod
    def environment(self) -> Mapping[str, str]: ...

    @abstractmethod
    def address_at(self, public_url: str) -> str: ...

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def kill(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...


class S3Store(KillableStore):
    """SeaweedFS, where only the last part may be smaller than 5 MiB."""

    name = "seaweedfs"
    part_text = "partNumber="
    part_bytes = 5 * 1024**2
    part_count = 7
    _BUCKET = "uploads"
    _KEY = AccessKey(access_key_id="AKIAFAULTS", secret_access_key="the secret of the tests of faults")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = SeaweedFS(directory=folder, admin=self._KEY, s3_port=free_port())

    @property
    def url(self) -> str:
        return self._server.endpoint_url

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self._KEY.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self._KEY.secret_access_key,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def address_at(self, public_url: str) -> str:
        places = {"region": "us-east-1", "endpoint_url": self.url, "public_endpoint_url": public_url}
        return f"s3://{self._BUCKET}/public/?{urlencode(places)}"

    def start(self) -> None:
        self._server.start()
        session = boto3.Session(self._KEY.access_key_id, self._KEY.secret_access_key, region_name="us-east-1")
        client: Any = session.client("s3", endpoint_url=self.url, config=Config(s3={"addressing_style": "path"}))
        _until(lambda: client.list_buckets()["ResponseMetadata"]["HTTPStatusCode"] == 200)
        if not client.list_buckets()["Buckets"]:
            client.create_bucket(Bucket=self._BUCKET)
        wait_until_bucket_takes_objects(client, self._BUCKET)

    def kill(self) -> None:
        kill_tree(int((self._folder / "weed.pid").read_text()))
        self._server.stop()

    def stop(self) -> None:
        self._server.stop()


class AzureStore(KillableStore):
    """Azurite, which writes down every five seconds what it has acknowledged: a kill makes it forget blocks."""

    name = "azurite"
    part_text = "comp=block&"
    part_bytes = 64 * 1024
    part_count = 12

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = Azurite(directory=folder, blob_port=free_port())

    @property
    def url(self) -> str:
        parts = urlsplit(self._server.account_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def environment(self) -> Mapping[str, str]:
        return {"AZURE_STORAGE_KEY": ACCOUNT_KEY}

    def address_at(self, public_url: str) -> str:
        places = {
            "pending_container": "pending",
            "endpoint_url": self._server.account_url,
            "public_endpoint_url": f"{public_url}/{ACCOUNT_NAME}",
        }
        return f"azblob://{ACCOUNT_NAME}/public/public/?{urlencode(places)}"

    def start(self) -> None:
        self._server.start()
        key = AzureNamedKeyCredential(ACCOUNT_NAME, ACCOUNT_KEY)
        with BlobServiceClient(self._server.account_url, credential=key, api_version="2020-12-06") as client:
            if list(client.list_containers()):
                return
            for container in ("public", "pending"):
                client.create_container(container)
        written = self._folder / "data" / "__azurite_db_blob__.json"
        _until(
            lambda: (
                written.exists() and all(f'"name":"{each}"' in written.read_text() for each in ("public", "pending"))
            )
        )

    def kill(self) -> None:
        kill_tree(int((self._folder / "azurite.pid").read_text()))
        self._server.stop()

    def stop(self) -> None:
        self._server.stop()


class GcsStore(KillableStore):
    """The reference for Google, which here forgets nothing that it has acknowledged."""

    name = "gcs"
    part_text = "partNumber="
    part_bytes = 64 * 1024
    part_count = 12

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._port = free_port()
        self._process: ServerProcess | None = None
        self._account = folder / "account.json"
        folder.mkdir()
        generate_credentials(self._account, token_uri=f"{self.url}/token")

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    @property
    def environment(self) -> Mapping[str, str]:
        return {"GCS_HMAC_ACCESS_ID": "", "GCS_HMAC_SECRET": ""}

    def address_at(self, public_url: str) -> str:
        places = {
            "pending_bucket": gcs_on_disk.PENDING_BUCKET,
            "credentials": str(self._account),
            "endpoint_url": self.url,
            "public_endpoint_url": public_url,
        }
        return f"gs://{gcs_on_disk.BUCKET}/public/?{urlencode(places)}"

    def start(self) -> None:
        self._process = ServerProcess(
            [sys.executable, "-m", gcs_on_disk.__name__, str(self._port), str(self._folder)],
            name="the reference GCS server",
            directory=self._folder,
            environment={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            log_name="gcs.log",
            pid_name="gcs.pid",
            grace_seconds=1,
        )
        self._process.wait_until(lambda: accepts_connections(self._port), seconds=START_SECONDS)

    def kill(self) -> None:
        kill_tree(int((self._folder / "gcs.pid").read_text()))
        self.stop()

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()


STORES: tuple[type[KillableStore], ...] = (S3Store, AzureStore, GcsStore)


def _until(holds: Callable[[], bool]) -> None:
    """Return once ``holds()`` is true; what it raises meanwhile does not count."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if holds():
                return
        except Exception:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() <= deadline, "the storage does not get ready"
        time.sleep(0.05)
