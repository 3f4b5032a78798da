"""Calculate what uploads cost: their requests, the price of these, and CPU time; and how many a storage takes.

The CPU times come from ``bench/results``. docs/scale.md names the sources of the prices and of the storages' limits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.complete import CASES, CPU
from bench.parts import PARTS
from bench.parts import case_name as parts_case_name
from bench.results import DIRECTORY, Report
from bench.serve import CPU as CPU_PER_REQUEST
from bench.serve import case_name
from bench.ticket_servers import PRESIGN
from bench.wrk import RATE

HOUR_SECONDS = 3600
THREADS = 20
"""``max_threads`` of every adapter on an event loop (presign.http.async_endpoints.MAX_THREADS)."""

PLANNED_SHARE = 0.7
"""How much of a limit is planned for. Above it, a queue grows fast (see the table of waiting times)."""

WORKERS_OF_A_MACHINE = 8

PART_BYTES = 8 * 2**20
LARGE_FILE_BYTES = 2**30
_LISTED_AT_ONCE = 1000
_DOUBLING_MINUTES = 20


@dataclass(frozen=True, kw_only=True)
class Requests:
    """How many requests the storage gets: those that write, read, list and delete. A list has the price of a write."""

    writes: int
    reads: int
    lists: int = 0
    deletes: int = 0

    @property
    def counted_as_writes(self) -> int:
        """S3 and Google count a deletion as a write in their limits, though not in their prices."""
        return self.writes + self.deletes

    @property
    def all(self) -> int:
        """All of them."""
        return self.writes + self.reads + self.lists + self.deletes

    def __add__(self, other: Requests) -> Requests:
        return Requests(
            writes=self.writes + other.writes,
            reads=self.reads + other.reads,
            lists=self.lists + other.lists,
            deletes=self.deletes + other.deletes,
        )

    def __str__(self) -> str:
        named = [(self.writes, "write"), (self.reads, "read"), (self.lists, "list"), (self.deletes, "delete")]
        return ", ".join(f"{count:,} {name}{'s' if count > 1 else ''}" for count, name in named if count)


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """A storage. Prices are US dollars for a thousand requests; deletions are free on all three.

    ``completion`` and ``in_place`` are what the server sends to complete one upload, with and without publishing. What
    the browser sends is one write more. Limits are requests per second; ``limit_of`` says what they belong to, and None
    means that there is no such limit. ``parts_are_blocks``: an upload in parts has no begin, and its list is a read.
    """

    name: str
    completion: Requests
    in_place: Requests
    write_price: float
    read_price: float
    limit_of: str
    write_limit: int | None = None
    read_limit: int | None = None
    all_limit: int | None = None
    parts_are_blocks: bool = False

    def requests_of_an_upload(self, *, published: bool) -> Requests:
        """Return the requests of browser and server together, for a file that comes in one request."""
        return self.done(published=published) + Requests(writes=1, reads=0)

    def requests_of_parts(self, size: int, *, published: bool) -> Requests:
        """Return the same for a file in parts: begin, one for each part, list, commit; then as for any other."""
        count = math.ceil(size / PART_BYTES)
        # Azure lists all blocks at once, as a read.
        lists = 0 if self.parts_are_blocks else math.ceil(count / _LISTED_AT_ONCE)
        begin_and_commit = 1 if self.parts_are_blocks else 2
        parts = Requests(writes=count + begin_and_commit, reads=1 if self.parts_are_blocks else 0, lists=lists)
        return self.done(published=published) + parts

    def done(self, *, published: bool) -> Requests:
        """Return the requests of one completion."""
        return self.completion if published else self.in_place

    def price(self, requests: Requests) -> float:
        """Return the price of the requests in US dollars."""
        return ((requests.writes + requests.lists) * self.write_price + requests.reads * self.read_price) / 1000

    def uploads_per_second(self, *, published: bool) -> float:
        """Return how many uploads in one request reach the first of the limits."""
        return self.times_per_second(self.requests_of_an_upload(published=published))

    def times_per_second(self, requests: Requests) -> float:
        """Return how often in a second these requests, all of them, reach the first of the limits."""
        limits = (
            (self.write_limit, requests.counted_as_writes),
            (self.read_limit, requests.reads + requests.lists),
            (self.all_limit, requests.all),
        )
        return min(limit / used for limit, used in limits if limit is not None and used)


S3 = Cloud(
    name="S3",
    # GET of the first bytes, which also describes the object; COPY; DELETE of the pending object.
    completion=Requests(writes=1, reads=1, deletes=1),
    in_place=Requests(writes=0, reads=1),
    write_price=0.005,
    read_price=0.0004,
    limit_of="one partition of one bucket's keys",
    write_limit=3500,
    read_limit=5500,
)
AZURE = Cloud(
    name="Azure",
    # Get Blob Properties, a list that shows snapshots and the access tier, Get Blob of the first bytes, Put Blob From
    # URL, Delete Blob.
    completion=Requests(writes=1, reads=1, lists=1, deletes=1),
    in_place=Requests(writes=0, reads=1, lists=1),
    write_price=0.0055,
    read_price=0.00044,
    limit_of="one storage account",
    all_limit=20_000,
    parts_are_blocks=True,
)
GOOGLE = Cloud(
    name="Google",
    # objects.get of the description and of the first bytes, objects.rewrite, objects.delete.
    completion=Requests(writes=1, reads=2, deletes=1),
    in_place=Requests(writes=0, reads=2),
    write_price=0.005,
    read_price=0.0004,
    limit_of="one bucket, before it has grown",
    write_limit=1000,
    read_limit=5000,
)
CLOUDS = (S3, AZURE, GOOGLE)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """CPU seconds of one worker, and where each figure comes from.

    ``completion`` and ``in_place`` are by cloud. ``large_file`` is one of LARGE_FILE_BYTES, in parts, all of it.
    """

    ticket: float
    tickets_per_second: float
    completion: Mapping[str, float]
    in_place: Mapping[str, float]
    large_file: float
    sources: Mapping[str, str]


def read_costs(directory: Path = DIRECTORY) -> Costs:
    """Return the costs that the results in ``directory`` show.

    Completions were measured with publishing. Without it, they take the same time for each of their requests.
    """
    serve, parts, complete = (Report.read(name, directory) for name in ("serve", "parts", "complete"))
    one_worker = serve.result(case_name(1), PRESIGN.name)
    large_file = parts.result(parts_case_name(LARGE_FILE_BYTES // 2**20, is_long=False), PARTS)
    measured = {
        cloud: complete.result(case, PRESIGN.name).median(CPU)
        for cloud, case in zip(CLOUDS, CASES.values(), strict=True)
    }
    return Costs(
        ticket=one_worker.median(CPU_PER_REQUEST),
        tickets_per_second=one_worker.median(RATE),
        completion={cloud.name: seconds for cloud, seconds in measured.items()},
        in_place={
            cloud.name: seconds * cloud.in_place.all / cloud.completion.all for cloud, seconds in measured.items()
        },
        large_file=large_file.median("api_cpu_seconds"),
        sources={
            "ticket": "measured: bench/results/serve.json, 1 worker",
            "completion": "with publishing measured: bench/results/complete.json; without it calculated from that",
            "large_file": "measured: bench/results/parts.json, 1,024 MiB in parts of 8 MiB",
        },
    )


def completions_per_second(cpu_seconds: float, latency_seconds: float, *, threads: int) -> float:
    """Return how many completions one worker does in a second if its core or all of its threads are always busy.

    ``latency_seconds`` is how long the storage's answers to one completion take together. A thread waits for them, and
    then for the core.
    """
    return min(1 / cpu_seconds, threads / (latency_seconds + cpu_seconds))


def cores(uploads_per_hour: float, ticket_seconds: float, completion_seconds: float) -> float:
    """Return how many cores are busy with these uploads."""
    return uploads_per_hour * (ticket_seconds + completion_seconds) / HOUR_SECONDS


def minutes_to_grow(uploads_per_second: float, cloud: Cloud, *, published: bool) -> float:
    """Return in how many minutes the storage takes this rate, if its limit doubles every 20 minutes."""
    start = cloud.uploads_per_second(published=published)
    return max(0.0, _DOUBLING_MINUTES * math.log2(uploads_per_second / start))
