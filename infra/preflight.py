"""Says what is missing for `pulumi preview` or `pulumi up`, in full sentences; runs the command when nothing is.

`python infra/preflight.py preview|up [arguments for pulumi]`. Exits with 1 when something is missing, else as pulumi
does. Nothing is installed, logged in or created here: each of these is a decision that costs or keeps something.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent

_INSTALL = (
    "The `pulumi` command is not on PATH. Install it as https://www.pulumi.com/docs/install/ says, version 3.190 or "
    "later, or let the Python SDK do it: "
    'python -c "from pulumi.automation import PulumiCommand; print(PulumiCommand.install().command)" '
    "and put the folder that it prints on PATH."
)
_LOGIN = (
    "Pulumi does not know where to keep the stack's state. Run `pulumi login --local` for a folder on this machine, "
    "`pulumi login s3://BUCKET` for a bucket of yours, or `pulumi login` for Pulumi Cloud."
)
_STACK = (
    "No stack is selected. Run `pulumi stack init dev` for a new one (or `pulumi stack init local` to rehearse against "
    "a local server), or `pulumi stack select NAME`."
)
_ENCRYPTED = (
    "The stack's secrets are encrypted with a passphrase. Set PULUMI_CONFIG_PASSPHRASE, or "
    "PULUMI_CONFIG_PASSPHRASE_FILE to a file that holds it. Whoever loses it loses the stack's secrets."
)
_REGION = "No region is chosen. Run `pulumi config set aws:region eu-central-1`, with the region that you want."
_CREDENTIALS = (
    "No AWS credentials were found. Set AWS_PROFILE to a profile of `aws configure` or `aws sso login`, or "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. They need to manage S3 buckets and IAM users in the account."
)
_INSTALL_PACKAGES = "The program's Python packages are not installed. Run `pulumi install`."

Ask = Callable[[Sequence[str]], "str | None"]
"""Runs pulumi with arguments and answers what it prints, or None when it exits with an error."""


def missing(
    environ: Mapping[str, str], ask: Ask, *, pulumi_found: bool, credentials_found: bool, project: Path = PROJECT
) -> list[str]:
    """Answers what has to be done before the stack can be previewed, one instruction each, none when all is there.

    Later questions are left out while they cannot be answered: without the command there is no login to ask for.
    """
    if not pulumi_found:
        return [_INSTALL] + ([] if credentials_found else [_CREDENTIALS])
    packages = [] if (project / "infra" / ".venv").exists() else [_INSTALL_PACKAGES]
    if ask(["whoami", "--non-interactive"]) is None:
        return [_LOGIN, *packages] + ([] if credentials_found else [_CREDENTIALS])
    stack = ask(["stack", "--show-name", "--non-interactive"])
    if stack is None:
        return [_STACK, *packages] + ([] if credentials_found else [_CREDENTIALS])

    complaints = packages
    settings = project / f"Pulumi.{stack.strip().split('/')[-1]}.yaml"
    text = settings.read_text(encoding="utf-8") if settings.exists() else ""
    if "encryptionsalt:" in text and not (
        "PULUMI_CONFIG_PASSPHRASE" in environ or environ.get("PULUMI_CONFIG_PASSPHRASE_FILE")
    ):
        complaints.append(_ENCRYPTED)
    if "aws:region:" not in text and not (environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")):
        complaints.append(_REGION)
    if not credentials_found and "aws:accessKey:" not in text and "aws:profile:" not in text:
        complaints.append(_CREDENTIALS)
    return complaints


def _credentials_found(environ: Mapping[str, str]) -> bool:
    """Answers whether the AWS SDK's own chain finds credentials; without the SDK, whether their usual places exist."""
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
    except Exception as error:  # an expired login or an unknown profile: the SDK's own sentence is the best one
        _say(f"AWS credentials: {error}")
        return False


def _ask_pulumi(arguments: Sequence[str]) -> str | None:
    answer = subprocess.run(  # noqa: S603  (the command whose presence was just checked)
        ["pulumi", *arguments],  # noqa: S607
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout if answer.returncode == 0 else None


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main(arguments: Sequence[str]) -> int:
    """Runs `pulumi` with `arguments`, first `preview` or `up`, or explains what is missing; answers the exit code."""
    if not arguments or arguments[0] not in {"preview", "up"}:
        _say("usage: python infra/preflight.py preview|up [arguments for pulumi]")
        return 2
    complaints = missing(
        os.environ,
        _ask_pulumi,
        pulumi_found=shutil.which("pulumi") is not None,
        credentials_found=_credentials_found(os.environ),
    )
    if complaints:
        _say(f"Before `pulumi {arguments[0]}` can run:")
        for complaint in complaints:
            _say(f"- {complaint}")
        _say("docs/provisioning.md has the whole way, from nothing to an uploaded file.")
        return 1
    return subprocess.run(["pulumi", *arguments], cwd=PROJECT, check=False).returncode  # noqa: S603, S607


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
