"""Completion on a storage that fails: at each request, in each way, and with the process killed there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlencode

import pytest

import presign.azure.blocks
import presign.azure.client
import presign.gcs.json_api
import presign.gcs.objects
import presign.gcs.parts
import presign.gcs.rewriting
import presign.s3.identity
import presign.s3.session
from emulators.azurite import ACCOUNT_KEY, ACCOUNT_NAME, Azurite
from emulators.gcs_accounts import generate_credentials, trusted_account
from emulators.gcs_bucket import GcsBucket
from emulators.gcs_reference import GcsReference
from emulators.serving import serve
from emulators.wire import Attempt, send
from presign import Backend, Completion, StorageUnavailable, StoredObject, Ticket
from presign.backends import open_backend
from tests.azure.accounts import prepare_account
from tests.completing_process import PENDING_PREFIX, PNG, PREFIX, TOLD, completing_presigner
from tests.conftest import Store, png_request, upload
from tests.failing_relay import Failure, Relay, run_relay

ROOT = Path(__file__).resolve().parent.parent
SHORT_SECONDS = 0.2
ALWAYS = 100
FAILURES = (
    Failure(answer=500),
    Failure(answer=500, times=ALWAYS),
    Failure(answer=503, times=ALWAYS),
    Failure(answer=500, done=True),
    Failure(answer=500, done=True, times=ALWAYS),
    Failure(answer="close"),
    Failure(answer="close", times=ALWAYS),
    Failure(answer="close", done=True),
    Failure(answer="cut headers"),
    Failure(answer="cut headers", times=ALWAYS),
    Failure(answer="cut", times=ALWAYS),
    Failure(answer="stall", times=ALWAYS),
    Failure(answer="hang", done=True, times=ALWAYS),
)
# The others differ only in requests that a file in one request has as well.
FAILURES_OF_PARTS = (
    Failure(answer=500),
    Failure(answer=503, times=ALWAYS),
    Failure(answer=500, done=True),
    Failure(answer=500, done=True, times=ALWAYS),
    Failure(answer="close", done=True),
    Failure(answer="close", times=ALWAYS),
    Failure(answer="cut", times=ALWAYS),
    Failure(answer="hang", done=True, times=ALWAYS),
)
CLOUDS = ("s3", "azure", "gcs")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A storage behind a relay: browsers reach it directly, and the application's own requests go through the relay.

    - ``address``: what opens the backend; ``environment`` holds its credentials.
    - ``backend``: has the usual time-outs. ``impatient_backend`` has short ones.
    - ``open_anew``: opens the backend of each completion that is interrupted, if a backend's first completion has more
      requests than the next ones.
    - ``in_parts``: whether the file comes in parts; it is so small that it has one.
    """

    relay: Relay
    address: str
    environment: dict[str, str] = field(repr=False)
    backend: Backend
    impatient_backend: Backend
    open_anew: Callable[[], Backend] | None
    in_parts: bool = False

    def uploaded(self) -> Ticket:
        """Issue a ticket, and upload with it."""
        presigner = completing_presigner(self.backend, _ignore, in_parts=self.in_parts)
        ticket = presigner.issue(png_request(size=len(PNG)), owner=None)
        if ticket.parts is None:
            assert upload(ticket, PNG).status in (200, 201)
        else:
            (part,) = ticket.parts.requests
            attempt = Attempt(method="PUT", url=part.url, headers=tuple(part.headers.items()), body=PNG)
            assert send(attempt).status in (200, 201)
        return ticket

    def requests_of_a_completion(self) -> list[str]:
        ticket = self.uploaded()
        self.relay.disarm()
        assert self.complete_or_fail(ticket, []) is not None
        return list(self.relay.requests)

    def complete_or_fail(
        self, ticket: Ticket, told: list[StoredObject], *, impatiently: bool = False
    ) -> StoredObject | None:
        """Complete an upload, and return None if the storage is not available; every other error is raised."""
        with _short_time_outs() if impatiently else nullcontext():
            if self.open_anew is not None:
                backend = self.open_anew()
            else:
                backend = self.impatient_backend if impatiently else self.backend
            presigner = completing_presigner(backend, lambda completion: told.append(completion.stored))
            try:
                return presigner.complete(ticket.token)
            except StorageUnavailable:
                return None

    def finish(self, ticket: Ticket, told: list[StoredObject]) -> StoredObject:
        """Complete an interrupted upload; ``told`` has what the application was told before."""
        self.relay.disarm()
        presigner = completing_presigner(self.backend, lambda completion: told.append(completion.stored))
        stored = presigner.complete(ticket.token)
        assert presigner.complete(ticket.token) == stored, "another answer"
        assert (stored.key, stored.size, stored.content_type) == (ticket.key, len(PNG), "image/png")
        assert stored.object_url is not None
        published = send(Attempt(method="GET", url=stored.object_url))
        assert (published.status, published.body) == (200, PNG)
        assert published.headers["content-type"] == "image/png"
        pending_key = PENDING_PREFIX + ticket.key.rpartition("/")[2]
        assert pending_key not in [found.key for found in self.backend.pending.list_objects(PENDING_PREFIX)]
        assert told
        assert set(told) == {stored}, "the application was told of another object"
        return stored


def _ignore(_: Completion) -> None:
    return None


@pytest.fixture(scope="module", autouse=True)
def _retries_come_soon() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presign.azure.client, "RETRY_DELAY_SECONDS", 0.01)
        patch.setattr(presign.gcs.json_api, "RETRY_DELAY_SECONDS", 0.01)
        yield


@pytest.fixture(scope="module")
def s3(seaweedfs: Store) -> Iterator[Place]:
    keys = seaweedfs.session.get_credentials()
    assert keys is not None
    environment = {"AWS_ACCESS_KEY_ID": str(keys.access_key), "AWS_SECRET_ACCESS_KEY": str(keys.secret_key)}
    with run_relay(seaweedfs.endpoint_url) as relay:
        # A PUT, because a completion then asks for the access control list, too.
        yield _place(
            relay,
            f"s3://{seaweedfs.bucket}/{PREFIX}",
            environment,
            # With the session of other backends, because a session takes long to build its first client.
            open_anew=lambda: seaweedfs.backend(
                endpoint_url=relay.url, public_endpoint_url=seaweedfs.endpoint_url, upload_method="put"
            ),
            region="us-east-1",
            endpoint_url=relay.url,
            public_endpoint_url=seaweedfs.endpoint_url,
            upload_method="put",
        )


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Azurite(directory=tmp_path_factory.mktemp("azurite")) as azurite:
        prepare_account(azurite, {"account_key": ACCOUNT_KEY})
        with run_relay(azurite.account_url) as relay:
            yield _place(
                relay,
                f"azblob://{ACCOUNT_NAME}/public/{PREFIX}",
                {"AZURE_STORAGE_KEY": ACCOUNT_KEY},
                pending_container="pending",
                endpoint_url=f"{relay.url}/{ACCOUNT_NAME}",
                public_endpoint_url=azurite.account_url,
            )


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    account = tmp_path_factory.mktemp("gcs") / "account.json"
    generate_credentials(account, token_uri="http://unknown.invalid/token")
    app = GcsReference(
        buckets={"uploads": GcsBucket(public_prefix=PREFIX)}, service_accounts=trusted_account(account), hmac_keys={}
    )
    with serve(app) as url, run_relay(url) as relay:
        generate_credentials(account, token_uri=f"{url}/token")
        yield _place(
            relay,
            f"gs://uploads/{PREFIX}",
            {},
            credentials=str(account),
            endpoint_url=relay.url,
            public_endpoint_url=url,
        )


def _place(
    relay: Relay,
    address: str,
    environment: dict[str, str],
    *,
    open_anew: Callable[[], Backend] | None = None,
    **parameters: str,
) -> Place:
    address = f"{address}?{urlencode(parameters)}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        backend, _ = open_backend(address)
        impatient_backend, _ = open_backend(address)
    place = Place(
        relay=relay,
        address=address,
        environment=environment,
        backend=backend,
        impatient_backend=impatient_backend,
        open_anew=open_anew,
    )
    # The first call of a backend builds its client, with the time-outs of that moment.
    completing_presigner(backend, _ignore).complete(place.uploaded().token)
    if open_anew is None:
        place.complete_or_fail(place.uploaded(), [], impatiently=True)
    return place


@contextmanager
def _short_time_outs() -> Iterator[None]:
    """Let a request that hangs fail after SHORT_SECONDS, for the backends that are built and used in this block."""
    both = (SHORT_SECONDS, SHORT_SECONDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presign.s3.session, "READ_TIMEOUT_SECONDS", SHORT_SECONDS)
        patch.setattr(presign.azure.client, "READ_TIMEOUT_SECONDS", SHORT_SECONDS)
        patch.setattr(presign.gcs.json_api, "TIMEOUTS", both)
        patch.setattr(presign.gcs.objects, "TIMEOUTS", both)
        patch.setattr(presign.gcs.rewriting, "_REWRITE_READ_SECONDS", SHORT_SECONDS)
        patch.setattr(presign.s3.identity, "COPY_READ_TIMEOUT_SECONDS", SHORT_SECONDS)
        patch.setattr(presign.gcs.parts, "_COMMIT_SECONDS", SHORT_SECONDS)
        patch.setattr(presign.azure.blocks, "_COMMIT_SECONDS", SHORT_SECONDS)
        yield


@pytest.fixture(params=CLOUDS)
def place(request: pytest.FixtureRequest) -> Place:
    """The storage of each cloud in turn."""
    chosen: Place = request.getfixturevalue(request.param)
    chosen.relay.disarm()
    return chosen


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_a_completion_that_fails_at_any_request_ends_the_same_when_it_is_repeated(
    place: Place, failure: Failure
) -> None:
    _fail_at_each_request(place, failure)


@pytest.mark.parametrize("failure", FAILURES_OF_PARTS, ids=str)
def test_a_completion_of_parts_that_fails_at_any_request_ends_the_same_when_it_is_repeated(
    place: Place, failure: Failure
) -> None:
    _fail_at_each_request(replace(place, in_parts=True), failure)


def _fail_at_each_request(place: Place, failure: Failure) -> None:
    for step, request in enumerate(place.requests_of_a_completion()):
        told: list[StoredObject] = []
        ticket = place.uploaded()
        place.relay.arm(failure, at=step)
        try:
            stored = place.complete_or_fail(ticket, told, impatiently=failure.answer in ("hang", "stall"))
            # On a busy machine, an impatient completion may end before this request.
            assert place.relay.failed or stored is None, "nothing was interrupted"
            assert stored in (None, place.finish(ticket, told))
        except BaseException as error:
            error.args = (f"{failure} at request {step}, {request}: {error}",)
            raise


def test_these_are_at_least_50_interruptions(place: Place) -> None:
    assert len(place.requests_of_a_completion()) * len(FAILURES) >= 50
    in_parts = replace(place, in_parts=True)
    assert len(in_parts.requests_of_a_completion()) * len(FAILURES_OF_PARTS) >= 50


def test_a_failure_that_lasts_is_reported_in_time(place: Place) -> None:
    ticket = place.uploaded()
    place.relay.arm(Failure(answer="hang", times=ALWAYS), at=0)
    start = time.monotonic()
    assert place.complete_or_fail(ticket, [], impatiently=True) is None
    # Google's calls are repeated once; the rest is for a busy machine.
    assert SHORT_SECONDS <= time.monotonic() - start < 2 * SHORT_SECONDS + 2
    place.finish(ticket, [])


def test_a_process_that_is_killed_at_any_request_leaves_an_upload_that_another_completes(place: Place) -> None:
    _kill_at_each_request(place)


def test_a_process_that_is_killed_leaves_a_file_in_parts_that_another_completes(s3: Place) -> None:
    _kill_at_each_request(replace(s3, in_parts=True))


def _kill_at_each_request(place: Place) -> None:
    steps = len(place.requests_of_a_completion())
    for step in range(steps + 1):
        ticket = place.uploaded()
        # The storage has done what was asked, and the process is killed before it knows.
        place.relay.arm(Failure(answer="hang", done=True), at=step)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.completing_process", place.address, ticket.token],
            cwd=ROOT,
            env={**os.environ, **place.environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            if step < steps:
                _wait_until(place.relay.reached.is_set, process)
            else:
                # After the last request, the process is killed while the application is told.
                assert process.stdout.readline().strip() == TOLD
            process.kill()
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == -signal.SIGKILL
        place.finish(ticket, [])


def _wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert process.poll() is None, "the process ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.01)
