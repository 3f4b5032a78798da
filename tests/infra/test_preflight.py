"""The instructions of `make infra-preview` and `make infra-up` for what is missing. A script stands in for pulumi."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from infra.preflight import missing_steps
from tests.infra.pulumi_program import INFRA, PROVISIONING_PAGE, read_project


def project_with(directory: Path, settings: str | None) -> Path:
    """Prepare ``directory`` as a project with installed packages and, unless it is None, the settings of a stack."""
    (directory / "infra" / ".venv").mkdir(parents=True)
    if settings is not None:
        (directory / "Pulumi.dev.yaml").write_text(settings, encoding="utf-8")
    return directory


def pulumi_output(*, login: bool = True, stack: str | None = "dev\n") -> Mapping[str, str | None]:
    """Return what pulumi prints for each command, or None for a command that fails."""
    return {"whoami": "someone\n" if login else None, "stack": stack}


def first_words(
    directory: Path,
    *,
    output: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    pulumi: bool = True,
    credentials: bool = True,
) -> list[str]:
    """Return the first four words of each instruction."""
    printed = output or pulumi_output()

    def ask_pulumi(arguments: Sequence[str]) -> str | None:
        return printed[arguments[0]]

    steps = missing_steps(
        environ or {}, ask_pulumi, pulumi_found=pulumi, credentials_found=credentials, project=directory
    )
    return [" ".join(step.split()[:4]) for step in steps]


def test_a_complete_setup_needs_no_instructions(tmp_path: Path) -> None:
    project = project_with(tmp_path, "config:\n  aws:region: eu-central-1\n")
    assert first_words(project) == []


def test_a_missing_pulumi_command_is_explained(tmp_path: Path) -> None:
    assert first_words(tmp_path, pulumi=False, credentials=False) == [
        "The `pulumi` command is",
        "No AWS credentials were",
    ]


def test_a_missing_login_and_missing_packages_are_explained_together(tmp_path: Path) -> None:
    assert first_words(tmp_path, output=pulumi_output(login=False)) == [
        "Pulumi does not know",
        "The program's Python packages",
    ]


def test_a_missing_stack_is_explained(tmp_path: Path) -> None:
    assert first_words(project_with(tmp_path, None), output=pulumi_output(stack=None)) == ["No stack is selected."]


def test_an_encrypted_stack_needs_its_passphrase_in_the_environment(tmp_path: Path) -> None:
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


def test_an_unknown_aws_profile_gets_an_explanation_and_no_traceback(tmp_path: Path) -> None:
    ended = run_preflight("preview", path=tmp_path, environ={"AWS_PROFILE": "nobody"})
    assert ended.returncode == 1
    assert "nobody" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [(), ("destroy",)])
def test_an_unknown_command_is_refused_with_the_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
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


def test_the_version_of_the_command_is_the_one_that_the_project_requires() -> None:
    required = read_project("Pulumi.yaml")["requiredPulumiVersion"].removeprefix(">=").removesuffix(".0")
    [instruction] = missing_steps({}, lambda _: None, pulumi_found=False, credentials_found=True)
    assert f"Install version {required} or later" in instruction
    assert f"version {required} or later" in PROVISIONING_PAGE.read_text(encoding="utf-8")
