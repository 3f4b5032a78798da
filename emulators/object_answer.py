"""What both clouds answer about a stored object: all of it, a range, a failed precondition, the end of a form post.

Sources: RFC 9110, sections 13 and 14; Amazon S3 API Reference, "POST Object"; Cloud Storage, "POST Object".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from starlette.responses import Response

from emulators.received_request import ReceivedRequest, Refusal, percent_encoded, xml_answer


def read_answer(
    received: ReceivedRequest,
    *,
    body: bytes,
    etag: str,
    headers: Mapping[str, str],
    whole_object_headers: Mapping[str, str],
) -> Response:
    """The bytes that a GET or HEAD asks for; `whole_object_headers` go out only where no range was asked for."""
    if received.header("if-match") not in (None, "*", etag, etag.strip('"')):
        raise Refusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    if received.header("if-none-match") in ("*", etag):
        return Response(status_code=304, headers={"ETag": etag})
    span = _requested_span(received.header("range"), len(body))
    answer = Response(body if span is None else body[span[0] : span[1] + 1], status_code=200 if span is None else 206)
    sent = {"accept-ranges": "bytes", "etag": etag, **headers, **(whole_object_headers if span is None else {})}
    for name, value in sent.items():
        # A header value that came in a form is text; on the wire it goes out as UTF-8.
        answer.headers[name] = value if value.isascii() else value.encode().decode("latin-1")
    if span is not None:
        answer.headers["content-range"] = f"bytes {span[0]}-{span[1]}/{len(body)}"
    return answer


def posted_answer(
    received: ReceivedRequest, *, bucket: str, key: str, etag: str, fields: Mapping[str, str], redirect: str | None
) -> Response:
    """The answer that a form asked for: 303 to its redirect, 201 with an XML document, 200, else 204."""
    if redirect and urlsplit(redirect).scheme in ("http", "https"):
        query = urlencode({"bucket": bucket, "key": key, "etag": etag})
        return Response(status_code=303, headers={"Location": f"{redirect}{'&' if '?' in redirect else '?'}{query}"})
    path = received.raw_path.rstrip("/")
    location = f"http://{received.header('host')}{path}/{percent_encoded(key, keep_slashes=True)}"
    status = fields.get("success_action_status")
    if status == "201":
        elements = {"Location": location, "Bucket": bucket, "Key": key, "ETag": etag}
        answer = xml_answer("PostResponse", elements, status=201)
    else:
        answer = Response(status_code=200 if status == "200" else 204)
    answer.headers["ETag"] = etag
    answer.headers["Location"] = location
    return answer


def _requested_span(header: str | None, size: int) -> tuple[int, int] | None:
    match = re.fullmatch("bytes=([0-9]*)-([0-9]*)", header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if start > end:
        raise Refusal(416, "InvalidRange", "The requested range is not satisfiable")
    return start, end
