"""Reference servers start ready, side by side, and are gone when their block ends."""

from __future__ import annotations

import socket
import threading
from urllib.parse import urlsplit

import pytest
from starlette.responses import PlainTextResponse

from tests.emulators.serving import serve
from tests.emulators.wire import Attempt, send


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
