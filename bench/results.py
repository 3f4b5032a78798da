"""The results of a benchmark: figures by round, targets, and the two files that they are written to.

Every benchmark writes one JSON file with all samples, and one Markdown file with a table of medians.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

DIRECTORY = Path(__file__).resolve().parent / "results"
Relation = Literal["at least", "at most", "below"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one implementation took in one case: for each figure, one value per round."""

    case: str
    by: str
    figures: Mapping[str, Sequence[float]]
    note: str = ""

    def median(self, figure: str) -> float:
        """Return the median over the rounds."""
        return statistics.median(self.figures[figure])

    def ratio(self, other: Result, figure: str) -> float:
        """Return the median of the ratios to ``other``, each taken inside one round."""
        pairs = zip(self.figures[figure], other.figures[figure], strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A bound for one figure of ``by`` in ``case``; with ``than``, for its ratio to the figure of ``than``."""

    case: str
    by: str
    than: str | None = None
    figure: str
    relation: Relation
    bound: float

    @property
    def description(self) -> str:
        """What is bounded, for a table."""
        whose = f"{self.by} / {self.than}" if self.than else self.by
        return f"{self.case}: {self.figure.replace('_', ' ')}, {whose}"

    def value(self, results: Iterable[Result]) -> float:
        """Return the value that was measured; raises KeyError if it was not."""
        by_name = {result.by: result for result in results if result.case == self.case}
        if self.than is None:
            return by_name[self.by].median(self.figure)
        return by_name[self.by].ratio(by_name[self.than], self.figure)

    def is_met_by(self, value: float) -> bool:
        """Say whether ``value`` keeps the bound; NaN keeps none."""
        if self.relation == "at least":
            return value >= self.bound
        return value <= self.bound if self.relation == "at most" else value < self.bound


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of figures: the median times ``scale``, or the ratio to the implementation ``than`` of the same case.

    A cell is empty if the figure or ``than`` was not measured.
    """

    heading: str
    figure: str
    scale: float = 1
    than: str | None = None
    with_quartiles: bool = False


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark's name, which its files have too, the title and columns of its table, and the packages it depends on.

    ``description`` is the first line of its module's docstring. ``more_tables`` has the columns of further tables. A
    table shows the results that have the figure of its first column.
    """

    name: str
    title: str
    description: str
    columns: Sequence[Column]
    packages: Sequence[str]
    more_tables: Sequence[Sequence[Column]] = ()

    def parser(self, *, rounds: int) -> argparse.ArgumentParser:
        """Return a parser of the options that all benchmarks have; ``rounds`` is the default."""
        parser = argparse.ArgumentParser(prog=f"python -m bench.{self.name}", description=self.description)
        parser.add_argument("--rounds", type=int, default=rounds, help="samples of each implementation (%(default)s)")
        parser.add_argument("--results", type=Path, default=DIRECTORY, help="the folder to write to (bench/results)")
        parser.add_argument("--check", action="store_true", help="fail if a target is missed")
        return parser

    def finish(
        self, options: argparse.Namespace, results: Sequence[Result], targets: Sequence[Target], *, conditions: str
    ) -> int:
        """Print and write the results; return 1 if ``--check`` is given and a target is missed, else 0.

        ``conditions`` says in words how the figures were measured.
        """
        verdicts = [_verdict(target, results) for target in targets]
        report = Report(
            measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            machine=_machine(self.packages),
            conditions=conditions,
            results=results,
            verdicts=verdicts,
        )
        markdown = self.markdown(report)
        say(markdown)
        options.results.mkdir(parents=True, exist_ok=True)
        (options.results / f"{self.name}.json").write_text(report.to_json(), encoding="utf-8")
        (options.results / f"{self.name}.md").write_text(markdown, encoding="utf-8")
        return 1 if options.check and not all(verdict["met"] for verdict in verdicts) else 0

    def markdown(self, report: Report) -> str:
        """Return the report as a page of Markdown."""
        tables = [self._table(columns, report.results) for columns in (self.columns, *self.more_tables)]
        verdicts = [
            (each["target"], each["bound"], number(each["value"]), "met" if each["met"] else "MISSED")
            for each in report.verdicts
        ]
        parts = [
            f"# {self.title}",
            *filter(None, tables),
            table(("target", "bound", "measured", "verdict"), verdicts),
            f"{report.conditions} {report.machine}\n",
        ]
        return "\n\n".join(parts)

    def _table(self, columns: Sequence[Column], results: Sequence[Result]) -> str:
        headings = ["case", "implementation", *(column.heading for column in columns)]
        # A benchmark may have results that only its targets show.
        shown = [each for each in results if columns[0].figure in each.figures]
        rows = [self._row(columns, each, results) for each in shown]
        if any(each.note for each in shown):
            headings.append("note")
            rows = [[*row, each.note] for row, each in zip(rows, shown, strict=True)]
        return table(headings, rows) if rows else ""

    def _row(self, columns: Sequence[Column], result: Result, results: Sequence[Result]) -> list[str]:
        by_name = {each.by: each for each in results if each.case == result.case}
        return [result.case, result.by, *(_cell(column, result, by_name) for column in columns)]


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a benchmark's JSON file holds."""

    measured_at: str
    machine: str
    conditions: str
    results: Sequence[Result] = field(default_factory=list)
    verdicts: Sequence[Mapping[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, name: str, directory: Path = DIRECTORY) -> Report:
        """Return the report of the benchmark ``name``."""
        content = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
        content["results"] = [Result(**each) for each in content["results"]]
        return cls(**content)

    def to_json(self) -> str:
        """Return the report as JSON, with one result or verdict a line."""
        members = []
        for name, value in asdict(self).items():
            if isinstance(value, list):
                lines = ",\n".join(f"    {json.dumps(each)}" for each in value)
                members.append(f"  {json.dumps(name)}: [\n{lines}\n  ]")
            else:
                members.append(f"  {json.dumps(name)}: {json.dumps(value)}")
        return "{\n" + ",\n".join(members) + "\n}\n"

    def result(self, case: str, by: str) -> Result:
        """Return the result of one implementation in one case."""
        return next(each for each in self.results if (each.case, each.by) == (case, by))


def say(line: str) -> None:
    """Print a line at once: a benchmark takes minutes, and its user wants to see that it goes on."""
    print(line, flush=True)


def number(value: float) -> str:
    """Return ``value`` with three significant digits, or as a whole number from 1,000 on."""
    decimals = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{decimals}f}"


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value before which, in order, the ``share`` of all values comes; at most the largest one."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *rows))


def _verdict(target: Target, results: Iterable[Result]) -> dict[str, object]:
    value = target.value(results)
    bound = f"{target.relation} {target.bound:g}"
    return {"target": target.description, "bound": bound, "value": value, "met": target.is_met_by(value)}


def _cell(column: Column, result: Result, by_name: Mapping[str, Result]) -> str:
    if column.figure not in result.figures:
        return ""
    if column.than is not None:
        other = by_name.get(column.than)
        return "" if other is None else number(result.ratio(other, column.figure))
    cell = number(result.median(column.figure) * column.scale)
    if column.with_quartiles:
        ordered = sorted(result.figures[column.figure])
        quarter = len(ordered) // 4
        low, high = (number(value * column.scale) for value in (ordered[quarter], ordered[-1 - quarter]))
        return f"{cell} ({low} to {high})"
    return cell


def _machine(packages: Sequence[str]) -> str:
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}; {versions}."
    )


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
