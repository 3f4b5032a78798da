"""What every canary works with: the backend, the places that the doctor may use, and tickets for them."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Literal

from presign.backends.backend import Backend, ObjectStore, SignedUpload
from presign.backends.diagnosis import Diagnosable, Diagnosis, Observation, Outcome, Wanted
from presign.backends.knowledge import Mechanism
from presign.doctor.catalogue import CATALOGUE
from presign.doctor.cleanup import Cleanup
from presign.doctor.report import Finding, Severity
from presign.doctor.sending import Answer, Sender
from presign.messages import Grant, Rule, UploadRequest
from presign.policy import UploadPolicy
from presign.testing.requests import UploadAttempt

BODY = b"a canary of presign doctor"
MIN_BYTES, MAX_BYTES = 10, 100
LIFETIME = timedelta(seconds=60)
"""The lifetime of the doctor's tickets, which is that of a policy by default."""


class Aborted(Exception):
    """Raised by a canary after which no other one makes sense; its findings say why."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one test has shown: a finding before it is explained. ``severity`` replaces the catalogue's if it is bad."""

    code: str
    outcome: Outcome
    detail: str
    severity: Severity | None = None

    @classmethod
    def good(cls, code: str, detail: str) -> Result:
        """Return that the storage passed."""
        return cls(code=code, outcome="good", detail=detail)

    @classmethod
    def bad(cls, code: str, detail: str, *, severity: Severity | None = None) -> Result:
        """Return that the storage did not pass."""
        return cls(code=code, outcome="bad", detail=detail, severity=severity)

    @classmethod
    def unknown(cls, code: str, detail: str) -> Result:
        """Return that the test could not be made."""
        return cls(code=code, outcome="unknown", detail=detail)

    @classmethod
    def of(cls, observation: Observation) -> Result:
        """Return what a cloud's own examination has seen."""
        return cls(code=observation.code, outcome=observation.outcome, detail=observation.detail)


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of uploading in one request: a form or a PUT, and whether its tickets are create-only."""

    mechanism: Mechanism
    create_only: bool

    @property
    def described(self) -> str:
        """The way in words."""
        return "a POST form" if self.mechanism == "post" else "a PUT"


@dataclass(frozen=True, kw_only=True)
class PolicyHeaders:
    """The headers that the application's policy gives to every object, which are headers of its tickets, too."""

    content_disposition: Literal["inline", "attachment"] | None = "attachment"
    cache_control: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Session:
    """The storage under examination.

    ``current`` is the code of the test that runs, for a failure that ends it. ``shown`` collects the rules that the
    storage has enforced.
    """

    backend: Backend
    base_prefix: str
    base_pending_prefix: str | None
    folder: str
    origin: str | None
    content_types: tuple[str, ...]
    public_read: bool | None
    with_parts: bool
    max_expires_in: timedelta
    create_only: bool | None = None
    headers: PolicyHeaders = field(default_factory=PolicyHeaders)
    ssl_context: ssl.SSLContext | None = field(repr=False)
    cleanup: Cleanup = field(default_factory=Cleanup, repr=False)
    current: str = "settings"
    may_delete_published: bool = False
    pending_is_public: bool = False
    working_ways: list[Way] = field(default_factory=list)
    shown: dict[Mechanism, set[Rule]] = field(default_factory=dict)
    sent_headers: set[str] = field(default_factory=set)
    sent_methods: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.sender: Sender = Sender(ssl_context=self.ssl_context)
        self.diagnosis: Diagnosis | None = self.backend.diagnosis() if isinstance(self.backend, Diagnosable) else None

    @property
    def prefix(self) -> str:
        """Where the doctor may publish."""
        return self.base_prefix + self.folder

    @property
    def pending_prefix(self) -> str | None:
        """Where the doctor's uploads wait."""
        return None if self.base_pending_prefix is None else self.base_pending_prefix + self.folder

    @property
    def store(self) -> ObjectStore:
        """The store that the doctor uploads to."""
        return self.backend if self.base_pending_prefix is None else self.backend.pending

    def store_of(self, grant: Grant) -> ObjectStore:
        """Return the store that has ``grant.upload_key``."""
        return self.backend if grant.pending_key is None else self.backend.pending

    @property
    def store_now(self) -> datetime:
        """The time by the storage's clock, as far as it is known."""
        return datetime.now(timezone.utc) + (self.sender.clock_offset or timedelta())

    def new_key(self) -> str:
        """Return a key that nothing is stored under, where the doctor uploads."""
        return f"{self.prefix if self.pending_prefix is None else self.pending_prefix}{os.urandom(16).hex()}"

    def grant(
        self,
        *,
        create_only: bool = False,
        content_type: str | None = None,
        size: int | None = len(BODY),
        sha256: str | None = None,
        pending: bool = True,
        expires_in: timedelta = LIFETIME,
    ) -> Grant:
        """Return a grant for one upload of 10 to 100 bytes, or of exactly ``size``."""
        kind = content_type or self.content_types[0]
        policy = UploadPolicy(
            content_types={kind},
            min_bytes=MIN_BYTES,
            max_bytes=MAX_BYTES,
            prefix=self.prefix,
            pending_prefix=self.pending_prefix if pending else None,
            create_only=create_only,
            content_disposition=self.headers.content_disposition,
            cache_control=self.headers.cache_control,
            metadata=self.headers.metadata,
            allow_active_content=True,
            expires_in=expires_in,
            max_expires_in=expires_in,
        )
        request = UploadRequest(content_type=kind, size=size, sha256=sha256, name="canary.bin")
        return policy.decide(request, object_id=os.urandom(16).hex())

    def grant_under(self, key: str) -> Grant:
        """Return a grant for one upload to ``key``, where the doctor uploads."""
        name = key.rpartition("/")[2]
        decided = self.grant()
        if decided.pending_key is None:
            return replace(decided, key=key)
        return replace(decided, key=self.prefix + name, pending_key=key)

    def sign(self, grant: Grant, *, at: datetime | None = None, body: bytes = BODY) -> UploadAttempt:
        """Return the request of a ticket for ``grant``, and remember that it may store something."""
        signed = self.backend.sign_upload(grant, at or datetime.now(timezone.utc))
        self.cleanup.add(self.store_of(grant), grant.upload_key)
        self.note_headers(signed)
        return UploadAttempt.of(signed, body)

    def note_headers(self, signed: SignedUpload) -> None:
        """Remember what a page must be allowed to send with such a ticket, for the CORS rule to paste."""
        self.sent_methods.add(signed.method)
        self.sent_headers |= {name.lower() for name in signed.headers}

    def guards_of(self, attempt: UploadAttempt) -> list[str]:
        """Return the names of the guards that a request carries; see Diagnosis."""
        names = frozenset[str]() if self.diagnosis is None else self.diagnosis.guard_names
        return sorted(name for name in map(str.lower, attempt.headers) if name in names)

    def upload(self, body: bytes = BODY) -> tuple[Grant, UploadAttempt] | None:
        """Store one upload in a way that works; return its grant and its request, or None if it is refused."""
        grant = self.grant(create_only=self.working_ways[-1].create_only, size=len(body))
        attempt = self.sign(grant, body=body)
        return (grant, attempt) if self.send(attempt).is_accepted else None

    def sign_unguarded(self, grant: Grant) -> UploadAttempt | None:
        """Return the request of ``grant`` without guards, or None if the backend signs none; see Diagnosis."""
        if self.diagnosis is None:
            return None
        signed = self.diagnosis.sign_unguarded(grant, datetime.now(timezone.utc))
        return None if signed is None else UploadAttempt.of(signed, BODY)

    def send(self, attempt: UploadAttempt) -> Answer:
        """Send an upload as the page does."""
        return self.sender.attempt(attempt, origin=self.origin)

    def object_url(self, grant: Grant, attempt: UploadAttempt) -> str:
        """Return the URL, without a signature, under which the upload of ``grant`` is stored."""
        return attempt.object_url(grant.upload_key)

    def has_shown(self, mechanism: Mechanism, *rules: Rule) -> None:
        """Remember rules that the storage has enforced."""
        self.shown.setdefault(mechanism, set()).update(rules)

    def finding(self, result: Result) -> Finding:
        """Return the finding, with its meaning and its remedy."""
        if result.outcome == "good":
            return Finding(code=result.code, severity=Severity.OK, detail=result.detail)
        if result.outcome == "unknown":
            return Finding(code=result.code, severity=Severity.UNKNOWN, detail=result.detail)
        explanation = CATALOGUE[result.code]
        return Finding(
            code=result.code,
            severity=result.severity or explanation.severity,
            detail=result.detail,
            meaning=explanation.meaning,
            remedy=explanation.remedy,
            paste=None if self.diagnosis is None else self.diagnosis.remedy(result.code, self._wanted()),
        )

    def _wanted(self) -> Wanted:
        return Wanted(
            prefix=self.base_prefix,
            pending_prefix=self.base_pending_prefix,
            origin=self.origin,
            methods=tuple(sorted(self.sent_methods)),
            headers=tuple(sorted(self.sent_headers)),
        )
