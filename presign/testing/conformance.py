"""Checks that hold any backend to what its tickets say, for whoever writes one::

    import pytest
    from presign.testing import CHECKS, Subject

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_conformance(check):
        check(Subject(backend=MyBackend(...)))

Each check sends real requests to the backend's storage, deletes what it stored, and raises AssertionError with what
went otherwise than the ticket said. The backend's credentials must be allowed to read and delete under the prefix.
"""

from __future__ import annotations

import hashlib
import http.client
import secrets
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from presign.backends import Backend
from presign.errors import ConfigurationError, InvalidToken, NotUploaded, PresignError, RuleViolated
from presign.messages import Grant, Rule, Ticket, UploadRequest
from presign.policy import UploadPolicy
from presign.presigner import Presigner

MIN_BYTES = 10
MAX_BYTES = 100
CONTENT_TYPE = "text/plain"
BODY = b"exactly what was granted"
REPLAYS = 200
"""How many clients send the same create-only ticket at once."""

_SECRET = secrets.token_urlsafe(32)
_REFUSALS = range(400, 500)
_BOUNDARY = "presign-testing-boundary"
_TIMEOUT_SECONDS = 30
# In which header a PUT says the type, on any of the storages.
_TYPE_NAMES = frozenset({"content-type", "x-ms-blob-content-type"})


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A backend to check, the prefix that it may write under, and how to trust its storage's certificate.

    ``other_bucket`` is another bucket or container of the same owner, for tickets to be turned to in vain.
    """

    backend: Backend
    prefix: str = "public/"
    other_bucket: str = "other"
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)

    def presigner(self, *, started: timedelta = timedelta(0), **policy: Any) -> Presigner:
        """Return a presigner of 10 to 100 bytes of text whose clock is ``started`` ahead of this machine's."""
        rules: dict[str, Any] = {
            "content_types": {CONTENT_TYPE},
            "min_bytes": MIN_BYTES,
            "max_bytes": MAX_BYTES,
            "prefix": self.prefix,
        }
        return Presigner(
            backend=self.backend,
            policy=UploadPolicy(**rules | policy),
            secret=_SECRET,
            clock=lambda: datetime.now(timezone.utc) + started,
        )

    def supports(self, **policy: Any) -> bool:
        """Say whether the backend takes such a policy, or refuses it when the presigner is built."""
        try:
            self.presigner(**policy)
        except ConfigurationError:
            return False
        return True


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A request about to be sent: exactly a ticket's, until something is changed."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    fields: Mapping[str, str] = field(repr=False)
    body: bytes

    @classmethod
    def of(cls, ticket: Ticket, body: bytes) -> Delivery:
        """Return what a client sends for ``ticket``."""
        return cls(method=ticket.method, url=ticket.url, headers=ticket.headers, fields=ticket.fields, body=body)

    def with_body(self, body: bytes) -> Delivery:
        """Return the same request with other bytes."""
        return replace(self, body=body)

    def with_type(self, content_type: str) -> Delivery:
        """Return the same request with another content type, wherever it stands."""

        def changed(values: Mapping[str, str]) -> dict[str, str]:
            return {n: content_type if n.lower() in _TYPE_NAMES else v for n, v in values.items()}

        return replace(self, fields=changed(self.fields), headers=changed(self.headers))

    def with_extra(self, name: str, value: str) -> Delivery:
        """Return the same request with one more field or header."""
        if self.fields:
            return replace(self, fields={name: value, **self.fields})
        return replace(self, headers={**self.headers, name: value})

    def with_key(self, old: str, new: str) -> Delivery:
        """Return the same request for another key."""
        if self.fields:
            return replace(self, fields={n: new if v == old else v for n, v in self.fields.items()})
        path, _, query = self.url.partition("?")
        return replace(self, url=f"{path.replace(quote(old), quote(new))}?{query}")

    def with_bucket(self, old: str, new: str) -> Delivery:
        """Return the same request for another bucket, whether the path or the host names it."""
        parts = urlsplit(self.url)
        segments = [new if segment == old else segment for segment in parts.path.split("/")]
        host = parts.netloc.removeprefix(f"{old}.")
        netloc = parts.netloc if host == parts.netloc else f"{new}.{host}"
        return replace(self, url=parts._replace(netloc=netloc, path="/".join(segments)).geturl())

    def tampered(self) -> dict[str, Delivery]:
        """Return the same request with one thing changed that only its signer may choose, by the thing's name.

        With a form these are the policy, the credential's scope and the date, with a URL all parameters: the scope,
        the times, the permissions, the names of the signed headers.
        """
        if self.fields:
            return {
                name: replace(self, fields={**self.fields, name: _next(value)})
                for name, value in self.fields.items()
                if name.lower().endswith(("policy", "algorithm", "credential", "date", "security-token"))
            }
        path, _, query = self.url.partition("?")
        pairs = [pair.partition("=") for pair in query.split("&")]
        return {
            changed: replace(
                self, url=f"{path}?{'&'.join(f'{n}={_next(v) if n == changed else v}' for n, _, v in pairs)}"
            )
            for changed, _, _ in pairs
        }

    def with_signature(self, change: Callable[[str], str]) -> Delivery:
        """Return the same request with another signature, wherever it stands."""
        if self.fields:
            fields = {n: change(v) if n.lower().endswith("signature") else v for n, v in self.fields.items()}
            return replace(self, fields=fields)
        path, _, query = self.url.partition("?")
        pairs = [pair.partition("=") for pair in query.split("&")]
        signed = {"sig", "X-Amz-Signature", "X-Goog-Signature"}
        changed = [f"{name}={change(value) if name in signed else value}" for name, _, value in pairs]
        return replace(self, url=f"{path}?{'&'.join(changed)}")

    def send(self, ssl_context: ssl.SSLContext | None = None) -> int:
        """Send the request and return the answer's status."""
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        connection = (
            http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=ssl_context)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
        )
        headers, body = dict(self.headers), self.body
        if self.fields:
            headers["Content-Type"] = f"multipart/form-data; boundary={_BOUNDARY}"
            body = _form(self.fields, self.body)
        try:
            connection.request(self.method, parts._replace(scheme="", netloc="").geturl(), body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()


def accepts_what_was_granted(subject: Subject) -> None:
    """A file sent with its ticket is stored as granted, completed, and completed again with the same answer."""
    for declared in ({}, {"size": len(BODY)}, {"size": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest()}):
        presigner = subject.presigner(
            content_disposition="attachment", cache_control="max-age=60", metadata={"tenant": "7"}
        )
        ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE, name="notes \u00fc.txt", **declared))
        _require(ticket.expires_at > ticket.now, "the ticket has expired when it is issued")
        _accepted(subject, Delivery.of(ticket, BODY))
        stored = presigner.complete(ticket.token)
        _require(stored.size == len(BODY) and stored.content_type == CONTENT_TYPE, f"stored as {stored}")
        _require(presigner.complete(ticket.token) == stored, "completing again answers otherwise")
        _drop(subject, ticket)


def holds_the_bounds_of_size(subject: Subject) -> None:
    """Sizes at both bounds pass; 0, one below and one above do not."""
    presigner = subject.presigner()
    request = UploadRequest(content_type=CONTENT_TYPE)
    for size in (MIN_BYTES, MAX_BYTES):
        ticket = presigner.issue(request)
        _accepted(subject, Delivery.of(ticket, b"x" * size))
        _require(presigner.complete(ticket.token).size == size, "completed with another size")
        _drop(subject, ticket)
    for size in (0, MIN_BYTES - 1, MAX_BYTES + 1):
        _refused_as_said(subject, presigner, request, Rule.SIZE, partial(Delivery.with_body, body=b"x" * size))


def holds_an_exact_size(subject: Subject) -> None:
    """A declared size is the only one that passes."""
    presigner = subject.presigner()
    request = UploadRequest(content_type=CONTENT_TYPE, size=len(BODY))
    for body in (BODY[:-1], BODY + b"x"):
        _refused_as_said(subject, presigner, request, Rule.SIZE, partial(Delivery.with_body, body=body))


def holds_the_content_type(subject: Subject) -> None:
    """Another content type than the granted one does not pass, declared size or not."""
    for request in (
        UploadRequest(content_type=CONTENT_TYPE),
        UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)),
    ):
        for other in ("text/html", "text/plain;charset=utf-8"):
            change = partial(Delivery.with_type, content_type=other)
            _refused_as_said(subject, subject.presigner(), request, Rule.TYPE, change)


def holds_the_checksum(subject: Subject) -> None:
    """Other bytes of the same size than those that the ticket was issued for do not pass."""
    request = UploadRequest(content_type=CONTENT_TYPE, size=len(BODY), sha256=hashlib.sha256(BODY).hexdigest())
    change = partial(Delivery.with_body, body=BODY[:-1] + b"!")
    _refused_as_said(subject, subject.presigner(), request, Rule.CHECKSUM, change)


def holds_the_headers(subject: Subject) -> None:
    """A header that was not granted does not end up on the object."""
    request = UploadRequest(content_type=CONTENT_TYPE)
    name = "x-ms-blob-content-encoding" if _speaks_azure(subject, request) else "Content-Encoding"
    _refused_as_said(subject, subject.presigner(), request, Rule.HEADERS, lambda d: d.with_extra(name, "gzip"))


def holds_create_only(subject: Subject) -> None:
    """Of many clients that send the same create-only ticket at once exactly one wins, and nobody overwrites it."""
    if not subject.supports(create_only=True):
        return
    presigner = subject.presigner(create_only=True)
    ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)))
    _require(ticket.enforced[Rule.CREATE_ONLY] == "storage", "create-only is left to completion")
    bodies = [f"{number:0{len(BODY)}}".encode() for number in range(REPLAYS)]
    with ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(lambda body: Delivery.of(ticket, body).send(subject.ssl_context), bodies))
    winners = [body for body, status in zip(bodies, statuses, strict=True) if status < 300]
    _require(len(winners) == 1, f"{len(winners)} of {REPLAYS} replays were accepted")
    head = subject.backend.head(ticket.key)
    _require(head is not None, "the winner's object is not there")
    assert head is not None  # noqa: S101  (said above)
    stored = subject.backend.read(ticket.key, offset=0, length=len(BODY), etag=head.etag)
    _require(stored == winners[0], "the object is not the winner's")
    presigner.complete(ticket.token)
    _refused(subject, Delivery.of(ticket, BODY), "a replay after completion")
    _drop(subject, ticket)


def tells_a_replaced_object(subject: Subject) -> None:
    """What is replaced after completion is refused, or completes with another etag."""
    presigner = subject.presigner()
    ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)))
    _accepted(subject, Delivery.of(ticket, BODY))
    first = presigner.complete(ticket.token)
    status = Delivery.of(ticket, BODY[::-1]).send(subject.ssl_context)
    again = presigner.complete(ticket.token)
    _require(
        (status in _REFUSALS) == (again.etag == first.etag), f"replaced with {status}, and the etag says otherwise"
    )
    _drop(subject, ticket)


def binds_the_ticket_to_its_key(subject: Subject) -> None:
    """A ticket does not store anything elsewhere: beside its key, its prefix or its bucket."""
    ticket = subject.presigner().issue(UploadRequest(content_type=CONTENT_TYPE))
    for other in (f"{subject.prefix}other", f"{ticket.key}x", "elsewhere/x"):
        _refused(subject, Delivery.of(ticket, BODY).with_key(ticket.key, other), f"another key, {other}")
    bucket = subject.backend.name.rpartition("/")[2]
    delivery = Delivery.of(ticket, BODY)
    elsewhere = delivery.with_bucket(bucket, subject.other_bucket)
    _require(elsewhere.url != delivery.url, f"the ticket's URL does not name the bucket {bucket}")
    _refused(subject, elsewhere, "another bucket")
    _require(subject.backend.head(ticket.key) is None, "something is stored under the key")


def refuses_a_tampered_ticket(subject: Subject) -> None:
    """A ticket of which one signed thing is another stores nothing: policy, scope, date, times, permissions."""
    for size in (None, len(BODY)):
        ticket = subject.presigner().issue(UploadRequest(content_type=CONTENT_TYPE, size=size))
        tampered = Delivery.of(ticket, BODY).tampered()
        _require(len(tampered) > 1, "the ticket holds nothing that is signed")
        for name, delivery in tampered.items():
            _refused(subject, delivery, f"another {name}")
        _require(subject.backend.head(ticket.key) is None, "something is stored under the key")


def begins_the_ticket_at_its_time(subject: Subject) -> None:
    """A URL that is signed for an hour from now stores nothing yet. The policy of a form has an end alone."""
    ticket = subject.presigner(started=timedelta(hours=1)).issue(UploadRequest(content_type=CONTENT_TYPE))
    if not ticket.fields:
        _refused(subject, Delivery.of(ticket, BODY), "a ticket that is not valid yet")
        _require(subject.backend.head(ticket.key) is None, "something is stored under the key")


def refuses_a_forged_signature(subject: Subject) -> None:
    """A ticket with one digit of its signature changed, or with none, stores nothing."""
    ticket = subject.presigner().issue(UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)))
    delivery = Delivery.of(ticket, BODY)
    for forge in (lambda signature: ("A" if signature[0] != "A" else "B") + signature[1:], lambda signature: ""):
        _refused(subject, delivery.with_signature(forge), "a forged signature")
    _require(subject.backend.head(ticket.key) is None, "something is stored under the key")
    _accepted(subject, delivery)
    _drop(subject, ticket)


def stores_under_odd_keys(subject: Subject) -> None:
    """Keys that need encoding in a URL or a form name the object that was meant."""
    for name in ("a b", "a+b", "a%20b", "a~b!*'()", "a&b=c", "\u00e9\u6f22", "a..b", "A" * 200):
        key = f"{subject.prefix}odd/{name}"
        grant = Grant(
            key=key,
            content_type=CONTENT_TYPE,
            min_bytes=MIN_BYTES,
            max_bytes=MAX_BYTES,
            expires_in=timedelta(seconds=60),
        )
        subject.backend.delete(key)
        signed = subject.backend.sign_upload(grant, datetime.now(timezone.utc))
        delivery = Delivery(
            method=signed.method, url=signed.url, headers=signed.headers, fields=signed.fields, body=BODY
        )
        _accepted(subject, delivery)
        head = subject.backend.head(key)
        _require(head is not None and head.size == len(BODY), f"nothing is stored under {key!a}")
        subject.backend.delete(key)
        _require(subject.backend.head(key) is None, f"{key!a} is not deleted")


def ends_the_ticket_at_its_time(subject: Subject) -> None:
    """A ticket that expired a second ago stores nothing."""
    started = timedelta(seconds=-62)
    ticket = subject.presigner(started=started).issue(UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)))
    _require(ticket.expires_at <= datetime.now(timezone.utc), "the ticket says that it is still good")
    _refused(subject, Delivery.of(ticket, BODY), "an expired ticket")
    _require(subject.backend.head(ticket.key) is None, "something is stored under the key")


def completes_only_what_is_there(subject: Subject) -> None:
    """Completion before the upload, or with a token that was changed or is another owner's, changes nothing."""
    presigner = subject.presigner()
    ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE), owner="alice")
    _raises(NotUploaded, lambda: presigner.complete(ticket.token, owner="alice"), "completion before the upload")
    _accepted(subject, Delivery.of(ticket, BODY))
    _raises(InvalidToken, lambda: presigner.complete(ticket.token, owner="bob"), "another owner's completion")
    _raises(InvalidToken, lambda: presigner.complete(ticket.token[:-4], owner="alice"), "a truncated token")
    other = presigner.issue(UploadRequest(content_type=CONTENT_TYPE), owner="alice")
    _raises(NotUploaded, lambda: presigner.complete(other.token, owner="alice"), "the token of another key")
    _require(presigner.complete(ticket.token, owner="alice").key == ticket.key, "completed another key")
    _drop(subject, ticket)


def reads_and_deletes_what_it_names(subject: Subject) -> None:
    """HEAD, ranges, download URLs and deletion speak of the object that was meant."""
    presigner = subject.presigner()
    ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE))
    _require(subject.backend.head(ticket.key) is None, "a missing object has a head")
    subject.backend.delete(ticket.key)
    _accepted(subject, Delivery.of(ticket, BODY))
    head = subject.backend.head(ticket.key)
    _require(head is not None and head.size == len(BODY) and head.etag != "", f"the head is {head}")
    assert head is not None  # noqa: S101  (said above)
    begun = subject.backend.head(ticket.key, first_bytes=8)
    _require(
        begun is not None
        and (begun.size, begun.etag, begun.content_type) == (head.size, head.etag, head.content_type)
        and begun.first_bytes in {None, BODY[:8]},
        f"the head with the first bytes is {begun}",
    )
    read = subject.backend.read(ticket.key, offset=8, length=4, etag=head.etag)
    _require(read == BODY[8:12], f"bytes 8 to 11 are {read!r}")
    url = presigner.sign_download(ticket.key, expires_in=timedelta(seconds=60), content_disposition="attachment")
    download = Delivery(method="GET", url=url, headers={}, fields={}, body=b"")
    _require(download.send(subject.ssl_context) == 200, "the download URL does not work")
    late = subject.presigner(started=timedelta(seconds=-3600))
    expired = late.sign_download(ticket.key, expires_in=timedelta(seconds=60))
    _require(replace(download, url=expired).send(subject.ssl_context) in _REFUSALS, "an expired download URL works")
    _drop(subject, ticket)


CHECKS: tuple[Callable[[Subject], None], ...] = (
    accepts_what_was_granted,
    holds_the_bounds_of_size,
    holds_an_exact_size,
    holds_the_content_type,
    holds_the_checksum,
    holds_the_headers,
    holds_create_only,
    tells_a_replaced_object,
    binds_the_ticket_to_its_key,
    refuses_a_forged_signature,
    refuses_a_tampered_ticket,
    begins_the_ticket_at_its_time,
    stores_under_odd_keys,
    ends_the_ticket_at_its_time,
    completes_only_what_is_there,
    reads_and_deletes_what_it_names,
)
"""Every check; a backend conforms when none raises."""


def _refused_as_said(
    subject: Subject,
    presigner: Presigner,
    request: UploadRequest,
    rule: Rule,
    change: Callable[[Delivery], Delivery],
) -> None:
    ticket = presigner.issue(request)
    changed = change(Delivery.of(ticket, BODY))
    if ticket.enforced[rule] == "storage":
        _refused(subject, changed, f"a violation of {rule.value}, which the ticket says the storage enforces")
        _require(subject.backend.head(ticket.key) is None, f"a violation of {rule.value} is stored all the same")
        return
    _accepted(subject, changed)
    try:
        presigner.complete(ticket.token)
    except RuleViolated as violation:
        _require(violation.rule == rule.value, f"completion calls a violation of {rule.value} one of {violation.rule}")
    else:
        raise AssertionError(f"completion passes a violation of {rule.value}")
    _require(subject.backend.head(ticket.key) is None, f"a violation of {rule.value} is still there after completion")


def _accepted(subject: Subject, delivery: Delivery) -> None:
    status = delivery.send(subject.ssl_context)
    _require(200 <= status < 300, f"the storage answers {status} to what the ticket says that it accepts")


def _refused(subject: Subject, delivery: Delivery, what: str) -> None:
    status = delivery.send(subject.ssl_context)
    _require(status in _REFUSALS, f"the storage answers {status} to {what}")


def _next(value: str) -> str:
    """Return ``value`` with its last digit or letter exchanged for the next one, encodings left whole."""
    for place in range(len(value) - 1, -1, -1):
        character = value[place]
        if character.isalnum() and "%" not in value[max(0, place - 2) : place]:
            changed = str((int(character) + 1) % 10) if character.isdigit() else ("b" if character != "b" else "c")
            return f"{value[:place]}{changed}{value[place + 1 :]}"
    return f"{value}1"


def _raises(error: type[PresignError], call: Callable[[], object], what: str) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"{what} does not raise {error.__name__}")


def _require(condition: bool, complaint: str) -> None:
    # Not an assert statement, which python -O leaves out.
    if not condition:
        raise AssertionError(complaint)


def _drop(subject: Subject, ticket: Ticket) -> None:
    subject.backend.delete(ticket.key)
    _require(subject.backend.head(ticket.key) is None, "a deleted object is still there")


def _speaks_azure(subject: Subject, request: UploadRequest) -> bool:
    return any(name.lower() == "x-ms-blob-type" for name in subject.presigner().issue(request).headers)


def _form(fields: Mapping[str, str], body: bytes) -> bytes:
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    file = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'.encode()
    return b"".join([*parts, file, body, f"\r\n--{_BOUNDARY}--\r\n".encode()])
