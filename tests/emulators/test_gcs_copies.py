"""The GCS reference copies, deletes, lists and limits as Cloud Storage does, by its SDK."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.api_core.exceptions import BadRequest, Forbidden, GoogleAPICallError, NotFound, PreconditionFailed
from google.cloud import storage  # type: ignore[import-untyped]
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials

from emulators.gcs_accounts import generate_credentials, trusted_account
from emulators.gcs_bucket import GcsBucket, GcsRight
from emulators.gcs_reference import GcsReference
from emulators.serving import serve
from emulators.wire import Attempt, Form, send

KEY = "public/ab/cat.png"
BODY, OTHER = b"0123456789abcdefghij", b"other bytes"
SIGNER_EMAIL = "signer@reference.iam.gserviceaccount.com"
RIGHTS = {
    SIGNER_EMAIL: [GcsRight(permissions=frozenset({"create"}), bucket="pending", prefix="ab/")],
    "publisher": [
        GcsRight(permissions=frozenset({"get", "delete"}), bucket="pending"),
        GcsRight(permissions=frozenset({"create", "get"}), bucket="uploads", prefix="public/"),
    ],
}


class Server:
    """A running reference with a pending and a public bucket, and SDK clients of its users."""

    def __init__(self, url: str, app: GcsReference, account: Path) -> None:
        self.url = url
        self.app = app
        self.owner = self.client_of("owner")
        credentials = service_account.Credentials.from_service_account_file(str(account))  # type: ignore[no-untyped-call]
        self.signer = storage.Client("reference", credentials, client_options={"api_endpoint": url})

    @property
    def pending(self) -> dict[str, Any]:
        return self.app.buckets["pending"].objects

    @property
    def public(self) -> dict[str, Any]:
        return self.app.buckets["uploads"].objects

    def client_of(self, token: str) -> Any:
        credentials = Credentials(token=token)  # type: ignore[no-untyped-call]
        return storage.Client("reference", credentials, client_options={"api_endpoint": self.url})

    def put(self, body: bytes = BODY, key: str = "ab/x", method: str = "PUT", **headers: str) -> Any:
        """Send a signed PUT to the pending bucket."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        url = (
            self.signer.bucket("pending")
            .blob(key)
            .generate_signed_url(version="v4", expiration=timedelta(seconds=60), method=method, headers=sent)
        )
        return send(Attempt(method=method, url=url, headers=tuple(sent.items()), body=body))

    def stored(self, body: bytes = BODY, **headers: str) -> int:
        """Store a pending object and return its generation."""
        self.pending.pop("ab/x", None)
        assert self.put(body, **headers).status == 200
        return int(self.pending["ab/x"].generation)


@pytest.fixture
def gcs(tmp_path: Path) -> Iterator[Server]:
    account = tmp_path / "account.json"
    generate_credentials(account, token_uri="http://unknown.invalid/token")
    app = GcsReference(
        buckets={"pending": GcsBucket(), "uploads": GcsBucket(public_prefix="public/")},
        service_accounts=trusted_account(account),
        bearer_tokens=frozenset({"owner", "publisher"}),
        rights=RIGHTS,
        rewrite_bytes_per_call=20,
    )
    with serve(app) as url:
        generate_credentials(account, token_uri=f"{url}/token")
        yield Server(url, app, account)


def blobs(server: Server, token: str = "owner") -> tuple[Any, Any]:
    client = server.client_of(token)
    return client.bucket("pending").blob("ab/x"), client.bucket("uploads").blob(KEY)


def test_a_rewrite_writes_the_metadata_it_was_given_and_only_that(gcs: Server) -> None:
    generation = gcs.stored(content_type="text/html", cache_control="no-cache", x_goog_meta_a="b")
    source, final = blobs(gcs)
    final.content_type, final.content_disposition, final.metadata = "image/png", "attachment", {"c": "d"}
    final.storage_class = "NEARLINE"
    token, rewritten, size = final.rewrite(source, if_generation_match=0, if_source_generation_match=generation)
    stored = gcs.public[KEY]
    assert (token, rewritten, size) == (None, len(BODY), len(BODY))
    assert (stored.body, stored.content_type, stored.content_disposition) == (BODY, "image/png", "attachment")
    assert (stored.cache_control, stored.metadata, stored.storage_class) == (None, {"c": "d"}, "NEARLINE")
    assert final.generation == stored.generation
    answer = send(Attempt(method="GET", url=f"{gcs.url}/uploads/{KEY}"))
    assert (answer.body, answer.headers["x-goog-storage-class"]) == (BODY, "NEARLINE")
    assert send(Attempt(method="GET", url=f"{gcs.url}/pending/ab/x")).outcome == (403, "AccessDenied")


def test_a_copy_without_metadata_keeps_that_of_the_source(gcs: Server) -> None:
    gcs.stored(content_type="text/html", cache_control="no-cache", x_goog_meta_a="b", x_goog_storage_class="NEARLINE")
    source, final = blobs(gcs)
    copied = source.bucket.copy_blob(source, final.bucket, KEY, if_generation_match=0)
    final.rewrite(source)
    for stored in (copied, gcs.public[KEY]):
        assert (stored.content_type, stored.cache_control, stored.metadata) == ("text/html", "no-cache", {"a": "b"})
        assert stored.storage_class == "STANDARD"


def test_neither_a_changed_source_nor_a_destination_that_exists_is_copied(gcs: Server) -> None:
    generation = gcs.stored()
    source, final = blobs(gcs)
    gcs.stored(OTHER)

    def copies(**conditions: int) -> list[Callable[[], Any]]:
        return [
            lambda: final.rewrite(source, **conditions),
            lambda: source.bucket.copy_blob(source, final.bucket, KEY, **conditions),
        ]

    for copy in copies(if_source_generation_match=generation):
        with pytest.raises(PreconditionFailed):
            copy()
    assert gcs.public == {}
    final.rewrite(source, if_generation_match=0)
    gcs.stored(BODY)
    for copy in copies(if_generation_match=0):
        with pytest.raises(PreconditionFailed):
            copy()
    for copy in copies(if_source_metageneration_match=1):
        with pytest.raises(GoogleAPICallError, match="501"):
            copy()
    assert gcs.public[KEY].body == OTHER
    with pytest.raises(NotFound):
        final.rewrite(source.bucket.blob("ab/none"))
    with pytest.raises(NotFound):
        final.rewrite(source.bucket.blob("ab/x", generation=generation))


def test_a_large_rewrite_goes_on_with_its_token_alone_and_writes_nothing_before_its_end(gcs: Server) -> None:
    gcs.stored(BODY * 2 + b"!")
    source, final = blobs(gcs)
    final.content_type = "image/png"
    first, rewritten, size = final.rewrite(source, if_generation_match=0)
    assert (bool(first), rewritten, size, gcs.public) == (True, 20, 41, {})
    other = final.bucket.blob("public/other")
    other.content_type = "image/png"
    with pytest.raises(BadRequest):
        other.rewrite(source, token=first)
    token, rewritten, _ = final.rewrite(source)
    assert (bool(token), rewritten) == (True, 20)
    for expected in (40, 41):
        token, rewritten, _ = final.rewrite(source, token=token, if_generation_match=0)
        assert rewritten == expected
    assert token is None
    assert gcs.public[KEY].body == BODY * 2 + b"!"
    token, _, _ = final.rewrite(source)
    gcs.stored(OTHER * 4)
    with pytest.raises(BadRequest):
        final.rewrite(source, token=token)
    assert gcs.public[KEY].body == BODY * 2 + b"!"


def test_a_delete_takes_only_the_generation_that_was_judged(gcs: Server) -> None:
    generation = gcs.stored()
    gcs.stored(OTHER)
    source, _ = blobs(gcs)
    with pytest.raises(PreconditionFailed):
        source.delete(if_generation_match=generation)
    with pytest.raises(NotFound):
        source.bucket.blob("ab/x", generation=generation).delete()
    assert gcs.pending["ab/x"].body == OTHER
    source.delete(if_generation_match=gcs.pending["ab/x"].generation)
    assert gcs.pending == {}
    with pytest.raises(NotFound):
        source.delete()


def test_a_read_can_be_pinned_to_a_generation(gcs: Server) -> None:
    generation = gcs.stored()
    source, _ = blobs(gcs)
    assert source.download_as_bytes(if_generation_match=generation, start=2, end=4) == BODY[2:5]
    gcs.stored(OTHER)
    # The SDK keeps the generation that it has read, so another handle asks for the newest one.
    with pytest.raises(PreconditionFailed):
        source.bucket.blob("ab/x").download_as_bytes(if_generation_match=generation)
    with pytest.raises(NotFound):
        source.bucket.blob("ab/x", generation=generation).download_as_bytes()


def test_a_listing_comes_in_pages_with_the_fields_that_were_asked_for(gcs: Server) -> None:
    for key in ("ab/ä", "ab/2", "ab/1"):
        assert gcs.put(key=key).status == 200
    pending = gcs.owner.bucket("pending")
    pending.copy_blob(pending.blob("ab/1"), pending, "abc")
    listing = gcs.owner.bucket("pending").list_blobs(prefix="ab/", page_size=2)
    assert [[blob.name for blob in page] for page in listing.pages] == [["ab/1", "ab/2"], ["ab/ä"]]
    listed = gcs.owner.bucket("pending").list_blobs(prefix="ab/", fields="items(name,generation),nextPageToken")
    (first, *_) = list(listed)
    assert (first.name, first.generation, first.size) == ("ab/1", gcs.pending["ab/1"].generation, None)
    base = f"{gcs.url}/storage/v1/b/pending/o"
    owner = {"Authorization": "Bearer owner"}
    assert httpx.get(base, params={"maxResults": "1"}).status_code == 401
    answers = {
        query: httpx.get(f"{base}?{query}", headers=owner).status_code
        for query in ("delimiter=/", "maxResults=0", "pageToken=!", "fields=items(", "fields=items/name")
    }
    assert list(answers.values()) == [501, 400, 400, 400, 200]


def test_a_signer_that_may_only_create_pending_objects_can_do_nothing_else(gcs: Server) -> None:
    denied = (403, "AccessDenied")
    assert gcs.put().status == 200
    assert gcs.put(OTHER).outcome == denied, "replacing needs the right to delete"
    assert gcs.put(key="elsewhere").outcome == denied
    assert gcs.put(method="GET").outcome == denied
    assert gcs.put(method="DELETE").outcome == denied
    fields = gcs.signer.generate_signed_post_policy_v4("pending", "elsewhere", expiration=timedelta(seconds=60))
    assert send(Form.of(fields["url"], fields["fields"], BODY)).outcome == denied
    pending = gcs.signer.bucket("pending")
    calls: list[Callable[[], Any]] = [
        lambda: list(pending.list_blobs()),
        lambda: pending.blob("ab/x").download_as_bytes(),
        lambda: pending.blob("ab/x").delete(),
        lambda: pending.blob("ab/y").rewrite(pending.blob("ab/x")),
        lambda: gcs.signer.bucket("uploads").blob(KEY).rewrite(pending.blob("ab/x")),
    ]
    for call in calls:
        with pytest.raises(Forbidden):
            call()
    assert {key: stored.body for key, stored in gcs.pending.items()} == {"ab/x": BODY}
    assert gcs.public == {}


def test_a_publisher_copies_and_deletes_but_never_replaces(gcs: Server) -> None:
    generation = gcs.stored()
    source, final = blobs(gcs, "publisher")
    final.rewrite(source, if_source_generation_match=generation, if_generation_match=0)
    with pytest.raises(Forbidden):
        final.rewrite(source)
    with pytest.raises(Forbidden):
        source.bucket.blob("ab/none").reload()
    with pytest.raises(Forbidden):
        final.delete()
    source.delete(if_generation_match=generation)
    assert (gcs.pending, gcs.public[KEY].body) == ({}, BODY)


def test_rights_for_an_unknown_identity_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="1 of the identities"):
        GcsReference(buckets={}, rights={"nobody": []})


def test_a_signed_hash_is_that_of_the_body_unless_it_is_left_open(gcs: Server) -> None:
    digest = hashlib.sha256(BODY).hexdigest()
    assert gcs.put(OTHER, x_goog_content_sha256=digest).outcome == (400, "BadDigest")
    assert gcs.pending == {}
    assert gcs.put(BODY, x_goog_content_sha256=digest).status == 200
    gcs.pending.clear()
    assert gcs.put(OTHER, x_goog_content_sha256="UNSIGNED-PAYLOAD").status == 200


def test_a_signed_copy_source_on_a_put_is_refused(gcs: Server) -> None:
    assert gcs.put(x_goog_copy_source="/uploads/secret").outcome == (501, "NotImplemented")
    assert gcs.pending == {}
