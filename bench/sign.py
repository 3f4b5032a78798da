"""Measure what a signature costs with presign, with the providers' SDKs, and with code written by hand.

``sign_s3.py``, ``sign_azure.py`` and ``sign_gcs.py`` list the cases.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from importlib import import_module

from bench.results import Benchmark, Column, Result, Target, say
from bench.rounds import alternate
from bench.sign_case import PRESIGN, SECONDS_PER_CALL, SigningCase

CLOUDS = ("s3", "azure", "gcs")
# CPU time varies less than wall time on a machine that does other work too.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
BENCHMARK = Benchmark(
    name="sign",
    title="What a signature costs",
    description=__doc__.partition("\n")[0],
    columns=[
        Column(heading="µs per call (quartiles)", figure=SECONDS_PER_CALL, scale=1e6, with_quartiles=True),
        Column(heading="times presign", figure=SECONDS_PER_CALL, than=PRESIGN),
    ],
    packages=(
        "boto3",
        "minio",
        "obstore",
        "opendal",
        "azure-storage-blob",
        "google-cloud-storage",
        "cryptography",
        "orjson",
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if ``--check`` is given and a target is missed."""
    parser = BENCHMARK.parser(rounds=21)
    parser.add_argument("--cloud", action="append", choices=CLOUDS, help="only this cloud; may be repeated")
    parser.add_argument("--only", default="", help="only cases whose name contains this text")
    parser.add_argument("--sample-seconds", type=float, default=0.1, help="how long a sample takes (%(default)s)")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="the time to measure (%(default)s)")
    options = parser.parse_args(arguments)
    cases = [case for cloud in options.cloud or CLOUDS for case in cases_of(cloud) if options.only in case.name]
    if not cases:
        parser.error(f"no case's name contains {options.only!r}")
    results: list[Result] = []
    targets: list[Target] = []
    for case in cases:
        say(f"{case.name}: {', '.join(case.signers)}")
        implementations = case.implementations(sample_seconds=options.sample_seconds, clock=CLOCKS[options.clock])
        results += alternate(case.name, implementations, rounds=min(options.rounds, case.max_rounds))
        targets += case.targets()
    conditions = f"At most {options.rounds} rounds, samples of {options.sample_seconds:g} s, {options.clock} time."
    return BENCHMARK.finish(options, results, targets, conditions=conditions)


def cases_of(cloud: str) -> list[SigningCase]:
    """Return the cases of one cloud; the others' SDKs are not imported."""
    cases: list[SigningCase] = import_module(f"bench.sign_{cloud}").cases()
    return cases


if __name__ == "__main__":
    sys.exit(main())
