"""Runs a Pulumi program as the engine would, but for the engine: settings in, registered resources and outputs out."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import runpy
import sys
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pulumi_aws
import yaml  # type: ignore[import-untyped]
from pulumi.runtime import rpc, settings
from pulumi.runtime.mocks import MockMonitor, Mocks, set_mocks
from pulumi.runtime.stack import run_in_stack

# These modules load on first use and then warn of deprecated classes that they define; a program that uses one of those
# still warns.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    _LOADED = (pulumi_aws.iam.User, pulumi_aws.s3.Bucket, pulumi_aws.sqs.Queue)

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"


@dataclass(frozen=True, kw_only=True)
class Registered:
    """One resource as the program asked the engine for it; `after` has the names of what it has to wait for."""

    type: str
    name: str
    parent: str
    protect: bool
    after: frozenset[str]
    inputs: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run of a program asked for and exported."""

    resources: Mapping[str, Registered]
    outputs: Mapping[str, Any]
    secret_outputs: frozenset[str]


def declared_defaults(project_file: Path = ROOT / "Pulumi.yaml") -> dict[str, Any]:
    """Answers the defaults that Pulumi.yaml declares, as the engine fills them in before the program runs."""
    declared = yaml.safe_load(project_file.read_text(encoding="utf-8"))["config"]
    return {key: entry["default"] for key, entry in declared.items()}


def run_program(directory: Path, cloud: Mocks, config: Mapping[str, Any] | None = None) -> Run:
    """Runs the program in `directory` with Pulumi.yaml's defaults and `config`; `cloud` applies what it registers.

    Keys without a namespace are the project's. Whatever the program or the cloud raises comes through.
    """
    values = {f"presign:{key}": value for key, value in declared_defaults().items()}
    values |= {key if ":" in key else f"presign:{key}": value for key, value in (config or {}).items()}
    encoded = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    # Pulumi keeps its state in context variables: a context of its own per run, and nothing leaks into the next. A
    # thread of its own, since a browser that other tests keep open occupies the event loop of this one.
    with (
        _own_modules(directory),
        mock.patch.dict(os.environ, {"PULUMI_CONFIG": json.dumps(encoded)}),
        ThreadPoolExecutor(1) as thread,
    ):
        return thread.submit(contextvars.Context().run, _run_in_context, directory, cloud).result()


def _run_in_context(directory: Path, cloud: Mocks) -> Run:
    monitor = _RecordingMonitor(cloud)
    # set_mocks would make a stack on an event loop of its own, and run_in_stack refuses a second stack.
    settings.set_root_resource(object())  # type: ignore[arg-type]
    # This set is shared by all contexts, and a run that failed leaves tasks of its closed loop behind.
    settings.SETTINGS.outputs.clear()
    set_mocks(cloud, project="presign", stack="test", monitor=monitor)
    settings.set_root_resource(None)  # type: ignore[arg-type]

    def program() -> None:
        runpy.run_path(str(directory), run_name="__main__")

    # The mock monitor answers on threads, gives each an event loop and closes none of them.
    loops: list[asyncio.AbstractEventLoop] = []

    def give_loop() -> None:
        loops.append(asyncio.new_event_loop())
        asyncio.set_event_loop(loops[-1])

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(initializer=give_loop))
        # A failure comes through as an exception; each output that hangs on it would log it once more.
        loop.set_exception_handler(lambda loop, context: None)
        await run_in_stack(program)

    try:
        asyncio.run(main())
    finally:
        for loop in loops:
            loop.close()
    return monitor.run()


@contextmanager
def _own_modules(directory: Path) -> Iterator[None]:
    """Lets the program import its siblings afresh, and takes them out of `sys.modules` afterwards."""
    siblings = {path.stem for path in directory.glob("*.py")} - {"__main__"}
    before = {name: sys.modules.pop(name) for name in siblings if name in sys.modules}
    try:
        yield
    finally:
        for name in siblings:
            sys.modules.pop(name, None)
        sys.modules.update(before)


class _RecordingMonitor(MockMonitor):
    """The mock monitor, which also records requests and honours `additional_secret_outputs`, as the engine does."""

    def __init__(self, mocks: Mocks) -> None:
        super().__init__(mocks)
        self._resources: dict[str, Registered] = {}
        self._outputs: dict[str, Any] = {}
        self._secret_outputs: set[str] = set()

    def run(self) -> Run:
        return Run(
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
        self._resources[request.name] = Registered(
            type=request.type,
            name=request.name,
            parent=_name(request.parent),
            protect=request.protect,
            after=frozenset(_name(urn) for urn in request.dependencies),
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
    assert rpc.UNKNOWN not in json.dumps(value, default=repr), f"{where} holds a value that is not known"
    assert "pulumi.output" not in json.dumps(value, default=repr).lower(), f"{where} holds an output that was printed"
