"""Signing for S3: presign, boto3, minio-py, obstore, opendal and the raw floor, with one key pair and one bucket.

Each call signs another object, out of more of them than presign's caches hold. Where a library cannot bind what the
case asks for, it does less work, and its note says so. The floor is what any implementation must do: the JSON with the
standard library's encoder, base64, and the hashes, on a signing key derived once, with everything else constant.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import boto3
import obstore
import opendal
from botocore.config import Config
from minio import Minio
from minio.datatypes import PostPolicy
from obstore.store import S3Store

from bench.alternating import Case, Contender, Run, each, utc_now
from bench.targets import SpeedTarget, Target
from presign import Grant, Presigner, UploadPolicy, UploadRequest
from presign.s3 import S3Backend
from presign.signing import sigv4
from presign.signing.quoting import quote_path

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# The example key pair of the AWS documentation.
ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
BUCKET = "example-bucket"
REGION = "eu-central-1"
HOST = f"{BUCKET}.s3.{REGION}.amazonaws.com"
TYPE = "image/png"
MIN_BYTES, MAX_BYTES = 1, 10 * 2**20
LIFE = timedelta(seconds=60)
LIFE_SECONDS = 60
# More than the 4,096 paths that presign keeps quoted, so that none of them is found there.
OBJECTS = 8_192
PARTS = 10_000
PART_BYTES = 64 * 2**20
UPLOAD_ID = "VXBsb2FkIElEIGZvciA2aWWpbmcncyBteS1tb3ZpZS5tMnRzIHVwbG9hZA"

POST = "S3 POST, type and size range"
PUT = "S3 PUT, type and exact size"
GET = "S3 GET"
PART_URLS = f"S3 part URLs, {PARTS:,} with their size"

PRESIGN = "presign"
BOTO3 = "boto3"
FLOOR = "floor"
OBSTORE_PUT = "obstore (PUT)"

_HOST_ONLY = "signs the host only: neither type nor size"

TARGETS = [
    SpeedTarget(
        target=Target(what="S3 POST: boto3 by presign", relation="at least", bound=20),
        case=POST,
        slower=BOTO3,
        than=PRESIGN,
    ),
    SpeedTarget(
        target=Target(what="S3 POST: presign by its floor", relation="at most", bound=2),
        case=POST,
        slower=PRESIGN,
        than=FLOOR,
    ),
    SpeedTarget(
        target=Target(what="S3 POST: presign by obstore's PUT", relation="below", bound=1),
        case=POST,
        slower=PRESIGN,
        than=OBSTORE_PUT,
    ),
    SpeedTarget(
        target=Target(what=f"{PARTS:,} part URLs: boto3 by presign", relation="at least", bound=60),
        case=PART_URLS,
        slower=BOTO3,
        than=PRESIGN,
    ),
]


def cases() -> list[Case]:
    """Return the S3 cases, having checked that presign, boto3 and the floor sign the same constraints."""
    session = boto3.Session(aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name=REGION)
    client = session.client("s3", config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"}))
    minio = Minio(f"s3.{REGION}.amazonaws.com", access_key=ACCESS_KEY, secret_key=SECRET_KEY, region=REGION)
    store = S3Store(
        BUCKET,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        region=REGION,
        virtual_hosted_style_request=True,
    )
    operator = opendal.AsyncOperator(
        "s3",
        bucket=BUCKET,
        region=REGION,
        endpoint=f"https://s3.{REGION}.amazonaws.com",
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        enable_virtual_host_style="true",
        disable_config_load="true",
        disable_ec2_metadata="true",
    )
    keys = [f"public/{uuid.uuid4().hex}" for _ in range(OBJECTS)]
    floor = Floor()
    return [
        _post_case(session, client, minio, store, floor, keys),
        _put_case(session, client, minio, store, operator, floor, keys),
        _get_case(session, client, minio, store, operator, floor, keys),
        _part_case(client, minio, store, floor, keys),
    ]


class Floor:
    """The least that signing takes: one document or canonical request, and one HMAC under a key derived before."""

    def __init__(self) -> None:
        self._timestamp = utc_now().strftime("%Y%m%dT%H%M%SZ")
        self._expiration = (utc_now() + LIFE).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._scope = f"{self._timestamp[:8]}/{REGION}/s3/aws4_request"
        self._credential = f"{ACCESS_KEY}/{self._scope}"
        self._query_credential = self._credential.replace("/", "%2F")
        key = f"AWS4{SECRET_KEY}".encode()
        for part in self._scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._key = key

    def post(self, key: str) -> dict[str, str]:
        """Return a POST policy and its signature."""
        document = {
            "expiration": self._expiration,
            "conditions": [
                {"bucket": BUCKET},
                {"key": key},
                {"Content-Type": TYPE},
                {"success_action_status": "201"},
                {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
                {"x-amz-credential": self._credential},
                {"x-amz-date": self._timestamp},
                ["content-length-range", MIN_BYTES, MAX_BYTES],
            ],
        }
        policy = base64.b64encode(json.dumps(document).encode())
        signature = hmac.digest(self._key, policy, "sha256").hex()
        return {"policy": policy.decode(), "x-amz-signature": signature}

    def url(self, method: str, key: str, *, own: str = "", headers: str = "", names: str = "host") -> str:
        """Return a presigned URL; ``own``, ``headers`` and ``names`` are canonical and sorted already."""
        query = (
            f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={self._query_credential}&X-Amz-Date={self._timestamp}"
            f"&X-Amz-Expires={LIFE_SECONDS}&X-Amz-SignedHeaders={names.replace(';', '%3B')}{own}"
        )
        request = f"{method}\n/{key}\n{query}\n{headers}host:{HOST}\n\n{names}\nUNSIGNED-PAYLOAD"
        hashed = hashlib.sha256(request.encode()).hexdigest()
        string_to_sign = f"AWS4-HMAC-SHA256\n{self._timestamp}\n{self._scope}\n{hashed}"
        signature = hmac.digest(self._key, string_to_sign.encode(), "sha256").hex()
        return f"https://{HOST}/{key}?{query}&X-Amz-Signature={signature}"


def _post_case(
    session: boto3.Session, client: S3Client, minio: Minio, store: S3Store, floor: Floor, keys: list[str]
) -> Case:
    backend = S3Backend(bucket=BUCKET, session=session)
    policy = UploadPolicy(content_types={TYPE}, min_bytes=MIN_BYTES, max_bytes=MAX_BYTES, prefix="public/")
    presigner = Presigner(backend=backend, policy=policy, secret="a secret of at least sixteen bytes")

    def by_presign(grant: Grant) -> dict[str, str]:
        return dict(backend.sign_upload(grant, utc_now()).fields)

    def by_boto3(key: str) -> dict[str, str]:
        answer: dict[str, Any] = client.generate_presigned_post(
            BUCKET,
            key,
            Fields={"Content-Type": TYPE, "success_action_status": "201"},
            Conditions=[
                {"Content-Type": TYPE},
                {"success_action_status": "201"},
                ["content-length-range", MIN_BYTES, MAX_BYTES],
            ],
            ExpiresIn=LIFE_SECONDS,
        )
        fields: dict[str, str] = answer["fields"]
        return fields

    def by_minio(key: str) -> dict[str, str]:
        post = PostPolicy(BUCKET, utc_now() + LIFE)
        post.add_equals_condition("key", key)
        post.add_equals_condition("Content-Type", TYPE)
        post.add_equals_condition("success_action_status", "201")
        post.add_content_length_range_condition(MIN_BYTES, MAX_BYTES)
        return minio.presigned_post_policy(post)

    def whole_tickets(times: int) -> None:
        for _ in range(times):
            presigner.issue(UploadRequest(content_type=TYPE, size=48_213))

    grants = [_grant(key, min_bytes=MIN_BYTES) for key in keys]
    conditions = [_conditions(fields) for fields in (by_presign(grants[0]), by_boto3(keys[0]), floor.post(keys[0]))]
    _check_same(conditions)
    return Case(
        name=POST,
        contenders=[
            Contender(name=PRESIGN, run=each(grants, lambda grant: backend.sign_upload(grant, utc_now()))),
            Contender(name=FLOOR, run=each(keys, floor.post)),
            Contender(
                name="presign, whole ticket",
                run=whole_tickets,
                note="Presigner.issue: decides, makes the key, signs form and completion token",
            ),
            Contender(name=BOTO3, run=each(keys, by_boto3)),
            Contender(name="minio-py", run=each(keys, by_minio)),
            Contender(
                name=OBSTORE_PUT,
                run=each(keys, lambda key: obstore.sign(store, "PUT", key, LIFE)),
                note=f"has no POST; {_HOST_ONLY}",
            ),
        ],
    )


def _put_case(
    session: boto3.Session,
    client: S3Client,
    minio: Minio,
    store: S3Store,
    operator: opendal.AsyncOperator,
    floor: Floor,
    keys: list[str],
) -> Case:
    backend = S3Backend(bucket=BUCKET, session=session, upload_method="put")

    def by_boto3(key: str) -> str:
        return client.generate_presigned_url(
            "put_object",
            Params={"Bucket": BUCKET, "Key": key, "ContentType": TYPE, "ContentLength": MAX_BYTES},
            ExpiresIn=LIFE_SECONDS,
        )

    def by_floor(key: str) -> str:
        headers = f"content-length:{MAX_BYTES}\ncontent-type:{TYPE}\n"
        return floor.url("PUT", key, headers=headers, names="content-length;content-type;host")

    grants = [_grant(key, min_bytes=MAX_BYTES) for key in keys]
    _check_same(
        [_signed(backend.sign_upload(grants[0], utc_now()).url), _signed(by_boto3(keys[0])), _signed(by_floor(keys[0]))]
    )
    return Case(
        name=PUT,
        contenders=[
            Contender(name=PRESIGN, run=each(grants, lambda grant: backend.sign_upload(grant, utc_now()))),
            Contender(name=FLOOR, run=each(keys, by_floor)),
            Contender(name=BOTO3, run=each(keys, by_boto3)),
            Contender(
                name="minio-py",
                run=each(keys, lambda key: minio.presigned_put_object(BUCKET, key, LIFE)),
                note=_HOST_ONLY,
            ),
            Contender(
                name="obstore", run=each(keys, lambda key: obstore.sign(store, "PUT", key, LIFE)), note=_HOST_ONLY
            ),
            Contender(
                name="opendal",
                run=_awaited(keys, lambda key: operator.presign_write(key, LIFE_SECONDS, content_type=TYPE)),
                note="signs the type, not the size; awaited in an event loop, for it has no other way",
            ),
        ],
    )


def _get_case(
    session: boto3.Session,
    client: S3Client,
    minio: Minio,
    store: S3Store,
    operator: opendal.AsyncOperator,
    floor: Floor,
    keys: list[str],
) -> Case:
    backend = S3Backend(bucket=BUCKET, session=session)

    def by_boto3(key: str) -> str:
        return client.generate_presigned_url(
            "get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=LIFE_SECONDS
        )

    def by_presign(key: str) -> str:
        return backend.sign_download(key, utc_now(), expires_in=LIFE)

    _check_same([_signed(by_presign(keys[0])), _signed(by_boto3(keys[0])), _signed(floor.url("GET", keys[0]))])
    return Case(
        name=GET,
        contenders=[
            Contender(name=PRESIGN, run=each(keys, by_presign)),
            Contender(name=FLOOR, run=each(keys, lambda key: floor.url("GET", key))),
            Contender(name=BOTO3, run=each(keys, by_boto3)),
            Contender(name="minio-py", run=each(keys, lambda key: minio.presigned_get_object(BUCKET, key, LIFE))),
            Contender(name="obstore", run=each(keys, lambda key: obstore.sign(store, "GET", key, LIFE))),
            Contender(
                name="opendal",
                run=_awaited(keys, lambda key: operator.presign_read(key, LIFE_SECONDS)),
                note="awaited in an event loop, for it has no other way",
            ),
        ],
    )


def _part_case(client: S3Client, minio: Minio, store: S3Store, floor: Floor, keys: list[str]) -> Case:
    def by_presign(key: str) -> list[str]:
        timestamp = utc_now().strftime("%Y%m%dT%H%M%SZ")
        scope = sigv4.hmac_scope(
            access_key=ACCESS_KEY, secret_key=SECRET_KEY, date=timestamp[:8], region=REGION, service="s3"
        )
        path = f"/{quote_path(key)}"
        terms = sigv4.UrlSigner(scope=scope, timestamp=timestamp, expires_seconds=LIFE_SECONDS)
        signer = sigv4.RequestSeriesSigner(
            terms, method="PUT", host=HOST, path=path, headers={"content-length": str(PART_BYTES)}
        )
        return [
            f"https://{HOST}{path}?{signer.sign((('partNumber', str(part)), ('uploadId', UPLOAD_ID)))}"
            for part in range(1, PARTS + 1)
        ]

    def by_floor(key: str) -> list[str]:
        headers = f"content-length:{PART_BYTES}\n"
        return [
            floor.url(
                "PUT",
                key,
                own=f"&partNumber={part}&uploadId={UPLOAD_ID}",
                headers=headers,
                names="content-length;host",
            )
            for part in range(1, PARTS + 1)
        ]

    def by_boto3(key: str) -> list[str]:
        return [
            client.generate_presigned_url(
                "upload_part",
                Params={
                    "Bucket": BUCKET,
                    "Key": key,
                    "PartNumber": part,
                    "UploadId": UPLOAD_ID,
                    "ContentLength": PART_BYTES,
                },
                ExpiresIn=LIFE_SECONDS,
            )
            for part in range(1, PARTS + 1)
        ]

    def by_minio(key: str) -> list[str]:
        return [
            minio.get_presigned_url(
                "PUT",
                BUCKET,
                key,
                expires=LIFE,
                extra_query_params={"partNumber": str(part), "uploadId": UPLOAD_ID},
            )
            for part in range(1, PARTS + 1)
        ]

    _check_same([_signed(urls(keys[0])[-1]) for urls in (by_presign, by_floor)])
    return Case(
        name=PART_URLS,
        contenders=[
            Contender(name=PRESIGN, run=each(keys, by_presign)),
            Contender(name=FLOOR, run=each(keys, by_floor)),
            Contender(name=BOTO3, run=each(keys, by_boto3)),
            Contender(name="minio-py", run=each(keys, by_minio), note="does not sign the size"),
            Contender(
                name="obstore (whole PUTs)",
                run=each(keys, lambda key: obstore.sign(store, "PUT", [key] * PARTS, LIFE)),
                note=f"signs no parts: as many whole PUTs in one call, on threads of its own; {_HOST_ONLY}",
            ),
        ],
        most_rounds=7,
    )


def _grant(key: str, *, min_bytes: int) -> Grant:
    return Grant(key=key, content_type=TYPE, min_bytes=min_bytes, max_bytes=MAX_BYTES, expires_in=LIFE)


def _awaited(keys: list[str], call: Callable[[str], Awaitable[object]]) -> Run:
    endless = cycle(keys)
    loop = asyncio.new_event_loop()

    async def calls(times: int) -> None:
        for key in islice(endless, times):
            await call(key)

    return lambda times: loop.run_until_complete(calls(times))


def _conditions(fields: dict[str, str]) -> object:
    document = json.loads(base64.b64decode(fields["policy"]))
    return sorted(json.dumps(each) for each in document["conditions"] if "x-amz-date" not in each)


def _signed(url: str) -> object:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    changing = {"X-Amz-Date", "X-Amz-Signature"}
    return (
        parts.netloc.split(".")[0],
        parts.path,
        {name: value for name, value in query.items() if name not in changing},
    )


def _check_same(signed: list[object]) -> None:
    if any(each != signed[0] for each in signed):
        raise AssertionError(f"the contenders do not sign the same: {signed}")
