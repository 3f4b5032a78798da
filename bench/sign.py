"""``python -m bench.sign``: what a signature costs, with presign, with the SDKs, and at the least.

Every storage has a file of cases (``sign_s3.py`` and so on) and every case its contenders, timed alternately (see
``alternating.py``). Times are medians with their quartiles; ratios are medians of the rounds' own ratios to presign;
memory is the peak of what one call allocates in Python (``tracemalloc``), which does not see into Rust or C.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import import_module

from bench.alternating import Case, Measured, Spread, measure
from bench.bars import Bar, Group, draw
from bench.report import duration, figure, machine, machine_line, say, table, write
from bench.targets import TARGET_HEADINGS, SpeedTarget

STORAGES = ("s3", "azure", "gcs")
PACKAGES = (
    "boto3",
    "minio",
    "obstore",
    "opendal",
    "azure-storage-blob",
    "google-cloud-storage",
    "cryptography",
    "orjson",
)
# The wall's clock is what people wait by; the processor's holds still on a machine that others use.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
HEADINGS = ("Case", "By", "µs per call", "spread", "x presign", "KiB per call", "Note")


Results = Mapping[str, Sequence[Measured]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the results down; 1 with ``--check`` if a target is missed."""
    options = _options(arguments)
    cases, targets = _collected(options.storage, options.only)
    results: dict[str, Sequence[Measured]] = {}
    for case in cases:
        say(f"Measuring {case.name}: {', '.join(contender.name for contender in case.contenders)}")
        results[case.name] = measure(
            case, rounds=options.rounds, sample_seconds=options.sample_seconds, clock=CLOCKS[options.clock]
        )
    rows = [row for name, measured in results.items() for row in _rows(name, measured)]
    verdicts = [(wanted.target, _value(wanted, results)) for wanted in targets]
    described = machine(PACKAGES)
    markdown = "\n\n".join(
        [
            "# What a signature costs",
            table(HEADINGS, rows, text=(0, 1, 6)),
            table(TARGET_HEADINGS, [target.row(value) for target, value in verdicts]),
            f"{options.rounds} rounds at most, samples of {options.sample_seconds:g} s, {options.clock} clock. "
            f"{machine_line(described)}\n",
        ]
    )
    say(markdown)
    write(
        options.name,
        markdown=markdown,
        data={"machine": described, "rounds": options.rounds, "clock": options.clock, "cases": _data(results)},
        svg=_drawing(results),
    )
    missed = [target.what for target, value in verdicts if value is not None and not target.is_met_by(value)]
    return 1 if options.check and missed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.sign", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--storage", action="append", choices=STORAGES, help="only this storage; may be repeated")
    parser.add_argument("--only", help="only cases whose name holds this")
    parser.add_argument("--rounds", type=int, default=21, help="samples of each contender")
    parser.add_argument("--sample-seconds", type=float, default=0.1, help="how long one sample takes")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="what is measured: wall or CPU time")
    parser.add_argument("--name", default="sign", help="what to call the files under bench/results/")
    parser.add_argument("--check", action="store_true", help="fail if a target is missed")
    return parser.parse_args(arguments)


def _collected(storages: Sequence[str] | None, only: str | None) -> tuple[list[Case], list[SpeedTarget]]:
    cases: list[Case] = []
    targets: list[SpeedTarget] = []
    for storage in storages or STORAGES:
        module = import_module(f"bench.sign_{storage}")
        cases += [case for case in module.cases() if only is None or only in case.name]
        targets += module.TARGETS
    names = {case.name for case in cases}
    return cases, [wanted for wanted in targets if wanted.case in names]


def _value(wanted: SpeedTarget, results: Results) -> float | None:
    by_name = {each.contender.name: each for each in results[wanted.case]}
    return by_name[wanted.slower].ratio_to(by_name[wanted.than]).median


def _rows(case: str, measured: Sequence[Measured]) -> list[list[str]]:
    return [
        [
            case if each is measured[0] else "",
            each.contender.name,
            figure(each.time.median * 1e6),
            f"{figure(each.time.low * 1e6)}-{figure(each.time.high * 1e6)}",
            f"{each.ratio_to(measured[0]).median:.2f}",
            f"{each.peak_bytes / 1024:,.1f}",
            each.contender.note,
        ]
        for each in measured
    ]


def _data(results: Results) -> dict[str, object]:
    def spread(value: Spread) -> dict[str, float]:
        return asdict(value)

    return {
        name: [
            {
                "by": each.contender.name,
                "note": each.contender.note,
                "seconds_per_call": spread(each.time),
                "times_presign": spread(each.ratio_to(measured[0])),
                "peak_bytes_per_call": each.peak_bytes,
                "samples": list(each.seconds),
            }
            for each in measured
        ]
        for name, measured in results.items()
    }


def _drawing(results: Results) -> str:
    def bar(each: Measured, first: Measured) -> Bar:
        ratio = each.ratio_to(first).median
        return Bar(
            label=each.contender.name,
            value=ratio,
            text=f"{ratio:.3g} x ({duration(each.time.median)})",
            ours=each.contender.name.startswith("presign"),
        )

    return draw(
        title="Time per signature, as a multiple of presign's",
        subtitle="Logarithmic scale; shorter is faster. All contenders alternately in one run.",
        groups=[
            Group(title=name, bars=[bar(each, measured[0]) for each in sorted(measured, key=lambda m: m.time.median)])
            for name, measured in results.items()
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
