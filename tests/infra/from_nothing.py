"""What every cloud's test from nothing does with the stack's `.env`: the doctor's command, then the demo's page."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from tests.demo_process import environment, running_demo
from tests.infra.test_stack_to_demo import PNG, upload_in_browser

_DOCTOR_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How the doctor's command ended, and its findings: sentences by severity and code."""

    exit_code: int
    text: str
    found: Mapping[str, Mapping[str, list[str]]]

    def of(self, severity: str) -> Mapping[str, list[str]]:
        """Return the sentences of one severity, by code."""
        return self.found.get(severity, {})


def run_doctor(directory: Path, *, origin: str, **settings: str) -> Verdict:
    """Run `presign doctor` in ``directory`` with the variables of its `.env`, for the page of ``origin``.

    ``settings`` are variables that differ from the file, because the storage is an emulator.
    """
    file = {name: value or "" for name, value in dotenv_values(directory / ".env").items()}
    variables = {**file, **settings}
    arguments = ["--origin", origin, "--json"]
    arguments.append("--public" if variables.get("PRESIGN_PUBLIC_READ", "true") == "true" else "--private")
    if (pending := variables.get("PRESIGN_PENDING_PREFIX", "pending/")) != "":
        arguments += ["--pending-prefix", pending]
    else:
        arguments.append("--no-pending")
    ended = subprocess.run(
        [sys.executable, "-m", "presign", "doctor", variables["PRESIGN_BUCKET"], *arguments],
        cwd=directory,
        env=environment(directory, **variables),
        capture_output=True,
        text=True,
        timeout=_DOCTOR_SECONDS,
        check=False,
    )
    assert ended.stdout, ended.stderr
    report: dict[str, Any] = json.loads(ended.stdout)
    found: dict[str, dict[str, list[str]]] = {}
    for each in report["findings"]:
        found.setdefault(each["severity"], {}).setdefault(each["code"], []).append(each["detail"])
    assert report["exit_code"] == ended.returncode
    return Verdict(exit_code=ended.returncode, text=json.dumps(found, indent=1), found=found)


def upload_through_the_page(directory: Path, *, page_port: int, **settings: str) -> str:
    """Run the demo with the `.env` of ``directory``, upload PNG through its page, and return the link that it shows."""
    picture = directory / "cat.png"
    picture.write_bytes(PNG)
    # Playwright runs once per thread, and other tests may keep it open in this thread. So this upload has its own.
    with (
        running_demo(directory, "--page-port", str(page_port), **settings) as demo,
        ThreadPoolExecutor(1) as thread,
    ):
        page = f"http://localhost:{page_port}"
        link = thread.submit(upload_in_browser, replace(demo, page=page), picture).result()
    for name, value in dotenv_values(directory / ".env").items():
        if value and ("SECRET" in name or name.endswith("KEY")):
            assert value not in demo.log, name
    return link
