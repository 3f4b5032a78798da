"""The file on disk: what identifies it, its digests, and bodies of requests that are read from it piece by piece."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from presign.uploading.errors import FileChanged, UploadFailed

_BLOCK_BYTES = 1024**2


class Stopped(Exception):
    """The upload ends, so this request must not go on."""


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """The file at ``path`` as it was when its upload began: ``size`` in bytes, and its time of change.

    Every read raises FileChanged if it is not this file any more.
    """

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> SourceFile:
        """Describe the file at ``path``; raises UploadFailed if it cannot be read, or has no true size."""
        with _failing_clearly():
            resolved = path.resolve(strict=True)
            status = resolved.stat()
        source = cls(path=resolved, size=status.st_size, mtime_ns=status.st_mtime_ns)
        if not source.size:
            with _failing_clearly(), resolved.open("rb", buffering=0) as file:
                # Files of the kernel, such as those in /proc, say that they have no bytes.
                if file.read(1):
                    raise UploadFailed("the file has bytes, and its size is 0; upload a copy of it")
        return source

    def check_unchanged(self) -> None:
        """Raise FileChanged if the file has another size or time of change than before.

        Raises UploadFailed if it is not there: a disk that was taken away can come back, with the same file.
        """
        with _failing_clearly():
            status = self.path.stat()
        self._check(status)

    def sha256(self, start: int, size: int, *, on_read: Callable[[int], None] | None = None) -> str:
        """Return the hexadecimal SHA-256 of ``size`` bytes from ``start``; never more than 1 MiB is in memory.

        ``on_read`` gets the place up to which the file was read, in bytes from its beginning.
        """
        digest, report = hashlib.sha256(), on_read or _ignore
        with self._open() as file:
            while size:
                with _failing_clearly():
                    file.seek(start)
                    block = file.read(min(_BLOCK_BYTES, size))
                if not block:
                    raise _changed()
                digest.update(block)
                size -= len(block)
                start += len(block)
                report(start)
        return digest.hexdigest()

    @contextmanager
    def body(
        self,
        start: int,
        size: int,
        *,
        before: bytes = b"",
        after: bytes = b"",
        stop: threading.Event | None = None,
        on_read: Callable[[int], None] | None = None,
    ) -> Iterator[Body]:
        """Yield the body of a request: ``before``, ``size`` bytes of the file from ``start``, and ``after``.

        As soon as ``stop`` is set, the next read raises Stopped, which ends the request. ``on_read`` gets how many
        bytes of the file were read so far.
        """
        with self._open() as file:
            yield Body(file, start, size, before, after, stop or threading.Event(), on_read or _ignore)

    @contextmanager
    def _open(self) -> Iterator[io.FileIO]:
        with _failing_clearly():
            # Without a buffer, because the callers read in blocks.
            file = self.path.open("rb", buffering=0)
        with file:
            with _failing_clearly():
                status = os.fstat(file.fileno())
            self._check(status)
            yield file

    def _check(self, status: os.stat_result) -> None:
        if (status.st_size, status.st_mtime_ns) != (self.size, self.mtime_ns):
            raise _changed()


class Body(io.RawIOBase):
    """The body of a request, which urllib3 reads in blocks, and from its beginning again if it sends it again."""

    def __init__(
        self,
        file: io.FileIO,
        start: int,
        size: int,
        before: bytes,
        after: bytes,
        stop: threading.Event,
        on_read: Callable[[int], None],
    ) -> None:
        self._file = file
        self._start = start
        self._size = size
        self._before = before
        self._after = after
        self._stop = stop
        self._on_read = on_read
        self._at = 0

    def __len__(self) -> int:
        return len(self._before) + self._size + len(self._after)

    def readable(self) -> bool:
        """Say that this can be read."""
        return True

    def seekable(self) -> bool:
        """Say that this can be read again."""
        return True

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to ``offset`` from the beginning."""
        if whence != os.SEEK_SET:
            raise io.UnsupportedOperation("only from the beginning")
        self._at = offset
        return offset

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` from one piece of the body, and return how many bytes were written to it; 0 at the end."""
        if self._stop.is_set():
            raise Stopped
        count = self._fill(memoryview(buffer).cast("B"))
        self._at += count
        self._on_read(min(self._size, max(0, self._at - len(self._before))))
        return count

    def _fill(self, view: memoryview) -> int:
        in_file = self._at - len(self._before)
        if in_file < 0:
            return _copy(self._before[self._at :], view)
        if in_file >= self._size:
            return _copy(self._after[in_file - self._size :], view)
        # urllib3 would take an OSError for a broken connection.
        with _failing_clearly():
            self._file.seek(self._start + in_file)
            count = self._file.readinto(view[: self._size - in_file])
        if not count:
            raise _changed()
        return count


def _ignore(_: int) -> None:
    pass


@contextmanager
def _failing_clearly() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UploadFailed(f"the file cannot be read: {error.strerror}") from None


def _copy(piece: bytes, view: memoryview) -> int:
    count = min(len(piece), len(view))
    view[:count] = piece[:count]
    return count


def _changed() -> FileChanged:
    return FileChanged("the file was changed after its upload had begun; run the command again to upload it anew")
