"""The JSON API of Cloud Storage, through Google's SDK: the client, its time-outs and its retries.

A storage that hangs keeps one attempt for at most ``CONNECT_TIMEOUT_SECONDS`` + ``READ_TIMEOUT_SECONDS`` = 10 seconds.
A call that fails within its first ``RETRY_WINDOW_SECONDS`` is repeated once, so a call takes at most 15 seconds. The
read time-out applies to each piece of the response, so a large range on a slow network may take longer. A rewrite has
time-outs of its own (see ``presign.gcs.rewriting``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, Unauthorized
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError, InvalidOperation, RefreshError, TransportError
from google.cloud import storage  # type: ignore[import-untyped]

from presign.backends.failures import missing_bucket, storage_failed, unreachable
from presign.backends.lazy_client import LazyClient
from presign.errors import ConfigurationError, StorageUnavailable
from presign.gcs.credentials import ServiceAccount, settings_of, verifying_credentials

CONNECT_TIMEOUT_SECONDS = 3.0
READ_TIMEOUT_SECONDS = 7.0
TIMEOUTS = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
"""The time-outs of one attempt, in the form that ``requests`` takes."""
RETRY_WINDOW_SECONDS = 4.5
RETRY_DELAY_SECONDS = 0.5

T = TypeVar("T")

# The OSErrors include the errors of requests, and the SDK's own ConnectionError for a download that was cut short.
FAILURES = (GoogleAPIError, GoogleAuthError, OSError)
"""What a call raises if the storage, the token service or the network fails."""
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
        self._client = LazyClient(partial(_build_client, endpoint_url, credentials))

    def call(self, call: Callable[[Any], T]) -> T:
        """Return what ``call`` returns for the SDK's client; repeat it once after an early and transient failure.

        Raises one of FAILURES.
        """
        client = self._client.get()
        start = time.monotonic()
        try:
            return call(client)
        except FAILURES as error:
            if not _is_transient(error) or time.monotonic() - start > RETRY_WINDOW_SECONDS:
                raise
        time.sleep(RETRY_DELAY_SECONDS)
        return call(client)

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


def _build_client(endpoint_url: str, credentials: ServiceAccount | Credentials | None) -> Any:
    return storage.Client(
        project=None,
        credentials=verifying_credentials(credentials, endpoint_url),
        client_options={"api_endpoint": endpoint_url},
    )


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
