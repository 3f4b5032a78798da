"""A server on the loopback interface that answers every request in one way, such as with an error or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from emulators.azurite import ACCOUNT_KEY, ACCOUNT_NAME
from presign.azure import AzureBackend
from tests.azure.accounts import NOW, utc_now

SILENCE_SECONDS = 20.0

Respond = Callable[[BaseHTTPRequestHandler, int], None]
"""Answers a request; the number counts the requests from 1."""


class StubServer:
    """Start with ``start``, end with ``stop``; ``requests`` is how many requests came."""

    def __init__(self, respond: Respond) -> None:
        self.requests = 0
        self._lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:  # noqa: N805  (self is the StubServer)
                respond(handler, self._count())

            do_HEAD = do_DELETE = do_POST = do_PUT = do_GET  # noqa: N815  (the base class's names)

            def log_message(handler, *_: object) -> None:  # noqa: N805
                """Write nothing to the test's output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        # A request that is never answered must not delay the end of the test.
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def account_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{ACCOUNT_NAME}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def backend(self, **options: Any) -> AzureBackend:
        values = {"container": "uploads", "account_url": self.account_url, "account_key": ACCOUNT_KEY}
        return AzureBackend(**values | options)

    def _count(self) -> int:
        with self._lock:
            self.requests += 1
            return self.requests


def in_turn(*answers: Respond) -> Respond:
    """Answer the first request in the first way, the second one in the second, and all later ones in the last."""

    def respond(request: BaseHTTPRequestHandler, number: int) -> None:
        answers[min(number, len(answers)) - 1](request, number)

    return respond


def recorded(requests: list[BaseHTTPRequestHandler], then: Respond) -> Respond:
    """Append each request to ``requests`` before it is answered."""

    def respond(request: BaseHTTPRequestHandler, number: int) -> None:
        requests.append(request)
        then(request, number)

    return respond


def answer_with_headers(status: int, headers: dict[str, str]) -> Respond:
    """Answer with a status, headers and no body."""

    def respond(request: BaseHTTPRequestHandler, _: int) -> None:
        request.send_response_only(status)
        for name, value in ({"Content-Length": "0"} | headers).items():
            request.send_header(name, value)
        request.end_headers()

    return respond


def error_answer(status: int, code: str = "", *, clock_offset: timedelta = timedelta()) -> Respond:
    """Answer with a status, an error code and the time of a clock that is wrong by ``clock_offset``."""

    def respond(request: BaseHTTPRequestHandler, _: int) -> None:
        request.send_response_only(status)
        request.send_header("Date", format_datetime(utc_now() + clock_offset, usegmt=True))
        request.send_header("x-ms-error-code", code)
        request.send_header("Content-Length", "0")
        request.send_header("ETag", '"0x1"')
        request.send_header("Last-Modified", format_datetime(NOW, usegmt=True))
        request.end_headers()

    return respond


def xml_answer(body: bytes) -> Respond:
    """Answer with 200 and a body, which should be XML."""

    def respond(request: BaseHTTPRequestHandler, _: int) -> None:
        request.send_response_only(200)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Content-Type", "application/xml")
        request.end_headers()
        request.wfile.write(body)

    return respond


def no_answer(released: threading.Event) -> Respond:
    """Accept each request, and do not answer until the test releases it."""

    def respond(request: BaseHTTPRequestHandler, _: int) -> None:
        released.wait(SILENCE_SECONDS)
        request.close_connection = True

    return respond


def stalled_body(released: threading.Event) -> Respond:
    """Answer each request with the headers of 10 bytes and the first byte, and send no more."""

    def respond(request: BaseHTTPRequestHandler, _: int) -> None:
        request.send_response_only(206)
        request.send_header("Content-Length", "10")
        request.send_header("Content-Range", "bytes 0-9/10")
        request.send_header("ETag", '"0x1"')
        request.end_headers()
        request.wfile.write(b"a")
        released.wait(SILENCE_SECONDS)
        request.close_connection = True

    return respond


def dropped_once(then: Respond) -> Respond:
    """Close the first request's connection without an answer."""

    def respond(request: BaseHTTPRequestHandler, number: int) -> None:
        if number == 1:
            request.close_connection = True
        else:
            then(request, number)

    return respond
