"""Cloud Storage on this machine: the reference server, because no emulator of Google's checks a signature."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from demo_server.storages.local_storage import BUCKET, PENDING_BUCKET, PUBLIC_PREFIX, LocalStorage, pending_place
from emulators.gcs_server import GcsServer


@contextmanager
def run_gcs(
    directory: Path, *, origins: Sequence[str], report: Callable[[str], None], pending_prefix: str | None
) -> Iterator[LocalStorage]:
    """Run the reference server for pages of ``origins`` while the block lasts.

    Uploads wait in a private bucket of their own until they are verified. They are held in memory, and the log says
    so; the service account's key is kept in ``directory``. Raises StartFailed.
    """
    report("Starting the reference GCS server; it holds uploads in memory, so they are gone when the demo stops")
    report(
        f"Provisioning the bucket {BUCKET}: CORS for {', '.join(origins)}, public reads under {PUBLIC_PREFIX}"
        f"{pending_place(pending_prefix, PENDING_BUCKET)}"
    )
    server = GcsServer(
        directory=directory,
        bucket=BUCKET,
        pending_bucket=PENDING_BUCKET,
        public_prefix=PUBLIC_PREFIX,
        origins=origins,
    )
    pending = {} if pending_prefix is None else {"pending_bucket": PENDING_BUCKET}
    with server:
        yield LocalStorage(
            server=server.process,
            environment={
                "PRESIGN_BUCKET": f"gs://{BUCKET}/{PUBLIC_PREFIX}?"
                + urlencode({"endpoint_url": server.endpoint_url, **pending}),
                "GOOGLE_APPLICATION_CREDENTIALS": str(server.credentials),
                # An HMAC key of the user's own would sign instead.
                "GCS_HMAC_ACCESS_ID": "",
                "GCS_HMAC_SECRET": "",
            },
        )
