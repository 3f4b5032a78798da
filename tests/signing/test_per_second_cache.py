"""What is kept for a second: made once in it, and never answered in another."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presign.signing.per_second_cache import MAX_ENTRIES, PerSecondCache

NOON = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)


def test_a_value_is_made_once_in_its_second_for_each_key() -> None:
    made: list[tuple[int, str]] = []

    def make(second: int, key: str) -> object:
        made.append((second, key))
        return object()

    kept = PerSecondCache(make)
    first = kept.get(NOON, "a")
    assert kept.get(NOON + timedelta(microseconds=999_999), "a") is first
    assert kept.get(NOON, "b") is not first
    assert kept.get(NOON + timedelta(seconds=1), "a") is not first
    assert made == [(1767355200, "a"), (1767355200, "b"), (1767355201, "a")]


@given(st.lists(st.tuples(st.integers(-3_000_000, 3_000_000), st.integers(0, 3)), max_size=40))
def test_no_value_of_another_second_or_key_is_answered_however_the_clock_jumps(calls: list[tuple[int, int]]) -> None:
    kept: PerSecondCache[int, tuple[int, int]] = PerSecondCache(lambda second, key: (second, key))
    for microseconds, key in calls:
        now = NOON + timedelta(microseconds=microseconds)
        assert kept.get(now, key) == (int(now.timestamp()), key)


def test_times_are_the_same_whatever_their_zone() -> None:
    kept: PerSecondCache[int, object] = PerSecondCache(lambda second, key: object())
    assert kept.get(NOON, 0) is kept.get(NOON.astimezone(timezone(timedelta(hours=5, minutes=30))), 0)


def test_many_keys_in_one_second_are_not_all_kept() -> None:
    kept: PerSecondCache[int, list[int]] = PerSecondCache(lambda second, key: [key])
    for key in range(10 * MAX_ENTRIES):
        assert kept.get(NOON, key) == [key]
    assert len(kept._latest[3]) <= MAX_ENTRIES


def test_a_time_without_a_zone_is_refused() -> None:
    kept: PerSecondCache[int, int] = PerSecondCache(lambda second, key: key)
    with pytest.raises(TypeError, match="naive"):
        kept.get(datetime(2026, 1, 2), 0)
