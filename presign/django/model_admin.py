"""Uploads in Django's admin."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from presign.django.binding import bind_request
from presign.django.fields import UploadField


class UploadAdmin:
    """A mixin for ModelAdmin and InlineModelAdmin whose forms have an UploadField.

    Who changes an object need not upload again: ``cleaned_data`` is then None, and the form keeps what the object has.
    An inline that shows saved objects needs a field with ``required=False`` for that.

    ::

        @admin.register(Photo)
        class PhotoAdmin(UploadAdmin, admin.ModelAdmin):
            form = PhotoForm
    """

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the form class for one request, bound to its user."""
        form_class = bind_request(super().get_form(request, obj, change, **kwargs), request)  # type: ignore[misc]
        if change:
            for field in form_class.base_fields.values():
                if isinstance(field, UploadField):
                    field.required = False
        return form_class

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Return the formset class for one request, bound to its user."""
        return bind_request(super().get_formset(request, obj, **kwargs), request)  # type: ignore[misc]
