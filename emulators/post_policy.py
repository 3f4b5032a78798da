"""Judge of POST policies, whose language S3 and GCS share.

Sources: Amazon S3 API Reference, "Creating a POST policy"; Cloud Storage, "POST Object", section "Policy document".
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from emulators.received_request import Refusal
from emulators.upload_buffer import LARGEST_UPLOAD_BYTES, SizeRange

LARGEST_POLICY_BYTES = 20_480


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One demand on one field: equal to, or starting with, a text."""

    operator: str
    field: str
    text: str

    def holds_for(self, value: str | None) -> bool:
        if value is None:
            return False
        if self.operator == "eq":
            return value == self.text
        # S3 and GCS take a comma-separated list of content types, each of which must match.
        values = value.split(",") if self.field == "content-type" else [value]
        return all(item.strip().startswith(self.text) for item in values)


@dataclass(frozen=True, kw_only=True)
class PolicyDialect:
    """Which fields need no condition, and the status and code of each refusal."""

    exempt: frozenset[str]
    malformed: tuple[int, str]
    failed: tuple[int, str]
    expired: tuple[int, str]


@dataclass(frozen=True, kw_only=True)
class PostPolicy:
    """A policy document that was understood whole."""

    dialect: PolicyDialect
    expires_at: datetime
    conditions: tuple[Condition, ...]
    sizes: SizeRange

    @classmethod
    def parse(cls, encoded: str, dialect: PolicyDialect) -> PostPolicy:
        """Understand a Base64 policy whole, or refuse it: no unknown member, operator or condition form passes."""
        try:
            document = json.loads(_decoded(encoded), object_pairs_hook=_without_duplicates)
            if not isinstance(document, dict) or set(document) != {"expiration", "conditions"}:
                raise ValueError("a policy has exactly the members expiration and conditions")
            if not isinstance(document["conditions"], list):
                raise ValueError("conditions must be a list")
            conditions, ranges = _conditions(document["conditions"])
            return cls(
                dialect=dialect,
                expires_at=_expiration(document["expiration"]),
                conditions=conditions,
                sizes=SizeRange(
                    min_bytes=max((lower for lower, _ in ranges), default=0),
                    max_bytes=min([upper for _, upper in ranges] + [LARGEST_UPLOAD_BYTES]),
                ),
            )
        except (ValueError, RecursionError) as error:
            raise Refusal(*dialect.malformed, f"Invalid Policy: {error}") from error

    def check_expiry(self, now: datetime) -> None:
        """Refuse a form after its time."""
        if now > self.expires_at:
            raise Refusal(*self.dialect.expired, "Invalid according to Policy: Policy expired.")

    def check_fields(self, fields: Mapping[str, str], *, bucket: str) -> None:
        """Admit a form (names in lower case) that meets each condition and has one for each field, or raise Refusal."""
        if fields.get("bucket", bucket) != bucket:
            raise Refusal(*self.dialect.failed, "Invalid according to Policy: the field bucket is not the bucket.")
        judged = {**fields, "bucket": bucket}
        for condition in self.conditions:
            if not condition.holds_for(judged.get(condition.field)):
                message = (
                    f"Invalid according to Policy: Policy Condition failed: {condition.operator} {condition.field}"
                )
                raise Refusal(*self.dialect.failed, message)
        covered = {condition.field for condition in self.conditions} | self.dialect.exempt
        extra = sorted(name for name in judged if name not in covered and not name.startswith("x-ignore-"))
        if extra:
            message = f"Invalid according to Policy: Extra input fields: {', '.join(extra)}"
            raise Refusal(*self.dialect.failed, message)


def _decoded(encoded: str) -> str:
    try:
        document = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError("the policy is not Base64") from error
    if len(document) > LARGEST_POLICY_BYTES:
        raise ValueError(f"the policy is larger than {LARGEST_POLICY_BYTES} bytes")
    return document.decode("utf-8")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a member is there twice")
    return dict(pairs)


def _expiration(text: object) -> datetime:
    if not isinstance(text, str) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", text):
        raise ValueError("expiration must be an ISO 8601 time in UTC")
    form = "%Y-%m-%dT%H:%M:%S.%fZ" if "." in text else "%Y-%m-%dT%H:%M:%SZ"
    return datetime.strptime(text, form).replace(tzinfo=timezone.utc)


def _conditions(items: list[Any]) -> tuple[tuple[Condition, ...], list[tuple[int, int]]]:
    conditions: list[Condition] = []
    ranges: list[tuple[int, int]] = []
    for item in items:
        match item:
            case {**members} if len(members) == 1:
                ((name, value),) = members.items()
                if not isinstance(value, str):
                    raise ValueError(f"the value of {name} must be a text")
                conditions.append(Condition(operator="eq", field=str(name).lower(), text=value))
            case ["eq" | "starts-with" as operator, str(name), str(text)] if name.startswith("$"):
                conditions.append(Condition(operator=operator, field=name[1:].lower(), text=text))
            case ["content-length-range", int(lower), int(upper)] if _is_range(lower, upper):
                ranges.append((lower, upper))
            case _:
                raise ValueError("a condition has an unknown form")
    return tuple(conditions), ranges


def _is_range(lower: int, upper: int) -> bool:
    return not isinstance(lower, bool) and not isinstance(upper, bool) and 0 <= lower <= upper
