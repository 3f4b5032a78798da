"""Copies inside the S3 reference: CopyObject, and uploads whose parts are ranges of other objects.

Not there, and answered with 501: other conditions on the source.

Sources: Amazon S3 API Reference, "CopyObject", "UploadPartCopy"; Amazon S3 User Guide, "Amazon S3 multipart upload
limits".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from starlette.responses import Response

from emulators.multipart_documents import part_number
from emulators.received_request import ReceivedRequest, Refusal, percent_decoded, xml_answer
from emulators.s3_bucket import (
    CUSTOMER_KEY_PREFIX,
    METADATA_PREFIX,
    STORED_HEADERS,
    S3Bucket,
    S3Object,
    Target,
    UploadedPart,
    check_key,
    customer_key_md5,
    etag_of,
    header_values,
    is_etag,
    precondition_failed,
    writing_conditions,
    xml_time,
)
from emulators.s3_parts import PartLimits, find_upload
from emulators.s3_rights import Caller, Leniency

COPY_SOURCE = "x-amz-copy-source"


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
    limits: PartLimits,
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
    chosen = {} if is_lenient else writing_conditions(values)
    if "if-none-match" in chosen:
        target.check_absent()
    if "if-match" in chosen and (target.stored is None or not is_etag(chosen["if-match"], target.stored.etag)):
        raise precondition_failed()
    tags = values.get("x-amz-tagging") if replaces_tags else source.stored.attributes.get("x-amz-tagging")
    if tags and not replaces_tags:
        caller.require("GetObjectTagging", source.name, source.key)
    annotations = source.stored.annotations if keeps_annotations else {}
    if annotations:
        caller.require("GetObjectAnnotation", source.name, source.key)
        caller.require("PutObjectAnnotation", target.name, target.key)
    caller.require_kms("GenerateDataKey", target.bucket.kms_denied_to)
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
    answer = xml_answer("CopyObjectResult", {"ETag": stored.etag, "LastModified": xml_time(now)}, status=200)
    return _with_versions(answer, stored, source.stored)


def upload_part_copy(
    received: ReceivedRequest,
    target: Target,
    *,
    buckets: Mapping[str, S3Bucket],
    caller: Caller,
    limits: PartLimits,
    now: datetime,
) -> Response:
    """Make a part of a range of another object."""
    values = header_values(received)
    upload = find_upload(received, target)
    number = part_number(received)
    source = _source(values, buckets, caller)
    caller.require("PutObject", target.name, target.key, copy_source=source.path)
    first, last = _copied_range(values.get("x-amz-copy-source-range"), len(source.stored.body))
    if last - first + 1 > limits.largest_bytes:
        raise Refusal(400, "InvalidRequest", f"A part has at most {limits.largest_bytes} bytes.")
    part = source.stored.body[first : last + 1]
    upload.parts[number] = UploadedPart(body=part, last_modified=now)
    answer = xml_answer("CopyPartResult", {"ETag": etag_of(part), "LastModified": xml_time(now)}, status=200)
    return _with_versions(answer, None, source.stored)


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
    caller.require_kms("Decrypt", bucket.kms_decrypt_denied_to)
    if not version and key not in bucket.objects:
        # Who may not list the bucket does not learn that a key is free.
        caller.require("ListBucket", name)
    stored = bucket.find(key, version or None)
    if any(name.startswith(COPY_SOURCE + "-if-") and name != COPY_SOURCE + "-if-match" for name in values):
        raise Refusal(501, "NotImplemented", "This condition on the copy source is not part of this server.")
    wanted = _wanted_etag(values, caller)
    if wanted is not None and not is_etag(wanted, stored.etag):
        raise precondition_failed()
    if stored.is_archived:
        raise Refusal(403, "InvalidObjectState", "The operation is not valid for the object's storage class")
    stored.check_customer_key(customer_key_md5(values, COPY_SOURCE + "-server-side-encryption-customer-"))
    return _Source(name=name, key=key, stored=stored)


def _wanted_etag(values: Mapping[str, str], caller: Caller) -> str | None:
    if Leniency.UNCONDITIONAL_COPIES in caller.lenient:
        return None
    if Leniency.CEPH_COPY_CONDITION in caller.lenient:
        return values.get("x-amz-copy-if-match")
    return values.get(COPY_SOURCE + "-if-match")


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


def _copied_range(header: str | None, size: int) -> tuple[int, int]:
    if header is None:
        return 0, size - 1
    match = re.fullmatch("bytes=([0-9]{1,15})-([0-9]{1,15})", header)
    if match is None or not int(match[1]) <= int(match[2]) < size:
        message = f"The x-amz-copy-source-range value must be of the form bytes=first-last within {size} bytes."
        raise Refusal(400, "InvalidArgument", message)
    return int(match[1]), int(match[2])


def _with_versions(answer: Response, stored: S3Object | None, source: S3Object | None) -> Response:
    answer.headers.update(stored.version_headers() if stored else {})
    if source is not None and source.version_id is not None:
        answer.headers["x-amz-copy-source-version-id"] = source.version_id
    return answer
