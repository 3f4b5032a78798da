"""The form field: its posted value is a token, and its cleaned value the stored object."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from django import forms
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.utils.translation import gettext_lazy, ngettext_lazy

from presign.django.completing import complete_upload
from presign.django.widgets import UploadWidget
from presign.errors import (
    CompletionPending,
    CredentialsUnavailable,
    InvalidToken,
    NotUploaded,
    PartsMissing,
    Rejected,
    RuleViolated,
    StorageUnavailable,
    UploadEnded,
)
from presign.messages import StoredObject

_MESSAGES = {
    "invalid_token": gettext_lazy("This upload has expired or is not yours. Choose the file again."),
    "not_uploaded": gettext_lazy("The file did not reach the storage. Choose it again."),
    "parts_missing": gettext_lazy("The file has not reached the storage as a whole. Choose it again."),
    "upload_ended": gettext_lazy("The upload of the file was ended. Choose it again."),
    "rule_violated": gettext_lazy("The file was deleted, because it is not what was announced. Choose another file."),
    "rejected": gettext_lazy("The file was rejected: %(reason)s"),
    "completion_pending": ngettext_lazy(
        "The file is still being checked. Send the form again in %(seconds)d second.",
        "The file is still being checked. Send the form again in %(seconds)d seconds.",
        "seconds",
    ),
    "unavailable": gettext_lazy("The storage is not available at the moment. Send the form again later."),
}
_UNBOUND: Any = object()

fields_in_use: WeakSet[UploadField] = WeakSet()
"""Every field that was written in a form class, for the system checks."""


class UploadField(forms.Field):
    """A field for one file, which the page uploads straight to the storage.

    ``alias`` names the kind of upload in the setting PRESIGN. ``clean()`` verifies and publishes the upload, and
    returns a ``presign.StoredObject``, or None if there is none and the field is not required. Cleaning the same token
    again returns the same object. A refused upload is a ValidationError that says the reason.

    The form must know who sends it, because a token is valid for one user only: call ``bind_request`` on each form or
    formset, and use ``UploadAdmin`` for Django's admin. ``clean()`` raises ImproperlyConfigured otherwise.

    ::

        class PhotoForm(forms.Form):
            photo = UploadField("photos")

        form = bind_request(PhotoForm(request.POST), request)
        if form.is_valid():
            Photo.objects.create(key=form.cleaned_data["photo"].key)
    """

    widget = UploadWidget

    def __init__(
        self,
        alias: str,
        *,
        required: bool = True,
        label: Any = None,
        help_text: Any = "",
        error_messages: dict[str, Any] | None = None,
        widget: UploadWidget | None = None,
        disabled: bool = False,
    ) -> None:
        super().__init__(
            required=required,
            label=label,
            help_text=help_text,
            error_messages=error_messages,
            widget=widget,
            disabled=disabled,
        )
        self.alias = alias
        self.widget.alias = alias
        self._owner: str | None = _UNBOUND
        self.refused_tokens: set[str] = set()
        fields_in_use.add(self)

    default_error_messages = _MESSAGES

    def __deepcopy__(self, memo: dict[int, Any]) -> UploadField:
        """Return a copy for one form; a form's field must not remember another form's tokens."""
        copied: UploadField = super().__deepcopy__(memo)
        copied.refused_tokens = set()
        return copied

    def bind_owner(self, owner: str | None) -> None:
        """Accept tokens of this user only: a primary key as text, or None if nobody is signed in."""
        self._owner = owner

    def to_python(self, value: Any) -> Any:
        """Return the token without spaces around it, or None."""
        return str(value).strip() or None if value is not None else None

    def clean(self, value: Any) -> StoredObject | None:
        """Verify and publish the upload of a token, and return the object. This waits for the storage."""
        token = super().clean(value)
        if token is None:
            return None
        if self._owner is _UNBOUND:
            raise ImproperlyConfigured(
                "an UploadField does not know who sends the form: call presign.django.bind_request(form, request), "
                "or derive the ModelAdmin from presign.django.UploadAdmin"
            )
        try:
            return complete_upload(self.alias, token, owner=self._owner)
        except (InvalidToken, NotUploaded, PartsMissing, UploadEnded, RuleViolated, Rejected) as error:
            self.refused_tokens.add(token)
            code = "invalid_token" if isinstance(error, InvalidToken) else error.code
            params: dict[str, Any] = {"reason": error.detail}
        except CompletionPending as error:
            code, params = error.code, {"seconds": error.retry_after}
        except (StorageUnavailable, CredentialsUnavailable):
            code, params = "unavailable", {}
        raise ValidationError(self.error_messages[code], code=code, params=params)

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Return the token that the form shows again: none if it can never be completed."""
        return "" if data in self.refused_tokens else super().bound_data(data, initial)
