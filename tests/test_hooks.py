"""A function that cannot be called as presign calls it is refused when the program starts, and not at a request."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest

from presign import ConfigurationError, Presigner, UploadPolicy
from presign.asgi import create_app
from presign.flask import create_blueprint
from presign.testing import MemoryBackend

SECRET = "a secret of the hooks"


class _Takes:
    def nothing(self) -> None: ...

    def one(self, value: object) -> None: ...

    def __call__(self, value: object, other: object = None) -> None: ...


def _takes_nothing() -> None: ...


async def _takes_two(request: object, password: str) -> None: ...


def _takes_a_keyword(*, request: object) -> None: ...


WRONG: list[Callable[..., Any]] = [_takes_nothing, _takes_two, _takes_a_keyword, _Takes().nothing, lambda: None]
RIGHT: list[Callable[..., Any]] = [
    _Takes(),
    _Takes().one,
    partial(_takes_two, password="..."),
    lambda *values: None,
    Mock(),
    print,
    str,
]


def _presigner(**hooks: Any) -> Presigner:
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=1000, prefix="public/")
    return Presigner(backend=MemoryBackend(), policy=policy, secret=SECRET, **hooks)


def _build(name: str, function: Any) -> object:
    if name in ("inspect", "on_complete"):
        return _presigner(**{name: function})
    create: Callable[..., object] = create_app if name == "ASGI" else create_blueprint
    return create(_presigner(), authorize=function)


PLACES = {"inspect": "inspect", "on_complete": "on_complete", "ASGI": "authorize", "Flask": "authorize"}


@pytest.mark.parametrize("function", WRONG)
@pytest.mark.parametrize("place", PLACES)
def test_a_function_with_other_parameters_is_refused_without_its_defaults(place: str, function: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{PLACES[place]} is called with one argument, the ") as caught:
        _build(place, function)
    assert caught.value.field == PLACES[place]
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_function_is_refused(place: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{PLACES[place]} must be a function, not str"):
        _build(place, "shop.uploads.current_user")


@pytest.mark.parametrize("function", RIGHT)
@pytest.mark.parametrize("place", PLACES)
def test_every_function_of_one_argument_is_taken(place: str, function: Any) -> None:
    _build(place, function)
