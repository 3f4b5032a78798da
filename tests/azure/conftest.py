"""The Azurite servers of these tests, each started once; one that does not start fails the run with its log."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from emulators.azurite import ACCOUNT_KEY, Azurite
from tests.azure.accounts import CONTAINERS, Identity, RunningAccount, prepare_account
from tests.azure.stub_server import Respond, StubServer


@pytest.fixture(autouse=True)
def _no_azure_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="package")
def key_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    with Azurite(directory=tmp_path_factory.mktemp("azurite-http")) as azurite:
        yield prepare_account(azurite, {"account_key": ACCOUNT_KEY})


@pytest.fixture(scope="package")
def identity_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    with (
        Azurite(directory=tmp_path_factory.mktemp("azurite-https"), https=True) as azurite,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("REQUESTS_CA_BUNDLE", str(azurite.certificate))
        yield prepare_account(azurite, {"credential": Identity()})


@pytest.fixture(params=["key_account", "identity_account"])
def account(request: pytest.FixtureRequest) -> RunningAccount:
    """Each kind of signing key in turn: an account key, and an identity's user delegation key."""
    running: RunningAccount = request.getfixturevalue(request.param)
    for container in CONTAINERS:
        for name in running.blobs(container):
            running.admin.get_blob_client(container, name).delete_blob(delete_snapshots="include")
        for name in running.uncommitted(container):
            blob = running.admin.get_blob_client(container, name)
            blob.commit_block_list([])
            blob.delete_blob()
    return running


@pytest.fixture
def stub() -> Iterator[Callable[[Respond], StubServer]]:
    """A function that starts a server that answers every request in one way."""
    servers: list[StubServer] = []

    def start(respond: Respond) -> StubServer:
        server = StubServer(respond)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
