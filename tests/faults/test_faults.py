"""Large files end with the right bytes whatever fails on the way, and no part is sent twice that the storage had.

``FAULTS`` in the environment says how many faults each storage gets, and ``FAULTS_SEED`` which ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.faults.faults import KINDS, Fault, World, draw_faults, running_world, upload_during
from tests.faults.stores import STORES, KillableStore

COUNT = int(os.environ.get("FAULTS", len(KINDS)))
SEED = int(os.environ.get("FAULTS_SEED", "1"))


@pytest.fixture(scope="module", params=STORES, ids=[store.name for store in STORES])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    store: type[KillableStore] = request.param
    folder = tmp_path_factory.mktemp(store.name)
    with running_world(store(folder / "storage"), folder) as running:
        yield running


@pytest.mark.parametrize("number", range(COUNT))
def test_a_file_ends_with_its_bytes_and_no_part_is_sent_again_that_the_storage_had(world: World, number: int) -> None:
    fault = _fault(world, number)
    outcome, client = upload_during(world, fault, number)
    told = f"FAULTS_SEED={SEED}, fault {number}: {fault}\n{outcome.said}"
    assert outcome.key is not None, told
    assert world.content_of(outcome.key) == client.content, told
    assert outcome.sent_again == [], told
    assert client.tokens == [], told
    client.path.unlink()
    print(f"{fault}: {outcome.runs} runs")


def _fault(world: World, number: int) -> Fault:
    return draw_faults(SEED, COUNT, parts=world.store.part_count)[number]
