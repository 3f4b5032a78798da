"""A case of the signing benchmark: one kind of signature, and the libraries that make it."""

from __future__ import annotations

import asyncio
import base64
import gc
import hmac
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import cycle, islice
from typing import Any

from bench.results import Relation, Target
from bench.rounds import Implementation, Sample
from presign import Grant

PRESIGN = "presign"
HAND_WRITTEN = "hand-written"
SECONDS_PER_CALL = "seconds_per_call"
TYPE = "image/png"
MIN_BYTES, MAX_BYTES = 1, 10 * 2**20
LIFETIME = timedelta(seconds=60)
HOST_ONLY = "signs the host only, neither type nor size"
# More objects than presign keeps quoted paths (4,096), so that no path is found there.
_OBJECTS = 8_192


@dataclass(frozen=True, kw_only=True)
class Awaited:
    """A signature that a library can only make inside an event loop."""

    call: Callable[[Grant], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class SigningCase:
    """One kind of signature.

    ``signers`` sign for the key of a grant; presign is the first. ``notes`` say which of them do less than the case
    asks for. The bound ``("boto3", "at least", 20, PRESIGN)`` says: boto3 takes at least 20 times as long as presign.
    """

    name: str
    signers: Mapping[str, Callable[[Grant], Any] | Awaited]
    notes: Mapping[str, str] = field(default_factory=dict)
    bounds: Sequence[tuple[str, Relation, float, str]] = ()
    min_bytes: int = MIN_BYTES
    max_rounds: int = 1_000

    def implementations(self, *, sample_seconds: float, clock: Callable[[], float]) -> list[Implementation]:
        """Return what the rounds measure: seconds per call, over as many calls as take ``sample_seconds``."""
        grants = new_grants(min_bytes=self.min_bytes)
        return [
            Implementation(
                name=name, measure=_timed(signer, grants, sample_seconds, clock), note=self.notes.get(name, "")
            )
            for name, signer in self.signers.items()
        ]

    def targets(self) -> list[Target]:
        """Return the bounds as targets."""
        return [
            Target(case=self.name, by=by, than=than, figure=SECONDS_PER_CALL, relation=relation, bound=bound)
            for by, relation, bound, than in self.bounds
        ]


def new_grants(*, min_bytes: int = MIN_BYTES) -> list[Grant]:
    """Return grants for different keys, of ``min_bytes`` to ``MAX_BYTES``."""
    keys = [f"public/{uuid.uuid4().hex}" for _ in range(_OBJECTS)]
    return [
        Grant(key=key, content_type=TYPE, min_bytes=min_bytes, max_bytes=MAX_BYTES, expires_in=LIFETIME) for key in keys
    ]


def utc_now() -> datetime:
    """Return the time. Every library reads the clock for a signature, so presign's calls do too."""
    return datetime.now(timezone.utc)


def sign_policy(conditions: Sequence[object], *, expiration: str, key: bytes) -> dict[str, str]:
    """Sign a POST policy with the standard library alone: its JSON, base64 and one HMAC."""
    policy = base64.b64encode(json.dumps({"expiration": expiration, "conditions": conditions}).encode())
    return {"policy": policy.decode(), "signature": hmac.digest(key, policy, "sha256").hex()}


def _timed(
    signer: Callable[[Grant], Any] | Awaited, grants: Sequence[Grant], sample_seconds: float, clock: Callable[[], float]
) -> Callable[[], Sample]:
    endless = cycle(grants)
    run = _run_awaited(signer.call) if isinstance(signer, Awaited) else _run(signer)
    calls = 0

    def seconds(calls: int) -> float:
        # The collector stays on, as it is in an application; what others left behind is collected before.
        gc.collect()
        start = clock()
        run(islice(endless, calls))
        return clock() - start

    def measure() -> Sample:
        nonlocal calls
        if not calls:
            # Finding the number of calls also warms up clients and caches.
            calls = 1
            while (taken := seconds(calls)) < sample_seconds:
                # At most tenfold at once, because the first calls are slower than the others.
                calls = min(calls * 10, max(calls + 1, int(calls * 1.1 * sample_seconds / max(taken, 1e-9))))
        return {SECONDS_PER_CALL: seconds(calls) / calls}

    return measure


def _run(call: Callable[[Grant], object]) -> Callable[[Iterator[Grant]], None]:
    def run(grants: Iterator[Grant]) -> None:
        for grant in grants:
            call(grant)

    return run


def _run_awaited(call: Callable[[Grant], Awaitable[object]]) -> Callable[[Iterator[Grant]], None]:
    async def run(grants: Iterator[Grant]) -> None:
        for grant in grants:
            await call(grant)

    return lambda grants: asyncio.run(run(grants))
