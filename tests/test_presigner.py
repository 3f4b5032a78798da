"""Issuing and completing, on real S3 servers: every ticket is sent exactly as it is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from emulators.wire import Attempt, Form, send
from presign import (
    ConfigurationError,
    InvalidRequest,
    InvalidToken,
    NotUploaded,
    Presigner,
    Rule,
    RuleViolated,
    StorageUnavailable,
    TokenExpired,
    UploadPolicy,
)
from presign.presigner import MAX_OWNER_BYTES
from presign.s3 import S3Backend
from presign.testing import MemoryBackend
from tests.conftest import PNG, PNG_SHA256, Store, as_sent, png_request, seconds_ago, upload

MECHANISMS: dict[str, dict[str, Any]] = {
    "POST": {},
    "POST of an exact size": {"size": len(PNG)},
    "POST of these bytes": {"sha256": PNG_SHA256},
    "PUT": {"upload_method": "put", "size": len(PNG)},
    "PUT, create-only": {"create_only": True, "size": len(PNG)},
    "PUT, create-only, of an exact size and these bytes": {"create_only": True, "size": len(PNG), "sha256": PNG_SHA256},
}


def _presigner_and_request(store: Store, mechanism: str, **policy: Any) -> Any:
    options = dict(MECHANISMS[mechanism])
    declared = {name: options.pop(name) for name in ("size", "sha256") if name in options}
    return store.presigner(**options, **policy), png_request(**declared)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_file_sent_with_its_ticket_is_stored_and_completed(store: Store, mechanism: str) -> None:
    presigner, request = _presigner_and_request(
        store, mechanism, cache_control="max-age=60", metadata={"tenant": "7"}, content_disposition="inline"
    )
    ticket = presigner.issue(request)
    assert ticket.method == mechanism.replace(",", "").split()[0]
    answer = upload(ticket, PNG)
    assert answer.status in (200, 201), answer.body
    stored = presigner.complete(ticket.token)
    assert (stored.key, stored.size, stored.content_type) == (ticket.key, len(PNG), "image/png")
    assert stored.object_url == ticket.object_url
    assert presigner.complete(ticket.token) == stored, "completing again answers the same"
    public = send(Attempt(method="GET", url=stored.object_url))
    assert (public.status, public.body) == (200, PNG)
    assert public.headers["cache-control"] == "max-age=60"
    assert public.headers["content-disposition"] == "inline"
    assert public.headers["x-amz-meta-tenant"] == "7"


@pytest.mark.parametrize("mechanism", ["POST", "PUT"])
@pytest.mark.parametrize("size", [10, 55, 100])
def test_every_size_within_the_bounds_is_accepted(store: Store, mechanism: str, size: int) -> None:
    presigner, request = _presigner_and_request(store, mechanism, verify_content=False)
    ticket = presigner.issue(request if mechanism == "POST" else replace(request, size=size))
    assert upload(ticket, b"x" * size).status in (200, 201)
    assert presigner.complete(ticket.token).size == size


def test_tickets_say_who_enforces_what(store: Store) -> None:
    by_post = store.presigner().issue(png_request(sha256=PNG_SHA256))
    assert by_post.enforced == dict.fromkeys([Rule.SIZE, Rule.TYPE, Rule.HEADERS, Rule.CHECKSUM], "storage")
    by_put = store.presigner(create_only=True).issue(png_request(size=20))
    assert by_put.enforced == {
        Rule.SIZE: "storage",
        Rule.TYPE: "storage",
        Rule.HEADERS: "completion",
        Rule.CREATE_ONLY: "storage",
    }


@pytest.mark.parametrize("policy", [{"create_only": True}, {"upload_method": "put"}])
def test_a_put_that_cannot_hold_a_range_of_sizes_requires_the_size(s3_reference: Store, policy: dict[str, Any]) -> None:
    presigner = s3_reference.presigner(**policy)
    assert presigner.requires_size
    with pytest.raises(InvalidRequest, match="'size' is required") as caught:
        presigner.issue(png_request())
    assert caught.value.field == "size"
    assert not s3_reference.presigner().requires_size


def _violations() -> dict[str, tuple[Rule, Any]]:
    def sent(body: bytes, **headers: str) -> Any:
        def change(attempt: Attempt) -> Attempt:
            for name, value in headers.items():
                attempt = attempt.with_header(name.replace("_", "-"), value)
            return attempt.with_body(body)

        return change

    return {
        "encoding": (Rule.HEADERS, sent(PNG, content_encoding="gzip")),
        "cache control": (Rule.HEADERS, sent(PNG, cache_control="max-age=31536000")),
        "content_disposition": (Rule.HEADERS, sent(PNG, content_disposition='attachment; filename="x.exe"')),
        "not a png": (Rule.TYPE, sent((b"GIF89a" + b"\0" * 99)[: len(PNG)])),
        "html": (Rule.TYPE, sent(b"<script>alert(1)</script>".ljust(len(PNG)))),
    }


@pytest.mark.parametrize("violation", _violations())
def test_what_a_put_leaves_open_completion_refuses_and_deletes(store: Store, violation: str) -> None:
    rule, change = _violations()[violation]
    presigner = store.presigner(upload_method="put")
    ticket = presigner.issue(png_request(size=len(PNG)))
    sent = as_sent(ticket, PNG)
    assert isinstance(sent, Attempt)
    assert send(change(sent)).status == 200, "the storage lets this through, as the ticket says"
    assert rule is Rule.TYPE or ticket.enforced[rule] == "completion"
    with pytest.raises(RuleViolated) as caught:
        presigner.complete(ticket.token)
    assert caught.value.rule == rule.value
    assert not store.holds(ticket.key)
    with pytest.raises(NotUploaded):
        presigner.complete(ticket.token)


@pytest.mark.parametrize("body", [b"GIF89a" + b"\0" * 20, b"<!doctype html><p>hello", b"\0" * 50])
def test_a_post_of_other_content_than_its_type_is_deleted_on_completion(store: Store, body: bytes) -> None:
    presigner = store.presigner()
    ticket = presigner.issue(png_request())
    assert upload(ticket, body).status == 201
    with pytest.raises(RuleViolated, match="first bytes"):
        presigner.complete(ticket.token)
    assert not store.holds(ticket.key)


def test_a_checksum_is_verified_by_reading_where_the_store_kept_none(store: Store) -> None:
    presigner = store.presigner()
    ticket = presigner.issue(png_request(sha256=PNG_SHA256))
    # As an administrator of the bucket could, who owes nobody a checksum.
    store.admin.put_object(
        Bucket=store.bucket, Key=ticket.key, Body=PNG[:-1] + b"!", ContentType="image/png", ChecksumAlgorithm="CRC32"
    )
    with pytest.raises(RuleViolated) as caught:
        presigner.complete(ticket.token)
    assert caught.value.rule == "checksum"
    store.admin.put_object(
        Bucket=store.bucket, Key=ticket.key, Body=PNG, ContentType="image/png", ChecksumAlgorithm="CRC32"
    )
    assert presigner.complete(ticket.token).size == len(PNG)


def test_completing_before_the_upload_says_so_and_works_afterwards(store: Store) -> None:
    presigner = store.presigner()
    ticket = presigner.issue(png_request())
    with pytest.raises(NotUploaded, match=ticket.key):
        presigner.complete(ticket.token)
    assert upload(ticket, PNG).status == 201
    assert presigner.complete(ticket.token).key == ticket.key


def test_another_owner_cannot_complete_and_nothing_is_deleted(store: Store) -> None:
    presigner = store.presigner()
    ticket = presigner.issue(png_request(), owner="alice")
    assert upload(ticket, b"x" * 20).status == 201
    for stranger in ("mallory", None):
        with pytest.raises(InvalidToken, match="another owner"):
            presigner.complete(ticket.token, owner=stranger)
    assert store.holds(ticket.key)


class _NoStorage:
    """A backend whose storage must not be asked for anything."""

    name = "nowhere"

    def __init__(self, backend: S3Backend) -> None:
        self.enforces = backend.enforces
        self.sign_upload = backend.sign_upload
        self.sign_download = backend.sign_download
        self.object_url = backend.object_url

    signing_does_io = has_public_prefixes = checks_expiry_late = False
    max_upload_bytes = 5 * 1024**3

    publish_options: Any = frozenset()

    def _asked(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the storage was asked")

    check = head = read = delete = list_objects = publish = unexpected_attributes = _asked
    pending: Any = None
    parts = None


def test_a_tampered_foreign_or_expired_token_never_touches_the_storage(s3_reference: Store) -> None:
    from presign import Presigner

    now = datetime(2026, 11, 23, tzinfo=timezone.utc)
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=100, prefix="public/", pending_prefix=None)

    def presigner(secret: str, clock: datetime) -> Presigner:
        return Presigner(backend=_NoStorage(s3_reference.backend()), policy=policy, secret=secret, clock=lambda: clock)

    token = presigner("a secret of this application", now).issue(png_request()).token
    ours = presigner("a secret of this application", now)
    for changed in (
        token[:-2] + "AA",
        "x" + token,
        token[1:],
        "",
        presigner("another secret, elsewhere", now).issue(png_request()).token,
    ):
        with pytest.raises(InvalidToken):
            ours.complete(changed)
    with pytest.raises(TokenExpired):
        presigner("a secret of this application", now + timedelta(seconds=60, hours=24)).complete(token)
    with pytest.raises(AssertionError, match="asked"):
        presigner("a secret of this application", now + timedelta(seconds=59, hours=24)).complete(token)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"secret": None}, r"^secret must be text or bytes, or a list of them, and has NoneType; .* set its variable$"),
        ({"secret": ["a secret of the tests", None]}, "^secret must be text or bytes, .* and has NoneType;"),
        ({"secret": 3}, "^secret must be text or bytes, .* and has int;"),
        ({"secret": []}, "^secret must have at least 16 bytes"),
        ({"backend": "s3://bucket/public/"}, "^backend must be a backend .*, not str; open_backend returns"),
        ({"backend": (MemoryBackend(), "public/")}, "^backend must be a backend .*, not tuple; open_backend returns"),
        ({"policy": {"max_bytes": 3}}, "^policy must be an UploadPolicy, not dict$"),
        (
            {"completion_window": 3600},
            r"^completion_window must be a timedelta such as timedelta\(hours=24\), not 3600$",
        ),
        ({"completion_window": timedelta(seconds=-1)}, "^completion_window must be a timedelta"),
    ],
)
def test_arguments_of_a_wrong_kind_are_refused_with_the_right_one(wrong: dict[str, Any], message: str) -> None:
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=1000, prefix="public/")
    arguments: dict[str, Any] = {"backend": MemoryBackend(), "policy": policy, "secret": "a secret of the tests"}
    with pytest.raises(ConfigurationError, match=message) as caught:
        Presigner(**{**arguments, **wrong})
    assert caught.value.field == next(iter(wrong))


def test_a_download_for_a_number_of_seconds_is_refused_with_the_right_kind() -> None:
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=1000, prefix="public/")
    presigner = Presigner(backend=MemoryBackend(), policy=policy, secret="a secret of the tests")
    seconds: Any = 300
    with pytest.raises(ConfigurationError, match=r"^expires_in must be a timedelta such as .*, not 300$"):
        presigner.sign_download("public/cat", expires_in=seconds)


def test_a_rule_that_the_storage_must_hold_is_refused_when_the_presigner_is_built(s3_reference: Store) -> None:
    everything = {Rule.SIZE, Rule.TYPE, Rule.CHECKSUM, Rule.HEADERS}
    s3_reference.presigner(require_at_storage=everything)
    with pytest.raises(ConfigurationError, match=r"size.*require_size"):
        s3_reference.presigner(upload_method="put", require_at_storage={Rule.SIZE})
    s3_reference.presigner(upload_method="put", require_size=True, require_at_storage={Rule.SIZE, Rule.CHECKSUM})
    with pytest.raises(ConfigurationError, match="headers"):
        s3_reference.presigner(create_only=True, require_at_storage={Rule.HEADERS})
    with pytest.raises(ConfigurationError, match="create_only"):
        s3_reference.presigner(upload_method="post", create_only=True)


def test_of_200_replays_at_once_under_create_only_exactly_one_wins(store: Store) -> None:
    presigner = store.presigner(create_only=True)
    ticket = presigner.issue(png_request(size=20))
    bodies = [bytes([65 + n % 26]) * 20 for n in range(200)]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda body: upload(ticket, body), bodies))
    winners = [body for body, answer in zip(bodies, answers, strict=True) if answer.status == 200]
    assert len(winners) == 1
    assert {answer.status for answer in answers} <= {200, 409, 412}
    assert ticket.object_url is not None
    assert send(Attempt(method="GET", url=ticket.object_url)).body == winners[0]


def test_only_objects_that_everybody_may_read_have_an_object_url(store: Store) -> None:
    for public_read in (False, True):
        presigner = store.presigner(public_read=public_read)
        ticket = presigner.issue(png_request())
        assert upload(ticket, PNG).status == 201
        expected = presigner.backend.object_url(ticket.key) if public_read else None
        assert (ticket.object_url, presigner.complete(ticket.token).object_url) == (expected, expected)


@pytest.mark.parametrize("owner", [UUID(int=7), 7, b"alice", "\ud800"])
def test_an_owner_that_is_no_text_is_refused_when_the_ticket_is_issued(s3_reference: Store, owner: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"owner must be text .*str\(user\.id\)") as caught:
        s3_reference.presigner().issue(png_request(), owner=owner)
    assert caught.value.field == "owner"


def test_an_owner_that_makes_the_token_too_long_is_refused_when_the_ticket_is_issued(s3_reference: Store) -> None:
    presigner = s3_reference.presigner()
    longest = "\u00fc" * (MAX_OWNER_BYTES // 2)
    assert presigner.issue(png_request(), owner=longest).token
    with pytest.raises(ConfigurationError, match=f"at most {MAX_OWNER_BYTES} bytes") as caught:
        presigner.issue(png_request(), owner=longest + "x")
    assert (caught.value.field, caught.value.limit) == ("owner", MAX_OWNER_BYTES)


def test_private_objects_are_read_with_a_presigned_url_that_ends(store: Store) -> None:
    presigner = store.presigner()
    ticket = presigner.issue(png_request())
    assert upload(ticket, PNG).status == 201
    url = presigner.sign_download(
        ticket.key, expires_in=timedelta(seconds=30), content_disposition='attachment; filename="a b.png"'
    )
    answer = send(Attempt(method="GET", url=url))
    assert (answer.status, answer.body) == (200, PNG)
    assert answer.headers["content-disposition"] == 'attachment; filename="a b.png"'
    attempt = Attempt(method="GET", url=url)
    other_name = attempt.with_parameter("response-content-disposition", 'attachment; filename="x.exe"')
    assert send(other_name).status == 403
    assert send(attempt.with_path(f"/{store.bucket}/private/other")).status == 403
    expired = store.presigner(clock=seconds_ago(31)).sign_download(ticket.key, expires_in=timedelta(seconds=30))
    assert send(Attempt(method="GET", url=expired)).status == 403


def test_a_storage_that_is_gone_is_reported_and_the_token_stays_good(s3_reference: Store) -> None:
    presigner = s3_reference.presigner()
    ticket = presigner.issue(png_request())
    assert upload(ticket, PNG).status == 201
    away = Store(
        name="away",
        endpoint_url="http://127.0.0.1:9",
        bucket=s3_reference.bucket,
        session=s3_reference.session,
        admin=None,
    ).presigner()
    with pytest.raises(StorageUnavailable, match="EndpointConnectionError"):
        away.complete(ticket.token)
    assert presigner.complete(ticket.token).key == ticket.key


def test_fields_and_headers_are_sent_as_the_ticket_lists_them(s3_reference: Store) -> None:
    ticket = s3_reference.presigner().issue(png_request())
    form = as_sent(ticket, PNG)
    assert isinstance(form, Form)
    assert [part.name for part in form.parts] == [*ticket.fields, "file"]
