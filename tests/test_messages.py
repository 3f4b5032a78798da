from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from presign import Grant, InvalidRequest, PartsRequest, Rule, Ticket, UploadRequest

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=timezone.utc)


def test_a_request_is_read_from_the_contracts_json() -> None:
    request = UploadRequest.from_json({"type": "image/png", "size": 3, "name": "cat.png", "sha256": "0" * 64})
    assert request == UploadRequest(content_type="image/png", size=3, name="cat.png", sha256="0" * 64)


def test_null_means_the_same_as_an_absent_member() -> None:
    body = {"type": "image/png", "size": None, "name": None, "sha256": None}
    assert UploadRequest.from_json(body) == UploadRequest(content_type="image/png")


@pytest.mark.parametrize("size", ["1270.0", "1.27e3", "1270"])
def test_a_size_may_be_written_in_each_way_that_json_schema_calls_an_integer(size: str) -> None:
    request = UploadRequest.from_json(f'{{"type": "image/png", "size": {size}}}'.encode())
    assert (request.size, type(request.size)) == (1270, int)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (None, None),
        ([], None),
        ("type", None),
        ({}, "type"),
        ({"size": 1}, "type"),
        ({"type": None}, "type"),
        ({"type": 7}, "type"),
        ({"type": "image"}, "type"),
        ({"type": "image/*"}, "type"),
        ({"type": "image/png, text/html"}, "type"),
        ({"type": "image/png\r\nX: y"}, "type"),
        ({"type": "image/png\0"}, "type"),
        ({"type": "x/" + "y" * 300}, "type"),
        ({"type": "image/png", "size": "1"}, "size"),
        ({"type": "image/png", "size": 1.5}, "size"),
        ({"type": "image/png", "size": True}, "size"),
        ({"type": "image/png", "size": 1e30}, "size"),
        ({"type": "image/png", "size": float("inf")}, "size"),
        ({"type": "image/png", "size": float("nan")}, "size"),
        ({"type": "image/png", "size": -1}, "size"),
        ({"type": "image/png", "size": 2**63}, "size"),
        ({"type": "image/png", "size": 10**400}, "size"),
        ({"type": "image/png", "name": 1}, "name"),
        ({"type": "image/png", "name": ""}, "name"),
        ({"type": "image/png", "name": "x" * 256}, "name"),
        ({"type": "image/png", "name": "../../etc/passwd"}, "name"),
        ({"type": "image/png", "name": "C:\\cat.png"}, "name"),
        ({"type": "image/png", "name": ".."}, "name"),
        ({"type": "image/png", "name": "cat\0.png"}, "name"),
        ({"type": "image/png", "name": "cat\n.png"}, "name"),
        ({"type": "image/png", "name": "gnp\u202e.exe"}, "name"),
        ({"type": "image/png", "name": "\ud800"}, "name"),
        ({"type": "image/png", "sha256": "A" * 64}, "sha256"),
        ({"type": "image/png", "sha256": "0" * 63}, "sha256"),
        ({"type": "image/png", "sha256": 0}, "sha256"),
        ({"type": "image/png", "acl": "public-read"}, "acl"),
        ({"type": "image/png", "key": "public/mine"}, "key"),
        ({"type": "image/png", 7: 1}, "7"),
    ],
)
def test_a_malformed_request_is_refused_with_the_member_that_is_wrong(body: Any, field: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        UploadRequest.from_json(body)
    assert caught.value.field == field
    assert caught.value.code == "invalid_request"
    assert len(caught.value.detail) < 300
    assert caught.value.detail.isprintable()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cat\a.png", "a control character (U+0007) at position 4"),
        ("\tcat.png", "a control character (U+0009) at position 1"),
        ("cat\x85.png", "a control character (U+0085) at position 4"),
        ("gnp\u202e.exe", "a character that changes the direction of text (U+202E) at position 4"),
        ("猫 🐈\udc00.png", "half a character (U+DC00) at position 4"),
    ],
)
def test_a_character_that_no_name_may_have_is_told_with_its_kind_and_position(name: str, reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        UploadRequest(content_type="image/png", name=name)
    assert (caught.value.field, caught.value.detail) == ("name", f"'name' has {reason}; remove it")


@pytest.mark.parametrize("name", ["cat.png", "Katze süß.png", "猫 🐈.png", "a b'c\"d;e%f$g.png", "שלום.png", "x" * 255])
def test_a_name_in_any_script_is_admitted(name: str) -> None:
    assert UploadRequest(content_type="image/png", name=name).name == name


def _grant(**changes: Any) -> Grant:
    values: dict[str, Any] = {
        "key": "public/1",
        "content_type": "image/png",
        "min_bytes": 1,
        "max_bytes": 9,
        "expires_in": timedelta(seconds=60),
    }
    return Grant(**values | changes)


def test_a_grant_names_the_rules_that_it_carries() -> None:
    assert set(_grant().rules) == {Rule.SIZE, Rule.TYPE, Rule.HEADERS}
    assert set(_grant(sha256="0" * 64, create_only=True).rules) == set(Rule)


def test_a_size_is_exact_where_both_bounds_meet() -> None:
    assert _grant().exact_bytes is None
    assert _grant(min_bytes=9).exact_bytes == 9


def test_a_ticket_becomes_the_contracts_json() -> None:
    ticket = Ticket(
        method="POST",
        url="https://bucket.example/",
        headers={},
        fields={"key": "public/1", "policy": "p"},
        expires_at=NOW + timedelta(seconds=60),
        now=NOW,
        key="public/1",
        object_url="https://bucket.example/public/1",
        enforced={Rule.SIZE: "storage", Rule.HEADERS: "completion"},
        token="t",
    )
    assert json.loads(ticket.to_json()) == ticket.to_dict()
    assert ticket.to_dict() == {
        "method": "POST",
        "url": "https://bucket.example/",
        "fields": {"key": "public/1", "policy": "p"},
        "headers": {},
        "expires_at": "2026-11-23T12:01:00.123456Z",
        "now": "2026-11-23T12:00:00.123456Z",
        "key": "public/1",
        "object_url": "https://bucket.example/public/1",
        "enforced": {"size": "storage", "headers": "completion"},
        "token": "t",
    }


def test_a_request_for_parts_is_read_from_the_contracts_json() -> None:
    body = b'{"token": "t", "numbers": [1, 2.0], "sha256": null}'
    assert PartsRequest.from_json(body) == PartsRequest(token="t", numbers=(1, 2))
    hashed = PartsRequest.from_json({"token": "secret", "numbers": [3], "sha256": ["0" * 64]})
    assert (hashed.numbers, hashed.sha256) == ((3,), ("0" * 64,))
    assert "secret" not in repr(hashed)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"token": 1}, "token"),
        ({"token": None}, "token"),
        ({"numbers": None}, "numbers"),
        ({"numbers": 1}, "numbers"),
        ({"numbers": "12"}, "numbers"),
        ({"numbers": {"1": 2}}, "numbers"),
        ({"numbers": [1.5]}, "numbers"),
        ({"numbers": [True]}, "numbers"),
        ({"numbers": ["1"]}, "numbers"),
        ({"numbers": [None]}, "numbers"),
        ({"sha256": "0" * 64}, "sha256"),
        ({"sha256": [1]}, "sha256"),
        ({"sha256": [None]}, "sha256"),
        ({"sha256": {}}, "sha256"),
        ({"part": 1}, "part"),
    ],
)
def test_a_malformed_request_for_parts_is_refused_with_the_member_that_is_wrong(
    change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        PartsRequest.from_json({"token": "t", "numbers": [1], **change})
    assert caught.value.field == field


def test_numbers_that_are_nested_as_deep_as_json_can_be_are_refused() -> None:
    for depth in (1000, 100_000):
        with pytest.raises(InvalidRequest):
            PartsRequest.from_json(b'{"token": "t", "numbers": ' + b"[" * depth + b"]" * depth + b"}")
