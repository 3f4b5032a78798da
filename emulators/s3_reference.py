"""A strict S3 data plane in memory: it refuses what Amazon S3 refuses, and constraints that S3 would ignore.

Presigned POST, PUT, GET, HEAD and DELETE, the same signed in the Authorization header (so that boto3 works against it,
with its default configuration over http), anonymous GET of a public prefix, bucket CORS rules. Not there, and answered
with 501: sub-resources, aws-chunked bodies, conditional PUT other than `If-None-Match: *`, unknown `x-amz-*` headers.

Sources: Amazon S3 API Reference, "PutObject", "GetObject", "HeadObject", "DeleteObject", "POST Object", "Error
responses"; Amazon S3 User Guide, "Checking object integrity", "How to prevent object overwrites with conditional
writes".
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from types import MappingProxyType
from typing import Any

import google_crc32c
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from emulators.body_digest import base64_or_empty, check_is_md5, check_md5, is_digest
from emulators.cors import CorsRule, Preflight, share
from emulators.form_stream import FileSink, base_name, read_form
from emulators.object_answer import posted_answer, read_answer
from emulators.post_policy import PolicyDialect, PostPolicy
from emulators.received_request import (
    ReceivedRequest,
    Refusal,
    body_of,
    current_time,
    error_answer,
    percent_decoded,
)
from emulators.signature_v4 import AWS4, HmacKey, Judge
from emulators.upload_buffer import SizeRange, UploadBuffer

POLICY_DIALECT = PolicyDialect(
    exempt=frozenset({"x-amz-signature", "file", "policy"}),
    malformed=(400, "InvalidPolicyDocument"),
    failed=(403, "AccessDenied"),
    expired=(403, "AccessDenied"),
)

STORED_HEADERS = ("cache-control", "content-disposition", "content-encoding", "content-language", "expires")
KNOWN_AMZ_NAMES = frozenset(
    {
        "acl",
        "algorithm",
        "checksum-algorithm",
        "checksum-mode",
        "content-sha256",
        "credential",
        "date",
        "expected-bucket-owner",
        "sdk-checksum-algorithm",
        "security-token",
        "server-side-encryption",
        "signature",
        "storage-class",
        "tagging",
        "user-agent",
    }
)
KNOWN_PARAMETERS = frozenset(
    "X-Amz-" + name
    for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature", "Security-Token")
)
RESPONSE_OVERRIDES = MappingProxyType(
    {
        "response-cache-control": "cache-control",
        "response-content-disposition": "content-disposition",
        "response-content-encoding": "content-encoding",
        "response-content-language": "content-language",
        "response-content-type": "content-type",
        "response-expires": "expires",
    }
)


def _crc32(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "big")


def _crc32c(body: bytes) -> bytes:
    return int(google_crc32c.value(body)).to_bytes(4, "big")


CHECKSUMS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {
        "crc32": _crc32,
        "crc32c": _crc32c,
        "sha1": lambda body: hashlib.sha1(body).digest(),
        "sha256": lambda body: hashlib.sha256(body).digest(),
    }
)


@dataclass(frozen=True, kw_only=True)
class S3Object:
    """What was stored: bytes, representation headers, metadata, checksums in Base64, other `x-amz-*` attributes."""

    body: bytes = field(repr=False)
    etag: str
    content_type: str
    last_modified: datetime
    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    checksums: Mapping[str, str]
    attributes: Mapping[str, str]


@dataclass(kw_only=True)
class S3Bucket:
    """Objects by key, CORS rules, and the prefix that anybody may read (None: nobody)."""

    objects: dict[str, S3Object] = field(default_factory=dict)
    cors: tuple[CorsRule, ...] = ()
    public_prefix: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Target:
    name: str
    bucket: S3Bucket
    key: str


class S3Reference:
    """An ASGI application that serves `buckets` to the holders of `access_keys` (key id to `HmacKey`).

    Buckets are addressed by path (`/bucket/key`) or, where the host is `BUCKET.<one of base_hosts>`, by host.
    `latest_upload` is what was kept of the latest body, even of a refused one.
    """

    def __init__(
        self,
        *,
        buckets: Mapping[str, S3Bucket],
        access_keys: Mapping[str, HmacKey],
        region: str = "us-east-1",
        clock: Callable[[], datetime] = current_time,
        base_hosts: tuple[str, ...] = ("localhost",),
    ) -> None:
        self.buckets = dict(buckets)
        self.latest_upload: UploadBuffer | None = None
        self._judge = Judge(dialect=AWS4, keys=access_keys, region=region)
        self._clock = clock
        self._base_hosts = base_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"the reference server speaks http only, not {scope['type']}")
        request = Request(scope, receive)
        try:
            response = await self._answer(request, ReceivedRequest.of(request))
        except Refusal as refusal:
            response = error_answer(refusal)
        self._share(request, response)
        await response(scope, receive, send)

    def _share(self, request: Request, response: Response) -> None:
        try:
            received = ReceivedRequest.of(request)
            share(response, received, self._target(received).bucket.cors)
        except Refusal:
            return

    async def _answer(self, request: Request, received: ReceivedRequest) -> Response:
        target = self._target(received)
        if received.method == "OPTIONS":
            return _preflight(received, target.bucket)
        _refuse_unknown(received)
        if received.method == "POST":
            return await self._post(request, received, target)
        if received.method == "PUT" and target.key:
            return await self._put(request, received, target)
        if received.method in ("GET", "HEAD"):
            return self._get(received, target)
        if received.method == "DELETE" and target.key:
            self._authenticate(received)
            target.bucket.objects.pop(target.key, None)
            return Response(status_code=204)
        raise Refusal(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")

    def _target(self, received: ReceivedRequest) -> _Target:
        host = (received.header("host") or "").rsplit(":", 1)[0]
        path = received.raw_path.removeprefix("/")
        name = next((host.removesuffix("." + base) for base in self._base_hosts if host.endswith("." + base)), None)
        if name is None:
            name, _, path = path.partition("/")
        key = percent_decoded(path)
        bucket = self.buckets.get(name)
        if bucket is None:
            raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist")
        _check_key(key)
        return _Target(name=name, bucket=bucket, key=key)

    def _authenticate(self, received: ReceivedRequest) -> str:
        signed_by_header = received.header("authorization") is not None
        if signed_by_header and self._judge.is_signed_by_query(received):
            raise Refusal(400, "InvalidArgument", "Only one auth mechanism allowed")
        if signed_by_header:
            return self._judge.check_authorization_header(received, self._clock())
        if self._judge.is_signed_by_query(received):
            return self._judge.check_query(received, self._clock())
        raise Refusal(403, "AccessDenied", "Access Denied")

    def _get(self, received: ReceivedRequest, target: _Target) -> Response:
        public = target.bucket.public_prefix
        is_signed = received.header("authorization") is not None or self._judge.is_signed_by_query(received)
        if is_signed or public is None or not target.key.startswith(public) or not target.key:
            self._authenticate(received)
        if not target.key:
            if received.method != "HEAD":
                raise Refusal(501, "NotImplemented", "Listing is not part of this server.")
            return Response(status_code=200)
        stored = target.bucket.objects.get(target.key)
        if stored is None:
            # Who may not list the bucket does not learn that a key is free.
            if not is_signed:
                raise Refusal(403, "AccessDenied", "Access Denied")
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        overrides = {RESPONSE_OVERRIDES[name]: value for name, value in received.query if name in RESPONSE_OVERRIDES}
        if overrides and not is_signed:
            raise Refusal(400, "InvalidRequest", "Request specific response headers cannot be used for anonymous GET.")
        headers = {
            "content-type": stored.content_type,
            "last-modified": format_datetime(stored.last_modified, usegmt=True),
            **stored.headers,
            **{f"x-amz-meta-{name}": value for name, value in stored.metadata.items()},
            **overrides,
        }
        wants_checksums = (received.header("x-amz-checksum-mode") or "").upper() == "ENABLED"
        return read_answer(
            received,
            body=stored.body,
            etag=stored.etag,
            headers=headers,
            whole_object_headers=_checksum_headers(stored.checksums) if wants_checksums else {},
        )

    async def _put(self, request: Request, received: ReceivedRequest, target: _Target) -> Response:
        payload = self._authenticate(received)
        if received.header("content-length") is None:
            raise Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
        if payload.startswith("STREAMING-"):
            raise Refusal(501, "NotImplemented", "aws-chunked bodies are not part of this server.")
        create_only = _is_create_only(received)
        if create_only:
            _check_absent(target)
        checks = _body_checks(received.headers_with_prefix("x-amz-"), received.header("content-md5"))
        upload = self._begin_upload(SizeRange())
        async for chunk in body_of(request, received):
            upload.receive(chunk)
        body = upload.finish()
        if payload != "UNSIGNED-PAYLOAD" and not hmac.compare_digest(payload, hashlib.sha256(body).hexdigest()):
            raise Refusal(
                400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match."
            )
        checks.check(body)
        if create_only:
            # From here to the assignment nothing awaits: of concurrent creators one wins.
            _check_absent(target)
        values = {name: received.header(name) or "" for name, _ in received.headers}
        stored = self._store(target, body, values, checks)
        return Response(status_code=200, headers={"ETag": stored.etag, **_checksum_headers(stored.checksums)})

    async def _post(self, request: Request, received: ReceivedRequest, target: _Target) -> Response:
        if target.key:
            raise Refusal(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
        if received.header("content-length") is None:
            raise Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
        admitted: _AdmittedForm | None = None

        def begin_file(fields: dict[str, str], file_name: str) -> FileSink:
            nonlocal admitted
            admitted = self._admit_form(fields, file_name, target.name)
            return admitted.upload.receive

        content_type = received.header("content-type") or ""
        await read_form(body_of(request, received), content_type=content_type, begin_file=begin_file)
        if admitted is None:
            raise RuntimeError("read_form returned without a file")
        body, fields = admitted.upload.finish(), admitted.fields
        admitted.checks.check(body)
        destination = _Target(name=target.name, bucket=target.bucket, key=fields["key"])
        stored = self._store(destination, body, fields, admitted.checks)
        return posted_answer(
            received,
            bucket=target.name,
            key=destination.key,
            etag=stored.etag,
            fields=fields,
            redirect=fields.get("success_action_redirect") or fields.get("redirect"),
        )

    def _admit_form(self, fields: dict[str, str], file_name: str, bucket: str) -> _AdmittedForm:
        if "policy" not in fields:
            raise Refusal(403, "AccessDenied", "Access Denied")
        if not fields.get("key"):
            raise Refusal(400, "InvalidArgument", "Bucket POST must contain a field named 'key'.")
        now = self._clock()
        self._judge.check_form(fields, now)
        policy = PostPolicy.parse(fields["policy"], POLICY_DIALECT)
        # S3 expands the variable in every field, and judges the expanded form.
        expanded = {name: value.replace("${filename}", base_name(file_name)) for name, value in fields.items()}
        policy.check(expanded, bucket=bucket, now=now)
        _check_key(expanded["key"])
        amz_fields = {
            name.removeprefix("x-amz-"): value for name, value in expanded.items() if name.startswith("x-amz-")
        }
        _refuse_unknown_amz(amz_fields)
        checks = _body_checks(amz_fields, expanded.get("content-md5"))
        return _AdmittedForm(fields=expanded, upload=self._begin_upload(policy.sizes), checks=checks)

    def _begin_upload(self, sizes: SizeRange) -> UploadBuffer:
        self.latest_upload = UploadBuffer(sizes=sizes)
        return self.latest_upload

    def _store(self, target: _Target, body: bytes, values: Mapping[str, str], checks: _BodyChecks) -> S3Object:
        metadata_prefix = "x-amz-meta-"
        stored = S3Object(
            body=body,
            etag=f'"{hashlib.md5(body).hexdigest()}"',
            content_type=values.get("content-type") or "binary/octet-stream",
            last_modified=self._clock(),
            headers={name: values[name] for name in STORED_HEADERS if name in values},
            metadata={
                name.removeprefix(metadata_prefix): value
                for name, value in values.items()
                if name.startswith(metadata_prefix)
            },
            checksums=checks.checksums,
            attributes={
                name: values[name]
                for name in ("acl", "tagging", "x-amz-acl", "x-amz-storage-class", "x-amz-tagging")
                if name in values
            },
        )
        target.bucket.objects[target.key] = stored
        return stored


@dataclass(frozen=True, kw_only=True)
class _BodyChecks:
    """The digests that a request promised for its body, in Base64."""

    checksums: Mapping[str, str]
    content_md5: str | None

    def check(self, body: bytes) -> None:
        check_md5(self.content_md5, body)
        for name, promised in self.checksums.items():
            if not is_digest(promised, CHECKSUMS[name](body)):
                raise Refusal(
                    400, "BadDigest", f"The {name.upper()} you specified did not match the calculated checksum."
                )


@dataclass(frozen=True, kw_only=True)
class _AdmittedForm:
    fields: Mapping[str, str]
    upload: UploadBuffer
    checks: _BodyChecks


def _body_checks(amz: Mapping[str, str], content_md5: str | None) -> _BodyChecks:
    checksums = {name: amz[f"checksum-{name}"] for name in CHECKSUMS if f"checksum-{name}" in amz}
    if len(checksums) > 1:
        raise Refusal(400, "InvalidRequest", "Expecting a single x-amz-checksum- header.")
    for name, value in checksums.items():
        if len(base64_or_empty(value)) != len(CHECKSUMS[name](b"")):
            raise Refusal(400, "InvalidRequest", f"Value for x-amz-checksum-{name} header is invalid.")
    for declaration in ("checksum-algorithm", "sdk-checksum-algorithm"):
        algorithm = amz.get(declaration, "").lower()
        if declaration in amz and (algorithm not in CHECKSUMS or (checksums and algorithm not in checksums)):
            raise Refusal(400, "InvalidRequest", f"Value for x-amz-{declaration} header is invalid.")
    check_is_md5(content_md5)
    return _BodyChecks(checksums=checksums, content_md5=content_md5)


def _checksum_headers(checksums: Mapping[str, str]) -> dict[str, str]:
    return {f"x-amz-checksum-{name}": value for name, value in checksums.items()}


def _refuse_unknown(received: ReceivedRequest) -> None:
    _refuse_unknown_amz(received.headers_with_prefix("x-amz-"))
    for name, _ in received.query:
        known = name in KNOWN_PARAMETERS or name in RESPONSE_OVERRIDES or name == "x-id"
        # A signature parameter in the wrong case is for the signature's judge.
        if not known and name.lower() not in {parameter.lower() for parameter in KNOWN_PARAMETERS}:
            raise Refusal(501, "NotImplemented", f"The query parameter {name} is not part of this server.")


def _refuse_unknown_amz(amz: Mapping[str, Any]) -> None:
    for name in amz:
        is_checksum = name.removeprefix("checksum-") in CHECKSUMS and name.startswith("checksum-")
        if name not in KNOWN_AMZ_NAMES and not is_checksum and not name.startswith("meta-"):
            raise Refusal(501, "NotImplemented", f"x-amz-{name} is not part of this server.")


def _check_key(key: str) -> None:
    if len(key.encode()) > 1024:
        raise Refusal(400, "KeyTooLongError", "Your key is too long")


def _is_create_only(received: ReceivedRequest) -> bool:
    if received.header("if-match") is not None or received.header("if-none-match") not in (None, "*"):
        raise Refusal(501, "NotImplemented", "A header you provided implies functionality that is not implemented.")
    return received.header("if-none-match") == "*"


def _check_absent(target: _Target) -> None:
    if target.key in target.bucket.objects:
        raise Refusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")


def _preflight(received: ReceivedRequest, bucket: S3Bucket) -> Response:
    question = Preflight.of(received)
    if question is None:
        raise Refusal(400, "BadRequest", "Insufficient information. Origin request header needed.")
    answer = question.answer(bucket.cors)
    if answer is None:
        raise Refusal(403, "AccessForbidden", "CORSResponse: This CORS request is not allowed.")
    return answer
