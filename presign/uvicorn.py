"""uvicorn's HTTP protocol, except that it sends at the end of each turn of the event loop, in one piece per connection.

uvicorn writes the head of a response, and then its body. Each write is a system call and wakes the client, between two
steps of Python code. For a response as small as a ticket, that is a large part of what the whole request costs
(docs/performance.md). The protocol serves any ASGI application::

    uvicorn main:app --http presign.uvicorn:JoinedWritesProtocol
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_GATHERED_BYTES = 64 * 1024
"""How much a connection gathers at most; more is passed on at once."""


class JoinedWritesProtocol(HttpToolsProtocol):
    """Serve HTTP as ``HttpToolsProtocol`` does; give it to uvicorn as the option ``http``."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let uvicorn write to a JoinedWritesTransport."""
        self._joined = JoinedWritesTransport(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, self._joined))

    def eof_received(self) -> None:
        """Send what was written: the event loop now closes the connection, also if the client still reads."""
        self._joined.flush()
        super().eof_received()


class JoinedWritesTransport:
    """Gather what is written in one turn of the event loop, and pass it on in the next turn, joined.

    No more than MAX_GATHERED_BYTES are gathered. So the transport below knows how much is to be sent, and pauses the
    protocol when the client reads too slowly. Everything but writing and closing is left to that transport.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        # uvicorn calls this with every response, and __getattr__ is slow.
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send ``data`` behind what was written before."""
        gathered_bytes = self._gathered_bytes + len(data)
        if gathered_bytes > MAX_GATHERED_BYTES:
            self.flush()
            self._pass_on(data)
            return
        if not self._gathered:
            self._call_soon(self.flush)
        self._gathered.append(data)
        self._gathered_bytes = gathered_bytes

    def writelines(self, list_of_data: Iterable[bytes]) -> None:
        """Send all of the data in order, behind what was written before."""
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes that are not sent yet."""
        return self._transport.get_write_buffer_size() + self._gathered_bytes

    def write_eof(self) -> None:
        """Send what was written, and close the connection for writing."""
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what was written, and close the connection."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close the connection at once, without sending what was written."""
        self._gathered, self._gathered_bytes = [], 0
        self._transport.abort()

    def flush(self) -> None:
        """Pass on what was gathered."""
        gathered = self._gathered
        if gathered:
            self._gathered = []
            self._gathered_bytes = 0
            self._pass_on(b"".join(gathered))

    def _pass_on(self, data: bytes) -> None:
        # If the client is gone, uvloop raises an exception for a write, and asyncio logs a warning.
        if not self.is_closing():
            self._transport.write(data)
