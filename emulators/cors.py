"""Bucket CORS rules as S3 and GCS match them.

Sources: Amazon S3 User Guide, "Using cross-origin resource sharing (CORS)"; Cloud Storage, "Cross-origin resource
sharing".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from emulators.received_request import ReceivedRequest


@dataclass(frozen=True, kw_only=True)
class CorsRule:
    """One rule of a bucket; an origin or a header may hold one `*`."""

    allowed_origins: tuple[str, ...]
    allowed_methods: tuple[str, ...]
    allowed_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age_seconds: int | None = None

    def allows(self, origin: str, method: str, headers: Iterable[str] = ()) -> bool:
        """True for an origin, a method and all headers of this rule."""
        return (
            any(_matches(pattern, origin) for pattern in self.allowed_origins)
            and method in self.allowed_methods
            and all(any(_matches(known.lower(), name) for known in self.allowed_headers) for name in headers)
        )

    def allowed_origin(self, origin: str) -> str:
        return "*" if "*" in self.allowed_origins else origin


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """What a browser asks before a request that is not simple."""

    origin: str
    method: str
    headers: tuple[str, ...]

    @classmethod
    def of(cls, request: ReceivedRequest) -> Preflight | None:
        """The question that an OPTIONS request asks, or None if it asks none."""
        origin, method = request.header("origin"), request.header("access-control-request-method")
        if not origin or not method:
            return None
        names = (request.header("access-control-request-headers") or "").split(",")
        return cls(origin=origin, method=method, headers=tuple(name.strip().lower() for name in names if name.strip()))

    def answer(self, rules: Sequence[CorsRule]) -> Response | None:
        """The answer of the first rule that allows the request, or None."""
        rule = next((rule for rule in rules if rule.allows(self.origin, self.method, self.headers)), None)
        if rule is None:
            return None
        response = Response(status_code=200)
        response.headers["Access-Control-Allow-Origin"] = rule.allowed_origin(self.origin)
        response.headers["Access-Control-Allow-Methods"] = ", ".join(rule.allowed_methods)
        if self.headers:
            response.headers["Access-Control-Allow-Headers"] = ", ".join(self.headers)
        if rule.max_age_seconds is not None:
            response.headers["Access-Control-Max-Age"] = str(rule.max_age_seconds)
        _vary(response)
        return response


def share(response: Response, request: ReceivedRequest, rules: Sequence[CorsRule]) -> None:
    """Let the page of an allowed origin read this answer; any other origin's answer stays as it is."""
    origin = request.header("origin")
    rule = next((rule for rule in rules if origin and rule.allows(origin, request.method)), None)
    if origin is None or rule is None:
        return
    response.headers["Access-Control-Allow-Origin"] = rule.allowed_origin(origin)
    if rule.expose_headers:
        response.headers["Access-Control-Expose-Headers"] = ", ".join(rule.expose_headers)
    _vary(response)


def _vary(response: Response) -> None:
    response.headers["Vary"] = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"


def _matches(pattern: str, text: str) -> bool:
    head, star, tail = pattern.partition("*")
    if not star:
        return pattern == text
    return len(text) >= len(head) + len(tail) and text.startswith(head) and text.endswith(tail)
