"""Addresses of backends, such as ``s3://bucket/prefix/?region=...``, and endpoints of storage services."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

from presign.errors import ConfigurationError


class Address(NamedTuple):
    """A backend's address in its parts: the host, the path without its first slash, still encoded, the parameters."""

    host: str
    path: str
    parameters: dict[str, str]

    def flag(self, name: str) -> bool:
        """Return a parameter that is ``true`` or ``false`` (the default); raise ConfigurationError for other values."""
        value = self.parameters.get(name, "false")
        if value not in {"true", "false"}:
            raise ConfigurationError(f"{name} must be true or false", field=name, value=value)
        return value == "true"


def read_address(url: str, *, example: str, parameters: Collection[str]) -> Address:
    """Parse an address like ``example``, with any of ``parameters``, each at most once and with a value.

    Raises ConfigurationError for any other address. The message does not repeat the address, because it may contain a
    secret.
    """
    parts = _split(url)
    if (
        parts is None
        or parts.scheme != urlsplit(example).scheme
        or not parts.netloc
        or "@" in parts.netloc
        or parts.fragment
    ):
        raise ConfigurationError(f"the address must look like {example}", field="url")
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ConfigurationError("the part after ? must be name=value pairs joined with &", field="url") from None
    given = dict(pairs)
    unknown = sorted(given.keys() - set(parameters))
    if unknown or len(given) != len(pairs) or "" in given.values():
        raise ConfigurationError(
            f"the address may have each of {', '.join(sorted(parameters))} once, with a value, and nothing else",
            field="url",
            value=", ".join(unknown) or None,
        )
    return Address(host=parts.netloc, path=parts.path.removeprefix("/"), parameters=given)


def read_endpoint(
    setting: str,
    url: str,
    *,
    described: str = "a scheme, a host and perhaps a port, such as https://storage.example.com",
    max_segments: int = 0,
) -> str:
    """Return a service's endpoint in its normal form: lower case, without the default port and without a last slash.

    Its path may have at most ``max_segments`` segments. Raises ConfigurationError, which says that ``setting`` must be
    ``described``. The message does not repeat the URL, because somebody may have pasted one with a signature.
    """
    parts = _split(url)
    if parts is None or not _is_endpoint(parts, max_segments):
        raise ConfigurationError(f"{setting} must be {described}", field=setting)
    path = parts.path.strip("/")
    default_port = ":443" if parts.scheme == "https" else ":80"
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(default_port)}{'/' + path if path else ''}"


def check_tls(setting: str, endpoint: str, *, allow_http: bool) -> str:
    """Return ``endpoint`` if requests to it are encrypted, stay on this machine, or ``allow_http`` is set.

    Raises ConfigurationError otherwise: whoever reads a ticket or a completion on the way can use it.
    """
    if not isinstance(allow_http, bool):
        raise ConfigurationError("allow_http must be True or False", field="allow_http")
    parts = urlsplit(endpoint)
    if parts.scheme == "https" or allow_http or is_loopback(parts.hostname or ""):
        return endpoint
    raise ConfigurationError(
        f"{setting} must begin with https://, because everybody on the way can read http; "
        "for a network that you trust, set allow_http=True",
        field=setting,
        value=endpoint,
    )


def is_loopback(host: str) -> bool:
    """Say whether ``host`` is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_endpoint(parts: SplitResult, max_segments: int) -> bool:
    path = parts.path.strip("/")
    segments = path.split("/") if path else []
    is_plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and is_plain and len(segments) <= max_segments


def _split(url: str) -> SplitResult | None:
    """Return the URL's parts, or None if it is not a URL, or not even text."""
    if not isinstance(url, str):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts
