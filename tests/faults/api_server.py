"""The application's server as a process that can be killed; it ends with its standard input.

    python -m tests.faults.api_server PORT ADDRESS CLOCK PART_BYTES

``ADDRESS`` opens the backend. The file ``CLOCK`` has the seconds by which the clock of this server is slow.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from starlette.requests import Request

from emulators.serving import serve
from presign import PartLimits, Presigner, UploadPolicy
from presign.asgi import create_app
from presign.backends import open_backend
from presign.backends.backend import Backend
from presign.gcs import GCSBackend
from tests.faults.gcs_on_disk import SMALLEST_PART_BYTES

OWNER = "alice"
KINDS = {"files": timedelta(hours=1), "brief": timedelta(seconds=5)}
"""The kinds of uploads, and how long the request of a part is valid at most."""

_SMALL_LIMITS = PartLimits(min_part_bytes=SMALLEST_PART_BYTES, max_part_bytes=10**9, max_parts=1000, max_bytes=10**9)


def make_presigner(backend: Backend, kind: str, *, part_bytes: int, clock: Path | None = None) -> Presigner:
    """Return a presigner; any other one of the same kind opens its tokens."""

    def now() -> datetime:
        slow_seconds = float(clock.read_text()) if clock is not None else 0
        return datetime.now(timezone.utc) - timedelta(seconds=slow_seconds)

    return Presigner(
        name=kind,
        backend=backend,
        policy=UploadPolicy(
            content_types={"image/png"},
            max_bytes=1000 * part_bytes,
            prefix="public/",
            pending_prefix="pending/",
            parts_from_bytes=part_bytes,
            part_bytes=part_bytes,
            expires_in=min(timedelta(seconds=60), KINDS[kind]),
            max_expires_in=KINDS[kind],
        ),
        secret="the secret of the tests of faults",
        clock=now,
    )


def opened_backend(address: str) -> Backend:
    """Open a backend whose store takes small parts, if it is one of the reference for Google."""
    backend, _ = open_backend(address)
    if isinstance(backend, GCSBackend):
        parts: Any = backend.parts
        parts.limits = _SMALL_LIMITS
    return backend


def main() -> None:
    port, address, clock, part_bytes = sys.argv[1:]
    backend = opened_backend(address)
    presigners = [make_presigner(backend, kind, part_bytes=int(part_bytes), clock=Path(clock)) for kind in KINDS]

    async def authorize(request: Request) -> str:
        return OWNER

    with serve(create_app(presigners, authorize=authorize), port=int(port)):
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
