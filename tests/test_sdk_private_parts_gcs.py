"""The private parts of Google's SDK: presign uses none, and the tests use one."""

from __future__ import annotations

import ast
from pathlib import Path

import google.auth.iam
import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "presign" / "gcs"
FILES = sorted(PACKAGE.glob("*.py"))


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def private_parts(source: str) -> list[str]:
    """The private names that a file takes from elsewhere: by attribute, by import, as an argument, or in text."""
    tree = ast.parse(source)
    found: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name) if is_private(name):
                found.append(name)
            case ast.Import(names=names):
                found += [alias.name for alias in names if is_private(alias.name)]
            case ast.ImportFrom(module=module, names=names):
                imported = [f"{module}.{alias.name}" for alias in names]
                found += [name for name in imported if is_private(name)]
            case ast.keyword(arg=str(name)) if is_private(name):
                found.append(name)
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(value=str(name)), *_]
            ):
                found += [name] if is_private(name) else []
            case ast.ClassDef(bases=bases) if any(isinstance(base, ast.Attribute | ast.Name) for base in bases):
                # In a subclass of an SDK's class, self._name could be private to the SDK.
                found.append(f"{node.name}: a subclass")
            case _:
                pass
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.name))
def test_cloud_storage_uses_no_private_part_of_the_sdk(path: Path) -> None:
    assert private_parts(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("client._http.request()", ["_http"]),
        ("storage.Client(_http=session)", ["_http"]),
        ("getattr(retry, '_predicate', None)", ["_predicate"]),
        ("from google.auth import _helpers", ["google.auth._helpers"]),
        ("from google.auth._helpers import utcnow", ["google.auth._helpers.utcnow"]),
        ("import google.cloud.storage._http", ["google.cloud.storage._http"]),
        ("class Session(AuthorizedSession): pass", ["Session: a subclass"]),
        ("self._client.get(timeout=1); blob.__class__", []),
    ],
)
def test_a_use_of_a_private_part_is_found(source: str, found: list[str]) -> None:
    assert private_parts(source) == found


def test_the_tests_can_replace_the_address_of_sign_blob() -> None:
    # tests/gcs/test_sign_blob.py replaces this private constant, because google-auth has no setting for it.
    assert google.auth.iam._IAM_SIGN_ENDPOINT.endswith("/serviceAccounts/{}:signBlob")
