"""Print the tables of the README and of docs/performance.md from the results: ``python -m bench.summary``.

``tests/test_docs.py`` fails if they say anything else.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench import cold, complete
from bench.parts import BOTO3, LONG_LINE, ONE_REQUEST, PARTS, UPPY_5_PARTS, UPPY_6_PARTS
from bench.parts import RATE as PARTS_RATE
from bench.results import Report, Result, number, say, table
from bench.serve import CPU as CPU_PER_REQUEST
from bench.serve import RESIDENT, case_name
from bench.sign_case import SECONDS_PER_CALL
from bench.ticket_servers import EMPTY, EXPRESS, FASTAPI, GO, PRESIGN, RECIPE, RUST
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
# The servers as docs/performance.md names them, in its order.
_SERVERS = {
    PRESIGN.name: "presign, the set-up below",
    RECIPE.name: "presign in FastAPI, the README's recipe on plain uvicorn",
    GO.name: "Go with the AWS SDK v2",
    RUST.name: "Rust: axum with rust-s3",
    EXPRESS.name: "Express with the AWS SDK v3",
    FASTAPI.name: "FastAPI with boto3",
    EMPTY.name: "an empty endpoint on presign's server",
}


def summary() -> str:
    """Return the table, in Markdown."""
    sign, serve, transfer, parts = (Report.read(name) for name in ("sign", "serve", "transfer", "parts"))
    rows: list[Sequence[str]] = []
    for case, other in _SIGNATURES:
        ours, theirs = sign.result(case, PRESIGN.name), sign.result(case, other)
        times = [_duration(each.median(SECONDS_PER_CALL)) for each in (ours, theirs)]
        ratio = number(theirs.ratio(ours, SECONDS_PER_CALL))
        rows.append((case, times[0], f"{other}: {times[1]}", f"{other} takes {ratio} times as long"))
    rows += serve_rows(serve)
    case = transfer.results[0].case
    ours, theirs = transfer.result(case, TICKETS), transfer.result(case, FORWARDING)
    times = [f"{number(each.median(CPU))} s" for each in (ours, theirs)]
    share = number(100 * ours.ratio(theirs, CPU))
    rows.append(
        (f"{case}, the application's CPU time", times[0], f"{FORWARDING}: {times[1]}", f"presign uses {share} % of it")
    )
    rows += _parts_rows(parts)
    return table(HEADINGS, rows)


def serve_rows(serve: Report) -> list[Sequence[str]]:
    """Return the rows about ``POST /upload``; the one about Rust only if its server was measured."""
    rows: list[Sequence[str]] = []
    for case in map(case_name, (1, 2)):
        measured = {result.by: result for result in serve.results if result.case == case}
        for mine, compared in ((PRESIGN, EXPRESS), (PRESIGN, GO), (PRESIGN, RUST), (RECIPE, GO)):
            if compared is not RUST or RUST.name in measured:
                rows.append(_serve_row(case, measured[mine.name], measured[compared.name]))
    return rows


def servers(serve: Report) -> str:
    """Return the table of docs/performance.md about ``POST /upload`` with one worker, in Markdown.

    The server in Rust has a row only if it was measured.
    """
    measured = {result.by: result for result in serve.results if result.case == case_name(1)}
    rows = []
    for name, description in _SERVERS.items():
        if name in measured or name != RUST.name:
            result = measured[name]
            times_go = number(result.ratio(measured[GO.name], RATE))
            cpu_microseconds = number(result.median(CPU_PER_REQUEST) * 1e6)
            rows.append((description, number(result.median(RATE)), times_go, cpu_microseconds))
    return table(("server", "requests/s", "times Go", "CPU µs per request"), rows)


def _serve_row(case: str, ours: Result, theirs: Result) -> Sequence[str]:
    rates = [f"{number(each.median(RATE))}/s, {number(each.median(RESIDENT) / 2**20)} MiB" for each in (ours, theirs)]
    in_fastapi = ", in FastAPI on plain uvicorn" if ours.by == RECIPE.name else ""
    return (
        f"`POST /upload`, {case}{in_fastapi}",
        rates[0],
        f"{theirs.by}: {rates[1]}",
        f"presign answers {number(ours.ratio(theirs, RATE))} times as many",
    )


def _parts_rows(parts: Report) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for case in dict.fromkeys(result.case for result in parts.results):
        others = [ONE_REQUEST, UPPY_6_PARTS, UPPY_5_PARTS, *([] if LONG_LINE in case else [BOTO3])]
        ours = parts.result(case, PARTS)
        results = [parts.result(case, other) for other in others]
        rates = [f"{each.by}: {_mib_per_second(each)}" for each in results]
        ratios = [number(ours.ratio(each, PARTS_RATE)) for each in results]
        rows.append(
            (
                f"{case} in parts, from Chromium",
                _mib_per_second(ours),
                "; ".join(rates),
                f"presign is {', '.join(ratios[:-1])} and {ratios[-1]} times as fast",
            )
        )
    return rows


def _mib_per_second(result: Result) -> str:
    return f"{number(result.median(PARTS_RATE) / 2**20)} MiB/s"


def _duration(seconds: float) -> str:
    return f"{number(seconds * 1e3)} ms" if seconds >= 0.01 else f"{number(seconds * 1e6)} µs"


if __name__ == "__main__":
    say(summary())
    say(servers(Report.read("serve")))
    say(cold.summary(Report.read("cold")))
    say(complete.summary(Report.read("complete")))
    say(complete.summary_of_slow_storage(Report.read("complete")))
