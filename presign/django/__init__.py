"""Uploads straight to object storage as a Django app: settings, views, a form field, a widget, and no models.

Add ``"presign.django"`` to ``INSTALLED_APPS``, describe each kind of upload in the setting ``PRESIGN`` (see
``presign.django.configuration``), and include ``presign.django.urls``.
"""

from presign.django.binding import bind_request
from presign.django.completing import complete_upload
from presign.django.fields import UploadField
from presign.django.files import assign_file
from presign.django.model_admin import UploadAdmin
from presign.django.presigners import get_presigner
from presign.django.signals import upload_completed, upload_rejected
from presign.django.widgets import UploadWidget

__all__ = [
    "UploadAdmin",
    "UploadField",
    "UploadWidget",
    "assign_file",
    "bind_request",
    "complete_upload",
    "get_presigner",
    "upload_completed",
    "upload_rejected",
]
