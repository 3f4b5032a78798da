"""Forms that know who sends them: a token is valid for the user who got it, and for nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, TypeVar, cast

from django.http import HttpRequest

from presign.django.authorization import owner_of
from presign.django.fields import UploadField

T = TypeVar("T")


def bind_request(target: T, request: HttpRequest) -> T:
    """Let every UploadField of ``target`` accept uploads of the request's user only.

    ``target`` is a form or a formset, which is returned, or a class of forms or formsets, of which a subclass is.
    """
    bound: Any = target
    owner = owner_of(request)
    if not isinstance(bound, type):
        for form in getattr(bound, "forms", [bound]):
            _bind_fields(form.fields, owner)
        return target
    if hasattr(bound, "form"):
        return cast("T", type(bound.__name__, (bound,), {"form": bind_request(bound.form, request)}))
    # A class may serve other requests at the same time.
    form_class: Any = type(bound)(bound.__name__, (bound,), {"__module__": bound.__module__})
    form_class.base_fields = deepcopy(form_class.base_fields)
    _bind_fields(form_class.base_fields, owner)
    return cast("T", form_class)


def _bind_fields(fields: Mapping[str, Any], owner: str | None) -> None:
    for field in fields.values():
        if isinstance(field, UploadField):
            field.bind_owner(owner)
