"""The real engine, and the AWS program on it, with the tests' provider of AWS on moto."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.infra.boto3_cloud import Boto3Cloud
from tests.infra.engine.provider import attached
from tests.infra.engine.pulumi_cli import find_engine
from tests.infra.engine.stacks import EngineStack, copy_project
from tests.infra.pulumi_program import INFRA, ROOT


@pytest.fixture(scope="session")
def engine() -> Path:
    """The `pulumi` command."""
    found = find_engine()
    if found is None:
        pytest.skip("`pulumi` is neither on PATH nor built by `make test-engine`: the program is not run by the engine")
    return found


@pytest.fixture
def moto_cloud(moto_url: str) -> Boto3Cloud:
    """A cloud without anything that other tests left in it."""
    urlopen(Request(f"{moto_url}/moto-api/reset", method="POST")).close()
    return Boto3Cloud(moto_url)


@pytest.fixture
def aws_stack(
    engine: Path, moto_cloud: Boto3Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., EngineStack]]:
    """Make a stack of the AWS program with the given settings, on moto."""
    with ExitStack() as stack:
        providers = stack.enter_context(attached(moto_cloud))

        def make(**config: Any) -> EngineStack:
            directory = tmp_path_factory.mktemp("engine")
            return EngineStack(
                copy_project(ROOT, INFRA, directory / "project"),
                engine=engine,
                providers=providers,
                config={"aws:region": moto_cloud.region, **{f"presign:{key}": value for key, value in config.items()}},
                home=directory / "home",
            )

        yield make
