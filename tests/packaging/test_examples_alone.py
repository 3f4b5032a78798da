"""Each example of a web application with nothing but the wheel, its server, and the npm package's client in Node.js."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulators.npm_packages import node
from emulators.serving import serve
from tests.conftest import PNG
from tests.packaging.environments import KEYS, ROOT, SECRETS, Installed, install_wheel, locked, running, storage

EXAMPLES = ROOT / "examples"
BUCKET = "s3://my-bucket/public/?region=eu-central-1"
USER, PASSWORD = "alice", "wonderland"
CLIENT = """
import { store, upload } from "presign-uploads";
import { NodeXMLHttpRequest } from "./xml_http_request.js";

globalThis.XMLHttpRequest = NodeXMLHttpRequest;
const { action, content, options } = JSON.parse(process.argv[2]);
const file = new File([Buffer.from(content, "base64")], "cat.png", { type: "image/png" });
try {
  console.log(JSON.stringify(await { store, upload }[action](file, options)));
} catch (error) {
  console.log(JSON.stringify({ code: error.code }));
}
"""


@dataclass(frozen=True, kw_only=True)
class Application:
    """A running example, and an npm project with the client."""

    url: str
    database: Path
    project: Path

    def send(self, action: str, path: str, visitor: httpx.Client) -> Any:
        """Return what the JavaScript client's function ``action`` returns to a page with the visitor's cookies."""
        cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
        headers = {"Cookie": cookies, "X-CSRFToken": visitor.cookies.get("csrftoken", "")}
        task = {
            "action": action,
            "content": base64.b64encode(PNG).decode(),
            "options": {"api": self.url + path, "headers": headers},
        }
        command = [str(node()), "client.js", json.dumps(task)]
        result = subprocess.run(command, cwd=self.project, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return json.loads(result.stdout)

    @contextmanager
    def visitor(self) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=self.url, timeout=30, follow_redirects=True) as client:
            yield client

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def page(project: Path) -> Path:
    """The empty project with a script that does what a page does; Node.js needs an XMLHttpRequest for it."""
    (project / "client.js").write_text(CLIENT)
    shutil.copy(ROOT / "client" / "test" / "xml_http_request.js", project)
    return project


Run = Callable[..., Any]


@pytest.fixture
def run(wheel: Path, page: Path, tmp_path: Path) -> Run:
    @contextmanager
    def run(extra: str, example: str, command: list[str], *more: str, prepare: Any = None) -> Iterator[Application]:
        installed = install_wheel(tmp_path / "venv", wheel, f"s3,{extra}", *more, *locked())
        if (EXAMPLES / example).is_dir():
            shutil.copytree(EXAMPLES / example, installed.workplace, dirs_exist_ok=True)
        else:
            shutil.copy(EXAMPLES / example, installed.workplace)
        database = tmp_path / "uploads.db"
        settings = {**SECRETS, "SECRET_KEY": "a secret of the example", "DATABASE": str(database)}
        settings["PRESIGN_BUCKET"] = BUCKET
        if prepare is not None:
            prepare(installed, settings)
        with (
            serve(storage()) as storage_url,
            running(installed, command, storage_url, **settings) as (url, _),
        ):
            yield Application(url=url, database=database, project=page)

    return run


@pytest.mark.parametrize(
    ("extra", "server", "command"),
    [
        ("fastapi", "uvicorn", ["-m", "uvicorn", "fastapi_app:app", "--port", "{port}"]),
        ("flask", "gunicorn", ["-m", "gunicorn", "flask_app:create_app()", "--threads=4", "--bind=127.0.0.1:{port}"]),
    ],
)
def test_the_examples_of_fastapi_and_flask_record_an_upload_and_refuse_strangers(
    run: Run, extra: str, server: str, command: list[str]
) -> None:
    with (
        run(extra, f"{extra}_app.py", command, server) as application,
        application.visitor() as alice,
        application.visitor() as bob,
        application.visitor() as stranger,
    ):
        for visitor, user, password in ((alice, USER, PASSWORD), (bob, "bob", "builder")):
            assert visitor.post("/login", json={"user": user, "password": password}).status_code == 200
        assert application.send("upload", "/files", stranger) == {"code": "unauthenticated"}
        ticket = application.send("store", "/files", alice)
        refused = bob.post("/files/complete", json={"token": ticket["token"]})
        assert (refused.status_code, refused.json()["code"]) == (403, "invalid_token")
        assert application.rows("SELECT * FROM uploads") == []
        stored = application.send("upload", "/files", alice)
        assert (stored["size"], stored["enforced"]["size"]) == (len(PNG), "storage")
        assert application.rows("SELECT key, owner, name FROM uploads") == [(stored["key"], USER, "cat.png")]


def test_the_example_of_django_records_an_upload_and_refuses_strangers(run: Run) -> None:
    def prepare(installed: Installed, settings: dict[str, str]) -> None:
        settings["DJANGO_SUPERUSER_PASSWORD"] = PASSWORD
        create = ["createsuperuser", "--noinput", "--username", USER, "--email", "alice@example.com"]
        for arguments in (["migrate", "--run-syncdb"], create):
            installed.run("manage.py", *arguments, **settings, **KEYS)

    command = ["manage.py", "runserver", "--noreload", "{port}"]
    with (
        run("django", "django_app", command, prepare=prepare) as application,
        application.visitor() as alice,
        application.visitor() as stranger,
    ):
        login = {"username": USER, "password": PASSWORD, "next": "/"}
        page = alice.post("/admin/login/", data={**login, "csrfmiddlewaretoken": _csrf_token(alice)})
        assert page.url.path == "/", page.text
        _csrf_token(stranger)
        assert application.send("store", "/uploads/photos", stranger) == {"code": "unauthenticated"}
        ticket = application.send("store", "/uploads/photos", alice)
        form = {"title": "a cat", "photo": ticket["token"]}
        for visitor, path in ((stranger, "/admin/login/"), (alice, "/")):
            assert application.rows("SELECT * FROM photos_photo") == []
            token = {"csrfmiddlewaretoken": visitor.cookies["csrftoken"]}
            assert visitor.post("/", data={**form, **token}).url.path == path
        assert application.rows("SELECT title, key FROM photos_photo") == [("a cat", ticket["key"])]
        script = alice.get("/static/presign/client/index.js")
        assert (script.status_code, "export" in script.text) == (200, True)


def _csrf_token(visitor: httpx.Client) -> str:
    page = visitor.get("/admin/login/")
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert found, page.text
    return found[1]
