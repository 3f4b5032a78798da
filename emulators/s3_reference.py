"""A strict S3 data plane in memory: it refuses what Amazon S3 refuses, and constraints that S3 would ignore.

Presigned POST, PUT, GET, HEAD and DELETE, the same signed in the Authorization header (so that boto3 works against it,
with its default configuration over http), uploads in parts, copies in one request and in parts, ListObjectsV2,
versions, customers' keys (as if over TLS), archived objects, object ACLs, anonymous GET of a public prefix, bucket CORS
rules. Rights limit what a key's holder may do, and leniencies let the server behave as other stores do. Not there, and
answered with 501: other sub-resources, aws-chunked bodies, conditional PUT other than `If-None-Match: *`, unknown
`x-amz-*` headers.

Sources: Amazon S3 API Reference, "PutObject", "GetObject", "HeadObject", "DeleteObject", "POST Object", "Error
responses"; Amazon S3 User Guide, "How to prevent object overwrites with conditional writes", "How to perform
conditional deletes" (it evaluates the current version alone; that it answers 404 where there is no object is said of
concurrent deletes only), "Specifying server-side encryption with customer-provided keys".
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from emulators.cors import Preflight, share
from emulators.form_stream import base_name, read_admitted_form
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
from emulators.s3_bucket import (
    CUSTOMER_KEY_PREFIX,
    S3Bucket,
    S3Object,
    Target,
    check_key,
    customer_key_md5,
    header_values,
    precondition_failed,
)
from emulators.s3_checksums import BodyChecks, checksum_headers
from emulators.s3_copying import COPY_SOURCE, copy_object, upload_part_copy
from emulators.s3_lifecycle import expiration_headers
from emulators.s3_listing import access_control_list, list_objects
from emulators.s3_parts import (
    PartLimits,
    abort_upload,
    check_part,
    complete_upload,
    create_upload,
    list_parts,
    list_uploads,
    store_part,
)
from emulators.s3_rights import Caller, Leniency, Right
from emulators.s3_vocabulary import RESPONSE_OVERRIDES, refuse_unknown, refuse_unknown_amz
from emulators.signature_v4 import AWS4, Admission, HmacKey, Judge
from emulators.upload_buffer import SizeRange, UploadBuffer

POLICY_DIALECT = PolicyDialect(
    exempt=frozenset({"x-amz-signature", "file", "policy"}),
    malformed=(400, "InvalidPolicyDocument"),
    failed=(403, "AccessDenied"),
    expired=(403, "AccessDenied"),
)

LARGEST_DOCUMENT_BYTES = 2 * 1024**2


class S3Reference:
    """An ASGI application that serves `buckets` to the holders of `access_keys` (key id to `HmacKey`).

    `rights` limits the holder of a key, by key id, to a list of rights; who is not in it may do everything. `lenient`
    names the ways in which the server is not strict; see `MINIO`, `CEPH` and `SEAWEEDFS`. Buckets are addressed by path
    (`/bucket/key`) or, where the host is `BUCKET.<one of base_hosts>`, by host. `latest_upload` is what was kept of the
    latest body, even of a refused one. A change of `buckets` or `rights` has effect at once.
    """

    def __init__(
        self,
        *,
        buckets: Mapping[str, S3Bucket],
        access_keys: Mapping[str, HmacKey],
        region: str = "us-east-1",
        clock: Callable[[], datetime] = current_time,
        base_hosts: tuple[str, ...] = ("localhost",),
        rights: Mapping[str, Sequence[Right]] | None = None,
        lenient: Collection[Leniency] = (),
        part_limits: PartLimits | None = None,
    ) -> None:
        unknown = set(rights or ()) - set(access_keys)
        if unknown:
            raise ValueError(f"rights: {', '.join(sorted(unknown))} is not in access_keys")
        self.buckets = dict(buckets)
        self.latest_upload: UploadBuffer | None = None
        self._lenient = frozenset(lenient)
        obeys_unsigned = Leniency.UNSIGNED_HEADERS in self._lenient
        dialect = replace(AWS4, must_be_signed=()) if obeys_unsigned else AWS4
        self._judge = Judge(
            dialect=dialect,
            keys=access_keys,
            region=region,
            checks_expiry=Leniency.UNCHECKED_EXPIRY not in self._lenient,
        )
        self._region = region
        self.rights = dict(rights or {})
        self._part_limits = part_limits or PartLimits()
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
            # Amazon S3 and MinIO name the region in their refusals.
            response.headers["x-amz-bucket-region"] = self._region
            if request.headers.get("expect") is not None:
                # The client sends no body after a refusal, so on this connection no next request could be told from it.
                response.headers["connection"] = "close"
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
        refuse_unknown(received, target)
        if received.method == "POST" and not target.key:
            return await self._post(request, received, target)
        if received.method == "POST":
            return await self._post_upload(request, received, target)
        if received.method == "PUT" and target.key:
            return await self._put(request, received, target)
        if received.method in ("GET", "HEAD"):
            return self._get(received, target) if target.key else self._get_bucket(received, target)
        if received.method == "DELETE" and target.key:
            return self._delete(received, target)
        raise _not_allowed()

    def _target(self, received: ReceivedRequest) -> Target:
        host = (received.header("host") or "").rsplit(":", 1)[0]
        path = received.raw_path.removeprefix("/")
        name = next((host.removesuffix("." + base) for base in self._base_hosts if host.endswith("." + base)), None)
        if name is None:
            name, _, path = path.partition("/")
        key = percent_decoded(path)
        bucket = self.buckets.get(name)
        if bucket is None:
            raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist")
        check_key(key)
        return Target(name=name, bucket=bucket, key=key)

    def _caller(self, received: ReceivedRequest) -> Caller:
        signed_by_header = received.header("authorization") is not None
        if signed_by_header and self._judge.is_signed_by_query(received):
            raise Refusal(400, "InvalidArgument", "Only one auth mechanism allowed")
        if signed_by_header:
            return self._admitted(self._judge.check_authorization_header(received, self._clock()))
        if self._judge.is_signed_by_query(received):
            return self._admitted(self._judge.check_query(received, self._clock()))
        raise Refusal(403, "AccessDenied", "Access Denied")

    def _admitted(self, admission: Admission) -> Caller:
        return Caller(
            key_id=admission.key_id,
            payload=admission.payload,
            rights=self.rights.get(admission.key_id),
            lenient=self._lenient,
        )

    def _get_bucket(self, received: ReceivedRequest, target: Target) -> Response:
        is_signed = received.header("authorization") is not None or self._judge.is_signed_by_query(received)
        if target.bucket.listed_by_anybody and not is_signed and received.parameter("uploads") is None:
            return list_objects(received, target)
        caller = self._caller(received)
        if received.method == "GET" and received.parameter("uploads") is not None:
            return list_uploads(received, target, caller=caller)
        caller.require("ListBucket", target.name)
        return list_objects(received, target) if received.method == "GET" else Response(status_code=200)

    def _get(self, received: ReceivedRequest, target: Target) -> Response:
        if received.method == "GET" and received.parameter("uploadId") is not None:
            return list_parts(received, target, caller=self._caller(received))
        public, version = target.bucket.public_prefix, received.parameter("versionId")
        is_signed = received.header("authorization") is not None or self._judge.is_signed_by_query(received)
        is_public = (public is not None and target.key.startswith(public)) or bool(
            target.stored and target.stored.is_public
        )
        needs_caller = is_signed or not is_public or version is not None or received.parameter("acl") is not None
        caller = self._caller(received) if needs_caller else None
        if caller is not None:
            caller.require(_reading_action(received), target.name, target.key)
            if received.method == "GET":
                caller.require_kms("Decrypt", target.bucket.kms_decrypt_denied_to)
        if target.stored is None and version is None and (caller is None or not caller.may("ListBucket", target.name)):
            # Who may not list the bucket does not learn that a key is free.
            raise Refusal(403, "AccessDenied", "Access Denied")
        stored = target.bucket.find(target.key, version)
        if received.parameter("acl") is not None:
            return access_control_list(stored)
        stored.check_customer_key(customer_key_md5(header_values(received)))
        if stored.is_archived and received.method == "GET":
            raise Refusal(403, "InvalidObjectState", "The operation is not valid for the object's storage class")
        overrides = {RESPONSE_OVERRIDES[name]: value for name, value in received.query if name in RESPONSE_OVERRIDES}
        if overrides and not is_signed:
            raise Refusal(400, "InvalidRequest", "Request specific response headers cannot be used for anonymous GET.")
        shows_tags = caller is not None and caller.may("GetObjectTagging", target.name, target.key)
        wants_checksums = (received.header("x-amz-checksum-mode") or "").upper() == "ENABLED"
        return read_answer(
            received,
            body=stored.body,
            etag=stored.etag,
            headers={
                **_object_headers(stored, shows_tags=shows_tags),
                **expiration_headers(target.bucket.lifecycle, target.key, stored.last_modified),
                **overrides,
            },
            whole_object_headers=checksum_headers(stored.checksums) if wants_checksums else {},
        )

    def _delete(self, received: ReceivedRequest, target: Target) -> Response:
        caller = self._caller(received)
        if received.parameter("uploadId") is not None:
            return abort_upload(received, target, caller=caller)
        version, wanted = received.parameter("versionId"), received.header("if-match")
        caller.require("DeleteObject" if version is None else "DeleteObjectVersion", target.name, target.key)
        if wanted is not None:
            if wanted != "*":
                caller.require("GetObject", target.name, target.key)
            if target.stored is None:
                raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
            if wanted not in ("*", target.stored.etag, target.stored.etag.strip('"')):
                raise precondition_failed()
        bucket = target.bucket
        headers = bucket.delete(target.key) if version is None else bucket.delete_version(target.key, version)
        return Response(status_code=204, headers=headers)

    async def _put(self, request: Request, received: ReceivedRequest, target: Target) -> Response:
        caller = self._caller(received)
        self._check_signature_age(received, target)
        if received.header(COPY_SOURCE) is None and received.parameter("uploadId") is not None:
            return await self._put_part(request, received, target, caller)
        if received.header(COPY_SOURCE) is not None:
            async for _ in request.stream():
                pass
            copy = copy_object if received.parameter("uploadId") is None else upload_part_copy
            return copy(
                received,
                target,
                buckets=self.buckets,
                caller=caller,
                limits=self._part_limits,
                now=self._clock(),
            )
        values = header_values(received)
        _require_writing(caller, target, values)
        if received.header("content-length") is None:
            raise Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
        create_only = _is_create_only(received) and Leniency.UNCHECKED_IF_NONE_MATCH not in self._lenient
        if create_only:
            target.check_absent()
        checks = self._checks(received.headers_with_prefix("x-amz-"), received.header("content-md5"))
        customer_key_md5(values)
        body = await self._body(request, received, caller)
        checks.check(body)
        if create_only:
            # From here to the assignment nothing awaits: of concurrent creators one wins.
            target.check_absent()
        stored = target.store(body, values, now=self._clock(), checksums=checks.checksums)
        headers = {"ETag": stored.etag, **checksum_headers(stored.checksums), **stored.version_headers()}
        return Response(status_code=200, headers=headers)

    async def _put_part(self, request: Request, received: ReceivedRequest, target: Target, caller: Caller) -> Response:
        checks = check_part(received, target, caller=caller)
        body = await self._body(request, received, caller)
        checks.check(body)
        return store_part(received, target, body, checks, limits=self._part_limits, now=self._clock())

    async def _post_upload(self, request: Request, received: ReceivedRequest, target: Target) -> Response:
        if not {"uploads", "uploadId"} & {name for name, _ in received.query}:
            raise _not_allowed()
        caller = self._caller(received)
        document = await self._body(request, received, caller, SizeRange(max_bytes=LARGEST_DOCUMENT_BYTES))
        if received.parameter("uploads") is not None:
            return create_upload(received, target, caller=caller, now=self._clock())
        limits, now = self._part_limits, self._clock()
        return complete_upload(received, target, document, caller=caller, limits=limits, now=now)

    async def _body(
        self, request: Request, received: ReceivedRequest, caller: Caller, sizes: SizeRange | None = None
    ) -> bytes:
        if caller.payload.startswith("STREAMING-"):
            raise Refusal(501, "NotImplemented", "aws-chunked bodies are not part of this server.")
        upload = self._begin_upload(sizes or SizeRange())
        async for chunk in body_of(request, received):
            upload.receive(chunk)
        body, payload = upload.finish(), caller.payload
        if payload != "UNSIGNED-PAYLOAD" and not hmac.compare_digest(payload, hashlib.sha256(body).hexdigest()):
            raise Refusal(
                400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match."
            )
        return body

    def _check_signature_age(self, received: ReceivedRequest, target: Target) -> None:
        limit, date = target.bucket.max_signature_age_seconds, received.parameter("X-Amz-Date")
        if limit is None or date is None:
            return
        signed_at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        if self._clock() - signed_at > timedelta(seconds=limit):
            raise Refusal(403, "AccessDenied", "Access Denied")

    async def _post(self, request: Request, received: ReceivedRequest, target: Target) -> Response:
        if Leniency.NO_FORMS in self._lenient:
            raise Refusal(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
        if received.header("content-length") is None:
            raise Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
        admitted = await read_admitted_form(
            body_of(request, received),
            content_type=received.header("content-type") or "",
            admit=lambda fields, file_name: self._admit_form(fields, file_name, target),
        )
        body, fields = admitted.upload.finish(), admitted.fields
        if Leniency.LATE_FORM_EXPIRY in self._lenient:
            admitted.policy.check_expiry(self._clock())
        admitted.checks.check(body)
        destination = replace(target, key=fields["key"])
        stored = destination.store(
            body, self._stored_fields(received, fields), now=self._clock(), checksums=admitted.checks.checksums
        )
        answer = posted_answer(
            received,
            bucket=target.name,
            key=destination.key,
            etag=stored.etag,
            fields=fields,
            redirect=fields.get("success_action_redirect") or fields.get("redirect"),
        )
        answer.headers.update(stored.version_headers())
        return answer

    def _stored_fields(self, received: ReceivedRequest, fields: Mapping[str, str]) -> dict[str, str]:
        kept = dict(fields)
        cache_control = received.header("cache-control")
        if Leniency.REQUEST_CACHE_CONTROL in self._lenient and cache_control is not None:
            kept.setdefault("cache-control", cache_control)
        if Leniency.FORMS_LOSE_HEADERS in self._lenient:
            for name in ("cache-control", "content-disposition", "content-encoding", "content-language", "expires"):
                kept.pop(name, None)
        return kept

    def _admit_form(self, fields: dict[str, str], file_name: str, target: Target) -> _AdmittedForm:
        if "policy" not in fields:
            raise Refusal(403, "AccessDenied", "Access Denied")
        if not fields.get("key"):
            raise Refusal(400, "InvalidArgument", "Bucket POST must contain a field named 'key'.")
        now = self._clock()
        caller = self._admitted(self._judge.check_form(fields, now))
        policy = PostPolicy.parse(fields["policy"], POLICY_DIALECT)
        if not {Leniency.LATE_FORM_EXPIRY, Leniency.UNCHECKED_EXPIRY} & self._lenient:
            policy.check_expiry(now)
        # S3 expands the variable in every field, and judges the expanded form.
        expanded = {name: value.replace("${filename}", base_name(file_name)) for name, value in fields.items()}
        if Leniency.UNCHECKED_CONDITIONS not in self._lenient:
            policy.check_fields(expanded, bucket=target.name)
        check_key(expanded["key"])
        amz_fields = {
            name.removeprefix("x-amz-"): value for name, value in expanded.items() if name.startswith("x-amz-")
        }
        refuse_unknown_amz(amz_fields)
        _require_writing(caller, replace(target, key=expanded["key"]), expanded)
        customer_key_md5(expanded)
        checks = self._checks(amz_fields, expanded.get("content-md5"))
        upload = self._begin_upload(SizeRange() if Leniency.UNCHECKED_SIZES in self._lenient else policy.sizes)
        return _AdmittedForm(fields=expanded, upload=upload, checks=checks, policy=policy)

    def _checks(self, amz: Mapping[str, str], content_md5: str | None) -> BodyChecks:
        if Leniency.UNCHECKED_CHECKSUMS in self._lenient:
            return BodyChecks(checksums={}, content_md5=None)
        return BodyChecks.of(amz, content_md5)

    def _begin_upload(self, sizes: SizeRange) -> UploadBuffer:
        self.latest_upload = UploadBuffer(sizes=sizes)
        return self.latest_upload


@dataclass(frozen=True, kw_only=True)
class _AdmittedForm:
    fields: Mapping[str, str]
    upload: UploadBuffer
    checks: BodyChecks
    policy: PostPolicy


def _object_headers(stored: S3Object, *, shows_tags: bool) -> dict[str, str]:
    optional = {
        "x-amz-storage-class": stored.storage_class if stored.storage_class != "STANDARD" else None,
        "x-amz-tagging-count": str(len(stored.tags)) if stored.tags and shows_tags else None,
        CUSTOMER_KEY_PREFIX + "algorithm": "AES256" if stored.customer_key_md5 else None,
        CUSTOMER_KEY_PREFIX + "key-md5": stored.customer_key_md5,
    }
    return {
        "content-type": stored.content_type,
        "last-modified": format_datetime(stored.last_modified, usegmt=True),
        **stored.headers,
        **{f"x-amz-meta-{name}": value for name, value in stored.metadata.items()},
        **{name: value for name, value in optional.items() if value is not None},
        **stored.version_headers(),
    }


def _require_writing(caller: Caller, target: Target, values: Mapping[str, str]) -> None:
    caller.require_kms("GenerateDataKey", target.bucket.kms_denied_to)
    sets_acl = bool({"acl", "x-amz-acl"} & set(values))
    sets_tags = bool({"tagging", "x-amz-tagging"} & set(values))
    caller.require_writing(target.name, target.key, sets_acl=sets_acl, sets_tags=sets_tags)


def _not_allowed() -> Refusal:
    return Refusal(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")


def _is_create_only(received: ReceivedRequest) -> bool:
    if received.header("if-match") is not None or received.header("if-none-match") not in (None, "*"):
        raise Refusal(501, "NotImplemented", "A header you provided implies functionality that is not implemented.")
    return received.header("if-none-match") == "*"


def _preflight(received: ReceivedRequest, bucket: S3Bucket) -> Response:
    question = Preflight.of(received)
    if question is None:
        raise Refusal(400, "BadRequest", "Insufficient information. Origin request header needed.")
    answer = question.answer(bucket.cors)
    if answer is None:
        raise Refusal(403, "AccessForbidden", "CORSResponse: This CORS request is not allowed.")
    return answer


def _reading_action(received: ReceivedRequest) -> str:
    if received.parameter("acl") is not None:
        return "GetObjectAcl"
    return "GetObject" if received.parameter("versionId") is None else "GetObjectVersion"
