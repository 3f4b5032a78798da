"""The S3 reference with two identities, in good order until a test plants one fault; and an examination of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import lru_cache
from typing import Any

import boto3
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emulators.cors import CorsRule
from emulators.s3_bucket import S3Bucket
from emulators.s3_lifecycle import LifecycleRule
from emulators.s3_reference import S3Reference
from emulators.s3_rights import Leniency, Right
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from presign.doctor import Report, examine
from presign.s3 import S3Backend

ORIGIN = "http://localhost:8080"
BUCKET = "uploads"
SECRETS = {"AKIASIGNER": "the-signers-secret-key", "AKIAVERIFIER": "the-verifiers-secret-key"}
CORS = CorsRule(
    allowed_origins=(ORIGIN,),
    allowed_methods=("GET", "PUT", "POST"),
    allowed_headers=("*",),
    expose_headers=("ETag", "Location"),
)


@lru_cache
def session_of(access_key: str) -> boto3.Session:
    """A session reads the descriptions of AWS's services anew, which takes longer than an examination."""
    return boto3.Session(access_key, SECRETS[access_key])


def right(*actions: str, prefix: str = "", **limits: Any) -> Right:
    return Right(actions=frozenset(actions), bucket=BUCKET, prefix=prefix, **limits)


SIGNS = right("PutObject", "ListMultipartUploadParts", "AbortMultipartUpload", prefix="pending/", never_copies=True)
READS_AND_DELETES = right("GetObject", "GetObjectVersion", "DeleteObject", prefix="pending/")
DELETES_VERSIONS = right("DeleteObjectVersion", prefix="pending/")
LISTS = right("ListBucket")
PUBLISHES = right("PutObject", prefix="public/", copies_only_from=f"{BUCKET}/pending/")
# Only so that the doctor can delete what it publishes; see test_s3_good.py for a verifier without it.
READS_AND_DELETES_PUBLISHED = right("GetObject", "DeleteObject", prefix="public/")
VERIFIES = (READS_AND_DELETES, DELETES_VERSIONS, LISTS, PUBLISHES, READS_AND_DELETES_PUBLISHED)


@dataclass(frozen=True, kw_only=True)
class Set:
    """A set-up of the store; the defaults are good."""

    lenient: frozenset[Leniency] = frozenset()
    signer: Sequence[Right] = (SIGNS,)
    verifier: Sequence[Right] = VERIFIES
    bucket: Mapping[str, Any] = field(default_factory=dict)
    ahead: timedelta = timedelta()
    options: Mapping[str, Any] = field(default_factory=dict)
    examination: Mapping[str, Any] = field(default_factory=dict)
    two_identities: bool = True


@dataclass(kw_only=True)
class Watch:
    """How many requests came, and how many a test waits for; from then on each takes a while."""

    expected: int | None = None
    seen: int = 0
    reached: threading.Event = field(default_factory=threading.Event)

    async def count(self) -> None:
        self.seen += 1
        if self.expected is not None and self.seen >= self.expected:
            self.reached.set()
            await asyncio.sleep(0.1)


@dataclass(frozen=True, kw_only=True)
class Running:
    """The running store."""

    url: str
    bucket: S3Bucket = field(repr=False)
    rights: dict[str, Sequence[Right]] = field(repr=False)
    watch: Watch = field(repr=False)
    setting: Set

    def backend(self, **options: Any) -> S3Backend:
        sessions: dict[str, Any] = {"session": session_of("AKIAVERIFIER")}
        if self.setting.two_identities:
            sessions = {"session": session_of("AKIASIGNER"), "verifier_session": sessions["session"]}
        values: dict[str, Any] = {"bucket": BUCKET, "region": "us-east-1", "endpoint_url": self.url, **sessions}
        # As on Amazon S3, whose answers the reference gives.
        values["sign_guards"] = False
        return S3Backend(**{**values, **self.setting.options, **options})

    def examine(self, *, backend: S3Backend | None = None, **options: Any) -> Report:
        values: dict[str, Any] = {"prefix": "public/", "origin": ORIGIN, "public_read": True}
        return examine(backend or self.backend(), **{**values, **self.setting.examination, **options})

    def left(self) -> list[str]:
        """Return the objects and the unfinished uploads that are in the bucket."""
        return [*self.bucket.objects, *(upload.key for upload in self.bucket.uploads.values())]


@contextmanager
def run_store(setting: Set) -> Iterator[Running]:
    lifecycle = (
        LifecycleRule(rule_id="AbortIncompleteUploads", abort_after_days=8),
        LifecycleRule(rule_id="ExpirePending", prefix="pending/", expire_after_days=9),
    )
    values: dict[str, Any] = {"cors": (CORS,), "public_prefix": "public/", "lifecycle": lifecycle}
    bucket = S3Bucket(**{**values, **setting.bucket})
    rights: dict[str, Sequence[Right]] = {"AKIASIGNER": setting.signer, "AKIAVERIFIER": setting.verifier}
    watch = Watch()
    app = S3Reference(
        buckets={BUCKET: bucket},
        access_keys={name: HmacKey(secret=secret) for name, secret in SECRETS.items()},
        rights=rights,
        lenient=setting.lenient,
        clock=lambda: datetime.now(timezone.utc) + setting.ahead,
    )
    with serve(_dated(app, setting.ahead, watch), dates_answers=False) as url:
        yield Running(url=url, bucket=bucket, rights=app.rights, watch=watch, setting=setting)


def _dated(app: ASGIApp, ahead: timedelta, watch: Watch) -> ASGIApp:
    """Give each answer a Date by the store's own clock."""

    async def dated(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = format_datetime(datetime.now(timezone.utc) + ahead, usegmt=True)
                message["headers"] = [*message["headers"], (b"date", date.encode())]
            await send(message)

        await watch.count()
        await app(scope, receive, send_dated)

    return dated
