"""Uploads in parts to the XML API of the GCS reference: begun, sent, listed, completed, aborted.

A completion replaces what is under the name, as in Cloud Storage, and preconditions are refused. Not there, and
answered with 501: lists with a delimiter, headers of a part that would have no effect.

Sources: Cloud Storage, "XML API multipart uploads", "Initiate a multipart upload", "Upload part", "List parts",
"Complete a multipart upload", "Abort a multipart upload", "List multipart uploads", "IAM permissions for XML requests".
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from xml.sax.saxutils import escape

from starlette.responses import Response

from emulators.gcs_bucket import GcsPart, GcsStore, GcsUpload, Target
from emulators.multipart_documents import list_document, named_parts, part_number, parts_page, uploads_page
from emulators.received_request import ReceivedRequest, Refusal, xml_answer


@dataclass(frozen=True, kw_only=True)
class GcsPartLimits:
    """The most bytes of a part, and the fewest of a part that is not the last."""

    largest_bytes: int = 5 * 1024**3
    smallest_part_bytes: int = 5 * 1024**2


def create_upload(received: ReceivedRequest, target: Target, *, store: GcsStore, identity: str) -> Response:
    """Begin an upload; the object's headers and metadata are those of this request."""
    _refuse_conditions(received)
    store.require(identity, "create", target)
    upload_id = secrets.token_urlsafe(40)
    values = {name: received.header(name) or "" for name, _ in received.headers}
    target.bucket.uploads[upload_id] = GcsUpload(key=target.key, values=values, initiated=store.clock())
    elements = {"Bucket": target.name, "Key": target.key, "UploadId": upload_id}
    return xml_answer("InitiateMultipartUploadResult", elements, status=200)


def check_part(received: ReceivedRequest, target: Target, *, store: GcsStore, identity: str) -> None:
    """Refuse a part before its body is read."""
    _refuse_conditions(received)
    store.require(identity, "create", target)
    _find(received, target)
    part_number(received)
    ineffective = [
        name
        for name in received.headers_with_prefix("x-goog-")
        if name in {"acl", "storage-class", "custom-time", "content-length-range"} or name.startswith("meta-")
    ]
    if ineffective:
        raise Refusal(501, "NotImplemented", f"x-goog-{ineffective[0]} has no effect on a part.")
    if received.header("content-length") is None:
        raise Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")


def store_part(
    received: ReceivedRequest, target: Target, body: bytes, *, store: GcsStore, limits: GcsPartLimits
) -> Response:
    """Keep a part whose whole body is there; it replaces an earlier part with its number."""
    upload = _find(received, target)
    if len(body) > limits.largest_bytes:
        raise Refusal(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size.")
    part = GcsPart(body=body, last_modified=store.clock())
    upload.parts[part_number(received)] = part
    return Response(status_code=200, headers={"ETag": part.etag})


def list_parts(received: ReceivedRequest, target: Target, *, store: GcsStore, identity: str) -> Response:
    """Return one page of the parts, in the order of their numbers."""
    store.require(identity, "listParts", target)
    upload = _find(received, target)
    page, of_page = parts_page(received, upload.parts)
    elements = {"Bucket": target.name, "Key": target.key, **of_page}
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><LastModified>{_time(upload.parts[number])}</LastModified>"
        f"<ETag>{escape(upload.parts[number].etag)}</ETag><Size>{len(upload.parts[number].body)}</Size></Part>"
        for number in page
    )
    return list_document("ListPartsResult", elements, parts)


def list_uploads(received: ReceivedRequest, target: Target, *, store: GcsStore, identity: str) -> Response:
    """Return one page of the uploads that have begun and not ended, in the order of their names' bytes."""
    store.require(identity, "listUploads", target)
    if received.parameter("delimiter") is not None:
        raise Refusal(501, "NotImplemented", "Delimiters are not part of this server.")
    uploads = target.bucket.uploads
    page, of_page = uploads_page(received, {name: upload.key for name, upload in uploads.items()})
    elements = {"Bucket": target.name, **of_page}
    listed = "".join(
        f"<Upload><Key>{escape(key)}</Key><UploadId>{name}</UploadId><StorageClass>STANDARD</StorageClass>"
        f"<Initiated>{uploads[name].initiated.strftime('%Y-%m-%dT%H:%M:%S.%fZ')}</Initiated></Upload>"
        for key, name in page
    )
    return list_document("ListMultipartUploadsResult", elements, listed)


def complete_upload(
    received: ReceivedRequest, target: Target, body: bytes, *, store: GcsStore, identity: str, limits: GcsPartLimits
) -> Response:
    """Make the object of the parts that the XML document lists."""
    _refuse_conditions(received)
    upload = _find(received, target)
    store.require_writing(identity, target)
    parts = []
    for named in named_parts(body):
        held = upload.parts.get(named.number)
        if held is None or named.etag.strip('"') != held.etag.strip('"'):
            raise Refusal(400, "InvalidPart", "One or more of the specified parts could not be found.")
        parts.append(held)
    if any(len(part.body) < limits.smallest_part_bytes for part in parts[:-1]):
        raise Refusal(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed object size.")
    content = b"".join(part.body for part in parts)
    stored = store.store_as_sent(target, content, upload.values, part_count=len(parts))
    del target.bucket.uploads[received.parameter("uploadId") or ""]
    elements = {"Bucket": target.name, "Key": target.key, "ETag": stored.xml_etag}
    return xml_answer("CompleteMultipartUploadResult", elements, status=200)


def abort_upload(received: ReceivedRequest, target: Target, *, store: GcsStore, identity: str) -> Response:
    """Forget an upload and its parts."""
    store.require(identity, "abort", target)
    _find(received, target)
    del target.bucket.uploads[received.parameter("uploadId") or ""]
    return Response(status_code=204)


def _find(received: ReceivedRequest, target: Target) -> GcsUpload:
    upload = target.bucket.uploads.get(received.parameter("uploadId") or "")
    if upload is None or upload.key != target.key:
        raise Refusal(404, "NoSuchUpload", "The requested upload was not found.")
    return upload


def _refuse_conditions(received: ReceivedRequest) -> None:
    names = [
        name for name, _ in received.headers if name.startswith("x-goog-if-") or name in {"if-match", "if-none-match"}
    ]
    if names:
        raise Refusal(400, "InvalidArgument", f"{names[0]}: preconditions are not supported in multipart uploads.")


def _time(part: GcsPart) -> str:
    return part.last_modified.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
