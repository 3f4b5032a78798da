"""The Azure backend on Azurite, and on a verifier of our own for the request headers that Azurite cannot check."""

from __future__ import annotations

import base64
import hashlib
import http.client
import http.server
import json
import logging
import os
import ssl
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import azure.identity
import pytest
from azure.core.credentials import AccessToken, AzureNamedKeyCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.storage.blob import BlobServiceClient, CorsRule

from emulators.azure_reference import KEY_FIELDS, AzureReference, Blob
from emulators.azurite import ACCOUNT_KEY, ACCOUNT_NAME, Azurite
from emulators.processes import StartFailed
from emulators.serving import serve
from emulators.wire import Answer, Attempt, send
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
from presign.azure import AzureBackend, open_azure

PAGE = "http://localhost:8080"
NOW = datetime(2026, 11, 23, 12, 0, 0, 700_000, tzinfo=timezone.utc)
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde"
KEY = "public/0123456789abcdef0123456789abcdef"
OTHER_KEY = base64.b64encode(b"another account key").decode()
OBJECT_ID, TENANT_ID = "11059fcc-5514-4800-b5f8-49808b9cfab6", "ab1f708d-50f6-404c-a006-d71b2ac7a606"
GRANT = Grant(key=KEY, content_type="image/png", min_bytes=1, max_bytes=100, expires_in=timedelta(seconds=60))

Change = Callable[[Attempt], Attempt]


class Identity:
    """A token credential whose tokens look like those of Microsoft Entra ID; it counts how often it was asked."""

    def __init__(self, *, lifetime: timedelta = timedelta(hours=1)) -> None:
        self.lifetime = lifetime
        self.asked = 0

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.asked += 1
        now = int(time.time())
        expires_on = now + int(self.lifetime.total_seconds())
        claims = {
            "aud": "https://storage.azure.com",
            "iss": f"https://sts.windows.net/{TENANT_ID}/",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": expires_on,
            "oid": OBJECT_ID,
            "tid": TENANT_ID,
        }
        parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)] + [b"the token's signature"]
        token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
        return AccessToken(token, expires_on)


class RefusedIdentity:
    """What azure-identity does where there is nothing to authenticate with."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        raise ClientAuthenticationError(message="tried with client secret S3CR3T")


@dataclass(frozen=True, kw_only=True)
class Account:
    """A running Azurite, with what signs for it: an account key over http, or an identity over https."""

    azurite: Azurite
    admin: BlobServiceClient = field(repr=False)
    credentials: dict[str, Any] = field(repr=False)

    def backend(self, **options: Any) -> AzureBackend:
        values = {"container": "uploads", "account_url": self.azurite.account_url, **self.credentials}
        return AzureBackend(**values | options)

    def presigner(self, *, clock: Callable[[], datetime] | None = None, **policy: Any) -> Presigner:
        rules: dict[str, Any] = {"content_types": {"image/png"}, "max_bytes": 100, "min_bytes": 10, "prefix": "public/"}
        return Presigner(
            backend=self.backend(),
            policy=UploadPolicy(**rules | policy),
            secret="the secret of the tests' tokens",
            clock=clock or utc_now,
        )

    def blobs(self, container: str = "uploads") -> list[str]:
        return list(self.admin.get_container_client(container).list_blob_names())

    def send(self, attempt: Attempt) -> Answer:
        return send(attempt) if attempt.url.startswith("http:") else send_by_tls(attempt, self.azurite)


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


def grant(**changes: Any) -> Grant:
    return replace(GRANT, **changes)


def png_request(**changes: Any) -> UploadRequest:
    return UploadRequest(**{"content_type": "image/png"} | changes)


def as_sent(ticket: Any, body: bytes = PNG) -> Attempt:
    """Exactly what a client sends for a ticket."""
    assert ticket.method == "PUT"
    assert not ticket.fields
    return Attempt(method="PUT", url=ticket.url, headers=tuple(ticket.headers.items()), body=body)


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query, strict_parsing=True).items()}


def send_by_tls(attempt: Attempt, azurite: Azurite) -> Answer:
    parts = urlsplit(attempt.url)
    context = ssl.create_default_context(cafile=str(azurite.certificate))
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=10, context=context)
    try:
        target = f"{parts.path}{'?' if parts.query else ''}{parts.query}"
        connection.request(attempt.method, target, attempt.body, dict(attempt.headers))
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=headers, body=response.read())
    finally:
        connection.close()


@pytest.fixture(autouse=True)
def _no_azure_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with Azurite(directory=tmp_path_factory.mktemp("azurite-http")) as azurite:
        yield running_account(azurite, {"account_key": ACCOUNT_KEY})


@pytest.fixture(scope="module")
def delegated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with (
        Azurite(directory=tmp_path_factory.mktemp("azurite-https"), https=True) as azurite,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("REQUESTS_CA_BUNDLE", str(azurite.certificate))
        yield running_account(azurite, {"credential": Identity()})


@pytest.fixture(params=["keyed", "delegated"])
def account(request: pytest.FixtureRequest) -> Account:
    """Each kind of key in turn: an account key, and an identity's user delegation key."""
    running: Account = request.getfixturevalue(request.param)
    for container in ("uploads", "other"):
        for name in running.blobs(container):
            running.admin.get_blob_client(container, name).delete_blob(delete_snapshots="include")
    return running


def running_account(azurite: Azurite, credentials: dict[str, Any]) -> Account:
    admin = BlobServiceClient(
        azurite.account_url, credential=AzureNamedKeyCredential(ACCOUNT_NAME, ACCOUNT_KEY), api_version="2020-12-06"
    )
    admin.create_container("uploads")
    admin.create_container("other")
    rule = CorsRule([PAGE], ["PUT", "GET"], allowed_headers=["*"], exposed_headers=["ETag"], max_age_in_seconds=600)
    admin.set_service_properties(cors=[rule])
    return Account(azurite=azurite, admin=admin, credentials=credentials)


# What a ticket holds.


def test_a_ticket_has_every_header_that_put_blob_needs() -> None:
    backend = AzureBackend(container="uploads", account_name="myaccount", account_key=ACCOUNT_KEY)
    upload = backend.sign_upload(
        grant(
            content_disposition='inline; filename="a b.png"',
            cache_control="max-age=60",
            metadata={"tenant": "7"},
            create_only=True,
        ),
        NOW,
    )
    assert upload.method == "PUT"
    assert upload.fields == {}
    assert upload.headers == {
        "x-ms-blob-type": "BlockBlob",
        "Content-Type": "image/png",
        "x-ms-blob-content-type": "image/png",
        "x-ms-blob-content-disposition": 'inline; filename="a b.png"',
        "x-ms-blob-cache-control": "max-age=60",
        "x-ms-meta-tenant": "7",
        "If-None-Match": "*",
    }
    assert upload.expires_at == datetime(2026, 11, 23, 12, 1, 0, tzinfo=timezone.utc)
    assert upload.url.startswith(f"https://myaccount.blob.core.windows.net/uploads/{KEY}?")
    query = query_of(upload.url)
    assert len(query.pop("sig")) == 44
    assert query == {
        "st": "2026-11-23T11:45:00Z",
        "se": "2026-11-23T12:01:00Z",
        "sp": "c",
        "spr": "https",
        "sv": "2020-12-06",
        "sr": "b",
    }


def test_the_time_may_come_in_any_zone() -> None:
    backend = AzureBackend(container="uploads", account_name="myaccount", account_key=ACCOUNT_KEY)
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert backend.sign_upload(GRANT, elsewhere).url == backend.sign_upload(GRANT, NOW).url


@pytest.mark.parametrize(
    ("options", "base_url", "protocol"),
    [
        ({"account_name": "myaccount"}, "https://myaccount.blob.core.windows.net", "https"),
        (
            {"account_name": "myaccount", "endpoint_suffix": "core.chinacloudapi.cn"},
            "https://myaccount.blob.core.chinacloudapi.cn",
            "https",
        ),
        (
            {"account_url": "https://MyAccount.blob.core.usgovcloudapi.net:443/"},
            "https://myaccount.blob.core.usgovcloudapi.net",
            "https",
        ),
        (
            {"account_url": "https://myaccount.z42.blob.storage.azure.net"},
            "https://myaccount.z42.blob.storage.azure.net",
            "https",
        ),
        (
            {"account_name": "myaccount", "account_url": "https://files.example.com"},
            "https://files.example.com",
            "https",
        ),
        ({"account_url": "http://127.0.0.1:10000/myaccount"}, "http://127.0.0.1:10000/myaccount", None),
        ({"account_url": "http://localhost:10000/myaccount/"}, "http://localhost:10000/myaccount", None),
        ({"account_url": "https://127.0.0.1:10000/myaccount"}, "https://127.0.0.1:10000/myaccount", "https"),
        (
            {
                "account_url": "http://azurite:10000/myaccount",
                "public_account_url": "http://127.0.0.1:10000/myaccount",
            },
            "http://127.0.0.1:10000/myaccount",
            None,
        ),
    ],
)
def test_urls_are_those_of_the_cloud_or_the_emulator(
    options: dict[str, Any], base_url: str, protocol: str | None
) -> None:
    backend = AzureBackend(container="uploads", account_key=ACCOUNT_KEY, **options)
    upload = backend.sign_upload(GRANT, NOW)
    assert upload.url.startswith(f"{base_url}/uploads/{KEY}?st=")
    assert backend.object_url("a b/ö.png") == f"{base_url}/uploads/a%20b/%C3%B6.png"
    assert query_of(upload.url).get("spr") == protocol
    assert backend.name == "azblob://myaccount/uploads"
    signed_for_the_cloud = AzureBackend(container="uploads", account_name="myaccount", account_key=ACCOUNT_KEY)
    same = query_of(signed_for_the_cloud.sign_upload(GRANT, NOW).url)["sig"] == query_of(upload.url)["sig"]
    assert same is (protocol == "https"), "the signed resource has the account once, wherever the URL has it"


@pytest.mark.parametrize(
    ("connection_string", "object_url"),
    [
        (
            f"DefaultEndpointsProtocol=https;AccountName=myaccount;AccountKey={ACCOUNT_KEY};"
            "EndpointSuffix=core.windows.net",
            "https://myaccount.blob.core.windows.net/uploads/k",
        ),
        (f"AccountKey={ACCOUNT_KEY};AccountName=myaccount;", "https://myaccount.blob.core.windows.net/uploads/k"),
        (
            f"AccountName=myaccount;AccountKey={ACCOUNT_KEY};BlobEndpoint=https://files.example.com/",
            "https://files.example.com/uploads/k",
        ),
        ("UseDevelopmentStorage=true", "http://127.0.0.1:10000/devstoreaccount1/uploads/k"),
    ],
)
def test_connection_strings_are_taken_as_the_portal_shows_them(connection_string: str, object_url: str) -> None:
    backend = AzureBackend(container="uploads", connection_string=connection_string)
    assert backend.object_url("k") == object_url


@pytest.mark.parametrize("exact_bytes", [None, 0, 50])
def test_an_account_key_enforces_create_only_and_nothing_else(exact_bytes: int | None) -> None:
    backend = AzureBackend(container="uploads", account_name="myaccount", account_key=ACCOUNT_KEY)
    size = {} if exact_bytes is None else {"min_bytes": exact_bytes, "max_bytes": exact_bytes}
    assert backend.enforces(grant(create_only=True, sha256="0" * 64, **size)) == {Rule.CREATE_ONLY}


def test_an_identity_enforces_type_and_size_only_with_bound_headers_and_an_exact_size(delegated: Account) -> None:
    unbound, bound = delegated.backend(), delegated.backend(bind_headers=True)
    exact = grant(min_bytes=50, max_bytes=50, sha256="0" * 64, create_only=True)
    assert unbound.enforces(exact) == {Rule.CREATE_ONLY}
    assert bound.enforces(exact) == {Rule.CREATE_ONLY, Rule.TYPE, Rule.SIZE}
    assert bound.enforces(GRANT) == {Rule.CREATE_ONLY}
    # Put Blob From URL has no body: a length of 0 would let it take any size and type from elsewhere.
    assert bound.enforces(grant(min_bytes=0, max_bytes=0)) == {Rule.CREATE_ONLY}


def test_a_ticket_says_who_enforces_each_rule(account: Account) -> None:
    ticket = account.presigner(create_only=True).issue(png_request(size=len(PNG), sha256="0" * 64))
    assert ticket.enforced == {
        Rule.SIZE: "completion",
        Rule.TYPE: "completion",
        Rule.HEADERS: "completion",
        Rule.CHECKSUM: "completion",
        Rule.CREATE_ONLY: "storage",
    }


def test_a_policy_that_needs_more_than_the_storage_enforces_is_refused_at_start(account: Account) -> None:
    with pytest.raises(ConfigurationError, match="does not itself enforce size") as caught:
        account.presigner(require_at_storage={Rule.SIZE})
    assert caught.value.field == "require_at_storage"


# Azurite: what it accepts.


def test_an_upload_is_accepted_and_completed(account: Account) -> None:
    presigner = account.presigner(
        disposition="inline", cache_control="max-age=60", metadata={"tenant": "7"}, create_only=True
    )
    sha256 = hashlib.sha256(PNG).hexdigest()
    ticket = presigner.issue(png_request(size=len(PNG), name="Katze ö.png", sha256=sha256))
    answer = account.send(as_sent(ticket))
    assert answer.status == 201
    stored = presigner.complete(ticket.token)
    assert (stored.key, stored.size, stored.content_type) == (ticket.key, len(PNG), "image/png")
    assert f'"{stored.etag}"' == answer.headers["etag"]
    assert stored.url == ticket.object_url
    assert presigner.complete(ticket.token) == stored
    head = account.backend().head(ticket.key)
    assert head is not None
    assert head.content_disposition == "inline; filename=\"Katze _.png\"; filename*=UTF-8''Katze%20%C3%B6.png"
    assert head.cache_control == "max-age=60"
    assert head.content_encoding is None
    assert head.sha256 is None
    assert dict(head.metadata) == {"tenant": "7"}


@pytest.mark.parametrize("prefix", ["", "a.b/c-d/", "(it's)/=@+,!*/", "_/" * 20])
def test_odd_but_legal_keys_are_accepted(account: Account, prefix: str) -> None:
    presigner = account.presigner(prefix=prefix)
    ticket = presigner.issue(png_request())
    assert account.send(as_sent(ticket)).status == 201
    assert presigner.complete(ticket.token).key == ticket.key
    assert account.blobs() == [ticket.key]


def test_keys_that_others_made_can_be_read(account: Account) -> None:
    name = "Kätzchen & co/100% #1?.png"
    account.admin.get_blob_client("uploads", name).upload_blob(b"meow")
    backend = account.backend()
    head = backend.head(name)
    assert head is not None
    assert backend.read(name, offset=1, length=2, etag=head.etag) == b"eo"
    url = backend.sign_download(name, utc_now(), expires_in=timedelta(seconds=60))
    assert account.send(Attempt(method="GET", url=url)).body == b"meow"


def test_a_download_carries_the_disposition_that_was_signed(account: Account) -> None:
    backend = account.backend()
    assert account.send(as_sent(backend.sign_upload(GRANT, utc_now()))).status == 201
    disposition = "attachment; filename=\"a _.png\"; filename*=UTF-8''a%20%C3%B6.png"
    url = backend.sign_download(KEY, utc_now(), expires_in=timedelta(seconds=60), content_disposition=disposition)
    answer = account.send(Attempt(method="GET", url=url))
    assert (answer.status, answer.body) == (200, PNG)
    assert answer.headers["content-disposition"] == disposition
    for tampered in (
        Attempt(method="GET", url=url).with_parameter("rscd", "inline"),
        Attempt(method="GET", url=url).without_parameter("rscd"),
        Attempt(method="GET", url=url).with_path(f"/{ACCOUNT_NAME}/uploads/public/1"),
        Attempt(method="DELETE", url=url),
        Attempt(method="PUT", url=url, headers=(("x-ms-blob-type", "BlockBlob"),), body=b"x"),
    ):
        assert account.send(tampered).status == 403
    late = backend.sign_download(KEY, utc_now() - timedelta(seconds=61), expires_in=timedelta(seconds=60))
    assert account.send(Attempt(method="GET", url=late)).status == 403


@pytest.mark.parametrize("version", ["2020-12-06", "2025-07-05", "2026-04-06"])
def test_azurite_accepts_the_signatures_of_every_version(
    delegated: Account, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr("presign.signing.sas.VERSION", version)
    upload = delegated.backend().sign_upload(grant(key=f"public/{version}"), utc_now())
    assert query_of(upload.url)["sv"] == version
    assert delegated.send(as_sent(upload)).status == 201


def test_a_page_of_the_allowed_origin_may_upload_and_no_other(account: Account) -> None:
    ticket = account.presigner(create_only=True).issue(png_request())
    asked = ",".join(name.lower() for name in ticket.headers)
    question = Attempt(
        method="OPTIONS",
        url=ticket.url,
        headers=(("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", asked)),
    )
    allowed = account.send(question.with_header("Origin", PAGE))
    assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, PAGE)
    assert set(asked.split(",")) <= set(allowed.headers["access-control-allow-headers"].lower().split(","))
    refused = account.send(question.with_header("Origin", "http://foreign.example"))
    assert refused.status == 403
    assert "access-control-allow-origin" not in refused.headers
    answer = account.send(as_sent(ticket).with_header("Origin", PAGE))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (201, PAGE)


# Azurite: what it refuses.


def test_overwriting_is_refused_whatever_the_grant(account: Account) -> None:
    for create_only in (True, False):
        presigner = account.presigner(create_only=create_only)
        ticket = presigner.issue(png_request())
        assert account.send(as_sent(ticket)).status == 201
        stored = presigner.complete(ticket.token)
        for replay in (as_sent(ticket, PNG + b"other"), as_sent(ticket).without_header("If-None-Match")):
            assert account.send(replay).outcome in {
                (403, "AuthorizationPermissionMismatch"),
                (409, "BlobAlreadyExists"),
            }
        assert presigner.complete(ticket.token) == stored


def test_of_two_hundred_concurrent_replays_exactly_one_wins(keyed: Account) -> None:
    presigner = keyed.presigner(create_only=True)
    ticket = presigner.issue(png_request())
    replays = [as_sent(ticket, PNG + number.to_bytes(2, "big")) for number in range(200)]
    with ThreadPoolExecutor(32) as pool:
        outcomes = Counter(answer.status for answer in pool.map(keyed.send, replays))
    assert outcomes[201] == 1
    assert outcomes[403] + outcomes[409] == 199


@pytest.mark.parametrize("offset", [timedelta(seconds=-61), timedelta(minutes=15, seconds=30)])
def test_an_expired_ticket_and_one_of_the_future_are_refused(account: Account, offset: timedelta) -> None:
    upload = account.backend().sign_upload(GRANT, utc_now() + offset)
    assert account.send(as_sent(upload)).status == 403
    assert account.blobs() == []


def test_a_ticket_of_a_clock_that_is_minutes_ahead_is_accepted(account: Account) -> None:
    upload = account.backend().sign_upload(GRANT, utc_now() + timedelta(minutes=14))
    assert account.send(as_sent(upload)).status == 201


def flipped(text: str) -> str:
    return ("A" if text[0] != "A" else "B") + text[1:]


def other_time(hours: int) -> str:
    return (utc_now() + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def without_headers(attempt: Attempt) -> Attempt:
    return replace(attempt, headers=())


TAMPERED: dict[str, Change] = {
    "more permissions": lambda a: a.with_parameter("sp", "cw"),
    "every permission": lambda a: a.with_parameter("sp", "racwd"),
    "other permissions": lambda a: a.with_parameter("sp", "w"),
    "no permissions": lambda a: a.without_parameter("sp"),
    "a later end": lambda a: a.with_parameter("se", other_time(2)),
    "no end": lambda a: a.without_parameter("se"),
    "an earlier start": lambda a: a.with_parameter("st", other_time(-2)),
    "no start": lambda a: a.without_parameter("st"),
    "the whole container": lambda a: a.with_parameter("sr", "c"),
    "a snapshot": lambda a: a.with_parameter("sr", "bs"),
    "a directory": lambda a: a.with_parameter("sr", "d"),
    "no resource": lambda a: a.without_parameter("sr"),
    "another signature": lambda a: a.with_parameter("sig", flipped(a.parameter("sig"))),
    "an empty signature": lambda a: a.with_parameter("sig", ""),
    "no signature": lambda a: a.without_parameter("sig"),
    "an older version": lambda a: a.with_parameter("sv", "2018-11-09"),
    "a newer version": lambda a: a.with_parameter("sv", "2024-11-04"),
    "no version": lambda a: a.without_parameter("sv"),
    "a range of addresses": lambda a: a.with_another_parameter("sip", "0.0.0.0-255.255.255.255"),
    "a stored policy": lambda a: a.with_another_parameter("si", "policy"),
    "an overridden type": lambda a: a.with_another_parameter("rsct", "text/html"),
    "an encryption scope": lambda a: a.with_another_parameter("ses", "scope"),
    "another blob": lambda a: a.with_path(f"/{ACCOUNT_NAME}/uploads/public/1"),
    "a blob above the prefix": lambda a: a.with_path(f"/{ACCOUNT_NAME}/uploads/1"),
    "a blob below": lambda a: a.with_path(f"/{ACCOUNT_NAME}/uploads/{KEY}/1"),
    "another container": lambda a: a.with_path(f"/{ACCOUNT_NAME}/other/{KEY}"),
    "reading": lambda a: a.with_method("GET").with_body(b""),
    "deleting": lambda a: a.with_method("DELETE").with_body(b""),
    "staging a block": lambda a: a.with_another_parameter("comp", "block").with_another_parameter("blockid", "MQ=="),
    "setting metadata": lambda a: without_headers(a).with_another_parameter("comp", "metadata").with_body(b""),
    "setting properties": lambda a: without_headers(a).with_another_parameter("comp", "properties").with_body(b""),
    "leasing": lambda a: (
        without_headers(a)
        .with_another_parameter("comp", "lease")
        .with_header("x-ms-lease-action", "acquire")
        .with_body(b"")
    ),
    "no blob type": lambda a: a.without_header("x-ms-blob-type"),
    "another digest": lambda a: a.with_header("x-ms-blob-content-md5", base64.b64encode(bytes(16)).decode()),
}
TAMPERED_KEYS: dict[str, Change] = {
    "another object": lambda a: a.with_parameter("skoid", TENANT_ID),
    "another tenant": lambda a: a.with_parameter("sktid", OBJECT_ID),
    "an earlier key": lambda a: a.with_parameter("skt", other_time(-1)),
    "a longer key": lambda a: a.with_parameter("ske", other_time(100)),
    "a key of another version": lambda a: a.with_parameter("skv", "2019-02-02"),
    "a key of another service": lambda a: a.with_parameter("sks", "q"),
    "any protocol": lambda a: a.with_parameter("spr", "https,http"),
    "no protocol": lambda a: a.without_parameter("spr"),
    **{f"no {name}": lambda a, name=name: a.without_parameter(name) for name in KEY_FIELDS},  # type: ignore[misc]
}


def test_the_request_that_is_tampered_with_below_is_accepted_as_it_is(account: Account) -> None:
    attempt = as_sent(account.backend().sign_upload(GRANT, utc_now()))
    assert account.send(replace(attempt, url=attempt._with_query(attempt.query).url)).status == 201


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_a_tampered_upload_stores_nothing(account: Account, change: Change) -> None:
    answer = account.send(change(as_sent(account.backend().sign_upload(GRANT, utc_now()))))
    assert answer.status in {400, 403, 404} or answer.code == "FeatureNotSupported"
    assert account.blobs() == account.blobs("other") == []


@pytest.mark.parametrize("change", TAMPERED_KEYS.values(), ids=TAMPERED_KEYS)
def test_an_upload_with_a_tampered_delegation_key_stores_nothing(delegated: Account, change: Change) -> None:
    upload = delegated.backend().sign_upload(grant(key="public/tampered-key"), utc_now())
    answer = delegated.send(change(as_sent(upload)))
    assert answer.status in {400, 403}
    assert "public/tampered-key" not in delegated.blobs()


def test_an_upload_signed_for_https_is_refused_over_http(keyed: Account) -> None:
    public_url = keyed.azurite.account_url.replace("http:", "https:")
    upload = keyed.backend(public_account_url=public_url).sign_upload(grant(key="public/https"), utc_now())
    over_http = replace(as_sent(upload), url=upload.url.replace("https:", "http:", 1))
    assert keyed.send(over_http).outcome == (403, "AuthorizationProtocolMismatch")
    assert keyed.send(over_http.with_parameter("spr", "https,http")).outcome[0] == 403
    assert keyed.send(over_http.without_parameter("spr")).outcome[0] == 403


def test_an_upload_signed_with_another_key_is_refused(keyed: Account) -> None:
    upload = keyed.backend(account_key=OTHER_KEY).sign_upload(GRANT, utc_now())
    assert keyed.send(as_sent(upload)).status == 403


# Completion: what Azure cannot enforce.

VIOLATIONS: dict[str, tuple[Rule, Callable[[Attempt], Attempt]]] = {
    "another type": (Rule.TYPE, lambda a: a.with_header("x-ms-blob-content-type", "text/html")),
    "another type in the header that counts then": (
        Rule.TYPE,
        lambda a: a.without_header("x-ms-blob-content-type").with_header("Content-Type", "text/html"),
    ),
    "the bytes of another type": (Rule.TYPE, lambda a: a.with_body(b"<html><script>alert(1)</script>")),
    "one byte too many": (Rule.SIZE, lambda a: a.with_body(PNG.ljust(101, b"\0"))),
    "one byte too few": (Rule.SIZE, lambda a: a.with_body(PNG[:9])),
    "no bytes": (Rule.SIZE, lambda a: a.with_body(b"")),
    "further metadata": (Rule.HEADERS, lambda a: a.with_header("x-ms-meta-role", "admin")),
    "other metadata": (Rule.HEADERS, lambda a: a.with_header("x-ms-meta-tenant", "8")),
    "no metadata": (Rule.HEADERS, lambda a: a.without_header("x-ms-meta-tenant")),
    "another disposition": (Rule.HEADERS, lambda a: a.with_header("x-ms-blob-content-disposition", "attachment")),
    "another cache control": (Rule.HEADERS, lambda a: a.with_header("x-ms-blob-cache-control", "max-age=999999")),
    "a language": (Rule.HEADERS, lambda a: a.with_header("x-ms-blob-content-language", "de")),
    "the archive, where nothing can be read": (Rule.HEADERS, lambda a: a.with_header("x-ms-access-tier", "Archive")),
    "an encoding": (Rule.HEADERS, lambda a: a.with_header("x-ms-blob-content-encoding", "gzip")),
}


@pytest.mark.parametrize(("rule", "change"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_a_violating_upload_is_deleted_at_completion(account: Account, rule: Rule, change: Change) -> None:
    presigner = account.presigner(metadata={"tenant": "7"}, disposition="inline", cache_control="no-store")
    ticket = presigner.issue(png_request())
    assert ticket.enforced[rule] == "completion"
    assert account.send(change(as_sent(ticket))).status == 201
    with pytest.raises(RuleViolated) as caught:
        presigner.complete(ticket.token)
    assert caught.value.rule == rule.value
    assert account.blobs() == []
    with pytest.raises(NotUploaded):
        presigner.complete(ticket.token)


def test_an_upload_of_other_bytes_than_announced_is_deleted_at_completion(account: Account) -> None:
    presigner = account.presigner(verify_content=False)
    ticket = presigner.issue(png_request(size=len(PNG), sha256=hashlib.sha256(PNG).hexdigest()))
    assert account.send(as_sent(ticket, bytes(len(PNG)))).status == 201
    with pytest.raises(RuleViolated) as caught:
        presigner.complete(ticket.token)
    assert caught.value.rule == "checksum"
    assert account.blobs() == []


def test_a_blob_copied_from_elsewhere_is_deleted_at_completion(account: Account) -> None:
    account.admin.get_blob_client("other", "page").upload_blob(b"<html>" * 50)
    source = account.backend(container="other").sign_download("page", utc_now(), expires_in=timedelta(seconds=60))
    presigner = account.presigner()
    ticket = presigner.issue(png_request(size=len(PNG)))
    copy = replace(as_sent(ticket, b""), headers=(("x-ms-copy-source", source), ("x-ms-requires-sync", "true")))
    assert account.send(copy).status == 202
    with pytest.raises(RuleViolated):
        presigner.complete(ticket.token)
    assert account.blobs() == []


def test_a_snapshot_does_not_save_a_violating_upload(account: Account) -> None:
    presigner = account.presigner()
    ticket = presigner.issue(png_request())
    upload = as_sent(ticket, b"<html>")
    assert account.send(upload).status == 201
    # Who may create a blob may also create a snapshot of it, and a blob with snapshots is not deleted by itself.
    snapshot = upload.with_another_parameter("comp", "snapshot").with_body(b"")
    assert account.send(without_headers(snapshot)).status == 201
    with pytest.raises(RuleViolated):
        presigner.complete(ticket.token)
    listed = account.admin.get_container_client("uploads").list_blobs(include=["snapshots"])
    assert [blob.name for blob in listed] == []


def test_completing_before_the_upload_says_so(account: Account) -> None:
    presigner = account.presigner()
    with pytest.raises(NotUploaded):
        presigner.complete(presigner.issue(png_request()).token)


# Data-plane calls.


def test_head_read_and_delete_answer_what_is_there(account: Account) -> None:
    backend = account.backend()
    assert backend.head(KEY) is None
    backend.delete(KEY)
    assert account.send(as_sent(backend.sign_upload(GRANT, utc_now()))).status == 201
    head = backend.head(KEY)
    assert head is not None
    assert (head.size, head.content_type) == (len(PNG), "image/png")
    assert '"' not in head.etag
    assert backend.read(KEY, offset=0, length=4, etag=head.etag) == PNG[:4]
    assert backend.read(KEY, offset=4, length=1000, etag=head.etag) == PNG[4:]
    backend.delete(KEY)
    backend.delete(KEY)
    assert backend.head(KEY) is None


def test_reading_a_blob_that_has_been_replaced_fails(account: Account) -> None:
    blob = account.admin.get_blob_client("uploads", KEY)
    blob.upload_blob(b"first")
    backend = account.backend()
    head = backend.head(KEY)
    assert head is not None
    blob.upload_blob(b"second", overwrite=True)
    with pytest.raises(StorageUnavailable, match="answered Get Blob with ConditionNotMet"):
        backend.read(KEY, offset=0, length=10, etag=head.etag)


def test_metadata_names_are_answered_in_lower_case(account: Account) -> None:
    account.admin.get_blob_client("uploads", KEY).upload_blob(b"x", metadata={"Tenant": "Seven"})
    head = account.backend().head(KEY)
    assert head is not None
    assert dict(head.metadata) == {"tenant": "Seven"}


def test_a_leased_blob_that_cannot_be_deleted_is_reported(account: Account) -> None:
    blob = account.admin.get_blob_client("uploads", KEY)
    blob.upload_blob(b"x")
    lease = blob.acquire_lease(15)
    with pytest.raises(StorageUnavailable, match="answered Delete Blob with LeaseIdMissing"):
        account.backend().delete(KEY)
    lease.release()


# Delegation keys.


def test_a_delegation_key_is_fetched_once_and_bounds_the_ticket(delegated: Account) -> None:
    identity = Identity()
    backend = delegated.backend(credential=identity)
    asked = identity.asked
    now = utc_now()
    urls = [backend.sign_upload(GRANT, now + timedelta(minutes=minutes)).url for minutes in range(60)]
    assert len({query_of(url)["ske"] for url in urls}) == 1
    assert identity.asked == asked
    upload = backend.sign_upload(grant(expires_in=timedelta(days=6)), now)
    query = query_of(upload.url)
    assert query["se"] == query["ske"] == upload.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert timedelta(hours=23) < upload.expires_at - now <= timedelta(hours=24, seconds=1)
    assert query["st"] >= query["skt"]
    download = backend.sign_download(KEY, now, expires_in=timedelta(days=6))
    assert query_of(download)["se"] == query["ske"]


def test_a_delegation_key_is_renewed_in_the_background_in_its_last_quarter(delegated: Account) -> None:
    backend = delegated.backend(credential=Identity(lifetime=timedelta(seconds=5)))
    refreshing = backend._delegation_key
    assert refreshing is not None
    first = query_of(backend.sign_upload(GRANT, utc_now()).url)["ske"]
    time.sleep(1.1)
    assert query_of(backend.sign_upload(GRANT, utc_now() + timedelta(hours=19)).url)["ske"] == first
    thread = refreshing._thread
    assert thread is not None
    thread.join(10)
    assert query_of(backend.sign_upload(GRANT, utc_now()).url)["ske"] > first


def test_an_expired_delegation_key_signs_nothing(delegated: Account) -> None:
    backend = delegated.backend()
    with pytest.raises(CredentialsUnavailable, match="the Azure user delegation key expired"):
        backend.sign_upload(GRANT, utc_now() + timedelta(hours=25))
    expiry = query_of(backend.sign_upload(GRANT, utc_now()).url)["ske"]
    at = datetime.strptime(expiry, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    with pytest.raises(CredentialsUnavailable, match="about to expire"):
        backend.sign_upload(GRANT, at - timedelta(milliseconds=500))


# Bound headers, on the verifier.


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """The reference, and a backend that signs for it with a delegation key that Azurite issued."""

    app: AzureReference
    backend: AzureBackend
    azurite: Azurite

    @property
    def blobs(self) -> dict[str, Blob]:
        return {**self.app.containers["uploads"], **self.app.containers["other"]}

    def signed(self, grant: Grant, body: bytes = PNG, *, at: datetime | None = None) -> Attempt:
        attempt = as_sent(self.backend.sign_upload(grant, at or utc_now()), body)
        self.learn_key(attempt)
        return attempt

    def learn_key(self, attempt: Attempt) -> None:
        fields = {name: attempt.parameter(name) for name in KEY_FIELDS}
        times = [datetime.strptime(fields[name], "%Y-%m-%dT%H:%M:%SZ") for name in ("skt", "ske")]
        service = BlobServiceClient(self.azurite.account_url, credential=Identity(), api_version=fields["skv"])
        key = service.get_user_delegation_key(times[0], times[1])
        self.app.delegation_keys[tuple(fields.values())] = key.value or ""


@pytest.fixture(scope="module")
def running_verifier(delegated: Account) -> Iterator[Verifier]:
    app = AzureReference(
        account_name=ACCOUNT_NAME,
        account_key=ACCOUNT_KEY,
        containers={"uploads": {}, "other": {}},
        delegation_keys={},
    )
    with serve(app) as url:
        backend = delegated.backend(public_account_url=f"{url}/{ACCOUNT_NAME}", bind_headers=True)
        yield Verifier(app=app, backend=backend, azurite=delegated.azurite)


@pytest.fixture
def verifier(running_verifier: Verifier) -> Verifier:
    for container in running_verifier.app.containers.values():
        container.clear()
    return running_verifier


EXACT = grant(
    min_bytes=len(PNG),
    max_bytes=len(PNG),
    content_disposition="inline",
    cache_control="no-store",
    metadata={"tenant": "7"},
    create_only=True,
)


def test_an_upload_with_bound_headers_is_accepted_exactly_as_the_ticket_says(verifier: Verifier) -> None:
    attempt = verifier.signed(EXACT)
    assert attempt.parameter("sv") == "2026-04-06"
    assert set(attempt.parameter("srh").split(",")) == {
        "x-ms-blob-type",
        "content-type",
        "x-ms-blob-content-type",
        "x-ms-blob-content-disposition",
        "x-ms-blob-cache-control",
        "x-ms-meta-tenant",
        "if-none-match",
        "content-length",
    }
    assert "content-length" not in {name.lower() for name, _ in attempt.headers}
    assert send(attempt).status == 201
    blob = verifier.blobs[KEY]
    assert blob.body == PNG
    assert blob.headers["content-type"] == "image/png"
    assert send(attempt).outcome == (403, "UnauthorizedBlobOverwrite")


def test_a_range_of_sizes_leaves_the_length_open(verifier: Verifier) -> None:
    attempt = verifier.signed(GRANT, b"any length")
    assert "content-length" not in attempt.parameter("srh").split(",")
    assert send(attempt).status == 201


BOUND: dict[str, Change] = {
    "one byte more": lambda a: a.with_body(PNG + b"\0"),
    "one byte less": lambda a: a.with_body(PNG[:-1]),
    "no bytes": lambda a: a.with_body(b""),
    "another type": lambda a: a.with_header("Content-Type", "text/html"),
    "no type": lambda a: a.without_header("Content-Type"),
    "two types": lambda a: a.with_another_header("Content-Type", "text/html"),
    "another blob content type": lambda a: a.with_header("x-ms-blob-content-type", "text/html"),
    "no blob content type": lambda a: a.without_header("x-ms-blob-content-type"),
    "an empty blob content type": lambda a: a.with_header("x-ms-blob-content-type", ""),
    "two blob content types": lambda a: a.with_another_header("x-ms-blob-content-type", "text/html"),
    "another blob type": lambda a: a.with_header("x-ms-blob-type", "AppendBlob"),
    "no blob type": lambda a: a.without_header("x-ms-blob-type"),
    "another disposition": lambda a: a.with_header("x-ms-blob-content-disposition", "attachment"),
    "no disposition": lambda a: a.without_header("x-ms-blob-content-disposition"),
    "another cache control": lambda a: a.with_header("x-ms-blob-cache-control", "max-age=999999"),
    "no cache control": lambda a: a.without_header("x-ms-blob-cache-control"),
    "other metadata": lambda a: a.with_header("x-ms-meta-tenant", "8"),
    "no metadata": lambda a: a.without_header("x-ms-meta-tenant"),
    "overwriting": lambda a: a.without_header("If-None-Match"),
    "no bound headers": lambda a: a.without_parameter("srh"),
    "fewer bound headers": lambda a: a.with_parameter("srh", "content-type,x-ms-blob-type"),
    "bound headers in another order": lambda a: a.with_parameter(
        "srh", ",".join(reversed(a.parameter("srh").split(",")))
    ),
    "more bound headers": lambda a: a.with_parameter("srh", a.parameter("srh") + ",host"),
    "a version that binds no headers": lambda a: a.with_parameter("sv", "2025-07-05"),
    "the oldest version, without bound headers": lambda a: a.with_parameter("sv", "2020-12-06").without_parameter(
        "srh"
    ),
    "bound query parameters": lambda a: a.with_another_parameter("srq", "comp"),
    "copying from elsewhere": lambda a: a.with_header("x-ms-copy-source", "https://evil.example/x").with_body(b""),
}


@pytest.mark.parametrize("change", BOUND.values(), ids=BOUND)
def test_an_upload_with_a_tampered_bound_header_stores_nothing(verifier: Verifier, change: Change) -> None:
    answer = send(change(verifier.signed(EXACT)))
    assert answer.status in {400, 403, 501}
    assert verifier.blobs == {}


TAMPERED_ON_THE_VERIFIER = {
    name: change
    for name, change in (TAMPERED | TAMPERED_KEYS).items()
    # A ticket for the loopback interface has no protocol.
    if name not in {"any protocol", "no protocol"}
}


@pytest.mark.parametrize("change", TAMPERED_ON_THE_VERIFIER.values(), ids=TAMPERED_ON_THE_VERIFIER)
def test_the_verifier_refuses_what_azurite_refuses(verifier: Verifier, change: Change) -> None:
    answer = send(change(verifier.signed(EXACT)))
    assert answer.status in {400, 403, 501}
    assert verifier.blobs == {}


@pytest.mark.parametrize("offset", [timedelta(seconds=-61), timedelta(minutes=15, seconds=30)])
def test_the_verifier_refuses_expired_tickets_and_those_of_the_future(verifier: Verifier, offset: timedelta) -> None:
    assert send(verifier.signed(EXACT, at=utc_now() + offset)).outcome == (403, "AuthenticationFailed")


def test_the_verifier_refuses_a_delegation_key_that_it_did_not_issue(verifier: Verifier) -> None:
    attempt = verifier.signed(EXACT)
    verifier.app.delegation_keys.clear()
    assert send(attempt).outcome == (403, "AuthenticationFailed")


def test_the_verifier_accepts_what_the_account_key_signs_and_binds_nothing(verifier: Verifier) -> None:
    url = verifier.backend.object_url("").partition("/uploads/")[0]
    backend = AzureBackend(container="uploads", account_url=url, account_key=ACCOUNT_KEY)
    attempt = as_sent(backend.sign_upload(EXACT, utc_now()))
    assert send(attempt.with_another_parameter("srh", "content-type")).outcome == (403, "AuthenticationFailed")
    assert send(attempt).status == 201
    download = backend.sign_download(KEY, utc_now(), expires_in=timedelta(seconds=60), content_disposition="inline")
    answer = send(Attempt(method="GET", url=download))
    assert (answer.body, answer.headers["content-disposition"]) == (PNG, "inline")


# Settings.


def test_a_right_set_up_passes_the_check(account: Account) -> None:
    account.backend().check()


def test_a_container_that_is_missing_is_named(account: Account) -> None:
    with pytest.raises(ConfigurationError, match=r"the container missing does not exist at .*; create it") as caught:
        account.backend(container="missing").check()
    assert (caught.value.field, caught.value.value) == ("container", "missing")


def test_a_wrong_account_key_is_reported_with_its_setting(keyed: Account) -> None:
    with pytest.raises(ConfigurationError, match=r"refuses the account key .*AZURE_STORAGE_KEY") as caught:
        keyed.backend(account_key=OTHER_KEY).check()
    assert caught.value.field == "account_key"


def test_an_identity_that_nobody_accepts_is_reported_at_start(delegated: Account) -> None:
    with pytest.raises(ConfigurationError, match=r"refuses the identity .*AZURE_CLIENT_ID") as caught:
        delegated.backend(credential=RefusedIdentity())
    assert caught.value.field == "credential"
    with pytest.raises(ConfigurationError, match="refuses the identity"):
        delegated.backend(credential=Identity(lifetime=timedelta(minutes=-30)))


def test_an_account_that_does_not_answer_is_reported() -> None:
    url = "http://127.0.0.1:9/devstoreaccount1"
    backend = AzureBackend(container="uploads", account_url=url, account_key=ACCOUNT_KEY)
    with pytest.raises(StorageUnavailable, match=f"{url} does not answer .*check the account's name and the network"):
        backend.check()


class CannedAnswer(http.server.BaseHTTPRequestHandler):
    """Answers everything with one status, error code and clock."""

    status: ClassVar[int]
    code: ClassVar[str]
    skew: ClassVar[timedelta]

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("x-ms-error-code", self.code)
        self.send_header("Content-Length", "0")
        self.send_header("ETag", '"0x1"')
        self.send_header("Last-Modified", format_datetime(NOW, usegmt=True))
        self.end_headers()

    do_HEAD = do_DELETE = do_GET  # noqa: N815  (the base class's names)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(utc_now() + self.skew, usegmt=True)

    def log_message(self, *_: object) -> None:
        """Say nothing on the test's output."""


@pytest.fixture
def canned() -> Iterator[Callable[..., AzureBackend]]:
    servers: list[http.server.ThreadingHTTPServer] = []

    def answering(status: int, code: str = "", skew: timedelta = timedelta()) -> AzureBackend:
        handler = type("Handler", (CannedAnswer,), {"status": status, "code": code, "skew": skew})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/devstoreaccount1"
        return AzureBackend(container="uploads", account_url=url, account_key=ACCOUNT_KEY)

    yield answering
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("minutes", [-16, 16])
@pytest.mark.parametrize(("status", "code"), [(200, ""), (403, "AuthenticationFailed")])
def test_a_clock_that_is_off_is_named_rather_than_the_credentials(
    canned: Callable[..., AzureBackend], minutes: int, status: int, code: str
) -> None:
    with pytest.raises(ConfigurationError, match="clock is more than 15 minutes off; set it") as caught:
        canned(status, code, timedelta(minutes=minutes)).check()
    assert caught.value.field == "clock"


@pytest.mark.parametrize(
    ("status", "code", "kind", "message"),
    [
        (403, "AuthenticationFailed", ConfigurationError, "check the account key"),
        (403, "AuthorizationFailure", ConfigurationError, "and the account's network rules"),
        (403, "KeyBasedAuthenticationNotPermitted", ConfigurationError, "pass an identity"),
        (403, "AuthorizationPermissionMismatch", ConfigurationError, "check the account key"),
        (404, "ContainerNotFound", ConfigurationError, "create it, or correct its name"),
        (409, "ContainerBeingDeleted", StorageUnavailable, "ContainerBeingDeleted"),
    ],
)
def test_what_the_service_answers_to_the_check_is_explained(
    canned: Callable[..., AzureBackend], status: int, code: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        canned(status, code).check()


def test_an_identity_that_may_only_sign_passes_the_check(
    canned: Callable[..., AzureBackend], delegated: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = canned(403, "AuthorizationPermissionMismatch")
    backend = delegated.backend()
    monkeypatch.setattr(backend, "_client", refusing._service())
    backend.check()
    assert backend.head(KEY) is None


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"container": "Up"}, "container", "3 to 63 lower-case letters"),
        ({"container": "a--b"}, "container", "single hyphens"),
        ({"container": "uploads/x"}, "container", "single hyphens"),
        ({"account_name": "My-Account"}, "account_name", "3 to 24 lower-case letters"),
        ({"account_name": None}, "account_name", "set AZURE_STORAGE_ACCOUNT"),
        ({"account_key": "not base64!"}, "account_key", "not base64; .*AZURE_STORAGE_KEY"),
        ({"account_key": "YWJj", "credential": Identity()}, "credential", "one of connection_string"),
        ({"account_key": "YWJj", "bind_headers": True}, "bind_headers", "needs an identity"),
        ({"account_name": None, "account_url": "https://files.example.com"}, "account_name", "pass account_name"),
        ({"account_url": "https://other.blob.core.windows.net"}, "account_url", "account other, not of myaccount"),
        ({"account_url": "http://127.0.0.1:10000"}, "account_url", "has the account as its path"),
        ({"account_url": "http://127.0.0.1:10000/other"}, "account_url", "account other, not of myaccount"),
        ({"account_url": "ftp://myaccount.blob.core.windows.net"}, "account_url", "must be a blob service's URL"),
        ({"account_url": "https://a.blob.core.windows.net/?sv=1&sig=s"}, "account_url", "must be a blob service's URL"),
        ({"account_url": "https://h:x/myaccount"}, "account_url", "must be a blob service's URL"),
        ({"account_url": "http://myaccount.blob.core.windows.net"}, "public_account_url", "by https, except"),
        ({"public_account_url": "http://files.example.com"}, "public_account_url", "by https, except"),
        ({"account_url": "https://files.example.com", "endpoint_suffix": "x.cn"}, "endpoint_suffix", "gives already"),
        ({"account_key": None, "connection_string": "nothing"}, "connection_string", "AccountName=...;AccountKey"),
        (
            {
                "account_key": None,
                "connection_string": "BlobEndpoint=https://myaccount.blob.core.windows.net;SharedAccessSignature=sig=S",
            },
            "connection_string",
            "can sign no others",
        ),
        (
            {"account_key": None, "connection_string": f"AccountName=other1;AccountKey={ACCOUNT_KEY}"},
            "account_name",
            "is for the account other1, not for myaccount",
        ),
        (
            {"account_key": None, "connection_string": "AccountName=myaccount;AccountKey=???"},
            "account_key",
            "is not base64",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy(options: dict[str, Any], field: str, message: str) -> None:
    values: dict[str, Any] = {"container": "uploads", "account_name": "myaccount", "account_key": ACCOUNT_KEY}
    with pytest.raises(ConfigurationError, match=message) as caught:
        AzureBackend(**values | options)
    assert caught.value.field == field


def test_a_url_opens_a_backend_with_the_credentials_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", ACCOUNT_KEY)
    backend, prefix = open_azure("azblob://myaccount/uploads/public/a/?endpoint_suffix=core.chinacloudapi.cn")
    assert prefix == "public/a/"
    assert backend.object_url("k") == "https://myaccount.blob.core.chinacloudapi.cn/uploads/k"
    assert open_azure("azblob://myaccount/uploads")[1] == ""
    url = "azblob://devstoreaccount1/uploads/?endpoint_url=http://azurite:1/devstoreaccount1"
    backend, _ = open_azure(f"{url}&public_endpoint_url=http://127.0.0.1:1/devstoreaccount1&bind_headers=false")
    assert backend.object_url("k") == "http://127.0.0.1:1/devstoreaccount1/uploads/k"

    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"AccountName=mine123;AccountKey={OTHER_KEY}")
    backend, _ = open_azure("azblob://mine123/uploads/")
    explicit = AzureBackend(container="uploads", account_name="mine123", account_key=OTHER_KEY)
    assert backend.sign_upload(GRANT, NOW).url == explicit.sign_upload(GRANT, NOW).url
    with pytest.raises(ConfigurationError, match="CONNECTION_STRING is for the account mine123, not for myaccount"):
        open_azure("azblob://myaccount/uploads/")


def test_a_key_of_another_account_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", ACCOUNT_KEY)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "mine123")
    with pytest.raises(ConfigurationError, match="AZURE_STORAGE_KEY belongs to the account mine123"):
        open_azure("azblob://myaccount/uploads/")
    assert AzureBackend(container="uploads").name == "azblob://mine123/uploads"


def test_without_a_key_the_default_identity_signs(delegated: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", Identity)
    backend, _ = open_azure(
        f"azblob://{ACCOUNT_NAME}/uploads/?endpoint_url={delegated.azurite.account_url}&bind_headers=true"
    )
    query = query_of(backend.sign_upload(GRANT, utc_now()).url)
    assert (query["skoid"], query["sktid"], query["sv"]) == (OBJECT_ID, TENANT_ID, "2026-04-06")


@pytest.mark.parametrize(
    "url",
    [
        "azblob://myaccount",
        "azblob://myaccount/",
        "azblob:///uploads/",
        "https://myaccount.blob.core.windows.net/uploads",
        "azblob://user:secret@myaccount/uploads",
        "azblob://myaccount/uploads/#x",
        "azblob://myaccount/uploads/?region=x",
        "azblob://myaccount/uploads/?endpoint_suffix=",
        "azblob://myaccount/uploads/?bind_headers=yes",
        "azblob://myaccount/uploads/?bind_headers=true&bind_headers=false",
        "azblob://myaccount/uploads/?sig",
        "azblob://myaccount/uploads/public",
        "azblob://myaccount/uploads//x/",
        "azblob://myaccount/uploads/../x/",
    ],
)
def test_a_url_that_is_not_one_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", ACCOUNT_KEY)
    with pytest.raises(ConfigurationError) as caught:
        open_azure(url)
    assert "secret" not in str(caught.value)


def test_a_server_that_does_not_start_fails_with_its_log(
    keyed: Account, tmp_path_factory: pytest.TempPathFactory
) -> None:
    taken = urlsplit(keyed.azurite.account_url).port or 0
    failing = Azurite(directory=tmp_path_factory.mktemp("azurite-taken"), blob_port=taken)
    with pytest.raises(StartFailed, match="EADDRINUSE"):
        failing.start()


# Secrets.


def test_no_secret_is_in_a_repr_a_log_or_an_exception(
    keyed: Account, delegated: Account, caplog: pytest.LogCaptureFixture, canned: Callable[..., AzureBackend]
) -> None:
    caplog.set_level(logging.DEBUG, logger="presign")
    shown = []
    secrets = {ACCOUNT_KEY, OTHER_KEY, "S3CR3T", OBJECT_ID, Identity().get_token().token.split(".")[1][:60]}
    for account in (keyed, delegated):
        backend = account.backend()
        presigner = account.presigner()
        ticket: Ticket = presigner.issue(png_request())
        upload = backend.sign_upload(GRANT, utc_now())
        secrets |= {query_of(url)["sig"] for url in (ticket.url, upload.url)} | {ticket.token}
        shown += [repr(backend), repr(presigner), repr(ticket), repr(upload), repr(backend._delegation_key)]
        shown.append(repr(vars(backend)))
    failures: list[Callable[[], object]] = [
        lambda: AzureBackend(container="uploads", account_name="myaccount", account_key=f"{OTHER_KEY}?"),
        lambda: AzureBackend(container="uploads", connection_string=f"AccountName=a;SharedAccessSignature={OTHER_KEY}"),
        lambda: keyed.backend(account_key=OTHER_KEY).check(),
        lambda: keyed.backend(account_key=OTHER_KEY).head(KEY),
        lambda: keyed.backend(account_key=OTHER_KEY).delete(KEY),
        lambda: keyed.backend(account_key=OTHER_KEY).read(KEY, offset=0, length=1, etag="0x1"),
        lambda: delegated.backend(credential=RefusedIdentity()),
        lambda: canned(403, "AuthenticationFailed").head(KEY),
        lambda: delegated.backend().sign_upload(GRANT, utc_now() + timedelta(hours=25)),
    ]
    for fail in failures:
        with pytest.raises((ConfigurationError, StorageUnavailable, CredentialsUnavailable)) as caught:
            fail()
        assert caught.value.__cause__ is None
        shown += [repr(caught.value), "".join(traceback.format_exception(caught.value)), str(caught.value.problem())]
    shown.append(caplog.text)
    # The sources that a traceback quotes are no leak; the values are.
    for text in shown:
        assert not [secret for secret in secrets if secret in text]
