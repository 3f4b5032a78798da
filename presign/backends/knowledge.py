"""What a storage has shown to enforce, as ``presign doctor --write`` keeps it in a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from presign.errors import ConfigurationError
from presign.messages import Rule

Mechanism = Literal["post", "put", "parts"]
"""How an upload reaches the storage: a POST form, a PUT, or parts."""

_MECHANISMS: tuple[Mechanism, ...] = ("post", "put", "parts")
_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class StoreKnowledge:
    """The rules that one storage has shown to enforce, for each mechanism.

    - ``storage``: the backend's name, such as ``s3://bucket``.
    - ``host``: the host that browsers send uploads to, with a port if it is not the usual one. Buckets of two stores
      can have the same name. It is empty for a backend that is not Diagnosable.
    - ``shown``: the rules. A mechanism that is missing here was not tried, or did not work.
    """

    storage: str
    host: str
    shown: Mapping[Mechanism, frozenset[Rule]]

    def of(self, mechanism: Mechanism) -> frozenset[Rule]:
        """Return the rules that the storage has shown to enforce for uploads with this mechanism."""
        return self.shown.get(mechanism, frozenset())

    def has(self, mechanism: Mechanism) -> bool:
        """Say whether an upload with this mechanism worked."""
        return mechanism in self.shown

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file as a JSON object."""
        shown = {name: sorted(rule.value for rule in self.shown[name]) for name in _MECHANISMS if name in self.shown}
        return {"version": _VERSION, "storage": self.storage, "host": self.host, "shown": shown}

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file; raises OSError."""
        Path(path).write_bytes(orjson.dumps(self.to_dict(), option=orjson.OPT_INDENT_2) + b"\n")


LearnedSource = StoreKnowledge | str | os.PathLike[str] | None
"""What is known of a storage, the path of a file that says it, or None."""


def read_knowledge(source: LearnedSource, *, storage: str, host: str) -> StoreKnowledge | None:
    """Return what is known of ``storage`` from the file of ``presign doctor --write``; None if ``source`` is None.

    Raises ConfigurationError for a file that cannot be read, or that is about another storage or another host.
    """
    if source is None:
        return None
    known = source if isinstance(source, StoreKnowledge) else _read_file(source)
    if known.storage != storage:
        raise ConfigurationError(
            f"learned is about {known.storage!a}, and this is {storage}; run presign doctor --write for this storage",
            field="learned",
            value=known.storage,
            limit=storage,
        )
    if known.host != host:
        raise ConfigurationError(
            f"learned is about {known.storage!a} on the host {known.host!a}, and uploads are sent to {host}; "
            "run presign doctor --write with the endpoint that is used here",
            field="learned",
            value=known.host,
            limit=host,
        )
    return known


def _read_file(path: str | os.PathLike[str]) -> StoreKnowledge:
    try:
        members = orjson.loads(Path(path).read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise _unusable(type(error).__name__) from None
    if isinstance(members, dict) and members.get("version") == 1:
        raise ConfigurationError(
            "learned is a file of an earlier version, which does not name the storage's host; "
            "run presign doctor --write again",
            field="learned",
        )
    try:
        if members["version"] != _VERSION:
            raise ValueError("another version")
        shown = {
            _known_mechanism(name): frozenset(Rule(rule) for rule in rules) for name, rules in members["shown"].items()
        }
        return StoreKnowledge(storage=str(members["storage"]), host=str(members["host"]), shown=shown)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unusable(type(error).__name__) from None


def _known_mechanism(name: str) -> Mechanism:
    for mechanism in _MECHANISMS:
        if mechanism == name:
            return mechanism
    raise ValueError("another mechanism")


def _unusable(reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"learned must be the path of a file that presign doctor --write has written ({reason})", field="learned"
    )
