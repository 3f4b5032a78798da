"""The sdist and the wheel hold what they should, and the wheel alone is enough for the extra that was asked for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest

from emulators.ports import free_port
from emulators.s3_bucket import S3Bucket
from emulators.s3_reference import S3Reference
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from tests.conftest import PNG

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "presign"
README = (ROOT / "README.md").read_text()
START_SECONDS = 30.0

# The modules and packages that need an extra. All others need none.
ROOMS = {
    "s3": {"s3"},
    "azure": {"azure"},
    "gcs": {"gcs"},
    "starlette": {"asgi"},
    "fastapi": {"asgi", "fastapi"},
    "flask": {"flask"},
    "django": {"django"},
    "cli": {"cli", "uploading"},
}
# presign.testing is for a test suite, which has pytest. Importing __main__ runs nothing, but shows nothing either.
NEITHER = {"testing", "__main__"}

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAREFERENCE", "AWS_SECRET_ACCESS_KEY": "a secret of the reference"}

IMPORT_ALL = """
import importlib, json, sys
import presign
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(presign.__file__)
"""


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A virtual environment into which the wheel was installed, and an empty folder to work in."""

    directory: Path

    @property
    def programs(self) -> Path:
        return self.directory / ("Scripts" if os.name == "nt" else "bin")

    @property
    def workplace(self) -> Path:
        return self.directory / "workplace"

    def run(self, *arguments: str, **settings: str) -> str:
        """Return what the environment's Python printed."""
        command = [str(self.programs / "python"), *arguments]
        return _output(command, cwd=self.workplace, environment=_environment(**settings))


def _environment(**added: str) -> dict[str, str]:
    """Return this process's environment without what could lead an interpreter to the checkout."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return inherited | added


def _output(command: list[str], *, cwd: Path, environment: Mapping[str, str]) -> str:
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def _install(directory: Path, wheel: Path, extras: str, *more: str) -> Installed:
    """Install into a new environment; ``more`` are further packages and options."""
    installed = Installed(directory=directory)
    uv = [sys.executable, "-m", "uv", "--quiet"]
    _output([*uv, "venv", "--python", sys.executable, str(directory)], cwd=ROOT, environment=_environment())
    python = ["--python", str(installed.programs / "python")]
    wanted = [f"presign-uploads{f'[{extras}]' if extras else ''} @ {wheel.as_uri()}", *more]
    _output([*uv, "pip", "install", *python, *wanted], cwd=directory, environment=_environment())
    installed.workplace.mkdir()
    return installed


def _locked() -> tuple[str, str]:
    """Return the options that install the versions of the lock file, which are in uv's cache already."""
    return "--constraints", str(ROOT / "requirements-dev.lock")


def _modules(*extras: str) -> list[str]:
    """Return every module of the checkout that needs one of these extras, or none."""
    allowed = {room for extra in extras for room in ROOMS[extra]}
    others = {room for rooms in ROOMS.values() for room in rooms} - allowed
    paths = [path.relative_to(PACKAGE).with_suffix("") for path in sorted(PACKAGE.rglob("*.py"))]
    kept = [path for path in paths if path.parts[0] not in others | NEITHER and path.name != "__init__"]
    # Django's modules can be imported only in a program that has Django's settings.
    names = dict.fromkeys("presign.django" if path.parts[0] == "django" else _dotted(path) for path in kept)
    return list(names)


def _dotted(path: Path) -> str:
    return ".".join(("presign", *path.parts))


def _modules_of_the_client() -> set[str]:
    return {path.name for path in (ROOT / "client").glob("*.js")}


def _files_of_the_package() -> set[str]:
    files = {path.relative_to(ROOT) for path in PACKAGE.rglob("*") if path.is_file()}
    return {path.as_posix() for path in files if "__pycache__" not in path.parts}


def _metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


def test_the_sdist_holds_the_package_the_client_and_what_they_are_built_from(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    beside = {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"}
    assert sdist.name.startswith("presign_uploads-")
    client = {f"client/{name}" for name in _modules_of_the_client()}
    assert names == _files_of_the_package() | client | beside


def test_the_wheel_holds_the_package_the_client_for_django_and_the_metadata(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    beside = {name.partition("/")[2] for name in names if ".dist-info/" in name}
    assert wheel.name.startswith("presign_uploads-")
    client = {f"presign/django/static/presign/client/{name}" for name in _modules_of_the_client()}
    assert {name for name in names if ".dist-info/" not in name} == _files_of_the_package() | client
    assert "presign/py.typed" in names
    assert beside == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


def test_the_metadata_names_the_extras_and_no_page_that_does_not_exist(wheel: Path) -> None:
    metadata = _metadata(wheel)
    assert metadata["Name"] == "presign-uploads"
    assert set(metadata.get_all("Provides-Extra", [])) == ROOMS.keys()
    assert metadata.get_all("Project-URL") is None
    assert metadata["Home-page"] is None


def test_every_link_and_picture_of_the_description_leads_somewhere_from_a_package_index(wheel: Path) -> None:
    description = str(_metadata(wheel).get_payload())
    targets = re.findall(r"\]\(([^)]*)\)", description)
    assert "pip install" in description
    assert targets, "the README has links to other sites"
    assert all(target.startswith("https://") for target in targets), targets
    assert "make demo" not in description


def test_without_any_extra_all_other_modules_can_be_imported_and_the_rest_cannot(wheel: Path, tmp_path: Path) -> None:
    installed = _install(tmp_path / "venv", wheel, "", *_locked())
    installed.run("-c", IMPORT_ALL, json.dumps(_modules()))
    for name in ("presign.s3.backend", "presign.azure.backend", "presign.gcs.backend", "presign.asgi", "presign.cli"):
        with pytest.raises(AssertionError, match=r"ModuleNotFoundError: No module named '(?!presign)"):
            installed.run("-c", IMPORT_ALL, json.dumps([name]))


@pytest.mark.parametrize("extra", ROOMS)
def test_an_extra_brings_all_that_its_modules_import(extra: str, wheel: Path, tmp_path: Path) -> None:
    installed = _install(tmp_path / "venv", wheel, extra, *_locked())
    file = installed.run("-c", IMPORT_ALL, json.dumps(_modules(extra)))
    assert installed.directory in Path(file.strip()).parents
    if extra == "cli":
        assert "sweep" in _output(
            [str(installed.programs / "presign"), "--help"], cwd=installed.workplace, environment=_environment()
        )


def test_the_oldest_versions_that_the_extras_allow_are_enough(wheel: Path, tmp_path: Path) -> None:
    # Only versions that have wheels for this interpreter: others would need a compiler.
    oldest = ("--resolution", "lowest-direct", "--only-binary", ":all:")
    installed = _install(tmp_path / "venv", wheel, ",".join(ROOMS), *oldest)
    installed.run("-c", IMPORT_ALL, json.dumps(_modules(*ROOMS)))


def test_the_readmes_examples_run_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    installed = _install(tmp_path / "venv", wheel, "s3,fastapi", "uvicorn", *_locked())
    for name in ("fastapi", "address", "inspect"):
        (installed.workplace / f"{name}_example.py").write_text(_example(name))
    for name in ("address", "inspect"):
        installed.run(f"{name}_example.py", **KEYS)
    storage = S3Reference(
        buckets={"my-bucket": S3Bucket(public_prefix="public/")},
        access_keys={KEYS["AWS_ACCESS_KEY_ID"]: HmacKey(secret=KEYS["AWS_SECRET_ACCESS_KEY"])},
        region="eu-central-1",
    )
    with serve(storage) as storage_url, _running(installed, storage_url) as (url, log):
        refused = httpx.post(f"{url}/files/upload", json={"type": "image/png"})
        assert refused.status_code == 401
        with httpx.Client(base_url=url) as alice:
            assert alice.post("/login", json={"user": "alice"}).status_code == 200
            ticket = _json(alice.post("/files/upload", json={"type": "image/png"}))
            sent = httpx.post(ticket["url"], data=ticket["fields"], files={"file": ("cat.png", PNG)})
            assert sent.status_code == 201, sent.text
            stored = _json(alice.post("/files/complete", json={"token": ticket["token"]}))
        assert (stored["key"], stored["size"]) == (ticket["key"], len(PNG))
        assert f"alice uploaded {ticket['key']}" in log.read_text()


def _json(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def _example(name: str) -> str:
    (example,) = re.findall(rf"<!-- example: {name} -->\n```python\n(.*?)```", README, re.DOTALL)
    return str(example)


@contextmanager
def _running(installed: Installed, storage_url: str) -> Iterator[tuple[str, Path]]:
    """Serve the README's FastAPI example, on a local storage, and give its address and its output."""
    port = free_port()
    log = installed.workplace / "log.txt"
    command = [str(installed.programs / "python"), "-m", "uvicorn", "fastapi_example:app", "--port", str(port)]
    environment = _environment(
        PYTHONUNBUFFERED="1",
        PRESIGN_SECRET="a secret of the example",
        SESSION_SECRET="a secret of the example's sessions",
        AWS_ENDPOINT_URL_S3=storage_url,
        **KEYS,
    )
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=installed.workplace, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while "Uvicorn running on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", log
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)
