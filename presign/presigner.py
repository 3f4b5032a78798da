"""The Presigner: issues tickets for a policy, a backend and a secret, and completes the uploads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import lru_cache, partial
from types import MappingProxyType
from uuid import UUID, uuid4

from presign.backends.backend import Backend
from presign.errors import ConfigurationError, InvalidToken, NotUploaded
from presign.messages import Enforcer, Grant, Rule, StoredObject, Ticket, UploadRequest
from presign.policy import UploadPolicy
from presign.tokens import CompletionTokens
from presign.verification import find_violation, first_bytes_needed

COMPLETION_WINDOW = timedelta(hours=24)
"""How long after a ticket's expiry its upload can be completed: an upload that began in time may take long."""


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Presigner:
    """Issue tickets for uploads that a policy allows, and verify the stored objects.

    - ``secret`` signs completion tokens (see CompletionTokens); every process of the server needs the same one.
    - ``completion_window``: how long after a ticket's expiry its upload can be completed.
    - ``clock`` returns an aware datetime, and ``new_id`` the UUID of the next object's key.

    Raises ConfigurationError if ``backend`` cannot enforce a rule that ``policy`` requires of the storage. A Presigner
    holds no state and may be shared between threads.

    ::

        presigner = Presigner(
            backend=S3Backend(bucket="my-bucket", region="eu-central-1"),
            policy=UploadPolicy(content_types={"image/png"}, max_bytes=10_000_000, prefix="public/"),
            secret=os.environ["PRESIGN_SECRET"],
        )
        ticket = presigner.issue(UploadRequest(content_type="image/png", size=48213), owner="user-7")
        # The browser sends the file with the ticket, and then returns its token:
        stored = presigner.complete(ticket.token, owner="user-7")
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
        """Return a ticket for one upload, without I/O unless ``Backend.signing_does_io``.

        ``owner`` identifies the user who asks, as the application knows him; only the same owner can complete the
        upload. Raises InvalidRequest (TooLarge, TooSmall, TypeNotAllowed), CredentialsUnavailable, and
        ConfigurationError if ``owner`` is not text.
        """
        if owner is not None:
            _check_owner(owner)
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
            object_url=self._object_url(grant.key),
            enforced=_enforcers(grant.rules, self.backend.enforces(grant)),
            token=self._tokens.issue(grant, expires_at=upload.expires_at + self._completion_window),
        )

    def complete(self, token: str, *, owner: str | None = None) -> StoredObject:
        """Verify the object that was uploaded with a ticket, and return it; a second call returns the same.

        An object that breaks a rule is deleted, and RuleViolated says which rule. NotUploaded and StorageUnavailable
        change nothing: the call can be made again. Raises InvalidToken and TokenExpired as well.
        """
        grant = self._tokens.open(token, now=self._clock())
        if grant.owner != owner:
            raise InvalidToken("the token was issued to another owner")
        head = self.backend.head(grant.key, first_bytes=first_bytes_needed(grant))
        if head is None:
            raise NotUploaded(
                f"nothing is stored under {grant.key}, or the server's credentials may not read it",
                field="key",
                value=grant.key,
            )
        violation = find_violation(grant, head, partial(self._read, grant, head.etag))
        if violation is not None:
            self.backend.delete(grant.key)
            raise violation
        return StoredObject(
            key=grant.key,
            object_url=self._object_url(grant.key),
            size=head.size,
            content_type=head.content_type,
            etag=head.etag,
            version=head.version,
        )

    def sign_download(self, key: str, *, expires_in: timedelta, content_disposition: str | None = None) -> str:
        """Return a URL that reads one private object for ``expires_in``.

        This signs any key: the application must decide who may read the object. Raises CredentialsUnavailable, and
        ConfigurationError for a lifetime that the storage does not accept.
        """
        return self.backend.sign_download(
            key, self._clock(), expires_in=expires_in, content_disposition=content_disposition
        )

    def _object_url(self, key: str) -> str | None:
        return self.backend.object_url(key) if self.policy.public_read else None

    def _read(self, grant: Grant, etag: str, offset: int, length: int) -> bytes:
        return self.backend.read(grant.key, offset=offset, length=length, etag=etag)


def _check_owner(owner: object) -> None:
    try:
        if isinstance(owner, str):
            owner.encode()
            return
    except UnicodeEncodeError:
        pass
    raise ConfigurationError(
        f"owner must be text without surrogates, such as str(user.id), not {type(owner).__name__} {owner!a:.40}",
        field="owner",
    )


def _check_enforceable(backend: Backend, policy: UploadPolicy) -> None:
    for grant in policy.possible_grants():
        missing = frozenset(grant.rules) - backend.enforces(grant)
        if Rule.CREATE_ONLY in missing:
            raise ConfigurationError(
                f"{backend.name} cannot enforce create_only with these settings, and completion cannot verify it",
                field="create_only",
            )
        unmet = missing & frozenset(policy.require_at_storage)
        if unmet:
            raise ConfigurationError(
                f"{backend.name} does not itself enforce {_listed(unmet)} on every upload that the policy allows"
                f"{_remedy(grant, unmet)}",
                field="require_at_storage",
                value=_listed(unmet),
            )


def _remedy(grant: Grant, unmet: frozenset[Rule]) -> str:
    if Rule.SIZE in unmet and grant.exact_bytes is None:
        return "; require_size=True may help, because a storage may enforce an exact size but not a range"
    return ""


def _listed(rules: Iterable[Rule]) -> str:
    return ", ".join(sorted(rule.value for rule in rules))


@lru_cache(maxsize=256)
def _enforcers(rules: tuple[Rule, ...], at_storage: frozenset[Rule]) -> Mapping[Rule, Enforcer]:
    return MappingProxyType({rule: "storage" if rule in at_storage else "completion" for rule in rules})
