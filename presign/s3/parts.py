"""Uploads in parts on S3: begun, signed, listed, committed and aborted.

Source: "CreateMultipartUpload", "UploadPart", "ListParts", "CompleteMultipartUpload", "AbortMultipartUpload" and
"ListMultipartUploads", Amazon S3 API Reference; "Amazon S3 multipart upload limits" and "Checking object integrity",
Amazon S3 User Guide.
"""

from __future__ import annotations

import base64
import hashlib
from binascii import Error as NotBase64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from presign.backends.backend import ObjectChanged
from presign.backends.lazy_client import LazyClient
from presign.backends.parts import KeyTaken, ListedUpload, NoSuchUpload, PartLimits, PartToSign, StoredPart
from presign.backends.signature_v4_requests import SignatureV4Requests
from presign.messages import Grant, GrantInParts, PartRequest, Rule
from presign.s3.failures import call_errors, error_code, status_of
from presign.s3.objects import object_arguments
from presign.s3.requests import BucketRequests
from presign.signing.signers import Signers

LIMITS = PartLimits(
    min_part_bytes=5 * 1024**2, max_part_bytes=5 * 1024**3, max_parts=10_000, max_bytes=50_000_000_000_000
)

# Each client sends a part a few times at most, also over a bad line.
_MAX_REPETITIONS = 10
_ALWAYS_LISTED = 1000
_CHECKSUM_HEADER = "x-amz-checksum-sha256"
_RULES = frozenset({Rule.SIZE, Rule.TYPE, Rule.HEADERS, Rule.CREATE_ONLY})
# Answers to a part that was replaced after it was listed, and to two commits at once.
_CHANGED_CODES = frozenset({"InvalidPart", "ConditionalRequestConflict", "OperationAborted"})


class _PartChecksums(Enum):
    """How a store checks the SHA-256 of a part."""

    NAMED_AT_BEGIN = auto()
    """The upload must name the algorithm when it begins. Then the store lists the digests, and wants them back."""
    NOT_NAMED = auto()
    """The store checks each part, but lists no digests. So an upload that names the algorithm cannot be committed."""
    NONE = auto()


class S3Parts:
    """The PartsStore of one bucket; see presign.backends.parts.

    The identity that signs uploads also begins, lists, commits and aborts them: it needs s3:PutObject,
    s3:ListMultipartUploadParts and s3:AbortMultipartUpload for pending objects, and no right to read. ``sweeper`` has
    the requests of the identity that sweeps: it needs s3:ListBucketMultipartUploads and s3:AbortMultipartUpload.

    ``committer`` has the time-outs of a commit, which can take minutes. ``guards`` are headers that every part carries,
    signed; see presign.s3.guards. ``guards_of_urls`` are those of parts whose client sends no headers. ``shown`` are
    the rules that the store has shown to enforce, if that is known.
    """

    limits = LIMITS
    needs_pending_key = False
    answers_with_etag = True

    def __init__(
        self,
        requests: BucketRequests,
        *,
        committer: LazyClient[BucketRequests],
        sweeper: BucketRequests,
        browser_requests: SignatureV4Requests,
        signers_at: Callable[[datetime, timedelta], Signers],
        is_aws: bool,
        guards: Mapping[str, str],
        guards_of_urls: Mapping[str, str],
        shown: frozenset[Rule] | None = None,
    ) -> None:
        self._requests = requests
        self._committer = committer
        self._sweeper = sweeper
        self._browser_requests = browser_requests
        self._signers_at = signers_at
        self._rules = _RULES if shown is None else _RULES & shown
        self._guards = guards
        self._guards_of_urls = guards_of_urls
        self._part_checksums = _PartChecksums.NAMED_AT_BEGIN if is_aws else None

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return all rules but the checksum: S3 checks each part, and no SHA-256 of the whole object."""
        return self._rules

    def checks_sha256(self, grant: Grant) -> bool:
        """Say whether the store checks the SHA-256 of a part. A store other than Amazon S3 is tried once."""
        return self._checksums_for(grant.upload_key) is not _PartChecksums.NONE

    def lists_sha256(self, grant: Grant) -> bool:
        """Say whether the store lists the SHA-256 that it has checked. A store other than Amazon S3 is tried once."""
        return self._checksums_for(grant.upload_key) is _PartChecksums.NAMED_AT_BEGIN

    def begin(self, grant: Grant, *, needs_sha256: bool) -> str:
        """Begin an upload with CreateMultipartUpload; the object's type, headers and metadata are decided here."""
        named = needs_sha256 and self._checksums_for(grant.upload_key) is _PartChecksums.NAMED_AT_BEGIN
        return self._begin(grant.upload_key, object_arguments(grant), named=named)

    def sign(
        self,
        grant: GrantInParts,
        parts: Sequence[PartToSign],
        now: datetime,
        *,
        expires_in: timedelta,
        url_alone: bool = False,
    ) -> tuple[list[PartRequest], datetime]:
        """Return presigned PUTs that bind the upload, the number, the exact length and, if given, the SHA-256.

        With ``url_alone`` they carry no guards, unless the application asked for guards on every ticket.
        """
        signers = self._signers_at(now, expires_in)
        requests = self._browser_requests.sign_parts(
            grant.upload_key,
            grant.upload_id,
            parts,
            signers,
            checksum_headers=_checksum_headers,
            fixed_headers=self._guards_of_urls if url_alone else self._guards,
        )
        return requests, signers.expires_at

    def upload_url(self, grant: Grant) -> str:
        """Return the URL of the object that the upload will make, as browsers reach it."""
        return self._browser_requests.object_url(grant.upload_key)

    def list_parts(self, grant: GrantInParts) -> list[StoredPart]:
        """Return the parts from ListParts, which has at most 1,000 of them in one page.

        SeaweedFS keeps and lists each part as often as it was sent. An upload whose list is so long that no honest
        client can have made it is aborted, because every request for it would read the whole list.
        """
        parts: list[StoredPart] = []
        for page in self._listed_pages(grant.upload_key, grant.upload_id):
            parts += page
            if len(parts) > _MAX_REPETITIONS * grant.part_count + _ALWAYS_LISTED:
                self.abort(grant)
                raise NoSuchUpload
        return parts

    def commit(self, grant: GrantInParts, parts: Sequence[StoredPart]) -> None:
        """Commit with CompleteMultipartUpload, unless there is an object under the key."""
        requests = self._committer.get()
        listed = [
            {
                "PartNumber": part.number,
                "ETag": f'"{part.etag}"',
                **({} if part.sha256 is None else {"ChecksumSHA256": _base64(part.sha256)}),
            }
            for part in parts
        ]
        client: Any = requests.client
        try:
            client.complete_multipart_upload(
                Bucket=requests.bucket,
                Key=grant.upload_key,
                UploadId=grant.upload_id,
                MultipartUpload={"Parts": listed},
                IfNoneMatch="*",
            )
        except call_errors() as error:
            if status_of(error) == 412:
                raise KeyTaken from None
            if status_of(error) == 404:
                raise NoSuchUpload from None
            if error_code(error) in _CHANGED_CODES:
                raise ObjectChanged(f"the upload to {grant.upload_key} changed meanwhile") from None
            raise requests.failed("COMPLETE MULTIPART UPLOAD", error) from None

    def abort(self, grant: GrantInParts) -> None:
        """Abort with AbortMultipartUpload."""
        self._abort(self._requests, grant.upload_key, grant.upload_id)

    def list_uploads(self, prefix: str) -> Iterator[ListedUpload]:
        """Return the uploads from ListMultipartUploads; this needs the right s3:ListBucketMultipartUploads."""
        pages = self._sweeper.client.get_paginator("list_multipart_uploads")
        try:
            for page in pages.paginate(Bucket=self._sweeper.bucket, Prefix=prefix):
                for upload in page.get("Uploads", []):
                    yield ListedUpload(key=upload["Key"], upload_id=upload["UploadId"], started_at=upload["Initiated"])
        except call_errors() as error:
            raise self._sweeper.failed("LIST MULTIPART UPLOADS", error) from None

    def sweep(self, upload: ListedUpload) -> None:
        """Abort an upload that ``list_uploads`` returned, with the same identity."""
        self._abort(self._sweeper, upload.key, upload.upload_id)

    def abort_date(self, key: str) -> datetime | None:
        """Return when a lifecycle rule of the bucket would abort an upload to ``key`` that begins now.

        Returns None if no rule does, or if the store does not say: only Amazon S3 is known to answer it. This begins an
        upload, and aborts it. Raises StorageUnavailable.
        """
        created = self._create(key, {}, named=False)
        self._abort(self._requests, key, created["UploadId"])
        date: datetime | None = created.get("AbortDate")
        return date

    def _begin(self, key: str, arguments: Mapping[str, Any], *, named: bool) -> str:
        upload_id: str = self._create(key, arguments, named=named)["UploadId"]
        return upload_id

    def _create(self, key: str, arguments: Mapping[str, Any], *, named: bool) -> Mapping[str, Any]:
        client: Any = self._requests.client
        algorithm = {"ChecksumAlgorithm": "SHA256"} if named else {}
        try:
            created: Mapping[str, Any] = client.create_multipart_upload(
                Bucket=self._requests.bucket, Key=key, **arguments, **algorithm
            )
        except call_errors() as error:
            raise self._requests.failed("CREATE MULTIPART UPLOAD", error) from None
        return created

    def _listed_pages(self, key: str, upload_id: str) -> Iterator[list[StoredPart]]:
        pages = self._requests.client.get_paginator("list_parts")
        try:
            for page in pages.paginate(Bucket=self._requests.bucket, Key=key, UploadId=upload_id):
                yield [
                    StoredPart(
                        number=part["PartNumber"],
                        size=part["Size"],
                        etag=part["ETag"].strip('"'),
                        sha256=_hex(part.get("ChecksumSHA256")),
                    )
                    for part in page.get("Parts", [])
                ]
        except call_errors() as error:
            if status_of(error) == 404:
                raise NoSuchUpload from None
            raise self._requests.failed("LIST PARTS", error) from None

    def _abort(self, requests: BucketRequests, key: str, upload_id: str) -> None:
        try:
            requests.client.abort_multipart_upload(Bucket=requests.bucket, Key=key, UploadId=upload_id)
        except call_errors() as error:
            if status_of(error) != 404:
                raise requests.failed("ABORT MULTIPART UPLOAD", error) from None

    def _checksums_for(self, key: str) -> _PartChecksums:
        if self._part_checksums is None:
            self._part_checksums = next(
                (way for way in (_PartChecksums.NAMED_AT_BEGIN, _PartChecksums.NOT_NAMED) if self._works(key, way)),
                _PartChecksums.NONE,
            )
        return self._part_checksums

    def _works(self, key: str, way: _PartChecksums) -> bool:
        """Try out whether the store refuses other bytes than were hashed, takes the right ones, and lists them."""
        named = way is _PartChecksums.NAMED_AT_BEGIN
        right, other = b"presign", b"PRESIGN"
        with self._tried_upload(key, named=named) as upload_id:
            if not self._refuses(key, upload_id, other, digest_of=right):
                return False
            if self._refuses(key, upload_id, right, digest_of=right):
                return False
            # An upload that names the algorithm is committed with the digests that the store lists.
            return not named or [part.sha256 for page in self._listed_pages(key, upload_id) for part in page] == [
                hashlib.sha256(right).hexdigest()
            ]

    @contextmanager
    def _tried_upload(self, key: str, *, named: bool) -> Iterator[str]:
        upload_id = self._begin(key, {}, named=named)
        try:
            yield upload_id
        finally:
            self._abort(self._requests, key, upload_id)

    def _refuses(self, key: str, upload_id: str, body: bytes, *, digest_of: bytes) -> bool:
        digest = base64.b64encode(hashlib.sha256(digest_of).digest()).decode()
        try:
            self._requests.client.upload_part(
                Bucket=self._requests.bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=1,
                Body=body,
                ChecksumSHA256=digest,
            )
        except call_errors() as error:
            if (status_of(error) or 500) < 500:
                return True
            raise self._requests.failed("UPLOAD PART", error) from None
        return False


def _checksum_headers(digest: str) -> dict[str, str]:
    return {_CHECKSUM_HEADER: _base64(digest)}


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()


def _hex(checksum: str | None) -> str | None:
    try:
        return None if not checksum else base64.b64decode(checksum, validate=True).hex()
    except NotBase64:
        return None
