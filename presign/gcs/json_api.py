"""The JSON API of Cloud Storage, through Google's SDK: describes, reads and deletes the objects of one bucket.

A storage that hangs keeps one attempt for at most ``CONNECT_TIMEOUT_SECONDS`` + ``READ_TIMEOUT_SECONDS`` = 10 seconds.
A call that fails within its first ``RETRY_WINDOW_SECONDS`` is repeated once, so a call takes at most 15 seconds. The
read time-out applies to each piece of the response, so a large range on a slow network may take longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, NotFound, Unauthorized
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError, InvalidOperation, RefreshError, TransportError
from google.cloud import storage  # type: ignore[import-untyped]

from presign.backends.backend import ObjectHead
from presign.backends.failures import missing_bucket, storage_failed, unreachable
from presign.backends.lazy_client import LazyClient
from presign.errors import ConfigurationError, StorageUnavailable
from presign.gcs.credentials import CREDENTIALS_SETTINGS, verifying_credentials

CONNECT_TIMEOUT_SECONDS = 3.0
READ_TIMEOUT_SECONDS = 7.0
TIMEOUTS = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
"""The time-outs of one attempt, in the form that ``requests`` takes."""
RETRY_WINDOW_SECONDS = 4.5
RETRY_DELAY_SECONDS = 0.5

T = TypeVar("T")

# The OSErrors include the errors of requests, and the SDK's own ConnectionError for a download that was cut short.
_FAILURES = (GoogleAPIError, GoogleAuthError, OSError)
_TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


class JsonApi:
    """One bucket in the JSON API. ``credentials`` are chosen as ``verifying_credentials`` says, at the first call."""

    def __init__(self, *, bucket: str, endpoint_url: str, credentials: Credentials | None) -> None:
        self._name = f"gs://{bucket}"
        self._bucket = bucket
        self._endpoint_url = endpoint_url
        self._client = LazyClient(partial(_build_client, endpoint_url, credentials))

    def check(self) -> None:
        """Ask for the bucket; credentials that may not read its settings pass, because verifying needs no such right.

        Raises ConfigurationError if Google refuses the credentials or the bucket does not exist, and
        StorageUnavailable.
        """
        try:
            exists = self._call(lambda bucket: bucket.exists(timeout=TIMEOUTS, retry=None))
        except (TransportError, RefreshError) as error:
            if isinstance(error, TransportError) or error.retryable:
                raise unreachable("the token service of the credentials", error) from None
            raise _refused("Google's token service refuses the credentials") from None
        except (Unauthorized, InvalidOperation):
            raise _refused(f"{self._endpoint_url} refuses the credentials (401)") from None
        except GoogleAPICallError as error:
            if error.code == 403:
                return
            raise self._failed("GET", error) from None
        except _FAILURES as error:
            raise unreachable(self._endpoint_url, error) from None
        if not exists:
            raise missing_bucket(self._bucket, self._endpoint_url)

    def head(self, key: str) -> ObjectHead | None:
        """Return the object's description; None for 404, and for 403, the answer if the credentials may not list."""
        try:
            blob = self._call(lambda bucket: bucket.get_blob(key, timeout=TIMEOUTS, retry=None))
        except _FAILURES as error:
            if isinstance(error, GoogleAPICallError) and error.code == 403:
                return None
            raise self._failed("GET", error) from None
        return None if blob is None else _object_head(blob)

    def read(self, key: str, *, offset: int, length: int, etag: str) -> bytes:
        """Return a range of the object's bytes; raises StorageUnavailable if the object was replaced meanwhile."""
        last = offset + length - 1
        try:
            return self._call(lambda bucket: _download(bucket.blob(key), offset, last, etag))
        except _FAILURES as error:
            raise self._failed("GET", error) from None

    def delete(self, key: str) -> None:
        """Delete the object; in a bucket with versions, the live version becomes a noncurrent one."""
        try:
            self._call(lambda bucket: bucket.blob(key).delete(timeout=TIMEOUTS, retry=None))
        except NotFound:
            return
        except _FAILURES as error:
            raise self._failed("DELETE", error) from None

    def _call(self, call: Callable[[Any], T]) -> T:
        """Return what ``call`` returns for the SDK's bucket; repeat it once after an early and transient failure."""
        bucket = self._client.get().bucket(self._bucket)
        start = time.monotonic()
        try:
            return call(bucket)
        except _FAILURES as error:
            if not _is_transient(error) or time.monotonic() - start > RETRY_WINDOW_SECONDS:
                raise
        time.sleep(RETRY_DELAY_SECONDS)
        return call(bucket)

    def _failed(self, call: str, error: Exception) -> StorageUnavailable:
        return storage_failed(self._name, call, _code(error))


def _build_client(endpoint_url: str, credentials: Credentials | None) -> Any:
    return storage.Client(
        project=None,
        credentials=verifying_credentials(credentials, endpoint_url),
        client_options={"api_endpoint": endpoint_url},
    )


def _refused(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{what}: the service account or its key may be expired, disabled or deleted; create another key, and check "
        f"{CREDENTIALS_SETTINGS}, because the credentials verify uploads",
        field="credentials",
    )


def _object_head(blob: Any) -> ObjectHead:
    return ObjectHead(
        size=blob.size,
        content_type=blob.content_type or "",
        etag=blob.etag,
        version=str(blob.generation),
        content_disposition=blob.content_disposition or None,
        cache_control=blob.cache_control or None,
        content_encoding=blob.content_encoding or None,
        metadata={name.lower(): value for name, value in (blob.metadata or {}).items()},
        unexpected_headers={"content-language": blob.content_language} if blob.content_language else {},
    )


def _download(blob: Any, first: int, last: int, etag: str) -> bytes:
    try:
        content: bytes = blob.download_as_bytes(
            start=first, end=last, raw_download=True, if_etag_match=etag, checksum=None, timeout=TIMEOUTS, retry=None
        )
    except GoogleAPICallError as error:
        # The SDK leaves the connection of a refused download open.
        if error.response is not None:
            error.response.close()
        raise
    return content


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
