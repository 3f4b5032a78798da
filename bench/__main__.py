"""``python -m bench``: every measurement, one after the other; ``python -m bench.sign --help`` and so on for one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench import growth, serve, sign, transfer
from bench.report import say

MEASUREMENTS = {"sign": sign.main, "serve": serve.main, "transfer": transfer.main, "growth": growth.main}


def main(arguments: Sequence[str]) -> int:
    """Run them with what ``arguments`` hold (only ``--check``), and fail if one fails."""
    statuses = []
    for name, measure in MEASUREMENTS.items():
        say(f"== {name}")
        statuses.append(measure(arguments))
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
