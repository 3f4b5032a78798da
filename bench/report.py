"""Writing results down: a Markdown table, JSON with the machine beside the figures, and saying both aloud."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def say(line: str = "") -> None:
    """Print a line at once: a measurement takes minutes, and somebody watches."""
    print(line, flush=True)


def figure(value: float) -> str:
    """Return ``value`` to three significant digits, or whole if it has more: ``0.04``, ``4.34``, ``2,048``."""
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Return a time in microseconds, from 10 milliseconds on in those."""
    return f"{figure(seconds * 1e3)} ms" if seconds >= 0.01 else f"{figure(seconds * 1e6)} µs"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, text: Collection[int] = (0,)) -> str:
    """Return a Markdown table with its columns aligned, those in ``text`` to the left, numbers to the right."""
    cells = [list(headings), *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column in text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if column in text else f"{'-' * (width - 1)}:" for column, width in enumerate(widths)]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def machine(packages: Sequence[str]) -> dict[str, object]:
    """Return what the figures depend on: processor, system, Python and the versions of ``packages``."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {package: _version(package) for package in packages},
    }


def machine_line(described: Mapping[str, object]) -> str:
    """Return the machine in one line, for the foot of a table."""
    packages = described["packages"]
    assert isinstance(packages, dict)
    versions = ", ".join(f"{name} {number}" for name, number in packages.items())
    return (
        f"{described['processor']}, {described['cores']} cores, {described['system']}, "
        f"Python {described['python']}; {versions}."
    )


def write(name: str, *, markdown: str, data: Mapping[str, object], svg: str | None = None) -> None:
    """Write ``name``.md, .json and .svg under bench/results/, and say where."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(markdown)
    stamped = {"measured_at": datetime.now(timezone.utc).isoformat(timespec="seconds"), **data}
    (RESULTS / f"{name}.json").write_text(json.dumps(stamped, indent=2) + "\n")
    if svg is not None:
        (RESULTS / f"{name}.svg").write_text(svg)
    say(f"Written: bench/results/{name}.md, .json{'' if svg is None else ', .svg'}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
