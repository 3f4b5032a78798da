"""Print the README's table of figures from the results: ``python -m bench.summary``.

``tests/test_readme.py`` fails if the README says anything else.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.results import Report, number, say, table
from bench.serve import RESIDENT, case_name
from bench.sign_case import SECONDS_PER_CALL
from bench.ticket_servers import EXPRESS, PRESIGN
from bench.transfer import CPU, FORWARDING, TICKETS
from bench.wrk import RATE

HEADINGS = ("what", "presign", "compared with", "difference")

# The cases of `bench.sign` that the README shows, and what each is compared with.
_SIGNATURES = (
    ("S3 POST, type and size range", "boto3"),
    ("S3 PUT, type and exact size", "boto3"),
    ("S3 part URLs, 10,000 with their size", "boto3"),
    ("Azure service SAS", "azure-storage-blob"),
    ("Azure user delegation SAS", "azure-storage-blob"),
    ("GCS POST, HMAC", "google-cloud-storage (RSA)"),
    ("GCS PUT, HMAC", "google-cloud-storage (RSA)"),
    ("GCS POST, RSA", "RSA signature alone"),
)


def summary() -> str:
    """Return the table, in Markdown."""
    sign, serve, transfer = (Report.read(name) for name in ("sign", "serve", "transfer"))
    rows: list[Sequence[str]] = []
    for case, other in _SIGNATURES:
        ours, theirs = sign.result(case, PRESIGN.name), sign.result(case, other)
        times = [_duration(each.median(SECONDS_PER_CALL)) for each in (ours, theirs)]
        ratio = number(theirs.ratio(ours, SECONDS_PER_CALL))
        rows.append((case, times[0], f"{other}: {times[1]}", f"{other} takes {ratio} times as long"))
    for case in map(case_name, (1, 2)):
        ours, theirs = serve.result(case, PRESIGN.name), serve.result(case, EXPRESS.name)
        rates = [
            f"{number(each.median(RATE))}/s, {number(each.median(RESIDENT) / 2**20)} MiB" for each in (ours, theirs)
        ]
        ratio = number(ours.ratio(theirs, RATE))
        rows.append(
            (
                f"`POST /upload`, {case}",
                rates[0],
                f"{EXPRESS.name}: {rates[1]}",
                f"presign answers {ratio} times as many",
            )
        )
    case = transfer.results[0].case
    ours, theirs = transfer.result(case, TICKETS), transfer.result(case, FORWARDING)
    times = [f"{number(each.median(CPU))} s" for each in (ours, theirs)]
    share = number(100 * ours.ratio(theirs, CPU))
    rows.append(
        (f"{case}, the application's CPU time", times[0], f"{FORWARDING}: {times[1]}", f"presign uses {share} % of it")
    )
    return table(HEADINGS, rows)


def _duration(seconds: float) -> str:
    return f"{number(seconds * 1e3)} ms" if seconds >= 0.01 else f"{number(seconds * 1e6)} µs"


if __name__ == "__main__":
    say(summary())
