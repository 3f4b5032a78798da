"""A second in the forms that signatures write it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import NamedTuple


class Stamp(NamedTuple):
    """One second of UTC in the forms that signers write: a time, YYYYMMDDTHHMMSSZ, YYYYMMDD and ISO 8601."""

    time: datetime
    timestamp: str
    date: str
    iso: str


def stamp_of(second: int) -> Stamp:
    """Return the forms of ``second``, counted from 1970."""
    time = datetime.fromtimestamp(second, timezone.utc)
    iso = f"{time:%Y-%m-%dT%H:%M:%SZ}"
    timestamp = iso.replace("-", "").replace(":", "")
    return Stamp(time=time, timestamp=timestamp, date=timestamp[:8], iso=iso)
