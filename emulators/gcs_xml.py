"""The XML API of the GCS reference: POST policies, signed requests, uploads in parts, anonymous GET, CORS.

As in Cloud Storage, `x-goog-*` constraints bind only as headers: in the query they are signed and without effect. Every
`x-goog-*` header must be signed; `x-goog-copy-source`, signed, is answered with 501. A PUT whose signature covers
`x-goog-content-sha256` is refused unless the body has that hash, or its value is UNSIGNED-PAYLOAD.

Sources: Cloud Storage, "PUT Object", "POST Object", "GET Object", "HTTP headers and common query string parameters for
XML API", "HTTP status and error codes for XML", "Signed URLs". The list of errors names the code of a failed POST
policy; that an expired one has the same is an assumption.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response

from emulators.body_digest import base64_or_empty, check_is_md5, check_md5, is_digest
from emulators.cors import Preflight
from emulators.form_stream import base_name, read_admitted_form
from emulators.gcs_bucket import GcsStore, Target, check_generation, check_name, crc32c_of
from emulators.gcs_parts import (
    GcsPartLimits,
    abort_upload,
    check_part,
    complete_upload,
    create_upload,
    list_parts,
    list_uploads,
    store_part,
)
from emulators.object_answer import posted_answer, read_answer
from emulators.post_policy import PolicyDialect, PostPolicy
from emulators.received_request import ReceivedRequest, Refusal, body_of, percent_decoded
from emulators.signature_v4 import Admission, Judge
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
SUB_RESOURCES = frozenset({"acl", "compose", "cors", "encryption", "lifecycle", "tagging", "versions"})
LARGEST_DOCUMENT_BYTES = 2 * 1024**2


class GcsXml:
    """Answers whomever `judge` admits; `latest_upload` is what was kept of the latest body, even of a refused one."""

    def __init__(
        self,
        *,
        store: GcsStore,
        judge: Judge,
        base_hosts: tuple[str, ...],
        custom_domains: Mapping[str, str],
        part_limits: GcsPartLimits | None = None,
    ) -> None:
        self._part_limits = part_limits or GcsPartLimits()
        self.latest_upload: UploadBuffer | None = None
        self._store = store
        self._judge = judge
        self._base_hosts = base_hosts
        self._custom_domains = dict(custom_domains)

    async def answer(self, request: Request, received: ReceivedRequest) -> Response:
        """Answer a request, or raise Refusal."""
        target = self.target(received)
        if received.method == "OPTIONS":
            question = Preflight.of(received)
            # Cloud Storage answers a foreign origin with 200 and no CORS header, and the browser refuses.
            return (question and question.answer(target.bucket.cors)) or Response(status_code=200)
        if received.method == "GET" and not target.key and target.bucket.listed_by_anybody:
            names = "".join(f"<Contents><Key>{escape(name)}</Key></Contents>" for name in target.bucket.objects)
            return Response(f"<ListBucketResult>{names}</ListBucketResult>", media_type="application/xml")
        _refuse_unknown(received)
        if {"uploads", "uploadId", "partNumber"} & {name for name, _ in received.query}:
            return await self._answer_parts(request, received, target)
        if received.method == "POST" and not target.key:
            return await self._post(request, received, target)
        if received.method == "PUT" and target.key:
            return await self._put(request, received, target)
        if received.method in ("GET", "HEAD") and target.key:
            return self._get(received, target)
        if received.method == "DELETE" and target.key:
            return self._delete(received, target)
        raise Refusal(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")

    def target(self, received: ReceivedRequest) -> Target:
        """The bucket and object that path and host name; refused if there is no such bucket."""
        host = (received.header("host") or "").rsplit(":", 1)[0]
        path = received.raw_path.removeprefix("/")
        name = self._custom_domains.get(host) or next(
            (host.removesuffix("." + base) for base in self._base_hosts if host.endswith("." + base)), None
        )
        if name is None:
            name, _, path = path.partition("/")
        key = percent_decoded(path)
        return self._store.target(name, key)

    def _authenticate(self, received: ReceivedRequest) -> Admission:
        if self._judge.is_signed_by_query(received):
            admission = self._judge.check_query(received, self._store.clock())
            # A header that is unknown and unsigned is refused for the latter.
            _refuse_unknown_goog(received.headers_with_prefix("x-goog-"))
            return admission
        raise Refusal(403, "AccessDenied", "Anonymous caller does not have access.")

    def _get(self, received: ReceivedRequest, target: Target) -> Response:
        public = target.bucket.public_prefix
        is_signed = self._judge.is_signed_by_query(received)
        if is_signed or public is None or not target.key.startswith(public):
            identity = self._authenticate(received).key_id
            self._store.require(identity, "get", target)
            self._store.require_known(identity, target)
        _refuse_unknown_goog(received.headers_with_prefix("x-goog-"))
        stored = target.stored
        if stored is None and not is_signed:
            raise Refusal(403, "AccessDenied", "Anonymous caller does not have storage.objects.list access.")
        generation = received.parameter("generation")
        if stored is None or generation not in (None, str(stored.generation)):
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        check_generation(received.header("x-goog-if-generation-match"), stored)
        overrides = {
            name.removeprefix("response-"): value
            for name, value in received.query
            if name in ("response-content-disposition", "response-content-type") and is_signed
        }
        headers = {**stored.headers(), **overrides}
        return read_answer(received, body=stored.body, etag=stored.xml_etag, headers=headers, whole_object_headers={})

    def _delete(self, received: ReceivedRequest, target: Target) -> Response:
        identity = self._authenticate(received).key_id
        self._store.require(identity, "delete", target)
        self._store.require_known(identity, target)
        if target.stored is None:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        check_generation(received.header("x-goog-if-generation-match"), target.stored)
        del target.bucket.objects[target.key]
        return Response(status_code=204)

    async def _answer_parts(self, request: Request, received: ReceivedRequest, target: Target) -> Response:
        admission = self._authenticate(received)
        names = {name for name, _ in received.query}
        known: dict[str, Any] = {"store": self._store, "identity": admission.key_id}
        match received.method, bool(target.key), "uploads" in names, "uploadId" in names, "partNumber" in names:
            case "GET", False, True, False, False:
                return list_uploads(received, target, **known)
            case "POST", True, True, False, False:
                await self._body(request, received, admission, SizeRange(max_bytes=0))
                return create_upload(received, target, **known)
            case "PUT", True, False, True, True:
                check_part(received, target, **known)
                body = await self._body(request, received, admission, SizeRange())
                return store_part(received, target, body, store=self._store, limits=self._part_limits)
            case "GET", True, False, True, False:
                return list_parts(received, target, **known)
            case "POST", True, False, True, False:
                document = await self._body(request, received, admission, SizeRange(max_bytes=LARGEST_DOCUMENT_BYTES))
                return complete_upload(received, target, document, limits=self._part_limits, **known)
            case "DELETE", True, False, True, False:
                return abort_upload(received, target, **known)
        raise Refusal(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")

    async def _body(self, request: Request, received: ReceivedRequest, admission: Admission, sizes: SizeRange) -> bytes:
        content_md5, promised_hash = received.header("content-md5"), received.header("x-goog-hash")
        check_is_md5(content_md5)
        upload = self._begin_upload(sizes)
        async for chunk in body_of(request, received):
            upload.receive(chunk)
        body = upload.finish()
        payload = admission.payload
        if payload != "UNSIGNED-PAYLOAD" and not hmac.compare_digest(payload, hashlib.sha256(body).hexdigest()):
            raise Refusal(400, "BadDigest", "The x-goog-content-sha256 you specified did not match what we received.")
        check_md5(content_md5, body)
        _check_goog_hash(promised_hash, body)
        return body

    async def _put(self, request: Request, received: ReceivedRequest, target: Target) -> Response:
        admission = self._authenticate(received)
        condition = received.header("x-goog-if-generation-match")
        check_generation(condition, target.stored)
        self._store.require_writing(admission.key_id, target)
        sizes = _signed_range(received.header("x-goog-content-length-range"))
        body = await self._body(request, received, admission, sizes)
        # From here to the assignment nothing awaits: of concurrent creators one wins.
        check_generation(condition, target.stored)
        self._store.require_writing(admission.key_id, target)
        stored = self._store.store_as_sent(
            target, body, {name: received.header(name) or "" for name, _ in received.headers}
        )
        return Response(status_code=200, headers={"ETag": stored.xml_etag, **stored.identity_headers()})

    async def _post(self, request: Request, received: ReceivedRequest, target: Target) -> Response:
        admitted = await read_admitted_form(
            body_of(request, received),
            content_type=received.header("content-type") or "",
            admit=lambda fields, file_name: self._admit_form(fields, file_name, target),
        )
        body, fields = admitted.upload.finish(), admitted.fields
        destination = replace(target, key=fields["key"])
        self._store.require_writing(admitted.identity, destination)
        stored = self._store.store_as_sent(destination, body, fields)
        return posted_answer(
            received,
            bucket=target.name,
            key=destination.key,
            etag=stored.xml_etag,
            fields=fields,
            redirect=fields.get("success_action_redirect"),
        )

    def _admit_form(self, fields: dict[str, str], file_name: str, target: Target) -> _AdmittedForm:
        if "policy" not in fields:
            raise Refusal(403, "AccessDenied", "Anonymous caller does not have storage.objects.create access.")
        if not fields.get("key"):
            raise Refusal(400, "InvalidArgument", "Bucket POST must contain a field named 'key'.")
        now = self._store.clock()
        identity = self._judge.check_form(fields, now).key_id
        policy = PostPolicy.parse(fields["policy"], POLICY_DIALECT)
        expanded = {**fields, "key": fields["key"].replace("${filename}", base_name(file_name))}
        policy.check_expiry(now)
        policy.check_fields(expanded, bucket=target.name)
        check_name(expanded["key"])
        _refuse_unknown_goog(name.removeprefix("x-goog-") for name in expanded if name.startswith("x-goog-"))
        self._store.require_writing(identity, replace(target, key=expanded["key"]))
        return _AdmittedForm(fields=expanded, upload=self._begin_upload(policy.sizes), identity=identity)

    def _begin_upload(self, sizes: SizeRange) -> UploadBuffer:
        self.latest_upload = UploadBuffer(sizes=sizes)
        return self.latest_upload


@dataclass(frozen=True, kw_only=True)
class _AdmittedForm:
    fields: Mapping[str, str]
    upload: UploadBuffer
    identity: str


def _signed_range(header: str | None) -> SizeRange:
    if header is None:
        return SizeRange()
    lower, comma, upper = header.partition(",")
    if not (comma and lower.isdecimal() and upper.isdecimal() and int(lower) <= int(upper)):
        raise Refusal(400, "InvalidArgument", "x-goog-content-length-range must be MIN,MAX.")
    return SizeRange(min_bytes=int(lower), max_bytes=min(int(upper), LARGEST_UPLOAD_BYTES))


def _check_goog_hash(header: str | None, body: bytes) -> None:
    digests = {"md5": hashlib.md5(body).digest(), "crc32c": crc32c_of(body)}
    for item in (header or "").split(",") if header else []:
        name, _, promised = item.strip().partition("=")
        if name not in digests or not base64_or_empty(promised):
            raise Refusal(400, "InvalidDigest", "The x-goog-hash you specified is not valid.")
        if not is_digest(promised, digests[name]):
            raise Refusal(400, "BadDigest", "The x-goog-hash you specified did not match what we received.")


def _refuse_unknown(received: ReceivedRequest) -> None:
    for name, _ in received.query:
        if name in SUB_RESOURCES:
            raise Refusal(501, "NotImplemented", f"The sub-resource {name} is not part of this server.")


def _refuse_unknown_goog(names: Iterable[str]) -> None:
    for name in names:
        if name not in KNOWN_GOOG_NAMES and not name.startswith("meta-"):
            raise Refusal(501, "NotImplemented", f"x-goog-{name} is not part of this server.")
