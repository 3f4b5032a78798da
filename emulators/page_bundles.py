"""Scripts for pages, bundled as an application would bundle them: with the packages that lock files name."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from emulators.npm_packages import install, node
from emulators.processes import StartFailed

ROOT = Path(__file__).resolve().parent.parent
CLIENT = ROOT / "client"
UPPY_6 = ROOT / "examples" / "browser"
UPPY_5 = UPPY_6 / "uppy5"


def bundle(entries: Sequence[str], directory: Path, *, into: Path, packages: Path, splits: bool = False) -> None:
    """Bundle the scripts ``entries``, which are in ``directory``, into the folder ``into``.

    ``presign-uploads`` is the client of this repository, and all other modules come from ``packages``, a folder with a
    lock file. With ``splits``, what the scripts import dynamically is in files of its own, which a page loads when it
    needs them. Raises StartFailed.
    """
    install(CLIENT)
    install(packages)
    # Without the scripts of packages, esbuild's program is started through Node.js.
    command = [str(node()), str(CLIENT / "node_modules" / "esbuild" / "bin" / "esbuild"), *entries]
    command += ["--bundle", "--format=esm", "--target=es2022", f"--outdir={into}"]
    command += [f"--alias:presign-uploads={CLIENT / 'index.js'}", *(["--splitting", "--minify"] if splits else [])]
    # The scripts may lie outside of the folder whose modules they import.
    environment = {**os.environ, "NODE_PATH": str(packages / "node_modules")}
    result = subprocess.run(command, cwd=directory, env=environment, capture_output=True, encoding="utf-8", check=False)
    if result.returncode != 0:
        raise StartFailed(f"esbuild ended with status {result.returncode}:\n{result.stderr}")
