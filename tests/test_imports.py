"""The direction of imports, between presign's modules and between the rooms of the repository."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "presign"
CORE = ("errors", "upload", "keys", "policy", "sniffing", "tokens", "backend", "presigner", "asgi")
BACKENDS = {"s3", "azure", "gcs"}
SDKS = {
    "boto3": {"s3"},
    "botocore": {"s3"},
    "azure": {"azure"},
    "google": {"gcs"},
    "cryptography": {"gcs", "signing.sigv4"},
    "starlette": {"asgi"},
}
MODULES = sorted(
    str(path.relative_to(PACKAGE).with_suffix("")).replace("/", ".")
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)


# What each room of the repository may import of the others.
ROOMS = {
    "presign": set[str](),
    "emulators": set[str](),
    "infra": set[str](),
    "demo_server": {"presign", "emulators", "infra"},
    "bench": {"presign", "emulators", "demo_server"},
}


def _imports(module: str) -> set[str]:
    return _imports_of(PACKAGE / f"{module.replace('.', '/')}.py")


def _imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)} has a relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _own(module: str) -> set[str]:
    names = {name.removeprefix("presign.") for name in _imports(module) if name.startswith("presign.")}
    return {name for name in names if name in MODULES}


@pytest.mark.parametrize("module", CORE)
def test_a_core_module_imports_only_those_before_it_and_no_backend(module: str) -> None:
    before = set(CORE[: CORE.index(module)])
    assert _own(module) <= before


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("signing.")])
def test_a_signer_imports_nothing_of_presign_but_errors_and_signers(module: str) -> None:
    assert {name for name in _own(module) if not name.startswith("signing.")} <= {"errors"}


@pytest.mark.parametrize("module", MODULES)
def test_an_sdk_is_imported_in_its_own_module_alone(module: str) -> None:
    for name in _imports(module):
        root = name.partition(".")[0]
        assert root not in SDKS or module in SDKS[root], f"{module} imports {name}"


def test_every_module_has_a_place_in_the_order() -> None:
    placed = {*CORE, *BACKENDS, "addresses", "refreshing", "testing", "opening"}
    assert {name for name in MODULES if not name.startswith("signing.")} <= placed


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_that_it_stands_on_and_never_the_tests(room: str) -> None:
    other_rooms = {*ROOMS, "tests"} - {room}
    for path in (ROOT / room).rglob("*.py"):
        if "node_modules" in path.parts or ".venv" in path.parts:
            continue
        imported = {name.partition(".")[0] for name in _imports_of(path)} & other_rooms
        assert imported <= ROOMS[room], f"{path.relative_to(ROOT)} imports {sorted(imported - ROOMS[room])}"


def test_every_room_with_python_code_is_named_here() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__*__.py")}
    assert rooms <= {*ROOMS, "tests"}


def test_importing_presign_imports_no_sdk_and_no_server() -> None:
    script = "import sys, presign; print(*sorted(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, check=True, text=True
    )
    loaded = {name.partition(".")[0] for name in answer.stdout.split()}
    assert "presign" in loaded
    assert not loaded & SDKS.keys()


def test_the_public_names_are_sorted_and_there() -> None:
    import presign

    assert presign.__all__ == sorted(presign.__all__)
    assert all(hasattr(presign, name) for name in presign.__all__)
