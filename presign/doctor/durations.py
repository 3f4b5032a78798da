"""Durations on the command line, such as ``90m``, ``26h`` or ``2d``."""

from __future__ import annotations

import re
from datetime import timedelta

import click

UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
"""What each unit means."""

_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])", re.ASCII)


def read_duration(context: click.Context, parameter: click.Parameter, value: str) -> timedelta:
    """Return an option's value as a timedelta; raises click.BadParameter."""
    found = _DURATION.fullmatch(value)
    if found is None:
        raise click.BadParameter("it must be a whole number with s, m, h or d, such as 90m, 26h or 2d")
    return int(found[1]) * UNITS[found[2]]
