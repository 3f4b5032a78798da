"""versitygw, an S3 gateway in front of a folder, on the loopback interface: started, awaited and stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3

from emulators.ports import HOST, free_port
from emulators.processes import ServerProcess, writing_files
from emulators.s3_store import S3Store, answers
from emulators.seaweedfs import AccessKey
from emulators.stores import VERSITYGW, go_program

START_SECONDS = 60.0
_GRACE_SECONDS = 2.0
_HEALTH = "/health-of-the-gateway"
# Relative, because a Unix socket's path has 104 bytes at most. The gateway works in the folder of its data.
_SOCKET = "iam.sock"


class VersityGateway(S3Store):
    """A ``versitygw posix`` and a ``versitygw iam``; see S3Store.

    Raises NotInstalled and StartFailed.
    """

    name = "versitygw"
    version = VERSITYGW.version.removeprefix("v")

    def __init__(self, *, directory: Path, admin: AccessKey, region: str) -> None:
        super().__init__(directory=directory, admin=admin)
        self._executable = go_program(VERSITYGW)
        self._region = region
        self._iam_port = free_port()

    def start(self) -> None:
        """Start both processes and return once they answer."""
        with writing_files():
            for folder in ("data", "users", "sidecar"):
                (self._directory / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._run("iam", self._iam_port, [], ["iam", "--dir", "users", "--private-ports", _SOCKET])
        self._run(
            "gateway",
            self._port,
            ["--iam-standalone-endpoint", f"../{_SOCKET}", "--iam-cache-disable"],
            # Not every file system of a temporary folder has extended attributes.
            ["posix", "--sidecar", str(self._directory / "sidecar"), "data"],
        )

    def add_user(self, name: str, policy: Mapping[str, Any]) -> AccessKey:
        """Make a user who may do what ``policy`` says and nothing else, and return its access key."""
        iam = boto3.client(
            "iam",
            region_name=self._region,
            endpoint_url=f"http://{HOST}:{self._iam_port}",
            aws_access_key_id=self._admin.access_key_id,
            aws_secret_access_key=self._admin.secret_access_key,
        )
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="upload", PolicyDocument=json.dumps(policy))
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return AccessKey(access_key_id=made["AccessKeyId"], secret_access_key=made["SecretAccessKey"])

    def _run(self, name: str, port: int, options: list[str], command: list[str]) -> None:
        process = ServerProcess(
            [
                self._executable,
                "--port",
                f"{HOST}:{port}",
                "--region",
                self._region,
                "--health",
                _HEALTH,
                *options,
                *command,
            ],
            name=f"versitygw {command[0]}",
            directory=self._directory,
            environment={
                "PATH": os.environ.get("PATH", ""),
                "HOME": str(self._directory),
                "ROOT_ACCESS_KEY_ID": self._admin.access_key_id,
                "ROOT_SECRET_ACCESS_KEY": self._admin.secret_access_key,
            },
            log_name=f"{name}.log",
            grace_seconds=_GRACE_SECONDS,
        )
        self._processes.append(process)
        process.wait_until(lambda: answers(f"http://{HOST}:{port}{_HEALTH}"), seconds=START_SECONDS)
