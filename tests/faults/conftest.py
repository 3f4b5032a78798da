"""The storage of each file of tests, with everything around it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.faults import World, running_world
from tests.faults.stores import KillableStore


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    store: type[KillableStore] = request.module.STORE
    folder = tmp_path_factory.mktemp(store.name)
    with running_world(store(folder / "storage"), folder) as running:
        yield running
