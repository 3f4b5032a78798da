"""The blocks of pending blobs: the calls of the SDK that list, commit and discard them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, ContentSettings

from presign.azure.client import error_code
from presign.azure.container import BLOB_EXISTS_CODES, BlobContainer, if_match, is_precondition_failure
from presign.backends.backend import ObjectChanged
from presign.backends.parts import KeyTaken
from presign.messages import GrantInParts

_NEVER_OVERWRITE: dict[str, Any] = {"match_condition": MatchConditions.IfMissing}
# A commit puts thousands of blocks together.
_COMMIT_SECONDS = 600.0


class PendingBlocks:
    """The blocks of the pending blobs in ``container``. They are apart from AzureParts, which signs without the SDK."""

    def __init__(self, container: BlobContainer) -> None:
        self.container = container

    def commit(self, grant: GrantInParts, key: str, ids: Sequence[str]) -> None:
        """Make the blob of the blocks with these ids, unless there is one; raises KeyTaken and ObjectChanged."""
        try:
            self.container.blob(key).commit_block_list(
                [BlobBlock(name) for name in ids],
                content_settings=ContentSettings(
                    content_type=grant.content_type,
                    content_disposition=grant.content_disposition,
                    cache_control=grant.cache_control,
                ),
                metadata=dict(grant.metadata),
                read_timeout=_COMMIT_SECONDS,
                **_NEVER_OVERWRITE,
            )
        except AzureError as error:
            code = error_code(error)
            if code in BLOB_EXISTS_CODES:
                raise KeyTaken from None
            if code == "InvalidBlockList":
                raise ObjectChanged(f"the blocks of {grant.upload_key} changed meanwhile") from None
            raise self.container.failed("Put Block List", error) from None

    def uncommitted(self, key: str) -> list[BlobBlock]:
        """Return the blocks of a blob that does not exist yet."""
        try:
            _, blocks = self.container.blob(key).get_block_list("uncommitted")
        except ResourceNotFoundError:
            return []
        except AzureError as error:
            if error_code(error) in BLOB_EXISTS_CODES:
                return []
            raise self.container.failed("Get Block List", error) from None
        return list(blocks)

    def discard(self, key: str) -> None:
        """Delete the blocks unless there is a blob: commit none of them, and delete the empty blob and no other."""
        blob = self.container.blob(key)
        try:
            committed = blob.commit_block_list([], **_NEVER_OVERWRITE)
        except AzureError as error:
            if error_code(error) in BLOB_EXISTS_CODES:
                return
            raise self.container.failed("Put Block List", error) from None
        try:
            blob.delete_blob(delete_snapshots="include", **if_match(str(committed["etag"]).strip('"')))
        except ResourceNotFoundError:
            return
        except AzureError as error:
            # A client has replaced the empty blob. Completion or the next sweep deletes what is there.
            if not is_precondition_failure(error):
                raise self.container.failed("Delete Blob", error) from None
