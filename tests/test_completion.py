"""Completion with a pending place: verified, inspected, published, told; interrupted anywhere, and attacked."""

from __future__ import annotations

import asyncio
import http.client
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import pytest

from demo_server.storages.local_storage import PENDING_PREFIX
from emulators.wire import Attempt, Form, send
from presign import (
    Accept,
    Completion,
    CompletionPending,
    CompletionProgress,
    ConfigurationError,
    Grant,
    InspectedObject,
    InvalidToken,
    NotUploaded,
    NotYet,
    Presigner,
    Reject,
    Rejected,
    RuleViolated,
    StorageUnavailable,
    TooLarge,
    UploadOptions,
    UploadPolicy,
    UploadRequest,
)
from presign.testing import InterruptedBackend
from tests.conftest import PNG, PNG_SHA256, TOKEN_SECRET, Store, as_sent, png_request, seconds_ago, upload

OTHER = PNG[:-4] + b"evil"
MECHANISMS: dict[str, dict[str, Any]] = {
    "POST": {"upload_method": "post"},
    "PUT": {"upload_method": "put"},
}


def _presigner(store: Store, *, backend: Any = None, upload_method: str = "auto", **options: Any) -> Presigner:
    policy: dict[str, Any] = {
        "content_types": {"image/png", "text/plain"},
        "max_bytes": 100,
        "prefix": "public/",
        "pending_prefix": PENDING_PREFIX,
        "public_read": True,
        "metadata": {"tenant": "7"},
        "cache_control": "max-age=60",
        "content_disposition": "inline",
    }
    hooks = {name: options.pop(name) for name in ("inspect", "on_complete", "name", "clock") if name in options}
    return Presigner(
        backend=backend or store.backend(upload_method=upload_method),
        policy=UploadPolicy(**policy | options),
        secret=TOKEN_SECRET,
        **hooks,
    )


def _request(**changes: Any) -> UploadRequest:
    return png_request(size=len(PNG), name="cat.png", **changes)


def _pending_keys(store: Store) -> list[str]:
    return [found.key for found in store.backend().list_objects(PENDING_PREFIX)]


def _published(store: Store, key: str) -> bytes | None:
    """Return what everybody reads under ``key``, or None if nobody can read anything."""
    answer = send(Attempt(method="GET", url=f"{store.endpoint_url}/{store.bucket}/{key}"))
    return answer.body if answer.status == 200 else None


@pytest.fixture(autouse=True)
def _nothing_is_pending(request: pytest.FixtureRequest) -> Iterator[None]:
    if "store" not in request.fixturenames:
        yield
        return
    store: Store = request.getfixturevalue("store")
    # Tests of other files may have left uploads there.
    for key in _pending_keys(store):
        store.admin.delete_object(Bucket=store.bucket, Key=key)
    yield


# The way of an upload


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_an_upload_is_private_until_it_is_completed_and_then_exactly_what_was_verified(
    store: Store, mechanism: str
) -> None:
    told: list[Completion] = []
    presigner = _presigner(store, on_complete=told.append, name="avatars", **MECHANISMS[mechanism])
    ticket = presigner.issue(_request(), owner="alice")
    assert ticket.key.startswith("public/")
    assert upload(ticket, PNG).status in (200, 201)
    (pending,) = _pending_keys(store)
    for key in (pending, ticket.key):
        assert send(Attempt(method="GET", url=presigner.backend.object_url(key))).status in (403, 404)
    stored = presigner.complete(ticket.token, owner="alice")
    assert (stored.key, stored.size, stored.content_type) == (ticket.key, len(PNG), "image/png")
    assert stored.object_url == ticket.object_url
    assert _pending_keys(store) == []
    assert stored.object_url is not None
    answer = send(Attempt(method="GET", url=stored.object_url))
    assert answer.body == PNG
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "max-age=60"
    assert answer.headers["content-disposition"] == 'inline; filename="cat.png"'
    assert answer.headers["x-amz-meta-tenant"] == "7"
    assert presigner.complete(ticket.token, owner="alice") == stored
    expected = Completion(
        kind="avatars", stored=stored, owner="alice", name="cat.png", metadata=dict(presigner.policy.metadata)
    )
    assert told == [expected, expected], "at least once: a repeated completion tells the application again"


def test_the_published_object_gets_the_tags_and_the_class_that_the_application_chose(s3_reference: Store) -> None:
    presigner = _presigner(s3_reference)
    options = UploadOptions(tags={"team": "a b"}, storage_class="STANDARD_IA", metadata={"x": "y"}, prefix="public/7/")
    ticket = presigner.issue(_request(), options=options)
    assert ticket.key.startswith("public/7/")
    assert upload(ticket, PNG).status == 201
    presigner.complete(ticket.token)
    head = s3_reference.admin.head_object(Bucket=s3_reference.bucket, Key=ticket.key)
    assert head["StorageClass"] == "STANDARD_IA"
    assert head["Metadata"] == {"tenant": "7", "x": "y"}
    assert head["TagCount"] == 1


# Replays


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_200_replays_with_other_bytes_never_change_what_was_published(store: Store, mechanism: str) -> None:
    presigner = _presigner(store, **MECHANISMS[mechanism])
    ticket = presigner.issue(_request())
    assert upload(ticket, PNG).status in (200, 201)
    readable: set[bytes] = set()
    stored: list[Any] = []

    def replay(number: int) -> None:
        upload(ticket, OTHER if number % 2 else PNG)
        body = _published(store, ticket.key)
        if body is not None:
            readable.add(body)
        if number in {60, 100, 140, 199}:
            stored.append(presigner_of_another_process.complete(ticket.token))

    presigner_of_another_process = _presigner(store, **MECHANISMS[mechanism])
    with ThreadPoolExecutor(16) as pool:
        replays = [pool.submit(replay, number) for number in range(200)]
        first = _until_complete(presigner, ticket.token)
        for each in replays:
            try:
                each.result()
            except (CompletionPending, NotUploaded, StorageUnavailable):
                continue
    body = _published(store, ticket.key)
    assert body in {PNG, OTHER}, "both are valid PNG files for the ticket, so either may be the one that was verified"
    assert readable <= {body}, "bytes that were readable once stay what they are"
    assert {each.etag for each in stored} <= {first.etag}
    for other in (OTHER, PNG, b"<script>alert(1)</script>".ljust(len(PNG))):
        upload(ticket, other)
        assert presigner.complete(ticket.token) == first
        assert _published(store, ticket.key) == body
    assert _pending_keys(store) == []


def _until_complete(presigner: Presigner, token: str) -> Any:
    for _ in range(50):
        try:
            return presigner.complete(token)
        except (CompletionPending, NotUploaded, StorageUnavailable):
            continue
    raise AssertionError("never completed")


def test_a_put_that_ends_after_expiry_and_completion_changes_nothing(store: Store) -> None:
    presigner = _presigner(store, upload_method="put", expires_in=timedelta(seconds=1))
    ticket = presigner.issue(_request())
    assert upload(ticket, PNG).status == 200
    sent = as_sent(ticket, OTHER)
    assert isinstance(sent, Attempt)
    with _begun(sent) as finish:
        stored = presigner.complete(ticket.token)
        _wait_until(lambda: datetime.now(timezone.utc) > ticket.expires_at)
        assert finish() in (200, 403)
    assert _published(store, ticket.key) == PNG
    assert presigner.complete(ticket.token) == stored
    assert _published(store, ticket.key) == PNG


@contextmanager
def _begun(attempt: Attempt) -> Iterator[Callable[[], int]]:
    """Send a request up to its last byte; the function sends that one and returns the answer's status."""
    parts = urlsplit(attempt.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    connection.putrequest(attempt.method, f"{parts.path}?{parts.query}")
    for name, value in (*attempt.headers, ("Content-Length", str(len(attempt.body)))):
        connection.putheader(name, value)
    connection.endheaders(attempt.body[:-1])

    def finish() -> int:
        connection.send(attempt.body[-1:])
        return connection.getresponse().status

    try:
        yield finish
    finally:
        connection.close()


def _wait_until(condition: Callable[[], bool]) -> None:
    event = threading.Event()
    while not condition():
        event.wait(0.05)


def test_two_completions_at_once_publish_once_and_answer_the_same(store: Store) -> None:
    for _ in range(10):
        presigners = [_presigner(store) for _ in range(4)]
        ticket = presigners[0].issue(_request())
        assert upload(ticket, PNG).status == 201
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda presigner: _until_complete(presigner, ticket.token), presigners))  # noqa: B023
        assert len({(stored.key, stored.etag) for stored in results}) == 1
        assert _published(store, ticket.key) == PNG
        assert _pending_keys(store) == []


def test_one_process_completes_a_token_once_at_a_time(s3_reference: Store) -> None:
    entered, leave = threading.Event(), threading.Event()

    def inspect(uploaded: InspectedObject) -> Accept:
        entered.set()
        assert leave.wait(20)
        return Accept()

    presigner = _presigner(s3_reference, inspect=inspect)
    ticket = presigner.issue(_request())
    upload(ticket, PNG)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(presigner.complete, ticket.token)
        assert entered.wait(20)
        with pytest.raises(CompletionPending, match="being completed") as caught:
            presigner.complete(ticket.token)
        assert caught.value.retry_after == 1
        assert caught.value.progress == CompletionProgress(step="inspecting")
        leave.set()
        assert first.result() == presigner.complete(ticket.token)


def test_ten_completions_of_one_token_read_the_object_once(s3_reference: Store) -> None:
    backend = InterruptedBackend(s3_reference.backend())
    presigner = _presigner(s3_reference, backend=backend)
    ticket = presigner.issue(_request(sha256=PNG_SHA256))
    upload(ticket, PNG)
    pending = f"{PENDING_PREFIX}{ticket.key.rpartition('/')[2]}"

    def store_without_sha256() -> None:
        s3_reference.admin.put_object(
            Bucket=s3_reference.bucket, Key=pending, Body=PNG, ContentType="image/png", ChecksumAlgorithm="CRC32"
        )

    store_without_sha256()
    first = presigner.complete(ticket.token)
    reads = backend.calls.count("read")
    assert reads > 0, "the store has no SHA-256 of the object"
    for is_sent_again in (False, True) * 5:
        if is_sent_again:
            store_without_sha256()
        assert presigner.complete(ticket.token) == first
    assert backend.calls.count("read") == reads


# Violations


def test_an_upload_that_breaks_a_rule_is_deleted_and_never_published(store: Store) -> None:
    presigner = _presigner(store)
    ticket = presigner.issue(_request())
    assert upload(ticket, b"<script>alert(1)</script>".ljust(len(PNG))).status == 201
    with pytest.raises(RuleViolated) as caught:
        presigner.complete(ticket.token)
    assert caught.value.rule == "type"
    assert _pending_keys(store) == []
    assert _published(store, ticket.key) is None
    with pytest.raises(NotUploaded):
        presigner.complete(ticket.token)


def test_a_better_upload_that_replaces_a_bad_one_meanwhile_is_not_deleted(store: Store) -> None:
    presigner = _presigner(store)
    ticket = presigner.issue(_request())
    upload(ticket, b"<script>alert(1)</script>".ljust(len(PNG)))
    backend = InterruptedBackend(presigner.backend)
    backend.before["delete"] = lambda: upload(ticket, PNG)
    with pytest.raises(RuleViolated):
        _presigner(store, backend=backend).complete(ticket.token)
    assert presigner.complete(ticket.token).size == len(PNG)
    assert _published(store, ticket.key) == PNG


def test_an_upload_that_is_replaced_between_look_and_copy_is_judged_again(store: Store) -> None:
    presigner = _presigner(store)
    ticket = presigner.issue(_request())
    upload(ticket, PNG)
    backend = InterruptedBackend(presigner.backend)
    backend.before["publish"] = lambda: upload(ticket, b"<script>alert(1)</script>".ljust(len(PNG)))
    with pytest.raises(RuleViolated):
        _presigner(store, backend=backend).complete(ticket.token)
    assert _published(store, ticket.key) is None
    assert _pending_keys(store) == []


def test_metadata_and_headers_that_a_client_adds_are_refused(store: Store) -> None:
    presigner = _presigner(store, upload_method="put")
    for name, value in (("Content-Encoding", "gzip"), ("Expires", "Wed, 21 Oct 2037 07:28:00 GMT")):
        ticket = presigner.issue(_request())
        sent = as_sent(ticket, PNG)
        assert isinstance(sent, Attempt)
        assert send(sent.with_header(name, value)).status == 200
        with pytest.raises(RuleViolated) as caught:
            presigner.complete(ticket.token)
        assert caught.value.rule == "headers"
        assert _published(store, ticket.key) is None


def test_a_browsers_own_cache_control_loses_no_upload(seaweedfs: Store) -> None:
    for pending_prefix in (PENDING_PREFIX, None):
        presigner = _presigner(seaweedfs, pending_prefix=pending_prefix, cache_control=None)
        ticket = presigner.issue(_request())
        form = as_sent(ticket, PNG)
        assert isinstance(form, Form)
        assert send(form.attempt().with_header("Cache-Control", "no-cache")).status == 201
        held = seaweedfs.backend().head(ticket.key if pending_prefix is None else _pending_keys(seaweedfs)[0])
        assert held is not None
        assert held.cache_control == "no-cache", "the store made the request's header the object's"
        assert presigner.complete(ticket.token).size == len(PNG)


# Inspection


def test_an_inspection_reads_the_object_and_its_verdict_decides(store: Store) -> None:
    verdicts: list[Any] = [NotYet(retry_after=7), Accept()]
    seen: list[InspectedObject] = []

    def inspect(uploaded: InspectedObject) -> Any:
        with uploaded.open() as file:
            assert file.read() == PNG
            assert file.seek(-4, io.SEEK_END) == len(PNG) - 4
            assert file.read(99) == PNG[-4:]
            assert (file.seek(0), file.read(8)) == (0, PNG[:8])
        seen.append(uploaded)
        return verdicts.pop(0)

    told: list[Completion] = []
    presigner = _presigner(store, inspect=inspect, on_complete=told.append)
    ticket = presigner.issue(_request(), owner="alice")
    upload(ticket, PNG)
    with pytest.raises(CompletionPending) as caught:
        presigner.complete(ticket.token, owner="alice")
    assert caught.value.retry_after == 7
    assert caught.value.problem()["progress"] == {"step": "inspecting"}
    assert _published(store, ticket.key) is None
    assert told == []
    stored = presigner.complete(ticket.token, owner="alice")
    assert (seen[1].owner, seen[1].name, seen[1].size, seen[1].key) == ("alice", "cat.png", len(PNG), stored.key)
    assert presigner.complete(ticket.token, owner="alice") == stored, "a published verdict is never reached again"
    upload(ticket, OTHER)
    assert presigner.complete(ticket.token, owner="alice") == stored
    assert len(seen) == 2
    assert _pending_keys(store) == []


def test_reading_a_whole_object_takes_one_request_for_each_8_mib() -> None:
    content = PNG.ljust(20 * 1024**2, b"\1")
    requests: list[tuple[int, int]] = []

    def read_range(offset: int, length: int) -> bytes:
        requests.append((offset, length))
        return content[offset : offset + length]

    described: dict[str, Any] = {"key": "a", "content_type": "image/png", "etag": "b", "owner": None, "name": None}
    uploaded = InspectedObject(**described, size=len(content), metadata={}, read_range=read_range)
    with uploaded.open() as file:
        assert file.read() == content
        assert file.read() == b""
        file.seek(len(content) + 7)
        assert file.read() == b""
    assert [length // 1024**2 for _, length in requests] == [8, 8, 4]


def test_a_rejected_upload_is_deleted_and_the_reason_is_told(store: Store) -> None:
    presigner = _presigner(store, inspect=lambda uploaded: Reject("the image is too dark"))
    ticket = presigner.issue(_request())
    upload(ticket, PNG)
    with pytest.raises(Rejected, match="too dark"):
        presigner.complete(ticket.token)
    assert _pending_keys(store) == []
    assert _published(store, ticket.key) is None


def test_an_inspection_reads_only_the_object_that_was_verified(store: Store) -> None:
    reads: list[bytes] = []

    def inspect(uploaded: InspectedObject) -> Accept:
        if not reads:
            reads.append(b"")
            assert upload(ticket, OTHER).status == 201
        with uploaded.open() as file:
            reads.append(file.read())
        return Accept()

    presigner = _presigner(store, inspect=inspect)
    ticket = presigner.issue(_request())
    upload(ticket, PNG)
    presigner.complete(ticket.token)
    assert reads == [b"", OTHER], "the first reading failed, and the completion began again"
    assert _published(store, ticket.key) == OTHER


def test_an_inspection_that_takes_long_does_not_have_the_object_hashed_again(s3_reference: Store) -> None:
    backend = s3_reference.backend()
    read: list[int] = []

    def counted_read(key: str, **arguments: Any) -> bytes:
        content = backend.read(key, **arguments)
        read.append(len(content))
        return content

    store_without_checksums = _Changed(
        backend,
        head=lambda key, **arguments: (head := backend.head(key, **arguments)) and replace(head, sha256=None),
        read=counted_read,
    )
    verdicts = iter([NotYet(), NotYet(), Accept()])
    presigner = _presigner(
        s3_reference, backend=store_without_checksums, verify_content=False, inspect=lambda uploaded: next(verdicts)
    )
    ticket = presigner.issue(_request(sha256=PNG_SHA256))
    upload(ticket, PNG)
    for _ in range(2):
        with pytest.raises(CompletionPending):
            presigner.complete(ticket.token)
    presigner.complete(ticket.token)
    assert read == [len(PNG)]
    assert _published(s3_reference, ticket.key) == PNG


def test_an_answer_with_too_few_bytes_decides_nothing(s3_reference: Store) -> None:
    backend = s3_reference.backend()
    cut = _Changed(
        backend,
        head=lambda key, **arguments: (head := backend.head(key, **arguments)) and replace(head, sha256=None),
        read=lambda key, **arguments: backend.read(key, **arguments)[:-1],
    )
    requests = {"a digest": _request(sha256=PNG_SHA256), "an inspection": _request()}
    for what, request in requests.items():
        seen: list[bytes] = []

        def inspect(uploaded: InspectedObject, seen: list[bytes] = seen) -> Accept:
            seen.append(uploaded.read_range(0, uploaded.size))
            return Accept()

        ticket = _presigner(s3_reference, backend=cut, verify_content=False, inspect=inspect).issue(request)
        upload(ticket, PNG)
        with pytest.raises(StorageUnavailable, match="returned 32 bytes of a range of 33"):
            _presigner(s3_reference, backend=cut, verify_content=False, inspect=inspect).complete(ticket.token)
        assert seen == [], what
        assert _published(s3_reference, ticket.key) is None
        assert _presigner(s3_reference, verify_content=False).complete(ticket.token).size == len(PNG)


@pytest.mark.parametrize("verdict", [None, True, "accept"])
def test_an_inspection_without_a_verdict_publishes_nothing(s3_reference: Store, verdict: Any) -> None:
    presigner = _presigner(s3_reference, inspect=lambda uploaded: verdict)
    ticket = presigner.issue(_request())
    upload(ticket, PNG)
    with pytest.raises(ConfigurationError, match="Accept, Reject or NotYet"):
        presigner.complete(ticket.token)
    assert _published(s3_reference, ticket.key) is None
    assert _presigner(s3_reference).complete(ticket.token).size == len(PNG), "and nothing is lost"


def test_inspection_and_notification_may_be_coroutine_functions(s3_reference: Store) -> None:
    loops: list[Any] = []

    async def inspect(uploaded: InspectedObject) -> Accept:
        loops.append(asyncio.get_running_loop())
        return Accept()

    async def tell(completion: Completion) -> None:
        loops.append(asyncio.get_running_loop())

    presigner = _presigner(s3_reference, inspect=inspect, on_complete=tell)
    ticket, other = presigner.issue(_request()), presigner.issue(_request())
    upload(ticket, PNG)
    upload(other, PNG)

    async def complete() -> Any:
        with pytest.raises(ConfigurationError, match="complete_async"):
            presigner.complete(ticket.token)
        return asyncio.get_running_loop(), await presigner.complete_async(ticket.token)

    loop, stored = asyncio.run(complete())
    assert stored.key == ticket.key
    assert loops == [loop, loop]
    assert presigner.complete(other.token).key == other.key, "without a running loop they get one of their own"
    assert len(loops) == 4


def test_an_application_that_fails_to_record_gets_the_upload_again(s3_reference: Store) -> None:
    calls: list[Completion] = []

    def record(completion: Completion) -> None:
        calls.append(completion)
        if len(calls) == 1:
            raise RuntimeError("the database is away")

    presigner = _presigner(s3_reference, on_complete=record)
    ticket = presigner.issue(_request())
    upload(ticket, PNG)
    with pytest.raises(RuntimeError):
        presigner.complete(ticket.token)
    stored = presigner.complete(ticket.token)
    assert [call.stored for call in calls] == [stored, stored]


# Tokens and presigners


def test_a_token_of_one_presigner_is_worthless_at_another(s3_reference: Store) -> None:
    documents = _presigner(s3_reference, name="documents", prefix="public/documents/")
    ticket = documents.issue(UploadRequest(content_type="text/plain", size=len(PNG)))
    upload(ticket, b"plain text".ljust(len(PNG)))
    for other in (
        _presigner(s3_reference, name="avatars", prefix="public/avatars/", content_types={"image/png"}),
        _presigner(s3_reference, name="avatars", prefix="public/documents/"),
        _presigner(s3_reference, name="documents", prefix="public/avatars/"),
        _presigner(s3_reference, name="documents", prefix="public/documents/", content_types={"image/png"}),
        _presigner(s3_reference, name="documents", prefix="public/documents/", max_bytes=20),
        _presigner(s3_reference, name="documents", prefix="public/documents/", pending_prefix=None),
    ):
        with pytest.raises(InvalidToken):
            other.complete(ticket.token)
    assert documents.complete(ticket.token).key == ticket.key


@pytest.mark.parametrize("name", ["", "a b", "\u00fc", "a/b", 7, "-"])
def test_a_name_that_cannot_be_part_of_an_address_is_refused(s3_reference: Store, name: Any) -> None:
    with pytest.raises(ConfigurationError, match="name must be text"):
        _presigner(s3_reference, name=name)


# What a presigner refuses when it is built


class _Changed:
    """A backend in which some properties are changed."""

    def __init__(self, backend: Any, **changes: Any) -> None:
        self._backend = backend
        self.__dict__.update(changes)

    def __getattr__(self, name: str) -> Any:
        return self if name == "pending" else getattr(self._backend, name)


@pytest.mark.parametrize(
    ("changes", "policy", "field"),
    [
        ({}, {"pending_prefix": "public/pending/"}, "pending_prefix"),
        ({}, {"prefix": "pending/public/"}, "pending_prefix"),
        ({}, {"prefix": ""}, "pending_prefix"),
        ({"has_public_prefixes": False}, {}, "pending_prefix"),
        ({"max_upload_bytes": 99, "parts": None}, {}, "max_bytes"),
        ({"enforces": lambda grant: frozenset()}, {"pending_prefix": None}, "pending_prefix"),
    ],
)
def test_a_place_that_would_be_public_or_too_small_is_refused(
    s3_reference: Store, changes: dict[str, Any], policy: dict[str, Any], field: str
) -> None:
    _presigner(s3_reference)
    with pytest.raises(ConfigurationError) as caught:
        _presigner(s3_reference, backend=_Changed(s3_reference.backend(), **changes), **policy)
    assert caught.value.field == field


def test_a_store_that_enforces_nothing_is_accepted_for_a_private_or_a_pending_place(s3_reference: Store) -> None:
    backend = _Changed(s3_reference.backend(), enforces=lambda grant: frozenset())
    _presigner(s3_reference, backend=backend)
    _presigner(s3_reference, backend=backend, pending_prefix=None, public_read=False)
    _presigner(s3_reference, backend=backend, pending_prefix=None, allow_active_content=True)


def test_a_checksum_that_completion_could_not_compute_is_refused_when_the_ticket_is_issued(s3_reference: Store) -> None:
    reader = _Changed(s3_reference.backend(), enforces=lambda grant: frozenset())
    presigner = _presigner(s3_reference, backend=reader, max_hashed_bytes=50)
    presigner.issue(png_request(size=50, sha256=PNG_SHA256))
    for request in (png_request(size=51, sha256=PNG_SHA256), png_request(sha256=PNG_SHA256)):
        with pytest.raises(TooLarge) as caught:
            presigner.issue(request)
        assert caught.value.limit == 50
    presigner.issue(png_request(size=51))
    _presigner(s3_reference, max_hashed_bytes=50).issue(png_request(size=51, sha256=PNG_SHA256))


def test_completion_does_not_read_more_than_it_may_hash(s3_reference: Store) -> None:
    presigner = _presigner(s3_reference, max_hashed_bytes=20)
    ticket = presigner.issue(_request(sha256=PNG_SHA256))
    upload(ticket, PNG)
    (pending,) = _pending_keys(s3_reference)
    s3_reference.admin.put_object(
        Bucket=s3_reference.bucket, Key=pending, Body=PNG, ContentType="image/png", ChecksumAlgorithm="CRC32"
    )
    with pytest.raises(ConfigurationError, match="max_hashed_bytes"):
        presigner.complete(ticket.token)
    assert _pending_keys(s3_reference) == [pending], "nothing is lost"
    s3_reference.admin.delete_object(Bucket=s3_reference.bucket, Key=pending)


def test_a_ticket_lasts_as_long_as_a_slow_line_needs_where_the_expiry_is_checked_after_the_upload(
    s3_reference: Store,
) -> None:
    def lifetime(size: int, **changes: Any) -> timedelta:
        backend = _Changed(s3_reference.backend(), **changes)
        presigner = _presigner(s3_reference, backend=backend, max_bytes=2**32, parts_from_bytes=2**32 + 1)
        ticket = presigner.issue(png_request(size=size))
        return ticket.expires_at - ticket.now.replace(microsecond=0)

    megabyte = 1_000_000
    assert lifetime(megabyte) == timedelta(seconds=60)
    assert lifetime(60 * megabyte) == timedelta(minutes=8)
    assert lifetime(4000 * megabyte) == timedelta(hours=1), "the policy's max_expires_in"
    assert lifetime(60 * megabyte, checks_expiry_late=False) == timedelta(seconds=60)


# Interruption


class Killed(BaseException):
    """The process ends: no code of the library may handle this."""


@pytest.mark.parametrize("failure", [Killed(), StorageUnavailable("the storage answered 500")], ids=["killed", "5xx"])
@pytest.mark.parametrize("sha256", [None, PNG_SHA256], ids=["", "with a checksum"])
def test_a_completion_that_ends_at_any_step_is_repeated_with_the_same_result(
    store: Store, failure: BaseException, sha256: str | None
) -> None:
    steps = _steps(store, sha256)
    assert steps[-2:] == ["publish", "delete"]
    # The application fails as the last step.
    points = [(step, after) for step in range(len(steps)) for after in (False, True)] + [(len(steps), False)]
    for repetition in range(-(-50 // len(points))):
        for step, after in points:
            told: list[Completion] = []

            def tell(completion: Completion) -> None:
                told.append(completion)  # noqa: B023
                if len(told) == 1 and step == len(steps):  # noqa: B023
                    raise failure

            backend = InterruptedBackend(store.backend(), fail_at=step, after=after, failure=failure)
            presigner = _presigner(store, backend=backend, on_complete=tell)
            ticket = presigner.issue(_request(sha256=sha256))
            assert upload(ticket, PNG).status == 201
            with pytest.raises(type(failure)):
                presigner.complete(ticket.token)
            restarted = _presigner(store, on_complete=tell)
            stored = restarted.complete(ticket.token)
            assert restarted.complete(ticket.token) == stored
            assert stored.key == ticket.key
            assert _published(store, ticket.key) == PNG, (repetition, step, after)
            assert _pending_keys(store) == []
            assert {completion.stored for completion in told} == {stored}


def _steps(store: Store, sha256: str | None) -> list[str]:
    backend = InterruptedBackend(store.backend())
    presigner = _presigner(store, backend=backend)
    ticket = presigner.issue(_request(sha256=sha256))
    upload(ticket, PNG)
    presigner.complete(ticket.token)
    return list(backend.calls)


# Sweeping


def test_a_sweep_deletes_what_can_no_longer_be_completed_and_nothing_else(store: Store) -> None:
    presigner = _presigner(store)
    abandoned, completed = presigner.issue(_request()), presigner.issue(_request())
    for ticket in (abandoned, completed):
        upload(ticket, PNG)
    presigner.complete(completed.token)
    assert (presigner.sweep().deleted, presigner.sweep().kept) == (0, 1)
    later = _presigner(store, clock=seconds_ago(-(25 * 3600 + 5)))
    assert later.sweep(dry_run=True).deleted == 1
    assert len(_pending_keys(store)) == 1
    assert (later.sweep().deleted, later.sweep().deleted) == (1, 0)
    assert _pending_keys(store) == []
    assert _published(store, completed.key) == PNG
    with pytest.raises(NotUploaded):
        presigner.complete(abandoned.token)


def test_a_sweep_keeps_an_upload_that_is_replaced_meanwhile_and_goes_on_after_a_failure(store: Store) -> None:
    presigner = _presigner(store)
    tickets = [presigner.issue(_request()) for _ in range(3)]
    for ticket in tickets:
        upload(ticket, PNG)
    failure = StorageUnavailable("this one cannot be deleted")
    backend = InterruptedBackend(store.backend(), fail_at=1, failure=failure)
    replaced = sorted(_pending_keys(store))[0]
    backend.before["delete"] = lambda: store.admin.put_object(
        Bucket=store.bucket, Key=replaced, Body=OTHER, ContentType="image/png"
    )
    swept = _presigner(store, backend=backend, clock=seconds_ago(-(26 * 3600))).sweep()
    assert len(swept.failed) == 1
    assert replaced in _pending_keys(store)
    assert len(_pending_keys(store)) == 2


def test_a_policy_without_a_pending_place_has_nothing_to_sweep(s3_reference: Store) -> None:
    with pytest.raises(ConfigurationError, match="nothing to sweep"):
        _presigner(s3_reference, pending_prefix=None).sweep()


def test_a_grant_is_uploaded_under_its_pending_key(s3_reference: Store) -> None:
    grant = Grant(
        key="public/1",
        pending_key="pending/1",
        content_type="image/png",
        min_bytes=1,
        max_bytes=9,
        expires_in=timedelta(seconds=60),
    )
    now = datetime.now(timezone.utc)
    form = s3_reference.backend(upload_method="post").sign_upload(grant, now)
    put = s3_reference.backend(upload_method="put").sign_upload(grant, now)
    assert form.fields["key"] == "pending/1"
    assert "/pending/1?" in put.url
    assert "public" not in put.url
