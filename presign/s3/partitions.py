"""AWS's partitions: which regions each has, and the domains of its endpoints. botocore's own data says it."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import orjson

_OWN_DATA_VARIABLE = "AWS_DATA_PATH"
_OWN_DATA_DIRECTORY = "~/.aws/models"


def has_data_of_its_own() -> bool:
    """Say whether this machine replaces the data that botocore brings."""
    return bool(os.environ.get(_OWN_DATA_VARIABLE)) or os.path.isdir(os.path.expanduser(_OWN_DATA_DIRECTORY))


def is_region(name: str) -> bool:
    """Say whether one of the partitions has a region with this name, or could have one."""
    return _partition_of(name) is not None


def is_aws_endpoint(url: str) -> bool:
    """Say whether this is the endpoint of S3 in one of AWS's regions, and not of another store."""
    host = urlsplit(url).hostname or ""
    return host.startswith(("s3.", "s3-")) and any(host.endswith(f".{suffix}") for suffix in _domains())


def endpoint_of(region: str) -> str | None:
    """Return the endpoint of S3 in a region, or None for a name that only a partition's list of regions has.

    Such a name (``aws-global``) is a region in some calls, and an endpoint of another region in others.
    """
    partition = _partition_of(region)
    if partition is None or not re.fullmatch(partition["regionRegex"], region):
        return None
    return f"https://s3.{region}.{partition['outputs']['dnsSuffix']}"


@lru_cache(maxsize=1)
def _domains() -> frozenset[str]:
    outputs = [partition["outputs"] for partition in _partitions()]
    return frozenset(output[name] for output in outputs for name in ("dnsSuffix", "dualStackDnsSuffix"))


def _partition_of(region: str) -> dict[str, Any] | None:
    for partition in _partitions():
        if region in partition["regions"] or re.fullmatch(partition["regionRegex"], region):
            return partition
    return None


@lru_cache(maxsize=1)
def _partitions() -> list[dict[str, Any]]:
    content = None if has_data_of_its_own() else _read_data_of_botocore()
    if content is None:
        # Its loader reads data of other places and forms, but importing botocore takes longer than a ticket.
        from botocore.loaders import create_loader

        content = create_loader().load_data("partitions")
    partitions: list[dict[str, Any]] = content["partitions"]
    return partitions


def _read_data_of_botocore() -> dict[str, Any] | None:
    """Return the file that botocore's loader would read, or None if there is no such file."""
    spec = find_spec("botocore")
    for directory in (spec.submodule_search_locations if spec else None) or ():
        try:
            with open(os.path.join(directory, "data", "partitions.json"), "rb") as file:
                content: dict[str, Any] = orjson.loads(file.read())
        except OSError:
            continue
        return content
    return None
