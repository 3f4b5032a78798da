"""Signatures for S3: presign, boto3, minio-py, obstore, opendal, and code written by hand for this one case.

All use one key pair and one bucket. Where a library cannot sign all that the case asks for, a note says so. The
hand-written code derives its signing key once, keeps the time constant and checks nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import obstore
import opendal
from botocore.config import Config
from minio import Minio
from minio.datatypes import PostPolicy
from obstore.store import S3Store

from bench import sign_case
from bench.sign_case import HAND_WRITTEN, HOST_ONLY, LIFETIME, MAX_BYTES, PRESIGN, TYPE, Awaited, SigningCase, utc_now
from presign import Grant, GrantInParts, PartRequest, Presigner, UploadPolicy, UploadRequest
from presign.parts import MAX_PARTS_AT_ONCE
from presign.s3 import S3Backend
from presign.tokens import CompletionTokens

# The example key pair of the AWS documentation.
ACCESS_KEY, SECRET_KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
BUCKET = "example-bucket"
REGION = "eu-central-1"
HOST = f"{BUCKET}.s3.{REGION}.amazonaws.com"
LIFETIME_SECONDS = int(LIFETIME.total_seconds())
PARTS = range(1, 10_001)
PART_BYTES = 64 * 2**20
UPLOAD_ID = "VXBsb2FkIElEIGZvciA2aWWpbmcncyBteS1tb3ZpZS5tMnRzIHVwbG9hZA"
PART_URLS = f"S3 part URLs, {len(PARTS):,} with their size"

# What a form is signed for beside bucket and key.
_FIELDS = {"Content-Type": TYPE, "success_action_status": "201"}
_SIZE_RANGE = ["content-length-range", sign_case.MIN_BYTES, MAX_BYTES]
_AWAITED = "awaited in an event loop, because it has no other interface"


def cases() -> list[SigningCase]:
    """Return the cases; raises AssertionError if presign, boto3 and the hand-written code do not sign the same."""
    session = boto3.Session(ACCESS_KEY, SECRET_KEY, region_name=REGION)
    client = session.client("s3", config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"}))
    minio = Minio(f"s3.{REGION}.amazonaws.com", access_key=ACCESS_KEY, secret_key=SECRET_KEY, region=REGION)
    keys: Any = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "region": REGION}
    store = S3Store(BUCKET, **keys, virtual_hosted_style_request=True)
    operator = opendal.AsyncOperator(
        "s3",
        bucket=BUCKET,
        endpoint=f"https://s3.{REGION}.amazonaws.com",
        **keys,
        enable_virtual_host_style="true",
        disable_config_load="true",
        disable_ec2_metadata="true",
    )
    by_hand = _HandWritten()
    by_post, by_put = (S3Backend(bucket=BUCKET, session=session, upload_method=each) for each in ("post", "put"))
    policy = UploadPolicy(content_types={TYPE}, max_bytes=MAX_BYTES, prefix="public/")
    presigner = Presigner(backend=by_post, policy=policy, secret="a secret of at least sixteen bytes")

    def boto3_form(grant: Grant) -> dict[str, Any]:
        conditions: list[Any] = [*({name: value} for name, value in _FIELDS.items()), _SIZE_RANGE]
        return client.generate_presigned_post(
            BUCKET, grant.key, Fields=dict(_FIELDS), Conditions=conditions, ExpiresIn=LIFETIME_SECONDS
        )

    def boto3_url(operation: str, grant: Grant, **parameters: object) -> str:
        everything = {"Bucket": BUCKET, "Key": grant.key, **parameters}
        return client.generate_presigned_url(operation, Params=everything, ExpiresIn=LIFETIME_SECONDS)

    def boto3_part(grant: Grant, part: int) -> str:
        return boto3_url("upload_part", grant, PartNumber=part, UploadId=UPLOAD_ID, ContentLength=PART_BYTES)

    def minio_form(grant: Grant) -> dict[str, str]:
        policy = PostPolicy(BUCKET, utc_now() + LIFETIME)
        for name, value in {"key": grant.key, **_FIELDS}.items():
            policy.add_equals_condition(name, value)
        policy.add_content_length_range_condition(sign_case.MIN_BYTES, MAX_BYTES)
        return minio.presigned_post_policy(policy)

    def minio_part(grant: Grant, part: int) -> str:
        query: Any = {"partNumber": str(part), "uploadId": UPLOAD_ID}
        return minio.get_presigned_url("PUT", BUCKET, grant.key, expires=LIFETIME, extra_query_params=query)

    post = SigningCase(
        name="S3 POST, type and size range",
        signers={
            PRESIGN: lambda grant: by_post.sign_upload(grant, utc_now()),
            HAND_WRITTEN: by_hand.form,
            "presign, whole ticket": lambda grant: presigner.issue(UploadRequest(content_type=TYPE, size=48_213)),
            "boto3": boto3_form,
            "minio-py": minio_form,
            "obstore (PUT)": lambda grant: obstore.sign(store, "PUT", grant.key, LIFETIME),
        },
        notes={
            "presign, whole ticket": "Presigner.issue decides, makes the key, and signs form and completion token",
            "obstore (PUT)": f"has no POST; {HOST_ONLY}",
        },
        bounds=[
            ("boto3", "at least", 20, PRESIGN),
            (PRESIGN, "at most", 2, HAND_WRITTEN),
            (PRESIGN, "below", 1, "obstore (PUT)"),
        ],
    )
    put = SigningCase(
        name="S3 PUT, type and exact size",
        min_bytes=MAX_BYTES,
        signers={
            PRESIGN: lambda grant: by_put.sign_upload(grant, utc_now()),
            HAND_WRITTEN: by_hand.put,
            "boto3": lambda grant: boto3_url("put_object", grant, ContentType=TYPE, ContentLength=MAX_BYTES),
            "minio-py": lambda grant: minio.presigned_put_object(BUCKET, grant.key, LIFETIME),
            "obstore": lambda grant: obstore.sign(store, "PUT", grant.key, LIFETIME),
            "opendal": Awaited(
                call=lambda grant: operator.presign_write(grant.key, LIFETIME_SECONDS, content_type=TYPE)
            ),
        },
        notes={
            "minio-py": HOST_ONLY,
            "obstore": HOST_ONLY,
            "opendal": f"signs the type, not the size; {_AWAITED}",
        },
    )
    get = SigningCase(
        name="S3 GET",
        signers={
            PRESIGN: lambda grant: by_post.sign_download(grant.key, utc_now(), expires_in=LIFETIME),
            HAND_WRITTEN: lambda grant: by_hand.url("GET", grant),
            "boto3": lambda grant: boto3_url("get_object", grant),
            "minio-py": lambda grant: minio.presigned_get_object(BUCKET, grant.key, LIFETIME),
            "obstore": lambda grant: obstore.sign(store, "GET", grant.key, LIFETIME),
            "opendal": Awaited(call=lambda grant: operator.presign_read(grant.key, LIFETIME_SECONDS)),
        },
        notes={"opendal": _AWAITED},
    )
    parts = SigningCase(
        name=PART_URLS,
        signers={
            PRESIGN: _presign_parts(by_put),
            HAND_WRITTEN: by_hand.parts,
            "boto3": lambda grant: [boto3_part(grant, part) for part in PARTS],
            "minio-py": lambda grant: [minio_part(grant, part) for part in PARTS],
            "obstore (whole PUTs)": lambda grant: obstore.sign(store, "PUT", [grant.key] * len(PARTS), LIFETIME),
        },
        notes={
            "minio-py": "does not sign the size",
            "obstore (whole PUTs)": f"signs no parts; as many whole PUTs in one call, on its own threads; {HOST_ONLY}",
        },
        bounds=[("boto3", "at least", 60, PRESIGN)],
        max_rounds=7,
    )
    _check_same(post, _conditions)
    _check_same(put, _signed_parameters)
    _check_same(get, _signed_parameters)
    _check_same(parts, lambda urls: _signed_parameters(urls[-1]), (PRESIGN, HAND_WRITTEN))
    return [post, put, get, parts]


class _HandWritten:
    """The least that a signature takes: the standard library, a signing key derived before, and no checks."""

    def __init__(self) -> None:
        self._timestamp = utc_now().strftime("%Y%m%dT%H%M%SZ")
        self._expiration = (utc_now() + LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._scope = f"{self._timestamp[:8]}/{REGION}/s3/aws4_request"
        self._credential = f"{ACCESS_KEY}/{self._scope}"
        self._query_credential = self._credential.replace("/", "%2F")
        self._key = f"AWS4{SECRET_KEY}".encode()
        for part in self._scope.split("/"):
            self._key = hmac.digest(self._key, part.encode(), "sha256")

    def form(self, grant: Grant) -> dict[str, str]:
        conditions = [
            {"bucket": BUCKET},
            {"key": grant.key},
            {"Content-Type": TYPE},
            {"success_action_status": "201"},
            {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
            {"x-amz-credential": self._credential},
            {"x-amz-date": self._timestamp},
            _SIZE_RANGE,
        ]
        return sign_case.sign_policy(conditions, expiration=self._expiration, key=self._key)

    def put(self, grant: Grant) -> str:
        headers = f"content-length:{MAX_BYTES}\ncontent-type:{TYPE}\n"
        return self.url("PUT", grant, headers=headers, names="content-length;content-type;host")

    def parts(self, grant: Grant) -> list[str]:
        headers, names = f"content-length:{PART_BYTES}\n", "content-length;host"
        queries = (f"&partNumber={part}&uploadId={UPLOAD_ID}" for part in PARTS)
        return [self.url("PUT", grant, query=query, headers=headers, names=names) for query in queries]

    def url(self, method: str, grant: Grant, *, query: str = "", headers: str = "", names: str = "host") -> str:
        """Return a presigned URL; ``query``, ``headers`` and ``names`` are in canonical form already."""
        query = (
            f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={self._query_credential}&X-Amz-Date={self._timestamp}"
            f"&X-Amz-Expires={LIFETIME_SECONDS}&X-Amz-SignedHeaders={names.replace(';', '%3B')}{query}"
        )
        request = f"{method}\n/{grant.key}\n{query}\n{headers}host:{HOST}\n\n{names}\nUNSIGNED-PAYLOAD"
        hashed = hashlib.sha256(request.encode()).hexdigest()
        string_to_sign = f"AWS4-HMAC-SHA256\n{self._timestamp}\n{self._scope}\n{hashed}"
        signature = hmac.digest(self._key, string_to_sign.encode(), "sha256").hex()
        return f"https://{HOST}/{grant.key}?{query}&X-Amz-Signature={signature}"


def _presign_parts(backend: S3Backend) -> Callable[[Grant], list[PartRequest]]:
    """Return what signs all parts of an upload as a client asks for them: by its token, and for 100 at a time."""
    secret = "a secret of at least sixteen bytes"
    policy = UploadPolicy(
        content_types={TYPE},
        max_bytes=len(PARTS) * PART_BYTES,
        prefix="",
        pending_prefix=None,
        part_bytes=PART_BYTES,
        expires_in=LIFETIME,
        max_expires_in=LIFETIME,
    )
    presigner = Presigner(backend=backend, policy=policy, secret=secret, name="parts")
    tokens = CompletionTokens(secret, kind="parts", storage=backend.name)

    def sign(grant: Grant) -> list[PartRequest]:
        size = len(PARTS) * PART_BYTES
        begun = GrantInParts.of(
            replace(grant, min_bytes=size, max_bytes=size, pending_key=None),
            upload_id=UPLOAD_ID,
            part_bytes=PART_BYTES,
            needs_sha256=False,
            resumable_until=utc_now().replace(microsecond=0) + policy.resumable_for,
        )
        token = tokens.issue_in_parts(begun)
        batches = [PARTS[first : first + MAX_PARTS_AT_ONCE] for first in range(0, len(PARTS), MAX_PARTS_AT_ONCE)]
        return [request for batch in batches for request in presigner.sign_parts(token, batch).requests]

    return sign


def _check_same(
    case: SigningCase, signed: Callable[[Any], object], names: Sequence[str] = (PRESIGN, HAND_WRITTEN, "boto3")
) -> None:
    [grant, *_] = sign_case.new_grants(min_bytes=case.min_bytes)
    signers: Mapping[str, Any] = case.signers
    seen = {name: signed(signers[name](grant)) for name in names}
    if any(each != seen[PRESIGN] for each in seen.values()):
        raise AssertionError(f"{case.name}: these do not sign the same: {seen}")


def _conditions(form: Any) -> object:
    fields = getattr(form, "fields", None) or form.get("fields", form)
    document = json.loads(base64.b64decode(fields["policy"]))
    return sorted(json.dumps(each) for each in document["conditions"] if "x-amz-date" not in each)


def _signed_parameters(upload: Any) -> object:
    parts = urlsplit(getattr(upload, "url", upload))
    query = {**parse_qs(parts.query), "X-Amz-Date": None, "X-Amz-Signature": None}
    return parts.netloc.partition(".")[0], parts.path, query
