"""What signs forms and URLs with Signature Version 4 between two seconds."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from presign.signing.post_policy import FormSigner
from presign.signing.sigv4 import QueryTerms, Scope
from presign.signing.timestamps import Stamp

_SECOND = timedelta(seconds=1)


class Terms(NamedTuple):
    """What signs in one second what is to live equally long, and the end of that life."""

    forms: FormSigner
    queries: QueryTerms
    expires_at: datetime

    @classmethod
    def of(cls, *, bucket: str, scope: Scope, start: Stamp, end: Stamp, session_token: str | None = None) -> Terms:
        """Return the terms for ``bucket`` from ``start``, a second of the scope's day, to ``end``.

        Raises ConfigurationError unless that is 1 to 604,800 seconds.
        """
        return cls(
            forms=FormSigner(
                bucket=bucket,
                scope=scope,
                timestamp=start.timestamp,
                expiration=end.iso,
                session_token=session_token,
            ),
            queries=QueryTerms(
                scope=scope,
                timestamp=start.timestamp,
                expires_seconds=(end.time - start.time) // _SECOND,
                session_token=session_token,
            ),
            expires_at=end.time,
        )
