"""The direction of imports, between presign's modules and between the rooms of the repository."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "presign"
# Each room may import the rooms before it, and nothing after it.
ORDER = (
    "installation",
    "progress",
    "uploading",
    "errors",
    "hooks",
    "signing",
    "media_types",
    "content",
    "keys",
    "messages",
    "policy",
    "tokens",
    "backends",
    "inspection",
    "verification",
    "publishing",
    "sweeping",
    "parts",
    "completions",
    "presigner",
    "testing",
    "doctor",
    "http",
    "uvicorn",
    "asgi",
    "fastapi",
    "flask",
    "django",
    "cli",
    "__main__",
)
# A cloud's package stands beside the order: it knows what every cloud shares, and no other room knows it.
CLOUDS = {"s3", "azure", "gcs"}
ROOMS_OF_A_CLOUD = {"signing", "progress", "errors", "keys", "messages", "backends"}
SDKS = {
    "boto3": {"s3"},
    "botocore": {"s3"},
    "azure": {"azure"},
    "google": {"gcs"},
    "cryptography": {"gcs"},
    "starlette": {"asgi", "fastapi"},
    "fastapi": {"fastapi"},
    "uvicorn": {"uvicorn"},
    "pydantic": {"fastapi"},
    "flask": {"flask"},
    "werkzeug": {"flask"},
    "click": {"cli", "doctor", "flask", "uploading"},
    "urllib3": {"backends", "doctor", "uploading"},
    "django": {"django"},
    "asgiref": {"django"},
    "storages": set[str](),
}
PACKAGES = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
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
    "examples": {"presign"},
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
            # The tests and the demo import this package from the repository's folder, and the programs from their own.
            under_two_names = path.is_relative_to(ROOT / "infra" / "presign_infra")
            assert node.level == 0 or under_two_names, f"{path.relative_to(ROOT)} has a relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _own(module: str) -> set[str]:
    names = {name.removeprefix("presign.") for name in _imports(module) if name.startswith("presign.")}
    return {name for name in names if name in MODULES or name in PACKAGES}


def _room(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("module", [name for name in MODULES if _room(name) in ORDER])
def test_a_module_imports_only_rooms_before_its_own_and_no_cloud(module: str) -> None:
    room = _room(module)
    allowed = set(ORDER[: ORDER.index(room) + 1])
    assert {_room(name) for name in _own(module)} <= allowed


@pytest.mark.parametrize("module", [name for name in MODULES if _room(name) in CLOUDS])
def test_a_cloud_imports_only_what_every_cloud_shares(module: str) -> None:
    assert {_room(name) for name in _own(module)} <= {*ROOMS_OF_A_CLOUD, _room(module)}


@pytest.mark.parametrize("module", MODULES)
def test_only_the_command_line_imports_the_client_of_the_http_contract(module: str) -> None:
    assert _room(module) in {"uploading", "cli"} or "uploading" not in {_room(name) for name in _own(module)}


@pytest.mark.parametrize("package", sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")))
def test_a_package_only_hands_names_on(package: str) -> None:
    tree = ast.parse((PACKAGE / package / "__init__.py").read_text())
    for node in tree.body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_all = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        assert is_docstring or is_all or isinstance(node, ast.ImportFrom), f"{package}: {ast.unparse(node)}"


@pytest.mark.parametrize("module", MODULES)
def test_an_sdk_is_imported_in_its_own_module_alone(module: str) -> None:
    for name in _imports(module):
        root = name.partition(".")[0]
        assert root not in SDKS or _room(module) in SDKS[root], f"{module} imports {name}"


def test_every_room_has_a_place_in_the_order() -> None:
    assert {_room(name) for name in MODULES} <= {*ORDER, *CLOUDS}


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
