"""A ticket sent with one thing changed at a time: what is changed, without what a store should do about it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from emulators.wire import Attempt, Form, Part
from presign import Presigner, Ticket
from tests.conftest import PNG, PNG_SHA256, Store, as_sent, png_request, seconds_ago

POLICY: dict[str, Any] = {"cache_control": "max-age=60", "metadata": {"tenant": "7"}, "content_disposition": "inline"}
OTHER_SHA256 = base64.b64encode(hashlib.sha256(PNG[:-1] + b"!").digest()).decode()
REFUSED = {400, 403, 404, 405, 411, 412, 501}


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A ticket, what a client would send for it, and a second ticket to take pieces from."""

    store: Store
    presigner: Presigner
    ticket: Ticket
    other: Ticket

    @property
    def key(self) -> str:
        """The key under which the ticket stores."""
        return self._upload_key(self.ticket)

    @property
    def other_key(self) -> str:
        """The key under which the other ticket stores."""
        return self._upload_key(self.other)

    def _upload_key(self, ticket: Ticket) -> str:
        pending = self.presigner.policy.pending_prefix
        return ticket.key if pending is None else pending + ticket.key.rpartition("/")[2]

    @property
    def form(self) -> Form:
        form = as_sent(self.ticket, PNG)
        assert isinstance(form, Form)
        return form

    @property
    def put(self) -> Attempt:
        put = as_sent(self.ticket, PNG)
        assert isinstance(put, Attempt)
        return put

    def field(self, name: str, value: str) -> Form:
        return self.form.with_field(name, value)

    def credential(self, position: int, value: str) -> str:
        """The ticket's credential with one part replaced: access key, date, region, service, terminator."""
        text = self.form.field("x-amz-credential") if self.ticket.fields else self.put.parameter("X-Amz-Credential")
        parts = text.split("/")
        assert parts[position] != value
        parts[position] = value
        return "/".join(parts)

    def policy_with(self, change: Callable[[dict[str, Any]], None]) -> Form:
        document = json.loads(base64.b64decode(self.form.field("policy")))
        change(document)
        return self.field("policy", base64.b64encode(json.dumps(document).encode()).decode())

    def path(self, key: str, bucket: str | None = None) -> str:
        return f"/{bucket or self.store.bucket}/{quote(key, safe='/')}"


def _condition(name: str, value: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["conditions"] = [
            {name: value} if isinstance(c, dict) and name in c else c for c in document["conditions"]
        ]

    return change


def _wider(document: dict[str, Any]) -> None:
    document["conditions"] = [
        ["content-length-range", 0, 10**9] if isinstance(c, list) else c for c in document["conditions"]
    ]


def _later(document: dict[str, Any]) -> None:
    document["expiration"] = "2099-01-01T00:00:00Z"


def _dropped(name: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["conditions"] = [c for c in document["conditions"] if not (isinstance(c, dict) and name in c)]

    return change


POST_ATTACKS: dict[str, Callable[[Issued], Form | Attempt]] = {
    "key: another": lambda i: i.field("key", i.other_key),
    "key: beside the prefix": lambda i: i.field("key", "publicity/x"),
    "key: out of the prefix": lambda i: i.field("key", "public/../private/x"),
    "key: private": lambda i: i.field("key", "private/x"),
    "key: ${filename}": lambda i: i.field("key", "public/${filename}"),
    "key: longer": lambda i: i.field("key", i.key + "/x"),
    "key: another letter case": lambda i: i.field("key", i.key.upper()),
    "key: empty": lambda i: i.field("key", ""),
    "key: missing": lambda i: i.form.without_field("key"),
    "bucket: another": lambda i: replace(i.form, url=i.form.url.replace(i.store.bucket, "other")),
    "type: another": lambda i: i.field("Content-Type", "text/html"),
    "type: list": lambda i: i.field("Content-Type", "image/png, text/html"),
    "type: with a parameter": lambda i: i.field("Content-Type", "image/png;x=y"),
    "type: missing": lambda i: i.form.without_field("Content-Type"),
    "size: 0": lambda i: Form.of(i.form.url, dict(i.ticket.fields), b""),
    "size: min-1": lambda i: Form.of(i.form.url, dict(i.ticket.fields), PNG[:9]),
    "size: max+1": lambda i: Form.of(i.form.url, dict(i.ticket.fields), PNG.ljust(101, b"x")),
    "size: 5 MB": lambda i: Form.of(i.form.url, dict(i.ticket.fields), PNG.ljust(5_000_000, b"x")),
    "file: missing": lambda i: i.form.without_field("file"),
    "date: earlier": lambda i: i.field("x-amz-date", "20200101T000000Z"),
    "date: missing": lambda i: i.form.without_field("x-amz-date"),
    "algorithm: none": lambda i: i.field("x-amz-algorithm", "none"),
    "algorithm: SigV2": lambda i: i.field("x-amz-algorithm", "AWS4-HMAC-SHA1"),
    "algorithm: missing": lambda i: i.form.without_field("x-amz-algorithm"),
    "credential: another access key": lambda i: i.field("x-amz-credential", i.credential(0, "AKIASOMEBODYELSE")),
    "credential: another date": lambda i: i.field("x-amz-credential", i.credential(1, "20200101")),
    "credential: another region": lambda i: i.field("x-amz-credential", i.credential(2, "eu-west-1")),
    "credential: another service": lambda i: i.field("x-amz-credential", i.credential(3, "iam")),
    "credential: another terminator": lambda i: i.field("x-amz-credential", i.credential(4, "aws5_request")),
    "credential: missing": lambda i: i.form.without_field("x-amz-credential"),
    "policy: wider size": lambda i: i.policy_with(_wider),
    "policy: later expiry": lambda i: i.policy_with(_later),
    "policy: another key": lambda i: i.policy_with(_condition("key", "public/mine")).with_field("key", "public/mine"),
    "policy: another type": lambda i: i.policy_with(_condition("Content-Type", "text/html")).with_field("Content-Type", "text/html"),
    "policy: without the bucket": lambda i: i.policy_with(_dropped("bucket")),
    "policy: one byte": lambda i: i.field("policy", "f" + i.form.field("policy")[1:]),
    "policy: a space before": lambda i: i.field("policy", " " + i.form.field("policy")),
    "policy: of another ticket": lambda i: i.field("policy", i.other.fields["policy"]),
    "policy: empty": lambda i: i.field("policy", ""),
    "policy: missing": lambda i: i.form.without_field("policy"),
    "signature: one digit": lambda i: i.field(
        "x-amz-signature", ("0" if i.form.field("x-amz-signature")[0] != "0" else "1") + i.form.field("x-amz-signature")[1:]
    ),
    "signature: truncated": lambda i: i.field("x-amz-signature", i.form.field("x-amz-signature")[:32]),
    "signature: of another ticket": lambda i: i.field("x-amz-signature", i.other.fields["x-amz-signature"]),
    "signature: empty": lambda i: i.field("x-amz-signature", ""),
    "signature: missing": lambda i: i.form.without_field("x-amz-signature"),
    "all authentication missing": lambda i: Form.of(i.form.url, {"key": i.key, "Content-Type": "image/png"}, PNG),
    "expiry: by one second": lambda i: _form(i.store.presigner(clock=seconds_ago(61)).issue(png_request())),
    "checksum: of other bytes": lambda i: i.field("x-amz-checksum-sha256", OTHER_SHA256),
    "checksum: other bytes under it": lambda i: Form.of(i.form.url, dict(i.ticket.fields), PNG[:-1] + b"!"),
    "checksum: missing": lambda i: i.form.without_field("x-amz-checksum-sha256"),
    "checksum: algorithm missing": lambda i: i.form.without_field("x-amz-checksum-algorithm"),
    "metadata: another value": lambda i: i.field("x-amz-meta-tenant", "8"),
    "metadata: missing": lambda i: i.form.without_field("x-amz-meta-tenant"),
    "metadata: more": lambda i: i.form.with_first_field("x-amz-meta-admin", "yes"),
    "cache control: another": lambda i: i.field("Cache-Control", "max-age=31536000"),
    "disposition: another": lambda i: i.field("Content-Disposition", 'attachment; filename="x.exe"'),
    "status: another": lambda i: i.field("success_action_status", "200"),
    "extra field: acl": lambda i: i.form.with_first_field("acl", "public-read"),
    "extra field: redirect": lambda i: i.form.with_first_field("success_action_redirect", "http://evil.example/"),
    "extra field: encoding": lambda i: i.form.with_first_field("Content-Encoding", "gzip"),
    "extra field: expires": lambda i: i.form.with_first_field("Expires", "Wed, 21 Oct 2037 07:28:00 GMT"),
    "extra field: tagging": lambda i: i.form.with_first_field("tagging", "<Tagging></Tagging>"),
    "extra field: storage class": lambda i: i.form.with_first_field("x-amz-storage-class", "GLACIER"),
    "extra field: website redirect": lambda i: i.form.with_first_field("x-amz-website-redirect-location", "http://evil.example/"),
    "extra field: encryption": lambda i: i.form.with_first_field("x-amz-server-side-encryption", "AES256"),
    "extra field: session token": lambda i: i.form.with_first_field("x-amz-security-token", "somebody's"),
    "fields after the file": lambda i: i.form.with_field_after_file("policy").with_field_after_file("x-amz-signature"),
    "two keys": lambda i: i.form.with_first_field("key", "public/first"),
    "two files": lambda i: i.form.with_last_part(Part(name="file", value=b"x" * 20, file_name="second")),
    "method: PUT": lambda i: Attempt(method="PUT", url=i.ticket.url + i.key, body=PNG),
    "method: DELETE": lambda i: i.form.attempt().with_method("DELETE"),
}  # fmt: skip

PUT_ATTACKS: dict[str, Callable[[Issued], Attempt]] = {
    "key: another": lambda i: i.put.with_path(i.path(i.other_key)),
    "key: beside the prefix": lambda i: i.put.with_path(i.path("publicity/x")),
    "key: out of the prefix": lambda i: i.put.with_path(i.path("public/../private/x")),
    "key: encoded out of the prefix": lambda i: i.put.with_path(f"/{i.store.bucket}/public/%2e%2e/private/x"),
    "bucket: another": lambda i: i.put.with_path(i.path(i.key, "other")),
    "type: another": lambda i: i.put.with_header("Content-Type", "text/html"),
    "type: missing": lambda i: i.put.without_header("Content-Type"),
    "size: one more": lambda i: i.put.with_body(PNG + b"x"),
    "size: one less": lambda i: i.put.with_body(PNG[:-1]),
    "size: 0": lambda i: i.put.with_body(b""),
    "size: chunked": lambda i: i.put.with_header("Transfer-Encoding", "chunked").with_body(b"%x\r\n%s\r\n0\r\n\r\n" % (len(PNG), PNG)),
    "checksum: other bytes under it": lambda i: i.put.with_body(PNG[:-1] + b"!"),
    "checksum: of other bytes": lambda i: i.put.with_header("x-amz-checksum-sha256", OTHER_SHA256).with_body(PNG[:-1] + b"!"),
    "checksum: missing": lambda i: i.put.without_header("x-amz-checksum-sha256"),
    "create-only: missing": lambda i: i.put.without_header("If-None-Match"),
    "create-only: another value": lambda i: i.put.with_header("If-None-Match", '"x"'),
    "metadata: another value": lambda i: i.put.with_header("x-amz-meta-tenant", "8"),
    "metadata: missing": lambda i: i.put.without_header("x-amz-meta-tenant"),
    "metadata: more": lambda i: i.put.with_header("x-amz-meta-admin", "yes"),
    "cache control: another": lambda i: i.put.with_header("Cache-Control", "no-store"),
    "cache control: missing": lambda i: i.put.without_header("Cache-Control"),
    "disposition: another": lambda i: i.put.with_header("Content-Disposition", 'attachment; filename="x.exe"'),
    "algorithm: another": lambda i: i.put.with_parameter("X-Amz-Algorithm", "AWS4-HMAC-SHA1"),
    "algorithm: missing": lambda i: i.put.without_parameter("X-Amz-Algorithm"),
    "date: another": lambda i: i.put.with_parameter("X-Amz-Date", "20200101T000000Z"),
    "date: missing": lambda i: i.put.without_parameter("X-Amz-Date"),
    "credential: another access key": lambda i: i.put.with_parameter("X-Amz-Credential", i.credential(0, "AKIASOMEBODYELSE")),
    "credential: another date": lambda i: i.put.with_parameter("X-Amz-Credential", i.credential(1, "20200101")),
    "credential: another region": lambda i: i.put.with_parameter("X-Amz-Credential", i.credential(2, "eu-west-1")),
    "credential: another service": lambda i: i.put.with_parameter("X-Amz-Credential", i.credential(3, "iam")),
    "credential: missing": lambda i: i.put.without_parameter("X-Amz-Credential"),
    "expiry: longer": lambda i: i.put.with_parameter("X-Amz-Expires", "604800"),
    "expiry: beyond seven days": lambda i: i.put.with_parameter("X-Amz-Expires", "604801"),
    "expiry: missing": lambda i: i.put.without_parameter("X-Amz-Expires"),
    "expiry: by one second": lambda i: _attempt(i.store.presigner(create_only=True, clock=seconds_ago(62)).issue(png_request(size=len(PNG)))),
    "not yet valid: an hour": lambda i: _attempt(i.store.presigner(create_only=True, clock=seconds_ago(-3600)).issue(png_request(size=len(PNG)))),
    "signed headers: fewer": lambda i: i.put.with_parameter("X-Amz-SignedHeaders", "content-type;host"),
    "signed headers: none": lambda i: i.put.with_parameter("X-Amz-SignedHeaders", "host"),
    "signature: truncated": lambda i: i.put.with_parameter("X-Amz-Signature", i.put.parameter("X-Amz-Signature")[:32]),
    "signature: of another ticket": lambda i: i.put.with_parameter("X-Amz-Signature", Attempt(method="PUT", url=i.other.url).parameter("X-Amz-Signature")),
    "signature: missing": lambda i: i.put.without_parameter("X-Amz-Signature"),
    "all authentication missing": lambda i: replace(i.put, url=i.put.url.partition("?")[0]),
    "extra parameter: acl": lambda i: i.put.with_another_parameter("acl", ""),
    "extra parameter: tagging": lambda i: i.put.with_another_parameter("tagging", ""),
    "extra parameter: partNumber": lambda i: i.put.with_another_parameter("partNumber", "1"),
    "extra parameter: session token": lambda i: i.put.with_another_parameter("X-Amz-Security-Token", "somebody's"),
    "extra parameter: second expiry": lambda i: i.put.with_another_parameter("X-Amz-Expires", "604800"),
    "extra header: acl": lambda i: i.put.with_header("x-amz-acl", "public-read"),
    "extra header: copy source": lambda i: i.put.with_header("x-amz-copy-source", f"/{i.store.bucket}/private/x"),
    "extra header: website redirect": lambda i: i.put.with_header("x-amz-website-redirect-location", "http://evil.example/"),
    "extra header: storage class": lambda i: i.put.with_header("x-amz-storage-class", "GLACIER"),
    "extra header: tagging": lambda i: i.put.with_header("x-amz-tagging", "a=b"),
    "method: POST": lambda i: i.put.with_method("POST"),
    "method: GET": lambda i: i.put.with_method("GET"),
    "method: DELETE": lambda i: i.put.with_method("DELETE"),
}  # fmt: skip


def issue(store: Store, **options: Any) -> Issued:
    """Return two tickets of the same presigner, whose policy has ``options``."""
    presigner = store.presigner(**POLICY, **options)
    request = png_request(sha256=PNG_SHA256) if not options else png_request(sha256=PNG_SHA256, size=len(PNG))
    return Issued(store=store, presigner=presigner, ticket=presigner.issue(request), other=presigner.issue(request))


def _form(ticket: Ticket) -> Form:
    form = as_sent(ticket, PNG)
    assert isinstance(form, Form)
    return form


def _attempt(ticket: Ticket) -> Attempt:
    attempt = as_sent(ticket, PNG)
    assert isinstance(attempt, Attempt)
    return attempt
