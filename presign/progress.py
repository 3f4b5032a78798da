"""How far a completion is: what a client that asks too early is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

CompletionStep = Literal["committing", "verifying", "inspecting", "publishing", "recording"]
"""What a completion does, in this order; it takes the steps that the upload needs.

- ``committing``: the storage puts the parts of a large file together.
- ``verifying``: the upload is compared with its rules.
- ``inspecting``: the application's ``inspect`` runs.
- ``publishing``: the storage copies the upload to its final key.
- ``recording``: the application's ``on_complete`` runs.
"""

ReportBytes = Callable[[int, int], None]
"""Called with how many bytes a step has processed, and of how many."""


@dataclass(frozen=True, kw_only=True)
class CompletionProgress:
    """The step of a completion and, if the step knows them, how many bytes are ``done``, ``of`` how many."""

    step: CompletionStep
    done: int | None = None
    of: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the members of the HTTP contract; bytes that are not known are absent."""
        members: dict[str, Any] = {"step": self.step}
        if self.done is not None and self.of is not None:
            members |= {"done": self.done, "of": self.of}
        return members


def ignore_bytes(done: int, of: int) -> None:
    """Do nothing: nobody wants to know."""
