"""The tutorial's own files and commands, from the wheel alone in an empty folder, through an upload in Chromium."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from playwright.sync_api import Browser, Page, expect

from emulators.ports import GRPC_OFFSET, free_port
from emulators.processes import ServerProcess
from tests.browser.conftest import chromium, png  # noqa: F401  (fixtures)
from tests.packaging.environments import Installed, environment, install_wheel, locked

pytestmark = pytest.mark.browser

TUTORIAL = (Path(__file__).resolve().parents[2] / "docs" / "tutorial.md").read_text()
BLOCKS = {
    name: re.sub(r"^ {3}", "", text, flags=re.MULTILINE) if indent else text
    for name, indent, text in re.findall(
        r"<!-- tutorial: (\S+) -->\n( *)```[a-z]+\n(.*?)```", TUTORIAL, re.DOTALL | re.MULTILINE
    )
}
START_SECONDS = 60
STORAGE_PORT, APPLICATION_PORT = "8333", "8000"


def _installed_as_the_tutorial_says(directory: Path, wheel: Path) -> Installed:
    pip, command, distribution, *others = shlex.split(BLOCKS["install"])
    assert (pip, command) == ("pip", "install")
    extras = re.fullmatch(r"presign-uploads\[(.*)\]", distribution)
    assert extras, distribution
    installed = install_wheel(directory, wheel, extras[1], *others, *locked())
    # The tutorial makes it in its own folder.
    (installed.workplace / ".venv").symlink_to(installed.directory)
    return installed


def _on_free_ports(text: str, ports: dict[str, str]) -> str:
    for fixed, free in ports.items():
        text = text.replace(fixed, free)
    return text


@contextmanager
def _terminal(name: str, command: str, installed: Installed, *, ready: str, leaves: list[Path]) -> Iterator[Path]:
    """Run a block of the tutorial as in a terminal, until it says that it is ready; yield what it prints."""
    settings = environment(
        PATH=f"{installed.programs}:{environment()['PATH']}",
        PYTHONUNBUFFERED="1",
        HOME=str(installed.workplace),
        TMPDIR=str(installed.workplace),
    )
    process = ServerProcess(
        ["sh", "-e", "-c", command],
        name=name,
        directory=installed.workplace,
        environment=settings,
        log_name=f"{name}.log",
        leaves=leaves,
        grace_seconds=10,
    )
    try:
        process.wait_until(lambda: ready in process.log, seconds=START_SECONDS)
        assert process.log_path
        yield process.log_path
    finally:
        process.stop()


@contextmanager
def _storage(installed: Installed, ports: dict[str, str]) -> Iterator[None]:
    # Beside the tutorial's own options, each of its servers gets a free port.
    servers = {"master": free_port(), "volume": free_port(), "filer": free_port(), "s3": int(ports[STORAGE_PORT])}
    options = [f"-{server}.port={port}" for server, port in servers.items()]
    options += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", f"-admin.port={free_port()}"]
    command = BLOCKS["storage"].replace("weed mini", f"exec weed mini {' '.join(options)}")
    sockets = [Path(f"/tmp/seaweedfs-{name}-grpc-{port + GRPC_OFFSET}.sock") for name, port in servers.items()]
    sockets += [Path(f"/tmp/seaweedfs-{name}-{port}.sock") for name, port in servers.items()]
    ready = "All enabled components are running"
    assert ready in TUTORIAL
    with _terminal("storage", command, installed, ready=ready, leaves=sockets):
        yield


def _choose(page: Page, file: Path, message: str) -> None:
    page.set_input_files("#file", file)
    expect(page.locator("#message")).to_contain_text(message)


def test_the_tutorial_ends_with_a_verified_upload(
    wheel: Path,
    tmp_path: Path,
    chromium: Browser,  # noqa: F811
    png: Path,  # noqa: F811
) -> None:
    installed = _installed_as_the_tutorial_says(tmp_path / "venv", wheel)
    ports = {fixed: str(free_port()) for fixed in (STORAGE_PORT, APPLICATION_PORT)}
    folder = installed.workplace
    for name in ("app.py", "page.html"):
        (folder / name).write_text(_on_free_ports(BLOCKS[name], ports))
    subprocess.run(["sh", "-c", BLOCKS["fake"]], cwd=folder, check=True)
    run = _on_free_ports(BLOCKS["run"], ports)
    with (
        _storage(installed, ports),
        _terminal("application", run, installed, ready="Uvicorn running on", leaves=[]) as log,
    ):
        page = chromium.new_page()
        page.goto(f"http://localhost:{ports[APPLICATION_PORT]}")
        _choose(page, png, "unauthenticated")
        page.click("#sign-in")
        expect(page.locator("#message")).to_contain_text("signed in")
        _choose(page, png, "Verified and stored: photos/")
        expect(page.locator("#photos img")).to_have_js_property("naturalWidth", 256)
        _choose(page, folder / "fake.png", "rule_violated")
        page.close()
        (recorded,) = re.findall(r"^ada uploaded (photos/\S+)$", log.read_text(), re.MULTILINE)
        assert _keys(f"http://localhost:{ports[STORAGE_PORT]}") == [recorded]


def _keys(endpoint_url: str) -> list[str]:
    """Return every key in the bucket, with the access key that the tutorial gives to the storage."""
    values = dict(re.findall(r"(AWS_\w+)=(\S+)", BLOCKS["storage"]))
    client = boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
    )
    return [entry["Key"] for entry in client.list_objects_v2(Bucket="my-bucket")["Contents"]]
