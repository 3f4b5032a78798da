"""Publication on the reference server: from a pending upload to the final object, between two identities too."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from emulators.gcs_accounts import generate_credentials, trusted_account
from emulators.gcs_bucket import GcsBucket, GcsObject, GcsRight
from emulators.gcs_reference import GcsReference
from emulators.serving import serve
from emulators.wire import Attempt, send
from presign import NotUploaded, Presigner, RuleViolated, StorageUnavailable, UploadOptions, UploadRequest
from presign.backends import AlreadyPublished, ListedObject, ObjectChanged, ObjectHead
from presign.gcs import GCSBackend
from presign.gcs.credentials import read_credentials
from presign.gcs.json_api import JsonApi
from presign.gcs.objects import GcsObjects
from presign.gcs.rewriting import Rewriter
from tests.gcs.reference import (
    ACCESS_ID,
    BUCKET,
    EVERYTHING,
    HMAC_SECRET,
    PENDING,
    PENDING_BUCKET,
    PNG,
    Reference,
    as_sent,
    issued,
    now,
    presigner,
    uploaded,
)

OTHER = PNG[:-1] + b"X"
EVERYTHING_PENDING = replace(EVERYTHING, pending_key=PENDING.pending_key)
BYTES_PER_CALL = 10


@pytest.fixture(params=[None, PENDING_BUCKET], ids=["one bucket", "two buckets"])
def place(request: pytest.FixtureRequest) -> str | None:
    """The bucket for pending uploads, if it is another one."""
    bucket: str | None = request.param
    return bucket


def pending_objects(gcs: Reference, place: str | None) -> dict[str, Any]:
    """The pending objects by key; the same dictionary as the final ones if there is one bucket only."""
    return gcs.app.buckets[place or BUCKET].objects


def pending_head(backend: GCSBackend, key: str = PENDING.upload_key) -> ObjectHead:
    head = backend.pending.head(key)
    assert head is not None
    return head


def read_anonymously(gcs: Reference, bucket: str, key: str) -> int:
    return send(Attempt(method="GET", url=f"{gcs.url}/{bucket}/{key}")).status


def test_publish_copies_the_bytes_and_writes_exactly_what_was_granted(
    gcs: Reference, kind: str, method: str, place: str | None
) -> None:
    backend = gcs.backend(kind, upload_method=method, pending_bucket=place)
    assert uploaded(backend, EVERYTHING_PENDING).status in {200, 201}
    assert list(pending_objects(gcs, place)) == [PENDING.upload_key]
    assert read_anonymously(gcs, place or BUCKET, PENDING.upload_key) == 403
    published = backend.publish(EVERYTHING_PENDING, pending_head(backend))
    stored: GcsObject = gcs.objects[EVERYTHING.key]
    assert stored.body == PNG
    assert (stored.content_type, stored.cache_control) == ("image/png", "max-age=60")
    assert (stored.content_disposition, stored.content_encoding) == ('inline; filename="a b.png"', None)
    assert (stored.metadata, stored.storage_class) == ({"owner": "alice", "a_b": "x y"}, "STANDARD")
    assert published == backend.head(EVERYTHING.key)
    assert (published.version, published.etag) == (str(stored.generation), stored.json_etag)
    assert read_anonymously(gcs, BUCKET, EVERYTHING.key) == 200
    assert PENDING.upload_key in pending_objects(gcs, place)


def test_publish_copies_nothing_that_was_not_granted(gcs: Reference, place: str | None) -> None:
    backend = gcs.backend("rsa", upload_method="put", pending_bucket=place)
    put = as_sent(backend.sign_upload(PENDING, now()))
    assert isinstance(put, Attempt)
    unsigned = {
        "Content-Encoding": "gzip",
        "Content-Language": "de",
        "Cache-Control": "no-cache",
        "Content-Disposition": "attachment",
    }
    for name, value in unsigned.items():
        put = put.with_another_header(name, value)
    assert send(put).status == 200
    assert pending_head(backend).content_encoding == "gzip"
    assert pending_head(backend).unexpected_headers == {"content-language": "de"}
    published = backend.publish(PENDING, pending_head(backend))
    assert (published.content_encoding, published.cache_control, published.content_disposition) == (None, None, None)
    assert published.unexpected_headers == {}


def test_publish_gives_the_object_the_granted_storage_class(gcs: Reference) -> None:
    backend = gcs.backend("rsa")
    ticket = presigner(backend).issue(
        UploadRequest(content_type="image/png"), options=UploadOptions(storage_class="NEARLINE")
    )
    assert send(as_sent(ticket)).status == 201
    assert presigner(backend).complete(ticket.token).key == ticket.key
    assert gcs.objects[ticket.key].storage_class == "NEARLINE"


def test_publish_changes_nothing_if_the_pending_object_was_replaced_or_deleted(
    gcs: Reference, place: str | None
) -> None:
    backend = gcs.backend("rsa", pending_bucket=place)
    uploaded(backend, PENDING)
    judged = pending_head(backend)
    uploaded(backend, PENDING, OTHER)
    with pytest.raises(ObjectChanged):
        backend.publish(PENDING, judged)
    backend.pending.delete(PENDING.upload_key)
    with pytest.raises(ObjectChanged):
        backend.publish(PENDING, judged)
    assert PENDING.key not in gcs.objects


def test_publish_never_overwrites_an_object(gcs: Reference, place: str | None) -> None:
    backend = gcs.backend("rsa", pending_bucket=place)
    uploaded(backend, PENDING)
    uploaded(backend, replace(PENDING, pending_key=None), OTHER)
    before = gcs.objects[PENDING.key]
    with pytest.raises(AlreadyPublished):
        backend.publish(PENDING, pending_head(backend))
    assert gcs.objects[PENDING.key] is before
    assert PENDING.upload_key in pending_objects(gcs, place)


def test_delete_with_a_description_leaves_another_object_alone(gcs: Reference, place: str | None) -> None:
    backend = gcs.backend("rsa", pending_bucket=place)
    objects = pending_objects(gcs, place)
    uploaded(backend, PENDING)
    first = pending_head(backend)
    uploaded(backend, PENDING, OTHER)
    backend.pending.delete(PENDING.upload_key, head=first)
    assert objects[PENDING.upload_key].body == OTHER
    backend.pending.delete(PENDING.upload_key, head=pending_head(backend))
    assert objects == {}
    backend.pending.delete(PENDING.upload_key, head=first)
    uploaded(backend, PENDING)
    backend.pending.delete(PENDING.upload_key, head=replace(first, version=None))
    assert objects != {}
    backend.pending.delete(PENDING.upload_key)
    assert objects == {}


def test_a_listing_has_every_object_under_the_prefix_over_several_pages(gcs: Reference, place: str | None) -> None:
    backend = gcs.backend("rsa", pending_bucket=place)
    uploaded(backend, PENDING)
    objects = pending_objects(gcs, place)
    example = objects.pop(PENDING.upload_key)
    keys = [f"pending/{number:04}" for number in range(2001)]
    objects |= dict.fromkeys([*keys, "pendinG/x", "other/x"], example)
    listed = list(backend.pending.list_objects("pending/"))
    assert [entry.key for entry in listed] == keys
    assert listed[7] == ListedObject(
        key="pending/0007",
        etag=example.json_etag,
        stored_at=example.created,
        version=str(example.generation),
    )
    backend.pending.delete(listed[7].key, head=listed[7])
    assert "pending/0007" not in objects
    assert list(backend.pending.list_objects("nothing/")) == []


def test_a_sweep_ends_the_pending_uploads_that_nobody_completed(gcs: Reference, place: str | None) -> None:
    backend = gcs.backend("rsa", pending_bucket=place)
    gate = presigner(backend)
    ticket = issued(gate)
    assert send(as_sent(ticket)).status == 201
    assert gate.sweep().kept == 1
    later = Presigner(
        backend=backend, policy=gate.policy, secret="another secret of tests", clock=lambda: now() + timedelta(days=9)
    )
    assert later.sweep().deleted == 1
    assert pending_objects(gcs, place) == {}


def test_other_bytes_that_come_after_completion_change_nothing(
    gcs: Reference, kind: str, method: str, place: str | None
) -> None:
    gate = presigner(gcs.backend(kind, upload_method=method, pending_bucket=place))
    ticket = issued(gate)
    assert send(as_sent(ticket)).status in {200, 201}
    stored = gate.complete(ticket.token)
    assert list(gcs.objects) == [ticket.key]
    assert send(as_sent(ticket, OTHER)).status in {200, 201}
    assert gate.complete(ticket.token) == stored
    assert gcs.objects[ticket.key].body == PNG
    assert list(gcs.objects) == [ticket.key]
    assert pending_objects(gcs, place).keys() <= {ticket.key}


def test_a_violation_deletes_the_pending_object_and_publishes_nothing(gcs: Reference, place: str | None) -> None:
    gate = presigner(gcs.backend("rsa", pending_bucket=place))
    ticket = issued(gate)
    assert send(as_sent(ticket, b"<!doctype html><script>alert(1)</script>")).status == 201
    with pytest.raises(RuleViolated):
        gate.complete(ticket.token)
    assert (gcs.objects, pending_objects(gcs, place)) == ({}, {})
    with pytest.raises(NotUploaded):
        gate.complete(ticket.token)


@dataclass(kw_only=True)
class Interposed:
    """The reference server; ``before`` is called before each JSON request about objects, with "METHOD path".

    It may raise PermissionError, and the request is then answered with 403, which no call repeats. Requests about
    buckets are left alone: the SDK makes them in a thread, for its traces, at any time.
    """

    app: GcsReference
    before: Callable[[str], None] = lambda request: None
    requests: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and re.search("/storage/v1/b/[^/]+/o", scope["path"]):
            request = f"{scope['method']} {scope['path']}"
            self.requests.append(request)
            try:
                self.before(request)
            except PermissionError:
                await send({"type": "http.response.start", "status": 403, "headers": []})
                await send({"type": "http.response.body"})
                return
        await self.app(scope, receive, send)


@dataclass(frozen=True, kw_only=True)
class TwoIdentities:
    """A server on which one identity may only create pending objects, and the other one verifies and publishes."""

    reference: Reference
    verifier: Path
    interposed: Interposed

    def backend(self, kind: str, **options: Any) -> GCSBackend:
        return self.reference.backend(kind, verifier_credentials=self.verifier, **options)


@pytest.fixture(scope="module")
def running_for_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoIdentities]:
    directory = tmp_path_factory.mktemp("two")
    signer, verifier = directory / "signer.json", directory / "verifier.json"
    for path, email in ((signer, "signer@reference.example"), (verifier, "verifier@reference.example")):
        generate_credentials(path, token_uri="http://unknown.invalid/token")
        path.write_text(json.dumps({**json.loads(path.read_text()), "client_email": email}))
    create = frozenset({"create"})
    only_create = [
        GcsRight(permissions=create, bucket=BUCKET, prefix="pending/"),
        GcsRight(permissions=create, bucket=PENDING_BUCKET),
    ]
    verify = frozenset({"get", "list", "delete"})
    app = GcsReference(
        buckets={BUCKET: GcsBucket(public_prefix="public/"), PENDING_BUCKET: GcsBucket()},
        service_accounts={**trusted_account(signer), **trusted_account(verifier)},
        hmac_keys={ACCESS_ID: HMAC_SECRET},
        bearer_tokens=frozenset({"a-token"}),
        rights={
            "signer@reference.example": only_create,
            ACCESS_ID: only_create,
            "a-token": [],
            "verifier@reference.example": [
                GcsRight(permissions=verify, bucket=BUCKET, prefix="pending/"),
                GcsRight(permissions=verify, bucket=PENDING_BUCKET),
                GcsRight(permissions=frozenset({"get", "create", "list"}), bucket=BUCKET),
            ],
        },
        rewrite_bytes_per_call=BYTES_PER_CALL,
    )
    interposed = Interposed(app=app)
    with serve(interposed) as url:
        for path in (signer, verifier):
            generate_credentials(path, token_uri=f"{url}/token")
        yield TwoIdentities(
            reference=Reference(url=url, app=app, account=signer), verifier=verifier, interposed=interposed
        )


@pytest.fixture
def two(running_for_two: TwoIdentities) -> TwoIdentities:
    for bucket in running_for_two.reference.app.buckets.values():
        bucket.objects.clear()
    running_for_two.interposed.before = lambda request: None
    running_for_two.interposed.requests.clear()
    return running_for_two


def test_an_identity_that_may_only_create_signs_and_another_one_publishes(
    two: TwoIdentities, kind: str, method: str, place: str | None
) -> None:
    backend = two.backend(kind, upload_method=method, pending_bucket=place)
    backend.check()
    gate = presigner(backend)
    ticket = issued(gate)
    assert send(as_sent(ticket)).status in {200, 201}
    # A ticket's second upload would replace an object, which needs the right to delete.
    assert send(as_sent(ticket, OTHER)).status == 403
    stored = gate.complete(ticket.token)
    assert gate.complete(ticket.token) == stored
    assert two.reference.objects[ticket.key].body == PNG
    assert pending_objects(two.reference, place).keys() <= {ticket.key}


def test_the_identity_that_signs_can_read_and_publish_nothing(
    two: TwoIdentities, kind: str, method: str, place: str | None
) -> None:
    options: dict[str, Any] = {"upload_method": method, "pending_bucket": place}
    signer_alone = two.reference.backend(kind, **options)
    both = two.backend(kind, **options)
    assert uploaded(both, PENDING).status in {200, 201}
    judged = pending_head(both)
    assert signer_alone.pending.head(PENDING.upload_key) is None
    for call in (
        lambda: signer_alone.pending.read(PENDING.upload_key, offset=0, length=1, etag=judged.etag),
        lambda: signer_alone.pending.delete(PENDING.upload_key, head=judged),
        lambda: list(signer_alone.pending.list_objects("pending/")),
        lambda: signer_alone.publish(PENDING, judged),
    ):
        with pytest.raises(StorageUnavailable, match="with 403"):
            call()
    download = Attempt(method="GET", url=both.sign_download(PENDING.upload_key, now(), expires_in=timedelta(minutes=1)))
    assert send(download).status == 403
    assert uploaded(both, replace(PENDING, pending_key=None)).status == 403
    assert both.publish(PENDING, judged).size == len(PNG)


def test_a_rewrite_of_several_calls_is_followed_to_its_end(two: TwoIdentities, place: str | None) -> None:
    backend = two.backend("rsa", pending_bucket=place)
    body = PNG * 4
    assert uploaded(backend, EVERYTHING_PENDING, body).status == 201
    published = backend.publish(EVERYTHING_PENDING, pending_head(backend))
    calls = [request for request in two.interposed.requests if "rewriteTo" in request]
    assert len(calls) == -(-len(body) // BYTES_PER_CALL) > 2
    stored = two.reference.objects[EVERYTHING.key]
    assert (stored.body, stored.metadata, stored.cache_control) == (body, EVERYTHING.metadata, EVERYTHING.cache_control)
    assert published.version == str(stored.generation)


def test_an_object_that_is_replaced_during_a_rewrite_is_not_published(two: TwoIdentities, place: str | None) -> None:
    backend = two.backend("rsa", pending_bucket=place)
    uploaded(backend, PENDING)
    judged = pending_head(backend)
    objects = pending_objects(two.reference, place)

    def replace_before_the_second_call(request: str) -> None:
        if sum("rewriteTo" in earlier for earlier in two.interposed.requests) == 2 and "rewriteTo" in request:
            old = objects[PENDING.upload_key]
            objects[PENDING.upload_key] = replace(old, body=OTHER, generation=old.generation + 1)

    two.interposed.before = replace_before_the_second_call
    with pytest.raises(ObjectChanged):
        backend.publish(PENDING, judged)
    assert PENDING.key not in two.reference.objects


def test_a_rewrite_reports_the_bytes_that_are_copied(two: TwoIdentities, place: str | None) -> None:
    backend = two.backend("rsa", pending_bucket=place)
    uploaded(backend, PENDING)
    reports: list[tuple[int, int]] = []
    backend.publish(PENDING, pending_head(backend), report_copied=lambda done, of: reports.append((done, of)))
    size = len(PNG)
    assert reports == [(min(first + BYTES_PER_CALL, size), size) for first in range(0, size, BYTES_PER_CALL)]
    assert len(reports) > 1


def test_a_rewrite_that_takes_too_long_ends_with_the_remedy(two: TwoIdentities) -> None:
    uploaded(two.backend("rsa"), PENDING)
    api = JsonApi(endpoint_url=two.reference.url, credentials=read_credentials(two.verifier))
    objects = GcsObjects(api, BUCKET)
    head = objects.head(PENDING.upload_key)
    assert head is not None
    started = time.monotonic()
    with pytest.raises(StorageUnavailable, match="same location and storage class"):
        Rewriter(api, source=objects, destination=objects, max_seconds=0).publish(PENDING, head)
    assert time.monotonic() - started < 5
    assert PENDING.key not in two.reference.objects


def test_a_completion_that_fails_at_any_request_ends_the_same_when_it_is_repeated(
    two: TwoIdentities, place: str | None
) -> None:
    gate = presigner(two.backend("rsa", pending_bucket=place))
    refused: list[str] = []

    def refuse_next(request: str) -> None:
        if len(two.interposed.requests) == len(refused) + 1:
            refused.append(request)
            raise PermissionError

    while True:
        ticket = issued(gate)
        assert send(as_sent(ticket)).status == 201
        refused_before = len(refused)
        two.interposed.requests.clear()
        two.interposed.before = refuse_next
        with suppress(StorageUnavailable, NotUploaded):
            gate.complete(ticket.token)
        two.interposed.before = lambda request: None
        stored = gate.complete(ticket.token)
        assert gate.complete(ticket.token) == stored
        assert (stored.key, two.reference.objects[ticket.key].body) == (ticket.key, PNG)
        assert not [key for key in pending_objects(two.reference, place) if key.startswith("pending/")], refused
        if len(refused) == refused_before:
            break
    kinds = [("rewriteTo" if "rewriteTo" in request else request.partition(" ")[0]) for request in refused]
    # The description, the first bytes, the parts of the copy, and the deletion.
    assert kinds == ["GET", "GET", *["rewriteTo"] * -(-len(PNG) // BYTES_PER_CALL), "DELETE"]


def test_a_completion_that_ends_between_the_copy_and_the_deletion_is_finished_by_the_next_one(
    two: TwoIdentities, place: str | None
) -> None:
    gate = presigner(two.backend("rsa", pending_bucket=place))
    ticket = issued(gate)
    assert send(as_sent(ticket)).status == 201

    def refuse_deletion(request: str) -> None:
        if request.startswith("DELETE"):
            raise PermissionError

    two.interposed.before = refuse_deletion
    with pytest.raises(StorageUnavailable, match="answered DELETE with 403"):
        gate.complete(ticket.token)
    published = two.reference.objects[ticket.key]
    assert any(key.startswith("pending/") for key in pending_objects(two.reference, place))
    two.interposed.before = lambda request: None
    stored = gate.complete(ticket.token)
    assert stored.version == str(published.generation)
    assert two.reference.objects == {ticket.key: published}
    assert pending_objects(two.reference, place).keys() <= {ticket.key}
