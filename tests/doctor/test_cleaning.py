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

from emulators.s3_rights import Leniency
from emulators.serving import serve
from presign.doctor import Finding, Severity
from presign.doctor.cleanup import Cleanup
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


def test_an_interruption_names_what_could_not_be_deleted(caplog: pytest.LogCaptureFixture) -> None:
    with run_store(Set()) as running:

        def take_the_right_to_delete(finding: Finding) -> None:
            if finding.code == "clock":
                running.rights["AKIAVERIFIER"] = [right("GetObject", prefix="pending/"), right("ListBucket")]
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            running.examine(report_finding=take_the_right_to_delete)
        assert running.left()
        assert {record.getMessage().split()[0] for record in caplog.records} >= set(running.left())


def test_an_interruption_of_the_cleanup_says_where_something_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted(self: Cleanup) -> Any:
        raise KeyboardInterrupt

    with run_store(Set()) as running:
        monkeypatch.setattr(Cleanup, "clear", interrupted)
        with pytest.raises(KeyboardInterrupt):
            running.examine()
        (record,) = caplog.records
        folders = {key.rpartition("/")[0] for key in running.left()}
        assert folders
        assert all(f"s3://{BUCKET}/{folder}/" in record.getMessage() for folder in folders)


def test_what_was_stored_outside_of_the_prefixes_and_cannot_be_deleted_is_named() -> None:
    # The store ignores the wrong MD5 that should keep it from storing anything there.
    signs = right("PutObject", "ListMultipartUploadParts", "AbortMultipartUpload", never_copies=True)
    with run_store(Set(lenient=frozenset({Leniency.UNCHECKED_CHECKSUMS}), signer=(signs,))) as running:
        report = running.examine()
        left = [finding.detail.split()[0] for finding in report.findings if finding.code == "left-over"]
        assert [key.partition("/")[0] for key in left] == ["presign-doctor-elsewhere"]
        assert running.left() == left
        assert report.exit_code == 2


def test_a_key_that_was_written_twice_leaves_no_version() -> None:
    lenient = frozenset({Leniency.UNCHECKED_IF_NONE_MATCH})
    with run_store(Set(bucket={"versioned": True}, lenient=lenient)) as running:
        report = running.examine()
        assert "rule-create-only" in {finding.code for finding in report.of(Severity.WARNING)}
        assert not any(running.bucket.versions.values())


def test_an_identity_that_may_not_list_leaves_no_delete_marker_in_a_bucket_with_versions() -> None:
    signs = right("PutObject", "ListMultipartUploadParts", "AbortMultipartUpload", prefix="public/", never_copies=True)
    verifies = right("GetObject", "GetObjectVersion", "DeleteObject", "DeleteObjectVersion", prefix="public/")
    with run_store(Set(bucket={"versioned": True}, signer=(signs,), verifier=(verifies,))) as running:
        report = running.examine(pending_prefix=None)
        assert report.exit_code == 0, report.to_text()
        assert not any(running.bucket.versions.values())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
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
            # Whoever starts the tests may ignore it, as nohup does.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
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
