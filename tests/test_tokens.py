from __future__ import annotations

import hashlib
import string
from datetime import datetime, timedelta, timezone
from typing import Any

import itsdangerous
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from presign import ConfigurationError, Grant, GrantInParts, InvalidToken, TokenExpired
from presign.tokens import CompletionTokens

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=timezone.utc)
LATER = NOW + timedelta(hours=1)
SECRET = "a secret of enough bytes"
GRANT = Grant(
    key="public/1",
    content_type="image/png",
    min_bytes=1,
    max_bytes=9,
    expires_in=timedelta(seconds=60),
    create_only=True,
    sha256="0" * 64,
    content_disposition="inline",
    cache_control="max-age=1",
    metadata={"a": "b"},
    verify_content=False,
    owner="alice",
    pending_key="pending/1",
    tags={"team": "photos"},
    storage_class="STANDARD_IA",
    name="cat.png",
)


def test_a_token_opens_to_the_grant_that_it_was_issued_for() -> None:
    tokens = CompletionTokens(SECRET)
    assert tokens.open(tokens.issue(GRANT, expires_at=LATER), now=NOW) == GRANT


@pytest.mark.parametrize(
    "digest", [{}, *({"parts_sha256": "0" * 64, "compared_before_commit": each} for each in (False, True))]
)
def test_a_token_of_a_file_in_parts_opens_to_its_upload_until_it_can_no_longer_be_resumed(
    digest: dict[str, Any],
) -> None:
    tokens = CompletionTokens(SECRET)
    begun = GrantInParts.of(
        GRANT, upload_id="an upload/id+", part_bytes=4, needs_sha256=True, resumable_until=LATER, **digest
    )
    token = tokens.issue_in_parts(begun)
    assert tokens.open(token, now=NOW) == begun
    with pytest.raises(TokenExpired):
        tokens.open(token, now=LATER)
    assert tokens.open(tokens.issue(GRANT, expires_at=LATER), now=NOW) == GRANT, "and others have no upload"
    for changed in (token[:-1], token[1:], token.replace(".", "")):
        with pytest.raises(InvalidToken):
            tokens.open(changed, now=NOW)


def test_a_token_opens_only_for_its_own_kind_and_its_own_storage() -> None:
    def tokens(kind: str, storage: str) -> CompletionTokens:
        return CompletionTokens(SECRET, kind=kind, storage=storage)

    token = tokens("avatars", "s3://uploads").issue(GRANT, expires_at=LATER)
    assert tokens("avatars", "s3://uploads").open(token, now=NOW) == GRANT
    for kind, storage in (
        ("documents", "s3://uploads"),
        ("avatars", "s3://other"),
        ("", ""),
        ('avatars","s3', "//uploads"),
        ("avatarss", "3://uploads"),
    ):
        with pytest.raises(InvalidToken):
            tokens(kind, storage).open(token, now=NOW)


@pytest.mark.parametrize("secret", ["a" * 32, "abab" * 8, b"\0" * 64, ["a good secret of the tests", "1" * 16]])
def test_a_secret_that_repeats_a_few_characters_is_refused(secret: str | bytes | list[str | bytes]) -> None:
    with pytest.raises(ConfigurationError, match="can be guessed") as caught:
        CompletionTokens(secret)
    assert caught.value.field == "secret"
    assert "1111" not in str(caught.value)


@pytest.mark.parametrize("secret", [SECRET, ["an older secret of enough bytes", SECRET]], ids=["one", "two"])
def test_a_token_is_signed_as_itsdangerous_signs_with_the_newest_key(secret: str | list[str]) -> None:
    token = CompletionTokens(secret, kind="avatars", storage="s3://b").issue(GRANT, expires_at=LATER)
    payload = token.rpartition(".")[0]
    salt = b'presign.complete["avatars","s3://b"]'
    deriver = itsdangerous.Signer(SECRET, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)
    key = deriver.derive_key()
    signer = itsdangerous.Signer(key, key_derivation="none", digest_method=hashlib.sha256)
    assert signer.sign(payload).decode() == token


def test_a_token_ends_at_its_time() -> None:
    tokens = CompletionTokens(SECRET)
    token = tokens.issue(GRANT, expires_at=LATER)
    assert tokens.open(token, now=LATER - timedelta(microseconds=1)) == GRANT
    with pytest.raises(TokenExpired):
        tokens.open(token, now=LATER)


@given(position=st.integers(0, 10_000), replacement=st.sampled_from("ABCxyz019-_.é\0"))
@settings(max_examples=3000, deadline=None)
def test_a_token_with_one_character_changed_is_refused(position: int, replacement: str) -> None:
    tokens = CompletionTokens(SECRET)
    token = tokens.issue(GRANT, expires_at=LATER)
    position %= len(token)
    changed = token[:position] + replacement + token[position + 1 :]
    if changed == token:
        return
    with pytest.raises(InvalidToken):
        tokens.open(changed, now=NOW)


def test_a_token_has_one_spelling() -> None:
    # The last character of a signature has two bits that carry nothing, and decoders of base64 ignore padding.
    digits = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    tokens = CompletionTokens(SECRET)
    token = tokens.issue(GRANT, expires_at=LATER)
    assert tokens.open(token, now=NOW) == GRANT
    place = digits.index(token[-1])
    assert place % 4 == 0
    others = [f"{token[:-1]}{digits[place + bits]}" for bits in (1, 2, 3)]
    for spelling in (*others, f"{token}=", f"{token}====", f"{token}\n", f" {token}"):
        with pytest.raises(InvalidToken):
            tokens.open(spelling, now=NOW)


@pytest.mark.parametrize("token", ["", ".", "x", "a.b", "\0", "é.é", "W10." + "A" * 43, "x" * 20_000])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        CompletionTokens(SECRET).open(token, now=NOW)


def test_a_token_signed_for_another_purpose_or_by_another_secret_is_refused() -> None:
    tokens = CompletionTokens(SECRET)
    token = tokens.issue(GRANT, expires_at=LATER)
    payload = token.rpartition(".")[0]
    foreign = itsdangerous.Signer(SECRET, salt=b"another purpose", key_derivation="hmac").sign(payload).decode()
    for refused in (foreign, CompletionTokens("another secret of enough bytes").issue(GRANT, expires_at=LATER)):
        with pytest.raises(InvalidToken):
            tokens.open(refused, now=NOW)


def test_a_rotated_secret_still_opens_what_the_old_one_signed() -> None:
    old, new = "the old secret, long enough", "the new secret, long enough"
    token = CompletionTokens(old).issue(GRANT, expires_at=LATER)
    rotated = CompletionTokens([old, new])
    assert rotated.open(token, now=NOW) == GRANT
    assert CompletionTokens(new).open(rotated.issue(GRANT, expires_at=LATER), now=NOW) == GRANT


@pytest.mark.parametrize("secret", ["", "short", b"short", [], ["long enough, by any measure", "short"]])
def test_a_secret_that_can_be_guessed_is_refused(secret: str | bytes | list[str]) -> None:
    with pytest.raises(ConfigurationError, match="16 bytes") as caught:
        CompletionTokens(secret)
    assert "long enough" not in str(caught.value)
