"""The examples are short enough to be read at once."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MAX_LINES = 60
# ClamAV's daemon has many answers, and each needs a decision: a shorter program would publish what was not scanned.
MAX_LINES_OF = {"clamav.py": 91}
# What a project of Django has of its own, beside the files that `django-admin startproject` writes and its tests.
DJANGO_APP = ("models.py", "forms.py", "admin.py", "urls.py")


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_an_example_is_short(path: Path) -> None:
    assert _lines(path) <= MAX_LINES_OF.get(path.name, MAX_LINES)


def test_the_files_of_the_django_example_are_short_together() -> None:
    assert sum(_lines(EXAMPLES / "django_app" / "photos" / name) for name in DJANGO_APP) <= MAX_LINES
