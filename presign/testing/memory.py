"""A storage in the memory of this process, for an application's own tests: without network, credentials or files.

::

    backend = MemoryBackend()
    presigner = Presigner(backend=backend, policy=policy, secret=secret)

    ticket = presigner.issue(UploadRequest(content_type="image/png", size=len(picture)), owner="user-7")
    backend.upload(ticket, picture)  # what a browser does
    stored = presigner.complete(ticket.token, owner="user-7")
    assert backend.objects[stored.key].content == picture
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from itertools import count
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlencode

import orjson

from presign.backends.backend import (
    AlreadyPublished,
    ListedObject,
    ObjectChanged,
    ObjectHead,
    ObjectStore,
    PublishOption,
    SignedUpload,
)
from presign.backends.failures import MAX_CLOCK_SKEW
from presign.backends.object_headers import HeaderNames
from presign.backends.parts import KeyTaken, PartsStore
from presign.errors import ConfigurationError
from presign.messages import Grant, PartRequest, Rule, SignedParts, Ticket
from presign.progress import ReportBytes, ignore_bytes
from presign.testing.memory_parts import MemoryParts
from presign.testing.refusals import RefusedByStorage
from presign.testing.requests import UploadAttempt

MAX_UPLOAD_BYTES = 5 * 1024**4
"""The largest object that any of the clouds takes in one request: 5 TiB."""

_MAX_DOWNLOAD_LIFETIME = timedelta(days=7)
# No host can have this name (RFC 2606), so a ticket that is sent by mistake reaches nobody.
_ORIGIN = "https://storage.invalid"
_NAMES = HeaderNames(metadata_prefix="x-memory-meta-")
_DATE, _SHA256, _POLICY, _SIGNATURE = "x-memory-date", "x-memory-sha256", "policy", "x-memory-signature"
_PUBLISH_OPTIONS: frozenset[PublishOption] = frozenset({"tags", "storage_class"})


class SignParts(Protocol):
    """A function that asks for the requests of parts, such as ``Presigner.sign_parts`` with a token."""

    def __call__(self, numbers: Sequence[int], *, sha256: Sequence[str] | None) -> SignedParts | Mapping[str, Any]:
        """Return the requests of the parts with these numbers; ``sha256`` has their digests if they are needed."""


@dataclass(frozen=True, kw_only=True)
class MemoryObject:
    """A stored object: its bytes, and the headers, tags and storage class that it has."""

    content: bytes = field(repr=False)
    content_type: str
    etag: str
    stored_at: datetime
    content_disposition: str | None = None
    cache_control: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    storage_class: str | None = None


class MemoryBackend:
    """A bucket in memory that is as strict as a storage can be: it enforces every rule of a ticket itself.

    Tickets are POST forms for an address that does not exist; ``upload`` does what a browser does with one. A large
    file comes in parts, as on S3, but its parts may be as small as a test wants them. Nothing is public: ``download``
    reads what ``Presigner.sign_download`` signed.

    - ``name``: the bucket's name. Tokens are bound to it, as they are to that of a real bucket.
    - ``clock``: the storage's clock, which returns an aware datetime. Give the presigner the same one.
    - ``signing_key``: what signs tickets; by default a random key, so no other backend accepts them.

    May be shared between threads. What is stored is gone with the backend.
    """

    def __init__(
        self,
        *,
        name: str = "uploads",
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        signing_key: bytes | None = None,
    ) -> None:
        if not isinstance(name, str) or not name or quote(name, safe="") != name:
            raise ConfigurationError("name must be a bucket's name, such as 'uploads'", field="name")
        self._bucket = name
        self._base_url = f"{_ORIGIN}/{name}/"
        self._clock = clock
        self._signing_key = secrets.token_bytes(32) if signing_key is None else signing_key
        self._lock = threading.Lock()
        self._objects: dict[str, MemoryObject] = {}
        self._etags = count(1)
        self._parts = MemoryParts(base_url=self._base_url, clock=clock, sign=self._signature, put=self._put)

    def __repr__(self) -> str:
        return f"MemoryBackend(name={self._bucket!r})"

    # --- What a test does ---------------------------------------------------------------------------------------------

    @property
    def objects(self) -> Mapping[str, MemoryObject]:
        """What is stored, by key, always as it is now; uploads that are not completed are among it."""
        return MappingProxyType(self._objects)

    def upload(
        self,
        ticket: Ticket | SignedUpload | Mapping[str, Any],
        content: bytes,
        *,
        sign_parts: SignParts | None = None,
    ) -> None:
        """Store ``content`` as a browser does; raises RefusedByStorage if the ticket does not allow exactly that.

        ``ticket`` may also be the JSON of ``POST /upload``, as an application's own test client returns it. If it is
        one for a file in parts, all parts are sent. ``sign_parts`` asks for the requests that the ticket does not have,
        and returns what ``Presigner.sign_parts`` or ``POST /parts`` answers: for example,
        ``partial(presigner.sign_parts, ticket.token)``.

        Raises ConfigurationError if it is needed, and missing.
        """
        members = ticket if isinstance(ticket, Mapping) else ticket.to_dict() if isinstance(ticket, Ticket) else {}
        plan = members.get("parts")
        if plan is None:
            self._store(UploadAttempt.of(ticket, content))
            return
        requests = {each["number"]: each for each in plan["requests"]}
        for number in range(1, plan["count"] + 1):
            start = (number - 1) * plan["part_size"]
            # Bytes too many are part of the last one, which is then refused.
            part = content[start : start + plan["part_size"] if number < plan["count"] else None]
            request = requests.get(number)
            if request is None:
                if sign_parts is None:
                    raise ConfigurationError(
                        f"the ticket has no request for part {number} of the file; give sign_parts, which asks for it",
                        field="sign_parts",
                    )
                request = _only(sign_parts([number], sha256=[_sha256(part)] if plan["needs_sha256"] else None))
            self.upload_part(request, part)

    def upload_part(self, request: PartRequest | Mapping[str, Any], content: bytes) -> None:
        """Store one part as a browser does; raises RefusedByStorage if ``request`` does not allow exactly that.

        ``request`` is one of those in a ticket's ``parts``, or of those that ``Presigner.sign_parts`` returns, or its
        JSON.
        """
        members = request if isinstance(request, Mapping) else request.to_dict()
        self._parts.store(
            UploadAttempt(method="PUT", url=members["url"], headers=members["headers"], fields={}, body=content)
        )

    def download(self, url: str) -> bytes:
        """Return the bytes to which ``Presigner.sign_download`` gave a URL.

        Raises RefusedByStorage if nobody signed the URL, if it has expired, or if there is no such object.
        """
        path, _, query = url.partition("?")
        key = self._key_at(path)
        given = dict(parse_qsl(query))
        signed = {name: value for name, value in given.items() if name != "signature"}
        if not self._is_signature(given.get("signature", ""), _download_text(key, signed)):
            raise RefusedByStorage("nobody signed this URL", status=403)
        if self._clock() >= datetime.fromisoformat(signed["expires"]):
            raise RefusedByStorage("the URL has expired", status=403)
        stored = self._objects.get(key)
        if stored is None:
            raise RefusedByStorage("no object has this key", status=404)
        return stored.content

    def send(self, attempt: UploadAttempt) -> int:
        """Return the status of the answer to a request: a transport for ``presign.testing.Subject``."""
        try:
            if attempt.method == "GET":
                self.download(attempt.url)
                return 200
            if attempt.method == "PUT":
                self._parts.store(attempt)
            else:
                self._store(attempt)
        except RefusedByStorage as refusal:
            return refusal.status
        return 201

    # --- presign.Backend ----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The storage's name: ``memory://NAME``."""
        return f"memory://{self._bucket}"

    @property
    def signing_does_io(self) -> bool:
        """False: the key is in memory."""
        return False

    @property
    def pending(self) -> ObjectStore:
        """The backend itself: pending uploads have a prefix of the same bucket."""
        return self

    @property
    def has_public_prefixes(self) -> bool:
        """True, so that policies with ``public_read`` can be tested, although nobody can read without a signature."""
        return True

    @property
    def parts(self) -> PartsStore:
        """What stores large files in parts."""
        return self._parts

    @property
    def max_upload_bytes(self) -> int:
        """The largest object that any of the clouds takes: 5 TiB."""
        return MAX_UPLOAD_BYTES

    @property
    def checks_expiry_late(self) -> bool:
        """False: an upload takes no time."""
        return False

    @property
    def publish_options(self) -> frozenset[PublishOption]:
        """Tags and a storage class, which ``objects`` shows."""
        return _PUBLISH_OPTIONS

    def check(self, *, lifetime: timedelta = MAX_CLOCK_SKEW) -> None:
        """Do nothing: there are no settings that could be wrong."""

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return every rule."""
        return frozenset(Rule)

    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        """Return a POST form whose signed policy names every field, the sizes, and the time in which it is valid."""
        expires_at = now + grant.expires_in
        fields = {
            "key": grant.upload_key,
            "Content-Type": grant.content_type,
            **_NAMES.of_object(grant),
            **({} if grant.sha256 is None else {_SHA256: grant.sha256}),
            _DATE: now.isoformat(),
        }
        policy = base64.b64encode(
            orjson.dumps(
                {
                    "fields": fields,
                    "min_bytes": grant.min_bytes,
                    "max_bytes": grant.max_bytes,
                    "create_only": grant.create_only,
                    "expires": expires_at.isoformat(),
                }
            )
        ).decode()
        signed = {**fields, _POLICY: policy, _SIGNATURE: self._signature(policy)}
        return SignedUpload("POST", self._base_url, {}, signed, expires_at)

    def sign_download(
        self, key: str, now: datetime, *, expires_in: timedelta, content_disposition: str | None = None
    ) -> str:
        """Return a URL for ``download``, valid for at most 7 days; raises ConfigurationError for a longer lifetime."""
        if not timedelta(0) < expires_in <= _MAX_DOWNLOAD_LIFETIME:
            raise ConfigurationError(
                "expires_in must be more than 0 and at most 7 days", field="expires_in", value=str(expires_in)
            )
        signed = {"expires": (now + expires_in).isoformat()}
        if content_disposition is not None:
            signed["response-content-disposition"] = content_disposition
        signature = self._signature(_download_text(key, signed))
        return f"{self.object_url(key)}?{urlencode({**signed, 'signature': signature})}"

    def object_url(self, key: str) -> str:
        """Return a URL that shows where the object would be; nobody can read there without a signature."""
        return f"{self._base_url}{quote(key)}"

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """Return the description of the object, with its SHA-256, or None if there is none."""
        stored = self._objects.get(key)
        return None if stored is None else _head(stored, first_bytes)

    def read(self, key: str, *, offset: int, length: int, etag: str, version: str | None = None) -> bytes:
        """Return a range of the object's bytes; raises ObjectChanged unless the object has this ETag."""
        stored = self._objects.get(key)
        if stored is None or stored.etag != etag:
            raise ObjectChanged(f"the object under {key} was replaced or deleted meanwhile")
        return stored.content[offset : offset + length]

    def delete(self, key: str, *, head: ObjectHead | ListedObject | None = None) -> None:
        """Delete the object, or only the one that ``head`` describes."""
        with self._lock:
            stored = self._objects.get(key)
            if stored is not None and (head is None or head.etag == stored.etag):
                del self._objects[key]

    def list_objects(self, prefix: str) -> Iterator[ListedObject]:
        """Return the objects whose keys begin with ``prefix``, as they are now, sorted by key."""
        with self._lock:
            found = sorted(self._objects.items())
        for key, stored in found:
            if key.startswith(prefix):
                yield ListedObject(key=key, etag=stored.etag, stored_at=stored.stored_at)

    def unexpected_attributes(self, grant: Grant) -> Mapping[str, str]:
        """Return nothing: what nobody signed is refused."""
        return {}

    def publish(self, grant: Grant, head: ObjectHead, *, report_copied: ReportBytes = ignore_bytes) -> ObjectHead:
        """Copy the pending object to ``grant.key``, with the headers, metadata, tags and storage class of ``grant``.

        This is one step, so ``report_copied`` is not called.
        """
        with self._lock:
            pending = self._objects.get(grant.upload_key)
            if pending is None or pending.etag != head.etag:
                raise ObjectChanged(f"the object under {grant.upload_key} was replaced or deleted meanwhile")
            if grant.key in self._objects:
                raise AlreadyPublished
            published = replace(
                self._object_of(grant, pending.content), tags=dict(grant.tags), storage_class=grant.storage_class
            )
            self._objects[grant.key] = published
        return _head(published)

    def _put(self, grant: Grant, content: bytes) -> None:
        """Store the object of an upload in parts; raises KeyTaken if there is one under its key."""
        with self._lock:
            if grant.upload_key in self._objects:
                raise KeyTaken
            self._objects[grant.upload_key] = self._object_of(grant, content)

    def _object_of(self, grant: Grant, content: bytes) -> MemoryObject:
        return MemoryObject(
            content=content,
            content_type=grant.content_type,
            etag=self._new_etag(),
            stored_at=self._clock(),
            content_disposition=grant.content_disposition,
            cache_control=grant.cache_control,
            metadata=dict(grant.metadata),
        )

    # --- How it judges a request --------------------------------------------------------------------------------------

    def _store(self, attempt: UploadAttempt) -> None:
        if attempt.url != self._base_url:
            raise RefusedByStorage("there is no such bucket", status=404)
        if attempt.method != "POST" or attempt.headers:
            raise RefusedByStorage("a ticket of this storage is a POST form without headers of its own", status=403)
        fields = dict(attempt.fields)
        policy = self._signed_policy(fields.pop(_POLICY, ""), fields.pop(_SIGNATURE, ""))
        if fields != policy["fields"]:
            changed = sorted(name for name, _ in fields.items() ^ policy["fields"].items())
            raise RefusedByStorage(
                f"the form differs from its policy in {', '.join(dict.fromkeys(changed))}", status=403
            )
        now = self._clock()
        if not datetime.fromisoformat(fields[_DATE]) <= now < datetime.fromisoformat(policy["expires"]):
            raise RefusedByStorage("the ticket has expired, or is not valid yet", status=403)
        size, smallest, largest = len(attempt.body), policy["min_bytes"], policy["max_bytes"]
        if not smallest <= size <= largest:
            raise RefusedByStorage(f"{size} bytes are not {smallest} to {largest}, as the ticket allows", status=400)
        if fields.get(_SHA256, _sha256(attempt.body)) != _sha256(attempt.body):
            raise RefusedByStorage("the bytes do not have the SHA-256 of the ticket", status=400)
        with self._lock:
            if policy["create_only"] and fields["key"] in self._objects:
                raise RefusedByStorage("there is an object already, and the ticket is create-only", status=412)
            self._objects[fields["key"]] = MemoryObject(
                content=attempt.body,
                content_type=fields["Content-Type"],
                etag=self._new_etag(),
                stored_at=now,
                content_disposition=fields.get(_NAMES.content_disposition),
                cache_control=fields.get(_NAMES.cache_control),
                metadata=_NAMES.metadata(fields),
            )

    def _signed_policy(self, policy: str, signature: str) -> Any:
        if not self._is_signature(signature, policy):
            raise RefusedByStorage("the ticket's signature is not this storage's", status=403)
        return orjson.loads(base64.b64decode(policy))

    def _key_at(self, url: str) -> str:
        if not url.startswith(self._base_url):
            raise RefusedByStorage("there is no such bucket", status=404)
        return unquote(url.removeprefix(self._base_url))

    def _signature(self, text: str) -> str:
        return hmac.new(self._signing_key, text.encode(), hashlib.sha256).hexdigest()

    def _is_signature(self, signature: str, text: str) -> bool:
        return hmac.compare_digest(signature.encode(), self._signature(text).encode())

    def _new_etag(self) -> str:
        # Unlike an MD5, it is new for every object, so an object that was replaced by equal bytes is noticed too.
        return f"{next(self._etags):016x}"


def _download_text(key: str, signed: Mapping[str, str]) -> str:
    return orjson.dumps(["GET", key, signed], option=orjson.OPT_SORT_KEYS).decode()


def _only(signed: SignedParts | Mapping[str, Any]) -> PartRequest | Mapping[str, Any]:
    """Return the one request in the answer to a question for one part."""
    requests: Any = signed.requests if isinstance(signed, SignedParts) else signed["requests"]
    request: PartRequest | Mapping[str, Any]
    (request,) = requests
    return request


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _head(stored: MemoryObject, first_bytes: int = 0) -> ObjectHead:
    return ObjectHead(
        size=len(stored.content),
        content_type=stored.content_type,
        etag=stored.etag,
        sha256=_sha256(stored.content),
        content_disposition=stored.content_disposition,
        cache_control=stored.cache_control,
        metadata=stored.metadata,
        first_bytes=stored.content[:first_bytes] if first_bytes else None,
    )
