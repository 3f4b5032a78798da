"""What `make infra-preview` and `make infra-up` say when something is missing, with a stand-in for pulumi."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from infra.preflight import missing
from tests.infra.pulumi_program import INFRA


def project_with(directory: Path, settings: str | None, *, packages: bool = True) -> Path:
    if packages:
        (directory / "infra" / ".venv").mkdir(parents=True)
    if settings is not None:
        (directory / "Pulumi.dev.yaml").write_text(settings, encoding="utf-8")
    return directory


def answers(*, login: bool = True, stack: str | None = "dev\n") -> Mapping[str, str | None]:
    return {"whoami": "someone\n" if login else None, "stack": stack}


def first_words(
    directory: Path,
    *,
    told: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    pulumi: bool = True,
    credentials: bool = True,
) -> list[str]:
    """Answers how each instruction begins, enough to tell them apart."""
    said = told or answers()

    def ask(arguments: Sequence[str]) -> str | None:
        return said[arguments[0]]

    complaints = missing(environ or {}, ask, pulumi_found=pulumi, credentials_found=credentials, project=directory)
    return [" ".join(complaint.split()[:4]) for complaint in complaints]


def test_nothing_is_missing_when_everything_is_there(tmp_path: Path) -> None:
    project = project_with(tmp_path, "config:\n  aws:region: eu-central-1\n")
    assert first_words(project) == []


def test_without_the_command_its_installation_is_explained(tmp_path: Path) -> None:
    assert first_words(tmp_path, pulumi=False, credentials=False) == [
        "The `pulumi` command is",
        "No AWS credentials were",
    ]


def test_without_a_login_and_packages_both_are_explained(tmp_path: Path) -> None:
    assert first_words(tmp_path, told=answers(login=False)) == [
        "Pulumi does not know",
        "The program's Python packages",
    ]


def test_without_a_stack_its_creation_is_explained(tmp_path: Path) -> None:
    assert first_words(project_with(tmp_path, None), told=answers(stack=None)) == ["No stack is selected."]


def test_a_stack_encrypted_with_a_passphrase_needs_it_in_the_environment(tmp_path: Path) -> None:
    project = project_with(tmp_path, "encryptionsalt: v1:x\nconfig:\n  aws:region: eu-central-1\n")
    assert first_words(project) == ["The stack's secrets are"]
    assert first_words(project, environ={"PULUMI_CONFIG_PASSPHRASE": ""}) == []
    assert first_words(project, environ={"PULUMI_CONFIG_PASSPHRASE_FILE": "/somewhere"}) == []


def test_a_region_and_credentials_may_come_from_the_environment_or_the_stack(tmp_path: Path) -> None:
    project = project_with(tmp_path, "config: {}\n")
    assert first_words(project, credentials=False) == ["No region is chosen.", "No AWS credentials were"]
    assert first_words(project, environ={"AWS_REGION": "eu-central-1"}) == []
    (project / "Pulumi.dev.yaml").write_text("config:\n  aws:region: us-east-1\n  aws:accessKey: rehearsal\n")
    assert first_words(project, credentials=False) == []


def run_preflight(
    *arguments: str, path: Path, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PULUMI_"))}
    return subprocess.run(
        [sys.executable, str(INFRA / "preflight.py"), *arguments],
        env={**bare, "PATH": str(path), "HOME": str(path), "AWS_EC2_METADATA_DISABLED": "true", **(environ or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_machine_with_nothing_gets_instructions_and_no_traceback(tmp_path: Path) -> None:
    ended = run_preflight("up", path=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Before `pulumi up` can run:\n- The `pulumi` command is not on PATH.")
    assert "- No AWS credentials were found." in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_an_unknown_aws_profile_is_explained_and_not_raised(tmp_path: Path) -> None:
    ended = run_preflight("preview", path=tmp_path, environ={"AWS_PROFILE": "nobody"})
    assert ended.returncode == 1
    assert "nobody" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [(), ("destroy",)])
def test_another_command_is_refused_with_the_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = run_preflight(*arguments, path=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: ")


def test_pulumi_is_not_run_while_something_is_missing(tmp_path: Path) -> None:
    command = tmp_path / "pulumi"
    command.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\nexit 1\n')
    command.chmod(0o755)
    ended = run_preflight("up", "--yes", path=tmp_path)
    assert ended.returncode == 1
    assert "Pulumi does not know where to keep the stack's state." in ended.stderr
    assert (tmp_path / "calls").read_text() == "whoami --non-interactive\n"
