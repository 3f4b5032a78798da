"""The tests of the doctor see none of this machine's settings of a cloud."""

from __future__ import annotations

import os

import pytest

_PREFIXES = ("AWS_", "AZURE_", "GCS_", "GOOGLE_", "STORAGE_EMULATOR", "PRESIGN_")


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
