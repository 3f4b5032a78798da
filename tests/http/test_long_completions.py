"""Completions that go on after a request has given up, and are joined by the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from presign import CompletionPending, Rejected, StorageUnavailable
from presign.http.long_completions import KEPT_SECONDS, LongCompletions

NOW, SOON = 0.01, 10.0


class _Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class _Slow:
    """A completion that ends when it is released, and counts its calls."""

    def __init__(self, end: Callable[[], str]) -> None:
        self._end = end
        self.released = threading.Event()
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        assert self.released.wait(30)
        return self._end()


def _rejected() -> str:
    raise Rejected("too dark")


def test_who_asks_again_gets_the_result_of_the_same_completion_and_the_next_one_a_new_one() -> None:
    completions, slow = LongCompletions(max_threads=2), _Slow(lambda: "stored")
    for _ in range(3):
        with pytest.raises(CompletionPending) as caught:
            completions.result("token", slow, timeout_seconds=NOW)
        assert caught.value.retry_after == 1
    slow.released.set()
    assert completions.result("token", slow, timeout_seconds=SOON) == "stored"
    assert slow.calls == 1
    assert completions.result("token", slow, timeout_seconds=SOON) == "stored"
    assert slow.calls == 2


def test_an_error_is_delivered_once_to_who_asks_again() -> None:
    completions, slow = LongCompletions(max_threads=2), _Slow(_rejected)
    with pytest.raises(CompletionPending):
        completions.result("token", slow, timeout_seconds=NOW)
    slow.released.set()
    with pytest.raises(Rejected, match="too dark"):
        completions.result("token", slow, timeout_seconds=SOON)
    assert completions.result("token", lambda: "another result", timeout_seconds=SOON) == "another result"


def test_two_that_wait_for_the_same_completion_both_get_its_result() -> None:
    completions, slow = LongCompletions(max_threads=2), _Slow(lambda: "stored")
    joined = [completions.join("token", slow) for _ in range(2)]
    slow.released.set()
    assert joined[0] is joined[1]
    assert joined[0].result(SOON) == "stored"
    assert [completions.deliver("token", each) for each in joined] == ["stored", "stored"]
    assert slow.calls == 1


def test_each_key_has_a_completion_of_its_own() -> None:
    completions = LongCompletions(max_threads=2)
    for key in (("kind", "token", "alice"), ("kind", "token", "bob"), ("other", "token", "alice")):
        assert completions.result(key, lambda key=key: str(key), timeout_seconds=SOON) == str(key)  # type: ignore[misc]


def test_a_result_that_nobody_fetched_is_forgotten_after_its_time() -> None:
    clock = _Clock()
    completions = LongCompletions(max_threads=1, clock=clock)
    first = completions.join("token", lambda: "of yesterday")
    assert first.result(SOON) == "of yesterday"
    # The next call of the same thread comes after the end of the first was noted.
    completions.join("another", lambda: "").result(SOON)
    clock.seconds = KEPT_SECONDS
    assert completions.join("token", lambda: "of today") is first
    clock.seconds = KEPT_SECONDS + 1
    assert completions.join("token", lambda: "of today").result(SOON) == "of today"


def test_a_completion_that_runs_is_never_forgotten() -> None:
    clock, slow = _Clock(), _Slow(lambda: "stored")
    completions = LongCompletions(max_threads=1, clock=clock)
    running: Future[str] = completions.join("token", slow)
    clock.seconds = 10 * KEPT_SECONDS
    assert completions.join("token", slow) is running
    slow.released.set()
    assert running.result(SOON) == "stored"


def test_no_more_completions_are_accepted_than_can_be_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presign.http.long_completions._MAX_COMPLETIONS", 2)
    completions, slow = LongCompletions(max_threads=1), _Slow(lambda: "stored")
    for key in ("one", "two"):
        completions.join(key, slow)
    with pytest.raises(StorageUnavailable, match="too many large files"):
        completions.join("three", slow).result(SOON)
    slow.released.set()
    for key in ("one", "two", "three"):
        assert completions.result(key, slow, timeout_seconds=SOON) == "stored"


def test_a_result_that_nobody_fetched_makes_room_for_another_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presign.http.long_completions._MAX_COMPLETIONS", 3)
    completions, slow = LongCompletions(max_threads=2), _Slow(lambda: "stored")
    running = completions.join("running", slow)
    for number in range(10):
        assert completions.join(number, lambda: "unfetched").result(SOON) == "unfetched"
        # The next call of the same thread comes after the end of the first was noted.
        completions._threads.submit(lambda: None).result(SOON)
    assert completions.join("running", slow) is running
    slow.released.set()
    assert running.result(SOON) == "stored"


def test_the_completions_of_one_request_take_turns_with_those_of_others() -> None:
    completions, slow, begun = LongCompletions(max_threads=1), _Slow(lambda: "stored"), list[str]()

    def notes(name: str) -> Callable[[], str]:
        return lambda: begun.append(name) or name  # type: ignore[func-returns-value]

    calls: dict[str, Callable[[], str]] = {"one": slow, "two": notes("two"), "three": notes("three")}
    joined = completions.join_all(calls, at_once=1)
    other = completions.join("other", notes("other"))
    assert completions.join_all({"two": slow}, at_once=1) == {"two": joined["two"]}
    slow.released.set()
    assert [each.result(SOON) for each in (*joined.values(), other)] == ["stored", "two", "three", "other"]
    assert begun[0] == "other"
    assert slow.calls == 1


def test_one_owner_does_not_take_the_places_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presign.http.long_completions._MAX_OF_ONE_OWNER", 2)
    completions, slow = LongCompletions(max_threads=1), _Slow(lambda: "stored")
    joined = completions.join_all(dict.fromkeys(["one", "two", "three"], slow), at_once=1, owner="mallory")
    with pytest.raises(StorageUnavailable, match="too many large files"):
        joined["three"].result(SOON)
    assert completions.join("one", slow, owner="mallory") is joined["one"]
    others = [completions.join(name, slow, owner=owner) for name, owner in (("of alice", "alice"), ("of nobody", None))]
    slow.released.set()
    assert [each.result(SOON) for each in (joined["one"], joined["two"], *others)] == ["stored"] * 4
    # The next call of the same thread comes after the end of the first was noted.
    completions._threads.submit(lambda: None).result(SOON)
    assert completions.join("three", slow, owner="mallory").result(SOON) == "stored", "the others have ended"
