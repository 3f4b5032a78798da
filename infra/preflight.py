"""Run ``pulumi preview`` or ``pulumi up``, or explain what is missing for it.

Usage: ``python infra/preflight.py preview|up [arguments for pulumi]``. The exit code is 1 if something is missing, and
pulumi's own otherwise. This script installs nothing, logs in nowhere and creates no stack, because each of these is the
user's decision.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent

_INSTALL_PULUMI = (
    "The `pulumi` command is not on PATH. Install version 3.216 or later as described at "
    "https://www.pulumi.com/docs/install/. Or let the Python SDK install it, and add the folder that this command "
    "prints to PATH: .venv/bin/python -c "
    '"import os, pulumi.automation as a; print(os.path.dirname(a.PulumiCommand.install().command))"'
)
_LOG_IN = (
    "Pulumi does not know where to keep the stack's state. Run `pulumi login --local` to keep it in a folder on this "
    "machine, `pulumi login s3://BUCKET` to keep it in a bucket of yours, or `pulumi login` to keep it in Pulumi Cloud."
)
_SELECT_STACK = (
    "No stack is selected. Run `pulumi stack init dev` to create one, or `pulumi stack select NAME` to use one that "
    "exists. `pulumi stack init local` creates a stack that needs no AWS account, only a local server."
)
_ENABLE_DECRYPTION = (
    "The stack's secrets are encrypted with a passphrase. Set PULUMI_CONFIG_PASSPHRASE to the passphrase, or "
    "PULUMI_CONFIG_PASSPHRASE_FILE to the path of a file that contains it. Without the passphrase, nobody can decrypt "
    "the secrets."
)
_SET_REGION = (
    "No region is chosen. Run `pulumi config set aws:region eu-central-1`, with the AWS region of your choice."
)
_PROVIDE_CREDENTIALS = (
    "No AWS credentials were found. Set AWS_PROFILE to a profile that `aws configure` or `aws sso login` created, or "
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. They need permission to manage S3 buckets and IAM users."
)
_INSTALL_PACKAGES = "The program's Python packages are not installed. Run `pulumi install`."

AskPulumi = Callable[[Sequence[str]], "str | None"]
"""Runs pulumi with the given arguments, and returns what it prints, or None if it exits with an error."""


def missing_steps(
    environ: Mapping[str, str],
    ask_pulumi: AskPulumi,
    *,
    pulumi_found: bool,
    credentials_found: bool,
    project: Path = PROJECT,
) -> list[str]:
    """Return one instruction for each step that ``pulumi preview`` still needs; the list is empty if there is none.

    A step that cannot be checked yet is left out. For example, the login cannot be checked without the command.
    """
    credentials = [] if credentials_found else [_PROVIDE_CREDENTIALS]
    if not pulumi_found:
        return [_INSTALL_PULUMI, *credentials]
    packages = [] if (project / "infra" / ".venv").exists() else [_INSTALL_PACKAGES]
    if ask_pulumi(["whoami", "--non-interactive"]) is None:
        return [_LOG_IN, *packages, *credentials]
    stack = ask_pulumi(["stack", "--show-name", "--non-interactive"])
    if stack is None:
        return [_SELECT_STACK, *packages, *credentials]

    steps = packages
    settings_file = project / f"Pulumi.{stack.strip().split('/')[-1]}.yaml"
    settings = settings_file.read_text(encoding="utf-8") if settings_file.exists() else ""
    if "encryptionsalt:" in settings and not (
        "PULUMI_CONFIG_PASSPHRASE" in environ or environ.get("PULUMI_CONFIG_PASSPHRASE_FILE")
    ):
        steps.append(_ENABLE_DECRYPTION)
    if "aws:region:" not in settings and not (environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")):
        steps.append(_SET_REGION)
    if "aws:accessKey:" not in settings and "aws:profile:" not in settings:
        steps += credentials
    return steps


def _credentials_found(environ: Mapping[str, str]) -> bool:
    """Return whether the AWS SDK finds credentials or, without the SDK, whether a usual variable or file exists."""
    try:
        from botocore.session import Session
    except ImportError:
        usual_variables = {
            "AWS_ACCESS_KEY_ID",
            "AWS_PROFILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        }
        return bool(usual_variables & environ.keys()) or (Path.home() / ".aws" / "credentials").exists()
    try:
        return Session().get_credentials() is not None
    except Exception as error:  # an expired login or an unknown profile; the SDK's own message explains it best
        _print_error(f"AWS credentials: {error}")
        return False


def _ask_pulumi(arguments: Sequence[str]) -> str | None:
    ended = subprocess.run(  # noqa: S603  (the caller has checked that this command exists)
        ["pulumi", *arguments],  # noqa: S607
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.stdout if ended.returncode == 0 else None


def _print_error(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main(arguments: Sequence[str]) -> int:
    """Run ``pulumi`` with ``arguments``, or explain what is missing; return the exit code.

    The first argument must be ``preview`` or ``up``.
    """
    if not arguments or arguments[0] not in {"preview", "up"}:
        _print_error("usage: python infra/preflight.py preview|up [arguments for pulumi]")
        return 2
    steps = missing_steps(
        os.environ,
        _ask_pulumi,
        pulumi_found=shutil.which("pulumi") is not None,
        credentials_found=_credentials_found(os.environ),
    )
    if steps:
        _print_error(f"Before `pulumi {arguments[0]}` can run:")
        for step in steps:
            _print_error(f"- {step}")
        _print_error("docs/provisioning.md describes every step.")
        return 1
    return subprocess.run(["pulumi", *arguments], cwd=PROJECT, check=False).returncode  # noqa: S603, S607


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
