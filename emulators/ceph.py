"""Ceph's S3 gateway (RGW) on the loopback interface, with a cluster of its own that keeps objects in memory."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3

from emulators.ports import HOST, free_port
from emulators.processes import ServerProcess, StartFailed, writing_files
from emulators.s3_store import S3Store, answers
from emulators.seaweedfs import AccessKey
from emulators.stores import ceph_programs

START_SECONDS = 180.0
_COMMAND_SECONDS = 60
_GRACE_SECONDS = 2.0
# Each daemon has a key of its own in the one keyring, with the rights that Ceph's documentation gives it.
_CAPABILITIES = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *"},
    "client.rgw": {"mon": "allow rw", "osd": "allow rwx"},
}


class CephGateway(S3Store):
    """A ``radosgw`` with a cluster of its own; see S3Store.

    The processes need no systemd and no root: a monitor, a storage daemon with ``memstore``, and the gateway. Objects
    are gone after ``stop``. ``admin`` owns the buckets and may write the policies of other users. Raises NotInstalled
    and StartFailed.
    """

    name = "Ceph RGW"

    def __init__(self, *, directory: Path, admin: AccessKey, region: str) -> None:
        super().__init__(directory=directory, admin=admin)
        ceph_programs()
        self._region = region

    @property
    def version(self) -> str:
        """The installed version, such as 16.2.15."""
        return self._command("radosgw", "--version").split()[2].partition("-")[0].partition("+")[0]

    def start(self) -> None:
        """Make a cluster, start its processes and return once the gateway answers S3 requests."""
        cluster, disk = str(uuid.uuid4()), str(uuid.uuid4())
        monitor = f"[v2:{HOST}:{free_port()},v1:{HOST}:{free_port()}]"
        with writing_files():
            for folder in ("mon", "osd"):
                (self._directory / folder).mkdir(parents=True, mode=0o700)
            (self._directory / "ceph.conf").write_text(self._configuration(cluster, monitor))
        for number, (name, rights) in enumerate(_CAPABILITIES.items()):
            caps = [each for service, right in rights.items() for each in ("--cap", service, right)]
            create = [] if number else ["--create-keyring"]
            self._command("ceph-authtool", *create, "keyring", "--gen-key", "-n", name, *caps)
        self._command("monmaptool", "--create", "--fsid", cluster, "--addv", "a", monitor, "monmap")
        self._command("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        self._run("ceph-mon", "-i", "a")
        self._command("ceph", "--connect-timeout", str(_COMMAND_SECONDS), "osd", "new", disk, "0")
        self._command("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._run("ceph-osd", "-i", "0")
        gateway = self._run("radosgw", "-n", "client.rgw")
        gateway.wait_until(lambda: answers(self.endpoint_url), seconds=START_SECONDS, error_pattern=r" -1 ")
        self._make_user("admin", self._admin, "--caps", "user-policy=*")

    def add_user(self, name: str, policy: Mapping[str, Any]) -> AccessKey:
        """Make a user who may do what ``policy`` says and nothing else, and return its access key."""
        key = AccessKey(access_key_id=f"KEY{uuid.uuid4().hex[:17].upper()}", secret_access_key=uuid.uuid4().hex)
        self._make_user(name, key)
        iam = boto3.client(
            "iam",
            region_name=self._region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self._admin.access_key_id,
            aws_secret_access_key=self._admin.secret_access_key,
        )
        iam.put_user_policy(UserName=name, PolicyName="upload", PolicyDocument=json.dumps(policy))
        return key

    def _make_user(self, name: str, key: AccessKey, *options: str) -> None:
        keys = ("--access-key", key.access_key_id, "--secret", key.secret_access_key)
        self._command("radosgw-admin", "user", "create", "--uid", name, "--display-name", name, *keys, *options)

    def _configuration(self, cluster: str, monitor: str) -> str:
        settings = {
            "fsid": cluster,
            "mon host": monitor,
            "mon initial members": "a",
            "keyring": "keyring",
            "mon data": "mon",
            "osd data": "osd",
            "osd objectstore": "memstore",
            "osd pool default size": "1",
            "osd pool default min size": "1",
            "osd pool default pg num": "4",
            "osd crush chooseleaf type": "0",
            "mon allow pool size one": "true",
            "public addr": HOST,
            "cluster addr": HOST,
            "rgw frontends": f"beast endpoint={HOST}:{self._port}",
            # The path of a Unix socket has 107 bytes at most, and nothing here asks the daemons anything.
            "admin socket": "",
            "pid file": "",
            "crash dir": ".",
            "run dir": ".",
            "log file": "$name.log",
            "mon cluster log file": "cluster.log",
        }
        return "".join(["[global]\n", *(f"{name} = {value}\n" for name, value in settings.items())])

    def _environment(self) -> dict[str, str]:
        # Without PYTHONPATH: `ceph` is a program for the system's own Python.
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"
        return {"PATH": path, "HOME": str(self._directory), "CEPH_CONF": "ceph.conf"}

    def _command(self, *command: str) -> str:
        directory = self._directory if self._directory.exists() else None
        environment = self._environment() if directory else {**self._environment(), "CEPH_CONF": os.devnull}
        try:
            ended = subprocess.run(
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StartFailed(f"{command[0]} did not end in {_COMMAND_SECONDS} s") from None
        if ended.returncode != 0:
            raise StartFailed(f"{command[0]} ended with status {ended.returncode}: {_last_line(ended.stderr)}")
        return ended.stdout

    def _run(self, *command: str) -> ServerProcess:
        process = ServerProcess(
            [*command, "-f"],
            name=f"Ceph's {command[0]}",
            directory=self._directory,
            environment=self._environment(),
            log_name=f"{command[0]}.out",
            grace_seconds=_GRACE_SECONDS,
        )
        self._processes.append(process)
        return process


def _last_line(text: str) -> str:
    lines: Sequence[str] = text.strip().splitlines()
    return lines[-1] if lines else "it printed nothing"
