"""Uploads in parts on Azure: the blocks of one blob, staged by the client, listed and committed by the server.

Source: "Put Block", "Get Block List", "Put Block List" and "List Blobs", Azure Storage REST API reference;
"Scalability and performance targets for Blob storage".
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING
from urllib.parse import quote

from presign.azure.container_signer import ContainerSigner, Permission
from presign.backends.lazy_client import LazyClient
from presign.backends.parts import ListedUpload, NoSuchUpload, PartLimits, PartToSign, StoredPart
from presign.errors import ConfigurationError
from presign.messages import Grant, GrantInParts, PartRequest, Rule

if TYPE_CHECKING:
    from presign.azure.blocks import PendingBlocks

_MIB = 1024 * 1024
LIMITS = PartLimits(min_part_bytes=1, max_part_bytes=4000 * _MIB, max_parts=50_000, max_bytes=50_000 * 4000 * _MIB)

_NO_HEADERS: Mapping[str, str] = {}
_RANDOM_BYTES = 8
# The second in which the upload began, its random bytes, and the number of the part.
_BLOCK_ID = re.compile(r"(([0-9a-f]{8})[0-9a-f]{16})-[0-9]{6}", re.ASCII)


class AzureParts:
    """The PartsStore of a pending container; see presign.backends.parts.

    Azure begins no upload: blocks are staged for a blob that does not exist yet. The upload's id is the beginning of
    its blocks' ids: the time, so that a sweep knows their age, and random bytes, so that no other upload is mistaken
    for it. Azure also knows no end. So an abort leaves a mark, an empty blob beside the pending one, which a sweep
    deletes.

    A block needs the permission ``w`` (write), and a signature binds neither its id nor its length. So a client can
    stage other blocks, and can also write or commit the pending blob itself. The storage thus enforces no rule:
    completion commits only blocks of the right sizes, and judges whatever blob it finds. An upload straight to the
    final key is not possible, because its signature could still change the blob after completion. The identity that
    signs needs ``.../containers/blobs/write`` for the pending container.

    Azure itself deletes blocks a week after the last one was staged. A sweep can end an upload earlier.
    """

    limits = LIMITS
    needs_pending_key = True
    answers_with_etag = False

    def __init__(
        self, *, blocks: LazyClient[PendingBlocks], signer: ContainerSigner, clock: Callable[[], datetime] | None = None
    ) -> None:
        self._blocks = blocks
        self._signer = signer
        self._clock = clock or _utc_now

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return nothing: completion enforces every rule."""
        return frozenset()

    def checks_sha256(self, grant: Grant) -> bool:
        """Return False: Azure checks only an MD5 or a CRC-64 that nobody signed."""
        return False

    def lists_sha256(self, grant: Grant) -> bool:
        """Return False, because the service is not known to check a SHA-256."""
        return False

    def begin(self, grant: Grant, *, needs_sha256: bool) -> str:
        """Return a new id, without a request."""
        return f"{int(self._clock().timestamp()):08x}{os.urandom(_RANDOM_BYTES).hex()}"

    def sign(
        self,
        grant: GrantInParts,
        parts: Sequence[PartToSign],
        now: datetime,
        *,
        expires_in: timedelta,
        url_alone: bool = False,
    ) -> tuple[list[PartRequest], datetime]:
        """Return a Put Block for each part; all of them have the same signature, for the pending blob."""
        url, expires_at = self._signer.sign(_key(grant), now, Permission("w", expires_in))
        block_url = f"{url}&comp=block&blockid="
        requests = [
            PartRequest(part.number, part.size, f"{block_url}{_encoded_id(grant, part.number)}", _NO_HEADERS)
            for part in parts
        ]
        return requests, expires_at

    def upload_url(self, grant: Grant) -> str:
        """Return the URL of the pending blob, as browsers reach it."""
        return self._signer.blob_url(_key(grant))

    def list_parts(self, grant: GrantInParts) -> list[StoredPart]:
        """Return the upload's blocks that are not committed; none if there are none yet, or no longer.

        Raises NoSuchUpload after an abort, also if blocks were staged since.
        """
        blocks = self._blocks.get().uncommitted(_key(grant))
        if self._blocks.get().container.is_marked_ended(_key(grant)):
            raise NoSuchUpload
        numbers = {_block_id(grant, number): number for number in range(1, grant.part_count + 1)}
        found = [
            StoredPart(number=numbers[block.id], size=int(block.size or 0), etag=block.id)
            for block in blocks
            if block.id in numbers
        ]
        return sorted(found, key=lambda part: part.number)

    def commit(self, grant: GrantInParts, parts: Sequence[StoredPart]) -> None:
        """Commit the blocks with Put Block List, unless there is a blob; a block is replaced by one of the same id."""
        self._blocks.get().commit(grant, _key(grant), [part.etag for part in parts])

    def abort(self, grant: GrantInParts) -> None:
        """Mark the upload as ended, and delete its blocks, unless there is a blob.

        Blocks that arrive later are never committed, and are deleted after a week.
        """
        blocks = self._blocks.get()
        if blocks.container.head(_key(grant)) is not None:
            return
        # First: an abort that is interrupted must not look like an upload of no bytes.
        blocks.container.mark_ended(_key(grant))
        blocks.discard(_key(grant))

    def list_uploads(self, prefix: str) -> Iterator[ListedUpload]:
        """Return the uploads that have blocks and no blob.

        Their age is that of the newest upload that the blocks' ids name. A client can stage blocks with other ids;
        those alone are left to Azure.
        """
        blocks = self._blocks.get()
        for key in blocks.container.list_uncommitted(prefix):
            ids = [found for block in blocks.uncommitted(key) if (found := _BLOCK_ID.fullmatch(block.id or ""))]
            if ids:
                newest = max(ids, key=lambda found: found[2])
                started_at = datetime.fromtimestamp(int(newest[2], 16), timezone.utc)
                yield ListedUpload(key=key, upload_id=newest[1], started_at=started_at)

    def sweep(self, upload: ListedUpload) -> None:
        """Delete the blocks, unless there is a blob by now."""
        self._blocks.get().discard(upload.key)


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


def _key(grant: Grant) -> str:
    if grant.pending_key is None:
        raise ConfigurationError("on Azure, a file that comes in parts needs a pending key", field="pending_prefix")
    return grant.pending_key


def _block_id(grant: GrantInParts, number: int) -> str:
    # All ids of a blob must have the same length.
    return f"{grant.upload_id}-{number:06}"


def _encoded_id(grant: GrantInParts, number: int) -> str:
    return quote(base64.b64encode(_block_id(grant, number).encode()).decode(), safe="")
