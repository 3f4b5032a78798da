"""The blobs of a container: what a look shows, conditional deletes and listings, on Azurite and on stub servers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from azure.storage.blob import BlobClient, StandardBlobTier

from emulators.azurite import ACCOUNT_KEY
from presign import ConfigurationError, StorageUnavailable
from presign.backends.backend import ListedObject, ObjectHead
from tests.azure.accounts import (
    KEY,
    NOW,
    OTHER_ACCOUNT_KEY,
    PENDING_GRANT,
    PENDING_KEY,
    PNG,
    RunningAccount,
    as_sent,
    utc_now,
)
from tests.azure.stub_server import (
    Respond,
    StubServer,
    answer_with_headers,
    error_answer,
    in_turn,
    recorded,
    xml_answer,
)
from tests.azure.tampering import without_headers

Start = Callable[[Respond], StubServer]

HEAD = ObjectHead(size=1, content_type="image/png", etag="0x1")
BLOCK_BLOB = {"ETag": '"0x1"', "Content-Length": "7", "Content-Type": "image/png", "x-ms-blob-type": "BlockBlob"}

SPOILED: dict[str, tuple[Callable[[BlobClient], object], dict[str, str]]] = {
    "a page blob": (lambda blob: blob.create_page_blob(512), {"x-ms-blob-type": "PageBlob"}),
    "an append blob": (lambda blob: blob.create_append_blob(), {"x-ms-blob-type": "AppendBlob"}),
    "the cool tier": (
        lambda blob: blob.upload_blob(PNG, standard_blob_tier=StandardBlobTier.COOL),
        {"x-ms-access-tier": "Cool"},
    ),
    "the hot tier, which is the default": (
        lambda blob: blob.upload_blob(PNG, standard_blob_tier=StandardBlobTier.HOT),
        {"x-ms-access-tier": "Hot"},
    ),
    "the archive tier": (
        lambda blob: blob.upload_blob(PNG, standard_blob_tier=StandardBlobTier.ARCHIVE),
        {"x-ms-access-tier": "Archive"},
    ),
    "tags": (lambda blob: blob.upload_blob(PNG, tags={"a": "b", "c": "d"}), {"x-ms-tag-count": "2"}),
    "nothing": (lambda blob: blob.upload_blob(PNG), {}),
}


@pytest.mark.parametrize(("spoil", "shown"), SPOILED.values(), ids=SPOILED)
def test_a_look_shows_what_no_ticket_gives_to_a_blob(
    account: RunningAccount, spoil: Callable[[BlobClient], object], shown: dict[str, str]
) -> None:
    spoil(account.blob("pending", PENDING_KEY))
    head = account.publishing_backend().pending.head(PENDING_KEY)
    assert head is not None
    assert head.readable
    assert head.unexpected_headers == shown


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ({"x-ms-legal-hold": "true"}, {"x-ms-legal-hold": "true"}),
        ({"x-ms-legal-hold": "false"}, {}),
        (
            {"x-ms-immutability-policy-until-date": "Fri, 01 Jan 2100 00:00:00 GMT"},
            {"x-ms-immutability-policy-until-date": "Fri, 01 Jan 2100 00:00:00 GMT"},
        ),
        ({"x-ms-access-tier": "Archive", "x-ms-access-tier-inferred": "true"}, {"x-ms-access-tier": "Archive"}),
        ({"x-ms-access-tier": "Cold"}, {"x-ms-access-tier": "Cold"}),
        ({"x-ms-access-tier": "Cool", "x-ms-access-tier-inferred": "true"}, {}),
        ({"x-ms-access-tier": "Premium"}, {}),
        ({"x-ms-copy-id": "1", "x-ms-copy-status": "pending"}, {"x-ms-copy-status": "pending"}),
        ({"Content-Language": "de"}, {"content-language": "de"}),
        ({"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, {}),
        ({"x-ms-encryption-scope": "the-default-of-the-container"}, {}),
    ],
)
def test_a_look_shows_what_azurite_does_not_store(stub: Start, headers: dict[str, str], shown: dict[str, str]) -> None:
    head = stub(answer_with_headers(200, BLOCK_BLOB | headers)).backend().head(KEY)
    assert head is not None
    assert (head.size, head.content_type, head.etag) == (7, "image/png", "0x1")
    assert head.unexpected_headers == shown


def test_the_first_bytes_come_with_the_description_in_one_request(stub: Start, account: RunningAccount) -> None:
    account.blob("pending", PENDING_KEY).upload_blob(PNG, metadata={"Tenant": "7"})
    store = account.publishing_backend().pending
    described, plain = store.head(PENDING_KEY, first_bytes=8), store.head(PENDING_KEY)
    assert described is not None
    assert described.first_bytes == PNG[:8]
    assert replace(described, first_bytes=None) == plain
    assert store.head(f"{PENDING_KEY}0", first_bytes=8) is None

    requests: list[BaseHTTPRequestHandler] = []
    range_of_7 = BLOCK_BLOB | {"Content-Length": "0", "Content-Range": "bytes 0-3/7"}
    head = stub(recorded(requests, answer_with_headers(206, range_of_7))).backend().head(KEY, first_bytes=4)
    assert head is not None
    assert (head.size, head.etag) == (7, "0x1")
    assert [(request.command, request.headers["x-ms-range"]) for request in requests] == [("GET", "bytes=0-3")]


@pytest.mark.parametrize("upload", [b"", b"in the archive"])
def test_a_blob_that_returns_no_bytes_is_described_without_them(account: RunningAccount, upload: bytes) -> None:
    blob = account.blob("pending", PENDING_KEY)
    blob.upload_blob(upload, standard_blob_tier=StandardBlobTier.ARCHIVE if upload else None)
    store = account.publishing_backend().pending
    head = store.head(PENDING_KEY, first_bytes=8)
    assert head is not None
    assert (head.size, head.first_bytes) == (len(upload), None)
    assert head.unexpected_headers == ({"x-ms-access-tier": "Archive"} if upload else {})
    if not upload:
        assert store.read(PENDING_KEY, offset=20, length=5, etag=head.etag) == b""


def test_a_tier_that_the_client_has_chosen_is_seen_in_the_listing(account: RunningAccount) -> None:
    backend = account.publishing_backend()
    blob = account.blob("pending", PENDING_KEY)
    blob.upload_blob(PNG)
    assert backend.unexpected_attributes(PENDING_GRANT) == {}
    blob.upload_blob(PNG, overwrite=True, standard_blob_tier=StandardBlobTier.COOL)
    assert backend.unexpected_attributes(PENDING_GRANT) == {"x-ms-access-tier": "Cool"}


def listing(*names: str, marker: str = "") -> Respond:
    blobs = "".join(
        f"<Blob><Name>{name}</Name><Properties><Last-Modified>Mon, 23 Nov 2026 12:00:00 GMT</Last-Modified>"
        f"<Etag>0x{name}</Etag><Content-Length>5</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>"
        for name in names
    )
    return xml_answer(
        b'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="uploads">'
        b"<Blobs>%s</Blobs><NextMarker>%s</NextMarker></EnumerationResults>" % (blobs.encode(), marker.encode())
    )


CUSTOMER_KEY = error_answer(409, "BlobUsesCustomerSpecifiedEncryption")


def test_a_blob_under_a_key_that_only_the_client_has_is_not_readable(stub: Start) -> None:
    server = stub(in_turn(CUSTOMER_KEY, listing("k", "k2")))
    head = server.backend().head("k")
    assert head == ObjectHead(size=0, content_type="", etag="0xk", readable=False)


def test_a_blob_that_disappears_between_the_look_and_the_listing_is_gone(stub: Start) -> None:
    assert stub(in_turn(CUSTOMER_KEY, listing("k2"))).backend().head("k") is None
    assert stub(in_turn(CUSTOMER_KEY, listing())).backend().head("k") is None


def test_a_conflict_of_another_kind_is_a_failure(stub: Start) -> None:
    with pytest.raises(StorageUnavailable, match="ContainerBeingDeleted"):
        stub(error_answer(409, "ContainerBeingDeleted")).backend().head("k")


def test_a_snapshot_of_the_pending_upload_is_seen_with_one_request(account: RunningAccount) -> None:
    backend = account.publishing_backend()
    upload = as_sent(backend.sign_upload(PENDING_GRANT, utc_now()))
    assert backend.unexpected_attributes(PENDING_GRANT) == {}
    assert account.send(upload).status == 201
    # A snapshot of another blob, whose name begins with the same characters.
    account.blob("pending", f"{PENDING_KEY}0").upload_blob(b"x")
    account.blob("pending", f"{PENDING_KEY}0").create_snapshot()
    assert backend.unexpected_attributes(PENDING_GRANT) == {}
    snapshot = without_headers(upload).with_another_parameter("comp", "snapshot").with_body(b"")
    assert account.send(snapshot).status == 201
    assert set(backend.unexpected_attributes(PENDING_GRANT)) == {"x-ms-snapshot"}
    head = backend.pending.head(PENDING_KEY)
    backend.pending.delete(PENDING_KEY, head=head)
    assert backend.unexpected_attributes(PENDING_GRANT) == {}
    listed = account.admin.get_container_client("pending").list_blobs(include=["snapshots"])
    assert {blob.name for blob in listed} == {f"{PENDING_KEY}0"}


def test_only_the_blob_that_was_described_is_deleted(account: RunningAccount) -> None:
    store = account.publishing_backend().pending
    blob = account.blob("pending", PENDING_KEY)
    blob.upload_blob(b"bad")
    described = store.head(PENDING_KEY)
    (listed,) = store.list_objects("pending/")
    blob.upload_blob(b"good", overwrite=True)
    for old in (described, listed):
        store.delete(PENDING_KEY, head=old)
        assert blob.download_blob().readall() == b"good"
    (listed,) = store.list_objects("pending/")
    store.delete(PENDING_KEY, head=listed)
    assert account.blobs("pending") == []
    store.delete(PENDING_KEY, head=listed)


def test_a_version_is_deleted_after_the_blob_that_it_is_the_current_version_of(stub: Start) -> None:
    requests: list[BaseHTTPRequestHandler] = []
    server = stub(recorded(requests, answer_with_headers(202, {})))
    server.backend().delete("k", head=ObjectHead(size=1, content_type="", etag="0x1", version="2026-11-23T12:00:00Z"))
    deletes = [(request.command, request.path.partition("?")[2]) for request in requests]
    assert deletes == [("DELETE", ""), ("DELETE", "versionid=2026-11-23T12%3A00%3A00Z")]
    assert requests[0].headers["if-match"] == '"0x1"'
    assert requests[0].headers["x-ms-delete-snapshots"] == "include"
    assert requests[1].headers.get("x-ms-delete-snapshots") is None


@pytest.mark.parametrize(
    ("answers", "requests"),
    [
        # Another blob has the name by now: nothing more happens.
        ([error_answer(412, "ConditionNotMet")], 1),
        # An earlier call ended between the two steps.
        ([error_answer(404, "BlobNotFound"), answer_with_headers(202, {})], 2),
        ([error_answer(404, "BlobNotFound"), error_answer(404, "BlobNotFound")], 2),
    ],
)
def test_deleting_a_version_can_be_repeated(stub: Start, answers: list[Respond], requests: int) -> None:
    server = stub(in_turn(*answers))
    server.backend().delete("k", head=ObjectHead(size=1, content_type="", etag="0x1", version="v"))
    assert server.requests == requests


def test_a_version_that_may_not_be_deleted_is_reported(stub: Start) -> None:
    server = stub(in_turn(answer_with_headers(202, {}), error_answer(403, "AuthorizationPermissionMismatch")))
    with pytest.raises(StorageUnavailable, match="answered Delete Blob of a version with AuthorizationPermission"):
        server.backend().delete("k", head=ObjectHead(size=1, content_type="", etag="0x1", version="v"))


@pytest.mark.parametrize(("etag", "deletes"), [("0x1", ["", "versionid=v"]), ("0x2", [""])])
def test_a_listed_blob_is_deleted_with_its_version(stub: Start, etag: str, deletes: list[str]) -> None:
    requests: list[BaseHTTPRequestHandler] = []
    answers = in_turn(answer_with_headers(200, BLOCK_BLOB | {"x-ms-version-id": "v"}), answer_with_headers(202, {}))
    server = stub(recorded(requests, answers))
    server.backend().delete("k", head=ListedObject(key="k", etag=etag, stored_at=NOW))
    assert requests[0].command == "HEAD"
    assert [request.path.partition("?")[2] for request in requests[1:]] == deletes


def test_a_blob_that_cannot_be_deleted_is_reported(stub: Start) -> None:
    for code in ("BlobImmutableDueToPolicy", "LeaseIdMissing"):
        with pytest.raises(StorageUnavailable, match=f"answered Delete Blob with {code}"):
            stub(error_answer(409, code)).backend().delete("k", head=HEAD)


def test_a_listing_has_the_blobs_under_a_prefix_without_snapshots(account: RunningAccount) -> None:
    for key in ("pending/a", "pending/b ö", "pending", "other/c"):
        account.blob("pending", key).upload_blob(b"x")
    account.blob("pending", "pending/a").create_snapshot()
    account.blob("pending", "pending/uncommitted").stage_block("1", b"x")
    store = account.publishing_backend().pending
    listed = list(store.list_objects("pending/"))
    assert [found.key for found in listed] == ["pending/a", "pending/b ö"]
    for found in listed:
        head = store.head(found.key)
        assert head is not None
        assert found.etag == head.etag
        assert abs(found.stored_at - utc_now()) < timedelta(seconds=30)
    assert list(store.list_objects("nothing/")) == []


def test_a_listing_goes_on_from_page_to_page(stub: Start) -> None:
    requests: list[BaseHTTPRequestHandler] = []
    server = stub(recorded(requests, in_turn(listing("a", "b", marker="next"), listing(marker="last"), listing("c"))))
    listed = server.backend().list_objects("")
    assert server.requests == 0
    assert next(listed) == ListedObject(key="a", etag="0xa", stored_at=NOW.replace(microsecond=0))
    assert server.requests == 1
    assert [found.key for found in listed] == ["b", "c"]
    assert ["marker=" in request.path for request in requests] == [False, True, True]
    with pytest.raises(StorageUnavailable, match="answered List Blobs with AuthenticationFailed"):
        list(stub(error_answer(403, "AuthenticationFailed")).backend().list_objects(""))


def test_a_pending_container_that_everybody_may_read_is_refused(account: RunningAccount) -> None:
    account.publishing_backend().check()
    with pytest.raises(
        ConfigurationError, match="everybody may read the container public, where uploads wait"
    ) as caught:
        account.backend(pending_container="public").check()
    assert caught.value.field == "pending_container"
    with pytest.raises(ConfigurationError, match="the container missing does not exist"):
        account.publishing_backend(pending_container="missing").check()


def test_each_wrong_key_is_reported_with_its_own_setting(key_account: RunningAccount) -> None:
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"verifier_account_key": OTHER_ACCOUNT_KEY}, "verifier_account_key", "AZURE_STORAGE_VERIFIER_KEY"),
        (
            {"account_key": OTHER_ACCOUNT_KEY, "verifier_account_key": ACCOUNT_KEY},
            "account_key",
            "check the account key .AZURE_STORAGE_KEY",
        ),
    ]
    for options, field, message in cases:
        with pytest.raises(ConfigurationError, match=message) as caught:
            key_account.publishing_backend(**options).check()
        assert caught.value.field == field
