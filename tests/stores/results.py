"""The results of `make test-stores`: kept in results.json, and shown in docs/stores.md between markers.

    python -m tests.stores.results

writes the tables of docs/stores.md anew from results.json.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.stores.attacking import WHO
from tests.stores.faults import FAULTS
from tests.stores.matters import MATTERS
from tests.stores.servers import KINDS

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "stores.md"


def read_results() -> dict[str, Any]:
    """Return the committed results, by the store."""
    results: dict[str, Any] = json.loads(RESULTS.read_text())
    return results


def write_results(results: Mapping[str, Any]) -> None:
    """Replace the results of the stores that ``results`` has, keep those of the others, and write the tables anew."""
    kept = read_results() if RESULTS.exists() else {}
    merged = {**kept, **results}
    RESULTS.write_text(json.dumps({store: merged[store] for store in KINDS if store in merged}, indent=1) + "\n")
    write_page()


def write_page() -> None:
    """Write the tables of the page anew."""
    PAGE.write_text(with_tables(PAGE.read_text()))


def with_tables(page: str) -> str:
    """Return the page with its tables made from the committed results."""
    results = read_results()
    for name, table in (("shown", _shown(results)), ("matters", _matters(results)), ("faults", _faults(results))):
        pattern = rf"(<!-- table: stores {name} -->\n).*?(<!-- end of table -->)"
        found = re.search(pattern, page, re.DOTALL)
        assert found, f"docs/stores.md has no table {name}"
        page = f"{page[: found.start()]}{found[1]}{table}{found[2]}{page[found.end() :]}"
    return page


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _shown(results: Mapping[str, Any]) -> str:
    rows = []
    for store, result in results.items():
        passed = sum(outcome == "passes" for outcome in result["checks"].values())
        for who, words in WHO.items():
            counted = Counter(outcome for name, outcome in result["attacks"].items() if name.startswith(f"{who}: "))
            rows.append(
                [
                    f"{KINDS[store].name} {result['version']}",
                    result["date"],
                    f"{passed} of {len(result['checks'])}" if who == "limited" else "",
                    words,
                    *(str(counted.get(outcome, 0)) for outcome in ("refused", "completion", "harmless", "obeyed")),
                ]
            )
    head = [
        "store",
        "tried on",
        "checks passed",
        "the signer has",
        "attacks refused by the store",
        "by completion",
        "without effect",
        "obeyed",
    ]
    return _table(head, rows)


def _matters(results: Mapping[str, Any]) -> str:
    rows = [
        [str(matter.__doc__), *(result["matters"][matter.__name__] for result in results.values())]
        for matter in MATTERS
    ]
    return _table(["", *(f"{KINDS[store].name} {result['version']}" for store, result in results.items())], rows)


def _faults(results: Mapping[str, Any]) -> str:
    rows = [
        [", ".join(KINDS[store].name for store in fault.stores), fault.what, fault.presign, fault.operator]
        for fault in FAULTS
    ]
    return _table(["store", "what happens", "what presign does", "what you can do"], rows)


if __name__ == "__main__":
    write_page()
    sys.exit()
