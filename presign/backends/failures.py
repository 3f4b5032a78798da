"""The failures that every backend reports in the same words."""

from __future__ import annotations

from datetime import datetime, timedelta

from presign.errors import ConfigurationError, StorageUnavailable, sanitize

MAX_CLOCK_SKEW = timedelta(minutes=15)
"""The largest difference between two clocks that the services accept."""


def warn(message: str, *arguments: str) -> None:
    """Log a warning of presign; ``arguments`` take the places of ``%s`` in ``message``."""
    # Signing needs no logging, which takes long to import.
    import logging

    logging.getLogger("presign").warning(message, *arguments)


def storage_failed(name: str, call: str, code: str) -> StorageUnavailable:
    """Return the error for a call that the storage ``name`` answered with an error of its own.

    ``code`` must be a bare error code: an SDK's message may repeat a signature or a token.
    """
    return StorageUnavailable(f"{name} answered {call} with {sanitize(code)}")


def unreachable(endpoint_url: str, error: Exception) -> StorageUnavailable:
    """Return the error for an endpoint that did not answer."""
    return StorageUnavailable(
        f"{endpoint_url} does not answer ({type(error).__name__}); check the endpoint and the network"
    )


def missing_bucket(name: str, endpoint_url: str, *, kind: str = "bucket") -> ConfigurationError:
    """Return the error for a bucket that does not exist; ``kind`` is the cloud's word for it, and the setting."""
    return ConfigurationError(
        f"the {kind} {name} does not exist at {endpoint_url}; create it, or correct its name", field=kind, value=name
    )


def wrong_clock() -> ConfigurationError:
    """Return the error for a machine whose clock differs too much from the storage's."""
    return ConfigurationError(
        "this machine's clock is more than 15 minutes wrong, and no storage accepts its signatures; set the clock",
        field="clock",
    )


def check_clock(date_header: str | None, now: datetime, *, lifetime: timedelta = MAX_CLOCK_SKEW) -> None:
    """Compare the Date header of a response with ``now``; raise ConfigurationError if the clock is wrong.

    A ticket that lasts for ``lifetime`` is over at once if this clock is slow by as much. A fast clock only makes
    tickets last longer, up to the difference that no service accepts. A header that is missing or unreadable passes.
    """
    # No ticket needs it, and it takes long to import: it imports the modules for sockets and random numbers.
    from email.utils import parsedate_to_datetime

    try:
        behind = parsedate_to_datetime(date_header) - now if date_header else timedelta()
    except (ValueError, TypeError):
        return
    if abs(behind) > MAX_CLOCK_SKEW:
        raise wrong_clock()
    if behind > lifetime:
        seconds = timedelta(seconds=1)
        raise ConfigurationError(
            f"this machine's clock is {behind // seconds} seconds slow, and tickets last for {lifetime // seconds} "
            "seconds, so the storage gets them too late; set the clock",
            field="clock",
        )
