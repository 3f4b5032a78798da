"""Copies of a program with one deliberate mistake each, for the tests that must find it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.infra.pulumi_program import copy_program


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A copy of the programs in which ``new`` replaces ``old`` in one file of `infra/`, where it occurs exactly once.

    ``caught_by`` is the test that must fail for a stack with ``config``, or the error message of the cloud.
    """

    name: str
    file: str
    old: str
    new: str
    caught_by: Callable[..., None] | str
    config: Mapping[str, Any] = field(default_factory=dict)

    def program(self, directory: Path, cloud: str = "") -> Path:
        """Write the copy into ``directory``, and return the folder of the program for ``cloud``, by default AWS."""
        infra = copy_program(directory)
        source = (infra / self.file).read_text(encoding="utf-8")
        assert source.count(self.old) == 1, f"{self.file} contains {self.old!r} {source.count(self.old)} times"
        (infra / self.file).write_text(source.replace(self.old, self.new), encoding="utf-8")
        return infra / cloud
