"""The Google Cloud Storage backend against the strict reference server and the SDK: each key, mechanism, address."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import google.oauth2.credentials
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from google.auth.credentials import AnonymousCredentials, Signing
from google.auth.exceptions import TransportError
from google.cloud import storage  # type: ignore[import-untyped]
from google.oauth2 import service_account

from emulators.gcs_reference import GcsBucket, GcsReference, generate_credentials, page_rule, trusted_account
from emulators.serving import serve
from emulators.wire import Answer, Attempt, Form, Part, send
from presign import (
    ConfigurationError,
    CredentialsUnavailable,
    Grant,
    NotUploaded,
    Presigner,
    Rule,
    RuleViolated,
    StorageUnavailable,
    Ticket,
    UploadPolicy,
    UploadRequest,
)
from presign import gcs as gcs_module
from presign.gcs import SIGN_BLOB_LIFETIME, GCSBackend, open_gcs

BUCKET = "uploads"
ACCESS_ID, HMAC_SECRET = "GOOG1EREFERENCE0000001", "an-hmac-secret-of-the-tests"
PAGE = "http://localhost:8080"
PNG = b"\x89PNG\r\n\x1a\n" + b"0123456789abcdef"
MIN_BYTES, MAX_BYTES = 10, 100
GRANT = Grant(
    key="public/ab/cat.png",
    content_type="image/png",
    min_bytes=MIN_BYTES,
    max_bytes=MAX_BYTES,
    expires_in=timedelta(seconds=60),
)
EVERYTHING = replace(
    GRANT,
    content_disposition='inline; filename="a b.png"',
    cache_control="max-age=60",
    metadata={"owner": "alice", "a_b": "x y"},
)
SETTINGS = ("GCS_HMAC_ACCESS_ID", "GCS_HMAC_SECRET", "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST")


def now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A running reference server and a service account that it trusts."""

    url: str
    app: GcsReference
    account: Path
    clock: list[timedelta] = field(default_factory=list)

    @property
    def objects(self) -> dict[str, Any]:
        return self.app.buckets[BUCKET].objects

    @property
    def info(self) -> dict[str, str]:
        members: dict[str, str] = json.loads(self.account.read_text())
        return members

    def backend(self, kind: str, **options: Any) -> GCSBackend:
        """A backend on this server that signs with ``kind``: rsa, hmac or sign_blob."""
        values: dict[str, Any] = {"bucket": BUCKET, "endpoint_url": self.url, "credentials": str(self.account)}
        if kind == "hmac":
            values |= {"hmac_access_id": ACCESS_ID, "hmac_secret": HMAC_SECRET}
        if kind == "sign_blob":
            values["credentials"] = RemoteSigner(self.info)
        return GCSBackend(**values | options)


class RemoteSigner(google.oauth2.credentials.Credentials, Signing):
    """Credentials without a key of their own, in whose stead somebody else signs; their token is for the JSON API."""

    def __init__(self, info: Mapping[str, str], *, sign: Callable[[bytes], bytes] | None = None) -> None:
        super().__init__(token="a-token")  # type: ignore[no-untyped-call]
        self._account = service_account.Credentials.from_service_account_info(info)  # type: ignore[no-untyped-call]
        self._sign = sign or self._account.sign_bytes
        self.account_email = info["client_email"]

    @property
    def signer_email(self) -> Any:
        return self.account_email

    @property
    def signer(self) -> Any:
        return self

    def sign_bytes(self, message: bytes) -> bytes:
        return self._sign(message)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    account = tmp_path_factory.mktemp("gcs") / "account.json"
    generate_credentials(account, token_uri="http://unknown.invalid/token")
    ahead: list[timedelta] = []
    app = GcsReference(
        buckets={BUCKET: GcsBucket(cors=(page_rule(PAGE),), public_prefix="public/"), "other": GcsBucket()},
        service_accounts=trusted_account(account),
        hmac_keys={ACCESS_ID: HMAC_SECRET},
        bearer_tokens=frozenset({"a-token"}),
        clock=lambda: now() + sum(ahead, timedelta()),
        custom_domains={"cdn.invalid": BUCKET},
    )
    with serve(app) as url:
        generate_credentials(account, token_uri=f"{url}/token")
        yield Reference(url=url, app=app, account=account, clock=ahead)


@pytest.fixture
def gcs(running: Reference) -> Reference:
    running.clock.clear()
    for bucket in running.app.buckets.values():
        bucket.objects.clear()
    return running


@pytest.fixture(params=["rsa", "hmac", "sign_blob"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["post", "put"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def as_sent(signed: Any, body: bytes = PNG) -> Form | Attempt:
    if signed.method == "POST":
        return Form.of(signed.url, dict(signed.fields), body)
    return Attempt(method="PUT", url=signed.url, headers=tuple(signed.headers.items()), body=body)


def uploaded(backend: GCSBackend, grant: Grant = GRANT, body: bytes = PNG) -> Answer:
    return send(as_sent(backend.sign_upload(grant, now()), body))


def presigner(backend: GCSBackend, **policy: Any) -> Presigner:
    rules: dict[str, Any] = {
        "content_types": {"image/png", "text/plain"},
        "min_bytes": MIN_BYTES,
        "max_bytes": MAX_BYTES,
        "prefix": "public/",
    }
    return Presigner(backend=backend, policy=UploadPolicy(**rules | policy), secret="the tests' secret of tokens")


def issued(presigner: Presigner, **request: Any) -> Ticket:
    return presigner.issue(UploadRequest(**{"content_type": "image/png"} | request))


# What is granted is stored.


def test_an_upload_that_sends_the_ticket_is_stored_with_all_that_was_granted(
    gcs: Reference, kind: str, method: str
) -> None:
    backend = gcs.backend(kind, upload_method=method)
    answer = uploaded(backend, EVERYTHING)
    assert answer.status == (201 if method == "post" else 200), answer.body
    head = backend.head(EVERYTHING.key)
    assert head is not None
    assert (head.size, head.content_type, head.sha256) == (len(PNG), "image/png", None)
    assert (head.content_disposition, head.cache_control) == ('inline; filename="a b.png"', "max-age=60")
    assert (head.metadata, head.content_encoding, head.further_headers) == ({"owner": "alice", "a_b": "x y"}, None, {})
    assert head.version == str(gcs.objects[EVERYTHING.key].generation)


@pytest.mark.parametrize("size", [MIN_BYTES, MAX_BYTES])
def test_the_limits_of_the_size_are_inside(gcs: Reference, kind: str, method: str, size: int) -> None:
    assert uploaded(gcs.backend(kind, upload_method=method), body=b"x" * size).status in {200, 201}
    assert len(gcs.objects[GRANT.key].body) == size


@pytest.mark.parametrize(
    "key",
    [
        "public/a b+c",
        "public/ä/日本語/🦊",
        "public/e\u0301",
        "public/%2F%41",
        "public/a'()*!~,;=@&?#[]",
        "public//double//slash/",
        'public/"quoted"\\',
    ],
)
def test_odd_but_legal_keys_are_stored_and_downloaded_under_exactly_that_key(
    gcs: Reference, kind: str, method: str, key: str
) -> None:
    backend = gcs.backend(kind, upload_method=method)
    assert uploaded(backend, replace(GRANT, key=key)).status in {200, 201}
    assert list(gcs.objects) == [key]
    assert send(Attempt(method="GET", url=backend.object_url(key))).body == PNG
    assert (
        send(Attempt(method="GET", url=backend.sign_download(key, now(), expires_in=timedelta(minutes=1)))).body == PNG
    )
    assert backend.head(key) is not None
    backend.delete(key)
    assert gcs.objects == {}


def test_a_value_with_two_spaces_in_a_row_is_signed_as_the_storage_reads_it(
    gcs: Reference, kind: str, method: str
) -> None:
    grant = replace(GRANT, content_disposition='inline; filename="a  b.png"')
    assert uploaded(gcs.backend(kind, upload_method=method), grant).status in {200, 201}


def test_an_empty_file_can_be_granted(gcs: Reference, kind: str, method: str) -> None:
    backend = gcs.backend(kind, upload_method=method)
    assert uploaded(backend, replace(GRANT, min_bytes=0, max_bytes=0), b"").status in {200, 201}
    assert uploaded(backend, replace(GRANT, min_bytes=0, max_bytes=0), b"x").status == 400


# What is not granted is refused, by the storage wherever enforces() says so.


@pytest.mark.parametrize("size", [0, MIN_BYTES - 1, MAX_BYTES + 1, 100_000])
def test_a_size_outside_the_limits_is_refused_by_the_storage(gcs: Reference, kind: str, method: str, size: int) -> None:
    backend = gcs.backend(kind, upload_method=method)
    assert Rule.SIZE in backend.enforces(GRANT)
    answer = uploaded(backend, body=b"x" * size)
    assert answer.outcome == (400, "EntityTooSmall" if size < MIN_BYTES else "EntityTooLarge")
    assert gcs.objects == {}


def changed(text: str) -> str:
    return ("0" if text[0] != "0" else "1") + text[1:]


FORM_TAMPERINGS: dict[str, Callable[[Form], Form]] = {
    "another type": lambda form: form.with_field("Content-Type", "text/html"),
    "another key": lambda form: form.with_field("key", "public/other.png"),
    "another signature": lambda form: form.with_field("x-goog-signature", changed(form.field("x-goog-signature"))),
    "no signature": lambda form: form.without_field("x-goog-signature"),
    "another date": lambda form: form.with_field("x-goog-date", "20200101T000000Z"),
    "another algorithm": lambda form: form.with_field("x-goog-algorithm", "AWS4-HMAC-SHA256"),
    "another signer": lambda form: form.with_field("x-goog-credential", "x" + form.field("x-goog-credential")),
    "another policy": lambda form: form.with_field(
        "policy", base64.b64encode(base64.b64decode(form.field("policy")).replace(b"image/png", b"text/html")).decode()
    ),
    "a wider policy": lambda form: form.with_field(
        "policy", base64.b64encode(base64.b64decode(form.field("policy")).replace(b"10,100", b"10,999")).decode()
    ),
    "more metadata": lambda form: form.with_first_field("x-goog-meta-extra", "1"),
    "other metadata": lambda form: form.with_field("x-goog-meta-owner", "bob"),
    "no metadata": lambda form: form.without_field("x-goog-meta-owner"),
    "an encoding": lambda form: form.with_first_field("Content-Encoding", "gzip"),
    "another disposition": lambda form: form.with_field("Content-Disposition", "inline"),
    "another cache control": lambda form: form.with_field("Cache-Control", "no-store"),
    "an access control list": lambda form: form.with_first_field("acl", "public-read"),
    "a redirect": lambda form: form.with_first_field("success_action_redirect", "http://example.com/"),
    "the key after the file": lambda form: form.with_field_after_file("key"),
    "another bucket": lambda form: replace(form, url=form.url.replace(f"/{BUCKET}/", "/other/")),
}
PUT_TAMPERINGS: dict[str, Callable[[Attempt], Attempt]] = {
    "another type": lambda put: put.with_header("Content-Type", "text/html"),
    "no type": lambda put: put.without_header("Content-Type"),
    "a wider range": lambda put: put.with_header("x-goog-content-length-range", "0,999"),
    "no range": lambda put: put.without_header("x-goog-content-length-range"),
    "no create-only": lambda put: put.without_header("x-goog-if-generation-match"),
    "another generation": lambda put: put.with_header("x-goog-if-generation-match", "1"),
    "more metadata": lambda put: put.with_header("x-goog-meta-extra", "1"),
    "other metadata": lambda put: put.with_header("x-goog-meta-owner", "bob"),
    "an access control list": lambda put: put.with_header("x-goog-acl", "public-read"),
    "another disposition": lambda put: put.with_header("Content-Disposition", "inline"),
    "another cache control": lambda put: put.with_header("Cache-Control", "no-store"),
    "another key": lambda put: put.with_path(f"/{BUCKET}/public/other.png"),
    "another bucket": lambda put: put.with_path(f"/other/{GRANT.key}"),
    "another signature": lambda put: put.with_parameter("X-Goog-Signature", changed(put.parameter("X-Goog-Signature"))),
    "no signature": lambda put: put.without_parameter("X-Goog-Signature"),
    "a longer life": lambda put: put.with_parameter("X-Goog-Expires", "600"),
    "another date": lambda put: put.with_parameter("X-Goog-Date", "20200101T000000Z"),
    "another signer": lambda put: put.with_parameter("X-Goog-Credential", "x" + put.parameter("X-Goog-Credential")),
    "fewer signed headers": lambda put: put.with_parameter("X-Goog-SignedHeaders", "host"),
    "a further parameter": lambda put: put.with_another_parameter("x-goog-acl", "public-read"),
    "another method": lambda put: put.with_method("DELETE"),
}


@pytest.mark.parametrize("tampering", FORM_TAMPERINGS)
def test_a_form_with_one_thing_changed_is_refused_by_the_storage(gcs: Reference, kind: str, tampering: str) -> None:
    form = as_sent(gcs.backend(kind).sign_upload(EVERYTHING, now()))
    assert isinstance(form, Form)
    assert send(form).status == 201
    gcs.objects.clear()
    assert 400 <= send(FORM_TAMPERINGS[tampering](form)).status < 500
    assert gcs.objects == {}
    assert gcs.app.buckets["other"].objects == {}


@pytest.mark.parametrize("tampering", PUT_TAMPERINGS)
def test_a_put_with_one_thing_changed_is_refused_by_the_storage(gcs: Reference, kind: str, tampering: str) -> None:
    put = as_sent(gcs.backend(kind).sign_upload(replace(EVERYTHING, create_only=True), now()))
    assert isinstance(put, Attempt)
    assert send(put).status == 200
    gcs.objects.clear()
    assert 400 <= send(PUT_TAMPERINGS[tampering](put)).status < 500
    assert gcs.objects == {}
    assert gcs.app.buckets["other"].objects == {}


def test_a_field_after_the_file_changes_nothing(gcs: Reference, kind: str) -> None:
    form = as_sent(gcs.backend(kind).sign_upload(GRANT, now()))
    assert isinstance(form, Form)
    assert send(form.with_last_part(Part(name="x-goog-meta-late", value=b"1"))).status == 201
    assert gcs.objects[GRANT.key].metadata == {}


def test_a_ticket_is_refused_one_second_after_its_expiry_and_long_before_its_time(
    gcs: Reference, kind: str, method: str
) -> None:
    backend = gcs.backend(kind, upload_method=method)
    assert send(as_sent(backend.sign_upload(GRANT, now() - timedelta(seconds=50)))).status in {200, 201}
    gcs.objects.clear()
    assert send(as_sent(backend.sign_upload(GRANT, now() - timedelta(seconds=62)))).status == 400
    assert send(as_sent(backend.sign_upload(GRANT, now() + timedelta(minutes=16)))).status == 403
    assert gcs.objects == {}


def test_create_only_lets_exactly_one_of_200_concurrent_uploads_win(gcs: Reference, kind: str) -> None:
    backend = gcs.backend(kind)
    signed = backend.sign_upload(replace(GRANT, create_only=True), now())
    assert signed.method == "PUT"
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: send(as_sent(signed)).status, range(200)))
    assert sorted(set(statuses)) == [200, 412]
    assert statuses.count(200) == 1


def test_create_only_refuses_what_is_there_already_whoever_put_it(gcs: Reference, kind: str) -> None:
    backend = gcs.backend(kind)
    assert uploaded(backend).status == 201
    assert uploaded(backend, replace(GRANT, create_only=True), PNG + b"other").outcome == (412, "PreconditionFailed")
    assert gcs.objects[GRANT.key].body == PNG


# What is enforced, and by whom.


@pytest.mark.parametrize(
    ("upload_method", "create_only", "sent_as", "rules"),
    [
        ("auto", False, "POST", {Rule.SIZE, Rule.TYPE, Rule.HEADERS}),
        ("auto", True, "PUT", {Rule.SIZE, Rule.TYPE, Rule.CREATE_ONLY}),
        ("post", False, "POST", {Rule.SIZE, Rule.TYPE, Rule.HEADERS}),
        ("post", True, "POST", {Rule.SIZE, Rule.TYPE, Rule.HEADERS}),
        ("put", False, "PUT", {Rule.SIZE, Rule.TYPE}),
        ("put", True, "PUT", {Rule.SIZE, Rule.TYPE, Rule.CREATE_ONLY}),
    ],
)
def test_the_mechanism_and_what_it_enforces_are_the_same_for_every_key(
    gcs: Reference, kind: str, upload_method: str, create_only: bool, sent_as: str, rules: set[Rule]
) -> None:
    backend = gcs.backend(kind, upload_method=upload_method)
    grant = replace(GRANT, create_only=create_only, sha256="0" * 64)
    assert backend.sign_upload(grant, now()).method == sent_as
    assert backend.enforces(grant) == rules


def test_no_presigner_is_built_that_would_promise_create_only_by_post(gcs: Reference, kind: str) -> None:
    with pytest.raises(ConfigurationError, match="create_only"):
        presigner(gcs.backend(kind, upload_method="post"), create_only=True)


@pytest.mark.parametrize(
    ("upload_method", "rule"), [("auto", Rule.CHECKSUM), ("put", Rule.HEADERS), ("put", Rule.CHECKSUM)]
)
def test_no_presigner_is_built_that_requires_what_this_storage_leaves_to_completion(
    gcs: Reference, kind: str, upload_method: str, rule: Rule
) -> None:
    with pytest.raises(ConfigurationError, match=rule.value):
        presigner(gcs.backend(kind, upload_method=upload_method), require_at_storage={rule})


# Completion.


def test_complete_answers_what_is_stored_and_again_the_same(gcs: Reference, kind: str, method: str) -> None:
    gate = presigner(gcs.backend(kind, upload_method=method), cache_control="max-age=60", metadata={"app": "demo"})
    ticket = issued(gate, size=len(PNG), sha256=hashlib.sha256(PNG).hexdigest())
    with pytest.raises(NotUploaded):
        gate.complete(ticket.token)
    assert send(as_sent(ticket)).status in {200, 201}
    stored = gate.complete(ticket.token)
    assert (stored.key, stored.size, stored.content_type) == (ticket.key, len(PNG), "image/png")
    assert stored.version == str(gcs.objects[ticket.key].generation)
    assert stored.url == ticket.object_url
    assert gate.complete(ticket.token) == stored


def test_complete_reads_the_object_and_deletes_one_of_another_checksum(gcs: Reference, kind: str, method: str) -> None:
    gate = presigner(gcs.backend(kind, upload_method=method))
    ticket = issued(gate, sha256=hashlib.sha256(b"other").hexdigest())
    assert ticket.enforced[Rule.CHECKSUM] == "completion"
    assert send(as_sent(ticket)).status in {200, 201}
    with pytest.raises(RuleViolated) as caught:
        gate.complete(ticket.token)
    assert caught.value.rule == "checksum"
    assert gcs.objects == {}


def test_complete_deletes_content_that_is_not_of_its_type(gcs: Reference, kind: str, method: str) -> None:
    gate = presigner(gcs.backend(kind, upload_method=method))
    ticket = issued(gate)
    assert send(as_sent(ticket, b"<!doctype html><html><script>alert(1)</script></html>")).status in {200, 201}
    with pytest.raises(RuleViolated) as caught:
        gate.complete(ticket.token)
    assert caught.value.rule == "type"
    assert gcs.objects == {}


@pytest.mark.parametrize(
    ("header", "value"),
    [("Content-Encoding", "gzip"), ("Cache-Control", "no-store"), ("Content-Disposition", "attachment")],
)
def test_complete_deletes_a_put_that_carries_a_header_beside_the_signed_ones(
    gcs: Reference, kind: str, header: str, value: str
) -> None:
    gate = presigner(gcs.backend(kind, upload_method="put"))
    ticket = issued(gate)
    put = as_sent(ticket)
    assert isinstance(put, Attempt)
    assert ticket.enforced[Rule.HEADERS] == "completion"
    assert send(put.with_another_header(header, value)).status == 200
    with pytest.raises(RuleViolated) as caught:
        gate.complete(ticket.token)
    assert caught.value.rule == "headers"
    assert gcs.objects == {}


# Reading, downloading, deleting.


def test_a_download_ends_with_its_time_and_carries_the_disposition_that_was_signed(gcs: Reference, kind: str) -> None:
    backend = gcs.backend(kind)
    key = "private/ä b.png"
    uploaded(backend, replace(GRANT, key=key))
    disposition = "attachment; filename=\"_ b.png\"; filename*=UTF-8''%C3%A4%20b.png"
    get = Attempt(
        method="GET",
        url=backend.sign_download(key, now(), expires_in=timedelta(minutes=1), content_disposition=disposition),
    )
    answer = send(get)
    assert (answer.status, answer.body, answer.headers["content-disposition"]) == (200, PNG, disposition)
    assert send(get.with_parameter("response-content-disposition", "inline")).outcome == (403, "SignatureDoesNotMatch")
    gcs.clock.append(timedelta(seconds=62))
    assert send(get).outcome == (400, "ExpiredToken")


def test_a_ranged_read_answers_these_bytes_and_fails_once_the_object_is_replaced(gcs: Reference, kind: str) -> None:
    backend = gcs.backend(kind)
    uploaded(backend)
    head = backend.head(GRANT.key)
    assert head is not None
    assert backend.read(GRANT.key, offset=1, length=3, etag=head.etag) == PNG[1:4]
    assert backend.read(GRANT.key, offset=0, length=10_000, etag=head.etag) == PNG
    uploaded(backend)
    with pytest.raises(StorageUnavailable, match="gs://uploads answered GET with 412"):
        backend.read(GRANT.key, offset=1, length=3, etag=head.etag)


def test_nothing_is_stored_and_nothing_deleted_where_nothing_is(gcs: Reference, kind: str) -> None:
    backend = gcs.backend(kind)
    assert backend.head("public/none") is None
    backend.delete("public/none")


# Addresses.


@pytest.mark.parametrize(
    ("options", "sdk_options", "sdk_endpoint"),
    [
        ({}, {}, None),
        ({"virtual_hosted_style": True}, {"virtual_hosted_style": True}, None),
        (
            {"bucket_bound_hostname": "uploads.example.com"},
            {"bucket_bound_hostname": "uploads.example.com", "scheme": "https"},
            None,
        ),
        (
            {"bucket_bound_hostname": "http://uploads.example.com:8080"},
            {"bucket_bound_hostname": "http://uploads.example.com:8080"},
            None,
        ),
        ({"endpoint_url": "http://localhost:4443"}, {}, "http://localhost:4443"),
        (
            {"endpoint_url": "http://storage:4443", "public_endpoint_url": "http://localhost:4443"},
            {},
            "http://localhost:4443",
        ),
    ],
)
def test_every_style_of_address_is_signed_as_by_the_sdk(
    gcs: Reference, options: dict[str, Any], sdk_options: dict[str, Any], sdk_endpoint: str | None
) -> None:
    backend = GCSBackend(bucket=BUCKET, credentials=gcs.info, **options)
    client = storage.Client(
        project="project",
        credentials=service_account.Credentials.from_service_account_info(gcs.info),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": sdk_endpoint} if sdk_endpoint else None,
    )
    blob = client.bucket(BUCKET).blob("public/ä b+c.png")
    lifetime = timedelta(minutes=5)
    theirs = blob.generate_signed_url(version="v4", expiration=lifetime, **sdk_options)
    signed_at = datetime.strptime(Attempt(method="GET", url=theirs).parameter("X-Goog-Date"), "%Y%m%dT%H%M%S%z")
    assert backend.sign_download(blob.name, signed_at, expires_in=lifetime) == theirs

    grant = replace(EVERYTHING, key=blob.name, create_only=True)
    headers = {
        "Content-Type": "image/png",
        "Content-Disposition": 'inline; filename="a b.png"',
        "Cache-Control": "max-age=60",
        "x-goog-meta-owner": "alice",
        "x-goog-meta-a_b": "x y",
        "x-goog-content-length-range": "10,100",
        "x-goog-if-generation-match": "0",
    }
    theirs = blob.generate_signed_url(
        version="v4", method="PUT", expiration=grant.expires_in, headers=dict(headers), **sdk_options
    )
    signed_at = datetime.strptime(Attempt(method="PUT", url=theirs).parameter("X-Goog-Date"), "%Y%m%dT%H%M%S%z")
    ours = backend.sign_upload(grant, signed_at)
    assert (ours.url, ours.headers) == (theirs, headers)

    form = client.generate_signed_post_policy_v4(BUCKET, blob.name, expiration=lifetime, **sdk_options)
    assert backend.sign_upload(replace(EVERYTHING, key=blob.name), now()).url == form["url"]


@pytest.mark.parametrize("style", ["virtual", "custom"])
def test_uploads_to_a_virtual_host_and_to_a_custom_domain_are_stored(
    gcs: Reference, kind: str, method: str, style: str
) -> None:
    port = gcs.url.rpartition(":")[2]
    options: dict[str, Any] = (
        {"virtual_hosted_style": True, "public_endpoint_url": f"http://localhost:{port}"}
        if style == "virtual"
        else {"bucket_bound_hostname": f"http://cdn.invalid:{port}"}
    )
    host = f"{BUCKET}.localhost:{port}" if style == "virtual" else f"cdn.invalid:{port}"
    sent = as_sent(gcs.backend(kind, upload_method=method, **options).sign_upload(GRANT, now()))
    attempt = sent.attempt() if isinstance(sent, Form) else sent
    assert attempt.url.startswith(f"http://{host}/")
    # No name server knows these hosts: the connection goes to the server, and Host says who was meant.
    direct = replace(attempt, url=attempt.url.replace(f"http://{host}", gcs.url)).with_header("Host", host)
    assert send(direct).status in {200, 201}
    assert list(gcs.objects) == [GRANT.key]


@pytest.mark.parametrize("written", ["{url}", "{host}"])
def test_the_emulators_setting_is_honoured_with_and_without_a_scheme(
    gcs: Reference, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", written.format(url=gcs.url, host=gcs.url.removeprefix("http://")))
    backend = GCSBackend(bucket=BUCKET, credentials=gcs.info)
    backend.check()
    assert uploaded(backend).status == 201
    assert backend.head(GRANT.key) is not None


# Credentials.


def test_a_service_account_is_taken_as_a_path_as_members_as_credentials_and_from_the_environment(
    gcs: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = service_account.Credentials.from_service_account_info(gcs.info)  # type: ignore[no-untyped-call]
    moment = now()
    for given in (gcs.account, str(gcs.account), gcs.info, credentials):
        backend = gcs.backend("rsa", credentials=given)
        assert backend.sign_upload(GRANT, moment).fields == gcs.backend("rsa").sign_upload(GRANT, moment).fields
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(gcs.account))
    backend = GCSBackend(bucket=BUCKET, endpoint_url=gcs.url)
    assert backend.sign_upload(GRANT, moment).fields == gcs.backend("rsa").sign_upload(GRANT, moment).fields
    assert uploaded(backend).status == 201
    assert backend.head(GRANT.key) is not None


def test_an_hmac_key_from_the_environment_signs_while_the_credentials_verify(
    gcs: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCS_HMAC_ACCESS_ID", ACCESS_ID)
    monkeypatch.setenv("GCS_HMAC_SECRET", HMAC_SECRET)
    backend = GCSBackend(bucket=BUCKET, endpoint_url=gcs.url)
    signed = backend.sign_upload(GRANT, now())
    assert signed.fields["x-goog-algorithm"] == "GOOG4-HMAC-SHA256"
    assert send(as_sent(signed)).status == 201
    # On an emulator without credentials the JSON API is asked anonymously, which this server does not admit.
    with pytest.raises(ConfigurationError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        backend.check()
    # Credentials that are given sign, unless an HMAC key is given with them.
    assert gcs.backend("rsa").sign_upload(GRANT, now()).fields["x-goog-algorithm"] == "GOOG4-RSA-SHA256"


def test_an_hmac_key_on_an_emulator_needs_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    app = GcsReference(buckets={BUCKET: GcsBucket()}, hmac_keys={ACCESS_ID: HMAC_SECRET}, anonymous_json=True)
    with serve(app) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        backend = GCSBackend(bucket=BUCKET, hmac_access_id=ACCESS_ID, hmac_secret=HMAC_SECRET)
        backend.check()
        assert uploaded(backend).status == 201
        assert backend.head(GRANT.key) is not None


@pytest.fixture(scope="module")
def other_pem() -> dict[str, str]:
    def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    return {
        "rsa": pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        "elliptic": pem(ec.generate_private_key(ec.SECP256R1())),
    }


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"private_key": "not a key"}, "no RSA key in PEM form"),
        ({"private_key": "elliptic"}, "no RSA key"),
        ({"private_key": 5}, "has no private_key"),
        ({"client_email": None}, "has no client_email"),
        ({"token_uri": None}, "has no token_uri"),
        ({"type": "authorized_user"}, "of another type"),
    ],
)
def test_a_service_account_of_the_wrong_form_is_refused_when_the_backend_is_built(
    gcs: Reference, other_pem: dict[str, str], tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    if change.get("private_key") == "elliptic":
        change = {"private_key": other_pem["elliptic"]}
    info = {name: value for name, value in (gcs.info | change).items() if value is not None}
    path = tmp_path / "account.json"
    path.write_text(json.dumps(info))
    for given in (info, path):
        with pytest.raises(ConfigurationError, match=complaint) as caught:
            gcs.backend("rsa", credentials=given)
        assert caught.value.field == "credentials"
        assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.detail
        assert "PRIVATE KEY" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "not JSON", "[]", "\ud800"])
def test_a_path_that_holds_no_service_account_is_refused_when_the_backend_is_built(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "account.json"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigurationError, match="service account's JSON") as caught:
        GCSBackend(bucket=BUCKET, credentials=path)
    assert caught.value.field == "credentials"


@pytest.mark.parametrize("content", ["not JSON", "[]", "{}", '{"type": "service_account"}'])
def test_unusable_default_credentials_are_refused_naming_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path = tmp_path / "account.json"
    path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(ConfigurationError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        GCSBackend(bucket=BUCKET)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"bucket": "Bad/Name"}, "bucket"),
        ({"bucket": ""}, "bucket"),
        ({"upload_method": "patch"}, "upload_method"),
        ({"endpoint_url": "localhost"}, "endpoint_url"),
        ({"endpoint_url": "https://user:pw@host"}, "endpoint_url"),
        ({"public_endpoint_url": "https://host/path"}, "public_endpoint_url"),
        ({"bucket_bound_hostname": "a.example/path"}, "bucket_bound_hostname"),
        ({"bucket_bound_hostname": "a.example", "virtual_hosted_style": True}, "bucket_bound_hostname"),
        ({"bucket_bound_hostname": "a.example", "public_endpoint_url": "https://b.example"}, "bucket_bound_hostname"),
        ({"bucket": "dotted.example.com", "virtual_hosted_style": True}, "virtual_hosted_style"),
        ({"hmac_access_id": ACCESS_ID}, "hmac_access_id"),
        ({"hmac_secret": HMAC_SECRET}, "hmac_access_id"),
        ({"hmac_access_id": "a/b", "hmac_secret": HMAC_SECRET}, "hmac_access_id"),
        ({"hmac_access_id": ACCESS_ID, "hmac_secret": HMAC_SECRET + "\n"}, "hmac_access_id"),
        ({"service_account_email": "other@example.com"}, "service_account_email"),
        (
            {"service_account_email": "a@b.c", "hmac_access_id": ACCESS_ID, "hmac_secret": HMAC_SECRET},
            "service_account_email",
        ),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name_when_the_backend_is_built(
    gcs: Reference, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        GCSBackend(**{"bucket": BUCKET, "credentials": gcs.info} | options)
    assert caught.value.field == named
    assert HMAC_SECRET not in str(caught.value)


def test_half_an_hmac_key_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCS_HMAC_ACCESS_ID", ACCESS_ID)
    with pytest.raises(ConfigurationError, match="GCS_HMAC_ACCESS_ID and GCS_HMAC_SECRET must both be set"):
        GCSBackend(bucket=BUCKET)


def test_anonymous_credentials_cannot_sign() -> None:
    with pytest.raises(ConfigurationError, match="anonymous credentials cannot sign"):
        GCSBackend(bucket=BUCKET, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]


# signBlob.


@dataclass(kw_only=True)
class Iam:
    """The IAM Service Account Credentials API's signBlob, in front of a service account's own key."""

    url: str
    requests: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200
    delay_seconds: float = 0.0


@contextmanager
def http_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def iam(gcs: Reference, monkeypatch: pytest.MonkeyPatch) -> Iterator[Iam]:
    state = Iam(url="")
    account = service_account.Credentials.from_service_account_info(gcs.info)  # type: ignore[no-untyped-call]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append((self.path, self.headers["Authorization"]))
            time.sleep(state.delay_seconds)
            signature = account.sign_bytes(base64.b64decode(body["payload"]))
            answer = {"keyId": "1", "signedBlob": base64.b64encode(signature).decode()}
            content = json.dumps(answer if state.status == 200 else {"error": "a-token may not"}).encode()
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    with http_server(Handler) as url:
        state.url = url
        monkeypatch.setattr("google.auth.iam._IAM_SIGN_ENDPOINT", f"{url}/v1/projects/-/serviceAccounts/{{}}:signBlob")
        yield state


def workload(gcs: Reference, **options: Any) -> GCSBackend:
    """A workload with a token, no key, and the right to sign in a service account's name."""
    credentials = google.oauth2.credentials.Credentials(token="a-token")  # type: ignore[no-untyped-call]
    email = gcs.info["client_email"]
    return gcs.backend("rsa", **{"credentials": credentials, "service_account_email": email} | options)


def test_a_workload_without_a_key_signs_through_sign_blob(gcs: Reference, iam: Iam, method: str) -> None:
    backend = workload(gcs, upload_method=method)
    assert iam.requests == [], "nothing is signed before it is asked for"
    assert uploaded(backend).status in {200, 201}
    path = f"/v1/projects/-/serviceAccounts/{gcs.info['client_email']}:signBlob"
    assert iam.requests == [(path, "Bearer a-token")]
    backend.check()
    assert backend.head(GRANT.key) is not None


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_workload_that_may_not_sign_is_told_which_role_it_needs(gcs: Reference, iam: Iam, status: int) -> None:
    iam.status = status
    backend = workload(gcs)
    with pytest.raises(CredentialsUnavailable, match=r"roles/iam\.serviceAccountTokenCreator") as caught:
        backend.sign_upload(GRANT, now())
    assert "a-token" not in str(caught.value)
    assert caught.value.__suppress_context__
    with pytest.raises(ConfigurationError, match=r"roles/iam\.serviceAccountTokenCreator"):
        backend.check()


def test_a_signature_that_takes_too_long_is_an_error_in_time(
    gcs: Reference, iam: Iam, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam.delay_seconds = 1.0
    monkeypatch.setattr(gcs_module, "SIGN_BLOB_SECONDS", 0.2)
    backend = workload(gcs)
    started = time.monotonic()
    with pytest.raises(CredentialsUnavailable, match=r"did not sign within 0\.2 seconds"):
        backend.sign_upload(GRANT, now())
    assert time.monotonic() - started < 0.9


def test_what_another_signer_raises_becomes_credentials_unavailable(gcs: Reference) -> None:
    def fail(message: bytes) -> bytes:
        raise TransportError("the token a-token was refused")  # type: ignore[no-untyped-call]

    backend = gcs.backend("sign_blob", credentials=RemoteSigner(gcs.info, sign=fail))
    with pytest.raises(CredentialsUnavailable, match="TransportError") as caught:
        backend.sign_download("k", now(), expires_in=timedelta(minutes=1))
    assert "a-token" not in str(caught.value)


def test_credentials_that_name_no_service_account_ask_for_its_email(gcs: Reference) -> None:
    with pytest.raises(ConfigurationError, match="set service_account_email"):
        workload(gcs, service_account_email=None)


def test_a_lifetime_ends_after_twelve_hours_with_sign_blob_and_is_refused_after_seven_days_with_any_key(
    gcs: Reference, kind: str, method: str
) -> None:
    backend = gcs.backend(kind, upload_method=method)
    moment = now()
    start = moment.replace(microsecond=0)
    signed = backend.sign_upload(replace(GRANT, expires_in=timedelta(days=7)), moment)
    longest = SIGN_BLOB_LIFETIME if kind == "sign_blob" else timedelta(days=7)
    assert signed.expires_at == start + longest
    url = backend.sign_download("k", moment, expires_in=timedelta(days=7))
    assert f"X-Goog-Expires={int(longest.total_seconds())}&" in url
    for lifetime in (timedelta(days=8), timedelta(milliseconds=999)):
        if kind == "sign_blob" and lifetime > longest:
            continue
        with pytest.raises(ConfigurationError, match="604800"):
            backend.sign_upload(replace(GRANT, expires_in=lifetime), moment)
        with pytest.raises(ConfigurationError, match="604800"):
            backend.sign_download("k", moment, expires_in=lifetime)


# check().


def test_check_passes_where_all_is_well(gcs: Reference, kind: str) -> None:
    gcs.backend(kind).check()


def test_check_names_a_bucket_that_does_not_exist(gcs: Reference, kind: str) -> None:
    with pytest.raises(ConfigurationError, match="the bucket missing does not exist") as caught:
        gcs.backend(kind, bucket="missing").check()
    assert caught.value.field == "bucket"


def test_check_names_a_service_account_that_google_no_longer_trusts(gcs: Reference, other_pem: dict[str, str]) -> None:
    info = gcs.info | {"private_key": other_pem["rsa"]}
    with pytest.raises(ConfigurationError, match="refuses the signing key") as caught:
        gcs.backend("rsa", credentials=info).check()
    assert caught.value.field == "credentials"
    assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.detail
    with pytest.raises(ConfigurationError, match="expired, disabled or deleted") as caught:
        gcs.backend("hmac", credentials=info).check()
    assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.detail


@pytest.mark.parametrize("change", [{"hmac_secret": "another-secret"}, {"hmac_access_id": "GOOG1EUNKNOWN"}])
def test_check_names_an_hmac_key_that_google_does_not_know(gcs: Reference, change: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="hmac_access_id and hmac_secret") as caught:
        gcs.backend("hmac", **change).check()
    assert caught.value.field == "hmac_access_id"
    assert not set(change.values()) & set(str(caught.value).split())


@pytest.mark.parametrize("minutes", [-16, 16])
def test_check_names_a_clock_that_is_sixteen_minutes_off(gcs: Reference, minutes: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(404)
            self.send_header("Date", format_datetime(now() + timedelta(minutes=minutes), usegmt=True))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with http_server(Handler) as url, pytest.raises(ConfigurationError, match="clock") as caught:
        gcs.backend("hmac", endpoint_url=url).check()
    assert caught.value.field == "clock"


def test_check_says_that_nothing_answers(gcs: Reference, kind: str) -> None:
    with pytest.raises(StorageUnavailable, match="does not answer"):
        gcs.backend(kind, endpoint_url="http://127.0.0.1:9").check()


def test_a_server_that_answers_errors_is_unavailable_within_bounds(
    gcs: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_DELETE = do_GET  # noqa: N815  (the standard library's name)

        def log_message(self, *arguments: object) -> None:
            pass

    monkeypatch.setattr(gcs_module, "_RETRY", gcs_module._RETRY.with_timeout(0.5))
    with http_server(Handler) as url:
        backend = gcs.backend("hmac", endpoint_url=url, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        calls: list[Callable[[], object]] = [
            backend.check,
            lambda: backend.head("k"),
            lambda: backend.read("k", offset=0, length=1, etag="e"),
            lambda: backend.delete("k"),
        ]
        for call in calls:
            with pytest.raises(StorageUnavailable):
                call()


# URLs of backends.


def test_a_url_gives_the_backend_and_the_prefix(gcs: Reference) -> None:
    backend, prefix = open_gcs(
        f"gs://{BUCKET}/public/in-here/?credentials={gcs.account}&endpoint_url={gcs.url}&upload_method=put"
    )
    assert (backend.name, prefix) == (f"gs://{BUCKET}", "public/in-here/")
    signed = backend.sign_upload(GRANT, now())
    assert (signed.method, signed.url.split("?")[0]) == ("PUT", f"{gcs.url}/{BUCKET}/{GRANT.key}")
    backend, prefix = open_gcs(f"gs://{BUCKET}/p/?credentials={gcs.account}&virtual_hosted_style=true")
    assert backend.object_url("p/k") == f"https://{BUCKET}.storage.googleapis.com/p/k"
    backend, prefix = open_gcs(f"gs://{BUCKET}/p/?credentials={gcs.account}&bucket_bound_hostname=cdn.example.com")
    assert backend.object_url("p/k") == "https://cdn.example.com/p/k"


@pytest.mark.parametrize(
    ("rest", "complaint"),
    [
        ("s3://uploads/p/", "must look like gs://"),
        ("gs:///p/", "must look like gs://"),
        ("gs://key@uploads/p/", "must look like gs://"),
        ("gs://uploads/p/#x", "must look like gs://"),
        ("gs://uploads/p/?upload_method", "name=value"),
        ("gs://uploads/p/?hmac_secret=x", "and nothing else"),
        ("gs://uploads/p/?upload_method=put&upload_method=post", "and nothing else"),
        ("gs://uploads/p/?upload_method=", "and nothing else"),
        ("gs://uploads/p/?virtual_hosted_style=yes", "true or false"),
        ("gs://uploads/p/?upload_method=patch", "auto, post or put"),
    ],
)
def test_a_url_with_anything_unknown_is_refused(rest: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        open_gcs(rest)


# Secrets.


def test_no_repr_shows_what_signs_or_what_was_signed(gcs: Reference, kind: str, method: str) -> None:
    backend = gcs.backend(kind, upload_method=method)
    signed = backend.sign_upload(EVERYTHING, now())
    shown = " ".join(map(repr, [backend, backend._signer, backend._signer.scope("20260101"), signed]))
    granting = ("policy", "x-goog-signature", "x-goog-credential", "x-goog-date")
    fields = [signed.fields[name] for name in granting if name in signed.fields]
    secrets = [HMAC_SECRET, gcs.info["private_key"], "PRIVATE KEY", "Signature=", *fields]
    assert not [secret for secret in secrets if secret in shown]


def test_signing_and_reading_from_many_threads_at_once_is_safe(gcs: Reference, kind: str) -> None:
    backend = gcs.backend(kind)

    def round_trip(number: int) -> bool:
        key = f"public/{number}"
        uploaded(backend, replace(GRANT, key=key))
        head = backend.head(key)
        return head is not None and backend.read(key, offset=0, length=4, etag=head.etag) == PNG[:4]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(round_trip, range(40)))
