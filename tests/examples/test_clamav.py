"""The ClamAV example, against a fake of clamd, and against the real one on machines that have it."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
import zipfile
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest

from emulators.ports import free_port
from examples.clamav import Clamd
from presign import (
    Accept,
    CompletionPending,
    InspectedObject,
    NotYet,
    ObjectChanged,
    Presigner,
    Reject,
    Rejected,
    Ticket,
    UploadPolicy,
    UploadRequest,
)
from tests.conftest import TOKEN_SECRET, Store, read_state, upload
from tests.examples.clamd import CLEAN, COMMAND, EICAR, FOUND, TOO_LONG, run_fake

CLAMD = shutil.which("clamd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_clamd = pytest.mark.skipif(CLAMD is None, reason="clamd is not installed (Debian: apt-get install clamav-daemon)")
CLEAN_TEXT = b"a letter to a friend, without malware\n"
NOT_ALLOWED = "the malware scanner does not allow this file"
TOO_LARGE = "the file is too large to be scanned for malware"
TOO_NESTED = "the file is too large or too deeply nested to be scanned for malware"
# Made with `zip -P password`; Python's zipfile encrypts nothing.
ZIP_WITH_PASSWORD = (
    "UEsDBAoACQAAAAuEfF3sGiEiFwAAAAsAAAAFAAAAcy50eHQWCED/svMnG5Ixp+sf0vp1Xo1arWmbRVBLBwjsGiEiFwAAAAsAAA"
    "BQSwECHgMKAAkAAAALhHxd7BohIhcAAAALAAAABQAAAAAAAAABAAAApIEAAAAAcy50eHRQSwUGAAAAAAEAAQAzAAAASgAAAAAA"
)
# Larger than what the sockets of both sides hold, so that a client notices while it sends that the other side is gone.
LARGE = 8_000_000


@pytest.fixture
def socket_path() -> Iterator[Path]:
    # pytest's own folders have longer names than a Unix socket may have.
    with tempfile.TemporaryDirectory(prefix="clamd-") as folder:
        yield Path(folder) / "clamd.sock"


@pytest.fixture(params=["unix", "tcp"])
def where(request: pytest.FixtureRequest, socket_path: Path) -> Path | tuple[str, int]:
    return socket_path if request.param == "unix" else ("127.0.0.1", 0)


def _object(content: bytes, *, size: int | None = None, read: Callable[[int, int], bytes] | None = None) -> Any:
    return InspectedObject(
        key="public/an-object",
        content_type="text/plain",
        size=len(content) if size is None else size,
        etag="etag",
        owner=None,
        name=None,
        metadata={},
        read_range=read or (lambda offset, length: content[offset : offset + length]),
    )


def _clamd(address: Any, **settings: Any) -> Clamd:
    values: dict[str, Any] = {"max_bytes": 20_000_000, "connect_seconds": 1, "answer_seconds": 5, "retry_after": 7}
    return Clamd(address=address, **values | settings)


def _verdicts_of_a_cut_stream(address: object) -> set[Reject | NotYet]:
    # A TCP connection that is closed before everything was read may lose the answer; a Unix socket delivers it.
    return {Reject(TOO_LARGE), NotYet(retry_after=7)} if isinstance(address, tuple) else {Reject(TOO_LARGE)}


@pytest.mark.parametrize("content", [b"", b"x", CLEAN_TEXT, os.urandom(256 * 1024), os.urandom(3_000_001)])
def test_a_clean_object_is_accepted_after_clamd_has_got_every_byte(
    where: Path | tuple[str, int], content: bytes
) -> None:
    with run_fake(where) as fake:
        assert _clamd(fake.address).inspect(_object(content)) == Accept()
    assert (fake.streams, fake.faults) == ([content], [])


@pytest.mark.parametrize("content", [EICAR, os.urandom(256 * 1024 - 30) + EICAR, os.urandom(2_000_000) + EICAR])
def test_malware_is_rejected_also_where_it_spans_two_chunks(where: Path | tuple[str, int], content: bytes) -> None:
    with run_fake(where) as fake:
        assert _clamd(fake.address).inspect(_object(content)) == Reject(NOT_ALLOWED)
    assert fake.faults == []


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (CLEAN, Accept()),
        (FOUND, Reject(NOT_ALLOWED)),
        (b"stream: Win.Test(0123:68) FOUND\0", Reject(NOT_ALLOWED)),
        (b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0", Reject(TOO_NESTED)),
        (b"stream: Heuristics.Limits.Exceeded FOUND\0", Reject(TOO_NESTED)),
        (TOO_LONG, Reject(TOO_LARGE)),
        (b"", NotYet(retry_after=7)),
        (b"\0", NotYet(retry_after=7)),
        (CLEAN[:-1], NotYet(retry_after=7)),
        (CLEAN[:-2], NotYet(retry_after=7)),
        (FOUND[:-2], NotYet(retry_after=7)),
        (b"stream: OK\n", NotYet(retry_after=7)),
        (b"stream: NOT OK\0", NotYet(retry_after=7)),
        (b"1: stream: OK\0", NotYet(retry_after=7)),
        (b"OK\0", NotYet(retry_after=7)),
        (b"stream: Can't allocate memory ERROR\0", NotYet(retry_after=7)),
        (b"stream: Time limit reached ERROR\0", NotYet(retry_after=7)),
        (b"UNKNOWN COMMAND\0", NotYet(retry_after=7)),
        (b"COMMAND READ TIMED OUT\0", NotYet(retry_after=7)),
        (b"\xff" * 10_000, NotYet(retry_after=7)),
    ],
)
def test_each_answer_has_one_verdict_and_an_unknown_one_is_none(
    answer: bytes, verdict: Accept | Reject | NotYet
) -> None:
    for piece_bytes in (None, 1):
        with run_fake(answer=answer, piece_bytes=piece_bytes) as fake:
            assert _clamd(fake.address).inspect(_object(CLEAN_TEXT)) == verdict


def test_a_file_above_the_limit_is_rejected_without_asking_clamd(where: Path | tuple[str, int]) -> None:
    with run_fake(where) as fake:
        clamd = _clamd(fake.address, max_bytes=len(CLEAN_TEXT))
        assert clamd.inspect(_object(CLEAN_TEXT)) == Accept()
        verdict = clamd.inspect(_object(CLEAN_TEXT + b"x"))
    assert verdict == Reject("a file of more than 38 bytes cannot be scanned for malware")
    assert len(fake.streams) == 1


def test_a_stream_that_clamd_finds_too_long_is_rejected(where: Path | tuple[str, int]) -> None:
    with run_fake(where, stream_max_length=1000) as fake:
        verdict = _clamd(fake.address).inspect(_object(bytes(1001)))
    assert verdict == Reject(TOO_LARGE)


def test_a_long_stream_that_clamd_cuts_off_is_rejected(where: Path | tuple[str, int]) -> None:
    with run_fake(where, stream_max_length=1000) as fake:
        verdict = _clamd(fake.address).inspect(_object(bytes(LARGE)))
    assert verdict in _verdicts_of_a_cut_stream(where)


@pytest.mark.parametrize("early_answer", [b"", CLEAN, b"stream: OK", FOUND])
def test_an_answer_before_the_whole_object_was_sent_accepts_nothing(
    where: Path | tuple[str, int], early_answer: bytes
) -> None:
    with run_fake(where, close_after=1, early_answer=early_answer) as fake:
        verdict = _clamd(fake.address).inspect(_object(bytes(LARGE)))
    assert not isinstance(verdict, Accept)


def test_an_object_of_which_the_storage_shows_only_a_part_is_not_accepted() -> None:
    with run_fake() as fake:
        assert _clamd(fake.address).inspect(_object(CLEAN_TEXT, size=100)) == NotYet(retry_after=7)
    assert fake.streams == [CLEAN_TEXT]


def test_without_a_clamd_there_is_no_verdict(socket_path: Path) -> None:
    missing = [str(socket_path), str(socket_path.parent), ("127.0.0.1", free_port()), ("no-such-host.invalid", 3310)]
    for address in missing:
        assert _clamd(address).inspect(_object(CLEAN_TEXT)) == NotYet(retry_after=7)


def test_a_clamd_that_does_not_answer_is_given_up(where: Path | tuple[str, int]) -> None:
    with run_fake(where, hang=True) as fake:
        started = time.monotonic()
        verdict = _clamd(fake.address, answer_seconds=0.3).inspect(_object(CLEAN_TEXT))
    assert verdict == NotYet(retry_after=7)
    assert time.monotonic() - started < 3


def test_a_clamd_that_does_not_read_is_given_up(socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        listener.listen()
        started = time.monotonic()
        verdict = _clamd(str(socket_path), answer_seconds=0.3).inspect(_object(bytes(LARGE)))
    assert verdict == NotYet(retry_after=7)
    assert time.monotonic() - started < 3


def test_an_object_that_changes_during_the_scan_ends_it() -> None:
    def changed(offset: int, length: int) -> bytes:
        raise ObjectChanged("the object was replaced")

    with run_fake() as fake, pytest.raises(ObjectChanged):
        _clamd(fake.address).inspect(_object(CLEAN_TEXT, read=changed))
    assert fake.streams == []


def test_the_log_names_the_signature_and_the_reason_does_not(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), run_fake(answer=b"stream: A\x1b[2J.Signature FOUND\0") as fake:
        verdict = _clamd(fake.address).inspect(_object(EICAR))
    assert verdict == Reject(NOT_ALLOWED)
    assert "Signature FOUND" in caplog.text
    assert "\x1b" not in caplog.text


def test_the_fake_refuses_what_clamd_would_not_understand() -> None:
    for request in (
        b"nINSTREAM\n" + bytes(4),
        COMMAND,
        COMMAND + (5).to_bytes(4, "big") + b"four",
        COMMAND + (4).to_bytes(4, "little") + b"four" + bytes(4),
    ):
        with run_fake(stream_max_length=10**10) as fake, socket.create_connection(fake.address) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
        assert (fake.streams, len(fake.faults)) == ([], 1)


# With a real storage


class Uploads:
    """Uploads of text to SeaweedFS that a clamd inspects."""

    def __init__(self, store: Store, session: boto3.Session, clamd: Clamd) -> None:
        self.store = store
        self.prefix = f"public/{uuid4().hex}/"
        self.presigner = Presigner(
            backend=store.backend(session=session),
            policy=UploadPolicy(content_types={"text/plain"}, max_bytes=10_000_000, prefix=self.prefix),
            secret=TOKEN_SECRET,
            inspect=clamd.inspect,
        )

    def send(self, body: bytes) -> Ticket:
        ticket = self.presigner.issue(UploadRequest(content_type="text/plain", size=len(body)))
        answer = upload(ticket, body)
        assert answer.status in {200, 201, 204}, answer
        return ticket

    def pending(self, ticket: Ticket) -> str:
        return ticket.key.replace(self.prefix, "pending/")


@pytest.fixture(scope="module")
def session(seaweedfs: Store, seaweedfs_directory: Path) -> boto3.Session:
    """The administrator's session, which has rights for the pending prefix as well."""
    admin = read_state(seaweedfs_directory)["admin"]
    return boto3.Session(admin["access_key_id"], admin["secret_access_key"])


def _malware_is_gone_and_clean_files_are_published(uploads: Uploads) -> None:
    ticket = uploads.send(EICAR)
    with pytest.raises(Rejected, match="the malware scanner does not allow"):
        uploads.presigner.complete(ticket.token)
    assert not uploads.store.holds(ticket.key)
    assert not uploads.store.holds(uploads.pending(ticket))
    ticket = uploads.send(CLEAN_TEXT)
    stored = uploads.presigner.complete(ticket.token)
    assert (stored.key, stored.size) == (ticket.key, len(CLEAN_TEXT))
    assert uploads.store.holds(ticket.key)
    assert not uploads.store.holds(uploads.pending(ticket))


def test_malware_is_deleted_and_a_clean_upload_is_published(
    seaweedfs: Store, session: boto3.Session, where: Path | tuple[str, int]
) -> None:
    with run_fake(where) as fake:
        uploads = Uploads(seaweedfs, session, _clamd(fake.address))
        _malware_is_gone_and_clean_files_are_published(uploads)
        content = os.urandom(1_000_000).hex().encode()
        uploads.presigner.complete(uploads.send(content).token)
    assert fake.streams == [EICAR, CLEAN_TEXT, content]
    assert fake.faults == []


def test_an_upload_waits_while_clamd_is_away_and_is_published_when_it_is_back(
    seaweedfs: Store, session: boto3.Session, socket_path: Path
) -> None:
    uploads = Uploads(seaweedfs, session, _clamd(str(socket_path)))
    tickets = [uploads.send(CLEAN_TEXT), uploads.send(EICAR)]
    for ticket in tickets:
        with pytest.raises(CompletionPending) as caught:
            uploads.presigner.complete(ticket.token)
        assert caught.value.retry_after == 7
        assert uploads.store.holds(uploads.pending(ticket))
        assert not uploads.store.holds(ticket.key)
    with run_fake(socket_path):
        assert uploads.presigner.complete(tickets[0].token).key == tickets[0].key
        with pytest.raises(Rejected):
            uploads.presigner.complete(tickets[1].token)
    assert [uploads.store.holds(ticket.key) for ticket in tickets] == [True, False]


def test_malware_that_replaces_the_upload_during_the_scan_is_not_published(
    seaweedfs: Store, session: boto3.Session
) -> None:
    def replace(stream: bytes) -> None:
        if EICAR not in stream:
            seaweedfs.admin.put_object(
                Bucket=seaweedfs.bucket, Key=uploads.pending(ticket), Body=EICAR, ContentType="text/plain"
            )

    with run_fake(before_answer=replace) as fake:
        uploads = Uploads(seaweedfs, session, _clamd(fake.address))
        clean_text = b"x" * len(EICAR)
        ticket = uploads.send(clean_text)
        with pytest.raises(Rejected):
            uploads.presigner.complete(ticket.token)
    assert fake.streams == [clean_text, EICAR]
    assert not seaweedfs.holds(ticket.key)


# With the real clamd


@contextmanager
def _real_clamd(folder: Path, **settings: str) -> Iterator[tuple[str, tuple[str, int]]]:
    """Run clamd with one signature, and return its two addresses."""
    assert CLAMD is not None
    database, port = folder / "database", free_port()
    database.mkdir(exist_ok=True)
    (database / "test.ndb").write_text(f"Test.Eicar:0:*:{EICAR.hex()}\n")
    lines = {
        "Foreground": "yes",
        "DatabaseDirectory": str(database),
        "LocalSocket": str(folder / "clamd.sock"),
        "TCPSocket": str(port),
        "TCPAddr": "127.0.0.1",
        "StreamMaxLength": "4M",
        "MaxFileSize": "2M",
        "AlertExceedsMax": "yes",
        **settings,
    }
    configuration = folder / "clamd.conf"
    configuration.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([CLAMD, f"--config-file={configuration}"], stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        while not _answers_ping(folder / "clamd.sock"):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield str(folder / "clamd.sock"), ("127.0.0.1", port)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _answers_ping(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(path))
            connection.sendall(b"zPING\0")
            return connection.recv(100) == b"PONG\0"
    except OSError:
        return False


def _zip(content: bytes, *, times: int = 1, before: int = 0) -> bytes:
    """Return an archive of ``content`` after ``before`` other files, inside as many archives as ``times`` says."""
    for _ in range(times):
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(before):
                archive.writestr(f"{number}.txt", f"the file {number}")
            archive.writestr("file.txt", content)
        content = buffer.getvalue()
    return content


@needs_clamd
def test_the_real_clamd_gives_the_verdicts_that_the_fake_gives(socket_path: Path) -> None:
    found, accepted = Reject(NOT_ALLOWED), Accept()
    with _real_clamd(socket_path.parent) as addresses:
        for address in addresses:
            clamd = _clamd(address)
            assert clamd.inspect(_object(b"")) == accepted
            assert clamd.inspect(_object(CLEAN_TEXT)) == accepted
            assert clamd.inspect(_object(os.urandom(1_000_000))) == accepted
            assert clamd.inspect(_object(_zip(CLEAN_TEXT))) == accepted
            assert clamd.inspect(_object(EICAR)) == found
            assert clamd.inspect(_object(b"x" * (256 * 1024 - 30) + EICAR)) == found
            assert clamd.inspect(_object(_zip(EICAR))) == found
            assert clamd.inspect(_object(b"x" * 3_000_000)) == Reject(TOO_NESTED)
            assert clamd.inspect(_object(b"x" * 5_000_000)) in _verdicts_of_a_cut_stream(address)
    assert clamd.inspect(_object(CLEAN_TEXT)) == NotYet(retry_after=7)


@needs_clamd
def test_the_real_clamd_calls_a_file_clean_that_it_did_not_scan_so_the_example_has_a_limit(socket_path: Path) -> None:
    hidden = _object(b"x" * 3_000_000 + EICAR)
    with _real_clamd(socket_path.parent, AlertExceedsMax="no") as (address, _):
        assert _clamd(address).inspect(hidden) == Accept()
        assert isinstance(_clamd(address, max_bytes=2 * 1024**2).inspect(hidden), Reject)


@needs_clamd
@pytest.mark.parametrize(
    ("limit", "hidden"),
    [
        ({"MaxScanSize": "1M"}, b"x" * 1_500_000 + EICAR),
        ({"MaxScanTime": "1"}, os.urandom(1_900_000) + EICAR),
        ({"MaxRecursion": "5"}, _zip(EICAR, times=8)),
        ({"MaxFiles": "1"}, _zip(_zip(EICAR, before=3))),
    ],
    ids=["scan size", "time", "nesting", "files"],
)
def test_the_real_clamd_reports_its_limits_only_with_alert_exceeds_max(
    socket_path: Path, limit: dict[str, str], hidden: bytes
) -> None:
    with _real_clamd(socket_path.parent, **limit) as (address, _):
        assert _clamd(address).inspect(_object(hidden)) == Reject(TOO_NESTED)
    with _real_clamd(socket_path.parent, **limit, AlertExceedsMax="no") as (address, _):
        assert _clamd(address).inspect(_object(hidden)) == Accept()


@needs_clamd
def test_the_real_clamd_rejects_an_archive_with_a_password_only_with_alert_encrypted(socket_path: Path) -> None:
    archive = _object(b64decode(ZIP_WITH_PASSWORD))
    with _real_clamd(socket_path.parent, AlertEncrypted="yes") as (address, _):
        assert _clamd(address).inspect(archive) == Reject(NOT_ALLOWED)
    with _real_clamd(socket_path.parent) as (address, _):
        assert _clamd(address).inspect(archive) == Accept()


@needs_clamd
def test_the_real_clamd_inspects_uploads(seaweedfs: Store, session: boto3.Session, socket_path: Path) -> None:
    with _real_clamd(socket_path.parent) as (address, _):
        _malware_is_gone_and_clean_files_are_published(Uploads(seaweedfs, session, _clamd(address)))
