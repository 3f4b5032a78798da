"""Requests that do not end: a server that answers them has not waited for the body."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

ANSWER_SECONDS = 15.0


def answer_to_unfinished(
    url: str, headers: Mapping[str, str], body: bytes = b"", *, seconds: float = ANSWER_SECONDS
) -> httpx.Response:
    """Send a POST that does not end, and return the JSON answer that nevertheless comes within ``seconds``."""
    parts = urlsplit(url)
    head = [f"POST {parts.path} HTTP/1.1", "Host: test", *(f"{name}: {value}" for name, value in headers.items())]
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=seconds) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
        received = b""
        try:
            while b"\r\n\r\n" not in received or not received.endswith(b"}"):
                chunk = connection.recv(65536)
                assert chunk, f"the connection ended after {received!r}"
                received += chunk
        except TimeoutError:
            raise AssertionError(f"the server waits for the body; it sent {received!r}") from None
    lines, _, content = received.decode().partition("\r\n\r\n")
    status, *fields = lines.split("\r\n")
    answer_headers = [(name, value) for name, _, value in (field.partition(": ") for field in fields)]
    return httpx.Response(int(status.split()[1]), headers=answer_headers, content=content.encode())
