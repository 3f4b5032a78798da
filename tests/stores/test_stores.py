"""Other S3 stores, really: the conformance checks, the attacks and the matters of docs/stores.md.

Each store runs where its program is found. Without ``PRESIGN_STORES``, a few checks and attacks are tried: those that
show that nothing unverified becomes public. ``make test-stores`` sets it, and tries all of them; it also writes what it
saw into results.json and docs/stores.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

from emulators.stores import NotInstalled
from presign import Rule
from presign.doctor import examine
from presign.testing import CHECKS, Subject
from tests.conftest import Store
from tests.stores.attacking import CASES, PENDING, Attack, outcome_of
from tests.stores.faults import expected_attack, expected_check
from tests.stores.matters import MATTERS
from tests.stores.results import read_results, write_results
from tests.stores.servers import KINDS, PENDING_PREFIX, PUBLIC_PREFIX, RunningStore, run_store

CHOSEN = [name for name in os.environ.get("PRESIGN_STORES", "").split(",") if name]
"""The stores to try in everything, and to write the results of; none in `make test`."""

SUBJECTS = {
    "auto, pending": ("auto", PENDING_PREFIX),
    "PUT, pending": ("put", PENDING_PREFIX),
    "POST, straight": ("post", None),
    "PUT, straight": ("put", None),
}
_FEW_CHECKS = {"accepts_a_valid_upload", "refuses_a_copy_that_nobody_signed", "refuses_attributes_that_nobody_signed"}
# What `make test` tries shows that nothing unverified becomes public.
CHECK_CASES = [
    pytest.param(name, check, id=f"{name}: {check.__name__}")
    for name in SUBJECTS
    for check in CHECKS
    if CHOSEN or (name == "PUT, pending" and check.__name__ in _FEW_CHECKS)
]
ATTACK_CASES = [
    pytest.param(who, attack, id=f"{who}: {attack.id}")
    for who, attack in CASES
    if CHOSEN or (who == "limited" and attack.way == PENDING and attack.name.startswith("extra"))
]
MATTER_CASES = [
    pytest.param(matter, id=matter.__name__) for matter in MATTERS if CHOSEN or matter.__name__.endswith("guards")
]
# SeaweedFS has all of this in other tests of `make test`.
STORES = CHOSEN or [name for name in KINDS if name != "seaweedfs"]
SEEN: dict[str, dict[str, Any]] = {}


@pytest.fixture(scope="module", params=STORES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    try:
        with run_store(request.param, tmp_path_factory.mktemp(request.param)) as store:
            today = datetime.now(timezone.utc).date().isoformat()
            SEEN[store.kind] = {"version": store.version, "date": today, "checks": {}, "attacks": {}, "matters": {}}
            yield store
    except NotInstalled as missing:
        if CHOSEN:
            raise
        pytest.skip(f"{missing}. It would show that nothing unverified becomes public on {KINDS[request.param].name}")


@pytest.fixture(scope="module", autouse=True)
def _results(request: pytest.FixtureRequest) -> Iterator[None]:
    failed = request.session.testsfailed
    yield
    # Options of pytest may have left out some of the tests.
    complete = [len(SUBJECTS) * len(CHECKS), len(CASES), len(MATTERS)]
    tried = [[len(seen[what]) for what in ("checks", "attacks", "matters")] for seen in SEEN.values()]
    if CHOSEN and request.session.testsfailed == failed and tried == [complete] * len(CHOSEN):
        write_results(SEEN)


def _subject(store: Store, name: str) -> Subject:
    method, pending_prefix = SUBJECTS[name]
    return Subject(backend=store.backend(upload_method=method), pending_prefix=pending_prefix)


@pytest.mark.parametrize(("name", "check"), CHECK_CASES)
def test_a_store_does_what_tickets_say_except_for_its_known_faults(
    running: RunningStore, name: str, check: Any
) -> None:
    complaint = None
    try:
        check(_subject(running.limited, name))
    except Exception as error:
        complaint = error
    case = f"{name}: {check.__name__}"
    outcome = "passes" if complaint is None else "fails"
    SEEN[running.kind]["checks"][case] = outcome
    assert outcome == expected_check(running.kind, case), f"{complaint!r}"


@pytest.mark.parametrize(("who", "attack"), ATTACK_CASES)
def test_an_attack_is_stopped_except_for_known_faults(running: RunningStore, who: str, attack: Attack) -> None:
    outcome = outcome_of(attack, getattr(running, who))
    SEEN[running.kind]["attacks"][f"{who}: {attack.id}"] = outcome
    assert outcome == expected_attack(running.kind, attack.id)


@pytest.mark.parametrize("matter", MATTER_CASES)
def test_a_store_does_what_the_page_says(running: RunningStore, matter: Any) -> None:
    answer = matter(running)
    SEEN[running.kind]["matters"][matter.__name__] = answer
    if CHOSEN:
        assert answer
    else:
        assert answer == read_results()[running.kind]["matters"][matter.__name__]


@pytest.mark.parametrize("name", SUBJECTS if CHOSEN else ["PUT, pending"])
def test_with_what_the_doctor_learned_no_ticket_promises_a_checksum_that_the_store_does_not_check(
    running: RunningStore, name: str
) -> None:
    method, pending_prefix = SUBJECTS[name]
    plain = running.limited.backend(upload_method=method)
    learned = examine(plain, prefix=PUBLIC_PREFIX, pending_prefix=pending_prefix).learned
    assert any(learned.shown.values()), "the doctor has learned nothing"
    subject = Subject(
        backend=running.limited.backend(upload_method=method, learned=learned), pending_prefix=pending_prefix
    )
    ignores_checksums = expected_check(running.kind, f"{name}: enforces_the_checksum") == "fails"
    assert any(Rule.CHECKSUM in rules for rules in learned.shown.values()) is not ignores_checksums
    (check,) = (check for check in CHECKS if check.__name__ == "enforces_the_checksum")
    check(subject)
