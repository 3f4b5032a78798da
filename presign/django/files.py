"""A stored object as the value of a model's FileField."""

from __future__ import annotations

from typing import Any

from presign.django.storages import prefix_of
from presign.errors import ConfigurationError
from presign.messages import StoredObject


def assign_file(field_file: Any, stored: StoredObject) -> None:
    """Let a model's file be the stored object; saving the model then uploads nothing.

    ``field_file`` is the model's attribute, such as ``photo.file``. Its storage must be the one of the upload: raises
    ConfigurationError if its ``location`` is not the beginning of the object's key.
    """
    prefix = prefix_of(field_file.storage)
    if not stored.key.startswith(prefix):
        raise ConfigurationError(
            f"{field_file.field} keeps its files under {prefix!r}, and the upload is not there; use 'storage' in "
            "PRESIGN with the alias of the field's storage",
            field="storage",
            value=stored.key,
        )
    # A name that is given as text counts as stored already.
    setattr(field_file.instance, field_file.field.attname, stored.key.removeprefix(prefix))
