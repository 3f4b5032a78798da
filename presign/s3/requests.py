"""The server's own requests for one bucket, signed here. boto3 takes several times the CPU time for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from presign.backends.connections import Answer, Connections, ConnectionTimedOut, ReadTimedOut
from presign.backends.expiring_credentials import CredentialsRenewer
from presign.backends.failures import storage_failed, unreachable
from presign.backends.lazy_client import LazyClient
from presign.errors import CredentialsUnavailable, StorageUnavailable
from presign.s3.failures import answer_of, error_code
from presign.s3.session import AccessKeys
from presign.signing import sigv4
from presign.signing.bucket_location import BucketLocation
from presign.signing.quoting import quote_path
from presign.signing.signing_time import signing_time

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_KMS_ACTION = re.compile(r"\bkms:[A-Za-z]{1,40}")
CONCLUSIVE_STATUSES = frozenset({200, 204, 206, 404, 412})


class BucketRequests:
    """Send requests for the objects of one bucket, with one identity's credentials.

    - ``client``: boto3's client of the same identity, for the calls that need its retries and explanations.
    - ``connections``: go to the host of ``location``.
    - ``read_seconds``: how long to wait for each piece of an answer.
    """

    def __init__(
        self,
        *,
        bucket: str,
        client: LazyClient[S3Client],
        credentials: CredentialsRenewer[AccessKeys],
        location: BucketLocation,
        region: str,
        endpoint_url: str,
        connections: Connections,
        read_seconds: float,
    ) -> None:
        self.bucket = bucket
        self._client = client
        self._credentials = credentials
        self._location = location
        self._region = region
        self._endpoint_url = endpoint_url
        self._connections = connections
        self._read_seconds = read_seconds

    @property
    def client(self) -> S3Client:
        """boto3's client."""
        return self._client.get()

    def patient(self, client: LazyClient[S3Client], *, read_seconds: float) -> BucketRequests:
        """Return the same requests, which wait ``read_seconds`` for an answer, as ``client`` does."""
        return BucketRequests(
            bucket=self.bucket,
            client=client,
            credentials=self._credentials,
            location=self._location,
            region=self._region,
            endpoint_url=self._endpoint_url,
            connections=self._connections,
            read_seconds=read_seconds,
        )

    def prepare(self) -> None:
        """Load what the first request needs, without a request."""
        self._connections.prepare()

    def send(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str],
        *,
        query: str = "",
        conclusive: Set[int] = CONCLUSIVE_STATUSES,
        max_bytes: int | None = None,
    ) -> Answer | None:
        """Send one request without a body; ``query`` must have the canonical form of SigV4.

        At most ``max_bytes`` of the content are read.

        Return the response if its status is in ``conclusive``, and None otherwise. After None, the caller repeats the
        call through boto3, which retries and explains errors. Raises StorageUnavailable if the storage did not answer
        in time.
        """
        now = datetime.now(timezone.utc)
        path = f"{self._location.path_prefix}{quote_path(key)}"
        try:
            keys = self._credentials.current(now).credentials
            time = signing_time(int(now.timestamp()))
            signed_headers = sigv4.authorized_headers(
                scope=scope_of(keys, time.date, self._region),
                timestamp=time.timestamp,
                method=method,
                host=self._location.host,
                path=path,
                headers=headers,
                query=query,
                session_token=keys.session_token,
            )
            answer = self._connections.send(
                method,
                f"{path}{'?' if query else ''}{query}",
                # As it was signed: a client may leave out a port that is the scheme's own.
                {"host": self._location.host, **signed_headers},
                read_seconds=self._read_seconds,
                max_bytes=max_bytes,
            )
        except (ConnectionTimedOut, ReadTimedOut) as error:
            # Another attempt would double the time that the caller waits.
            raise self.failed(method, error) from None
        except (CredentialsUnavailable, OSError):
            return None
        return answer if answer.status in conclusive else None

    def failed(self, call: str, error: Exception) -> StorageUnavailable:
        """Return the error for a request or a call of boto3 that raised ``error``."""
        answer = answer_of(error)
        if answer is None:
            return unreachable(self._endpoint_url, error)
        # Only the code, and the right that KMS denies: botocore's message may repeat what was signed.
        denied = _KMS_ACTION.search(answer.get("Error", {}).get("Message", ""))
        named = error_code(error) if denied is None else f"{error_code(error)} ({denied[0]})"
        return storage_failed(f"s3://{self.bucket}", call, named)


def scope_of(keys: AccessKeys, date: str, region: str) -> sigv4.Scope:
    """Return the credential scope of ``keys`` on ``date`` (YYYYMMDD)."""
    return sigv4.hmac_scope(
        access_key=keys.access_key, secret_key=keys.secret_key, date=date, region=region, service="s3"
    )
