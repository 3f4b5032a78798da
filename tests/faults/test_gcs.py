"""Uploads of large files to the reference for Google that fail at random moments.

``make test-faults`` tries more of them.
"""

from __future__ import annotations

import pytest

from tests.faults.faults import COUNT, World, check_fault
from tests.faults.stores import GcsStore

STORE = GcsStore


@pytest.mark.parametrize("number", range(COUNT))
def test_a_file_ends_with_its_bytes_and_no_part_is_sent_again_that_the_storage_had(world: World, number: int) -> None:
    check_fault(world, number)
