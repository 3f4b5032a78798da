"""Calculate and simulate what uploads cost on one machine and on many: ``python -m bench.scale``.

The command prints the tables of docs/scale.md, from the costs in bench/results and the limits and prices in
``scale_model``. With ``--write``, it writes them there. A test holds the page to them.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.results import number, say, table
from bench.scale_model import (
    CLOUDS,
    GOOGLE,
    HOUR_SECONDS,
    LARGE_FILE_BYTES,
    PART_BYTES,
    PLANNED_SHARE,
    S3,
    THREADS,
    WORKERS_OF_A_MACHINE,
    Cloud,
    Costs,
    completions_per_second,
    cores,
    minutes_to_grow,
    read_costs,
)
from bench.scale_simulation import Latency, Slowness, Worker, simulate_partitions, simulate_worker

PAGE = Path(__file__).resolve().parent.parent / "docs" / "scale.md"
UPLOADS = 1_000_000
LATENCY = Latency(median=0.1, p99=0.4)
"""Assumed, not measured: Amazon names 100 to 200 ms for small objects."""

MORE_THREADS = 64
_SPLIT_SECONDS = 45 * 60
_MACHINES = 100
_SIMULATED_SECONDS = 200
_SLOWNESS = Slowness(start=60, end=120, factor=10)
_GIB = 2**30


def tables() -> dict[str, str]:
    """Return each table of docs/scale.md in Markdown, by its name."""
    costs = read_costs()
    return {name: make(costs) for name, make in _TABLES.items()}


def page_with(content: str, replaced: dict[str, str]) -> str:
    """Return the page with these tables in the places of its own; raises KeyError if it has no place for one."""
    for name, text in replaced.items():
        block = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end of table -->)", re.DOTALL)
        if not block.search(content):
            raise KeyError(f"docs/scale.md has no table {name!r}")
        content = block.sub(lambda found, text=text: f"{found[1]}\n{text}\n\n{found[2]}", content)  # type: ignore[misc]
    return content


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, or write them to the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the tables to docs/scale.md")
    options = parser.parse_args(arguments)
    made = tables()
    for name, text in made.items():
        say(f"{name}:\n\n{text}\n")
    if options.write:
        PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
    return 0


def _worker(costs: Costs, cloud: Cloud = S3, *, published: bool = True, threads: int = THREADS) -> Worker:
    return Worker(
        ticket_seconds=costs.ticket,
        completion_seconds=(costs.completion if published else costs.in_place)[cloud.name],
        requests=cloud.done(published=published).all,
        latency=LATENCY,
        threads=threads,
    )


def _most(worker: Worker) -> float:
    """Return the completions per second at which the worker's core or its threads are always busy."""
    cpu = worker.completion_seconds
    return completions_per_second(cpu, worker.requests * worker.latency.mean, threads=worker.threads)


def _inputs(costs: Costs) -> str:
    rows = [("a ticket, over HTTP", f"{number(costs.ticket * 1e6)} µs of CPU", costs.sources["ticket"])]
    for cloud in CLOUDS:
        times = [number(each[cloud.name] * 1e3) for each in (costs.completion, costs.in_place)]
        rows.append(
            (
                f"a completion on {cloud.name}",
                f"{times[0]} ms of CPU with publishing, {times[1]} without",
                costs.sources["completion"],
            )
        )
    large = f"{number(costs.large_file * 1e3)} ms of CPU"
    rows.append(("a file of 1 GiB in parts, all of it", large, costs.sources["large_file"]))
    latency = f"{LATENCY.median * 1e3:.0f} ms in the median, {LATENCY.p99 * 1e3:.0f} ms in the 99th percentile"
    rows.append(("an answer of the storage", latency, "assumed"))
    rows.append(("a worker", f"1 core, {THREADS} threads for completions", "the adapters' default"))
    return table(("what", "value", "where it comes from"), rows)


def _capacity(costs: Costs) -> str:
    ways = [_worker(costs), _worker(costs, threads=MORE_THREADS), _worker(costs, published=False)]
    rates = [costs.tickets_per_second, *map(_most, ways), 1 / costs.large_file]
    names = ("one worker", f"one machine, {WORKERS_OF_A_MACHINE} workers", f"{_MACHINES} machines")
    rows = [
        (name, *(_rate(rate * workers * PLANNED_SHARE) for rate in rates))
        for name, workers in zip(names, (1, WORKERS_OF_A_MACHINE, WORKERS_OF_A_MACHINE * _MACHINES), strict=True)
    ]
    headings = (
        "",
        "tickets/s",
        f"completions/s with publishing, {THREADS} threads",
        f"the same, {MORE_THREADS} threads",
        f"completions/s without publishing, {THREADS} threads",
        "files of 1 GiB in parts/s",
    )
    return table(headings, rows)


def _million(costs: Costs) -> str:
    rows = []
    for cloud in CLOUDS:
        for published in (True, False):
            each = cloud.requests_of_an_upload(published=published)
            worker = _worker(costs, cloud, published=published)
            workers = UPLOADS / HOUR_SECONDS / PLANNED_SHARE / _most(worker)
            rows.append(
                (
                    f"{cloud.name}, {'published' if published else 'in place'}",
                    str(each),
                    f"{cloud.price(each) * UPLOADS:,.2f}",
                    number(cores(UPLOADS, worker.ticket_seconds, worker.completion_seconds)),
                    f"{max(1, math.ceil(workers))}",
                    f"{UPLOADS / HOUR_SECONDS / cloud.uploads_per_second(published=published):.0%}",
                )
            )
    headings = (
        "",
        "requests for each upload",
        "US$ for a million",
        "cores that are busy",
        f"workers with {THREADS} threads",
        "share of the storage's first limit",
    )
    return table(headings, rows)


def _large(costs: Costs) -> str:
    files = 1000
    rows = []
    for cloud in CLOUDS:
        whole = cloud.requests_of_an_upload(published=True)
        parts = cloud.requests_of_parts(LARGE_FILE_BYTES, published=True)
        rows.append(
            (
                cloud.name,
                f"{whole.all:,}",
                f"{parts.all:,}",
                f"{cloud.price(whole) * files:,.3f}",
                f"{cloud.price(parts) * files:,.2f}",
            )
        )
    headings = (
        f"a file of {LARGE_FILE_BYTES // _GIB} GiB, published",
        "requests in one piece",
        f"requests in parts of {PART_BYTES // 2**20} MiB",
        f"US$ for {files:,} files in one piece",
        f"US$ for {files:,} files in parts",
    )
    return table(headings, rows)


def _limits(costs: Costs) -> str:
    worker = _worker(costs)
    found: list[tuple[float, str, str]] = [
        (_most(worker), f"the {THREADS} threads of one worker", f"`max_threads={MORE_THREADS}`, or more workers"),
        (1 / (worker.ticket_seconds + worker.completion_seconds), "the core of one worker (S3)", "more workers"),
    ]
    remedies = {
        "S3": "time: S3 splits the keys; a second bucket",
        "Azure": "a request to Azure's support; a second account",
        "Google": "time: it doubles in 20 minutes; a second bucket",
    }
    found += [
        (cloud.uploads_per_second(published=True), f"{cloud.name}: {cloud.limit_of}", remedies[cloud.name])
        for cloud in CLOUDS
    ]
    found.append(
        (
            S3.times_per_second(S3.requests_of_parts(LARGE_FILE_BYTES, published=True)),
            f"S3: {S3.limit_of}, with files of 1 GiB in parts",
            "larger parts (`part_bytes`); time",
        )
    )
    machine = f"the threads of a machine with {WORKERS_OF_A_MACHINE} workers"
    found.append((_most(worker) * WORKERS_OF_A_MACHINE, machine, "more machines"))
    rows = [(_rate(rate), what, remedy) for rate, what, remedy in sorted(found)]
    return table(("uploads/s", "what is full, with publishing", "what helps"), rows)


def _waiting(costs: Costs) -> str:
    rows = []
    for threads in (THREADS, MORE_THREADS):
        worker = _worker(costs, threads=threads)
        for share in (0.5, PLANNED_SHARE, 0.9, 0.98):
            rate = _most(worker) * share
            outcome = simulate_worker(worker, uploads_per_second=rate, seconds=_SIMULATED_SECONDS)
            rows.append(
                (
                    f"{threads}",
                    f"{share:.0%}",
                    number(rate),
                    number(outcome.percentile(0.5) * 1e3),
                    number(outcome.percentile(0.99) * 1e3),
                    f"{outcome.most_waiting:,}",
                    f"{outcome.busy_seconds / _SIMULATED_SECONDS:.0%}",
                )
            )
    headings = ("threads", "share of the most", "completions/s", "p50 ms", "p99 ms", "most that wait", "core busy")
    return table(headings, rows)


def _slow(costs: Costs) -> str:
    rows = []
    for threads in (THREADS, MORE_THREADS):
        for share in (0.3, PLANNED_SHARE):
            worker = _worker(costs, threads=threads)
            # The same load on both, as a share of what the fewer threads can do.
            rate = _most(_worker(costs)) * share
            outcome = simulate_worker(
                worker, uploads_per_second=rate, seconds=2 * _SIMULATED_SECONDS, slowness=_SLOWNESS
            )
            over = max(0.0, outcome.last_late_at - _SLOWNESS.end)
            rows.append(
                (
                    f"{threads}",
                    number(rate),
                    f"{outcome.most_waiting:,}",
                    number(outcome.percentile(0.99)),
                    f"{outcome.late / outcome.ended:.0%}",
                    f"{over:.0f} s",
                )
            )
    headings = (
        "threads",
        "completions/s",
        "most that wait",
        "p99 s",
        "later than 9 s",
        "the last late answer, after the storage has recovered",
    )
    return table(headings, rows)


def _prefixes(costs: Costs) -> str:
    writes = S3.requests_of_an_upload(published=True).counted_as_writes
    assert S3.write_limit is not None
    rows = []
    for uploads in (500, 1000, 2000, 5000):
        cells = []
        for ascending in (False, True):
            outcome = simulate_partitions(
                new_per_second=uploads * writes,
                limit=S3.write_limit,
                seconds=4 * HOUR_SECONDS,
                split_after=_SPLIT_SECONDS,
                ascending=ascending,
            )
            ends = outcome.refusing_seconds
            cells.append(
                "nothing is refused"
                if ends == 0
                else f"{ends / 60:.0f} min"
                if ends < len(outcome.new)
                else f"never; {outcome.lost_share:.0%} give up"
            )
        growing = minutes_to_grow(uploads, GOOGLE, published=True)
        rows.append((f"{uploads:,}", f"{uploads * writes:,}", *cells, f"{growing:.0f} min"))
    headings = (
        "uploads/s from the first second",
        "writes/s",
        "S3, random keys: refusals end after",
        "S3, ascending keys",
        "Google: the time to grow to this rate",
    )
    return table(headings, rows)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


_TABLES: dict[str, Callable[[Costs], str]] = {
    "inputs": _inputs,
    "capacity": _capacity,
    "limits": _limits,
    "million": _million,
    "large": _large,
    "waiting": _waiting,
    "slow": _slow,
    "prefixes": _prefixes,
}


if __name__ == "__main__":
    sys.exit(main())
