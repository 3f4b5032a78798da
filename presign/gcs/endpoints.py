"""The endpoint of Cloud Storage, and the bucket's location as browsers reach it."""

from __future__ import annotations

import os

from presign.backends.addresses import read_endpoint
from presign.errors import ConfigurationError
from presign.signing.bucket_location import BucketLocation

GOOGLE_ENDPOINT = "https://storage.googleapis.com"


def find_endpoint(endpoint_url: str | None) -> str:
    """Return ``endpoint_url``, or what ``STORAGE_EMULATOR_HOST`` says, or Google's; raises ConfigurationError."""
    if endpoint_url is not None:
        return read_endpoint("endpoint_url", endpoint_url)
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if emulator:
        # Some of Google's clients expect a scheme in this setting, and others expect none.
        return read_endpoint("STORAGE_EMULATOR_HOST", emulator if "://" in emulator else f"http://{emulator}")
    return GOOGLE_ENDPOINT


def public_location(
    bucket: str,
    *,
    endpoint_url: str,
    public_endpoint_url: str | None,
    virtual_hosted_style: bool,
    bucket_bound_hostname: str | None,
) -> BucketLocation:
    """Return the bucket's location as browsers reach it (see GCSBackend); raises ConfigurationError."""
    if not isinstance(virtual_hosted_style, bool):
        raise ConfigurationError("virtual_hosted_style must be True or False", field="virtual_hosted_style")
    if bucket_bound_hostname is not None:
        if virtual_hosted_style or public_endpoint_url is not None:
            raise ConfigurationError(
                "bucket_bound_hostname cannot be combined with virtual_hosted_style or public_endpoint_url; "
                "leave those two out",
                field="bucket_bound_hostname",
            )
        has_scheme = "://" in bucket_bound_hostname
        url = bucket_bound_hostname if has_scheme else f"https://{bucket_bound_hostname}"
        return BucketLocation.at(read_endpoint("bucket_bound_hostname", url))
    if public_endpoint_url is not None:
        endpoint_url = read_endpoint("public_endpoint_url", public_endpoint_url)
    if virtual_hosted_style and endpoint_url.startswith("https:") and "." in bucket:
        raise ConfigurationError(
            "Google's certificate does not cover a virtual host for a bucket whose name has a dot; "
            "leave virtual_hosted_style out",
            field="virtual_hosted_style",
            value=bucket,
        )
    return BucketLocation.of_bucket(bucket, endpoint_url, virtual_hosted=virtual_hosted_style)
