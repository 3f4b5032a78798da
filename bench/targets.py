"""What a measurement must reach, as it is stated, and whether it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TARGET_HEADINGS = ("Target", "Bound", "Measured", "Verdict")


@dataclass(frozen=True, kw_only=True)
class Target:
    """``what`` must be at least or at most ``bound``; the unit is part of ``what``, or a multiple."""

    what: str
    relation: Literal["at least", "at most", "below"]
    bound: float
    unit: str = " x"

    def is_met_by(self, value: float) -> bool:
        """Say whether ``value`` reaches the target."""
        if self.relation == "at least":
            return value >= self.bound
        return value <= self.bound if self.relation == "at most" else value < self.bound

    def row(self, value: float | None) -> list[str]:
        """Return the cells of a table: what, the bound, the value, and the verdict; None is a value not measured."""
        bound = f"{self.relation} {self.bound:g}{self.unit}"
        if value is None:
            return [self.what, bound, "-", "not measured"]
        return [self.what, bound, f"{value:.3g}{self.unit}", "reached" if self.is_met_by(value) else "MISSED"]


@dataclass(frozen=True, kw_only=True)
class SpeedTarget:
    """``target`` bounds how many times as long as ``than`` the contender ``slower`` takes in ``case``."""

    target: Target
    case: str
    slower: str
    than: str
