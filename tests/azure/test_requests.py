"""The requests that are sent without the SDK: their authorization, retries and failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError, ClientAuthenticationError, ResourceNotFoundError

from presign.azure import client
from presign.azure.account import Account
from presign.azure.publish_options import CALLS_VERSION
from presign.azure.requests import BlobRequests, RefusedRequest
from tests.azure.accounts import TENANT_ID, Identity, RefusedIdentity
from tests.azure.stub_server import (
    Respond,
    StubServer,
    answer_with_headers,
    dropped_once,
    error_answer,
    in_turn,
    recorded,
    xml_answer,
)

Start = Callable[[Respond], StubServer]

FOUND = answer_with_headers(200, {"ETag": '"0x1"'})
CHALLENGE = answer_with_headers(
    401,
    {
        "WWW-Authenticate": f"Bearer authorization_uri=https://login.microsoftonline.com/{TENANT_ID}/oauth2/authorize "
        "resource_id=https://storage.azure.com",
        "x-ms-error-code": "InvalidAuthenticationInfo",
    },
)


class NumberedIdentity(Identity):
    """An identity whose tokens have a number, and which keeps for which tenant each was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.tenants: list[str | None] = []

    def get_token(self, *scopes: str, tenant_id: str | None = None, **_: Any) -> AccessToken:
        assert scopes == ("https://storage.azure.com/.default",)
        self.tenants.append(tenant_id)
        return AccessToken(f"token {len(self.tenants)}", super().get_token(*scopes).expires_on)


@pytest.fixture(autouse=True)
def _retries_come_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RETRY_DELAY_SECONDS", 0.01)


def requests_of(server: StubServer, identity: Identity | RefusedIdentity | None = None) -> BlobRequests:
    account: Account = server.backend()._account
    if identity is not None:
        account = replace(account, key=None, key_or_identity=identity)
    return BlobRequests(account, api_version=CALLS_VERSION)


def test_an_identity_is_asked_for_one_token_for_many_requests(stub: Start) -> None:
    received: list[BaseHTTPRequestHandler] = []
    identity = NumberedIdentity()
    requests = requests_of(stub(recorded(received, FOUND)), identity)
    for _ in range(3):
        requests.send("HEAD", "uploads", "k")
    assert identity.tenants == [None]
    assert {request.headers["authorization"] for request in received} == {"Bearer token 1"}


def test_a_token_is_replaced_by_one_of_the_tenant_that_the_service_names(stub: Start) -> None:
    received: list[BaseHTTPRequestHandler] = []
    identity = NumberedIdentity()
    requests = requests_of(stub(recorded(received, in_turn(CHALLENGE, FOUND))), identity)
    for _ in range(2):
        assert requests.send("HEAD", "uploads", "k").status == 200
    assert identity.tenants == [None, TENANT_ID]
    assert [request.headers["authorization"][7:] for request in received] == ["token 1", "token 2", "token 2"]


def test_a_service_that_refuses_the_new_token_too_is_not_asked_again(stub: Start) -> None:
    server = stub(CHALLENGE)
    with pytest.raises(RefusedRequest) as caught:
        requests_of(server, NumberedIdentity()).send("HEAD", "uploads", "k")
    assert (caught.value.status_code, caught.value.error_code, server.requests) == (401, "InvalidAuthenticationInfo", 2)


def test_an_identity_without_a_token_sends_nothing(stub: Start) -> None:
    server = stub(FOUND)
    with pytest.raises(ClientAuthenticationError):
        requests_of(server, RefusedIdentity()).send("HEAD", "uploads", "k")
    assert server.requests == 0


@pytest.mark.parametrize(
    ("answer", "kind", "code", "sent"),
    [
        (error_answer(404, "BlobNotFound"), ResourceNotFoundError, "BlobNotFound", 1),
        (answer_with_headers(404, {}), ResourceNotFoundError, "404", 1),
        (error_answer(501, "NotImplemented"), RefusedRequest, "NotImplemented", 1),
        (error_answer(503, "ServerBusy"), RefusedRequest, "ServerBusy", 2),
        (answer_with_headers(408, {}), RefusedRequest, "408", 2),
        # A redirect would take the signature elsewhere.
        (answer_with_headers(307, {"Location": "http://127.0.0.1:1/"}), RefusedRequest, "307", 1),
    ],
)
def test_an_answer_that_is_an_error_is_raised_with_its_code(
    stub: Start, answer: Respond, kind: type[AzureError], code: str, sent: int
) -> None:
    server = stub(answer)
    with pytest.raises(kind) as caught:
        requests_of(server).send("GET", "uploads", "k")
    assert getattr(caught.value, "error_code", None) == code
    assert server.requests == sent


def test_the_code_is_found_in_the_content_if_no_header_has_it(stub: Start) -> None:
    def refuse(request: BaseHTTPRequestHandler, number: int) -> None:
        request.send_response_only(403)
        content = b"<Error><Code>AuthenticationFailed</Code><Message>sig=SECRET</Message></Error>"
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    with pytest.raises(RefusedRequest) as caught:
        requests_of(stub(refuse)).send("GET", "uploads", "k")
    assert caught.value.error_code == "AuthenticationFailed"
    assert "SECRET" not in f"{caught.value!r} {caught.value}"


def test_a_request_whose_connection_breaks_is_signed_and_sent_once_more(stub: Start) -> None:
    received: list[BaseHTTPRequestHandler] = []
    server = stub(recorded(received, dropped_once(xml_answer(b"<a/>"))))
    assert requests_of(server).send("GET", "uploads", query=[("comp", "list")]).content == b"<a/>"
    assert [request.path.partition("/uploads")[2] for request in received] == ["?comp=list"] * 2


def test_what_a_first_request_needs_can_be_loaded_before_it(stub: Start) -> None:
    identity = NumberedIdentity()
    server = stub(FOUND)
    requests = requests_of(server, identity)
    requests.prepare()
    assert (len(identity.tenants), server.requests) == (1, 0)
    requests.send("HEAD", "uploads", "k")
    assert (len(identity.tenants), server.requests) == (1, 1)
