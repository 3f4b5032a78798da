"""What a reference server received, decoded once and judged as it came over the wire."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from urllib.parse import quote, unquote_to_bytes
from xml.sax.saxutils import escape

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response


class Refusal(Exception):
    """A request that the storage answers with an error: HTTP status, provider's error code, message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, kw_only=True)
class ReceivedRequest:
    """The request line and headers: names of headers in lower case, query decoded once and in order."""

    method: str
    raw_path: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, request: Request) -> ReceivedRequest:
        """Decode an ASGI request; a path or query that is not UTF-8 is refused."""
        raw_path: bytes = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
        return cls(
            method=request.method,
            raw_path=raw_path.split(b"?")[0].decode("latin-1"),
            query=_split_query(request.scope["query_string"].decode("latin-1")),
            headers=tuple(
                (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.headers.raw
            ),
        )

    @classmethod
    def asked(cls, method: str, raw_path: str, query: str) -> ReceivedRequest:
        """A request without headers that one server asks of another."""
        return cls(method=method, raw_path=raw_path, query=_split_query(query), headers=())

    @property
    def path(self) -> str:
        """The path, percent-decoded once."""
        return percent_decoded(self.raw_path)

    def header(self, name: str) -> str | None:
        """The value of a header as signature rules see it: trimmed, inner runs of spaces made one, repeats joined."""
        values = [re.sub(" +", " ", value.strip(" \t")) for sent, value in self.headers if sent == name]
        return ",".join(values) if values else None

    def parameter(self, name: str) -> str | None:
        """The first value of a query parameter."""
        return next((value for sent, value in self.query if sent == name), None)

    def headers_with_prefix(self, prefix: str) -> dict[str, str]:
        """Header values by the rest of their name."""
        return {name[len(prefix) :]: self.header(name) or "" for name, _ in self.headers if name.startswith(prefix)}


def current_time() -> datetime:
    """The clock of a server that was given none."""
    return datetime.now(timezone.utc)


def percent_decoded(text: str) -> str:
    """Percent-decode once; `+` stays a plus sign."""
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(400, "InvalidURI", "Couldn't parse the specified URI.") from error


def percent_encoded(text: str, *, keep_slashes: bool = False) -> str:
    """Percent-encode all but the unreserved characters of RFC 3986, upper-case hexadecimal."""
    return quote(text, safe="/~" if keep_slashes else "~")


def _split_query(raw: str) -> tuple[tuple[str, str], ...]:
    pairs = (part.partition("=") for part in raw.split("&") if part)
    return tuple((percent_decoded(name), percent_decoded(value)) for name, _, value in pairs)


async def body_of(request: Request, received: ReceivedRequest) -> AsyncIterator[bytes]:
    """The body in chunks; refuses a body that is not exactly as long as Content-Length, or that has two framings."""
    declared = received.header("content-length")
    if declared is not None and received.header("transfer-encoding") is not None:
        raise Refusal(400, "InvalidRequest", "Content-Length and Transfer-Encoding exclude each other.")
    if declared is not None and not re.fullmatch("[0-9]{1,18}", declared):
        raise Refusal(400, "InvalidRequest", "Content-Length is not one number.")
    received_bytes = 0
    try:
        async for chunk in request.stream():
            received_bytes += len(chunk)
            if chunk:
                yield chunk
    except ClientDisconnect as error:
        raise Refusal(400, "IncompleteBody", "The connection closed before the whole body came.") from error
    if declared is not None and received_bytes != int(declared):
        raise Refusal(400, "IncompleteBody", "The body is not as long as Content-Length says.")


def error_answer(refusal: Refusal) -> Response:
    """The XML error document that S3 and the XML API of GCS share."""
    return xml_answer("Error", {"Code": refusal.code, "Message": refusal.message}, status=refusal.status)


def xml_answer(root: str, elements: Mapping[str, str], *, status: int) -> Response:
    """A flat XML document."""
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in elements.items())
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{inner}</{root}>'
    return Response(body, status_code=status, media_type="application/xml")
