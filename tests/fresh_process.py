"""Python processes that find no settings of this machine's user."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Of the environment of this process, only what finds programs and modules.
_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "SYSTEMROOT")


def run_fresh(*arguments: str, settings: Mapping[str, str], home: Path, text: str = "") -> list[str]:
    """Run Python with these arguments in the checkout, and return the lines that it writes.

    ``home`` is its home, and ``text`` its standard input. Its environment has ``settings`` and nothing else that
    presign reads.
    """
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    answer = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**kept, "HOME": str(home), **settings},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.splitlines()
