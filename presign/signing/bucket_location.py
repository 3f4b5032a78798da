"""Where a bucket's objects are: the URL, the host and the path in front of every key."""

from __future__ import annotations

from typing import NamedTuple

from presign.signing.quoting import quote_path


class BucketLocation(NamedTuple):
    """The address of a bucket. An object's URL is ``base_url`` followed by the percent-encoded key.

    ``base_url`` consists of a scheme, ``host`` (with a port if the URL has one) and ``path_prefix``, which begins and
    ends with a slash. Signatures cover the host and the whole path.
    """

    base_url: str
    host: str
    path_prefix: str

    @classmethod
    def at(cls, endpoint: str, path_prefix: str = "/") -> BucketLocation:
        """Return the location under an endpoint, which is a scheme and a host; ``path_prefix`` is percent-encoded."""
        return cls(f"{endpoint}{path_prefix}", endpoint.partition("://")[2], path_prefix)

    @classmethod
    def of_bucket(cls, bucket: str, endpoint: str, *, virtual_hosted: bool = False) -> BucketLocation:
        """Return a bucket's location: a path on the service's endpoint, or a host of its own (virtual-hosted style)."""
        if not virtual_hosted:
            return cls.at(endpoint, f"/{quote_path(bucket)}/")
        scheme, host = endpoint.split("://")
        return cls.at(f"{scheme}://{bucket}.{host}")
