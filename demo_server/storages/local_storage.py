"""A storage that the demo runs on this machine, provisioned for the demo's page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emulators.processes import ServerProcess

BUCKET = "presign-demo"
"""The bucket's name, and the container's on Azure."""

PENDING_BUCKET = "presign-demo-pending"
"""The private bucket or container for uploads that are not verified, where no prefix can be private."""

PENDING_PREFIX = "pending/"
PUBLIC_PREFIX = "public/"
REGION = "us-east-1"


def pending_place(pending_prefix: str | None, bucket: str = "") -> str:
    """Return the end of a sentence that says where uploads wait: under a prefix, maybe of a bucket of their own."""
    if pending_prefix is None:
        return "; uploads go straight there"
    place = f"{bucket}/{pending_prefix}" if bucket else pending_prefix
    return f"; uploads wait under {place}, which is private, until they are verified"


@dataclass(frozen=True, kw_only=True)
class LocalStorage:
    """A running storage: the server's process, and the environment variables with which the demo uses it."""

    server: ServerProcess
    environment: Mapping[str, str] = field(repr=False)
