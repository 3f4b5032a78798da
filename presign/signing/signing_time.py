"""One second in every format that signatures use."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import NamedTuple


class SigningTime(NamedTuple):
    """One second of UTC.

    - ``time``: as an aware datetime
    - ``timestamp``: ``YYYYMMDDTHHMMSSZ`` (ISO 8601 basic format)
    - ``date``: ``YYYYMMDD``
    - ``iso``: ``YYYY-MM-DDTHH:MM:SSZ`` (ISO 8601 extended format)
    """

    time: datetime
    timestamp: str
    date: str
    iso: str


def signing_time(unix_second: int) -> SigningTime:
    """Return the formats of a second, given as a Unix time."""
    time = datetime.fromtimestamp(unix_second, timezone.utc)
    iso = f"{time:%Y-%m-%dT%H:%M:%SZ}"
    timestamp = iso.replace("-", "").replace(":", "")
    return SigningTime(time=time, timestamp=timestamp, date=timestamp[:8], iso=iso)
