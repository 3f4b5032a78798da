"""The GCS reference admits what the Google SDK signs, the same with HMAC keys, and neither with one thing changed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import httpx
import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.auth import jwt
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import RefreshError
from google.cloud import storage  # type: ignore[import-untyped]
from google.oauth2 import service_account

from emulators.gcs_accounts import generate_credentials, trusted_account
from emulators.gcs_bucket import GcsBucket
from emulators.gcs_reference import GcsReference, page_rule
from emulators.serving import serve, settle
from emulators.wire import Answer, Attempt, Form, Part, send, send_and_hang_up

ACCESS_ID, SECRET = "GOOG1EREFERENCE0000001", "an-hmac-secret-of-the-tests"
PAGE = "http://localhost:8080"
KEY = "public/ab/cat.png"
BODY = b"0123456789abcdefghij"
MD5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()
OTHER_MD5 = base64.b64encode(hashlib.md5(b"other").digest()).decode()
MIN_BYTES, MAX_BYTES = 10, 100

DENIED = (403, "AccessDenied")
MISMATCH = (403, "SignatureDoesNotMatch")
MALFORMED = (400, "MalformedSecurityHeader")
INVALID_ARGUMENT = (400, "InvalidArgument")
INVALID_POLICY = (400, "InvalidPolicyDocument")
EXPIRED = (400, "ExpiredToken")
TOO_EARLY = (403, "RequestTimeTooSkewed")

PUT_HEADERS = {
    "Content-Type": "image/png",
    "Content-MD5": MD5,
    "Cache-Control": "max-age=60",
    "x-goog-content-length-range": f"{MIN_BYTES},{MAX_BYTES}",
    "x-goog-if-generation-match": "0",
    "x-goog-meta-owner": "alice",
}
FORM_FIELDS = {
    "Content-Type": "image/png",
    "Cache-Control": "max-age=60",
    "success_action_status": "201",
    "x-goog-meta-owner": "alice",
}
SIZES = ["content-length-range", MIN_BYTES, MAX_BYTES]


class Clock:
    """The server's time: the real one until a test sets it."""

    def __init__(self) -> None:
        self.at: datetime | None = None

    def __call__(self) -> datetime:
        return self.at or datetime.now(timezone.utc)


class Signer(Protocol):
    """Someone who may upload, whatever the key."""

    @property
    def key_id(self) -> str: ...

    def url(
        self, method: str, key: str = KEY, *, headers: Mapping[str, str], query: Mapping[str, str], seconds: int
    ) -> str: ...

    def form(self, key: str, fields: Mapping[str, str], conditions: list[Any]) -> tuple[str, dict[str, str]]: ...

    def signature(self, text: str, date: str) -> str: ...


@dataclass(frozen=True, kw_only=True)
class SdkSigner:
    """Signs with google-cloud-storage and a service account's RSA key."""

    client: Any
    key_id: str

    def url(
        self, method: str, key: str = KEY, *, headers: Mapping[str, str], query: Mapping[str, str], seconds: int
    ) -> str:
        signed: str = (
            self.client.bucket("uploads")
            .blob(key)
            .generate_signed_url(
                version="v4",
                expiration=timedelta(seconds=seconds),
                method=method,
                headers=dict(headers),
                query_parameters=dict(query),
            )
        )
        return signed

    def form(self, key: str, fields: Mapping[str, str], conditions: list[Any]) -> tuple[str, dict[str, str]]:
        signed = self.client.generate_signed_post_policy_v4(
            "uploads", key, expiration=timedelta(seconds=60), conditions=list(conditions), fields=dict(fields)
        )
        return signed["url"], signed["fields"]

    def signature(self, text: str, date: str) -> str:
        raw: bytes = self.client._credentials.sign_bytes(text.encode())
        return raw.hex()


@dataclass(frozen=True, kw_only=True)
class HmacSigner:
    """Signs with an HMAC key as Cloud Storage's "V4 signing process" says; the SDK signs with RSA only."""

    base_url: str
    key_id: str = ACCESS_ID
    algorithm: str = "GOOG4-HMAC-SHA256"

    def url(
        self, method: str, key: str = KEY, *, headers: Mapping[str, str], query: Mapping[str, str], seconds: int
    ) -> str:
        date = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        signed = {"host": urlsplit(self.base_url).netloc, **{name.lower(): value for name, value in headers.items()}}
        names = sorted(signed)
        parameters = {
            **query,
            "X-Goog-Algorithm": self.algorithm,
            "X-Goog-Credential": f"{self.key_id}/{date[:8]}/auto/storage/goog4_request",
            "X-Goog-Date": date,
            "X-Goog-Expires": str(seconds),
            "X-Goog-SignedHeaders": ";".join(names),
        }
        path = f"/uploads/{quote(key, safe='/~')}"
        canonical_query = "&".join(f"{n}={quote(v, safe='')}" for n, v in sorted(parameters.items()))
        canonical_headers = "".join(f"{name}:{signed[name]}\n" for name in names)
        request = f"{method}\n{path}\n{canonical_query}\n{canonical_headers}\n{';'.join(names)}\nUNSIGNED-PAYLOAD"
        scope = f"{date[:8]}/auto/storage/goog4_request"
        text = f"{self.algorithm}\n{date}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        return f"{self.base_url}{path}?{canonical_query}&X-Goog-Signature={self.signature(text, date)}"

    def form(self, key: str, fields: Mapping[str, str], conditions: list[Any]) -> tuple[str, dict[str, str]]:
        now = datetime.now(timezone.utc)
        date = now.strftime("%Y%m%dT%H%M%SZ")
        signed = {
            **fields,
            "key": key,
            "x-goog-algorithm": self.algorithm,
            "x-goog-credential": f"{self.key_id}/{date[:8]}/auto/storage/goog4_request",
            "x-goog-date": date,
        }
        document = {
            "conditions": [*conditions, {"bucket": "uploads"}, *({name: value} for name, value in signed.items())],
            "expiration": (now + timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        policy = base64.b64encode(json.dumps(document).encode()).decode()
        return f"{self.base_url}/uploads/", {
            **signed,
            "policy": policy,
            "x-goog-signature": self.signature(policy, date),
        }

    def signature(self, text: str, date: str) -> str:
        key = f"GOOG4{SECRET}".encode()
        for part in (date[:8], "auto", "storage", "goog4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A running server, what it holds, and those who may sign for it."""

    url: str
    app: GcsReference
    clock: Clock
    client: Any
    signers: Mapping[str, Signer]

    @property
    def objects(self) -> dict[str, Any]:
        return self.app.buckets["uploads"].objects


def sdk_client(url: str, credentials: Any) -> Any:
    return storage.Client(project="reference", credentials=credentials, client_options={"api_endpoint": url})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    account = tmp_path_factory.mktemp("gcs") / "account.json"
    generate_credentials(account, token_uri="http://unknown.invalid/token")
    clock = Clock()
    app = GcsReference(
        buckets={"uploads": GcsBucket(cors=(page_rule(PAGE),), public_prefix="public/"), "other": GcsBucket()},
        service_accounts=trusted_account(account),
        hmac_keys={ACCESS_ID: SECRET},
        bearer_tokens=frozenset({"a-token"}),
        clock=clock,
        custom_domains={"cdn.invalid": "uploads"},
    )
    with serve(app) as url:
        generate_credentials(account, token_uri=f"{url}/token")
        credentials = service_account.Credentials.from_service_account_file(str(account))  # type: ignore[no-untyped-call]
        client = sdk_client(url, credentials)
        signers: dict[str, Signer] = {
            "rsa": SdkSigner(client=client, key_id=credentials.signer_email),
            "hmac": HmacSigner(base_url=url),
        }
        yield Reference(url=url, app=app, clock=clock, client=client, signers=signers)


@pytest.fixture
def gcs(running: Reference) -> Reference:
    settle(running.url)
    running.clock.at = None
    for bucket in running.app.buckets.values():
        bucket.objects.clear()
    return running


@pytest.fixture(params=["rsa", "hmac"])
def signer(request: pytest.FixtureRequest, gcs: Reference) -> Signer:
    return gcs.signers[request.param]


def signed_put(signer: Signer, key: str = KEY, **headers: str) -> Attempt:
    """A PUT with type, MD5, size range, create-only, metadata and cache control signed, or with the headers given."""
    signed = {name.replace("_", "-"): value for name, value in headers.items()} or PUT_HEADERS
    url = signer.url("PUT", key, headers=signed, query={}, seconds=60)
    return Attempt(method="PUT", url=url, headers=tuple(signed.items()), body=BODY)


def signed_get(signer: Signer, key: str = KEY, method: str = "GET") -> Attempt:
    query = {"response-content-disposition": 'attachment; filename="cat 1.png"'} if method == "GET" else {}
    return Attempt(method=method, url=signer.url(method, key, headers={}, query=query, seconds=60))


def signed_form(signer: Signer, *conditions: Any, key: str = KEY, body: bytes = BODY) -> Form:
    """A form with exact type, 10 to 100 bytes, metadata, cache control and answer 201."""
    url, fields = signer.form(key, FORM_FIELDS, [SIZES, *conditions])
    return Form.of(url, fields, body)


def signed_at(date: str) -> datetime:
    return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)


def changed(signature: str) -> str:
    return ("0" if signature[0] != "0" else "1") + signature[1:]


def policy_of(form: Form) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(base64.b64decode(form.field("policy")))
    return document


def resigned(form: Form, signer: Signer, policy: bytes) -> Form:
    encoded = base64.b64encode(policy).decode()
    signature = signer.signature(encoded, form.field("x-goog-date"))
    return form.with_field("policy", encoded).with_field("x-goog-signature", signature)


# What is signed properly is admitted.


def test_a_signed_form_is_stored_with_its_type_and_metadata(gcs: Reference, signer: Signer) -> None:
    answer = send(signed_form(signer))
    assert answer.status == 201
    assert f"<Location>{gcs.url}/uploads/{KEY}</Location>".encode() in answer.body
    stored = gcs.objects[KEY]
    assert (stored.body, stored.content_type, stored.cache_control) == (BODY, "image/png", "max-age=60")
    assert stored.metadata == {"owner": "alice"}


@pytest.mark.parametrize("size", [MIN_BYTES, MAX_BYTES])
def test_uploads_of_either_limit_of_the_size_range_are_stored(gcs: Reference, signer: Signer, size: int) -> None:
    assert send(signed_form(signer, body=b"x" * size)).status == 201
    put = signed_put(signer, "private/x", x_goog_content_length_range=f"{MIN_BYTES},{MAX_BYTES}")
    assert send(put.with_body(b"x" * size)).status == 200
    assert [len(stored.body) for stored in gcs.objects.values()] == [size, size]


def test_a_form_with_a_redirect_is_answered_with_303_to_it(signer: Signer) -> None:
    url, fields = signer.form(KEY, {"success_action_redirect": "http://localhost:8080/done"}, [])
    answer = send(Form.of(url, fields, BODY))
    assert answer.status == 303
    assert answer.headers["location"].startswith("http://localhost:8080/done?bucket=uploads&key=public%2Fab%2Fcat.png")


def test_the_file_name_variable_in_a_key_becomes_the_files_name(gcs: Reference, signer: Signer) -> None:
    url, fields = signer.form("public/${filename}", {}, [["starts-with", "$key", "public/"]])
    form = Form.of(url, fields, BODY, file_name="../secret/dog.png")
    document = policy_of(form)
    document["conditions"] = [item for item in document["conditions"] if item != {"key": "public/${filename}"}]
    assert send(resigned(form, signer, json.dumps(document).encode())).status == 204
    assert list(gcs.objects) == ["public/dog.png"]


def test_fields_that_need_no_condition_and_fields_after_the_file_are_ignored(gcs: Reference, signer: Signer) -> None:
    form = signed_form(signer).with_first_field("x-ignore-me", "1")
    assert send(form.with_last_part(Part(name="x-goog-meta-late", value=b"1"))).status == 201
    assert gcs.objects[KEY].metadata == {"owner": "alice"}


def test_a_signed_put_is_stored_and_answers_with_generation_and_hashes(gcs: Reference, signer: Signer) -> None:
    answer = send(signed_put(signer))
    stored = gcs.objects[KEY]
    assert (answer.status, answer.headers["x-goog-generation"]) == (200, str(stored.generation))
    assert answer.headers["x-goog-hash"] == f"crc32c={stored.crc32c},md5={MD5}"
    assert (stored.body, stored.content_type, stored.metadata) == (BODY, "image/png", {"owner": "alice"})


def test_a_put_sent_in_chunks_is_stored(gcs: Reference, signer: Signer) -> None:
    put = signed_put(signer).with_header("Transfer-Encoding", "chunked")
    assert send(put.with_body(b"14\r\n" + BODY + b"\r\n0\r\n\r\n")).status == 200
    assert gcs.objects[KEY].body == BODY


@pytest.mark.parametrize(
    "key", ["public/a b+c~(1)*'!.png", "public/ü/日本.png", "public//a/./b", "public/100%25 &=?#@:"]
)
def test_odd_names_are_stored_and_read_back_under_their_own_name(gcs: Reference, signer: Signer, key: str) -> None:
    assert send(signed_put(signer, key, content_type="image/png")).status == 200
    assert list(gcs.objects) == [key]
    assert send(signed_get(signer, key)).body == BODY


def test_signed_get_head_and_delete_read_and_remove(gcs: Reference, signer: Signer) -> None:
    send(signed_put(signer, "private/x", content_type="image/png"))
    answer = send(signed_get(signer, "private/x"))
    assert (answer.body, answer.headers["content-disposition"]) == (BODY, 'attachment; filename="cat 1.png"')
    part = send(signed_get(signer, "private/x").with_header("Range", "bytes=-3"))
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"hij", "bytes 17-19/20")
    head = send(signed_get(signer, "private/x", "HEAD"))
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "20")
    assert send(signed_get(signer, "private/x", "DELETE")).status == 204
    assert send(signed_get(signer, "private/x")).outcome == (404, "NoSuchKey")


def test_anybody_reads_the_public_prefix_and_nothing_else(gcs: Reference, signer: Signer) -> None:
    send(signed_put(signer))
    send(signed_put(signer, "private/x", content_type="image/png"))
    assert send(Attempt(method="GET", url=f"{gcs.url}/uploads/{KEY}")).body == BODY
    assert send(Attempt(method="GET", url=f"{gcs.url}/uploads/private/x")).outcome == DENIED
    assert send(Attempt(method="GET", url=f"{gcs.url}/uploads/public/none")).outcome == DENIED


@pytest.mark.parametrize("host", ["uploads.localhost:4443", "cdn.invalid"])
def test_a_bucket_is_also_addressed_by_host_name(gcs: Reference, signer: Signer, host: str) -> None:
    send(signed_put(signer))
    assert send(Attempt(method="GET", url=f"{gcs.url}/{KEY}", headers=(("Host", host),))).body == BODY


def test_the_size_range_binds_as_a_header_and_not_as_a_query_parameter(gcs: Reference, signer: Signer) -> None:
    url = signer.url("PUT", headers={}, query={"x-goog-content-length-range": "1,2"}, seconds=60)
    assert send(Attempt(method="PUT", url=url, body=BODY)).status == 200
    assert gcs.objects[KEY].body == BODY


# The same with one thing changed is refused.

FORM_TAMPERINGS: list[Any] = [
    pytest.param(lambda f: f.with_field("key", "public/other.png"), INVALID_POLICY, id="key"),
    pytest.param(lambda f: f.with_field("key", "public/${filename}"), INVALID_POLICY, id="key with variable"),
    pytest.param(lambda f: f.with_field("key", ""), INVALID_ARGUMENT, id="key empty"),
    pytest.param(lambda f: f.with_field("Content-Type", "text/html"), INVALID_POLICY, id="content type"),
    pytest.param(lambda f: f.with_field("Content-Type", "image/png,text/html"), INVALID_POLICY, id="content type list"),
    pytest.param(lambda f: f.with_field("Cache-Control", "no-store"), INVALID_POLICY, id="cache control"),
    pytest.param(lambda f: f.with_field("success_action_status", "200"), INVALID_POLICY, id="success status"),
    pytest.param(lambda f: f.with_field("x-goog-meta-owner", "mallory"), INVALID_POLICY, id="metadata"),
    pytest.param(lambda f: f.with_field("x-goog-algorithm", "GOOG4-RSA-SHA1"), INVALID_ARGUMENT, id="algorithm"),
    pytest.param(
        lambda f: f.with_field("x-goog-credential", "nobody" + f.field("x-goog-credential")),
        (403, "InvalidSecurity"),
        id="key id",
    ),
    pytest.param(
        lambda f: f.with_field("x-goog-credential", f.field("x-goog-credential").replace("/storage/", "/iam/")),
        INVALID_ARGUMENT,
        id="scope service",
    ),
    pytest.param(
        lambda f: f.with_field("x-goog-credential", f.field("x-goog-credential").replace("goog4", "aws4")),
        INVALID_ARGUMENT,
        id="scope terminator",
    ),
    pytest.param(
        lambda f: f.with_field("x-goog-credential", f.field("x-goog-credential").replace("/20", "/19")),
        INVALID_ARGUMENT,
        id="scope date",
    ),
    pytest.param(lambda f: f.with_field("x-goog-date", "19990101T000000Z"), INVALID_ARGUMENT, id="date"),
    pytest.param(lambda f: f.with_field("x-goog-date", "yesterday"), INVALID_ARGUMENT, id="date malformed"),
    pytest.param(
        lambda f: f.with_field("x-goog-signature", changed(f.field("x-goog-signature"))), MISMATCH, id="signature"
    ),
    pytest.param(
        lambda f: f.with_field("x-goog-signature", f.field("x-goog-signature").upper()),
        MISMATCH,
        id="signature in capitals",
    ),
    pytest.param(lambda f: f.with_field("x-goog-signature", "zz"), MISMATCH, id="signature that is no hexadecimal"),
    pytest.param(lambda f: f.with_field("policy", changed(f.field("policy"))), MISMATCH, id="policy bytes"),
    *(
        pytest.param(lambda f, name=name: f.without_field(name), outcome, id=f"without {name}")
        for name, outcome in (
            ("key", INVALID_ARGUMENT),
            ("Content-Type", INVALID_POLICY),
            ("Cache-Control", INVALID_POLICY),
            ("x-goog-meta-owner", INVALID_POLICY),
            ("success_action_status", INVALID_POLICY),
            ("policy", DENIED),
            ("x-goog-algorithm", INVALID_ARGUMENT),
            ("x-goog-credential", INVALID_ARGUMENT),
            ("x-goog-date", INVALID_ARGUMENT),
            ("x-goog-signature", INVALID_ARGUMENT),
            ("file", (400, "IncorrectNumberOfFilesInPostRequest")),
        )
    ),
    *(
        pytest.param(
            lambda f, name=name, v=value: f.with_first_field(name, v), INVALID_POLICY, id=f"extra field {name}"
        )
        for name, value in (
            ("acl", "public-read"),
            ("x-goog-acl", "public-read"),
            ("x-goog-meta-extra", "1"),
            ("Content-Disposition", "inline"),
            ("Content-Encoding", "gzip"),
            ("success_action_redirect", "http://localhost/"),
            ("bucket", "other"),
        )
    ),
    pytest.param(lambda f: f.with_first_field("key", KEY), INVALID_ARGUMENT, id="key twice"),
    pytest.param(lambda f: f.with_field_after_file("Content-Type"), INVALID_POLICY, id="content type after the file"),
    pytest.param(
        lambda f: f.with_field_after_file("x-goog-signature"), INVALID_ARGUMENT, id="signature after the file"
    ),
    pytest.param(
        lambda f: f.with_last_part(Part(name="file", value=BODY, file_name="b.png")),
        (400, "IncorrectNumberOfFilesInPostRequest"),
        id="two file parts",
    ),
    pytest.param(lambda f: f.with_field("file", b""), (400, "EntityTooSmall"), id="size 0"),
    pytest.param(lambda f: f.with_field("file", b"x" * (MIN_BYTES - 1)), (400, "EntityTooSmall"), id="size min-1"),
    pytest.param(lambda f: f.with_field("file", b"x" * (MAX_BYTES + 1)), (400, "EntityTooLarge"), id="size max+1"),
    pytest.param(
        lambda f: Form(url=f.url.replace("/uploads", "/other"), parts=f.parts), INVALID_POLICY, id="other bucket"
    ),
    pytest.param(
        lambda f: Form(url=f.url.replace("/uploads", "/none"), parts=f.parts),
        (404, "NoSuchBucket"),
        id="missing bucket",
    ),
    pytest.param(lambda f: f.attempt().with_method("PUT"), (405, "MethodNotAllowed"), id="other method"),
    pytest.param(
        lambda f: f.attempt().with_body(f.attempt().body[:-30]),
        (400, "MalformedPOSTRequest"),
        id="form without its end",
    ),
]


@pytest.mark.parametrize(("tamper", "outcome"), FORM_TAMPERINGS)
def test_a_form_with_one_thing_changed_is_refused_and_nothing_is_stored(
    gcs: Reference, signer: Signer, tamper: Callable[[Form], Form | Attempt], outcome: tuple[int, str]
) -> None:
    assert send(tamper(signed_form(signer))).outcome == outcome
    assert not any(bucket.objects for bucket in gcs.app.buckets.values())


def test_a_form_is_admitted_until_its_expiry_and_refused_one_second_later(gcs: Reference, signer: Signer) -> None:
    form = signed_form(signer)
    expires_at = datetime.fromisoformat(policy_of(form)["expiration"].replace("Z", "+00:00"))
    gcs.clock.at = expires_at + timedelta(seconds=1)
    assert send(form).outcome == INVALID_POLICY
    gcs.clock.at = expires_at
    assert send(form).status == 201


def test_a_form_signed_more_than_15_minutes_ahead_is_not_yet_valid(gcs: Reference, signer: Signer) -> None:
    form = signed_form(signer)
    gcs.clock.at = signed_at(form.field("x-goog-date")) - timedelta(minutes=15, seconds=1)
    assert send(form).outcome == TOO_EARLY
    gcs.clock.at += timedelta(seconds=1)
    assert send(form).status == 201


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param(["ends-with", "$key", ".png"], id="unknown operator"),
        pytest.param(["eq", "key", KEY], id="field without a dollar"),
        pytest.param(["content-length-range", "1", "10"], id="size as text"),
        pytest.param(["content-length-range", 10, 1], id="size range upside down"),
        pytest.param({"key": 1}, id="value is a number"),
        pytest.param("key", id="text"),
    ],
)
def test_a_policy_with_an_unknown_condition_form_is_refused_even_if_signed(
    gcs: Reference, signer: Signer, condition: Any
) -> None:
    assert send(signed_form(signer, condition)).outcome == INVALID_POLICY
    assert gcs.objects == {}


def test_a_policy_without_a_bucket_condition_is_refused_even_if_signed(gcs: Reference, signer: Signer) -> None:
    form = signed_form(signer)
    document = policy_of(form)
    document["conditions"] = [item for item in document["conditions"] if item != {"bucket": "uploads"}]
    assert send(resigned(form, signer, json.dumps(document).encode())).outcome == INVALID_POLICY
    assert gcs.objects == {}


def test_an_upload_larger_than_allowed_is_not_kept_beyond_the_limit(gcs: Reference, signer: Signer) -> None:
    put = signed_put(signer, x_goog_content_length_range=f"{MIN_BYTES},{MAX_BYTES}").with_body(b"x" * 8_000_000)
    for request in (put, signed_form(signer, body=put.body)):
        assert send(request).outcome == (400, "EntityTooLarge")
        assert gcs.app.latest_upload is not None
        assert len(gcs.app.latest_upload.body) <= MAX_BYTES


PUT_TAMPERINGS: list[Any] = [
    pytest.param(lambda a: a.with_path("/uploads/public/other.png"), MISMATCH, id="name"),
    pytest.param(lambda a: a.with_path("/uploads/public%2Fab%252Fcat.png"), MISMATCH, id="name quoted twice"),
    pytest.param(lambda a: a.with_path(f"/other/{KEY}"), MISMATCH, id="bucket"),
    pytest.param(lambda a: a.with_header("Content-Type", "text/html"), MISMATCH, id="content type"),
    pytest.param(lambda a: a.with_another_header("Content-Type", "text/html"), MISMATCH, id="content type twice"),
    pytest.param(lambda a: a.with_header("Content-MD5", OTHER_MD5), MISMATCH, id="MD5"),
    pytest.param(lambda a: a.with_header("Cache-Control", "no-store"), MISMATCH, id="cache control"),
    pytest.param(lambda a: a.with_header("x-goog-content-length-range", "0,1000"), MISMATCH, id="size range"),
    pytest.param(lambda a: a.with_header("x-goog-if-generation-match", "1"), MISMATCH, id="generation match"),
    pytest.param(lambda a: a.with_header("x-goog-meta-owner", "mallory"), MISMATCH, id="metadata"),
    pytest.param(lambda a: a.with_header("Host", "localhost:1"), MISMATCH, id="host"),
    *(
        pytest.param(lambda a, name=name: a.without_header(name), MALFORMED, id=f"without {name}")
        for name in PUT_HEADERS
    ),
    *(
        pytest.param(lambda a, name=name, v=value: a.with_header(name, v), MALFORMED, id=f"extra header {name}")
        for name, value in (
            ("x-goog-acl", "public-read"),
            ("x-goog-meta-extra", "1"),
            ("x-goog-storage-class", "ARCHIVE"),
            ("x-goog-content-sha256", "UNSIGNED-PAYLOAD"),
            ("x-goog-copy-source", "/uploads/private/x"),
            ("x-goog-resumable", "start"),
            ("x-amz-acl", "public-read"),
        )
    ),
    pytest.param(lambda a: a.with_body(b""), (400, "EntityTooSmall"), id="size 0"),
    pytest.param(lambda a: a.with_body(BODY[: MIN_BYTES - 1]), (400, "EntityTooSmall"), id="size min-1"),
    pytest.param(lambda a: a.with_body(b"x" * (MAX_BYTES + 1)), (400, "EntityTooLarge"), id="size max+1"),
    pytest.param(lambda a: a.with_body(BODY[::-1]), (400, "BadDigest"), id="other bytes of the same size"),
    pytest.param(lambda a: a.with_method("POST"), (405, "MethodNotAllowed"), id="method POST"),
    pytest.param(lambda a: a.with_method("DELETE"), MISMATCH, id="method DELETE"),
    pytest.param(lambda a: a.with_method("GET"), MISMATCH, id="method GET"),
    pytest.param(lambda a: a.with_parameter("X-Goog-Algorithm", "GOOG4-RSA-SHA1"), MALFORMED, id="algorithm"),
    pytest.param(
        lambda a: a.with_parameter("X-Goog-Credential", "nobody" + a.parameter("X-Goog-Credential")),
        (403, "InvalidSecurity"),
        id="key id",
    ),
    pytest.param(
        lambda a: a.with_parameter("X-Goog-Credential", a.parameter("X-Goog-Credential").replace("/auto/", "/eu/")),
        MISMATCH,
        id="scope location",
    ),
    pytest.param(
        lambda a: a.with_parameter("X-Goog-Credential", a.parameter("X-Goog-Credential").replace("/storage/", "/s3/")),
        MALFORMED,
        id="scope service",
    ),
    pytest.param(
        lambda a: a.with_parameter("X-Goog-Credential", a.parameter("X-Goog-Credential").replace("/20", "/19")),
        MALFORMED,
        id="scope date",
    ),
    pytest.param(
        lambda a: a.with_parameter("X-Goog-Date", (signed_at(a.parameter("X-Goog-Date"))).strftime("%Y%m%dT%H%MZ")),
        MALFORMED,
        id="date malformed",
    ),
    pytest.param(lambda a: a.with_parameter("X-Goog-Expires", "61"), MISMATCH, id="expires one more"),
    pytest.param(lambda a: a.with_parameter("X-Goog-Expires", "0"), MALFORMED, id="expires 0"),
    pytest.param(lambda a: a.with_parameter("X-Goog-Expires", "604801"), MALFORMED, id="expires over a week"),
    pytest.param(
        lambda a: a.with_parameter(
            "X-Goog-SignedHeaders", a.parameter("X-Goog-SignedHeaders").replace("cache-control;", "")
        ),
        MISMATCH,
        id="signed header less",
    ),
    pytest.param(
        lambda a: a.with_parameter("X-Goog-SignedHeaders", a.parameter("X-Goog-SignedHeaders").replace("host;", "")),
        MALFORMED,
        id="host not signed",
    ),
    pytest.param(
        lambda a: a.with_parameter("X-Goog-Signature", changed(a.parameter("X-Goog-Signature"))),
        MISMATCH,
        id="signature",
    ),
    *(
        pytest.param(lambda a, name=name: a.without_parameter(f"X-Goog-{name}"), MALFORMED, id=f"without {name}")
        for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
    ),
    pytest.param(lambda a: a.with_another_parameter("X-Goog-Expires", "9"), MALFORMED, id="expires twice"),
    pytest.param(lambda a: a.with_another_parameter("userProject", "x"), MISMATCH, id="extra parameter"),
    pytest.param(
        lambda a: Attempt(method="PUT", url=a.url.partition("?")[0], headers=a.headers[:1], body=BODY),
        DENIED,
        id="no signature at all",
    ),
]


@pytest.mark.parametrize(("tamper", "outcome"), PUT_TAMPERINGS)
def test_a_put_with_one_thing_changed_is_refused_and_nothing_is_stored(
    gcs: Reference, signer: Signer, tamper: Callable[[Attempt], Attempt], outcome: tuple[int, str]
) -> None:
    assert send(tamper(signed_put(signer))).outcome == outcome
    assert not any(bucket.objects for bucket in gcs.app.buckets.values())


def test_a_signature_of_one_key_does_not_pass_for_another(gcs: Reference) -> None:
    put = signed_put(gcs.signers["hmac"])
    as_rsa = put.with_parameter("X-Goog-Algorithm", "GOOG4-RSA-SHA256")
    assert send(as_rsa).outcome == MISMATCH
    account = gcs.signers["rsa"].key_id
    assert (
        send(
            put.with_parameter("X-Goog-Credential", put.parameter("X-Goog-Credential").replace(ACCESS_ID, account))
        ).outcome
        == MISMATCH
    )
    assert gcs.objects == {}


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        pytest.param({"content_md5": "x"}, (400, "InvalidDigest"), id="MD5 that is none"),
        pytest.param({"content_md5": OTHER_MD5}, (400, "BadDigest"), id="MD5 of other bytes"),
        pytest.param({"x_goog_hash": "crc32c=AAAAAA=="}, (400, "BadDigest"), id="CRC32C of other bytes"),
        pytest.param({"x_goog_hash": f"md5={OTHER_MD5}"}, (400, "BadDigest"), id="hash of other bytes"),
        pytest.param({"x_goog_hash": "sha9=AAAA"}, (400, "InvalidDigest"), id="unknown hash"),
        pytest.param({"x_goog_content_length_range": "10"}, INVALID_ARGUMENT, id="range with one end"),
        pytest.param({"x_goog_content_length_range": "9,1"}, INVALID_ARGUMENT, id="range upside down"),
        pytest.param({"x_goog_if_generation_match": "*"}, INVALID_ARGUMENT, id="generation that is no number"),
        pytest.param(
            {"x_goog_if_generation_match": "7"}, (412, "PreconditionFailed"), id="generation that is not there"
        ),
        pytest.param(
            {"x_goog_content_sha256": "0" * 64}, (403, "SignatureDoesNotMatch"), id="payload hash not signed for"
        ),
    ],
)
def test_a_signed_put_of_the_wrong_bytes_or_of_nonsense_is_refused(
    gcs: Reference, headers: dict[str, str], outcome: tuple[int, str]
) -> None:
    assert send(signed_put(gcs.signers["hmac"], **headers)).outcome == outcome
    assert gcs.objects == {}


def test_a_payload_hash_that_was_signed_binds_the_body(gcs: Reference) -> None:
    put = signed_put(gcs.signers["rsa"], x_goog_content_sha256=hashlib.sha256(BODY).hexdigest())
    assert send(put.with_body(BODY[::-1])).outcome == (400, "BadDigest")
    assert gcs.objects == {}
    assert send(put).status == 200


@pytest.mark.parametrize("key", [".", "..", "a\nb", "k" * 1025])
def test_a_name_that_cloud_storage_does_not_allow_is_refused(gcs: Reference, key: str) -> None:
    assert send(signed_put(gcs.signers["hmac"], key)).outcome == (400, "InvalidObjectName")
    assert gcs.objects == {}


def test_a_put_is_admitted_at_its_expiry_and_refused_one_second_later(gcs: Reference, signer: Signer) -> None:
    put = signed_put(signer)
    gcs.clock.at = signed_at(put.parameter("X-Goog-Date")) + timedelta(seconds=61)
    assert send(put).outcome == EXPIRED
    gcs.clock.at -= timedelta(seconds=1)
    assert send(put).status == 200


def test_a_put_signed_more_than_15_minutes_ahead_is_not_yet_valid(gcs: Reference, signer: Signer) -> None:
    put = signed_put(signer)
    gcs.clock.at = signed_at(put.parameter("X-Goog-Date")) - timedelta(minutes=15, seconds=1)
    assert send(put).outcome == TOO_EARLY
    gcs.clock.at += timedelta(seconds=1)
    assert send(put).status == 200


def test_a_replay_under_create_only_is_refused_and_the_first_object_stays(gcs: Reference, signer: Signer) -> None:
    put = signed_put(signer)
    assert send(put).status == 200
    generation = gcs.objects[KEY].generation
    assert send(put).outcome == (412, "PreconditionFailed")
    assert gcs.objects[KEY].generation == generation


def test_a_put_without_create_only_makes_a_new_generation(gcs: Reference, signer: Signer) -> None:
    put = signed_put(signer, content_type="image/png")
    first, second = send(put), send(put.with_body(b"second"))
    assert int(first.headers["x-goog-generation"]) < int(second.headers["x-goog-generation"])
    assert gcs.objects[KEY].body == b"second"


def test_of_200_concurrent_create_only_puts_exactly_one_wins(gcs: Reference) -> None:
    put = signed_put(gcs.signers["rsa"], x_goog_if_generation_match="0")

    async def race() -> list[int]:
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=200), timeout=20, trust_env=False) as client:
            requests = (
                client.put(put.url, headers=dict(put.headers), content=str(number).encode()) for number in range(200)
            )
            return [response.status_code for response in await asyncio.gather(*requests)]

    assert sorted(asyncio.run(race())) == [200] + [412] * 199


def test_two_creators_whose_bodies_overlap_in_time_do_not_both_win(gcs: Reference) -> None:
    put = signed_put(gcs.signers["hmac"], x_goog_if_generation_match="0").with_body(b"x" * 3_000_000)
    with ThreadPoolExecutor(4) as pool:
        statuses = [answer.status for answer in pool.map(send, [put] * 4)]
    assert sorted(statuses) == [200, 412, 412, 412]


def test_a_body_shorter_than_its_length_promises_is_not_stored(gcs: Reference, signer: Signer) -> None:
    put = signed_put(signer, content_type="image/png")
    send_and_hang_up(put.with_header("Content-Length", str(len(BODY) + 5)))
    settle(gcs.url)
    assert gcs.objects == {}


GET_TAMPERINGS: list[Any] = [
    pytest.param(lambda a: a.with_path("/uploads/private/other.png"), MISMATCH, id="name"),
    pytest.param(lambda a: a.with_path(f"/other/{KEY}"), MISMATCH, id="bucket"),
    pytest.param(lambda a: a.with_parameter("response-content-disposition", "inline"), MISMATCH, id="disposition"),
    pytest.param(lambda a: a.without_parameter("response-content-disposition"), MISMATCH, id="without disposition"),
    pytest.param(lambda a: a.with_another_parameter("response-content-type", "text/html"), MISMATCH, id="type added"),
    pytest.param(lambda a: a.with_another_parameter("generation", "1"), MISMATCH, id="generation added"),
    pytest.param(lambda a: a.with_method("DELETE"), MISMATCH, id="method DELETE"),
    pytest.param(lambda a: a.with_header("x-goog-meta-x", "1"), MALFORMED, id="extra header"),
    pytest.param(lambda a: a.with_parameter("X-Goog-Expires", "3600"), MISMATCH, id="expires"),
    pytest.param(lambda a: a.without_parameter("X-Goog-Signature"), MALFORMED, id="without signature"),
]


@pytest.mark.parametrize(("tamper", "outcome"), GET_TAMPERINGS)
def test_a_get_with_one_thing_changed_is_refused_even_under_a_public_prefix(
    gcs: Reference, signer: Signer, tamper: Callable[[Attempt], Attempt], outcome: tuple[int, str]
) -> None:
    send(signed_put(signer))
    answer = send(tamper(signed_get(signer)))
    assert answer.outcome == outcome
    assert BODY not in answer.body
    assert gcs.objects[KEY].body == BODY


# Cross-origin requests.


def preflight(gcs: Reference, origin: str, method: str = "PUT", headers: str = "content-type") -> Answer:
    asked = (("Origin", origin), ("Access-Control-Request-Method", method), ("Access-Control-Request-Headers", headers))
    return send(Attempt(method="OPTIONS", url=f"{gcs.url}/uploads/{KEY}", headers=asked))


def test_a_preflight_of_the_page_is_answered_with_its_rule(gcs: Reference) -> None:
    answer = preflight(gcs, PAGE, headers="Content-Type, x-goog-if-generation-match")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-headers"] == "content-type, x-goog-if-generation-match"


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [
        pytest.param("http://evil.invalid", "PUT", "content-type", id="foreign origin"),
        pytest.param(PAGE, "DELETE", "content-type", id="method"),
        pytest.param(PAGE, "PUT", "authorization", id="header"),
    ],
)
def test_a_preflight_outside_of_every_rule_gets_no_cors_header(
    gcs: Reference, origin: str, method: str, headers: str
) -> None:
    answer = preflight(gcs, origin, method, headers)
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(("origin", "allowed"), [(PAGE, PAGE), ("http://evil.invalid", None)])
def test_answers_and_errors_are_readable_by_the_page_alone(gcs: Reference, origin: str, allowed: str | None) -> None:
    form = signed_form(gcs.signers["rsa"]).attempt().with_header("Origin", origin)
    for answer in (send(form), send(form.with_body(b""))):
        assert answer.headers.get("access-control-allow-origin") == allowed


# The JSON API, by the SDK.


def test_the_sdk_reads_metadata_downloads_and_deletes_with_a_token_from_the_token_endpoint(gcs: Reference) -> None:
    send(signed_put(gcs.signers["rsa"], "private/a b/ü.png", content_type="image/png", x_goog_meta_owner="alice"))
    bucket = gcs.client.bucket("uploads")
    assert bucket.exists()
    blob = bucket.get_blob("private/a b/ü.png")
    assert (blob.size, blob.content_type, blob.md5_hash, blob.metadata) == (20, "image/png", MD5, {"owner": "alice"})
    assert blob.generation == gcs.objects["private/a b/ü.png"].generation
    assert blob.download_as_bytes(start=1, end=3) == b"123"
    assert blob.download_as_bytes(if_generation_match=blob.generation) == BODY
    with pytest.raises(PreconditionFailed):
        blob.delete(if_generation_match=1)
    blob.delete(if_generation_match=blob.generation)
    assert gcs.objects == {}


def test_the_sdk_sees_missing_objects_and_replaced_generations_as_not_found(gcs: Reference) -> None:
    bucket = gcs.client.bucket("uploads")
    assert bucket.get_blob("none") is None
    with pytest.raises(NotFound):
        bucket.blob("none").download_as_bytes()
    put = signed_put(gcs.signers["rsa"], content_type="image/png")
    send(put)
    first = bucket.get_blob(KEY)
    send(put.with_body(b"replaced"))
    with pytest.raises(NotFound):
        bucket.blob(KEY, generation=first.generation).reload()
    with pytest.raises(PreconditionFailed):
        bucket.blob(KEY).download_as_bytes(if_generation_match=first.generation)


@pytest.mark.parametrize(
    ("authorization", "status"), [("Bearer a-token", 200), ("Bearer another", 401), ("Basic a-token", 401), (None, 401)]
)
def test_the_json_api_is_open_to_bearers_of_a_token_only(
    gcs: Reference, authorization: str | None, status: int
) -> None:
    headers = (("Authorization", authorization),) if authorization else ()
    assert send(Attempt(method="GET", url=f"{gcs.url}/storage/v1/b/uploads", headers=headers)).status == status


def test_a_server_opened_to_everybody_serves_the_sdk_without_credentials() -> None:
    with serve(GcsReference(buckets={"uploads": GcsBucket()}, anonymous_json=True)) as url:
        client = sdk_client(url, AnonymousCredentials())  # type: ignore[no-untyped-call]
        assert client.bucket("uploads").exists()
        assert client.bucket("uploads").get_blob(KEY) is None


def test_an_assertion_of_an_unknown_key_gets_no_token(gcs: Reference, tmp_path: Path) -> None:
    generate_credentials(tmp_path / "other.json", token_uri=f"{gcs.url}/token")
    credentials = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
        str(tmp_path / "other.json")
    )
    with pytest.raises(RefreshError, match="Invalid JWT"):
        sdk_client(gcs.url, credentials).bucket("uploads").get_blob(KEY)


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        pytest.param({}, 200, id="as Google asks for"),
        pytest.param({"aud": "https://else.invalid/token"}, 400, id="another audience"),
        pytest.param({"iat": -7200, "exp": -3600}, 400, id="expired"),
        pytest.param({"iat": 3600, "exp": 7200}, 400, id="not yet valid"),
        pytest.param({"exp": 86_400}, 400, id="valid for a day"),
        pytest.param({"iss": "nobody"}, 400, id="another account"),
    ],
)
def test_a_token_is_given_for_a_proper_assertion_only(gcs: Reference, claims: dict[str, Any], status: int) -> None:
    now = int(datetime.now(timezone.utc).timestamp())
    claimed = {"iss": gcs.signers["rsa"].key_id, "aud": f"{gcs.url}/token", "iat": 0, "exp": 3600, **claims}
    claimed |= {"iat": now + claimed["iat"], "exp": now + claimed["exp"]}
    assertion = jwt.encode(gcs.client._credentials.signer, claimed).decode()  # type: ignore[no-untyped-call]
    body = f"grant_type={quote('urn:ietf:params:oauth:grant-type:jwt-bearer')}&assertion={assertion}".encode()
    assert send(Attempt(method="POST", url=f"{gcs.url}/token", body=body)).status == status


# The program.


def test_the_program_serves_a_bucket_with_generated_credentials_until_it_is_stopped(tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    command = [
        sys.executable,
        "-m",
        "emulators.gcs_reference",
        "--bucket",
        "uploads",
        "--credentials",
        str(account),
    ]
    command += ["--generate", "--allow-origin", PAGE, "--public-prefix", "public/", "--pending-bucket", "pending"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:")
            credentials = service_account.Credentials.from_service_account_file(str(account))  # type: ignore[no-untyped-call]
            client = sdk_client(url, credentials)
            put = signed_put(SdkSigner(client=client, key_id=credentials.signer_email))
            assert send(put.with_header("Origin", PAGE)).headers["access-control-allow-origin"] == PAGE
            assert send(Attempt(method="GET", url=f"{url}/uploads/{KEY}")).body == BODY
            assert client.bucket("uploads").get_blob(KEY).size == len(BODY)
            client.bucket("uploads").copy_blob(client.bucket("uploads").blob(KEY), client.bucket("pending"))
            assert client.bucket("pending").get_blob(KEY).size == len(BODY)
            assert send(Attempt(method="GET", url=f"{url}/pending/{KEY}")).outcome == DENIED
        finally:
            process.terminate()
        assert process.wait(10) in (0, -15)
    assert account.stat().st_mode & 0o077 == 0
