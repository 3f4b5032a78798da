"""The HTTP contract as a client sees it: the requests to the application's server, and its answers."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import orjson

from presign.uploading.connections import BUSY_STATUSES, FIRST_CONTACT, PATIENT, Answer, Connections
from presign.uploading.errors import NotReachable, Refused, UploadFailed

HASHES_FROM_BYTES = 5 * 1024**2
"""No store has smaller parts, so the request for a smaller file says nothing of parts."""

# No storage takes more.
_MAX_PARTS = 50_000
_COMPLETION_PENDING = 202
_PENDING_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the file is cut into parts: ``count`` of ``part_size`` bytes, the last one has the rest."""

    part_size: int
    count: int
    at_once: int
    needs_sha256: bool

    @classmethod
    def of(cls, members: Mapping[str, Any], *, file_size: int) -> Plan:
        """Read a plan for a file of ``file_size`` bytes; raises UploadFailed if its parts do not make up the file."""
        plan = cls(
            part_size=_whole(members, "part_size"),
            count=_whole(members, "count"),
            at_once=_whole(members, "at_once"),
            needs_sha256=members.get("needs_sha256") is True,
        )
        if plan.count != -(-file_size // plan.part_size) or plan.count > _MAX_PARTS:
            raise _not_of_the_contract("the parts do not make up the file")
        return plan

    def start_of(self, number: int) -> int:
        """Return where a part begins in the file, in bytes; numbers count from 1."""
        return (number - 1) * self.part_size


@dataclass(frozen=True, kw_only=True)
class HashedParts:
    """The SHA-256 of every part of a file that is cut into parts of ``part_size`` bytes, in hexadecimal digits."""

    part_size: int
    digests: tuple[str, ...] = field(repr=False)

    @property
    def sha256(self) -> str:
        """The digest that a ticket can be bound to: the SHA-256 of the parts' digests, one after another."""
        return hashlib.sha256(b"".join(map(bytes.fromhex, self.digests))).hexdigest()


@dataclass(frozen=True, kw_only=True)
class PartRequest:
    """The request that stores one part; after ``deadline``, on the clock of ``time.monotonic``, it is refused."""

    number: int
    size: int
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    deadline: float


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """What the server answers to ``/upload``; a large file has a ``plan``, and ``requests`` for its first parts."""

    method: Literal["POST", "PUT"]
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    fields: Mapping[str, str] = field(repr=False)
    deadline: float
    token: str = field(repr=False)
    plan: Plan | None
    requests: tuple[PartRequest, ...]


@dataclass(frozen=True, kw_only=True)
class Pending:
    """The server has no verdict yet, and wants to be asked again after so many seconds."""

    retry_after_seconds: float


class Api:
    """The application's server at ``url``, under which ``/upload`` and ``/complete`` are.

    ``headers`` go with every request to it, and nowhere else. All methods raise Refused for an answer that is a
    refusal, NotReachable if the server does not answer or cannot serve now, and UploadFailed for an answer that is not
    one of the contract. They repeat requests that fail. Safe to use from several threads.
    """

    def __init__(self, url: str, headers: Mapping[str, str], connections: Connections) -> None:
        self._url = url.rstrip("/")
        self._headers = headers
        self._connections = connections

    def issue(
        self, *, content_type: str, size: int, name: str, sha256: str | None, hashed: HashedParts | None = None
    ) -> Ticket:
        """Ask for a ticket for one file. With ``sha256`` or ``hashed``, it allows only these bytes."""
        content: dict[str, Any] = {"type": content_type, "size": size, "name": name}
        if sha256 is not None:
            content["sha256"] = sha256
        if size >= HASHES_FROM_BYTES:
            content["hashes_parts"] = True
        if hashed is not None:
            content["part_size"] = hashed.part_size
            content["parts_digest"] = {"part_size": hashed.part_size, "sha256": hashed.sha256}
        asked_at = time.monotonic()
        members = self._post("/upload", content)
        deadline = asked_at + _lifetime_seconds(members)
        parts = members.get("parts")
        plan = Plan.of(parts, file_size=size) if isinstance(parts, dict) else None
        if hashed is not None:
            enforced = members.get("enforced")
            is_bound = isinstance(enforced, dict) and isinstance(enforced.get("checksum"), str)
            if not is_bound or plan is None or plan.part_size != hashed.part_size:
                if plan is not None:
                    with suppress(UploadFailed):
                        self.abort(_text(members, "token"))
                raise _not_of_the_contract("its ticket is not for the digest of the parts")
        return Ticket(
            method=_one_of(members, "method", ("POST", "PUT")),
            url=_text(members, "url"),
            headers=_texts(members, "headers"),
            fields=_texts(members, "fields"),
            deadline=deadline,
            token=_text(members, "token"),
            plan=plan,
            requests=_requests(parts, deadline) if isinstance(parts, dict) else (),
        )

    def sign_parts(self, token: str, numbers: Sequence[int], sha256: Sequence[str] | None) -> tuple[PartRequest, ...]:
        """Ask for the requests of parts; ``sha256`` has their digests in the same order."""
        content: dict[str, Any] = {"token": token, "numbers": list(numbers)}
        if sha256 is not None:
            content["sha256"] = list(sha256)
        asked_at = time.monotonic()
        members = self._post("/parts", content)
        requests = _requests(members, asked_at + _lifetime_seconds(members))
        if [each.number for each in requests] != list(numbers):
            raise _not_of_the_contract("it has the requests of other parts")
        return requests

    def list_parts(self, token: str, *, file_size: int) -> tuple[Plan, frozenset[int]]:
        """Return how the file is cut, and the numbers of the parts that the store has."""
        members = self._post("/parts/list", {"token": token})
        return Plan.of(members, file_size=file_size), frozenset(_numbers(members))

    def complete(self, token: str) -> dict[str, Any] | Pending:
        """Ask the server to verify and publish what is stored; return the stored object."""
        stored = self._post_long("/complete", token)
        if not isinstance(stored, Pending):
            _text(stored, "key")
        return stored

    def abort(self, token: str) -> None:
        """End an upload in parts; the store deletes them."""
        if isinstance(self._post_long("/abort", token), Pending):
            raise UploadFailed("the upload is being completed, so it cannot be ended now")

    def _post_long(self, path: str, token: str) -> dict[str, Any] | Pending:
        answer = self._send(path, {"token": token})
        if answer.status == _COMPLETION_PENDING:
            return Pending(retry_after_seconds=answer.retry_after_seconds or _PENDING_SECONDS)
        return _members(answer)

    def _post(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        return _members(self._send(path, content))

    def _send(self, path: str, content: Mapping[str, Any]) -> Answer:
        answer = self._connections.send(
            "POST",
            self._url + path,
            headers={
                **self._headers,
                "Content-Type": "application/json",
                "Accept": "application/json, application/problem+json",
            },
            body=orjson.dumps(content),
            retries=FIRST_CONTACT if path == "/upload" else PATIENT,
        )
        if 200 <= answer.status <= 299:
            return answer
        raise _refusal(answer, [*self._headers.values(), content.get("token")])


def _refusal(answer: Answer, secrets: Sequence[str | None]) -> UploadFailed:
    try:
        problem = _members(answer)
    except UploadFailed:
        problem = {}
    code, detail = problem.get("code"), problem.get("detail")
    field_name, limit = problem.get("field"), problem.get("limit")
    if answer.status in BUSY_STATUSES:
        return NotReachable(f"the server cannot serve now ({answer.status}); run the same command again later")
    if 300 <= answer.status <= 399:
        detail = "it redirects to another address; give --api the address that serves /upload itself"
    if not isinstance(detail, str):
        detail = "it gives no reason; is --api right?"
    for secret in secrets:
        # presign's own server repeats none of them, but another one may stand before it.
        detail = detail.replace(secret, "(secret)") if secret else detail
    return Refused(
        detail,
        status=answer.status,
        code=code if isinstance(code, str) else "",
        numbers=tuple(_numbers(problem)),
        field=field_name if isinstance(field_name, str) else "",
        limit=limit if type(limit) is int else None,
    )


def _members(answer: Answer) -> dict[str, Any]:
    try:
        members = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        members = None
    if not isinstance(members, dict):
        raise _not_of_the_contract("it is not a JSON object")
    return members


def _requests(members: Mapping[str, Any], deadline: float) -> tuple[PartRequest, ...]:
    requests = members.get("requests")
    if not isinstance(requests, list) or not all(isinstance(each, dict) for each in requests):
        raise _not_of_the_contract("'requests' is not a list of requests")
    return tuple(
        PartRequest(
            number=_whole(each, "number"),
            size=_whole(each, "size"),
            url=_text(each, "url"),
            headers=_texts(each, "headers"),
            deadline=deadline,
        )
        for each in requests
    )


def _lifetime_seconds(members: Mapping[str, Any]) -> float:
    """Return how long a ticket is valid by the server's own clock, so that a wrong clock here does not matter."""
    try:
        # Python 3.10 reads no "Z".
        expires_at, now = (
            datetime.fromisoformat(_text(members, name).replace("Z", "+00:00")) for name in ("expires_at", "now")
        )
        return (expires_at - now).total_seconds()
    except (ValueError, TypeError):
        raise _not_of_the_contract("'expires_at' or 'now' is no time") from None


def _numbers(members: Mapping[str, Any]) -> list[int]:
    numbers = members.get("numbers")
    return [each for each in numbers if type(each) is int] if isinstance(numbers, list) else []


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise _not_of_the_contract(f"'{name}' is no text")
    return value


def _texts(members: Mapping[str, Any], name: str) -> Mapping[str, str]:
    value = members.get(name)
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise _not_of_the_contract(f"'{name}' does not consist of texts")
    return value


def _whole(members: Mapping[str, Any], name: str) -> int:
    value = members.get(name)
    if type(value) is not int or value < 1:
        raise _not_of_the_contract(f"'{name}' is no whole number above 0")
    return value


def _one_of(members: Mapping[str, Any], name: str, values: tuple[Literal["POST"], Literal["PUT"]]) -> Any:
    if members.get(name) not in values:
        raise _not_of_the_contract(f"'{name}' is neither {values[0]} nor {values[1]}")
    return members[name]


def _not_of_the_contract(reason: str) -> UploadFailed:
    return UploadFailed(f"the server's answer is not one of presign: {reason}; is --api right?")
