"""Uploads in parts on Cloud Storage: multipart uploads of the XML API, begun, signed, listed, committed and aborted.

Source: "XML API multipart uploads" and "IAM permissions for XML requests", Cloud Storage documentation.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from presign.backends.backend import ObjectChanged
from presign.backends.failures import storage_failed, unreachable
from presign.backends.parts import ListedUpload, NoSuchUpload, PartLimits, PartToSign, StoredPart
from presign.backends.signature_v4_requests import SignatureV4Requests
from presign.errors import StorageUnavailable
from presign.messages import Grant, GrantInParts, PartRequest, Rule
from presign.signing.bucket_location import BucketLocation
from presign.signing.per_second_cache import PerSecondCache
from presign.signing.signers import Signers

LIMITS = PartLimits(min_part_bytes=5 * 1024**2, max_part_bytes=5 * 1024**3, max_parts=10_000, max_bytes=5 * 1024**4)

_RULES = frozenset({Rule.SIZE, Rule.TYPE, Rule.HEADERS})
_NO_HEADERS: Mapping[str, str] = {}
_OWN_LIFETIME = timedelta(seconds=60)
# A commit puts thousands of parts together.
_COMMIT_SECONDS = 600.0
_TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_PAGE = "1000"
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")


@dataclass(frozen=True, kw_only=True)
class PartsBucket:
    """A bucket in which uploads in parts are stored.

    - ``requests``: signs what browsers send.
    - ``signers``: the signers of a second and a lifetime.
    - ``location``: the bucket as this program reaches it.
    """

    name: str
    requests: SignatureV4Requests
    signers: PerSecondCache[timedelta, Signers]
    location: BucketLocation


class GcsParts:
    """The PartsStore of a bucket and its pending bucket; see presign.backends.parts.

    The XML API takes signed requests only, so the identity that signs uploads also begins, lists, commits and aborts
    them. It needs ``storage.objects.create`` and ``storage.multipartUploads.create``, ``listParts`` and ``abort``, and
    for a sweep ``storage.multipartUploads.list``. If Google holds the key, each of these requests, and each part, costs
    one more call to sign it.

    A commit knows no precondition, and replaces what is under its key. Keys are random, so nothing is there.
    """

    limits = LIMITS
    needs_pending_key = False
    answers_with_etag = True

    def __init__(self, *, bucket: PartsBucket, pending: PartsBucket, shown: frozenset[Rule] | None = None) -> None:
        """``shown`` are the rules that the storage has shown to enforce, if that is known."""
        self._bucket = bucket
        self._pending = pending
        self._rules = _RULES if shown is None else _RULES & shown

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return size, type and headers: the lengths of parts are signed, and the server decides the others."""
        return self._rules

    def checks_sha256(self, grant: Grant) -> bool:
        """Return False: no test has shown on Google's servers that they check the SHA-256 of a part."""
        return False

    def lists_sha256(self, grant: Grant) -> bool:
        """Return False, because the service is not known to check a SHA-256."""
        return False

    def begin(self, grant: Grant, *, needs_sha256: bool) -> str:
        """Begin an upload; the object's type, headers and metadata are decided here."""
        bucket = self._bucket_of(grant)
        headers = {
            "content-type": grant.content_type,
            **{name.lower(): value for name, value in bucket.requests.object_headers(grant).items()},
        }
        status, content = _send(bucket, "POST", grant.upload_key, {"uploads": ""}, headers=headers)
        upload_id = _text(content, "UploadId")
        if status != 200 or upload_id is None:
            raise _failed(bucket, "INITIATE MULTIPART UPLOAD", status, content)
        return upload_id

    def sign(
        self,
        grant: GrantInParts,
        parts: Sequence[PartToSign],
        now: datetime,
        *,
        expires_in: timedelta,
        url_alone: bool = False,
    ) -> tuple[list[PartRequest], datetime]:
        """Return signed PUTs that bind the upload, the number and the exact length."""
        bucket = self._bucket_of(grant)
        signers = bucket.signers.get(now, expires_in)
        return bucket.requests.sign_parts(grant.upload_key, grant.upload_id, parts, signers), signers.expires_at

    def upload_url(self, grant: Grant) -> str:
        """Return the URL of the object that the upload will make, as browsers reach it."""
        return self._bucket_of(grant).requests.object_url(grant.upload_key)

    def list_parts(self, grant: GrantInParts) -> list[StoredPart]:
        """Return the parts, of which there are at most 1,000 in one page."""
        bucket, marker = self._bucket_of(grant), "0"
        parts: list[StoredPart] = []
        while True:
            query = {"max-parts": _PAGE, "part-number-marker": marker, "uploadId": grant.upload_id}
            status, content = _send(bucket, "GET", grant.upload_key, query)
            if status == 404:
                raise NoSuchUpload
            if status != 200:
                raise _failed(bucket, "LIST PARTS", status, content)
            page = [_part(element) for element in _elements(content, "Part")]
            parts += page
            if _text(content, "IsTruncated") != "true" or not page:
                return parts
            marker = str(page[-1].number)

    def commit(self, grant: GrantInParts, parts: Sequence[StoredPart]) -> None:
        """Commit the parts; a repeated commit raises NoSuchUpload."""
        # No ticket needs it, and it takes long to import: it can also fetch documents.
        from xml.sax.saxutils import escape

        bucket = self._bucket_of(grant)
        listed = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{escape(part.etag)}</ETag></Part>" for part in parts
        )
        document = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        query = {"uploadId": grant.upload_id}
        status, content = _send(bucket, "POST", grant.upload_key, query, body=document, read_seconds=_COMMIT_SECONDS)
        if status == 404:
            raise NoSuchUpload
        code = _CODE.search(content)
        if code is not None and code[1] == "InvalidPart":
            raise ObjectChanged(f"the upload to {grant.upload_key} changed meanwhile")
        # A commit that fails after it has begun may be answered with 200 and an error in the body.
        if status != 200 or "<Error>" in content:
            raise _failed(bucket, "COMPLETE MULTIPART UPLOAD", status, content)

    def abort(self, grant: GrantInParts) -> None:
        """Abort the upload."""
        _abort(self._bucket_of(grant), grant.upload_key, grant.upload_id)

    def list_uploads(self, prefix: str) -> Iterator[ListedUpload]:
        """Return the pending uploads; this needs the right storage.multipartUploads.list."""
        bucket, after = self._pending, {"key-marker": "", "upload-id-marker": ""}
        while True:
            query = {**{name: value for name, value in after.items() if value}, "max-uploads": _PAGE, "prefix": prefix}
            status, content = _send(bucket, "GET", "", {**query, "uploads": ""})
            if status != 200:
                raise _failed(bucket, "LIST MULTIPART UPLOADS", status, content)
            for element in _elements(content, "Upload"):
                yield ListedUpload(
                    key=_required(element, "Key"),
                    upload_id=_required(element, "UploadId"),
                    started_at=_time(_required(element, "Initiated")),
                )
            if _text(content, "IsTruncated") != "true":
                return
            after = {
                "key-marker": _text(content, "NextKeyMarker") or "",
                "upload-id-marker": _text(content, "NextUploadIdMarker") or "",
            }

    def sweep(self, upload: ListedUpload) -> None:
        """Abort an upload that ``list_uploads`` returned."""
        _abort(self._pending, upload.key, upload.upload_id)

    def _bucket_of(self, grant: Grant) -> PartsBucket:
        return self._bucket if grant.pending_key is None else self._pending


def _abort(bucket: PartsBucket, key: str, upload_id: str) -> None:
    status, content = _send(bucket, "DELETE", key, {"uploadId": upload_id})
    if status not in {200, 204, 404}:
        raise _failed(bucket, "ABORT MULTIPART UPLOAD", status, content)


def _send(
    bucket: PartsBucket,
    method: str,
    key: str,
    query: Mapping[str, str],
    *,
    headers: Mapping[str, str] = _NO_HEADERS,
    body: bytes = b"",
    read_seconds: float | None = None,
) -> tuple[int, str]:
    """Send a signed request, and repeat it once after a transient failure; return its status and its document.

    ``headers`` have names in lower case. Raises StorageUnavailable if the service does not answer.
    """
    # No ticket needs them, and they take longer to import than everything that a ticket needs.
    import requests

    from presign.gcs import json_api

    for is_last in (False, True):
        now = datetime.now(timezone.utc)
        urls = bucket.signers.get(now, _OWN_LIFETIME).urls
        url = urls.sign_url(bucket.location, method, key, headers, sorted(query.items()))
        try:
            response = requests.request(
                method,
                url,
                headers=dict(headers),
                data=body,
                timeout=json_api.TIMEOUTS if read_seconds is None else (json_api.CONNECT_TIMEOUT_SECONDS, read_seconds),
                allow_redirects=False,
            )
        except requests.ConnectionError as error:
            if is_last:
                raise unreachable(bucket.location.base_url, error) from None
        except requests.RequestException as error:
            # Another attempt after a time-out would double the time that the caller waits.
            raise unreachable(bucket.location.base_url, error) from None
        else:
            if is_last or response.status_code not in _TRANSIENT_STATUSES:
                return response.status_code, response.content.decode(errors="replace")
        time.sleep(json_api.RETRY_DELAY_SECONDS)
    raise AssertionError("the last attempt returns or raises")


def _failed(bucket: PartsBucket, call: str, status: int, content: str) -> StorageUnavailable:
    code = _CODE.search(content)
    return storage_failed(f"gs://{bucket.name}", call, code[1] if code else str(status))


def _part(element: str) -> StoredPart:
    return StoredPart(
        number=int(_required(element, "PartNumber")),
        size=int(_required(element, "Size")),
        etag=_required(element, "ETag"),
    )


def _elements(content: str, name: str) -> list[str]:
    return re.findall(rf"<{name}>(.*?)</{name}>", content, re.DOTALL)


def _text(content: str, name: str) -> str | None:
    found = re.search(rf"<{name}>([^<]*)</{name}>", content)
    if found is None:
        return None
    from html import unescape  # no ticket needs it, and it imports a large table

    return unescape(found[1])


def _required(element: str, name: str) -> str:
    text = _text(element, name)
    if text is None:
        raise StorageUnavailable(f"Cloud Storage answered with a list without {name}")
    return text


def _time(text: str) -> datetime:
    """Return an RFC 3339 time in UTC without its fraction."""
    return datetime.strptime(f"{text[:19]}+0000", "%Y-%m-%dT%H:%M:%S%z")
