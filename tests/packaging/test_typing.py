"""An application with types passes mypy's strict checks with the wheel, which has the marker and the types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.packaging.environments import environment, install_wheel, locked
from tests.packaging.test_distributions import readme_example

APPLICATION = """
from collections.abc import Sequence
from datetime import timedelta

from flask import Flask, Request

from presign import (
    Accept, Completion, InspectedObject, NotYet, Presigner, PresignError, Reject, Rule, StoredObject, Ticket,
    UploadOptions, UploadPolicy, UploadRequest, open_backend,
)
from presign.flask import create_blueprint
from presign.testing import MemoryBackend


def inspect(uploaded: InspectedObject) -> Accept | Reject | NotYet:
    with uploaded.open() as file:
        return Accept() if file.read(4) else Reject("it is empty")


async def record(completion: Completion) -> None:
    print(completion.owner, completion.stored.key, completion.name)


secrets: Sequence[str] = ["an old secret of the types", "a new secret of the types"]
policy = UploadPolicy(
    content_types={"image/png"}, max_bytes=1000, prefix="public/", require_at_storage={Rule.SIZE}
)
backend = MemoryBackend()
presigner = Presigner(backend=backend, policy=policy, secret=secrets, inspect=inspect, on_complete=record)
ticket: Ticket = presigner.issue(
    UploadRequest(content_type="image/png", size=4), owner="ada", options=UploadOptions(prefix="public/ada/")
)
answer: bytes = ticket.to_json()
backend.upload(ticket, b"\\x89PNG")
stored: StoredObject = presigner.complete(ticket.token, owner="ada")
etag: str = stored.etag
link: str = presigner.sign_download(stored.key, expires_in=timedelta(minutes=5))
deleted: int = presigner.sweep().deleted


def explain(error: PresignError) -> tuple[str, str | None, str | int | None]:
    return error.code, error.field, error.value


def current_user(request: Request) -> str | None:
    return request.headers.get("x-user")


app = Flask(__name__)
app.register_blueprint(create_blueprint([presigner], authorize=current_user), url_prefix="/files")
"""

WRONG = """
from presign import Presigner, UploadPolicy
from presign.testing import MemoryBackend



def record() -> None:
    pass


policy = UploadPolicy(content_types={"image/png"}, max_bytes="1000", prefix="public/")
Presigner(backend=MemoryBackend(), policy=policy, secret=3, on_complete=record)
"""


def test_an_application_with_types_passes_strict_checks_and_a_wrong_one_does_not(wheel: Path, tmp_path: Path) -> None:
    installed = install_wheel(tmp_path / "venv", wheel, "s3,fastapi,flask", *locked())
    for name, text in (("application", APPLICATION), ("readme", readme_example("fastapi")), ("wrong", WRONG)):
        (installed.workplace / f"{name}.py").write_text(text)
    found = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--no-incremental", "--cache-dir"),
            *(str(tmp_path / "cache"), "--python-executable", str(installed.programs / "python")),
            *("application.py", "readme.py", "wrong.py"),
        ],
        cwd=installed.workplace,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in found.stdout.splitlines() if ": error: " in line]
    assert [(line.partition(":")[0], line.rpartition("[")[2]) for line in errors] == [
        ("wrong.py", "arg-type]"),
        ("wrong.py", "arg-type]"),
        ("wrong.py", "arg-type]"),
    ], found.stdout + found.stderr
