"""The address of a bucket for presign, and the endpoint of a local server."""

from __future__ import annotations

from urllib.parse import quote, urlencode

_API_PATH = "/storage/v1"


def bucket_address(
    bucket: str,
    prefix: str,
    *,
    service_account_email: str | None = None,
    verifier_credentials: str | None = None,
    endpoint_url: str | None = None,
) -> str:
    """Return presign's address of a bucket and a prefix, such as ``gs://bucket/public/``.

    ``service_account_email`` is the account that Google signs as, without a key. ``verifier_credentials`` is the path
    of the separate verifier's JSON. ``endpoint_url`` says where the store is if it is not Google itself.
    """
    query = {
        name: value
        for name, value in (
            ("service_account_email", service_account_email),
            ("verifier_credentials", verifier_credentials),
            ("endpoint_url", endpoint_url),
        )
        if value
    }
    return f"gs://{bucket}/{quote(prefix)}" + (f"?{urlencode(query)}" if query else "")


def storage_endpoint(custom_endpoint: str | None) -> str | None:
    """Return the URL of the store in ``gcp:storageCustomEndpoint``, without the path of its API, or None."""
    if not custom_endpoint:
        return None
    return custom_endpoint.rstrip("/").removesuffix(_API_PATH)
