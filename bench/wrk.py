"""Driving a server with wrk: as many requests as it answers, over a fixed number of connections, for a fixed time."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("upload.lua")


class LoadFailed(Exception):
    """wrk is missing, or a request went wrong: a rate that counts failures says nothing."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What wrk saw; the latencies are in seconds."""

    requests: int
    requests_per_second: float
    p50: float
    p99: float
    bytes_per_answer: float


def drive(url: str, *, connections: int, seconds: int, threads: int = 1) -> Load:
    """Load ``url`` and return what wrk saw; raises LoadFailed if a single request failed."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise LoadFailed("wrk is not installed; on Debian: sudo apt-get install wrk")
    command = [wrk, f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode:
        raise LoadFailed(f"wrk ended with {done.returncode}: {done.stderr.strip()}")
    seen = json.loads(done.stdout.splitlines()[-1])
    if seen["bad_status"] or seen["failed"] or not seen["requests"]:
        raise LoadFailed(f"{url}: of {seen['requests']} requests {seen['bad_status']} refused, {seen['failed']} failed")
    return Load(
        requests=seen["requests"],
        requests_per_second=seen["requests"] / (seen["microseconds"] / 1e6),
        p50=seen["p50"] / 1e6,
        p99=seen["p99"] / 1e6,
        bytes_per_answer=seen["bytes"] / seen["requests"],
    )
