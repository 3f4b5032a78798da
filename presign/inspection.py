"""Inspection: the application's own check of an object, after it was verified and before it is published.

``inspect`` gets an InspectedObject, and returns Accept, Reject or NotYet::

    def inspect(uploaded: InspectedObject) -> Verdict:
        with ZipFile(uploaded.open()) as archive:
            return Accept() if len(archive.infolist()) <= 100 else Reject("the archive holds more than 100 files")

What ``inspect`` reads and what is published have the same ETag. On S3 the ETag is usually an MD5, and somebody can make
two files with the same MD5 and exchange them after the inspection. If this matters, as it does for a virus scanner, set
``create_only=True`` in the policy, or turn on versions for the bucket.
"""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from presign.errors import ConfigurationError

ReadRange = Callable[[int, int], bytes]
"""Called as ``read(offset, length)``: returns at most ``length`` bytes of the object from ``offset`` on."""

BUFFER_BYTES = 256 * 1024
_MAX_READ_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Accept:
    """The object may be published."""


@dataclass(frozen=True)
class Reject:
    """The object must not be published: it is deleted, and the client gets ``reason``."""

    reason: str

    def __post_init__(self) -> None:
        if not isinstance(self.reason, str) or not self.reason:
            raise ConfigurationError("reason must be text that the client may read", field="reason")


@dataclass(frozen=True, kw_only=True)
class NotYet:
    """There is no verdict yet; the client asks again after ``retry_after`` seconds. The object stays pending."""

    retry_after: int = 5

    def __post_init__(self) -> None:
        if not isinstance(self.retry_after, int) or self.retry_after < 1:
            raise ConfigurationError("retry_after must be 1 second or more", field="retry_after")


Verdict = Accept | Reject | NotYet


@dataclass(frozen=True, kw_only=True)
class InspectedObject:
    """An uploaded object that keeps every rule of its ticket.

    ``size`` is in bytes. ``name`` is the file's name, as the client gave it, and ``owner`` the user to whom the ticket
    was issued. ``key`` is the key under which the object will be published.
    """

    key: str
    content_type: str
    size: int
    etag: str
    owner: str | None
    name: str | None
    metadata: Mapping[str, str]
    read_range: ReadRange = field(repr=False)

    def open(self, *, buffer_bytes: int = BUFFER_BYTES) -> io.BufferedReader:
        """Return a seekable binary file of the object, which reads ``buffer_bytes`` at a time or more.

        If a client replaces the object meanwhile, reading raises an error, and the completion begins again.
        """
        return io.BufferedReader(ObjectReader(self.read_range, self.size), buffer_bytes)


class ObjectReader(io.RawIOBase):
    """Read an object of ``size`` bytes through ``read_range``, at most 8 MiB in one request."""

    def __init__(self, read_range: ReadRange, size: int) -> None:
        self._read_range = read_range
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to ``offset`` from the beginning, the position or the end, and return the new position."""
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}
        if whence not in origins or origins[whence] + offset < 0:
            raise ValueError("the position must not lie before the beginning")
        self._position = origins[whence] + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Read the bytes of one request into ``buffer``; return their number, which is 0 at the end of the object."""
        view = memoryview(buffer).cast("B")
        length = min(len(view), self._size - self._position, _MAX_READ_BYTES)
        if length <= 0:
            return 0
        content = self._read_range(self._position, length)[:length]
        view[: len(content)] = content
        self._position += len(content)
        return len(content)

    def readall(self) -> bytes:
        """Return the rest of the object. The base class would send a request for every 8 KiB."""
        chunks = []
        while chunk := self.read(max(0, min(self._size - self._position, _MAX_READ_BYTES))):
            chunks.append(chunk)
        return b"".join(chunks)


Inspect = Callable[[InspectedObject], Verdict | Awaitable[Verdict]]
"""The application's own check; it may be a coroutine function.

An exception ends the completion with a server error and changes nothing: the client can ask again.
"""
