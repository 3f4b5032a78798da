"""The GCS reference as a process that can be killed: it keeps on disk what it has acknowledged.

python -m tests.faults.gcs_on_disk PORT FOLDER
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import uvicorn
from starlette.types import Message, Receive, Scope, Send

from emulators.gcs_accounts import trusted_account
from emulators.gcs_bucket import GcsBucket
from emulators.gcs_parts import GcsPartLimits
from emulators.gcs_reference import GcsReference
from emulators.ports import HOST

BUCKET, PENDING_BUCKET = "uploads", "waiting"
SMALLEST_PART_BYTES = 8


class GcsOnDisk:
    """The reference as an ASGI application that writes its buckets to ``path`` before it answers to a change."""

    def __init__(self, path: Path, account: Path) -> None:
        self._path = path
        buckets = pickle.loads(path.read_bytes()) if path.exists() else {}
        self._app = GcsReference(
            buckets=buckets or {BUCKET: GcsBucket(public_prefix="public/"), PENDING_BUCKET: GcsBucket()},
            service_accounts=trusted_account(account),
            part_limits=GcsPartLimits(smallest_part_bytes=SMALLEST_PART_BYTES),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def kept(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["method"] not in ("GET", "HEAD"):
                new = self._path.with_suffix(".new")
                new.write_bytes(pickle.dumps(self._app.buckets))
                new.replace(self._path)
            await send(message)

        await self._app(scope, receive, kept)


if __name__ == "__main__":
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    app = GcsOnDisk(folder / "buckets", folder / "account.json")
    uvicorn.run(app, host=HOST, port=port, log_level="warning", lifespan="off")
