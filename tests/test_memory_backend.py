"""The storage in memory, as the tests of an application use it; the conformance checks are in test_conformance.py."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from flask import Flask

from presign import (
    Accept,
    Completion,
    ConfigurationError,
    InspectedObject,
    NotUploaded,
    ObjectChanged,
    PartsMissing,
    Presigner,
    Reject,
    Rejected,
    Rule,
    RuleViolated,
    SignedParts,
    StorageUnavailable,
    Ticket,
    UploadEnded,
    UploadOptions,
    UploadPolicy,
)
from presign.flask import create_blueprint
from presign.testing import InterruptedBackend, MemoryBackend, RefusedByStorage, SignParts
from tests.conftest import PNG, PNG_SHA256, TOKEN_SECRET, png_request


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now


def _presigner(backend: MemoryBackend, *, policy: Mapping[str, Any] | None = None, **options: Any) -> Presigner:
    rules: dict[str, Any] = {"content_types": {"image/png"}, "min_bytes": 10, "max_bytes": 100, "prefix": "photos/"}
    return Presigner(backend=backend, policy=UploadPolicy(**rules | dict(policy or {})), secret=TOKEN_SECRET, **options)


def _issued_as_json(presigner: Presigner, **request: Any) -> Any:
    return presigner.issue(png_request(**request)).to_dict()


@pytest.mark.parametrize("issue", [_issued_as_json, lambda presigner: presigner.issue(png_request())])
def test_an_upload_is_inspected_published_and_told_to_the_application(issue: Callable[[Presigner], Any]) -> None:
    told: list[Completion] = []
    read: list[bytes] = []

    def inspect(uploaded: InspectedObject) -> Accept:
        read.append(uploaded.open().read())
        return Accept()

    backend = MemoryBackend()
    presigner = _presigner(backend, inspect=inspect, on_complete=told.append)
    ticket = issue(presigner)
    token = ticket.token if isinstance(ticket, Ticket) else ticket["token"]
    with pytest.raises(NotUploaded):
        presigner.complete(token)
    backend.upload(ticket, PNG)
    assert [key.startswith("pending/") for key in backend.objects] == [True]
    stored = presigner.complete(token)
    assert (stored.key.startswith("photos/"), stored.size) == (True, len(PNG))
    assert {key: found.content for key, found in backend.objects.items()} == {stored.key: PNG}
    assert presigner.complete(token) == stored
    # The published object is not inspected again.
    assert (read, [each.stored for each in told]) == ([PNG], [stored, stored])


def test_the_published_object_has_the_headers_tags_and_storage_class_that_were_chosen() -> None:
    backend = MemoryBackend()
    presigner = _presigner(
        backend, policy={"metadata": {"tenant": "7"}, "content_disposition": "inline", "cache_control": "no-store"}
    )
    options = UploadOptions(tags={"state": "new"}, storage_class="STANDARD_IA")
    ticket = presigner.issue(png_request(name="cat.png"), options=options)
    backend.upload(ticket, PNG)
    found = backend.objects[presigner.complete(ticket.token).key]
    assert (found.content_type, found.cache_control, found.metadata) == ("image/png", "no-store", {"tenant": "7"})
    assert found.content_disposition is not None
    assert "cat.png" in found.content_disposition
    assert (found.tags, found.storage_class) == ({"state": "new"}, "STANDARD_IA")


@pytest.mark.parametrize("changed", ["key", "Content-Type", "x-memory-date", "x-memory-sha256", "policy"])
def test_a_changed_field_is_refused_and_stores_nothing(changed: str) -> None:
    backend = MemoryBackend()
    ticket = _issued_as_json(_presigner(backend), sha256=PNG_SHA256, size=len(PNG))
    fields = ticket["fields"]
    for value in ({changed: fields[changed][:-1]}, {changed: None}, {f"{changed}-2": "x"}):
        changes = {name: text for name, text in {**fields, **value}.items() if text is not None}
        with pytest.raises(RefusedByStorage) as refusal:
            backend.upload({**ticket, "fields": changes}, PNG)
        assert refusal.value.status == 403
    assert backend.objects == {}
    backend.upload(ticket, PNG)


@pytest.mark.parametrize(
    ("request_", "content", "reason", "status"),
    [
        ({}, bytes(9), "9 bytes are not 10 to 100", 400),
        ({}, bytes(101), "101 bytes are not 10 to 100", 400),
        ({"size": 20}, bytes(21), "21 bytes are not 20 to 20", 400),
        ({"sha256": hashlib.sha256(b"a" * 20).hexdigest()}, b"b" * 20, "SHA-256", 400),
    ],
)
def test_bytes_that_the_ticket_does_not_allow_are_refused_with_the_reason(
    request_: dict[str, Any], content: bytes, reason: str, status: int
) -> None:
    backend = MemoryBackend()
    with pytest.raises(RefusedByStorage, match=reason) as refusal:
        backend.upload(_issued_as_json(_presigner(backend), **request_), content)
    assert (refusal.value.status, backend.objects) == (status, {})


def test_a_ticket_is_valid_in_its_own_time_alone() -> None:
    clock = Clock()
    backend = MemoryBackend(clock=clock)
    presigner = _presigner(backend, clock=clock)
    ticket = presigner.issue(png_request())
    for wait in (timedelta(seconds=-1), timedelta(seconds=60)):
        clock.now = ticket.now + wait
        with pytest.raises(RefusedByStorage, match="expired, or is not valid yet"):
            backend.upload(ticket, PNG)
    clock.now = ticket.now + timedelta(seconds=59)
    backend.upload(ticket, PNG)


def test_a_create_only_ticket_stores_once_and_every_ticket_at_its_own_backend_alone() -> None:
    backend = MemoryBackend()
    ticket = _presigner(backend, policy={"create_only": True, "pending_prefix": None}).issue(png_request())
    backend.upload(ticket, PNG)
    with pytest.raises(RefusedByStorage, match="create-only") as refusal:
        backend.upload(ticket, PNG)
    assert refusal.value.status == 412
    for other, reason in ((MemoryBackend(), "signature"), (MemoryBackend(name="other"), "no such bucket")):
        with pytest.raises(RefusedByStorage, match=reason):
            other.upload(ticket, PNG)
    same = MemoryBackend(signing_key=b"a key")
    MemoryBackend(signing_key=b"a key").upload(_presigner(same).issue(png_request()), PNG)


def test_what_completion_refuses_is_deleted() -> None:
    backend = MemoryBackend()
    for inspect, content, error in (
        (None, b"<html>, and no picture", RuleViolated),
        (lambda _: Reject("too dark"), PNG, Rejected),
    ):
        presigner = _presigner(backend, inspect=inspect)
        ticket = presigner.issue(png_request())
        backend.upload(ticket, content)
        with pytest.raises(error):
            presigner.complete(ticket.token)
        assert backend.objects == {}


def test_a_request_that_is_no_form_or_has_headers_of_its_own_is_refused() -> None:
    backend = MemoryBackend()
    ticket = _issued_as_json(_presigner(backend))
    for changes in ({"method": "PUT"}, {"headers": {"x-amz-acl": "public-read"}}):
        with pytest.raises(RefusedByStorage, match="POST form"):
            backend.upload({**ticket, **changes}, PNG)
    assert backend.objects == {}


def test_a_file_that_is_replaced_while_it_is_inspected_is_never_published_unseen() -> None:
    backend = MemoryBackend()
    replacement = PNG + b" another picture"
    seen: list[bytes] = []

    def inspect(uploaded: InspectedObject) -> Accept:
        if not seen:
            backend.upload(ticket, replacement)
            with pytest.raises(ObjectChanged):
                uploaded.open().read()
            seen.append(b"")
        else:
            seen.append(uploaded.open().read())
        return Accept()

    presigner = _presigner(backend, inspect=inspect)
    ticket = presigner.issue(png_request())
    backend.upload(ticket, PNG)
    stored = presigner.complete(ticket.token)
    assert (seen, backend.objects[stored.key].content) == ([b"", replacement], replacement)


def test_a_sweep_deletes_what_is_old_by_the_storages_clock() -> None:
    clock = Clock()
    backend = MemoryBackend(clock=clock)
    presigner = _presigner(backend, clock=clock)
    for _ in range(2):
        backend.upload(presigner.issue(png_request()), PNG)
        clock.now += timedelta(hours=20)
    swept = presigner.sweep()
    assert (swept.deleted, swept.kept, len(backend.objects)) == (1, 1, 1)


def test_a_signed_download_reads_one_object_until_it_expires() -> None:
    clock = Clock()
    backend = MemoryBackend(clock=clock)
    presigner = _presigner(backend, clock=clock)
    ticket = presigner.issue(png_request())
    backend.upload(ticket, PNG)
    key = presigner.complete(ticket.token).key
    hour = timedelta(hours=1)
    url = presigner.sign_download(key, expires_in=hour, content_disposition='attachment; filename="a & b.png"')
    assert backend.download(url) == PNG
    missing = presigner.sign_download("photos/none", expires_in=hour)
    for wrong, status in (
        (url.replace(key, f"{key}x"), 403),
        (url.replace("a+%26+b", "c"), 403),
        (url.replace("2026-", "2027-"), 403),
        (backend.object_url(key), 403),
        (missing, 404),
        ("https://storage.example/uploads/x", 404),
    ):
        with pytest.raises(RefusedByStorage) as refusal:
            backend.download(wrong)
        assert refusal.value.status == status
    clock.now += hour
    with pytest.raises(RefusedByStorage, match="expired"):
        backend.download(url)
    with pytest.raises(ConfigurationError, match="7 days"):
        presigner.sign_download(key, expires_in=timedelta(days=8))


def test_the_test_client_of_flask_uploads_without_a_server() -> None:
    backend = MemoryBackend()
    app = Flask("application")
    app.register_blueprint(
        create_blueprint(_presigner(backend), authorize=lambda request: "user-7"), url_prefix="/files"
    )
    client = app.test_client()
    ticket = client.post("/files/upload", json={"type": "image/png"}).get_json()
    assert client.post("/files/complete", json={"token": ticket["token"]}).status_code == 409
    backend.upload(ticket, PNG)
    stored = client.post("/files/complete", json={"token": ticket["token"]}).get_json()
    assert backend.objects[stored["key"]].content == PNG


# Large files


FILM = PNG.ljust(40, b"a") + b"b" * 40 + b"the last part"
IN_PARTS: dict[str, Any] = {"parts_from_bytes": 81, "part_bytes": 40, "max_bytes": 1000}


def _issued_in_parts(presigner: Presigner, **request: Any) -> Ticket:
    ticket = presigner.issue(png_request(size=len(FILM), **request))
    assert ticket.parts is not None
    return ticket


def _sign(presigner: Presigner, ticket: Ticket) -> SignParts:
    return partial(presigner.sign_parts, ticket.token)


@pytest.mark.parametrize("hashes_parts", [False, True], ids=["", "hashed"])
def test_a_large_file_comes_in_parts_and_is_seen_by_nobody_before_its_completion(hashes_parts: bool) -> None:
    backend = MemoryBackend()
    presigner = _presigner(backend, policy=IN_PARTS)
    ticket = _issued_in_parts(presigner, hashes_parts=hashes_parts)
    backend.upload(ticket, FILM, sign_parts=_sign(presigner, ticket))
    assert presigner.list_parts(ticket.token).numbers == (1, 2, 3)
    assert backend.objects == {}
    stored = presigner.complete(ticket.token)
    assert backend.objects[stored.key].content == FILM
    assert list(backend.objects) == [stored.key]
    assert presigner.complete(ticket.token) == stored


def test_a_ticket_without_the_requests_of_all_parts_needs_somebody_who_asks_for_them() -> None:
    backend = MemoryBackend()
    presigner = _presigner(backend, policy=IN_PARTS | {"part_bytes": 5})
    many = presigner.issue(png_request(size=len(FILM)))
    with pytest.raises(ConfigurationError, match="part 9 of the file; give sign_parts"):
        backend.upload(many, FILM)
    backend.upload(many, FILM, sign_parts=_sign(presigner, many))
    assert backend.objects[presigner.complete(many.token).key].content == FILM


def test_missing_parts_are_named_and_one_that_is_sent_twice_counts_as_it_came_last() -> None:
    backend = MemoryBackend()
    presigner = _presigner(backend, policy=IN_PARTS)
    ticket = _issued_in_parts(presigner)
    assert ticket.parts is not None
    first, second, last = ticket.parts.requests
    backend.upload_part(first, FILM[:40])
    backend.upload_part(last, FILM[80:])
    with pytest.raises(PartsMissing) as caught:
        presigner.complete(ticket.token)
    assert caught.value.numbers == (2,)
    backend.upload_part(second, b"c" * 40)
    backend.upload_part(second.to_dict(), FILM[40:80])
    assert backend.objects[presigner.complete(ticket.token).key].content == FILM


def test_a_part_that_is_replaced_after_it_was_listed_is_committed_as_it_is_now() -> None:
    backend = MemoryBackend()
    presigner = _presigner(backend, policy=IN_PARTS)
    ticket = _issued_in_parts(presigner)
    assert ticket.parts is not None
    backend.upload(ticket, FILM[:-1] + b"!")
    last = ticket.parts.requests[2]
    replacing: Any = InterruptedBackend(backend)
    replacing.before["commit"] = lambda: backend.upload_part(last, FILM[80:])
    stored = _presigner(replacing, policy=IN_PARTS).complete(ticket.token)
    assert replacing.calls.count("commit") == 2
    assert backend.objects[stored.key].content == FILM


def test_a_commit_never_overwrites_an_object() -> None:
    backend = MemoryBackend()
    policy = IN_PARTS | {"pending_prefix": None, "create_only": True}
    presigner = _presigner(backend, policy=policy, new_id=lambda: "0" * 32)
    first, second = _issued_in_parts(presigner), _issued_in_parts(presigner)
    assert first.enforced[Rule.CREATE_ONLY] == "storage"
    backend.upload(first, FILM)
    backend.upload(second, FILM[:-1] + b"!")
    stored = presigner.complete(first.token)
    assert presigner.complete(second.token) == stored
    assert backend.objects[stored.key].content == FILM


@pytest.mark.parametrize(
    ("content", "status"),
    [(FILM + b"!", 403), (FILM[:-1], 403), (FILM[:-1] + b"!", 400)],
    ids=["a byte more", "a byte less", "other bytes than were hashed"],
)
def test_parts_that_were_not_signed_are_refused(content: bytes, status: int) -> None:
    backend = MemoryBackend()
    presigner = _presigner(backend, policy=IN_PARTS)
    ticket = _issued_in_parts(presigner, hashes_parts=True)
    right = hashlib.sha256(FILM[80:]).hexdigest()

    def sign(numbers: Sequence[int], *, sha256: Sequence[str] | None) -> SignedParts:
        return presigner.sign_parts(ticket.token, numbers, sha256=[right] if numbers == [3] else sha256)

    with pytest.raises(RefusedByStorage) as caught:
        backend.upload(ticket, content, sign_parts=sign)
    assert caught.value.status == status
    assert presigner.list_parts(ticket.token).numbers == (1, 2)


def test_a_part_is_refused_after_its_time_after_an_abort_and_elsewhere() -> None:
    clock = Clock()
    backend, other = MemoryBackend(clock=clock), MemoryBackend(clock=clock)
    presigner = _presigner(backend, policy=IN_PARTS, clock=clock)
    ticket = _issued_in_parts(presigner)
    assert ticket.parts is not None
    request = ticket.parts.requests[2]
    with pytest.raises(RefusedByStorage, match="nobody signed"):
        other.upload_part(request, FILM[80:])
    for url in (
        f"{request.url}&partNumber=1",
        f"{request.url}&size=13",
        request.url.replace("partNumber=3", "partNumber=2"),
    ):
        with pytest.raises(RefusedByStorage, match="nobody signed"):
            backend.upload_part({**request.to_dict(), "url": url}, FILM[80:])
    with pytest.raises(RefusedByStorage, match="no such bucket"):
        MemoryBackend(name="elsewhere").upload_part(request, FILM[80:])
    with pytest.raises(RefusedByStorage, match="exactly the headers"):
        backend.upload_part({**request.to_dict(), "headers": {"x-memory-tags": "a"}}, FILM[80:])
    clock.now = ticket.expires_at
    with pytest.raises(RefusedByStorage, match="expired"):
        backend.upload_part(request, FILM[80:])
    (again,) = presigner.sign_parts(ticket.token, [3]).requests
    presigner.abort(ticket.token)
    with pytest.raises(RefusedByStorage, match="no such upload"):
        backend.upload_part(again, FILM[80:])
    with pytest.raises(UploadEnded):
        presigner.complete(ticket.token)


def test_a_sweep_ends_what_nobody_finished_by_the_storages_clock() -> None:
    clock = Clock()
    backend = MemoryBackend(clock=clock)
    presigner = _presigner(backend, policy=IN_PARTS, clock=clock)
    ticket = _issued_in_parts(presigner)
    clock.now += timedelta(days=7, hours=23)
    assert presigner.sweep().aborted == 0
    clock.now += timedelta(hours=2)
    assert presigner.sweep().aborted == 1
    clock.now -= timedelta(days=2)
    with pytest.raises(UploadEnded):
        presigner.complete(ticket.token)


def test_the_test_client_of_flask_uploads_a_large_file_without_a_server() -> None:
    backend = MemoryBackend()
    app = Flask("application")
    presigner = _presigner(backend, policy=IN_PARTS)
    app.register_blueprint(create_blueprint(presigner, authorize=lambda request: "user-7"), url_prefix="/files")
    client = app.test_client()

    def ask(path: str, body: Mapping[str, Any]) -> Any:
        return client.post(f"/files/{path}", json=body).get_json()

    ticket = ask("upload", {"type": "image/png", "size": len(FILM), "hashes_parts": True})
    token = {"token": ticket["token"]}

    def sign(numbers: Sequence[int], *, sha256: Sequence[str] | None) -> Any:
        return ask("parts", {**token, "numbers": numbers, "sha256": sha256})

    backend.upload(ticket, FILM, sign_parts=sign)
    assert ask("parts/list", token)["numbers"] == [1, 2, 3]
    assert backend.objects[ask("complete", token)["key"]].content == FILM


def test_a_storage_that_fails_at_one_step_is_answered_with_the_error_and_works_again() -> None:
    backend = MemoryBackend()
    ticket = _presigner(backend).issue(png_request())
    backend.upload(ticket, PNG)
    failing: Any = InterruptedBackend(backend, fail_at=0, failure=StorageUnavailable("it does not answer"))
    presigner = _presigner(failing)
    with pytest.raises(StorageUnavailable):
        presigner.complete(ticket.token)
    assert presigner.complete(ticket.token).size == len(PNG)


def test_every_rule_is_enforced_by_this_storage() -> None:
    policy = {"create_only": True, "require_sha256": True, "require_at_storage": set(Rule)}
    request = png_request(sha256=PNG_SHA256, size=len(PNG))
    ticket = _presigner(MemoryBackend(), policy=policy).issue(request)
    assert ticket.enforced == dict.fromkeys(Rule, "storage")


def test_a_name_that_no_bucket_has_is_refused_and_no_text_shows_the_key() -> None:
    with pytest.raises(ConfigurationError, match="name"):
        MemoryBackend(name="a/b")
    assert repr(MemoryBackend(signing_key=b"very secret")) == "MemoryBackend(name='uploads')"
