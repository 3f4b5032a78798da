"""The reference GCS server as a process of its own, which holds everything in memory.

python -m emulators.gcs_server --port 4443 --bucket uploads --credentials account.json --generate
    --allow-origin http://localhost:8080 --public-prefix public/
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from emulators.gcs_credentials import generate_credentials, trusted_account
from emulators.gcs_objects import GcsBucket, page_rule
from emulators.gcs_reference import GcsReference
from emulators.processes import ServerProcess, stop_server_of_earlier_run, writing_files

START_SECONDS = 60.0
_GRACE_SECONDS = 1.0
_ROOT = Path(__file__).resolve().parent.parent


class GcsServer:
    """The reference GCS server with one bucket; a context manager that starts and stops it.

    Pages of ``origins`` may use the bucket, and everybody may read what is under ``public_prefix``. ``directory`` holds
    the log and the key of a service account, ``credentials``, which is made at the first start. A server that an
    earlier run left in the same directory is stopped first. Raises StartFailed.
    """

    def __init__(self, *, directory: Path, bucket: str, public_prefix: str, origins: Sequence[str]) -> None:
        self._directory = directory.absolute()
        self._options = [
            *("--bucket", bucket, "--public-prefix", public_prefix),
            *("--credentials", str(self.credentials), "--generate"),
            *(f"--allow-origin={origin}" for origin in origins),
        ]
        self._process: ServerProcess | None = None

    @property
    def credentials(self) -> Path:
        """The service account's JSON file."""
        return self._directory / "account.json"

    @property
    def endpoint_url(self) -> str:
        """Where the running server answers."""
        return _first_url(self.process.log)

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
            [sys.executable, "-m", "emulators.gcs_server", *self._options],
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

    def stop(self) -> None:
        """Stop the server; nothing happens if it does not run."""
        if self._process is not None:
            self._process.stop()
            self._process = None


def _first_url(log: str) -> str:
    lines = (line for line in log.splitlines(keepends=True) if line.startswith("http://") and line.endswith("\n"))
    return next(lines, "").strip()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve one bucket until interrupted; the first line of output is the base URL, which then accepts connections."""
    parser = argparse.ArgumentParser(prog="python -m emulators.gcs_server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--bucket", required=True)
    parser.add_argument(
        "--credentials", type=Path, required=True, help="a service account's JSON, whose key is trusted"
    )
    parser.add_argument("--generate", action="store_true", help="write --credentials first, pointing to this server")
    parser.add_argument("--allow-origin", action="append", default=[], help="a page's origin; may be repeated")
    parser.add_argument("--public-prefix", help="object names that anybody may read")
    parser.add_argument("--anonymous-json", action="store_true", help="no bearer token needed, as with an emulator")
    options = parser.parse_args(arguments)
    listener = socket.create_server((options.host, options.port), backlog=512)
    url = f"http://{options.host}:{listener.getsockname()[1]}"
    if options.generate:
        generate_credentials(options.credentials, token_uri=f"{url}/token")
    bucket = GcsBucket(
        cors=(page_rule(*options.allow_origin),) if options.allow_origin else (), public_prefix=options.public_prefix
    )
    app = GcsReference(
        buckets={options.bucket: bucket},
        service_accounts=trusted_account(options.credentials),
        anonymous_json=options.anonymous_json,
    )
    print(url, flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off")).run(sockets=[listener])


if __name__ == "__main__":
    main()
