"""A wheel in a virtual environment of its own, which knows nothing of the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


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


def install(directory: Path, wheel: Path, extras: str, *more: str) -> Installed:
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
