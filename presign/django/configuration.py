"""The setting ``PRESIGN``: one description for each kind of upload, under its alias.

::

    PRESIGN = {
        "photos": {
            "backend": "s3://my-bucket/photos/?region=eu-central-1",
            "content_types": ["image/png", "image/jpeg"],
            "max_bytes": 10_000_000,
            "authorize": "shop.uploads.may_upload",
        },
    }

- ``backend``: an address (see ``presign.open_backend``); or a function that returns a ``presign.Backend``, or its
  dotted path, for options that no address has. Or instead ``storage``: an alias of ``STORAGES``, whose bucket, region,
  endpoint and credentials are then used (django-storages' S3Storage, AzureStorage, GoogleCloudStorage).
- ``authorize``, always required: a function, or its dotted path. It gets the request and returns True or False, or
  raises Unauthenticated, Forbidden, TooManyRequests or Django's PermissionDenied. It may be a coroutine function.
  ``presign.django.authorization`` has two of them.
- ``inspect``, ``on_complete``: functions, or their dotted paths; see ``presign.Presigner``.
- ``secret``: signs the tokens; see ``presign.tokens.CompletionTokens``. By default it is derived from ``SECRET_KEY``
  and ``SECRET_KEY_FALLBACKS``.
- ``companion``: True also serves what Uppy 5 and 6 ask for in their Companion
  mode (see docs/uppy.md).
- ``completion_window``: see ``presign.Presigner``.
- ``max_files``: how many files one request may have, if its body is a list; 100 by default. ``authorize`` decides once
  for all of them.
- everything else: members of ``presign.UploadPolicy``. ``prefix`` is added to the prefix of the address or to the
  ``location`` of the storage, so it may be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import cache
from typing import Any, cast

from django.conf import settings
from django.utils.module_loading import import_string

from presign.backends.backend import Backend
from presign.errors import ConfigurationError
from presign.hooks import must_take_one, takes_one
from presign.http.lists import MAX_FILES
from presign.policy import UploadPolicy
from presign.presigner import COMPLETION_WINDOW

Secret = str | bytes | Collection[str | bytes]

_OWN_MEMBERS = frozenset(
    {
        "backend",
        "storage",
        "authorize",
        "inspect",
        "on_complete",
        "secret",
        "companion",
        "completion_window",
        "max_files",
    }
)
_POLICY_MEMBERS = frozenset(member.name for member in fields(UploadPolicy))


@dataclass(frozen=True, kw_only=True)
class UploadSettings:
    """The description of one kind of upload: texts and functions, before anything is opened.

    Either ``backend`` or ``storage`` is set. ``policy`` has the members of an UploadPolicy.
    """

    alias: str
    backend: str | Callable[[], Backend] | None
    storage: str | None
    policy: Mapping[str, Any]
    authorize: Callable[..., Any]
    inspect: Callable[..., Any] | None
    on_complete: Callable[..., Any] | None
    companion: bool
    completion_window: timedelta
    max_files: int
    secret: Secret | None = field(repr=False)

    def policy_under(self, prefix: str) -> UploadPolicy:
        """Return the policy, whose keys all begin with ``prefix``; raises ConfigurationError."""
        own = self.policy.get("prefix", "")
        if not isinstance(own, str):
            raise _wrong(self.alias, "prefix", "must be text such as 'photos/'")
        try:
            return UploadPolicy(**{**self.policy, "prefix": prefix + own})
        except ConfigurationError as error:
            raise _wrong(self.alias, error.field, error.detail) from None


def aliases() -> list[str]:
    """Return the aliases of the setting PRESIGN; raises ConfigurationError if it is no dictionary."""
    return list(_all())


@cache
def read_settings(alias: str) -> UploadSettings:
    """Return the description of one kind of upload, which is read once in a process.

    Raises KeyError for an unknown alias, and ConfigurationError, which names the member, for a wrong description.
    """
    given = _all()[alias]
    if not isinstance(given, Mapping):
        raise _wrong(alias, None, "must be a dictionary")
    unknown = sorted(str(name) for name in given.keys() - _OWN_MEMBERS - _POLICY_MEMBERS)
    if unknown:
        known = ", ".join(sorted(_OWN_MEMBERS | _POLICY_MEMBERS))
        raise _wrong(alias, unknown[0], f"is not known; known are {known}")
    for name in ("content_types", "max_bytes", "authorize"):
        if given.get(name) is None:
            raise _wrong(alias, name, "is missing")
    places = [name for name in ("backend", "storage") if given.get(name) is not None]
    if len(places) != 1:
        raise _wrong(alias, "backend", "must be set, or 'storage' instead, and not both")
    if given.get("storage") is not None and not isinstance(given["storage"], str):
        raise _wrong(alias, "storage", "must be an alias of STORAGES")
    if not isinstance(given.get("companion", False), bool):
        raise _wrong(alias, "companion", "must be True or False")
    window = given.get("completion_window", COMPLETION_WINDOW)
    if not isinstance(window, timedelta):
        raise _wrong(alias, "completion_window", "must be a timedelta")
    max_files = given.get("max_files", MAX_FILES)
    if not isinstance(max_files, int) or isinstance(max_files, bool) or max_files < 1:
        raise _wrong(alias, "max_files", "must be a whole number of at least 1")
    return UploadSettings(
        alias=alias,
        backend=_backend(alias, given.get("backend")),
        storage=given.get("storage"),
        policy={name: value for name, value in given.items() if name in _POLICY_MEMBERS},
        authorize=cast("Callable[..., Any]", _hook(alias, "authorize", given["authorize"], "the request")),
        inspect=_hook(alias, "inspect", given.get("inspect"), "the InspectedObject"),
        on_complete=_hook(alias, "on_complete", given.get("on_complete"), "the Completion"),
        companion=given.get("companion", False),
        completion_window=window,
        max_files=max_files,
        secret=given.get("secret"),
    )


def _all() -> Mapping[str, Any]:
    given = getattr(settings, "PRESIGN", {})
    if not isinstance(given, Mapping) or not all(isinstance(alias, str) for alias in given):
        raise ConfigurationError(
            "the setting PRESIGN must be a dictionary with a name such as 'photos' for each kind of upload",
            field="PRESIGN",
        )
    return given


def _backend(alias: str, value: object) -> str | Callable[[], Backend] | None:
    if isinstance(value, str) and "://" in value:
        return value
    return _function(alias, "backend", value)


def _hook(alias: str, name: str, value: object, argument: str) -> Callable[..., Any] | None:
    function = _function(alias, name, value)
    if function is not None and not takes_one(function):
        raise _wrong(alias, name, must_take_one(argument))
    return function


def _function(alias: str, name: str, value: object) -> Callable[..., Any] | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = import_string(value)
        except ImportError as error:
            raise _wrong(alias, name, f"cannot be imported: {error}") from error
    if not callable(value):
        address = " or an address" if name == "backend" else ""
        raise _wrong(alias, name, f"must be a function or its dotted path, such as 'shop.uploads.{name}'{address}")
    return cast("Callable[..., Any]", value)


def _wrong(alias: str, name: str | None, reason: str) -> ConfigurationError:
    path = f"PRESIGN[{alias!r}]" + (f"[{name!r}]" if name else "")
    return ConfigurationError(f"{path}: {reason}", field=name or "PRESIGN")
