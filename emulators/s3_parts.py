"""Uploads in parts to the S3 reference: begun, sent, listed, completed, aborted.

A completed upload is gone at once; Amazon S3 answers a repeated completion for a while. Not there, and answered with
501: conditions on a part, customers' keys, headers of a part that would have no effect.

Sources: Amazon S3 API Reference, "CreateMultipartUpload", "UploadPart", "ListParts", "CompleteMultipartUpload",
"AbortMultipartUpload", "ListMultipartUploads"; Amazon S3 User Guide, "Amazon S3 multipart upload limits", "Checking
object integrity in Amazon S3"; for the errors about checksums, what users of Amazon S3 report.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from xml.sax.saxutils import escape

from starlette.responses import Response

from emulators.body_digest import base64_or_empty
from emulators.multipart_documents import list_document, named_parts, part_number, parts_page, uploads_page
from emulators.received_request import ReceivedRequest, Refusal, percent_encoded, xml_answer
from emulators.s3_bucket import (
    MultipartUpload,
    Target,
    UploadedPart,
    etag_of,
    header_values,
    is_etag,
    writing_conditions,
    xml_time,
)
from emulators.s3_checksums import CHECKSUMS, BodyChecks, checksum_headers
from emulators.s3_lifecycle import abort_headers
from emulators.s3_rights import Caller, Leniency


@dataclass(frozen=True, kw_only=True)
class PartLimits:
    """The most bytes of a part or of a copy in one request, and the fewest of a part that is not the last."""

    largest_bytes: int = 5 * 1024**3
    smallest_part_bytes: int = 5 * 1024**2


def create_upload(received: ReceivedRequest, target: Target, *, caller: Caller, now: datetime) -> Response:
    """Begin an upload in parts; the object's headers and metadata are those of this request."""
    values = header_values(received)
    caller.require_writing(target.name, target.key, sets_acl="x-amz-acl" in values, sets_tags="x-amz-tagging" in values)
    algorithm = values.get("x-amz-checksum-algorithm")
    if algorithm is not None and algorithm.lower() not in CHECKSUMS:
        raise Refusal(400, "InvalidRequest", "Checksum algorithm provided is unsupported.")
    if any(name.startswith("x-amz-checksum-") and name != "x-amz-checksum-algorithm" for name in values):
        raise Refusal(400, "InvalidRequest", "The beginning of an upload has no body whose checksum could be given.")
    upload_id = secrets.token_urlsafe(24)
    target.bucket.uploads[upload_id] = MultipartUpload(
        key=target.key, values=values, initiated=now, algorithm=algorithm.lower() if algorithm else None
    )
    elements = {"Bucket": target.name, "Key": target.key, "UploadId": upload_id}
    answer = xml_answer("InitiateMultipartUploadResult", elements, status=200)
    if algorithm:
        answer.headers.update({"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": "COMPOSITE"})
    answer.headers.update(abort_headers(target.bucket.lifecycle, target.key, now))
    return answer


def check_part(received: ReceivedRequest, target: Target, *, caller: Caller) -> BodyChecks:
    """Refuse a part before its body is read; return the digests that it promises."""
    caller.require("PutObject", target.name, target.key)
    upload = find_upload(received, target)
    part_number(received)
    values = header_values(received)
    ineffective = [
        name
        for name in values
        if name in {"if-match", "if-none-match", "x-amz-acl", "x-amz-tagging", "x-amz-storage-class"}
        or name.startswith(("x-amz-meta-", "x-amz-server-side-encryption"))
    ]
    if ineffective and Leniency.UNSIGNED_HEADERS not in caller.lenient:
        raise Refusal(501, "NotImplemented", f"{ineffective[0]} has no effect on a part.")
    if "content-length" not in values:
        raise Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    if Leniency.UNCHECKED_CHECKSUMS in caller.lenient:
        return BodyChecks(checksums={}, content_md5=None)
    checks = BodyChecks.of(received.headers_with_prefix("x-amz-"), values.get("content-md5"))
    actual = next(iter(checks.checksums), None)
    if actual != upload.algorithm:
        message = (
            f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm or 'null'}, "
            f"actual checksum Type: {actual or 'null'}"
        )
        raise Refusal(400, "InvalidRequest", message)
    return checks


def store_part(
    received: ReceivedRequest, target: Target, body: bytes, checks: BodyChecks, *, limits: PartLimits, now: datetime
) -> Response:
    """Keep a part whose whole body is there; it replaces an earlier part with its number."""
    upload = find_upload(received, target)
    if len(body) > limits.largest_bytes:
        raise Refusal(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size.")
    part = UploadedPart(body=body, checksums=checks.checksums, last_modified=now)
    upload.parts[part_number(received)] = part
    return Response(status_code=200, headers={"ETag": etag_of(body), **checksum_headers(part.checksums)})


def list_parts(received: ReceivedRequest, target: Target, *, caller: Caller) -> Response:
    """Return one page of the parts, in the order of their numbers."""
    caller.require("ListMultipartUploadParts", target.name, target.key)
    upload = find_upload(received, target)
    page, of_page = parts_page(received, upload.parts)
    elements = {
        "Bucket": target.name,
        "Key": target.key,
        **of_page,
        **({"ChecksumAlgorithm": upload.algorithm.upper(), "ChecksumType": "COMPOSITE"} if upload.algorithm else {}),
    }
    parts = "".join(_listed_part(number, upload.parts[number]) for number in page)
    return list_document("ListPartsResult", elements, parts)


def list_uploads(received: ReceivedRequest, target: Target, *, caller: Caller) -> Response:
    """Return one page of the uploads that have begun and not ended, in the order of their keys' bytes."""
    caller.require("ListBucketMultipartUploads", target.name)
    encoding = received.parameter("encoding-type")

    def text(value: str) -> str:
        return percent_encoded(value, keep_slashes=True) if encoding == "url" else value

    keys = {upload_id: upload.key for upload_id, upload in target.bucket.uploads.items()}
    page, of_page = uploads_page(received, keys, text)
    elements = {
        "Bucket": target.name,
        **of_page,
        **({"EncodingType": encoding} if encoding else {}),
    }
    uploads = "".join(
        f"<Upload><Key>{escape(text(key))}</Key><UploadId>{upload_id}</UploadId>"
        f"<Initiated>{xml_time(target.bucket.uploads[upload_id].initiated)}</Initiated></Upload>"
        for key, upload_id in page
    )
    return list_document("ListMultipartUploadsResult", elements, uploads)


def complete_upload(
    received: ReceivedRequest, target: Target, body: bytes, *, caller: Caller, limits: PartLimits, now: datetime
) -> Response:
    """Make the object of the parts that the XML document lists."""
    upload = find_upload(received, target)
    caller.require("PutObject", target.name, target.key)
    # S3 reads the parts to join them.
    caller.require_kms("Decrypt", target.bucket.kms_decrypt_denied_to)
    conditions = writing_conditions(header_values(received))
    if "if-match" in conditions:
        raise Refusal(501, "NotImplemented", "Completion with If-Match is not part of this server.")
    listed = named_parts(body, checksum=f"Checksum{(upload.algorithm or '').upper()}")
    for named in listed:
        held = upload.parts.get(named.number)
        if upload.algorithm and not named.checksum:
            message = (
                f"The upload was created using a {upload.algorithm} checksum. The complete request must include the "
                f"checksum for each part. It was missing for part {named.number} in the request."
            )
            raise Refusal(400, "InvalidRequest", message)
        if (
            held is None
            or not is_etag(named.etag, etag_of(held.body))
            or (upload.algorithm and named.checksum != held.checksums.get(upload.algorithm))
        ):
            raise Refusal(400, "InvalidPart", "One or more of the specified parts could not be found.")
    parts = [upload.parts[named.number] for named in listed]
    if any(len(part.body) < limits.smallest_part_bytes for part in parts[:-1]):
        raise Refusal(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed object size.")
    if "if-none-match" in conditions:
        target.check_absent()
    digests = b"".join(hashlib.md5(part.body).digest() for part in parts)
    stored = target.store(
        b"".join(part.body for part in parts),
        upload.values,
        now=upload.initiated,
        checksums=_composite(upload.algorithm, parts),
        etag=f'"{hashlib.md5(digests).hexdigest()}-{len(parts)}"',
    )
    del target.bucket.uploads[received.parameter("uploadId") or ""]
    elements = {"Bucket": target.name, "Key": target.key, "ETag": stored.etag}
    answer = xml_answer("CompleteMultipartUploadResult", elements, status=200)
    answer.headers.update(stored.version_headers())
    return answer


def abort_upload(received: ReceivedRequest, target: Target, *, caller: Caller) -> Response:
    """Forget an upload and its parts."""
    caller.require("AbortMultipartUpload", target.name, target.key)
    find_upload(received, target)
    del target.bucket.uploads[received.parameter("uploadId") or ""]
    return Response(status_code=204)


def find_upload(received: ReceivedRequest, target: Target) -> MultipartUpload:
    """The upload that a request names; refused if there is none with its id under its key."""
    upload = target.bucket.uploads.get(received.parameter("uploadId") or "")
    if upload is None or upload.key != target.key:
        raise Refusal(404, "NoSuchUpload", "The specified multipart upload does not exist.")
    return upload


def _composite(algorithm: str | None, parts: list[UploadedPart]) -> Mapping[str, str]:
    """The checksum of the parts' checksums, as `DIGEST-COUNT`."""
    if algorithm is None:
        return {}
    digests = b"".join(base64_or_empty(part.checksums[algorithm]) for part in parts)
    return {algorithm: f"{base64.b64encode(CHECKSUMS[algorithm](digests)).decode()}-{len(parts)}"}


def _listed_part(number: int, part: UploadedPart) -> str:
    checksums = "".join(
        f"<Checksum{name.upper()}>{value}</Checksum{name.upper()}>" for name, value in part.checksums.items()
    )
    return (
        f"<Part><PartNumber>{number}</PartNumber><LastModified>{xml_time(part.last_modified)}</LastModified>"
        f"<ETag>{escape(etag_of(part.body))}</ETag><Size>{len(part.body)}</Size>{checksums}</Part>"
    )
