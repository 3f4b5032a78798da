"""Stacks of the programs for Azure and Google on the real engine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tests.infra.applied_cloud import AppliedCloud
from tests.infra.engine.provider import attached
from tests.infra.engine.stacks import EngineStack
from tests.infra.pulumi_program import copy_program


@contextmanager
def engine_stack(
    program: Path, cloud: AppliedCloud, config: Mapping[str, Any], *, engine: Path, directory: Path
) -> Iterator[EngineStack]:
    """Make a stack of ``program``, a folder of `infra/`; keys without a namespace are the project's."""
    project = copy_program(directory) / program.name
    name = yaml.safe_load((project / "Pulumi.yaml").read_text(encoding="utf-8"))["name"]
    with attached(cloud) as providers:
        yield EngineStack(
            project,
            engine=engine,
            providers=providers,
            config={key if ":" in key else f"{name}:{key}": value for key, value in config.items()},
            home=directory / "home",
        )
    shutil.rmtree(directory / "home")
