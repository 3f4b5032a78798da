"""What the README shows works as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import django
import httpx
import pytest
from django.conf import settings as django_settings
from django.test import RequestFactory

from presign import Presigner, Rule, Unauthenticated
from tests.conftest import PNG, Store
from tests.emulators.serving import serve

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def _example(name: str) -> str:
    match = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", README, re.DOTALL)
    assert match, name
    return match[1]


def _run(name: str, **given: Any) -> Any:
    module = ModuleType(f"readme_{name}")
    module.__dict__.update(given)
    exec(compile(_example(name), f"README.md ({name})", "exec"), module.__dict__)
    return module


def _current_user(request: Any) -> str:
    if "X-User" not in request.headers:
        raise Unauthenticated("sign in to upload")
    user: str = request.headers["X-User"]
    return user


@pytest.fixture
def presigner(s3_reference: Store) -> Presigner:
    return s3_reference.presigner()


@pytest.fixture
def _bucket_of_the_example(s3_reference: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = s3_reference.session.get_credentials()
    assert keys is not None
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key or "")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key or "")
    monkeypatch.setenv("PRESIGN_SECRET", "a secret of the example")


@pytest.mark.usefixtures("_bucket_of_the_example")
def test_the_fastapi_example_serves_the_contract() -> None:
    app = _run("fastapi").app
    with serve(app) as url:
        assert httpx.post(f"{url}/files/upload", json={"type": "image/png"}).status_code == 401
        answer = httpx.post(f"{url}/files/upload", json={"type": "image/png"}, headers={"X-User": "alice"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["url"] == "https://my-bucket.s3.eu-central-1.amazonaws.com/"
        assert httpx.get(f"{url}/files/openapi.json").json()["openapi"] == "3.1.0"


def _is_stored_and_completed(post: Any) -> None:
    """Use ``post(path, body, user) -> (status, json)`` as a browser would."""
    assert post("/upload", {"type": "image/png"}, None)[0] == 401
    status, problem = post("/upload", {"type": "text/html"}, "alice")
    assert (status, problem["code"]) == (415, "type_not_admitted")
    status, ticket = post("/upload", {"type": "image/png", "size": len(PNG)}, "alice")
    assert status == 200
    assert post("/complete", {"token": ticket["token"]}, "alice")[0] == 409
    stored = httpx.post(ticket["url"], data=ticket["fields"], files={"file": ("cat.png", PNG)})
    assert stored.status_code == 201
    assert post("/complete", {"tokens": "x"}, "alice")[0] == 400
    status, completed = post("/complete", {"token": ticket["token"]}, "alice")
    assert (status, completed["size"]) == (200, len(PNG))
    assert post("/complete", {"token": ticket["token"]}, "mallory")[0] == 403


def test_the_flask_example_stores_and_completes(presigner: Presigner) -> None:
    client = _run("flask", presigner=presigner, current_user=_current_user).app.test_client()

    def post(path: str, body: object, user: str | None) -> tuple[int, Any]:
        answer = client.post(path, json=body, headers={"X-User": user} if user else {})
        return answer.status_code, answer.get_json(force=True)

    _is_stored_and_completed(post)


def test_the_django_example_stores_and_completes(presigner: Presigner) -> None:
    if not django_settings.configured:
        django_settings.configure(ALLOWED_HOSTS=["testserver"])
        django.setup()
    views = _run("django", presigner=presigner, current_user=_current_user)

    def post(path: str, body: object, user: str | None) -> tuple[int, Any]:
        headers = {"HTTP_X_USER": user} if user else {}
        request = RequestFactory().post(path, json.dumps(body), content_type="application/json", **headers)
        answer = getattr(views, path[1:])(request)
        return answer.status_code, json.loads(answer.content)

    _is_stored_and_completed(post)


def test_every_option_that_the_readme_names_exists() -> None:
    from presign import UploadPolicy
    from presign.s3 import S3Backend

    named = set(re.findall(r"`(?:UploadPolicy\()?([a-z_]+)=", README))
    known = {*UploadPolicy.__dataclass_fields__, *S3Backend.__init__.__annotations__, "secret", "authorize"}
    assert named
    assert named <= known, named - known


def test_the_table_of_enforcement_is_what_the_code_says(s3_reference: Store) -> None:
    table = re.search(r"<!-- table: enforcement -->\n(.*?)<!-- end of table -->", README, re.DOTALL)
    assert table
    assert table[1] == _enforcement_table(s3_reference)


def _enforcement_table(store: Store) -> str:
    from presign import ConfigurationError
    from tests.conftest import PNG_SHA256, png_request

    columns: dict[str, dict[str, Any]] = {
        "S3 POST": {"upload_method": "post"},
        "S3 PUT, exact size": {"upload_method": "put", "require_size": True},
        "S3 PUT, no size declared": {"upload_method": "put"},
    }
    cells: dict[str, dict[Rule, str]] = {}
    for column, options in columns.items():
        size = len(PNG) if options.get("require_size") else None
        request = png_request(size=size, sha256=PNG_SHA256)
        cells[column] = dict(store.presigner(**options).issue(request).enforced)
        try:
            cells[column] |= store.presigner(create_only=True, **options).issue(request).enforced
        except ConfigurationError:
            cells[column][Rule.CREATE_ONLY] = "refused at start"
    lines = [f"| rule | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for rule in (Rule.SIZE, Rule.TYPE, Rule.HEADERS, Rule.CHECKSUM, Rule.CREATE_ONLY):
        lines.append(f"| `{rule.value}` | {' | '.join(cells[column][rule] for column in columns)} |")
    return "\n".join(lines) + "\n"


def test_the_make_targets_that_the_readme_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_a_wheel_of_the_library_alone_can_be_installed_and_used(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    script = "import presign, presign.s3, sys; print(presign.__file__)"
    answer = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(wheel)!r}); {script}"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout.startswith(str(wheel))
    assert (
        "py.typed"
        in subprocess.run(
            [sys.executable, "-m", "zipfile", "-l", str(wheel)], check=True, capture_output=True, text=True
        ).stdout
    )
