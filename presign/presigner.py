"""The Presigner: issues tickets for a policy, a backend and a secret, and completes the uploads."""

from __future__ import annotations

import inspect as introspection
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, TypeVar

from presign import parts
from presign.backends.backend import Backend, ObjectHead, ObjectStore
from presign.backends.failures import warn
from presign.backends.parts import PartsStore
from presign.completions import ExclusiveKeys, RecentItems, Reporter
from presign.errors import (
    CompletionPending,
    ConfigurationError,
    InvalidRequest,
    InvalidToken,
    NotUploaded,
    PresignError,
    Rejected,
    StorageUnavailable,
    TooLarge,
)
from presign.hooks import check_takes_one
from presign.inspection import Accept, Inspect, InspectedObject, NotYet, Reject
from presign.messages import (
    Completion,
    Enforcer,
    Grant,
    GrantInParts,
    PartsDigest,
    Rule,
    SignedParts,
    StoredObject,
    Ticket,
    TicketParts,
    UploadedParts,
    UploadOptions,
    UploadRequest,
)
from presign.policy import UploadPolicy
from presign.progress import CompletionProgress
from presign.publishing import complete_in_place, complete_pending
from presign.sweeping import SweepResult, sweep
from presign.tokens import CompletionTokens
from presign.verification import find_violation

COMPLETION_WINDOW = timedelta(hours=24)
"""How long after its ticket has expired an upload can be completed: one that began in time may take long."""

SLOW_LINE_BYTES_PER_SECOND = 125_000
"""1 Mbit/s. If the storage checks the expiry after the upload, a ticket lasts long enough for a line of this rate."""

MAX_OWNER_BYTES = 2048
"""The longest owner, in UTF-8. Every token contains it, and clients send tokens in bodies of 32 KiB at most."""

OnComplete = Callable[[Completion], Awaitable[None] | None]
"""Called after an upload was verified and published, before the client gets the answer; it may be a coroutine function.

It is called **at least once** for every upload whose completion succeeds. It is called again if the client repeats the
request, for example after an interrupted call. So record the upload under ``completion.stored.key``, which is unique to
the ticket, and do nothing if there is such a record already::

    def record(completion: Completion) -> None:
        Photo.objects.get_or_create(key=completion.stored.key, defaults={"owner_id": completion.owner})

An exception ends the completion with a server error. The object stays where it is, and the client can repeat the call.
"""

AwaitResult = Callable[[Awaitable[Any]], Any]
"""Called from a thread: waits for an awaitable, and returns its result."""

T = TypeVar("T")

_DEFAULT_NAME = "uploads"
_NO_OPTIONS = UploadOptions()
_MINUTE_SECONDS = 60
_PREPARATION_DELAY_SECONDS = 0.1


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


def _random_id() -> str:
    # As random as a UUID of version 4, in a third of the time.
    return os.urandom(16).hex()


class Presigner:
    """Issue tickets for uploads that a policy allows, and verify and publish what was uploaded.

    - ``name``: the kind of upload, such as ``"avatars"``. A token opens only at a presigner with the same name and
      storage, so give each presigner of an application a name of its own.
    - ``secret`` signs completion tokens (see CompletionTokens); every process of the server needs the same one.
    - ``inspect``: the application's own check of a verified object, before it is published (see
      presign.inspection).
    - ``on_complete``: tells the application what was published (see OnComplete).
    - ``completion_window``: how long after its ticket has expired an upload can be completed.
    - ``clock`` returns an aware datetime, and ``new_id`` 32 random hexadecimal digits for the next object's key.

    Raises ConfigurationError if ``backend`` cannot keep what ``policy`` promises, and if ``inspect`` or ``on_complete``
    cannot be called with one argument. May be shared between threads.

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
        name: str = _DEFAULT_NAME,
        inspect: Inspect | None = None,
        on_complete: OnComplete | None = None,
        completion_window: timedelta = COMPLETION_WINDOW,
        clock: Callable[[], datetime] = _utc_now,
        new_id: Callable[[], str] = _random_id,
    ) -> None:
        if not isinstance(name, str) or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise ConfigurationError(
                "name must be text of ASCII letters, digits, '-' and '_', such as 'avatars'", field="name"
            )
        _check_types(backend, policy, completion_window)
        check_place(backend, policy)
        self._in_parts = parts.files_in_parts(backend, policy)
        # Every ticket compares with it.
        self._parts_from_bytes = self._in_parts.from_bytes
        self.takes_parts: bool = self._parts_from_bytes <= policy.max_bytes
        _check_enforceable(backend, policy, self._in_parts)
        self.backend = backend
        self.policy = policy
        self.name = name
        self.requires_size: bool = (
            policy.require_size or policy.max_bytes > backend.max_upload_bytes or _needs_exact_size(backend, policy)
        )
        self._checks_expiry_late = backend.checks_expiry_late
        for hook, hook_name, argument in (
            (inspect, "inspect", "the InspectedObject"),
            (on_complete, "on_complete", "the Completion"),
        ):
            if hook is not None:
                check_takes_one(hook, hook_name, argument)
        self._tokens = CompletionTokens(secret, kind=name, storage=backend.name)
        self._inspect = inspect
        self._on_complete = on_complete
        self._completion_window = completion_window
        self._clock = clock
        self._new_id = new_id
        self._is_prepared = False
        self._completing = ExclusiveKeys()
        self._hashed = RecentItems()

    def __repr__(self) -> str:
        return f"Presigner({self.name!r}, {self.backend.name!r}, prefix={self.policy.prefix!r})"

    def issue(
        self, request: UploadRequest, *, owner: str | None = None, options: UploadOptions = _NO_OPTIONS
    ) -> Ticket:
        """Return a ticket for one upload, without I/O unless ``issuing_does_io``.

        ``owner`` identifies the user who asks, as the application knows him; only the same owner can complete the
        upload. ``options`` are the application's choices for this upload alone. For a large file, the store begins an
        upload in parts, and the ticket has ``parts``. Raises InvalidRequest (TooLarge, TooSmall, TypeNotAllowed),
        CredentialsUnavailable and, for parts, StorageUnavailable. Raises ConfigurationError for an ``owner`` that is
        not text, has more than MAX_OWNER_BYTES, or is missing although ``key_template`` needs it, and for ``options``
        that the policy or the storage does not allow.
        """
        if owner is not None:
            _check_owner(owner)
        if options is not _NO_OPTIONS:
            self._check_options(options)
        if self.comes_in_parts(request):
            return self._issue_in_parts(request, owner, options)
        if request.parts_digest is not None:
            raise InvalidRequest(
                "'parts_digest' must be absent, because this file comes in one request; give its 'sha256' instead",
                field="parts_digest",
            )
        now = self._clock()
        grant = self.policy.decide(request, object_id=self._new_id(), owner=owner, options=options)
        enforced = self.backend.enforces(grant)
        if self.requires_size and grant.exact_bytes is None:
            reason = (
                "a large file comes in parts"
                if self.policy.max_bytes > self.backend.max_upload_bytes
                else "this storage can enforce an exact size, but not a range"
            )
            raise InvalidRequest(f"'size' is required, because {reason}", field="size")
        if grant.sha256 is not None and Rule.CHECKSUM not in enforced:
            self._check_hashable(grant)
        if self._checks_expiry_late:
            grant = self._lasting_long_enough(grant)
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
            enforced=_enforcers(grant.rules, enforced),
            token=self._tokens.issue(grant, expires_at=upload.expires_at + self._completion_window),
        )

    def complete(
        self, token: str, *, owner: str | None = None, await_result: AwaitResult | None = None
    ) -> StoredObject:
        """Verify, inspect and publish what was uploaded with a ticket, tell the application, and return the object.

        A repeated call returns the same object, also if an earlier call was interrupted.

        - RuleViolated: the upload broke a rule and was deleted; the error names the rule.
        - Rejected: ``inspect`` rejected the upload, which was deleted; the error has the reason.
        - CompletionPending, NotUploaded, StorageUnavailable: there is no result yet. Repeat the call.
        - PartsMissing: the store lacks parts of the file. Repeat the call after they are sent.
        - UploadEnded: the upload in parts was aborted, or rejected earlier, or the store has forgotten it.
        - InvalidToken, TokenExpired: the token cannot complete an upload here.
        - ConfigurationError: ``inspect`` returned no verdict, or the object is larger than ``max_hashed_bytes``.

        ``await_result`` runs ``inspect`` and ``on_complete`` if they are coroutine functions; by default they run in an
        event loop of their own. In a coroutine, use complete_async.
        """
        grant = self._open(token, owner, self._clock())
        if await_result is None:
            # Before the storage is changed: on a running loop, coroutine functions of the application cannot run.
            _check_hooks_can_run(self._inspect, self._on_complete)
            await_result = _run_in_own_loop
        with self._completing.claim(grant.key) as reporter:
            judge = partial(self._judge, await_result, reporter)
            has_ended = False
            if isinstance(grant, GrantInParts):
                reporter.begin("committing")
                has_ended = not parts.commit(self._parts_store(), grant, partial(self._exists, grant))
            reporter.begin("verifying")
            try:
                if grant.pending_key is None:
                    head = complete_in_place(self.backend, grant, judge)
                else:
                    is_costly = self._inspect is not None
                    head = complete_pending(
                        self.backend,
                        grant,
                        judge,
                        judging_is_costly=is_costly,
                        report_copied=reporter.bytes_of("publishing"),
                    )
            except NotUploaded:
                if has_ended:
                    raise parts.ended(grant) from None
                raise
            stored = StoredObject(
                key=grant.key,
                object_url=self._object_url(grant.key),
                size=head.size,
                content_type=head.content_type,
                etag=head.etag,
                version=head.version,
            )
            if self._on_complete is not None:
                reporter.begin("recording")
                completion = Completion(
                    kind=self.name, stored=stored, owner=owner, name=grant.name, metadata=grant.metadata
                )
                _resolve(self._on_complete(completion), await_result)
        return stored

    async def complete_async(self, token: str, *, owner: str | None = None) -> StoredObject:
        """Do the same as ``complete`` in a thread; coroutine functions of the application run on the running loop."""
        # No ticket needs asyncio, and a process that is started for one request waits for every import.
        import asyncio

        return await asyncio.to_thread(self.complete, token, owner=owner, await_result=awaiter_of_running_loop())

    def sign_parts(
        self,
        token: str,
        numbers: Sequence[int],
        *,
        owner: str | None = None,
        sha256: Sequence[str] | None = None,
        url_alone: bool = False,
    ) -> SignedParts:
        """Return the requests that send the parts with these ``numbers``.

        There is no I/O unless ``Backend.signing_does_io``.

        ``sha256`` has the parts' digests in the same order, in hexadecimal digits, if the ticket's plan needs them. A
        client asks again for a part whose request has expired. ``url_alone`` is for clients that send no headers with a
        part, such as Uppy 6: the requests then lack what ``S3Backend(sign_guards=None)`` adds on stores that may need
        it. Raises InvalidToken, TokenExpired, InvalidRequest and CredentialsUnavailable.
        """
        now = self._clock()
        grant = self._open_in_parts(token, owner, now)
        return self._sign_parts(grant, numbers, sha256, now, url_alone=url_alone)

    def list_parts(self, token: str, *, owner: str | None = None) -> UploadedParts:
        """Return which parts the store has, so that a client can resume an upload.

        All of them are there once the upload was committed. Raises InvalidToken, TokenExpired, UploadEnded and
        StorageUnavailable.
        """
        grant = self._open_in_parts(token, owner, self._clock())
        return parts.uploaded(self._parts_store(), grant, partial(self._exists, grant))

    def abort(self, token: str, *, owner: str | None = None) -> None:
        """End an upload in parts and delete what was sent; an upload that has ended, or was completed, stays as it is.

        Raises InvalidToken, TokenExpired, StorageUnavailable, and CompletionPending while the upload is being
        completed.
        """
        grant = self._open_in_parts(token, owner, self._clock())
        with self._completing.claim(grant.key):
            parts.abort(self._parts_store(), grant)

    def is_in_parts(self, token: str) -> bool:
        """Say whether the file of this token comes in parts; False for a token that does not open here."""
        try:
            return isinstance(self._tokens.open(token, now=self._clock()), GrantInParts)
        except InvalidToken:
            return False

    def completion_progress(self, token: str) -> CompletionProgress | None:
        """Return how far the completion with this token is; None if this process is not completing the upload."""
        try:
            grant = self._tokens.open(token, now=self._clock())
        except InvalidToken:
            return None
        return self._completing.progress(grant.key)

    def issuing_does_io(self, request: UploadRequest) -> bool:
        """Say whether ``issue`` calls a service for this request, so that an event loop must call it in a thread."""
        return self.backend.signing_does_io or self.comes_in_parts(request)

    def comes_in_parts(self, request: UploadRequest) -> bool:
        """Say whether the file of this request comes in parts, if the policy allows it."""
        size = request.size
        # Most files are small, and a ticket for one costs microseconds.
        return size is not None and size >= self._parts_from_bytes and self._in_parts.includes(size, request.sha256)

    @property
    def parts_from_bytes(self) -> int | None:
        """The size from which on a file comes in parts, or None if no file that the policy allows does."""
        return self._parts_from_bytes if self.takes_parts else None

    def sweep(self, *, dry_run: bool = False) -> SweepResult:
        """Delete the pending uploads that can no longer be completed. Raises StorageUnavailable.

        Do this every few hours, or let a lifecycle rule of the bucket do it. An object under ``pending_prefix`` is
        deleted when it is older than the policy's ``max_expires_in`` plus the completion window. So if another
        presigner has longer times, it needs a pending prefix of its own. The sweep also ends the uploads in parts that
        can no longer be completed. If the policy takes no files in parts, an earlier version of it may have; then it is
        no failure that the credentials may not list such uploads. Raises ConfigurationError if the policy has no
        ``pending_prefix``.
        """
        if self.policy.pending_prefix is None:
            raise ConfigurationError(
                "the policy has no pending_prefix, so there is nothing to sweep", field="pending_prefix"
            )
        result = sweep(
            self.backend.pending,
            prefix=self.policy.pending_prefix,
            older_than=self.policy.max_expires_in + self._completion_window,
            now=self._clock(),
            dry_run=dry_run,
            parts=self.backend.parts,
            parts_older_than=self.policy.resumable_for + self._completion_window,
        )
        return result if self.takes_parts else replace(result, parts_failure=None)

    def check(self) -> None:
        """Ask the storage whether it accepts the settings, with a few requests; for the start of an application.

        The clock must not be slow by more than a ticket's lifetime. ``presign doctor`` finds out more, with real
        uploads. Raises ConfigurationError, with the setting and the remedy, and StorageUnavailable.
        """
        self.backend.check(lifetime=self.policy.expires_in)

    def prepare(self) -> None:
        """Load what the first completion needs, so that it takes no longer than the later ones.

        Call this when a worker starts, if uploads are completed there. Nothing is sent to the storage, but an identity
        may get a token. What fails here fails again at the completion, so it is only logged.
        """
        # Completion compares the first bytes with them.
        from presign import content  # noqa: F401

        # Not every backend has something to load.
        prepare = getattr(self.backend, "prepare", None)
        if prepare is None:
            return
        try:
            prepare()
        except PresignError as error:
            warn("the first completion could not be prepared: %s", error.detail)

    def prepare_in_background(self) -> None:
        """Call ``prepare`` in a thread, if this is the first call. The web adapters do so with the first ticket."""
        if self._is_prepared:
            return
        self._is_prepared = True
        # The ticket that is being issued comes first.
        timer = threading.Timer(_PREPARATION_DELAY_SECONDS, self.prepare)
        timer.daemon = True
        timer.start()

    def sign_download(self, key: str, *, expires_in: timedelta, content_disposition: str | None = None) -> str:
        """Return a URL that reads one private object for ``expires_in``.

        This signs any key: the application must decide who may read the object. Raises CredentialsUnavailable, and
        ConfigurationError for a lifetime that the storage does not accept.
        """
        if not isinstance(expires_in, timedelta):
            raise ConfigurationError(
                f"expires_in must be a timedelta such as timedelta(minutes=5), not {expires_in!a:.40}",
                field="expires_in",
            )
        return self.backend.sign_download(
            key, self._clock(), expires_in=expires_in, content_disposition=content_disposition
        )

    def _issue_in_parts(self, request: UploadRequest, owner: str | None, options: UploadOptions) -> Ticket:
        now = self._clock()
        # First, because it refuses a size above ``max_bytes``, also where the store has no parts.
        decided = self.policy.decide(request, object_id=self._new_id(), owner=owner, options=options)
        store = self._parts_store()
        enforced = store.enforces(decided)
        part_bytes = parts.part_bytes_of(store, decided.max_bytes, request.part_size, default=self.policy.part_bytes)
        digest = request.parts_digest
        if digest is not None:
            self._check_parts_digest(store, decided, digest, part_bytes)
        elif decided.sha256 is not None and Rule.CHECKSUM not in enforced:
            self._check_hashable(decided)
        grant = parts.begin(
            store,
            decided,
            part_bytes=part_bytes,
            hashes_parts=request.hashes_parts,
            parts_sha256=None if digest is None else digest.sha256,
            resumable_until=now.replace(microsecond=0) + self.policy.resumable_for,
        )
        plan = parts.plan_of(grant)
        signed = None if grant.needs_sha256 else self._sign_parts(grant, range(1, plan.at_once + 1), None, now)
        return Ticket(
            method="PUT",
            url=store.upload_url(grant),
            headers={},
            fields={},
            expires_at=grant.resumable_until if signed is None else signed.expires_at,
            now=now,
            key=grant.key,
            object_url=self._object_url(grant.key),
            enforced=_enforcers(grant.rules, enforced),
            token=self._tokens.issue_in_parts(grant),
            parts=TicketParts(plan=plan, requests=() if signed is None else signed.requests),
        )

    def _check_parts_digest(self, store: PartsStore, grant: Grant, digest: PartsDigest, part_bytes: int) -> None:
        if Rule.CHECKSUM in self.policy.require_at_storage:
            raise InvalidRequest(
                "'parts_digest' must be absent, because the storage itself must check the file, and cannot check this",
                field="parts_digest",
            )
        part_bytes = parts.part_bytes_for(store, grant, part_bytes)
        if digest.part_size != part_bytes:
            raise InvalidRequest(
                f"'part_size' must be {part_bytes} bytes, because the file comes in such parts; hash these",
                field="part_size",
                value=str(digest.part_size),
                limit=part_bytes,
            )
        if not parts.compares_before_commit(store, grant):
            self._check_hashable(grant)

    def _sign_parts(
        self,
        grant: GrantInParts,
        numbers: Sequence[int],
        sha256: Sequence[str] | None,
        now: datetime,
        *,
        url_alone: bool = False,
    ) -> SignedParts:
        # A client sends these parts one after another over the same line.
        seconds = parts.PARTS_AT_ONCE * grant.part_bytes // SLOW_LINE_BYTES_PER_SECOND
        lifetime = max(grant.expires_in, parts.REQUEST_LIFETIME, timedelta(seconds=seconds))
        expires_in = min(lifetime, self.policy.max_expires_in)
        return parts.sign(self._parts_store(), grant, numbers, sha256, now, expires_in=expires_in, url_alone=url_alone)

    def _open(self, token: str, owner: str | None, now: datetime) -> Grant:
        grant = self._tokens.open(token, now=now)
        if grant.owner != owner:
            raise InvalidToken("the token was issued to another owner")
        if not self.policy.allows(grant):
            raise InvalidToken("the policy does not allow this upload any more; ask for a new ticket and upload again")
        return grant

    def _open_in_parts(self, token: str, owner: str | None, now: datetime) -> GrantInParts:
        grant = self._open(token, owner, now)
        if not isinstance(grant, GrantInParts):
            raise InvalidToken("the file of this token comes in one request, and has no parts")
        return grant

    def _parts_store(self) -> PartsStore:
        store = self.backend.parts
        if store is None:
            raise ConfigurationError(f"{self.backend.name} stores no files in parts", field="backend")
        return store

    def _exists(self, grant: Grant) -> bool:
        """Say whether the upload of ``grant`` is stored, or was published."""
        is_pending = grant.pending_key is not None and self.backend.pending.head(grant.pending_key) is not None
        return is_pending or self.backend.head(grant.key) is not None

    def _object_url(self, key: str) -> str | None:
        return self.backend.object_url(key) if self.policy.public_read else None

    def _check_options(self, options: UploadOptions) -> None:
        for name in ("tags", "storage_class"):
            if getattr(options, name) and name not in self.backend.publish_options:
                raise ConfigurationError(f"{self.backend.name} cannot set {name} at publication", field=name)

    def _check_hashable(self, grant: Grant) -> None:
        limit = self.policy.max_hashed_bytes
        if grant.max_bytes > limit:
            raise TooLarge(
                f"a file with a checksum may have at most {limit} bytes here, and must declare its 'size'",
                field="size",
                value=grant.exact_bytes,
                limit=limit,
            )

    def _lasting_long_enough(self, grant: Grant) -> Grant:
        """Return the grant with a lifetime that is long enough to send its largest file over a slow line."""
        minutes = -(-grant.max_bytes // (SLOW_LINE_BYTES_PER_SECOND * _MINUTE_SECONDS))
        needed = min(timedelta(minutes=minutes), self.policy.max_expires_in)
        return grant if needed <= grant.expires_in or minutes <= 1 else replace(grant, expires_in=needed)

    def _judge(
        self, await_result: AwaitResult, reporter: Reporter, grant: Grant, store: ObjectStore, head: ObjectHead
    ) -> PresignError | None:
        reporter.begin("verifying")

        def read(offset: int, length: int) -> bytes:
            expected = max(0, min(length, head.size - offset))
            content = (
                store.read(grant.upload_key, offset=offset, length=length, etag=head.etag, version=head.version)
                if expected
                else b""
            )
            if len(content) != expected:
                # A verdict on incomplete bytes could publish a bad object, or delete a good one.
                raise StorageUnavailable(
                    f"{self.backend.name} returned {len(content)} bytes of a range of {expected} bytes"
                )
            return content

        known = (grant.upload_key, head.etag)
        violation = find_violation(
            grant,
            head,
            read,
            max_hashed_bytes=self.policy.max_hashed_bytes,
            is_hashed=known in self._hashed,
            report_hashed=reporter.bytes_of("verifying"),
        )
        if violation is not None:
            return violation
        if self._inspect is None:
            return None
        reporter.begin("inspecting")
        verdict: object = _resolve(
            self._inspect(
                InspectedObject(
                    key=grant.key,
                    content_type=grant.content_type,
                    size=head.size,
                    etag=head.etag,
                    owner=grant.owner,
                    name=grant.name,
                    metadata=grant.metadata,
                    read_range=read,
                )
            ),
            await_result,
        )
        match verdict:
            case Accept():
                return None
            case Reject(reason):
                return Rejected(reason)
            case NotYet(retry_after=seconds):
                # The client asks again and again; the object's SHA-256 is computed once.
                self._hashed.add(known)
                raise CompletionPending(
                    "the inspection of the upload has not ended",
                    retry_after=seconds,
                    progress=CompletionProgress(step="inspecting"),
                )
        raise ConfigurationError(
            f"inspect must return Accept, Reject or NotYet, not {type(verdict).__name__}", field="inspect"
        )


def awaiter_of_running_loop() -> AwaitResult:
    """Return what runs awaitables on the running event loop, for calls from another thread."""
    import asyncio  # for the reason that complete_async gives

    loop = asyncio.get_running_loop()
    return lambda awaitable: asyncio.run_coroutine_threadsafe(_as_coroutine(awaitable), loop).result()


def _resolve(result: object, await_result: AwaitResult) -> object:
    """Return the result of a function that may have been a coroutine function."""
    return await_result(result) if introspection.isawaitable(result) else result


def _check_hooks_can_run(*hooks: object) -> None:
    """Raise ConfigurationError if one of them is a coroutine function and an event loop runs in this thread."""
    if not any(introspection.iscoroutinefunction(hook) for hook in hooks):
        return
    import asyncio  # for the reason that complete_async gives

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError(
        "inspect or on_complete is a coroutine function, so a coroutine must call complete_async, not complete",
        field="on_complete",
    )


def _run_in_own_loop(awaitable: Awaitable[T]) -> T:
    import asyncio  # for the reason that complete_async gives

    return asyncio.run(_as_coroutine(awaitable))


async def _as_coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _check_owner(owner: object) -> None:
    try:
        if isinstance(owner, str):
            if len(owner.encode()) > MAX_OWNER_BYTES:
                raise ConfigurationError(
                    f"owner must have at most {MAX_OWNER_BYTES} bytes, because every token contains it; give an "
                    "identifier of the user, such as str(user.id)",
                    field="owner",
                    value=f"{owner[:20]}...",
                    limit=MAX_OWNER_BYTES,
                )
            return
    except UnicodeEncodeError:
        pass
    raise ConfigurationError(
        f"owner must be text without surrogates, such as str(user.id), not {type(owner).__name__} {owner!a:.40}",
        field="owner",
    )


def _check_types(backend: object, policy: object, completion_window: object) -> None:
    """Raise ConfigurationError for what a program without type checks confuses with the right arguments."""
    if not hasattr(backend, "sign_upload"):
        raise ConfigurationError(
            f"backend must be a backend such as S3Backend(...), not {type(backend).__name__}; open_backend returns a "
            "backend and a prefix",
            field="backend",
        )
    if not isinstance(policy, UploadPolicy):
        raise ConfigurationError(f"policy must be an UploadPolicy, not {type(policy).__name__}", field="policy")
    if not isinstance(completion_window, timedelta) or completion_window < timedelta(0):
        raise ConfigurationError(
            f"completion_window must be a timedelta such as timedelta(hours=24), not {completion_window!a:.40}",
            field="completion_window",
        )


def check_place(backend: Backend, policy: UploadPolicy) -> None:
    """Raise ConfigurationError if uploads would be public while they are pending, or too large for one request."""
    pending_prefix, prefix = policy.pending_prefix, policy.prefix
    largest = backend.max_upload_bytes if backend.parts is None else backend.parts.limits.max_bytes
    if policy.max_bytes > largest:
        raise ConfigurationError(
            f"{backend.name} stores at most {largest} bytes in one upload",
            field="max_bytes",
            value=str(policy.max_bytes),
            limit=largest,
        )
    if pending_prefix is None or backend.pending is not backend:
        return
    if pending_prefix.startswith(prefix) or prefix.startswith(pending_prefix):
        raise ConfigurationError(
            f"pending_prefix {pending_prefix!a} and prefix {prefix!a} overlap; neither may begin with the other",
            field="pending_prefix",
            value=pending_prefix,
        )
    if policy.public_read and not backend.has_public_prefixes:
        raise ConfigurationError(
            f"{backend.name} is public or private as a whole, so pending uploads would be public as well; give the "
            "backend another place for them, such as pending_container",
            field="pending_prefix",
            value=pending_prefix,
        )


def _check_enforceable(backend: Backend, policy: UploadPolicy, in_parts: parts.FilesInParts) -> None:
    is_public_in_place = policy.public_read and policy.pending_prefix is None and not policy.allow_active_content
    for grant in policy.possible_grants():
        is_in_parts = in_parts.includes(grant.exact_bytes, grant.sha256)
        enforced = backend.parts.enforces(grant) if is_in_parts and backend.parts else backend.enforces(grant)
        missing = frozenset(grant.rules) - enforced
        if Rule.CREATE_ONLY in missing and policy.pending_prefix is None:
            raise ConfigurationError(
                f"{backend.name} cannot enforce create_only with these settings, and completion cannot verify it",
                field="create_only",
            )
        if is_public_in_place and not enforced & {Rule.TYPE, Rule.SIZE}:
            raise ConfigurationError(
                f"{backend.name} enforces neither type nor size, so anything could be public until it is completed; "
                "set a pending_prefix, where uploads are private until then",
                field="pending_prefix",
            )
        unmet = missing & frozenset(policy.require_at_storage)
        if unmet:
            raise ConfigurationError(
                f"{backend.name} does not itself enforce {_listed(unmet)} on every upload that the policy allows"
                f"{_remedy(grant, unmet)}",
                field="require_at_storage",
                value=_listed(unmet),
            )


def _needs_exact_size(backend: Backend, policy: UploadPolicy) -> bool:
    """Say whether the storage enforces an exact size, but no range of sizes."""
    enforced = {
        is_exact: all(Rule.SIZE in backend.enforces(grant) for grant in grants)
        for is_exact in (True, False)
        if (grants := [grant for grant in policy.possible_grants() if (grant.exact_bytes is not None) is is_exact])
    }
    return enforced.get(True, False) and not enforced.get(False, True)


def _remedy(grant: Grant, unmet: frozenset[Rule]) -> str:
    if Rule.SIZE in unmet and grant.exact_bytes is None:
        return "; require_size=True may help, because a storage may enforce an exact size but not a range"
    return ""


def _listed(rules: Iterable[Rule]) -> str:
    return ", ".join(sorted(rule.value for rule in rules))


@lru_cache(maxsize=256)
def _enforcers(rules: tuple[Rule, ...], at_storage: frozenset[Rule]) -> Mapping[Rule, Enforcer]:
    return MappingProxyType({rule: "storage" if rule in at_storage else "completion" for rule in rules})
