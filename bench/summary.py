"""``python -m bench.summary``: the README's table, from the results that the measurements wrote down.

``tests/test_readme.py`` holds the README to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from bench.contenders import EXPRESS_SERVER, PRESIGN
from bench.report import RESULTS, duration, say, table
from bench.transfer import THROUGH, TICKETS

HEADINGS = ("What", "presign", "beside it", "")

# A case of `bench.sign`, with what it is compared with.
_SIGNATURES = (
    ("S3 POST, type and size range", "boto3"),
    ("S3 PUT, type and exact size", "boto3"),
    ("S3 part URLs, 10,000 with their size", "boto3"),
    ("Azure service SAS", "azure-storage-blob"),
    ("Azure user delegation SAS", "azure-storage-blob"),
    ("GCS POST, HMAC", "google-cloud-storage (RSA)"),
    ("GCS PUT, HMAC", "google-cloud-storage (RSA)"),
    ("GCS POST, RSA", "floor"),
)


def summary() -> str:
    """Return the table, in Markdown."""
    return table(HEADINGS, [*_signatures(_read("sign")), *_servers(_read("serve")), *_transfers(_read("transfer"))])


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _signatures(data: Mapping[str, Any]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for case, other in _SIGNATURES:
        by = {each["by"]: each for each in data["cases"][case]}
        ratio = by[other]["times_presign"]["median"]
        name, said = (other, f"{ratio:.1f} times as long")
        if other == "floor":
            name, said = ("the RSA signature alone", f"{1 / ratio:.2f} of it")
        ours, theirs = (duration(by[each]["seconds_per_call"]["median"]) for each in ("presign", other))
        rows.append((case, ours, f"{name}: {theirs}", said))
    return rows


def _servers(data: Mapping[str, Any]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for workers, results in data["results"].items():
        ours, theirs = results[PRESIGN.name], results[EXPRESS_SERVER.name]
        rates = [[each["load"]["requests_per_second"] for each in rounds] for rounds in (ours, theirs)]
        ratio = median(mine / its for mine, its in zip(*rates, strict=True))
        resident = [median(each["memory"]["resident"] for each in rounds) / 2**20 for rounds in (ours, theirs)]
        rows.append(
            (
                f"`POST /upload`, {workers} worker{'s' if int(workers) > 1 else ''}",
                f"{median(rates[0]):,.0f}/s, {resident[0]:.0f} MiB",
                f"{EXPRESS_SERVER.name}: {median(rates[1]):,.0f}/s, {resident[1]:.0f} MiB",
                f"{ratio:.1f} times as many",
            )
        )
    return rows


def _transfers(data: Mapping[str, Any]) -> list[Sequence[str]]:
    ours, theirs = (median(each["cpu_seconds"] for each in data["results"][way]) for way in (TICKETS, THROUGH))
    mebibytes = data["files"] * data["file_bytes"] // 2**20
    return [
        (
            f"{mebibytes:,} MiB in {data['files']} files, the application's CPU",
            f"{ours:.2f} s",
            f"forwarding with boto3: {theirs:.1f} s",
            f"{100 * ours / theirs:.2f} % of it",
        )
    ]


if __name__ == "__main__":
    say(summary())
