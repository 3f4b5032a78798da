"""The examples of web applications, on the servers that people use, with a real upload to SeaweedFS."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from emulators.ports import free_port
from presign.http.request_body import MAX_BODY_BYTES
from tests.adapters.unfinished import answer_to_unfinished
from tests.conftest import PNG, Store
from tests.demo_process import environment

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 30.0
COMMANDS = {
    "fastapi_app": ["uvicorn", "examples.fastapi_app:app", "--port"],
    "flask_app": ["gunicorn", "examples.flask_app:create_app()", "--threads=4", "--no-control-socket", "--bind"],
}


@dataclass(frozen=True, kw_only=True)
class Application:
    """A running example."""

    name: str
    url: str
    database: Path

    @contextmanager
    def visitor(self, user: str | None = None, password: str | None = None) -> Iterator[httpx.Client]:
        """Yield a client that keeps cookies, as a browser does."""
        with httpx.Client(base_url=self.url, timeout=30) as client:
            if user is not None:
                assert client.post("/login", json={"user": user, "password": password}).status_code == 200
            yield client

    def records(self) -> list[tuple[str, str, str]]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute("SELECT key, owner, name FROM uploads").fetchall()


@contextmanager
def run_example(name: str, directory: Path, store: Store, *, port: int | None = None) -> Iterator[Application]:
    port = port or free_port()
    settings = {
        **store.environment,
        "PRESIGN_SECRET": "m2Jw8rVt5qYx1Lk7Zc0Bn4Hs",
        "SESSION_SECRET": "Qe7Tb3Xn9Wd1Rf6Uy8Ai2Op5",
        "DATABASE": str(directory / "uploads.db"),
    }
    *command, option = COMMANDS[name]
    log = directory / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", *command, option, str(port) if option == "--port" else f"127.0.0.1:{port}"],
            cwd=ROOT,
            env=environment(directory, **settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(url, server, log)
            yield Application(name=name, url=url, database=directory / "uploads.db")
        finally:
            server.terminate()
            server.wait(STOP_SECONDS)


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module", params=COMMANDS)
def application(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, seaweedfs: Store
) -> Iterator[Application]:
    with run_example(request.param, tmp_path_factory.mktemp(request.param), seaweedfs) as running:
        yield running


def _uploaded(client: httpx.Client, name: str) -> str:
    """Upload as a browser does, and return the token."""
    answer = client.post("/files/upload", json={"type": "image/png", "size": len(PNG), "name": name})
    assert answer.status_code == 200, answer.text
    ticket = answer.json()
    stored = httpx.post(ticket["url"], data=ticket["fields"], files={"file": (name, PNG)})
    assert stored.status_code in {200, 201, 204}, stored.text
    token: str = ticket["token"]
    return token


def test_who_signs_in_uploads_and_the_application_records_it_once(application: Application, seaweedfs: Store) -> None:
    with application.visitor("alice", "wonderland") as alice:
        token = _uploaded(alice, "cat.png")
        first = alice.post("/files/complete", json={"token": token})
        assert first.status_code == 200, first.text
        assert alice.post("/files/complete", json={"token": token}).json() == first.json()
        key = first.json()["key"]
        assert seaweedfs.holds(key)
        assert application.records().count((key, "alice", "cat.png")) == 1
        assert alice.get("/uploads").json().count(key) == 1


def test_a_stranger_is_refused(application: Application) -> None:
    recorded = application.records()
    with application.visitor() as stranger:
        for path in ("/files/upload", "/files/complete"):
            answer = stranger.post(path, json={"type": "image/png"})
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert stranger.get("/uploads").status_code == 401
        for password in ("", "builder", "Wonderland"):
            assert stranger.post("/login", json={"user": "alice", "password": password}).status_code == 401
        assert stranger.post("/login", json={"user": "", "password": ""}).status_code == 401
        assert stranger.post("/files/upload", json={"type": "image/png"}).status_code == 401
    assert application.records() == recorded


def test_another_user_cannot_complete_an_upload(application: Application) -> None:
    with application.visitor("alice", "wonderland") as alice, application.visitor("bob", "builder") as bob:
        token = _uploaded(alice, "dog.png")
        answer = bob.post("/files/complete", json={"token": token})
        assert (answer.status_code, answer.json()["code"]) == (403, "invalid_token")
        assert bob.get("/uploads").json() == []


def test_a_body_without_a_length_is_limited_on_this_server_too(application: Application) -> None:
    with application.visitor("alice", "wonderland") as alice:
        headers = {"Content-Type": "application/json"}
        too_much = iter([b" " * 10_000] * (MAX_BODY_BYTES // 10_000 + 1))
        answer = alice.post("/files/upload", content=too_much, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        body = iter([b'{"type": ', b'"image/png"}'])
        assert alice.post("/files/upload", content=body, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/files/upload", "/files/complete"])
@pytest.mark.parametrize("framing", [{"Content-Length": "100000000"}, {"Transfer-Encoding": "chunked"}], ids=str)
def test_a_stranger_is_refused_before_his_body_comes_on_this_server_too(
    application: Application, path: str, framing: dict[str, str]
) -> None:
    answer = answer_to_unfinished(f"{application.url}{path}", {"Content-Type": "application/json", **framing})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("application", ["fastapi_app"], indirect=True)
def test_an_endpoint_of_the_application_completes_an_upload_by_its_token(application: Application) -> None:
    with application.visitor("alice", "wonderland") as alice, application.visitor("bob", "builder") as bob:
        token = _uploaded(alice, "me.png")
        refused = bob.put("/profile", json={"title": "Me", "avatar": token})
        assert (refused.status_code, refused.json()["detail"]["code"]) == (403, "invalid_token")
        answer = alice.put("/profile", json={"title": "Me", "avatar": token})
        assert answer.status_code == 200, answer.text
        assert answer.json()["title"] == "Me"
        assert (answer.json()["avatar"], "alice", "me.png") in application.records()
