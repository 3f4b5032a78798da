"""The distributions and the npm package, built once from the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from emulators.npm_packages import install, run_npm

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "client"


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that is built from the sdist alone, as an installer would without a wheel on the index."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        # Python 3.11.4 has filters, and later versions warn without one. Debian 12 has 3.11.2.
        if hasattr(tarfile, "data_filter"):
            archive.extractall(unpacked, filter="data")
        else:
            archive.extractall(unpacked)
    (source,) = unpacked.iterdir()
    return _build(source, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    install(CLIENT)
    directory = tmp_path_factory.mktemp("npm")
    (packed,) = json.loads(run_npm("pack", "--json", "--pack-destination", str(directory), directory=CLIENT))
    return directory / str(packed["filename"])


@pytest.fixture(scope="session")
def project(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project with the package alone, installed without a connection."""
    directory = tmp_path_factory.mktemp("project")
    (directory / "package.json").write_text('{"name": "project", "private": true, "type": "module"}')
    run_npm("install", "--offline", str(tarball), directory=directory)
    return directory


def _build(source: Path, target: str, directory: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(directory)]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = directory.iterdir()
    return built
