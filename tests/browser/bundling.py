"""The examples for pages, bundled as a reader's bundler would do it: with the packages that their lock file names."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from emulators.npm_packages import install, node

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "client"
EXAMPLES = ROOT / "examples" / "browser"
UPPY_5 = Path(__file__).with_name("uppy5")


def bundle(names: Collection[str], directory: Path, *, packages: Path = EXAMPLES) -> None:
    """Copy the examples into ``directory``, and bundle the scripts and styles of these pages into its ``dist/``.

    The modules come from ``packages``, which may have another major version of Uppy than the examples have.
    """
    install(CLIENT)
    install(packages)
    directory.mkdir()
    for path in (*EXAMPLES.glob("*.html"), *EXAMPLES.glob("*.js")):
        shutil.copy(path, directory)
    # Without the scripts of packages, esbuild's program is started through Node.js.
    command = [str(node()), str(CLIENT / "node_modules" / "esbuild" / "bin" / "esbuild")]
    command += [f"./{name}.js" for name in names]
    command += ["--bundle", "--format=esm", "--target=es2022", "--outdir=dist"]
    command += [f"--alias:presign-uploads={CLIENT / 'index.js'}"]
    # The copies lie outside of the folder whose modules they import.
    environment = {**os.environ, "NODE_PATH": str(packages / "node_modules")}
    result = subprocess.run(command, cwd=directory, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stderr
