"""The widget: a file input whose file goes to the storage, and a hidden input for the token."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.http.request import HttpHeaders
from django.templatetags.static import static
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy

from presign.django.configuration import read_settings

_UPLOAD = "/upload"


class ModuleScript:
    """A JavaScript module in a form's media; ``path`` is that of a static file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModuleScript) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __html__(self) -> str:
        """Return the element; it has no inline code, so every content security policy can allow it."""
        return str(format_html('<script type="module" src="{}"></script>', static(self.path)))

    def __str__(self) -> str:
        return self.__html__()


class UploadWidget(forms.Widget):
    """Show a file input, the progress and the result; a form that is shown again keeps its upload.

    The page's content security policy needs ``connect-src`` for the storage, and nothing else beside ``'self'``.
    ``text`` replaces some of the widget's own texts, under the names of ``TEXTS``.
    """

    TEXTS = {  # noqa: RUF012  (read only)
        "cancel": gettext_lazy("Cancel"),
        "cancelled": gettext_lazy("The upload was cancelled."),
        "retry": gettext_lazy("Try again"),
        "uploading": gettext_lazy("Uploading"),
        "stored": gettext_lazy("Uploaded"),
        "kept": gettext_lazy("A file is uploaded. Choose another one to replace it."),
        "unscripted": gettext_lazy("Uploads need JavaScript."),
    }

    template_name = "presign/upload_widget.html"
    alias = ""

    def __init__(self, attrs: dict[str, Any] | None = None, *, text: dict[str, Any] | None = None) -> None:
        super().__init__(attrs)
        self.text = {**self.TEXTS, **(text or {})}

    @property
    def media(self) -> forms.Media:
        """Return the static files: a module and a style sheet."""
        return forms.Media(js=[ModuleScript("presign/upload_widget.js")], css={"all": ["presign/upload_widget.css"]})

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """Return what the template needs; the posted name is that of the hidden input, so no bytes are ever posted."""
        context: dict[str, Any] = super().get_context(name, value, attrs)
        address: str = reverse("presign:upload", args=[self.alias])
        own = context["widget"]["attrs"]
        if context["widget"]["value"]:
            # The file input is empty although there is a file.
            own.pop("required", None)
        own.setdefault("accept", ",".join(sorted(read_settings(self.alias).policy["content_types"])))
        context["presign"] = {
            "api": address.removesuffix(_UPLOAD),
            "csrf_header": HttpHeaders.parse_header_name(settings.CSRF_HEADER_NAME),
            "text": self.text,
        }
        return context

    def use_required_attribute(self, initial: Any) -> bool:
        """Say that the browser may insist on a file, unless there is one already."""
        return not initial

    def id_for_label(self, id_: str) -> str:
        """Return the id of the file input."""
        return id_
