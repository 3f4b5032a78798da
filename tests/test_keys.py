from __future__ import annotations

import random
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from presign import ConfigurationError, PresignError, UploadPolicy, UploadRequest
from presign.keys import MAX_KEY_BYTES, check_key_template, check_prefix, encode_owner, make_key

OBJECT_ID = "0" * 30 + "ff"
SAFE_KEY = re.compile(r"[A-Za-z0-9!_.*'()=@+,/-]+", re.ASCII)


@pytest.mark.parametrize(
    ("prefix", "complaint"),
    [
        ("/public/", "start"),
        ("public", "end with a slash"),
        ("public//", "segment"),
        ("../", "segment"),
        ("public/../private/", "segment"),
        ("public/./", "segment"),
        ("a b/", "segment"),
        ("${filename}/", "segment"),
        ("$/", "segment"),
        ("nul\0/", "segment"),
        ("ümlaut/", "segment"),
        ("a%2f/", "segment"),
        ("a\\b/", "segment"),
        ("a?b/", "segment"),
        ("new\nline/", "segment"),
        ("x" * MAX_KEY_BYTES + "/", "long"),
    ],
)
def test_a_prefix_that_some_storage_reads_differently_is_refused(prefix: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        check_prefix(prefix)


@pytest.mark.parametrize("prefix", ["", "public/", "a/b/c/", "2026-11/user_1.2/", "(x)/"])
def test_an_ordinary_prefix_is_kept(prefix: str) -> None:
    assert check_prefix(prefix) == prefix


def test_100_000_names_and_prefixes_never_escape_collide_or_need_escaping() -> None:
    random_source = random.Random(20261123)
    alphabet = [chr(c) for c in range(0x250)] + list("$${}/\\..%\0‮🎉漢字é") + ["../", "${filename}", "%2e%2e", "\ud800"]
    policies: dict[str, UploadPolicy] = {}
    made: set[str] = set()
    admitted_prefixes = refused_prefixes = admitted_names = refused_names = 0
    for _ in range(100_000):
        prefix = "".join(random_source.choices("abcXYZ019-_.$/ é\0\\", k=random_source.randint(0, 6))) + "/"
        name = "".join(random_source.choices(alphabet, k=random_source.randint(0, 12)))
        try:
            check_prefix(prefix)
            admitted_prefixes += 1
        except PresignError:
            refused_prefixes += 1
            prefix = "public/"
        policy = policies.setdefault(
            prefix,
            UploadPolicy(content_types={"image/png"}, max_bytes=9, prefix=prefix, content_disposition="attachment"),
        )
        try:
            request = UploadRequest(content_type="image/png", name=name)
            admitted_names += 1
        except PresignError:
            refused_names += 1
            request = UploadRequest(content_type="image/png")
        grant = policy.decide(request, object_id=f"{random_source.getrandbits(128):032x}")
        key = grant.key
        assert key.startswith(prefix)
        assert "/" not in key.removeprefix(prefix)
        assert SAFE_KEY.fullmatch(key), key
        assert not {".", ".."} & set(key.split("/")), key
        assert len(key.encode()) <= MAX_KEY_BYTES
        assert grant.content_disposition is not None
        assert grant.content_disposition.isascii()
        assert grant.content_disposition.isprintable()
        made.add(key)
    assert len(made) == 100_000
    assert min(admitted_prefixes, refused_prefixes, admitted_names, refused_names) > 5_000


@given(name=st.text(max_size=255))
@settings(max_examples=2000, deadline=None)
def test_any_name_that_is_admitted_survives_in_the_disposition(name: str) -> None:
    from urllib.parse import unquote

    try:
        request = UploadRequest(content_type="image/png", name=name)
    except PresignError:
        assert (
            not name
            or name in {".", ".."}
            or "/" in name
            or "\\" in name
            or any(
                unicodedata.category(c) in {"Cc", "Cs"} or c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
                for c in name
            )
        )
        return
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=9, prefix="public/", content_disposition="inline")
    disposition = policy.decide(request, object_id=OBJECT_ID).content_disposition
    assert disposition is not None
    _, _, extended = disposition.partition("filename*=UTF-8''")
    quoted = re.search(r'filename="([^"]*)"', disposition)
    assert (unquote(extended) if extended else quoted and quoted.group(1)) == name


def test_a_key_is_the_prefix_and_the_digits_of_the_id() -> None:
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=9, prefix="public/")
    grant = policy.decide(UploadRequest(content_type="image/png"), object_id=OBJECT_ID)
    assert grant.key == f"public/{OBJECT_ID}"


@pytest.mark.parametrize(
    ("template", "owner", "extension", "key"),
    [
        ("{id}", None, ".png", "avatars/{hex}"),
        ("{id}{ext}", None, ".png", "avatars/{hex}.png"),
        ("{owner}/{id}{ext}", "user-7", ".png", "avatars/user-7/{hex}.png"),
        ("{owner}/{id}{ext}", "ada@example.com", "", "avatars/ada=40example=2Ecom/{hex}"),
        ("{owner}/{id}", "../../etc", "", "avatars/=2E=2E=2F=2E=2E=2Fetc/{hex}"),
        ("by-day/{owner}_{id}", "\u00fc", "", "avatars/by-day/=C3=BC_{hex}"),
    ],
)
def test_a_template_makes_the_rest_of_the_key(template: str, owner: str | None, extension: str, key: str) -> None:
    made = make_key("avatars/", OBJECT_ID, template=check_key_template(template), owner=owner, extension=extension)
    assert made == key.format(hex=OBJECT_ID)


@given(owners=st.lists(st.text(min_size=1), min_size=2, max_size=2, unique=True))
def test_different_owners_have_different_segments_that_every_storage_keeps(owners: list[str]) -> None:
    try:
        first, second = (encode_owner(owner) for owner in owners)
    except UnicodeEncodeError:
        return
    assert first != second
    for segment in (first, second):
        assert check_prefix(f"{segment[:900]}/")


@pytest.mark.parametrize(
    "template",
    [
        *("x", "{owner}", "{id}{id}", "{ID}", "{id!r}", "{id:>9}", "{id.hex}", "{id}{", "{id}/", "/{id}", "a//{id}"),
        *("../{id}", "{id}/..", "./{id}", "{id}{name}", "{{x}}{id}", "${id}", "{id}/{ext}", "a b/{id}", "\u00fc{id}"),
        *("", 7),
    ],
)
def test_a_template_that_makes_no_safe_new_key_is_refused(template: Any) -> None:
    with pytest.raises(ConfigurationError, match="key_template") as caught:
        check_key_template(template)
    assert caught.value.field == "key_template"


def test_a_template_with_an_owner_needs_one_and_a_key_of_at_most_1024_bytes() -> None:
    for owner in (None, "", "x" * 1000):
        with pytest.raises(ConfigurationError) as caught:
            make_key("avatars/", "0" * 32, template="{owner}/{id}", owner=owner, extension="")
        assert caught.value.field == "owner"
