"""What a holder of part requests and of their token does instead of sending the parts, and what comes of it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import Any, Literal

from demo_server.storages.local_storage import PENDING_PREFIX, PUBLIC_PREFIX
from emulators.wire import Answer, Attempt, send, send_and_hang_up
from presign import (
    Accept,
    InspectedObject,
    Presigner,
    PresignError,
    Reject,
    StoredObject,
    Ticket,
    UploadPolicy,
    UploadRequest,
)
from presign.errors import PartsMissing, Rejected, UploadEnded
from presign.testing import InterruptedBackend
from tests.conftest import PNG, TOKEN_SECRET

OWNER, OTHER_OWNER = "alice", "mallory"
TAIL = b"the last part"
OTHER_TAIL = TAIL[::-1]
SECRET = "private/secret"

When = Literal["before", "sent", "listed", "committed", "verified", "published", "aborted"]
"""The moment of an attack: before the parts are sent; when they are; between the list and the commit; between the
commit and the verification; between the verification and the publication; afterwards; or after an abort."""

_HOOKS: dict[When, str] = {"listed": "commit", "committed": "head", "verified": "publish"}
_REFUSALS = range(400, 500)

Call = Callable[[], object]
Sent = Attempt | Call


@dataclass(frozen=True, kw_only=True)
class Row:
    """One attack.

    - ``do``: returns the requests, or the calls with the token, in their order.
    - ``taken``: whether the last of them succeeds.
    - ``verdict``: what the completion then raises; None if it publishes the file, as if there had been no attack.
    - ``hashed``: whether the parts are signed with their SHA-256.
    - ``differs``: for servers that are known to answer otherwise than the service itself, how; ``taken`` is the opposite
      there.
    - ``either``: for servers on which the attack may be without effect, or make the file a rejected one, why.
    - ``itself``: what the service itself does, if no server here does it.
    """

    do: Callable[[Any], Sequence[Sent]]
    when: When = "before"
    taken: bool = False
    verdict: type[PresignError] | None = None
    hashed: bool = False
    differs: Mapping[str, str] = field(default_factory=dict)
    either: Mapping[str, str] = field(default_factory=dict)
    itself: str = ""

    def is_refused_at_once(self, server: str) -> bool:
        """Whether the attack needs no part, and leaves nothing."""
        return self.when == "before" and not self.taken and self.verdict is None and server not in self.differs


def one(do: Callable[[Any], Sent], **options: Any) -> Row:
    """Return the row of an attack with one request."""
    return Row(do=lambda scene: [do(scene)], **options)


class Scene(ABC):
    """An upload of two parts by OWNER, and others that an attack may need.

    The application accepts exactly ``file``: nothing else counts as verified.
    """

    not_there: tuple[int, ...] = (501,)
    """How the server answers to requests that it does not know."""

    def __init__(self, backend: Any, *, part_bytes: int, server: str, hashed: bool = False) -> None:
        self.server = server
        self.file = PNG.ljust(part_bytes, b"\0") + TAIL
        self.parts = (self.file[:part_bytes], TAIL)
        self.part_bytes = part_bytes
        self.backend: Any = InterruptedBackend(backend)
        self.presigner = self.presigner_with()
        self.hashed = hashed
        self.before = self.public()
        self.ticket = self.issue()

    @cached_property
    def other(self) -> Ticket:
        """Another upload of the same owner."""
        return self.issue()

    @cached_property
    def foreign(self) -> Ticket:
        """An upload of another owner."""
        return self.issue(owner=OTHER_OWNER)

    def presigner_with(self, *, hours: float = 0, name: str = "attacked", secret: str = TOKEN_SECRET) -> Presigner:
        """Return a presigner whose clock is so many hours ahead."""
        return Presigner(
            name=name,
            backend=self.backend,
            policy=UploadPolicy(
                content_types={"image/png"},
                max_bytes=100 * self.part_bytes,
                prefix=PUBLIC_PREFIX,
                pending_prefix=PENDING_PREFIX,
                parts_from_bytes=self.part_bytes,
                part_bytes=self.part_bytes,
                metadata={"tenant": "7"},
            ),
            secret=secret,
            inspect=self.inspect,
            clock=_clock_ahead(hours),
        )

    def pending_key(self, ticket: Ticket) -> str:
        """Return the key of the upload until its publication."""
        return f"{PENDING_PREFIX}{ticket.key.rpartition('/')[2]}"

    # What differs between the clouds

    @abstractmethod
    def send(self, attempt: Attempt) -> Answer: ...

    @abstractmethod
    def public(self) -> dict[str, str]:
        """Return what is in the public place, asked with the administrator's key: keys and ETags."""

    @abstractmethod
    def read_public(self, key: str) -> bytes: ...

    @abstractmethod
    def delete_public(self, key: str) -> None: ...

    @abstractmethod
    def pending_url(self, ticket: Ticket) -> str: ...

    # What the owner does

    def issue(self, *, owner: str = OWNER, presigner: Presigner | None = None) -> Ticket:
        request = UploadRequest(content_type="image/png", size=len(self.file), name="cat.png", hashes_parts=self.hashed)
        return (presigner or self.presigner).issue(request, owner=owner)

    def part(self, number: int = 2, ticket: Ticket | None = None, *, body: bytes | None = None) -> Attempt:
        """Return the request of a part, signed for the bytes of the file, with these or other bytes."""
        ticket = ticket or self.ticket
        owner = OTHER_OWNER if ticket is self.foreign else OWNER
        return self.signed(self.presigner, ticket, number, owner=owner, body=body)

    def signed(
        self, presigner: Presigner, ticket: Ticket, number: int, *, owner: str = OWNER, body: bytes | None = None
    ) -> Attempt:
        content = self.parts[number - 1]
        digests = [hashlib.sha256(content).hexdigest()] if self.hashed else None
        (request,) = presigner.sign_parts(ticket.token, [number], owner=owner, sha256=digests).requests
        headers = tuple(request.headers.items())
        return Attempt(method="PUT", url=request.url, headers=headers, body=content if body is None else body)

    def send_file(self) -> None:
        for number in (1, 2):
            answer = self.send(self.part(number))
            assert answer.status in (200, 201), answer

    def complete(self) -> StoredObject:
        return self.presigner.complete(self.ticket.token, owner=OWNER)

    def inspect(self, uploaded: InspectedObject) -> Accept | Reject:
        return Accept() if uploaded.open().read() == self.file else Reject("these are other bytes")

    # What must hold

    def published(self) -> dict[str, bytes]:
        """Return what was published since the scene began; fail if any of it was not verified."""
        now = self.public()
        new = {key: self.read_public(key) for key, etag in now.items() if self.before.get(key) != etag}
        assert new in ({}, {self.ticket.key: self.file}), {key: content[:50] for key, content in new.items()}
        assert set(self.before) <= set(now), "something was deleted"
        return new

    def run(self, row: Row) -> None:
        """Upload, attack and complete; fail unless the outcome is that of the row and nothing unverified is public."""
        outcomes: list[bool] = []

        def attack() -> None:
            outcomes.append(self.attack(row))
            self.published()

        if row.when == "before":
            attack()
        self.send_file()
        if row.when == "sent":
            attack()
        if row.when == "aborted":
            self.presigner.abort(self.ticket.token, owner=OWNER)
            attack()
        if row.when in _HOOKS:
            self.backend.before[_HOOKS[row.when]] = attack
        if row.when == "published":
            stored = self.complete()
            attack()
            assert self.complete() == stored
        verdict = self._verdict()
        assert outcomes == [row.taken != (self.server in row.differs)], outcomes
        assert verdict is row.verdict or (self.server in row.either and verdict in (None, Rejected)), verdict
        assert bool(self.published()) == (verdict is None)
        self._require_private_and_apart()
        for key in self.published():
            self.delete_public(key)

    def try_in_vain(self, row: Row) -> None:
        """Attack before any part is sent; fail unless the attack is refused and leaves nothing."""
        assert not self.attack(row)
        assert self.presigner.list_parts(self.ticket.token, owner=OWNER).numbers == ()
        assert self.published() == {}

    def attack(self, row: Row) -> bool:
        """Return whether the last step succeeded."""
        succeeded = False
        for step in row.do(self):
            if isinstance(step, Attempt):
                status = self.send(step).status
                assert status in (200, 201, 202, 204, *self.not_there, *_REFUSALS), status
                succeeded = 200 <= status <= 299
            else:
                try:
                    step()
                    succeeded = True
                except PresignError:
                    succeeded = False
        return succeeded

    def _verdict(self) -> type[PresignError] | None:
        try:
            self.complete()
        except PresignError as error:
            return type(error)
        return None

    def _require_private_and_apart(self) -> None:
        answer = self.send(Attempt(method="GET", url=self.pending_url(self.ticket)))
        assert answer.status in (401, 403, 404, 409), "the pending object can be read"
        for name, owner in (("other", OWNER), ("foreign", OTHER_OWNER)):
            ticket = self.__dict__.get(name)
            if ticket is None:
                continue
            try:
                assert self.presigner.list_parts(ticket.token, owner=owner).numbers == ()
                self.presigner.complete(ticket.token, owner=owner)
            except (PartsMissing, UploadEnded):
                continue
            raise AssertionError("another upload was completed")


class MultipartScene(Scene):
    """A scene on a store that has uploads in parts as Amazon S3 has them."""

    etag_quote: str = ""
    """What stands around an ETag in the XML of a completion."""

    def send(self, attempt: Attempt) -> Answer:
        return send(attempt)

    def hang_up(self, attempt: Attempt) -> None:
        """Send a request whose body ends too early; nothing of it may be stored."""
        send_and_hang_up(attempt)
        assert self.presigner.list_parts(self.ticket.token, owner=OWNER).numbers == ()

    @property
    def bare(self) -> Attempt:
        """The request of a part without its number."""
        return self.part().without_parameter("partNumber")

    def manifest(self, *parts: bytes) -> bytes:
        """Return the body with which a client would commit these parts by itself."""
        quote = self.etag_quote
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{quote}{hashlib.md5(part).hexdigest()}{quote}</ETag></Part>"
            for number, part in enumerate(parts, start=1)
        )
        return f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()


def _clock_ahead(hours: float) -> Callable[[], datetime]:
    return lambda: datetime.now(timezone.utc) + timedelta(hours=hours)


def _token_calls(do: Callable[[Presigner, str], object]) -> Callable[[Scene], Call]:
    return lambda scene: lambda: do(scene.presigner, scene.ticket.token)


_CALLS: dict[str, Callable[[Presigner, str, str | None], object]] = {
    "signs": lambda presigner, token, owner: presigner.sign_parts(token, [1], owner=owner),
    "lists": lambda presigner, token, owner: presigner.list_parts(token, owner=owner),
    "aborts": lambda presigner, token, owner: presigner.abort(token, owner=owner),
    "completes": lambda presigner, token, owner: presigner.complete(token, owner=owner),
}
_DURING: dict[When, str] = {
    "listed": "between the list and the commit",
    "committed": "between the commit and the verification",
    "verified": "between the verification and the publication",
}


TOKEN_ROWS: dict[str, Row] = {
    **{
        f"the token: {who} {verb} with it": one(
            lambda s, call=call, owner=owner: lambda: call(s.presigner, s.ticket.token, owner),  # type: ignore[misc]
            when="sent",
        )
        for verb, call in _CALLS.items()
        for who, owner in (("another owner", OTHER_OWNER), ("nobody", None))
    },
    "the token: of another kind of upload": one(
        lambda s: lambda: s.presigner_with(name="other").complete(s.ticket.token, owner=OWNER), when="sent"
    ),
    "the token: signed by somebody else": one(
        lambda s: lambda: s.presigner_with(secret="mallory's own secret").complete(s.ticket.token, owner=OWNER), when="sent"
    ),
    "the token: one letter changed": one(
        _token_calls(lambda p, token: p.complete(("A" if token[0] != "A" else "B") + token[1:], owner=OWNER)), when="sent"
    ),
    "the token: without its signature": one(
        _token_calls(lambda p, token: p.complete(token.rpartition(".")[0], owner=OWNER)), when="sent"
    ),
    "the token: eight days later": one(
        lambda s: lambda: s.presigner_with(hours=8 * 24).complete(s.ticket.token, owner=OWNER), when="sent"
    ),
    "the token: of a whole file, for a part": one(
        lambda s: lambda: s.presigner.sign_parts(
            s.presigner.issue(UploadRequest(content_type="image/png", size=len(PNG)), owner=OWNER).token, [1], owner=OWNER
        )
    ),
    "the token: signs a number that the file does not have": one(
        _token_calls(lambda p, token: p.sign_parts(token, [3], owner=OWNER))
    ),
    "the token: signs number 0": one(_token_calls(lambda p, token: p.sign_parts(token, [0], owner=OWNER))),
    "the token: signs one number twice": one(_token_calls(lambda p, token: p.sign_parts(token, [1, 1], owner=OWNER))),
    "the token: signs no number": one(_token_calls(lambda p, token: p.sign_parts(token, [], owner=OWNER))),
    "the token: completes before the parts are there": one(_token_calls(lambda p, token: p.complete(token, owner=OWNER))),
    "the token: completes again after the publication": one(
        _token_calls(lambda p, token: p.complete(token, owner=OWNER)), when="published", taken=True
    ),
    "the token: aborts after the publication": one(
        _token_calls(lambda p, token: p.abort(token, owner=OWNER)), when="published", taken=True
    ),
    **{
        f"the token: {verb} {moment}, asking {'the same' if is_same else 'another'} process": one(
            lambda s, verb=verb, is_same=is_same: lambda: _CALLS[verb](s.presigner if is_same else s.presigner_with(), s.ticket.token, OWNER),  # type: ignore[misc]
            when=when,
            # A process knows which uploads it is completing.
            taken=not is_same,
        )
        for verb in ("aborts", "completes")
        for when, moment in _DURING.items()
        for is_same in (True, False)
        if (verb, when) != ("aborts", "listed")
    },
}  # fmt: skip
"""What is the same on every cloud, because the token is presign's own."""
