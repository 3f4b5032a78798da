from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from presign import CredentialsUnavailable
from presign.backends.expiring_credentials import RETRY_INTERVAL, CredentialsRenewer, ExpiringCredentials

START = datetime(2026, 11, 23, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


class Source:
    """Hands out values that want renewing after 45 minutes and end after 60; fails while ``failing``."""

    def __init__(self) -> None:
        self.fetched = 0
        self.failing = False
        self.release = threading.Event()
        self.release.set()
        self.threads: list[str] = []

    def __call__(self) -> ExpiringCredentials[int]:
        self.threads.append(threading.current_thread().name)
        self.release.wait(5)
        if self.failing:
            raise RuntimeError("the secret is hunter2")
        start = START + self.fetched * 60 * MINUTE
        self.fetched += 1
        return ExpiringCredentials(
            credentials=self.fetched, renew_at=start + 45 * MINUTE, expires_at=start + 60 * MINUTE
        )


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_good_value_is_answered_without_fetching() -> None:
    source = Source()
    refreshing = CredentialsRenewer(source, what="it")
    assert [refreshing.current(START + n * MINUTE).credentials for n in range(45)] == [1] * 45
    assert source.fetched == 1


def test_a_value_without_an_end_is_fetched_once() -> None:
    refreshing = CredentialsRenewer(
        lambda: ExpiringCredentials(credentials="x", renew_at=None, expires_at=None), what="it"
    )
    assert refreshing.current(START + timedelta(days=10_000)).credentials == "x"


def test_the_old_value_is_answered_while_a_thread_fetches_the_new_one() -> None:
    source = Source()
    refreshing = CredentialsRenewer(source, what="it")
    source.release.clear()
    for _ in range(100):
        assert refreshing.current(START + 50 * MINUTE).credentials == 1
    source.release.set()
    _wait_for(lambda: refreshing.current(START + 50 * MINUTE).credentials == 2)
    assert source.threads == ["MainThread", "renew it"], "one fetch, whatever the number of callers"


def test_an_expired_value_is_waited_for() -> None:
    source = Source()
    refreshing = CredentialsRenewer(source, what="it")
    assert refreshing.current(START + 61 * MINUTE).credentials == 2


def test_an_expired_value_that_cannot_be_renewed_is_an_error_and_is_tried_again() -> None:
    source = Source()
    refreshing = CredentialsRenewer(source, what="the keys")
    source.failing = True
    with pytest.raises(CredentialsUnavailable, match="the keys expired"):
        refreshing.current(START + 61 * MINUTE)
    source.failing = False
    assert refreshing.current(START + 61 * MINUTE).credentials == 2


def test_waiting_ends_at_its_bound() -> None:
    source = Source()
    refreshing = CredentialsRenewer(source, what="it", wait_seconds=0.05)
    source.release.clear()
    began = time.monotonic()
    with pytest.raises(CredentialsUnavailable):
        refreshing.current(START + 61 * MINUTE)
    assert time.monotonic() - began < 2
    source.release.set()


def test_a_failing_source_is_not_asked_at_every_call_and_its_message_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Source()
    refreshing = CredentialsRenewer(source, what="it")
    source.failing = True
    with caplog.at_level(logging.WARNING, logger="presign"):
        assert refreshing.current(START + 50 * MINUTE).credentials == 1
        _wait_for(lambda: bool(caplog.records))
        for _ in range(10):
            assert refreshing.current(START + 50 * MINUTE).credentials == 1
        assert len(source.threads) == 2
        assert refreshing.current(START + 50 * MINUTE + RETRY_INTERVAL).credentials == 1
        _wait_for(lambda: len(source.threads) == 3)
    assert "RuntimeError" in caplog.text
    assert "hunter2" not in caplog.text


def test_many_threads_share_one_renewal() -> None:
    source = Source()
    refreshing = CredentialsRenewer(source, what="it")
    seen: list[int] = []
    threads = [
        threading.Thread(target=lambda: seen.append(refreshing.current(START + 61 * MINUTE).credentials))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [2] * 20
    assert source.fetched == 2
