"""A planted fault, and what a report must say about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from presign.doctor import Finding, Report, Severity

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Fault(Generic[T]):
    """A fault, the code and the sentence of its finding, a text of what to paste, and what else it causes."""

    name: str
    setting: T
    code: str
    severity: Severity
    sentence: str
    paste: str | None = None
    causes: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Changed:
    """What differs from a good store: of the account or the bucket, of the backend, and of the examination."""

    store: Mapping[str, Any] = field(default_factory=dict)
    backend: Mapping[str, Any] = field(default_factory=dict)
    examination: Mapping[str, Any] = field(default_factory=dict)


def bad(report: Report) -> list[Finding]:
    return [*report.of(Severity.FAILURE), *report.of(Severity.WARNING)]


def codes(report: Report) -> set[str]:
    return {finding.code for finding in bad(report)}


def require_found(fault: Fault[Any], report: Report) -> None:
    """Require the fault's finding, with its sentence, and no other one than it causes."""
    assert codes(report) - fault.causes == {fault.code}, report.to_text()
    found = [finding for finding in bad(report) if finding.code == fault.code]
    assert any(re.search(fault.sentence, finding.detail) for finding in found), found
    assert {finding.severity for finding in found} == {fault.severity}
    assert all(finding.meaning and finding.remedy for finding in found)
    if fault.paste is not None:
        assert fault.paste in (found[0].paste or "")
    assert report.exit_code == (2 if report.of(Severity.FAILURE) else 1)
