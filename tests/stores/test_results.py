"""The committed results, and the page that shows them."""

from __future__ import annotations

import re

from presign.testing import CHECKS
from tests.stores.attacking import CASES
from tests.stores.faults import FAULTS, expected_attack, expected_check
from tests.stores.matters import MATTERS
from tests.stores.results import PAGE, read_results, with_tables
from tests.stores.servers import KINDS
from tests.stores.test_stores import SUBJECTS


def test_the_results_have_every_store_check_attack_and_matter() -> None:
    results = read_results()
    assert list(results) == list(KINDS)
    for result in results.values():
        assert set(result["checks"]) == {f"{name}: {check.__name__}" for name in SUBJECTS for check in CHECKS}
        assert set(result["attacks"]) == {f"{who}: {attack.id}" for who, attack in CASES}
        assert set(result["matters"]) == {matter.__name__ for matter in MATTERS}


def test_the_results_are_what_the_faults_explain() -> None:
    for store, result in read_results().items():
        for name, outcome in result["checks"].items():
            assert outcome == expected_check(store, name), (store, name)
        for name, outcome in result["attacks"].items():
            assert outcome == expected_attack(store, name.partition(": ")[2]), (store, name)


def test_every_fault_was_seen() -> None:
    results = read_results()
    for fault in FAULTS:
        for store, names in fault.checks.items():
            assert names <= set(results[store]["checks"])
        for store, attacks in fault.attacks.items():
            assert {f"limited: {name}" for name in attacks} <= set(results[store]["attacks"])


def test_nothing_but_a_date_in_the_future_is_obeyed_by_any_store() -> None:
    for store, result in read_results().items():
        obeyed = {name for name, outcome in result["attacks"].items() if outcome == "obeyed"}
        assert all(name.endswith("not yet valid: an hour") for name in obeyed), (store, obeyed)


def test_no_store_copies_or_publishes_for_a_guarded_ticket() -> None:
    for store, result in read_results().items():
        for name, answer in result["matters"].items():
            if name.endswith("guards"):
                assert answer in {"refused", "ignored"}, (store, name, answer)


def test_the_tables_of_the_page_are_those_of_the_results() -> None:
    page = PAGE.read_text()
    assert page == with_tables(page), "run python -m tests.stores.results"
    tables = re.findall(r"<!-- table: stores \w+ -->\n(.*?)<!-- end of table -->", page, re.DOTALL)
    assert len(tables) == 3
    for table in tables:
        rows = table.strip().splitlines()
        assert len({row.count(" | ") for row in rows}) == 1, "every row has the same columns"
        assert all(row.startswith("| ") and row.endswith(" |") for row in rows)
