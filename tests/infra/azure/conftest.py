"""Azurite over TLS, where an identity signs, because the program switches account keys off."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from emulators.azurite import Azurite


@pytest.fixture(autouse=True)
def _no_azure_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with (
        Azurite(directory=tmp_path_factory.mktemp("azurite"), https=True) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("REQUESTS_CA_BUNDLE", str(server.certificate))
        yield server
