"""Measure several implementations of one task in alternating rounds.

Every round takes one sample of each implementation, and each round starts with a different one. A ratio is taken inside
a round and only then summarised: when something slows the machine down for a while, it slows down both sides of the
ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.results import Result

Sample = Mapping[str, float]
"""Figures by name; the name ends with the unit."""


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """One way to do a task; ``note`` says where it does less than the others."""

    name: str
    measure: Callable[[], Sample]
    note: str = ""


def alternate(case: str, implementations: Sequence[Implementation], *, rounds: int) -> list[Result]:
    """Return the samples of every implementation, in the order given."""
    samples: list[list[Sample]] = [[] for _ in implementations]
    for first in range(rounds):
        for offset in range(len(implementations)):
            index = (first + offset) % len(implementations)
            samples[index].append(implementations[index].measure())
    return [
        Result(
            case=case,
            by=implementation.name,
            note=implementation.note,
            figures={name: [sample[name] for sample in taken] for name in taken[0]},
        )
        for implementation, taken in zip(implementations, samples, strict=True)
    ]
