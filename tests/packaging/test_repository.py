"""The lock files, and what continuous integration elsewhere would run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
PYPROJECT = (ROOT / "pyproject.toml").read_text()
PACKAGE_LOCKS = [path for path in ROOT.glob("*/**/package-lock.json") if "node_modules" not in str(path)]
CRATES_LOCK = ROOT / "bench" / "rust" / "crates.lock"
PYTHON_LOCKS = [*ROOT.glob("*.lock"), *ROOT.glob("tests/**/*.lock")]


@pytest.mark.parametrize("lock", PYTHON_LOCKS, ids=lambda path: path.name)
def test_a_lock_file_of_python_holds_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    packages = re.findall(r"^[a-z0-9-]+==.*(?:\n {4}.*)*", text, re.MULTILINE)
    assert packages
    assert "://" not in text
    assert [package for package in packages if "--hash=sha256:" not in package] == []


@pytest.mark.parametrize("lock", PACKAGE_LOCKS, ids=lambda path: path.parent.name)
def test_a_lock_file_of_npm_holds_hashes_and_no_address(lock: Path) -> None:
    packages = {name: package for name, package in json.loads(lock.read_text())["packages"].items() if name}
    assert packages
    assert [name for name, package in packages.items() if "integrity" not in package] == []
    assert [name for name, package in packages.items() if "resolved" in package] == []


def test_the_lock_file_of_rust_holds_hashes_and_no_address() -> None:
    text = CRATES_LOCK.read_text()
    _, *packages = text.split("[[package]]\n")
    pinned = [package for package in packages if 'name = "bench_ticket_server"' not in package]
    assert len(packages) - 1 == len(pinned) > 0
    assert "source" not in text
    assert "://" not in text
    assert [package for package in pinned if not re.search('^checksum = "[0-9a-f]{64}"$', package, re.MULTILINE)] == []


def test_the_demo_has_the_versions_that_the_tests_have() -> None:
    pinned = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)
    tested = set(pinned.findall((ROOT / "requirements-dev.lock").read_text()))
    assert set(pinned.findall((ROOT / "requirements-demo.lock").read_text())) <= tested


def test_the_workflow_runs_the_script_of_ci_and_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "sh .ci/run" in WORKFLOW
    targets = re.findall(r"make ([a-z-]+)", WORKFLOW)
    (listed,) = re.findall(r"target: \[(.*)\]", WORKFLOW)
    targets += listed.split(", ")
    assert len(targets) > 3
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_supported_python_is_tested() -> None:
    (listed,) = re.findall(r"python: \[(.*)\]", WORKFLOW)
    versions = re.findall(r'"([0-9.]+)"', listed)
    (minimum,) = re.findall(r'requires-python = ">=([0-9.]+)"', PYPROJECT)
    classified = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)
    assert versions[0] == minimum
    assert set(classified) <= set(versions)
    assert f"${{PYTHONS:-{' '.join(versions)}}}" in (ROOT / ".ci" / "test_pythons.sh").read_text()
