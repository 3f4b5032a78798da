"""Build programs in Rust with the `cargo` on PATH.

Nothing here installs Rust: a program in Rust is built only where a user has it. A crate's `crates.lock` pins its
dependencies, which stay in cargo's own cache. It is cargo's `Cargo.lock` without the lines that name the index.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from emulators.go_programs import run
from emulators.processes import StartFailed


class NoCargo(Exception):
    """There is no Rust that can build a program; the message says which one it needs."""


def least_version(crate: Path) -> str:
    """Return the version of Rust that the crate in the folder ``crate`` needs, as its `Cargo.toml` says."""
    return _member(crate, "rust-version")


def find_cargo(*, least: str) -> str:
    """Return the path of the `cargo` on PATH; raises NoCargo unless it works and has at least the version ``least``."""
    cargo = shutil.which("cargo")
    if cargo is not None and _version(cargo) >= _numbers(least):
        return cargo
    raise NoCargo(f"no cargo of version {least} or later is on PATH")


def build(cargo: str, crate: Path, program: Path) -> None:
    """Build the crate in the folder ``crate``, with its optimisations, as the file ``program``.

    What the compiler writes besides is deleted: it is a hundred times as large as the program. Raises StartFailed.
    """
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent, prefix="build-") as directory:
        work = Path(directory)
        shutil.copytree(crate, work / "crate", ignore=shutil.ignore_patterns("target", "Cargo.lock"))
        options = ["--release", "--locked", "--target-dir", str(work / "target")]
        _pin(cargo, work / "crate")
        run([cargo, "build", *options], directory=work / "crate")
        (work / "target" / "release" / _member(crate, "name")).replace(program)


def _pin(cargo: str, crate: Path) -> None:
    """Write the crate's `Cargo.lock` from its `crates.lock`, with the name that this cargo gives its index."""
    lock = crate / "Cargo.lock"
    run([cargo, "generate-lockfile"], directory=crate)
    (source, *_) = re.findall(r"^source = .*\n", lock.read_text(encoding="utf-8"), re.MULTILINE)
    pinned = (crate / "crates.lock").read_text(encoding="utf-8")
    lock.write_text(pinned.replace("\nchecksum = ", f"\n{source}checksum = "), encoding="utf-8")


def _member(crate: Path, name: str) -> str:
    text = (crate / "Cargo.toml").read_text(encoding="utf-8")
    (value,) = re.findall(rf'^{name} = "(.*)"$', text, re.MULTILINE)
    return str(value)


def _version(cargo: str) -> tuple[int, ...]:
    try:
        said = run([cargo, "--version"])
    except StartFailed:
        # For example rustup's `cargo`, before any toolchain is installed.
        return ()
    version = re.match(r"cargo (\d+(?:\.\d+)*)", said)
    return _numbers(version[1]) if version else ()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))
