"""A boto3 session: its credentials, its client, and the endpoint and region that its settings choose.

Every use of botocore's private parts is in this module, and each has a public way to fall back on. Its functions import
boto3 when they are called, because a process that only signs, with credentials from its environment, needs none of it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from presign.backends.expiring_credentials import CredentialsRenewer, ExpiringCredentials
from presign.backends.packages import require_package
from presign.errors import ConfigurationError
from presign.s3.environment import DEFAULT_REGION
from presign.s3.failures import call_errors
from presign.s3.guards import COPY_CONDITIONS, copy_conditions
from presign.s3.partitions import is_aws_endpoint, is_region

if TYPE_CHECKING:
    import boto3
    from botocore.credentials import Credentials, RefreshableCredentials
    from mypy_boto3_s3 import S3Client

# The import that would fail comes late, so a missing package is found here, as early as any other wrong setting.
require_package("boto3")

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 10
COPY_READ_TIMEOUT_SECONDS = 600
"""How long to wait for the copy of a large object: some stores answer only when they have copied all of it."""

_ATTEMPTS = 2
# botocore renews credentials only when it is asked for them in their last 15 minutes.
_RENEWAL_PERIOD = timedelta(minutes=15) - timedelta(seconds=1)
# botocore returns credentials that are valid for at least ten minutes (its "mandatory refresh").
_MIN_VALIDITY = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class AccessKeys:
    """AWS credentials; ``repr`` shows the access key only."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(repr=False)


def new_session(
    *,
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
    profile: str | None = None,
) -> boto3.Session:
    """Return a session; boto3's default settings fill in what is None. Raises ConfigurationError."""
    import boto3

    try:
        return boto3.Session(
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            aws_session_token=session_token,
            profile_name=profile,
        )
    except call_errors() as error:
        raise _unusable_settings(error) from None


def load_credentials(session: boto3.Session) -> CredentialsRenewer[AccessKeys]:
    """Return the session's credentials, which are renewed in the background; raises ConfigurationError."""
    try:
        credentials = session.get_credentials()
        if credentials is None:
            raise ConfigurationError(
                "no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
                field="credentials",
            )
        return CredentialsRenewer(lambda: _frozen(credentials), what="the AWS credentials")
    except call_errors() as error:
        raise _unusable_settings(error) from None


def build_client(
    session: boto3.Session,
    *,
    region: str | None,
    endpoint_url: str | None,
    read_timeout_seconds: float | None = None,
) -> S3Client:
    """Return a client for the region and the endpoint; AWS's settings fill in what is None.

    Those settings include ``AWS_REGION``, ``AWS_ENDPOINT_URL_S3``, ``AWS_USE_FIPS_ENDPOINT``,
    ``AWS_USE_DUALSTACK_ENDPOINT`` and their counterparts in the configuration file; ``client.meta`` has the result.
    ``read_timeout_seconds`` is READ_TIMEOUT_SECONDS by default. Raises ConfigurationError.
    """
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, InvalidRegionError

    chosen_region = region or session.region_name or os.environ.get("AWS_REGION") or None
    try:
        client = session.client(
            "s3",
            region_name=chosen_region or DEFAULT_REGION,
            endpoint_url=endpoint_url,
            config=Config(
                signature_version="s3v4",
                s3={"us_east_1_regional_endpoint": "regional"},
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                read_timeout=read_timeout_seconds or READ_TIMEOUT_SECONDS,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            ),
        )
    except InvalidRegionError:
        raise _bad_region(chosen_region) from None
    except (BotoCoreError, ValueError) as error:
        raise _unusable_settings(error) from None
    if is_aws_endpoint(client.meta.endpoint_url):
        _check_aws_region(chosen_region)
    elif len(copy_conditions(urlsplit(client.meta.endpoint_url).hostname or "", is_aws=False)) > 1:
        for call in ("CopyObject", "UploadPartCopy"):
            client.meta.events.register(f"before-call.s3.{call}", _name_the_condition_twice)
    return client


def trusted_authorities(session: boto3.Session) -> str | None:
    """Return the file of certificate authorities that the session's profile or ``AWS_CA_BUNDLE`` names, or None."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        named: object = Session(profile=session.profile_name).get_config_variable("ca_bundle")
    except BotoCoreError:
        # A session may have been given a configuration that is in no file.
        return None
    return named if isinstance(named, str) and named else None


def _name_the_condition_twice(params: dict[str, Any], **_: Any) -> None:
    """Say a copy's condition on the ETag of its source under Ceph's name too, before the request is signed."""
    standard, ceph = COPY_CONDITIONS
    if standard in params["headers"]:
        params["headers"][ceph] = params["headers"][standard]


def _frozen(credentials: Credentials) -> ExpiringCredentials[AccessKeys]:
    from botocore.credentials import RefreshableCredentials

    frozen = credentials.get_frozen_credentials()
    if frozen.access_key is None or frozen.secret_key is None:
        raise ConfigurationError(
            "the AWS credentials are incomplete: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", field="credentials"
        )
    keys = AccessKeys(access_key=frozen.access_key, secret_key=frozen.secret_key, session_token=frozen.token)
    if not isinstance(credentials, RefreshableCredentials):
        return ExpiringCredentials(credentials=keys, renew_at=None, expires_at=None)
    expires_at = _expiry(credentials)
    return ExpiringCredentials(credentials=keys, renew_at=expires_at - _RENEWAL_PERIOD, expires_at=expires_at)


def _expiry(credentials: RefreshableCredentials) -> datetime:
    """Return the time at which the credentials expire, in whole seconds, because signatures count in seconds."""
    # botocore has no public way to this time, and a ticket must not outlive its credentials.
    expiry: object = getattr(credentials, "_expiry_time", None)
    if isinstance(expiry, datetime):
        return expiry.replace(microsecond=0)
    return datetime.now(timezone.utc).replace(microsecond=0) + _MIN_VALIDITY


def _check_aws_region(region: str | None) -> None:
    if region is None:
        raise ConfigurationError("region is not set: pass region, or set AWS_REGION", field="region")
    if not is_region(region):
        raise _bad_region(region)


def _bad_region(region: str | None) -> ConfigurationError:
    return ConfigurationError(f"region {region!a} is not one of AWS's regions", field="region", value=region)


def _unusable_settings(error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"the AWS settings cannot be used ({type(error).__name__}); check AWS_PROFILE and the files that it names",
        field="credentials",
    )
