"""The stranger's distribution called presign owns the same folder; importing presign says what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.environments import environment

ROOT = Path(__file__).resolve().parents[2]
REMEDY = 'run "pip uninstall presign", and then "pip install --force-reinstall --no-deps presign-uploads"'
# Without the tool's own imports, which are no part of the question.
OTHER_INIT = "def generate():\n    pass\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder on the path with this distribution's modules alone."""
    shutil.copytree(ROOT / "presign", tmp_path / "presign", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "presign_uploads-0.1.0.dist-info").mkdir()
    return tmp_path


def _run(statement: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-c", statement]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("options", [(), ("-OO",)])
@pytest.mark.parametrize("statement", ["from presign import Presigner", "import presign.asgi", "import presign.s3"])
def test_nothing_is_said_where_this_distribution_is_alone(
    statement: str, options: tuple[str, ...], folder: Path
) -> None:
    answer = _run(statement, folder, *options)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_a_warning_says_what_to_do_where_both_are_installed_and_this_one_won(folder: Path) -> None:
    (folder / "presign-0.1.dist-info").mkdir()
    answer = _run("from presign import Presigner; print(Presigner.__name__)", folder)
    assert (answer.returncode, answer.stdout) == (0, "Presigner\n")
    assert "RuntimeWarning: another distribution called presign is installed" in answer.stderr
    assert REMEDY in answer.stderr


@pytest.mark.parametrize("module", ["presign.asgi", "presign.s3", "presign.azure", "presign.gcs", "presign.cli"])
@pytest.mark.parametrize("was_uninstalled", [False, True])
def test_an_error_says_what_to_do_where_the_other_one_won(folder: Path, module: str, was_uninstalled: bool) -> None:
    init = folder / "presign" / "__init__.py"
    # Uninstalling the other one removes the file that both own.
    init.unlink()
    if not was_uninstalled:
        init.write_text(OTHER_INIT)
    answer = _run(f"import {module}", folder)
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1].startswith("ImportError: another distribution called presign overwrote")
    assert REMEDY in answer.stderr
