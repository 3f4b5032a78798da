"""The presigner of each alias, built when it is first used: every worker process so has clients of its own."""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from inspect import isawaitable

from asgiref.sync import sync_to_async

from presign.backends.registry import open_backend
from presign.django.configuration import UploadSettings, read_settings
from presign.django.signals import announce_completed
from presign.django.storages import open_storage
from presign.django.token_secret import derived_secrets
from presign.messages import Completion
from presign.presigner import Presigner

_lock = threading.Lock()
_presigners: dict[str, Presigner] = {}
_SETTINGS = frozenset({"PRESIGN", "STORAGES", "SECRET_KEY", "SECRET_KEY_FALLBACKS"})


def get_presigner(alias: str) -> Presigner:
    """Return the presigner that the setting PRESIGN describes under ``alias``, always the same one in a process.

    Raises KeyError for an unknown alias, and ConfigurationError.
    """
    presigner = _presigners.get(alias)
    if presigner is None:
        with _lock:
            presigner = _presigners.get(alias)
            if presigner is None:
                presigner = _presigners[alias] = build_presigner(read_settings(alias))
    return presigner


def build_presigner(described: UploadSettings) -> Presigner:
    """Return a new presigner; raises ConfigurationError. The SDK may look for credentials, with a network call."""
    if described.backend is None:
        backend, prefix = open_storage(str(described.storage))
    elif isinstance(described.backend, str):
        backend, prefix = open_backend(described.backend)
    else:
        backend, prefix = described.backend(), ""
    secret = described.secret
    return Presigner(
        name=described.alias,
        backend=backend,
        policy=described.policy_under(prefix),
        secret=derived_secrets(described.alias) if secret is None else secret,  # type: ignore[arg-type]
        inspect=described.inspect,
        on_complete=_Completed(described),
        completion_window=described.completion_window,
    )


def forget_presigners(*, setting: str, **_: object) -> None:
    """Read the settings and build presigners again after a test changed a setting that they depend on."""
    if setting in _SETTINGS:
        read_settings.cache_clear()
        with _lock:
            _presigners.clear()


class _Completed:
    """Call the application's ``on_complete``, and then send the signal."""

    def __init__(self, described: UploadSettings) -> None:
        self._on_complete = described.on_complete

    def __call__(self, completion: Completion) -> Awaitable[None] | None:
        result = None if self._on_complete is None else self._on_complete(completion)
        if isawaitable(result):
            return self._later(result, completion)
        announce_completed(completion)
        return None

    async def _later(self, result: Awaitable[object], completion: Completion) -> None:
        await result
        # Receivers may use the database, which Django does not allow on the event loop.
        await sync_to_async(announce_completed, thread_sensitive=False)(completion)
