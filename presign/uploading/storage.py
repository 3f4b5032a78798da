"""Send a whole file to the storage exactly as its ticket says; nothing here depends on a cloud."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping

from presign.uploading.api import Ticket
from presign.uploading.connections import BUSY_STATUSES, ONCE, Connections
from presign.uploading.errors import NotReachable, StorageRefused
from presign.uploading.source import SourceFile

_CODE = re.compile(rb"<Code>([A-Za-z0-9_.]{1,100})</Code>")


def send_file(ticket: Ticket, source: SourceFile, connections: Connections, on_read: Callable[[int], None]) -> None:
    """Send the file once; ``on_read`` gets how many bytes of it were read so far.

    Raises StorageRefused if the storage refuses it, and NotReachable if it does not answer or cannot serve now.
    """
    before, after, headers = b"", b"", headers_of(ticket.headers)
    if ticket.method == "POST":
        boundary = secrets.token_hex(16)
        before, after = _form_around_file(ticket.fields, boundary)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    with source.body(0, source.size, before=before, after=after, on_read=on_read) as body:
        answer = connections.send(ticket.method, ticket.url, headers=headers, body=body, retries=ONCE)
    if answer.status in BUSY_STATUSES:
        raise NotReachable(f"the storage cannot serve now ({answer.status})")
    if not 200 <= answer.status <= 299:
        raise StorageRefused(answer.status, storage_code(answer.body))


def headers_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a ticket without those that the connection itself sends."""
    return {name: value for name, value in headers.items() if name.lower() not in {"host", "content-length"}}


def storage_code(body: bytes) -> str:
    """Return the code in a storage's XML error; empty if there is none."""
    found = _CODE.search(body)
    return found[1].decode() if found else ""


def _form_around_file(fields: Mapping[str, str], boundary: str) -> tuple[bytes, bytes]:
    """Return a multipart form (RFC 7578) before and after the bytes of its file, which is the last field.

    S3 and Google ignore every field after the file. urllib3 makes forms too, but only of what is in memory.
    """
    pieces = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    pieces.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return "".join(pieces).encode(), f"\r\n--{boundary}--\r\n".encode()


def _quoted(name: str) -> str:
    # As the HTML standard says, "Multipart form data".
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
