"""Completion on the reference server: what is verified there, because Cloud Storage does not enforce it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from emulators.wire import Attempt, send
from presign import NotUploaded, Rule, RuleViolated
from tests.gcs.reference import BUCKET, GRANT, PNG, Reference, as_sent, issued, presigner, uploaded


def test_complete_returns_the_stored_object_and_the_same_object_when_repeated(
    gcs: Reference, kind: str, method: str
) -> None:
    gate = presigner(gcs.backend(kind, upload_method=method), cache_control="max-age=60", metadata={"app": "demo"})
    ticket = issued(gate, size=len(PNG), sha256=hashlib.sha256(PNG).hexdigest())
    with pytest.raises(NotUploaded):
        gate.complete(ticket.token)
    assert send(as_sent(ticket)).status in {200, 201}
    stored = gate.complete(ticket.token)
    assert (stored.key, stored.size, stored.content_type) == (ticket.key, len(PNG), "image/png")
    assert stored.version == str(gcs.objects[ticket.key].generation)
    assert stored.object_url == ticket.object_url
    assert gate.complete(ticket.token) == stored


def test_complete_reads_the_object_and_deletes_it_if_the_checksum_differs(
    gcs: Reference, kind: str, method: str
) -> None:
    backend = gcs.backend(kind, upload_method=method)
    gate = presigner(backend)
    ticket = issued(gate, sha256=hashlib.sha256(b"other").hexdigest())
    assert ticket.enforced[Rule.CHECKSUM] == "completion"
    if method == "put":
        # This server checks the hash that a PUT binds, as Google documents; Google's own check was not tried.
        assert send(as_sent(ticket)).outcome == (400, "BadDigest")
        pending_key = urlsplit(ticket.url).path.removeprefix(f"/{BUCKET}/")
        assert uploaded(backend, replace(GRANT, key=pending_key)).status == 200
    else:
        assert send(as_sent(ticket)).status == 201
    with pytest.raises(RuleViolated) as caught:
        gate.complete(ticket.token)
    assert caught.value.rule == "checksum"
    assert gcs.objects == {}


def test_complete_deletes_an_object_whose_content_is_not_of_its_type(gcs: Reference, kind: str, method: str) -> None:
    gate = presigner(gcs.backend(kind, upload_method=method))
    ticket = issued(gate)
    assert send(as_sent(ticket, b"<!doctype html><html><script>alert(1)</script></html>")).status in {200, 201}
    with pytest.raises(RuleViolated) as caught:
        gate.complete(ticket.token)
    assert caught.value.rule == "type"
    assert gcs.objects == {}


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Content-Encoding", "gzip"),
        ("Content-Language", "de"),
        ("Cache-Control", "no-store"),
        ("Content-Disposition", "attachment"),
    ],
)
def test_complete_deletes_an_object_with_a_header_that_was_not_signed(
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
