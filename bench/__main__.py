"""Run the benchmarks that need no browser, one after the other: ``python -m bench``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench import cold, complete, growth, serve, sign, transfer


def main(arguments: Sequence[str]) -> int:
    """Run the benchmarks with options that all of them have, and return 1 if one of them does."""
    mains = (sign.main, cold.main, serve.main, complete.main, transfer.main, growth.main)
    return max([benchmark(arguments) for benchmark in mains])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
