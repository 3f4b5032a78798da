"""The demo's HTTP protocol: answers in one piece, and nothing lost or out of order."""

from __future__ import annotations

import asyncio
from typing import cast

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from demo_server.one_write import GatheringTransport, OneWriteProtocol
from emulators.serving import serve


class Recorder:
    """A transport that remembers what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes]] = []

    def write(self, data: bytes) -> None:
        self.calls.append(("write", data))

    def close(self) -> None:
        self.calls.append(("close", b""))

    def is_closing(self) -> bool:
        return ("close", b"") in self.calls


def gathering(recorder: Recorder) -> GatheringTransport:
    return GatheringTransport(cast(asyncio.Transport, recorder), asyncio.get_running_loop())


def test_what_one_turn_writes_is_sent_in_one_piece_and_in_order() -> None:
    async def scenario() -> list[tuple[str, bytes]]:
        recorder = Recorder()
        transport = gathering(recorder)
        transport.write(b"head ")
        transport.write(b"body")
        assert recorder.calls == []
        await asyncio.sleep(0)
        transport.write(b"next")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return recorder.calls

    assert asyncio.run(scenario()) == [("write", b"head body"), ("write", b"next")]


def test_closing_sends_what_was_written_first() -> None:
    async def scenario() -> list[tuple[str, bytes]]:
        recorder = Recorder()
        transport = gathering(recorder)
        transport.write(b"answer")
        transport.close()
        assert transport.is_closing()
        await asyncio.sleep(0)
        return recorder.calls

    assert asyncio.run(scenario()) == [("write", b"answer"), ("close", b"")]


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers as many bytes as the path says, in pieces of the size that the query says."""
    length, piece = int(scope["path"][1:]), int(scope["query_string"] or b"0")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]})
    content = bytes(i % 251 for i in range(length))
    for start in range(0, length, piece or length or 1):
        body = content[start : start + (piece or length)]
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}], ids=["kept alive", "closed"])
@pytest.mark.parametrize("path", ["/0", "/1", "/2000?7", "/5000000", "/5000000?65536"])
def test_answers_of_every_size_arrive_whole(path: str, headers: dict[str, str]) -> None:
    with serve(_app, http=OneWriteProtocol) as url, httpx.Client() as client:
        for _ in range(3):
            answer = client.get(f"{url}{path}", headers=headers)
            length = int(path[1:].partition("?")[0])
            assert answer.content == bytes(i % 251 for i in range(length))
