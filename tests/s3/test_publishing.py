"""Publication on S3: the request itself, versions, and copies in parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest

from emulators.s3_bucket import S3Bucket
from emulators.s3_reference import S3Reference
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from presign import (
    Accept,
    AlreadyPublished,
    Grant,
    InspectedObject,
    NotUploaded,
    ObjectChanged,
    ObjectHead,
    Presigner,
    RuleViolated,
    StorageUnavailable,
    StoredObject,
    UploadPolicy,
    UploadRequest,
)
from presign.backends.connections import Answer, Connections
from presign.backends.lazy_client import LazyClient
from presign.s3 import S3Backend, copying, session
from presign.s3.copying import Copier
from presign.s3.guards import COPY_CONDITIONS
from presign.s3.objects import S3Objects
from presign.s3.requests import BucketRequests
from tests.conftest import PNG, TOKEN_SECRET, Store, png_request, upload
from tests.failing_relay import Failure, Relay, run_relay
from tests.s3.broken_connections import broken

GRANT = Grant(
    key="public/a b",
    pending_key="pending/\u00fc+1",
    content_type="image/png",
    min_bytes=1,
    max_bytes=99,
    expires_in=timedelta(seconds=60),
    content_disposition='inline; filename="cat.png"',
    cache_control="max-age=60",
    metadata={"tenant": "7"},
    tags={"team": "a b", "x": "1/2"},
    storage_class="STANDARD_IA",
)
OTHER = PNG[:-4] + b"evil"


# Two files with the same MD5 (X. Wang and others, 2004), and so with the same ETag.
ONE = bytes.fromhex(
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f8955ad340609f4b30283e488832571415a085125e8f7cdc99f"
    "d91dbdf280373c5bd8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0e99f33420f577ee8ce54b67080a80d1e"
    "c69821bcb6a8839396f9652b6ff72a70"
)
TWIN = bytes(byte ^ 0x80 if at in {19, 45, 59, 83, 109, 123} else byte for at, byte in enumerate(ONE))


class _Captured(BaseException):
    pass


@pytest.fixture
def failing_versioned() -> Iterator[tuple[S3Bucket, S3Backend, Relay]]:
    """A bucket with versions, and a backend whose own requests go through a relay."""
    bucket = S3Bucket(public_prefix="public/", versioned=True)
    app = S3Reference(
        buckets={"uploads": bucket}, access_keys={"AKIAEXAMPLE": HmacKey(secret="a secret key")}, region="us-east-1"
    )
    with serve(app) as url, run_relay(url) as relay:
        backend = S3Backend(
            bucket="uploads",
            region="us-east-1",
            endpoint_url=relay.url,
            public_endpoint_url=url,
            session=boto3.Session("AKIAEXAMPLE", "a secret key"),
        )
        yield bucket, backend, relay


@pytest.fixture
def versioned(failing_versioned: tuple[S3Bucket, S3Backend, Relay]) -> tuple[S3Bucket, S3Backend]:
    return failing_versioned[:2]


@pytest.mark.parametrize("version", [None, "null", "a.version-1"])
def test_the_copy_is_the_request_that_boto3_sends_with_every_header_signed(
    monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    """On Amazon S3, with everything that a grant can have."""
    session = boto3.Session("AKIAEXAMPLE", "a secret key", region_name="eu-central-1")
    backend = S3Backend(bucket="uploads", session=session)
    requests: Any = backend._copier._requests
    head: Any = replace(_head(), version=version)
    ours: list[tuple[str, dict[str, str]]] = []

    def capture_ours(_: Connections, method: str, target: str, headers: dict[str, str], **__: Any) -> Answer:
        ours.append((f"https://{headers['host']}{target}", {name.lower(): value for name, value in headers.items()}))
        raise _Captured

    monkeypatch.setattr(Connections, "send", capture_ours)
    with pytest.raises(_Captured):
        backend.publish(GRANT, head)
    theirs: list[AWSPreparedRequest] = []

    def capture_theirs(request: AWSPreparedRequest, **_: Any) -> None:
        theirs.append(request)
        raise _Captured

    requests.client.meta.events.register("before-send.s3.CopyObject", capture_theirs)
    with pytest.raises(_Captured):
        backend._copier._copy_through_boto3(GRANT, head)
    (url, sent), (request,) = ours[0], theirs
    expected = {name.lower(): _text(value) for name, value in request.headers.items()}
    # What differs with the time, the client and the signature's own form.
    own = {
        "host",
        "user-agent",
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "content-length",
        "authorization",
        "x-amz-date",
    }
    assert url == request.url
    assert {name: value for name, value in sent.items() if name not in own} == {
        name: value.removeprefix("/") if name == "x-amz-copy-source" else value
        for name, value in expected.items()
        if name not in own
    } | {"x-amz-copy-source": f"/{expected['x-amz-copy-source'].removeprefix('/')}"}
    signed = sent["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert set(signed) == set(sent) - {"authorization"}
    assert sent["x-amz-object-annotation-directive"] == "EXCLUDE"
    assert sent["if-none-match"] == "*"


@pytest.mark.parametrize("through_boto3", [False, True])
def test_with_versions_an_inspection_reads_the_version_that_is_published(
    versioned: tuple[S3Bucket, S3Backend], monkeypatch: pytest.MonkeyPatch, through_boto3: bool
) -> None:
    bucket, backend = versioned
    seen: list[bytes] = []

    def inspect(uploaded: InspectedObject) -> Accept:
        assert upload(ticket, TWIN).status == 201
        if through_boto3:
            monkeypatch.setattr(Connections, "send", broken)
        seen.append(uploaded.open().read())
        return Accept()

    presigner = Presigner(
        backend=backend,
        policy=UploadPolicy(content_types={"application/octet-stream"}, max_bytes=200, prefix="public/"),
        secret=TOKEN_SECRET,
        inspect=inspect,
    )
    ticket = presigner.issue(UploadRequest(content_type="application/octet-stream"))
    assert upload(ticket, ONE).status == 201
    presigner.complete(ticket.token)
    assert hashlib.md5(ONE).digest() == hashlib.md5(TWIN).digest()
    assert seen == [ONE]
    assert bucket.objects[ticket.key].body == ONE


@pytest.mark.parametrize("server", ["seaweedfs", "s3_reference"])
def test_a_create_only_upload_cannot_be_exchanged_for_another_one_with_the_same_etag(
    request: pytest.FixtureRequest, server: str
) -> None:
    store: Store = request.getfixturevalue(server)

    def inspect(uploaded: InspectedObject) -> Accept:
        assert upload(ticket, TWIN).status == 412
        assert uploaded.open().read() == ONE
        return Accept()

    presigner = Presigner(
        backend=store.backend(),
        policy=UploadPolicy(
            content_types={"application/octet-stream"}, max_bytes=200, prefix="public/", create_only=True
        ),
        secret=TOKEN_SECRET,
        inspect=inspect,
    )
    ticket = presigner.issue(UploadRequest(content_type="application/octet-stream", size=len(ONE)))
    assert upload(ticket, ONE).status == 200
    stored = presigner.complete(ticket.token)
    assert store.backend().read(stored.key, offset=0, length=200, etag=stored.etag) == ONE


def test_a_bucket_whose_versioning_was_suspended_gives_the_same_answer_again(seaweedfs: Store) -> None:
    keys = seaweedfs.admin._get_credentials()
    seaweedfs.admin.create_bucket(Bucket="suspended")
    for status in ("Enabled", "Suspended"):
        seaweedfs.admin.put_bucket_versioning(Bucket="suspended", VersioningConfiguration={"Status": status})
    presigner = Presigner(
        backend=seaweedfs.backend(bucket="suspended", session=boto3.Session(keys.access_key, keys.secret_key)),
        policy=UploadPolicy(content_types={"image/png"}, max_bytes=100, prefix="public/"),
        secret=TOKEN_SECRET,
    )
    ticket = presigner.issue(png_request())
    assert upload(ticket, PNG).status == 201
    stored = presigner.complete(ticket.token)
    assert stored.version is None
    assert presigner.complete(ticket.token) == stored


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _head() -> Any:

    return ObjectHead(size=33, content_type="image/png", etag="0" * 32)


def _presigner(backend: Any, **policy: Any) -> Presigner:
    rules: dict[str, Any] = {"content_types": {"image/png"}, "max_bytes": 100, "prefix": "public/"}
    return Presigner(backend=backend, policy=UploadPolicy(**rules | policy), secret=TOKEN_SECRET)


def test_in_a_versioned_bucket_the_version_that_was_judged_is_copied_and_deleted(
    versioned: tuple[S3Bucket, S3Backend],
) -> None:
    bucket, backend = versioned
    presigner = _presigner(backend)
    ticket = presigner.issue(png_request(size=len(PNG)))
    upload(ticket, PNG)
    stored = presigner.complete(ticket.token)
    assert stored.version is not None
    assert presigner.complete(ticket.token) == stored
    pending = f"pending/{ticket.key.rpartition('/')[2]}"
    assert _versions(bucket, pending) == []
    assert len(_versions(bucket, ticket.key)) == 1
    for body in (PNG, OTHER):
        upload(ticket, body)
    assert presigner.complete(ticket.token) == stored
    assert len(_versions(bucket, ticket.key)) == 1


def test_in_a_versioned_bucket_violating_bytes_do_not_stay_as_a_version(
    versioned: tuple[S3Bucket, S3Backend],
) -> None:
    bucket, backend = versioned
    for pending_prefix in ("pending/", None):
        presigner = _presigner(backend, pending_prefix=pending_prefix)
        ticket = presigner.issue(png_request(size=len(PNG)))
        upload(ticket, b"<script>alert(1)</script>".ljust(len(PNG)))
        with pytest.raises(RuleViolated):
            presigner.complete(ticket.token)
        key = ticket.key if pending_prefix is None else f"pending/{ticket.key.rpartition('/')[2]}"
        assert _versions(bucket, key) == []


@pytest.mark.parametrize("body", [PNG, b"<script>alert(1)</script>".ljust(len(PNG))], ids=["valid", "violating"])
@pytest.mark.parametrize(
    "failure", [Failure(answer=500), Failure(answer=500, done=True), Failure(answer=500, times=9)], ids=str
)
def test_in_a_versioned_bucket_a_failing_storage_does_not_keep_the_pending_version(
    failing_versioned: tuple[S3Bucket, S3Backend, Relay], body: bytes, failure: Failure
) -> None:
    bucket, backend, relay = failing_versioned
    presigner = _presigner(backend)

    def complete(token: str) -> StoredObject | None:
        with suppress(RuleViolated, NotUploaded):
            return presigner.complete(token)
        return None

    # The first publication makes two copies more than the others.
    for _ in range(2):
        ticket = presigner.issue(png_request(size=len(PNG)))
        upload(ticket, body)
        relay.disarm()
        complete(ticket.token)
    (delete,) = (number for number, request in enumerate(relay.requests) if request.startswith("DELETE"))
    ticket = presigner.issue(png_request(size=len(PNG)))
    upload(ticket, body)
    relay.arm(failure, at=delete)
    try:
        complete(ticket.token)
    except StorageUnavailable:
        assert failure.times > 1
    assert relay.failed
    relay.disarm()
    stored = complete(ticket.token)
    assert (stored is not None) == (body == PNG)
    assert _versions(bucket, f"pending/{ticket.key.rpartition('/')[2]}") == []


def _versions(bucket: S3Bucket, key: str) -> list[Any]:
    return [version for version in bucket.versions.get(key, {}).values() if version is not None]


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch, s3_reference: Store) -> S3Backend:
    """A backend that copies in parts what is larger than 20 bytes; the reference takes parts of any size."""
    monkeypatch.setattr(copying, "MAX_COPY_BYTES", 20)
    monkeypatch.setattr(copying, "PART_BYTES", 8)
    return s3_reference.backend()


def test_a_large_object_is_copied_in_parts_with_the_same_conditions(in_parts: S3Backend, s3_reference: Store) -> None:
    presigner = _presigner(in_parts, cache_control="max-age=60", content_disposition="inline", metadata={"a": "b"})
    ticket = presigner.issue(png_request(size=len(PNG), name="cat.png"))
    upload(ticket, PNG)
    stored = presigner.complete(ticket.token)
    assert stored.etag.endswith("-5"), "five parts"
    head = s3_reference.admin.get_object(Bucket=s3_reference.bucket, Key=ticket.key)
    assert head["Body"].read() == PNG
    assert (head["ContentType"], head["CacheControl"], head["Metadata"]) == ("image/png", "max-age=60", {"a": "b"})
    assert head["ContentDisposition"] == 'inline; filename="cat.png"'
    upload(ticket, OTHER)
    assert presigner.complete(ticket.token) == stored
    assert s3_reference.admin.get_object(Bucket=s3_reference.bucket, Key=ticket.key)["Body"].read() == PNG


def test_a_copy_in_parts_reports_the_bytes_of_each_part(in_parts: S3Backend, s3_reference: Store) -> None:
    grant = replace(GRANT, pending_key="pending/reported", key="public/reported", tags={}, storage_class=None)
    s3_reference.admin.put_object(Bucket=s3_reference.bucket, Key="pending/reported", Body=PNG, ContentType="image/png")
    head = in_parts.head("pending/reported")
    assert head is not None
    reports: list[tuple[int, int]] = []
    in_parts.publish(grant, head, report_copied=lambda done, of: reports.append((done, of)))
    assert reports == [(min(done, len(PNG)), len(PNG)) for done in (8, 16, 24, 32, 40)]
    for key in ("pending/reported", "public/reported"):
        in_parts.delete(key)


def test_a_copy_in_parts_of_a_replaced_object_is_ended_and_leaves_nothing(
    in_parts: S3Backend, s3_reference: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = replace(GRANT, pending_key="pending/parts", key="public/parts", tags={}, storage_class=None)
    put = {"Bucket": s3_reference.bucket, "ContentType": "image/png"}
    s3_reference.admin.put_object(Key="pending/parts", Body=PNG, **put)
    head = in_parts.head("pending/parts")
    assert head is not None
    s3_reference.admin.put_object(Key="pending/parts", Body=OTHER, **put)
    aborted: list[str] = []
    client: Any = in_parts._copier._requests.client
    abort = client.abort_multipart_upload
    monkeypatch.setattr(client, "abort_multipart_upload", lambda **upload: aborted.append(abort(**upload)))
    with pytest.raises(ObjectChanged):
        in_parts.publish(grant, head)
    assert in_parts.head("public/parts") is None
    assert len(aborted) == 1
    head = in_parts.head("pending/parts")
    assert head is not None
    in_parts.publish(grant, head)
    with pytest.raises(AlreadyPublished):
        in_parts.publish(grant, head)
    for key in ("pending/parts", "public/parts"):
        in_parts.delete(key)


def test_a_large_object_may_take_longer_to_copy_than_other_requests_take(
    s3_reference: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "LARGE_BYTES", 20)
    backend = s3_reference.backend()
    used: list[float] = []
    send = Connections.send

    def remembered_send(self: Connections, method: str, *request: Any, read_seconds: float, **options: Any) -> Any:
        if method == "PUT":
            used.append(read_seconds)
        return send(self, method, *request, read_seconds=read_seconds, **options)

    monkeypatch.setattr(Connections, "send", remembered_send)
    for body in (PNG[:20], PNG):
        presigner = _presigner(backend)
        ticket = presigner.issue(png_request(size=len(body)))
        upload(ticket, body)
        presigner.complete(ticket.token)
    assert set(used[:-1]) == {session.READ_TIMEOUT_SECONDS}
    assert used[-1] == session.COPY_READ_TIMEOUT_SECONDS


# The two preconditions, each alone


def _raw_copier(store: Store) -> Copier:
    """A copier that does not look first, as on Amazon S3, against a store that knows the same conditions."""
    backend = store.backend()
    requests: BucketRequests = backend._copier._requests
    copier = Copier(
        requests,
        S3Objects(requests),
        large_requests=LazyClient(lambda: requests),
        is_aws=True,
        conditions=COPY_CONDITIONS,
    )
    copier._is_aws = False
    return copier


@pytest.mark.parametrize("through_boto3", [False, True])
def test_each_precondition_alone_stops_the_copy(
    store: Store, through_boto3: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    copier = _raw_copier(store)
    if through_boto3:
        monkeypatch.setattr(copier._requests, "send", lambda *_, **__: None)
    grant = replace(GRANT, pending_key="pending/conditions", key="public/conditions", tags={}, storage_class=None)
    put = {"Bucket": store.bucket, "ContentType": "image/png"}
    store.admin.put_object(Key="pending/conditions", Body=PNG, **put)
    backend = store.backend()
    head = backend.head("pending/conditions")
    assert head is not None
    with pytest.raises(ObjectChanged):
        copier._copy(grant, replace(head, etag="0" * 32))
    assert backend.head("public/conditions") is None
    copier._copy(grant, head)
    store.admin.put_object(Key="pending/conditions", Body=OTHER, **put)
    head = backend.head("pending/conditions")
    assert head is not None
    with pytest.raises(AlreadyPublished):
        copier._copy(grant, head)
    assert store.admin.get_object(Bucket=store.bucket, Key="public/conditions")["Body"].read() == PNG
    store.admin.delete_object(Bucket=store.bucket, Key="pending/conditions")
    with pytest.raises((ObjectChanged, AlreadyPublished)):
        copier._copy(grant, head)
    store.admin.delete_object(Bucket=store.bucket, Key="public/conditions")


@pytest.mark.parametrize("ignores", [False, True])
def test_the_first_copy_shows_whether_a_store_overwrites(
    s3_reference: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ignores: bool
) -> None:
    backend = s3_reference.backend()
    requests: Any = backend._copier._requests
    sent: list[str] = []
    send_as_it_is = requests.send

    def send(method: str, key: str, headers: Any, **options: Any) -> Any:
        sent.append(f"{method} {key.partition('/')[0]}")
        kept = {name: value for name, value in headers.items() if not (ignores and name == "if-none-match")}
        return send_as_it_is(method, key, kept, **options)

    monkeypatch.setattr(requests, "send", send)
    presigner = _presigner(backend)
    counts = []
    for _ in range(3):
        ticket = presigner.issue(png_request(size=len(PNG)))
        upload(ticket, PNG)
        sent.clear()
        stored = presigner.complete(ticket.token)
        counts.append((sent.count("HEAD public"), sent.count("PUT public")))
        upload(ticket, OTHER)
        assert presigner.complete(ticket.token) == stored
        assert s3_reference.admin.get_object(Bucket=s3_reference.bucket, Key=ticket.key)["Body"].read() == PNG
    if ignores:
        assert counts == [(2, 3), (1, 1), (1, 1)], "it looks first, each time"
        assert "overwrites on a conditional copy" in caplog.text
    else:
        # A copy of another ETag and a second copy are refused, and a look tells which of the two preconditions failed.
        assert counts == [(3, 3), (0, 1), (0, 1)]


def test_a_client_cannot_make_a_store_that_overwrites_look_like_one_that_does_not(
    s3_reference: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It replays its ticket before the copy is repeated, which is then refused because of the source."""
    backend = s3_reference.backend()
    requests: Any = backend._copier._requests
    send_as_it_is = requests.send
    copies: list[str] = []

    def send(method: str, key: str, headers: Any, **options: Any) -> Any:
        if method == "PUT":
            copies.append(key)
            if len(copies) == 3:
                assert upload(ticket, OTHER).status == 201
        kept = {name: value for name, value in headers.items() if name != "if-none-match"}
        return send_as_it_is(method, key, kept, **options)

    monkeypatch.setattr(requests, "send", send)
    presigner = _presigner(backend)
    ticket = presigner.issue(png_request(size=len(PNG)))
    upload(ticket, PNG)
    stored = presigner.complete(ticket.token)
    trial, *others = copies
    assert trial.startswith(f"{ticket.key}."), "a copy of another ETag, which is refused"
    assert others == [ticket.key] * 2
    upload(ticket, OTHER)
    assert presigner.complete(ticket.token) == stored
    assert s3_reference.admin.get_object(Bucket=s3_reference.bucket, Key=ticket.key)["Body"].read() == PNG


def test_a_copy_that_fails_after_it_has_begun_is_an_error(monkeypatch: pytest.MonkeyPatch, s3_reference: Store) -> None:
    """S3 answers 200 then, and the body has the error."""
    copier = _raw_copier(s3_reference)
    body = b"<?xml version='1.0'?>\n<Error><Code>InternalError</Code><Message>again</Message></Error>"
    monkeypatch.setattr(copier._requests, "send", lambda *_, **__: Answer(200, {}, body))
    with pytest.raises(StorageUnavailable, match="InternalError"):
        copier._copy(GRANT, _head())
