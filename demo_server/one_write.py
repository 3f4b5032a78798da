"""uvicorn's HTTP protocol, with what it writes in one turn of the event loop sent in one piece.

uvicorn writes an answer's head and body one after the other, which are two system calls and two packets. For an answer
as small as a ticket that is a third of what the whole request costs (docs/performance.md).
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OneWriteProtocol(HttpToolsProtocol):
    """Serves HTTP as ``HttpToolsProtocol`` does; to be named in uvicorn's ``http`` option."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let uvicorn write to a transport that gathers."""
        super().connection_made(cast(asyncio.Transport, GatheringTransport(transport, self.loop)))


class GatheringTransport:
    """A transport that hands what was written on when the event loop comes round, or before it closes.

    All but writing and closing is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._gathered: list[bytes] = []
        # Asked for with every answer; the rest goes through __getattr__.
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send ``data`` with whatever else is written in this turn, in order."""
        if not self._gathered:
            self._call_soon(self._send)
        self._gathered.append(data)

    def close(self) -> None:
        """Send what was written, and close the connection."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._transport.write(b"".join(gathered))
