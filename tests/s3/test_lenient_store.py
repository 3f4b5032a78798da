"""Stores that obey headers which nobody signed: found out by the checks, and harmless with two identities."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
import pytest

from emulators.s3_bucket import S3Bucket
from emulators.s3_parts import PartLimits
from emulators.s3_reference import S3Reference
from emulators.s3_rights import CEPH, MINIO, Leniency, Right
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from emulators.wire import Answer, Attempt, Form, send
from presign import (
    ConfigurationError,
    Grant,
    NotUploaded,
    Presigner,
    RuleViolated,
    StorageUnavailable,
    Ticket,
    UploadPolicy,
    UploadRequest,
)
from presign.backends.backend import ObjectChanged, ObjectHead
from presign.backends.connections import Connections
from presign.s3 import S3Backend
from presign.testing import CHECKS, Subject
from tests.conftest import PNG, PNG_SHA256, TOKEN_SECRET, as_sent, png_request, upload
from tests.failing_relay import Failure, run_relay
from tests.s3.broken_connections import broken

BUCKET = "uploads"
KEYS = {"AKIASIGNER": "the signer's secret key", "AKIAVERIFIER": "the verifier's secret key"}
SIGNER_RIGHTS = [Right(actions=frozenset({"PutObject"}), bucket=BUCKET, prefix="pending/")]
VERIFIER_RIGHTS = [
    Right(actions=frozenset({"GetObject", "DeleteObject"}), bucket=BUCKET, prefix="pending/"),
    Right(actions=frozenset({"ListBucket"}), bucket=BUCKET),
    Right(actions=frozenset({"GetObject"}), bucket=BUCKET, prefix="public/"),
    Right(actions=frozenset({"PutObject"}), bucket=BUCKET, prefix="public/", copies_only_from=f"{BUCKET}/pending/"),
]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A reference server with one bucket, and the identities that it knows."""

    url: str
    bucket: S3Bucket = field(repr=False)
    has_two_identities: bool

    def backend(self, **options: Any) -> S3Backend:
        values: dict[str, Any] = {"bucket": BUCKET, "region": "us-east-1", "endpoint_url": self.url}
        verifier = boto3.Session("AKIAVERIFIER", KEYS["AKIAVERIFIER"])
        if self.has_two_identities:
            return S3Backend(
                **values, session=boto3.Session("AKIASIGNER", KEYS["AKIASIGNER"]), verifier_session=verifier, **options
            )
        return S3Backend(**values, session=verifier, **options)

    def presigner(self, *, upload_method: str = "put", sign_guards: bool = False, **policy: Any) -> Presigner:
        rules: dict[str, Any] = {"content_types": {"image/png"}, "max_bytes": 100, "prefix": "public/"}
        return Presigner(
            backend=self.backend(upload_method=upload_method, sign_guards=sign_guards),
            policy=UploadPolicy(**rules | {"public_read": True} | policy),
            secret=TOKEN_SECRET,
        )

    def anonymous_get(self, key: str) -> Answer:
        return send(Attempt(method="GET", url=f"{self.url}/{BUCKET}/{key}"))


@contextmanager
def _run(
    lenient: frozenset[Leniency], *, two_identities: bool = False, part_limits: PartLimits | None = None
) -> Iterator[Running]:
    bucket = S3Bucket(public_prefix="public/")
    app = S3Reference(
        buckets={BUCKET: bucket, "other": S3Bucket()},
        access_keys={name: HmacKey(secret=secret) for name, secret in KEYS.items()},
        rights={"AKIASIGNER": SIGNER_RIGHTS, "AKIAVERIFIER": VERIFIER_RIGHTS} if two_identities else None,
        lenient=lenient,
        part_limits=part_limits,
    )
    with serve(app) as url:
        yield Running(url=url, bucket=bucket, has_two_identities=two_identities)


def _check(name: str, subject: Subject) -> None:
    next(check for check in CHECKS if check.__name__ == name)(subject)


@pytest.mark.parametrize("lenient", [MINIO, CEPH], ids=["MinIO", "Ceph"])
@pytest.mark.parametrize(
    ("check", "obeyed"),
    [
        ("refuses_a_copy_that_nobody_signed", "obeyed x-amz-copy-source"),
        ("refuses_attributes_that_nobody_signed", "obeyed x-amz-acl"),
    ],
)
def test_a_store_that_obeys_unsigned_headers_fails_the_checks(
    lenient: frozenset[Leniency], check: str, obeyed: str
) -> None:
    with _run(lenient) as running:
        with pytest.raises(AssertionError, match=obeyed):
            _check(check, Subject(backend=running.backend(upload_method="put", sign_guards=False)))
        _check(check, Subject(backend=running.backend(upload_method="put")))
    with _run(frozenset()) as running:
        _check(check, Subject(backend=running.backend(upload_method="put")))


@pytest.mark.parametrize("lenient", [MINIO, CEPH], ids=["MinIO", "Ceph"])
@pytest.mark.parametrize(
    "added",
    [
        {"x-amz-copy-source": "SOURCE"},
        {"x-amz-copy-source": "SOURCE", "x-amz-copy-source-if-match": "*"},
        {"x-amz-copy-source": "SOURCE", "x-amz-copy-if-match": "*"},
        {"x-amz-acl": "public-read"},
    ],
    ids=lambda added: " and ".join(added),
)
def test_a_guarded_ticket_can_only_upload(lenient: frozenset[Leniency], added: dict[str, str]) -> None:
    with _run(lenient) as running:
        plain, guarded = running.presigner(), running.presigner(sign_guards=True)
        private = plain.issue(_png_request())
        assert upload(private, PNG[:-1] + b"!").status == 200
        source = f"/{BUCKET}/pending/{private.key.rpartition('/')[2]}"
        headers = {name: source if value == "SOURCE" else value for name, value in added.items()}
        assert _put(plain.issue(_png_request()), headers).status in {200, 412}, "only the guards refuse it"
        ticket = guarded.issue(_png_request())
        assert _put(ticket, headers).status in {403, 412}
        assert len(running.bucket.objects) <= 2
        assert upload(ticket, PNG).status == 200
        assert guarded.complete(ticket.token).size == len(PNG)
        assert running.anonymous_get(ticket.key).body == PNG


def test_a_part_with_guards_is_no_copy_of_another_object() -> None:
    with _run(MINIO) as running:
        source = running.presigner().issue(_png_request())
        assert upload(source, PNG).status == 200
        copied = {"x-amz-copy-source": f"/{BUCKET}/pending/{source.key.rpartition('/')[2]}"}
        for sign_guards, status in ((False, 200), (True, 412)):
            presigner = running.presigner(
                sign_guards=sign_guards, max_bytes=10**7, parts_from_bytes=1, part_bytes=5 * 1024**2
            )
            ticket = presigner.issue(png_request(size=6 * 1024**2))
            assert ticket.parts is not None
            part = ticket.parts.requests[1]
            attempt = Attempt(
                method="PUT", url=part.url, headers=tuple({**part.headers, **copied}.items()), body=bytes(part.size)
            )
            assert send(attempt).status == status
            assert presigner.list_parts(ticket.token).numbers == (), "a part of another size never counts"


@pytest.mark.parametrize(("sign_guards", "of_urls"), [(None, False), (True, True), (False, False)])
def test_parts_for_a_client_that_sends_no_headers_have_guards_only_if_the_application_wants_them(
    sign_guards: bool | None, of_urls: bool
) -> None:
    with _run(MINIO) as running:
        presigner = Presigner(
            backend=running.backend(upload_method="put", sign_guards=sign_guards),
            policy=UploadPolicy(content_types={"image/png"}, max_bytes=10**7, parts_from_bytes=1, prefix="public/"),
            secret=TOKEN_SECRET,
        )
        ticket = presigner.issue(png_request(size=6 * 1024**2))
        (part,) = presigner.sign_parts(ticket.token, [1]).requests
        (by_url,) = presigner.sign_parts(ticket.token, [1], url_alone=True).requests
        names = {"x-amz-copy-source-if-match", "x-amz-copy-if-match"}
        assert set(part.headers) == (set() if sign_guards is False else names)
        assert set(by_url.headers) == (names if of_urls else set())
        assert send(Attempt(method="PUT", url=by_url.url, body=bytes(by_url.size))).status == (403 if of_urls else 200)


@pytest.mark.parametrize(
    ("address", "guarded"),
    [
        ("http://127.0.0.1:9", True),
        ("https://minio.example.com", True),
        ("https://s3.eu-central-1.amazonaws.com", False),
        ("https://x.r2.cloudflarestorage.com", False),
        ("https://s3.eu-central-003.backblazeb2.com", False),
        ("https://storage.googleapis.com", False),
    ],
)
def test_tickets_have_guards_on_stores_that_may_need_them(address: str, guarded: bool) -> None:
    session = boto3.Session("AKIASIGNER", KEYS["AKIASIGNER"])
    names = {"x-amz-acl", "x-amz-copy-if-match", "x-amz-copy-source-if-match"}
    for sign_guards in (None, True, False):
        backend = S3Backend(
            bucket=BUCKET,
            region="eu-central-1",
            endpoint_url=address,
            session=session,
            upload_method="put",
            sign_guards=sign_guards,
        )
        presigner = Presigner(
            backend=backend,
            policy=UploadPolicy(content_types={"image/png"}, max_bytes=100, prefix="public/"),
            secret=TOKEN_SECRET,
        )
        ticket = presigner.issue(_png_request())
        assert (names <= set(ticket.headers)) is (guarded if sign_guards is None else sign_guards)
        assert names.isdisjoint(ticket.headers) or "x-amz-copy-if-match" in ticket.url


def test_nothing_is_published_on_a_store_that_copies_whatever_the_source_has_become() -> None:
    with _run(frozenset({Leniency.UNCONDITIONAL_COPIES})) as running:
        presigner = running.presigner()
        for _ in range(2):
            ticket = presigner.issue(_png_request())
            assert upload(ticket, PNG).status == 200
            with pytest.raises(ConfigurationError, match="versioning"):
                presigner.complete(ticket.token)
            assert running.anonymous_get(ticket.key).status == 403
        assert set(running.bucket.objects) == {key for key in running.bucket.objects if key.startswith("pending/")}, (
            "what was copied on trial is gone"
        )


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize(
    ("two_identities", "failure", "left"),
    [(False, None, 0), (True, None, 1), (False, StorageUnavailable("it fails"), 1), (False, SystemExit(), 1)],
    ids=["deleted", "may not delete", "fails", "ends"],
)
def test_a_copy_on_trial_is_never_taken_for_the_published_object(
    two_identities: bool,
    failure: BaseException | None,
    left: int,
    is_large: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The copy stays if the verifier may not delete it, or the program ends before that."""
    if is_large:
        monkeypatch.setattr("presign.s3.copying.LARGE_BYTES", 1)
    with _run(frozenset({Leniency.UNCONDITIONAL_COPIES}), two_identities=two_identities) as running:
        presigner = running.presigner()
        ticket = presigner.issue(_png_request())
        assert upload(ticket, PNG).status == 200
        if failure is not None:
            with monkeypatch.context() as failing:
                failing.setattr("presign.s3.objects.S3Objects.delete", _raising(failure))
                with pytest.raises((ConfigurationError, SystemExit)):
                    presigner.complete(ticket.token)
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="versioning"):
                presigner.complete(ticket.token)
        assert running.anonymous_get(ticket.key).status == 403
        copies = [key for key in running.bucket.objects if key.startswith("public/")]
        assert len(copies) == left
        for key in copies:
            assert key.startswith(ticket.key)
            assert len(key) == len(ticket.key) + 33, "a random name that nobody knows"
            assert key in caplog.text or isinstance(failure, SystemExit)
            headers = {name.lower(): value for name, value in running.anonymous_get(key).headers.items()}
            assert headers["content-type"] == "application/octet-stream", "no browser runs it"
            assert headers["content-disposition"] == "attachment"


def _raising(failure: BaseException) -> Any:
    def delete(*_: Any, **__: Any) -> None:
        raise failure

    return delete


def test_a_trial_that_a_replay_has_spoilt_is_made_again() -> None:
    """A client that replaces its upload must not make a store look like one that compares."""
    with _run(frozenset()) as running:
        ticket, backend, grant, head = _uploaded(running)
        assert upload(ticket, PNG[:-1] + b"!").status == 200
        with pytest.raises(ObjectChanged):
            backend.publish(grant, head)
        assert backend._copier._compares_the_source is None


@pytest.mark.parametrize("lenient", [frozenset({Leniency.UNCONDITIONAL_COPIES}), CEPH, frozenset[Leniency]()])
def test_a_copy_in_parts_is_tried_with_another_etag_too(
    lenient: frozenset[Leniency], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("presign.s3.copying.MAX_COPY_BYTES", 20)
    monkeypatch.setattr("presign.s3.copying.PART_BYTES", 8)
    with _run(lenient, part_limits=PartLimits(smallest_part_bytes=1)) as running:
        _, backend, grant, head = _uploaded(running)
        if Leniency.UNCONDITIONAL_COPIES in lenient:
            for _ in range(2):
                with pytest.raises(ConfigurationError, match="versioning"):
                    backend.publish(grant, head)
        else:
            with pytest.raises(ObjectChanged):
                backend.publish(grant, replace(head, etag="f" * 32))
            assert backend._copier._compares_the_source_of_parts is None, "the trial proves nothing"
            assert backend.publish(grant, head).size == len(PNG)
            running.bucket.objects.pop(grant.key)
            with pytest.raises(ObjectChanged):
                backend.publish(grant, replace(head, etag="f" * 32))
        assert grant.key not in running.bucket.objects
        assert not running.bucket.uploads


@pytest.mark.parametrize("through_boto3", [False, True])
@pytest.mark.parametrize(
    ("address", "names_it_twice"),
    [("https://minio.example.com", True), ("https://x.r2.cloudflarestorage.com", False)],
)
def test_a_cloud_that_may_refuse_the_name_of_ceph_never_gets_it(
    address: str, names_it_twice: bool, through_boto3: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = S3Backend(
        bucket=BUCKET,
        region="auto",
        endpoint_url=address,
        session=boto3.Session("AKIASIGNER", KEYS["AKIASIGNER"]),
    )
    sent: list[Any] = []

    def answer(_: Connections, __: str, ___: str, headers: Any, **____: Any) -> Any:
        sent.append(headers)
        raise _Captured

    def answer_boto3(request: Any, **_: Any) -> Any:
        sent.append(request.headers)
        raise _Captured

    monkeypatch.setattr(Connections, "send", broken if through_boto3 else answer)
    backend._copier._requests.client.meta.events.register("before-send.s3", answer_boto3)
    grant, head = _grant_of("public/1"), ObjectHead(size=3, content_type="image/png", etag="0" * 32)
    calls: list[Callable[[], object]] = [
        lambda: backend._copier._copy(grant, head),
        lambda: backend._copier._try_a_part_of_another_etag(grant, head, {**_TARGET, "UploadId": "1"}),
    ]
    for call in calls:
        with pytest.raises(_Captured):
            call()
        names = {name.lower() for name in sent[-1]}
        assert "x-amz-copy-source-if-match" in names
        assert ("x-amz-copy-if-match" in names) is names_it_twice


_TARGET = {"Bucket": BUCKET, "Key": "public/1"}


class _Captured(BaseException):
    pass


def _grant_of(key: str) -> Grant:
    return Grant(
        key=key,
        pending_key=f"pending/{key.rpartition('/')[2]}",
        content_type="image/png",
        min_bytes=1,
        max_bytes=100,
        expires_in=timedelta(seconds=60),
    )


@pytest.mark.parametrize("through_boto3", [False, True])
def test_publication_says_the_etag_of_the_source_in_the_words_of_ceph(
    through_boto3: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _run(CEPH) as running:
        backend = running.backend()
        if through_boto3:
            monkeypatch.setattr(Connections, "send", broken)
        ticket = running.presigner().issue(_png_request())
        assert upload(ticket, PNG).status == 200
        upload_key = f"pending/{ticket.key.rpartition('/')[2]}"
        grant = Grant(
            key=ticket.key,
            pending_key=upload_key,
            content_type="image/png",
            min_bytes=1,
            max_bytes=100,
            expires_in=timedelta(seconds=60),
        )
        head = backend.head(upload_key)
        assert head is not None
        with pytest.raises(ObjectChanged):
            backend.publish(grant, replace(head, etag="0" * 32))
        assert running.anonymous_get(ticket.key).status == 403
        assert backend.publish(grant, head).size == len(PNG)


def _uploaded(running: Running) -> tuple[Ticket, S3Backend, Grant, ObjectHead]:
    """Store an upload; return what its publication needs."""
    backend = running.backend()
    ticket = running.presigner().issue(_png_request())
    assert upload(ticket, PNG).status == 200
    grant = _grant_of(ticket.key)
    head = backend.head(grant.upload_key)
    assert head is not None
    return ticket, backend, grant, head


def _png_request(**changes: Any) -> UploadRequest:
    return png_request(size=len(PNG), **changes)


def _put(ticket: Any, headers: dict[str, str]) -> Answer:
    attempt = as_sent(ticket, PNG)
    assert isinstance(attempt, Attempt)
    for name, value in headers.items():
        attempt = attempt.with_header(name, value)
    return send(attempt)


@pytest.mark.parametrize("create_only", [False, True])
def test_a_copy_that_nobody_signed_never_changes_a_completed_object(create_only: bool) -> None:
    with _run(MINIO) as running:
        presigner = running.presigner(create_only=create_only)
        first, second = presigner.issue(_png_request()), presigner.issue(_png_request())
        assert upload(first, PNG).status == 200
        stored = presigner.complete(first.token)
        assert upload(second, PNG[:-1] + b"!").status == 200
        source = f"/{BUCKET}/pending/{second.key.rpartition('/')[2]}"
        assert _put(first, {"x-amz-copy-source": source}).status == 200, "the store obeyed"
        assert running.anonymous_get(first.key).body == PNG
        assert presigner.complete(first.token) == stored
        assert running.anonymous_get(first.key).body == PNG


def test_a_copy_that_nobody_signed_finds_nothing_to_copy_with_two_identities() -> None:
    with _run(MINIO, two_identities=True) as running:
        presigner = running.presigner()
        private, ticket = presigner.issue(_png_request()), presigner.issue(_png_request())
        assert upload(private, PNG).status == 200
        source = f"/{BUCKET}/pending/{private.key.rpartition('/')[2]}"
        assert _put(ticket, {"x-amz-copy-source": source}).status == 403
        with pytest.raises(NotUploaded):
            presigner.complete(ticket.token)
        stored = presigner.complete(private.token)
        assert running.anonymous_get(private.key).body == PNG
        assert presigner.complete(private.token) == stored
        session = boto3.Session("AKIASIGNER", KEYS["AKIASIGNER"])
        signer = S3Backend(bucket=BUCKET, region="us-east-1", endpoint_url=running.url, session=session)
        for key in (private.key, f"pending/{private.key.rpartition('/')[2]}"):
            url = signer.sign_download(key, datetime.now(timezone.utc), expires_in=presigner.policy.expires_in)
            assert send(Attempt(method="GET", url=url)).status == 403, "the identity that signs may read nothing"


def test_the_identity_that_verifies_signs_downloads() -> None:
    with _run(frozenset(), two_identities=True) as running:
        presigner = running.presigner(public_read=False)
        ticket = presigner.issue(_png_request())
        upload(ticket, PNG)
        presigner.complete(ticket.token)
        url = presigner.sign_download(ticket.key, expires_in=presigner.policy.expires_in)
        assert send(Attempt(method="GET", url=url)).body == PNG


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"x-amz-tagging": "a=b"}, "x-amz-tagging-count"),
        ({"x-amz-storage-class": "STANDARD_IA"}, "x-amz-storage-class"),
        ({"x-amz-storage-class": "GLACIER"}, "x-amz-storage-class"),
        ({"x-amz-acl": "public-read"}, "access control list"),
    ],
)
def test_attributes_that_nobody_signed_are_seen_and_the_upload_is_refused(headers: dict[str, str], field: str) -> None:
    with _run(MINIO) as running:
        presigner = running.presigner()
        ticket = presigner.issue(_png_request())
        assert _put(ticket, headers).status == 200, "the store obeyed"
        with pytest.raises(RuleViolated) as caught:
            presigner.complete(ticket.token)
        assert (caught.value.rule, caught.value.field) == ("headers", field)
        assert not running.bucket.objects
        assert running.anonymous_get(ticket.key).status == 403


def test_an_access_control_list_is_seen_without_a_pending_place_too() -> None:
    with _run(MINIO) as running:
        presigner = running.presigner(pending_prefix=None, public_read=False, prefix="private/")
        ticket = presigner.issue(_png_request())
        assert _put(ticket, {"x-amz-acl": "public-read"}).status == 200, "the store obeyed"
        with pytest.raises(RuleViolated) as caught:
            presigner.complete(ticket.token)
        assert (caught.value.rule, caught.value.field) == ("headers", "access control list")
        assert not running.bucket.objects


@pytest.mark.parametrize("times", [1, 2, 9])
def test_a_storage_that_fails_hides_no_access_control_list(times: int) -> None:
    with _run(MINIO) as running, run_relay(running.url) as relay:
        presigner = replace(running, url=relay.url).presigner()
        ticket = presigner.issue(_png_request())
        assert _put(ticket, {"x-amz-acl": "public-read"}).status == 200, "the store obeyed"
        relay.arm(Failure(answer=500, times=times), at=1)
        with pytest.raises(StorageUnavailable if times > 2 else RuleViolated):
            presigner.complete(ticket.token)
        assert relay.requests[1].endswith("?acl=")
        relay.disarm()
        with pytest.raises(RuleViolated if times > 2 else NotUploaded):
            presigner.complete(ticket.token)
        assert not running.bucket.objects


def test_an_upload_under_a_customers_key_is_seen_and_refused() -> None:
    key = b"k" * 32
    prefix = "x-amz-server-side-encryption-customer"
    headers = {f"{prefix}-algorithm": "AES256", f"{prefix}-key": _base64(key), f"{prefix}-key-md5": _md5(key)}
    with _run(MINIO) as running:
        presigner = running.presigner()
        ticket = presigner.issue(_png_request())
        assert _put(ticket, headers).status == 200, "the store obeyed"
        with pytest.raises(RuleViolated, match="a key that only the client has"):
            presigner.complete(ticket.token)
        assert not running.bucket.objects


def _base64(value: bytes) -> str:

    return base64.b64encode(value).decode()


def _md5(value: bytes) -> str:
    return _base64(hashlib.md5(value).digest())


def test_what_a_store_dropped_from_a_form_is_written_at_publication() -> None:
    with _run(CEPH) as running:
        presigner = running.presigner(
            upload_method="post", content_disposition="attachment", cache_control="max-age=60", metadata={"a": "b"}
        )
        ticket = presigner.issue(_png_request(name="cat.png"))
        assert upload(ticket, PNG).status == 201
        (pending,) = running.bucket.objects.values()
        assert "content-disposition" not in pending.headers, "the store dropped it"
        presigner.complete(ticket.token)
        answer = running.anonymous_get(ticket.key)
        assert answer.headers["content-disposition"] == 'attachment; filename="cat.png"'
        assert answer.headers["cache-control"] == "max-age=60"
        assert answer.headers["x-amz-meta-a"] == "b"


def test_a_checksum_that_the_store_did_not_check_is_verified_at_completion() -> None:
    with _run(CEPH) as running:
        presigner = running.presigner(upload_method="post")
        ticket = presigner.issue(_png_request(sha256=PNG_SHA256))
        form = as_sent(ticket, PNG[:-1] + b"!")
        assert isinstance(form, Form)
        assert send(form).status == 201, "the store did not check it"
        with pytest.raises(RuleViolated) as caught:
            presigner.complete(ticket.token)
        assert caught.value.rule == "checksum"
        assert not running.bucket.objects
