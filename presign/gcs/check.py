"""The check of a signing key: a signed request, whose response tells about the key, the bucket and the clock."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import requests

from presign.backends.failures import (
    MAX_CLOCK_SKEW,
    check_clock,
    missing_bucket,
    storage_failed,
    unreachable,
    wrong_clock,
)
from presign.errors import ConfigurationError
from presign.gcs.json_api import TIMEOUTS
from presign.gcs.signing_keys import SigningIdentity

_MAX_ERROR_BYTES = 10_000
_ERROR_CODE = re.compile(rb"<Code>(\w{1,64})</Code>")
_REFUSED_KEY_CODES = frozenset(
    {
        "AccountProblem",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "UserProjectAccountProblem",
    }
)


def check_signature(
    url: str,
    now: datetime,
    *,
    identity: SigningIdentity,
    bucket: str,
    kind: str,
    endpoint_url: str,
    lifetime: timedelta = MAX_CLOCK_SKEW,
) -> None:
    """Send a GET to a URL that ``identity`` signed at ``now``.

    ``kind`` is the setting that names ``bucket``. Any response passes that shows that Google accepts the signature: the
    object need not exist, and the identity need not have the right to read it. The clock must not be slow by more than
    ``lifetime``. Raises ConfigurationError, and StorageUnavailable.
    """
    status, code, date = _send(url, endpoint_url)
    if code == "RequestTimeTooSkewed":
        raise wrong_clock()
    check_clock(date, now, lifetime=lifetime)
    if code in _REFUSED_KEY_CODES:
        raise ConfigurationError(
            f"{endpoint_url} refuses the signing key ({code}): it may be wrong, disabled or deleted; "
            f"check {identity.settings_to_check}",
            field=identity.setting,
        )
    if code == "NoSuchBucket":
        raise missing_bucket(bucket, endpoint_url, kind=kind)
    if status >= 400 and status not in {403, 404}:
        raise storage_failed(f"gs://{bucket}", "GET", code or str(status))


def _send(url: str, endpoint_url: str) -> tuple[int, str, str | None]:
    """Return the response's status, the error code in its body ("" if there is none), and its Date header."""
    try:
        with requests.get(url, timeout=TIMEOUTS, stream=True, allow_redirects=False) as response:
            status, date = response.status_code, response.headers.get("date")
            content = b"" if status < 400 else next(response.iter_content(_MAX_ERROR_BYTES), b"")
    except requests.RequestException as error:
        raise unreachable(endpoint_url, error) from None
    found = _ERROR_CODE.search(content)
    return status, found[1].decode() if found else "", date
