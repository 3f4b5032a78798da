"""The catalogue of findings: complete, without what nobody finds, and each one shown by a test."""

from __future__ import annotations

from pathlib import Path

from presign.doctor import CATALOGUE, Severity

ROOT = Path(__file__).resolve().parent.parent.parent


def _text(*patterns: str) -> str:
    return "\n".join(path.read_text() for pattern in patterns for path in sorted(ROOT.glob(pattern)))


def test_every_finding_of_the_catalogue_can_be_made_and_is_shown_by_a_test() -> None:
    code = _text("presign/doctor/[!c]*.py", "presign/*/diagnosis.py")
    tests = _text("tests/doctor/test_*.py", "tests/django/test_doctor.py")
    assert {name for name in CATALOGUE if f'"{name}"' not in code and f"rule-{'{'}" not in code} == set()
    assert {name for name in CATALOGUE if f'"{name}"' not in tests} == set()


def test_every_explanation_is_a_sentence_and_says_what_to_do() -> None:
    for name, explanation in CATALOGUE.items():
        assert explanation.severity is not Severity.OK, name
        for text in (explanation.meaning, explanation.remedy):
            assert text[0].isupper(), name
            assert text.endswith("."), name
            assert "|" not in text, name
