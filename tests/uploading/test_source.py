"""The file on disk that `presign upload` reads, where a disk fails."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from presign.uploading.errors import FileChanged, UploadFailed
from presign.uploading.source import SourceFile

CONTENT = b"bytes" * 1000


class _FailingFile(io.FileIO):
    """A file whose disk fails as soon as somebody reads it."""

    def _fail(self, *_: Any) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    read = readinto = _fail


class _FailingPath(type(Path())):  # type: ignore[misc]
    def open(self, *_: Any, **__: Any) -> Any:
        return _FailingFile(os.fspath(self))


def _read_body(source: SourceFile) -> None:
    with source.body(0, len(CONTENT)) as body:
        body.read()


READS: dict[str, Callable[[SourceFile], object]] = {
    "hashes": lambda source: source.sha256(0, len(CONTENT)),
    "sends": _read_body,
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_disk_that_fails_ends_the_upload_with_the_reason_and_is_no_change(
    tmp_path: Path, read: Callable[[SourceFile], object]
) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(CONTENT)
    source = SourceFile.of(path)
    read(source)
    failing = SourceFile(path=_FailingPath(path), size=source.size, mtime_ns=source.mtime_ns)
    with pytest.raises(UploadFailed, match=r"^the file cannot be read: Input/output error$") as caught:
        read(failing)
    assert not isinstance(caught.value, FileChanged)


def test_a_file_that_is_not_there_is_no_change_and_one_of_another_size_is(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(CONTENT)
    source = SourceFile.of(path)
    source.check_unchanged()
    path.write_bytes(CONTENT[1:])
    with pytest.raises(FileChanged):
        source.check_unchanged()
    path.unlink()
    with pytest.raises(UploadFailed) as caught:
        source.check_unchanged()
    assert not isinstance(caught.value, FileChanged)
