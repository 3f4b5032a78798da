"""Whatever ends an examination, nothing that it stored is left; and it says what it could not delete."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.types import Receive, Scope, Send

from emulators.serving import serve
from presign.doctor import Finding, Severity
from presign.doctor.sending import Sender
from tests.doctor.s3_store import BUCKET, ORIGIN, SECRETS, Running, Set, right, run_store

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("upload", KeyboardInterrupt),
        ("rule-size", MemoryError),
        ("unsigned-copy", KeyboardInterrupt),
        ("publish", SystemExit),
        ("parts", KeyboardInterrupt),
        ("signer-reads", KeyboardInterrupt),
    ],
)
def test_an_interruption_leaves_nothing(code: str, end: type[BaseException]) -> None:
    def interrupt(finding: Finding) -> None:
        if finding.code == code:
            assert finding.severity is Severity.OK
            raise end

    with run_store(Set()) as running:
        with pytest.raises(end):
            running.examine(report_finding=interrupt)
        assert running.left() == []


def test_an_interruption_in_the_middle_of_a_request_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    send = Sender.send
    sent: list[str] = []

    def interrupted(self: Sender, method: str, url: str, **options: Any) -> Any:
        answer = send(self, method, url, **options)
        sent.append(method)
        if len(sent) == 12:
            # The storage has stored it, and the doctor has not seen the answer.
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(Sender, "send", interrupted)
    with run_store(Set()) as running:
        with pytest.raises(KeyboardInterrupt):
            running.examine()
        assert running.left() == []


def test_a_storage_that_fails_in_the_middle_leaves_what_could_not_be_checked_and_no_object() -> None:
    with run_store(Set()) as running:
        report = running.examine(backend=running.backend(public_endpoint_url="http://127.0.0.1:9"))
        assert {finding.code for finding in report.of(Severity.FAILURE)} >= {"unreachable"}
        assert report.exit_code == 2
        assert running.left() == []


def test_what_could_not_be_deleted_is_named() -> None:
    with run_store(Set()) as running:

        def take_the_right_to_delete(finding: Finding) -> None:
            if finding.code == "clock":
                running.rights["AKIAVERIFIER"] = [right("GetObject", prefix="pending/"), right("ListBucket")]

        report = running.examine(report_finding=take_the_right_to_delete)
        left = [finding for finding in report.findings if finding.code == "left-over"]
        assert left
        assert all("/.presign-doctor/" in finding.detail for finding in left)
        assert all(finding.severity is Severity.FAILURE for finding in left)
        assert running.left()
        assert {finding.detail.split()[0] for finding in left} >= set(running.left())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
def test_a_signal_to_the_command_leaves_nothing(number: int, code: int) -> None:
    with run_store(Set()) as running:
        running.watch.expected = 30
        command = subprocess.Popen(
            [sys.executable, "-m", "presign", "doctor", _url(running), "--origin", ORIGIN],
            cwd=ROOT,
            env={**os.environ, **_keys()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert running.watch.reached.wait(60), "the command sent no 30 requests"
            command.send_signal(number)
            _, errors = command.communicate(timeout=60)
        finally:
            command.kill()
        assert command.returncode == code, errors
        assert "Traceback" not in errors
        assert running.left() == []


def _url(running: Running) -> str:
    return f"s3://{BUCKET}/public/?{urlencode({'region': 'us-east-1', 'endpoint_url': running.url})}"


def _keys() -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "AKIASIGNER",
        "AWS_SECRET_ACCESS_KEY": SECRETS["AKIASIGNER"],
        "PRESIGN_VERIFIER_ACCESS_KEY_ID": "AKIAVERIFIER",
        "PRESIGN_VERIFIER_SECRET_ACCESS_KEY": SECRETS["AKIAVERIFIER"],
    }


def test_an_answer_that_never_ends_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def trickle(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with suppress(OSError):
            while not (await _is_gone(receive)):
                await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async def _is_gone(receive: Receive) -> bool:
        try:
            message = await asyncio.wait_for(receive(), 0.05)
        except asyncio.TimeoutError:
            return False
        return bool(message["type"] == "http.disconnect")

    monkeypatch.setattr("presign.doctor.sending.ANSWER_SECONDS", 0.3)
    sender = Sender()
    with serve(trickle) as url:
        answer = sender.send("GET", f"{url}/object")
        sender.close()
    assert answer.status == 200
    assert 0 < len(answer.body) < 1000
