"""The server's own requests to the blob service, signed here. The SDK takes several times the CPU time for them.

Failures are raised as the SDK raises them, so that the callers need not know who has sent a request.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from urllib.parse import urlsplit

from azure.core.credentials import AccessToken, AzureNamedKeyCredential, TokenCredential
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)

from presign.azure import client
from presign.azure.account import Account
from presign.backends.connections import (
    REQUESTS_CA_VARIABLES,
    Answer,
    Connections,
    ConnectionTimedOut,
    NotConnected,
    ReadTimedOut,
)
from presign.backends.expiring_credentials import CredentialsRenewer, ExpiringCredentials
from presign.backends.lazy_client import LazyClient
from presign.errors import CredentialsUnavailable
from presign.signing import shared_key
from presign.signing.quoting import quote_path, quote_value

Query = Sequence[tuple[str, str]]

_SCOPE = "https://storage.azure.com/.default"
_RENEWAL_PERIOD = timedelta(minutes=5)
_ERROR_CODE = re.compile(r"<Code>(\w{1,64})</Code>", re.ASCII)
_TENANT = re.compile(r"""authorization_uri="?https://[^/\s"]+/([^/\s"]+)/""", re.ASCII)
# As the SDK repeats: a server that is busy or fails, but not one that cannot do what was asked.
_REPEATED_STATUSES = frozenset({408, *range(500, 600)}) - {501, 505}


class RefusedRequest(HttpResponseError):
    """The service answered with an error; ``error_code`` is its code, or the status if it gave none."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(message=code)
        self.status_code = status
        self.error_code = code


class NotFound(RefusedRequest, ResourceNotFoundError):
    """The service answered with 404."""


class BlobRequests:
    """Send requests to the blob service of ``account``, in the service version ``api_version``.

    A request fails if connecting takes CONNECT_TIMEOUT_SECONDS, or if the service sends nothing for
    READ_TIMEOUT_SECONDS (see presign.azure.client). A request that fails for another reason is sent once more. So each
    of them must have the same effect if it is sent twice.
    """

    def __init__(self, account: Account, *, api_version: str) -> None:
        self._account = account
        self._api_version = api_version
        parts = urlsplit(account.url)
        self._path = parts.path.rstrip("/")
        self._connections = Connections(
            account.url,
            ca_variables=REQUESTS_CA_VARIABLES,
            connect_seconds=client.CONNECT_TIMEOUT_SECONDS,
            read_seconds=client.READ_TIMEOUT_SECONDS,
        )
        self._tokens = LazyClient(lambda: _Tokens(account.credential))

    def prepare(self) -> None:
        """Load what the first request needs, without a request to the storage. Raises AzureError if there is no token.

        An identity gets its first token.
        """
        self._connections.prepare()
        if self._account.key is None:
            self._tokens.get()

    def send(
        self,
        method: str,
        container: str,
        key: str = "",
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        read_seconds: float | None = None,
    ) -> Answer:
        """Return the answer to a request for a blob, or for the container if ``key`` is empty.

        The names of ``headers`` are in lower case. ``read_seconds`` is READ_TIMEOUT_SECONDS by default. Raises
        AzureError: RefusedRequest for a status from 300 on, and the SDK's own for everything else.
        """
        path = f"{self._path}/{container}{'/' if key else ''}{quote_path(key)}"
        parameters = "&".join([f"{name}={quote_value(value)}" for name, value in query])
        target = f"{path}?{parameters}" if parameters else path

        def attempt() -> Answer:
            signed = self._signed(method, path, query, headers or {}, body)
            answer = self._sent(method, target, signed, body, read_seconds)
            if answer.status == 401 and self._account.key is None:
                signed["authorization"] = self._tokens.get().replaced(answer)
                answer = self._sent(method, target, signed, body, read_seconds)
            if answer.status >= 300:
                raise _refusal(answer)
            return answer

        try:
            return attempt()
        except (ServiceRequestTimeoutError, ServiceResponseTimeoutError):
            # Another attempt would double the time that the caller waits.
            raise
        except RefusedRequest as error:
            if error.status_code not in _REPEATED_STATUSES:
                raise
        except (ServiceRequestError, ServiceResponseError):
            pass
        time.sleep(random.uniform(0, 2 * client.RETRY_DELAY_SECONDS))  # noqa: S311  (not a secret)
        return attempt()

    def _signed(self, method: str, path: str, query: Query, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        signed = {**headers, "x-ms-date": formatdate(usegmt=True), "x-ms-version": self._api_version}
        if self._account.key is None:
            signed["authorization"] = self._tokens.get().authorization()
            return signed
        signed["authorization"] = shared_key.authorization(
            self._account.key,
            account=self._account.name,
            method=method,
            path=path,
            query=query,
            headers={**signed, "content-length": str(len(body))} if body else signed,
        )
        return signed

    def _sent(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, read_seconds: float | None
    ) -> Answer:
        try:
            return self._connections.send(method, target, headers, body=body, read_seconds=read_seconds)
        except ConnectionTimedOut:
            raise ServiceRequestTimeoutError("no connection in time") from None
        except ReadTimedOut:
            raise ServiceResponseTimeoutError("no answer in time") from None
        except NotConnected as error:
            raise ServiceRequestError(str(error)) from None
        except OSError as error:
            raise ServiceResponseError(str(error)) from None


class _Tokens:
    """The tokens of an identity, which are renewed in the background."""

    def __init__(self, credential: AzureNamedKeyCredential | TokenCredential) -> None:
        if isinstance(credential, AzureNamedKeyCredential):
            raise TypeError("an account key needs no tokens")
        self._identity = credential
        self._tenant: str | None = None
        self._renewer = self._new_renewer()

    def authorization(self) -> str:
        """Return the header of a request. Raises AzureError."""
        try:
            return f"Bearer {self._renewer.current(_utc_now()).credentials.token}"
        except CredentialsUnavailable as error:
            raise ClientAuthenticationError(error.detail) from None

    def replaced(self, refusal: Answer) -> str:
        """Return the header with a new token, for the tenant that the service names in its refusal."""
        tenant = _TENANT.search(refusal.headers.get("www-authenticate", ""))
        self._tenant = tenant[1] if tenant else None
        self._renewer = self._new_renewer()
        return self.authorization()

    def _new_renewer(self) -> CredentialsRenewer[AccessToken]:
        return CredentialsRenewer(self._fetch, what="the token of the Azure identity")

    def _fetch(self) -> ExpiringCredentials[AccessToken]:
        get_token = self._identity.get_token
        token = get_token(_SCOPE) if self._tenant is None else get_token(_SCOPE, tenant_id=self._tenant)
        expires_at = datetime.fromtimestamp(token.expires_on, timezone.utc)
        return ExpiringCredentials(credentials=token, renew_at=expires_at - _RENEWAL_PERIOD, expires_at=expires_at)


def _refusal(answer: Answer) -> RefusedRequest:
    code = answer.headers.get("x-ms-error-code")
    if not code:
        found = _ERROR_CODE.search(answer.text)
        code = found[1] if found else str(answer.status)
    return (NotFound if answer.status == 404 else RefusedRequest)(answer.status, code)


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)
