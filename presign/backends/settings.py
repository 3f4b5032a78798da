"""Checks of the settings that a program passes to a backend."""

from __future__ import annotations

from collections.abc import Mapping

from presign.errors import ConfigurationError


def check_texts(settings: Mapping[str, object]) -> None:
    """Raise ConfigurationError, which names the setting, unless every value is text or None."""
    for name, value in settings.items():
        if value is not None and not isinstance(value, str):
            # Only the type's name: the value may be a secret.
            raise ConfigurationError(f"{name} must be text", field=name, value=type(value).__name__)
