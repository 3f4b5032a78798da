"""The signers of one period: forms and URLs that start and expire at the same time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from presign.signing.post_policy import FormSigner
from presign.signing.signing_time import SigningTime
from presign.signing.sigv4 import Scope, UrlSigner

_SECOND = timedelta(seconds=1)


class Signers(NamedTuple):
    """Sign forms and URLs with Signature Version 4 for one bucket and one period, which ends at ``expires_at``."""

    forms: FormSigner
    urls: UrlSigner
    expires_at: datetime

    @classmethod
    def for_period(
        cls,
        *,
        bucket: str,
        scope: Scope,
        start: SigningTime,
        end: SigningTime,
        session_token: str | None = None,
    ) -> Signers:
        """Return the signers for ``bucket`` from ``start``, which must lie on the scope's day, to ``end``.

        Raises ConfigurationError unless the period has 1 to 604,800 seconds.
        """
        return cls(
            forms=FormSigner(
                bucket=bucket,
                scope=scope,
                timestamp=start.timestamp,
                expiration=end.iso,
                session_token=session_token,
            ),
            urls=UrlSigner(
                scope=scope,
                timestamp=start.timestamp,
                expires_seconds=(end.time - start.time) // _SECOND,
                session_token=session_token,
            ),
            expires_at=end.time,
        )
