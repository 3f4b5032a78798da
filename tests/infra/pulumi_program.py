"""Run a Pulumi program without the engine: settings go in, registered resources and outputs come out."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import runpy
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pulumi_aws
import yaml  # type: ignore[import-untyped]
from pulumi.runtime import rpc, settings
from pulumi.runtime.mocks import MockMonitor, Mocks, set_mocks
from pulumi.runtime.stack import run_in_stack

# On first use, these modules load and warn about deprecated classes of their own. They are loaded here without the
# warnings. A program that uses a deprecated class still causes a warning.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    _LOADED = (pulumi_aws.iam.User, pulumi_aws.s3.Bucket, pulumi_aws.sqs.Queue)

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
PROVISIONING_PAGE = ROOT / "docs" / "provisioning.md"


@dataclass(frozen=True, kw_only=True)
class RegisteredResource:
    """A resource as the program registered it. It waits for the resources that ``dependencies`` names."""

    type: str
    name: str
    parent: str
    protect: bool
    dependencies: frozenset[str]
    inputs: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ProgramRun:
    """The resources and the outputs of one run of a program."""

    resources: Mapping[str, RegisteredResource]
    outputs: Mapping[str, Any]
    secret_outputs: frozenset[str]


def read_config(file_name: str) -> dict[str, Any]:
    """Return the ``config`` section of a file in the project's folder, such as ``Pulumi.yaml``."""
    config: dict[str, Any] = read_project(file_name)["config"]
    return config


def read_project(file_name: str) -> dict[str, Any]:
    """Return what a file in the project's folder, such as ``Pulumi.yaml``, says."""
    content: dict[str, Any] = yaml.safe_load((ROOT / file_name).read_text(encoding="utf-8"))
    return content


def copy_program(directory: Path) -> Path:
    """Copy the program into ``directory``, without its virtual environment, and return the copy's folder."""
    return shutil.copytree(INFRA, directory / "infra", ignore=shutil.ignore_patterns(".*", "__pycache__"))


def run_program(
    directory: Path,
    cloud: Mocks,
    config: Mapping[str, Any] | None = None,
    *,
    project_file: str = "Pulumi.yaml",
) -> ProgramRun:
    """Run the program in ``directory`` with the project's defaults and ``config``; ``cloud`` applies its resources.

    ``project_file`` declares the defaults. Keys without a namespace belong to the project. Exceptions of the program
    and of the cloud are raised here.
    """
    project = str(read_project(project_file)["name"])
    values = {f"{project}:{key}": declared["default"] for key, declared in read_config(project_file).items()}
    values |= {key if ":" in key else f"{project}:{key}": value for key, value in (config or {}).items()}
    encoded = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    # Pulumi keeps its state in context variables. Each run has its own context, so no state leaks into the next run.
    # It also has its own thread, because other tests may keep a browser open, which occupies this thread's event loop.
    with (
        own_modules(directory),
        mock.patch.dict(os.environ, {"PULUMI_CONFIG": json.dumps(encoded)}),
        ThreadPoolExecutor(1) as thread,
    ):
        return thread.submit(contextvars.Context().run, _run_in_context, directory, cloud, project).result()


def _run_in_context(directory: Path, cloud: Mocks, project: str) -> ProgramRun:
    monitor = _RecordingMonitor(cloud)
    # Without this, set_mocks would create a stack on its own event loop, and run_in_stack refuses a second stack.
    settings.set_root_resource(object())  # type: ignore[arg-type]
    # All contexts share this collection, and a failed run leaves tasks of its closed event loop in it.
    settings.SETTINGS.outputs.clear()
    set_mocks(cloud, project=project, stack="test", monitor=monitor)
    settings.set_root_resource(None)  # type: ignore[arg-type]

    def program() -> None:
        runpy.run_path(str(directory), run_name="__main__")

    # The mock monitor runs on threads. It would give each thread an event loop and never close it.
    loops: list[asyncio.AbstractEventLoop] = []

    def set_event_loop() -> None:
        loops.append(asyncio.new_event_loop())
        asyncio.set_event_loop(loops[-1])

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(initializer=set_event_loop))
        # A failure is raised as an exception. Every output that depends on it would also log it.
        loop.set_exception_handler(lambda loop, context: None)
        await run_in_stack(program)

    try:
        asyncio.run(main())
    finally:
        for loop in loops:
            loop.close()
    return monitor.run()


@contextmanager
def own_modules(directory: Path) -> Iterator[None]:
    """Let the program import its own modules anew, and remove them from ``sys.modules`` afterwards."""
    own = {path.stem for path in (*directory.glob("*.py"), *(path.parent for path in directory.glob("*/__init__.py")))}
    # The programs for Azure and Google have the components in the folder above, and add it to the path.
    own.add("presign_infra")
    path = list(sys.path)

    def forget() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] in own - {"__main__"}]
        return {name: sys.modules.pop(name) for name in names}

    before = forget()
    try:
        yield
    finally:
        forget()
        sys.path[:] = path
        sys.modules.update(before)


class _RecordingMonitor(MockMonitor):
    """A mock monitor that records requests and, like the engine, respects ``additional_secret_outputs``."""

    def __init__(self, mocks: Mocks) -> None:
        super().__init__(mocks)
        self._resources: dict[str, RegisteredResource] = {}
        self._outputs: dict[str, Any] = {}
        self._secret_outputs: set[str] = set()

    def run(self) -> ProgramRun:
        return ProgramRun(
            resources=dict(self._resources), outputs=self._outputs, secret_outputs=frozenset(self._secret_outputs)
        )

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802
        inputs = rpc.deserialize_properties(request.object)
        _refuse_unknowns(inputs, request.name)
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.type == "pulumi:pulumi:Stack":
            return response
        for name in request.additionalSecretOutputs:
            if name in response.object.fields:
                plain = type(response.object.fields[name])()
                plain.CopyFrom(response.object.fields[name])
                secret = response.object.fields[name].struct_value
                secret.fields[rpc._special_sig_key].string_value = rpc._special_secret_sig
                secret.fields["value"].CopyFrom(plain)
        assert request.name not in self._resources, f"two resources are named {request.name}"
        self._resources[request.name] = RegisteredResource(
            type=request.type,
            name=request.name,
            parent=_name(request.parent),
            protect=request.protect,
            dependencies=frozenset(_name(urn) for urn in request.dependencies),
            inputs=inputs,
        )
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        if request.urn.split("::")[2] == "pulumi:pulumi:Stack":
            for name, value in rpc.deserialize_properties(request.outputs, keep_unknowns=True).items():
                _refuse_unknowns(value, name)
                self._outputs[name] = value["value"] if rpc.is_rpc_secret(value) else value
                if rpc.is_rpc_secret(value):
                    self._secret_outputs.add(name)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def _refuse_unknowns(value: Any, where: str) -> None:
    assert rpc.UNKNOWN not in json.dumps(value, default=repr), f"{where} contains an unknown value"
    assert "pulumi.output" not in json.dumps(value, default=repr).lower(), f"{where} contains an output as text"
