"""The choice of a local storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from demo_server.settings import StorageName
from demo_server.storages.folder import claim_folder
from demo_server.storages.local_storage import PENDING_PREFIX, LocalStorage
from emulators.processes import StartFailed


@contextmanager
def run_local_storage(
    directory: Path,
    *,
    origins: Sequence[str],
    report: Callable[[str], None],
    storage: StorageName = "s3",
    pending_prefix: str | None = PENDING_PREFIX,
    max_bytes: int | None = None,
) -> Iterator[LocalStorage]:
    """Run a storage, provisioned for pages of ``origins``, while the block lasts.

    Uploads wait under ``pending_prefix`` until they are verified; with None they go straight to their final place. What
    the storage keeps between runs is in the folder ``directory``/``storage``. ``report`` gets a line for each thing
    that the user waits for. ``max_bytes`` is the size of the largest upload; above 5 GiB, its publication on S3 needs a
    right of its own. Raises StartFailed, also where another demo uses the folder, and where a package is missing that
    the storage needs.
    """
    # Each module imports the SDK of its own cloud, and the demo's environment has the SDK of S3 alone.
    try:
        if storage == "azure":
            from demo_server.storages.azure import run_azure as run
        elif storage == "gcs":
            from demo_server.storages.gcs import run_gcs as run
        else:
            from demo_server.storages.s3 import run_s3

            run = partial(run_s3, max_bytes=max_bytes)
    except ModuleNotFoundError as error:
        raise StartFailed(
            f"the local {storage} storage needs the module {error.name}; `make demo STORAGE={storage}` installs it"
        ) from None
    folder = directory.resolve() / storage
    with (
        claim_folder(folder, origins=origins),
        run(folder, origins=origins, report=report, pending_prefix=pending_prefix) as running,
    ):
        yield running
