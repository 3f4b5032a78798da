"""Every attack on an upload in parts, on the reference for Google: no emulator of Google's checks signatures."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from emulators.gcs_accounts import generate_credentials, trusted_account
from emulators.gcs_bucket import GcsBucket
from emulators.gcs_parts import GcsPartLimits
from emulators.gcs_reference import GcsReference
from emulators.serving import serve
from emulators.wire import Attempt
from presign import PartLimits, Ticket
from presign.errors import Rejected, UploadEnded
from presign.gcs import GCSBackend
from tests.attacks.scene import OTHER_TAIL, OWNER, SECRET, TAIL, TOKEN_ROWS, MultipartScene, Row, one
from tests.gcs.reference import ACCESS_ID, BUCKET, HMAC_SECRET, PENDING_BUCKET

PART_BYTES = 64
SMALL_LIMITS = PartLimits(min_part_bytes=8, max_part_bytes=100, max_parts=1000, max_bytes=10_000)


class GcsScene(MultipartScene):
    etag_quote = "&quot;"

    def __init__(self, app: GcsReference, url: str, backend: Any) -> None:
        self.app = app
        self.url = url
        super().__init__(backend, part_bytes=PART_BYTES, server="the reference")

    @property
    def objects(self) -> Any:
        return self.app.buckets[BUCKET].objects

    def public(self) -> dict[str, str]:
        return {key: held.json_etag for key, held in self.objects.items()}

    def read_public(self, key: str) -> bytes:
        content: bytes = self.objects[key].body
        return content

    def delete_public(self, key: str) -> None:
        del self.objects[key]

    def pending_url(self, ticket: Ticket) -> str:
        return f"{self.url}/{PENDING_BUCKET}/{self.pending_key(ticket)}"

    def path(self, key: str, bucket: str = PENDING_BUCKET) -> str:
        return f"/{bucket}/{key}"


def _headers(**values: str) -> Callable[[GcsScene], Attempt]:
    def attempt(scene: GcsScene) -> Attempt:
        sent = scene.part()
        for name, value in values.items():
            sent = sent.with_header(name.replace("_", "-"), value)
        return sent

    return attempt


def _parameter(name: str, value: str = "") -> Callable[[GcsScene], Attempt]:
    return lambda scene: scene.part().with_another_parameter(name, value)


def _replays(name: str, body: bytes, taken_when: dict[str, Any]) -> dict[str, Row]:
    """Return a row for each moment; ``taken_when`` has the moments at which the store takes it, and the verdicts."""
    moments = ("before", "sent", "listed", "committed", "verified", "published", "aborted")
    return {
        f"{name}, {when}": one(
            lambda scene: scene.part(body=body),
            when=when,
            taken=when in taken_when,
            verdict=taken_when.get(when, UploadEnded if when == "aborted" else None),
        )
        for when in moments
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
    "number: another one of the file": one(lambda s: s.part().with_parameter("partNumber", "1")),
    "number: one that the file does not have": one(lambda s: s.part().with_parameter("partNumber", "3")),
    "number: 0": one(lambda s: s.part().with_parameter("partNumber", "0")),
    "number: a second one": one(_parameter("partNumber", "3")),
    "number: none": one(lambda s: s.bare),
    "upload: another one of the same owner": one(
        lambda s: s.part().with_parameter("uploadId", s.part(ticket=s.other).parameter("uploadId"))
    ),
    "upload: one of another owner": one(
        lambda s: s.part().with_parameter("uploadId", s.part(ticket=s.foreign).parameter("uploadId"))
    ),
    "upload: a second one": one(lambda s: s.part().with_another_parameter("uploadId", s.part(ticket=s.other).parameter("uploadId"))),
    "upload: none, so a whole object": one(lambda s: s.bare.without_parameter("uploadId")),
    "key: that of another upload": one(lambda s: s.part().with_path(s.path(s.pending_key(s.other)))),
    "key: the final one": one(lambda s: s.part().with_path(s.path(s.ticket.key, BUCKET))),
    "key: the final one, as a whole object": one(
        lambda s: s.bare.without_parameter("uploadId").with_path(s.path(s.ticket.key, BUCKET))
    ),
    "key: the pending one, in the bucket of published files": one(
        lambda s: s.part().with_path(s.path(s.pending_key(s.ticket), BUCKET))
    ),
    "key: out of the prefix": one(lambda s: s.part().with_path(s.path(f"pending/../{s.ticket.key}"))),
    "signature: a longer life": one(lambda s: s.part().with_parameter("X-Goog-Expires", "604800")),
    "signature: another date": one(lambda s: s.part().with_parameter("X-Goog-Date", "20200101T000000Z")),
    "signature: the length unsigned": one(
        lambda s: s.part(body=OTHER_TAIL + b"!").with_parameter("X-Goog-SignedHeaders", "host")
    ),
    "signature: that of another part": one(
        lambda s: s.part().with_parameter("X-Goog-Signature", s.part(1).parameter("X-Goog-Signature"))
    ),
    "signature: none": one(lambda s: s.part().without_parameter("X-Goog-Signature")),
    "signature: of two hours ago": one(lambda s: s.signed(s.presigner_with(hours=-2), s.ticket, 2)),
    **{f"method: {method}": one(lambda s, method=method: s.part(body=b"").with_method(method)) for method in ("GET", "HEAD", "DELETE", "POST")},  # type: ignore[misc]
    **{f"method: {method}, of the object": one(lambda s, method=method: s.bare.without_parameter("uploadId").with_method(method).with_body(b""), when="committed") for method in ("GET", "HEAD", "DELETE")},  # type: ignore[misc]
    "lists the parts by itself": one(lambda s: s.bare.with_method("GET").with_body(b""), when="sent"),
    "lists the bucket": one(lambda s: s.bare.with_method("GET").with_body(b"").with_path(f"/{PENDING_BUCKET}"), when="sent"),
    "lists all uploads": one(lambda s: s.bare.with_method("GET").with_body(b"").with_path(f"/{PENDING_BUCKET}").with_another_parameter("uploads", ""), when="sent"),
    "aborts by itself": one(lambda s: s.bare.with_method("DELETE").with_body(b""), when="sent"),
    "begins an upload by itself": one(
        lambda s: s.bare.without_parameter("uploadId").with_another_parameter("uploads", "").with_method("POST").with_body(b"")
    ),
    "begins a resumable upload by itself": one(
        lambda s: s.bare.without_parameter("uploadId").with_method("POST").with_body(b"").with_header("x-goog-resumable", "start")
    ),
    "commits by itself: the whole file": one(lambda s: s.bare.with_method("POST").with_body(s.manifest(*s.parts)), when="sent"),
    "commits by itself: one part": one(lambda s: s.bare.with_method("POST").with_body(s.manifest(s.parts[0])), when="sent"),
    "commits by itself: an empty list": one(lambda s: s.bare.with_method("POST").with_body(s.manifest()), when="sent"),
    "commits by itself: the parts of another upload": one(
        lambda s: s.bare.with_parameter("uploadId", s.part(ticket=s.other).parameter("uploadId")).with_method("POST").with_body(s.manifest(*s.parts)),
        when="sent",
    ),
    "commits by itself: to the final key": one(
        lambda s: s.bare.with_path(s.path(s.ticket.key, BUCKET)).with_method("POST").with_body(s.manifest(*s.parts)), when="sent"
    ),
    "composes objects": one(
        lambda s: s.bare.without_parameter("uploadId").with_another_parameter("compose", "").with_body(b"<ComposeRequest/>"), when="sent"
    ),
    "the JSON API: deletes without a token": one(
        lambda s: Attempt(method="DELETE", url=f"{s.url}/storage/v1/b/{BUCKET}/o/{SECRET.replace('/', '%2F')}"), when="sent"
    ),
    "the JSON API: uploads without a token": one(
        lambda s: Attempt(method="POST", url=f"{s.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=public/x", body=TAIL), when="sent"
    ),
    "the JSON API: copies with the signature": one(
        lambda s: s.bare.without_parameter("uploadId").with_method("POST").with_body(b"").with_path(
            f"/storage/v1/b/{PENDING_BUCKET}/o/x/rewriteTo/b/{BUCKET}/o/public%2Fx"
        ),
        when="sent",
    ),
    "copies: another object": one(_headers(x_goog_copy_source=f"/{BUCKET}/{SECRET}")),
    "copies: another object, as on S3": one(_headers(x_amz_copy_source=f"/{BUCKET}/{SECRET}")),
    "header: public-read": one(_headers(x_goog_acl="public-read")),
    "header: metadata": one(_headers(x_goog_meta_role="admin")),
    "header: a storage class": one(_headers(x_goog_storage_class="ARCHIVE")),
    "header: a customer's key": one(
        _headers(
            x_goog_encryption_algorithm="AES256",
            x_goog_encryption_key="MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            x_goog_encryption_key_sha256="A" * 44,
        )
    ),
    "header: a time of its own": one(_headers(x_goog_custom_time="2020-01-01T00:00:00Z")),
    "header: a range of lengths": one(_headers(x_goog_content_length_range="0,1000000")),
    "header: another digest than that of the bytes": one(_headers(x_goog_hash="md5=1B2M2Y8AsgTpgAmY7PhCfg==")),
    "header: another MD5 than that of the bytes": one(_headers(Content_MD5=base64.b64encode(bytes(16)).decode())),
    "header: over a generation": one(_headers(x_goog_if_generation_match="0")),
    "header: another type": one(_headers(Content_Type="text/html"), taken=True),
    "header: an encoding": one(_headers(Content_Encoding="gzip"), taken=True),
    "header: a disposition": one(_headers(Content_Disposition="attachment; filename=x.exe"), taken=True),
    **{f"parameter: {name}": one(_parameter(name)) for name in ("acl", "uploads", "compose", "cors", "lifecycle", "versioning", "retention", "legal-hold", "tagging")},
    "parameter: a generation": one(_parameter("generation", "1")),
    "parameter: another type": one(_parameter("response-content-type", "text/html")),
    "parameter: a header as a parameter": one(_parameter("x-goog-acl", "public-read")),
    "parameter: a second life": one(_parameter("X-Goog-Expires", "604800")),
    "parameter: somebody else's project": one(_parameter("userProject", "other")),
    **_replays("the same part again", TAIL, dict.fromkeys(("before", "sent", "listed"))),
    **_replays(
        "other bytes of the right length",
        OTHER_TAIL,
        {"before": None, "sent": Rejected, "listed": Rejected},
    ),
    "an abort between the list and the commit": one(
        lambda s: lambda: s.presigner_with().abort(s.ticket.token, owner=OWNER), when="listed", taken=True, verdict=UploadEnded
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GcsReference, str, GCSBackend]]:
    account = tmp_path_factory.mktemp("gcs") / "account.json"
    generate_credentials(account, token_uri="http://unknown.invalid/token")
    app = GcsReference(
        buckets={BUCKET: GcsBucket(public_prefix="public/"), PENDING_BUCKET: GcsBucket()},
        service_accounts=trusted_account(account),
        hmac_keys={ACCESS_ID: HMAC_SECRET},
        part_limits=GcsPartLimits(smallest_part_bytes=8),
    )
    with serve(app) as url:
        generate_credentials(account, token_uri=f"{url}/token")
        backend = GCSBackend(
            bucket=BUCKET,
            pending_bucket=PENDING_BUCKET,
            endpoint_url=url,
            credentials=str(account),
            hmac_access_id=ACCESS_ID,
            hmac_secret=HMAC_SECRET,
        )
        parts: Any = backend.parts
        parts.limits = SMALL_LIMITS
        yield app, url, backend


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_nothing_unverified_is_ever_public(reference: tuple[GcsReference, str, GCSBackend], row: Row) -> None:
    GcsScene(*reference).run(row)
