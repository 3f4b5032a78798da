"""Uploads to the reference server: what was granted is stored, and the storage refuses everything else."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from emulators.wire import Attempt, Form, Part, send
from presign import ConfigurationError, Rule
from tests.gcs.reference import (
    EVERYTHING,
    GRANT,
    HMAC_SECRET,
    MAX_BYTES,
    MIN_BYTES,
    PENDING,
    PNG,
    Reference,
    as_sent,
    now,
    presigner,
    uploaded,
)


def test_an_upload_that_sends_the_ticket_is_stored_with_all_that_was_granted(
    gcs: Reference, kind: str, method: str
) -> None:
    backend = gcs.backend(kind, upload_method=method)
    answer = uploaded(backend, EVERYTHING)
    assert answer.status == (201 if method == "post" else 200), answer.body
    head = backend.head(EVERYTHING.key)
    assert head is not None
    assert (head.size, head.content_type, head.sha256) == (len(PNG), "image/png", None)
    assert (head.content_disposition, head.cache_control) == ('inline; filename="a b.png"', "max-age=60")
    assert (head.metadata, head.content_encoding, head.unexpected_headers) == (
        {"owner": "alice", "a_b": "x y"},
        None,
        {},
    )
    assert head.version == str(gcs.objects[EVERYTHING.key].generation)


@pytest.mark.parametrize("size", [MIN_BYTES, MAX_BYTES])
def test_a_file_of_the_smallest_or_the_largest_allowed_size_is_stored(
    gcs: Reference, kind: str, method: str, size: int
) -> None:
    assert uploaded(gcs.backend(kind, upload_method=method), body=b"x" * size).status in {200, 201}
    assert len(gcs.objects[GRANT.key].body) == size


@pytest.mark.parametrize(
    "key",
    [
        "public/a b+c",
        "public/ä/日本語/🦊",
        "public/e\u0301",
        "public/%2F%41",
        "public/a'()*!~,;=@&?#[]",
        "public//double//slash/",
        'public/"quoted"\\',
    ],
)
def test_odd_but_legal_keys_are_stored_and_downloaded_under_exactly_that_key(
    gcs: Reference, kind: str, method: str, key: str
) -> None:
    backend = gcs.backend(kind, upload_method=method)
    assert uploaded(backend, replace(GRANT, key=key)).status in {200, 201}
    assert list(gcs.objects) == [key]
    assert send(Attempt(method="GET", url=backend.object_url(key))).body == PNG
    assert (
        send(Attempt(method="GET", url=backend.sign_download(key, now(), expires_in=timedelta(minutes=1)))).body == PNG
    )
    assert backend.head(key) is not None
    backend.delete(key)
    assert gcs.objects == {}


def test_a_value_with_two_spaces_in_a_row_is_signed_as_the_storage_reads_it(
    gcs: Reference, kind: str, method: str
) -> None:
    grant = replace(GRANT, content_disposition='inline; filename="a  b.png"')
    assert uploaded(gcs.backend(kind, upload_method=method), grant).status in {200, 201}


def test_an_empty_file_can_be_granted(gcs: Reference, kind: str, method: str) -> None:
    backend = gcs.backend(kind, upload_method=method)
    assert uploaded(backend, replace(GRANT, min_bytes=0, max_bytes=0), b"").status in {200, 201}
    assert uploaded(backend, replace(GRANT, min_bytes=0, max_bytes=0), b"x").status == 400


@pytest.mark.parametrize("size", [0, MIN_BYTES - 1, MAX_BYTES + 1, 100_000])
def test_a_size_outside_the_limits_is_refused_by_the_storage(gcs: Reference, kind: str, method: str, size: int) -> None:
    backend = gcs.backend(kind, upload_method=method)
    assert Rule.SIZE in backend.enforces(GRANT)
    answer = uploaded(backend, body=b"x" * size)
    assert answer.outcome == (400, "EntityTooSmall" if size < MIN_BYTES else "EntityTooLarge")
    assert gcs.objects == {}


def test_a_field_after_the_file_changes_nothing(gcs: Reference, kind: str) -> None:
    form = as_sent(gcs.backend(kind).sign_upload(GRANT, now()))
    assert isinstance(form, Form)
    assert send(form.with_last_part(Part(name="x-goog-meta-late", value=b"1"))).status == 201
    assert gcs.objects[GRANT.key].metadata == {}


def test_a_ticket_is_refused_after_its_expiry_and_more_than_15_minutes_before_its_start(
    gcs: Reference, kind: str, method: str
) -> None:
    backend = gcs.backend(kind, upload_method=method)
    assert send(as_sent(backend.sign_upload(GRANT, now() - timedelta(seconds=50)))).status in {200, 201}
    gcs.objects.clear()
    assert send(as_sent(backend.sign_upload(GRANT, now() - timedelta(seconds=62)))).status == 400
    assert send(as_sent(backend.sign_upload(GRANT, now() + timedelta(minutes=16)))).status == 403
    assert gcs.objects == {}


def test_create_only_lets_exactly_one_of_200_concurrent_uploads_win(gcs: Reference, kind: str) -> None:
    backend = gcs.backend(kind)
    signed = backend.sign_upload(replace(GRANT, create_only=True), now())
    assert signed.method == "PUT"
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: send(as_sent(signed)).status, range(200)))
    assert sorted(set(statuses)) == [200, 412]
    assert statuses.count(200) == 1


def test_a_create_only_upload_is_refused_if_the_object_exists(gcs: Reference, kind: str) -> None:
    backend = gcs.backend(kind)
    assert uploaded(backend).status == 201
    assert uploaded(backend, replace(GRANT, create_only=True), PNG + b"other").outcome == (412, "PreconditionFailed")
    assert gcs.objects[GRANT.key].body == PNG


@pytest.mark.parametrize(
    ("upload_method", "create_only", "sent_as", "rules"),
    [
        ("auto", False, "POST", {Rule.SIZE, Rule.TYPE, Rule.HEADERS}),
        ("auto", True, "PUT", {Rule.SIZE, Rule.TYPE, Rule.CREATE_ONLY}),
        ("post", False, "POST", {Rule.SIZE, Rule.TYPE, Rule.HEADERS}),
        ("post", True, "POST", {Rule.SIZE, Rule.TYPE, Rule.HEADERS}),
        ("put", False, "PUT", {Rule.SIZE, Rule.TYPE}),
        ("put", True, "PUT", {Rule.SIZE, Rule.TYPE, Rule.CREATE_ONLY}),
    ],
)
def test_the_upload_method_and_the_enforced_rules_are_the_same_for_every_key(
    gcs: Reference, kind: str, upload_method: str, create_only: bool, sent_as: str, rules: set[Rule]
) -> None:
    backend = gcs.backend(kind, upload_method=upload_method)
    grant = replace(GRANT, create_only=create_only, sha256="0" * 64)
    assert backend.sign_upload(grant, now()).method == sent_as
    assert backend.enforces(grant) == rules


def test_a_put_binds_the_sha256_and_still_leaves_the_checksum_to_completion(gcs: Reference, kind: str) -> None:
    backend = gcs.backend(kind, upload_method="put")
    grant = replace(GRANT, sha256=hashlib.sha256(PNG).hexdigest())
    put = as_sent(backend.sign_upload(grant, now()))
    assert isinstance(put, Attempt)
    other = PNG[:-1] + b"X"
    assert send(put.with_body(other)).outcome == (400, "BadDigest")
    assert send(put.without_header("x-goog-content-sha256").with_body(other)).status in {400, 403}
    unsigned = put.with_header("x-goog-content-sha256", hashlib.sha256(other).hexdigest()).with_body(other)
    assert send(unsigned).outcome == (403, "SignatureDoesNotMatch")
    assert gcs.objects == {}
    assert send(put).status == 200
    assert Rule.CHECKSUM not in backend.enforces(grant)
    form = gcs.backend(kind, upload_method="post").sign_upload(grant, now())
    assert grant.sha256 not in form.fields.values()


def test_the_backend_says_what_cloud_storage_can_do(gcs: Reference) -> None:
    backend = gcs.backend("rsa")
    assert backend.max_upload_bytes == 5 * 1024**4
    assert backend.publish_options == {"storage_class"}
    assert (backend.checks_expiry_late, backend.has_public_prefixes, backend.pending) == (False, True, backend)
    assert backend.unexpected_attributes(PENDING) == {}
    with pytest.raises(ConfigurationError, match="one upload"):
        presigner(backend, max_bytes=5 * 1024**4 + 1)


def test_a_presigner_that_promises_create_only_by_post_is_refused(gcs: Reference, kind: str) -> None:
    with pytest.raises(ConfigurationError, match="create_only"):
        presigner(gcs.backend(kind, upload_method="post"), create_only=True, pending_prefix=None)


@pytest.mark.parametrize(
    ("upload_method", "rule"), [("auto", Rule.CHECKSUM), ("put", Rule.HEADERS), ("put", Rule.CHECKSUM)]
)
def test_a_presigner_that_requires_a_rule_which_the_storage_does_not_enforce_is_refused(
    gcs: Reference, kind: str, upload_method: str, rule: Rule
) -> None:
    with pytest.raises(ConfigurationError, match=rule.value):
        presigner(gcs.backend(kind, upload_method=upload_method), require_at_storage={rule})


def test_no_repr_shows_a_key_or_a_signature(gcs: Reference, kind: str, method: str) -> None:
    backend = gcs.backend(kind, upload_method=method)
    signed = backend.sign_upload(EVERYTHING, now())
    shown = " ".join(map(repr, [backend, backend._identity, backend._identity.scope("20260101"), signed]))
    granting = ("policy", "x-goog-signature", "x-goog-credential", "x-goog-date")
    fields = [signed.fields[name] for name in granting if name in signed.fields]
    secrets = [HMAC_SECRET, gcs.info["private_key"], "PRIVATE KEY", "Signature=", *fields]
    assert not [secret for secret in secrets if secret in shown]
