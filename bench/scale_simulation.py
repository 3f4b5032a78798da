"""A discrete-event simulation of one worker that completes uploads, and of a storage that splits its partitions.

The worker has one core and a number of threads. A completion takes a thread, and in it the core and the storage take
turns. Everything is drawn from one seed, so a run gives the same figures on every machine.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random

from bench.results import percentile

TIMEOUT_SECONDS = 9.0
"""How long a request for a completion waits (presign.http.async_endpoints.TIMEOUT_SECONDS)."""

PATIENCE_SECONDS = 60
"""How long a request that the storage refuses is repeated: a ticket is valid for a minute."""

_NORMAL_P99 = 2.3263478740408408


class Events:
    """Calls that happen at a time; ``now`` is the time of the call that runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = count()
        self._calls: list[tuple[float, int, Callable[[], None]]] = []

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` in ``seconds``; calls of the same time happen in the order in which they were added."""
        heapq.heappush(self._calls, (self.now + seconds, next(self._numbers), call))

    def run(self, until: float) -> None:
        """Make all calls up to the time ``until``."""
        while self._calls and self._calls[0][0] <= until:
            self.now, _, call = heapq.heappop(self._calls)
            call()
        self.now = until


class Station:
    """``servers`` that are taken and released, and those who wait for one, first come first served."""

    def __init__(self, servers: int) -> None:
        self._free = servers
        self.waiting: deque[Callable[[], None]] = deque()
        self.most_waiting = 0

    def take(self, then: Callable[[], None]) -> None:
        """Call ``then`` as soon as a server is free; it is taken until ``release``."""
        if self._free:
            self._free -= 1
            then()
        else:
            self.waiting.append(then)
            self.most_waiting = max(self.most_waiting, len(self.waiting))

    def release(self) -> None:
        """Give one server to who waits longest, or free it."""
        if self.waiting:
            self.waiting.popleft()()
        else:
            self._free += 1


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How long the storage takes to answer, in seconds: log-normal, with this median and 99th percentile."""

    median: float
    p99: float

    @property
    def mean(self) -> float:
        """The mean of the distribution."""
        return self.median * math.exp(self._sigma**2 / 2)

    @property
    def _sigma(self) -> float:
        return math.log(self.p99 / self.median) / _NORMAL_P99

    def draw(self, random: Random) -> float:
        """Return one latency."""
        return random.lognormvariate(math.log(self.median), self._sigma)


@dataclass(frozen=True, kw_only=True)
class Slowness:
    """Between ``start`` and ``end``, in seconds, each answer of the storage takes ``factor`` times as long."""

    start: float
    end: float
    factor: float

    def at(self, now: float) -> float:
        """Return the factor at ``now``."""
        return self.factor if self.start <= now < self.end else 1.0


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One process with one core.

    ``ticket_seconds`` and ``completion_seconds`` are CPU time. A completion sends ``requests`` to the storage, one
    after the other. ``threads`` completions run at once.
    """

    ticket_seconds: float
    completion_seconds: float
    requests: int
    latency: Latency
    threads: int


@dataclass(kw_only=True)
class Outcome:
    """What happened to the completions, and how long those that ended took, with their wait, in seconds.

    ``late`` is how many took longer than the time-out, so that the client got a 503 and asked again.
    """

    arrived: int = 0
    ended: int = 0
    running: int = 0
    waiting: int = 0
    most_waiting: int = 0
    busy_seconds: float = 0.0
    last_late_at: float = 0.0
    took: list[float] = field(default_factory=list)

    @property
    def late(self) -> int:
        """How many took longer than TIMEOUT_SECONDS."""
        return sum(each > TIMEOUT_SECONDS for each in self.took)

    def percentile(self, share: float) -> float:
        """Return the time within which this share of the completions ended."""
        return percentile(self.took, share)


_AS_FAST_AS_EVER = Slowness(start=0, end=0, factor=1)


def simulate_worker(
    worker: Worker, *, uploads_per_second: float, seconds: float, seed: int = 1, slowness: Slowness = _AS_FAST_AS_EVER
) -> Outcome:
    """Let uploads arrive at random for ``seconds``: each needs a ticket and a completion, at unrelated times."""
    events, random, outcome = Events(), Random(seed), Outcome()
    core, threads = Station(1), Station(worker.threads)

    def compute(cpu_seconds: float, then: Callable[[], None]) -> None:
        def start() -> None:
            outcome.busy_seconds += cpu_seconds
            events.after(cpu_seconds, end)

        def end() -> None:
            core.release()
            then()

        core.take(start)

    def arrive_for_ticket() -> None:
        events.after(random.expovariate(uploads_per_second), arrive_for_ticket)
        compute(worker.ticket_seconds, lambda: None)

    def arrive_for_completion() -> None:
        events.after(random.expovariate(uploads_per_second), arrive_for_completion)
        outcome.arrived += 1
        outcome.waiting += 1
        began = events.now
        slice_seconds = worker.completion_seconds / (worker.requests + 1)

        def begin() -> None:
            outcome.waiting -= 1
            outcome.running += 1
            compute(slice_seconds, lambda: ask(worker.requests))

        def ask(left: int) -> None:
            if left == 0:
                end()
                return
            answer_seconds = worker.latency.draw(random) * slowness.at(events.now)
            events.after(answer_seconds, lambda: compute(slice_seconds, lambda: ask(left - 1)))

        def end() -> None:
            outcome.running -= 1
            outcome.ended += 1
            outcome.took.append(events.now - began)
            if outcome.took[-1] > TIMEOUT_SECONDS:
                outcome.last_late_at = events.now
            threads.release()

        threads.take(begin)

    events.after(random.expovariate(uploads_per_second), arrive_for_ticket)
    events.after(random.expovariate(uploads_per_second), arrive_for_completion)
    events.run(seconds)
    outcome.most_waiting = threads.most_waiting
    return outcome


# Partitions


@dataclass
class _Partition:
    """The keys of [start, end), as shares of the whole range."""

    start: float
    end: float
    again: float = 0.0
    full_seconds: int = 0


@dataclass(frozen=True, kw_only=True)
class PartitionedOutcome:
    """For each second, the new requests, those that were done, those that come again, and those that gave up.

    ``most_in_one`` is the most that one partition did in a second.
    """

    new: Sequence[float]
    done: Sequence[float]
    again: Sequence[float]
    lost: Sequence[float]
    partitions: int
    most_in_one: float

    @property
    def refusing_seconds(self) -> int:
        """After how many seconds nothing is refused any more; as many as there are if it still is in the last one."""
        refused = (again + lost for again, lost in zip(self.again, self.lost, strict=True))
        return max((second + 1 for second, number in enumerate(refused) if number > 0), default=0)

    @property
    def lost_share(self) -> float:
        """Which share of all requests gave up."""
        return sum(self.lost) / sum(self.new)


def simulate_partitions(
    *,
    new_per_second: float,
    limit: float,
    seconds: int,
    split_after: int,
    ascending: bool = False,
) -> PartitionedOutcome:
    """Send requests to keys that are spread at random, or ascend, as names with a date do.

    Each partition does ``limit`` requests per second and refuses the others. They come again in the next second, and
    give up if as many wait as came in ``PATIENCE_SECONDS``. A partition that refused for ``split_after`` seconds
    becomes two. Ascending keys are always the last ones, so the last partition gets all of them, however often it was
    split.
    """
    partitions = [_Partition(0.0, 1.0)]
    columns: tuple[list[float], ...] = ([], [], [], [])
    most_in_one = 0.0
    for _ in range(seconds):
        sums = [0.0, 0.0, 0.0, 0.0]
        after: list[_Partition] = []
        for index, each in enumerate(partitions):
            share = each.end - each.start
            if ascending:
                share = 1.0 if index == len(partitions) - 1 else 0.0
            new = new_per_second * share
            done = min(new + each.again, limit)
            refused = new + each.again - done
            # Those that wait in a partition which no new request reaches were counted when they came.
            each.again = min(refused, max(new * PATIENCE_SECONDS, each.again))
            each.full_seconds = each.full_seconds + 1 if refused > 0 else 0
            most_in_one = max(most_in_one, done)
            for position, value in enumerate((new, done, each.again, refused - each.again)):
                sums[position] += value
            after += _halves(each) if each.full_seconds >= split_after else [each]
        partitions = after
        for column, value in zip(columns, sums, strict=True):
            column.append(value)
    new_each, done_each, again_each, lost_each = columns
    return PartitionedOutcome(
        new=new_each,
        done=done_each,
        again=again_each,
        lost=lost_each,
        partitions=len(partitions),
        most_in_one=most_in_one,
    )


def _halves(partition: _Partition) -> list[_Partition]:
    middle = (partition.start + partition.end) / 2
    return [
        _Partition(partition.start, middle, partition.again / 2),
        _Partition(middle, partition.end, partition.again / 2),
    ]
