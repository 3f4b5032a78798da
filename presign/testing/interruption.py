"""A backend whose calls fail at a chosen step, as if the process had ended or the storage had failed there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from presign.backends.backend import Backend, ObjectStore
from presign.backends.parts import PartsStore

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
