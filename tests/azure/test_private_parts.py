"""The Azure backend uses the public parts of the Azure SDK alone, so that a new version of the SDK cannot break it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import presign.azure

MODULES = sorted(Path(presign.azure.__file__).parent.glob("*.py"))


def private_uses(source: str) -> list[str]:
    """Return the private names that ``source`` imports, or reads from an object other than ``self``."""
    uses: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            uses += [alias.name for alias in node.names if _is_private(*alias.name.split("."))]
        elif isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".")
            uses += [alias.name for alias in node.names if _is_private(*parts, alias.name)]
        elif isinstance(node, ast.Attribute) and _is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id == "self"):
                uses.append(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_private(node.value):
            # As in getattr(client, "_pipeline").
            uses.append(node.value)
    return uses


def _is_private(*names: str) -> bool:
    return any(name.isidentifier() and name.startswith("_") and not name.startswith("__") for name in names)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_the_azure_backend_uses_no_private_part_of_the_sdk(module: Path) -> None:
    assert private_uses(module.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import azure.storage.blob._shared.policies",
        "from azure.storage.blob._shared import policies",
        "from azure.storage.blob import _shared",
        "client._pipeline",
        "self.client._pipeline.run(request)",
        'getattr(client, "_pipeline", None)',
    ],
)
def test_a_use_of_a_private_part_is_found(source: str) -> None:
    assert private_uses(source)
