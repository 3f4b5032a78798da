"""HTTP requests over connections that stay open: allowed addresses, TLS, proxies, time-outs and retries."""

from __future__ import annotations

import ipaddress
import threading
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from urllib3 import HTTPHeaderDict, PoolManager, ProxyManager, Retry, Timeout
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util import make_headers, parse_url

from presign.uploading.errors import NotReachable, UploadFailed, printable
from presign.uploading.source import Body

BUSY_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
"""The statuses with which a server says that the same request can succeed later."""

MAX_RETRY_AFTER_SECONDS = 300

# While a request is sent, urllib3's time-out for connecting holds for each block.
_CONNECT_SECONDS = 30
_ANSWER_SECONDS = 60
_BLOCK_BYTES = 64 * 1024

PATIENT = Retry(
    total=6,
    # A certificate that is not valid now is not valid in half a minute either.
    other=0,
    # Every request of the contract can be repeated.
    allowed_methods=None,
    status_forcelist=BUSY_STATUSES,
    backoff_factor=0.5,
    backoff_jitter=0.5,
    retry_after_max=MAX_RETRY_AFTER_SECONDS,
    raise_on_status=False,
)
"""Send a request again up to six times; the waits take half a minute, or as long as the server asks."""

FIRST_CONTACT = PATIENT.new(connect=2)
"""The same, but give up soon if nobody listens at the address."""

ONCE = Retry(total=0, status_forcelist=(), raise_on_status=False, respect_retry_after_header=False)
"""Send a request once; the caller repeats it."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server answered."""

    status: int
    headers: HTTPHeaderDict
    body: bytes

    @property
    def retry_after_seconds(self) -> float:
        """The seconds that the server asks to wait, from 0 to 300."""
        header = self.headers.get("Retry-After")
        try:
            seconds = PATIENT.parse_retry_after(header) if header else 0
        except HTTPError:
            return 0
        return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS)


class Connections:
    """Send requests with at most ``parallel`` at a time to the same server. Safe to use from several threads.

    Certificates are verified with the system's authorities, or those of ``SSL_CERT_FILE``. The environment's proxies
    are used (``HTTPS_PROXY``, ``NO_PROXY``). A redirect is an answer like any other, so that no header goes elsewhere.
    Without ``allow_http``, an address without TLS must be on this machine. So must then be the application's server, at
    ``api``: another one must not choose what is sent to the programs of this machine.

    Raises UploadFailed if ``api`` is no address of a server, or a forbidden one.
    """

    def __init__(self, *, api: str, parallel: int, allow_http: bool) -> None:
        self._parallel = parallel
        self._allow_http = allow_http
        self._is_api_local = True
        self.check(api)
        self._is_api_local = _is_loopback(urlsplit(api).hostname or "")
        self._lock = threading.Lock()
        self._pools: dict[str | None, PoolManager] = {}

    def send(
        self, method: Literal["POST", "PUT"], url: str, *, headers: dict[str, str], body: bytes | Body, retries: Retry
    ) -> Answer:
        """Send a request and return the answer, whatever its status is.

        ``retries`` says how often it is sent again after a failure, or if the server is busy. Raises NotReachable if
        there is no answer, and UploadFailed for a forbidden address.
        """
        self.check(url)
        try:
            response = self._pool_for(url).urlopen(
                method,
                url,
                redirect=False,
                body=body,
                headers={"User-Agent": "presign-uploads", **headers, "Content-Length": str(len(body))},
                retries=retries,
            )
        except HTTPError as error:
            # The text of the error has the address, which grants access.
            raise NotReachable(f"{_origin(url)} {_reason(error)}") from None
        except ValueError:
            # The text of the error has the header, which may grant access.
            raise UploadFailed(f"the server wants a header for {_origin(url)} that no request can have") from None
        return Answer(status=response.status, headers=response.headers, body=response.data)

    def check(self, url: str) -> None:
        """Raise UploadFailed if ``url`` is no address of a server, or one without TLS that is not allowed."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            parts, host = urlsplit(""), None
        if parts.scheme not in {"http", "https"} or not host or parts.username is not None:
            raise UploadFailed("the address is not one of a server: it must be https://HOST/PATH, without a user")
        if parts.scheme == "http" and not self._allow_http and not _is_loopback(host):
            raise UploadFailed(
                f"{_origin(url)} has no TLS, so everybody on the way can read and change the upload; use https, or "
                "allow it with --allow-http"
            )
        if _is_loopback(host) and not self._is_api_local and not self._allow_http:
            raise UploadFailed(
                f"the server wants the file to be sent to {_origin(url)}, a program on this machine; if that is right, "
                "allow it with --allow-http"
            )

    def _pool_for(self, url: str) -> PoolManager:
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_direct = _is_loopback(host) or proxy_bypass(host)
        proxies = getproxies()
        proxy = None if is_direct else proxies.get(parts.scheme) or proxies.get("all")
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = self._pool(proxy)
            return self._pools[proxy]

    def _pool(self, proxy: str | None) -> PoolManager:
        timeout = Timeout(connect=_CONNECT_SECONDS, read=_ANSWER_SECONDS)
        if proxy is None:
            return PoolManager(
                maxsize=self._parallel, timeout=timeout, blocksize=_BLOCK_BYTES, cert_reqs="CERT_REQUIRED"
            )
        if "://" not in proxy:
            proxy = f"http://{proxy}"
        user = parse_url(proxy).auth
        return ProxyManager(
            proxy,
            maxsize=self._parallel,
            timeout=timeout,
            blocksize=_BLOCK_BYTES,
            cert_reqs="CERT_REQUIRED",
            proxy_headers=make_headers(proxy_basic_auth=unquote(user)) if user else None,
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return printable(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")


def _reason(error: HTTPError) -> str:
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason is not None else error
    match cause:
        case SSLError():
            return f"cannot be trusted: {cause}"
        case ProxyError():
            return "cannot be reached through the proxy"
        case NameResolutionError():
            return "is not known by this name"
        case NewConnectionError():
            return "does not accept connections"
        case ConnectTimeoutError() | ReadTimeoutError():
            return "did not answer in time"
        case _:
            return "broke the connection"
