"""Lifecycle rules of an S3 bucket: what they say to a new upload in parts, and of an object.

The S3 reference aborts and deletes nothing itself.

Source: Amazon S3 API Reference, "CreateMultipartUpload" (`x-amz-abort-date`, `x-amz-abort-rule-id`) and
"HeadObject" (`x-amz-expiration`); Amazon S3 User Guide, "Lifecycle configuration elements".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LifecycleRule:
    """One rule for the keys with a prefix; `abort_after_days` is None if it aborts no uploads.

    `expire_after_days` is None if it deletes no objects.
    """

    rule_id: str
    prefix: str = ""
    abort_after_days: int | None = None
    expire_after_days: int | None = None
    is_enabled: bool = True

    @classmethod
    def of(cls, rule: Mapping[str, Any]) -> LifecycleRule:
        """Read a rule as boto3's `put_bucket_lifecycle_configuration` takes it."""
        return cls(
            rule_id=rule["ID"],
            prefix=rule["Filter"]["Prefix"],
            abort_after_days=rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation"),
            expire_after_days=rule.get("Expiration", {}).get("Days"),
            is_enabled=rule["Status"] == "Enabled",
        )

    def aborts(self, key: str) -> bool:
        """True if the rule aborts unfinished uploads to this key."""
        return self.is_enabled and self.abort_after_days is not None and key.startswith(self.prefix)


def abort_headers(rules: Iterable[LifecycleRule], key: str, now: datetime) -> dict[str, str]:
    """The headers of the answer that begins an upload: when the earliest rule aborts it; none if no rule does."""
    dates = [(_midnight_after(now, rule.abort_after_days or 0), rule.rule_id) for rule in rules if rule.aborts(key)]
    if not dates:
        return {}
    date, rule_id = min(dates)
    return {"x-amz-abort-date": format_datetime(date, usegmt=True), "x-amz-abort-rule-id": rule_id}


def expiration_headers(rules: Iterable[LifecycleRule], key: str, stored_at: datetime) -> dict[str, str]:
    """The header of an object that says when the earliest rule deletes it; none if no rule does."""
    dates = [
        (_midnight_after(stored_at, rule.expire_after_days), rule.rule_id)
        for rule in rules
        if rule.is_enabled and rule.expire_after_days is not None and key.startswith(rule.prefix)
    ]
    if not dates:
        return {}
    date, rule_id = min(dates)
    return {"x-amz-expiration": f'expiry-date="{format_datetime(date, usegmt=True)}", rule-id="{rule_id}"'}


def _midnight_after(now: datetime, days: int) -> datetime:
    """S3 adds the days, and rounds up to the next midnight in UTC."""
    return (now + timedelta(days=days + 1)).replace(hour=0, minute=0, second=0, microsecond=0)
