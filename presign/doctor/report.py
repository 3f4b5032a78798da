"""The report: findings with stable codes, how bad they are, and what to do about them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from presign.backends.knowledge import StoreKnowledge

_WIDTH = 100
_LABELS = {"ok": "ok", "unknown": "could not check", "warning": "WARNING", "failure": "FAILURE"}


class Severity(str, Enum):
    """How bad a finding is."""

    OK = "ok"
    """The test was made, and the storage passed it."""
    UNKNOWN = "unknown"
    """The test could not be made, or it shows nothing."""
    WARNING = "warning"
    """Uploads work, and something is less safe, or works less well, than it could."""
    FAILURE = "failure"
    """Uploads do not work, or a promise of the tickets is not kept and nothing else keeps it."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One result of an examination.

    - ``code``: the finding's stable name, such as ``cors-headers`` (see CATALOGUE).
    - ``detail``: what was seen. No text of a finding has a signature, a token or a credential.
    - ``meaning``, ``remedy``: what it means, and what to do; empty if the storage passed.
    - ``paste``: settings to paste, such as a CORS rule for the page's origin.
    """

    code: str
    severity: Severity
    detail: str
    meaning: str = ""
    remedy: str = ""
    paste: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the members of the JSON report."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "detail": self.detail,
            "meaning": self.meaning,
            "remedy": self.remedy,
            "paste": self.paste,
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """All findings about one storage, in the order in which they were made.

    ``learned`` says which rules the storage has shown to enforce; it can be written to a file and given to the backend.
    """

    storage: str
    prefix: str
    pending_prefix: str | None
    findings: tuple[Finding, ...]
    learned: StoreKnowledge = field(repr=False)

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity is severity)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing failed; there may be warnings."""
        return not self.of(Severity.FAILURE)

    @property
    def exit_code(self) -> int:
        """0 if there is neither a warning nor a failure, 1 with a warning, 2 with a failure."""
        if self.of(Severity.FAILURE):
            return 2
        return 1 if self.of(Severity.WARNING) else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the members of the JSON report."""
        return {
            "storage": self.storage,
            "prefix": self.prefix,
            "pending_prefix": self.pending_prefix,
            "exit_code": self.exit_code,
            "findings": [finding.to_dict() for finding in self.findings],
            "learned": self.learned.to_dict(),
        }

    def to_text(self) -> str:
        """Return the report for a person: the worst findings come last, where a terminal shows them."""
        worst_last = sorted(self.findings, key=lambda finding: list(Severity).index(finding.severity))
        blocks = [_block(finding) for finding in worst_last]
        counts = [
            f"{len(found)} {name}"
            for severity, name in (
                (Severity.FAILURE, "failed"),
                (Severity.WARNING, "with a warning"),
                (Severity.UNKNOWN, "could not be checked"),
                (Severity.OK, "ok"),
            )
            if (found := self.of(severity))
        ]
        return "\n".join([*blocks, "", f"{self.storage}: {', '.join(counts)}"])


def _block(finding: Finding) -> str:
    lines = [f"{_LABELS[finding.severity.value]:<15}  {finding.code}: {finding.detail}"]
    if finding.severity in {Severity.WARNING, Severity.FAILURE}:
        lines += _indented([finding.meaning, finding.remedy])
        if finding.paste is not None:
            lines += ["", textwrap.indent(finding.paste, " " * 17), ""]
    return "\n".join(lines)


def _indented(paragraphs: Iterable[str]) -> list[str]:
    return [
        textwrap.fill(
            text,
            _WIDTH,
            initial_indent=" " * 17,
            subsequent_indent=" " * 17,
            break_on_hyphens=False,
            break_long_words=False,
        )
        for text in paragraphs
        if text
    ]
