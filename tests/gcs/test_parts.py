"""Large files in parts on the reference server: what is signed, what the server refuses, and whose rights it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from emulators.gcs_accounts import generate_credentials, trusted_account
from emulators.gcs_bucket import GcsBucket, GcsPart, GcsRight
from emulators.gcs_parts import GcsPartLimits
from emulators.gcs_reference import GcsReference
from emulators.serving import serve
from emulators.wire import Attempt, send
from presign import (
    ConfigurationError,
    InvalidRequest,
    PartsMissing,
    Presigner,
    Rule,
    StorageUnavailable,
    Ticket,
    UploadEnded,
    UploadPolicy,
    UploadRequest,
)
from presign.gcs import GCSBackend
from presign.testing import InterruptedBackend
from tests.gcs.reference import ACCESS_ID, BUCKET, HMAC_SECRET, PENDING_BUCKET, PNG, RemoteSigner

PART_BYTES = 5 * 1024**2
TAIL = b"the last part"
PARTS = (PNG.ljust(PART_BYTES, b"\0"), TAIL)
SIGNER_RIGHTS = [
    GcsRight(permissions=frozenset({"create", "listParts", "abort", "listUploads"}), bucket=PENDING_BUCKET),
]


@contextmanager
def _running(
    tmp_path: Path, kind: str = "hmac", *, limited: bool = False, **options: Any
) -> Iterator[tuple[GcsReference, GCSBackend]]:
    account = tmp_path / "account.json"
    generate_credentials(account, token_uri="http://unknown.invalid/token")
    app = GcsReference(
        buckets={BUCKET: GcsBucket(), PENDING_BUCKET: GcsBucket()},
        service_accounts=trusted_account(account),
        hmac_keys={ACCESS_ID: HMAC_SECRET},
        bearer_tokens=frozenset({"a-token"}),
        rights={ACCESS_ID: SIGNER_RIGHTS} if limited else None,
        **options,
    )
    with serve(app) as url:
        generate_credentials(account, token_uri=f"{url}/token")
        values: dict[str, Any] = {"bucket": BUCKET, "pending_bucket": PENDING_BUCKET, "endpoint_url": url}
        values["credentials"] = str(account)
        if kind == "hmac":
            values |= {"hmac_access_id": ACCESS_ID, "hmac_secret": HMAC_SECRET}
        backend = GCSBackend(**values)
        if kind == "sign_blob":
            backend = GCSBackend(**values | {"credentials": RemoteSigner(_info(account))})
        yield app, backend


def _info(account: Path) -> Any:
    return json.loads(account.read_text())


def _presigner(backend: Any, *, days_ahead: float = 0, **policy: Any) -> Presigner:
    rules: dict[str, Any] = {
        "content_types": {"image/png"},
        "max_bytes": 10 * PART_BYTES,
        "prefix": "public/",
        "parts_from_bytes": PART_BYTES,
        "part_bytes": PART_BYTES,
        "metadata": {"tenant": "7"},
        "cache_control": "max-age=60",
        "content_disposition": "attachment",
    }
    return Presigner(
        backend=backend,
        policy=UploadPolicy(**rules | policy),
        secret="the tests' secret of tokens",
        clock=lambda: datetime.now(timezone.utc) + timedelta(days=days_ahead),
    )


def _issue(presigner: Presigner, size: int = PART_BYTES + len(TAIL)) -> Ticket:
    return presigner.issue(UploadRequest(content_type="image/png", size=size, name="a \u00fc.png", hashes_parts=True))


def _attempts(ticket: Ticket) -> list[Attempt]:
    assert ticket.parts is not None
    return [
        Attempt(method="PUT", url=request.url, headers=tuple(request.headers.items()), body=PARTS[request.number - 1])
        for request in ticket.parts.requests
    ]


@pytest.mark.parametrize("kind", ["rsa", "hmac", "sign_blob"])
def test_every_kind_of_key_begins_signs_lists_and_commits(tmp_path: Path, kind: str) -> None:
    with _running(tmp_path, kind) as (app, backend):
        presigner = _presigner(backend)
        ticket = _issue(presigner)
        assert ticket.enforced == {Rule.SIZE: "storage", Rule.TYPE: "storage", Rule.HEADERS: "storage"}
        assert ticket.parts is not None
        assert not ticket.parts.plan.needs_sha256, "no test has shown that Google checks it"
        for attempt in _attempts(ticket):
            assert send(attempt).status == 200
        assert presigner.list_parts(ticket.token).numbers == (1, 2)
        assert not app.buckets[PENDING_BUCKET].objects
        stored = presigner.complete(ticket.token)
        assert presigner.complete(ticket.token) == stored
        published = app.buckets[BUCKET].objects[ticket.key]
        assert published.body == b"".join(PARTS)
        assert (published.content_type, published.cache_control) == ("image/png", "max-age=60")
        assert published.metadata == {"tenant": "7"}
        assert (published.content_disposition or "").startswith('attachment; filename="a _.png"')
        assert not app.buckets[PENDING_BUCKET].objects
        assert not app.buckets[PENDING_BUCKET].uploads


def test_a_part_with_one_thing_changed_is_refused_and_not_stored(tmp_path: Path) -> None:
    with _running(tmp_path) as (app, backend):
        presigner = _presigner(backend)
        ticket, other = _issue(presigner), _issue(presigner)
        attempt, others = _attempts(ticket)[1], _attempts(other)[1]
        bare = attempt.without_parameter("partNumber")
        changes = {
            "a byte less": attempt.with_body(TAIL[:-1]),
            "a byte more": attempt.with_body(TAIL + b"!"),
            "another number": attempt.with_parameter("partNumber", "1"),
            "another upload": attempt.with_parameter("uploadId", others.parameter("uploadId")),
            "a longer life": attempt.with_parameter("X-Goog-Expires", "604800"),
            "an unsigned length": attempt.with_parameter("X-Goog-SignedHeaders", "host"),
            "a whole object": bare.without_parameter("uploadId"),
            "a copy": attempt.with_header("x-goog-copy-source", f"/{BUCKET}/x"),
            "its own commit": bare.with_method("POST"),
            "its own abort": bare.with_method("DELETE").with_body(b""),
            "its own list": bare.with_method("GET").with_body(b""),
        }
        statuses = {name: send(changed).status for name, changed in changes.items()}
        assert {name: status for name, status in statuses.items() if not 400 <= status < 500} == {}
        assert not any(upload.parts for upload in app.buckets[PENDING_BUCKET].uploads.values())
        assert not app.buckets[PENDING_BUCKET].objects
        assert send(attempt).status == 200


def test_the_identity_that_signs_needs_rights_for_pending_uploads_alone(tmp_path: Path) -> None:
    with _running(tmp_path, limited=True) as (app, backend):
        presigner = _presigner(backend)
        ticket, abandoned = _issue(presigner), _issue(presigner)
        for attempt in _attempts(ticket):
            assert send(attempt).status == 200
        presigner.complete(ticket.token)
        assert app.buckets[BUCKET].objects[ticket.key].body == b"".join(PARTS)
        assert _presigner(backend, days_ahead=7.9).sweep().aborted == 0
        assert _presigner(backend, days_ahead=8.1).sweep().aborted == 1
        assert not app.buckets[PENDING_BUCKET].uploads
        with pytest.raises(UploadEnded):
            presigner.complete(abandoned.token)
        straight = _presigner(backend, pending_prefix=None)
        with pytest.raises(StorageUnavailable, match="INITIATE MULTIPART UPLOAD with AccessDenied"):
            _issue(straight)


def test_create_only_straight_to_the_final_key_is_refused_with_parts(tmp_path: Path) -> None:
    with _running(tmp_path) as (_, backend):
        with pytest.raises(ConfigurationError, match="create_only"):
            _presigner(backend, pending_prefix=None, create_only=True)
        by_default = _presigner(backend, pending_prefix=None, create_only=True, parts_from_bytes=None, max_bytes=10**9)
        assert _issue(by_default, size=10**9).parts is None


def test_parts_and_uploads_are_listed_in_pages(tmp_path: Path) -> None:
    limits = GcsPartLimits(smallest_part_bytes=1)
    with _running(tmp_path, part_limits=limits) as (app, backend):
        backend.parts.limits = replace(backend.parts.limits, min_part_bytes=1)
        presigner = _presigner(backend, part_bytes=5, parts_from_bytes=1)
        ticket = _issue(presigner, size=2500 * 5)
        (upload,) = app.buckets[PENDING_BUCKET].uploads.values()
        part = GcsPart(body=b"bytes", last_modified=datetime.now(timezone.utc))
        upload.parts.update(dict.fromkeys(range(1, 2501), part))
        assert presigner.list_parts(ticket.token).numbers == tuple(range(1, 2501))
        del upload.parts[1001]
        with pytest.raises(PartsMissing) as caught:
            presigner.complete(ticket.token)
        assert caught.value.numbers == (1001,)
        for number in range(1, 1101):
            app.buckets[PENDING_BUCKET].uploads[f"upload {number}&"] = type(upload)(
                key=f"pending/a&b {number % 7}", values={}, initiated=datetime.now(timezone.utc)
            )
        assert _presigner(backend, days_ahead=9).sweep().aborted == 1101
        assert not app.buckets[PENDING_BUCKET].uploads


def test_a_part_that_is_sent_again_between_list_and_commit_is_committed(tmp_path: Path) -> None:
    with _running(tmp_path) as (app, backend):
        presigner = _presigner(backend)
        ticket = _issue(presigner)
        first, last = _attempts(ticket)
        for attempt in (first, last.with_body(TAIL[::-1])):
            assert send(attempt).status == 200
        interrupted: Any = InterruptedBackend(backend)
        interrupted.before["commit"] = lambda: send(last)
        _presigner(interrupted).complete(ticket.token)
        assert interrupted.calls.count("commit") == 2
        assert app.buckets[BUCKET].objects[ticket.key].body == b"".join(PARTS)


def test_a_service_that_does_not_answer_is_not_available(tmp_path: Path) -> None:
    with _running(tmp_path) as (_, backend):
        presigner = _presigner(backend)
        ticket = _issue(presigner)
    for call in (presigner.complete, presigner.list_parts, presigner.abort):
        with pytest.raises(StorageUnavailable, match="does not answer"):
            call(ticket.token)
    with pytest.raises(InvalidRequest):
        presigner.sign_parts(ticket.token, [3])
    assert len(presigner.sign_parts(ticket.token, [1, 2]).requests) == 2, "signing asks nobody"
