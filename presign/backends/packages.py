"""The packages that a backend needs later, and does not import before."""

from __future__ import annotations

from importlib.util import find_spec


def require_package(name: str) -> None:
    """Raise ModuleNotFoundError, as ``import name`` would, unless the package is installed; it is not imported.

    Of a name with dots, the packages around it are imported.
    """
    if find_spec(name) is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
