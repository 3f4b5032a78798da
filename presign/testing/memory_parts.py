"""Uploads in parts to the storage in memory; see presign.testing.memory."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, quote, unquote, urlencode

import orjson

from presign.backends.backend import ObjectChanged
from presign.backends.parts import ListedUpload, NoSuchUpload, PartLimits, PartToSign, StoredPart
from presign.messages import Grant, GrantInParts, PartRequest, Rule
from presign.testing.refusals import RefusedByStorage
from presign.testing.requests import UploadAttempt

LIMITS = PartLimits(min_part_bytes=1, max_part_bytes=5 * 1024**3, max_parts=50_000, max_bytes=50_000 * 4000 * 1024**2)
"""The largest limits of all clouds, and parts as small as a test wants."""

_RULES = frozenset({Rule.SIZE, Rule.TYPE, Rule.HEADERS, Rule.CREATE_ONLY})
_SHA256 = "x-memory-sha256"


@dataclass(kw_only=True)
class _Upload:
    """An upload that has begun, and its parts: the bytes and the ETag of each, by number."""

    key: str
    started_at: datetime
    parts: dict[int, tuple[bytes, str]] = field(default_factory=dict, repr=False)


class MemoryParts:
    """The PartsStore of a ``MemoryBackend``; see presign.backends.parts.

    It does what Amazon S3 does: the number, the exact length and the SHA-256 of each part are signed, and nobody sees
    anything before the commit, which is create-only.

    - ``base_url``: what the URLs of its objects begin with.
    - ``sign``: returns the signature of a text.
    - ``put``: stores the object of a grant; raises KeyTaken if there is one under its key.
    """

    limits = LIMITS
    needs_pending_key = False
    answers_with_etag = True

    def __init__(
        self,
        *,
        base_url: str,
        clock: Callable[[], datetime],
        sign: Callable[[str], str],
        put: Callable[[Grant, bytes], None],
    ) -> None:
        self._base_url = base_url
        self._clock = clock
        self._sign = sign
        self._put = put
        self._lock = threading.Lock()
        self._uploads: dict[str, _Upload] = {}

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return all rules but the checksum: the storage checks each part, and no SHA-256 of the whole object."""
        return _RULES

    def checks_sha256(self, grant: Grant) -> bool:
        """Return True: the storage refuses a part whose bytes do not have the SHA-256 that was signed."""
        return True

    def lists_sha256(self, grant: Grant) -> bool:
        """Return True: ``list_parts`` returns the SHA-256 of each part."""
        return True

    def begin(self, grant: Grant, *, needs_sha256: bool) -> str:
        """Begin an upload, and return its ID."""
        upload_id = secrets.token_hex(16)
        with self._lock:
            self._uploads[upload_id] = _Upload(key=grant.upload_key, started_at=self._clock())
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
        """Return PUTs whose signature covers the upload, the number, the length, the SHA-256 and the time."""
        expires_at = now + expires_in
        requests = []
        for part in parts:
            signed = {
                "uploadId": grant.upload_id,
                "partNumber": str(part.number),
                "size": str(part.size),
                "starts": now.isoformat(),
                "expires": expires_at.isoformat(),
                **({} if part.sha256 is None else {"sha256": part.sha256}),
            }
            signature = self._sign(_part_text(grant.upload_key, signed))
            url = f"{self.upload_url(grant)}?{urlencode({**signed, 'signature': signature})}"
            headers = {} if part.sha256 is None else {_SHA256: part.sha256}
            requests.append(PartRequest(part.number, part.size, url, headers))
        return requests, expires_at

    def upload_url(self, grant: Grant) -> str:
        """Return the URL of the object that the upload will make."""
        return f"{self._base_url}{quote(grant.upload_key)}"

    def list_parts(self, grant: GrantInParts) -> list[StoredPart]:
        """Return the parts, each with its SHA-256."""
        with self._lock:
            parts = sorted(self._found(grant).parts.items())
        return [
            StoredPart(number=number, size=len(body), etag=etag, sha256=hashlib.sha256(body).hexdigest())
            for number, (body, etag) in parts
        ]

    def commit(self, grant: GrantInParts, parts: Sequence[StoredPart]) -> None:
        """Make one object of the parts, unless there is an object under the key."""
        with self._lock:
            held = self._found(grant).parts
            if any(part.number not in held or held[part.number][1] != part.etag for part in parts):
                raise ObjectChanged(f"the upload to {grant.upload_key} changed meanwhile")
            self._put(grant, b"".join(held[part.number][0] for part in parts))
            del self._uploads[grant.upload_id]

    def abort(self, grant: GrantInParts) -> None:
        """Forget the upload and its parts."""
        with self._lock:
            self._uploads.pop(grant.upload_id, None)

    def list_uploads(self, prefix: str) -> Iterator[ListedUpload]:
        """Return the uploads that have begun and not ended, as they are now."""
        with self._lock:
            found = list(self._uploads.items())
        for upload_id, upload in found:
            if upload.key.startswith(prefix):
                yield ListedUpload(key=upload.key, upload_id=upload_id, started_at=upload.started_at)

    def sweep(self, upload: ListedUpload) -> None:
        """Forget the upload and its parts."""
        with self._lock:
            self._uploads.pop(upload.upload_id, None)

    def store(self, attempt: UploadAttempt) -> None:
        """Store a part; it replaces an earlier one with the same number. Raises RefusedByStorage."""
        path, _, query = attempt.url.partition("?")
        if not path.startswith(self._base_url):
            raise RefusedByStorage("there is no such bucket", status=404)
        key = unquote(path.removeprefix(self._base_url))
        given = parse_qsl(query, keep_blank_values=True)
        signed = {name: value for name, value in given if name != "signature"}
        signature = dict(given).get("signature", "")
        is_signed = secrets.compare_digest(signature.encode(), self._sign(_part_text(key, signed)).encode())
        if len(dict(given)) < len(given) or not is_signed:
            raise RefusedByStorage("nobody signed this request", status=403)
        if not datetime.fromisoformat(signed["starts"]) <= self._clock() < datetime.fromisoformat(signed["expires"]):
            raise RefusedByStorage("the request of this part has expired, or is not valid yet", status=403)
        if attempt.fields or dict(attempt.headers) != ({_SHA256: signed["sha256"]} if "sha256" in signed else {}):
            raise RefusedByStorage("a part has exactly the headers of its request", status=403)
        if len(attempt.body) != int(signed["size"]):
            raise RefusedByStorage(f"{len(attempt.body)} bytes are not {signed['size']}, as was signed", status=403)
        if signed.get("sha256", _digest(attempt.body)) != _digest(attempt.body):
            raise RefusedByStorage("the bytes do not have the SHA-256 that was signed", status=400)
        with self._lock:
            upload = self._uploads.get(signed["uploadId"])
            if upload is None:
                raise RefusedByStorage("there is no such upload; it was completed or aborted", status=404)
            upload.parts[int(signed["partNumber"])] = (attempt.body, secrets.token_hex(8))

    def _found(self, grant: GrantInParts) -> _Upload:
        upload = self._uploads.get(grant.upload_id)
        if upload is None:
            raise NoSuchUpload
        return upload


def _part_text(key: str, signed: Mapping[str, str]) -> str:
    return orjson.dumps(["PUT", key, signed], option=orjson.OPT_SORT_KEYS).decode()


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
