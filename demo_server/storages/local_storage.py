"""A storage that the demo runs on this machine, provisioned for the demo's page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emulators.processes import ServerProcess

BUCKET = "presign-demo"
"""The bucket's name, and the container's on Azure."""

PENDING_PREFIX = "pending/"
PUBLIC_PREFIX = "public/"
REGION = "us-east-1"


def pending_place(pending_prefix: str | None) -> str:
    """Return the end of a sentence that says where the storage keeps uploads until they are verified."""
    return "" if pending_prefix is None else f", private uploads under {pending_prefix} until they are verified"


@dataclass(frozen=True, kw_only=True)
class LocalStorage:
    """A running storage: the server's process, and the environment variables with which the demo uses it."""

    server: ServerProcess
    environment: Mapping[str, str] = field(repr=False)
