"""Reference servers start ready, side by side, and are gone when their block ends."""

from __future__ import annotations

import asyncio
import socket
import threading
from urllib.parse import urlsplit

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from emulators.serving import serve, settle
from emulators.wire import Attempt, send, send_and_hang_up


def get(url: str) -> tuple[int, bytes]:
    answer = send(Attempt(method="GET", url=url))
    return answer.status, answer.body


def test_servers_run_side_by_side_on_ports_of_their_own() -> None:
    with serve(PlainTextResponse("one")) as one, serve(PlainTextResponse("two")) as two:
        assert get(one) == (200, b"one")
        assert get(two) == (200, b"two")


def test_a_server_and_its_thread_are_gone_after_the_block_even_with_an_open_connection() -> None:
    threads = threading.active_count()
    with serve(PlainTextResponse("one")) as url:
        address = (urlsplit(url).hostname, urlsplit(url).port or 0)
        idle = socket.create_connection(address)
        assert get(url) == (200, b"one")
    assert threading.active_count() == threads
    with idle, pytest.raises(OSError, match="refused"):
        socket.create_connection(address)


def test_a_taken_port_is_an_error_at_once() -> None:
    with serve(PlainTextResponse("one")) as url, pytest.raises(OSError, match="in use"):
        serve(PlainTextResponse("two"), port=urlsplit(url).port or 0).__enter__()


def test_settling_waits_for_a_request_whose_client_is_gone() -> None:
    gone, released = threading.Event(), threading.Event()
    ends: list[str] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
        await asyncio.to_thread(released.wait)
        ends.append("handled")

    with serve(slow) as url:
        send_and_hang_up(Attempt(method="PUT", url=f"{url}/x", headers=(("Content-Length", "5"),), body=b"1234"))
        assert gone.wait(10)
        release = threading.Timer(0.1, released.set)
        release.start()
        settle(url)
        assert ends == ["handled"]
        release.join()
