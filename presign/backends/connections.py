"""The HTTP connections over which a backend sends its own requests to the storage.

A completion is a few small requests. An SDK takes milliseconds of CPU time for each of them, mostly for what these
requests do not need. So a backend signs them itself and sends them over these connections, and leaves what is rare to
its SDK.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from presign.backends.addresses import is_loopback
from presign.backends.lazy_client import LazyClient

if TYPE_CHECKING:
    from ssl import SSLContext

# urllib3 and what it needs take longer to import than everything else that a ticket needs, so they are imported later.

MAX_IDLE_CONNECTIONS = 64
"""How many connections stay open between requests: one for each thread that the adapters complete in, and for others.

A connection that is closed and opened again costs a TLS handshake.
"""

REQUESTS_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""The variables that the package requests obeys, over which the SDKs of Azure and Google send."""

_NO_CONTENT = frozenset({204, 304})
_USER_AGENT = "presign-uploads"


class ConnectionTimedOut(TimeoutError):
    """No connection to the storage was established in time; it has not got the request."""


class ReadTimedOut(TimeoutError):
    """The storage got the request and sent nothing for too long; it may have done what was asked."""


class NotConnected(ConnectionError):
    """The storage, or the proxy in front of it, cannot be reached; it has not got the request."""


class UntrustedCertificate(NotConnected):
    """No TLS connection was established, for example because the certificate is not valid for the host."""


class Disconnected(ConnectionError):
    """The connection broke before the whole answer was there; the storage may have done what was asked."""


class Answer(NamedTuple):
    """What the storage answered; the names of ``headers`` are in lower case. ``repr`` leaves out what was stored."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def __repr__(self) -> str:
        return f"Answer(status={self.status})"

    @property
    def text(self) -> str:
        """The content as text; what is not UTF-8 is replaced."""
        return self.content.decode(errors="replace")


class Connections:
    """Send requests to one server, over connections that stay open. Safe to use from several threads.

    - ``url``: the server's URL; everything behind its host is ignored.
    - ``authorities``: a file or a folder with the certificate authorities to trust.
    - ``ca_variables``: without ``authorities``, environment variables that may name them, which the cloud's SDK obeys
      too. The first one that is set counts. By default, the authorities are those of ``certifi``, like those of the
      SDKs, and without that package the system's.
    - ``connect_seconds``, ``read_seconds``: how long to wait for a connection, and for each piece of an answer.

    The environment's proxies are used (``HTTPS_PROXY``, ``NO_PROXY``), but not for this machine. Redirects are not
    followed, nothing is sent twice, and content is returned as it was sent, also if it is compressed. Nothing is opened
    before the first request, or ``prepare``. A forked process opens connections of its own.
    """

    def __init__(
        self,
        url: str,
        *,
        authorities: str | None = None,
        ca_variables: Sequence[str],
        connect_seconds: float,
        read_seconds: float,
    ) -> None:
        parts = urlsplit(url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._authorities = authorities
        self._ca_variables = tuple(ca_variables)
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._urlopen = LazyClient(self._open)
        self._process = os.getpid()

    def __repr__(self) -> str:
        return f"Connections({self._origin!r})"

    def prepare(self) -> None:
        """Load what the first request needs, such as the certificate authorities. Opens no connection."""
        # Python imports it when it looks up the first host.
        import encodings.idna  # noqa: F401

        self._own_urlopen()

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        *,
        body: bytes = b"",
        read_seconds: float | None = None,
        max_bytes: int | None = None,
    ) -> Answer:
        """Send a request, and return its answer, whatever the status is.

        ``target`` is the path and the query, percent-encoded. ``read_seconds`` replaces the time-out for this request.
        If the content is longer than ``max_bytes``, the rest is not read. Raises ConnectionTimedOut, ReadTimedOut,
        NotConnected and Disconnected, which are OSErrors; their messages have no URL and no header.
        """
        try:
            response = self._own_urlopen()(
                method,
                target,
                body=body or None,
                headers={"User-Agent": _USER_AGENT, **headers},
                retries=False,
                redirect=False,
                timeout=(self._connect_seconds, read_seconds or self._read_seconds),
                preload_content=False,
                decode_content=False,
            )
            try:
                answered = {name.lower(): value for name, value in response.headers.items()}
                # One byte more: reading to the end gives the connection back.
                content: bytes = response.read(None if max_bytes is None else max_bytes + 1)
                if max_bytes is not None and len(content) > max_bytes:
                    response.close()
                    content = content[:max_bytes]
            except BaseException:
                response.close()
                raise
            finally:
                response.release_conn()
        except Exception as error:
            failure = _failure(error)
            if failure is None:
                raise
            raise failure from None
        if method != "HEAD" and response.status not in _NO_CONTENT and answered.keys().isdisjoint(_LENGTH_HEADERS):
            # Python's HTTP client takes headers that broke off for all headers, and then the content for empty.
            raise Disconnected("the answer broke off within its headers")
        return Answer(response.status, answered, content)

    def _own_urlopen(self) -> Callable[..., Any]:
        if self._process != os.getpid():
            # On the connections of another process, each of the two could get answers that are meant for the other.
            self._urlopen = LazyClient(self._open)
            self._process = os.getpid()
        return self._urlopen.get()

    def _open(self) -> Callable[..., Any]:
        """Return what sends a request to a target of this server."""
        from urllib3 import PoolManager, ProxyManager, Timeout
        from urllib3.util import make_headers, parse_url

        options: dict[str, Any] = {"maxsize": MAX_IDLE_CONNECTIONS}
        if self._origin.startswith("https:"):
            named = (os.environ.get(variable) for variable in self._ca_variables)
            options["ssl_context"] = _tls_context(self._authorities or next(filter(None, named), None))
        proxy = _proxy_for(self._origin)
        urlopen: Callable[..., Any]
        if proxy is None:
            urlopen, beginning = PoolManager(**options).connection_from_url(self._origin).urlopen, ""
        else:
            user = parse_url(proxy).auth
            authorization = make_headers(proxy_basic_auth=unquote(user)) if user else None
            urlopen, beginning = ProxyManager(proxy, proxy_headers=authorization, **options).urlopen, self._origin

        def send(method: str, target: str, *, timeout: tuple[float, float], **request: Any) -> Any:
            connect, read = timeout
            return urlopen(method, f"{beginning}{target}", timeout=Timeout(connect=connect, read=read), **request)

        return send


_LENGTH_HEADERS = frozenset({"content-length", "transfer-encoding"})


@lru_cache(maxsize=8)
def _tls_context(authorities: str | None) -> SSLContext:
    """Return the TLS settings for servers that ``authorities`` vouch for, a file or a folder."""
    from urllib3.util import create_urllib3_context

    context = create_urllib3_context()
    if authorities is None:
        with suppress(ImportError):
            import certifi

            authorities = certifi.where()
    if authorities is None:
        context.load_default_certs()
    elif os.path.isdir(authorities):
        context.load_verify_locations(capath=authorities)
    else:
        context.load_verify_locations(cafile=authorities)
    return context


def _proxy_for(origin: str) -> str | None:
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(origin)
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _failure(error: Exception) -> OSError | None:
    """Return the error to raise, or None for a mistake of the caller.

    The text of urllib3's own errors has the target, which may have a signature.
    """
    from http.client import HTTPException

    from urllib3 import exceptions

    if isinstance(error, exceptions.ProxyError | exceptions.NewConnectionError):
        return NotConnected("no connection")
    if isinstance(error, exceptions.SSLError):
        return UntrustedCertificate("no TLS connection")
    if isinstance(error, exceptions.ConnectTimeoutError):
        return ConnectionTimedOut("no connection in time")
    if isinstance(error, exceptions.ReadTimeoutError):
        return ReadTimedOut("no answer in time")
    if isinstance(error, exceptions.HTTPError | HTTPException | OSError):
        return Disconnected(f"the connection broke ({type(error).__name__})")
    return None
