"""The headers of a blob, under the names that Azure gives them."""

from __future__ import annotations

from presign.backends.object_headers import HeaderNames

HEADERS = HeaderNames(
    metadata_prefix="x-ms-meta-",
    content_disposition="x-ms-blob-content-disposition",
    cache_control="x-ms-blob-cache-control",
)
