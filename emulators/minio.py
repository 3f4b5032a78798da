"""MinIO, an S3 server, on the loopback interface: started, awaited and stopped."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import urllib3
from minio.credentials.providers import StaticProvider
from minio.minioadmin import MinioAdmin

from emulators.ports import HOST, free_port
from emulators.processes import ServerProcess, writing_files
from emulators.s3_store import S3Store, answers
from emulators.seaweedfs import AccessKey
from emulators.stores import MINIO, go_program

START_SECONDS = 120.0
_GRACE_SECONDS = 2.0


class Minio(S3Store):
    """A ``minio server``; see S3Store.

    ``origins`` are the origins of the pages that may use it, because MinIO has no CORS rules for one bucket. Raises
    NotInstalled and StartFailed.
    """

    name = "MinIO"
    version = f"{MINIO.version.split('-')[1][:4]}-{MINIO.version.split('-')[1][4:6]}-{MINIO.version.split('-')[1][6:8]}"

    def __init__(self, *, directory: Path, admin: AccessKey, origins: tuple[str, ...] = ()) -> None:
        super().__init__(directory=directory, admin=admin)
        self._executable = go_program(MINIO)
        self._origins = origins

    def start(self) -> None:
        """Start the server and return once it answers S3 requests."""
        with writing_files():
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        address, console = f"{HOST}:{self._port}", f"{HOST}:{free_port()}"
        process = ServerProcess(
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
        self._processes.append(process)
        health = f"{self.endpoint_url}/minio/health/ready"
        process.wait_until(lambda: answers(health), seconds=START_SECONDS, error_pattern="FATAL|ERROR|Unable")

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
