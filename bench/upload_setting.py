"""What the benchmarks of whole uploads share: an empty storage, a warm server, and the CPU time of all processes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import httpx
import psutil

from bench.server_processes import cpu_seconds
from bench.upload_site import API
from demo_server.storages.folder import read_state
from demo_server.storages.local_storage import REGION
from demo_server.storages.run import run_local_storage


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


def complete_once(url: str, media_type: str) -> None:
    """Upload a file of one byte, because a process makes more requests at its first publication."""
    with httpx.Client(base_url=url + API, timeout=60) as client:
        ticket = client.post("/upload", json={"type": media_type, "size": 1}).raise_for_status().json()
        files = {"file": ("file.bin", b"-", media_type)}
        httpx.post(ticket["url"], data=ticket["fields"], files=files, timeout=60).raise_for_status()
        client.post("/complete", json={"token": ticket["token"]}).raise_for_status()


def browser_processes() -> list[psutil.Process]:
    """Return the processes of the browser that this process has started."""
    started = psutil.Process().children(recursive=True)
    return [each for each in started if "chrom" in each.name()]


@contextmanager
def cpu_seconds_used(**processes: Callable[[], Sequence[psutil.Process]]) -> Iterator[dict[str, float]]:
    """Yield a mapping that gets, at the end of the block, the CPU time in seconds that the processes used in it."""
    before = {who: sum(map(cpu_seconds, found())) for who, found in processes.items()}
    used: dict[str, float] = {}
    yield used
    used.update({who: sum(map(cpu_seconds, found())) - before[who] for who, found in processes.items()})
