"""A strict Cloud Storage in memory: the XML API with V4 signatures, and the slice of the JSON API that its SDK uses.

XML API: signed POST policies, signed PUT, GET, HEAD and DELETE (GOOG4-RSA-SHA256 with service accounts' public keys,
GOOG4-HMAC-SHA256 with HMAC keys), anonymous GET of a public prefix, bucket CORS rules. JSON API: bucket and object
metadata, download, delete, and the token endpoint that gives a bearer token for a service account's signed assertion.
As in Cloud Storage, `x-goog-*` constraints bind only as headers: in the query they are signed and without effect.

Sources: Cloud Storage, "PUT Object", "POST Object", "GET Object", "HTTP headers and common query string parameters for
XML API", "HTTP status and error codes for XML", "Signed URLs", JSON API reference "Objects"; Google Identity, "Using
OAuth 2.0 for Server to Server Applications". The list of errors names the code of a failed POST policy; that an expired
one has the same is an assumption.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from emulators.body_digest import base64_or_empty, check_is_md5, check_md5, is_digest
from emulators.cors import Preflight, share
from emulators.form_stream import FileSink, base_name, read_form
from emulators.gcs_credentials import BearerTokens
from emulators.gcs_objects import METADATA_PREFIX, GcsBucket, GcsObject, crc32c
from emulators.object_answer import posted_answer, read_answer
from emulators.post_policy import PolicyDialect, PostPolicy
from emulators.received_request import ReceivedRequest, Refusal, body_of, current_time, error_answer, percent_decoded
from emulators.signature_v4 import GOOG4, HmacKey, Judge, RsaKey
from emulators.upload_buffer import LARGEST_UPLOAD_BYTES, SizeRange, UploadBuffer

POLICY_DIALECT = PolicyDialect(
    exempt=frozenset({"x-goog-signature", "file", "policy"}),
    malformed=(400, "InvalidPolicyDocument"),
    failed=(400, "InvalidPolicyDocument"),
    expired=(400, "InvalidPolicyDocument"),
)

KNOWN_GOOG_NAMES = frozenset(
    {
        "acl",
        "algorithm",
        "content-length-range",
        "content-sha256",
        "credential",
        "custom-time",
        "date",
        "hash",
        "if-generation-match",
        "if-metageneration-match",
        "signature",
        "storage-class",
    }
)
SUB_RESOURCES = frozenset(
    {"acl", "compose", "cors", "encryption", "lifecycle", "partNumber", "tagging", "uploadId", "uploads", "versions"}
)


@dataclass(frozen=True, kw_only=True)
class _Target:
    name: str
    bucket: GcsBucket
    key: str

    @property
    def stored(self) -> GcsObject | None:
        return self.bucket.objects.get(self.key)


class GcsReference:
    """An ASGI application that serves `buckets` to service accounts and to the holders of HMAC keys.

    `service_accounts` maps client e-mails to public keys, `hmac_keys` access ids to secrets. A bucket is addressed by
    path (`/bucket/name`), by a host `BUCKET.<one of base_hosts>`, or by a host of `custom_domains`. The JSON API wants
    a bearer token that is in `bearer_tokens` or was issued by `/token`; `anonymous_json` opens it to everybody, as
    emulators do. `latest_upload` is what was kept of the latest body, even of a refused one.
    """

    def __init__(
        self,
        *,
        buckets: Mapping[str, GcsBucket],
        service_accounts: Mapping[str, rsa.RSAPublicKey] | None = None,
        hmac_keys: Mapping[str, str] | None = None,
        bearer_tokens: frozenset[str] = frozenset(),
        anonymous_json: bool = False,
        clock: Callable[[], datetime] = current_time,
        base_hosts: tuple[str, ...] = ("localhost",),
        custom_domains: Mapping[str, str] | None = None,
    ) -> None:
        self.buckets = dict(buckets)
        self.latest_upload: UploadBuffer | None = None
        accounts = service_accounts or {}
        rsa_keys = {email: RsaKey(public_key=key) for email, key in accounts.items()}
        secret_keys = {
            access_id: HmacKey(secret=secret, algorithm="GOOG4-HMAC-SHA256")
            for access_id, secret in (hmac_keys or {}).items()
        }
        self._judge = Judge(dialect=GOOG4, keys={**rsa_keys, **secret_keys})
        self._tokens = BearerTokens(accounts=accounts, fixed=bearer_tokens, clock=clock)
        self._anonymous_json = anonymous_json
        self._clock = clock
        self._base_hosts = base_hosts
        self._custom_domains = dict(custom_domains or {})
        self._last_generation = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"the reference server speaks http only, not {scope['type']}")
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            received = ReceivedRequest.of(request)
        except Refusal as refusal:
            return error_answer(refusal)
        if received.raw_path == "/token":
            return await self._tokens.issue(request)
        json_prefix = next(
            (p for p in ("/download/storage/v1/", "/storage/v1/") if received.raw_path.startswith(p)), None
        )
        if json_prefix is not None:
            try:
                return self._json(received, json_prefix)
            except Refusal as refusal:
                return _json_error(refusal)
        try:
            response = await self._xml(request, received)
        except Refusal as refusal:
            response = error_answer(refusal)
        self._share(received, response)
        return response

    def _share(self, received: ReceivedRequest, response: Response) -> None:
        try:
            share(response, received, self._target(received).bucket.cors)
        except Refusal:
            return

    # XML API

    async def _xml(self, request: Request, received: ReceivedRequest) -> Response:
        target = self._target(received)
        if received.method == "OPTIONS":
            question = Preflight.of(received)
            # Cloud Storage answers a foreign origin with 200 and no CORS header, and the browser refuses.
            return (question and question.answer(target.bucket.cors)) or Response(status_code=200)
        _refuse_unknown(received)
        if received.method == "POST" and not target.key:
            return await self._post(request, received, target)
        if received.method == "PUT" and target.key:
            return await self._put(request, received, target)
        if received.method in ("GET", "HEAD") and target.key:
            return self._get(received, target)
        if received.method == "DELETE" and target.key:
            return self._delete(received, target)
        raise Refusal(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")

    def _target(self, received: ReceivedRequest) -> _Target:
        host = (received.header("host") or "").rsplit(":", 1)[0]
        path = received.raw_path.removeprefix("/")
        name = self._custom_domains.get(host) or next(
            (host.removesuffix("." + base) for base in self._base_hosts if host.endswith("." + base)), None
        )
        if name is None:
            name, _, path = path.partition("/")
        key = percent_decoded(path)
        _check_name(key)
        return _Target(name=name, bucket=self._bucket(name), key=key)

    def _bucket(self, name: str) -> GcsBucket:
        bucket = self.buckets.get(name)
        if bucket is None:
            raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist.")
        return bucket

    def _authenticate(self, received: ReceivedRequest) -> str:
        if self._judge.is_signed_by_query(received):
            return self._judge.check_query(received, self._clock())
        raise Refusal(403, "AccessDenied", "Anonymous caller does not have access.")

    def _get(self, received: ReceivedRequest, target: _Target) -> Response:
        public = target.bucket.public_prefix
        is_signed = self._judge.is_signed_by_query(received)
        if is_signed or public is None or not target.key.startswith(public):
            self._authenticate(received)
        stored = target.stored
        if stored is None and not is_signed:
            raise Refusal(403, "AccessDenied", "Anonymous caller does not have storage.objects.list access.")
        generation = received.parameter("generation")
        if stored is None or generation not in (None, str(stored.generation)):
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        _check_generation(received.header("x-goog-if-generation-match"), stored)
        overrides = {
            name.removeprefix("response-"): value
            for name, value in received.query
            if name in ("response-content-disposition", "response-content-type") and is_signed
        }
        headers = {**stored.headers(), **overrides}
        return read_answer(received, body=stored.body, etag=stored.xml_etag, headers=headers, whole_object_headers={})

    def _delete(self, received: ReceivedRequest, target: _Target) -> Response:
        self._authenticate(received)
        if target.stored is None:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        _check_generation(received.header("x-goog-if-generation-match"), target.stored)
        del target.bucket.objects[target.key]
        return Response(status_code=204)

    async def _put(self, request: Request, received: ReceivedRequest, target: _Target) -> Response:
        payload = self._authenticate(received)
        condition = received.header("x-goog-if-generation-match")
        _check_generation(condition, target.stored)
        content_md5, promised_hash = received.header("content-md5"), received.header("x-goog-hash")
        check_is_md5(content_md5)
        upload = self._begin_upload(_signed_range(received.header("x-goog-content-length-range")))
        async for chunk in body_of(request, received):
            upload.receive(chunk)
        body = upload.finish()
        if payload != "UNSIGNED-PAYLOAD" and not hmac.compare_digest(payload, hashlib.sha256(body).hexdigest()):
            raise Refusal(400, "BadDigest", "The x-goog-content-sha256 you specified did not match what we received.")
        check_md5(content_md5, body)
        _check_goog_hash(promised_hash, body)
        # From here to the assignment nothing awaits: of concurrent creators one wins.
        _check_generation(condition, target.stored)
        stored = self._store(target, body, {name: received.header(name) or "" for name, _ in received.headers})
        return Response(status_code=200, headers={"ETag": stored.xml_etag, **stored.identity_headers()})

    async def _post(self, request: Request, received: ReceivedRequest, target: _Target) -> Response:
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
        destination = _Target(name=target.name, bucket=target.bucket, key=fields["key"])
        stored = self._store(destination, body, fields)
        return posted_answer(
            received,
            bucket=target.name,
            key=destination.key,
            etag=stored.xml_etag,
            fields=fields,
            redirect=fields.get("success_action_redirect"),
        )

    def _admit_form(self, fields: dict[str, str], file_name: str, bucket: str) -> _AdmittedForm:
        if "policy" not in fields:
            raise Refusal(403, "AccessDenied", "Anonymous caller does not have storage.objects.create access.")
        if not fields.get("key"):
            raise Refusal(400, "InvalidArgument", "Bucket POST must contain a field named 'key'.")
        now = self._clock()
        self._judge.check_form(fields, now)
        policy = PostPolicy.parse(fields["policy"], POLICY_DIALECT)
        expanded = {**fields, "key": fields["key"].replace("${filename}", base_name(file_name))}
        policy.check(expanded, bucket=bucket, now=now)
        _check_name(expanded["key"])
        _refuse_unknown_goog(name.removeprefix("x-goog-") for name in expanded if name.startswith("x-goog-"))
        return _AdmittedForm(fields=expanded, upload=self._begin_upload(policy.sizes))

    def _begin_upload(self, sizes: SizeRange) -> UploadBuffer:
        self.latest_upload = UploadBuffer(sizes=sizes)
        return self.latest_upload

    def _store(self, target: _Target, body: bytes, values: Mapping[str, str]) -> GcsObject:
        now = self._clock()
        self._last_generation = max(self._last_generation + 1, int(now.timestamp() * 1_000_000))
        stored = GcsObject(
            body=body,
            generation=self._last_generation,
            created=now,
            content_type=values.get("content-type") or "application/octet-stream",
            cache_control=values.get("cache-control"),
            content_disposition=values.get("content-disposition"),
            content_encoding=values.get("content-encoding"),
            metadata={
                name.removeprefix(METADATA_PREFIX): value
                for name, value in values.items()
                if name.startswith(METADATA_PREFIX)
            },
        )
        target.bucket.objects[target.key] = stored
        return stored

    # JSON API

    def _json(self, received: ReceivedRequest, prefix: str) -> Response:
        if received.header("authorization") is not None or not self._anonymous_json:
            self._tokens.check(received)
        match received.raw_path.removeprefix(prefix).split("/"):
            case ["b", name] if received.method == "GET":
                self._bucket(percent_decoded(name))
                decoded = percent_decoded(name)
                return JSONResponse({"kind": "storage#bucket", "id": decoded, "name": decoded, "metageneration": "1"})
            case ["b", name, "o", key]:
                bucket = percent_decoded(name)
                return self._json_object(
                    received,
                    _Target(name=bucket, bucket=self._bucket(bucket), key=percent_decoded(key)),
                    as_media=prefix.startswith("/download/") or received.parameter("alt") == "media",
                )
            case _:
                raise Refusal(501, "notImplemented", "This part of the JSON API is not part of this server.")

    def _json_object(self, received: ReceivedRequest, target: _Target, *, as_media: bool) -> Response:
        stored = target.stored
        if stored is None or received.parameter("generation") not in (None, str(stored.generation)):
            raise Refusal(404, "notFound", f"No such object: {target.name}/{target.key}")
        _check_generation(received.parameter("ifGenerationMatch"), stored)
        if received.parameter("ifMetagenerationMatch") not in (None, str(stored.metageneration)):
            raise Refusal(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
        if received.method == "DELETE":
            del target.bucket.objects[target.key]
            return Response(status_code=204)
        if received.method != "GET":
            raise Refusal(501, "notImplemented", "This part of the JSON API is not part of this server.")
        if as_media:
            headers = {**stored.headers(), "x-goog-storage-class": "STANDARD"}
            return read_answer(
                received, body=stored.body, etag=stored.json_etag, headers=headers, whole_object_headers={}
            )
        return JSONResponse(stored.resource(target.name, target.key), headers={"ETag": stored.json_etag})


@dataclass(frozen=True, kw_only=True)
class _AdmittedForm:
    fields: Mapping[str, str]
    upload: UploadBuffer


def _check_name(key: str) -> None:
    if len(key.encode()) > 1024 or "\r" in key or "\n" in key or key in (".", ".."):
        raise Refusal(400, "InvalidObjectName", "The specified object name is not valid.")


def _check_generation(wanted: str | None, stored: GcsObject | None) -> None:
    if wanted is not None and not wanted.isdecimal():
        raise Refusal(400, "InvalidArgument", "The generation must be a number.")
    if wanted is not None and int(wanted) != (stored.generation if stored else 0):
        raise Refusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")


def _signed_range(header: str | None) -> SizeRange:
    if header is None:
        return SizeRange()
    lower, comma, upper = header.partition(",")
    if not (comma and lower.isdecimal() and upper.isdecimal() and int(lower) <= int(upper)):
        raise Refusal(400, "InvalidArgument", "x-goog-content-length-range must be MIN,MAX.")
    return SizeRange(min_bytes=int(lower), max_bytes=min(int(upper), LARGEST_UPLOAD_BYTES))


def _check_goog_hash(header: str | None, body: bytes) -> None:
    digests = {"md5": hashlib.md5(body).digest(), "crc32c": crc32c(body)}
    for item in (header or "").split(",") if header else []:
        name, _, promised = item.strip().partition("=")
        if name not in digests or not base64_or_empty(promised):
            raise Refusal(400, "InvalidDigest", "The x-goog-hash you specified is not valid.")
        if not is_digest(promised, digests[name]):
            raise Refusal(400, "BadDigest", "The x-goog-hash you specified did not match what we received.")


def _refuse_unknown(received: ReceivedRequest) -> None:
    _refuse_unknown_goog(received.headers_with_prefix("x-goog-"))
    for name, _ in received.query:
        if name in SUB_RESOURCES:
            raise Refusal(501, "NotImplemented", f"The sub-resource {name} is not part of this server.")


def _refuse_unknown_goog(names: Iterable[str]) -> None:
    for name in names:
        if name not in KNOWN_GOOG_NAMES and not name.startswith("meta-"):
            raise Refusal(501, "NotImplemented", f"x-goog-{name} is not part of this server.")


def _json_error(refusal: Refusal) -> Response:
    detail = {"message": refusal.message, "domain": "global", "reason": refusal.code}
    error = {"code": refusal.status, "message": refusal.message, "errors": [detail]}
    return JSONResponse({"error": error}, status_code=refusal.status)
