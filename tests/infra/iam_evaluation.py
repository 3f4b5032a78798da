"""The evaluation of a policy document, as IAM documents it, for the S3 reference to ask: what may the caller do?

It shares no code with the policies, and knows exactly the operators and the condition keys that they use; everything
else is refused, so that a new condition cannot be ignored. Source: "Policy evaluation logic" and "IAM JSON policy
elements: Condition operators", IAM User Guide; "Condition keys for Amazon S3", Service Authorization Reference.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Receive, Scope, Send

from emulators.s3_rights import Right

_REQUEST: ContextVar[Mapping[str, str]] = ContextVar("request", default=MappingProxyType({}))


def telling_the_request(app: ASGIApp) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Return ``app``, which then evaluates policies with what each request says of its prefix and of its age."""

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        query = parse_qs(scope.get("query_string", b"").decode(), keep_blank_values=True)
        headers = {name.decode(): value.decode() for name, value in scope.get("headers", ())}
        told_of = {"s3:prefix": query["prefix"][0]} if "prefix" in query else {}
        if date := query.get("X-Amz-Date", [headers.get("x-amz-date", "")])[0]:
            signed_at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
            age = datetime.now(timezone.utc) - signed_at
            told_of["s3:signatureAge"] = str(round(age.total_seconds() * 1000))
        _REQUEST.set(told_of)
        await app(scope, receive, send)

    return told


@dataclass(frozen=True, kw_only=True)
class RightsOf(Right):
    """What a policy document allows on S3; the reference asks for one action after the other."""

    actions: frozenset[str] = frozenset()
    document: Mapping[str, Any] = field(default_factory=dict)

    def allows(self, action: str, bucket: str, key: str, copy_source: str | None) -> bool:
        resource = f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else "")
        context = dict(_REQUEST.get())
        if copy_source is not None:
            context["s3:x-amz-copy-source"] = copy_source
        return is_allowed(self.document, f"s3:{action}", resource, context)


def is_allowed(document: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str]) -> bool:
    """Say whether the document allows it: some statement does, and no other one denies it."""
    effects = {
        statement["Effect"]
        for statement in document["Statement"]
        if any(_matches(pattern, action, ignores_case=True) for pattern in _listed(statement["Action"]))
        and any(_matches(pattern, resource) for pattern in _listed(statement["Resource"]))
        and _holds(statement.get("Condition", {}), context)
    }
    return effects == {"Allow"}


def _holds(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    return all(
        _compare(operator, context.get(key), _listed(wanted))
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _compare(operator: str, value: str | None, wanted: Sequence[str]) -> bool:
    if operator == "Null":
        return any((each == "true") == (value is None) for each in wanted)
    if value is None:
        # No operator here has the suffix IfExists.
        return False
    if operator == "StringEquals":
        return value in wanted
    if operator == "StringLike":
        return any(_matches(each, value) for each in wanted)
    if operator == "NumericGreaterThan":
        return any(float(value) > float(each) for each in wanted)
    raise AssertionError(f"the evaluation does not know {operator}")


def _matches(pattern: str, value: str, *, ignores_case: bool = False) -> bool:
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, value, re.DOTALL | (re.IGNORECASE if ignores_case else 0)) is not None


def _listed(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value
