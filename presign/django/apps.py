"""The app for ``INSTALLED_APPS``."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import setting_changed

from presign.django.checkout import add_client_of_checkout
from presign.django.checks import check_backends, check_settings
from presign.django.presigners import forget_presigners


class PresignConfig(AppConfig):
    """Registers the system checks; the app has no models, so it has no migrations."""

    name = "presign.django"
    label = "presign"
    verbose_name = "Uploads"

    def ready(self) -> None:
        """Register what the app does at other times."""
        register(check_settings, "presign")
        register(check_backends, "presign", deploy=True)
        setting_changed.connect(forget_presigners, dispatch_uid="presign")
        add_client_of_checkout()
