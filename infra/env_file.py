"""What the demo server reads: the bucket's address, and the text of a `.env` file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from urllib.parse import quote, urlencode

# Outside these a shell or a .env reader might see more than a value; an empty one is quoted as well.
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.,:/?=@%+*")


def presign_bucket(bucket: str, prefix: str, *, region: str, endpoint_url: str | None = None) -> str:
    """Answers the address of a bucket's prefix as `presign` takes it: `s3://bucket/public/?region=eu-central-1`.

    `endpoint_url` joins the query when the store is not AWS's own.
    """
    query = {"region": region} | ({"endpoint_url": endpoint_url} if endpoint_url else {})
    return f"s3://{bucket}/{quote(prefix)}?{urlencode(query)}"


def env_text(values: Mapping[str, str]) -> str:
    """Answers `values` as a `.env` file without a last newline, since `pulumi stack output` prints one.

    Values are quoted only where a shell would need it: `docker run --env-file` takes quotes literally.
    """
    return "\n".join(f"{name}={_quoted(value)}" for name, value in values.items())


def _quoted(value: str) -> str:
    return value if value and set(value) <= _PLAIN else shlex.quote(value)
