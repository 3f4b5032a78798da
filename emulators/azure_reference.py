"""A strict Azure Blob data plane in memory, for what Azurite does not check: request headers bound by `srh`.

Put Blob, Put Blob From URL from a blob of the same server (which Azurite lacks), Get Blob and Get Blob Properties with
a service SAS or a user delegation SAS of one blob (`sr=b`), versions 2020-12-06 and later, path-style accounts, access
tiers. Not there, and answered with 501: everything else. Headers that `srh` does not name stay open: who holds a
signature that binds neither `content-length` nor `x-ms-copy-source` may copy instead of uploading.

Sources: Azure Storage REST API reference, "Create a service SAS", "Create a user delegation SAS", "Put Blob", "Put Blob
From URL", "Get Blob", "Status and error codes".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import format_datetime
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from emulators.body_digest import base64_or_empty, check_is_md5, check_md5
from emulators.object_answer import read_answer
from emulators.received_request import ReceivedRequest, Refusal, body_of, current_time, error_answer

HEADER_BINDING_VERSION = "2026-04-06"
DELEGATED_USER_VERSION = "2025-07-05"
FIRST_VERSION = "2020-12-06"

KEY_FIELDS = ("skoid", "sktid", "skt", "ske", "sks", "skv")
KNOWN_PARAMETERS = frozenset(
    ("sp", "st", "se", "spr", "sv", "sr", "sig", "srh", "rscc", "rscd", "rsce", "rscl", "rsct", *KEY_FIELDS)
)
OVERRIDES = {
    "rscc": "cache-control",
    "rscd": "content-disposition",
    "rsce": "content-encoding",
    "rscl": "content-language",
    "rsct": "content-type",
}
STORED_HEADERS = ("content-type", "content-disposition", "cache-control", "content-encoding", "content-language")

DENIED = (403, "AuthenticationFailed")


@dataclass(frozen=True, kw_only=True)
class Blob:
    """What was stored: bytes, representation headers, metadata, and the tier if one was chosen."""

    body: bytes = field(repr=False)
    etag: str
    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    access_tier: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Target:
    container: dict[str, Blob]
    name: str
    resource: str


class AzureReference:
    """An ASGI application that serves `containers` of one account.

    `account_key` and the values of `delegation_keys` are in base64; the latter are found by the key's six fields, as
    the signature names them (skoid, sktid, skt, ske, sks, skv).
    """

    def __init__(
        self,
        *,
        account_name: str,
        account_key: str,
        containers: Mapping[str, dict[str, Blob]],
        delegation_keys: dict[tuple[str, ...], str],
        clock: Callable[[], datetime] = current_time,
    ) -> None:
        self.account_name = account_name
        self.account_key = account_key
        self.containers = containers
        self.delegation_keys = delegation_keys
        self.clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except Refusal as refusal:
            answer = error_answer(refusal)
            answer.headers["x-ms-error-code"] = refusal.code
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        received = ReceivedRequest.of(request)
        operation = {"PUT": "put", "GET": "get", "HEAD": "get"}.get(received.method)
        if operation is None:
            raise Refusal(501, "NotImplemented", "This reference has no such operation.")
        target = self._target(received)
        https = request.url.scheme == "https"
        permissions = self._permissions(received, target, https=https)
        if operation == "put":
            return await self._put(request, received, target, permissions, https=https)
        return self._get(received, target, permissions)

    def _target(self, received: ReceivedRequest) -> _Target:
        match = re.fullmatch("/([^/]+)/([^/]+)/(.+)", received.path, re.DOTALL)
        if match is None or match[1] != self.account_name:
            raise Refusal(400, "InvalidUri", "The requested URI does not represent any resource on the server.")
        if match[2] not in self.containers:
            raise Refusal(404, "ContainerNotFound", "The specified container does not exist.")
        return _Target(
            container=self.containers[match[2]], name=match[3], resource=f"/blob/{match[1]}/{match[2]}/{match[3]}"
        )

    def _permissions(self, received: ReceivedRequest, target: _Target, *, https: bool) -> str:
        names = [name for name, _ in received.query]
        if len(set(names)) != len(names) or not set(names) <= KNOWN_PARAMETERS:
            raise Refusal(*DENIED, "A parameter is unknown, or there twice.")
        query = dict(received.query)
        if not {"sp", "se", "sv", "sr", "sig"} <= query.keys() or "" in query.values():
            raise Refusal(*DENIED, "A mandatory parameter is missing or empty.")
        if query["sr"] != "b":
            raise Refusal(*DENIED, "Only one blob can be signed for.")
        if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", query["sv"]) or query["sv"] < FIRST_VERSION:
            raise Refusal(*DENIED, "The version is not known.")
        if query.keys() & set(KEY_FIELDS):
            key, string_to_sign = self._delegated(received, query, target.resource)
        else:
            key, string_to_sign = self.account_key, _service_string_to_sign(query, target.resource)
            if "srh" in query:
                raise Refusal(*DENIED, "A service SAS binds no headers.")
        expected = hmac.new(base64.b64decode(key), string_to_sign.encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(expected, base64_or_empty(query["sig"])):
            raise Refusal(*DENIED, "Signature did not match.")
        if "st" in query and self.clock() < _moment(query["st"]):
            raise Refusal(*DENIED, "Signature not valid in the specified time frame.")
        if self.clock() >= _moment(query["se"]):
            raise Refusal(*DENIED, "Signature not valid in the specified time frame.")
        if query.get("spr", "https,http") == "https" and not https:
            raise Refusal(403, "AuthorizationProtocolMismatch", "This request is not authorized using this protocol.")
        return query["sp"]

    def _delegated(self, received: ReceivedRequest, query: Mapping[str, str], resource: str) -> tuple[str, str]:
        key_fields = tuple(query.get(name, "") for name in KEY_FIELDS)
        value = self.delegation_keys.get(key_fields)
        if value is None:
            raise Refusal(*DENIED, "The user delegation key was not issued here.")
        if not _moment(query["skt"]) <= self.clock() < _moment(query["ske"]):
            raise Refusal(*DENIED, "The user delegation key has expired.")
        if "srh" in query and query["sv"] < HEADER_BINDING_VERSION:
            raise Refusal(*DENIED, "This version binds no headers.")
        bound = "".join(f"{name}:{_sent_value(received, name)}\n" for name in query.get("srh", "").split(",") if name)
        fields = [query["sp"], query.get("st", ""), query["se"], resource, *key_fields, "", "", ""]
        if query["sv"] >= DELEGATED_USER_VERSION:
            fields += ["", ""]
        fields += ["", query.get("spr", ""), query["sv"], query["sr"], "", ""]
        if query["sv"] >= HEADER_BINDING_VERSION:
            fields += [bound, ""]
        return value, "\n".join([*fields, *(query.get(name, "") for name in OVERRIDES)])

    async def _put(
        self, request: Request, received: ReceivedRequest, target: _Target, permissions: str, *, https: bool
    ) -> Response:
        if received.header("x-ms-blob-type") != "BlockBlob":
            raise Refusal(400, "InvalidHeaderValue", "Only block blobs can be stored here.")
        if received.header("content-length") is None:
            raise Refusal(411, "MissingContentLengthHeader", "Content-Length was not specified.")
        if not set(permissions) & {"c", "w"}:
            raise Refusal(403, "AuthorizationPermissionMismatch", "Not authorized to perform this operation.")
        tier = received.header("x-ms-access-tier")
        if tier not in (None, "Hot", "Cool", "Cold", "Archive"):
            raise Refusal(400, "InvalidHeaderValue", "The access tier is not known.")
        promised = received.header("x-ms-blob-content-md5") or received.header("content-md5")
        check_is_md5(promised)
        body = b"".join([chunk async for chunk in body_of(request, received)])
        source: Blob | None = None
        if received.header("x-ms-copy-source") is not None:
            if body:
                raise Refusal(400, "InvalidHeaderValue", "A blob that comes from a URL has no body.")
            source = self._source(received, https=https)
            body = source.body
        check_md5(promised, body)
        if target.name in target.container:
            if "w" not in permissions:
                raise Refusal(403, "UnauthorizedBlobOverwrite", "Not authorized to perform blob overwrites.")
            if received.header("if-none-match") == "*":
                raise Refusal(409, "BlobAlreadyExists", "The specified blob already exists.")
        headers = {
            name: value
            for name in STORED_HEADERS
            if (value := received.header(f"x-ms-blob-{name}"))
            or (source is None and (value := _own_header(received, name)))
        }
        blob = Blob(
            body=body,
            etag=f'"0x{hashlib.sha256(body).hexdigest()[:16].upper()}"',
            headers={"content-type": "application/octet-stream", **(source.headers if source else {}), **headers},
            metadata=received.headers_with_prefix("x-ms-meta-"),
            access_tier=tier,
        )
        target.container[target.name] = blob
        return Response(status_code=201, headers={"ETag": blob.etag})

    def _source(self, received: ReceivedRequest, *, https: bool) -> Blob:
        url = urlsplit(received.header("x-ms-copy-source") or "")
        if url.netloc != received.header("host"):
            raise Refusal(501, "NotImplemented", "This reference reads no other server.")
        read = ReceivedRequest.asked("GET", url.path, url.query)
        target = self._target(read)
        if "r" not in self._permissions(read, target, https=https) or target.name not in target.container:
            raise Refusal(404, "CannotVerifyCopySource", "The copy source cannot be read.")
        source = target.container[target.name]
        if received.header("x-ms-source-if-match") not in (None, "*", source.etag):
            raise Refusal(412, "SourceConditionNotMet", "The source condition is not met.")
        if source.access_tier == "Archive":
            raise Refusal(409, "BlobArchived", "This operation is not permitted on an archived blob.")
        return source

    def _get(self, received: ReceivedRequest, target: _Target, permissions: str) -> Response:
        if "r" not in permissions:
            raise Refusal(403, "AuthorizationPermissionMismatch", "Not authorized to perform this operation.")
        blob = target.container.get(target.name)
        if blob is None:
            raise Refusal(404, "BlobNotFound", "The specified blob does not exist.")
        if blob.access_tier == "Archive" and received.method == "GET":
            raise Refusal(409, "BlobArchived", "This operation is not permitted on an archived blob.")
        overrides = {OVERRIDES[name]: value for name, value in received.query if name in OVERRIDES}
        metadata = {f"x-ms-meta-{name}": value for name, value in blob.metadata.items()}
        if blob.access_tier is not None:
            metadata["x-ms-access-tier"] = blob.access_tier
        headers = {**blob.headers, **metadata, **overrides, "last-modified": format_datetime(self.clock(), usegmt=True)}
        return read_answer(received, body=blob.body, etag=blob.etag, headers=headers, whole_object_headers={})


def _service_string_to_sign(query: Mapping[str, str], resource: str) -> str:
    signed = [query["sp"], query.get("st", ""), query["se"], resource, "", "", query.get("spr", "")]
    signed += [query["sv"], query["sr"], "", ""]
    return "\n".join([*signed, *(query.get(name, "") for name in OVERRIDES)])


def _sent_value(received: ReceivedRequest, name: str) -> str:
    values = [value.strip(" \t") for sent, value in received.headers if sent == name.lower()]
    if len(values) != 1:
        raise Refusal(*DENIED, f"The bound header {name} must be there once.")
    return values[0]


def _own_header(received: ReceivedRequest, name: str) -> str | None:
    # Content-Disposition alone counts only in its x-ms-blob- form.
    return None if name == "content-disposition" else received.header(name)


def _moment(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        raise Refusal(*DENIED, "A time is not one.") from None
