"""Publication on Azurite: exactly the verified bytes, with the grant's headers, and never over another blob.

Azurite has no Put Blob From URL, so here every blob is copied in blocks; test_one_request_publication.py has the rest.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from azure.storage.blob import ContentSettings, StandardBlobTier

from emulators.wire import Attempt
from presign import Grant, StorageUnavailable
from presign.azure import AzureBackend, publication
from presign.backends.backend import AlreadyPublished, ObjectChanged, ObjectHead
from tests.azure.accounts import (
    KEY,
    MINUTE,
    OTHER_ACCOUNT_KEY,
    PENDING_GRANT,
    PENDING_KEY,
    PNG,
    Identity,
    RunningAccount,
    as_sent,
    query_of,
    utc_now,
)
from tests.azure.tampering import ABUSES

FULL_GRANT = replace(
    PENDING_GRANT,
    content_disposition='inline; filename="a b.png"',
    cache_control="max-age=60",
    metadata={"tenant": "7"},
    tags={"project": "a/b", "empty": ""},
    storage_class="Cool",
)


def upload(account: RunningAccount, backend: AzureBackend, grant: Grant, body: bytes = PNG) -> ObjectHead:
    assert account.send(as_sent(backend.sign_upload(grant, utc_now()), body)).status == 201
    head = backend.pending.head(PENDING_KEY)
    assert head is not None
    return head


def test_a_published_blob_has_the_verified_bytes_and_everything_that_is_granted(account: RunningAccount) -> None:
    backend = account.publishing_backend()
    head = upload(account, backend, FULL_GRANT)
    assert account.anonymous_get("pending", PENDING_KEY).status in {403, 404}
    assert account.anonymous_get("public", KEY).status == 404
    published = backend.publish(FULL_GRANT, head)
    answer = account.anonymous_get("public", KEY)
    assert (answer.status, answer.body) == (200, PNG)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == 'inline; filename="a b.png"'
    assert answer.headers["cache-control"] == "max-age=60"
    stored = account.blob("public", KEY).get_blob_properties()
    assert (stored.metadata, str(stored.blob_tier), stored.blob_tier_inferred) == ({"tenant": "7"}, "Cool", None)
    assert account.blob("public", KEY).get_blob_tags() == {"project": "a/b", "empty": ""}
    assert published == replace(head, etag=stored.etag.strip('"'), first_bytes=None, unexpected_headers={}, sha256=None)
    # The pending blob is there until the caller deletes it.
    assert account.blobs("pending") == [PENDING_KEY]
    backend.pending.delete(PENDING_KEY, head=head)
    assert (account.blobs("pending"), account.blobs("public")) == ([], [KEY])


def test_a_blob_can_be_published_in_the_container_where_it_waits(account: RunningAccount) -> None:
    backend = account.backend()
    assert backend.pending is backend
    head = upload(account, backend, PENDING_GRANT)
    published = backend.publish(PENDING_GRANT, head)
    assert sorted(account.blobs()) == sorted([KEY, PENDING_KEY])
    final = backend.head(KEY)
    assert final is not None
    assert (final.etag, final.unexpected_headers) == (published.etag, {})


def test_nothing_of_the_pending_blob_but_its_bytes_is_published(account: RunningAccount) -> None:
    account.blob("pending", PENDING_KEY).upload_blob(
        PNG,
        metadata={"role": "admin"},
        tags={"scan": "clean"},
        standard_blob_tier=StandardBlobTier.COOL,
        content_settings=ContentSettings(
            content_type="text/html",
            content_encoding="gzip",
            content_language="de",
            content_disposition="attachment",
            cache_control="max-age=999999",
        ),
    )
    backend = account.publishing_backend()
    head = backend.pending.head(PENDING_KEY)
    assert head is not None
    published = backend.publish(PENDING_GRANT, head)
    assert backend.head(KEY) == published
    stored = account.blob("public", KEY).get_blob_properties()
    settings = stored.content_settings
    assert (settings.content_type, stored.metadata, stored.blob_tier_inferred) == ("image/png", {}, True)
    assert not any(
        (settings.content_encoding, settings.content_language, settings.content_disposition, settings.cache_control)
    )
    assert account.blob("public", KEY).get_blob_tags() == {}


@pytest.mark.parametrize("change", ["replaced", "given other metadata", "deleted"])
def test_a_pending_blob_that_changed_after_the_look_is_not_published(account: RunningAccount, change: str) -> None:
    backend = account.publishing_backend()
    head = upload(account, backend, PENDING_GRANT)
    blob = account.blob("pending", PENDING_KEY)
    if change == "replaced":
        blob.upload_blob(b"<html>".ljust(len(PNG)), overwrite=True)
    elif change == "deleted":
        blob.delete_blob()
    else:
        blob.set_blob_metadata({"role": "admin"})
    with pytest.raises(ObjectChanged, match=f"the blob {PENDING_KEY} was replaced or deleted meanwhile"):
        backend.publish(PENDING_GRANT, head)
    assert account.blobs("public") == []


def test_a_published_blob_is_never_overwritten(account: RunningAccount) -> None:
    backend = account.publishing_backend()
    head = upload(account, backend, PENDING_GRANT)
    published = backend.publish(PENDING_GRANT, head)
    with pytest.raises(AlreadyPublished):
        backend.publish(PENDING_GRANT, head)
    backend.pending.delete(PENDING_KEY, head=head)
    second = upload(account, backend, PENDING_GRANT, PNG + b"other bytes")
    with pytest.raises(AlreadyPublished):
        backend.publish(PENDING_GRANT, second)
    assert backend.head(KEY) == published
    assert account.anonymous_get("public", KEY).body == PNG


def test_of_eight_publications_at_once_one_succeeds(account: RunningAccount) -> None:
    backend = account.publishing_backend()
    head = upload(account, backend, PENDING_GRANT)

    def publish(_: int) -> str:
        try:
            return backend.publish(PENDING_GRANT, head).etag
        except AlreadyPublished:
            return "already published"

    with ThreadPoolExecutor(8) as pool:
        outcomes = Counter(pool.map(publish, range(8)))
    final = backend.head(KEY)
    assert final is not None
    assert outcomes == {final.etag: 1, "already published": 7}
    assert account.anonymous_get("public", KEY).body == PNG


@pytest.mark.parametrize("size", [0, 1, 10, 33])
def test_a_blob_that_is_copied_in_several_blocks_has_the_same_bytes(
    account: RunningAccount, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "MAX_ONE_COPY_BYTES", 0)
    monkeypatch.setattr(publication, "BLOCK_BYTES", 10)
    backend = account.publishing_backend()
    body = bytes(range(size))
    head = upload(account, backend, FULL_GRANT, body)
    reports: list[tuple[int, int]] = []
    published = backend.publish(FULL_GRANT, head, report_copied=lambda done, of: reports.append((done, of)))
    assert (published.size, account.anonymous_get("public", KEY).body) == (size, body)
    assert reports == [(min(first + 10, size), size) for first in range(0, max(size, 1), 10)]
    committed, uncommitted = account.blob("public", KEY).get_block_list("all")
    assert [block.size for block in committed] == ([10] * (size // 10) + [size % 10] * (size % 10 > 0) or [0])
    assert uncommitted == []


def test_a_pending_blob_that_is_replaced_between_two_blocks_is_not_published(
    account: RunningAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "BLOCK_BYTES", 10)
    backend = account.publishing_backend()
    head = upload(account, backend, PENDING_GRANT)
    stage = publication.Publication._stage

    def replace_after(self: Any, block_id: str, offset: int) -> None:
        stage(self, block_id, offset)
        account.blob("pending", PENDING_KEY).upload_blob(bytes(len(PNG)), overwrite=True)

    monkeypatch.setattr(publication.Publication, "_stage", replace_after)
    with pytest.raises(ObjectChanged):
        backend.publish(PENDING_GRANT, head)
    assert account.blobs("public") == []


def test_the_blocks_of_another_blob_are_never_committed(
    account: RunningAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "MAX_ONE_COPY_BYTES", 0)
    # A new final name in each run: Azurite keeps the blocks that nobody committed.
    grant = replace(PENDING_GRANT, key=f"{KEY}-{utc_now().timestamp()}")
    backend = account.publishing_backend()
    verified = upload(account, backend, grant)
    stage = publication.Publication._stage

    def die(_: object) -> None:
        raise InterruptedError

    def stage_another_too(self: Any, block_id: str, offset: int) -> None:
        stage(self, block_id, offset)
        # Another call stages its block of another blob under the same final name, and dies before it commits it.
        account.blob("pending", PENDING_KEY).upload_blob(bytes(len(PNG)), overwrite=True)
        other = backend.pending.head(PENDING_KEY)
        assert other is not None
        with monkeypatch.context() as patch:
            patch.setattr(publication.Publication, "_stage", stage)
            patch.setattr(publication.Publication, "_attributes", die)
            with pytest.raises(InterruptedError):
                backend.publish(grant, other)
        _, uncommitted = account.blob("public", grant.key).get_block_list("all")
        assert len(uncommitted) == 2

    monkeypatch.setattr(publication.Publication, "_stage", stage_another_too)
    backend.publish(grant, verified)
    assert account.anonymous_get("public", grant.key).body == PNG


def test_a_backend_that_binds_headers_publishes_too(identity_account: RunningAccount) -> None:
    # Azurite refuses uploads with bound headers, but not the newer version of the signature that reads the source.
    backend = identity_account.publishing_backend(bind_headers=True)
    grant = replace(PENDING_GRANT, key=f"{KEY}-bound", pending_key=f"{PENDING_KEY}-bound")
    blob = identity_account.blob("pending", grant.upload_key)
    blob.upload_blob(PNG)
    head = backend.pending.head(grant.upload_key)
    assert head is not None
    published = backend.publish(grant, head)
    assert backend.head(grant.key) == published
    backend.pending.delete(grant.upload_key, head=head)
    backend.delete(grant.key, head=published)
    assert backend.head(grant.key) is None


def test_a_missing_final_container_is_no_changed_object(account: RunningAccount) -> None:
    backend = account.publishing_backend()
    head = upload(account, backend, PENDING_GRANT)
    with pytest.raises(StorageUnavailable, match="ContainerNotFound") as caught:
        account.publishing_backend(container="missing").publish(PENDING_GRANT, head)
    assert not isinstance(caught.value, ObjectChanged)


# What a ticket's signature permits beside the upload that it is for.


@pytest.mark.parametrize(("abuse", "shows"), ABUSES.items(), ids=[abuse.__name__ for abuse in ABUSES])
def test_what_a_ticket_can_store_is_private_and_seen_and_not_published_as_what_was_verified(
    account: RunningAccount, abuse: Any, shows: Any
) -> None:
    backend = account.publishing_backend()
    verified = upload(account, backend, PENDING_GRANT)
    backend.pending.delete(PENDING_KEY, head=verified)
    ticket = as_sent(backend.sign_upload(PENDING_GRANT, utc_now()))
    assert account.send(abuse(account, ticket)).status in {201, 202}
    head = backend.pending.head(PENDING_KEY)
    assert head is not None
    assert shows(head)
    for container in ("pending", "public"):
        assert account.anonymous_get(container, PENDING_KEY).status in {403, 404, 409}
        assert account.anonymous_get(container, KEY).status in {403, 404, 409}
    with pytest.raises(ObjectChanged):
        backend.publish(PENDING_GRANT, verified)
    assert account.blobs("public") == []
    # A replay of the ticket overwrites nothing either.
    assert account.send(ticket).status in {403, 409}
    backend.pending.delete(PENDING_KEY, head=verified)
    assert account.blobs("pending") == [PENDING_KEY]
    backend.pending.delete(PENDING_KEY, head=head)
    assert account.blobs("pending") == []


def test_a_pending_ticket_creates_one_pending_blob_and_permits_nothing_else(account: RunningAccount) -> None:
    backend = account.publishing_backend()
    attempt = as_sent(backend.sign_upload(FULL_GRANT, utc_now()))
    assert query_of(attempt.url)["sp"] == "c"
    assert "/pending/pending/" in attempt.url
    for other in (("public", KEY), ("public", PENDING_KEY), ("pending", KEY)):
        path = f"/{backend.object_url('').split('/')[3]}/{'/'.join(other)}"
        assert account.send(attempt.with_path(path)).status == 403
    assert account.send(attempt).status == 201
    reading = replace(attempt, method="GET", headers=(), body=b"")
    for forbidden in (
        reading,
        replace(reading, method="HEAD"),
        replace(reading, method="DELETE"),
        reading.with_another_parameter("comp", "tags"),
        attempt.with_another_parameter("comp", "blocklist").with_body(b"<BlockList/>"),
    ):
        assert account.send(forbidden).status == 403
    assert account.blobs("pending") == [PENDING_KEY]


# Two sorts of credentials.


def test_the_verifiers_key_does_everything_but_sign_uploads(key_account: RunningAccount) -> None:
    account = key_account
    for container in ("pending", "other"):
        for name in account.blobs(container):
            account.blob(container, name).delete_blob(delete_snapshots="include")
    # In a container that everybody may read, Azurite and Azure forgive a wrong signature.
    right = account.publishing_backend(container="other")
    verifier_alone = account.publishing_backend(
        container="other", account_key=OTHER_ACCOUNT_KEY, verifier_account_key=account.credentials["account_key"]
    )
    signer_alone = account.publishing_backend(container="other", verifier_account_key=OTHER_ACCOUNT_KEY)
    assert account.send(as_sent(verifier_alone.sign_upload(PENDING_GRANT, utc_now()))).status == 403
    head = upload(account, right, PENDING_GRANT)
    for refused in (
        lambda: signer_alone.pending.head(PENDING_KEY),
        lambda: signer_alone.pending.read(PENDING_KEY, offset=0, length=1, etag=head.etag),
        lambda: signer_alone.pending.delete(PENDING_KEY, head=head),
        lambda: list(signer_alone.pending.list_objects("")),
        lambda: signer_alone.publish(PENDING_GRANT, head),
        lambda: signer_alone.unexpected_attributes(PENDING_GRANT),
    ):
        with pytest.raises(StorageUnavailable) as caught:
            refused()
        assert not isinstance(caught.value, ObjectChanged)
    assert verifier_alone.pending.head(PENDING_KEY) == head
    assert verifier_alone.pending.read(PENDING_KEY, offset=0, length=99, etag=head.etag) == PNG
    assert [listed.etag for listed in verifier_alone.pending.list_objects("")] == [head.etag]
    assert verifier_alone.unexpected_attributes(PENDING_GRANT) == {}
    verifier_alone.publish(PENDING_GRANT, head)
    verifier_alone.pending.delete(PENDING_KEY, head=head)
    assert (account.blobs("pending"), account.blobs("other")) == ([], [KEY])
    for backend, status in ((verifier_alone, 200), (signer_alone, 403)):
        url = backend.sign_download(KEY, utc_now(), expires_in=MINUTE)
        assert account.send(Attempt(method="GET", url=url)).status == status
    verifier_alone.delete(KEY)
    assert account.blobs("other") == []


def test_the_signing_identity_sends_no_request_but_the_one_for_its_key(identity_account: RunningAccount) -> None:
    account = identity_account
    signer, verifier = Identity(lifetime=timedelta(hours=1)), Identity(lifetime=timedelta(hours=2))
    backend = account.publishing_backend(credential=signer, verifier_credential=verifier)
    asked = signer.asked
    assert (asked, verifier.asked) == (1, 1)
    key = f"{KEY}-two-identities"
    grant = replace(PENDING_GRANT, key=key, pending_key=key)
    signer.get_token = None  # type: ignore[assignment, method-assign]
    assert account.send(as_sent(backend.sign_upload(grant, utc_now()))).status == 201
    head = backend.pending.head(key)
    assert head is not None
    backend.publish(grant, head)
    backend.pending.delete(key, head=head)
    backend.delete(key)
    assert verifier.asked > 1
    with pytest.raises(TypeError):
        backend.check()


def test_the_verifiers_key_comes_from_the_environment(
    key_account: RunningAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_VERIFIER_KEY", key_account.credentials["account_key"])
    backend = key_account.publishing_backend(account_key=OTHER_ACCOUNT_KEY)
    assert backend.pending.head("missing") is None
    monkeypatch.setenv("AZURE_STORAGE_VERIFIER_KEY", OTHER_ACCOUNT_KEY)
    with pytest.raises(StorageUnavailable):
        key_account.publishing_backend().pending.head("missing")
