"""The S3 reference admits what botocore signs and refuses it with any one thing changed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
import httpx
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from emulators.cors import CorsRule
from emulators.post_policy import PostPolicy
from emulators.received_request import ReceivedRequest, Refusal
from emulators.s3_bucket import S3Bucket
from emulators.s3_reference import POLICY_DIALECT, S3Reference
from emulators.serving import serve, settle
from emulators.signature_v4 import AWS4, HmacKey, Judge
from emulators.wire import Answer, Attempt, Form, Part, send, send_and_hang_up

KEY_ID, SECRET = "AKIAREFERENCE0000001", "a-secret-of-the-tests"
TEMPORARY_ID, TEMPORARY_SECRET, TOKEN = "ASIAREFERENCE0000001", "a-temporary-secret", "a/session+token=="
PAGE = "http://localhost:8080"
KEY = "public/ab/cat.png"
BODY = b"0123456789abcdefghij"
CHECKSUM = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
OTHER_CHECKSUM = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
MIN_BYTES, MAX_BYTES = 10, 100

DENIED = (403, "AccessDenied")
MISMATCH = (403, "SignatureDoesNotMatch")
MALFORMED_QUERY = (400, "AuthorizationQueryParametersError")
INVALID_ARGUMENT = (400, "InvalidArgument")
INVALID_POLICY = (400, "InvalidPolicyDocument")


class Clock:
    """The server's time: the real one until a test sets it."""

    def __init__(self) -> None:
        self.at: datetime | None = None

    def __call__(self) -> datetime:
        return self.at or datetime.now(timezone.utc)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A running server, what it holds, and SDK clients of its users."""

    url: str
    app: S3Reference
    clock: Clock
    client: Any
    temporary_client: Any

    @property
    def objects(self) -> dict[str, Any]:
        return self.app.buckets["uploads"].objects

    def client_of(self, **options: Any) -> Any:
        return s3_client(self.url, KEY_ID, SECRET, **options)


def s3_client(url: str, key_id: str, secret: str, token: str | None = None, region: str = "us-east-1") -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


@pytest.fixture(scope="module")
def running() -> Iterator[Reference]:
    clock = Clock()
    rule = CorsRule(
        allowed_origins=(PAGE,),
        allowed_methods=("POST", "PUT", "GET"),
        allowed_headers=("content-type", "x-amz-*"),
        expose_headers=("ETag", "Location"),
        max_age_seconds=600,
    )
    app = S3Reference(
        buckets={"uploads": S3Bucket(cors=(rule,), public_prefix="public/"), "other": S3Bucket()},
        access_keys={
            KEY_ID: HmacKey(secret=SECRET),
            TEMPORARY_ID: HmacKey(secret=TEMPORARY_SECRET, session_token=TOKEN),
        },
        clock=clock,
    )
    with serve(app) as url:
        yield Reference(
            url=url,
            app=app,
            clock=clock,
            client=s3_client(url, KEY_ID, SECRET),
            temporary_client=s3_client(url, TEMPORARY_ID, TEMPORARY_SECRET, TOKEN),
        )


@pytest.fixture
def s3(running: Reference) -> Reference:
    settle(running.url)
    running.clock.at = None
    for bucket in running.app.buckets.values():
        bucket.objects.clear()
    return running


def signed_form(client: Any, *, body: bytes = BODY, extra_conditions: tuple[Any, ...] = ()) -> Form:
    """A form that botocore signed: exact type, 10 to 100 bytes, metadata, cache control, checksum, answer 201."""
    fields = {
        "Content-Type": "image/png",
        "Cache-Control": "max-age=60",
        "success_action_status": "201",
        "x-amz-meta-owner": "alice",
        "x-amz-checksum-algorithm": "SHA256",
        "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(body).digest()).decode(),
    }
    signed = client.generate_presigned_post(
        "uploads",
        KEY,
        Fields=dict(fields),
        Conditions=[
            *({name: value} for name, value in fields.items()),
            ["content-length-range", MIN_BYTES, MAX_BYTES],
            *extra_conditions,
        ],
        ExpiresIn=60,
    )
    return Form.of(signed["url"], signed["fields"], body)


def minimal_form(client: Any, *conditions: Any, key: str = KEY, **fields: str) -> Form:
    signed = client.generate_presigned_post("uploads", key, Fields=fields, Conditions=list(conditions), ExpiresIn=60)
    return Form.of(signed["url"], signed["fields"], BODY)


def signed_put(client: Any, *, expires_in: int = 60, **params: Any) -> Attempt:
    """A PUT that botocore signed: type, exact length, checksum, create-only, metadata, cache control."""
    defaults: dict[str, Any] = {
        "ContentType": "image/png",
        "ContentLength": len(BODY),
        "ChecksumSHA256": CHECKSUM,
        "IfNoneMatch": "*",
        "Metadata": {"owner": "alice"},
        "CacheControl": "max-age=60",
    }
    url = client.generate_presigned_url(
        "put_object", Params={"Bucket": "uploads", "Key": KEY, **(params or defaults)}, ExpiresIn=expires_in
    )
    headers = (
        ("Content-Type", "image/png"),
        ("x-amz-checksum-sha256", CHECKSUM),
        ("If-None-Match", "*"),
        ("x-amz-meta-owner", "alice"),
        ("Cache-Control", "max-age=60"),
    )
    return Attempt(method="PUT", url=url, headers=() if params else headers, body=BODY)


def signed_get(client: Any, **params: Any) -> Attempt:
    params = {"ResponseContentDisposition": 'attachment; filename="cat 1.png"', **params}
    url = client.generate_presigned_url("get_object", Params={"Bucket": "uploads", "Key": KEY, **params}, ExpiresIn=60)
    return Attempt(method="GET", url=url)


def signed_at(date: str) -> datetime:
    return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)


def changed(signature: str) -> str:
    return ("0" if signature[0] != "0" else "1") + signature[1:]


def policy_of(form: Form) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(base64.b64decode(form.field("policy")))
    return document


def with_policy(form: Form, document: Mapping[str, Any]) -> Form:
    return form.with_field("policy", base64.b64encode(json.dumps(document).encode()))


def resigned(form: Form, policy: bytes) -> Form:
    """The form with any bytes as its policy, signed properly by botocore."""
    encoded = base64.b64encode(policy)
    request = AWSRequest()
    request.context["timestamp"] = form.field("x-amz-date")
    signature = SigV4Auth(Credentials(KEY_ID, SECRET), "s3", "us-east-1").signature(encoded.decode(), request)
    return form.with_field("policy", encoded).with_field("x-amz-signature", signature)


# What botocore signs is admitted.


def test_a_signed_form_is_stored_with_its_type_metadata_and_checksum(s3: Reference) -> None:
    answer = send(signed_form(s3.client))
    assert answer.status == 201
    stored = s3.objects[KEY]
    assert (stored.body, stored.content_type) == (BODY, "image/png")
    assert stored.metadata == {"owner": "alice"}
    assert stored.headers == {"cache-control": "max-age=60"}
    assert stored.checksums == {"sha256": CHECKSUM}
    assert f"<Location>{s3.url}/uploads/{KEY}</Location>".encode() in answer.body
    assert answer.headers["etag"] == stored.etag


def test_a_form_without_a_wanted_status_is_answered_with_204(s3: Reference) -> None:
    answer = send(minimal_form(s3.client))
    assert (answer.status, answer.body) == (204, b"")
    assert s3.objects[KEY].body == BODY


def test_a_form_with_a_redirect_is_answered_with_303_to_it(s3: Reference) -> None:
    target = {"success_action_redirect": "http://localhost:8080/done?x=1"}
    answer = send(minimal_form(s3.client, target, **target))
    assert answer.status == 303
    assert answer.headers["location"].startswith(
        "http://localhost:8080/done?x=1&bucket=uploads&key=public%2Fab%2Fcat.png"
    )


@pytest.mark.parametrize("size", [MIN_BYTES, MAX_BYTES])
def test_a_form_of_either_limit_of_the_size_range_is_stored(s3: Reference, size: int) -> None:
    assert send(signed_form(s3.client, body=b"x" * size)).status == 201
    assert len(s3.objects[KEY].body) == size


def test_an_empty_file_is_stored_where_no_size_is_asked_for(s3: Reference) -> None:
    form = minimal_form(s3.client)
    assert send(Form(url=form.url, parts=(*form.parts[:-1], Part(name="file", value=b"", file_name="x")))).status == 204
    assert s3.objects[KEY].body == b""


def test_a_form_signed_with_a_session_token_is_stored(s3: Reference) -> None:
    assert send(signed_form(s3.temporary_client)).status == 201


def test_fields_that_need_no_condition_and_fields_after_the_file_are_ignored(s3: Reference) -> None:
    form = signed_form(s3.client).with_first_field("x-ignore-me", "1")
    assert send(form.with_last_part(Part(name="x-amz-meta-late", value=b"1"))).status == 201
    assert s3.objects[KEY].metadata == {"owner": "alice"}


def test_the_file_name_variable_becomes_the_last_part_of_the_files_name_before_conditions_are_judged(
    s3: Reference,
) -> None:
    form = minimal_form(s3.client, key="public/${filename}")
    assert send(form.with_file_name("C:/temp/dog.png")).status == 204
    assert list(s3.objects) == ["public/dog.png"]


def test_a_condition_on_a_prefix_admits_each_value_with_it(s3: Reference) -> None:
    form = minimal_form(s3.client, ["starts-with", "$Content-Type", "image/"], **{"Content-Type": "image/webp"})
    assert send(form).status == 204
    assert send(form.with_field("Content-Type", "image/png,text/html")).outcome == DENIED


def test_a_signed_put_is_stored_with_its_type_metadata_and_checksum(s3: Reference) -> None:
    answer = send(signed_put(s3.client))
    assert (answer.status, answer.headers["etag"]) == (200, f'"{hashlib.md5(BODY).hexdigest()}"')
    stored = s3.objects[KEY]
    assert (stored.body, stored.content_type, stored.metadata) == (BODY, "image/png", {"owner": "alice"})
    assert stored.checksums == {"sha256": CHECKSUM}


def test_a_put_signed_with_a_session_token_is_stored(s3: Reference) -> None:
    assert send(signed_put(s3.temporary_client)).status == 200


def test_a_put_that_does_not_ask_for_create_only_overwrites(s3: Reference) -> None:
    put = signed_put(s3.client, ContentType="image/png").with_header("Content-Type", "image/png")
    assert send(put).status == send(put.with_body(b"second")).status == 200
    assert s3.objects[KEY].body == b"second"


@pytest.mark.parametrize(
    "key", ["public/a b+c~(1)*'!.png", "public/ü/日本.png", "public//a/./b", "public/100%25 &=?#@:"]
)
def test_odd_keys_are_stored_and_read_back_under_their_own_name(s3: Reference, key: str) -> None:
    url = s3.client.generate_presigned_url("put_object", Params={"Bucket": "uploads", "Key": key}, ExpiresIn=60)
    assert send(Attempt(method="PUT", url=url, body=BODY)).status == 200
    assert list(s3.objects) == [key]
    assert send(signed_get(s3.client, Key=key)).body == BODY


def test_a_signed_get_answers_with_the_disposition_that_was_signed(s3: Reference) -> None:
    send(signed_put(s3.client))
    answer = send(signed_get(s3.client))
    assert (answer.status, answer.body) == (200, BODY)
    assert answer.headers["content-disposition"] == 'attachment; filename="cat 1.png"'
    assert answer.headers["content-type"] == "image/png"


def test_anybody_reads_the_public_prefix_and_nothing_else(s3: Reference) -> None:
    send(signed_put(s3.client))
    s3.client.put_object(Bucket="uploads", Key="private/cat.png", Body=BODY)
    assert send(Attempt(method="GET", url=f"{s3.url}/uploads/{KEY}")).body == BODY
    assert send(Attempt(method="GET", url=f"{s3.url}/uploads/private/cat.png")).outcome == DENIED
    assert send(Attempt(method="GET", url=f"{s3.url}/uploads/public/none.png")).outcome == DENIED
    query = "?response-content-type=text/html"
    assert send(Attempt(method="GET", url=f"{s3.url}/uploads/{KEY}{query}")).outcome == (400, "InvalidRequest")


def test_a_bucket_is_also_addressed_by_host_name(s3: Reference) -> None:
    send(signed_put(s3.client))
    by_host = Attempt(method="GET", url=f"{s3.url}/{KEY}", headers=(("Host", "uploads.localhost:1234"),))
    assert send(by_host).body == BODY


def test_boto3_in_its_default_configuration_puts_heads_reads_and_deletes(s3: Reference) -> None:
    client = s3.client
    client.put_object(
        Bucket="uploads", Key="private/a b.txt", Body=b"hello", ContentType="text/plain", Metadata={"a": "b"}
    )
    head = client.head_object(Bucket="uploads", Key="private/a b.txt")
    assert (head["ContentLength"], head["ContentType"], head["Metadata"]) == (5, "text/plain", {"a": "b"})
    assert client.get_object(Bucket="uploads", Key="private/a b.txt")["Body"].read() == b"hello"
    part = client.get_object(Bucket="uploads", Key="private/a b.txt", Range="bytes=1-2", IfMatch=head["ETag"])
    assert (part["Body"].read(), part["ContentRange"]) == (b"el", "bytes 1-2/5")
    assert client.head_bucket(Bucket="uploads")["ResponseMetadata"]["HTTPStatusCode"] == 200
    client.delete_object(Bucket="uploads", Key="private/a b.txt")
    assert s3.objects == {}


@pytest.mark.parametrize(
    ("operation", "params", "code"),
    [
        pytest.param("head_object", {"Key": "none"}, "404", id="missing object"),
        pytest.param("get_object", {"Key": "none"}, "NoSuchKey", id="reading a missing object"),
        pytest.param("get_object", {"Key": KEY, "IfMatch": '"other"'}, "PreconditionFailed", id="another etag"),
        pytest.param("get_object", {"Key": KEY, "Range": "bytes=99-"}, "InvalidRange", id="range behind the end"),
        pytest.param("get_object", {"Bucket": "none", "Key": KEY}, "NoSuchBucket", id="missing bucket"),
        pytest.param("put_object", {"Key": KEY, "IfNoneMatch": "*"}, "PreconditionFailed", id="create over an object"),
        pytest.param("list_objects", {}, "NotImplemented", id="listing of version 1"),
        pytest.param("put_object_acl", {"Key": KEY, "ACL": "public-read"}, "NotImplemented", id="sub-resource"),
    ],
)
def test_boto3_sees_the_error_codes_of_s3(s3: Reference, operation: str, params: dict[str, Any], code: str) -> None:
    send(signed_put(s3.client))
    with pytest.raises(ClientError) as caught:
        getattr(s3.client, operation)(**{"Bucket": "uploads", **params})
    assert caught.value.response["Error"]["Code"] == code


def test_boto3_with_another_secret_is_refused(s3: Reference) -> None:
    client = s3_client(s3.url, KEY_ID, "another secret")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client.put_object(Bucket="uploads", Key=KEY, Body=BODY)


def test_boto3_with_a_clock_16_minutes_off_is_refused(s3: Reference) -> None:
    s3.clock.at = datetime.now(timezone.utc) + timedelta(minutes=16)
    with pytest.raises(ClientError, match="RequestTimeTooSkewed"):
        s3.client.put_object(Bucket="uploads", Key=KEY, Body=BODY)


# The same with one thing changed is refused.

FORM_TAMPERINGS: list[Any] = [
    pytest.param(lambda f: f.with_field("key", "public/other.png"), DENIED, id="key"),
    pytest.param(lambda f: f.with_field("key", "public/../cat.png"), DENIED, id="key with dots"),
    pytest.param(lambda f: f.with_field("key", "public/ab/${filename}x"), DENIED, id="key with variable"),
    pytest.param(lambda f: f.with_field("key", ""), INVALID_ARGUMENT, id="key empty"),
    pytest.param(lambda f: f.with_field("Content-Type", "text/html"), DENIED, id="content type"),
    pytest.param(lambda f: f.with_field("Content-Type", "image/png,text/html"), DENIED, id="content type list"),
    pytest.param(lambda f: f.with_field("Content-Type", "IMAGE/PNG"), DENIED, id="content type in capitals"),
    pytest.param(lambda f: f.with_field("Cache-Control", "max-age=61"), DENIED, id="cache control"),
    pytest.param(lambda f: f.with_field("success_action_status", "200"), DENIED, id="success status"),
    pytest.param(lambda f: f.with_field("x-amz-meta-owner", "mallory"), DENIED, id="metadata"),
    pytest.param(lambda f: f.with_field("x-amz-checksum-sha256", OTHER_CHECKSUM), DENIED, id="checksum"),
    pytest.param(lambda f: f.with_field("x-amz-checksum-algorithm", "CRC32"), DENIED, id="checksum algorithm"),
    pytest.param(lambda f: f.with_field("x-amz-algorithm", "AWS4-HMAC-SHA1"), INVALID_ARGUMENT, id="algorithm"),
    pytest.param(
        lambda f: f.with_field("x-amz-credential", f.field("x-amz-credential").replace("AKIA", "AKIB")),
        (403, "InvalidAccessKeyId"),
        id="key id",
    ),
    pytest.param(
        lambda f: f.with_field("x-amz-credential", f.field("x-amz-credential").replace("us-east-1", "eu-west-1")),
        INVALID_ARGUMENT,
        id="scope region",
    ),
    pytest.param(
        lambda f: f.with_field("x-amz-credential", f.field("x-amz-credential").replace("/s3/", "/iam/")),
        INVALID_ARGUMENT,
        id="scope service",
    ),
    pytest.param(
        lambda f: f.with_field("x-amz-credential", f.field("x-amz-credential").replace("aws4_request", "aws5_request")),
        INVALID_ARGUMENT,
        id="scope terminator",
    ),
    pytest.param(
        lambda f: f.with_field("x-amz-credential", f"{KEY_ID}/20200101/us-east-1/s3/aws4_request"),
        INVALID_ARGUMENT,
        id="scope date",
    ),
    pytest.param(lambda f: f.with_field("x-amz-credential", KEY_ID), INVALID_ARGUMENT, id="credential without scope"),
    pytest.param(
        lambda f: f.with_field("x-amz-date", f.field("x-amz-date")[:9] + "000001Z"), DENIED, id="time of the same day"
    ),
    pytest.param(lambda f: f.with_field("x-amz-date", "20200101T000000Z"), INVALID_ARGUMENT, id="date"),
    pytest.param(lambda f: f.with_field("x-amz-date", "yesterday"), INVALID_ARGUMENT, id="date malformed"),
    pytest.param(
        lambda f: f.with_field("x-amz-signature", changed(f.field("x-amz-signature"))), MISMATCH, id="signature"
    ),
    pytest.param(
        lambda f: f.with_field("x-amz-signature", f.field("x-amz-signature").upper()),
        MISMATCH,
        id="signature in capitals",
    ),
    pytest.param(lambda f: f.with_field("policy", changed(f.field("policy"))), MISMATCH, id="policy bytes"),
    pytest.param(lambda f: f.with_field("policy", f.field("policy") + "\n"), MISMATCH, id="policy line end"),
    pytest.param(
        lambda f: with_policy(f, {**policy_of(f), "expiration": "2999-01-01T00:00:00Z"}), MISMATCH, id="policy expiry"
    ),
    pytest.param(
        lambda f: with_policy(f, {**policy_of(f), "conditions": policy_of(f)["conditions"][1:]}),
        MISMATCH,
        id="condition less",
    ),
    *(
        pytest.param(lambda f, name=name: f.without_field(name), outcome, id=f"without {name}")
        for name, outcome in (
            ("key", INVALID_ARGUMENT),
            ("Content-Type", DENIED),
            ("Cache-Control", DENIED),
            ("x-amz-meta-owner", DENIED),
            ("x-amz-checksum-sha256", DENIED),
            ("x-amz-checksum-algorithm", DENIED),
            ("success_action_status", DENIED),
            ("policy", DENIED),
            ("x-amz-algorithm", INVALID_ARGUMENT),
            ("x-amz-credential", INVALID_ARGUMENT),
            ("x-amz-date", INVALID_ARGUMENT),
            ("x-amz-signature", INVALID_ARGUMENT),
            ("file", (400, "IncorrectNumberOfFilesInPostRequest")),
        )
    ),
    *(
        pytest.param(
            lambda f, name=name, value=value: f.with_first_field(name, value), DENIED, id=f"extra field {name}"
        )
        for name, value in (
            ("acl", "public-read"),
            ("x-amz-acl", "public-read"),
            ("x-amz-meta-extra", "1"),
            ("x-amz-storage-class", "GLACIER"),
            ("Content-Disposition", "inline"),
            ("Content-Encoding", "gzip"),
            ("success_action_redirect", "http://localhost/"),
            ("tagging", "<Tagging/>"),
            ("bucket", "other"),
            ("AWSAccessKeyId", KEY_ID),
        )
    ),
    pytest.param(
        lambda f: f.with_first_field("x-amz-security-token", "x"), (400, "InvalidToken"), id="extra session token"
    ),
    pytest.param(lambda f: f.with_first_field("key", KEY), INVALID_ARGUMENT, id="key twice"),
    pytest.param(lambda f: f.with_field_after_file("key"), INVALID_ARGUMENT, id="key after the file"),
    pytest.param(lambda f: f.with_field_after_file("Content-Type"), DENIED, id="content type after the file"),
    pytest.param(lambda f: f.with_field_after_file("x-amz-signature"), INVALID_ARGUMENT, id="signature after the file"),
    pytest.param(lambda f: f.with_field_after_file("policy"), DENIED, id="policy after the file"),
    pytest.param(
        lambda f: f.with_last_part(Part(name="file", value=BODY, file_name="b.png")),
        (400, "IncorrectNumberOfFilesInPostRequest"),
        id="two file parts",
    ),
    pytest.param(lambda f: f.with_field("file", b""), (400, "EntityTooSmall"), id="size 0"),
    pytest.param(lambda f: f.with_field("file", b"x" * (MIN_BYTES - 1)), (400, "EntityTooSmall"), id="size min-1"),
    pytest.param(lambda f: f.with_field("file", b"x" * (MAX_BYTES + 1)), (400, "EntityTooLarge"), id="size max+1"),
    pytest.param(lambda f: f.with_field("file", BODY[::-1]), (400, "BadDigest"), id="other bytes of the same size"),
    pytest.param(
        lambda f: f.with_first_field("x-ignore-x", "x" * 20_480),
        (400, "MaxPostPreDataLengthExceeded"),
        id="20 KB of fields",
    ),
    pytest.param(lambda f: Form(url=f.url.replace("uploads", "other"), parts=f.parts), DENIED, id="other bucket"),
    pytest.param(
        lambda f: Form(url=f.url.replace("uploads", "none"), parts=f.parts), (404, "NoSuchBucket"), id="missing bucket"
    ),
    pytest.param(
        lambda f: Form(url=f"{f.url}/{KEY}", parts=f.parts), (405, "MethodNotAllowed"), id="posted to an object's path"
    ),
    pytest.param(lambda f: f.attempt().with_method("PUT"), (405, "MethodNotAllowed"), id="other method"),
    pytest.param(
        lambda f: f.attempt().with_header("Content-Type", "application/x-www-form-urlencoded"),
        (412, "PreconditionFailed"),
        id="not multipart",
    ),
    pytest.param(
        lambda f: f.attempt().with_body(f.attempt().body[:-30]),
        (400, "MalformedPOSTRequest"),
        id="form without its end",
    ),
    pytest.param(
        lambda f: f.attempt().with_body(b"").with_header("Transfer-Encoding", "chunked").with_body(b"0\r\n\r\n"),
        (411, "MissingContentLength"),
        id="no content length",
    ),
]


@pytest.mark.parametrize(("tamper", "outcome"), FORM_TAMPERINGS)
def test_a_form_with_one_thing_changed_is_refused_and_nothing_is_stored(
    s3: Reference, tamper: Callable[[Form], Form | Attempt], outcome: tuple[int, str]
) -> None:
    assert send(tamper(signed_form(s3.client))).outcome == outcome
    assert not any(bucket.objects for bucket in s3.app.buckets.values())


@pytest.mark.parametrize(
    ("tamper", "outcome"),
    [
        pytest.param(lambda f: f.without_field("x-amz-security-token"), (403, "InvalidAccessKeyId"), id="missing"),
        pytest.param(lambda f: f.with_field("x-amz-security-token", TOKEN + "x"), (400, "InvalidToken"), id="changed"),
    ],
)
def test_a_form_with_a_wrong_session_token_is_refused(
    s3: Reference, tamper: Callable[[Form], Form], outcome: tuple[int, str]
) -> None:
    assert send(tamper(signed_form(s3.temporary_client))).outcome == outcome
    assert s3.objects == {}


def test_a_form_is_admitted_at_its_expiry_and_refused_one_second_later(s3: Reference) -> None:
    form = signed_form(s3.client)
    expires_at = datetime.strptime(policy_of(form)["expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    s3.clock.at = expires_at + timedelta(seconds=1)
    assert send(form).outcome == DENIED
    s3.clock.at = expires_at
    assert send(form).status == 201


def test_a_form_whose_policy_outlives_its_signing_key_is_refused_after_seven_days(s3: Reference) -> None:
    signed = s3.client.generate_presigned_post("uploads", KEY, ExpiresIn=30 * 86_400)
    form = Form.of(signed["url"], signed["fields"], BODY)
    s3.clock.at = signed_at(form.field("x-amz-date")) + timedelta(days=7, seconds=1)
    assert send(form).outcome == DENIED
    s3.clock.at -= timedelta(seconds=1)
    assert send(form).status == 204


def test_a_form_signed_more_than_15_minutes_ahead_is_not_yet_valid(s3: Reference) -> None:
    form = signed_form(s3.client)
    s3.clock.at = signed_at(form.field("x-amz-date")) - timedelta(minutes=15, seconds=1)
    assert send(form).outcome == DENIED
    s3.clock.at += timedelta(seconds=1)
    assert send(form).status == 201


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param(["ends-with", "$key", ".png"], id="unknown operator"),
        pytest.param(["eq", "key", KEY], id="field without a dollar"),
        pytest.param(["eq", "$key"], id="too few members"),
        pytest.param(["content-length-range", "1", "10"], id="size as text"),
        pytest.param(["content-length-range", 1.5, 10], id="size as fraction"),
        pytest.param(["content-length-range", 10, 1], id="size range upside down"),
        pytest.param(["content-length-range", -1, 10], id="negative size"),
        pytest.param(["content-length-range", 1], id="size range with one end"),
        pytest.param({"key": 1}, id="value is a number"),
        pytest.param({"key": KEY, "acl": "private"}, id="two members"),
        pytest.param({}, id="empty"),
        pytest.param("key", id="text"),
        pytest.param(None, id="null"),
    ],
)
def test_a_policy_with_an_unknown_condition_form_is_refused_even_if_signed(s3: Reference, condition: Any) -> None:
    assert send(minimal_form(s3.client, condition)).outcome == INVALID_POLICY
    assert s3.objects == {}


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="broken JSON"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'{"conditions": []}', id="no expiration"),
        pytest.param(b'{"expiration": "2999-01-01T00:00:00Z"}', id="no conditions"),
        pytest.param(b'{"expiration": "2999-01-01", "conditions": []}', id="expiration is a day"),
        pytest.param(b'{"expiration": 32503680000, "conditions": []}', id="expiration is a number"),
        pytest.param(b'{"expiration": "2999-01-01T00:00:00Z", "conditions": {}}', id="conditions are no list"),
        pytest.param(b'{"expiration": "2999-01-01T00:00:00Z", "conditions": [], "x": 1}', id="unknown member"),
        pytest.param(b'{"expiration": "2999-01-01T00:00:00Z", "conditions": [], "conditions": []}', id="member twice"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
    ],
)
def test_a_policy_that_is_no_policy_is_refused_even_if_signed(s3: Reference, policy: bytes) -> None:
    assert send(resigned(minimal_form(s3.client), policy)).outcome == INVALID_POLICY
    assert s3.objects == {}


def test_a_policy_document_has_at_most_20480_bytes() -> None:
    policy = b'{"expiration": "2999-01-01T00:00:00Z", "conditions": []}'
    largest = policy.ljust(20_480)
    assert PostPolicy.parse(base64.b64encode(largest).decode(), POLICY_DIALECT).conditions == ()
    with pytest.raises(Refusal, match="InvalidPolicyDocument"):
        PostPolicy.parse(base64.b64encode(largest + b" ").decode(), POLICY_DIALECT)


def test_a_policy_without_a_bucket_condition_is_refused_even_if_signed(s3: Reference) -> None:
    form = minimal_form(s3.client)
    document = policy_of(form)
    document["conditions"] = [item for item in document["conditions"] if item != {"bucket": "uploads"}]
    assert send(resigned(form, json.dumps(document).encode())).outcome == DENIED
    assert send(resigned(form, json.dumps(policy_of(form)).encode() + b" ")).status == 204


def test_of_two_size_ranges_both_hold(s3: Reference) -> None:
    form = minimal_form(s3.client, ["content-length-range", 0, 5], ["content-length-range", 0, 500])
    assert send(form).outcome == (400, "EntityTooLarge")


def test_a_form_larger_than_allowed_is_not_kept_beyond_the_limit(s3: Reference) -> None:
    form = signed_form(s3.client).with_field("file", b"x" * 8_000_000)
    assert send(form).outcome == (400, "EntityTooLarge")
    assert s3.app.latest_upload is not None
    assert len(s3.app.latest_upload.body) <= MAX_BYTES


PUT_TAMPERINGS: list[Any] = [
    pytest.param(lambda a: a.with_path("/uploads/public/other.png"), MISMATCH, id="key"),
    pytest.param(lambda a: a.with_path(f"/uploads//{KEY}"), MISMATCH, id="slash before the key"),
    pytest.param(lambda a: a.with_path(f"/other/{KEY}"), MISMATCH, id="bucket"),
    pytest.param(lambda a: a.with_header("Content-Type", "text/html"), MISMATCH, id="content type"),
    pytest.param(lambda a: a.with_another_header("Content-Type", "text/html"), MISMATCH, id="content type twice"),
    pytest.param(lambda a: a.with_body(b""), MISMATCH, id="size 0"),
    pytest.param(lambda a: a.with_body(BODY[:-1]), MISMATCH, id="size one less"),
    pytest.param(lambda a: a.with_body(BODY + b"x"), MISMATCH, id="size one more"),
    pytest.param(lambda a: a.with_body(BODY[::-1]), (400, "BadDigest"), id="other bytes of the same size"),
    pytest.param(lambda a: a.with_header("x-amz-checksum-sha256", OTHER_CHECKSUM), MISMATCH, id="checksum"),
    pytest.param(lambda a: a.with_header("If-None-Match", '"etag"'), MISMATCH, id="if-none-match"),
    pytest.param(lambda a: a.with_header("x-amz-meta-owner", "mallory"), MISMATCH, id="metadata"),
    pytest.param(lambda a: a.with_header("Cache-Control", "max-age=61"), MISMATCH, id="cache control"),
    pytest.param(lambda a: a.with_header("Host", "localhost:1"), MISMATCH, id="host"),
    *(
        pytest.param(lambda a, name=name: a.without_header(name), MISMATCH, id=f"without {name}")
        for name in ("Content-Type", "x-amz-checksum-sha256", "If-None-Match", "x-amz-meta-owner", "Cache-Control")
    ),
    *(
        pytest.param(lambda a, name=name, value=value: a.with_header(name, value), DENIED, id=f"extra header {name}")
        for name, value in (
            ("x-amz-acl", "public-read"),
            ("x-amz-meta-extra", "1"),
            ("x-amz-tagging", "a=b"),
            ("x-amz-storage-class", "GLACIER"),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("x-amz-date", "20260101T000000Z"),
        )
    ),
    pytest.param(lambda a: a.with_header("x-amz-copy-source", "/other/x"), DENIED, id="copy source"),
    pytest.param(lambda a: a.with_method("POST"), (405, "MethodNotAllowed"), id="method POST"),
    pytest.param(lambda a: a.with_method("DELETE"), MISMATCH, id="method DELETE"),
    pytest.param(lambda a: a.with_method("GET"), MISMATCH, id="method GET"),
    pytest.param(lambda a: a.with_parameter("X-Amz-Algorithm", "AWS4-HMAC-SHA1"), MALFORMED_QUERY, id="algorithm"),
    pytest.param(
        lambda a: a.with_parameter("X-Amz-Credential", a.parameter("X-Amz-Credential").replace("AKIA", "AKIB")),
        (403, "InvalidAccessKeyId"),
        id="key id",
    ),
    pytest.param(
        lambda a: a.with_parameter("X-Amz-Credential", a.parameter("X-Amz-Credential").replace("us-east", "eu-west")),
        MALFORMED_QUERY,
        id="scope region",
    ),
    pytest.param(
        lambda a: a.with_parameter("X-Amz-Credential", a.parameter("X-Amz-Credential").replace("/s3/", "/sts/")),
        MALFORMED_QUERY,
        id="scope service",
    ),
    pytest.param(
        lambda a: a.with_parameter("X-Amz-Credential", f"{KEY_ID}/20200101/us-east-1/s3/aws4_request"),
        MALFORMED_QUERY,
        id="scope date",
    ),
    pytest.param(
        lambda a: a.with_parameter("X-Amz-Date", a.parameter("X-Amz-Date")[:9] + "000001Z"),
        DENIED,
        id="time of the same day",
    ),
    pytest.param(lambda a: a.with_parameter("X-Amz-Expires", "61"), MISMATCH, id="expires one more"),
    pytest.param(lambda a: a.with_parameter("X-Amz-Expires", "0"), MALFORMED_QUERY, id="expires 0"),
    pytest.param(lambda a: a.with_parameter("X-Amz-Expires", "-1"), MALFORMED_QUERY, id="expires negative"),
    pytest.param(lambda a: a.with_parameter("X-Amz-Expires", "604801"), MALFORMED_QUERY, id="expires over a week"),
    pytest.param(
        lambda a: a.with_parameter(
            "X-Amz-SignedHeaders", a.parameter("X-Amz-SignedHeaders").replace("if-none-match;", "")
        ),
        MISMATCH,
        id="signed header less",
    ),
    pytest.param(
        lambda a: a.with_parameter("X-Amz-SignedHeaders", a.parameter("X-Amz-SignedHeaders").replace("host;", "")),
        MALFORMED_QUERY,
        id="host not signed",
    ),
    pytest.param(
        lambda a: a.with_parameter("X-Amz-SignedHeaders", a.parameter("X-Amz-SignedHeaders").upper()),
        MALFORMED_QUERY,
        id="signed headers in capitals",
    ),
    pytest.param(
        lambda a: a.with_parameter("X-Amz-Signature", changed(a.parameter("X-Amz-Signature"))), MISMATCH, id="signature"
    ),
    *(
        pytest.param(lambda a, name=name: a.without_parameter(f"X-Amz-{name}"), MALFORMED_QUERY, id=f"without {name}")
        for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
    ),
    *(
        pytest.param(
            lambda a, name=name: a.with_another_parameter(name, a.parameter(name)), MALFORMED_QUERY, id=f"{name} twice"
        )
        for name in ("X-Amz-Algorithm", "X-Amz-Expires", "X-Amz-Signature")
    ),
    pytest.param(
        lambda a: a.with_another_parameter("x-amz-expires", "9"), MALFORMED_QUERY, id="expires in lower case too"
    ),
    pytest.param(lambda a: a.with_another_parameter("x-id", "PutObject"), MISMATCH, id="extra parameter"),
    pytest.param(
        lambda a: a.with_another_parameter("X-Amz-Security-Token", "x"), (400, "InvalidToken"), id="extra session token"
    ),
    pytest.param(lambda a: a.with_another_parameter("acl", ""), (501, "NotImplemented"), id="sub-resource"),
    pytest.param(
        lambda a: a.with_another_parameter("x-amz-acl", "public-read"),
        (501, "NotImplemented"),
        id="header as a parameter",
    ),
    pytest.param(
        lambda a: Attempt(method="PUT", url=a.url.partition("?")[0], headers=a.headers[:1], body=BODY),
        DENIED,
        id="no signature at all",
    ),
    pytest.param(
        lambda a: a.with_header("Authorization", "AWS4-HMAC-SHA256 Credential=x"), INVALID_ARGUMENT, id="two signatures"
    ),
    pytest.param(
        lambda a: a.with_header("Transfer-Encoding", "chunked").with_body(b"14\r\n" + BODY + b"\r\n0\r\n\r\n"),
        MISMATCH,
        id="chunked instead of a length",
    ),
]


@pytest.mark.parametrize(("tamper", "outcome"), PUT_TAMPERINGS)
def test_a_put_with_one_thing_changed_is_refused_and_nothing_is_stored(
    s3: Reference, tamper: Callable[[Attempt], Attempt], outcome: tuple[int, str]
) -> None:
    assert send(tamper(signed_put(s3.client))).outcome == outcome
    assert not any(bucket.objects for bucket in s3.app.buckets.values())


@pytest.mark.parametrize(
    ("tamper", "outcome"),
    [
        pytest.param(lambda a: a.without_parameter("X-Amz-Security-Token"), (403, "InvalidAccessKeyId"), id="missing"),
        pytest.param(lambda a: a.with_parameter("X-Amz-Security-Token", "x"), (400, "InvalidToken"), id="changed"),
    ],
)
def test_a_put_with_a_wrong_session_token_is_refused(
    s3: Reference, tamper: Callable[[Attempt], Attempt], outcome: tuple[int, str]
) -> None:
    assert send(tamper(signed_put(s3.temporary_client))).outcome == outcome
    assert s3.objects == {}


@pytest.mark.parametrize(
    ("params", "headers", "outcome"),
    [
        pytest.param({"ContentMD5": "x"}, {"Content-MD5": "x"}, (400, "InvalidDigest"), id="MD5 that is none"),
        pytest.param(
            {"ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="},
            {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="},
            (400, "BadDigest"),
            id="MD5 of other bytes",
        ),
        pytest.param(
            {"ChecksumSHA256": "short"},
            {"x-amz-checksum-sha256": "short"},
            (400, "InvalidRequest"),
            id="checksum that is none",
        ),
        pytest.param(
            {"ChecksumCRC32": "AAAAAA=="}, {"x-amz-checksum-crc32": "AAAAAA=="}, (400, "BadDigest"), id="CRC32"
        ),
        pytest.param(
            {"ChecksumCRC32C": "AAAAAA=="}, {"x-amz-checksum-crc32c": "AAAAAA=="}, (400, "BadDigest"), id="CRC32C"
        ),
        pytest.param(
            {"IfNoneMatch": '"x"'}, {"If-None-Match": '"x"'}, (501, "NotImplemented"), id="if-none-match an etag"
        ),
        pytest.param({"Key": "k" * 1025}, {}, (400, "KeyTooLongError"), id="key of 1025 bytes"),
        pytest.param({"Bucket": "none"}, {}, (404, "NoSuchBucket"), id="missing bucket"),
    ],
)
def test_a_properly_signed_put_of_the_wrong_bytes_or_place_is_refused(
    s3: Reference, params: dict[str, str], headers: dict[str, str], outcome: tuple[int, str]
) -> None:
    url = s3.client.generate_presigned_url(
        "put_object", Params={"Bucket": "uploads", "Key": KEY, **params}, ExpiresIn=60
    )
    assert send(Attempt(method="PUT", url=url, headers=tuple(headers.items()), body=BODY)).outcome == outcome
    assert s3.objects == {}


def put_signed_by_header(s3: Reference, context: dict[str, Any]) -> Attempt:
    request = AWSRequest(method="PUT", url=f"{s3.url}/uploads/{KEY}", data=BODY)
    request.context.update(context)
    S3SigV4Auth(Credentials(KEY_ID, SECRET), "s3", "us-east-1").add_auth(request)
    return Attempt(method="PUT", url=f"{s3.url}/uploads/{KEY}", headers=tuple(request.headers.items()), body=BODY)


def test_a_body_other_than_the_one_hashed_in_a_signed_header_is_refused(s3: Reference) -> None:
    put = put_signed_by_header(s3, {})
    assert send(put.with_body(BODY[::-1])).outcome == (400, "XAmzContentSHA256Mismatch")
    assert s3.objects == {}
    assert send(put).status == 200


def test_an_aws_chunked_body_is_refused_rather_than_stored_as_it_is(s3: Reference) -> None:
    put = put_signed_by_header(s3, {"checksum": {"request_algorithm": {"in": "trailer"}}})
    assert send(put).outcome == (501, "NotImplemented")
    assert s3.objects == {}


def test_a_form_with_a_checksum_of_another_algorithm_than_it_names_is_refused(s3: Reference) -> None:
    fields = {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-sha256": CHECKSUM}
    form = minimal_form(s3.client, *({name: value} for name, value in fields.items()), **fields)
    assert send(form).outcome == (400, "InvalidRequest")


def test_a_form_with_two_checksums_is_refused(s3: Reference) -> None:
    fields = {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha256": CHECKSUM}
    form = minimal_form(s3.client, *({name: value} for name, value in fields.items()), **fields)
    assert send(form).outcome == (400, "InvalidRequest")


def test_a_put_is_admitted_at_its_expiry_and_refused_one_second_later(s3: Reference) -> None:
    put = signed_put(s3.client)
    s3.clock.at = signed_at(put.parameter("X-Amz-Date")) + timedelta(seconds=61)
    assert send(put).outcome == DENIED
    s3.clock.at -= timedelta(seconds=1)
    assert send(put).status == 200


def test_a_put_signed_more_than_15_minutes_ahead_is_not_yet_valid(s3: Reference) -> None:
    put = signed_put(s3.client)
    s3.clock.at = signed_at(put.parameter("X-Amz-Date")) - timedelta(minutes=15, seconds=1)
    assert send(put).outcome == DENIED
    s3.clock.at += timedelta(seconds=1)
    assert send(put).status == 200


@pytest.mark.parametrize("expires_in", [1, 604_800])
def test_the_shortest_and_the_longest_lifetime_are_admitted(s3: Reference, expires_in: int) -> None:
    put = signed_put(s3.client, expires_in=expires_in)
    s3.clock.at = signed_at(put.parameter("X-Amz-Date"))
    assert send(put).status == 200


def test_a_replay_under_create_only_is_refused_and_the_first_object_stays(s3: Reference) -> None:
    put = signed_put(s3.client, ContentType="image/png", IfNoneMatch="*")
    put = put.with_header("Content-Type", "image/png").with_header("If-None-Match", "*")
    assert send(put).status == 200
    assert send(put.with_body(b"second")).outcome == (412, "PreconditionFailed")
    assert s3.objects[KEY].body == BODY


def test_of_200_concurrent_create_only_puts_exactly_one_wins(s3: Reference) -> None:
    put = signed_put(s3.client, IfNoneMatch="*").with_header("If-None-Match", "*")

    async def race() -> list[int]:
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=200), timeout=20, trust_env=False) as client:
            requests = (
                client.put(put.url, headers=dict(put.headers), content=str(number).encode()) for number in range(200)
            )
            return [response.status_code for response in await asyncio.gather(*requests)]

    assert sorted(asyncio.run(race())) == [200] + [412] * 199


def test_two_creators_whose_bodies_overlap_in_time_do_not_both_win(s3: Reference) -> None:
    put = signed_put(s3.client, IfNoneMatch="*").with_header("If-None-Match", "*").with_body(b"x" * 3_000_000)
    with ThreadPoolExecutor(4) as pool:
        statuses = [answer.status for answer in pool.map(send, [put] * 4)]
    assert sorted(statuses) == [200, 412, 412, 412]


def test_a_body_shorter_than_its_length_promises_is_not_stored(s3: Reference) -> None:
    put = signed_put(s3.client, ContentType="image/png").with_header("Content-Type", "image/png")
    send_and_hang_up(put.with_header("Content-Length", str(len(BODY) + 5)))
    settle(s3.url)
    assert s3.objects == {}


def test_of_a_body_longer_than_its_signed_length_nothing_beyond_that_length_is_stored(s3: Reference) -> None:
    put = signed_put(s3.client, ContentLength=len(BODY)).with_body(BODY + b"smuggled")
    send(put.with_header("Content-Length", str(len(BODY))))
    settle(s3.url)
    assert [stored.body for stored in s3.objects.values()] in ([], [BODY])


def test_a_body_with_a_length_and_chunks_is_refused(s3: Reference) -> None:
    put = signed_put(s3.client, ContentLength=5).with_header("Content-Length", "5")
    chunked = put.with_header("Transfer-Encoding", "chunked").with_body(b"14\r\n" + BODY + b"\r\n0\r\n\r\n")
    assert send(chunked).status == 400
    settle(s3.url)
    assert s3.objects == {}


GET_TAMPERINGS: list[Any] = [
    pytest.param(lambda a: a.with_path("/uploads/private/other.png"), MISMATCH, id="key"),
    pytest.param(lambda a: a.with_path(f"/other/{KEY}"), MISMATCH, id="bucket"),
    pytest.param(lambda a: a.with_parameter("response-content-disposition", "inline"), MISMATCH, id="disposition"),
    pytest.param(lambda a: a.without_parameter("response-content-disposition"), MISMATCH, id="without disposition"),
    pytest.param(lambda a: a.with_another_parameter("response-content-type", "text/html"), MISMATCH, id="type added"),
    pytest.param(
        lambda a: a.with_another_parameter("response-content-disposition", "inline"),
        MALFORMED_QUERY,
        id="disposition twice",
    ),
    pytest.param(lambda a: a.with_method("HEAD"), (403, ""), id="method HEAD"),
    pytest.param(lambda a: a.with_method("DELETE"), MISMATCH, id="method DELETE"),
    pytest.param(lambda a: a.with_header("x-amz-checksum-mode", "ENABLED"), DENIED, id="extra header"),
    pytest.param(lambda a: a.with_parameter("X-Amz-Expires", "3600"), MISMATCH, id="expires"),
    pytest.param(
        lambda a: a.with_parameter("X-Amz-Signature", changed(a.parameter("X-Amz-Signature"))), MISMATCH, id="signature"
    ),
    pytest.param(lambda a: a.without_parameter("X-Amz-Signature"), MALFORMED_QUERY, id="without signature"),
    pytest.param(lambda a: a.without_parameter("X-Amz-Credential"), MALFORMED_QUERY, id="without credential"),
]


@pytest.mark.parametrize(("tamper", "outcome"), GET_TAMPERINGS)
def test_a_get_with_one_thing_changed_is_refused_even_under_a_public_prefix(
    s3: Reference, tamper: Callable[[Attempt], Attempt], outcome: tuple[int, str]
) -> None:
    send(signed_put(s3.client))
    answer = send(tamper(signed_get(s3.client)))
    assert answer.outcome == outcome
    assert BODY not in answer.body
    assert s3.objects[KEY].body == BODY


def test_a_url_signed_for_one_hosts_name_is_refused_at_another(s3: Reference) -> None:
    elsewhere = s3_client("http://localhost:1", KEY_ID, SECRET)
    put = signed_put(elsewhere)
    here = Attempt(method="PUT", url=put.url.replace("http://localhost:1", s3.url), headers=put.headers, body=BODY)
    assert send(here).outcome == MISMATCH


def test_a_url_signed_for_another_region_is_refused(s3: Reference) -> None:
    assert send(signed_put(s3.client_of(region="eu-central-1"))).outcome == MALFORMED_QUERY


# Cross-origin requests.


def preflight(s3: Reference, origin: str, method: str = "PUT", headers: str = "content-type") -> Answer:
    asked = (("Origin", origin), ("Access-Control-Request-Method", method), ("Access-Control-Request-Headers", headers))
    return send(Attempt(method="OPTIONS", url=f"{s3.url}/uploads/{KEY}", headers=asked))


def test_a_preflight_of_the_page_is_answered_with_its_rule(s3: Reference) -> None:
    answer = preflight(s3, PAGE, headers="Content-Type, x-amz-checksum-sha256")
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-headers"] == "content-type, x-amz-checksum-sha256"
    assert answer.headers["access-control-max-age"] == "600"


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [
        pytest.param("http://evil.invalid", "PUT", "content-type", id="foreign origin"),
        pytest.param(PAGE + ".evil.invalid", "PUT", "content-type", id="origin that starts alike"),
        pytest.param("null", "PUT", "content-type", id="null origin"),
        pytest.param(PAGE, "DELETE", "content-type", id="method"),
        pytest.param(PAGE, "PUT", "content-type, authorization", id="header"),
    ],
)
def test_a_preflight_outside_of_every_rule_is_refused(s3: Reference, origin: str, method: str, headers: str) -> None:
    answer = preflight(s3, origin, method, headers)
    assert answer.outcome == (403, "AccessForbidden")
    assert "access-control-allow-origin" not in answer.headers


def test_a_preflight_that_asks_nothing_is_refused(s3: Reference) -> None:
    assert send(Attempt(method="OPTIONS", url=f"{s3.url}/uploads/")).outcome == (400, "BadRequest")


@pytest.mark.parametrize(("origin", "allowed"), [(PAGE, PAGE), ("http://evil.invalid", None)])
def test_answers_and_errors_are_readable_by_the_page_alone(s3: Reference, origin: str, allowed: str | None) -> None:
    form = signed_form(s3.client).attempt().with_header("Origin", origin)
    for answer in (send(form), send(form.with_body(b""))):
        assert answer.headers.get("access-control-allow-origin") == allowed
    assert send(form).headers.get("access-control-expose-headers") == (allowed and "ETag, Location")


# The documented examples of AWS.

DOCUMENTED = Judge(
    dialect=AWS4, keys={"AKIAIOSFODNN7EXAMPLE": HmacKey(secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")}
)


def documented_get(signature: str) -> ReceivedRequest:
    return ReceivedRequest(
        method="GET",
        raw_path="/test.txt",
        query=(
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"),
            ("X-Amz-Date", "20130524T000000Z"),
            ("X-Amz-Expires", "86400"),
            ("X-Amz-SignedHeaders", "host"),
            ("X-Amz-Signature", signature),
        ),
        headers=(("host", "examplebucket.s3.amazonaws.com"),),
    )


def test_the_documented_presigned_get_is_admitted() -> None:
    signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    now = datetime(2013, 5, 24, tzinfo=timezone.utc)
    assert DOCUMENTED.check_query(documented_get(signature), now).payload == "UNSIGNED-PAYLOAD"
    with pytest.raises(Refusal, match="SignatureDoesNotMatch"):
        DOCUMENTED.check_query(documented_get(changed(signature)), now)
