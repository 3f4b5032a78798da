"""Connections that break, so that every request is repeated through boto3."""

from __future__ import annotations

from typing import NoReturn

from presign.backends.connections import Connections, Disconnected


def broken(_: Connections, *__: object, **___: object) -> NoReturn:
    """Stand in for ``Connections.send``."""
    raise Disconnected
