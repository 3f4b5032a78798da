"""Completions that fail at a chosen step, as if the process had ended or the storage had failed there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from presign.backends.backend import Backend, ObjectStore
from presign.backends.parts import PartsStore
from presign.errors import StorageUnavailable
from presign.messages import Completion, StoredObject, Ticket
from presign.presigner import Presigner
from presign.testing.subject import Subject, delete_upload, require

# More than any backend needs for one completion.
_MAX_STEPS = 14

_INTERRUPTED_METHODS = frozenset(
    {"head", "read", "delete", "publish", "unexpected_attributes", "list_parts", "commit", "abort"}
)


class InterruptedBackend:
    """Pass every call on to ``backend``, and raise ``failure`` at call number ``fail_at``, counted from 0.

    With ``after``, the storage does what call ``fail_at`` asks for, and only its answer is lost. ``before`` maps a
    method's name to an action, which runs once, before the next call of that method. ``calls`` has the names of the
    calls so far. Only calls that a completion makes are counted, also those to ``backend.parts``. ``store`` gets the
    calls; by default it is ``backend``.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        fail_at: int = -1,
        after: bool = False,
        failure: BaseException | None = None,
        store: ObjectStore | PartsStore | None = None,
    ) -> None:
        self._backend: Any = backend
        self._store: Any = backend if store is None else store
        self.fail_at = fail_at
        self.after = after
        self.failure = failure
        self.calls: list[str] = []
        self.before: dict[str, Callable[[], object]] = {}

    @property
    def pending(self) -> InterruptedBackend:
        """Return this backend, or one for its pending store that counts the same calls."""
        return self if self._backend.pending is self._backend else self._view(self._backend.pending)

    @property
    def parts(self) -> InterruptedBackend | None:
        """Return one for the uploads in parts that counts the same calls; None if the backend has none."""
        return None if self._backend.parts is None else self._view(self._backend.parts)

    def _view(self, store: ObjectStore | PartsStore) -> InterruptedBackend:
        view = InterruptedBackend(
            self._backend, fail_at=self.fail_at, after=self.after, failure=self.failure, store=store
        )
        view.calls, view.before = self.calls, self.before
        return view

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._store, name)
        if name not in _INTERRUPTED_METHODS:
            return attribute

        def call(*arguments: Any, **options: Any) -> Any:
            action = self.before.pop(name, None)
            if action is not None:
                action()
            self.calls.append(name)
            failure = self.failure if len(self.calls) - 1 == self.fail_at else None
            if failure is not None and not self.after:
                raise failure
            result = attribute(*arguments, **options)
            if failure is not None:
                raise failure
            return result

        return call


def interrupt_each_step(
    subject: Subject,
    *,
    upload: Callable[[], Ticket],
    make_presigner: Callable[[Subject, Callable[[Completion], None]], Presigner],
    check: Callable[[Ticket, StoredObject], None],
) -> int:
    """Interrupt completions before and after each of their steps, and repeat each; return how many were interrupted.

    ``upload`` stores a file. ``make_presigner`` makes one for a subject, which tells the function that it is given.
    Raises AssertionError, as ``check`` does, if a repeated completion does not end as an uninterrupted one.
    """
    interruptions = 0
    for step in range(_MAX_STEPS):
        for after in (False, True):
            ticket = upload()
            told: list[Completion] = []
            backend: Any = InterruptedBackend(
                subject.backend, fail_at=step, after=after, failure=StorageUnavailable("interrupted on purpose")
            )
            try:
                make_presigner(replace(subject, backend=backend), told.append).complete(ticket.token)
            except StorageUnavailable:
                is_interrupted = True
            else:
                is_interrupted = False
            presigner = make_presigner(subject, told.append)
            stored = presigner.complete(ticket.token)
            require(presigner.complete(ticket.token) == stored, "a repeated completion returns another object")
            check(ticket, stored)
            require({each.stored for each in told} == {stored}, f"the application was told {told}")
            delete_upload(subject, ticket)
            if not is_interrupted:
                return interruptions
            interruptions += 1
    return interruptions
