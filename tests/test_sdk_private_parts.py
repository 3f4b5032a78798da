"""The private parts of SDKs that presign uses. If a test here fails, an SDK changed: presign still works, but slower.

Each use has a public way to fall back on, which the tests of the cloud's package prove.
"""

from __future__ import annotations

import ast
from datetime import datetime, timedelta, timezone
from pathlib import Path

import boto3
import botocore
from botocore.credentials import RefreshableCredentials
from botocore.httpsession import URLLib3Session

PACKAGE = Path(__file__).resolve().parent.parent / "presign"
# The module that may name private attributes of an SDK, and the attributes that it names.
ALLOWED = {"s3/session.py": {"_endpoint", "_expiry_time"}}


def test_botocore_clients_still_have_their_connections_in_a_private_attribute() -> None:
    session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="s", region_name="us-east-1")
    endpoint = getattr(session.client("s3"), "_endpoint", None)
    assert isinstance(getattr(endpoint, "http_session", None), URLLib3Session), (
        f"botocore {botocore.__version__} moved client._endpoint.http_session: presign.s3.session.send no longer "
        "works, and every completion takes three times the CPU"
    )


def test_botocore_credentials_still_have_their_expiry_in_a_private_attribute() -> None:
    expiry = datetime.now(timezone.utc) + timedelta(hours=1)
    metadata = {"access_key": "a", "secret_key": "s", "token": "t", "expiry_time": expiry.isoformat()}
    credentials = RefreshableCredentials.create_from_metadata(metadata, refresh_using=lambda: metadata, method="test")
    assert getattr(credentials, "_expiry_time", None) == expiry, (
        f"botocore {botocore.__version__} moved RefreshableCredentials._expiry_time: presign.s3.session._expiry now "
        "assumes ten minutes, and tickets of a longer life are shortened"
    )


def test_no_other_module_names_a_private_attribute_of_something_else() -> None:
    for path in PACKAGE.rglob("*.py"):
        name = str(path.relative_to(PACKAGE)).replace("\\", "/")
        found = _private_attributes(ast.parse(path.read_text()))
        assert found <= ALLOWED.get(name, set()), f"{name} names {sorted(found)}"


def _private_attributes(tree: ast.AST) -> set[str]:
    """Return the private names that code reads from something other than ``self``, ``cls`` or its own classes."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls", *own}):
                found.add(node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and len(node.args) > 1:
            name = node.args[1]
            if isinstance(name, ast.Constant) and _is_private(str(name.value)):
                found.add(str(name.value))
    return found


def _is_private(name: str) -> bool:
    # ``_replace`` is public in named tuples.
    return name.startswith("_") and not name.startswith("__") and name != "_replace"
