"""A Django project for the tests of presign.django, in this process, with its database in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from django.core.management import call_command
from django.test.utils import override_settings

from tests.conftest import Store
from tests.django import project as _project  # noqa: F401  (configures Django)

Project = Callable[..., Any]
Storages = Callable[..., None]


@pytest.fixture(scope="session")
def _database() -> None:
    call_command("migrate", verbosity=0)


@pytest.fixture
def users(_database: None) -> Iterator[ModuleType]:
    """Two users, under their names."""
    from django.contrib.auth.models import User

    found = ModuleType("users")
    for name in ("alice", "mallory"):
        setattr(found, name, User.objects.create_user(name))
    yield found
    User.objects.all().delete()


def described(store: Store, **members: Any) -> dict[str, Any]:
    """Return a description of one kind of upload, as it is in the setting PRESIGN."""
    return {
        "backend": store.environment["PRESIGN_BUCKET"],
        "content_types": ["image/png"],
        "max_bytes": 100,
        "authorize": "presign.django.authorization.signed_in",
        **members,
    }


@pytest.fixture
def project(s3_reference: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A function that sets PRESIGN with one alias, ``photos``, for the rest of the test."""
    for name, value in s3_reference.environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    changes: list[Any] = []

    def change(**members: Any) -> None:
        changes.append(override_settings(PRESIGN={"photos": described(s3_reference, **members)}))
        changes[-1].enable()

    change()
    yield change
    for each in reversed(changes):
        each.disable()


@pytest.fixture
def storages() -> Iterator[Storages]:
    """A function that sets STORAGES with one storage, ``photos``, for the rest of the test."""
    changes: list[Any] = []

    def change(kind: str, **options: Any) -> None:
        staticfiles = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
        photos = {"BACKEND": f"storages.backends.{kind}", "OPTIONS": options}
        uploads = {"content_types": ["image/png"], "max_bytes": 100, "storage": "photos"}
        uploads["authorize"] = "presign.django.authorization.signed_in"
        stores = {"default": photos, "photos": photos, "staticfiles": staticfiles}
        changes.append(override_settings(STORAGES=stores, PRESIGN={"photos": uploads}))
        changes[-1].enable()

    yield change
    for each in reversed(changes):
        each.disable()
