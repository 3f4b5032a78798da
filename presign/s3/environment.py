"""AWS's settings, read from the environment alone, where boto3 would find the same.

boto3 takes longer to import than everything else that a first ticket needs. A process that is started for one request
should not wait for it, so presign reads the settings itself if the environment has the credentials and nothing else on
the machine can change what boto3 would find. In every other case, boto3 decides.

Source: "Credentials" and "Configuration", Boto3 documentation; "Settings reference", AWS SDKs and Tools Reference
Guide.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from presign.s3.partitions import endpoint_of, has_data_of_its_own, is_aws_endpoint, is_region

DEFAULT_REGION = "us-east-1"
"""The region that a store of another provider gets if no setting names one."""

_FILES = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
_READ_HERE = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SECURITY_TOKEN",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        *_FILES,
    }
)
# What the runtime of AWS Lambda sets, what tells where other credentials are, and what concerns requests alone: nothing
# of this changes the credentials that the environment has, the region or the endpoint.
_WITHOUT_EFFECT = re.compile(
    r"AWS_(?:LAMBDA_\w+|XRAY_\w+|EXECUTION_ENV|PAGER|CA_BUNDLE|RETRY_MODE|MAX_ATTEMPTS|STS_REGIONAL_ENDPOINTS"
    r"|ROLE_ARN|ROLE_SESSION_NAME|WEB_IDENTITY_TOKEN_FILE|CONTAINER_\w+|EC2_METADATA_\w+|METADATA_SERVICE_\w+)",
    re.ASCII,
)
# botocore refuses a name of digits alone, and turns one with "fips" into another region.
_REGION = re.compile(r"(?![0-9]+\Z)(?!.*(?:fips-|-fips))[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


class Environment(NamedTuple):
    """The settings that the environment has, and the arguments that replace them; ``repr`` shows no secret."""

    access_key: str
    secret_key: str
    session_token: str | None
    region: str
    endpoint_url: str

    def __repr__(self) -> str:
        return f"Environment(access_key={self.access_key!r}, region={self.region!r}, endpoint={self.endpoint_url!r})"


def read_environment(*, region: str | None, endpoint_url: str | None) -> Environment | None:
    """Return the settings that boto3 would find, or None if only boto3 can say what it finds, or that it finds nothing.

    Only boto3 can say it if a variable that begins with ``AWS_`` or ``BOTO`` is not known here (``AWS_PROFILE``,
    ``AWS_USE_FIPS_ENDPOINT``, ``AWS_CREDENTIAL_EXPIRATION``), or if there is a configuration file, a credentials file
    or a folder with data for botocore.
    """
    access_key, secret_key = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key or _others_decide():
        return None
    # In the order in which botocore looks for them.
    token = os.environ.get("AWS_SECURITY_TOKEN") or os.environ.get("AWS_SESSION_TOKEN") or None
    chosen_region = region or os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or None
    chosen_url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
    if chosen_url is None and chosen_region is not None:
        chosen_url = endpoint_of(chosen_region)
    if chosen_url is None or not _REGION.fullmatch(chosen_region or DEFAULT_REGION):
        return None
    if is_aws_endpoint(chosen_url) and (chosen_region is None or not is_region(chosen_region)):
        return None
    return Environment(access_key, secret_key, token, chosen_region or DEFAULT_REGION, chosen_url)


def _others_decide() -> bool:
    for name in os.environ:
        if name.startswith(("AWS_", "BOTO")) and name not in _READ_HERE and not _WITHOUT_EFFECT.fullmatch(name):
            return True
    paths = (os.path.expanduser(os.path.expandvars(os.environ.get(name, path))) for name, path in _FILES.items())
    return has_data_of_its_own() or any(map(os.path.isfile, paths))
