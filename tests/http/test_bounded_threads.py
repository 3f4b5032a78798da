"""Calls in threads whose number is limited."""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import wait

import pytest

from presign.http.bounded_threads import BoundedThreads
from tests.threads import threads_named, wait_for


def test_results_and_exceptions_reach_the_caller() -> None:
    threads = BoundedThreads(max_threads=2, name="results")
    assert threads.submit(lambda: 7).result(5) == 7
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 / 0).result(5)
    assert threads.submit(lambda: 8).result(5) == 8


def test_no_more_calls_run_at_once_than_there_are_threads_and_all_run_in_the_end() -> None:
    threads = BoundedThreads(max_threads=3, name="limited")
    lock, release = threading.Lock(), threading.Event()
    running = most = 0

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        release.wait(5)
        with lock:
            running -= 1

    futures = [threads.submit(call) for _ in range(20)]
    wait_for(lambda: running == 3, seconds=5)
    assert len(threads_named("limited")) == 3
    release.set()
    assert not wait(futures, timeout=5).not_done
    assert most == 3


def test_an_abandoned_call_keeps_its_thread_and_a_waiting_one_is_never_made() -> None:
    threads = BoundedThreads(max_threads=1, name="abandoned")
    release, made = threading.Event(), []
    hangs = threads.submit(lambda: release.wait(5))
    wait_for(hangs.running, seconds=5)
    assert not hangs.cancel()
    waiting = [threads.submit(lambda: made.append(1)) for _ in range(100)]
    assert all(future.cancel() for future in waiting)
    assert not threads._waiting, "nothing of the cancelled calls is kept"
    assert len(threads_named("abandoned")) == 1
    last = threads.submit(lambda: made.append(2))
    release.set()
    last.result(5)
    assert made == [2]


def test_threads_end_when_no_call_waits_and_never_keep_the_process_alive() -> None:
    threads = BoundedThreads(max_threads=4, name="ending")
    release = threading.Event()
    futures = [threads.submit(lambda: release.wait(5)) for _ in range(4)]
    assert [thread.daemon for thread in threads_named("ending")] == [True] * 4
    release.set()
    wait(futures, timeout=5)
    wait_for(lambda: not threads_named("ending"), seconds=5)
    assert threads.submit(lambda: "again").result(5) == "again"


def test_a_call_sees_the_context_of_its_caller() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    threads = BoundedThreads(max_threads=1, name="context")
    variable.set("set")
    assert threads.submit(variable.get).result(5) == "set"


def test_a_thread_that_cannot_be_started_is_reported_and_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = BoundedThreads(max_threads=1, name="unstartable")

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start"):
            threads.submit(lambda: None)
    assert threads.submit(lambda: 1).result(5) == 1
