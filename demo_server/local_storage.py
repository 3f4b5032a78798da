"""The storages that the demo brings along: each is started, provisioned for the page, and stopped again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from demo_server.settings import StorageName
from emulators.seaweedfs import StartFailed

BUCKET = "presign-demo"
"""The bucket's name, and the container's on Azure."""

PUBLIC_PREFIX = "public/"
REGION = "us-east-1"


def local_storage(
    directory: Path, *, origins: Sequence[str], say: Callable[[str], None], storage: StorageName = "s3"
) -> AbstractContextManager[dict[str, str]]:
    """Run a storage, provisioned for pages of ``origins``, and yield the environment that points the demo at it.

    What it keeps between runs is in ``directory``; ``say`` is told what is being waited for. Raises StartFailed, also
    where the packages are missing that a storage other than ``s3`` needs.
    """
    # Each imports the SDK of its own cloud, and the demo's environment has that of S3 alone.
    try:
        if storage == "azure":
            from demo_server.local_azure import local_azure

            return local_azure(directory, origins=origins, say=say)
        if storage == "gcs":
            from demo_server.local_gcs import local_gcs

            return local_gcs(directory, origins=origins, say=say)
    except ModuleNotFoundError as error:
        raise StartFailed(
            f"the local {storage} storage needs the module {error.name}; `make demo STORAGE={storage}` installs it"
        ) from None
    from demo_server.local_s3 import local_s3

    return local_s3(directory, origins=origins, say=say)
