"""The check against the service, and the failures that it and the start report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from emulators.azurite import ACCOUNT_KEY
from presign import ConfigurationError, StorageUnavailable
from presign.azure import AzureBackend
from tests.azure.accounts import KEY, OTHER_ACCOUNT_KEY, Identity, RefusedIdentity, RunningAccount
from tests.azure.stub_server import Respond, StubServer, error_answer


def test_correct_settings_pass_the_check(account: RunningAccount) -> None:
    account.backend().check()


def test_a_missing_container_is_named(account: RunningAccount) -> None:
    with pytest.raises(ConfigurationError, match=r"the container missing does not exist at .*; create it") as caught:
        account.backend(container="missing").check()
    assert (caught.value.field, caught.value.value) == ("container", "missing")


def test_a_wrong_account_key_is_reported_with_its_setting(key_account: RunningAccount) -> None:
    with pytest.raises(ConfigurationError, match=r"refuses the account key .*AZURE_STORAGE_KEY") as caught:
        key_account.backend(account_key=OTHER_ACCOUNT_KEY).check()
    assert caught.value.field == "account_key"


def test_a_refused_identity_is_reported_at_start(identity_account: RunningAccount) -> None:
    with pytest.raises(ConfigurationError, match=r"gets no token .*AZURE_CLIENT_ID.* AZURE_STORAGE_KEY") as caught:
        identity_account.backend(credential=RefusedIdentity())
    assert caught.value.field == "credential"
    with pytest.raises(ConfigurationError, match="refuses the identity"):
        identity_account.backend(credential=Identity(lifetime=timedelta(minutes=-30)))


def test_an_account_that_does_not_answer_is_reported() -> None:
    url = "http://127.0.0.1:9/devstoreaccount1"
    backend = AzureBackend(container="uploads", account_url=url, account_key=ACCOUNT_KEY)
    with pytest.raises(StorageUnavailable, match=f"{url} does not answer .*check the endpoint and the network"):
        backend.check()


@pytest.mark.parametrize("minutes", [-16, 16])
@pytest.mark.parametrize(("status", "code"), [(200, ""), (403, "AuthenticationFailed")])
def test_a_wrong_clock_is_reported_and_not_the_credentials(
    stub: Callable[[Respond], StubServer], minutes: int, status: int, code: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"clock is more than 15 minutes wrong, .*; set the clock") as caught:
        stub(error_answer(status, code, clock_offset=timedelta(minutes=minutes))).backend().check()
    assert caught.value.field == "clock"


@pytest.mark.parametrize(
    ("status", "code", "kind", "message"),
    [
        (403, "AuthenticationFailed", ConfigurationError, "check the account key"),
        (403, "AuthorizationFailure", ConfigurationError, "and the account's network rules"),
        (403, "KeyBasedAuthenticationNotPermitted", ConfigurationError, "pass an identity"),
        (403, "AuthorizationPermissionMismatch", ConfigurationError, "check the account key"),
        (404, "ContainerNotFound", ConfigurationError, "create it, or correct its name"),
        (409, "ContainerBeingDeleted", StorageUnavailable, "ContainerBeingDeleted"),
    ],
)
def test_each_error_of_the_service_is_explained(
    stub: Callable[[Respond], StubServer], status: int, code: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        stub(error_answer(status, code)).backend().check()


def test_an_identity_that_may_only_sign_passes_the_check(
    stub: Callable[[Respond], StubServer], identity_account: RunningAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = stub(error_answer(403, "AuthorizationPermissionMismatch")).backend()
    backend = identity_account.backend()
    # The stub has no certificate, and the SDK sends an identity's token by https alone.
    monkeypatch.setattr(backend._objects, "_client", refusing._objects._client)
    backend.check()
    assert backend.head(KEY) is None
