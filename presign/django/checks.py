"""The system checks. Those of the default run use no network: opening a backend may look for credentials there."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning
from django.core.files.storage import storages
from django.urls import NoReverseMatch, reverse

from presign.backends.registry import check_address
from presign.django.configuration import UploadSettings, aliases, read_settings
from presign.django.fields import fields_in_use
from presign.django.presigners import build_presigner
from presign.django.storages import find_opener
from presign.django.token_secret import derived_secrets
from presign.errors import ConfigurationError
from presign.tokens import CompletionTokens


def check_settings(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """Return what is wrong with the setting PRESIGN, without opening a backend."""
    messages: list[CheckMessage] = []
    try:
        known = aliases()
    except ConfigurationError as error:
        return [Error(error.detail, id="presign.E001")]
    for alias in known:
        try:
            described = read_settings(alias)
            messages += _check_place(described)
            policy = described.policy_under("")
            CompletionTokens(described.secret or derived_secrets(alias), kind=alias)  # type: ignore[arg-type]
        except ConfigurationError as error:
            messages.append(_wrong(alias, error))
        else:
            messages += _check_policy(alias, policy.pending_prefix)
    messages += _check_addresses(known)
    # The addresses' check has imported the application's views, and so its forms.
    messages += _check_fields(known)
    if not apps.is_installed("django.contrib.staticfiles"):
        messages.append(
            Warning(
                "django.contrib.staticfiles is not installed, so the widget of UploadField has no script",
                hint="Add it to INSTALLED_APPS, or serve the folder 'static' of presign.django yourself.",
                id="presign.W003",
            )
        )
    return messages


def check_backends(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """Return what each backend refuses of its policy; ``check --deploy`` calls this, because it may use the network."""
    messages: list[CheckMessage] = []
    for alias in aliases():
        try:
            build_presigner(read_settings(alias))
        except ConfigurationError as error:
            messages.append(_wrong(alias, error))
    return messages


def _check_place(described: UploadSettings) -> list[CheckMessage]:
    if isinstance(described.backend, str):
        check_address(described.backend)
    if described.backend is not None:
        return []
    alias = str(described.storage)
    if alias not in storages.backends:
        return [
            Error(
                f"PRESIGN[{described.alias!r}]['storage']: STORAGES has no alias {alias!r}",
                hint=f"Known aliases: {', '.join(sorted(storages.backends))}.",
                id="presign.E002",
            )
        ]
    find_opener(alias)
    return []


def _check_policy(alias: str, pending_prefix: str | None) -> list[CheckMessage]:
    if pending_prefix is not None:
        return []
    return [
        Warning(
            f"PRESIGN[{alias!r}]['pending_prefix'] is None, so whoever may read the final place can read uploads that "
            "nobody has verified",
            hint="Leave pending_prefix out.",
            id="presign.W002",
        )
    ]


def _check_addresses(known: list[str]) -> list[CheckMessage]:
    if not known:
        return []
    try:
        reverse("presign:upload", args=[known[0]])
    except NoReverseMatch:
        return [
            Warning(
                "the views of presign have no address",
                hint='Add path("uploads/", include("presign.django.urls")) to the URLs.',
                id="presign.W001",
            )
        ]
    return []


def _check_fields(known: list[str]) -> list[CheckMessage]:
    unknown = sorted({field.alias for field in fields_in_use} - set(known))
    return [
        Error(
            f"UploadField({alias!r}): the setting PRESIGN has no such alias",
            hint=f"Known aliases: {', '.join(sorted(known)) or 'none'}.",
            id="presign.E002",
        )
        for alias in unknown
    ]


def _wrong(alias: str, error: ConfigurationError) -> CheckMessage:
    path = f"PRESIGN[{alias!r}]"
    detail = error.detail if error.detail.startswith(path) else f"{path}: {error.detail}"
    return Error(detail, id="presign.E001")
