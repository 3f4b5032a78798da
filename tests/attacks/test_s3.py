"""Every attack on an upload in parts: on SeaweedFS, and on the reference for Amazon S3."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import boto3
import pytest

from demo_server.storages.local_storage import BUCKET, PENDING_PREFIX, PUBLIC_PREFIX, REGION
from emulators.s3_bucket import S3Bucket
from emulators.s3_parts import PartLimits
from emulators.s3_reference import S3Reference
from emulators.s3_rights import MINIO, Leniency
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from emulators.wire import Attempt
from presign import Ticket
from presign.errors import Rejected, UploadEnded
from presign.s3 import S3Backend
from tests.attacks.scene import OTHER_TAIL, OWNER, SECRET, TAIL, TOKEN_ROWS, MultipartScene, Row, one
from tests.conftest import Store
from tests.small_parts import PART_BYTES, SmallPartsBackend

SMALL_BYTES = 64
REFERENCE, SEAWEEDFS = "the S3 reference", "SeaweedFS"


class S3Scene(MultipartScene):
    def __init__(self, store: Store, backend: Any, *, part_bytes: int, hashed: bool = False) -> None:
        self.store = store
        super().__init__(backend, part_bytes=part_bytes, server=store.name, hashed=hashed)

    def public(self) -> dict[str, str]:
        pages = self.store.admin.get_paginator("list_objects_v2").paginate(
            Bucket=self.store.bucket, Prefix=PUBLIC_PREFIX
        )
        return {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", [])}

    def read_public(self, key: str) -> bytes:
        content: bytes = self.store.admin.get_object(Bucket=self.store.bucket, Key=key)["Body"].read()
        return content

    def delete_public(self, key: str) -> None:
        self.store.admin.delete_object(Bucket=self.store.bucket, Key=key)

    def pending_url(self, ticket: Ticket) -> str:
        return f"{self.store.endpoint_url}/{self.store.bucket}/{self.pending_key(ticket)}"

    def path(self, key: str, bucket: str | None = None) -> str:
        return f"/{bucket or self.store.bucket}/{key}"

    def store_secret(self) -> None:
        self.store.admin.put_object(Bucket=self.store.bucket, Key=SECRET, Body=b"a secret".ljust(len(TAIL)))


def _headers(**values: str) -> Callable[[S3Scene], Attempt]:
    def attempt(scene: S3Scene) -> Attempt:
        scene.store_secret()
        sent = scene.part()
        for name, value in values.items():
            sent = sent.with_header(name.replace("_", "-"), value.format(bucket=scene.store.bucket, secret=SECRET))
        return sent

    return attempt


def _parameter(name: str, value: str = "") -> Callable[[S3Scene], Attempt]:
    return lambda scene: scene.part().with_another_parameter(name, value)


def _replays(name: str, body: bytes, taken_when: dict[str, Any], **options: Any) -> dict[str, Row]:
    """Return a row for each moment; ``taken_when`` has the moments at which the store takes it, and the verdicts."""
    moments = ("before", "sent", "listed", "committed", "verified", "published", "aborted")
    return {
        f"{name}, {when}": one(
            lambda scene: scene.part(body=body),
            when=when,
            taken=when in taken_when,
            verdict=taken_when.get(when, UploadEnded if when == "aborted" else None),
            **options,
        )
        for when in moments
    }


CUSTOMER_KEY = {
    "x_amz_server_side_encryption_customer_algorithm": "AES256",
    "x_amz_server_side_encryption_customer_key": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "x_amz_server_side_encryption_customer_key_MD5": "hRasmdxgYDKV3nvbahU1MA==",
}

ROWS: dict[str, Row] = {
    **TOKEN_ROWS,
    "length: one byte less": one(lambda s: s.part(body=TAIL[:-1])),
    "length: one byte more": one(lambda s: s.part(body=TAIL + b"!")),
    "length: nothing": one(lambda s: s.part(body=b"")),
    "length: of the whole file": one(lambda s: s.part(body=s.file)),
    "length: chunks of no known length": one(
        lambda s: s.part(body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(TAIL), TAIL)).with_header("Transfer-Encoding", "chunked")
    ),
    "length: less than it promises, and hangs up": one(
        lambda s: lambda: s.hang_up(s.part(body=TAIL[:-1]).with_header("Content-Length", str(len(TAIL)))), taken=True
    ),
    "length: chunks that are signed by nobody": one(
        _headers(x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER", x_amz_decoded_content_length="13")
    ),
    "number: another one of the file": one(lambda s: s.part().with_parameter("partNumber", "1")),
    "number: one that the file does not have": one(lambda s: s.part().with_parameter("partNumber", "3")),
    "number: 0": one(lambda s: s.part().with_parameter("partNumber", "0")),
    "number: 10001": one(lambda s: s.part().with_parameter("partNumber", "10001")),
    "number: a second one": one(_parameter("partNumber", "3")),
    "number: none": one(lambda s: s.part().without_parameter("partNumber")),
    "upload: another one of the same owner": one(
        lambda s: s.part().with_parameter("uploadId", s.part(ticket=s.other).parameter("uploadId"))
    ),
    "upload: one of another owner": one(
        lambda s: s.part().with_parameter("uploadId", s.part(ticket=s.foreign).parameter("uploadId"))
    ),
    "upload: a second one": one(lambda s: s.part().with_another_parameter("uploadId", s.part(ticket=s.other).parameter("uploadId"))),
    "upload: none, so a whole object": one(lambda s: s.bare.without_parameter("uploadId")),
    "key: that of another upload": one(lambda s: s.part().with_path(s.path(s.pending_key(s.other)))),
    "key: the final one": one(lambda s: s.part().with_path(s.path(s.ticket.key))),
    "key: the final one, as a whole object": one(
        lambda s: s.bare.without_parameter("uploadId").with_path(s.path(s.ticket.key))
    ),
    "key: out of the prefix": one(lambda s: s.part().with_path(s.path(f"{PENDING_PREFIX}../{s.ticket.key}"))),
    "bucket: another": one(lambda s: s.part().with_path(s.path(s.pending_key(s.ticket), "other"))),
    "signature: a longer life": one(lambda s: s.part().with_parameter("X-Amz-Expires", "604800")),
    "signature: another date": one(lambda s: s.part().with_parameter("X-Amz-Date", "20200101T000000Z")),
    "signature: the length unsigned": one(
        lambda s: s.part(body=OTHER_TAIL + b"!").with_parameter("X-Amz-SignedHeaders", "host")
    ),
    "signature: that of another part": one(
        lambda s: s.part().with_parameter("X-Amz-Signature", s.part(1).parameter("X-Amz-Signature"))
    ),
    "signature: none": one(lambda s: s.part().without_parameter("X-Amz-Signature")),
    "signature: no authentication at all": one(
        lambda s: replace(s.part(), url=f"{s.part().url.partition('?')[0]}?partNumber=2&uploadId={s.part().parameter('uploadId')}")
    ),
    "signature: of two hours ago": one(lambda s: s.signed(s.presigner_with(hours=-2), s.ticket, 2)),
    **{f"method: {method}": one(lambda s, method=method: s.part(body=b"").with_method(method)) for method in ("GET", "HEAD", "DELETE", "POST")},  # type: ignore[misc]
    **{f"method: {method}, of the object": one(lambda s, method=method: s.bare.without_parameter("uploadId").with_method(method).with_body(b""), when="committed") for method in ("GET", "HEAD", "DELETE")},  # type: ignore[misc]
    "method: overridden by a header": one(_headers(X_HTTP_Method_Override="DELETE"), taken=True),
    "lists the parts by itself": one(lambda s: s.bare.with_method("GET").with_body(b""), when="sent"),
    "lists the bucket": one(lambda s: s.bare.with_method("GET").with_body(b"").with_path(f"/{s.store.bucket}"), when="sent"),
    "lists all uploads": one(lambda s: s.bare.with_method("GET").with_body(b"").with_path(f"/{s.store.bucket}").with_another_parameter("uploads", ""), when="sent"),
    "aborts by itself": one(lambda s: s.bare.with_method("DELETE").with_body(b""), when="sent"),
    "begins an upload by itself": one(
        lambda s: s.bare.without_parameter("uploadId").with_another_parameter("uploads", "").with_method("POST").with_body(b"")
    ),
    "commits by itself: the whole file": one(lambda s: s.bare.with_method("POST").with_body(s.manifest(*s.parts)), when="sent"),
    "commits by itself: one part": one(lambda s: s.bare.with_method("POST").with_body(s.manifest(s.parts[0])), when="sent"),
    "commits by itself: an empty list": one(lambda s: s.bare.with_method("POST").with_body(s.manifest()), when="sent"),
    "commits by itself: the parts of another upload": one(
        lambda s: s.bare.with_parameter("uploadId", s.part(ticket=s.other).parameter("uploadId")).with_method("POST").with_body(s.manifest(*s.parts)),
        when="sent",
    ),
    "commits by itself: to the final key": one(
        lambda s: s.bare.with_path(s.path(s.ticket.key)).with_method("POST").with_body(s.manifest(*s.parts)), when="sent"
    ),
    "copies: another object": one(_headers(x_amz_copy_source="/{bucket}/{secret}")),
    "copies: a range of another object": one(
        _headers(x_amz_copy_source="/{bucket}/{secret}", x_amz_copy_source_range="bytes=0-12")
    ),
    "header: public-read": one(_headers(x_amz_acl="public-read")),
    "header: a grant to everybody": one(_headers(x_amz_grant_read='uri="http://acs.amazonaws.com/groups/global/AllUsers"')),
    "header: tags": one(_headers(x_amz_tagging="a=b")),
    "header: metadata": one(_headers(x_amz_meta_role="admin")),
    "header: a storage class": one(_headers(x_amz_storage_class="GLACIER")),
    "header: a website's redirect": one(_headers(x_amz_website_redirect_location="http://evil.example/")),
    "header: encryption": one(_headers(x_amz_server_side_encryption="AES256")),
    "header: a customer's key": one(_headers(**CUSTOMER_KEY)),
    "header: a session's token": one(_headers(x_amz_security_token="somebody's")),
    "header: an object lock": one(_headers(x_amz_object_lock_mode="COMPLIANCE")),
    "header: another digest than that of the bytes": one(_headers(Content_MD5="1B2M2Y8AsgTpgAmY7PhCfg==")),
    "header: another type": one(_headers(Content_Type="text/html"), taken=True),
    "header: an encoding": one(_headers(Content_Encoding="gzip"), taken=True),
    "header: a disposition": one(_headers(Content_Disposition="attachment; filename=x.exe"), taken=True),
    "header: only over an object that is not there": one(
        _headers(If_None_Match="*"), taken=True, differs={"the S3 reference": "conditions on a part are not implemented"}
    ),
    **{f"parameter: {name}": one(_parameter(name)) for name in ("acl", "tagging", "uploads", "delete", "restore", "versioning", "policy", "retention", "legal-hold", "torrent")},
    "parameter: a version": one(_parameter("versionId", "null")),
    "parameter: another type": one(_parameter("response-content-type", "text/html")),
    "parameter: a header as a parameter": one(_parameter("x-amz-acl", "public-read")),
    "parameter: a second life": one(_parameter("X-Amz-Expires", "604800")),
    "parameter: a session's token": one(_parameter("X-Amz-Security-Token", "somebody's")),
    "hashed: other bytes": one(lambda s: s.part(body=OTHER_TAIL), hashed=True),
    "hashed: other bytes, without their digest": one(
        lambda s: s.part(body=OTHER_TAIL).without_header("x-amz-checksum-sha256"), hashed=True
    ),
    "hashed: the digest of the other bytes": one(
        lambda s: s.part(body=OTHER_TAIL).with_header("x-amz-checksum-sha256", _digest(OTHER_TAIL)), hashed=True
    ),
    "hashed: another algorithm": one(
        lambda s: s.part(body=OTHER_TAIL).without_header("x-amz-checksum-sha256").with_header("x-amz-checksum-crc32", "AAAAAA=="),
        hashed=True,
    ),
    "hashed: the digest unsigned": one(
        lambda s: s.part(body=OTHER_TAIL)
        .with_parameter("X-Amz-SignedHeaders", "content-length;host")
        .without_header("x-amz-checksum-sha256"),
        hashed=True,
    ),
    **_replays("the same part again", TAIL, dict.fromkeys(("before", "sent", "listed"))),
    **_replays(
        "other bytes of the right length",
        OTHER_TAIL,
        {"before": None, "sent": Rejected, "listed": Rejected},
        either={SEAWEEDFS: "keeps both, and either of them counts"},
    ),
    "an abort between the list and the commit": one(
        lambda s: lambda: s.presigner_with().abort(s.ticket.token, owner=OWNER), when="listed", taken=True, verdict=UploadEnded
    ),
}  # fmt: skip


def _digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


@contextmanager
def _reference(lenient: frozenset[Leniency] = frozenset()) -> Iterator[Store]:
    """Yield the reference with small parts."""
    app = S3Reference(
        buckets={BUCKET: S3Bucket(), "other": S3Bucket()},
        access_keys={"AKIAREFERENCE": HmacKey(secret="a secret of the reference")},
        region=REGION,
        part_limits=PartLimits(smallest_part_bytes=8),
        lenient=lenient,
    )
    session = boto3.Session(aws_access_key_id="AKIAREFERENCE", aws_secret_access_key="a secret of the reference")
    with serve(app) as url:
        admin = session.client("s3", region_name=REGION, endpoint_url=url)
        yield Store(name=REFERENCE, endpoint_url=url, bucket=BUCKET, session=session, admin=admin)


# A backend takes long to build its clients.


@pytest.fixture(scope="module")
def reference() -> Iterator[tuple[Store, S3Backend]]:
    with _reference() as store:
        yield store, SmallPartsBackend(store)


@pytest.fixture(scope="module")
def seaweedfs_backend(seaweedfs: Store) -> S3Backend:
    return seaweedfs.backend()


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_on_the_reference_nothing_unverified_is_ever_public(reference: tuple[Store, S3Backend], row: Row) -> None:
    S3Scene(*reference, part_bytes=SMALL_BYTES, hashed=row.hashed).run(row)


@pytest.mark.parametrize("hashed", [False, True], ids=["", "hashed"])
def test_on_seaweedfs_what_is_refused_leaves_nothing_and_the_upload_goes_on(
    seaweedfs: Store, seaweedfs_backend: S3Backend, hashed: bool
) -> None:
    scene = S3Scene(seaweedfs, seaweedfs_backend, part_bytes=PART_BYTES, hashed=hashed)
    tried = 0
    for name, row in ROWS.items():
        if row.hashed == hashed and row.is_refused_at_once(SEAWEEDFS):
            tried += 1
            try:
                scene.try_in_vain(row)
            except AssertionError as error:
                raise AssertionError(name) from error
    assert tried >= (5 if hashed else 60)
    scene.run(Row(do=lambda _: [], when="sent"))


@pytest.mark.parametrize(
    "name", [name for name in ROWS if name not in TOKEN_ROWS and not ROWS[name].is_refused_at_once(SEAWEEDFS)]
)
def test_on_seaweedfs_nothing_unverified_is_ever_public(
    seaweedfs: Store, seaweedfs_backend: S3Backend, name: str
) -> None:
    # Whose token it is does not depend on the store.
    row = ROWS[name]
    S3Scene(seaweedfs, seaweedfs_backend, part_bytes=PART_BYTES, hashed=row.hashed).run(row)


def test_a_store_that_obeys_unsigned_headers_does_not_pass_without_guards() -> None:
    with _reference(MINIO) as lenient:
        unguarded = SmallPartsBackend(lenient, sign_guards=False)
        for name in ("copies: another object", "header: public-read", "header: a storage class"):
            with pytest.raises(AssertionError):
                S3Scene(lenient, unguarded, part_bytes=SMALL_BYTES).run(ROWS[name])
        S3Scene(lenient, SmallPartsBackend(lenient), part_bytes=SMALL_BYTES).run(ROWS["copies: another object"])
