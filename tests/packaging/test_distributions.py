"""The sdist and the wheel hold what they should, and the wheel alone is enough for the extra that was asked for."""

from __future__ import annotations

import json
import re
import tarfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from emulators.serving import serve
from tests.conftest import PNG
from tests.packaging.environments import KEYS, SECRETS, environment, install_wheel, locked, output, running, storage

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "presign"
README = (ROOT / "README.md").read_text()

# The modules and packages that need an extra. All others need none.
ROOMS = {
    "s3": {"s3"},
    "azure": {"azure"},
    "gcs": {"gcs"},
    "starlette": {"asgi"},
    "fastapi": {"asgi", "fastapi"},
    "flask": {"flask"},
    "django": {"django"},
    "uvicorn": {"uvicorn"},
    "cli": {"cli", "doctor", "uploading"},
}
# Importing __main__ runs nothing, but shows nothing either.
NEITHER = {"__main__"}

# Requirements that have one wheel for every interpreter, so that their oldest version can be installed everywhere.
PURE_PYTHON = {"boto3", "fastapi", "flask", "starlette"}

IMPORT_ALL = """
import importlib, json, sys
import presign
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(presign.__file__)
"""


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
    installed = install_wheel(tmp_path / "venv", wheel, "", *locked())
    installed.run("-c", IMPORT_ALL, json.dumps(_modules()))
    for name in ("presign.s3.backend", "presign.azure.backend", "presign.gcs.backend", "presign.asgi", "presign.cli"):
        with pytest.raises(AssertionError, match=r"ModuleNotFoundError: No module named '(?!presign)"):
            installed.run("-c", IMPORT_ALL, json.dumps([name]))


@pytest.mark.parametrize("extra", ROOMS)
def test_an_extra_brings_all_that_its_modules_import(extra: str, wheel: Path, tmp_path: Path) -> None:
    installed = install_wheel(tmp_path / "venv", wheel, extra, *locked())
    # What will be an error in a later Python is one here.
    file = installed.run("-W", "error::DeprecationWarning", "-c", IMPORT_ALL, json.dumps(_modules(extra)))
    assert installed.directory in Path(file.strip()).parents
    if extra == "cli":
        command = str(installed.programs / "presign")
        said = [
            output([command, option], cwd=installed.workplace, environment=environment())
            for option in ("--help", "--version")
        ]
        assert "sweep   Delete what nobody completed.\n" in said[0]
        assert said[1] == f"presign-uploads {_metadata(wheel)['Version']}\n"


def _oldest(wheel: Path, *extras: str) -> tuple[str, ...]:
    """Return what uv needs to install the oldest versions that these extras allow.

    To uv, the requirements of the wheel are indirect ones, whose newest versions it takes. So they are given directly.
    """
    wanted = [Requirement(text) for text in _metadata(wheel).get_all("Requires-Dist", [])]
    contexts = [{"extra": extra} for extra in ("", *extras)]
    chosen = [each for each in wanted if each.marker is None or any(map(each.marker.evaluate, contexts))]
    # Only versions that have wheels for this interpreter: others would need a compiler.
    options = ("--resolution", "lowest-direct", "--only-binary", ":all:")
    return (*options, *(f"{each.name}{each.specifier}" for each in chosen))


def test_the_oldest_versions_that_the_extras_allow_are_enough(wheel: Path, tmp_path: Path) -> None:
    installed = install_wheel(tmp_path / "venv", wheel, ",".join(ROOMS), *_oldest(wheel, *ROOMS))
    installed.run("-c", IMPORT_ALL, json.dumps(_modules(*ROOMS)))
    requirements = [Requirement(text) for text in _metadata(wheel).get_all("Requires-Dist", [])]
    oldest = {each.name: next(iter(each.specifier)).version for each in requirements if each.name in PURE_PYTHON}
    assert oldest.keys() == PURE_PYTHON
    for name, version in oldest.items():
        found = installed.run("-c", f"from importlib.metadata import version; print(version({name!r}))")
        assert Version(found.strip()) == Version(version)


@pytest.mark.parametrize("versions", ["locked", "oldest"])
def test_the_readmes_examples_run_from_the_wheel_alone(wheel: Path, tmp_path: Path, versions: str) -> None:
    extras = ("s3", "fastapi", "uvicorn")
    options = locked() if versions == "locked" else _oldest(wheel, *extras)
    installed = install_wheel(tmp_path / "venv", wheel, ",".join(extras), *options)
    for name in ("fastapi", "address", "inspect"):
        (installed.workplace / f"{name}_example.py").write_text(readme_example(name))
    for name in ("address", "inspect"):
        installed.run(f"{name}_example.py", **KEYS)
    command = ["-m", "uvicorn", "fastapi_example:app", "--port", "{port}"]
    with serve(storage()) as storage_url, running(installed, command, storage_url, **SECRETS) as (url, log):
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


def readme_example(name: str) -> str:
    (example,) = re.findall(rf"<!-- example: {name} -->\n```python\n(.*?)```", README, re.DOTALL)
    return str(example)
