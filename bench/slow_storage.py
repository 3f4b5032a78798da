"""A relay to a storage that is slow at times: ``python -m bench.slow_storage PORT SHARE``, which listens on ``$PORT``.

A request waits ``SECONDS`` before it reaches the storage, with the probability ``SHARE``. The relay knows requests by
their order: what a client sends after an answer began is the next request. So clients must not send a second request
before the first one is answered, and most do not.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from emulators.ports import HOST

SECONDS = 1.0
_CHUNK_BYTES = 64 * 1024


async def _serve(port: int, storage_port: int, share: float) -> None:
    # The same requests wait in every run.
    chance = random.Random(1)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        storage_reader, storage_writer = await asyncio.open_connection(HOST, storage_port)
        is_answered = True

        async def carry_requests() -> None:
            nonlocal is_answered
            while chunk := await reader.read(_CHUNK_BYTES):
                if is_answered:
                    is_answered = False
                    if chance.random() < share:
                        await asyncio.sleep(SECONDS)
                storage_writer.write(chunk)
                await storage_writer.drain()

        async def carry_answers() -> None:
            nonlocal is_answered
            while chunk := await storage_reader.read(_CHUNK_BYTES):
                is_answered = True
                writer.write(chunk)
                await writer.drain()

        tasks = [asyncio.create_task(carry_requests()), asyncio.create_task(carry_answers())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for each in (writer, storage_writer):
                each.close()

    listener = await asyncio.start_server(connected, HOST, port)
    await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(os.environ["PORT"]), int(sys.argv[1]), float(sys.argv[2])))
