"""Addresses: a backend's own, such as ``s3://bucket/prefix/?region=...``, and the endpoints of services."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from presign.errors import ConfigurationError


class Address(NamedTuple):
    """A backend's address: what stands for the host, the path without its first slash, still encoded, and the rest."""

    host: str
    path: str
    parameters: dict[str, str]

    def flag(self, name: str) -> bool:
        """Say whether the parameter is ``true``; without it, no. Raises ConfigurationError for anything else."""
        value = self.parameters.get(name, "false")
        if value not in {"true", "false"}:
            raise ConfigurationError(f"{name} must be true or false", field=name, value=value)
        return value == "true"


def read_address(url: str, *, example: str, parameters: Collection[str]) -> Address:
    """Take an address like ``example`` apart; raises ConfigurationError for any other, without repeating it.

    ``parameters`` are those that may be given, each once and with a value.
    """
    parts = urlsplit(url)
    if parts.scheme != urlsplit(example).scheme or not parts.netloc or "@" in parts.netloc or parts.fragment:
        raise ConfigurationError(f"must look like {example}", field="url")
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ConfigurationError("the part after ? must be name=value pairs joined with &", field="url") from None
    given = dict(pairs)
    unknown = sorted(given.keys() - set(parameters))
    if unknown or len(given) != len(pairs) or "" in given.values():
        raise ConfigurationError(
            f"each of {', '.join(sorted(parameters))} may be given once, with a value, and nothing else",
            field="url",
            value=", ".join(unknown) or None,
        )
    return Address(host=parts.netloc, path=parts.path.removeprefix("/"), parameters=given)


def read_endpoint(
    setting: str,
    url: str,
    *,
    described: str = "a scheme, a host and perhaps a port, such as https://storage.example.com",
    segments: int = 0,
) -> str:
    """Return a service's endpoint in its one spelling: in lower case, without the scheme's own port and a last slash.

    Its path may have ``segments`` at most. Raises ConfigurationError, which says that ``setting`` must be as
    ``described``, and leaves the value out: what was pasted may be a URL with a signature.
    """
    parts = urlsplit(url)
    path = parts.path.strip("/")
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or "@" in parts.netloc
        or len(path.split("/") if path else []) > segments
        or parts.query
        or parts.fragment
        or not _has_valid_port(parts.netloc)
    ):
        raise ConfigurationError(f"{setting} must be {described}", field=setting)
    default_port = ":443" if parts.scheme == "https" else ":80"
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(default_port)}{'/' + path if path else ''}"


def _has_valid_port(netloc: str) -> bool:
    try:
        _ = urlsplit(f"//{netloc}").port
    except ValueError:
        return False
    return True
