"""Find the engine, the `pulumi` command, or build it: ``python -m tests.infra.engine.pulumi_cli`` prints its path.

The engine's source comes from the Go module proxy, in the versions and with the hashes of ``pulumi_module/``. Go is
found on PATH, or comes from PyPI. The build needs some six minutes of CPU, and 4 GB of disk. The command stays in the
user's cache, with 117 MB.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from emulators.go_programs import build, cache_folder

MODULE = Path(__file__).with_name("pulumi_module")
_COMMAND = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
_VERSIONS = dict(re.findall(r"^\s*(\S+) v?([0-9]\S*)", (MODULE / "go.mod").read_text(encoding="utf-8"), re.MULTILINE))
VERSION = _VERSIONS["github.com/pulumi/pulumi/pkg/v3"]


def built_engine() -> Path:
    """Return the path where the built engine is, or would be."""
    return cache_folder() / f"pulumi-{VERSION}" / "pulumi"


def find_engine() -> Path | None:
    """Return the path of ``pulumi`` on PATH, or of the one that was built, or None if there is none."""
    found = shutil.which("pulumi") or shutil.which(built_engine())
    return Path(found) if found else None


def build_engine() -> Path:
    """Build the engine, and return its path. Raises StartFailed."""
    engine = built_engine()
    # Without its version, the command is refused by the SDK.
    flags = f"-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{VERSION}"
    build(MODULE, engine, package=_COMMAND, options=["-ldflags", flags], parallel=1)
    return engine


if __name__ == "__main__":
    print(find_engine() or build_engine())
