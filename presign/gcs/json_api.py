"""The JSON API of Cloud Storage: requests that are signed here, and Google's SDK for what is rare.

The SDK takes several times the CPU time for a request. Failures are raised as the SDK raises them, so that the callers
need not know who has sent a request.

A storage that hangs keeps one attempt for at most ``CONNECT_TIMEOUT_SECONDS`` + ``READ_TIMEOUT_SECONDS`` = 10 seconds.
A call that fails within its first ``RETRY_WINDOW_SECONDS`` is repeated once, so a call takes at most 15 seconds. The
read time-out applies to each piece of the response, so a large range on a slow network may take longer. A rewrite has
time-outs of its own (see ``presign.gcs.rewriting``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, Unauthorized, from_http_status
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError, InvalidOperation, RefreshError, TransportError
from google.auth.transport.requests import Request

from presign.backends.connections import REQUESTS_CA_VARIABLES, Answer, Connections
from presign.backends.failures import missing_bucket, storage_failed, unreachable
from presign.backends.lazy_client import LazyClient
from presign.errors import ConfigurationError, StorageUnavailable
from presign.gcs.credentials import ServiceAccount, settings_of, verifying_credentials
from presign.signing.quoting import quote_value

CONNECT_TIMEOUT_SECONDS = 3.0
READ_TIMEOUT_SECONDS = 7.0
TIMEOUTS = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
"""The time-outs of one attempt, in the form that ``requests`` takes."""
RETRY_WINDOW_SECONDS = 4.5
RETRY_DELAY_SECONDS = 0.5

T = TypeVar("T")

# The OSErrors include the errors of presign.backends.connections, of requests, and the SDK's own ConnectionError.
FAILURES = (GoogleAPIError, GoogleAuthError, OSError)
"""What a call raises if the storage, the token service or the network fails."""

_API_PATH = "/storage/v1"
_DOWNLOAD_PATH = "/download/storage/v1"
_TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


class JsonApi:
    """The JSON API at one endpoint, with one identity.

    ``credentials`` are chosen as ``verifying_credentials`` says, at the first call. ``setting`` is the argument of
    GCSBackend that they come from.
    """

    def __init__(
        self, *, endpoint_url: str, credentials: ServiceAccount | Credentials | None, setting: str = "credentials"
    ) -> None:
        self._endpoint_url = endpoint_url
        self._setting = setting
        self._path = urlsplit(endpoint_url).path.rstrip("/")
        self._credentials = LazyClient(partial(verifying_credentials, credentials, endpoint_url))
        self._client = LazyClient(lambda: _build_client(endpoint_url, self._credentials.get()))
        self._token_service = LazyClient(lambda: partial(Request(), timeout=TIMEOUTS))
        connect_seconds, read_seconds = TIMEOUTS
        self._connections = Connections(
            endpoint_url,
            ca_variables=REQUESTS_CA_VARIABLES,
            connect_seconds=connect_seconds,
            read_seconds=read_seconds,
        )

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        read_seconds: float | None = None,
        max_bytes: int | None = None,
    ) -> Answer:
        """Send a request, and return its answer; repeat it once after an early and transient failure.

        ``path`` begins with the bucket (see ``object_path``). If ``query`` has ``alt=media``, the answer is the
        object's content. ``read_seconds`` is READ_TIMEOUT_SECONDS by default. Raises ConfigurationError if there are no
        credentials, and one of FAILURES, also for a status from 300 on.
        """
        api_path = _DOWNLOAD_PATH if query.get("alt") == "media" else _API_PATH
        target = f"{self._path}{api_path}{path}?{urlencode(query)}"
        credentials: Any = self._credentials.get()

        def attempt() -> Answer:
            authorized = dict(headers or {})
            url = f"{self._endpoint_url}{target}"
            credentials.before_request(self._token_service.get(), method, url, authorized)
            answer = self._connections.send(
                method, target, authorized, body=body, read_seconds=read_seconds, max_bytes=max_bytes
            )
            if answer.status >= 300:
                # Without a message, because the answer's own may repeat what was sent.
                raise from_http_status(answer.status, "")  # type: ignore[no-untyped-call]
            return answer

        def attempt_with_valid_token() -> Answer:
            try:
                return attempt()
            except Unauthorized:
                # The token may have been revoked before its time.
                credentials.refresh(self._token_service.get())
            return attempt()

        return _repeated(attempt_with_valid_token)

    def call(self, call: Callable[[Any], T]) -> T:
        """Return what ``call`` returns for the SDK's client; repeat it once after an early and transient failure.

        Raises one of FAILURES.
        """
        return _repeated(partial(call, self._client.get()))

    def prepare(self) -> None:
        """Load what the first request needs, and get a token. Raises ConfigurationError and StorageUnavailable."""
        self._connections.prepare()
        credentials: Any = self._credentials.get()
        try:
            credentials.before_request(self._token_service.get(), "GET", self._endpoint_url, {})
        except FAILURES as error:
            raise unreachable("the token service of the credentials", error) from None

    def check(self, bucket: str, *, kind: str) -> None:
        """Ask for a bucket; credentials that may not read its settings pass, because verifying needs no such right.

        ``kind`` is the setting that names the bucket. Raises ConfigurationError if Google refuses the credentials or
        the bucket does not exist, and StorageUnavailable.
        """
        try:
            exists = self.call(lambda client: client.bucket(bucket).exists(timeout=TIMEOUTS, retry=None))
        except (TransportError, RefreshError) as error:
            if isinstance(error, TransportError) or error.retryable:
                raise unreachable("the token service of the credentials", error) from None
            raise self._refused("Google's token service refuses the credentials") from None
        except (Unauthorized, InvalidOperation):
            raise self._refused(f"{self._endpoint_url} refuses the credentials (401)") from None
        except GoogleAPICallError as error:
            if error.code == 403:
                return
            raise failed(bucket, "GET", error) from None
        except FAILURES as error:
            raise unreachable(self._endpoint_url, error) from None
        if not exists:
            raise missing_bucket(bucket, self._endpoint_url, kind=kind)

    def _refused(self, what: str) -> ConfigurationError:
        return ConfigurationError(
            f"{what}: the service account or its key may be expired, disabled or deleted; create another key, and "
            f"check {settings_of(self._setting)}, because the credentials verify uploads",
            field=self._setting,
        )


def failed(bucket: str, call: str, error: Exception) -> StorageUnavailable:
    """Return the error for a call that raised one of FAILURES."""
    return storage_failed(f"gs://{bucket}", call, _code(error))


def object_path(bucket: str, key: str) -> str:
    """Return an object's path in the API."""
    return f"/b/{bucket}/o/{quote_value(key)}"


def _build_client(endpoint_url: str, credentials: Credentials) -> Any:
    # The SDK takes long to import, and no completion needs it.
    from google.cloud import storage  # type: ignore[import-untyped]

    return storage.Client(project=None, credentials=credentials, client_options={"api_endpoint": endpoint_url})


def _repeated(attempt: Callable[[], T]) -> T:
    start = time.monotonic()
    try:
        return attempt()
    except FAILURES as error:
        if not _is_transient(error) or time.monotonic() - start > RETRY_WINDOW_SECONDS:
            raise
    time.sleep(RETRY_DELAY_SECONDS)
    return attempt()


def _is_transient(error: Exception) -> bool:
    if isinstance(error, GoogleAPICallError):
        return error.code in _TRANSIENT_STATUSES
    return isinstance(error, TransportError | OSError)


def _code(error: Exception) -> str:
    """Return the status or the exception's name; the SDK's message may repeat what it authenticated with."""
    if isinstance(error, InvalidOperation):
        # After a 401 the SDK renews the credentials, and anonymous ones cannot be renewed.
        return "401"
    if isinstance(error, GoogleAPICallError) and error.code is not None:
        # An HTTPStatus, which Python 3.10 would write by its name.
        return f"{error.code:d}"
    return type(error).__name__
