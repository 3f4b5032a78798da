"""The connections of the backends' own requests, to servers that answer well, badly, or not at all."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from emulators.certificates import write_certificate
from presign.backends.connections import (
    Connections,
    ConnectionTimedOut,
    Disconnected,
    NotConnected,
    ReadTimedOut,
    UntrustedCertificate,
)

Respond = Callable[[BaseHTTPRequestHandler], None]
SECRET = "sig=S3CR3T"
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def server(respond: Respond, certificate: tuple[Path, Path] | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yield a server's URL, and the connections and requests that it got."""
    events: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            events.append("connection")
            super().setup()

        def do_GET(self) -> None:
            events.append(f"{self.command} {self.path}")
            respond(self)

        do_HEAD = do_PUT = do_DELETE = do_GET  # noqa: N815  (the base class's names)

        def log_message(self, *_: object) -> None:
            """Write nothing to the test's output."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of a client that has closed the connection, or refuses the certificate."""

    listening = Server(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"{'http' if certificate is None else 'https'}://127.0.0.1:{listening.server_port}", events
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def connections(
    url: str, *, authorities: str | None = None, connect_seconds: float = 30, read_seconds: float = 30
) -> Connections:
    return Connections(
        url,
        authorities=authorities,
        ca_variables=["PRESIGN_TEST_CA"],
        connect_seconds=connect_seconds,
        read_seconds=read_seconds,
    )


def answered(status: int, headers: dict[str, str], content: bytes = b"") -> Respond:
    def respond(request: BaseHTTPRequestHandler) -> None:
        request.send_response_only(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)

    return respond


OK = answered(200, {"Content-Length": "5", "X-Name": "Value"}, b"bytes")


def test_requests_share_a_connection_that_stays_open() -> None:
    with server(OK) as (url, events):
        sender = connections(f"{url}/ignored")
        for _ in range(3):
            answer = sender.send("GET", "/a?b=c", {})
    assert (answer.status, answer.headers["x-name"], answer.content) == (200, "Value", b"bytes")
    assert events == ["connection", *["GET /a?b=c"] * 3]


def test_content_is_returned_as_it_was_sent_also_if_it_says_that_it_is_compressed() -> None:
    with server(answered(200, {"Content-Length": "5", "Content-Encoding": "gzip"}, b"bytes")) as (url, _):
        assert connections(url).send("GET", "/", {}).content == b"bytes"


@pytest.mark.parametrize(("limit", "opened"), [(3, 2), (4, 1), (5, 1)])
def test_no_more_than_the_wanted_bytes_are_kept(limit: int, opened: int) -> None:
    with server(OK) as (url, events):
        sender = connections(url)
        for _ in range(2):
            assert sender.send("GET", "/", {}, max_bytes=limit).content == b"bytes"[:limit]
    # A connection with bytes that were not read cannot be used again.
    assert events.count("connection") == opened


def test_a_redirect_is_an_answer_like_any_other() -> None:
    with server(answered(307, {"Location": "/elsewhere", "Content-Length": "0"})) as (url, events):
        answer = connections(url).send("GET", "/", {})
    assert (answer.status, answer.headers["location"]) == (307, "/elsewhere")
    assert events == ["connection", "GET /"]


def _close(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True


def _raw(content: bytes) -> Respond:
    def respond(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(content)
        request.close_connection = True

    return respond


@pytest.mark.parametrize(
    "respond",
    [
        _close,
        _raw(b"HTTP/1.1 200 OK\r\n"),
        _raw(b"HTTP/1.1 200 OK\r\nETag: 1\r\nConten"),
        _raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbyte"),
        _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbytes\r\n"),
        _raw(b"no HTTP at all\r\n\r\n"),
    ],
)
def test_an_answer_that_breaks_off_is_a_failure_and_not_sent_again(respond: Respond) -> None:
    with server(respond) as (url, events), pytest.raises(Disconnected) as caught:
        connections(url).send("GET", f"/?{SECRET}", {"authorization": SECRET})
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert events == ["connection", f"GET /?{SECRET}"]


def test_an_answer_without_content_needs_no_length() -> None:
    with server(answered(204, {})) as (url, _):
        assert connections(url).send("DELETE", "/", {}).content == b""
    with server(answered(200, {"Content-Length": "9"})) as (url, _):
        assert connections(url).send("HEAD", "/", {}).headers["content-length"] == "9"


def test_a_server_that_does_not_answer_in_time_is_told_from_one_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ReadTimedOut):
            connections(url, read_seconds=0.2).send("GET", f"/?{SECRET}", {})
        with pytest.raises(ReadTimedOut):
            connections(url).send("GET", "/", {}, read_seconds=0.2)
    with pytest.raises(NotConnected) as caught:
        connections(url).send("GET", f"/?{SECRET}", {})
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"
    with pytest.raises(NotConnected):
        connections("http://unknown.invalid").send("GET", "/", {})


def test_a_connection_that_is_not_accepted_in_time_is_a_failure_of_its_own() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        with pytest.raises(ConnectionTimedOut):
            connections(url, connect_seconds=0.2).send("GET", "/", {})


def test_a_certificate_must_be_of_a_trusted_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    write_certificate(certificate=certificate, key=key)
    with server(OK, (certificate, key)) as (url, _):
        with pytest.raises(UntrustedCertificate):
            connections(url).send("GET", "/", {})
        assert connections(url, authorities=str(certificate)).send("GET", "/", {}).content == b"bytes"
        monkeypatch.setenv("PRESIGN_TEST_CA", str(certificate))
        assert connections(url).send("GET", "/", {}).content == b"bytes"


def test_a_certificate_must_be_valid_for_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    write_certificate(certificate=certificate, key=key)
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *others: resolve("127.0.0.1", *others))
    with server(OK, (certificate, key)) as (url, events):
        with pytest.raises(UntrustedCertificate):
            connections(url.replace("127.0.0.1", "storage.invalid"), authorities=str(certificate)).send("GET", "/", {})
        assert "GET /" not in events
        assert connections(url.replace("127.0.0.1", "localhost"), authorities=str(certificate)).send("GET", "/", {})


_FORK_BETWEEN_REQUESTS = """
import os, sys
from presign.backends.connections import Connections

connections = Connections(sys.argv[1], ca_variables=(), connect_seconds=30, read_seconds=30)
connections.send("GET", "/parent", {})
if os.fork() == 0:
    connections.send("GET", "/child", {})
    connections.send("GET", "/child", {})
    os._exit(0)
os.wait()
connections.send("GET", "/parent", {})
"""


def test_a_forked_process_sends_over_connections_of_its_own() -> None:
    with server(OK) as (url, events):
        command = [sys.executable, "-W", "ignore", "-c", _FORK_BETWEEN_REQUESTS, url]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
    parents, childs = "GET /parent", "GET /child"
    assert events == ["connection", parents, "connection", childs, childs, parents]


def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(OK) as (url, events):
        monkeypatch.setenv("http_proxy", url.replace("//", "//user:pass%20word@"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert connections("http://storage.invalid:81").send("GET", "/a", {}).content == b"bytes"
        with pytest.raises(NotConnected):
            connections("http://127.0.0.1:1").send("GET", "/a", {})
        monkeypatch.setenv("no_proxy", "storage.invalid")
        with pytest.raises(NotConnected):
            connections("http://storage.invalid:81").send("GET", "/a", {})
    assert events == ["connection", "GET http://storage.invalid:81/a"]


def test_preparing_opens_no_connection() -> None:
    with server(OK) as (url, events):
        sender = connections(url)
        sender.prepare()
        assert events == []
        sender.send("GET", "/", {})
    assert events == ["connection", "GET /"]
