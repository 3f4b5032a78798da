"""HTTP requests sent byte for byte as a test wrote them: no client library normalises, adds or repairs anything."""

from __future__ import annotations

import http.client
import re
import socket
from contextlib import suppress
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, urlsplit

BOUNDARY = "----reference-boundary"
# How long a server may take to answer, also on a machine that many other programs use.
ANSWER_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server answered; `code` is the error code of its XML document, empty if it has none."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        match = re.search(rb"<Code>(\w+)</Code>", self.body)
        return match[1].decode() if match else ""

    @property
    def outcome(self) -> tuple[int, str]:
        return self.status, self.code


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A request about to be sent, to be changed one thing at a time."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def with_method(self, method: str) -> Attempt:
        return replace(self, method=method)

    def with_body(self, body: bytes) -> Attempt:
        return replace(self, body=body)

    def with_path(self, path: str) -> Attempt:
        parts = urlsplit(self.url)
        return replace(self, url=f"{parts.scheme}://{parts.netloc}{path}{'?' if parts.query else ''}{parts.query}")

    def with_header(self, name: str, value: str) -> Attempt:
        """The same request with one header of another value, added if it was not there."""
        return replace(self, headers=(*self.without_header(name).headers, (name, value)))

    def with_another_header(self, name: str, value: str) -> Attempt:
        """The same request with one more header, even if one of this name is there."""
        return replace(self, headers=(*self.headers, (name, value)))

    def without_header(self, name: str) -> Attempt:
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0].lower() != name.lower()))

    def header(self, name: str) -> str:
        return next(value for sent, value in self.headers if sent.lower() == name.lower())

    @property
    def query(self) -> tuple[tuple[str, str], ...]:
        return tuple(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))

    def parameter(self, name: str) -> str:
        return dict(self.query)[name]

    def with_parameter(self, name: str, value: str) -> Attempt:
        """The same request with one query parameter of another value."""
        pairs = tuple((sent, value if sent == name else old) for sent, old in self.query)
        if pairs == self.query:
            raise ValueError(f"{name} stays as it is: nothing would be tampered with")
        return self._with_query(pairs)

    def with_another_parameter(self, name: str, value: str) -> Attempt:
        """The same request with one more query parameter at the end."""
        return self._with_query((*self.query, (name, value)))

    def without_parameter(self, name: str) -> Attempt:
        return self._with_query(tuple(pair for pair in self.query if pair[0] != name))

    def _with_query(self, pairs: tuple[tuple[str, str], ...]) -> Attempt:
        query = "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in pairs)
        return replace(self, url=f"{self.url.partition('?')[0]}{'?' if query else ''}{query}")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a form."""

    name: str
    value: bytes
    file_name: str | None = None

    def encoded(self) -> bytes:
        file_name = "" if self.file_name is None else f'; filename="{self.file_name}"'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{self.name}"{file_name}\r\n\r\n'
        return head.encode() + self.value + b"\r\n"


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form about to be posted, to be changed one thing at a time."""

    url: str
    parts: tuple[Part, ...] = field(default=())

    @classmethod
    def of(cls, url: str, fields: dict[str, str], body: bytes, file_name: str = "cat.png") -> Form:
        parts = [Part(name=name, value=value.encode()) for name, value in fields.items()]
        return cls(url=url, parts=(*parts, Part(name="file", value=body, file_name=file_name)))

    def field(self, name: str) -> str:
        return next(part.value.decode() for part in self.parts if part.name.lower() == name.lower())

    def with_field(self, name: str, value: str | bytes) -> Form:
        """The same form with one field of another value."""
        raw = value if isinstance(value, bytes) else value.encode()
        parts = tuple(replace(part, value=raw) if part.name.lower() == name.lower() else part for part in self.parts)
        if parts == self.parts:
            raise ValueError(f"{name} stays as it is: nothing would be tampered with")
        return replace(self, parts=parts)

    def with_first_field(self, name: str, value: str) -> Form:
        return replace(self, parts=(Part(name=name, value=value.encode()), *self.parts))

    def with_last_part(self, part: Part) -> Form:
        return replace(self, parts=(*self.parts, part))

    def with_file_name(self, file_name: str) -> Form:
        parts = (replace(part, file_name=file_name) if part.name == "file" else part for part in self.parts)
        return replace(self, parts=tuple(parts))

    def without_field(self, name: str) -> Form:
        return replace(self, parts=tuple(part for part in self.parts if part.name.lower() != name.lower()))

    def with_field_after_file(self, name: str) -> Form:
        moved = next(part for part in self.parts if part.name.lower() == name.lower())
        return replace(self, parts=(*self.without_field(name).parts, moved))

    def attempt(self) -> Attempt:
        body = b"".join(part.encoded() for part in self.parts) + f"--{BOUNDARY}--\r\n".encode()
        content_type = ("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        return Attempt(method="POST", url=self.url, headers=(content_type,), body=body)


def send(request: Attempt | Form) -> Answer:
    """Send one request on a connection of its own; Host and Content-Length are added unless they were given."""
    attempt = request.attempt() if isinstance(request, Form) else request
    parts = urlsplit(attempt.url)
    names = {name.lower() for name, _ in attempt.headers}
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    try:
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        connection.putrequest(attempt.method, target, skip_host="host" in names, skip_accept_encoding=True)
        for name, value in attempt.headers:
            connection.putheader(name, value)
        if not names & {"content-length", "transfer-encoding"} and (attempt.body or attempt.method in ("PUT", "POST")):
            connection.putheader("Content-Length", str(len(attempt.body)))
        # A server that refuses a request may answer, and close the connection, before it has read the body.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.endheaders(attempt.body)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=headers, body=response.read())
    finally:
        connection.close()


def send_and_hang_up(attempt: Attempt) -> None:
    """Send a request whose Content-Length promises more than its body holds, then close the connection."""
    parts = urlsplit(attempt.url)
    lines = [f"{attempt.method} {parts.path}?{parts.query} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in attempt.headers]
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=ANSWER_SECONDS) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + attempt.body)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
