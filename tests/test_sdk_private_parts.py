"""The private parts of SDKs that presign uses: one of botocore's, none of Azure's and none of Google's.

If a test of an SDK fails here, the SDK changed. presign still works, because each use has a public way to fall back on,
which the tests of the cloud's package prove. A method of Flask's proxies and an argument of blinker's signals have
names that look private; the documentation of both tells applications to use them.
"""

from __future__ import annotations

import ast
import inspect
from datetime import datetime, timedelta, timezone
from pathlib import Path

import botocore
import flask
import google.auth.iam
import pytest
from botocore.credentials import RefreshableCredentials

PACKAGE = Path(__file__).resolve().parent.parent / "presign"
# The module that may name private attributes of an SDK, and the attributes that it names.
ALLOWED = {"s3/session.py": {"_expiry_time"}, "flask.py": {"_get_current_object", "_async_wrapper"}}


def test_botocore_credentials_still_have_their_expiry_in_a_private_attribute() -> None:
    expiry = datetime.now(timezone.utc) + timedelta(hours=1)
    metadata = {"access_key": "a", "secret_key": "s", "token": "t", "expiry_time": expiry.isoformat()}
    credentials = RefreshableCredentials.create_from_metadata(metadata, refresh_using=lambda: metadata, method="test")
    assert getattr(credentials, "_expiry_time", None) == expiry, (
        f"botocore {botocore.__version__} moved RefreshableCredentials._expiry_time: presign.s3.session._expiry now "
        "assumes ten minutes, and tickets of a longer life are shortened"
    )


def test_flask_still_gives_the_application_behind_its_proxy() -> None:
    app = flask.Flask("application")
    with app.app_context():
        get_application = getattr(flask.current_app, "_get_current_object", lambda: None)
        assert get_application() is app, (
            "flask changed current_app._get_current_object: presign.flask can complete no large file any more"
        )


def test_flask_signals_still_take_what_calls_an_asynchronous_receiver() -> None:
    assert "_async_wrapper" in inspect.signature(flask.got_request_exception.send).parameters, (
        "blinker changed Signal.send: presign.flask can report no failed file of a list any more"
    )


def test_the_tests_can_replace_the_address_of_sign_blob() -> None:
    # tests/gcs/test_sign_blob.py replaces this private constant, because google-auth has no setting for it.
    assert google.auth.iam._IAM_SIGN_ENDPOINT.endswith("/serviceAccounts/{}:signBlob")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_uses_only_the_private_parts_that_are_tested_here(path: Path) -> None:
    assert _private_parts(path.read_text()) <= ALLOWED.get(path.relative_to(PACKAGE).as_posix(), set())


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("client._http.request()", {"_http"}),
        ("self.client._pipeline.run(request)", {"_pipeline"}),
        ("storage.Client(_http=session)", {"_http"}),
        ("getattr(retry, '_predicate', None)", {"_predicate"}),
        ("from google.auth import _helpers", {"google.auth._helpers"}),
        ("from google.auth._helpers import utcnow", {"google.auth._helpers.utcnow"}),
        ("import azure.storage.blob._shared.policies", {"azure.storage.blob._shared.policies"}),
        ("self._client.get(timeout=1); blob.__class__; parts._replace(path='')", set()),
    ],
)
def test_a_use_of_a_private_part_is_found(source: str, found: set[str]) -> None:
    assert _private_parts(source) == found


def _private_parts(source: str) -> set[str]:
    """Return the private names that a file takes from elsewhere: as attribute, import, argument or text."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=str(name)) | ast.keyword(arg=str(name)):
                found.add(name)
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(value=str(name)), *_]
            ):
                found.add(name)
            case ast.Import(names=aliases):
                found |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=module, names=aliases):
                found |= {f"{module}.{alias.name}" for alias in aliases}
            case _:
                pass
    return {name for name in found if any(_is_private(part) for part in name.split("."))}


def _is_private(name: str) -> bool:
    # ``_replace`` is public in named tuples.
    return name.isidentifier() and name.startswith("_") and not name.startswith("__") and name != "_replace"
