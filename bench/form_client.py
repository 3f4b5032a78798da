"""An HTTP client that sends a large file as a browser does, without holding it, and counts what goes over the wire."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

CHUNK = bytes(range(256)) * 4096
_TIMEOUT_SECONDS = 120


class UploadFailed(Exception):
    """A server refused what a measurement needs it to take."""


class Origin:
    """One server, over one connection that is kept, as browsers do.

    ``traffic`` counts the bytes of bodies, both ways; the headers' few hundred are left out.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
        self.traffic = 0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def post_json(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Send JSON and return the answer's."""
        encoded = json.dumps(body).encode()
        return self._exchange(path, iter([encoded]), len(encoded), "application/json")

    def post_form(self, path: str, fields: Mapping[str, str], *, size: int, content_type: str) -> dict[str, Any]:
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
        return self._exchange(path, body(), length, f"multipart/form-data; boundary={boundary}")

    def _exchange(self, path: str, body: Iterator[bytes], length: int, content_type: str) -> dict[str, Any]:
        headers = {"Content-Length": str(length), "Content-Type": content_type}
        self._connection.request("POST", path, body=body, headers=headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status not in {200, 201, 204}:
            raise UploadFailed(f"{path} answered {response.status}: {answer[:500]!r}")
        self.traffic += length + len(answer)
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        return dict(json.loads(answer)) if is_json else {}
