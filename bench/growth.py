"""``python -m bench.growth``: what happens as tickets become many.

1. Tickets per second from one worker for 1, 10, 100 and 1,000 concurrent clients (wrk, as in ``serve.py``), on uvloop,
   as in the demo, and on asyncio's own loop, which is sooner through with a crowd of new clients.
2. Memory of a process that issues a million tickets, each for another object: the resident set after a warm-up of a
   tenth of them, and at the end. The difference is a leak, or a cache without a bound.
3. Credentials that live for seconds, and two secrets that take turns in signing completion tokens, while threads issue
   tickets as fast as they can: not one may fail, be signed with expired credentials, or outlive them.
"""

from __future__ import annotations

import argparse
import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from itertools import count

import boto3
import psutil
from botocore.credentials import RefreshableCredentials
from botocore.session import Session as CoreSession

from bench.alternating import median_of
from bench.bars import Bar, Group, draw
from bench.contenders import PRESIGN
from bench.processes import address, running
from bench.report import machine, machine_line, say, table, write
from bench.targets import TARGET_HEADINGS, Target
from bench.wrk import Load, drive
from emulators.ports import free_port
from presign import Presigner, UploadPolicy, UploadRequest
from presign.errors import PresignError
from presign.s3 import S3Backend

BUCKET = "example-bucket"
REGION = "eu-central-1"
CLIENTS = (1, 10, 100, 1_000)
LOOPS = ("uvloop", "asyncio")
PACKAGES = ("boto3", "starlette", "uvicorn", "uvloop", "orjson", "itsdangerous")
SECRETS = ("the first secret, of at least 16 bytes", "the second secret, of at least 16 bytes")
POLICY = UploadPolicy(content_types={"image/png"}, max_bytes=10 * 2**20, prefix="public/")
TICKETS_AT_ONCE = 200
# botocore renews in the last quarter of an hour; what lives for less is renewed whenever it is asked for.
_SHORT_LIFE = timedelta(seconds=5)

# By the number of clients, and by the event loop.
Loads = dict[int, dict[str, list[Load]]]


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """What happened while credentials and secrets changed."""

    tickets: int
    failures: dict[str, int]
    outlived: int
    renewals: int
    secret_changes: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the results down; 1 with ``--check`` if a target is missed."""
    options = _options(arguments)
    loads = _loads(options.clients, rounds=options.rounds, seconds=options.seconds)
    growth = _memory_growth(options.tickets)
    rotation = _rotate(options.rotation_seconds)
    verdicts = [
        (Target(what=f"memory kept after {options.tickets:,} tickets", relation="below", bound=5, unit=" MiB"), growth),
        (
            Target(
                what=f"failures in {rotation.tickets:,} tickets under rotation", relation="at most", bound=0, unit=""
            ),
            float(sum(rotation.failures.values())),
        ),
        (
            Target(what="tickets that outlive their credentials", relation="at most", bound=0, unit=""),
            float(rotation.outlived),
        ),
    ]
    rows = [
        [
            f"{clients:,}",
            loop,
            f"{median_of(rounds, 'requests_per_second'):,.0f}",
            f"{median_of(rounds, 'p50') * 1e3:.2f}",
            f"{median_of(rounds, 'p99') * 1e3:.2f}",
        ]
        for clients, by_loop in loads.items()
        for loop, rounds in by_loop.items()
    ]
    described = machine(PACKAGES)
    markdown = "\n\n".join(
        [
            "# How cost grows",
            table(("Clients at once", "Event loop", "tickets/s", "p50 ms", "p99 ms"), rows, text=(1,)),
            f"While {rotation.tickets:,} tickets were issued, credentials were renewed {rotation.renewals} times and "
            f"the secret that signs changed {rotation.secret_changes} times.",
            table(TARGET_HEADINGS, [target.row(value) for target, value in verdicts]),
            f"{options.rounds} rounds of {options.seconds} s for each number of clients, wrk on the same machine. "
            f"{machine_line(described)}\n",
        ]
    )
    say(markdown)
    write(
        options.name,
        markdown=markdown,
        data={
            "machine": described,
            "loads": {
                str(clients): {loop: [asdict(load) for load in rounds] for loop, rounds in by_loop.items()}
                for clients, by_loop in loads.items()
            },
            "tickets": options.tickets,
            "mebibytes_kept": growth,
            "rotation": asdict(rotation),
        },
        svg=_drawing(loads),
    )
    return 1 if options.check and any(not target.is_met_by(value) for target, value in verdicts) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, nargs="+", default=list(CLIENTS), help="numbers of clients at once")
    parser.add_argument("--rounds", type=int, default=3, help="how often each number of clients has its turn")
    parser.add_argument("--seconds", type=int, default=5, help="how long each number of clients lasts")
    parser.add_argument("--tickets", type=int, default=1_000_000, help="how many are issued for the memory")
    parser.add_argument("--rotation-seconds", type=float, default=20.0, help="how long credentials change under load")
    parser.add_argument("--name", default="growth", help="what to call the files under bench/results/")
    parser.add_argument("--check", action="store_true", help="fail if a target is missed")
    return parser.parse_args(arguments)


def _loads(numbers: Sequence[int], *, rounds: int, seconds: int) -> Loads:
    loads: Loads = {clients: {loop: [] for loop in LOOPS} for clients in numbers}
    for _ in range(rounds):
        for clients, by_loop in loads.items():
            for loop, seen in by_loop.items():
                seen.append(_load(clients, loop, seconds))
    return loads


def _load(clients: int, loop: str, seconds: int) -> Load:
    port = free_port()
    with running([*PRESIGN.command(port, 1), "--loop", loop], port=port, environment=PRESIGN.environment(port, 1)):
        url = f"{address(port)}/upload"
        drive(url, connections=clients, seconds=1)
        load = drive(url, connections=clients, seconds=seconds)
    say(f"{clients} client(s), {loop}: {load.requests_per_second:,.0f} tickets/s, p99 {load.p99 * 1e3:.1f} ms")
    return load


def _memory_growth(tickets: int) -> float:
    session = boto3.Session(aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="x", region_name=REGION)
    presigner = Presigner(backend=S3Backend(bucket=BUCKET, session=session), policy=POLICY, secret=SECRETS[0])
    process = psutil.Process()

    def issue(number: int) -> int:
        for size in range(number):
            presigner.issue(UploadRequest(content_type="image/png", size=size % 1_000_000 + 1, name=f"{size}.png"))
        gc.collect()
        resident: int = process.memory_info().rss
        return resident

    before = issue(tickets // 10)
    kept = (issue(tickets) - before) / 2**20
    say(f"{tickets:,} tickets: {kept:+.2f} MiB")
    return kept


class _ShortLived:
    """Credentials that end soon, and are made anew whenever botocore asks for them."""

    def __init__(self) -> None:
        self.renewals = 0
        self._ends: dict[str, datetime] = {}
        self._numbers = count()

    def fetch(self) -> dict[str, str]:
        """Answer as a token service does, after as long as one takes."""
        time.sleep(0.05)
        self.renewals += 1
        access_key = f"ASIA{next(self._numbers):016d}"
        ends = datetime.now(timezone.utc) + _SHORT_LIFE
        self._ends[access_key] = ends
        return {"access_key": access_key, "secret_key": "x" * 40, "token": "t" * 400, "expiry_time": ends.isoformat()}

    def end_of(self, access_key: str) -> datetime:
        """Return when these credentials end."""
        return self._ends[access_key]

    def session(self) -> boto3.Session:
        """Return a session that signs with them."""
        core = CoreSession()
        core._credentials = RefreshableCredentials.create_from_metadata(  # type: ignore[attr-defined] # noqa: SLF001
            metadata=self.fetch(), refresh_using=self.fetch, method="bench"
        )
        return boto3.Session(botocore_session=core, region_name=REGION)


def _rotate(seconds: float) -> Rotation:
    credentials = _ShortLived()
    backend = S3Backend(bucket=BUCKET, session=credentials.session())
    # A rotation: first every process accepts the new secret, then it signs, then the old one goes.
    phases = [
        Presigner(backend=backend, policy=POLICY, secret=list(secrets))
        for secrets in (SECRETS[:1], SECRETS[::-1], SECRETS, SECRETS[1:])
    ]
    steps = len(phases)
    first_renewals = credentials.renewals
    start = time.monotonic()
    lock = threading.Lock()
    totals = {"tickets": 0, "outlived": 0}
    all_failures: Counter[str] = Counter()

    def phase_at(moment: float) -> int:
        return min(int((moment - start) / seconds * steps), steps - 1)

    def work() -> None:
        tickets = outlived = 0
        failures: Counter[str] = Counter()
        while (moment := time.monotonic()) < start + seconds:
            phase = phase_at(moment)
            for _ in range(TICKETS_AT_ONCE):
                tickets += 1
                try:
                    ticket = phases[phase].issue(UploadRequest(content_type="image/png", size=1))
                    # Another process may be one step ahead, or one behind.
                    phases[min(phase + 1, steps - 1)]._tokens.open(ticket.token, now=ticket.now)  # noqa: SLF001
                    phases[max(phase - 1, 0)]._tokens.open(ticket.token, now=ticket.now)  # noqa: SLF001
                except PresignError as error:
                    failures[error.code] += 1
                    continue
                access_key = ticket.fields["x-amz-credential"].partition("/")[0]
                outlived += ticket.expires_at > credentials.end_of(access_key)
            # As a server that answers requests gives way between them.
            time.sleep(0)
        with lock:
            totals["tickets"] += tickets
            totals["outlived"] += outlived
            all_failures.update(failures)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rotation = Rotation(
        **totals, failures=dict(all_failures), renewals=credentials.renewals - first_renewals, secret_changes=steps - 1
    )
    say(f"Rotation: {rotation}")
    return rotation


def _drawing(loads: Loads) -> str:
    def bar(loop: str, rounds: Sequence[Load]) -> Bar:
        rate, slowest = median_of(rounds, "requests_per_second"), median_of(rounds, "p99")
        return Bar(label=loop, value=rate, text=f"{rate:,.0f} (p99 {slowest * 1e3:,.1f} ms)", ours=loop == LOOPS[0])

    return draw(
        title="Tickets per second, one worker",
        subtitle="Logarithmic scale; by the number of clients that ask at once, and by the event loop.",
        groups=[
            Group(
                title=f"{clients:,} client{'s' if clients > 1 else ''}",
                bars=[bar(loop, rounds) for loop, rounds in by_loop.items()],
            )
            for clients, by_loop in loads.items()
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
