"""Uploads in Django's admin."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from presign.django.binding import bind_request


class UploadAdmin:
    """A mixin for ModelAdmin and InlineModelAdmin whose forms have an UploadField.

    ::

        @admin.register(Photo)
        class PhotoAdmin(UploadAdmin, admin.ModelAdmin):
            form = PhotoForm
    """

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the form class for one request, bound to its user."""
        return bind_request(super().get_form(request, *args, **kwargs), request)  # type: ignore[misc]

    def get_formset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the formset class for one request, bound to its user."""
        return bind_request(super().get_formset(request, *args, **kwargs), request)  # type: ignore[misc]
