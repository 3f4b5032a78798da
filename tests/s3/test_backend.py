"""The S3 backend: addresses, credentials, mechanisms, and what it says when something is wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.session import Session as CoreSession
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from emulators.s3_bucket import S3Bucket
from emulators.s3_reference import S3Reference
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from presign import ConfigurationError, CredentialsUnavailable, Grant, Rule, StorageUnavailable
from presign.s3 import S3Backend, open_s3
from tests.conftest import PNG, Store, upload

NOW = datetime(2026, 11, 23, 12, 0, 0, 700_000, tzinfo=timezone.utc)
SESSION = boto3.Session(aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="a secret", region_name="eu-central-1")
GRANT = Grant(key="public/1", content_type="image/png", min_bytes=1, max_bytes=9, expires_in=timedelta(seconds=60))


def _backend(**options: Any) -> S3Backend:
    values: dict[str, Any] = {"bucket": "my-bucket", "session": SESSION}
    return S3Backend(**values | options)


def _grant(**changes: Any) -> Grant:
    values = {name: getattr(GRANT, name) for name in GRANT.__dataclass_fields__}
    return Grant(**values | changes)


def _conditions(fields: Any) -> list[Any]:
    conditions: list[Any] = json.loads(base64.b64decode(fields["policy"]))["conditions"]
    return conditions


@pytest.mark.parametrize(
    ("options", "url", "object_url"),
    [
        ({}, "https://my-bucket.s3.eu-central-1.amazonaws.com/", None),
        ({"region": "us-east-1"}, "https://my-bucket.s3.us-east-1.amazonaws.com/", None),
        ({"region": "cn-north-1"}, "https://my-bucket.s3.cn-north-1.amazonaws.com.cn/", None),
        ({"bucket": "my.bucket"}, "https://s3.eu-central-1.amazonaws.com/my.bucket/", None),
        ({"endpoint_url": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000/my-bucket/", None),
        ({"endpoint_url": "http://Minio:80/", "allow_http": True}, "http://minio/my-bucket/", None),
        ({"endpoint_url": "https://s3.example.com:443"}, "https://s3.example.com/my-bucket/", None),
        (
            {
                "endpoint_url": "http://minio:9000",
                "public_endpoint_url": "https://files.example.com",
                "allow_http": True,
            },
            "https://files.example.com/my-bucket/",
            None,
        ),
    ],
)
def test_requests_go_to_the_regions_own_host_or_by_path(options: Any, url: str, object_url: str | None) -> None:
    backend = _backend(**options)
    assert backend.sign_upload(GRANT, NOW).url == url
    assert backend.object_url("public/1") == f"{url}public/1"
    put = _backend(**options, upload_method="put").sign_upload(GRANT, NOW)
    assert put.url.startswith(f"{url}public/1?X-Amz-Algorithm=AWS4-HMAC-SHA256&")


def test_hosts_are_those_of_botocore_in_every_region() -> None:
    core = CoreSession()
    for partition in core.get_available_partitions():
        for region in core.get_available_regions("s3", partition):
            client = SESSION.client(
                "s3",
                region_name=region,
                config=Config(
                    s3={"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
                    signature_version="s3v4",
                ),
            )
            theirs = client.generate_presigned_url("get_object", Params={"Bucket": "my-bucket", "Key": "k"})
            assert theirs.startswith(_backend(region=region).object_url("k") + "?"), region


def test_whole_urls_are_botocores_for_the_same_moment() -> None:
    client = SESSION.client(
        "s3",
        region_name="eu-central-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"}),
    )
    url = client.generate_presigned_url(
        "put_object",
        Params={
            "Bucket": "my-bucket",
            "Key": "public/1",
            "ContentType": "image/png",
            "ContentLength": 9,
            "IfNoneMatch": "*",
            "ChecksumSHA256": base64.b64encode(bytes(32)).decode(),
            "Metadata": {"tenant": "7"},
            "CacheControl": "max-age=60",
            "ContentDisposition": 'inline; filename="a  b.png"',
        },
        ExpiresIn=60,
    )
    at = datetime.strptime(url.split("X-Amz-Date=")[1][:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    grant = _grant(
        min_bytes=9,
        create_only=True,
        sha256=bytes(32).hex(),
        metadata={"tenant": "7"},
        cache_control="max-age=60",
        content_disposition='inline; filename="a  b.png"',
    )
    assert _backend().sign_upload(grant, at).url == url


def test_the_form_and_the_policy_hold_the_same_fields() -> None:
    grant = _grant(
        sha256="0" * 64, cache_control="no-store", content_disposition="inline", metadata={"a": "b", "c": "d"}
    )
    upload = _backend().sign_upload(grant, NOW)
    covered = {name: value for c in _conditions(upload.fields) if isinstance(c, dict) for name, value in c.items()}
    assert covered.pop("bucket") == "my-bucket"
    assert covered == {n: v for n, v in upload.fields.items() if n not in {"policy", "x-amz-signature"}}
    assert ["content-length-range", 1, 9] in _conditions(upload.fields)


@pytest.mark.parametrize(
    ("upload_method", "endpoint_url", "create_only", "method"),
    [
        ("auto", None, False, "POST"),
        ("auto", None, True, "PUT"),
        ("auto", "https://account.r2.cloudflarestorage.com", False, "PUT"),
        ("auto", "https://account.eu.r2.cloudflarestorage.com", True, "PUT"),
        ("put", None, False, "PUT"),
        ("post", None, False, "POST"),
        ("post", "https://account.r2.cloudflarestorage.com", False, "POST"),
    ],
)
def test_the_mechanism_is_the_strongest_that_the_store_has(
    upload_method: str, endpoint_url: str | None, create_only: bool, method: str
) -> None:
    backend = _backend(upload_method=upload_method, endpoint_url=endpoint_url)
    assert backend.sign_upload(_grant(create_only=create_only), NOW).method == method


@pytest.mark.parametrize("setting", ["endpoint_url", "public_endpoint_url"])
def test_an_endpoint_without_tls_beyond_this_machine_must_be_asked_for(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{setting} must begin with https://.*allow_http=True") as caught:
        _backend(**{setting: "http://storage.example.com"})
    assert caught.value.field == setting
    for url in ("http://localhost:9000", "http://127.0.0.1", "http://[::1]:9000", "https://storage.example.com"):
        _backend(**{setting: url})
    _backend(**{setting: "http://storage.example.com"}, allow_http=True)


def test_a_put_is_signed_for_the_exact_size_and_does_not_ask_the_client_to_set_it() -> None:
    upload = _backend(upload_method="put").sign_upload(_grant(min_bytes=9), NOW)
    assert "X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost&" in upload.url
    assert upload.headers == {"Content-Type": "image/png"}
    assert _backend(upload_method="put").enforces(GRANT) == {Rule.TYPE, Rule.CHECKSUM, Rule.CREATE_ONLY}


def _temporary_session(expires_at: datetime, renewals: list[datetime] | None = None) -> boto3.Session:
    """A session as roles give them, whose credentials end, and are renewed from ``renewals``."""
    remaining = list(renewals or [])

    def renew() -> dict[str, str]:
        until = remaining.pop(0)
        return {
            "access_key": f"ASIA{until:%H%M}",
            "secret_key": "a temporary secret",
            "token": "a renewed session token",
            "expiry_time": until.isoformat(),
        }

    core: Any = CoreSession()
    core._credentials = RefreshableCredentials(
        "ASIAFIRST", "a temporary secret", "a session token", expires_at, renew, "test"
    )
    return boto3.Session(botocore_session=core, region_name="eu-central-1")


def test_a_session_token_is_sent_and_covered() -> None:
    now = datetime.now(timezone.utc)
    later = now + timedelta(hours=6)
    fields = _backend(session=_temporary_session(later)).sign_upload(GRANT, now).fields
    assert fields["x-amz-security-token"] == "a session token"
    assert {"x-amz-security-token": "a session token"} in _conditions(fields)
    put = _backend(session=_temporary_session(later), upload_method="put").sign_upload(GRANT, now)
    assert "X-Amz-Security-Token=a%20session%20token&" in put.url


@pytest.mark.parametrize("upload_method", ["post", "put"])
def test_a_ticket_never_outlives_its_credentials(upload_method: str) -> None:
    end = (datetime.now(timezone.utc) + timedelta(hours=6)).replace(microsecond=500_000)
    backend = _backend(session=_temporary_session(end), upload_method=upload_method)
    upload = backend.sign_upload(_grant(expires_in=timedelta(hours=1)), end - timedelta(minutes=20))
    assert upload.expires_at == end.replace(microsecond=0)
    if upload_method == "put":
        assert "X-Amz-Expires=1200&" in upload.url
    else:
        document = json.loads(base64.b64decode(upload.fields["policy"]))
        assert document["expiration"] == f"{end:%Y-%m-%dT%H:%M:%SZ}"


def test_a_download_url_never_outlives_its_credentials() -> None:
    end = (datetime.now(timezone.utc) + timedelta(hours=6)).replace(microsecond=0)
    backend = _backend(session=_temporary_session(end))
    url = backend.sign_download("k", end - timedelta(seconds=90), expires_in=timedelta(hours=1))
    assert "X-Amz-Expires=90&" in url
    with pytest.raises(CredentialsUnavailable):
        backend.sign_download("k", end, expires_in=timedelta(hours=1))


def test_credentials_are_renewed_off_the_signing_path() -> None:
    now = datetime.now(timezone.utc)
    soon, later = now + timedelta(minutes=16), now + timedelta(hours=6)
    session = _temporary_session(soon, [later])
    backend = _backend(session=session)
    session._session._credentials._expiry_time = now + timedelta(minutes=14)  # type: ignore[attr-defined]
    assert backend.sign_upload(GRANT, now).fields["x-amz-credential"].startswith("ASIAFIRST/")
    at = soon - timedelta(minutes=14)
    assert backend.sign_upload(GRANT, at).fields["x-amz-credential"].startswith("ASIAFIRST/"), "not waited for"
    for thread in _threads("renew the AWS credentials"):
        thread.join(5)
    assert backend.sign_upload(GRANT, at).fields["x-amz-credential"].startswith(f"ASIA{later:%H%M}/")


def _threads(name: str) -> Iterator[Any]:
    import threading

    return (thread for thread in threading.enumerate() if thread.name == name)


def test_no_credentials_are_an_error_that_names_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID"):
        S3Backend(bucket="b", region="eu-central-1")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigurationError, match="AWS_PROFILE"):
        S3Backend(bucket="b", region="eu-central-1")


def test_settings_that_make_no_sense_name_themselves() -> None:
    plain = boto3.Session(aws_access_key_id="a", aws_secret_access_key="s")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"session": plain}, "region"),
        ({"region": "eu-central1"}, "region"),
        ({"bucket": ""}, "bucket"),
        ({"bucket": "a/b"}, "bucket"),
        ({"upload_method": "patch"}, "upload_method"),
        ({"endpoint_url": "minio:9000"}, "endpoint_url"),
        ({"endpoint_url": "http://user:secret@minio"}, "endpoint_url"),
        ({"public_endpoint_url": "https://cdn.example.com/path"}, "public_endpoint_url"),
    ]
    for options, field in cases:
        with pytest.raises(ConfigurationError) as caught:
            _backend(**options)
        assert caught.value.field == field, options
        assert "secret" not in str(caught.value)


def test_the_endpoint_of_the_aws_settings_is_used_for_signing_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://localhost:9000")
    assert _backend().object_url("k") == "http://localhost:9000/my-bucket/k"


def test_a_url_opens_a_backend_and_a_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    backend, _ = open_s3("s3://my-bucket/public/?region=eu-west-3&endpoint_url=http://minio:9000&allow_http=true")
    assert backend.object_url("k") == "http://minio:9000/my-bucket/k"
    backend, prefix = open_s3("s3://my-bucket/public/a/?region=eu-west-3&upload_method=put")
    assert prefix == "public/a/"
    assert backend.object_url("k") == "https://my-bucket.s3.eu-west-3.amazonaws.com/k"
    assert backend.sign_upload(GRANT, NOW).method == "PUT"
    backend, prefix = open_s3(
        "s3://my-bucket?endpoint_url=http%3A%2F%2Flocalhost%3A1&public_endpoint_url=https://x.example"
    )
    assert prefix == ""
    assert backend.object_url("k") == "https://x.example/my-bucket/k"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3://",
        "s3:///prefix/",
        "gs://bucket/",
        "https://bucket/",
        "s3://key:secret@bucket/",
        "s3://bucket/prefix",
        "s3://bucket/../",
        "s3://bucket/?colour=red",
        "s3://bucket/?region=a&region=b",
        "s3://bucket/?region=",
        "s3://bucket/?region",
        "s3://bucket/#x",
        "s3://bucket/?upload_method=patch",
    ],
)
def test_a_url_that_makes_no_sense_is_refused_without_repeating_secrets(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with pytest.raises(ConfigurationError) as caught:
        open_s3(url)
    assert "secret" not in str(caught.value)


def test_check_passes_for_a_signer_that_may_not_list(seaweedfs: Store) -> None:
    seaweedfs.backend().check()


def test_check_names_what_is_wrong(s3_reference: Store) -> None:
    stranger = boto3.Session(aws_access_key_id="AKIASTRANGER", aws_secret_access_key="a secret")
    with pytest.raises(StorageUnavailable, match="EndpointConnectionError"):
        s3_reference.backend(endpoint_url="http://127.0.0.1:9").check()
    with pytest.raises((ConfigurationError, StorageUnavailable)):
        s3_reference.backend(session=stranger).check()


def test_check_names_a_missing_bucket_and_wrong_keys(seaweedfs: Store) -> None:
    stranger = boto3.Session(aws_access_key_id="AKIASTRANGER", aws_secret_access_key="a secret of mine")
    forger = boto3.Session(
        aws_access_key_id=seaweedfs.session.get_credentials().access_key,  # type: ignore[union-attr]
        aws_secret_access_key="a secret of mine",
    )
    for session, code in ((stranger, "InvalidAccessKeyId"), (forger, "SignatureDoesNotMatch")):
        with pytest.raises(ConfigurationError, match=code) as caught:
            seaweedfs.backend(session=session).check()
        assert "AWS_SECRET_ACCESS_KEY" in str(caught.value)
        assert "a secret of mine" not in str(caught.value)
    admin = seaweedfs.admin._request_signer._credentials
    all_rights = boto3.Session(aws_access_key_id=admin.access_key, aws_secret_access_key=admin.secret_key)
    with pytest.raises(ConfigurationError, match="missing-bucket does not exist"):
        seaweedfs.backend(session=all_rights, bucket="missing-bucket").check()


def test_a_store_reached_under_two_names_takes_tickets_for_the_public_one(s3_reference: Store) -> None:
    # "localhost" and "127.0.0.1" are two hosts to a signature, as a container's names are.
    public = s3_reference.endpoint_url.replace("127.0.0.1", "localhost")
    backend = s3_reference.backend(public_endpoint_url=public, upload_method="put")
    grant = _grant(key="public/two-names", min_bytes=len(PNG), max_bytes=len(PNG))
    signed = backend.sign_upload(grant, datetime.now(timezone.utc))
    assert signed.url.startswith(public)
    assert _send(signed).status == 200
    head = backend.head("public/two-names")
    assert head is not None
    assert head.size == len(PNG)


def _send(signed: Any) -> Any:
    from emulators.wire import Attempt, send

    return send(Attempt(method=signed.method, url=signed.url, headers=tuple(signed.headers.items()), body=PNG))


def test_temporary_credentials_are_accepted_by_the_store() -> None:
    reference = S3Reference(
        buckets={"my-bucket": S3Bucket()},
        access_keys={"ASIAFIRST": HmacKey(secret="a temporary secret", session_token="a session token")},
        region="eu-central-1",
    )
    later = datetime.now(timezone.utc) + timedelta(hours=6)
    with serve(reference) as url:
        backend = _backend(session=_temporary_session(later), endpoint_url=url)
        for create_only in (False, True):
            grant = _grant(key=f"public/{create_only}", max_bytes=99, create_only=create_only)
            signed = backend.sign_upload(grant, datetime.now(timezone.utc))
            assert upload(signed, PNG).status in (200, 201)  # type: ignore[arg-type]  # has what is sent
            assert backend.head(grant.key) is not None


def test_head_read_and_delete_speak_of_the_object_that_was_meant(store: Store) -> None:
    backend = store.backend()
    assert backend.head("public/nothing-here") is None
    store.admin.put_object(Bucket=store.bucket, Key="public/one", Body=b"0123456789", ContentType="text/plain")
    head = backend.head("public/one")
    assert head is not None
    assert (head.size, head.content_type) == (10, "text/plain")
    assert backend.read("public/one", offset=2, length=3, etag=head.etag) == b"234"
    assert backend.read("public/one", offset=8, length=100, etag=head.etag) == b"89"
    with pytest.raises(StorageUnavailable):
        backend.read("public/one", offset=0, length=1, etag="0" * 32)
    backend.delete("public/one")
    backend.delete("public/one")
    assert backend.head("public/one") is None


def test_the_first_bytes_come_with_the_head(store: Store) -> None:
    backend = store.backend()
    assert backend.head("public/begun", first_bytes=4) is None
    store.admin.put_object(
        Bucket=store.bucket,
        Key="public/begun",
        Body=b"0123456789",
        ContentType="text/plain",
        CacheControl="no-cache",
        Metadata={"tenant": "seven"},
    )
    plain = backend.head("public/begun")
    assert plain is not None
    assert plain.first_bytes is None
    for asked, answered in ((4, b"0123"), (10, b"0123456789"), (1024, b"0123456789")):
        begun = backend.head("public/begun", first_bytes=asked)
        assert begun is not None
        assert begun.first_bytes == answered
        assert replace(begun, first_bytes=None) == plain
    store.admin.put_object(Bucket=store.bucket, Key="public/begun", Body=b"")
    empty = backend.head("public/begun", first_bytes=4)
    assert empty is not None
    assert (empty.size, empty.first_bytes) == (0, None)


def test_head_and_read_do_without_botos_own_calls(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = store.backend()
    store.admin.put_object(Bucket=store.bucket, Key="public/light", Body=b"0123456789")
    # The client is the store's administrator's as well, so that only from here on its calls are forbidden.
    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", _forbidden)
    head = backend.head("public/light")
    assert head is not None
    assert backend.read("public/light", offset=1, length=2, etag=head.etag) == b"12"
    assert backend.head("public/none") is None


def _forbidden(*arguments: object) -> None:
    pytest.fail("boto3 was asked, which takes three times as long")


class Interrupted:
    """An S3 server that refuses as it is told before it answers; `refusals` counts down."""

    def __init__(self, app: ASGIApp, *, status: int, refusals: int) -> None:
        self.app = app
        self.status = status
        self.refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.refusals:
            self.refusals -= 1
            await Response(status_code=self.status)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@pytest.mark.parametrize("status", [403, 500, 503])
@pytest.mark.parametrize("call", ["head", "head with first bytes", "read"])
def test_a_request_that_the_storage_refuses_once_is_made_again(status: int, call: str) -> None:
    reference = S3Reference(
        buckets={"my-bucket": S3Bucket()},
        access_keys={"AKIAEXAMPLE": HmacKey(secret="a secret")},
        region="eu-central-1",
    )
    app = Interrupted(reference, status=status, refusals=0)
    with serve(app) as url:
        backend = _backend(endpoint_url=url)
        signed = backend.sign_upload(_grant(key="public/1", max_bytes=99), datetime.now(timezone.utc))
        assert upload(signed, PNG).status == 201  # type: ignore[arg-type]  # has what is sent
        head = backend.head("public/1")
        assert head is not None
        app.refusals = 1
        calls = {
            "head": lambda: backend.head("public/1") == head,
            "head with first bytes": lambda: backend.head("public/1", first_bytes=4) == head,
            "read": lambda: backend.read("public/1", offset=0, length=4, etag=head.etag) == PNG[:4],
        }
        assert calls[call]()
        assert app.refusals == 0


def test_a_storage_that_goes_on_refusing_or_is_gone_is_unavailable() -> None:
    reference = S3Reference(buckets={}, access_keys={}, region="eu-central-1")
    with serve(Interrupted(reference, status=503, refusals=1_000)) as url:
        backend = _backend(endpoint_url=url)
        with pytest.raises(StorageUnavailable, match="HEAD"):
            backend.head("public/1")
        with pytest.raises(StorageUnavailable, match="GET"):
            backend.read("public/1", offset=0, length=4, etag="x")
    with pytest.raises(StorageUnavailable, match="does not answer"):
        backend.head("public/1")
