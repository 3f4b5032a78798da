"""What the benchmarks of whole uploads share.

They run an empty storage, the API, which has completed one upload before, and a page in Chromium. They measure the CPU
time of all of these processes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import httpx
import psutil
from playwright.sync_api import Page, sync_playwright

from bench.server_processes import RunningServer, cpu_seconds, running
from bench.ticket_servers import Server, uvicorn
from bench.upload_site import API
from demo_server.storages.folder import read_state
from demo_server.storages.local_storage import REGION
from demo_server.storages.run import run_local_storage
from emulators.chromium import launch_chromium

WARM_UP_TYPE = "application/octet-stream"
_OPEN_SECONDS = 900.0
Groups = Mapping[str, Sequence[psutil.Process]]
"""Processes, by the name of what they do together."""


@dataclass(frozen=True, kw_only=True)
class RunningStorage:
    """A running storage: the demo's environment for it, and a client that may do everything."""

    process: psutil.Process
    environment: Mapping[str, str]
    client: Any

    @property
    def url(self) -> str:
        """Where the storage speaks S3."""
        url: str = self.client.meta.endpoint_url
        return url


@contextmanager
def running_storage(directory: Path) -> Iterator[RunningStorage]:
    """Run an empty storage, as soon as everything that earlier uploads wrote is on the disk."""
    os.sync()
    with (
        tempfile.TemporaryDirectory(prefix="storage-", dir=directory) as name,
        run_local_storage(Path(name), origins=["*"], report=lambda line: None) as running,
    ):
        folder, environment = Path(name) / "s3", running.environment
        admin = read_state(folder)["admin"]
        client = boto3.client(
            "s3",
            endpoint_url=parse_qs(urlsplit(environment["PRESIGN_BUCKET"]).query)["endpoint_url"][0],
            region_name=REGION,
            aws_access_key_id=admin["access_key_id"],
            aws_secret_access_key=admin["secret_access_key"],
        )
        process = psutil.Process(int((folder / "weed.pid").read_text()))
        yield RunningStorage(process=process, environment=environment, client=client)


@contextmanager
def running_api(storage: RunningStorage, pages: Path, policy: Mapping[str, str]) -> Iterator[RunningServer]:
    """Run ``bench.upload_site`` with the folder ``pages``; it has completed an upload before the block begins.

    ``policy`` has settings of the demo, and allows ``WARM_UP_TYPE``.
    """
    secret = {"PRESIGN_SECRET": os.urandom(16).hex()}
    site = Server(
        name="presign",
        command=uvicorn("bench.upload_site:create_app", "--factory"),
        environment={**storage.environment, **policy, **secret, "PAGES": str(pages)},
    )
    with running(site) as api:
        _complete_once(api.url)
        yield api


def _complete_once(url: str) -> None:
    """Upload a file of one byte, because a process makes more requests at its first publication."""
    with httpx.Client(base_url=url + API, timeout=60) as client:
        ticket = client.post("/upload", json={"type": WARM_UP_TYPE, "size": 1}).raise_for_status().json()
        files = {"file": ("file.bin", b"-", WARM_UP_TYPE)}
        httpx.post(ticket["url"], data=ticket["fields"], files=files, timeout=60).raise_for_status()
        client.post("/complete", json={"token": ticket["token"]}).raise_for_status()


@contextmanager
def sending_page(
    api: RunningServer, script: str, files: Path | Sequence[Path], *, flags: Sequence[str] = ()
) -> Iterator[Page]:
    """Open the page in Chromium, which gets ``flags``, load a script that defines ``send``, and choose the files."""
    with sync_playwright() as playwright, closing(launch_chromium(playwright, flags=flags)) as browser:
        page = browser.new_page()
        page.set_default_timeout(1000 * _OPEN_SECONDS)
        page.goto(f"{api.url}/page.html")
        page.add_script_tag(url=f"/{script}", type="module")
        page.wait_for_function("() => globalThis.send")
        page.set_input_files("input", files)
        yield page


def browser_processes() -> list[psutil.Process]:
    """Return the processes of the browser that this process has started."""
    found = []
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "chrom" in each.name():
                found.append(each)
    return found


def cpu_seconds_by_group(groups: Groups) -> dict[str, float]:
    """Return the CPU time in seconds that each group of processes has used."""
    return {who: sum(map(cpu_seconds, processes)) for who, processes in groups.items()}


@contextmanager
def cpu_seconds_used(find: Callable[[], Groups]) -> Iterator[dict[str, float]]:
    """Yield a mapping that gets, at the end of the block, the CPU time in seconds that each group used in it."""
    before = cpu_seconds_by_group(find())
    used: dict[str, float] = {}
    yield used
    used.update({who: seconds - before[who] for who, seconds in cpu_seconds_by_group(find()).items()})


def same_machine() -> str:
    """Return what a benchmark's conditions say about the machine, when the benchmark ends."""
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    return (
        "client, API and storage on the same machine, whose load average over 1, 5 and 15 minutes was "
        f"{load} at the end."
    )
