"""The user delegation key: fetched once, renewed in the background, and never outlived by a ticket."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from emulators.azurite import ACCOUNT_KEY
from presign import CredentialsUnavailable, StorageUnavailable
from presign.azure.account import read_account
from presign.azure.client import build_client
from presign.azure.delegation_key import fetch_delegation_key
from presign.signing.sas import VERSION
from tests.azure.accounts import GRANT, KEY, Identity, RunningAccount, grant, query_of, utc_now
from tests.azure.stub_server import Respond, StubServer, xml_answer


def test_a_delegation_key_is_fetched_once_and_no_ticket_outlives_it(identity_account: RunningAccount) -> None:
    identity = Identity()
    backend = identity_account.backend(credential=identity)
    asked = identity.asked
    now = utc_now()
    urls = [backend.sign_upload(GRANT, now + timedelta(minutes=minutes)).url for minutes in range(60)]
    assert len({query_of(url)["ske"] for url in urls}) == 1
    assert identity.asked == asked
    upload = backend.sign_upload(grant(expires_in=timedelta(days=6)), now)
    query = query_of(upload.url)
    assert query["se"] == query["ske"] == upload.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert timedelta(hours=23) < upload.expires_at - now <= timedelta(hours=24, seconds=1)
    assert query["st"] >= query["skt"]
    download = backend.sign_download(KEY, now, expires_in=timedelta(days=6))
    assert query_of(download)["se"] == query["ske"]


def test_a_delegation_key_is_renewed_in_the_background_in_its_last_quarter(identity_account: RunningAccount) -> None:
    backend = identity_account.backend(credential=Identity(lifetime=timedelta(seconds=5)))
    first = query_of(backend.sign_upload(GRANT, utc_now()).url)["ske"]
    time.sleep(1.1)
    assert query_of(backend.sign_upload(GRANT, utc_now() + timedelta(hours=19)).url)["ske"] == first
    deadline = time.monotonic() + 10
    while (latest := query_of(backend.sign_upload(GRANT, utc_now()).url)["ske"]) == first:
        assert time.monotonic() < deadline, "the key was not renewed"
        time.sleep(0.05)
    assert latest > first


def test_an_expired_delegation_key_signs_nothing(identity_account: RunningAccount) -> None:
    backend = identity_account.backend()
    with pytest.raises(CredentialsUnavailable, match="the Azure user delegation key expired"):
        backend.sign_upload(GRANT, utc_now() + timedelta(hours=25))
    expiry = query_of(backend.sign_upload(GRANT, utc_now()).url)["ske"]
    at = datetime.strptime(expiry, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    with pytest.raises(CredentialsUnavailable, match="about to expire"):
        backend.sign_upload(GRANT, at - timedelta(milliseconds=500))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"<?xml version='1.0'?><UserDelegationKey><SignedOid>a</SignedOid></UserDelegationKey>",
        b"<?xml version='1.0'?><UserDelegationKey><SignedStart>a</SignedStart></UserDelegationKey>",
    ],
)
def test_a_response_that_is_not_a_delegation_key_is_reported(
    stub: Callable[[Respond], StubServer], body: bytes
) -> None:
    server = stub(xml_answer(body))
    account = read_account(
        account_name=None,
        account_url=server.account_url,
        public_account_url=None,
        endpoint_suffix=None,
        connection_string=None,
        # The SDK sends an identity's token by https alone, and this server has no certificate.
        account_key=ACCOUNT_KEY,
        credential=None,
        allow_http=False,
    )
    client = build_client(account, api_version=VERSION)
    with pytest.raises(
        StorageUnavailable, match=r"answered Get User Delegation Key with (no delegation key|DecodeError)"
    ):
        fetch_delegation_key(client, account, "uploads", utc_now())
