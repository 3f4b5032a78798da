"""A long line to a server on loopback: ``python -m bench.delayed_line PORT``, which listens on ``$PORT``.

Every byte arrives ``ONE_WAY_SECONDS`` after it was sent, in each direction, and a connection is open after one round
trip. As in TCP, a sender has at most a window of bytes on its way, and learns one round trip after sending that they
arrived. The window begins with ten segments (RFC 6928), and grows by every byte that arrived, up to ``WINDOW_BYTES``.
No byte is lost, the line itself has no limit, and an idle connection keeps its window.

The largest window stands for the losses of a real line. With CUBIC, which Linux, Windows and macOS use, the average
window is ``1.054 * (RTT / p) ** (3 / 4)`` segments, if one of ``1 / p`` packets is lost (RFC 9438, section 5.1). With
50 ms and one of 50,000 packets lost, that is 370 segments of 1,460 bytes, or 530 KiB.
"""

from __future__ import annotations

import asyncio
import os
import sys

from emulators.ports import HOST

ONE_WAY_SECONDS = 0.025
WINDOW_BYTES = 512 * 1024
_FIRST_WINDOW_BYTES = 10 * 1460
_MAX_CHUNK_BYTES = 64 * 1024


class _Window:
    """How many bytes of one direction may be on their way: sent, and not known to have arrived."""

    def __init__(self) -> None:
        self._size = _FIRST_WINDOW_BYTES
        self._on_way = 0
        self._freed = asyncio.Event()

    async def room(self) -> int:
        """Wait until a byte may be sent, and return how many may be."""
        while self._on_way >= self._size:
            self._freed.clear()
            await self._freed.wait()
        return self._size - self._on_way

    def send(self, size: int) -> None:
        self._on_way += size

    def acknowledge(self, size: int) -> None:
        self._on_way -= size
        self._size = min(WINDOW_BYTES, self._size + size)
        self._freed.set()


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes in one direction until the sender ends it or one side breaks the connection."""
    loop = asyncio.get_running_loop()
    window = _Window()
    on_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def send() -> None:
        chunk = b"-"
        while chunk:
            chunk = await reader.read(min(_MAX_CHUNK_BYTES, await window.room()))
            window.send(len(chunk))
            on_way.put_nowait((loop.time() + ONE_WAY_SECONDS, chunk))

    async def arrive() -> None:
        while True:
            arrives_at, chunk = await on_way.get()
            await asyncio.sleep(arrives_at - loop.time())
            if not chunk:
                return
            writer.write(chunk)
            await writer.drain()
            loop.call_later(ONE_WAY_SECONDS, window.acknowledge, len(chunk))

    tasks = [asyncio.create_task(send()), asyncio.create_task(arrive())]
    try:
        await asyncio.gather(*tasks)
    except OSError:
        pass
    finally:
        for task in tasks:
            task.cancel()
        writer.close()


async def _serve(port: int, server_port: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * ONE_WAY_SECONDS)
        server_reader, server_writer = await asyncio.open_connection(HOST, server_port, limit=_MAX_CHUNK_BYTES)
        await asyncio.gather(carry(reader, server_writer), carry(server_reader, writer))

    listener = await asyncio.start_server(connected, HOST, port, limit=_MAX_CHUNK_BYTES)
    await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(os.environ["PORT"]), int(sys.argv[1])))
