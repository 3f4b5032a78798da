"""What S3 and the XML API of Cloud Storage share about uploads in parts: numbers, pages, XML documents.

Sources: Amazon S3 API Reference, "CompleteMultipartUpload", "ListParts"; Cloud Storage, "XML API multipart uploads".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
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


def parts_page(received: ReceivedRequest, numbers: Iterable[int]) -> tuple[list[int], dict[str, str]]:
    """The part numbers that a list of parts shows, and what it says of its page."""
    size = _page_size(received.parameter("max-parts"), "max-parts")
    marker = _whole_number(received.parameter("part-number-marker") or "0", "part-number-marker")
    left = [number for number in sorted(numbers) if number > marker]
    page = left[:size]
    elements = {
        "UploadId": received.parameter("uploadId") or "",
        "StorageClass": "STANDARD",
        "PartNumberMarker": str(marker),
        "NextPartNumberMarker": str(page[-1] if page else 0),
        "MaxParts": str(size),
        "IsTruncated": "true" if len(left) > len(page) else "false",
    }
    return page, elements


def uploads_page(
    received: ReceivedRequest, keys: Mapping[str, str], text: Callable[[str], str] = str
) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """The keys and ids of the uploads that a list shows, in the order of their keys, and what it says of its page.

    `keys` has the key of each upload by its id; `text` is how the document writes a key.
    """
    prefix = received.parameter("prefix") or ""
    size = _page_size(received.parameter("max-uploads"), "max-uploads")
    after = (received.parameter("key-marker") or "", received.parameter("upload-id-marker") or "")
    found = sorted((key, upload_id) for upload_id, key in keys.items() if key.startswith(prefix))
    left = [each for each in found if (each > after if after[1] else each[0] > after[0])]
    page = left[:size]
    last_key, last_id = page[-1] if page else ("", "")
    elements = {
        "Prefix": text(prefix),
        "KeyMarker": text(after[0]),
        "UploadIdMarker": after[1],
        "NextKeyMarker": text(last_key),
        "NextUploadIdMarker": last_id,
        "MaxUploads": str(size),
        "IsTruncated": "true" if len(left) > len(page) else "false",
    }
    return page, elements


def _page_size(text: str | None, name: str) -> int:
    """How many entries a list has at most."""
    return LARGEST_PAGE if text is None else min(_whole_number(text, name), LARGEST_PAGE)


def _whole_number(text: str, name: str) -> int:
    """The number that a parameter gives."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise Refusal(400, "InvalidArgument", f"{name} must be a whole number.")
    return int(text)


def _malformed() -> Refusal:
    return Refusal(400, "MalformedXML", "The XML you provided was not well-formed or did not validate.")
