"""The HTTP request that a ticket allows, and ways to change one thing in it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import secrets
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlsplit

from presign.backends.backend import SignedUpload
from presign.messages import Ticket

_BOUNDARY = "presign-testing-boundary"
_TIMEOUT_SECONDS = 30
# The headers in which a PUT states the content type, on any storage.
_TYPE_HEADERS = frozenset({"content-type", "x-ms-blob-content-type"})
# The parameters in which a URL has its signature, on any storage.
_SIGNATURE_PARAMETERS = frozenset({"sig", "X-Amz-Signature", "X-Goog-Signature"})
# The endings of the form fields that only the signer may choose.
_SIGNED_FIELDS = ("policy", "algorithm", "credential", "date", "security-token")


@dataclass(frozen=True, kw_only=True)
class UploadAttempt:
    """A request for the storage: exactly the ticket's request, until one of the methods changes something."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    fields: Mapping[str, str] = field(repr=False)
    body: bytes

    @classmethod
    def of(cls, ticket: Ticket | SignedUpload | Mapping[str, Any], body: bytes) -> UploadAttempt:
        """Return the request that a client sends with ``ticket``, which may also be the JSON of ``POST /upload``."""
        if isinstance(ticket, Mapping):
            return cls(body=body, **{name: ticket[name] for name in ("method", "url", "headers", "fields")})
        return cls(method=ticket.method, url=ticket.url, headers=ticket.headers, fields=ticket.fields, body=body)

    def with_body(self, body: bytes) -> UploadAttempt:
        """Return the same request with other bytes."""
        return replace(self, body=body)

    def with_type(self, content_type: str) -> UploadAttempt:
        """Return the same request with another content type in every field or header that states it."""

        def changed(values: Mapping[str, str]) -> dict[str, str]:
            return {n: content_type if n.lower() in _TYPE_HEADERS else v for n, v in values.items()}

        return replace(self, fields=changed(self.fields), headers=changed(self.headers))

    def with_extra(self, name: str, value: str) -> UploadAttempt:
        """Return the same request with one more field or header."""
        if self.fields:
            return replace(self, fields={name: value, **self.fields})
        return replace(self, headers={**self.headers, name: value})

    def with_header(self, name: str, value: str) -> UploadAttempt:
        """Return the same request with one more header, also if it is a form."""
        return replace(self, headers={**self.headers, name: value})

    def with_headers(self, headers: Mapping[str, str]) -> UploadAttempt:
        """Return the same request with more headers, also if it is a form."""
        return replace(self, headers={**self.headers, **headers})

    def with_url(self, url: str) -> UploadAttempt:
        """Return the same request to another address."""
        return replace(self, url=url)

    @property
    def is_azure(self) -> bool:
        """Whether the request is one of Azure's dialect."""
        return any(name.lower() == "x-ms-blob-type" for name in self.headers)

    def copy_headers(self, source: str) -> list[dict[str, str]]:
        """Return the headers that would store a copy of the object at the URL ``source`` in the place of the body."""
        if self.is_azure:
            return [{"x-ms-copy-source": source}, {"x-ms-copy-source": source, "x-ms-requires-sync": "true"}]
        path = urlsplit(source).path
        return [{"x-amz-copy-source": path}, {"x-goog-copy-source": path}]

    def attribute_headers(self) -> list[dict[str, str]]:
        """Return headers that would each give the object an attribute that no ticket gives: lists, tags, keys."""
        if self.is_azure:
            return [{"x-ms-tags": "a=b"}, {"x-ms-access-tier": "Cool"}, {"x-ms-blob-content-language": "en"}]
        customer_key = secrets.token_bytes(32)
        key, digest = (
            base64.b64encode(each).decode()
            for each in (customer_key, hashlib.md5(customer_key).digest())  # noqa: S324  (the protocol's digest)
        )
        prefix = "x-amz-server-side-encryption-customer"
        return [
            {"x-amz-acl": "public-read"},
            {"x-goog-acl": "public-read"},
            {"x-amz-tagging": "a=b"},
            {"x-amz-storage-class": "GLACIER"},
            {"x-goog-storage-class": "ARCHIVE"},
            {f"{prefix}-algorithm": "AES256", f"{prefix}-key": key, f"{prefix}-key-md5": digest},
        ]

    def object_url(self, key: str) -> str:
        """Return the URL, without a signature, of the object that the request stores under ``key``."""
        return f"{self.url}{quote(key)}" if self.fields else self.url.partition("?")[0]

    def with_key(self, old: str, new: str) -> UploadAttempt:
        """Return the same request for another key."""
        if self.fields:
            return replace(self, fields={n: new if v == old else v for n, v in self.fields.items()})
        path, _, query = self.url.partition("?")
        return replace(self, url=f"{path.replace(quote(old), quote(new))}?{query}")

    def with_bucket(self, old: str, new: str) -> UploadAttempt:
        """Return the same request for another bucket, whether the path or the host names it."""
        parts = urlsplit(self.url)
        segments = [new if segment == old else segment for segment in parts.path.split("/")]
        host = parts.netloc.removeprefix(f"{old}.")
        netloc = parts.netloc if host == parts.netloc else f"{new}.{host}"
        return replace(self, url=parts._replace(netloc=netloc, path="/".join(segments)).geturl())

    def with_signature(self, change: Callable[[str], str]) -> UploadAttempt:
        """Return the same request with its signature changed by ``change``."""
        if self.fields:
            fields = {n: change(v) if n.lower().endswith("signature") else v for n, v in self.fields.items()}
            return replace(self, fields=fields)
        path, pairs = self._query()
        changed = [f"{name}={change(value) if name in _SIGNATURE_PARAMETERS else value}" for name, value in pairs]
        return replace(self, url=f"{path}?{'&'.join(changed)}")

    def tampered(self) -> dict[str, UploadAttempt]:
        """Return one request for each thing that only the signer may choose, with that thing changed.

        In a form, these are the policy, the algorithm, the credential's scope, the date and the session token. In a
        URL, these are all parameters: the scope, the times, the permissions, the names of the signed headers.
        """
        if self.fields:
            return {
                name: replace(self, fields={**self.fields, name: _changed(value)})
                for name, value in self.fields.items()
                if name.lower().endswith(_SIGNED_FIELDS)
            }
        path, pairs = self._query()
        attempts = {}
        for tampered_name, _ in pairs:
            query = "&".join(f"{n}={_changed(v) if n == tampered_name else v}" for n, v in pairs)
            attempts[tampered_name] = replace(self, url=f"{path}?{query}")
        return attempts

    def encoded(self) -> tuple[dict[str, str], bytes]:
        """Return the headers and the body as they are sent: a form has its fields, and then the file, in its body."""
        if not self.fields:
            return dict(self.headers), self.body
        content_type = f"multipart/form-data; boundary={_BOUNDARY}"
        return {**self.headers, "Content-Type": content_type}, _form(self.fields, self.body)

    def send(self, ssl_context: ssl.SSLContext | None = None) -> int:
        """Send the request and return the status of the response."""
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        connection = (
            http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=ssl_context)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
        )
        headers, body = self.encoded()
        try:
            # A storage that refuses a request may answer, and close the connection, before it has read the body.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(self.method, parts._replace(scheme="", netloc="").geturl(), body, headers)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    def _query(self) -> tuple[str, list[tuple[str, str]]]:
        path, _, query = self.url.partition("?")
        pairs = [pair.partition("=") for pair in query.split("&")]
        return path, [(name, value) for name, _, value in pairs]


def _changed(value: str) -> str:
    """Return ``value`` with its last letter or digit changed that is not part of a percent-encoding."""
    for index in range(len(value) - 1, -1, -1):
        character = value[index]
        if character.isalnum() and "%" not in value[max(0, index - 2) : index]:
            changed = str((int(character) + 1) % 10) if character.isdigit() else ("b" if character != "b" else "c")
            return f"{value[:index]}{changed}{value[index + 1 :]}"
    return f"{value}1"


def _form(fields: Mapping[str, str], body: bytes) -> bytes:
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    file = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'.encode()
    return b"".join([*parts, file, body, f"\r\n--{_BOUNDARY}--\r\n".encode()])
