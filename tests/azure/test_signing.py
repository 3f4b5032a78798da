"""Tickets: their URL, headers and times, and who enforces each rule."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from emulators.azurite import ACCOUNT_KEY
from presign import ConfigurationError, Rule
from presign.azure import AzureBackend
from tests.azure.accounts import GRANT, KEY, MINUTE, NOW, PNG, RunningAccount, grant, png_request, query_of


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


def test_the_time_may_be_in_any_time_zone() -> None:
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
        (
            {"account_url": "http://azurite:10000/myaccount", "allow_http": True},
            "http://azurite:10000/myaccount",
            None,
        ),
        ({"account_url": "https://127.0.0.1:10000/myaccount"}, "https://127.0.0.1:10000/myaccount", "https"),
        (
            {
                "account_url": "http://azurite:10000/myaccount",
                "public_account_url": "http://127.0.0.1:10000/myaccount",
                "allow_http": True,
            },
            "http://127.0.0.1:10000/myaccount",
            None,
        ),
    ],
)
def test_urls_begin_with_the_public_account_url(options: dict[str, Any], base_url: str, protocol: str | None) -> None:
    backend = AzureBackend(container="uploads", account_key=ACCOUNT_KEY, **options)
    upload = backend.sign_upload(GRANT, NOW)
    assert upload.url.startswith(f"{base_url}/uploads/{KEY}?st=")
    assert backend.object_url("a b/ö.png") == f"{base_url}/uploads/a%20b/%C3%B6.png"
    assert query_of(upload.url).get("spr") == protocol
    assert backend.name == "azblob://myaccount/uploads"
    backend_of_the_cloud = AzureBackend(container="uploads", account_name="myaccount", account_key=ACCOUNT_KEY)
    same = query_of(backend_of_the_cloud.sign_upload(GRANT, NOW).url)["sig"] == query_of(upload.url)["sig"]
    # The protocol is signed, but the URL is not: whether the account is in the host or in the path makes no difference.
    assert same is (protocol == "https")


@pytest.mark.parametrize("exact_bytes", [None, 0, 50])
def test_an_account_key_enforces_create_only_and_nothing_else(exact_bytes: int | None) -> None:
    backend = AzureBackend(container="uploads", account_name="myaccount", account_key=ACCOUNT_KEY)
    size = {} if exact_bytes is None else {"min_bytes": exact_bytes, "max_bytes": exact_bytes}
    assert backend.enforces(grant(create_only=True, sha256="0" * 64, **size)) == {Rule.CREATE_ONLY}


def test_an_identity_enforces_type_and_size_only_with_bound_headers_and_an_exact_size(
    identity_account: RunningAccount,
) -> None:
    unbound, bound = identity_account.backend(), identity_account.backend(bind_headers=True)
    exact = grant(min_bytes=50, max_bytes=50, sha256="0" * 64, create_only=True)
    assert unbound.enforces(exact) == {Rule.CREATE_ONLY}
    assert bound.enforces(exact) == {Rule.CREATE_ONLY, Rule.TYPE, Rule.SIZE}
    assert bound.enforces(GRANT) == {Rule.CREATE_ONLY}
    # Put Blob From URL has no body, so a bound length of 0 would permit it, and it takes size and type from its source.
    assert bound.enforces(grant(min_bytes=0, max_bytes=0)) == {Rule.CREATE_ONLY}


def test_a_ticket_says_who_enforces_each_rule(account: RunningAccount) -> None:
    ticket = account.presigner(create_only=True).issue(png_request(size=len(PNG), sha256="0" * 64))
    assert ticket.enforced == {
        Rule.SIZE: "completion",
        Rule.TYPE: "completion",
        Rule.HEADERS: "completion",
        Rule.CHECKSUM: "completion",
        Rule.CREATE_ONLY: "storage",
    }


def test_a_policy_that_requires_more_than_the_storage_enforces_is_refused_at_start(account: RunningAccount) -> None:
    with pytest.raises(ConfigurationError, match="does not itself enforce size") as caught:
        account.presigner(require_at_storage={Rule.SIZE})
    assert caught.value.field == "require_at_storage"


@pytest.mark.parametrize("expires_in", [timedelta(0), timedelta(seconds=-60), timedelta.max, 60, None])
def test_a_lifetime_that_cannot_be_signed_is_refused(expires_in: Any) -> None:
    backend = AzureBackend(container="uploads", account_name="myaccount", account_key=ACCOUNT_KEY)
    with pytest.raises(ConfigurationError) as caught:
        backend.sign_download(KEY, NOW, expires_in=expires_in)
    assert caught.value.field == "expires_in"


@pytest.mark.parametrize(
    ("key", "content_disposition", "field"),
    [("a\nb", None, "key"), (KEY, "attachment\r\n\n", "content_disposition"), (KEY, "inline\n", "content_disposition")],
)
def test_a_download_is_not_signed_for_values_with_line_ends(
    key: str, content_disposition: str | None, field: str
) -> None:
    backend = AzureBackend(container="uploads", account_name="myaccount", account_key=ACCOUNT_KEY)
    with pytest.raises(ConfigurationError, match="must not contain line ends") as caught:
        backend.sign_download(key, NOW, expires_in=MINUTE, content_disposition=content_disposition)
    assert caught.value.field == field
