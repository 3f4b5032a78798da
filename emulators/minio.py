"""MinIO, an S3 server, on the loopback interface: started, awaited and stopped."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import urllib3
from minio.credentials.providers import StaticProvider
from minio.minioadmin import MinioAdmin

from emulators.ports import HOST, free_port
from emulators.processes import ServerProcess, writing_files
from emulators.seaweedfs import AccessKey
from emulators.stores import MINIO, go_program

START_SECONDS = 120.0
_GRACE_SECONDS = 2.0


class Minio:
    """A ``minio server`` whose data lives in ``directory``; a context manager that starts and stops it.

    ``origins`` are those whose pages may use it: MinIO has no CORS rules of a bucket. Raises NotInstalled and
    StartFailed.
    """

    name = "MinIO"
    version = f"{MINIO.version.split('-')[1][:4]}-{MINIO.version.split('-')[1][4:6]}-{MINIO.version.split('-')[1][6:8]}"

    def __init__(self, *, directory: Path, admin: AccessKey, origins: tuple[str, ...] = ()) -> None:
        self._executable = go_program(MINIO)
        self._directory = directory.absolute()
        self._admin = admin
        self._origins = origins
        self._port = free_port()
        self._process: ServerProcess | None = None

    @property
    def endpoint_url(self) -> str:
        """Where the store speaks S3."""
        return f"http://{HOST}:{self._port}"

    @property
    def admin(self) -> AccessKey:
        """The key that may do everything."""
        return self._admin

    def __enter__(self) -> Minio:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return once it answers S3 requests."""
        with writing_files():
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        address, console = f"{HOST}:{self._port}", f"{HOST}:{free_port()}"
        self._process = ServerProcess(
            [self._executable, "server", "data", "--address", address, "--console-address", console],
            name=self.name,
            directory=self._directory,
            environment={
                "PATH": os.environ.get("PATH", ""),
                # Certificates and settings of somebody's other servers are in ~/.minio.
                "HOME": str(self._directory),
                "MINIO_ROOT_USER": self._admin.access_key_id,
                "MINIO_ROOT_PASSWORD": self._admin.secret_access_key,
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
                **({"MINIO_API_CORS_ALLOW_ORIGIN": ",".join(self._origins)} if self._origins else {}),
            },
            log_name="minio.log",
            grace_seconds=_GRACE_SECONDS,
        )
        self._process.wait_until(self._answers, seconds=START_SECONDS, error_pattern="FATAL|ERROR|Unable")

    def stop(self) -> None:
        """Stop the server; nothing happens if it does not run."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def add_user(self, name: str, policy: Mapping[str, Any]) -> AccessKey:
        """Make a user who may do what ``policy`` says and nothing else, and return its access key."""
        key = AccessKey(access_key_id=name, secret_access_key=secrets.token_urlsafe(30))
        admin = MinioAdmin(
            endpoint=f"{HOST}:{self._port}",
            credentials=StaticProvider(self._admin.access_key_id, self._admin.secret_access_key),
            secure=False,
            http_client=urllib3.PoolManager(timeout=30.0, retries=False),
        )
        document = self._directory / f"{name}.json"
        document.write_text(json.dumps(policy))
        admin.user_add(name, key.secret_access_key)
        admin.policy_add(name, policy_file=str(document))
        admin.policy_set(name, user=name)
        return key

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.endpoint_url}/minio/health/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False
