"""The doctor's requests: each is sent once, as a browser would send it, and none takes longer than a bounded time."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from urllib3 import BaseHTTPResponse, HTTPHeaderDict, PoolManager, ProxyManager, Timeout
from urllib3.exceptions import HTTPError

from presign.backends.addresses import is_loopback
from presign.errors import StorageUnavailable
from presign.testing.requests import UploadAttempt

CONNECT_SECONDS = 5
ANSWER_SECONDS = 20
MAX_ANSWER_BYTES = 64 * 1024

_AGENT = "presign-doctor"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the storage answered. ``body`` may repeat what was sent, so no message may hold it."""

    status: int
    headers: HTTPHeaderDict
    body: bytes = field(repr=False)

    @property
    def is_accepted(self) -> bool:
        """Whether the storage did what was asked."""
        return 200 <= self.status < 300

    @property
    def is_refused(self) -> bool:
        """Whether the storage refused the request; a failure of its own is no refusal."""
        return 400 <= self.status < 500

    @property
    def is_redirect(self) -> bool:
        """Whether the storage sends the client elsewhere."""
        return 300 <= self.status < 400

    def mentions(self, text: str) -> bool:
        """Say whether the answer's body has this text."""
        return text.encode() in self.body


class Sender:
    """Send requests to the storage. ``clock_offset`` is how far its clock is ahead of this machine's, once known."""

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self._ssl_context = ssl_context
        self._pools: dict[str | None, PoolManager] = {}
        self.clock_offset: timedelta | None = None

    def attempt(self, attempt: UploadAttempt, *, origin: str | None = None) -> Answer:
        """Send an upload, and with ``origin`` as a page of that origin does."""
        headers, body = attempt.encoded()
        if origin is not None:
            headers["Origin"] = origin
        return self.send(attempt.method, attempt.url, headers=headers, body=body)

    def send(self, method: str, url: str, *, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
        """Send one request and return the answer, whatever its status is; a redirect is an answer.

        Raises StorageUnavailable without an answer.
        """
        given = {"User-Agent": _AGENT, **(headers or {})}
        if method in {"POST", "PUT"}:
            given["Content-Length"] = str(len(body))
        before = datetime.now(timezone.utc)
        try:
            response = self._pool_for(url).request(
                method, url, body=body or None, headers=given, redirect=False, retries=False, preload_content=False
            )
            with response:
                content = _read(response)
        except HTTPError as error:
            # The text of the error has the URL, and with it the signature.
            parts = urlsplit(url)
            raise StorageUnavailable(
                f"{parts.scheme}://{parts.netloc} does not answer ({type(error).__name__})"
            ) from None
        finally:
            after = datetime.now(timezone.utc)
        offset = _clock_offset(response.headers.get("Date"), before, after)
        if offset is not None and self.clock_offset is None:
            self.clock_offset = offset
        return Answer(status=response.status, headers=response.headers, body=content)

    def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.clear()

    def _pool_for(self, url: str) -> PoolManager:
        parts = urlsplit(url)
        host = parts.hostname or ""
        proxies = getproxies()
        proxy = None if is_loopback(host) or proxy_bypass(host) else proxies.get(parts.scheme) or proxies.get("all")
        if proxy not in self._pools:
            options: dict[str, Any] = {
                "timeout": Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS),
                "ssl_context": self._ssl_context,
            }
            if proxy is None:
                self._pools[proxy] = PoolManager(**options)
            else:
                self._pools[proxy] = ProxyManager(proxy if "://" in proxy else f"http://{proxy}", **options)
        return self._pools[proxy]


def _read(response: BaseHTTPResponse) -> bytes:
    """Return the beginning of the body; a server that sends it byte by byte holds nobody up."""
    deadline = time.monotonic() + ANSWER_SECONDS
    content = b""
    while len(content) < MAX_ANSWER_BYTES and time.monotonic() < deadline:
        piece = response.read1(MAX_ANSWER_BYTES)
        if not piece:
            break
        content += piece
    return content


def _clock_offset(date: str | None, before: datetime, after: datetime) -> timedelta | None:
    """Return how far the storage's clock is ahead, from its Date header, which has whole seconds."""
    try:
        shown = parsedate_to_datetime(date) if date else None
    except (ValueError, TypeError):
        return None
    if shown is None or shown.tzinfo is None:
        return None
    second = timedelta(seconds=1)
    if shown + second < before:
        return shown + second - before
    return max(shown - after, timedelta())
