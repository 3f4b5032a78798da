"""The examples for pages, bundled as a reader's bundler would do it: with the packages that their lock file names."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from emulators.page_bundles import UPPY_6
from emulators.page_bundles import bundle as bundle_scripts

# The folder of the newest Uppy's packages is the examples' own.
EXAMPLES = UPPY_6


def bundle(names: Collection[str], directory: Path, *, packages: Path) -> None:
    """Copy the examples into ``directory``, and bundle the scripts and styles of these pages into its ``dist/``.

    The modules come from ``packages``, which may have another major version of Uppy than the examples have.
    """
    directory.mkdir()
    for path in (*EXAMPLES.glob("*.html"), *EXAMPLES.glob("*.js")):
        shutil.copy(path, directory)
    bundle_scripts([f"./{name}.js" for name in names], directory, into=directory / "dist", packages=packages)
