"""Large files for the tests: cheap to write, and with another content in each part."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

MIB = 1024**2
GIB = 1024**3
LARGE_BYTES = int(float(os.environ.get("LARGE_GIB", "5.5")) * GIB)
"""The size of the largest file of `make test-large`, which the environment variable LARGE_GIB changes."""
_HEADER = b"PK\x03\x04"
# Every MiB begins with bytes of its own, and the rest of it is a hole, which takes no space on the disk.
_MARK_BYTES = 64 * 1024
# The storage keeps the pending file and the published copy until it tidies up.
_COPIES = 2
_SPARE_BYTES = GIB


def write_large_zip(path: Path, size: int) -> Path:
    """Write a file of exactly `size` bytes that begins as a zip archive, and whose parts all differ."""
    block = random.Random(1).randbytes(_MARK_BYTES)
    with path.open("wb") as file:
        file.write(_HEADER)
        for start in range(0, size, MIB):
            mark = hashlib.sha256(b"%d" % start).digest() + block
            file.seek(start + (len(_HEADER) if start == 0 else 0))
            file.write(mark[: size - file.tell()])
        file.truncate(size)
    return path


def sha256_of(path: Path, *, offset: int = 0, size: int | None = None) -> str:
    """Return the SHA-256 of a file, or of `size` bytes of it, read in small pieces."""
    with path.open("rb") as file:
        file.seek(offset)
        end = path.stat().st_size if size is None else offset + size
        return _sha256(iter(lambda: file.read(min(MIB, end - file.tell())), b""))


def sha256_at(url: str) -> str:
    """Return the SHA-256 of what a storage serves, read in small pieces."""
    with httpx.stream("GET", url, timeout=120) as answer:
        assert answer.status_code == 200, answer.read()
        return _sha256(answer.iter_bytes(MIB))


@contextmanager
def space_for_uploads(size: int) -> Iterator[Path]:
    """Yield a folder with room for a file of `size` bytes and what a storage makes of it; the folder goes at once.

    pytest keeps the folders of tests that failed, and these can hold many gigabytes. Raises AssertionError if the disk
    has too little room.
    """
    with tempfile.TemporaryDirectory(prefix="large-", ignore_cleanup_errors=True) as name:
        needed = (_COPIES * size) + size * _MARK_BYTES // MIB + (_SPARE_BYTES if size > GIB else 0)
        free = shutil.disk_usage(name).free
        assert free >= needed, (
            f"this test needs {needed / GIB:.1f} GiB of free disk in {tempfile.gettempdir()}, which has "
            f"{free / GIB:.1f} GiB: free some, name another folder in TMPDIR, or test a smaller file with LARGE_GIB"
        )
        yield Path(name)


def _sha256(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
