"""The JavaScript client's files for ``staticfiles``, where presign runs from a checkout of its repository.

A wheel has a copy of ``client/`` in this package's folder ``static``. A checkout has the original alone.
"""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

_PACKAGE = Path(__file__).resolve().parent
_STATIC_NAME = "presign/client"
_CLIENT = _PACKAGE.parent.parent / "client"


def add_client_of_checkout() -> None:
    """Add the checkout's ``client/`` to the setting STATICFILES_DIRS; do nothing for an installed presign."""
    if (_PACKAGE / "static" / _STATIC_NAME).exists() or not (_CLIENT / "index.js").exists():
        return
    entry = (_STATIC_NAME, str(_CLIENT))
    if entry not in settings.STATICFILES_DIRS:
        settings.STATICFILES_DIRS = [*settings.STATICFILES_DIRS, entry]
