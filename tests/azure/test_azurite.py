"""Azurite as these tests start it."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from emulators.azurite import Azurite
from emulators.processes import StartFailed
from tests.azure.accounts import RunningAccount


def test_a_server_that_does_not_start_fails_with_its_log(
    key_account: RunningAccount, tmp_path_factory: pytest.TempPathFactory
) -> None:
    taken = urlsplit(key_account.azurite.account_url).port or 0
    failing = Azurite(directory=tmp_path_factory.mktemp("azurite-taken"), blob_port=taken)
    with pytest.raises(StartFailed, match="EADDRINUSE"):
        failing.start()
