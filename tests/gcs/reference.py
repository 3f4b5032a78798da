"""A running reference server, backends on it, and what the tests of Cloud Storage send to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import google.oauth2.credentials
from google.auth.credentials import Signing
from google.oauth2 import service_account

from emulators.gcs_reference import GcsReference
from emulators.wire import Answer, Attempt, Form, send
from presign import Grant, Presigner, Ticket, UploadPolicy, UploadRequest
from presign.gcs import GCSBackend

BUCKET = "uploads"
PENDING_BUCKET = "waiting"
ACCESS_ID, HMAC_SECRET = "GOOG1EREFERENCE0000001", "an-hmac-secret-of-the-tests"
PNG = b"\x89PNG\r\n\x1a\n" + b"0123456789abcdef"
MIN_BYTES, MAX_BYTES = 10, 100
GRANT = Grant(
    key="public/ab/cat.png",
    content_type="image/png",
    min_bytes=MIN_BYTES,
    max_bytes=MAX_BYTES,
    expires_in=timedelta(seconds=60),
)
PENDING = replace(GRANT, pending_key="pending/0123")
EVERYTHING = replace(
    GRANT,
    content_disposition='inline; filename="a b.png"',
    cache_control="max-age=60",
    metadata={"owner": "alice", "a_b": "x y"},
)


def now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A running reference server and a service account that it trusts."""

    url: str
    app: GcsReference
    account: Path
    clock: list[timedelta] = field(default_factory=list)

    @property
    def objects(self) -> dict[str, Any]:
        return self.app.buckets[BUCKET].objects

    @property
    def info(self) -> dict[str, str]:
        members: dict[str, str] = json.loads(self.account.read_text())
        return members

    def backend(self, kind: str, **options: Any) -> GCSBackend:
        """A backend on this server that signs with ``kind``: rsa, hmac or sign_blob."""
        values: dict[str, Any] = {"bucket": BUCKET, "endpoint_url": self.url, "credentials": str(self.account)}
        if kind == "hmac":
            values |= {"hmac_access_id": ACCESS_ID, "hmac_secret": HMAC_SECRET}
        if kind == "sign_blob":
            values["credentials"] = RemoteSigner(self.info)
        return GCSBackend(**values | options)


class RemoteSigner(google.oauth2.credentials.Credentials, Signing):
    """Credentials without a private key: ``sign`` signs for them, and their token is valid in the JSON API."""

    def __init__(self, info: Mapping[str, str], *, sign: Callable[[bytes], bytes] | None = None) -> None:
        super().__init__(token="a-token")  # type: ignore[no-untyped-call]
        self._account = service_account.Credentials.from_service_account_info(info)  # type: ignore[no-untyped-call]
        self._sign = sign or self._account.sign_bytes
        self.account_email = info["client_email"]

    @property
    def signer_email(self) -> Any:
        return self.account_email

    @property
    def signer(self) -> Any:
        return self

    def sign_bytes(self, message: bytes) -> bytes:
        return self._sign(message)


def as_sent(signed: Any, body: bytes = PNG) -> Form | Attempt:
    if signed.method == "POST":
        return Form.of(signed.url, dict(signed.fields), body)
    return Attempt(method="PUT", url=signed.url, headers=tuple(signed.headers.items()), body=body)


def uploaded(backend: GCSBackend, grant: Grant = GRANT, body: bytes = PNG) -> Answer:
    return send(as_sent(backend.sign_upload(grant, now()), body))


def presigner(backend: GCSBackend, **policy: Any) -> Presigner:
    rules: dict[str, Any] = {
        "content_types": {"image/png", "text/plain"},
        "min_bytes": MIN_BYTES,
        "max_bytes": MAX_BYTES,
        "prefix": "public/",
    }
    return Presigner(backend=backend, policy=UploadPolicy(**rules | policy), secret="the tests' secret of tokens")


def issued(presigner: Presigner, **request: Any) -> Ticket:
    return presigner.issue(UploadRequest(**{"content_type": "image/png"} | request))


def answer(request: BaseHTTPRequestHandler, status: int, content: bytes = b"") -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


@contextmanager
def http_server(respond: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Yield the URL of a server that calls ``respond`` for each request, in a thread of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            respond(self)

        do_POST = do_DELETE = do_GET  # noqa: N815  (the standard library's names)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
