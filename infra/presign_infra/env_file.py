"""What the demo server needs to know about the stack: the bucket's address, and the text of a ``.env`` file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote, urlencode

_Text = TypeVar("_Text")

# A value that has only these characters needs no quotes, neither in a shell nor in a .env file.
_UNQUOTED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.,:/?=@%+*")


def bucket_address(bucket: str, prefix: str, *, region: str, endpoint_url: str | None = None) -> str:
    """Return the address of a bucket and a prefix for presign, such as ``s3://bucket/public/?region=eu-central-1``.

    If the store is not AWS itself, ``endpoint_url`` says where it is, and the address contains it.
    """
    query = {"region": region} | ({"endpoint_url": endpoint_url} if endpoint_url else {})
    return f"s3://{bucket}/{quote(prefix)}?{urlencode(query)}"


def demo_variables(
    address: _Text,
    *,
    pending_prefix: str | None,
    public_read: bool,
    allowed_origins: Sequence[str],
    region: _Text | None = None,
) -> dict[str, _Text | str]:
    """Return what the demo server needs from the program of each cloud; values may be outputs of Pulumi.

    ``address`` is that of the bucket or container, and ``region`` the one that AWS's SDK needs.
    """
    variables: dict[str, _Text | str] = {
        "PRESIGN_BUCKET": address,
        # An empty value tells the demo that uploads go straight to the final place.
        "PRESIGN_PENDING_PREFIX": pending_prefix or "",
        "PRESIGN_PUBLIC_READ": "true" if public_read else "false",
    }
    if region is not None:
        variables["AWS_DEFAULT_REGION"] = region
    # The demo server compares whole origins and knows no wildcards, so it gets only the origins without one.
    if exact_origins := [origin for origin in allowed_origins if "*" not in origin]:
        variables["PRESIGN_ALLOWED_ORIGINS"] = ",".join(exact_origins)
    return variables


def env_file_text(variables: Mapping[str, str]) -> str:
    """Return the text of a ``.env`` file with ``variables``, without a newline at the end.

    ``pulumi stack output`` prints that newline. A value has quotes only if a shell needs them, because
    ``docker run --env-file`` treats quotes as part of the value.
    """
    return "\n".join(f"{name}={_quote_for_shell(value)}" for name, value in variables.items())


def _quote_for_shell(value: str) -> str:
    return value if set(value) <= _UNQUOTED else shlex.quote(value)
