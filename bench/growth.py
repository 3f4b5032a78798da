"""Measure what happens with many clients, with many tickets, and while credentials and secrets change.

1. Tickets per second from one worker, by the number of clients, on uvloop as in the demo, and on asyncio's own loop.
2. The memory that a process keeps after a million tickets, each for another object. A tenth of them is issued before.
   What is kept is a leak, or a cache without a bound.
3. Credentials that live for seconds, and a signing secret that is rotated, while threads issue tickets as fast as they
   can. No ticket may fail, be signed with expired credentials, or live longer than its credentials.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import count

import boto3
import psutil
from botocore.credentials import CredentialProvider, CredentialResolver, RefreshableCredentials
from botocore.session import Session as CoreSession

from bench.results import Benchmark, Column, Result, Target, number, say
from bench.rounds import Implementation, Sample, alternate
from bench.server_processes import running
from bench.ticket_servers import AWS, BUCKET, PRESIGN, REGION
from bench.wrk import P50, P99, RATE, load
from presign import NotUploaded, ObjectHead, Presigner, PresignError, UploadPolicy, UploadRequest
from presign.s3 import S3Backend

LOOPS = ("uvloop", "asyncio")
MEMORY = "memory"
ROTATION = "rotation"
KEPT = "mebibytes_kept"
BENCHMARK = Benchmark(
    name="growth",
    title="What happens as tickets become many",
    description=__doc__.partition("\n")[0],
    columns=[
        Column(heading="tickets/s", figure=RATE),
        Column(heading="p50 ms", figure=P50, scale=1e3),
        Column(heading="p99 ms", figure=P99, scale=1e3),
    ],
    packages=("boto3", "starlette", "uvicorn", "uvloop", "orjson", "itsdangerous"),
)
_POLICY = UploadPolicy(content_types={"image/png"}, max_bytes=10 * 2**20, prefix="public/")
_OLD_SECRET, _NEW_SECRET = ("the old secret, of at least 16 bytes", "the new secret, of at least 16 bytes")
# botocore renews credentials in the last 15 minutes of their life, so it renews these each time it is asked for them.
_LIFETIME = timedelta(seconds=5)
_THREADS = 4
_TICKETS_AT_ONCE = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if ``--check`` is given and a target is missed."""
    parser = BENCHMARK.parser(rounds=3)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 10, 100, 1000], help="numbers of clients")
    parser.add_argument("--seconds", type=int, default=5, help="how long each number of clients lasts (%(default)s)")
    parser.add_argument("--tickets", type=int, default=1_000_000, help="tickets issued for the memory (%(default)s)")
    parser.add_argument("--rotation-seconds", type=float, default=20, help="how long credentials change (%(default)s)")
    options = parser.parse_args(arguments)
    results: list[Result] = []
    for clients in options.clients:
        loops = [
            Implementation(name=loop, measure=partial(_measure_load, clients, loop, options.seconds)) for loop in LOOPS
        ]
        results += alternate(f"{clients:,} client{'s' if clients > 1 else ''}", loops, rounds=options.rounds)
    memory = Implementation(name=PRESIGN.name, measure=partial(_measure_memory, options.tickets))
    rotation = Implementation(name=PRESIGN.name, measure=partial(_measure_rotation, options.rotation_seconds))
    results += alternate(MEMORY, [memory], rounds=1)
    results += alternate(ROTATION, [rotation], rounds=1)
    targets = [
        Target(case=MEMORY, by=PRESIGN.name, figure=KEPT, relation="below", bound=5),
        Target(case=ROTATION, by=PRESIGN.name, figure="failures", relation="at most", bound=0),
        Target(case=ROTATION, by=PRESIGN.name, figure="tickets_that_outlive_credentials", relation="at most", bound=0),
    ]
    issued, changes = (results[-1].median(figure) for figure in ("tickets", "credential_renewals"))
    conditions = (
        f"{options.rounds} rounds of {options.seconds} s, wrk on the same machine. Memory: after {options.tickets:,} "
        f"tickets. Rotation: {issued:,.0f} tickets, {changes:.0f} renewals of the credentials, 3 changes of the secret."
    )
    return BENCHMARK.finish(options, results, targets, conditions=conditions)


def _measure_load(clients: int, loop: str, seconds: int) -> Sample:
    server = replace(PRESIGN, environment={**PRESIGN.environment, "UVICORN_LOOP": loop})
    with running(server) as process:
        url = f"{process.url}/upload"
        load(url, connections=clients, seconds=1)
        figures = load(url, connections=clients, seconds=seconds)
    say(f"{clients:,} clients, {loop}: {number(figures[RATE])} tickets/s")
    return figures


def _measure_memory(tickets: int) -> Sample:
    session = boto3.Session(AWS["AWS_ACCESS_KEY_ID"], AWS["AWS_SECRET_ACCESS_KEY"], region_name=REGION)
    presigner = Presigner(backend=S3Backend(bucket=BUCKET, session=session), policy=_POLICY, secret=_NEW_SECRET)
    process = psutil.Process()

    def resident_after(issued: int) -> int:
        for index in range(issued):
            presigner.issue(UploadRequest(content_type="image/png", size=index % 1_000_000 + 1, name=f"{index}.png"))
        gc.collect()
        resident: int = process.memory_info().rss
        return resident

    before = resident_after(tickets // 10)
    return {"tickets": tickets, KEPT: (resident_after(tickets) - before) / 2**20}


class _ShortLivedCredentials(CredentialProvider):
    """A token service whose credentials end after seconds."""

    METHOD = "bench"

    def __init__(self) -> None:
        super().__init__()
        self.renewals = -1
        self.ends: dict[str, datetime] = {}
        self._numbers = count()

    def load(self) -> RefreshableCredentials:
        return RefreshableCredentials.create_from_metadata(
            metadata=self._fetch(), refresh_using=self._fetch, method=self.METHOD
        )

    def _fetch(self) -> dict[str, str]:
        # As long as a token service takes.
        time.sleep(0.05)
        self.renewals += 1
        access_key = f"ASIA{next(self._numbers):016d}"
        end = self.ends[access_key] = datetime.now(timezone.utc) + _LIFETIME
        return {"access_key": access_key, "secret_key": "x" * 40, "token": "t" * 400, "expiry_time": end.isoformat()}


class _EmptyBucket(S3Backend):
    """A bucket in which nothing is stored, so that completing an upload ends once its token has been accepted."""

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        return None


def _measure_rotation(seconds: float) -> Sample:
    credentials = _ShortLivedCredentials()
    core_session = CoreSession()
    core_session.register_component("credential_provider", CredentialResolver([credentials]))
    backend = _EmptyBucket(bucket=BUCKET, session=boto3.Session(botocore_session=core_session, region_name=REGION))
    # First every process accepts the new secret, then it signs with it, and at last the old one is removed.
    phases = [
        Presigner(backend=backend, policy=_POLICY, secret=accepted)
        for accepted in ([_OLD_SECRET], [_NEW_SECRET, _OLD_SECRET], [_OLD_SECRET, _NEW_SECRET], [_NEW_SECRET])
    ]
    start = time.monotonic()

    def issue_tickets() -> Counter[str]:
        counted: Counter[str] = Counter()
        while (elapsed := time.monotonic() - start) < seconds:
            phase = int(elapsed / seconds * len(phases))
            # Another process may be one phase ahead, or one behind.
            others = (phases[max(phase - 1, 0)], phases[min(phase + 1, len(phases) - 1)])
            for _ in range(_TICKETS_AT_ONCE):
                counted["tickets"] += 1
                try:
                    ticket = phases[phase].issue(UploadRequest(content_type="image/png", size=1))
                except PresignError:
                    counted["failures"] += 1
                    continue
                counted["failures"] += sum(not _accepts(other, ticket.token) for other in others)
                access_key = ticket.fields["x-amz-credential"].partition("/")[0]
                counted["outlived"] += ticket.expires_at > credentials.ends[access_key]
            # A server lets other threads run between requests.
            time.sleep(0)
        return counted

    with ThreadPoolExecutor(_THREADS) as pool:
        counted = sum((each.result() for each in [pool.submit(issue_tickets) for _ in range(_THREADS)]), Counter[str]())
    return {
        "tickets": counted["tickets"],
        "failures": counted["failures"],
        "tickets_that_outlive_credentials": counted["outlived"],
        "credential_renewals": credentials.renewals,
    }


def _accepts(presigner: Presigner, token: str) -> bool:
    try:
        presigner.complete(token)
    except NotUploaded:
        return True
    except PresignError:
        return False
    return False


if __name__ == "__main__":
    sys.exit(main())
