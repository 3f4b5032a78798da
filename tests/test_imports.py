"""The direction of imports, and that no cloud's SDK is needed for another."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "presign"
CORE = (
    *("errors", "upload", "keys", "policy", "sniffing", "tokens", "backend", "backends.expiring_credentials"),
    *("presigner", "http.bounded_threads", "http.request_body", "http.endpoints", "http.problems", "http.openapi"),
    "asgi",
)
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


def _imports(module: str) -> set[str]:
    tree = ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
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
    placed = {*CORE, *BACKENDS, "addresses", "testing", "opening"}
    assert {name for name in MODULES if not name.startswith("signing.")} <= placed


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
