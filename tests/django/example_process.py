"""The Django example as its users run it: a process of its own, on SeaweedFS."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import connect
from urllib.parse import parse_qs, urlsplit

import httpx

from demo_server.storages.run import run_local_storage
from emulators.ports import HOST, free_port
from tests.conftest import read_state
from tests.demo_process import environment

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "examples" / "django_app"
MANAGE = EXAMPLE / "manage.py"
USER = "alice"
PASSWORD = "a password of the tests"
START_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Example:
    """A running example, with one superuser."""

    url: str
    storage_url: str
    database: Path

    def recorded(self) -> list[str]:
        """Return the keys that the application recorded."""
        with closing(connect(self.database)) as database:
            return [key for (key,) in database.execute("SELECT key FROM photos_photo ORDER BY id")]


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/admin/login/").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def running_example(directory: Path, *, has_policy: bool = False) -> Iterator[Example]:
    """Run the example while the block lasts: with ``runserver``, or with wsgiref and a strict policy for its pages."""
    database = directory / "photos.db"
    # The page's origin is not known before the storage has taken its ports.
    with run_local_storage(directory / "storage", origins=["*"], report=print) as storage:
        port = free_port()
        url = f"http://{HOST}:{port}"
        address = urlsplit(storage.environment["PRESIGN_BUCKET"])
        storage_url = parse_qs(address.query)["endpoint_url"][0]
        admin = read_state(directory / "storage")["admin"]
        env = environment(
            directory,
            SECRET_KEY="the secret of the example of Django",
            DATABASE=str(database),
            POLICY=f"default-src 'self'; connect-src 'self' {storage_url}",
            DJANGO_SUPERUSER_PASSWORD=PASSWORD,
            PRESIGN_BUCKET=storage.environment["PRESIGN_BUCKET"],
            # The demo signs and verifies as two users; this application does both as one.
            AWS_ACCESS_KEY_ID=admin["access_key_id"],
            AWS_SECRET_ACCESS_KEY=admin["secret_access_key"],
        )
        create = ["createsuperuser", "--noinput", "--username", USER, "--email", "alice@example.com"]
        for arguments in (["migrate", "--run-syncdb"], create):
            subprocess.run([sys.executable, str(MANAGE), *arguments], env=env, check=True, capture_output=True)
        log_path = directory / "example.log"
        with log_path.open("wb") as log:
            command = [sys.executable, str(MANAGE), "runserver", "--noreload", f"{HOST}:{port}"]
            if has_policy:
                command = [sys.executable, "-m", "tests.django.serve_example", str(port)]
            server = subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=log)
            try:
                end = time.monotonic() + START_SECONDS
                while not _answers(url):
                    assert server.poll() is None, log_path.read_text()
                    assert time.monotonic() < end, log_path.read_text()
                    time.sleep(0.1)
                yield Example(url=url, storage_url=storage_url, database=database)
            finally:
                server.terminate()
                server.wait(20)
        print(log_path.read_text(), file=sys.stderr)
