"""Copies inside the S3 reference: CopyObject, and uploads whose parts are ranges of other objects.

Not there, and answered with 501: UploadPart with a body, listing of uploads and parts, other conditions on the source.

Sources: Amazon S3 API Reference, "CopyObject", "CreateMultipartUpload", "UploadPartCopy", "CompleteMultipartUpload",
"AbortMultipartUpload"; Amazon S3 User Guide, "Amazon S3 multipart upload limits".
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from starlette.responses import Response

from emulators.received_request import ReceivedRequest, Refusal, percent_decoded, xml_answer
from emulators.s3_bucket import (
    CUSTOMER_KEY_PREFIX,
    METADATA_PREFIX,
    STORED_HEADERS,
    MultipartUpload,
    S3Bucket,
    S3Object,
    Target,
    check_key,
    customer_key_md5,
    etag_of,
    header_values,
    precondition_failed,
)
from emulators.s3_rights import Caller, Leniency

COPY_SOURCE = "x-amz-copy-source"
MOST_PARTS = 10_000


@dataclass(frozen=True, kw_only=True)
class CopyLimits:
    """The most bytes that one CopyObject or UploadPartCopy copies, and the fewest of a part that is not the last."""

    largest_bytes: int = 5 * 1024**3
    smallest_part_bytes: int = 5 * 1024**2


@dataclass(frozen=True, kw_only=True)
class _Source:
    name: str
    key: str
    stored: S3Object

    @property
    def path(self) -> str:
        return f"{self.name}/{self.key}"


def copy_object(
    received: ReceivedRequest,
    target: Target,
    *,
    buckets: Mapping[str, S3Bucket],
    caller: Caller,
    limits: CopyLimits,
    now: datetime,
) -> Response:
    """Copy an object with the headers, metadata, tags and annotations that the directives choose."""
    values = header_values(received)
    is_lenient = Leniency.UNSIGNED_HEADERS in caller.lenient
    replaces = _directive(values, "x-amz-metadata-directive", "COPY", "REPLACE") == "REPLACE"
    replaces_tags = _directive(values, "x-amz-tagging-directive", "COPY", "REPLACE") == "REPLACE"
    keeps_annotations = _directive(values, "x-amz-object-annotation-directive", "COPY", "EXCLUDE") == "COPY"
    if not is_lenient:
        _refuse_ineffective(values, replaces=replaces, replaces_tags=replaces_tags)
    source = _source(values, buckets, caller)
    if len(source.stored.body) > limits.largest_bytes:
        message = (
            "The specified copy source is larger than the maximum allowable size for a copy source: "
            f"{limits.largest_bytes}"
        )
        raise Refusal(400, "InvalidRequest", message)
    is_itself = (source.name, source.key, source.stored) == (target.name, target.key, target.stored)
    if is_itself and not replaces and "x-amz-storage-class" not in values:
        message = "This copy request is illegal because it is trying to copy an object to itself without changes."
        raise Refusal(400, "InvalidRequest", message)
    chosen = {} if is_lenient else _writing_conditions(values)
    if "if-none-match" in chosen:
        target.check_absent()
    if "if-match" in chosen and (target.stored is None or not _is_etag(chosen["if-match"], target.stored.etag)):
        raise precondition_failed()
    tags = values.get("x-amz-tagging") if replaces_tags else source.stored.attributes.get("x-amz-tagging")
    if tags and not replaces_tags:
        caller.require("GetObjectTagging", source.name, source.key)
    annotations = source.stored.annotations if keeps_annotations else {}
    if annotations:
        caller.require("GetObjectAnnotation", source.name, source.key)
        caller.require("PutObjectAnnotation", target.name, target.key)
    caller.require_writing(
        target.name, target.key, sets_acl="x-amz-acl" in values, sets_tags=bool(tags), copy_source=source.path
    )
    written = {**(values if replaces else _representation(source.stored)), "x-amz-tagging": tags}
    for name in (
        "x-amz-acl",
        "x-amz-storage-class",
        *(CUSTOMER_KEY_PREFIX + n for n in ("algorithm", "key", "key-md5")),
    ):
        written[name] = values.get(name)
    stored = target.store(
        source.stored.body,
        {name: value for name, value in written.items() if value is not None},
        now=now,
        checksums=source.stored.checksums,
        annotations=annotations,
        etag=etag_of(source.stored.body),
    )
    answer = xml_answer("CopyObjectResult", {"ETag": stored.etag, "LastModified": _xml_time(now)}, status=200)
    return _with_versions(answer, stored, source.stored)


def create_upload(received: ReceivedRequest, target: Target, *, caller: Caller) -> Response:
    """Begin an upload in parts; the object's headers and metadata are those of this request."""
    values = header_values(received)
    caller.require_writing(target.name, target.key, sets_acl="x-amz-acl" in values, sets_tags="x-amz-tagging" in values)
    upload_id = secrets.token_urlsafe(24)
    target.bucket.uploads[upload_id] = MultipartUpload(key=target.key, values=values)
    elements = {"Bucket": target.name, "Key": target.key, "UploadId": upload_id}
    return xml_answer("InitiateMultipartUploadResult", elements, status=200)


def upload_part_copy(
    received: ReceivedRequest,
    target: Target,
    *,
    buckets: Mapping[str, S3Bucket],
    caller: Caller,
    limits: CopyLimits,
    now: datetime,
) -> Response:
    """Make a part of a range of another object."""
    values = header_values(received)
    if COPY_SOURCE not in values:
        raise Refusal(501, "NotImplemented", "UploadPart is not part of this server.")
    upload = _upload(received, target)
    number = received.parameter("partNumber") or ""
    if not re.fullmatch("[1-9][0-9]{0,4}", number) or int(number) > MOST_PARTS:
        raise Refusal(400, "InvalidArgument", f"Part number must be an integer between 1 and {MOST_PARTS}, inclusive")
    source = _source(values, buckets, caller)
    caller.require("PutObject", target.name, target.key, copy_source=source.path)
    first, last = _copied_range(values.get("x-amz-copy-source-range"), len(source.stored.body))
    if last - first + 1 > limits.largest_bytes:
        raise Refusal(400, "InvalidRequest", f"A part has at most {limits.largest_bytes} bytes.")
    part = source.stored.body[first : last + 1]
    upload.parts[int(number)] = part
    answer = xml_answer("CopyPartResult", {"ETag": etag_of(part), "LastModified": _xml_time(now)}, status=200)
    return _with_versions(answer, None, source.stored)


def complete_upload(
    received: ReceivedRequest, target: Target, body: bytes, *, caller: Caller, limits: CopyLimits, now: datetime
) -> Response:
    """Make the object of the parts that the XML document lists."""
    upload = _upload(received, target)
    caller.require("PutObject", target.name, target.key)
    conditions = _writing_conditions(header_values(received))
    if "if-match" in conditions:
        raise Refusal(501, "NotImplemented", "Completion with If-Match is not part of this server.")
    listed = _listed_parts(body)
    if [number for number, _ in listed] != sorted({number for number, _ in listed}):
        raise Refusal(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
    for number, etag in listed:
        if number not in upload.parts or not _is_etag(etag, etag_of(upload.parts[number])):
            raise Refusal(400, "InvalidPart", "One or more of the specified parts could not be found.")
    parts = [upload.parts[number] for number, _ in listed]
    if any(len(part) < limits.smallest_part_bytes for part in parts[:-1]):
        raise Refusal(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed object size.")
    if "if-none-match" in conditions:
        target.check_absent()
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    stored = target.store(
        b"".join(parts),
        upload.values,
        now=now,
        checksums={},
        etag=f'"{hashlib.md5(digests).hexdigest()}-{len(parts)}"',
    )
    del target.bucket.uploads[received.parameter("uploadId") or ""]
    elements = {"Bucket": target.name, "Key": target.key, "ETag": stored.etag}
    return _with_versions(xml_answer("CompleteMultipartUploadResult", elements, status=200), stored, None)


def abort_upload(received: ReceivedRequest, target: Target, *, caller: Caller) -> Response:
    """Forget an upload and its parts."""
    caller.require("AbortMultipartUpload", target.name, target.key)
    _upload(received, target)
    del target.bucket.uploads[received.parameter("uploadId") or ""]
    return Response(status_code=204)


def _source(values: Mapping[str, str], buckets: Mapping[str, S3Bucket], caller: Caller) -> _Source:
    path, marker, version = values[COPY_SOURCE].partition("?versionId=")
    name, slash, key = percent_decoded(path).removeprefix("/").partition("/")
    if not slash or not key or (marker and not version):
        raise Refusal(
            400, "InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"
        )
    check_key(key)
    bucket = buckets.get(name)
    if bucket is None:
        raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist")
    caller.require("GetObjectVersion" if version else "GetObject", name, key)
    if not version and key not in bucket.objects:
        # Who may not list the bucket does not learn that a key is free.
        caller.require("ListBucket", name)
    stored = bucket.find(key, version or None)
    if any(name.startswith(COPY_SOURCE + "-if-") and name != COPY_SOURCE + "-if-match" for name in values):
        raise Refusal(501, "NotImplemented", "This condition on the copy source is not part of this server.")
    wanted = values.get(COPY_SOURCE + "-if-match")
    if wanted is not None and not _is_etag(wanted, stored.etag):
        raise precondition_failed()
    if stored.is_archived:
        raise Refusal(403, "InvalidObjectState", "The operation is not valid for the object's storage class")
    stored.check_customer_key(customer_key_md5(values, COPY_SOURCE + "-server-side-encryption-customer-"))
    return _Source(name=name, key=key, stored=stored)


def _representation(stored: S3Object) -> dict[str, str]:
    metadata = {METADATA_PREFIX + name: value for name, value in stored.metadata.items()}
    return {"content-type": stored.content_type, **stored.headers, **metadata}


def _directive(values: Mapping[str, str], name: str, *choices: str) -> str:
    value = values.get(name, choices[0])
    if value not in choices:
        raise Refusal(400, "InvalidArgument", f"Unknown {name.removeprefix('x-amz-')}.")
    return value


def _refuse_ineffective(values: Mapping[str, str], *, replaces: bool, replaces_tags: bool) -> None:
    """Amazon S3 copies what a directive says and ignores what else was sent; here nothing is ignored."""
    kept = [n for n in values if n in ("content-type", *STORED_HEADERS) or n.startswith(METADATA_PREFIX)]
    if kept and not replaces:
        raise Refusal(400, "InvalidRequest", f"{kept[0]} has no effect without x-amz-metadata-directive: REPLACE.")
    if "x-amz-tagging" in values and not replaces_tags:
        raise Refusal(400, "InvalidRequest", "x-amz-tagging has no effect without x-amz-tagging-directive: REPLACE.")
    if values.get("content-length", "0") != "0" or "transfer-encoding" in values:
        raise Refusal(400, "InvalidRequest", "A copy has no body.")
    if any(name.startswith("x-amz-checksum-") and name != "x-amz-checksum-algorithm" for name in values):
        raise Refusal(400, "InvalidRequest", "A copy has no body whose checksum could be given.")


def _writing_conditions(values: Mapping[str, str]) -> dict[str, str]:
    conditions = {name: values[name] for name in ("if-match", "if-none-match") if name in values}
    if len(conditions) > 1 or conditions.get("if-none-match", "*") != "*":
        raise Refusal(501, "NotImplemented", "A header you provided implies functionality that is not implemented.")
    return conditions


def _is_etag(wanted: str, etag: str) -> bool:
    return wanted in ("*", etag, etag.strip('"'))


def _copied_range(header: str | None, size: int) -> tuple[int, int]:
    if header is None:
        return 0, size - 1
    match = re.fullmatch("bytes=([0-9]{1,15})-([0-9]{1,15})", header)
    if match is None or not int(match[1]) <= int(match[2]) < size:
        message = f"The x-amz-copy-source-range value must be of the form bytes=first-last within {size} bytes."
        raise Refusal(400, "InvalidArgument", message)
    return int(match[1]), int(match[2])


def _upload(received: ReceivedRequest, target: Target) -> MultipartUpload:
    upload = target.bucket.uploads.get(received.parameter("uploadId") or "")
    if upload is None or upload.key != target.key:
        raise Refusal(404, "NoSuchUpload", "The specified multipart upload does not exist.")
    return upload


def _listed_parts(body: bytes) -> list[tuple[int, str]]:
    text = body.decode("utf-8", errors="replace").replace("&quot;", '"')
    parts = re.findall("<Part>(.*?)</Part>", text, re.DOTALL)
    numbers = [re.search(r"<PartNumber>\s*([0-9]{1,5})\s*</PartNumber>", part) for part in parts]
    etags = [re.search(r"<ETag>\s*([^<\s]+)\s*</ETag>", part) for part in parts]
    if not parts or "<CompleteMultipartUpload" not in text or None in numbers or None in etags:
        raise Refusal(400, "MalformedXML", "The XML you provided was not well-formed or did not validate.")
    return [(int(number[1]), etag[1]) for number, etag in zip(numbers, etags, strict=True) if number and etag]


def _xml_time(now: datetime) -> str:
    return now.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _with_versions(answer: Response, stored: S3Object | None, source: S3Object | None) -> Response:
    answer.headers.update(stored.version_headers() if stored else {})
    if source is not None and source.version_id is not None:
        answer.headers["x-amz-copy-source-version-id"] = source.version_id
    return answer
