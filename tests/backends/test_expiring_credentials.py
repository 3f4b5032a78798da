from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from presign import CredentialsUnavailable
from presign.backends.expiring_credentials import (
    RETRY_INTERVAL,
    SHARED_WAIT_SECONDS,
    CredentialsExpired,
    CredentialsRenewer,
    ExpiringCredentials,
)
from tests.threads import wait_for

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 11, 23, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


class Source:
    """Returns numbers that should be renewed after 45 minutes and expire after 60; fails while ``failing``."""

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


class _Caller(threading.Thread):
    """A thread that asks for credentials which have expired, once the renewal has begun."""

    def __init__(self, renewer: CredentialsRenewer[int]) -> None:
        super().__init__()
        self.result: int | None = None
        self._renewer = renewer
        self.start()
        wait_for(lambda: renewer._renewal is not None and renewer._renewal.has_waiter, seconds=5)

    def run(self) -> None:
        self.result = self._renewer.current(START + 61 * MINUTE).credentials


def test_valid_credentials_are_returned_without_fetching() -> None:
    source = Source()
    renewer = CredentialsRenewer(source, what="it")
    assert [renewer.current(START + n * MINUTE).credentials for n in range(45)] == [1] * 45
    assert source.fetched == 1


def test_credentials_that_never_expire_are_fetched_once() -> None:
    renewer = CredentialsRenewer(
        lambda: ExpiringCredentials(credentials="x", renew_at=None, expires_at=None), what="it"
    )
    assert renewer.current(START + timedelta(days=10_000)).credentials == "x"


def test_the_old_credentials_are_returned_while_a_thread_fetches_new_ones() -> None:
    source = Source()
    renewer = CredentialsRenewer(source, what="it")
    source.release.clear()
    for _ in range(100):
        assert renewer.current(START + 50 * MINUTE).credentials == 1
    source.release.set()
    wait_for(lambda: renewer.current(START + 50 * MINUTE).credentials == 2, seconds=5)
    assert source.threads == ["MainThread", "renew it"], "one fetch, whatever the number of callers"


def test_a_caller_waits_for_the_renewal_of_expired_credentials() -> None:
    source = Source()
    renewer = CredentialsRenewer(source, what="it")
    assert renewer.current(START + 61 * MINUTE).credentials == 2


def test_a_failed_renewal_of_expired_credentials_is_an_error_and_the_next_call_tries_again() -> None:
    source = Source()
    renewer = CredentialsRenewer(source, what="the keys")
    source.failing = True
    with pytest.raises(CredentialsUnavailable, match="the keys expired"):
        renewer.current(START + 61 * MINUTE)
    source.failing = False
    assert renewer.current(START + 61 * MINUTE).credentials == 2


def test_waiting_ends_after_wait_seconds() -> None:
    source = Source()
    renewer = CredentialsRenewer(source, what="it", wait_seconds=0.05)
    source.release.clear()
    began = time.monotonic()
    with pytest.raises(CredentialsUnavailable):
        renewer.current(START + 61 * MINUTE)
    assert time.monotonic() - began < 2
    source.release.set()


def test_a_failing_source_is_not_asked_at_every_call_and_its_message_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Source()
    renewer = CredentialsRenewer(source, what="it")
    source.failing = True
    with caplog.at_level(logging.WARNING, logger="presign"):
        assert renewer.current(START + 50 * MINUTE).credentials == 1
        wait_for(lambda: bool(caplog.records), seconds=5)
        for _ in range(10):
            assert renewer.current(START + 50 * MINUTE).credentials == 1
        assert len(source.threads) == 2
        assert renewer.current(START + 50 * MINUTE + RETRY_INTERVAL).credentials == 1
        wait_for(lambda: len(source.threads) == 3, seconds=5)
    assert "RuntimeError" in caplog.text
    assert "hunter2" not in caplog.text


def test_many_threads_share_one_quick_renewal() -> None:
    source = Source()
    renewer = CredentialsRenewer(source, what="it")
    seen: list[int] = []
    threads = [
        threading.Thread(target=lambda: seen.append(renewer.current(START + 61 * MINUTE).credentials))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [2] * 20
    assert source.fetched == 2


def test_a_renewal_has_ended_even_while_its_log_handler_is_busy() -> None:
    class SlowHandler(logging.Handler):
        entered = threading.Event()
        let_go = threading.Event()

        def emit(self, record: logging.LogRecord) -> None:
            self.entered.set()
            self.let_go.wait(5)

    source = Source()
    renewer = CredentialsRenewer(source, what="it")
    source.failing = True
    handler = SlowHandler()
    logger = logging.getLogger("presign")
    logger.addHandler(handler)
    try:
        renewer.current(START + 50 * MINUTE)
        assert handler.entered.wait(5)
        renewer.current(START + 50 * MINUTE + RETRY_INTERVAL)
        wait_for(lambda: len(source.threads) == 3, seconds=5)
    finally:
        handler.let_go.set()
        logger.removeHandler(handler)


def test_while_a_renewal_hangs_one_caller_waits_and_the_others_are_refused_at_once() -> None:
    source = Source()
    renewer = CredentialsRenewer(source, what="it", wait_seconds=30)
    source.release.clear()
    first = _Caller(renewer)
    time.sleep(SHARED_WAIT_SECONDS + 0.1)
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(CredentialsUnavailable):
            renewer.current(START + 61 * MINUTE)
    assert time.monotonic() - began < 1
    assert first.is_alive(), "the first caller still waits"
    source.release.set()
    first.join(5)
    assert first.result == 2


def test_a_renewal_that_hangs_is_waited_for_by_one_caller_alone() -> None:
    source = Source()
    renewer = CredentialsRenewer(source, what="it", wait_seconds=SHARED_WAIT_SECONDS + 0.2)
    source.release.clear()
    with pytest.raises(CredentialsUnavailable):
        renewer.current(START + 61 * MINUTE)
    began = time.monotonic()
    with pytest.raises(CredentialsUnavailable):
        renewer.current(START + 61 * MINUTE)
    assert time.monotonic() - began < 0.2
    source.release.set()


def test_on_an_event_loop_nobody_waits_and_the_call_can_be_repeated_in_a_thread() -> None:
    source = Source()
    renewer = CredentialsRenewer(source, what="the keys", wait_seconds=30)
    source.release.clear()

    async def scenario() -> int:
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(CredentialsExpired, match="the keys expired and are being renewed"):
                renewer.current(START + 61 * MINUTE)
        waiting = asyncio.create_task(asyncio.to_thread(renewer.current, START + 61 * MINUTE))
        await asyncio.sleep(SHARED_WAIT_SECONDS + 0.1)
        with pytest.raises(CredentialsUnavailable) as refused:
            renewer.current(START + 61 * MINUTE)
        assert not isinstance(refused.value, CredentialsExpired), "a thread would not wait either"
        assert time.monotonic() - began < SHARED_WAIT_SECONDS + 1
        assert not waiting.done()
        source.release.set()
        return (await waiting).credentials

    assert asyncio.run(scenario()) == 2
    assert source.fetched == 2


_FORK_DURING_A_RENEWAL = """
import os, threading
from datetime import datetime, timedelta, timezone
from presign.backends.expiring_credentials import CredentialsRenewer, ExpiringCredentials

now, hour = datetime(2026, 11, 23, tzinfo=timezone.utc), timedelta(hours=1)
parent, fetched, hangs = os.getpid(), [], threading.Event()

def fetch():
    fetched.append(1)
    if len(fetched) == 2:
        hangs.set()
        threading.Event().wait()
    return ExpiringCredentials(credentials=len(fetched), renew_at=now, expires_at=now + len(fetched) * hour)

renewer = CredentialsRenewer(fetch, what="it")
renewer.current(now)
hangs.wait()
if os.fork() == 0:
    os._exit(renewer.current(now + hour).credentials)
_, status = os.wait()
os._exit(os.waitstatus_to_exitcode(status))
"""


def test_a_process_forked_during_a_renewal_renews_by_itself() -> None:
    command = [sys.executable, "-W", "ignore", "-c", _FORK_DURING_A_RENEWAL]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (3, "")
