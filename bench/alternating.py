"""Timing several contenders in one run, alternately, so that whatever disturbs the machine disturbs all of them.

A round takes one sample of each contender, and the next round begins with another one. A sample is as many calls as
fill ``sample_seconds`` (found in a warm-up that is thrown away). Ratios are taken inside a round and then summarised: a
machine that is slow for a while slows both sides of a ratio. The garbage collector is on, as in real life; what one
contender left behind is collected before the next one's sample.
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import cycle, islice
from typing import TypeVar

Item = TypeVar("Item")

Run = Callable[[int], object]
"""Does a contender's work as many times as it is told."""

Clock = Callable[[], float]
"""Answers seconds since some moment."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to do a case's work; ``note`` says where it does less or other than the case asks."""

    name: str
    run: Run
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One piece of work, done by every contender; the first one is what the others are compared with."""

    name: str
    contenders: Sequence[Contender]
    most_rounds: int = 1_000


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A median and the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise ``values``; one value is its own spread."""
        if len(values) == 1:
            return cls(low=values[0], median=values[0], high=values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(low=low, median=median, high=high)


def median_of(measured: Iterable[object], figure: str) -> float:
    """Return the median of what each of ``measured`` has under the name ``figure``."""
    return statistics.median(float(getattr(each, figure)) for each in measured)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One contender's samples, in seconds per call and in round order, and one call's peak of Python memory."""

    contender: Contender
    seconds: Sequence[float]
    peak_bytes: int

    @property
    def time(self) -> Spread:
        """Seconds per call."""
        return Spread.of(self.seconds)

    def ratio_to(self, other: Measured) -> Spread:
        """How many times as long as ``other`` this took, round by round."""
        return Spread.of([mine / its for mine, its in zip(self.seconds, other.seconds, strict=True)])


def utc_now() -> datetime:
    """Return the time: reading the clock is part of signing, and every library does it."""
    return datetime.now(timezone.utc)


def each(items: Iterable[Item], call: Callable[[Item], object]) -> Run:
    """Return a run that calls ``call`` with one item after the other, and begins again when they are used up."""
    endless = cycle(items)

    def run(times: int) -> None:
        for item in islice(endless, times):
            call(item)

    return run


def measure(case: Case, *, rounds: int, sample_seconds: float, clock: Clock = time.perf_counter) -> list[Measured]:
    """Return every contender's measurements, in the case's order.

    ``clock`` is the wall's by default; ``time.process_time`` (all threads) holds still on a machine that others use.
    """
    contenders = case.contenders
    times = [_calibrated(contender.run, sample_seconds, clock) for contender in contenders]
    seconds: list[list[float]] = [[] for _ in contenders]
    for first in range(min(rounds, case.most_rounds)):
        for place in range(len(contenders)):
            index = (first + place) % len(contenders)
            seconds[index].append(_sample(contenders[index].run, times[index], clock) / times[index])
    return [
        Measured(contender=contender, seconds=samples, peak_bytes=_peak_bytes(contender.run))
        for contender, samples in zip(contenders, seconds, strict=True)
    ]


def _calibrated(run: Run, sample_seconds: float, clock: Clock) -> int:
    times = 1
    while True:
        taken = _sample(run, times, clock)
        if taken >= sample_seconds:
            return times
        # Never more than tenfold at once: the first calls are slower than the rest.
        times = min(times * 10, max(times + 1, int(times * 1.1 * sample_seconds / max(taken, 1e-9))))


def _sample(run: Run, times: int, clock: Clock) -> float:
    gc.collect()
    start = clock()
    run(times)
    return clock() - start


def _peak_bytes(run: Run) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        run(1)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        run(1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before
