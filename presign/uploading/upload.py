"""The whole upload of one file: a ticket, the file or its parts, and the completion; a later run goes on with it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from presign.uploading.api import HASHES_FROM_BYTES, Api, HashedParts, PartRequest, Pending, Plan, Ticket
from presign.uploading.connections import Connections
from presign.uploading.errors import FileChanged, NotReachable, Refused, StorageRefused, UploadFailed
from presign.uploading.parts import ATTEMPTS, PartsSender
from presign.uploading.source import SourceFile
from presign.uploading.state import StateFile, Unfinished
from presign.uploading.storage import send_file

# As in the server's default policy, and in the JavaScript client: the file is hashed before the server can decide it.
_PART_BYTES = 8 * 1024**2
_MAX_PARTS = 10_000
_MEBIBYTE = 1024**2
_MAX_REPAIRS = 3
_MAX_COMPLETION_SECONDS = 1800.0


class Upload:
    """The upload of the file at ``path`` to the application's server at ``api``.

    - ``headers``: go with every request to that server, and never to the storage.
    - ``hash_file``: ask for a ticket that allows only these bytes, by the file's SHA-256.
    - ``hash_parts``: the same, by the digests of the parts if the file comes in parts. Each part is hashed once.
    - ``parallel``: how many parts are sent at a time.
    - ``allow_http``: permit addresses without TLS that are not on this machine.
    - ``state_folder``: where the tokens of unfinished uploads are kept.
    - ``on_note``: gets sentences for people.

    Memory does not grow with the file. Raises UploadFailed for an ``api`` that cannot be one.

        Upload(Path("film.mp4"), api="https://app.example.com/files", content_type="video/mp4", ...).run(print)
    """

    def __init__(
        self,
        path: Path,
        *,
        api: str,
        headers: Mapping[str, str],
        content_type: str,
        name: str,
        hash_file: bool,
        hash_parts: bool,
        parallel: int,
        allow_http: bool,
        state_folder: Path,
        on_note: Callable[[str], None],
    ) -> None:
        self._path = path
        self._content_type = content_type
        self._name = name
        self._hash_file = hash_file
        self._hash_parts = hash_parts
        self._parallel = parallel
        self._connections = Connections(api=api, parallel=parallel, allow_http=allow_http)
        if "?" in api or "#" in api:
            raise UploadFailed("the address has a query or a fragment; it must be https://HOST/PATH")
        self._api = Api(api, headers, self._connections)
        self._state = StateFile(state_folder, api=api, path=path.resolve())
        self._on_note = on_note
        self._on_progress: Callable[[int], None] = _ignore
        self._on_hashed: Callable[[int], None] = _ignore
        self._done_bytes = 0

    @property
    def can_go_on(self) -> bool:
        """Whether another run would go on with what is stored already."""
        return self._state.load() is not None

    def run(self, on_progress: Callable[[int], None], on_hashed: Callable[[int], None] | None = None) -> dict[str, Any]:
        """Upload the file, or go on with the upload of an earlier run, and return the stored object.

        ``on_progress`` gets how many bytes of the file are stored or, if it is not sent in parts, on their way.
        Before that, ``on_hashed`` gets how many bytes are hashed, if the ticket shall allow only these bytes.
        Raises UploadFailed. Another run can then go on with what is stored, unless the server has refused the file, or
        the file has changed meanwhile.
        """
        self._on_progress, self._on_hashed = on_progress, on_hashed or _ignore
        source = SourceFile.of(self._path)
        sha256 = self._sha256(source) if self._hash_file else None
        try:
            stored = self._go_on(source, sha256) or self._begin(source, sha256)
        except FileChanged:
            self._forget()
            raise
        except Refused as refusal:
            if refusal.is_verdict:
                self._state.remove()
            raise
        self._state.remove()
        return stored

    def abort(self) -> None:
        """End the unfinished upload of this file, and forget it; raises UploadFailed if there is none."""
        unfinished = self._state.load()
        if unfinished is None:
            raise UploadFailed("there is no unfinished upload of this file to this address")
        if unfinished.in_parts:
            try:
                self._api.abort(unfinished.token)
            except Refused as refusal:
                if not refusal.has_ended:
                    raise
        self._state.remove()

    def _go_on(self, source: SourceFile, sha256: str | None) -> dict[str, Any] | None:
        """Go on with the upload of an earlier run; return None if there is no upload of the same file."""
        unfinished = self._state.load()
        if unfinished is None:
            return None
        if difference := self._difference(unfinished, source, sha256):
            self._on_note(f"{difference}, so it is uploaded anew")
            self._forget()
            return None
        token = unfinished.token
        try:
            if not unfinished.in_parts:
                return self._complete(token)
            plan, stored = self._api.list_parts(token, file_size=source.size)
        except Refused as refusal:
            if not refusal.has_ended and refusal.code != "not_uploaded":
                raise
            self._on_note("The earlier upload of this file has ended, so it is uploaded anew")
            self._state.remove()
            return None
        self._on_note(f"Going on: {len(stored)} of {plan.count} parts are stored already")
        missing = [number for number in range(1, plan.count + 1) if number not in stored]
        self._done_bytes = min(source.size, len(stored) * plan.part_size)
        self._on_progress(self._done_bytes)
        if len(unfinished.digests) not in {0, plan.count}:
            raise UploadFailed("the state of the upload has other parts than the server; end the upload with --abort")
        return self._send_parts(source, token, plan, missing, digests=unfinished.digests)

    def _difference(self, unfinished: Unfinished, source: SourceFile, sha256: str | None) -> str | None:
        if (unfinished.size, unfinished.mtime_ns) != (source.size, source.mtime_ns):
            return "The file changed after its upload had begun"
        is_hashed_alike = (
            bool(unfinished.sha256 or unfinished.digests) if self._hash_parts else unfinished.sha256 == sha256
        )
        if not is_hashed_alike or (unfinished.content_type, unfinished.name) != (self._content_type, self._name):
            return "The upload of this file began with another type, name or SHA-256"
        return None

    def _forget(self) -> None:
        """Forget the unfinished upload; if the server cannot end it now, its sweep will."""
        unfinished = self._state.load()
        if unfinished is not None and unfinished.in_parts:
            with suppress(UploadFailed):
                self._api.abort(unfinished.token)
        self._state.remove()

    def _begin(self, source: SourceFile, sha256: str | None) -> dict[str, Any]:
        hashed = None
        if self._hash_parts:
            ticket, sha256, hashed = self._issue_for_hashed_parts(source)
        else:
            ticket = self._issue(source, sha256)
        if ticket.plan is None:
            return self._send_whole(source, sha256, ticket)
        digests = () if hashed is None else hashed.digests
        try:
            self._remember(source, sha256, ticket, digests)
        except UploadFailed:
            with suppress(UploadFailed):
                self._api.abort(ticket.token)
            raise
        numbers = range(1, ticket.plan.count + 1)
        return self._send_parts(source, ticket.token, ticket.plan, numbers, ticket.requests, digests=digests)

    def _issue(self, source: SourceFile, sha256: str | None, hashed: HashedParts | None = None) -> Ticket:
        return self._api.issue(
            content_type=self._content_type, size=source.size, name=self._name, sha256=sha256, hashed=hashed
        )

    def _issue_for_hashed_parts(self, source: SourceFile) -> tuple[Ticket, str | None, HashedParts | None]:
        """Return a ticket that allows only these bytes, and the digests for which it was issued.

        If the server cuts the file into parts of another size, it names this size, and the parts are hashed again. If
        it takes the file in one request only, it gets the SHA-256 of the whole file.
        """
        part_size = max(_PART_BYTES, -(-source.size // (_MAX_PARTS * _MEBIBYTE)) * _MEBIBYTE)
        for is_last in (False, True) if source.size >= HASHES_FROM_BYTES else ():
            hashed = self._hashed_parts(source, part_size)
            try:
                return self._issue(source, None, hashed), None, hashed
            except Refused as refusal:
                if refusal.field == "parts_digest":
                    break
                if refusal.field != "part_size" or refusal.limit is None or refusal.limit <= 0 or is_last:
                    raise
                part_size = refusal.limit
        sha256 = self._sha256(source)
        return self._issue(source, sha256), sha256, None

    def _hashed_parts(self, source: SourceFile, part_size: int) -> HashedParts:
        starts = range(0, source.size, part_size)
        return HashedParts(
            part_size=part_size,
            digests=tuple(
                source.sha256(start, min(part_size, source.size - start), on_read=self._on_hashed) for start in starts
            ),
        )

    def _sha256(self, source: SourceFile) -> str:
        return source.sha256(0, source.size, on_read=self._on_hashed)

    def _remember(self, source: SourceFile, sha256: str | None, ticket: Ticket, digests: tuple[str, ...] = ()) -> None:
        self._state.save(
            Unfinished(
                token=ticket.token,
                size=source.size,
                mtime_ns=source.mtime_ns,
                content_type=self._content_type,
                name=self._name,
                sha256=sha256,
                in_parts=ticket.plan is not None,
                digests=digests,
            )
        )

    def _send_whole(self, source: SourceFile, sha256: str | None, ticket: Ticket) -> dict[str, Any]:
        for attempt in range(1, ATTEMPTS + 1):
            if attempt > 1 and time.monotonic() >= ticket.deadline:
                ticket = self._issue(source, sha256)
            try:
                send_file(ticket, source, self._connections, self._on_progress)
                break
            except (StorageRefused, NotReachable) as failure:
                source.check_unchanged()
                # The answer may have been lost, and some storages refuse what they have already. Asking costs less
                # than sending.
                stored = self._complete_if_stored(ticket)
                if isinstance(stored, Pending):
                    break
                if stored is not None:
                    return stored
                is_final = isinstance(failure, StorageRefused) and time.monotonic() < ticket.deadline
                if is_final or attempt == ATTEMPTS:
                    raise
                time.sleep(random.uniform(0.5, 1) * 2 ** (attempt - 1))  # noqa: S311  (no secret)
        # If the process ends now, the next one must not send the bytes again.
        self._remember(source, sha256, ticket)
        return self._complete(ticket.token)

    def _complete_if_stored(self, ticket: Ticket) -> dict[str, Any] | Pending | None:
        try:
            return self._api.complete(ticket.token)
        except Refused as refusal:
            if refusal.is_verdict:
                raise
            return None

    def _send_parts(
        self,
        source: SourceFile,
        token: str,
        plan: Plan,
        numbers: Sequence[int],
        requests: Sequence[PartRequest] = (),
        *,
        digests: Sequence[str],
    ) -> dict[str, Any]:
        for repairs in range(_MAX_REPAIRS + 1):
            if numbers:
                PartsSender(
                    api=self._api,
                    connections=self._connections,
                    source=source,
                    token=token,
                    plan=plan,
                    parallel=self._parallel,
                    on_progress=self._count,
                    digests=digests,
                ).send(numbers, requests)
            source.check_unchanged()
            try:
                return self._complete(token)
            except Refused as refusal:
                if refusal.code != "parts_missing" or not refusal.numbers or repairs == _MAX_REPAIRS:
                    raise
                numbers, requests = sorted(refusal.numbers), ()
                if numbers[-1] > plan.count:
                    raise
                self._on_note(f"The storage lacks {len(numbers)} of {plan.count} parts, which are sent again")
        raise AssertionError("the last repair returns or raises")

    def _count(self, confirmed_bytes: int) -> None:
        self._done_bytes += confirmed_bytes
        self._on_progress(self._done_bytes)

    def _complete(self, token: str) -> dict[str, Any]:
        until = time.monotonic() + _MAX_COMPLETION_SECONDS
        is_told = False
        while True:
            stored = self._api.complete(token)
            if not isinstance(stored, Pending):
                return stored
            if not is_told:
                self._on_note("The file is stored, and the server verifies it")
                is_told = True
            if time.monotonic() + stored.retry_after_seconds > until:
                raise NotReachable("the server has not verified the file within half an hour")
            time.sleep(stored.retry_after_seconds)


def _ignore(_: int) -> None:
    pass
