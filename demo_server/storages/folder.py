"""The folder of a local storage: one demo at a time uses it, and it keeps secrets between runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from emulators.processes import StartFailed, writing_files

MIN_FREE_BYTES = 256 * 1024**2
"""How much of the disk must be free at start, so that the storage can begin to store."""

_LOCK = "demo.lock"
_USER = "demo.json"
_STATE = "state.json"


@contextmanager
def claim_folder(directory: Path, *, origins: Sequence[str]) -> Iterator[None]:
    """Make the folder, and keep other demos from using it while the block runs.

    ``origins`` are those of the pages that the storage serves; another demo names them when it is refused. The system
    frees the folder when this process ends, however it ends. Raises StartFailed.
    """
    with writing_files():
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _require_free_disk(directory, MIN_FREE_BYTES)
        lock = FileLock(directory / _LOCK)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise StartFailed(_refusal(directory)) from None
    try:
        write_private_json(directory / _USER, {"process": os.getpid(), "origins": list(origins)})
        yield
    finally:
        lock.release()


def read_state(directory: Path) -> dict[str, Any]:
    """Return what an earlier run saved in the folder, empty if there was none. Raises StartFailed."""
    path = directory / _STATE
    try:
        state: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StartFailed(f"{path} cannot be read ({error}); delete it, and the demo makes new keys") from None
    return state


def save_state(directory: Path, state: Mapping[str, Any]) -> None:
    """Save ``state`` for the next run, in a file that only its owner can read. Raises StartFailed."""
    write_private_json(directory / _STATE, state)


def write_private_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a file that only its owner can read, whole or not at all. Raises StartFailed."""
    unfinished = path.with_suffix(".tmp")
    with writing_files():
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(values))
        unfinished.replace(path)


def _require_free_disk(directory: Path, min_bytes: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < min_bytes:
        raise StartFailed(
            f"the disk of {directory} has {free / 1e6:.0f} MB left, and the storage needs {min_bytes / 1e6:.0f} MB; "
            "delete something, or choose a folder on another disk with PRESIGN_DATA_DIR"
        )


def _refusal(directory: Path) -> str:
    try:
        user = json.loads((directory / _USER).read_text())
        demo = f"the demo for {', '.join(user['origins'])} (process {user['process']})"
    except (OSError, ValueError, KeyError, TypeError):
        demo = "another demo"
    return f"{demo} already uses the folder {directory}; stop that demo, or choose another folder with PRESIGN_DATA_DIR"
