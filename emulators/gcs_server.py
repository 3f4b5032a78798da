"""The reference GCS server as a process of its own, which holds all objects in memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from emulators import gcs_reference
from emulators.processes import ServerProcess, stop_server_of_earlier_run, writing_files

START_SECONDS = 60.0
_GRACE_SECONDS = 1.0
_ROOT = Path(__file__).resolve().parent.parent


class GcsServer:
    """The reference GCS server with one bucket, or two; a context manager that starts and stops it.

    Pages of ``origins`` may use the bucket, and everybody may read what is under ``public_prefix``. The same pages may
    upload to ``pending_bucket``, which nobody may read. ``directory`` holds
    the log and the key of a service account, ``credentials``, which is made at the first start. A server that an
    earlier run left in the same directory is stopped first. Raises StartFailed.
    """

    def __init__(
        self,
        *,
        directory: Path,
        bucket: str,
        public_prefix: str,
        origins: Sequence[str],
        pending_bucket: str | None = None,
    ) -> None:
        self._directory = directory.absolute()
        self._options = [
            *("--bucket", bucket, "--public-prefix", public_prefix),
            *("--credentials", str(self.credentials), "--generate"),
            *(f"--allow-origin={origin}" for origin in origins),
            *(() if pending_bucket is None else ("--pending-bucket", pending_bucket)),
        ]
        self._process: ServerProcess | None = None
        self._endpoint_url = ""

    @property
    def credentials(self) -> Path:
        """The service account's JSON file."""
        return self._directory / "account.json"

    @property
    def endpoint_url(self) -> str:
        """The running server's URL."""
        return self._endpoint_url

    @property
    def process(self) -> ServerProcess:
        """The running server's process."""
        assert self._process is not None, "the server was not started"
        return self._process

    def __enter__(self) -> GcsServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return once it accepts connections."""
        with writing_files():
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            stop_server_of_earlier_run(self._directory / "gcs.pid")
        process = ServerProcess(
            [sys.executable, "-m", gcs_reference.__name__, *self._options],
            name="the reference GCS server",
            directory=self._directory,
            environment={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
            },
            log_name="gcs.log",
            pid_name="gcs.pid",
            grace_seconds=_GRACE_SECONDS,
        )
        process.wait_until(lambda: bool(_first_url(process.log)), seconds=START_SECONDS)
        self._process = process
        self._endpoint_url = _first_url(process.log)

    def stop(self) -> None:
        """Stop the server; nothing happens if it does not run."""
        if self._process is not None:
            self._process.stop()
            self._process = None


def _first_url(log: str) -> str:
    lines = (line for line in log.splitlines(keepends=True) if line.startswith("http://") and line.endswith("\n"))
    return next(lines, "").strip()
