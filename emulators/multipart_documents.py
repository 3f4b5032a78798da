"""What S3 and the XML API of Cloud Storage share about uploads in parts: numbers, pages, XML documents.

Sources: Amazon S3 API Reference, "CompleteMultipartUpload", "ListParts"; Cloud Storage, "XML API multipart uploads".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

from starlette.responses import Response

from emulators.received_request import ReceivedRequest, Refusal

MOST_PARTS = 10_000
LARGEST_PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class NamedPart:
    """A part that a completion names; `checksum` is empty if it gives none."""

    number: int
    etag: str
    checksum: str


def part_number(received: ReceivedRequest) -> int:
    """The number of the part that a request sends."""
    number = received.parameter("partNumber") or ""
    if not re.fullmatch("[1-9][0-9]{0,4}", number) or int(number) > MOST_PARTS:
        raise Refusal(400, "InvalidArgument", f"Part number must be an integer between 1 and {MOST_PARTS}, inclusive")
    return int(number)


def named_parts(body: bytes, *, checksum: str = "Checksum") -> list[NamedPart]:
    """The parts that a completion names, in ascending order; `checksum` is the element with a part's checksum."""
    text = body.decode("utf-8", errors="replace").replace("&quot;", '"')
    named = []
    for part in re.findall("<Part>(.*?)</Part>", text, re.DOTALL):
        number = re.search(r"<PartNumber>\s*([0-9]{1,5})\s*</PartNumber>", part)
        etag = re.search(r"<ETag>\s*([^<\s]+)\s*</ETag>", part)
        if number is None or etag is None:
            raise _malformed()
        given = re.search(rf"<{checksum}>\s*([^<\s]+)\s*</{checksum}>", part)
        named.append(NamedPart(number=int(number[1]), etag=etag[1], checksum=given[1] if given else ""))
    if not named or "<CompleteMultipartUpload" not in text:
        raise _malformed()
    if [part.number for part in named] != sorted({part.number for part in named}):
        raise Refusal(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
    return named


def list_document(root: str, elements: Mapping[str, str], repeated: str) -> Response:
    """A list: flat elements, and then those that repeat, which are XML already."""
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in elements.items())
    document = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}{repeated}</{root}>'
    )
    return Response(document, media_type="application/xml")


def page_size(text: str | None, name: str) -> int:
    """How many entries a list has at most."""
    return LARGEST_PAGE if text is None else min(whole_number(text, name), LARGEST_PAGE)


def whole_number(text: str, name: str) -> int:
    """The number that a parameter gives."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise Refusal(400, "InvalidArgument", f"{name} must be a whole number.")
    return int(text)


def _malformed() -> Refusal:
    return Refusal(400, "MalformedXML", "The XML you provided was not well-formed or did not validate.")
