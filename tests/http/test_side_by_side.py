"""Many calls of one request in a limited number of threads, which other requests need too."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

import pytest

from presign.http.bounded_threads import BoundedThreads
from presign.http.side_by_side import run_side_by_side, when_all_ended
from tests.threads import threads_named, wait_for

SECONDS = 60


def test_results_and_exceptions_come_in_the_order_of_the_calls() -> None:
    def fail() -> int:
        raise ZeroDivisionError

    calls: list[Callable[[], int]] = [*(partial(int, number) for number in range(30)), fail, partial(int, 30)]
    futures = run_side_by_side(BoundedThreads(max_threads=4, name="order"), calls, at_once=3)
    when_all_ended(futures).result(SECONDS)
    assert [each.result() for each in futures[:30]] == list(range(30))
    assert isinstance(futures[30].exception(), ZeroDivisionError)
    assert futures[31].result() == 30


@pytest.mark.parametrize(("at_once", "most"), [(3, 3), (9, 4)])
def test_no_more_calls_run_at_once_than_the_request_and_the_threads_allow(at_once: int, most: int) -> None:
    threads = BoundedThreads(max_threads=4, name=f"limited to {at_once}")
    released, running, lock = threading.Event(), list[int](), threading.Lock()

    def call() -> None:
        with lock:
            running.append(1)
        assert released.wait(SECONDS)

    futures = run_side_by_side(threads, [call] * 20, at_once=at_once)
    wait_for(lambda: len(running) == most, seconds=SECONDS)
    assert len(threads_named(f"limited to {at_once}")) == most
    other = threads.submit(lambda: "another request")
    if most < 4:
        assert other.result(SECONDS) == "another request"
    else:
        assert not other.done()
    assert len(running) == most
    released.set()
    when_all_ended(futures).result(SECONDS)
    assert len(running) == 20


def test_a_call_of_another_request_that_waits_gets_the_next_turn() -> None:
    threads = BoundedThreads(max_threads=1, name="turns")
    released, order = threading.Event(), list[Any]()

    def call(number: int) -> None:
        order.append(number)
        assert released.wait(SECONDS)

    futures = run_side_by_side(threads, [partial(call, number) for number in range(4)], at_once=2)
    wait_for(lambda: order == [0], seconds=SECONDS)
    others = [threads.submit(partial(order.append, name)) for name in ("another", "and another")]
    released.set()
    when_all_ended([*futures, *others]).result(SECONDS)
    # The second turn was asked for before the others came.
    assert order[:2] == [0, 1]
    assert order[2:4] == ["another", "and another"]
    assert sorted(order[4:]) == [2, 3]


def test_a_call_whose_future_is_cancelled_is_not_made() -> None:
    threads = BoundedThreads(max_threads=1, name="cancelled")
    released, made = threading.Event(), list[int]()

    def call(number: int) -> None:
        made.append(number)
        assert released.wait(SECONDS)

    futures = run_side_by_side(threads, [partial(call, number) for number in range(4)], at_once=1)
    wait_for(lambda: made == [0], seconds=SECONDS)
    assert [each.cancel() for each in futures[:3]] == [False, True, True]
    released.set()
    when_all_ended(futures).result(SECONDS)
    assert made == [0, 3]


def test_if_the_system_has_few_threads_these_make_all_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, list[str]()
    most = 2

    def start_few(thread: threading.Thread) -> None:
        if thread.name == "few" and len(started) >= most:
            raise RuntimeError("can't start new thread")
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_few)
    released = threading.Event()

    def call(number: int) -> int:
        assert released.wait(SECONDS)
        return number

    calls = [partial(call, number) for number in range(9)]
    futures = run_side_by_side(BoundedThreads(max_threads=5, name="few"), calls, at_once=5)
    released.set()
    when_all_ended(futures).result(SECONDS)
    assert [each.result() for each in futures] == list(range(9))
    most = 0
    with pytest.raises(RuntimeError, match="can't start"):
        run_side_by_side(BoundedThreads(max_threads=5, name="few"), calls, at_once=5)


def test_a_thread_that_cannot_hand_its_calls_on_makes_them_itself() -> None:
    class Exhausted(BoundedThreads):
        """Threads for which others wait; no second one can be started."""

        submitted = 0

        @property
        def are_all_taken(self) -> bool:
            return True

        def submit(self, call: Callable[[], Any]) -> Future[Any]:
            self.submitted += 1
            if self.submitted > 1:
                raise RuntimeError("can't start new thread")
            return super().submit(call)

    futures = run_side_by_side(Exhausted(max_threads=2, name="test"), [lambda: 1, lambda: 2, lambda: 3], at_once=1)
    assert [future.result(SECONDS) for future in futures] == [1, 2, 3]


def test_the_end_of_all_can_be_waited_for_and_given_up() -> None:
    assert when_all_ended([]).done()
    first, second = Future[int](), Future[int]()
    all_ended, given_up = when_all_ended([first, second]), when_all_ended([first, second])
    assert given_up.cancel()
    first.set_exception(ZeroDivisionError())
    assert not all_ended.done()
    second.cancel()
    assert not wait([all_ended], timeout=SECONDS).not_done
    assert (all_ended.result(), given_up.cancelled(), first.cancelled()) == (None, True, False)
