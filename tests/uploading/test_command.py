"""`presign upload`, as a process of its own, against real servers: the adapters of the HTTP contract, and SeaweedFS."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import signal
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from urllib3 import HTTPHeaderDict

from emulators.s3_bucket import S3Bucket, UploadedPart
from emulators.s3_parts import PartLimits as ReferencePartLimits
from emulators.s3_reference import S3Reference
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from presign import (
    Accept,
    PartLimits,
    PartsDigest,
    Presigner,
    Reject,
    Rule,
    Ticket,
    Unauthenticated,
    UploadPolicy,
    UploadRequest,
)
from presign.policy import DEFAULT_PART_BYTES
from presign.s3 import S3Backend
from presign.uploading.connections import Answer, Connections
from presign.uploading.errors import UploadFailed
from presign.uploading.upload import _PART_BYTES, Upload
from tests.adapters.serving import ADAPTERS
from tests.conftest import PNG, TOKEN_SECRET, Store
from tests.failing_relay import Failure, Relay, run_relay
from tests.small_parts import MEBIBYTE, PART_BYTES, POLICY

ROOT = Path(__file__).resolve().parent.parent.parent


LARGE = PNG.ljust(PART_BYTES, b"a") + b"b" * PART_BYTES + b"c" * 2 * MEBIBYTE
SECRET = "the-session-of-alice"
WAIT_SECONDS = 60
# A shell that starts the tests in the background lets its children ignore SIGINT.
COMMAND = (
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from presign.__main__ import main; import sys; sys.argv[0] = 'presign'; main()",
)


def _decide(user: str | None) -> str:
    if user != SECRET:
        raise Unauthenticated("sign in to upload")
    return "alice"


def _presigner(store: Store, *, backend: Any = None, inspect: Any = None, **policy: Any) -> Presigner:
    return Presigner(
        name="videos",
        backend=backend or store.backend(),
        policy=UploadPolicy(**POLICY | {"public_read": True} | policy),
        secret=TOKEN_SECRET,
        inspect=inspect,
    )


class Client:
    """The command with one file and one state folder; it fails the test if an output has a secret."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "film.png"
        self.states = folder / "states"
        self.environment = {"PRESIGN_HEADERS": f"X-User: {SECRET}"}

    def write(self, content: bytes) -> None:
        self.file.write_bytes(content)

    def run(self, api: str, *options: str, command: tuple[str, ...] = COMMAND) -> subprocess.CompletedProcess[str]:
        process = self.start(api, *options, command=command)
        try:
            return self.end(process)
        finally:
            process.kill()
            process.wait()

    def start(self, api: str, *options: str, command: tuple[str, ...] = COMMAND) -> subprocess.Popen[str]:
        names = [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("PRESIGN")]
        environment = {name: value for name, value in os.environ.items() if name not in names}
        return subprocess.Popen(
            [*command, "upload", str(self.file), "--api", api, "--state", str(self.states), *options],
            cwd=ROOT,
            env={**environment, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        stdout, stderr = process.communicate(timeout=WAIT_SECONDS)
        output = stdout + stderr
        assert "Traceback" not in output, output
        for secret in (SECRET, "Signature", "X-Amz", "policy", *(state["token"] for state in self.saved())):
            assert secret not in output, output
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def saved(self) -> list[Any]:
        return [json.loads(path.read_bytes()) for path in self.states.glob("*")] if self.states.exists() else []

    @contextmanager
    def hanging(self, api: str, relay: Relay, *options: str, at: int) -> Iterator[subprocess.Popen[str]]:
        """Start the command, and yield it when request number ``at`` of the relay hangs."""
        relay.arm(Failure(answer="hang", times=1000), at=at)
        process = self.start(api, *options)
        try:
            assert relay.reached.wait(WAIT_SECONDS)
            yield process
        finally:
            process.kill()
            process.communicate()
            relay.disarm()


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


@pytest.fixture(scope="module")
def storage(seaweedfs: Store) -> Iterator[Relay]:
    """The storage as the clients see it."""
    with run_relay(seaweedfs.endpoint_url) as relay:
        yield relay


@pytest.fixture(scope="module")
def api(seaweedfs: Store, storage: Relay) -> Iterator[Relay]:
    """The application's server as the clients see it: files from 5 MiB on come in parts."""
    presigner = _presigner(seaweedfs, backend=seaweedfs.backend(endpoint_url=storage.url))
    # The first upload in parts has more requests, because the backend finds out what the storage checks.
    presigner.abort(presigner.issue(UploadRequest(content_type="image/png", size=PART_BYTES, hashes_parts=True)).token)
    with ADAPTERS["asgi"]([presigner], _decide) as url, run_relay(url) as relay:
        relay.url += "/files/videos"
        yield relay


@pytest.fixture(autouse=True)
def _forwarding(request: pytest.FixtureRequest) -> None:
    for name in {"api", "storage"} & set(request.fixturenames):
        request.getfixturevalue(name).disarm()


def _parts_sent(storage: Relay) -> list[int]:
    numbers = [re.search(r"[?&]partNumber=([0-9]+)", each) for each in storage.requests if each.startswith("PUT")]
    return sorted(int(number[1]) for number in numbers if number)


def _paths(api: Relay) -> list[str]:
    return [request.rpartition("/videos/")[2] for request in api.requests]


def _stored(store: Store, answer: subprocess.CompletedProcess[str]) -> bytes:
    """Return the object whose address the command has printed, and delete it."""
    assert answer.returncode == 0, answer.stderr
    [key] = re.findall(rf"/{store.bucket}/(public/[^/\s]+)\n$", answer.stdout)
    content: bytes = store.admin.get_object(Bucket=store.bucket, Key=key)["Body"].read()
    store.admin.delete_object(Bucket=store.bucket, Key=key)
    return content


def _unfinished(store: Store) -> list[str]:
    return [each["UploadId"] for each in store.admin.list_multipart_uploads(Bucket=store.bucket).get("Uploads", [])]


# What is stored


@pytest.mark.parametrize(("adapter", "method"), [("asgi", "post"), ("flask", "put")])
def test_a_small_file_is_stored_with_either_kind_of_ticket(
    seaweedfs: Store, client: Client, adapter: str, method: str
) -> None:
    client.write(PNG * 20)
    with ADAPTERS[adapter]([_presigner(seaweedfs, backend=seaweedfs.backend(upload_method=method))], _decide) as url:
        answer = client.run(f"{url}/videos/", "--sha256")
    assert answer.stderr == ""
    assert _stored(seaweedfs, answer) == PNG * 20
    assert client.saved() == []


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_large_file_is_stored_in_parts(seaweedfs: Store, client: Client, adapter: str) -> None:
    client.write(LARGE)
    with ADAPTERS[adapter]([_presigner(seaweedfs)], _decide) as url:
        answer = client.run(f"{url}/videos", "--json")
    assert (answer.returncode, answer.stderr) == (0, "")
    stored = json.loads(answer.stdout)
    assert (stored["size"], stored["type"]) == (len(LARGE), "image/png")
    content = seaweedfs.admin.get_object(Bucket=seaweedfs.bucket, Key=stored["key"])["Body"].read()
    assert hashlib.sha256(content).digest() == hashlib.sha256(LARGE).digest()
    seaweedfs.admin.delete_object(Bucket=seaweedfs.bucket, Key=stored["key"])
    assert client.saved() == []


def test_parts_that_the_store_does_not_hash_are_sent_with_the_requests_of_the_ticket(
    s3_reference: Store, client: Client
) -> None:
    class NotHashing:
        """The parts of a backend whose store checks no digests."""

        def __init__(self, parts: Any) -> None:
            self._parts = parts

        def __getattr__(self, name: str) -> Any:
            return (lambda _: False) if name == "checks_sha256" else getattr(self._parts, name)

    class Backend(type(s3_reference.backend())):  # type: ignore[misc]  # the class of the backend
        @property
        def parts(self) -> Any:
            return NotHashing(super().parts)

    backend = s3_reference.backend()
    backend.__class__ = Backend
    client.write(LARGE)
    with (
        ADAPTERS["asgi"]([_presigner(s3_reference, backend=backend)], _decide) as url,
        run_relay(url) as relay,
    ):
        answer = client.run(f"{relay.url}/files/videos", "--parallel", "2")
        assert _paths(relay) == ["upload", "complete"]
    assert _stored(s3_reference, answer) == LARGE


def test_without_a_public_address_the_key_is_printed(seaweedfs: Store, client: Client) -> None:
    client.write(PNG)
    with ADAPTERS["asgi"]([_presigner(seaweedfs, public_read=False)], _decide) as url:
        answer = client.run(f"{url}/videos", "--name", "other.png")
    assert answer.returncode == 0, answer.stderr
    assert seaweedfs.holds(answer.stdout.strip())
    assert answer.stdout.startswith("public/")


# What goes on


def test_a_killed_upload_goes_on_with_the_parts_that_the_store_lacks(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client
) -> None:
    client.write(LARGE)
    # The first request begins the upload.
    with client.hanging(api.url, storage, "--parallel", "1", at=2) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        [state] = client.states.iterdir()
        assert stat.S_IMODE(state.stat().st_mode) == 0o600
        assert stat.S_IMODE(client.states.stat().st_mode) == 0o700
    answer = client.run(api.url)
    assert answer.stderr == "Going on: 1 of 3 parts are stored already\n"
    assert _parts_sent(storage) == [2, 3]
    assert _stored(seaweedfs, answer) == LARGE
    assert client.saved() == []


def test_an_interruption_says_how_to_go_on_and_abort_ends_the_upload(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client
) -> None:
    client.write(LARGE)
    before = _unfinished(seaweedfs)
    with client.hanging(api.url, storage, at=2) as process:
        process.send_signal(signal.SIGINT)
        answer = client.end(process)
    assert (answer.returncode, answer.stdout) == (130, "")
    assert answer.stderr.startswith("Interrupted\nTo go on, run the same command again")
    assert len(_unfinished(seaweedfs)) == len(before) + 1
    ended = client.run(api.url, "--abort")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "The upload is ended\n")
    assert _unfinished(seaweedfs) == before
    again = client.run(api.url, "--abort")
    assert (again.returncode, again.stdout) == (1, "")
    assert "no unfinished upload" in again.stderr


def test_an_interrupted_abort_does_not_say_that_the_upload_has_ended(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client
) -> None:
    client.write(LARGE)
    with client.hanging(api.url, storage, at=2) as process:
        process.kill()
    with client.hanging(api.url, api, "--abort", at=0) as process:
        process.send_signal(signal.SIGINT)
        answer = client.end(process)
    assert (answer.returncode, answer.stdout) == (130, "")
    assert answer.stderr == "Interrupted: the upload may not have ended. Run the same command again.\n"
    assert client.run(api.url, "--abort").returncode == 0


def test_a_changed_file_is_uploaded_anew_and_what_was_stored_of_it_is_deleted(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client
) -> None:
    client.write(LARGE)
    before = _unfinished(seaweedfs)
    with client.hanging(api.url, storage, "--parallel", "1", at=2) as process:
        process.kill()
    changed = LARGE[:-1] + b"!"
    client.write(changed)
    answer = client.run(api.url)
    assert answer.stderr == "The file changed after its upload had begun, so it is uploaded anew\n"
    assert _parts_sent(storage) == [1, 2, 3]
    assert _stored(seaweedfs, answer) == changed
    assert _unfinished(seaweedfs) == before


def test_a_file_that_changes_during_its_upload_is_not_stored(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client
) -> None:
    client.write(LARGE)
    before = _unfinished(seaweedfs)
    with client.hanging(api.url, storage, at=2) as process:
        client.write(LARGE + b"more")
        storage.disarm()
        answer = client.end(process)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "the file was changed after its upload had begun" in answer.stderr
    assert client.saved() == []
    assert _unfinished(seaweedfs) == before


def test_an_upload_goes_on_after_its_disk_was_taken_away_and_came_back(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client
) -> None:
    client.write(LARGE)
    elsewhere = client.file.with_name("elsewhere")
    storage.arm(Failure(answer="late", only="partNumber=3"), at=0)
    process = client.start(api.url)
    assert storage.reached.wait(WAIT_SECONDS)
    client.file.rename(elsewhere)
    storage.disarm()
    answer = client.end(process)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith("Error: the file cannot be read: No such file or directory\nTo go on,")
    elsewhere.rename(client.file)
    answer = client.run(api.url)
    assert answer.stderr == "Going on: 3 of 3 parts are stored already\n"
    assert _stored(seaweedfs, answer) == LARGE


def test_another_type_begins_a_new_upload(seaweedfs: Store, api: Relay, storage: Relay, client: Client) -> None:
    client.write(LARGE)
    with client.hanging(api.url, storage, "--name", "other.png", at=2) as process:
        process.kill()
    answer = client.run(api.url)
    assert answer.stderr == "The upload of this file began with another type, name or SHA-256, so it is uploaded anew\n"
    assert _stored(seaweedfs, answer) == LARGE


def test_an_upload_that_the_store_has_ended_begins_anew(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client
) -> None:
    client.write(LARGE)
    with client.hanging(api.url, storage, at=1) as process:
        process.kill()
    for each in seaweedfs.admin.list_multipart_uploads(Bucket=seaweedfs.bucket)["Uploads"]:
        seaweedfs.admin.abort_multipart_upload(Bucket=seaweedfs.bucket, Key=each["Key"], UploadId=each["UploadId"])
    answer = client.run(api.url)
    assert answer.stderr == "The earlier upload of this file has ended, so it is uploaded anew\n"
    assert _stored(seaweedfs, answer) == LARGE


@pytest.mark.parametrize("meanwhile", ["expired", "another user"])
def test_an_upload_whose_token_is_not_accepted_any_more_begins_anew(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client, meanwhile: str
) -> None:
    client.write(LARGE)
    with client.hanging(api.url, storage, at=1) as process:
        process.kill()
    if meanwhile == "expired":
        long_ago = datetime.now(timezone.utc) - timedelta(days=8)
        past = Presigner(
            name="videos",
            backend=seaweedfs.backend(),
            policy=UploadPolicy(**POLICY),
            secret=TOKEN_SECRET,
            clock=lambda: long_ago,
        )
        request = UploadRequest(content_type="image/png", size=len(LARGE))
        token = past.issue(request, owner="alice").token
    else:
        ticket = _presigner(seaweedfs).issue(UploadRequest(content_type="image/png", size=len(LARGE)), owner="bob")
        token = ticket.token
    [path] = client.states.iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "token": token}))
    storage.disarm()
    answer = client.run(api.url)
    assert answer.stderr == "The earlier upload of this file has ended, so it is uploaded anew\n"
    assert _parts_sent(storage) == [1, 2, 3]
    assert _stored(seaweedfs, answer) == LARGE


def test_an_upload_that_is_aborted_while_it_is_sent_ends_with_the_servers_reason(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client
) -> None:
    client.write(LARGE)
    with client.hanging(api.url, storage, "--parallel", "1", at=2) as process:
        for each in seaweedfs.admin.list_multipart_uploads(Bucket=seaweedfs.bucket)["Uploads"]:
            names = {"Bucket": seaweedfs.bucket, "Key": each["Key"], "UploadId": each["UploadId"]}
            seaweedfs.admin.abort_multipart_upload(**names)
        storage.disarm()
        answer = client.end(process)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "410 upload_ended" in answer.stderr
    assert client.saved() == []


def test_a_file_of_no_bytes_is_refused_or_comes_in_one_request(seaweedfs: Store, client: Client) -> None:
    client.write(b"")
    for policy, outcome in (({}, 1), ({"min_bytes": 0, "verify_content": False}, 0)):
        presigner = _presigner(seaweedfs, parts_from_bytes=1, **policy)
        with ADAPTERS["asgi"]([presigner], _decide) as url, run_relay(url) as relay:
            answer = client.run(f"{relay.url}/files/videos", "--digest")
            assert answer.returncode == outcome, answer.stderr
            assert outcome == 0 or "too_small" in answer.stderr
            assert "parts" not in _paths(relay)
    assert _stored(seaweedfs, answer) == b""


def test_of_10000_parts_only_those_are_sent_that_the_store_lacks(client: Client) -> None:
    count, part_bytes = 10_000, 600
    client.write(PNG.ljust(count * part_bytes, b"a"))
    bucket = S3Bucket(public_prefix="public/")
    keys = {"key": HmacKey(secret="secret")}
    limits = ReferencePartLimits(smallest_part_bytes=1)
    with serve(S3Reference(buckets={"bucket": bucket}, access_keys=keys, part_limits=limits)) as store:
        session = boto3.Session(aws_access_key_id="key", aws_secret_access_key="secret")
        with run_relay(store) as storage:
            backend: Any = S3Backend(bucket="bucket", region="us-east-1", endpoint_url=storage.url, session=session)
            backend.parts.limits = PartLimits(min_part_bytes=1, max_part_bytes=10**6, max_parts=count, max_bytes=10**9)
            presigner = _presigner(None, backend=backend, part_bytes=part_bytes)  # type: ignore[arg-type]
            request = UploadRequest(content_type="image/png", size=PART_BYTES, hashes_parts=True)
            presigner.abort(presigner.issue(request).token)
            with ADAPTERS["asgi"]([presigner], _decide) as url, run_relay(url) as api:
                # One part at a time: others that the killed client had begun to send would be counted below.
                with client.hanging(f"{api.url}/files/videos", storage, "--parallel", "1", at=1) as process:
                    process.kill()
                    process.wait()
                (held,) = bucket.uploads.values()
                now = datetime.now(timezone.utc)
                body = client.file.read_bytes()
                missing = {1, 5_000, count}
                for number in set(range(1, count + 1)) - missing:
                    part = body[(number - 1) * part_bytes :][:part_bytes]
                    checksums = {"sha256": base64.b64encode(hashlib.sha256(part).digest()).decode()}
                    held.parts[number] = UploadedPart(body=part, last_modified=now, checksums=checksums)
                answer = client.run(f"{api.url}/files/videos")
            assert "Going on: 9997 of 10000 parts are stored already" in answer.stderr
            assert _parts_sent(storage) == sorted(missing)
    assert answer.returncode == 0
    (stored,) = bucket.objects.values()
    assert stored.body == body


# A ticket for these bytes alone

HASHED = PNG.ljust(DEFAULT_PART_BYTES, b"a") + b"the second part"
WITHOUT_HASHING = (
    *COMMAND[:2],
    "from presign.uploading.source import SourceFile; SourceFile.sha256 = None; " + COMMAND[2],
)


@pytest.fixture(scope="module")
def strict_api(seaweedfs: Store, storage: Relay) -> Iterator[Relay]:
    """A server that refuses a request without a checksum."""
    presigner = _presigner(seaweedfs, backend=seaweedfs.backend(endpoint_url=storage.url), require_sha256=True)
    # As in ``api``, the backend finds out first what the storage checks.
    digest = PartsDigest(part_size=PART_BYTES, sha256="0" * 64)
    request = UploadRequest(content_type="image/png", size=PART_BYTES, parts_digest=digest)
    presigner.abort(presigner.issue(request).token)
    with ADAPTERS["asgi"]([presigner], _decide) as url, run_relay(url) as relay:
        relay.url += "/files/videos"
        yield relay


def test_a_file_in_parts_gets_a_ticket_for_its_bytes_alone(
    seaweedfs: Store, strict_api: Relay, storage: Relay, client: Client
) -> None:
    strict_api.disarm()
    client.write(HASHED)
    without = client.run(strict_api.url)
    assert "'sha256' is required" in without.stderr
    strict_api.disarm()
    answer = client.run(strict_api.url, "--digest")
    assert _paths(strict_api) == ["upload", "parts", "complete"]
    assert _parts_sent(storage) == [1, 2]
    assert _stored(seaweedfs, answer) == HASHED


def test_an_upload_that_goes_on_does_not_hash_the_file_again(
    seaweedfs: Store, strict_api: Relay, storage: Relay, client: Client
) -> None:
    client.write(HASHED)
    with client.hanging(strict_api.url, storage, "--digest", "--parallel", "1", at=2) as process:
        process.kill()
    [state] = client.saved()
    assert state["digests"] == [
        hashlib.sha256(part).hexdigest() for part in (HASHED[:DEFAULT_PART_BYTES], HASHED[-15:])
    ]
    answer = client.run(strict_api.url, "--digest", command=WITHOUT_HASHING)
    assert answer.stderr == "Going on: 1 of 2 parts are stored already\n"
    assert _parts_sent(storage) == [2]
    assert _stored(seaweedfs, answer) == HASHED


def test_an_upload_that_began_without_a_digest_is_not_gone_on_with_as_one_that_has_it(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client
) -> None:
    client.write(HASHED)
    with client.hanging(api.url, storage, at=2) as process:
        process.kill()
    answer = client.run(api.url, "--digest")
    assert "began with another type, name or SHA-256" in answer.stderr
    assert _stored(seaweedfs, answer) == HASHED


def test_a_file_that_changed_after_it_was_hashed_is_not_stored_although_its_size_and_time_are_the_same(
    seaweedfs: Store, strict_api: Relay, storage: Relay, client: Client
) -> None:
    client.write(HASHED)
    before = _unfinished(seaweedfs)
    with client.hanging(strict_api.url, storage, "--digest", "--parallel", "1", at=2) as process:
        process.kill()
    status = client.file.stat()
    client.write(HASHED[:-1] + b"!")
    os.utime(client.file, ns=(status.st_atime_ns, status.st_mtime_ns))
    answer = client.run(strict_api.url, "--digest")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "the file was changed after it was hashed" in answer.stderr
    assert client.saved() == []
    assert _unfinished(seaweedfs) == before


def test_the_file_is_hashed_again_in_parts_of_the_size_that_the_server_names(
    s3_reference: Store, client: Client
) -> None:
    client.write(HASHED)
    backend: Any = s3_reference.backend()
    backend.parts.limits = PartLimits(
        min_part_bytes=PART_BYTES, max_part_bytes=PART_BYTES, max_parts=100, max_bytes=100 * PART_BYTES
    )
    presigner = _presigner(s3_reference, backend=backend, require_sha256=True, max_hashed_bytes=1)
    with ADAPTERS["asgi"]([presigner], _decide) as url, run_relay(url) as relay:
        answer = client.run(f"{relay.url}/files/videos", "--digest")
        assert _paths(relay) == ["upload", "upload", "parts", "complete"]
    assert _stored(s3_reference, answer) == HASHED


@pytest.mark.parametrize("ignored", ["parts_digest", "part_size"])
def test_a_ticket_that_is_not_for_the_digest_is_not_used(
    seaweedfs: Store, client: Client, monkeypatch: pytest.MonkeyPatch, ignored: str
) -> None:
    """An older server, or another one, may ignore what it does not know."""
    client.write(HASHED)
    presigner = _presigner(seaweedfs)
    issue, before = presigner.issue, _unfinished(seaweedfs)

    def issue_without(request: UploadRequest, **options: Any) -> Ticket:
        given: dict[str, Any] = {"part_size": None} if ignored == "part_size" else {}
        ticket = issue(replace(request, parts_digest=None, **given), **options)
        return ticket if ignored == "parts_digest" else replace(ticket, enforced={Rule.CHECKSUM: "completion"})

    monkeypatch.setattr(presigner, "issue", issue_without)
    with ADAPTERS["asgi"]([presigner], _decide) as url, run_relay(url) as relay:
        answer = client.run(f"{relay.url}/files/videos", "--digest")
        assert _paths(relay) == ["upload", "abort"]
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "its ticket is not for the digest of the parts" in answer.stderr
    assert _unfinished(seaweedfs) == before


def test_all_clients_cut_a_file_that_they_hash_into_parts_of_the_default_policy() -> None:
    """They hash it before the server can decide the size of its parts."""
    script = (ROOT / "client" / "parts_digest.js").read_text()
    (mebibytes,) = re.findall(r"^const MIN_PART_MIB = (\d+);$", script, re.MULTILINE)
    assert _PART_BYTES == int(mebibytes) * MEBIBYTE == DEFAULT_PART_BYTES


@pytest.mark.parametrize("content", [PNG, LARGE], ids=["small", "large"])
def test_a_file_that_comes_in_one_request_gets_a_ticket_for_its_sha256(
    seaweedfs: Store, client: Client, content: bytes
) -> None:
    client.write(content)
    presigner = _presigner(seaweedfs, require_sha256=True, parts_from_bytes=len(LARGE) + 1)
    with ADAPTERS["asgi"]([presigner], _decide) as url, run_relay(url) as relay:
        answer = client.run(f"{relay.url}/files/videos", "--digest")
        assert _paths(relay) == [*["upload"] * (1 if content == PNG else 2), "complete"]
    assert _stored(seaweedfs, answer) == content


def test_only_one_of_the_two_checksums_can_be_asked_for(client: Client) -> None:
    client.write(PNG)
    answer = client.run("http://127.0.0.1:1/files", "--digest", "--sha256")
    assert answer.returncode == 2
    assert "one of --sha256 and --digest" in answer.stderr


# What is lost on the way


@pytest.mark.parametrize(("content", "complete_at"), [(PNG, 1), (LARGE, 2)], ids=["small", "large"])
def test_no_byte_is_sent_again_after_a_lost_completion(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client, content: bytes, complete_at: int
) -> None:
    client.write(content)
    with client.hanging(api.url, api, at=complete_at) as process:
        process.kill()
    storage.disarm()
    answer = client.run(api.url)
    assert _stored(seaweedfs, answer) == content
    assert _paths(api) == (["complete"] if content == PNG else ["parts/list", "complete"])
    sent = [each for each in storage.requests if each.startswith("POST") or "X-Amz-Expires" in each]
    assert [each for each in sent if "uploadId=" not in each or "partNumber=" in each] == []


@pytest.mark.parametrize("answered", ["close", 503])
def test_the_completion_is_asked_again_if_its_answer_was_lost(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client, answered: Any
) -> None:
    client.write(LARGE)
    api.arm(Failure(answer=answered, done=True), at=2)
    answer = client.run(api.url)
    assert _stored(seaweedfs, answer) == LARGE
    assert _paths(api) == ["upload", "parts", "complete", "complete"]
    assert _parts_sent(storage) == [1, 2, 3]


@pytest.mark.parametrize("failure", [Failure(answer="close", done=True), Failure(answer=503, done=True)], ids=str)
def test_a_part_whose_answer_was_lost_is_not_sent_again(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client, failure: Failure
) -> None:
    client.write(LARGE)
    storage.arm(failure, at=2)
    answer = client.run(api.url)
    assert storage.failed == 1
    assert _parts_sent(storage) == [1, 2, 3]
    assert _stored(seaweedfs, answer) == LARGE


@pytest.mark.parametrize(
    ("status", "content"), [(503, b"<Code>SlowDown</Code>"), (503, b"<Code>ServerBusy</Code>"), (429, b"")]
)
def test_a_storage_that_is_asked_too_much_is_not_asked_which_parts_it_has(
    api: Relay, client: Client, monkeypatch: pytest.MonkeyPatch, status: int, content: bytes
) -> None:
    client.write(LARGE)
    real, answers = Connections.send, [Answer(status=status, headers=HTTPHeaderDict(), body=content)] * 2

    def send(self: Connections, method: Any, url: str, **request: Any) -> Answer:
        return answers.pop() if method == "PUT" and answers else real(self, method, url, **request)

    monkeypatch.setattr(Connections, "send", send)
    upload = Upload(
        client.file,
        api=api.url,
        headers={"X-User": SECRET},
        content_type="image/png",
        name="large.png",
        hash_file=False,
        hash_parts=False,
        parallel=2,
        allow_http=False,
        state_folder=client.states,
        on_note=print,
    )
    assert upload.run(lambda done: None)["size"] == len(LARGE)
    assert (answers, _paths(api)) == ([], ["upload", "parts", "complete"])


@pytest.mark.parametrize("failure", [Failure(answer="close", times=2), Failure(answer=500)], ids=str)
def test_a_part_that_did_not_arrive_is_sent_again(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client, failure: Failure
) -> None:
    client.write(LARGE)
    storage.arm(failure, at=1)
    answer = client.run(api.url)
    assert len(_parts_sent(storage)) == 3 + failure.times
    assert _stored(seaweedfs, answer) == LARGE


def test_parts_that_the_storage_only_pretended_to_take_are_sent_after_the_completion_missed_them(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client
) -> None:
    client.write(LARGE)
    storage.arm(Failure(answer=200), at=1)
    answer = client.run(api.url)
    assert answer.stderr == "The storage lacks 1 of 3 parts, which are sent again\n"
    assert len(_parts_sent(storage)) == 4
    assert _paths(api) == ["upload", "parts", "complete", "parts", "complete"]
    assert _stored(seaweedfs, answer) == LARGE


@pytest.mark.parametrize("failure", [Failure(answer="close", done=True), Failure(answer=503, done=True)], ids=str)
def test_a_small_file_whose_answer_was_lost_is_completed_and_not_sent_again(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client, failure: Failure
) -> None:
    client.write(PNG)
    storage.arm(failure, at=0)
    answer = client.run(api.url)
    assert _stored(seaweedfs, answer) == PNG
    assert _paths(api) == ["upload", "complete"]


def test_a_small_file_that_did_not_arrive_is_sent_again(
    seaweedfs: Store, api: Relay, storage: Relay, client: Client
) -> None:
    client.write(PNG)
    storage.arm(Failure(answer="close"), at=0)
    assert _stored(seaweedfs, client.run(api.url)) == PNG


@pytest.mark.parametrize("content", [PNG, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(("answered", "reason"), [("close", "broke the connection"), (503, "503")])
def test_a_storage_that_fails_for_long_ends_the_command_without_its_signed_addresses(
    seaweedfs: Store, client: Client, content: bytes, answered: Any, reason: str
) -> None:
    script = (
        "from presign.__main__ import main; from presign.uploading import parts, upload; "
        "parts.ATTEMPTS = upload.ATTEMPTS = 1; main()"
    )
    client.write(content)
    with run_relay(seaweedfs.endpoint_url) as storage:
        backend = seaweedfs.backend(endpoint_url=storage.url, upload_method="put")
        with ADAPTERS["asgi"]([_presigner(seaweedfs, backend=backend)], _decide) as url:
            # Only what the client sends: the server's own requests have no signature in their address.
            storage.arm(Failure(answer=answered, times=1000, only="X-Amz-Signature"), at=0)
            answer = client.run(f"{url}/videos", command=(sys.executable, "-c", script))
            assert (answer.returncode, answer.stdout) == (1, "")
            assert reason in answer.stderr
            assert ("To go on, run the same command again" in answer.stderr) is (content == LARGE)
            storage.disarm()
            assert _stored(seaweedfs, client.run(f"{url}/videos")) == content


def test_a_completion_that_takes_long_is_asked_again(seaweedfs: Store, client: Client) -> None:
    with run_relay("http://127.0.0.1:9") as idle:
        asked = idle

    def inspect(_: Any) -> Accept:
        deadline = time.monotonic() + WAIT_SECONDS
        while _paths(asked).count("complete") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return Accept()

    client.write(LARGE)
    presigner = _presigner(seaweedfs, inspect=inspect)
    with ADAPTERS["asgi"]([presigner], _decide, timeout_seconds=0.2) as url, run_relay(url) as asked:
        answer = client.run(f"{asked.url}/files/videos")
        assert _paths(asked).count("complete") >= 2
    assert answer.stderr == "The file is stored, and the server verifies it\n"
    assert _stored(seaweedfs, answer) == LARGE


# What is refused


def test_a_type_that_the_policy_does_not_allow_is_refused_with_the_reason(api: Relay, client: Client) -> None:
    client.write(PNG)
    answer = client.run(api.url, "--type", "text/plain")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "'type' must be one of image/png (415 type_not_allowed)" in answer.stderr


def test_a_file_that_the_server_rejects_is_forgotten(seaweedfs: Store, client: Client) -> None:
    client.write(LARGE)
    presigner = _presigner(seaweedfs, inspect=lambda _: Reject("the picture is too dark"))
    with ADAPTERS["asgi"]([presigner], _decide) as url:
        answer = client.run(f"{url}/videos")
    assert answer.returncode == 1
    assert "the picture is too dark (422 rejected)" in answer.stderr
    assert "To go on" not in answer.stderr
    assert client.saved() == []


def test_a_file_that_is_not_what_its_type_says_is_refused(api: Relay, client: Client) -> None:
    client.write(b"this is no picture")
    answer = client.run(api.url)
    assert answer.returncode == 1
    assert "422 rule_violated" in answer.stderr


def test_a_storage_that_refuses_the_upload_is_named(seaweedfs: Store, client: Client) -> None:
    client.write(PNG)
    late = Presigner(
        name="videos",
        backend=seaweedfs.backend(),
        policy=UploadPolicy(content_types={"image/png"}, max_bytes=1000, prefix="public/"),
        secret=TOKEN_SECRET,
        # Signed so long ago that the storage refuses it, and by this clock it is valid.
        clock=lambda: datetime.now(timezone.utc) - timedelta(hours=1),
    )
    with ADAPTERS["asgi"]([late], _decide) as url:
        answer = client.run(f"{url}/videos")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "the storage refused the upload: 403 AccessDenied" in answer.stderr


def test_without_the_header_the_server_says_to_sign_in(api: Relay, client: Client) -> None:
    client.write(PNG)
    client.environment = {}
    answer = client.run(api.url)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "sign in to upload (401 unauthenticated)" in answer.stderr


@pytest.mark.parametrize("given", ["option", "file"])
def test_headers_also_come_from_options_and_from_a_file(
    seaweedfs: Store, api: Relay, client: Client, tmp_path: Path, given: str
) -> None:
    client.write(PNG)
    client.environment = {"PRESIGN_HEADERS": "X-User: nobody"}
    headers = tmp_path / "headers"
    headers.write_text(f"x-other: 1\n\nX-User:{SECRET}  \n")
    options = ["--header", f"X-User: {SECRET}"] if given == "option" else ["--header-file", str(headers)]
    assert _stored(seaweedfs, client.run(api.url, *options)) == PNG


@pytest.mark.parametrize(
    "header",
    [f"{SECRET}", f": {SECRET}", f"X User: {SECRET}", f"X: {SECRET}\u20ac", f"X: {SECRET}\r\nY: 1", f"Host: {SECRET}"],
)
def test_a_header_that_is_not_one_is_refused_and_not_repeated(api: Relay, client: Client, header: str) -> None:
    client.write(PNG)
    answer = client.run(api.url, "--header", header)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "header" in answer.stderr
    assert api.requests == []


@pytest.mark.parametrize(
    ("api_url", "reason"),
    [
        ("http://192.0.2.1/files", "has no TLS"),
        ("ftp://127.0.0.1/files", "it must be https://HOST/PATH"),
        ("https://user:hunter2@127.0.0.1/files", "without a user"),
        ("https://127.0.0.1/files?key=hunter2", "a query"),
        ("files", "it must be https://HOST/PATH"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_and_not_repeated(client: Client, api_url: str, reason: str) -> None:
    client.write(PNG)
    answer = client.run(api_url)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert reason in re.sub(r"\s+", " ", answer.stderr)
    assert "hunter2" not in answer.stderr


def test_a_missing_file_is_a_wrong_command(api: Relay, client: Client) -> None:
    answer = client.run(api.url)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "there is no such file" in answer.stderr


@pytest.mark.parametrize("kind", ["folder", "pipe", "name that is too long", "file below a file"])
def test_what_is_no_file_on_a_disk_is_a_wrong_command_with_the_reason(api: Relay, client: Client, kind: str) -> None:
    reason = {
        "folder": "this is a folder; upload each of its files",
        "pipe": "this is no file on a disk, which could be read again",
        "name that is too long": "the file cannot be read: File name too long",
        "file below a file": "the file cannot be read: Not a directory",
    }[kind]
    if kind == "folder":
        client.file.mkdir()
    elif kind == "pipe":
        os.mkfifo(client.file)
    elif kind == "name that is too long":
        client.file = client.file.with_name("a" * 300)
    else:
        client.write(b"")
        client.file = client.file / "film.png"
    answer = client.run(api.url)
    assert answer.returncode == 2
    assert reason in " ".join(answer.stderr.split())
    assert _paths(api) == []


def test_a_file_that_has_bytes_and_no_size_is_not_stored_as_an_empty_one(seaweedfs: Store, client: Client) -> None:
    client.file = Path("/proc/self/status")
    with ADAPTERS["asgi"]([_presigner(seaweedfs, min_bytes=0)], _decide) as url:
        answer = client.run(f"{url}/videos", "--type", "image/png")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "its size is 0; upload a copy" in answer.stderr


def test_an_address_without_the_contract_is_explained(api: Relay, client: Client) -> None:
    client.write(PNG)
    answer = client.run(f"{api.url}/upload")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "(404 not_found); give the address that has /upload below it\n" in answer.stderr


def test_a_file_is_not_sent_to_a_storage_without_tls_on_another_machine(s3_reference: Store, client: Client) -> None:
    client.write(PNG)
    backend = s3_reference.backend(endpoint_url="http://192.0.2.1", allow_http=True)
    with ADAPTERS["asgi"]([_presigner(s3_reference, backend=backend)], _decide) as url:
        answer = client.run(f"{url}/videos")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "http://192.0.2.1 has no TLS" in answer.stderr


# Servers that are not presign's


Handle = Callable[[BaseHTTPRequestHandler, bytes], tuple[int, dict[str, str], bytes]]


@contextmanager
def _server(handle: Handle, context: ssl.SSLContext | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, answer = handle(self, body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Say nothing of a client that refuses the certificate."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_an_answer_that_repeats_secrets_or_changes_the_terminal_is_printed_without_them(client: Client) -> None:
    client.write(PNG)

    def handle(request: BaseHTTPRequestHandler, _: bytes) -> tuple[int, dict[str, str], bytes]:
        detail = f"\x1b[2Jno, {request.headers['x-user']}\n\u202e!"
        return 403, {}, json.dumps({"code": "forbidden\x07", "detail": detail}).encode()

    with _server(handle) as url:
        answer = client.run(url)
    assert answer.returncode == 1
    assert answer.stderr == "Error: the server refused the request: ?[2Jno, (secret)??! (403 forbidden?)\n"


def test_another_server_at_the_address_is_explained(client: Client) -> None:
    client.write(PNG)
    with _server(lambda *_: (404, {}, b'{"detail": "Not Found"}')) as url:
        answer = client.run(url)
    assert answer.returncode == 1
    assert answer.stderr == (
        "Error: the server refused the request: Not Found (404); give the address that has /upload below it\n"
    )


def test_a_redirect_is_not_followed_so_no_header_goes_elsewhere(client: Client) -> None:
    client.write(PNG)
    seen: list[str] = []

    def elsewhere(request: BaseHTTPRequestHandler, _: bytes) -> tuple[int, dict[str, str], bytes]:
        seen.append(request.headers["x-user"])
        return 200, {}, b"{}"

    with _server(elsewhere) as other, _server(lambda *_: (307, {"Location": f"{other}/upload"}, b"")) as url:
        answer = client.run(url)
    assert answer.returncode == 1
    assert "it redirects to another address" in answer.stderr
    assert seen == []


def _ticket(url: str, **members: Any) -> bytes:
    times = {"now": "2026-11-29T10:00:00Z", "expires_at": "2026-11-29T10:01:00Z"}
    return json.dumps(
        {**times, "method": "PUT", "url": url, "headers": {}, "fields": {}, "token": "t", **members}
    ).encode()


@pytest.mark.parametrize("headers", [{"X-A": "a\r\nX-B: b"}, {"": "a"}, {"X-A": "\u20ac"}, {"a\nb": "a"}])
def test_a_ticket_with_a_header_that_no_request_can_have_ends_the_command(
    client: Client, headers: dict[str, str]
) -> None:
    client.write(PNG)
    with _server(lambda *_: (200, {}, _ticket("http://127.0.0.1:1/", headers=headers))) as url:
        answer = client.run(url)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == "Error: the server wants a header for http://127.0.0.1:1 that no request can have\n"


def test_an_address_of_a_ticket_does_not_change_the_terminal(client: Client) -> None:
    client.write(PNG)
    with _server(lambda *_: (200, {}, _ticket("http://\x1bc\u202e.example/"))) as url:
        answer = client.run(url)
    assert answer.stderr.startswith("Error: http://?c?.example has no TLS")


def test_a_ticket_with_more_parts_than_any_storage_takes_is_not_used(client: Client) -> None:
    client.write(PNG.ljust(50_001))
    parts = {"part_size": 1, "count": 50_001, "at_once": 8, "needs_sha256": False, "requests": []}
    with _server(lambda *_: (200, {}, _ticket("http://127.0.0.1:1/", parts=parts))) as url:
        answer = client.run(url)
    assert (answer.returncode, client.saved()) == (1, [])
    assert "the parts do not make up the file" in answer.stderr


def test_a_server_elsewhere_sends_no_file_to_a_program_on_this_machine(client: Client) -> None:
    api, here = "https://app.example/files", "http://127.0.0.1:2375/containers/create"
    for url in (here, here.replace("http:", "https:"), here.replace("127.0.0.1", "localhost")):
        with pytest.raises(UploadFailed, match="a program on this machine"):
            Connections(api=api, parallel=1, allow_http=False).check(url)
        for allowed in (
            Connections(api=api, parallel=1, allow_http=True),
            Connections(api="http://localhost:8000", parallel=1, allow_http=False),
        ):
            allowed.check(url)
    Connections(api=api, parallel=1, allow_http=False).check("https://bucket.s3.amazonaws.com/")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"now": "2026", "expires_at": 1}'])
def test_an_answer_of_another_server_ends_the_command(client: Client, body: bytes) -> None:
    client.write(PNG)
    with _server(lambda *_: (200, {}, body)) as url:
        answer = client.run(url)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "the server's answer is not one of presign" in answer.stderr


def test_a_busy_server_is_asked_again_after_the_time_that_it_names(client: Client) -> None:
    client.write(PNG)
    times: list[float] = []

    def handle(*_: Any) -> tuple[int, dict[str, str], bytes]:
        times.append(time.monotonic())
        busy = (429, {"Retry-After": "1"}, b"")
        return busy if len(times) == 1 else (403, {}, b'{"code": "forbidden", "detail": "no"}')

    with _server(handle) as url:
        assert client.run(url).returncode == 1
    first, second = times
    assert second - first >= 1


def test_a_server_that_does_not_listen_is_named(client: Client) -> None:
    client.write(PNG)
    answer = client.run("http://127.0.0.1:9")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "http://127.0.0.1:9 does not accept connections" in answer.stderr


def test_a_proxy_of_the_environment_is_used(client: Client) -> None:
    client.write(PNG)
    paths: list[str] = []

    def handle(request: BaseHTTPRequestHandler, _: bytes) -> tuple[int, dict[str, str], bytes]:
        paths.append(request.path)
        assert request.headers["Proxy-Authorization"] == "Basic dTpw"
        return 403, {}, b'{"code": "forbidden", "detail": "no"}'

    with _server(handle) as url:
        client.environment["http_proxy"] = url.replace("://", "://u:p@")
        assert "403 forbidden" in client.run("http://files.invalid/x", "--allow-http").stderr
    assert paths == ["http://files.invalid/x/upload"]


def test_a_certificate_that_no_authority_signed_is_refused(client: Client, tmp_path: Path) -> None:
    client.write(PNG)
    asked: list[bytes] = []

    def handle(_: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        asked.append(body)
        return 403, {}, b'{"code": "forbidden", "detail": "no"}'

    certificate = _self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with _server(handle, context) as url:
        refused = client.run(url)
        assert asked == []
        client.environment["SSL_CERT_FILE"] = str(certificate)
        trusted = client.run(url)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "cannot be trusted" in refused.stderr
    assert "403 forbidden" in trusted.stderr


def _self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(timezone.utc)
    address = x509.IPAddress(ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


# What a person and a machine see


def test_memory_does_not_grow_with_the_file(seaweedfs: Store, client: Client) -> None:
    script = (
        "import sys, tracemalloc; from presign.__main__ import main; from presign.uploading import Upload\n"
        "run = Upload.run\n"
        "def measured(*arguments):\n"
        "    tracemalloc.start()\n"
        "    try: return run(*arguments)\n"
        "    finally: print(tracemalloc.get_traced_memory()[1], file=sys.stderr)\n"
        "Upload.run = measured\n"
        "main()"
    )
    content = PNG.ljust(40 * MEBIBYTE, b"\0")
    client.write(content)
    with ADAPTERS["asgi"]([_presigner(seaweedfs)], _decide) as url:
        answer = client.run(f"{url}/videos", "--parallel", "2", command=(sys.executable, "-c", script))
    assert hashlib.sha256(_stored(seaweedfs, answer)).digest() == hashlib.sha256(content).digest()
    assert MEBIBYTE < int(answer.stderr) < PART_BYTES


def test_a_terminal_shows_progress_and_quiet_does_not(seaweedfs: Store, api: Relay, client: Client) -> None:
    client.write(LARGE)
    shown = []
    for options in (("--digest",), ("--quiet",)):
        # The arguments that the client adds are those of the command, and the outer process has a terminal for it.
        script = f"import pty, sys; sys.exit(pty.spawn([*{COMMAND!r}, *sys.argv[1:]]) >> 8)"
        answer = client.run(api.url, *options, command=(sys.executable, "-c", script))
        assert answer.returncode == 0
        shown.append(answer.stdout)
    assert "Hashing film.png" in shown[0]
    assert "Uploading film.png" in shown[0]
    assert "100%" in shown[0]
    assert "100%" not in shown[1]
    for output in shown:
        assert _stored(seaweedfs, subprocess.CompletedProcess([], 0, output.replace("\r\n", "\n"), ""))
