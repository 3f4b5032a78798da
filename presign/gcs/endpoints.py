"""The endpoint of Cloud Storage, and the buckets' locations as browsers reach them."""

from __future__ import annotations

import os

from presign.backends.addresses import check_tls, read_endpoint
from presign.errors import ConfigurationError
from presign.signing.bucket_location import BucketLocation

GOOGLE_ENDPOINT = "https://storage.googleapis.com"


def find_endpoint(endpoint_url: str | None, *, allow_http: bool) -> str:
    """Return ``endpoint_url``, or what ``STORAGE_EMULATOR_HOST`` says, or Google's.

    Without ``allow_http``, an endpoint without TLS must be on this machine, an emulator's too: it gets the files and
    the credentials' tokens all the same. Raises ConfigurationError.
    """
    if endpoint_url is not None:
        return _endpoint("endpoint_url", endpoint_url, allow_http=allow_http)
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if emulator:
        # Some of Google's clients expect a scheme in this setting, and others expect none.
        url = emulator if "://" in emulator else f"http://{emulator}"
        return _endpoint("STORAGE_EMULATOR_HOST", url, allow_http=allow_http)
    return GOOGLE_ENDPOINT


def public_locations(
    bucket: str,
    pending_bucket: str,
    *,
    endpoint_url: str,
    public_endpoint_url: str | None,
    virtual_hosted_style: bool,
    bucket_bound_hostname: str | None,
    allow_http: bool,
) -> tuple[BucketLocation, BucketLocation]:
    """Return the locations of the bucket and of the pending bucket as browsers reach them (see GCSBackend).

    A bucket-bound hostname belongs to ``bucket`` alone, so another pending bucket has a location on the service's own
    host. Raises ConfigurationError.
    """
    if not isinstance(virtual_hosted_style, bool):
        raise ConfigurationError("virtual_hosted_style must be True or False", field="virtual_hosted_style")
    if public_endpoint_url is not None:
        endpoint_url = _endpoint("public_endpoint_url", public_endpoint_url, allow_http=allow_http)
    if bucket_bound_hostname is None:
        location = _location(bucket, endpoint_url, virtual_hosted_style=virtual_hosted_style)
    else:
        is_only_bucket = pending_bucket == bucket
        if is_only_bucket and (virtual_hosted_style or public_endpoint_url is not None):
            raise ConfigurationError(
                "bucket_bound_hostname cannot be combined with virtual_hosted_style or public_endpoint_url; "
                "leave those two out",
                field="bucket_bound_hostname",
            )
        has_scheme = "://" in bucket_bound_hostname
        url = bucket_bound_hostname if has_scheme else f"https://{bucket_bound_hostname}"
        location = BucketLocation.at(_endpoint("bucket_bound_hostname", url, allow_http=allow_http))
    if pending_bucket == bucket:
        return location, location
    return location, _location(pending_bucket, endpoint_url, virtual_hosted_style=virtual_hosted_style)


def _location(bucket: str, endpoint_url: str, *, virtual_hosted_style: bool) -> BucketLocation:
    if virtual_hosted_style and endpoint_url.startswith("https:") and "." in bucket:
        raise ConfigurationError(
            "Google's certificate does not cover a virtual host for a bucket whose name has a dot; "
            "leave virtual_hosted_style out",
            field="virtual_hosted_style",
            value=bucket,
        )
    return BucketLocation.of_bucket(bucket, endpoint_url, virtual_hosted=virtual_hosted_style)


def _endpoint(setting: str, url: str, *, allow_http: bool) -> str:
    return check_tls(setting, read_endpoint(setting, url), allow_http=allow_http)
