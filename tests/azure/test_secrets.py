"""Secrets: no key, token or signature is in a ``repr``, a log or an exception."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from datetime import timedelta

import pytest

from emulators.azurite import ACCOUNT_KEY
from presign import ConfigurationError, CredentialsUnavailable, StorageUnavailable, Ticket
from presign.azure import AzureBackend
from presign.backends.backend import ObjectHead
from tests.azure.accounts import (
    GRANT,
    KEY,
    OBJECT_ID,
    OTHER_ACCOUNT_KEY,
    PENDING_GRANT,
    Identity,
    RefusedIdentity,
    RunningAccount,
    png_request,
    query_of,
    utc_now,
)
from tests.azure.stub_server import Respond, StubServer, error_answer


def test_no_secret_is_in_a_repr_a_log_or_an_exception(
    key_account: RunningAccount,
    identity_account: RunningAccount,
    caplog: pytest.LogCaptureFixture,
    stub: Callable[[Respond], StubServer],
) -> None:
    caplog.set_level(logging.DEBUG, logger="presign")
    shown = []
    secrets = {ACCOUNT_KEY, OTHER_ACCOUNT_KEY, "S3CR3T", OBJECT_ID, Identity().get_token().token.split(".")[1][:60]}
    for account in (key_account, identity_account):
        backend = account.publishing_backend()
        presigner = account.presigner()
        ticket: Ticket = presigner.issue(png_request())
        upload = backend.sign_upload(GRANT, utc_now())
        secrets |= {query_of(url)["sig"] for url in (ticket.url, upload.url)} | {ticket.token}
        shown += [
            repr(backend),
            repr(presigner),
            repr(ticket),
            repr(upload),
            repr(backend._credentials),
            repr(backend._account),
            repr(backend._verifier),
            repr(backend.pending),
        ]
        shown.append(repr(vars(backend)))
    head = ObjectHead(size=1, content_type="image/png", etag="0x1")
    failures: list[Callable[[], object]] = [
        lambda: AzureBackend(container="uploads", account_name="myaccount", account_key=f"{OTHER_ACCOUNT_KEY}?"),
        lambda: AzureBackend(
            container="uploads", connection_string=f"AccountName=a;SharedAccessSignature={OTHER_ACCOUNT_KEY}"
        ),
        lambda: key_account.backend(account_key=OTHER_ACCOUNT_KEY).check(),
        lambda: key_account.backend(account_key=OTHER_ACCOUNT_KEY).head(KEY),
        lambda: key_account.backend(account_key=OTHER_ACCOUNT_KEY).delete(KEY),
        lambda: key_account.backend(account_key=OTHER_ACCOUNT_KEY).read(KEY, offset=0, length=1, etag="0x1"),
        lambda: key_account.publishing_backend(account_key=OTHER_ACCOUNT_KEY).publish(PENDING_GRANT, head),
        lambda: key_account.backend(verifier_account_key=f"{OTHER_ACCOUNT_KEY}?"),
        lambda: identity_account.backend(credential=RefusedIdentity()),
        lambda: identity_account.backend(verifier_credential=RefusedIdentity()),
        lambda: stub(error_answer(403, "AuthenticationFailed")).backend().head(KEY),
        lambda: identity_account.backend().sign_upload(GRANT, utc_now() + timedelta(hours=25)),
    ]
    for fail in failures:
        with pytest.raises((ConfigurationError, StorageUnavailable, CredentialsUnavailable)) as caught:
            fail()
        assert caught.value.__cause__ is None
        shown += [repr(caught.value), "".join(traceback.format_exception(caught.value)), str(caught.value.problem())]
    shown.append(caplog.text)
    # The sources that a traceback quotes are no leak; the values are.
    for text in shown:
        assert not [secret for secret in secrets if secret in text]
