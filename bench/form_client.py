"""An HTTP client that sends a large file as a browser does, without holding it, and counts what goes over the wire."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

CHUNK = bytes(range(256)) * 4096
_TIMEOUT_SECONDS = 120


class UploadFailed(Exception):
    """A server refused what a measurement needs it to take."""


@dataclass
class Traffic:
    """Bytes of bodies, both ways; the headers' few hundred are left out."""

    count: int = 0


def post_json(url: str, body: Mapping[str, object], traffic: Traffic) -> dict[str, Any]:
    """Send JSON and return the answer's."""
    encoded = json.dumps(body).encode()
    return _exchange(url, iter([encoded]), len(encoded), "application/json", traffic)


def post_form(url: str, fields: Mapping[str, str], *, size: int, content_type: str, traffic: Traffic) -> dict[str, Any]:
    """Send ``fields`` and then a file of ``size`` bytes as multipart/form-data, and return an answer in JSON."""
    boundary = uuid.uuid4().hex
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    head += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file.bin"\r\n'
        f"Content-Type: {content_type}\r\n\r\n"
    )
    start, end = head.encode(), f"\r\n--{boundary}--\r\n".encode()

    def body() -> Iterator[bytes]:
        yield start
        for offset in range(0, size, len(CHUNK)):
            yield CHUNK[: min(len(CHUNK), size - offset)]
        yield end

    length = len(start) + size + len(end)
    return _exchange(url, body(), length, f"multipart/form-data; boundary={boundary}", traffic)


def _exchange(url: str, body: Iterator[bytes], length: int, content_type: str, traffic: Traffic) -> dict[str, Any]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request(
            "POST", parts.path, body=body, headers={"Content-Length": str(length), "Content-Type": content_type}
        )
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status not in {200, 201, 204}:
        raise UploadFailed(f"{url} answered {response.status}: {answer[:500]!r}")
    traffic.count += length + len(answer)
    is_json = response.headers.get("Content-Type", "").startswith("application/json")
    return dict(json.loads(answer)) if is_json else {}
