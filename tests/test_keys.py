from __future__ import annotations

import random
import re
import unicodedata
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from presign import ConfigurationError, PresignError, UploadPolicy, UploadRequest
from presign.keys import MAX_KEY_BYTES, check_prefix, make_key

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
        grant = policy.decide(request, object_id=UUID(int=random_source.getrandbits(128), version=4))
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
    disposition = policy.decide(request, object_id=UUID(int=1)).content_disposition
    assert disposition is not None
    _, _, extended = disposition.partition("filename*=UTF-8''")
    quoted = re.search(r'filename="([^"]*)"', disposition)
    assert (unquote(extended) if extended else quoted and quoted.group(1)) == name


def test_a_key_is_the_prefix_and_the_digits_of_the_id() -> None:
    assert make_key("public/", UUID(int=255)) == "public/000000000000000000000000000000ff"
