"""Measure how long a fresh process takes until its first ticket, as a serverless function does.

Every sample is a process of its own, from its start to its end. The modules are compiled before, and the machine has
the files in memory. The processes have no other settings than those that the benchmark gives them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.results import Benchmark, Column, Report, Result, Target, number, say, table
from bench.rounds import Implementation, Sample, alternate
from bench.ticket_servers import AWS
from emulators.gcs_accounts import GOOGLE_TOKEN_URI, generate_credentials

WALL, CPU = "wall_seconds", "cpu_seconds"
IMPORTS = "imports"
S3, AZURE = "S3, first ticket", "Azure, first ticket"
GCS_RSA, GCS_HMAC = "Google with an RSA key, first ticket", "Google with an HMAC key, first ticket"
PRESIGN, BARE = "presign", "Python alone"
BOTO3_IMPORT, BOTO3_FORM = "boto3, its import alone", "boto3, generate_presigned_post"
AZURE_SDK = "azure-storage-blob, generate_blob_sas"
GOOGLE_SDK = "google-cloud-storage, generate_signed_post_policy_v4"
BENCHMARK = Benchmark(
    name="cold",
    title="How long a fresh process takes until its first ticket",
    description=__doc__.partition("\n")[0],
    columns=[
        Column(heading="ms (quartiles)", figure=WALL, scale=1e3, with_quartiles=True),
        Column(heading="CPU ms", figure=CPU, scale=1e3),
        Column(heading="CPU, times presign", figure=CPU, than=PRESIGN),
    ],
    packages=("boto3", "azure-storage-blob", "google-cloud-storage", "cryptography", "orjson", "itsdangerous"),
)
_PROGRAMS = Path(__file__).resolve().parent / "cold_starts"
# The processes inherit these variables only, which say where programs and libraries are.
_KEPT_VARIABLES = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH")
_CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Start:
    """A process: the arguments of its interpreter, and the settings in its environment."""

    case: str
    by: str
    arguments: Sequence[str]
    settings: Mapping[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if ``--check`` is given and a target is missed."""
    parser = BENCHMARK.parser(rounds=21)
    options = parser.parse_args(arguments)
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        all_starts = starts(Path(folder))
        for case in dict.fromkeys(start.case for start in all_starts):
            chosen = [start for start in all_starts if start.case == case]
            say(f"{case}: {', '.join(start.by for start in chosen)}")
            for start in chosen:
                # The first run compiles the modules.
                measure(start, Path(folder))
            implementations = [
                Implementation(name=start.by, measure=partial(measure, start, Path(folder))) for start in chosen
            ]
            results += alternate(case, implementations, rounds=options.rounds)
    conditions = f"{options.rounds} rounds; medians of processes."
    return BENCHMARK.finish(options, results, targets(), conditions=conditions)


def targets() -> list[Target]:
    """Return the bounds: 80 ms until the first ticket for S3, and a share of what each SDK takes."""
    return [
        Target(case=S3, by=PRESIGN, figure=WALL, relation="at most", bound=0.08),
        Target(case=S3, by=PRESIGN, than=BOTO3_IMPORT, figure=CPU, relation="at most", bound=0.6),
        Target(case=S3, by=PRESIGN, than=BOTO3_FORM, figure=CPU, relation="at most", bound=0.3),
        Target(case=AZURE, by=PRESIGN, than=AZURE_SDK, figure=CPU, relation="at most", bound=0.4),
        Target(case=GCS_RSA, by=PRESIGN, than=GOOGLE_SDK, figure=CPU, relation="at most", bound=0.5),
        Target(case=GCS_HMAC, by=PRESIGN, than=GOOGLE_SDK, figure=CPU, relation="at most", bound=0.4),
    ]


def summary(report: Report) -> str:
    """Return the table of docs/performance.md, in Markdown."""
    rows = []
    for case, others in {S3: (BOTO3_IMPORT, BOTO3_FORM), AZURE: (AZURE_SDK,), GCS_RSA: (GOOGLE_SDK,)}.items():
        ours = report.result(case, PRESIGN)
        for theirs in (report.result(case, other) for other in others):
            times = [f"{number(each.median(WALL) * 1e3)} ms" for each in (ours, theirs)]
            rows.append((case, times[0], theirs.by, times[1], number(ours.ratio(theirs, CPU))))
    return table(("case", "presign", "compared with", "its time", "presign's share of its CPU time"), rows)


def starts(folder: Path) -> list[Start]:
    """Return every process of the benchmark; ``folder`` is for the files that they read, and is their home."""
    key_file = folder / "service-account.json"
    generate_credentials(key_file, token_uri=GOOGLE_TOKEN_URI)
    key = "00112233445566778899aabbccddeeff"
    aws = {**AWS, "AWS_SESSION_TOKEN": "the token of a session"}
    azure = {"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=example;AccountKey={key};EndpointSuffix=core.windows.net"}
    hmac = {"GCS_HMAC_ACCESS_ID": "GOOG1EEXAMPLE000000001", "GCS_HMAC_SECRET": key}
    return [
        _import(IMPORTS, BARE, "pass"),
        _import(IMPORTS, PRESIGN, "import presign"),
        _import(IMPORTS, "presign.s3", "import presign.s3"),
        _program(IMPORTS, "presign.asgi, create_app for S3", "presign_asgi", settings=aws),
        _program(S3, PRESIGN, "presign_s3", settings=aws),
        _import(S3, BOTO3_IMPORT, "import boto3"),
        _program(S3, BOTO3_FORM, "boto3_s3", settings=aws),
        _program(AZURE, PRESIGN, "presign_azure", settings=azure),
        _program(AZURE, AZURE_SDK, "azure_storage_blob", settings=azure),
        _program(GCS_RSA, PRESIGN, "presign_gcs", str(key_file)),
        _program(GCS_RSA, GOOGLE_SDK, "google_cloud_storage", str(key_file)),
        _program(GCS_HMAC, PRESIGN, "presign_gcs", settings=hmac),
        # It signs with no HMAC key.
        _program(GCS_HMAC, GOOGLE_SDK, "google_cloud_storage", str(key_file)),
    ]


def measure(start: Start, home: Path) -> Sample:
    """Run the process once, alone; raises CalledProcessError if it fails."""
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    environment |= {"HOME": str(home), "PYTHONPATH": str(_CHECKOUT), **start.settings}
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *start.arguments], env=environment, stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return {WALL: wall, CPU: usage.ru_utime + usage.ru_stime}


def _import(case: str, by: str, statement: str) -> Start:
    return Start(case=case, by=by, arguments=["-c", statement], settings={})


def _program(case: str, by: str, name: str, *arguments: str, settings: Mapping[str, str] = {}) -> Start:
    return Start(case=case, by=by, arguments=[str(_PROGRAMS / f"{name}.py"), *arguments], settings=settings)


if __name__ == "__main__":
    sys.exit(main())
