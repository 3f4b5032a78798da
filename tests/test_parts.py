"""Large files in parts: tickets, requests of parts, lists, commits and aborts, on two S3 servers."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import boto3
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo_server.storages.local_storage import BUCKET, PENDING_PREFIX, REGION
from emulators.s3_bucket import S3Bucket, UploadedPart
from emulators.s3_lifecycle import LifecycleRule
from emulators.s3_reference import S3Reference
from emulators.s3_rights import CEPH, MINIO, Leniency, Right
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from emulators.wire import Attempt, send
from infra.presign_infra.s3_policies import lifecycle_rules
from presign import (
    Accept,
    CompletionPending,
    CompletionProgress,
    ConfigurationError,
    GrantInParts,
    InvalidRequest,
    InvalidToken,
    PartLimits,
    PartRequest,
    PartsDigest,
    PartsMissing,
    Presigner,
    Rule,
    RuleViolated,
    StorageUnavailable,
    StoredPart,
    Ticket,
    TokenExpired,
    TooLarge,
    UploadEnded,
    UploadPolicy,
    UploadRequest,
)
from presign.messages import PartsRequest
from presign.parts import begin
from presign.s3 import S3Backend
from presign.s3.guards import part_guards
from presign.s3.parts import S3Parts
from presign.testing import InterruptedBackend
from tests.conftest import PNG, TOKEN_SECRET, Store, seconds_ago, upload

PART_BYTES = 5 * 1024**2
TAIL = b"the last part"
FILE = PNG.ljust(PART_BYTES, b"\0") + TAIL
PARTS = (FILE[:PART_BYTES], TAIL)
DIGESTS = [hashlib.sha256(part).hexdigest() for part in PARTS]
DIGEST = PartsDigest.of(DIGESTS, part_size=PART_BYTES)


def _presigner(store: Any, *, backend: Any = None, **options: Any) -> Presigner:
    policy: dict[str, Any] = {
        "content_types": {"image/png"},
        "max_bytes": 100 * 1024**2,
        "prefix": "public/",
        "pending_prefix": PENDING_PREFIX,
        "parts_from_bytes": PART_BYTES,
        "part_bytes": PART_BYTES,
        "metadata": {"tenant": "7"},
        "content_disposition": "inline",
    }
    hooks = {name: options.pop(name) for name in ("inspect", "on_complete", "clock", "new_id") if name in options}
    return Presigner(
        backend=backend or store.backend(), policy=UploadPolicy(**policy | options), secret=TOKEN_SECRET, **hooks
    )


def _request(**changes: Any) -> UploadRequest:
    members: dict[str, Any] = {"content_type": "image/png", "size": len(FILE), "name": "cat.png"}
    return UploadRequest(**members | changes)


def _sent(request: PartRequest, body: bytes) -> Attempt:
    return Attempt(method="PUT", url=request.url, headers=tuple(request.headers.items()), body=body)


def _requests(presigner: Presigner, ticket: Ticket) -> Sequence[PartRequest]:
    assert ticket.parts is not None
    if ticket.parts.requests:
        return ticket.parts.requests
    return presigner.sign_parts(ticket.token, [1, 2], sha256=DIGESTS).requests


def _send_file(presigner: Presigner, ticket: Ticket, parts: Sequence[bytes] = PARTS) -> None:
    for request, part in zip(_requests(presigner, ticket), parts, strict=True):
        assert send(_sent(request, part)).status == 200


def _upload(store: Store, ticket: Ticket) -> dict[str, Any]:
    """Return the names of the store's only unfinished upload for ``ticket``, for the administrator's own calls."""
    key = f"{PENDING_PREFIX}{ticket.key.rpartition('/')[2]}"
    uploads = store.admin.list_multipart_uploads(Bucket=store.bucket, Prefix=key).get("Uploads", [])
    (found,) = (upload for upload in uploads if upload["Key"] == key)
    return {"Bucket": store.bucket, "Key": key, "UploadId": found["UploadId"]}


def _has_upload(store: Store, ticket: Ticket) -> bool:
    key = f"{PENDING_PREFIX}{ticket.key.rpartition('/')[2]}"
    uploads = store.admin.list_multipart_uploads(Bucket=store.bucket, Prefix=key).get("Uploads", [])
    return any(upload["Key"] == key for upload in uploads)


def _published(store: Store, ticket: Ticket) -> bytes | None:
    if not store.holds(ticket.key):
        return None
    body: bytes = store.admin.get_object(Bucket=store.bucket, Key=ticket.key)["Body"].read()
    return body


class _Changed:
    """A backend, or its uploads in parts, in which some attributes are changed."""

    def __init__(self, original: Any, **changes: Any) -> None:
        self._original = original
        self.__dict__.update(changes)

    def __getattr__(self, name: str) -> Any:
        return self if name == "pending" else getattr(self._original, name)


# The way of a large file


@pytest.mark.parametrize("hashes_parts", [False, True], ids=["", "hashed"])
def test_a_large_file_comes_in_parts_and_is_published_byte_for_byte(store: Store, hashes_parts: bool) -> None:
    presigner = _presigner(store)
    ticket = presigner.issue(_request(hashes_parts=hashes_parts), owner="alice")
    assert ticket.parts is not None
    plan = ticket.parts.plan
    assert (plan.part_size, plan.count, plan.at_once, plan.needs_sha256) == (PART_BYTES, 2, 2, hashes_parts)
    assert plan.resumable_until - ticket.now.replace(microsecond=0) == timedelta(days=7)
    assert [(each.number, each.size) for each in ticket.parts.requests] == (
        [] if hashes_parts else [(1, PART_BYTES), (2, len(TAIL))]
    )
    numbers = [2, 1]
    signed = presigner.sign_parts(
        ticket.token, numbers, owner="alice", sha256=[DIGESTS[n - 1] for n in numbers] if hashes_parts else None
    )
    for request in signed.requests:
        assert send(_sent(request, PARTS[request.number - 1])).status == 200
    assert presigner.list_parts(ticket.token, owner="alice").numbers == (1, 2)
    assert _published(store, ticket) is None
    stored = presigner.complete(ticket.token, owner="alice")
    assert (stored.key, stored.size, stored.content_type) == (ticket.key, len(FILE), "image/png")
    head = store.admin.head_object(Bucket=store.bucket, Key=ticket.key)
    assert (head["Metadata"], head["ContentDisposition"]) == ({"tenant": "7"}, 'inline; filename="cat.png"')
    assert _published(store, ticket) == FILE
    assert not _has_upload(store, ticket)
    assert presigner.complete(ticket.token, owner="alice") == stored
    assert presigner.list_parts(ticket.token, owner="alice").numbers == (1, 2)


def test_a_ticket_in_parts_says_who_enforces_what_and_its_json_has_the_plan(s3_reference: Store) -> None:
    ticket = _presigner(s3_reference).issue(_request())
    assert ticket.enforced == {Rule.SIZE: "storage", Rule.TYPE: "storage", Rule.HEADERS: "storage"}
    members = orjson.loads(ticket.to_json())
    requests = members["parts"].pop("requests")
    assert members["parts"] == {
        "part_size": PART_BYTES,
        "count": 2,
        "at_once": 2,
        "needs_sha256": False,
        "resumable_until": members["parts"]["resumable_until"],
    }
    assert [request["number"] for request in requests] == [1, 2]
    assert (requests[1]["method"], requests[1]["size"]) == ("PUT", len(TAIL))
    assert requests[1]["headers"] == part_guards(wanted=True), "the reference is no store of a known cloud"
    assert "?" not in members["url"], "a client that does not know of parts has no signature"
    assert send(Attempt(method="PUT", url=members["url"], body=FILE)).status == 403
    assert not any(text in repr(ticket) for text in ("Signature", "uploadId", ticket.token))


def test_no_repr_of_parts_shows_what_grants_access(s3_reference: Store) -> None:
    presigner = _presigner(s3_reference)
    ticket = presigner.issue(_request())
    upload_id = _upload(s3_reference, ticket)["UploadId"]
    opened = presigner._tokens.open(ticket.token, now=ticket.now)
    parts = presigner.backend.parts
    assert parts is not None
    shown = [
        ticket.parts,
        presigner.sign_parts(ticket.token, [1]),
        presigner.list_parts(ticket.token),
        opened,
        PartsRequest.from_json({"token": ticket.token, "numbers": [1]}),
        list(parts.list_uploads(PENDING_PREFIX)),
    ]
    for value in shown:
        assert not any(secret in f"{value!r} {value}" for secret in ("Signature", upload_id, ticket.token)), value


def test_a_ticket_for_a_small_file_is_the_same_with_and_without_parts(s3_reference: Store) -> None:
    now = datetime.now(timezone.utc)
    fixed: dict[str, Any] = {"clock": lambda: now, "new_id": lambda: "a" * 32}
    small = _request(size=PART_BYTES - 1)
    backend = _Changed(s3_reference.backend(), parts=None)
    with_parts = _presigner(s3_reference, **fixed).issue(small, owner="alice")
    without = _presigner(s3_reference, backend=backend, parts_from_bytes=None, **fixed).issue(small, owner="alice")
    assert with_parts.to_json() == without.to_json()
    assert with_parts.parts is None
    unsized = _presigner(s3_reference, **fixed).issue(_request(size=None))
    assert unsized.parts is None, "only a declared size can be cut into parts"


def test_a_file_in_parts_goes_straight_to_its_key_if_the_policy_says_so(store: Store) -> None:
    presigner = _presigner(store, pending_prefix=None, create_only=True)
    ticket = presigner.issue(_request())
    assert ticket.enforced[Rule.CREATE_ONLY] == "storage"
    _send_file(presigner, ticket)
    assert _published(store, ticket) is None, "nobody can read a file before the server commits it"
    stored = presigner.complete(ticket.token)
    assert _published(store, ticket) == FILE
    assert presigner.complete(ticket.token) == stored


def test_a_file_is_resumed_with_nothing_but_its_token(store: Store) -> None:
    ticket = _presigner(store).issue(_request())
    assert send(_sent(_requests(_presigner(store), ticket)[1], TAIL)).status == 200
    later = _presigner(store, clock=seconds_ago(0))
    state = later.list_parts(ticket.token)
    assert (state.size, state.numbers, state.plan.part_size, state.plan.count) == (len(FILE), (2,), PART_BYTES, 2)
    assert orjson.loads(state.to_json())["numbers"] == [2]
    (request,) = later.sign_parts(ticket.token, [1]).requests
    assert send(_sent(request, PARTS[0])).status == 200
    later.complete(ticket.token)
    assert _published(store, ticket) == FILE


# What the storage refuses


def _changes(attempt: Attempt, other: Attempt) -> dict[str, Attempt]:
    return {
        "one byte less": attempt.with_body(attempt.body[:-1]),
        "one byte more": attempt.with_body(attempt.body + b"!"),
        "no bytes": attempt.with_body(b""),
        "chunks of no known length": attempt.with_header("Transfer-Encoding", "chunked").with_body(
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(attempt.body), attempt.body)
        ),
        "another number": attempt.with_parameter("partNumber", "1"),
        "a number that the file does not have": attempt.with_parameter("partNumber", "3"),
        "a second number": attempt.with_another_parameter("partNumber", "3"),
        "another upload": attempt.with_parameter("uploadId", other.parameter("uploadId")),
        "no upload": attempt.without_parameter("uploadId").without_parameter("partNumber"),
        "a longer life": attempt.with_parameter("X-Amz-Expires", "604800"),
        "an unsigned length": attempt.with_parameter("X-Amz-SignedHeaders", "host"),
        "another key": attempt.with_path("/" + BUCKET + "/public/x"),
        "a copy": attempt.with_header("x-amz-copy-source", f"/{BUCKET}/public/x"),
        "an access control list": attempt.with_header("x-amz-acl", "public-read"),
        "its own commit": replace(
            attempt.without_parameter("partNumber").with_method("POST"),
            body=b"<CompleteMultipartUpload><Part><PartNumber>2</PartNumber><ETag>x</ETag></Part>"
            b"</CompleteMultipartUpload>",
        ),
        "its own abort": attempt.without_parameter("partNumber").with_method("DELETE").with_body(b""),
        "its own list": attempt.without_parameter("partNumber").with_method("GET").with_body(b""),
        "a delete": attempt.without_parameter("uploadId")
        .without_parameter("partNumber")
        .with_method("DELETE")
        .with_body(b""),
    }


def test_a_part_with_one_thing_changed_is_refused_and_not_stored(store: Store) -> None:
    presigner = _presigner(store)
    ticket, other = presigner.issue(_request()), presigner.issue(_request())
    attempt = _sent(_requests(presigner, ticket)[1], TAIL)
    changes = _changes(attempt, _sent(_requests(presigner, other)[1], TAIL))
    statuses = {name: send(changed).status for name, changed in changes.items()}
    assert {name: status for name, status in statuses.items() if not 400 <= status < 500} == {}
    assert presigner.list_parts(ticket.token).numbers == ()
    assert presigner.list_parts(other.token).numbers == ()
    assert send(attempt).status == 200


def test_other_bytes_than_were_hashed_are_refused(store: Store) -> None:
    presigner = _presigner(store)
    ticket = presigner.issue(_request(hashes_parts=True))
    attempt = _sent(presigner.sign_parts(ticket.token, [2], sha256=DIGESTS[1:]).requests[0], TAIL)
    digest = attempt.header("x-amz-checksum-sha256")
    changes = {
        "other bytes": attempt.with_body(TAIL[:-1] + b"!"),
        "no digest": attempt.without_header("x-amz-checksum-sha256"),
        "another digest": attempt.with_header("x-amz-checksum-sha256", "A" + digest[1:]),
        "another algorithm": attempt.without_header("x-amz-checksum-sha256").with_header(
            "x-amz-checksum-crc32", "AAAAAA=="
        ),
    }
    statuses = {name: send(changed).status for name, changed in changes.items()}
    assert {name: status for name, status in statuses.items() if status not in {400, 403}} == {}
    assert presigner.list_parts(ticket.token).numbers == ()
    assert send(attempt).status == 200


def test_a_part_that_was_signed_too_long_ago_is_refused_and_signed_again(store: Store) -> None:
    early = _presigner(store, clock=seconds_ago(2 * 3600))
    ticket = early.issue(_request())
    assert ticket.expires_at < datetime.now(timezone.utc)
    assert send(_sent(_requests(early, ticket)[1], TAIL)).status == 403
    (again,) = _presigner(store).sign_parts(ticket.token, [2]).requests
    assert send(_sent(again, TAIL)).status == 200


def test_a_request_of_a_part_lasts_minutes_and_never_longer_than_the_token(s3_reference: Store) -> None:
    def lifetime(**policy: Any) -> timedelta:
        ticket = _presigner(s3_reference, **policy).issue(_request())
        return ticket.expires_at - ticket.now.replace(microsecond=0)

    assert lifetime() == timedelta(minutes=15)
    assert lifetime(part_bytes=16 * 1024**2) > timedelta(minutes=17), "eight parts of 16 MiB over a slow line"
    assert lifetime(part_bytes=100 * 1024**2) == timedelta(hours=1), "the policy's max_expires_in"
    assert lifetime(resumable_for=timedelta(seconds=90)) == timedelta(seconds=90)


# Stores that are not Amazon's


@contextmanager
def _reference(
    lenient: frozenset[Leniency] = frozenset(), *, two_identities: bool = False
) -> Iterator[tuple[S3Bucket, S3Backend]]:
    bucket = S3Bucket()
    pending: dict[str, Any] = {"bucket": BUCKET, "prefix": PENDING_PREFIX}
    upload_actions = frozenset({"PutObject", "AbortMultipartUpload", "ListMultipartUploadParts"})
    rights = {
        "AKIASIGNER": [Right(actions=upload_actions, never_copies=True, **pending)],
        "AKIAVERIFIER": [
            Right(actions=frozenset({"GetObject", "DeleteObject", "AbortMultipartUpload"}), **pending),
            Right(actions=frozenset({"ListBucket", "ListBucketMultipartUploads"}), bucket=BUCKET),
            Right(actions=frozenset({"GetObject"}), bucket=BUCKET, prefix="public/"),
            Right(
                actions=frozenset({"PutObject"}),
                bucket=BUCKET,
                prefix="public/",
                copies_only_from=f"{BUCKET}/{PENDING_PREFIX}",
            ),
        ],
    }
    app = S3Reference(
        buckets={BUCKET: bucket},
        access_keys={name: HmacKey(secret=f"the secret of {name}") for name in rights},
        rights=rights if two_identities else None,
        lenient=lenient,
    )
    with serve(app) as url:
        signer, verifier = (boto3.Session(name, f"the secret of {name}") for name in rights)
        yield (
            bucket,
            S3Backend(
                bucket=BUCKET,
                region=REGION,
                endpoint_url=url,
                session=signer,
                verifier_session=verifier if two_identities else None,
            ),
        )


def test_of_two_identities_one_uploads_in_parts_and_the_other_verifies_and_sweeps() -> None:
    with _reference(two_identities=True) as (bucket, backend):
        presigner = _presigner(None, backend=backend)
        for hashes_parts in (False, True):
            ticket = presigner.issue(_request(hashes_parts=hashes_parts))
            _send_file(presigner, ticket)
            presigner.complete(ticket.token)
            assert bucket.objects[ticket.key].body == FILE
        presigner.abort(presigner.issue(_request()).token)
        presigner.issue(_request())
        later = _presigner(None, backend=backend, clock=seconds_ago(-9 * 24 * 3600))
        assert (later.sweep().aborted, bucket.uploads) == (1, {})


def test_a_store_that_does_not_check_a_parts_digest_gets_none_and_promises_none() -> None:
    with _reference(CEPH) as (_, backend):
        ticket = _presigner(None, backend=backend).issue(_request(hashes_parts=True))
        assert ticket.parts is not None
        assert not ticket.parts.plan.needs_sha256
        assert len(ticket.parts.requests) == 2


def test_a_store_is_tried_once_and_nothing_is_left_of_it() -> None:
    with _reference() as (bucket, backend):
        presigner = _presigner(None, backend=backend)
        presigner.issue(_request(hashes_parts=True))
        assert len(bucket.uploads) == 1
        (begun,) = bucket.uploads.values()
        assert (begun.algorithm, begun.parts) == ("sha256", {})


def test_a_store_that_obeys_an_unsigned_copy_source_copies_nothing_for_a_limited_signer() -> None:
    with _reference(MINIO, two_identities=True) as (bucket, backend):
        presigner = _presigner(None, backend=backend)
        secret, ticket = presigner.issue(_request(size=len(PNG))), presigner.issue(_request())
        assert upload(secret, PNG).status == 201
        (key,) = bucket.objects
        request = _requests(presigner, ticket)[1]
        answer = send(_sent(request, TAIL).with_header("x-amz-copy-source", f"/{BUCKET}/{key}"))
        assert answer.status == 403
        assert presigner.list_parts(ticket.token).numbers == ()


# Bad input


@pytest.mark.parametrize(
    "numbers", [[], [0], [3], [-1], [1, 1], ["1"], [1.0], [True], "12", {"1": 1}, None, list(range(1, 102)), [10**30]]
)
def test_numbers_that_the_file_does_not_have_are_refused(s3_reference: Store, numbers: Any) -> None:
    presigner = _presigner(s3_reference)
    ticket = presigner.issue(_request())
    with pytest.raises(InvalidRequest) as caught:
        presigner.sign_parts(ticket.token, numbers)
    assert (caught.value.code, caught.value.field) == ("invalid_request", "numbers")


@pytest.mark.parametrize(
    "sha256", [None, [], DIGESTS, [DIGESTS[0].upper()], ["0" * 63], [7], DIGESTS[0], {"1": DIGESTS[0]}]
)
def test_digests_that_do_not_fit_the_numbers_are_refused(s3_reference: Store, sha256: Any) -> None:
    presigner = _presigner(s3_reference)
    ticket = presigner.issue(_request(hashes_parts=True))
    with pytest.raises(InvalidRequest) as caught:
        presigner.sign_parts(ticket.token, [1], sha256=sha256)
    assert caught.value.field == "sha256"
    plain = presigner.issue(_request())
    if sha256 is not None:
        with pytest.raises(InvalidRequest, match="must be absent"):
            presigner.sign_parts(plain.token, [1], sha256=sha256)


def test_foreign_expired_and_small_tokens_have_no_parts(s3_reference: Store) -> None:
    presigner = _presigner(s3_reference)
    ticket = presigner.issue(_request(), owner="alice")
    small = presigner.issue(_request(size=100), owner="alice")
    expired = _presigner(s3_reference, clock=seconds_ago(7 * 24 * 3600)).issue(_request(), owner="alice")
    others = {
        "another owner's": (presigner, ticket.token, "mallory", InvalidToken),
        "nobody's": (presigner, ticket.token, None, InvalidToken),
        "a changed one": (presigner, ticket.token[:-1], "alice", InvalidToken),
        "a small file's": (presigner, small.token, "alice", InvalidToken),
        "an expired one": (presigner, expired.token, "alice", TokenExpired),
        "a policy's that has changed": (
            _presigner(s3_reference, max_bytes=len(FILE) - 1),
            ticket.token,
            "alice",
            InvalidToken,
        ),
    }
    for what, (by, token, owner, error) in others.items():
        calls: list[Callable[[], object]] = [
            lambda by=by, token=token, owner=owner: by.sign_parts(token, [1], owner=owner),  # type: ignore[misc]
            lambda by=by, token=token, owner=owner: by.list_parts(token, owner=owner),  # type: ignore[misc]
            lambda by=by, token=token, owner=owner: by.abort(token, owner=owner),  # type: ignore[misc]
        ]
        for call in calls:
            with pytest.raises(error):
                call()
            assert _has_upload(s3_reference, ticket), what


def test_a_token_names_its_upload_and_the_size_of_its_parts(s3_reference: Store) -> None:
    presigner = _presigner(s3_reference)
    ticket = presigner.issue(_request())
    larger_parts = _presigner(s3_reference, part_bytes=2 * PART_BYTES)
    assert larger_parts.list_parts(ticket.token).plan.part_size == PART_BYTES, "the upload stays as it began"
    _send_file(presigner, ticket)
    larger_parts.complete(ticket.token)
    assert _published(s3_reference, ticket) == FILE


def test_missing_parts_are_named_and_nothing_is_lost(store: Store) -> None:
    presigner = _presigner(store)
    ticket = presigner.issue(_request())
    for sent, missing in (((), (1, 2)), ((2,), (1,))):
        for number in sent:
            assert send(_sent(_requests(presigner, ticket)[number - 1], PARTS[number - 1])).status == 200
        with pytest.raises(PartsMissing) as caught:
            presigner.complete(ticket.token)
        assert (caught.value.status, caught.value.numbers) == (409, missing)
        problem = caught.value.problem()
        assert (problem["code"], problem["numbers"], problem["value"]) == ("parts_missing", list(missing), len(missing))
    assert not store.holds(f"{PENDING_PREFIX}{ticket.key.rpartition('/')[2]}")
    assert send(_sent(_requests(presigner, ticket)[0], PARTS[0])).status == 200
    presigner.complete(ticket.token)
    assert _published(store, ticket) == FILE


def test_a_part_of_another_size_counts_as_missing_and_a_part_too_many_is_left_out(store: Store) -> None:
    presigner = _presigner(store)
    ticket = presigner.issue(_request())
    assert send(_sent(_requests(presigner, ticket)[0], PARTS[0])).status == 200
    for number, body in ((2, TAIL + b"!"), (3, b"more")):
        named = {**_upload(store, ticket), "PartNumber": number}
        url = store.admin.generate_presigned_url("upload_part", Params=named)
        assert send(Attempt(method="PUT", url=url, body=body)).status == 200
    assert presigner.list_parts(ticket.token).numbers == (1,)
    with pytest.raises(PartsMissing) as caught:
        presigner.complete(ticket.token)
    assert caught.value.numbers == (2,)
    assert send(_sent(_requests(presigner, ticket)[1], TAIL)).status == 200
    presigner.complete(ticket.token)
    assert _published(store, ticket) == FILE


def test_an_empty_part_after_the_last_one_does_not_count(s3_reference: Store) -> None:
    presigner = _presigner(s3_reference)
    ticket = presigner.issue(_request(size=PART_BYTES))
    (request,) = _requests(presigner, ticket)
    assert send(_sent(request, PARTS[0])).status == 200
    named = {**_upload(s3_reference, ticket), "PartNumber": 2}
    url = s3_reference.admin.generate_presigned_url("upload_part", Params=named)
    assert send(Attempt(method="PUT", url=url)).status == 200
    assert presigner.list_parts(ticket.token).numbers == (1,)
    presigner.complete(ticket.token)
    assert _published(s3_reference, ticket) == PARTS[0]


def test_of_a_part_that_is_sent_twice_the_last_one_counts_also_between_list_and_commit(store: Store) -> None:
    presigner = _presigner(store)
    ticket = presigner.issue(_request())
    _send_file(presigner, ticket, (PARTS[0], TAIL[::-1]))
    backend: Any = InterruptedBackend(store.backend())
    backend.before["commit"] = lambda: send(_sent(_requests(presigner, ticket)[1], TAIL))
    _presigner(store, backend=backend).complete(ticket.token)
    if store.name == "SeaweedFS":
        # It keeps both parts, and commits the one whose ETag was listed.
        assert _published(store, ticket) == PARTS[0] + TAIL[::-1]
    else:
        assert backend.calls.count("commit") == 2
        assert _published(store, ticket) == FILE


def test_a_store_that_keeps_every_repetition_of_a_part_lets_nobody_make_an_endless_list(
    seaweedfs: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("presign.s3.parts._ALWAYS_LISTED", 10)
    presigner = _presigner(seaweedfs)
    ticket = presigner.issue(_request())
    first, last = (_sent(*each) for each in zip(_requests(presigner, ticket), PARTS, strict=True))
    assert send(first).status == 200
    for _ in range(29):
        assert send(last).status == 200
    assert presigner.list_parts(ticket.token).numbers == (1, 2)
    assert send(last).status == 200
    for call in (presigner.list_parts, presigner.complete):
        with pytest.raises(UploadEnded):
            call(ticket.token)
    assert not _has_upload(seaweedfs, ticket)
    assert _published(seaweedfs, ticket) is None


def test_a_client_that_replaces_parts_again_and_again_is_asked_to_repeat(s3_reference: Store) -> None:
    presigner = _presigner(s3_reference)
    ticket = presigner.issue(_request())
    _send_file(presigner, ticket)
    parts = presigner.backend.parts
    assert parts is not None

    def commit(grant: GrantInParts, listed: Sequence[StoredPart]) -> None:
        parts.commit(grant, [replace(part, etag="0" * 32) for part in listed])

    changing = _Changed(s3_reference.backend(), parts=_Changed(parts, commit=commit))
    with pytest.raises(StorageUnavailable, match="changed meanwhile"):
        _presigner(s3_reference, backend=changing).complete(ticket.token)
    presigner.complete(ticket.token)
    assert _published(s3_reference, ticket) == FILE


@pytest.mark.parametrize("ends", ["aborted", "forgotten by the store"])
def test_an_upload_that_has_ended_needs_a_new_ticket(store: Store, ends: str) -> None:
    presigner = _presigner(store)
    ticket = presigner.issue(_request())
    _send_file(presigner, ticket)
    request = _requests(presigner, ticket)[1]
    if ends == "aborted":
        presigner.abort(ticket.token)
        presigner.abort(ticket.token)
    else:
        store.admin.abort_multipart_upload(**_upload(store, ticket))
    assert send(_sent(request, TAIL)).outcome == (404, "NoSuchUpload")
    for call in (presigner.complete, presigner.list_parts):
        with pytest.raises(UploadEnded) as caught:
            call(ticket.token)
        assert (caught.value.status, caught.value.code) == (410, "upload_ended")
    assert _published(store, ticket) is None
    assert not _has_upload(store, ticket)


def test_a_file_that_the_application_has_deleted_cannot_be_sent_again(store: Store) -> None:
    presigner = _presigner(store)
    ticket = presigner.issue(_request())
    _send_file(presigner, ticket)
    presigner.complete(ticket.token)
    store.admin.delete_object(Bucket=store.bucket, Key=ticket.key)
    for request, part in zip(presigner.sign_parts(ticket.token, [1, 2]).requests, PARTS, strict=True):
        assert send(_sent(request, part)).status == 404
    for call in (presigner.list_parts, presigner.complete):
        with pytest.raises(UploadEnded):
            call(ticket.token)
    assert _published(store, ticket) is None


def test_an_abort_ends_an_upload_to_which_a_late_part_still_arrives(s3_reference: Store) -> None:
    ticket = _presigner(s3_reference).issue(_request())
    parts = s3_reference.backend().parts
    aborted: list[GrantInParts] = []

    def abort(grant: GrantInParts) -> None:
        aborted.append(grant)
        if len(aborted) > 1:
            parts.abort(grant)

    backend = _Changed(s3_reference.backend(), parts=_Changed(parts, abort=abort))
    _presigner(s3_reference, backend=backend).abort(ticket.token)
    assert len(aborted) == 2
    assert not _has_upload(s3_reference, ticket)


def test_an_abort_leaves_a_completed_file_alone(store: Store) -> None:
    presigner = _presigner(store)
    ticket = presigner.issue(_request())
    _send_file(presigner, ticket)
    stored = presigner.complete(ticket.token)
    presigner.abort(ticket.token)
    assert _published(store, ticket) == FILE
    assert presigner.complete(ticket.token) == stored


def test_a_file_that_breaks_a_rule_is_deleted_after_the_commit_and_never_published(store: Store) -> None:
    presigner = _presigner(store)
    ticket = presigner.issue(_request())
    _send_file(presigner, ticket, (b"<script>alert(1)</script>".ljust(PART_BYTES), TAIL))
    with pytest.raises(RuleViolated) as caught:
        presigner.complete(ticket.token)
    assert caught.value.rule == "type"
    assert not store.holds(f"{PENDING_PREFIX}{ticket.key.rpartition('/')[2]}")
    assert _published(store, ticket) is None
    with pytest.raises(UploadEnded):
        presigner.complete(ticket.token)


def test_the_sha256_of_a_whole_file_is_verified_up_to_the_size_that_completion_reads(store: Store) -> None:
    presigner = _presigner(store, max_hashed_bytes=len(FILE))
    right = hashlib.sha256(FILE).hexdigest()
    ticket = presigner.issue(_request(sha256=right))
    assert ticket.enforced[Rule.CHECKSUM] == "completion"
    _send_file(presigner, ticket)
    presigner.complete(ticket.token)
    assert _published(store, ticket) == FILE
    wrong = presigner.issue(_request(sha256="0" * 64))
    _send_file(presigner, wrong)
    with pytest.raises(RuleViolated) as caught:
        presigner.complete(wrong.token)
    assert caught.value.rule == "checksum"
    assert _published(store, wrong) is None
    with pytest.raises(TooLarge):
        presigner.issue(_request(size=len(FILE) + 1, sha256=right))


# The digest of a file's parts


def _send_and_hash(presigner: Presigner, ticket: Ticket, parts: Sequence[bytes] = PARTS) -> None:
    """Send ``parts``, each with its own SHA-256, as a client does that may have granted others."""
    digests = [hashlib.sha256(part).hexdigest() for part in parts]
    for request, part in zip(presigner.sign_parts(ticket.token, [1, 2], sha256=digests).requests, parts, strict=True):
        assert send(_sent(request, part)).status == 200


def test_the_digest_of_a_file_is_the_composite_checksum_of_the_store(s3_reference: Store) -> None:
    presigner = _presigner(s3_reference, pending_prefix=None)
    ticket = presigner.issue(_request(hashes_parts=True))
    _send_file(presigner, ticket)
    presigner.complete(ticket.token)
    head = s3_reference.admin.head_object(Bucket=s3_reference.bucket, Key=ticket.key, ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == f"{base64.b64encode(bytes.fromhex(DIGEST.sha256)).decode()}-2"


@pytest.mark.parametrize("pending_prefix", [PENDING_PREFIX, None])
def test_the_digest_is_compared_with_the_stores_list_and_nothing_is_read_or_stored(
    s3_reference: Store, pending_prefix: str | None
) -> None:
    backend: Any = InterruptedBackend(s3_reference.backend())
    presigner = _presigner(s3_reference, backend=backend, max_hashed_bytes=1, pending_prefix=pending_prefix)
    right, wrong = presigner.issue(_request(parts_digest=DIGEST)), presigner.issue(_request(parts_digest=DIGEST))
    assert right.parts is not None
    assert right.parts.plan.needs_sha256, "whoever knows the digest knows those of the parts"
    assert right.enforced[Rule.CHECKSUM] == "completion"
    _send_and_hash(presigner, right)
    presigner.complete(right.token)
    assert _published(s3_reference, right) == FILE
    assert backend.calls.count("read") == 0, "the first bytes come with the description"
    _send_and_hash(presigner, wrong, (PARTS[0], TAIL[::-1]))
    backend.calls.clear()
    with pytest.raises(RuleViolated) as caught:
        presigner.complete(wrong.token)
    other = PartsDigest.of([DIGESTS[0], hashlib.sha256(TAIL[::-1]).hexdigest()], part_size=PART_BYTES)
    assert (caught.value.rule, caught.value.value, caught.value.limit) == ("checksum", other.sha256, DIGEST.sha256)
    assert "commit" not in backend.calls
    assert _published(s3_reference, wrong) is None
    assert not _has_upload(s3_reference, wrong)
    with pytest.raises(UploadEnded):
        presigner.complete(wrong.token)


def test_a_store_that_lists_no_digests_has_the_file_read_up_to_the_limit(seaweedfs: Store) -> None:
    backend: Any = InterruptedBackend(seaweedfs.backend())
    presigner = _presigner(seaweedfs, backend=backend, max_hashed_bytes=len(FILE))
    right, wrong = presigner.issue(_request(parts_digest=DIGEST)), presigner.issue(_request(parts_digest=DIGEST))
    assert right.enforced[Rule.CHECKSUM] == "completion"
    _send_and_hash(presigner, right)
    presigner.complete(right.token)
    assert "read" in backend.calls
    assert _published(seaweedfs, right) == FILE
    _send_and_hash(presigner, wrong, (PARTS[0], TAIL[::-1]))
    with pytest.raises(RuleViolated) as caught:
        presigner.complete(wrong.token)
    assert (caught.value.rule, caught.value.limit) == ("checksum", DIGEST.sha256)
    assert _published(seaweedfs, wrong) is None
    limited = _presigner(seaweedfs, max_hashed_bytes=len(FILE) - 1)
    with pytest.raises(TooLarge) as refused:
        limited.issue(_request(parts_digest=DIGEST))
    assert refused.value.limit == len(FILE) - 1
    with pytest.raises(ConfigurationError, match="max_hashed_bytes"):
        limited.complete(_sent_file(presigner, seaweedfs).token)


def _sent_file(presigner: Presigner, store: Store) -> Ticket:
    ticket = presigner.issue(_request(parts_digest=DIGEST))
    _send_and_hash(presigner, ticket)
    return ticket


def test_the_digest_of_parts_that_another_call_has_committed_counts(s3_reference: Store) -> None:
    presigner = _presigner(s3_reference)
    ticket = presigner.issue(_request(parts_digest=DIGEST))
    _send_and_hash(presigner, ticket, (PARTS[0], TAIL[::-1]))
    backend: Any = InterruptedBackend(s3_reference.backend())

    def commit_the_right_parts() -> None:
        _send_and_hash(presigner, ticket)
        presigner.complete(ticket.token)

    backend.before["abort"] = commit_the_right_parts
    stored = _presigner(s3_reference, backend=backend).complete(ticket.token)
    assert _published(s3_reference, ticket) == FILE
    assert presigner.complete(ticket.token) == stored


def test_a_part_without_its_digest_is_no_verdict(s3_reference: Store) -> None:
    presigner = _presigner(s3_reference)
    ticket = _sent_file(presigner, s3_reference)
    parts = s3_reference.backend().parts

    def list_parts(grant: GrantInParts) -> list[StoredPart]:
        return [replace(part, sha256=None) for part in parts.list_parts(grant)]

    forgetful = _Changed(s3_reference.backend(), parts=_Changed(parts, list_parts=list_parts))
    with pytest.raises(StorageUnavailable, match="without the SHA-256"):
        _presigner(s3_reference, backend=forgetful).complete(ticket.token)
    presigner.complete(ticket.token)
    assert _published(s3_reference, ticket) == FILE


def test_a_digest_of_parts_of_another_size_is_refused_with_the_right_size(s3_reference: Store) -> None:
    presigner = _presigner(s3_reference)
    for size in (PART_BYTES - 1, PART_BYTES + 1, 1, 2**63 - 1):
        with pytest.raises(InvalidRequest) as caught:
            presigner.issue(_request(parts_digest=replace(DIGEST, part_size=size)))
        assert (caught.value.field, caught.value.limit) == ("part_size", PART_BYTES)
    parts = _Changed(
        s3_reference.backend().parts,
        limits=PartLimits(min_part_bytes=1, max_part_bytes=9**9, max_parts=1, max_bytes=9**9),
    )
    larger = _presigner(s3_reference, backend=_Changed(s3_reference.backend(), parts=parts))
    with pytest.raises(InvalidRequest) as caught:
        larger.issue(_request(parts_digest=DIGEST))
    assert caught.value.limit == 6 * 1024**2, "a file of too many parts gets larger ones"


def test_a_digest_of_parts_is_refused_where_nobody_would_compare_it(s3_reference: Store) -> None:
    small = _request(size=PART_BYTES - 1, parts_digest=DIGEST)
    with pytest.raises(InvalidRequest, match="comes in one request") as caught:
        _presigner(s3_reference).issue(small)
    assert caught.value.field == "parts_digest"
    by_storage = _presigner(
        s3_reference,
        parts_from_bytes=None,
        part_bytes=16 * 1024**2,
        max_bytes=2**30,
        require_at_storage={Rule.CHECKSUM},
    )
    large = _request(size=2**30, parts_digest=replace(DIGEST, part_size=16 * 1024**2))
    with pytest.raises(InvalidRequest, match="the storage itself must check") as caught:
        by_storage.issue(large)
    assert caught.value.field == "parts_digest"
    with pytest.raises(InvalidRequest, match="give one of them"):
        _request(parts_digest=DIGEST, sha256="0" * 64)


def test_a_policy_that_requires_a_checksum_takes_the_digest_of_the_parts(s3_reference: Store) -> None:
    presigner = _presigner(s3_reference, require_sha256=True, max_hashed_bytes=1)
    with pytest.raises(InvalidRequest, match="'sha256' is required"):
        presigner.issue(_request())
    with pytest.raises(InvalidRequest):
        presigner.issue(_request(size=7, parts_digest=DIGEST))
    ticket = presigner.issue(_request(parts_digest=DIGEST))
    _send_and_hash(presigner, ticket)
    presigner.complete(ticket.token)
    assert _published(s3_reference, ticket) == FILE
    without = _presigner(s3_reference).issue(_request())
    with pytest.raises(InvalidToken, match="does not allow this upload any more"):
        presigner.complete(without.token)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("0" * 64, "parts_digest"),
        ([], "parts_digest"),
        ({}, "parts_digest"),
        ({"part_size": 5}, "parts_digest"),
        ({"sha256": "0" * 64}, "parts_digest"),
        ({"part_size": 5, "sha256": "0" * 64, "count": 1}, "parts_digest"),
        ({"part_size": 5, "sha256": "A" * 64}, "parts_digest"),
        ({"part_size": 5, "sha256": "0" * 63}, "parts_digest"),
        ({"part_size": 5, "sha256": None}, "parts_digest"),
        ({"part_size": 0, "sha256": "0" * 64}, "part_size"),
        ({"part_size": -5, "sha256": "0" * 64}, "part_size"),
        ({"part_size": 2**63, "sha256": "0" * 64}, "part_size"),
        ({"part_size": 5.5, "sha256": "0" * 64}, "part_size"),
        ({"part_size": True, "sha256": "0" * 64}, "part_size"),
        ({"part_size": "5", "sha256": "0" * 64}, "part_size"),
    ],
)
def test_a_malformed_digest_of_parts_is_refused(value: Any, field: str) -> None:
    body = {"type": "image/png", "size": 7, "parts_digest": value}
    with pytest.raises(InvalidRequest) as caught:
        UploadRequest.from_json(orjson.dumps(body))
    assert caught.value.field == field
    right = body | {"parts_digest": {"part_size": 5.0, "sha256": "0" * 64}}
    assert UploadRequest.from_json(orjson.dumps(right)).parts_digest == PartsDigest(part_size=5, sha256="0" * 64)
    assert UploadRequest.from_json(body | {"parts_digest": None}).parts_digest is None


@pytest.mark.parametrize("value", ["yes", 1, [], {}])
def test_a_request_says_with_true_or_false_whether_it_hashes_parts(value: Any) -> None:
    body = {"type": "image/png", "size": 7, "hashes_parts": value}
    with pytest.raises(InvalidRequest) as caught:
        UploadRequest.from_json(orjson.dumps(body))
    assert caught.value.field == "hashes_parts"
    for accepted, meaning in ((True, True), (False, False), (None, False)):
        assert UploadRequest.from_json(body | {"hashes_parts": accepted}).hashes_parts is meaning


def test_an_upload_of_no_bytes_has_no_parts(s3_reference: Store) -> None:
    presigner = _presigner(s3_reference, min_bytes=0, parts_from_bytes=1)
    assert presigner.issue(_request(size=0)).parts is None
    one = presigner.issue(_request(size=1))
    assert one.parts is not None
    assert (one.parts.plan.count, one.parts.requests[0].size) == (1, 1)


# Interruption


class Killed(BaseException):
    """The process ends: no code of the library may handle this."""


def test_a_completion_that_ends_at_any_step_is_repeated_with_the_same_result(store: Store) -> None:
    counted: Any = InterruptedBackend(store.backend())
    presigner = _presigner(store)
    ticket = presigner.issue(_request())
    _send_file(presigner, ticket)
    _presigner(store, backend=counted).complete(ticket.token)
    assert counted.calls[:2] == ["list_parts", "commit"]
    for step in range(len(counted.calls)):
        for after in (False, True):
            told: list[Any] = []
            backend: Any = InterruptedBackend(store.backend(), fail_at=step, after=after, failure=Killed())
            ticket = presigner.issue(_request())
            _send_file(presigner, ticket)
            with pytest.raises(Killed):
                _presigner(store, backend=backend, on_complete=told.append).complete(ticket.token)
            restarted = _presigner(store, on_complete=told.append)
            stored = restarted.complete(ticket.token)
            assert restarted.complete(ticket.token) == stored
            assert _published(store, ticket) == FILE, (step, after)
            assert not _has_upload(store, ticket)
            assert not store.holds(f"{PENDING_PREFIX}{ticket.key.rpartition('/')[2]}")
            assert {completion.stored for completion in told} == {stored}


def test_completions_of_several_processes_at_once_publish_once(store: Store) -> None:
    for _ in range(3):
        presigners = [_presigner(store) for _ in range(4)]
        ticket = presigners[0].issue(_request())
        _send_file(presigners[0], ticket)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda each: _until_complete(each, ticket.token), presigners))  # noqa: B023
        assert len({(stored.key, stored.etag) for stored in results}) == 1
        assert _published(store, ticket) == FILE
        assert not _has_upload(store, ticket)


def _until_complete(presigner: Presigner, token: str) -> Any:
    for _ in range(50):
        try:
            return presigner.complete(token)
        except (CompletionPending, StorageUnavailable):
            continue
    raise AssertionError("never completed")


def test_an_object_that_is_already_under_the_pending_key_is_judged_and_the_upload_ends(store: Store) -> None:
    presigner = _presigner(store)
    ticket = presigner.issue(_request())
    _send_file(presigner, ticket)
    key = f"{PENDING_PREFIX}{ticket.key.rpartition('/')[2]}"
    store.admin.put_object(Bucket=store.bucket, Key=key, Body=b"x" * len(FILE), ContentType="image/png")
    with pytest.raises(RuleViolated):
        presigner.complete(ticket.token)
    assert not _has_upload(store, ticket)
    assert _published(store, ticket) is None


# Progress


def test_a_completion_shows_its_step_and_the_bytes_that_it_has_hashed(seaweedfs: Store) -> None:
    seen: list[tuple[str, CompletionProgress | None]] = []
    backend: Any = InterruptedBackend(seaweedfs.backend())

    def note(when: str) -> None:
        seen.append((when, presigner.completion_progress(ticket.token)))

    def note_read() -> None:
        note("read")
        backend.before["read"] = note_read

    def inspect(uploaded: Any) -> Accept:
        del backend.before["read"]
        note("inspect")
        return Accept()

    presigner = _presigner(
        seaweedfs, backend=backend, inspect=inspect, on_complete=lambda completion: note("on_complete")
    )
    ticket = _sent_file(presigner, seaweedfs)
    assert presigner.completion_progress(ticket.token) is None
    backend.before |= {name: partial(note, name) for name in ("commit", "publish", "delete")} | {"read": note_read}
    presigner.complete(ticket.token)
    copied = CompletionProgress(step="publishing", done=0, of=len(FILE))
    assert seen == [
        ("commit", CompletionProgress(step="committing")),
        ("read", CompletionProgress(step="verifying")),
        ("read", CompletionProgress(step="verifying", done=PART_BYTES, of=len(FILE))),
        ("inspect", CompletionProgress(step="inspecting")),
        ("publish", copied),
        ("delete", copied),
        ("on_complete", CompletionProgress(step="recording")),
    ]
    assert presigner.completion_progress(ticket.token) is None
    assert presigner.completion_progress("no token") is None


def test_whoever_completes_a_file_that_is_being_completed_gets_its_progress(s3_reference: Store) -> None:
    backend: Any = InterruptedBackend(s3_reference.backend())
    presigner = _presigner(s3_reference, backend=backend)
    ticket = presigner.issue(_request())
    _send_file(presigner, ticket)
    problems: list[dict[str, Any]] = []

    def complete_too() -> None:
        with pytest.raises(CompletionPending) as caught:
            presigner.complete(ticket.token)
        problems.append(caught.value.problem())

    backend.before |= {"commit": complete_too, "publish": complete_too}
    presigner.complete(ticket.token)
    assert [problem["progress"] for problem in problems] == [
        {"step": "committing"},
        {"step": "publishing", "done": 0, "of": len(FILE)},
    ]
    other = CompletionPending("asked of another process", retry_after=1)
    assert "progress" not in other.problem()


# Many parts


def test_a_file_of_10000_parts_is_listed_in_pages_and_committed() -> None:
    with _reference() as (bucket, backend):
        parts = _Changed(
            backend.parts, limits=PartLimits(min_part_bytes=1, max_part_bytes=9, max_parts=10_000, max_bytes=10**6)
        )
        presigner = _presigner(
            None, backend=_Changed(backend, parts=parts), max_bytes=10**5, parts_from_bytes=1, part_bytes=5
        )
        ticket = presigner.issue(_request(size=49_998))
        assert ticket.parts is not None
        assert (ticket.parts.plan.count, ticket.parts.plan.at_once, len(ticket.parts.requests)) == (10_000, 8, 8)
        (last,) = presigner.sign_parts(ticket.token, [10_000]).requests
        assert send(_sent(last, b"end")).status == 200
        (held,) = bucket.uploads.values()
        now = datetime.now(timezone.utc)
        held.parts.update({n: UploadedPart(body=b"%05d" % n, last_modified=now) for n in range(1, 10_000)})
        assert presigner.list_parts(ticket.token).numbers == tuple(range(1, 10_001))
        del held.parts[7]
        with pytest.raises(PartsMissing) as caught:
            presigner.complete(ticket.token)
        assert caught.value.numbers == (7,)
        held.parts.clear()
        with pytest.raises(PartsMissing) as caught:
            presigner.complete(ticket.token)
        assert len(caught.value.problem()["numbers"]) == 1000
        assert caught.value.value == 10_000


@given(size=st.integers(1, 50_000_000_000_000), part_bytes=st.integers(5 * 1024**2, 5 * 1024**3))
def test_every_size_is_cut_into_equal_parts_within_the_limits(size: int, part_bytes: int) -> None:
    limits = S3Parts.limits
    store: Any = _Changed(None, limits=limits, begin=lambda grant, needs_sha256: "id")
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=limits.max_bytes, prefix="public/")
    decided = policy.decide(_request(size=size), object_id="0" * 32)
    grant = begin(store, decided, part_bytes=part_bytes, hashes_parts=False, resumable_until=datetime.now(timezone.utc))
    count = grant.part_count
    assert 1 <= count <= limits.max_parts
    assert grant.part_bytes <= limits.max_part_bytes
    assert grant.part_bytes == part_bytes or grant.part_bytes % 1024**2 == 0
    assert (count - 1) * grant.part_bytes + grant.size_of(count) == size
    assert 1 <= grant.size_of(count) <= grant.part_bytes
    assert count == 1 or grant.size_of(1) == grant.part_bytes


# Sweeping


def test_a_sweep_ends_what_can_no_longer_be_completed(store: Store) -> None:
    _presigner(store, clock=seconds_ago(-30 * 24 * 3600)).sweep()
    presigner = _presigner(store)
    abandoned, finished = presigner.issue(_request()), presigner.issue(_request())
    _send_file(presigner, abandoned)
    _send_file(presigner, finished)
    presigner.complete(finished.token)
    straight = _presigner(store, pending_prefix=None).issue(_request())
    assert presigner.sweep().aborted == 0
    nearly = _presigner(store, clock=seconds_ago(-(8 * 24 * 3600 - 60)))
    assert nearly.sweep().aborted == 0
    later = _presigner(store, clock=seconds_ago(-(8 * 24 * 3600 + 60)))
    assert later.sweep(dry_run=True).aborted == 1
    assert _has_upload(store, abandoned)
    assert later.sweep().aborted == 1
    assert not _has_upload(store, abandoned)
    assert later.sweep().aborted == 0
    assert _published(store, finished) == FILE
    with pytest.raises(UploadEnded):
        presigner.complete(abandoned.token)
    _presigner(store, pending_prefix=None).abort(straight.token)


def test_a_sweep_keeps_a_committed_file_whose_upload_began_days_ago(store: Store) -> None:
    presigner = _presigner(store)
    ticket = presigner.issue(_request())
    _send_file(presigner, ticket)
    backend: Any = InterruptedBackend(store.backend(), fail_at=2, failure=Killed())
    with pytest.raises(Killed):
        _presigner(store, backend=backend).complete(ticket.token)
    days_later = _presigner(store, clock=seconds_ago(-6 * 24 * 3600))
    assert days_later.sweep().deleted == 0
    assert days_later.complete(ticket.token).size == len(FILE)


def test_a_sweep_ends_what_began_before_the_policy_took_no_parts_any_more(store: Store) -> None:
    abandoned = _presigner(store).issue(_request())
    later = _presigner(store, parts_from_bytes=200 * 1024**2, clock=seconds_ago(-9 * 24 * 3600))
    assert not later.takes_parts
    assert later.sweep().aborted >= 1
    assert not _has_upload(store, abandoned)


def test_a_sweep_goes_on_after_an_upload_that_cannot_be_ended(s3_reference: Store) -> None:
    presigner = _presigner(s3_reference)
    tickets = [presigner.issue(_request()) for _ in range(2)]
    parts = presigner.backend.parts
    assert parts is not None
    calls: list[str] = []

    def sweep(listed: Any) -> None:
        calls.append(listed.key)
        if len(calls) == 1:
            raise StorageUnavailable("this one cannot be ended")
        parts.sweep(listed)

    backend = _Changed(s3_reference.backend(), parts=_Changed(parts, sweep=sweep))
    swept = _presigner(s3_reference, backend=backend, clock=seconds_ago(-9 * 24 * 3600)).sweep()
    assert swept.failed == (calls[0],)
    assert swept.aborted == len(calls) - 1 > 0
    assert sum(_has_upload(s3_reference, ticket) for ticket in tickets) <= 1
    _presigner(s3_reference, clock=seconds_ago(-9 * 24 * 3600)).sweep()


def test_a_sweep_that_may_not_list_unfinished_uploads_deletes_objects_and_says_so() -> None:
    with _reference(two_identities=True) as (bucket, backend):
        presigner = _presigner(None, backend=backend)
        ticket = presigner.issue(_request(size=len(PNG)))
        assert upload(ticket, PNG).status == 201
        signer = _Changed(backend.parts, list_uploads=lambda prefix: _denied())
        later = _presigner(None, backend=_Changed(backend, parts=signer), clock=seconds_ago(-9 * 24 * 3600))
        swept = later.sweep()
        assert (swept.deleted, swept.aborted, bucket.objects) == (1, 0, {})
        assert swept.parts_failure == "LIST MULTIPART UPLOADS: AccessDenied"
        without_parts = _presigner(None, backend=later.backend, parts_from_bytes=200 * 1024**2)
        assert without_parts.sweep().parts_failure is None


def _denied() -> Iterator[Any]:
    raise StorageUnavailable("LIST MULTIPART UPLOADS: AccessDenied")


# When a lifecycle rule ends an upload


@pytest.mark.parametrize(
    ("pending_prefix", "key", "days"),
    [(PENDING_PREFIX, f"{PENDING_PREFIX}x", 7), (None, "public/x", 7)],
)
def test_the_rules_of_the_pulumi_program_give_every_upload_a_date_at_which_it_ends(
    pending_prefix: str | None, key: str, days: int
) -> None:
    with _reference() as (bucket, backend):
        assert backend.parts.abort_date(key) is None, "without a rule there is no date"
        rules = lifecycle_rules(days, pending_prefix=pending_prefix, expire_pending_after_days=9)
        bucket.lifecycle = tuple(map(LifecycleRule.of, rules))
        date = backend.parts.abort_date(key)
        assert date is not None
        until = date - datetime.now(timezone.utc)
        assert timedelta(days=days) <= until + timedelta(minutes=5)
        assert until <= timedelta(days=days + 1)
        assert bucket.uploads == {}


@pytest.mark.parametrize(
    "changes", [{"Filter": {"Prefix": "elsewhere/"}}, {"Status": "Disabled"}], ids=["another prefix", "disabled"]
)
def test_a_rule_that_does_not_match_gives_no_date(changes: dict[str, Any]) -> None:
    with _reference() as (bucket, backend):
        (rule,) = lifecycle_rules(7, pending_prefix=None, expire_pending_after_days=9)
        bucket.lifecycle = (LifecycleRule.of(rule | changes),)
        assert backend.parts.abort_date(f"{PENDING_PREFIX}x") is None


def test_a_store_that_keeps_a_rule_and_does_not_say_its_date_is_one_that_does_not_say(seaweedfs: Store) -> None:
    (rule,) = lifecycle_rules(7, pending_prefix=None, expire_pending_after_days=9)
    configuration: Any = {"Rules": [rule]}
    seaweedfs.admin.put_bucket_lifecycle_configuration(Bucket=seaweedfs.bucket, LifecycleConfiguration=configuration)
    try:
        parts: Any = seaweedfs.backend().parts
        assert parts.abort_date(f"{PENDING_PREFIX}x") is None
    finally:
        seaweedfs.admin.delete_bucket_lifecycle(Bucket=seaweedfs.bucket)
    uploads = seaweedfs.admin.list_multipart_uploads(Bucket=seaweedfs.bucket, Prefix=f"{PENDING_PREFIX}x")
    assert uploads.get("Uploads", []) == []


# What a presigner refuses when it is built


@pytest.mark.parametrize(
    ("changes", "policy", "name"),
    [
        ({"parts": None}, {}, "parts_from_bytes"),
        ({"parts": None}, {"parts_from_bytes": None, "max_bytes": 6 * 1024**3}, "max_bytes"),
        ({}, {"part_bytes": PART_BYTES - 1}, "part_bytes"),
        ({}, {"part_bytes": 6 * 1024**3}, "part_bytes"),
        ({}, {"max_bytes": 50_000_000_000_001}, "max_bytes"),
        ({}, {"require_at_storage": {Rule.CHECKSUM}}, "require_at_storage"),
    ],
)
def test_a_policy_that_the_backend_cannot_keep_is_refused(
    s3_reference: Store, changes: dict[str, Any], policy: dict[str, Any], name: str
) -> None:
    _presigner(s3_reference)
    with pytest.raises(ConfigurationError) as caught:
        _presigner(s3_reference, backend=_Changed(s3_reference.backend(), **changes), **policy)
    assert caught.value.field == name


def test_a_backend_without_parts_needs_none_for_a_policy_that_does_not_ask(s3_reference: Store) -> None:
    backend = _Changed(s3_reference.backend(), parts=None)
    ticket = _presigner(s3_reference, backend=backend, parts_from_bytes=None, max_bytes=2**30).issue(_request())
    assert ticket.parts is None
    _presigner(s3_reference, backend=backend, parts_from_bytes=2**31, max_bytes=2**30)


def test_without_parts_too_a_file_above_the_maximum_is_refused_as_too_large(s3_reference: Store) -> None:
    for changes in ({"parts": None}, {}):
        backend = _Changed(s3_reference.backend(), **changes)
        policy: dict[str, Any] = {"parts_from_bytes": 101 if not changes else None, "max_bytes": 100}
        with pytest.raises(TooLarge):
            _presigner(s3_reference, backend=backend, **policy).issue(_request(size=101))


@pytest.mark.parametrize(
    ("policy", "in_parts", "in_one_request"),
    [
        ({"parts_from_bytes": None}, 100 * 1024**2, 100 * 1024**2 - 1),
        ({"parts_from_bytes": 7 * 1024**3}, 5 * 1024**3 + 1, 5 * 1024**3),
        ({"parts_from_bytes": 10_000_000}, 10_000_000, 9_999_999),
    ],
)
def test_the_policy_says_from_which_size_a_file_comes_in_parts(
    s3_reference: Store, policy: dict[str, Any], in_parts: int, in_one_request: int
) -> None:
    presigner = _presigner(s3_reference, **{"part_bytes": 16 * 1024**2, "max_bytes": 2**33} | policy)
    large, small = _request(size=in_parts), _request(size=in_one_request)
    ticket = presigner.issue(large)
    assert ticket.parts is not None
    assert presigner.issue(small).parts is None
    assert (presigner.issuing_does_io(large), presigner.issuing_does_io(small)) == (True, False)
    presigner.abort(ticket.token)
    with pytest.raises(InvalidRequest, match="a large file comes in parts") as caught:
        presigner.issue(_request(size=None))
    assert caught.value.field == "size"


def test_by_default_a_file_comes_in_one_request_if_only_then_the_storage_enforces_what_it_must(
    s3_reference: Store,
) -> None:
    digest = "0" * 64
    large, hashed = _request(size=2**30), _request(size=2**30, sha256=digest)
    rules: dict[str, Any] = {"parts_from_bytes": None, "part_bytes": 16 * 1024**2, "max_bytes": 2**30}

    def in_parts(request: UploadRequest, **policy: Any) -> bool:
        return _presigner(s3_reference, **rules | policy).issuing_does_io(request)

    assert (in_parts(large), in_parts(hashed)) == (True, False)
    ticket = _presigner(s3_reference, **rules).issue(hashed)
    assert (ticket.parts, ticket.enforced[Rule.CHECKSUM]) == (None, "storage")
    checksum = {Rule.CHECKSUM}
    assert (in_parts(large, require_at_storage=checksum), in_parts(hashed, require_at_storage=checksum)) == (
        True,
        False,
    )
    without = _Changed(
        s3_reference.backend(), parts=_Changed(s3_reference.backend().parts, enforces=lambda grant: frozenset())
    )
    for policy, allowed in (
        ({}, True),
        ({"require_at_storage": {Rule.SIZE}}, False),
        ({"pending_prefix": None, "create_only": True}, False),
    ):
        presigner = _presigner(s3_reference, backend=without, **rules | policy)
        assert presigner.issuing_does_io(large) is allowed
    with pytest.raises(ConfigurationError, match="create_only"):
        _presigner(
            s3_reference,
            backend=without,
            **rules | {"pending_prefix": None, "create_only": True, "parts_from_bytes": 1},
        )


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        ({"parts_from_bytes": 0}, "parts_from_bytes"),
        ({"parts_from_bytes": "100"}, "parts_from_bytes"),
        ({"part_bytes": 0}, "part_bytes"),
        ({"part_bytes": True}, "part_bytes"),
        ({"resumable_for": timedelta(0)}, "resumable_for"),
        ({"resumable_for": timedelta(days=7, seconds=1)}, "resumable_for"),
        ({"resumable_for": 3600}, "resumable_for"),
    ],
)
def test_a_policy_with_impossible_parts_is_refused(policy: dict[str, Any], name: str) -> None:
    others: dict[str, Any] = {"content_types": {"image/png"}, "max_bytes": 10**9, "prefix": "public/"}
    with pytest.raises(ConfigurationError) as caught:
        UploadPolicy(**others | policy)
    assert caught.value.field == name


def test_errors_of_the_storage_are_errors_of_the_call(s3_reference: Store) -> None:
    backend = S3Backend(
        bucket="nowhere", region=REGION, endpoint_url=s3_reference.endpoint_url, session=s3_reference.session
    )
    with pytest.raises(StorageUnavailable, match="CREATE MULTIPART UPLOAD with NoSuchBucket"):
        _presigner(None, backend=backend).issue(_request())
