"""Virtual environments that hold the wheel and what it asks for, and the servers that run in them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from emulators.ports import free_port
from emulators.s3_bucket import S3Bucket
from emulators.s3_reference import S3Reference
from emulators.signature_v4 import HmacKey

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAREFERENCE", "AWS_SECRET_ACCESS_KEY": "a secret of the reference"}
SECRETS = {"PRESIGN_SECRET": "a secret of the example", "SESSION_SECRET": "a secret of the example's sessions"}


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A virtual environment into which the wheel was installed, and an empty folder to work in."""

    directory: Path

    @property
    def programs(self) -> Path:
        return self.directory / ("Scripts" if os.name == "nt" else "bin")

    @property
    def workplace(self) -> Path:
        return self.directory / "workplace"

    def run(self, *arguments: str, **settings: str) -> str:
        """Return what the environment's Python printed."""
        command = [str(self.programs / "python"), *arguments]
        return output(command, cwd=self.workplace, environment=environment(**settings))


def environment(**added: str) -> dict[str, str]:
    """Return this process's environment without what could lead an interpreter to the checkout."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return inherited | added


def output(command: list[str], *, cwd: Path, environment: Mapping[str, str]) -> str:
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def install_wheel(directory: Path, wheel: Path, extras: str, *more: str) -> Installed:
    """Install into a new environment; ``more`` are further packages and options."""
    installed = Installed(directory=directory)
    uv = [sys.executable, "-m", "uv", "--quiet"]
    output([*uv, "venv", "--python", sys.executable, str(directory)], cwd=ROOT, environment=environment())
    python = ["--python", str(installed.programs / "python")]
    wanted = [f"presign-uploads{f'[{extras}]' if extras else ''} @ {wheel.as_uri()}", *more]
    output([*uv, "pip", "install", *python, *wanted], cwd=directory, environment=environment())
    installed.workplace.mkdir()
    return installed


def locked() -> tuple[str, str]:
    """Return the options that install the versions of the lock file, which are in uv's cache already."""
    return "--constraints", str(ROOT / "requirements-dev.lock")


def storage() -> S3Reference:
    """Return a storage with the bucket and the keys of the examples."""
    return S3Reference(
        buckets={"my-bucket": S3Bucket(public_prefix="public/")},
        access_keys={KEYS["AWS_ACCESS_KEY_ID"]: HmacKey(secret=KEYS["AWS_SECRET_ACCESS_KEY"])},
        region="eu-central-1",
    )


@contextmanager
def running(
    installed: Installed, command: Sequence[str], storage_url: str, **settings: str
) -> Iterator[tuple[str, Path]]:
    """Run a server with the environment's Python, on a local storage, and give its URL and its output.

    ``command`` has ``{port}`` where the port is meant.
    """
    port = free_port()
    log = installed.workplace / "log.txt"
    program = [str(installed.programs / "python"), *(part.format(port=port) for part in command)]
    env = environment(PYTHONUNBUFFERED="1", AWS_ENDPOINT_URL_S3=storage_url, **KEYS, **settings)
    with log.open("wb") as written:
        process = subprocess.Popen(program, cwd=installed.workplace, env=env, stdout=written, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield url, log
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)


def _answers(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.TransportError:
        return False
    return True
