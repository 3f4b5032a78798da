"""What a later run needs after a crash: the token of an unfinished upload, in a file that only its owner can read.

The token grants access to the upload. Nothing prints it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from presign.uploading.errors import UploadFailed

_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """An upload that began and was not completed.

    ``size``, ``mtime_ns``, ``content_type``, ``name`` and ``sha256`` are those of the file and of the request. With
    ``in_parts`` false, the whole file is stored, and only its completion is missing. ``digests`` are the SHA-256 of all
    parts, if the ticket is bound to them.
    """

    token: str = field(repr=False)
    size: int
    mtime_ns: int
    content_type: str
    name: str
    sha256: str | None
    in_parts: bool
    digests: tuple[str, ...] = field(default=(), repr=False)


class StateFile:
    """The file that remembers the unfinished upload of ``path`` to ``api``, in the folder ``folder``.

    It has mode 0600 in a folder with mode 0700. It is always complete: it is written under another name and renamed.
    """

    def __init__(self, folder: Path, *, api: str, path: Path) -> None:
        self._folder = folder
        identity = f"{api.rstrip('/')}\0{path}".encode(errors="surrogateescape")
        self._path = folder / f"{hashlib.sha256(identity).hexdigest()[:32]}.json"

    def load(self) -> Unfinished | None:
        """Return the unfinished upload; None if there is none, or if the file is not one that ``save`` wrote."""
        try:
            members = orjson.loads(self._path.read_bytes())
            version = members.pop("version")
            digests = tuple(members.pop("digests", ()))
            return Unfinished(**members, digests=digests) if version == _VERSION else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed("read", error) from None
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def save(self, unfinished: Unfinished) -> None:
        """Remember an upload in the place of an earlier one; raises UploadFailed if the folder cannot be written."""
        content = orjson.dumps({"version": _VERSION, **asdict(unfinished)})
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # mkstemp makes files with mode 0600.
            descriptor, name = tempfile.mkstemp(dir=self._folder, suffix=".new")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(self._path)
            except BaseException:
                with suppress(OSError):
                    Path(name).unlink()
                raise
        except OSError as error:
            raise self._failed("written", error) from None

    def remove(self) -> None:
        """Forget the upload; do nothing if there is none."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise self._failed("removed", error) from None

    def _failed(self, verb: str, error: OSError) -> UploadFailed:
        return UploadFailed(
            f"the state of the upload cannot be {verb} in {self._folder}: {error.strerror}; choose another folder with "
            "--state"
        )
