"""One identity on S3: its credentials, the region and the endpoint that they are for, and boto3's clients.

The clients of an identity from the environment are built when a call needs them, because that imports boto3.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from presign.backends.connections import Connections
from presign.backends.expiring_credentials import CredentialsRenewer, ExpiringCredentials
from presign.backends.lazy_client import LazyClient
from presign.s3 import session as sessions
from presign.s3.environment import read_environment
from presign.s3.requests import BucketRequests
from presign.s3.session import (
    COPY_READ_TIMEOUT_SECONDS,
    AccessKeys,
    build_client,
    load_credentials,
    new_session,
    trusted_authorities,
)
from presign.signing.bucket_location import BucketLocation

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client

CA_VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
"""The variables that boto3's HTTP client obeys."""


class Identity:
    """The identity of a session, for one region and one endpoint."""

    def __init__(
        self,
        session: LazyClient[boto3.Session],
        *,
        credentials: CredentialsRenewer[AccessKeys],
        client: LazyClient[S3Client],
        region: str,
        endpoint_url: str,
        authorities: str | None = None,
    ) -> None:
        self._session = session
        self.credentials = credentials
        self.client = client
        self.region = region
        self.endpoint_url = endpoint_url
        self._authorities = authorities

    @classmethod
    def find(cls, *, region: str | None, endpoint_url: str | None) -> Identity:
        """Return the identity that boto3's default session would have, without boto3 where the environment says it."""
        found = read_environment(region=region, endpoint_url=endpoint_url)
        if found is None:
            return cls.of_session(new_session(), region=region, endpoint_url=endpoint_url)
        keys = AccessKeys(access_key=found.access_key, secret_key=found.secret_key, session_token=found.session_token)
        # The session gets the keys themselves: the environment may be another one when it is built.
        session = LazyClient(
            partial(
                new_session,
                access_key=keys.access_key,
                secret_key=keys.secret_key,
                session_token=keys.session_token,
            )
        )
        credentials = ExpiringCredentials(credentials=keys, renew_at=None, expires_at=None)
        return cls(
            session,
            credentials=CredentialsRenewer(lambda: credentials, what="the AWS credentials"),
            client=LazyClient(
                lambda: build_client(session.get(), region=found.region, endpoint_url=found.endpoint_url)
            ),
            region=found.region,
            endpoint_url=found.endpoint_url,
        )

    @classmethod
    def of_session(cls, session: boto3.Session, *, region: str | None, endpoint_url: str | None) -> Identity:
        """Return the identity of a session; AWS's settings fill in what is None. Raises ConfigurationError."""
        client = build_client(session, region=region, endpoint_url=endpoint_url)
        return cls(
            LazyClient.of(session),
            credentials=load_credentials(session),
            client=LazyClient.of(client),
            region=client.meta.region_name,
            endpoint_url=client.meta.endpoint_url,
            authorities=trusted_authorities(session),
        )

    def requests(self, bucket: str, location: BucketLocation, endpoint_url: str) -> BucketRequests:
        """Return the requests for the objects of a bucket; ``endpoint_url`` has no slash at its end."""
        return BucketRequests(
            bucket=bucket,
            client=self.client,
            credentials=self.credentials,
            location=location,
            region=self.region,
            endpoint_url=endpoint_url,
            connections=Connections(
                location.base_url,
                authorities=self._authorities,
                ca_variables=CA_VARIABLES,
                connect_seconds=sessions.CONNECT_TIMEOUT_SECONDS,
                read_seconds=sessions.READ_TIMEOUT_SECONDS,
            ),
            read_seconds=sessions.READ_TIMEOUT_SECONDS,
        )

    def with_long_timeouts(self, requests: BucketRequests, endpoint_url: str) -> LazyClient[BucketRequests]:
        """Return the same requests, which wait for the copy of a large object."""
        client = LazyClient(
            lambda: build_client(
                self._session.get(),
                region=self.region,
                endpoint_url=endpoint_url,
                read_timeout_seconds=COPY_READ_TIMEOUT_SECONDS,
            )
        )
        return LazyClient(lambda: requests.patient(client, read_seconds=COPY_READ_TIMEOUT_SECONDS))
