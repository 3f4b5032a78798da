"""The concrete type in front: a policy, a backend and a secret, made into tickets and verified uploads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from types import MappingProxyType
from uuid import UUID, uuid4

from presign.backend import Backend, ObjectHead
from presign.errors import ConfigurationError, InvalidToken, NotUploaded, RuleViolated
from presign.policy import UploadPolicy
from presign.sniffing import FIRST_BYTES, contradiction
from presign.tokens import CompletionTokens
from presign.upload import Enforcer, Grant, Rule, StoredObject, Ticket, UploadRequest

COMPLETION_WINDOW = timedelta(hours=24)
"""How long after a ticket's expiry its upload can be completed: an upload that began in time may last."""

_HASHED_BYTES_AT_ONCE = 8 * 1024 * 1024


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Presigner:
    """Issues tickets for uploads that a policy admits, and verifies what was uploaded with them.

    ``secret`` signs completion tokens (see CompletionTokens); every process that serves must have the same. ``clock``
    answers aware datetimes. Raises ConfigurationError if ``backend`` cannot hold a rule that ``policy`` needs it to.
    Holds no state and may be shared between threads.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        policy: UploadPolicy,
        secret: str | bytes | Sequence[str | bytes],
        completion_window: timedelta = COMPLETION_WINDOW,
        clock: Callable[[], datetime] = _utc_now,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        _check_enforceable(backend, policy)
        self.backend = backend
        self.policy = policy
        self._tokens = CompletionTokens(secret)
        self._completion_window = completion_window
        self._clock = clock
        self._new_id = new_id

    def __repr__(self) -> str:
        return f"Presigner({self.backend.name!r}, prefix={self.policy.prefix!r})"

    def issue(self, request: UploadRequest, *, owner: str | None = None) -> Ticket:
        """Return a ticket for one upload; no I/O.

        ``owner`` is whom the application knows the request to come from, and who alone may complete it. Raises
        InvalidRequest (TooLarge, TooSmall, TypeNotAdmitted) and CredentialsUnavailable.
        """
        now = self._clock()
        grant = self.policy.decide(request, object_id=self._new_id(), owner=owner)
        upload = self.backend.sign_upload(grant, now)
        return Ticket(
            method=upload.method,
            url=upload.url,
            headers=upload.headers,
            fields=upload.fields,
            expires_at=upload.expires_at,
            now=now,
            key=grant.key,
            object_url=self.backend.object_url(grant.key),
            enforced=_enforcers(grant.rules, self.backend.enforces(grant)),
            token=self._tokens.issue(grant, expires_at=upload.expires_at + self._completion_window),
        )

    def complete(self, token: str, *, owner: str | None = None) -> StoredObject:
        """Verify what was uploaded with a ticket, and return it; calling again answers the same.

        An object that breaks a rule is deleted. Raises InvalidToken, TokenExpired, NotUploaded, RuleViolated and
        StorageUnavailable; after the last two kinds of failure nothing is lost, and the call can be made again.
        """
        grant = self._tokens.open(token, now=self._clock())
        if grant.owner != owner:
            raise InvalidToken("the token was issued to somebody else")
        # With a checksum to compare: S3 answers one for a whole object alone.
        first_bytes = FIRST_BYTES if grant.verify_content and grant.sha256 is None else 0
        head = self.backend.head(grant.key, first_bytes=first_bytes)
        if head is None:
            raise NotUploaded(
                f"nothing is stored under {grant.key}, or the server's credentials may not read it there",
                field="key",
                value=grant.key,
            )
        violation = self._violation(grant, head)
        if violation is not None:
            self.backend.delete(grant.key)
            raise violation
        return StoredObject(
            key=grant.key,
            url=self.backend.object_url(grant.key),
            size=head.size,
            content_type=head.content_type,
            etag=head.etag,
            version=head.version,
        )

    def sign_download(self, key: str, *, expires_in: timedelta, content_disposition: str | None = None) -> str:
        """Return a URL that reads one private object for ``expires_in``; no I/O.

        The application decides who may have it: any key is signed. Raises CredentialsUnavailable.
        """
        return self.backend.sign_download(
            key, self._clock(), expires_in=expires_in, content_disposition=content_disposition
        )

    def _violation(self, grant: Grant, head: ObjectHead) -> RuleViolated | None:
        violation = _violation_of_head(grant, head)
        if violation is None and grant.sha256 is not None and head.sha256 is None:
            violation = _violation_of_checksum(grant, self._sha256(grant.key, head))
        if violation is None and grant.verify_content and head.size:
            first_bytes = head.first_bytes
            if first_bytes is None:
                first_bytes = self.backend.read(grant.key, offset=0, length=FIRST_BYTES, etag=head.etag)
            found = contradiction(grant.content_type, first_bytes)
            if found is not None:
                violation = RuleViolated(
                    f"the object is said to be {grant.content_type}, and its first bytes are {found}",
                    rule=Rule.TYPE.value,
                    field="type",
                    value=found,
                    limit=grant.content_type,
                )
        return violation

    def _sha256(self, key: str, head: ObjectHead) -> str:
        digest = hashlib.sha256()
        for offset in range(0, head.size, _HASHED_BYTES_AT_ONCE):
            digest.update(self.backend.read(key, offset=offset, length=_HASHED_BYTES_AT_ONCE, etag=head.etag))
        return digest.hexdigest()


def _check_enforceable(backend: Backend, policy: UploadPolicy) -> None:
    for grant in policy.admissible_grants():
        missing = frozenset(grant.rules) - backend.enforces(grant)
        if Rule.CREATE_ONLY in missing:
            raise ConfigurationError(
                f"{backend.name} cannot enforce create_only with these settings, and no completion could verify it",
                field="create_only",
            )
        unmet = missing & frozenset(policy.require_at_storage)
        if unmet:
            raise ConfigurationError(
                f"{backend.name} does not itself enforce {_listed(unmet)} on every upload that the policy admits"
                f"{_remedy(grant, unmet)}",
                field="require_at_storage",
                value=_listed(unmet),
            )


def _remedy(grant: Grant, unmet: frozenset[Rule]) -> str:
    if Rule.SIZE in unmet and grant.exact_bytes is None:
        return "; require_size=True may help, for an exact size can be enforced where a range cannot"
    return ""


def _listed(rules: Iterable[Rule]) -> str:
    return ", ".join(sorted(rule.value for rule in rules))


@lru_cache(maxsize=256)
def _enforcers(rules: tuple[Rule, ...], at_storage: frozenset[Rule]) -> Mapping[Rule, Enforcer]:
    return MappingProxyType({rule: "storage" if rule in at_storage else "completion" for rule in rules})


def _violation_of_head(grant: Grant, head: ObjectHead) -> RuleViolated | None:
    if not grant.min_bytes <= head.size <= grant.max_bytes:
        too_small = head.size < grant.min_bytes
        return RuleViolated(
            f"the object has {head.size} bytes, and {grant.min_bytes} to {grant.max_bytes} were granted",
            rule=Rule.SIZE.value,
            field="size",
            value=head.size,
            limit=grant.min_bytes if too_small else grant.max_bytes,
        )
    if head.content_type != grant.content_type:
        return RuleViolated(
            f"the object is stored as {head.content_type!a}, and {grant.content_type} was granted",
            rule=Rule.TYPE.value,
            field="type",
            value=head.content_type,
            limit=grant.content_type,
        )
    for name, stored, granted in (
        ("content_disposition", head.content_disposition, grant.content_disposition),
        ("cache_control", head.cache_control, grant.cache_control),
        ("content_encoding", head.content_encoding, None),
    ):
        if stored != granted:
            return RuleViolated(
                f"the object's {name} is not what was granted",
                rule=Rule.HEADERS.value,
                field=name,
                value=stored,
                limit=granted,
            )
    for name, stored in head.further_headers.items():
        return RuleViolated(
            f"the object carries {name}, which was not granted", rule=Rule.HEADERS.value, field=name, value=stored
        )
    if dict(head.metadata) != dict(grant.metadata):
        return RuleViolated("the object's metadata is not what was granted", rule=Rule.HEADERS.value, field="metadata")
    if grant.sha256 is not None and head.sha256 is not None:
        return _violation_of_checksum(grant, head.sha256)
    return None


def _violation_of_checksum(grant: Grant, stored: str) -> RuleViolated | None:
    if stored == grant.sha256:
        return None
    return RuleViolated(
        "the object's bytes are not those that the ticket was issued for",
        rule=Rule.CHECKSUM.value,
        field="sha256",
        value=stored,
        limit=grant.sha256,
    )
