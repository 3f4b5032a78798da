"""A strict Cloud Storage in memory: the XML API with V4 signatures, and the slice of the JSON API that its SDK uses.

XML API: signed POST policies, signed PUT, GET, HEAD and DELETE (GOOG4-RSA-SHA256 with service accounts' public keys,
GOOG4-HMAC-SHA256 with HMAC keys), anonymous GET of a public prefix, bucket CORS rules. JSON API: bucket and object
metadata, download, delete, and the token endpoint that gives a bearer token for a service account's signed assertion.
As in Cloud Storage, `x-goog-*` constraints bind only as headers: in the query they are signed and without effect.

    python -m emulators.gcs_reference --port 4443 --bucket uploads --credentials account.json --generate
        --allow-origin http://localhost:8080 --public-prefix public/

Sources: Cloud Storage, "PUT Object", "POST Object", "GET Object", "HTTP headers and common query string parameters for
XML API", "HTTP status and error codes for XML", "Signed URLs", JSON API reference "Objects"; Google Identity, "Using
OAuth 2.0 for Server to Server Applications". The list of errors names the code of a failed POST policy; that an expired
one has the same is an assumption.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import google_crc32c
import uvicorn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from emulators.body_digest import base64_or_empty, check_is_md5, check_md5, is_digest
from emulators.cors import CorsRule, Preflight, share
from emulators.form_stream import FileSink, base_name, read_form
from emulators.object_answer import posted_answer, read_answer
from emulators.post_policy import PolicyDialect, PostPolicy
from emulators.received_request import ReceivedRequest, Refusal, body_of, current_time, error_answer, percent_decoded
from emulators.signature_v4 import GOOG4, Admission, HmacKey, Judge, RsaKey
from emulators.upload_buffer import LARGEST_UPLOAD_BYTES, SizeRange, UploadBuffer

POLICY_DIALECT = PolicyDialect(
    exempt=frozenset({"x-goog-signature", "file", "policy"}),
    malformed=(400, "InvalidPolicyDocument"),
    failed=(400, "InvalidPolicyDocument"),
    expired=(400, "InvalidPolicyDocument"),
)

METADATA_PREFIX = "x-goog-meta-"
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
TOKEN_LIFETIME = timedelta(hours=1)
# google-auth names this audience whatever the account's token_uri is.
GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"
ASSERTION_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True, kw_only=True)
class GcsObject:
    """One generation of an object."""

    body: bytes = field(repr=False)
    generation: int
    created: datetime
    content_type: str
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    metadata: Mapping[str, str]
    metageneration: int = 1

    @property
    def md5_hash(self) -> str:
        return base64.b64encode(hashlib.md5(self.body).digest()).decode()

    @property
    def crc32c(self) -> str:
        return base64.b64encode(_crc32c(self.body)).decode()

    @property
    def xml_etag(self) -> str:
        """The XML API's ETag: the MD5 in hexadecimal and quotes."""
        return f'"{hashlib.md5(self.body).hexdigest()}"'

    @property
    def json_etag(self) -> str:
        """The JSON API's etag: opaque, another for each generation."""
        return base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode()

    def headers(self) -> dict[str, str]:
        optional = {
            "cache-control": self.cache_control,
            "content-disposition": self.content_disposition,
            "content-encoding": self.content_encoding,
        }
        return {
            "content-type": self.content_type,
            "last-modified": format_datetime(self.created, usegmt=True),
            **{name: value for name, value in optional.items() if value is not None},
            **self.identity_headers(),
            **{METADATA_PREFIX + name: value for name, value in self.metadata.items()},
        }

    def identity_headers(self) -> dict[str, str]:
        return {
            "x-goog-generation": str(self.generation),
            "x-goog-metageneration": str(self.metageneration),
            "x-goog-hash": f"crc32c={self.crc32c},md5={self.md5_hash}",
            "x-goog-stored-content-encoding": self.content_encoding or "identity",
            "x-goog-stored-content-length": str(len(self.body)),
        }

    def resource(self, bucket: str, name: str) -> dict[str, Any]:
        """The JSON API's representation."""
        created = self.created.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        optional = {
            "cacheControl": self.cache_control,
            "contentDisposition": self.content_disposition,
            "contentEncoding": self.content_encoding,
            "metadata": dict(self.metadata) or None,
        }
        return {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{self.generation}",
            "bucket": bucket,
            "name": name,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "contentType": self.content_type,
            "size": str(len(self.body)),
            "md5Hash": self.md5_hash,
            "crc32c": self.crc32c,
            "etag": self.json_etag,
            "storageClass": "STANDARD",
            "timeCreated": created,
            "updated": created,
            **{member: value for member, value in optional.items() if value is not None},
        }


@dataclass(kw_only=True)
class GcsBucket:
    """Objects by name, CORS rules, and the prefix that anybody may read (None: nobody)."""

    objects: dict[str, GcsObject] = field(default_factory=dict)
    cors: tuple[CorsRule, ...] = ()
    public_prefix: str | None = None


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
        self._accounts = dict(service_accounts or {})
        rsa_keys = {email: RsaKey(public_key=key) for email, key in self._accounts.items()}
        secret_keys = {
            access_id: HmacKey(secret=secret, algorithm="GOOG4-HMAC-SHA256")
            for access_id, secret in (hmac_keys or {}).items()
        }
        self._judge = Judge(dialect=GOOG4, keys={**rsa_keys, **secret_keys})
        self._bearer_tokens = bearer_tokens
        self._issued_tokens: dict[str, datetime] = {}
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
            return await self._token(request)
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

    def _authenticate(self, received: ReceivedRequest) -> Admission:
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
        payload = self._authenticate(received).payload
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
        policy.check_expiry(now)
        policy.check_fields(expanded, bucket=bucket)
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
        self._check_bearer(received)
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

    def _check_bearer(self, received: ReceivedRequest) -> None:
        authorization = received.header("authorization")
        if authorization is None and self._anonymous_json:
            return
        scheme, _, token = (authorization or "").partition(" ")
        issued_until = self._issued_tokens.get(token)
        is_valid = token in self._bearer_tokens or (issued_until is not None and self._clock() < issued_until)
        if scheme.lower() != "bearer" or not is_valid:
            raise Refusal(401, "authError", "Invalid Credentials")

    async def _token(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode("latin-1"))
        try:
            if form.get("grant_type") != [ASSERTION_GRANT]:
                raise ValueError("unsupported grant type")
            self._check_assertion(form.get("assertion", [""])[0], own_url=str(request.url))
        except (ValueError, KeyError, TypeError, InvalidSignature):
            return JSONResponse({"error": "invalid_grant", "error_description": "Invalid JWT"}, status_code=400)
        token = secrets.token_urlsafe(24)
        self._issued_tokens[token] = self._clock() + TOKEN_LIFETIME
        seconds = int(TOKEN_LIFETIME.total_seconds())
        return JSONResponse({"access_token": token, "expires_in": seconds, "token_type": "Bearer"})

    def _check_assertion(self, assertion: str, *, own_url: str) -> None:
        header, claims, signature = assertion.split(".")
        if json.loads(_base64url_decoded(header)).get("alg") != "RS256":
            raise ValueError("unsupported algorithm")
        claimed = json.loads(_base64url_decoded(claims))
        public_key = self._accounts[claimed["iss"]]
        public_key.verify(_base64url_decoded(signature), f"{header}.{claims}".encode(), PKCS1v15(), SHA256())
        now = self._clock().timestamp()
        if not claimed["iat"] - 300 <= now < claimed["exp"] <= claimed["iat"] + 3600:
            raise ValueError("not valid at this time")
        if claimed["aud"] not in (GOOGLE_TOKEN_URI, own_url):
            raise ValueError("meant for somebody else")


@dataclass(frozen=True, kw_only=True)
class _AdmittedForm:
    fields: Mapping[str, str]
    upload: UploadBuffer


def _crc32c(body: bytes) -> bytes:
    return int(google_crc32c.value(body)).to_bytes(4, "big")


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
    digests = {"md5": hashlib.md5(body).digest(), "crc32c": _crc32c(body)}
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


def _base64url_decoded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not Base64") from error


def _json_error(refusal: Refusal) -> Response:
    detail = {"message": refusal.message, "domain": "global", "reason": refusal.code}
    error = {"code": refusal.status, "message": refusal.message, "errors": [detail]}
    return JSONResponse({"error": error}, status_code=refusal.status)


def page_rule(*origins: str) -> CorsRule:
    """What a page needs to upload with any ticket: the methods and headers of signed requests."""
    return CorsRule(
        allowed_origins=origins,
        allowed_methods=("GET", "HEAD", "POST", "PUT"),
        allowed_headers=("cache-control", "content-disposition", "content-md5", "content-type", "x-goog-*"),
        expose_headers=("ETag", "Location", "x-goog-generation"),
        max_age_seconds=3600,
    )


def generate_credentials(path: Path, *, token_uri: str) -> None:
    """Write a service account's JSON that only its owner may read; a key that is there already stays."""
    if path.exists():
        account = {**json.loads(path.read_text()), "token_uri": token_uri}
    else:
        pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {
            "type": "service_account",
            "project_id": "reference",
            "private_key_id": secrets.token_hex(20),
            "private_key": pem.decode(),
            "client_email": "signer@reference.iam.gserviceaccount.com",
            "client_id": "100000000000000000001",
            "token_uri": token_uri,
        }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(account, file, indent=2)


def trusted_account(path: Path) -> dict[str, rsa.RSAPublicKey]:
    """The client e-mail and public key of a service account's JSON."""
    account = json.loads(path.read_text())
    key = serialization.load_pem_private_key(account["private_key"].encode(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"{path}: private_key is not an RSA key")
    return {account["client_email"]: key.public_key()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve one bucket until interrupted; the first line of output is the base URL, from then on connections work."""
    parser = argparse.ArgumentParser(prog="python -m emulators.gcs_reference")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--bucket", required=True)
    parser.add_argument(
        "--credentials", type=Path, required=True, help="a service account's JSON, whose key is trusted"
    )
    parser.add_argument("--generate", action="store_true", help="write --credentials first, pointing to this server")
    parser.add_argument("--allow-origin", action="append", default=[], help="a page's origin; may be repeated")
    parser.add_argument("--public-prefix", help="object names that anybody may read")
    parser.add_argument("--anonymous-json", action="store_true", help="no bearer token needed, as with an emulator")
    options = parser.parse_args(arguments)
    listener = socket.create_server((options.host, options.port), backlog=512)
    url = f"http://{options.host}:{listener.getsockname()[1]}"
    if options.generate:
        generate_credentials(options.credentials, token_uri=f"{url}/token")
    bucket = GcsBucket(
        cors=(page_rule(*options.allow_origin),) if options.allow_origin else (), public_prefix=options.public_prefix
    )
    app = GcsReference(
        buckets={options.bucket: bucket},
        service_accounts=trusted_account(options.credentials),
        anonymous_json=options.anonymous_json,
    )
    print(url, flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off")).run(sockets=[listener])


if __name__ == "__main__":
    main()
