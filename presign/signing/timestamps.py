"""A second in the forms that signatures write it."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import lru_cache
from typing import NamedTuple


class Stamp(NamedTuple):
    """One second of UTC in the forms that signers write: a time, YYYYMMDDTHHMMSSZ, YYYYMMDD and ISO 8601."""

    time: datetime
    timestamp: str
    date: str
    iso: str


@lru_cache(maxsize=256)
def stamp_of(second: int) -> Stamp:
    """Return the forms of ``second``, counted from 1970; kept, for signatures come many to the second."""
    time = datetime.fromtimestamp(second, timezone.utc)
    iso = f"{time:%Y-%m-%dT%H:%M:%SZ}"
    timestamp = iso.replace("-", "").replace(":", "")
    return Stamp(time=time, timestamp=timestamp, date=timestamp[:8], iso=iso)
