"""What the S3 servers of ``make test-stores`` share: a folder, a port, an administrator's key, and their processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import urlopen

from emulators.ports import HOST, free_port
from emulators.processes import ServerProcess
from emulators.seaweedfs import AccessKey

_Store = TypeVar("_Store", bound="S3Store")


class S3Store(ABC):
    """An S3 server on the loopback interface, whose data lives in ``directory``; a context manager that runs it.

    ``admin`` is the key that may do everything. Raises StartFailed.
    """

    name: str

    def __init__(self, *, directory: Path, admin: AccessKey) -> None:
        self._directory = directory.absolute()
        self._admin = admin
        self._port = free_port()
        self._processes: list[ServerProcess] = []

    @property
    def endpoint_url(self) -> str:
        """The URL of the S3 API."""
        return f"http://{HOST}:{self._port}"

    @property
    def admin(self) -> AccessKey:
        """The key that may do everything."""
        return self._admin

    def __enter__(self: _Store) -> _Store:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None:
        """Start all processes, add them to ``_processes``, and return once the server answers."""

    def stop(self) -> None:
        """Stop all processes, the latest first; nothing happens if none runs."""
        while self._processes:
            self._processes.pop().stop()

    @abstractmethod
    def add_user(self, name: str, policy: Mapping[str, Any]) -> AccessKey:
        """Make a user who may do what ``policy`` says and nothing else, and return its access key."""


def answers(url: str) -> bool:
    """Say whether the server answers a GET of ``url`` with 200."""
    try:
        with urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
