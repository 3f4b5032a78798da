"""The Azure SDK's client for the blob service: its time-outs and retries, and the error codes of its exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError, ServiceRequestTimeoutError, ServiceResponseTimeoutError

from presign.azure.account import Account

if TYPE_CHECKING:
    from azure.core.pipeline import PipelineRequest, PipelineResponse
    from azure.storage.blob import BlobServiceClient, LinearRetry

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 10
RETRIES = 1
RETRY_DELAY_SECONDS = 1


def build_client(account: Account, *, api_version: str) -> BlobServiceClient:
    """Return a client that speaks ``api_version``, because a region need not know the SDK's newest version yet.

    An attempt fails if connecting takes CONNECT_TIMEOUT_SECONDS, or if the storage sends nothing for
    READ_TIMEOUT_SECONDS. An attempt that fails for another reason is repeated once.
    """
    # No completion needs the SDK, which takes long to import.
    from azure.storage.blob import BlobServiceClient

    return BlobServiceClient(
        account.url,
        credential=account.credential,
        api_version=api_version,
        connection_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retry_policy=_retry_policy(),
    )


def error_code(error: AzureError) -> str:
    """Return the service's error code, or the name of the exception.

    It stands in for the exception's message, which may repeat what was signed.
    """
    code: Any = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or type(error).__name__)


def _retry_policy() -> LinearRetry:
    from azure.storage.blob import LinearRetry

    class RetryUnlessTimedOut(LinearRetry):
        """Repeat a failed request, but not one that timed out: that would double the time that the caller waits."""

        def increment(
            self,
            settings: dict[str, Any],
            request: PipelineRequest[Any],
            response: PipelineResponse[Any, Any] | None = None,
            error: AzureError | None = None,
        ) -> bool:
            """Say whether to repeat the request that ended with ``response`` or ``error``."""
            if isinstance(error, ServiceRequestTimeoutError | ServiceResponseTimeoutError):
                return False
            return super().increment(settings, request, response, error)

    return RetryUnlessTimedOut(
        backoff=RETRY_DELAY_SECONDS, random_jitter_range=RETRY_DELAY_SECONDS, retry_total=RETRIES
    )
