"""The functions that an application gives, such as ``authorize``: a wrong one is refused when the program starts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from presign.errors import ConfigurationError


def check_takes_one(function: object, name: str, argument: str) -> None:
    """Raise ConfigurationError if ``function`` cannot be called with one positional argument.

    ``name`` is what the application calls it, and ``argument`` says what it gets, such as ``"the request"``.
    """
    if not takes_one(checked_function(function, name)):
        raise ConfigurationError(f"{name} {must_take_one(argument)}", field=name)


def checked_function(function: object, name: str) -> Callable[..., Any]:
    """Return ``function``; raises ConfigurationError unless it can be called."""
    if not callable(function):
        raise ConfigurationError(f"{name} must be a function, not {type(function).__name__}", field=name)
    return function


def takes_one(function: Callable[..., Any]) -> bool:
    """Return whether it can be called with one positional argument; True if Python does not know its parameters."""
    try:
        inspect.signature(function).bind(None)
    except ValueError:
        return True
    except TypeError:
        return False
    return True


def must_take_one(argument: str) -> str:
    """Return what a message says after the name of a function."""
    # Without its parameters: their defaults may be secrets.
    return f"is called with one argument, {argument}, and this function does not take exactly one"
