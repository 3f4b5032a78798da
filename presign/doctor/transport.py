"""Settings, clock and encryption: whether tickets can reach the storage, and be valid there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

from presign.backends.addresses import is_loopback
from presign.backends.failures import MAX_CLOCK_SKEW
from presign.doctor.report import Severity
from presign.doctor.session import LIFETIME, Aborted, Result, Session
from presign.errors import ConfigurationError, StorageUnavailable

_TOLERATED = timedelta(seconds=30)
_SECOND = timedelta(seconds=1)
# The setting that a wrong one is called by, and the finding.
_CODES = {
    "bucket": "missing-bucket",
    "container": "missing-bucket",
    "pending_bucket": "missing-bucket",
    "pending_container": "pending-private",
    "region": "region",
    "clock": "clock",
    "upload_method": "post",
    "account_key": "credentials",
    "verifier_account_key": "credentials",
    "connection_string": "credentials",
    "credential": "credentials",
    "credentials": "credentials",
    "verifier_credential": "credentials",
    "verifier_credentials": "credentials",
    "hmac_access_id": "credentials",
}


def check_settings(session: Session) -> Iterator[Result]:
    """Let the backend check its own settings."""
    session.current = "settings"
    try:
        session.backend.check(lifetime=LIFETIME)
    except ConfigurationError as error:
        yield Result.bad(_CODES.get(error.field or "", "settings"), error.detail)
        raise Aborted from None
    except StorageUnavailable as error:
        yield Result.bad("unreachable", error.detail)
        raise Aborted from None
    yield Result.good("settings", f"{session.backend.name} accepts the settings")


def check_clock(session: Session) -> Iterator[Result]:
    """Compare the clocks; a ticket of one minute needs clocks that differ by less."""
    session.current = "clock"
    offset = session.sender.clock_offset
    if offset is None:
        yield Result.unknown("clock", "the storage's answers have no Date header")
        return
    seconds = round(offset / _SECOND)
    direction = "behind" if seconds > 0 else "ahead of"
    detail = f"this machine's clock is {abs(seconds)} seconds {direction} the storage's"
    if abs(offset) <= _TOLERATED:
        yield Result.good("clock", f"this machine's clock and the storage's differ by {abs(seconds)} seconds")
    elif -MAX_CLOCK_SKEW < offset < LIFETIME:
        yield Result.bad("clock", detail, severity=Severity.WARNING)
    else:
        yield Result.bad("clock", detail)


def check_tls(session: Session) -> Iterator[Result]:
    """Send an upload without TLS, which the storage must refuse."""
    session.current = "tls"
    if not session.working_ways:
        yield Result.unknown("tls", "no upload works")
        return
    attempt = session.sign(session.grant(create_only=session.working_ways[-1].create_only))
    parts = urlsplit(attempt.url)
    if parts.scheme == "http":
        if is_loopback(parts.hostname or ""):
            yield Result.unknown("tls", "the storage is on this machine, and has no TLS")
        else:
            yield Result.bad("tls", f"browsers reach the storage at {parts.scheme}://{parts.netloc}, without TLS")
        return
    plain = attempt.with_url(parts._replace(scheme="http").geturl())
    try:
        answer = session.send(plain)
    except StorageUnavailable:
        yield Result.good("tls", "the storage does not answer requests without TLS")
        return
    if answer.is_accepted:
        yield Result.bad("tls", "the storage accepts an upload over plain http")
    else:
        yield Result.good("tls", f"the storage answers {answer.status} to an upload over plain http")
