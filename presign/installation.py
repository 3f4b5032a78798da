"""Detect the other distribution that is called ``presign``, which owns the same folder as this one.

It is a command line tool whose ``presign/__init__.py`` defines ``generate``. The one that is installed later overwrites
files of the other, and whoever uninstalls one removes files of both.
"""

from __future__ import annotations

import os
import sys
import warnings
from types import ModuleType

_REMEDY = 'run "pip uninstall presign", and then "pip install --force-reinstall --no-deps presign-uploads"'


def check_installation(package: ModuleType) -> None:
    """Raise ImportError if ``package`` is not this distribution's; warn if the other one is installed beside it.

    ``package`` is the module ``presign``, whose own ``__init__.py`` defines no ``generate``.
    """
    path: str | None = getattr(package, "__file__", None)
    if path is None or hasattr(package, "generate"):
        raise ImportError(f"another distribution called presign overwrote or removed files of this one: {_REMEDY}")
    if _has_other(os.path.dirname(os.path.dirname(path))):
        message = f"another distribution called presign is installed in the same folder as this one: {_REMEDY}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)


def _has_other(directory: str) -> bool:
    try:
        names = os.listdir(directory)
    except OSError:  # a zip archive is no directory
        return False
    return any(name.startswith("presign-") and name.endswith(".dist-info") for name in names)


check_installation(sys.modules["presign"])
