"""One attack on one store, from the ticket to the completion: who stopped it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from emulators.wire import Answer, send
from presign import NotUploaded, RuleViolated
from tests.conftest import PNG, Store
from tests.s3.attacks import POST_ATTACKS, PUT_ATTACKS, Issued, issue

Outcome = Literal["refused", "completion", "harmless", "obeyed"]
"""Who stopped an attack: the store; completion, which deleted the upload; nobody, but what is stored is what was
granted; nobody."""

STRAIGHT, PENDING = "straight", "pending"


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A changed request: ``method`` is POST or PUT, and ``way`` is whether uploads wait under a pending key."""

    method: str
    name: str
    way: str

    @property
    def id(self) -> str:
        """The attack's name in the results."""
        return f"{self.method} {self.way}, {self.name}"


ATTACKS = [
    Attack(method=method, name=name, way=way)
    for method, attacks in (("POST", POST_ATTACKS), ("PUT", PUT_ATTACKS))
    for way in (STRAIGHT, PENDING)
    for name in attacks
]

WHO = {"limited": "presign's policy", "almighty": "every right"}
"""Who signs: the store's users of servers.py, and what they may do."""

CASES = [(who, attack) for who in WHO for attack in ATTACKS if who == "limited" or attack.way == PENDING]
"""Who signs, and the attack."""


def outcome_of(attack: Attack, store: Store) -> Outcome:
    """Issue a ticket, send it as the attack changes it, complete it, and say who stopped the attack.

    Raises AssertionError if a refused request stored something, and if the unchanged ticket is refused afterwards.
    """
    issued = _issue(attack, store)
    attacks: dict[str, Any] = POST_ATTACKS if attack.method == "POST" else PUT_ATTACKS
    request = attacks[attack.name](issued)
    before = _versions(store)
    answer = send(request)
    changed = {key for key, etag in _versions(store).items() if before.get(key) != etag}
    if not changed and _brings_nothing(answer):
        _require_a_good_ticket(issued)
        return "refused"
    assert answer.status < 400 or not changed, f"refused with {answer.status}, and yet stored {changed}"
    if changed - {issued.key}:
        return "obeyed"
    return _judged(issued)


def _issue(attack: Attack, store: Store) -> Issued:
    options: dict[str, Any] = {} if attack.method == "POST" else {"create_only": True}
    if attack.way == PENDING:
        options["pending_prefix"] = "pending/"
    issued = issue(store, **options)
    assert issued.ticket.method == attack.method
    return issued


def _brings_nothing(answer: Answer) -> bool:
    """Say whether the answer is an error, or one that gives away nothing of what is stored."""
    return answer.status >= 300 or not answer.body


def _judged(issued: Issued) -> Outcome:
    """Complete the upload, and compare what is published with what was granted."""
    try:
        stored = issued.presigner.complete(issued.ticket.token)
    except (RuleViolated, NotUploaded):
        assert not issued.store.holds(issued.key), "what completion refused is still stored"
        assert not issued.store.holds(issued.ticket.key), "what completion refused is published"
        return "completion"
    described = issued.store.admin.get_object(Bucket=issued.store.bucket, Key=stored.key)
    headers = {
        name: described.get(name)
        for name in ("ContentType", "ContentDisposition", "CacheControl", "ContentEncoding", "Expires", "Metadata")
    }
    granted = {
        "ContentType": "image/png",
        "ContentDisposition": "inline",
        "CacheControl": "max-age=60",
        "ContentEncoding": None,
        "Expires": None,
        "Metadata": {"tenant": "7"},
    }
    return "harmless" if (described["Body"].read(), headers) == (PNG, granted) else "obeyed"


def _require_a_good_ticket(issued: Issued) -> None:
    assert not issued.store.holds(issued.key)
    answer = send(issued.form if issued.ticket.fields else issued.put)
    assert answer.status in {200, 201}, f"the unchanged ticket is answered with {answer.status}"


def _versions(store: Store) -> dict[str, str]:
    pages = store.admin.get_paginator("list_objects_v2").paginate(Bucket=store.bucket)
    return {
        item["Key"]: item["ETag"] + str(item["LastModified"]) for page in pages for item in page.get("Contents", [])
    }
