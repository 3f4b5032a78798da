"""Completion on Azurite: it deletes the uploads that break a rule which the storage does not enforce."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from emulators.wire import Attempt
from presign import ConfigurationError, NotUploaded, Presigner, Rule, RuleViolated, UploadOptions
from tests.azure.accounts import PNG, Change, RunningAccount, as_sent, png_request, utc_now
from tests.azure.tampering import ABUSES, without_headers

VIOLATIONS: dict[str, tuple[Rule, Change]] = {
    "another type": (Rule.TYPE, lambda a: a.with_header("x-ms-blob-content-type", "text/html")),
    "another type in Content-Type alone": (
        Rule.TYPE,
        lambda a: a.without_header("x-ms-blob-content-type").with_header("Content-Type", "text/html"),
    ),
    "the bytes of another type": (Rule.TYPE, lambda a: a.with_body(b"<html><script>alert(1)</script>")),
    "one byte too many": (Rule.SIZE, lambda a: a.with_body(PNG.ljust(101, b"\0"))),
    "one byte too few": (Rule.SIZE, lambda a: a.with_body(PNG[:9])),
    "no bytes": (Rule.SIZE, lambda a: a.with_body(b"")),
    "extra metadata": (Rule.HEADERS, lambda a: a.with_header("x-ms-meta-role", "admin")),
    "other metadata": (Rule.HEADERS, lambda a: a.with_header("x-ms-meta-tenant", "8")),
    "another disposition": (Rule.HEADERS, lambda a: a.with_header("x-ms-blob-content-disposition", "attachment")),
    "another cache control": (Rule.HEADERS, lambda a: a.with_header("x-ms-blob-cache-control", "max-age=999999")),
    "a language": (Rule.HEADERS, lambda a: a.with_header("x-ms-blob-content-language", "de")),
    "the archive tier, whose blobs cannot be read": (
        Rule.HEADERS,
        lambda a: a.with_header("x-ms-access-tier", "Archive"),
    ),
    "a tier that the first bytes do not show": (Rule.HEADERS, lambda a: a.with_header("x-ms-access-tier", "Cool")),
    "an encoding": (Rule.HEADERS, lambda a: a.with_header("x-ms-blob-content-encoding", "gzip")),
}


@pytest.mark.parametrize(("rule", "change"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_a_violating_upload_is_deleted_at_completion(account: RunningAccount, rule: Rule, change: Change) -> None:
    presigner = account.presigner(metadata={"tenant": "7"}, content_disposition="inline", cache_control="no-store")
    ticket = presigner.issue(png_request())
    assert ticket.enforced[rule] == "completion"
    assert account.send(change(as_sent(ticket))).status == 201
    with pytest.raises(RuleViolated) as caught:
        presigner.complete(ticket.token)
    assert caught.value.rule == rule.value
    assert account.blobs() == []
    with pytest.raises(NotUploaded):
        presigner.complete(ticket.token)


def test_an_upload_whose_bytes_differ_from_the_checksum_is_deleted_at_completion(account: RunningAccount) -> None:
    presigner = account.presigner(verify_content=False)
    ticket = presigner.issue(png_request(size=len(PNG), sha256=hashlib.sha256(PNG).hexdigest()))
    assert account.send(as_sent(ticket, bytes(len(PNG)))).status == 201
    with pytest.raises(RuleViolated) as caught:
        presigner.complete(ticket.token)
    assert caught.value.rule == "checksum"
    assert account.blobs() == []


def test_a_blob_copied_from_another_container_is_deleted_at_completion(account: RunningAccount) -> None:
    account.admin.get_blob_client("other", "page").upload_blob(b"<html>" * 50)
    source = account.backend(container="other").sign_download("page", utc_now(), expires_in=timedelta(seconds=60))
    presigner = account.presigner()
    ticket = presigner.issue(png_request(size=len(PNG)))
    copy = replace(as_sent(ticket, b""), headers=(("x-ms-copy-source", source), ("x-ms-requires-sync", "true")))
    assert account.send(copy).status == 202
    with pytest.raises(RuleViolated):
        presigner.complete(ticket.token)
    assert account.blobs() == []


def test_the_snapshots_of_a_violating_upload_are_deleted_too(account: RunningAccount) -> None:
    presigner = account.presigner()
    ticket = presigner.issue(png_request())
    upload = as_sent(ticket, b"<html>")
    assert account.send(upload).status == 201
    # A client that may create a blob may also make a snapshot of it, and Delete Blob refuses a blob with snapshots.
    snapshot = upload.with_another_parameter("comp", "snapshot").with_body(b"")
    assert account.send(without_headers(snapshot)).status == 201
    with pytest.raises(RuleViolated):
        presigner.complete(ticket.token)
    listed = account.admin.get_container_client("uploads").list_blobs(include=["snapshots"])
    assert [blob.name for blob in listed] == []


def test_headers_that_a_client_left_out_are_written_at_publication_or_refused_without_one(
    account: RunningAccount,
) -> None:
    options: dict[str, Any] = {"metadata": {"tenant": "7"}, "cache_control": "no-store"}
    publishing = account.presigner(**options)
    ticket = publishing.issue(png_request())
    attempt = as_sent(ticket).without_header("x-ms-meta-tenant").without_header("x-ms-blob-cache-control")
    assert account.send(attempt).status == 201
    publishing.complete(ticket.token)
    head = account.backend().head(ticket.key)
    assert head is not None
    assert (head.metadata, head.cache_control) == ({"tenant": "7"}, "no-store")

    straight = account.presigner(pending_prefix=None, **options)
    ticket = straight.issue(png_request())
    assert account.send(as_sent(ticket).without_header("x-ms-meta-tenant")).status == 201
    with pytest.raises(RuleViolated):
        straight.complete(ticket.token)


def public_presigner(account: RunningAccount) -> Presigner:
    return account.presigner(backend=account.publishing_backend(), public_read=True)


def test_a_public_container_is_refused_without_a_pending_one(account: RunningAccount) -> None:
    with pytest.raises(ConfigurationError, match="give the backend another place for them, such as pending_container"):
        account.presigner(backend=account.backend(container="public"), public_read=True)


@pytest.mark.parametrize("abuse", ABUSES, ids=[abuse.__name__ for abuse in ABUSES])
def test_nothing_that_a_ticket_permits_beside_its_upload_is_ever_public(account: RunningAccount, abuse: Any) -> None:
    presigner = public_presigner(account)
    ticket = presigner.issue(png_request())
    assert account.send(abuse(account, as_sent(ticket))).status in {201, 202}
    (pending_key,) = account.blobs("pending")
    assert account.anonymous_get("pending", pending_key).status in {403, 404, 409}
    with pytest.raises(RuleViolated):
        presigner.complete(ticket.token)
    for key in (pending_key, ticket.key):
        assert account.anonymous_get("public", key).status == 404
    assert account.blobs("pending") == account.blobs("public") == []


def test_a_snapshot_of_a_pending_upload_is_refused(account: RunningAccount) -> None:
    presigner = public_presigner(account)
    ticket = presigner.issue(png_request())
    upload = as_sent(ticket)
    assert account.send(upload).status == 201
    snapshot = without_headers(upload.with_another_parameter("comp", "snapshot").with_body(b""))
    assert account.send(snapshot).status == 201
    with pytest.raises(RuleViolated) as caught:
        presigner.complete(ticket.token)
    assert caught.value.field == "x-ms-snapshot"
    listed = account.admin.get_container_client("pending").list_blobs(include=["snapshots"])
    assert [blob.name for blob in listed] == []


def test_a_verified_upload_becomes_public_with_its_tags_and_tier(account: RunningAccount) -> None:
    presigner = public_presigner(account)
    options = UploadOptions(tags={"project": "7"}, storage_class="Cool")
    ticket = presigner.issue(png_request(size=len(PNG)), options=options)
    assert account.send(as_sent(ticket)).status == 201
    stored = presigner.complete(ticket.token)
    assert account.anonymous_get("public", ticket.key).body == PNG
    assert stored.object_url is not None
    assert account.send(Attempt(method="GET", url=stored.object_url)).body == PNG
    assert account.blob("public", ticket.key).get_blob_tags() == {"project": "7"}
    # Whoever replays the ticket with other bytes changes nothing, and completing again says the same.
    assert account.send(as_sent(ticket, b"<html>")).status == 201
    assert presigner.complete(ticket.token) == stored
    assert account.anonymous_get("public", ticket.key).body == PNG
    assert account.blobs("pending") == []


def test_completing_before_the_upload_raises_not_uploaded(account: RunningAccount) -> None:
    presigner = account.presigner()
    with pytest.raises(NotUploaded):
        presigner.complete(presigner.issue(png_request()).token)
