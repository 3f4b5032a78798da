"""Cloud Storage on this machine: the reference server of the tests, as no emulator of Google's checks a signature."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from demo_server.local_storage import BUCKET, PUBLIC_PREFIX
from emulators import gcs_reference
from emulators.processes import stop_leftover, stop_tree
from emulators.seaweedfs import StartFailed

START_SECONDS = 30.0
_ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def local_gcs(directory: Path, *, origins: Sequence[str], say: Callable[[str], None]) -> Iterator[dict[str, str]]:
    """Run the reference server for pages of ``origins``, and yield the environment that points the demo at it.

    It holds uploads in memory alone, and says so; the service account's key is kept in ``directory``. Raises
    StartFailed.
    """
    directory = directory.resolve() / "gcs"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    pid_path = directory / "server.pid"
    stop_leftover(pid_path, directory)
    credentials = directory / "account.json"
    say("Starting the reference GCS server; it holds uploads in memory, so they are gone when the demo stops")
    say(f"Provisioning the bucket {BUCKET}: CORS for {', '.join(origins)}, public reads under {PUBLIC_PREFIX}")
    log_path = directory / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  (our own command line)
            _command(credentials, origins),
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C reaches the parent alone, which stops this when nothing uses it any more.
            start_new_session=True,
        )
    try:
        pid_path.write_text(str(process.pid))
        endpoint_url = _wait_until_ready(process, log_path)
        yield {
            "PRESIGN_BUCKET": f"gs://{BUCKET}/{PUBLIC_PREFIX}?" + urlencode({"endpoint_url": endpoint_url}),
            "GOOGLE_APPLICATION_CREDENTIALS": str(credentials),
            # An HMAC key of the user's own would sign instead.
            "GCS_HMAC_ACCESS_ID": "",
            "GCS_HMAC_SECRET": "",
        }
    finally:
        stop_tree(process.pid)
        process.wait()
        pid_path.unlink(missing_ok=True)


def _command(credentials: Path, origins: Sequence[str]) -> list[str]:
    return [
        *(sys.executable, "-m", gcs_reference.__name__),
        *("--bucket", BUCKET, "--public-prefix", PUBLIC_PREFIX),
        *("--credentials", str(credentials), "--generate"),
        *(f"--allow-origin={origin}" for origin in origins),
    ]


def _wait_until_ready(process: subprocess.Popen[bytes], log_path: Path) -> str:
    """Return the server's URL, which is its first line of output."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        log = log_path.read_text(errors="replace")
        for line in log.splitlines(keepends=True):
            if line.startswith("http://") and line.endswith("\n"):
                return line.strip()
        lines = "\n".join(log.splitlines()[-20:])
        if process.poll() is not None:
            raise StartFailed(f"the reference GCS server ended with status {process.returncode}:\n{lines}")
        if time.monotonic() > deadline:
            raise StartFailed(f"the reference GCS server did not start in {START_SECONDS:.0f} s:\n{lines}")
        time.sleep(0.05)
