"""Who may upload: the application's ``authorize``, and two that many applications need."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from presign.errors import ConfigurationError, Forbidden, PresignError, Unauthenticated


def signed_in(request: HttpRequest) -> bool:
    """Allow every user who is signed in."""
    return bool(request.user.is_authenticated)


def staff(request: HttpRequest) -> bool:
    """Allow the users who may use Django's admin."""
    return bool(request.user.is_active and request.user.is_staff)


def owner_of(request: HttpRequest) -> str | None:
    """Return the owner to whom the tokens of a request are bound; see ``owner_of_user``."""
    return owner_of_user(getattr(request, "user", None))


def owner_of_user(user: Any) -> str | None:
    """Return the owner to whom a user's tokens are bound: the primary key as text, or None if nobody is signed in."""
    return str(user.pk) if user is not None and user.is_authenticated else None


def check_verdict(verdict: object, request: HttpRequest) -> None:
    """Raise Unauthenticated or Forbidden unless ``authorize`` returned True.

    Raises ConfigurationError for anything but True and False: a function that forgets to return must allow nothing.
    """
    if not isinstance(verdict, bool):
        raise ConfigurationError(
            f"authorize must return True or False, not {type(verdict).__name__}", field="authorize"
        )
    if verdict:
        return
    if owner_of(request) is None:
        raise Unauthenticated("sign in to upload")
    raise Forbidden("you may not upload here")


def as_presign_error(error: Exception) -> Exception:
    """Return Django's PermissionDenied as a Forbidden, and every other error as it is."""
    if isinstance(error, PermissionDenied) and not isinstance(error, PresignError):
        return Forbidden("you may not upload here")
    return error
