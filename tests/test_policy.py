from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from presign import (
    ConfigurationError,
    InvalidRequest,
    PresignError,
    Rule,
    TooLarge,
    TooSmall,
    TypeNotAllowed,
    UploadOptions,
    UploadPolicy,
    UploadRequest,
)
from presign.media_types import is_active

ID = "0" * 31 + "1"


def _policy(**changes: Any) -> UploadPolicy:
    values: dict[str, Any] = {"content_types": {"image/png", "text/plain"}, "max_bytes": 100, "prefix": "public/"}
    return UploadPolicy(**values | changes)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"content_types": set()}, "content_types"),
        ({"content_types": "image/png"}, "content_types"),
        ({"content_types": {"image/*"}}, "content_types"),
        ({"content_types": {"*/*"}}, "content_types"),
        ({"content_types": {"png"}}, "content_types"),
        ({"content_types": {"image/png,text/html"}}, "content_types"),
        ({"content_types": {"text/html"}}, "content_types"),
        ({"content_types": {"TEXT/HTML"}}, "content_types"),
        ({"content_types": {"text/html;charset=utf-8"}}, "content_types"),
        ({"content_types": {"image/svg+xml"}}, "content_types"),
        ({"content_types": {"application/xml"}}, "content_types"),
        ({"content_types": {"application/xhtml+xml"}}, "content_types"),
        ({"content_types": {"text/javascript"}}, "content_types"),
        ({"content_types": {"application/x-javascript"}}, "content_types"),
        ({"content_types": {"application/ecmascript"}}, "content_types"),
        ({"max_bytes": 0, "min_bytes": 0}, "max_bytes"),
        ({"min_bytes": -1}, "min_bytes"),
        ({"min_bytes": 101}, "min_bytes"),
        ({"expires_in": timedelta(0)}, "expires_in"),
        ({"expires_in": timedelta(hours=1, seconds=1)}, "expires_in"),
        ({"prefix": "public"}, "prefix"),
        ({"pending_prefix": "pending"}, "pending_prefix"),
        ({"pending_prefix": "/pending/"}, "pending_prefix"),
        ({"pending_prefix": ""}, "pending_prefix"),
        ({"key_template": "{owner}"}, "key_template"),
        ({"max_hashed_bytes": -1}, "max_hashed_bytes"),
        ({"max_hashed_bytes": 1.5}, "max_hashed_bytes"),
        ({"content_disposition": "inline; filename=x"}, "content_disposition"),
        ({"cache_control": "no-cache\r\nX: y"}, "cache_control"),
        ({"cache_control": ""}, "cache_control"),
        ({"metadata": {"Bad": "x"}}, "metadata"),
        ({"metadata": {"a-b": "x"}}, "metadata"),
        ({"metadata": {"a": "ü"}}, "metadata"),
        ({"metadata": {"a": " x"}}, "metadata"),
        ({"metadata": {"a": ""}}, "metadata"),
        ({"metadata": {"a": "x" * 3000}}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": "a=b"}, "metadata"),
        ({"max_bytes": 10e6}, "max_bytes"),
        ({"max_bytes": "10MB"}, "max_bytes"),
        ({"max_bytes": True}, "max_bytes"),
        ({"max_bytes": 2**70}, "max_bytes"),
        ({"min_bytes": 1.0}, "min_bytes"),
        ({"expires_in": 60}, "expires_in"),
        ({"max_expires_in": "1h"}, "max_expires_in"),
        ({"require_at_storage": {"sizes"}}, "require_at_storage"),
        ({"require_at_storage": "size"}, "require_at_storage"),
        ({"require_at_storage": Rule.SIZE}, "require_at_storage"),
        ({"prefix": None}, "prefix"),
        ({"cache_control": 60}, "cache_control"),
        ({"content_types": {1}}, "content_types"),
        ({"content_types": None}, "content_types"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_with_the_setting(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _policy(**changes)
    assert caught.value.field == field


def test_an_unknown_rule_is_refused_with_the_rules_that_exist() -> None:
    with pytest.raises(ConfigurationError, match=r"colour.*the rules are size, type, checksum, create_only, headers"):
        _policy(require_at_storage={"colour"})


def test_active_content_is_admitted_only_when_asked_for() -> None:
    policy = _policy(content_types={"image/svg+xml"}, allow_active_content=True)
    assert policy.decide(UploadRequest(content_type="image/svg+xml"), object_id=ID).content_type == "image/svg+xml"


@pytest.mark.parametrize("content_type", ["image/png", "text/plain", "application/json", "application/pdf", "text/csv"])
def test_ordinary_types_are_not_taken_for_active_content(content_type: str) -> None:
    assert not is_active(content_type)


def test_a_longer_expiry_has_to_be_asked_for() -> None:
    day = timedelta(days=1)
    assert _policy(expires_in=day, max_expires_in=day).expires_in == day


@pytest.mark.parametrize(
    ("request_", "error", "field"),
    [
        (UploadRequest(content_type="image/jpeg"), TypeNotAllowed, "type"),
        (UploadRequest(content_type="image/png;charset=utf-8"), TypeNotAllowed, "type"),
        (UploadRequest(content_type="image/png", size=101), TooLarge, "size"),
        (UploadRequest(content_type="image/png", size=0), TooSmall, "size"),
    ],
)
def test_what_the_policy_does_not_admit_is_refused_with_value_and_limit(
    request_: UploadRequest, error: type[PresignError], field: str
) -> None:
    with pytest.raises(error) as caught:
        _policy().decide(request_, object_id=ID)
    assert caught.value.field == field
    assert caught.value.value is not None
    assert caught.value.limit is not None


def test_what_the_policy_requires_must_be_declared() -> None:
    with pytest.raises(InvalidRequest, match="'size' is required"):
        _policy(require_size=True).decide(UploadRequest(content_type="image/png"), object_id=ID)
    with pytest.raises(InvalidRequest, match="'sha256' is required"):
        _policy(require_sha256=True).decide(UploadRequest(content_type="image/png"), object_id=ID)


def test_a_grant_carries_all_that_the_policy_says() -> None:
    policy = _policy(
        create_only=True,
        cache_control="max-age=60",
        metadata={"tenant": "7"},
        content_disposition="attachment",
        expires_in=timedelta(seconds=90),
        verify_content=False,
    )
    grant = policy.decide(
        UploadRequest(content_type="IMAGE/PNG", name="cat.png", sha256="0" * 64), object_id=ID, owner="alice"
    )
    assert grant.key == "public/00000000000000000000000000000001"
    assert grant.content_type == "image/png"
    assert (grant.min_bytes, grant.max_bytes) == (1, 100)
    assert grant.create_only
    assert grant.sha256 == "0" * 64
    assert grant.content_disposition == 'attachment; filename="cat.png"'
    assert grant.cache_control == "max-age=60"
    assert dict(grant.metadata) == {"tenant": "7"}
    assert grant.expires_in == timedelta(seconds=90)
    assert not grant.verify_content
    assert grant.owner == "alice"


def test_what_is_created_once_has_a_cache_control_that_no_browser_replaces() -> None:
    request = UploadRequest(content_type="image/png")
    assert _policy(create_only=True).decide(request, object_id=ID).cache_control == "no-cache"
    chosen = _policy(create_only=True, cache_control="max-age=9")
    assert chosen.decide(request, object_id=ID).cache_control == "max-age=9"
    assert _policy().decide(request, object_id=ID).cache_control is None


def test_a_declared_size_is_the_only_size_that_is_granted() -> None:
    grant = _policy().decide(UploadRequest(content_type="image/png", size=7), object_id=ID)
    assert grant.exact_bytes == 7


def test_every_shape_of_grant_is_shown_to_the_backend() -> None:
    shapes = {(g.exact_bytes is None, g.sha256 is None) for g in _policy().possible_grants()}
    assert shapes == {(True, True), (True, False), (False, True), (False, False)}
    strict = _policy(require_size=True, require_sha256=True).possible_grants()
    assert [(g.exact_bytes, g.sha256 is None) for g in strict] == [(1, False), (100, False)]


def test_a_policy_cannot_be_changed_through_what_it_was_made_of() -> None:
    metadata = {"tenant": "7"}
    types = {"image/png"}
    policy = _policy(metadata=metadata, content_types=types)
    metadata["tenant"] = "8"
    types.add("text/html")
    assert dict(policy.metadata) == {"tenant": "7"}
    assert policy.content_types == {"image/png"}


def test_rules_may_be_required_by_value() -> None:
    assert _policy(require_at_storage=["size"]).require_at_storage == {Rule.SIZE}


def test_an_upload_waits_under_the_pending_prefix_unless_the_policy_says_otherwise() -> None:
    request = UploadRequest(content_type="image/png")
    pending = _policy().decide(request, object_id=ID)
    assert (pending.key, pending.pending_key) == (f"public/{ID}", f"pending/{ID}")
    assert pending.upload_key == pending.pending_key
    straight = _policy(pending_prefix=None).decide(request, object_id=ID)
    assert straight.pending_key is None
    assert straight.upload_key == straight.key


def test_a_key_follows_the_template_with_the_owner_and_the_types_extension() -> None:
    policy = _policy(key_template="{owner}/{id}{ext}")
    grant = policy.decide(UploadRequest(content_type="image/png", name="cat.exe"), object_id=ID, owner="a/b")
    assert grant.key == f"public/a=2Fb/{ID}.png"
    with pytest.raises(ConfigurationError, match="needs an owner"):
        policy.decide(UploadRequest(content_type="image/png"), object_id=ID)
    assert policy.possible_grants()


def test_the_application_chooses_prefix_metadata_tags_and_storage_class_for_one_ticket() -> None:
    options = UploadOptions(
        prefix="public/7/", metadata={"b": "2", "c": "3"}, tags={"team": "a b"}, storage_class="STANDARD_IA"
    )
    grant = _policy(metadata={"a": "1", "b": "1"}).decide(
        UploadRequest(content_type="image/png"), object_id=ID, options=options
    )
    assert grant.key == f"public/7/{ID}"
    assert dict(grant.metadata) == {"a": "1", "b": "2", "c": "3"}
    assert (dict(grant.tags), grant.storage_class) == ({"team": "a b"}, "STANDARD_IA")


@pytest.mark.parametrize(
    ("policy", "options", "field"),
    [
        ({}, {"prefix": "private/"}, "prefix"),
        ({}, {"prefix": "public/../private/"}, "prefix"),
        ({}, {"prefix": "publicity/"}, "prefix"),
        ({}, {"metadata": {"a": "\n"}}, "metadata"),
        ({"metadata": {"a": "x" * 2000}}, {"metadata": {"b": "x" * 100}}, "metadata"),
        ({}, {"tags": {"a": "\n"}}, "tags"),
        ({}, {"tags": {"": "x"}}, "tags"),
        ({}, {"tags": {"a" * 129: "x"}}, "tags"),
        ({}, {"tags": {"a": "x" * 257}}, "tags"),
        ({}, {"tags": {str(n): "x" for n in range(11)}}, "tags"),
        ({}, {"tags": {"a": 1}}, "tags"),
        ({}, {"tags": {"AWS:team": "x"}}, "tags"),
        ({}, {"tags": ["a"]}, "tags"),
        ({}, {"storage_class": "standard ia"}, "storage_class"),
        ({}, {"storage_class": 7}, "storage_class"),
        ({"pending_prefix": None}, {"tags": {"a": "b"}}, "tags"),
        ({"pending_prefix": None}, {"storage_class": "STANDARD_IA"}, "storage_class"),
    ],
)
def test_options_that_the_policy_does_not_allow_are_refused(
    policy: dict[str, Any], options: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _policy(**policy).decide(
            UploadRequest(content_type="image/png"), object_id=ID, options=UploadOptions(**options)
        )
    assert caught.value.field == field


def test_a_policy_allows_the_grants_that_it_makes_and_no_others() -> None:
    policy = _policy(min_bytes=2)
    grants = [
        policy.decide(UploadRequest(content_type="image/png", size=size), object_id=ID) for size in (None, 2, 50, 100)
    ]
    assert all(policy.allows(grant) for grant in [*grants, *policy.possible_grants()])
    (grant, *_) = grants
    for other in (
        _policy(min_bytes=2, prefix="avatars/"),
        _policy(min_bytes=3),
        _policy(min_bytes=2, max_bytes=99),
        _policy(min_bytes=2, content_types={"text/plain"}),
        _policy(min_bytes=2, pending_prefix=None),
        _policy(min_bytes=2, pending_prefix="incoming/"),
        _policy(min_bytes=2, require_size=True),
        _policy(min_bytes=2, require_sha256=True),
        _policy(min_bytes=2, create_only=True),
        _policy(min_bytes=2, content_disposition="attachment"),
    ):
        assert not other.allows(grant)
        assert all(other.allows(own) for own in other.possible_grants())
    assert not policy.allows(
        _policy(min_bytes=2, pending_prefix=None).decide(UploadRequest(content_type="image/png"), object_id=ID)
    )


def test_a_policy_that_compares_the_content_does_not_allow_the_grant_of_one_that_did_not() -> None:
    grant = _policy(verify_content=False).decide(UploadRequest(content_type="image/png"), object_id=ID)
    assert not _policy().allows(grant)
    assert _policy(verify_content=False).allows(grant)


def test_headers_have_no_runs_of_spaces_because_signatures_do_not_tell_them_apart() -> None:
    policy = _policy(cache_control="max-age=60,  private", content_disposition="inline")
    grant = policy.decide(UploadRequest(content_type="image/png", name="my   cat.png"), object_id=ID)
    assert grant.cache_control == "max-age=60, private"
    assert grant.content_disposition == "inline; filename=\"my cat.png\"; filename*=UTF-8''my%20%20%20cat.png"


def test_a_name_can_be_made_to_fit_the_type() -> None:
    request = UploadRequest(content_type="image/png", name="cat.html")
    fitted = _policy(content_disposition="attachment", fit_extension=True).decide(request, object_id=ID)
    assert fitted.content_disposition is not None
    assert fitted.content_disposition.endswith('.png"')
    kept = _policy(content_disposition="attachment").decide(request, object_id=ID)
    assert kept.content_disposition == 'attachment; filename="cat.html"'
    assert fitted.name == kept.name == "cat.html"
