"""Accounts on a running Azurite, the identities that Azurite accepts, and the requests that clients send."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

from azure.core.credentials import AccessToken, AzureNamedKeyCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.storage.blob import BlobClient, BlobServiceClient, CorsRule, PublicAccess

from emulators.azurite import ACCOUNT_KEY, ACCOUNT_NAME, Azurite
from emulators.wire import Answer, Attempt, send
from presign import Grant, Presigner, SignedUpload, Ticket, UploadPolicy, UploadRequest
from presign.azure import AzureBackend

CONTAINERS = ("uploads", "other", "pending", "public")
"""All are private but "public", whose blobs everybody may read."""
PAGE_ORIGIN = "http://localhost:8080"
NOW = datetime(2026, 11, 23, 12, 0, 0, 700_000, tzinfo=timezone.utc)
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde"
PENDING_KEY = "pending/fedcba9876543210fedcba9876543210"
KEY = "public/0123456789abcdef0123456789abcdef"
OTHER_ACCOUNT_KEY = base64.b64encode(b"another account key").decode()
OBJECT_ID, TENANT_ID = "11059fcc-5514-4800-b5f8-49808b9cfab6", "ab1f708d-50f6-404c-a006-d71b2ac7a606"
GRANT = Grant(key=KEY, content_type="image/png", min_bytes=1, max_bytes=100, expires_in=timedelta(seconds=60))
PENDING_GRANT = replace(GRANT, pending_key=PENDING_KEY)
MINUTE = timedelta(seconds=60)

Change = Callable[[Attempt], Attempt]


class Identity:
    """A token credential whose tokens look like those of Microsoft Entra ID; it counts how often it was asked."""

    def __init__(self, *, lifetime: timedelta = timedelta(hours=1)) -> None:
        self.lifetime = lifetime
        self.asked = 0

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.asked += 1
        now = int(time.time())
        expires_on = now + int(self.lifetime.total_seconds())
        claims = {
            "aud": "https://storage.azure.com",
            "iss": f"https://sts.windows.net/{TENANT_ID}/",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": expires_on,
            "oid": OBJECT_ID,
            "tid": TENANT_ID,
        }
        parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)] + [b"the token's signature"]
        token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
        return AccessToken(token, expires_on)


class RefusedIdentity:
    """A token credential that fails like one of azure-identity that has nothing to authenticate with."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        raise ClientAuthenticationError(message="tried with client secret S3CR3T")


@dataclass(frozen=True, kw_only=True)
class RunningAccount:
    """An account on a running Azurite, and what signs for it: an account key over http, or an identity over https."""

    azurite: Azurite
    admin: BlobServiceClient = field(repr=False)
    credentials: dict[str, Any] = field(repr=False)

    def backend(self, **options: Any) -> AzureBackend:
        values = {"container": "uploads", "account_url": self.azurite.account_url, **self.credentials}
        return AzureBackend(**values | options)

    def publishing_backend(self, **options: Any) -> AzureBackend:
        """A backend whose uploads wait in a private container, and are published in one that everybody may read."""
        return self.backend(**{"container": "public", "pending_container": "pending"} | options)

    def presigner(
        self, *, backend: AzureBackend | None = None, clock: Callable[[], datetime] | None = None, **policy: Any
    ) -> Presigner:
        rules: dict[str, Any] = {"content_types": {"image/png"}, "max_bytes": 100, "min_bytes": 10, "prefix": "public/"}
        return Presigner(
            backend=backend or self.backend(),
            policy=UploadPolicy(**rules | policy),
            secret="the secret of the tests' tokens",
            clock=clock or utc_now,
        )

    def blobs(self, container: str = "uploads") -> list[str]:
        return list(self.admin.get_container_client(container).list_blob_names())

    def uncommitted(self, container: str) -> list[str]:
        """Return the names that have blocks and no blob."""
        shown = self.admin.get_container_client(container).list_blobs(include=["uncommittedblobs"])
        return sorted({blob.name for blob in shown} - set(self.blobs(container)))

    def blob(self, container: str, key: str) -> BlobClient:
        return self.admin.get_blob_client(container, key)

    def anonymous_get(self, container: str, key: str) -> Answer:
        return self.send(Attempt(method="GET", url=f"{self.azurite.account_url}/{container}/{key}"))

    def send(self, attempt: Attempt) -> Answer:
        return send(attempt) if attempt.url.startswith("http:") else _send_by_tls(attempt, self.azurite)


def prepare_account(azurite: Azurite, credentials: dict[str, Any]) -> RunningAccount:
    """Create the containers that the tests use, and let the page's origin upload."""
    admin = BlobServiceClient(
        azurite.account_url, credential=AzureNamedKeyCredential(ACCOUNT_NAME, ACCOUNT_KEY), api_version="2020-12-06"
    )
    for container in CONTAINERS:
        admin.create_container(container, public_access=PublicAccess.BLOB if container == "public" else None)
    rule = CorsRule(
        [PAGE_ORIGIN], ["PUT", "GET"], allowed_headers=["*"], exposed_headers=["ETag"], max_age_in_seconds=600
    )
    admin.set_service_properties(cors=[rule])
    return RunningAccount(azurite=azurite, admin=admin, credentials=credentials)


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


def grant(**changes: Any) -> Grant:
    return replace(GRANT, **changes)


def png_request(**changes: Any) -> UploadRequest:
    return UploadRequest(**{"content_type": "image/png"} | changes)


def as_sent(upload: Ticket | SignedUpload, body: bytes = PNG) -> Attempt:
    """Return exactly the request that a client sends for a ticket."""
    assert upload.method == "PUT"
    assert not upload.fields
    return Attempt(method="PUT", url=upload.url, headers=tuple(upload.headers.items()), body=body)


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query, strict_parsing=True).items()}


def _send_by_tls(attempt: Attempt, azurite: Azurite) -> Answer:
    parts = urlsplit(attempt.url)
    context = ssl.create_default_context(cafile=str(azurite.certificate))
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=10, context=context)
    try:
        target = f"{parts.path}{'?' if parts.query else ''}{parts.query}"
        connection.request(attempt.method, target, attempt.body, dict(attempt.headers))
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=headers, body=response.read())
    finally:
        connection.close()
