"""Completion on Azurite: it deletes the uploads that break a rule which the storage does not enforce."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest

from presign import NotUploaded, Rule, RuleViolated
from tests.azure.accounts import PNG, Change, RunningAccount, as_sent, png_request, utc_now
from tests.azure.tampering import without_headers

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
    "no metadata": (Rule.HEADERS, lambda a: a.without_header("x-ms-meta-tenant")),
    "another disposition": (Rule.HEADERS, lambda a: a.with_header("x-ms-blob-content-disposition", "attachment")),
    "another cache control": (Rule.HEADERS, lambda a: a.with_header("x-ms-blob-cache-control", "max-age=999999")),
    "a language": (Rule.HEADERS, lambda a: a.with_header("x-ms-blob-content-language", "de")),
    "the archive tier, whose blobs cannot be read": (
        Rule.HEADERS,
        lambda a: a.with_header("x-ms-access-tier", "Archive"),
    ),
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


def test_completing_before_the_upload_raises_not_uploaded(account: RunningAccount) -> None:
    presigner = account.presigner()
    with pytest.raises(NotUploaded):
        presigner.complete(presigner.issue(png_request()).token)
