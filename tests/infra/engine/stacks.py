"""A stack of one of the repository's programs on the real engine, in a folder and with a state of its own."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import yaml  # type: ignore[import-untyped]
from pulumi import automation
from pulumi.runtime.config import CONFIG

from tests.infra.pulumi_program import own_modules


class EngineStack:
    """The stack ``test`` of the program in the folder ``project``, which has a Pulumi.yaml.

    ``engine`` is the path of the command, and ``providers`` are the variables that ``attached`` yields. ``config`` has
    the stack's settings as Pulumi.test.yaml has them, with a namespace. The Python language host is not needed: the
    program runs in this process, as an inline program of the Automation API. ``home`` is a folder for the engine.

    ``outputs`` are those of the last ``up``, and ``secret_outputs`` are the names of the secret ones.
    An operation that fails raises ``automation.CommandError``, whose text has what the engine printed.
    """

    def __init__(
        self, project: Path, *, engine: Path, providers: Mapping[str, str], config: Mapping[str, Any], home: Path
    ) -> None:
        self.project = project
        settings = yaml.safe_load((project / "Pulumi.yaml").read_text(encoding="utf-8"))
        self.program = project / settings.get("main", ".")
        self.state = home / "state"
        self.state.mkdir(parents=True)
        # The Automation API wants the command in a folder of this name.
        (home / "bin").mkdir()
        (home / "bin" / "pulumi").symlink_to(engine)
        self.environment = {
            "PULUMI_HOME": str(home),
            "PULUMI_BACKEND_URL": self.state.as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "rehearsal",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            **providers,
        }
        self.outputs: dict[str, Any] = {}
        self.secret_outputs: set[str] = set()
        self.configure(config)
        # Without these variables, asking the command for its version would write a log into the user's home.
        with mock.patch.dict(os.environ, self.environment):
            command = automation.PulumiCommand(root=str(home))
        self._stack = automation.create_stack(
            "test",
            project_name=settings["name"],
            program=self._run_program,
            opts=automation.LocalWorkspaceOptions(
                work_dir=str(project), env_vars=self.environment, pulumi_command=command
            ),
        )

    def configure(self, config: Mapping[str, Any]) -> None:
        """Set settings of the stack; None removes one."""
        file = self.project / "Pulumi.test.yaml"
        settings = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
        merged = {**settings.get("config", {}), **config}
        settings["config"] = {key: value for key, value in merged.items() if value is not None}
        file.write_text(yaml.safe_dump(settings), encoding="utf-8")

    def preview(self) -> tuple[dict[str, int], str]:
        """Return what ``pulumi preview --diff`` would change, and what it prints."""
        with own_modules(self.program):
            result = self._stack.preview(diff=True, color="never")
        return _counts(result.change_summary), result.stdout

    def up(self, *, refresh: bool = False) -> dict[str, int]:
        """Run ``pulumi up``, with ``--refresh`` on demand; return how many resources each operation changed."""
        with own_modules(self.program):
            result = self._stack.up(color="never", refresh=refresh)
        self.outputs = {name: output.value for name, output in result.outputs.items()}
        self.secret_outputs = {name for name, output in result.outputs.items() if output.secret}
        return _counts(result.summary.resource_changes)

    def refresh(self) -> dict[str, int]:
        """Run ``pulumi refresh``; return how many resources were found changed or gone."""
        return _counts(self._stack.refresh(color="never").summary.resource_changes)

    def destroy(self) -> dict[str, int]:
        """Run ``pulumi destroy --skip-preview``; return how many resources were deleted."""
        return _counts(self._stack.destroy(color="never").summary.resource_changes)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``pulumi`` with ``arguments`` in the project's folder, and return what it printed."""
        return subprocess.run(
            [
                Path(self.environment["PULUMI_HOME"]) / "bin" / "pulumi",
                *arguments,
                "--non-interactive",
                "--color=never",
            ],
            cwd=self.project,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def state_text(self) -> str:
        """Return the text of all files of the state."""
        files = [path for path in self.state.rglob("*") if path.is_file()]
        assert any(path.name == "test.json" for path in files)
        return "\n".join(path.read_text(encoding="utf-8") for path in files)

    def _run_program(self) -> None:
        # The language host hands all settings over in this variable; the Automation API keeps them in the SDK.
        with mock.patch.dict(os.environ, {"PULUMI_CONFIG": json.dumps(CONFIG.get())}):
            runpy.run_path(str(self.program), run_name="__main__")


def copy_project(source: Path, program: Path, directory: Path) -> Path:
    """Copy Pulumi.yaml in ``source`` and the folder of its ``program`` into ``directory``; return ``directory``."""
    shutil.copytree(
        program, directory / program.relative_to(source), ignore=shutil.ignore_patterns(".*", "__pycache__")
    )
    shutil.copy(source / "Pulumi.yaml", directory)
    return directory


def _counts(summary: Mapping[Any, int] | None) -> dict[str, int]:
    counts = {str(getattr(operation, "value", operation)): count for operation, count in (summary or {}).items()}
    return {operation: count for operation, count in counts.items() if operation != "same"}
