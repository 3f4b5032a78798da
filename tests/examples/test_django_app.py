"""The Django example over HTTP, with runserver and SeaweedFS."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import PNG
from tests.demo_process import environment
from tests.django.example_process import EXAMPLE, MANAGE, PASSWORD, USER, Example, running_example


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    with running_example(tmp_path_factory.mktemp("django")) as example:
        yield example


def _csrf_token(page: httpx.Response) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert found, page.text
    return found[1]


@pytest.fixture
def client(example: Example) -> Iterator[httpx.Client]:
    """A client that is signed in, as a browser."""
    with httpx.Client(base_url=example.url, follow_redirects=True) as client:
        token = _csrf_token(client.get("/admin/login/"))
        form = {"csrfmiddlewaretoken": token, "username": USER, "password": PASSWORD, "next": "/"}
        page = client.post("/admin/login/", data=form)
        assert page.url.path == "/", page.text
        client.headers["X-CSRFToken"] = _csrf_token(page)
        yield client


def _upload(client: httpx.Client) -> Any:
    answer = client.post("/uploads/photos/upload", json={"type": "image/png", "size": len(PNG)})
    assert answer.status_code == 200, answer.text
    ticket = answer.json()
    assert httpx.post(ticket["url"], data=ticket["fields"], files={"file": PNG}).status_code in {200, 201, 204}
    return ticket


def test_a_photo_is_uploaded_completed_and_recorded_once(client: httpx.Client, example: Example) -> None:
    ticket = _upload(client)
    completed = client.post("/uploads/photos/complete", json={"token": ticket["token"]})
    assert (completed.status_code, completed.json()["key"]) == (200, ticket["key"])
    form = {"title": "a cat", "photo": ticket["token"]}
    assert client.post("/", data=form).text == f"saved as {ticket['key']}"
    assert example.recorded().count(ticket["key"]) == 1


def test_the_form_alone_completes_as_well(client: httpx.Client, example: Example) -> None:
    ticket = _upload(client)
    assert client.post("/", data={"title": "a cat", "photo": ticket["token"]}).text == f"saved as {ticket['key']}"
    assert ticket["key"] in example.recorded()


def test_a_stranger_gets_no_ticket_and_cannot_use_one(client: httpx.Client, example: Example) -> None:
    ticket = _upload(client)
    for path, body in (("upload", {"type": "image/png"}), ("complete", {"token": ticket["token"]})):
        answer = httpx.post(f"{example.url}/uploads/photos/{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


def test_a_request_without_the_csrf_token_is_refused(client: httpx.Client) -> None:
    del client.headers["X-CSRFToken"]
    answer = client.post("/uploads/photos/upload", json={"type": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_a_body_that_is_too_large_is_a_problem_with_this_server_too(client: httpx.Client) -> None:
    answer = client.post("/uploads/photos/upload", json={"type": "x" * 100_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_the_examples_own_tests_need_no_network_and_no_credentials(tmp_path: Path) -> None:
    settings = {
        "SECRET_KEY": "a secret",
        "DATABASE": str(tmp_path / "unused.db"),
        "PRESIGN_BUCKET": "s3://bucket/photos/",
    }
    # Whoever used a network would ask this proxy, at a port where nothing listens.
    env = {**environment(tmp_path, **settings), "HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
    command = [sys.executable, str(MANAGE), "test"]
    result = subprocess.run(command, cwd=EXAMPLE, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Ran 2 tests" in result.stderr
