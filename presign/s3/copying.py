"""The copy of a pending object to its final key, made by the store itself.

Source: "CopyObject", "UploadPartCopy" and "CompleteMultipartUpload", Amazon S3 API Reference; "How to prevent object
overwrites with conditional writes", Amazon S3 User Guide.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from presign.backends.backend import AlreadyPublished, ObjectChanged, ObjectHead
from presign.backends.failures import storage_failed, warn
from presign.backends.lazy_client import LazyClient
from presign.errors import ConfigurationError, PresignError, StorageUnavailable
from presign.keys import MAX_KEY_BYTES
from presign.messages import Grant
from presign.progress import ReportBytes, ignore_bytes
from presign.s3.failures import call_errors, error_code, status_of
from presign.s3.objects import HEADERS, S3Objects, object_arguments, version_of
from presign.s3.requests import BucketRequests
from presign.signing.quoting import quote_path, quote_value

MAX_COPY_BYTES = 5 * 1024**3
"""The largest object that CopyObject copies; a larger one is copied in parts."""

LARGE_BYTES = 256 * 1024**2
"""An object larger than this is copied with a longer time-out."""

PART_BYTES = 1024**3
MAX_PARTS = 10_000
_PARTS_AT_ONCE = 8

# Of the form that ETags have, because a store may refuse another form for a reason of its own.
_ANOTHER_ETAG = "0" * 32
_RANDOM_BYTES = 16
_MAX_TRIAL_KEY = MAX_KEY_BYTES - 2 * _RANDOM_BYTES - 1

_ETAG = re.compile(r"<ETag>([^<]+)</ETag>")
_ERROR_CODE = re.compile(r"<Error>.*?<Code>([^<]+)</Code>", re.DOTALL)
# S3 answers this if two copies to the same key run at once. It does not say which of them succeeds.
_CONFLICT = "ConditionalRequestConflict"


class Copier:
    """Copy objects within one bucket.

    ``is_aws`` adds what only Amazon S3 knows: a copy leaves out the annotations of its source.

    A store other than Amazon S3 may ignore a copy's conditions, so they are tried out with the first copy:

    - The ETag of the source. The store must refuse a copy of another ETag. If it does not, nothing is published from a
      bucket without versions, because a client could exchange an upload between its verification and its copy. Such a
      trial copy has a random key beside the final one, so that nobody can take it for the published object. It is
      deleted, if the credentials permit that. A copy in parts is tried out with its first byte instead.
    - The condition that forbids overwriting. The copy is made twice: the store must refuse the second one. Until it has
      done that, the destination is looked at before each copy.

    ``conditions`` are the names of the header with the ETag of the source; see presign.s3.guards.

    ``large_requests`` has the time-outs for objects above LARGE_BYTES.
    """

    def __init__(
        self,
        requests: BucketRequests,
        objects: S3Objects,
        *,
        large_requests: LazyClient[BucketRequests],
        is_aws: bool,
        conditions: Sequence[str],
    ) -> None:
        self._requests = requests
        self._large_requests = large_requests
        self._objects = objects
        self._is_aws = is_aws
        self._never_overwrites: bool | None = True if is_aws else None
        self._compares_the_source: bool | None = True if is_aws else None
        self._compares_the_source_of_parts: bool | None = True if is_aws else None
        self._conditions = conditions

    def publish(self, grant: Grant, head: ObjectHead, *, report_copied: ReportBytes = ignore_bytes) -> ObjectHead:
        """Copy the pending object that ``head`` describes to ``grant.key``; see Backend.publish."""
        if not self._never_overwrites and self._objects.head(grant.key) is not None:
            raise AlreadyPublished
        if head.size > MAX_COPY_BYTES:
            etag, version = self._copy_in_parts(grant, head, report_copied)
        else:
            self._require_a_compared_source(grant, head)
            etag, version = self._copy(grant, head)
            if self._never_overwrites is None and head.size <= LARGE_BYTES:
                etag, version = self._copy_again(grant, head) or (etag, version)
        return ObjectHead(size=head.size, content_type=grant.content_type, etag=etag, version=version_of(version))

    def _require_a_compared_source(self, grant: Grant, head: ObjectHead) -> None:
        """Raise ConfigurationError if the store copies an object whose ETag is not the one that the copy names.

        A copy that names a version needs no condition.
        """
        if head.version is not None:
            return
        if self._compares_the_source is None:
            self._compares_the_source = self._refuses_another_etag(grant, head)
        if self._compares_the_source is False:
            raise ConfigurationError(
                f"the store of s3://{self._requests.bucket} copies an object although its ETag is not the one that was "
                f"verified ({self._conditions[0]}), so nothing can be published safely; turn on versioning of the "
                "bucket, because a copy then names the version",
                field="pending_prefix",
            )

    def _refuses_another_etag(self, grant: Grant, head: ObjectHead) -> bool:
        # The copy may have bytes that nobody verified, and stay, so no browser must run them.
        trial = replace(
            grant,
            key=f"{grant.key[:_MAX_TRIAL_KEY]}.{os.urandom(_RANDOM_BYTES).hex()}",
            content_type="application/octet-stream",
            content_disposition="attachment",
            cache_control="no-store",
            metadata={},
            tags={},
            storage_class=None,
        )
        try:
            self._copy(trial, replace(head, etag=_ANOTHER_ETAG))
        except ObjectChanged:
            if not self._is_unchanged(grant, head):
                raise self._changed(grant) from None
            return True
        try:
            self._objects.delete(trial.key)
        except StorageUnavailable:
            warn("s3://%s/%s is a copy on trial; delete it", self._requests.bucket, trial.key)
        return False

    def _is_unchanged(self, grant: Grant, head: ObjectHead) -> bool:
        """Say whether the pending object is still the one that ``head`` describes.

        If it is gone or was replaced, a store refuses each copy of it, and that proves nothing.
        """
        source = self._objects.head(grant.upload_key)
        return source is not None and (source.etag, source.version) == (head.etag, head.version)

    def _copy_again(self, grant: Grant, head: ObjectHead) -> tuple[str, str | None] | None:
        """Copy again to learn whether the store refuses to overwrite; if it does not, return the second copy.

        The second copy does no harm: its condition on the source is the same, so it has the same bytes.
        """
        try:
            copied = self._copy(grant, head)
        except AlreadyPublished:
            if self._is_unchanged(grant, head):
                self._never_overwrites = True
            return None
        except StorageUnavailable:
            # Not conclusive: the next publication tries again.
            return None
        self._never_overwrites = False
        warn("s3://%s overwrites on a conditional copy; every publication looks first", self._requests.bucket)
        return copied

    def _copy(self, grant: Grant, head: ObjectHead) -> tuple[str, str | None]:
        source = quote_path(f"{self._requests.bucket}/{grant.upload_key}")
        if head.version is not None:
            source = f"{source}?versionId={quote_value(head.version)}"
        headers = {
            "content-type": grant.content_type,
            **{name.lower(): value for name, value in HEADERS.of_object(grant).items()},
            "if-none-match": "*",
            "x-amz-copy-source": f"/{source}",
            **dict.fromkeys(self._conditions, f'"{head.etag}"'),
            "x-amz-metadata-directive": "REPLACE",
            # Without this, the tags of the pending object would be copied.
            "x-amz-tagging-directive": "REPLACE",
        }
        if self._is_aws:
            headers["x-amz-object-annotation-directive"] = "EXCLUDE"
        if grant.tags:
            headers["x-amz-tagging"] = urlencode(grant.tags)
        if grant.storage_class is not None:
            headers["x-amz-storage-class"] = grant.storage_class
        response = self._requests_for(head).send("PUT", grant.key, headers)
        if response is None:
            return self._copy_through_boto3(grant, head)
        if response.status in {404, 412}:
            raise self._refusal(grant)
        body = response.text
        etag, failure = _ETAG.search(body), _ERROR_CODE.search(body)
        if failure is not None or etag is None:
            # A copy that fails after it has begun is answered with 200 and an error in the body.
            raise storage_failed(f"s3://{self._requests.bucket}", "COPY", failure[1] if failure else "no ETag")
        from html import unescape  # no ticket needs it, and it imports a large table

        return unescape(etag[1]).strip('"'), response.headers.get("x-amz-version-id")

    def _copy_through_boto3(self, grant: Grant, head: ObjectHead) -> tuple[str, str | None]:
        arguments: dict[str, Any] = {
            "CopySource": self._copy_source(grant, head),
            "CopySourceIfMatch": f'"{head.etag}"',
            "IfNoneMatch": "*",
            "MetadataDirective": "REPLACE",
            "TaggingDirective": "REPLACE",
            **_stored_arguments(grant),
        }
        if self._is_aws:
            arguments["AnnotationDirective"] = "EXCLUDE"
        try:
            client: Any = self._requests_for(head).client
            answer = client.copy_object(Bucket=self._requests.bucket, Key=grant.key, **arguments)
        except call_errors() as error:
            raise self._explained(grant, "COPY", error) from None
        return answer["CopyObjectResult"]["ETag"].strip('"'), answer.get("VersionId")

    def _copy_in_parts(self, grant: Grant, head: ObjectHead, report_copied: ReportBytes) -> tuple[str, str | None]:
        client: Any = self._requests_for(head).client
        target = {"Bucket": self._requests.bucket, "Key": grant.key}
        try:
            created = client.create_multipart_upload(**target, **_stored_arguments(grant))
        except call_errors() as error:
            raise self._requests.failed("CREATE MULTIPART UPLOAD", error) from None
        upload = {**target, "UploadId": created["UploadId"]}
        source = {"CopySource": self._copy_source(grant, head), "CopySourceIfMatch": f'"{head.etag}"'}
        part_bytes = max(PART_BYTES, -(-head.size // MAX_PARTS))

        def copy_part(number: int) -> dict[str, Any]:
            first = (number - 1) * part_bytes
            last = min(first + part_bytes, head.size) - 1
            part = client.upload_part_copy(
                **upload, **source, PartNumber=number, CopySourceRange=f"bytes={first}-{last}"
            )
            return {"PartNumber": number, "ETag": part["CopyPartResult"]["ETag"]}

        if self._compares_the_source_of_parts is not True and head.version is None:
            self._try_a_part_of_another_etag(grant, head, upload)
        # No ticket needs it, and it takes long to import.
        from concurrent.futures import ThreadPoolExecutor

        try:
            with ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:
                parts: list[dict[str, Any]] = []
                for part in pool.map(copy_part, range(1, -(-head.size // part_bytes) + 1)):
                    parts.append(part)
                    report_copied(min(len(parts) * part_bytes, head.size), head.size)
            answer = client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        except call_errors() as error:
            self._abort(upload)
            raise self._explained(grant, "COPY IN PARTS", error) from None
        return answer["ETag"].strip('"'), answer.get("VersionId")

    def _try_a_part_of_another_etag(self, grant: Grant, head: ObjectHead, upload: Mapping[str, str]) -> None:
        """Raise ConfigurationError, after the upload is aborted, if the store copies a part of another ETag.

        A part is no object, so nobody sees it.
        """
        client: Any = self._requests.client
        try:
            client.upload_part_copy(
                **upload,
                CopySource=self._copy_source(grant, head),
                CopySourceIfMatch=f'"{_ANOTHER_ETAG}"',
                PartNumber=1,
                CopySourceRange="bytes=0-0",
            )
        except call_errors() as error:
            try:
                if status_of(error) not in {404, 412}:
                    raise self._requests.failed("COPY IN PARTS", error) from None
                if not self._is_unchanged(grant, head):
                    raise self._changed(grant) from None
            except PresignError:
                self._abort(upload)
                raise
            self._compares_the_source_of_parts = True
        else:
            self._abort(upload)
            raise ConfigurationError(
                f"the store of s3://{self._requests.bucket} copies a part of an object although its ETag is not the "
                f"one that was verified ({self._conditions[0]}), so no object above {MAX_COPY_BYTES} bytes can be "
                "published safely; allow none in max_bytes, or turn on versioning of the bucket, because a copy then "
                "names the version",
                field="max_bytes",
                limit=MAX_COPY_BYTES,
            )

    def _requests_for(self, head: ObjectHead) -> BucketRequests:
        return self._requests if head.size <= LARGE_BYTES else self._large_requests.get()

    def _abort(self, upload: Mapping[str, str]) -> None:
        client: Any = self._requests.client
        try:
            client.abort_multipart_upload(**upload)
        except call_errors():
            # The bucket's lifecycle rule deletes the parts. The caller gets the error of the copy, which came first.
            return

    def _copy_source(self, grant: Grant, head: ObjectHead) -> dict[str, str]:
        source = {"Bucket": self._requests.bucket, "Key": grant.upload_key}
        return source if head.version is None else {**source, "VersionId": head.version}

    def _explained(self, grant: Grant, call: str, error: Exception) -> Exception:
        if error_code(error) == _CONFLICT:
            return ObjectChanged(f"{grant.key} is being published by another call")
        if status_of(error) in {404, 412}:
            return self._refusal(grant)
        return self._requests.failed(call, error)

    def _refusal(self, grant: Grant) -> Exception:
        """Find out which of the two preconditions failed, because the answer does not say it; return its error."""
        if self._objects.head(grant.key) is not None:
            return AlreadyPublished()
        return self._changed(grant)

    def _changed(self, grant: Grant) -> ObjectChanged:
        return ObjectChanged(f"the object under {grant.upload_key} was replaced or deleted meanwhile")


def _stored_arguments(grant: Grant) -> dict[str, Any]:
    """Return the headers, metadata, tags and storage class of the copy, as arguments of boto3."""
    arguments = object_arguments(grant)
    if grant.tags:
        arguments["Tagging"] = urlencode(grant.tags)
    if grant.storage_class is not None:
        arguments["StorageClass"] = grant.storage_class
    return arguments
