"""The address of a container for presign."""

from __future__ import annotations

from urllib.parse import quote, urlencode


def container_address(
    account: str,
    container: str,
    prefix: str,
    *,
    pending_container: str | None,
    blob_endpoint: str,
    bind_headers: bool = False,
) -> str:
    """Return the address for presign: ``azblob://account/container/public/?pending_container=...``.

    It contains ``blob_endpoint`` only where presign would assume another one: in a sovereign cloud, for an account with
    the endpoint of a DNS zone, and on an emulator.
    """
    endpoint = blob_endpoint.rstrip("/")
    query = {} if pending_container is None else {"pending_container": pending_container}
    if endpoint != f"https://{account}.blob.core.windows.net":
        query["endpoint_url"] = endpoint
    if bind_headers:
        query["bind_headers"] = "true"
    return f"azblob://{account}/{quote(container)}/{quote(prefix)}" + (f"?{urlencode(query)}" if query else "")
