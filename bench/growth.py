"""Measure many clients, tickets, tenants and kinds, long tokens, and credentials and secrets that change.

1. Tickets per second from one worker, by the number of clients: on uvloop as in the demo, on asyncio's own loop, on
   uvloop with several listeners, and from every other server of ``ticket_servers.SERVERS`` whose name begins with
   "presign". Also, after how many turns of an event loop all of many waiting connections are accepted.
2. The memory that a process keeps after millions of tickets, each for another object. What is kept is a leak, or a
   cache without a bound.
3. Tenants in turn: as owners and prefixes of one presigner, and with presigners and keys of their own.
4. Many kinds in one application, of which the last one is asked.
5. Tokens that hold more and more.
6. Credentials that live for seconds, and a signing secret that is rotated, while threads issue tickets as fast as they
   can. No ticket may fail, be signed with expired credentials, or live longer than its credentials.
"""

from __future__ import annotations

import resource
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
from botocore.credentials import CredentialProvider, CredentialResolver, RefreshableCredentials
from botocore.session import Session as CoreSession

from bench import growth_in_process as in_process
from bench.growth_in_process import (
    BYTES_PER_TENANT,
    FIELDS_BYTES,
    RESIDENT,
    SECONDS_PER_TICKET,
    SESSION_BYTES,
    TICKET_BYTES,
    TOKEN_BYTES,
    TURNS,
    in_fresh_process,
)
from bench.results import Benchmark, Column, Result, Target, number, say
from bench.rounds import Implementation, Sample, alternate
from bench.server_processes import running
from bench.ticket_servers import BUCKET, PRESIGN, REGION, SERVERS, Server
from bench.wrk import P50, P99, RATE, LoadFailed, load
from presign import NotUploaded, ObjectHead, Presigner, PresignError, UploadPolicy, UploadRequest
from presign.s3 import S3Backend

LOOPS = ("uvloop", "asyncio")
LISTENERS = 16
MEMORY = "memory"
ROTATION = "rotation"
KEPT = "mebibytes_kept"
_ONE_TENANT, _OWNERS, _BACKENDS = "one tenant", "owners and prefixes of one presigner", "a presigner and keys for each"
_PER_TICKET = Column(heading="CPU µs per ticket", figure=SECONDS_PER_TICKET, scale=1e6)
BENCHMARK = Benchmark(
    name="growth",
    title="What happens as tickets become many",
    description=__doc__.partition("\n")[0],
    columns=[
        Column(heading="tickets/s", figure=RATE),
        Column(heading="p50 ms", figure=P50, scale=1e3),
        Column(heading="p99 ms", figure=P99, scale=1e3),
    ],
    more_tables=[
        [Column(heading="turns of the event loop until all are accepted", figure=TURNS)],
        [
            Column(heading="tickets in this process", figure="tickets_issued"),
            Column(heading="resident MiB", figure=RESIDENT, scale=2**-20),
            _PER_TICKET,
        ],
        [
            Column(heading="tenants", figure="tenants"),
            _PER_TICKET,
            Column(heading="KiB per tenant", figure=BYTES_PER_TENANT, scale=2**-10),
        ],
        [
            Column(heading="KiB for each", figure=SESSION_BYTES, scale=2**-10),
            Column(heading="CPU ms for each", figure="session_cpu_seconds", scale=1e3),
        ],
        [Column(heading="kinds", figure="kinds"), _PER_TICKET],
        [
            Column(heading="token bytes", figure=TOKEN_BYTES),
            Column(heading="bytes of the form's fields", figure=FIELDS_BYTES),
            Column(heading="ticket bytes", figure=TICKET_BYTES),
            _PER_TICKET,
        ],
    ],
    packages=("boto3", "starlette", "fastapi", "flask", "uvicorn", "uvloop", "orjson", "itsdangerous"),
)
_POLICY = UploadPolicy(content_types={"image/png"}, max_bytes=10 * 2**20, prefix="public/")
_OLD_SECRET, _NEW_SECRET = ("the old secret, of at least 16 bytes", "the new secret, of at least 16 bytes")
# botocore renews credentials in the last 15 minutes of their life, so it renews these each time it is asked for them.
_LIFETIME = timedelta(seconds=5)
_THREADS = 4
_TICKETS_AT_ONCE = 200
# A server has one file for each connection, and some others.
_OTHER_FILES = 200
_WARM_UP_CLIENTS = 32
_BOTO3_SESSIONS = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if ``--check`` is given and a target is missed."""
    parser = BENCHMARK.parser(rounds=2)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 100, 1000, 2000], help="numbers of clients")
    parser.add_argument("--seconds", type=int, default=3, help="how long each number of clients lasts (%(default)s)")
    parser.add_argument("--waiting", type=int, default=1000, help="connections that wait for an accept (%(default)s)")
    parser.add_argument("--tickets", type=int, default=10_000_000, help="tickets issued for the memory (%(default)s)")
    parser.add_argument("--tenants", type=int, default=10_000, help="tenants of one process (%(default)s)")
    parser.add_argument("--kinds", type=int, default=100, help="kinds of one application (%(default)s)")
    parser.add_argument("--rotation-seconds", type=float, default=20, help="how long credentials change (%(default)s)")
    options = parser.parse_args(arguments)
    allow_open_files(max(options.clients) + _OTHER_FILES)
    targets: list[Target] = []
    results = [
        *_load_results(options.clients, seconds=options.seconds, rounds=options.rounds),
        *_waiting_results(options.waiting, targets),
        *_memory_results(options.tickets, targets),
        *_tenant_results(options.tenants, targets),
        *_kind_results(options.kinds, targets),
        *(_result(case, PRESIGN.name, sample) for case, sample in in_fresh_process(in_process.tokens).items()),
    ]
    rotation = Implementation(name=PRESIGN.name, measure=partial(_measure_rotation, options.rotation_seconds))
    results += alternate(ROTATION, [rotation], rounds=1)
    targets += [
        Target(case=ROTATION, by=PRESIGN.name, figure="failures", relation="at most", bound=0),
        Target(case=ROTATION, by=PRESIGN.name, figure="tickets_that_outlive_credentials", relation="at most", bound=0),
    ]
    issued, changes = (results[-1].median(figure) for figure in ("tickets", "credential_renewals"))
    conditions = (
        f"{options.rounds} rounds of {options.seconds} s, wrk on the same machine. Memory: after {options.tickets:,} "
        f"tickets. Rotation: {issued:,.0f} tickets, {changes:.0f} renewals of the credentials, 3 changes of the "
        "secret. Tenants: in turn; unless the table says otherwise, each ticket is in another second than its tenant's "
        "last one."
    )
    return BENCHMARK.finish(options, results, targets, conditions=conditions)


def allow_open_files(wanted: int) -> None:
    """Let this process and its children open ``wanted`` files; raises LoadFailed if the system does not allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise LoadFailed(f"this user may open {hard} files, and {wanted} are needed; choose fewer --clients")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def contenders() -> dict[str, Server]:
    """Return the servers that are loaded, by the name that each has in the results."""
    protocol = PRESIGN.command[PRESIGN.command.index("--http") + 1]
    listeners = replace(
        PRESIGN,
        command=[sys.executable, "-m", "bench.servers.many_listeners", str(LISTENERS), protocol],
        environment={**PRESIGN.environment, "UVICORN_LOOP": "uvloop"},
    )
    others = [each for each in SERVERS if each is not PRESIGN and each.name.startswith(PRESIGN.name)]
    return {
        **{loop: replace(PRESIGN, environment={**PRESIGN.environment, "UVICORN_LOOP": loop}) for loop in LOOPS},
        f"uvloop, {LISTENERS} listeners": listeners,
        **{each.name: each for each in others},
    }


def _load_results(numbers: Sequence[int], *, seconds: int, rounds: int) -> list[Result]:
    results: list[Result] = []
    for clients in numbers:
        implementations = [
            Implementation(name=name, measure=partial(_measure_load, clients, name, server, seconds))
            for name, server in contenders().items()
        ]
        results += alternate(f"{clients:,} client{'s' if clients > 1 else ''}", implementations, rounds=rounds)
    return results


def _measure_load(clients: int, name: str, server: Server, seconds: int) -> Sample:
    with running(server) as process:
        url = f"{process.url}/upload"
        load(url, connections=min(clients, _WARM_UP_CLIENTS), seconds=1)
        figures = load(url, connections=clients, seconds=seconds)
    say(f"clients {clients:,}, {name}: {number(figures[RATE])} tickets/s, p99 {number(figures[P99] * 1e3)} ms")
    return figures


def _waiting_results(connections: int, targets: list[Target]) -> list[Result]:
    case = f"{connections:,} waiting connections"
    ways = [(loop, loop, 1) for loop in LOOPS]
    ways.append((f"uvloop, {LISTENERS} listeners", "uvloop", LISTENERS))
    measured = [
        Implementation(
            name=name,
            measure=partial(
                in_fresh_process, partial(in_process.turns_to_accept, connections, loop=loop, listeners=listeners)
            ),
        )
        for name, loop, listeners in ways
    ]
    targets.append(
        Target(case=case, by=ways[-1][0], than="uvloop", figure=TURNS, relation="at most", bound=2 / LISTENERS)
    )
    return alternate(case, measured, rounds=1)


def _memory_results(tickets: int, targets: list[Target]) -> list[Result]:
    counts = [each for each in (10**power for power in range(4, 12)) if each < tickets] + [tickets]
    samples = in_fresh_process(partial(in_process.memory_by_tickets, counts))
    for sample in samples:
        say(f"{sample['tickets']:,} tickets: {number(sample[RESIDENT] / 2**20)} MiB")
    first, last = samples[0], samples[-1]
    targets += [
        Target(case=MEMORY, by=PRESIGN.name, figure=KEPT, relation="below", bound=5),
        Target(case=MEMORY, by=PRESIGN.name, figure="last_ticket_per_first", relation="at most", bound=1.5),
    ]
    kept = {
        KEPT: (last[RESIDENT] - first[RESIDENT]) / 2**20,
        "last_ticket_per_first": last[SECONDS_PER_TICKET] / first[SECONDS_PER_TICKET],
    }
    shown = [{**sample, "tickets_issued": sample["tickets"]} for sample in samples]
    return [
        *(_result(f"{sample['tickets']:,} tickets", PRESIGN.name, sample) for sample in shown),
        _result(MEMORY, PRESIGN.name, kept),
    ]


def _tenant_results(tenants: int, targets: list[Target]) -> list[Result]:
    tickets = 2 * tenants
    many = f"{tenants:,} tenants"
    results: list[Result] = []

    def measure(case: str, by: str, note: str, call: partial[Sample]) -> None:
        results.append(_result(case, by, in_fresh_process(call), note))
        say(f"{case}; {by}: {number(results[-1].median(SECONDS_PER_TICKET) * 1e6)} µs")

    one, each = in_process.tenants_of_one_presigner, in_process.tenants_with_backends
    by = f"{many}: {_OWNERS}"
    measure("S3", _ONE_TENANT, "all tickets in one second", partial(each, "S3", 1, tickets, in_one_second=True))
    measure("S3", by, "in one second", partial(one, tenants, tickets))
    targets.append(Target(case="S3", by=by, than=_ONE_TENANT, figure=SECONDS_PER_TICKET, relation="at most", bound=2))
    by = f"{many}: {_BACKENDS}"
    for cloud in in_process.CLOUDS:
        case = f"{cloud}, a new second for each ticket"
        measure(case, _ONE_TENANT, "", partial(each, cloud, 1, tickets))
        measure(case, by, "", partial(each, cloud, tenants, tickets))
        targets += [
            Target(case=case, by=by, than=_ONE_TENANT, figure=SECONDS_PER_TICKET, relation="at most", bound=2),
            Target(case=case, by=by, figure=BYTES_PER_TENANT, relation="at most", bound=20 * 2**10),
        ]
    boto3_alone = in_fresh_process(partial(in_process.memory_of_boto3, _BOTO3_SESSIONS))
    return [*results, _result("a tenant's session and client, before any upload", "boto3", boto3_alone)]


def _kind_results(kinds: int, targets: list[Target]) -> list[Result]:
    results: list[Result] = []
    for framework in in_process.FRAMEWORKS:
        # Flask's and the ASGI application's own routing does not grow. FastAPI asks the router of each kind.
        bound = 10 if "fastapi" in framework else 1.5
        for each in (1, kinds):
            sample = in_fresh_process(partial(in_process.kinds_in_one_application, framework, each))
            results.append(_result(framework, f"{each:,} kind{'s' if each > 1 else ''}", sample))
        say(f"{framework}: {number(results[-1].ratio(results[-2], SECONDS_PER_TICKET))} times one kind's ticket")
        targets.append(
            Target(
                case=framework,
                by=f"{kinds:,} kinds",
                than="1 kind",
                figure=SECONDS_PER_TICKET,
                relation="at most",
                bound=bound,
            )
        )
    return results


def _result(case: str, by: str, sample: Sample, note: str = "") -> Result:
    return Result(case=case, by=by, note=note, figures={name: [value] for name, value in sample.items()})


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
