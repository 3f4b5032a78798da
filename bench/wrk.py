"""Load a server with wrk: as many requests as it answers, over a fixed number of connections, for a fixed time."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

RATE = "requests_per_second"
P50 = "p50_seconds"
P99 = "p99_seconds"
_SCRIPT = Path(__file__).with_name("upload.lua")


class LoadFailed(Exception):
    """wrk is missing, or a request failed: a rate that counts failures is no result."""


def load(url: str, *, connections: int, seconds: int) -> dict[str, float]:
    """Load ``url`` and return what wrk measured; raises LoadFailed if a single request failed."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise LoadFailed("wrk is not installed; on Debian: sudo apt-get install wrk")
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(_SCRIPT), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode:
        raise LoadFailed(f"wrk ended with status {done.returncode}: {done.stderr.strip()}")
    seen = json.loads(done.stdout.splitlines()[-1])
    if seen["refused"] or seen["failed"] or not seen["requests"]:
        raise LoadFailed(f"{url}: {seen['requests']} requests, {seen['refused']} refused, {seen['failed']} failed")
    return {
        "requests": seen["requests"],
        RATE: seen["requests"] / (seen["microseconds"] / 1e6),
        P50: seen["p50"] / 1e6,
        P99: seen["p99"] / 1e6,
    }
