"""A body is judged by its length even where the HTTP server in front did not."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message

from emulators.received_request import ReceivedRequest, Refusal, body_of


def body_received(body: bytes, *headers: tuple[bytes, bytes]) -> bytes:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "PUT", "path": "/b/k", "query_string": b"", "headers": list(headers)}
    request = Request(scope, receive)

    async def read() -> bytes:
        return b"".join([chunk async for chunk in body_of(request, ReceivedRequest.of(request))])

    return asyncio.run(read())


def test_a_body_as_long_as_it_says_is_read() -> None:
    assert body_received(b"12345", (b"content-length", b"5")) == b"12345"


@pytest.mark.parametrize("length", [b"4", b"6"])
def test_a_body_of_another_length_than_it_says_is_refused(length: bytes) -> None:
    with pytest.raises(Refusal, match="IncompleteBody"):
        body_received(b"12345", (b"content-length", length))


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], id="length and chunks"),
        pytest.param([(b"content-length", b"5"), (b"content-length", b"5")], id="two lengths"),
        pytest.param([(b"content-length", b"+5")], id="length with a sign"),
    ],
)
def test_a_body_with_two_framings_or_a_strange_one_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Refusal, match="InvalidRequest"):
        body_received(b"12345", *headers)


def test_a_path_that_is_not_utf_8_is_refused() -> None:
    received = ReceivedRequest(method="GET", raw_path="/b/%ff", query=(), headers=())
    with pytest.raises(Refusal, match="InvalidURI"):
        _ = received.path
