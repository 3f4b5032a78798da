"""The bytes of one upload, held only as far as its size range allows."""

from __future__ import annotations

from dataclasses import dataclass, field

from emulators.received_request import Refusal

LARGEST_UPLOAD_BYTES = 5 * 1024**3


@dataclass(frozen=True, kw_only=True)
class SizeRange:
    """How many bytes a file may have, both ends included."""

    min_bytes: int = 0
    max_bytes: int = LARGEST_UPLOAD_BYTES


@dataclass(frozen=True, kw_only=True)
class UploadBuffer:
    """Refuses the chunk that would exceed the range at once, and an upload that ends below it."""

    sizes: SizeRange
    body: bytearray = field(default_factory=bytearray)

    def receive(self, chunk: bytes) -> None:
        if len(self.body) + len(chunk) > self.sizes.max_bytes:
            raise Refusal(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
        self.body.extend(chunk)

    def finish(self) -> bytes:
        if len(self.body) < self.sizes.min_bytes:
            raise Refusal(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
        return bytes(self.body)
