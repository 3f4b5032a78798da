"""Uploads and downloads on Azurite: what it accepts, and what it refuses."""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from emulators.azurite import ACCOUNT_NAME
from emulators.wire import Attempt
from tests.azure.accounts import (
    GRANT,
    KEY,
    OTHER_ACCOUNT_KEY,
    PAGE_ORIGIN,
    PNG,
    Change,
    RunningAccount,
    as_sent,
    grant,
    png_request,
    query_of,
    utc_now,
)
from tests.azure.tampering import TAMPERED, TAMPERED_KEYS


def test_an_upload_is_accepted_and_completed(account: RunningAccount) -> None:
    presigner = account.presigner(
        content_disposition="inline", cache_control="max-age=60", metadata={"tenant": "7"}, create_only=True
    )
    sha256 = hashlib.sha256(PNG).hexdigest()
    ticket = presigner.issue(png_request(size=len(PNG), name="Katze ö.png", sha256=sha256))
    answer = account.send(as_sent(ticket))
    assert answer.status == 201
    stored = presigner.complete(ticket.token)
    assert (stored.key, stored.size, stored.content_type) == (ticket.key, len(PNG), "image/png")
    # The published blob is another one than the upload.
    assert f'"{stored.etag}"' != answer.headers["etag"]
    assert stored.object_url == ticket.object_url
    assert presigner.complete(ticket.token) == stored
    head = account.backend().head(ticket.key)
    assert head is not None
    assert head.etag == stored.etag
    assert head.content_disposition == "inline; filename=\"Katze _.png\"; filename*=UTF-8''Katze%20%C3%B6.png"
    assert head.cache_control == "max-age=60"
    assert head.content_encoding is None
    assert head.sha256 is None
    assert dict(head.metadata) == {"tenant": "7"}


@pytest.mark.parametrize("prefix", ["", "a.b/c-d/", "(it's)/=@+,!*/", "_/" * 20])
def test_keys_with_unusual_characters_are_accepted(account: RunningAccount, prefix: str) -> None:
    # Without a prefix, pending uploads need a container of their own.
    presigner = account.presigner(prefix=prefix, backend=account.backend(pending_container="pending"))
    ticket = presigner.issue(png_request())
    assert account.send(as_sent(ticket)).status == 201
    assert presigner.complete(ticket.token).key == ticket.key
    assert account.blobs() == [ticket.key]


def test_blobs_with_names_from_another_program_can_be_read(account: RunningAccount) -> None:
    name = "Kätzchen & co/100% #1?.png"
    account.admin.get_blob_client("uploads", name).upload_blob(b"meow")
    backend = account.backend()
    head = backend.head(name)
    assert head is not None
    assert backend.read(name, offset=1, length=2, etag=head.etag) == b"eo"
    url = backend.sign_download(name, utc_now(), expires_in=timedelta(seconds=60))
    assert account.send(Attempt(method="GET", url=url)).body == b"meow"


def test_a_download_has_the_signed_content_disposition(account: RunningAccount) -> None:
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
    identity_account: RunningAccount, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr("presign.signing.sas.VERSION", version)
    upload = identity_account.backend().sign_upload(grant(key=f"public/{version}"), utc_now())
    assert query_of(upload.url)["sv"] == version
    assert identity_account.send(as_sent(upload)).status == 201


def test_only_a_page_of_the_allowed_origin_may_upload(account: RunningAccount) -> None:
    ticket = account.presigner(create_only=True).issue(png_request())
    asked = ",".join(name.lower() for name in ticket.headers)
    question = Attempt(
        method="OPTIONS",
        url=ticket.url,
        headers=(("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", asked)),
    )
    allowed = account.send(question.with_header("Origin", PAGE_ORIGIN))
    assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, PAGE_ORIGIN)
    assert set(asked.split(",")) <= set(allowed.headers["access-control-allow-headers"].lower().split(","))
    refused = account.send(question.with_header("Origin", "http://foreign.example"))
    assert refused.status == 403
    assert "access-control-allow-origin" not in refused.headers
    answer = account.send(as_sent(ticket).with_header("Origin", PAGE_ORIGIN))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (201, PAGE_ORIGIN)


def test_overwriting_is_refused_for_every_grant(account: RunningAccount) -> None:
    for create_only in (True, False):
        presigner = account.presigner(create_only=create_only)
        ticket = presigner.issue(png_request())
        replays = (as_sent(ticket, PNG + b"other"), as_sent(ticket).without_header("If-None-Match"))
        assert account.send(as_sent(ticket)).status == 201
        for replay in replays:
            assert account.send(replay).outcome in {
                (403, "AuthorizationPermissionMismatch"),
                (409, "BlobAlreadyExists"),
            }
        stored = presigner.complete(ticket.token)
        # The upload has been published and deleted, so the ticket can store a pending blob again: nobody publishes it.
        for replay in replays:
            assert account.send(replay).status == 201
            assert presigner.complete(ticket.token) == stored
            assert account.blobs().count(ticket.key) == 1
        head = account.backend().head(ticket.key)
        assert head is not None
        assert head.etag == stored.etag


def test_exactly_one_of_two_hundred_concurrent_uploads_is_stored(key_account: RunningAccount) -> None:
    presigner = key_account.presigner(create_only=True)
    ticket = presigner.issue(png_request())
    replays = [as_sent(ticket, PNG + number.to_bytes(2, "big")) for number in range(200)]
    with ThreadPoolExecutor(32) as pool:
        outcomes = Counter(answer.status for answer in pool.map(key_account.send, replays))
    assert outcomes[201] == 1
    assert outcomes[403] + outcomes[409] == 199


@pytest.mark.parametrize("offset", [timedelta(seconds=-61), timedelta(minutes=15, seconds=30)])
def test_a_ticket_is_refused_after_its_end_and_before_its_start(account: RunningAccount, offset: timedelta) -> None:
    upload = account.backend().sign_upload(GRANT, utc_now() + offset)
    assert account.send(as_sent(upload)).status == 403
    assert account.blobs() == []


def test_a_ticket_signed_by_a_clock_14_minutes_ahead_is_accepted(account: RunningAccount) -> None:
    upload = account.backend().sign_upload(GRANT, utc_now() + timedelta(minutes=14))
    assert account.send(as_sent(upload)).status == 201


def test_an_upload_that_nobody_tampered_with_is_accepted(account: RunningAccount) -> None:
    attempt = as_sent(account.backend().sign_upload(GRANT, utc_now()))
    assert account.send(replace(attempt, url=attempt._with_query(attempt.query).url)).status == 201


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_a_tampered_upload_stores_nothing(account: RunningAccount, change: Change) -> None:
    answer = account.send(change(as_sent(account.backend().sign_upload(GRANT, utc_now()))))
    assert answer.status in {400, 403, 404} or answer.code == "FeatureNotSupported"
    assert account.blobs() == account.blobs("other") == []


@pytest.mark.parametrize("change", TAMPERED_KEYS.values(), ids=TAMPERED_KEYS)
def test_an_upload_with_a_tampered_delegation_key_stores_nothing(
    identity_account: RunningAccount, change: Change
) -> None:
    upload = identity_account.backend().sign_upload(grant(key="public/tampered-key"), utc_now())
    answer = identity_account.send(change(as_sent(upload)))
    assert answer.status in {400, 403}
    assert "public/tampered-key" not in identity_account.blobs()


def test_an_upload_signed_for_https_is_refused_over_http(key_account: RunningAccount) -> None:
    public_url = key_account.azurite.account_url.replace("http:", "https:")
    upload = key_account.backend(public_account_url=public_url).sign_upload(grant(key="public/https"), utc_now())
    over_http = replace(as_sent(upload), url=upload.url.replace("https:", "http:", 1))
    assert key_account.send(over_http).outcome == (403, "AuthorizationProtocolMismatch")
    assert key_account.send(over_http.with_parameter("spr", "https,http")).outcome[0] == 403
    assert key_account.send(over_http.without_parameter("spr")).outcome[0] == 403


def test_an_upload_signed_with_another_key_is_refused(key_account: RunningAccount) -> None:
    upload = key_account.backend(account_key=OTHER_ACCOUNT_KEY).sign_upload(GRANT, utc_now())
    assert key_account.send(as_sent(upload)).status == 403
