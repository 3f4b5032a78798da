"""A ticket sent with one thing changed at a time: on SeaweedFS, and on the independent S3 reference.

Where SeaweedFS is known to be laxer than Amazon S3, the case is a strict expected failure there, with the reason; the
reference, which shares no code with presign, refuses every one.
"""

from __future__ import annotations

from typing import Any

import pytest

from emulators.wire import Attempt, Form, send
from presign import RuleViolated
from tests.conftest import PNG, Store, upload
from tests.s3.attacks import POST_ATTACKS, PUT_ATTACKS, REFUSED, Issued, issue

LAX = {
    "POST extra field: acl": "fields that no condition covers are ignored",
    "POST extra field: redirect": "an uncovered redirect is obeyed",
    "POST extra field: encoding": "an uncovered Content-Encoding is stored; completion deletes it",
    "POST extra field: expires": "an uncovered Expires is stored; completion deletes it",
    "POST extra field: tagging": "fields that no condition covers are ignored",
    "POST extra field: session token": "fields that no condition covers are ignored",
    "POST fields after the file": "fields behind the file are read as well",
    "POST two files": "the first file is stored, and the second is ignored",
    "PUT not yet valid: an hour": "a date in the future is accepted",
}


def _cases(attacks: dict[str, Any], method: str) -> list[Any]:
    cases = []
    for name in attacks:
        cases.append(pytest.param("s3_reference", name, id=f"reference, {name}"))
        reason = LAX.get(f"{method} {name}")
        marks = [pytest.mark.xfail(reason=f"SeaweedFS 4.48: {reason}", strict=True)] if reason else []
        cases.append(pytest.param("seaweedfs", name, id=f"SeaweedFS, {name}", marks=marks))
    return cases


def _is_refused(issued: Issued, attack: Form | Attempt) -> None:
    before = set(_keys(issued.store))
    answer = send(attack)
    after = set(_keys(issued.store))
    assert answer.status in REFUSED, f"accepted with {answer.status}: {answer.body[:300]!r}"
    assert after == before, f"refused with {answer.status}, and yet stored {after - before}"


def _keys(store: Store) -> list[str]:
    if store.name != "SeaweedFS":
        # The reference does not list buckets; its keys are asked for one by one.
        return []
    pages = store.admin.get_paginator("list_objects_v2").paginate(Bucket=store.bucket)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


@pytest.mark.parametrize(("server", "attack"), _cases(POST_ATTACKS, "POST"))
def test_a_post_with_one_thing_changed_is_refused(server: str, attack: str, request: pytest.FixtureRequest) -> None:
    issued = issue(request.getfixturevalue(server))
    _is_refused(issued, POST_ATTACKS[attack](issued))
    assert not issued.store.holds(issued.ticket.key)
    assert upload(issued.ticket, PNG).status == 201, "the unchanged ticket is good"


@pytest.mark.parametrize(("server", "attack"), _cases(PUT_ATTACKS, "PUT"))
def test_a_put_with_one_thing_changed_is_refused(server: str, attack: str, request: pytest.FixtureRequest) -> None:
    issued = issue(request.getfixturevalue(server), create_only=True)
    _is_refused(issued, PUT_ATTACKS[attack](issued))
    assert not issued.store.holds(issued.ticket.key)
    assert upload(issued.ticket, PNG).status == 200, "the unchanged ticket is good"


def test_a_ticket_sent_again_under_create_only_changes_nothing(store: Store) -> None:
    issued = issue(store, create_only=True)
    assert upload(issued.ticket, PNG).status == 200
    assert upload(issued.ticket, PNG).outcome == (412, "PreconditionFailed")


@pytest.mark.parametrize("name", ["Content-Encoding", "Expires", "Content-Language"])
def test_what_seaweedfs_lets_a_form_smuggle_in_completion_deletes(seaweedfs: Store, name: str) -> None:
    value = "Wed, 21 Oct 2037 07:28:00 GMT" if name == "Expires" else "gzip"
    issued = issue(seaweedfs)
    assert send(issued.form.with_first_field(name, value)).status == 201
    with pytest.raises(RuleViolated) as caught:
        issued.presigner.complete(issued.ticket.token)
    assert caught.value.rule == "headers"
    assert not seaweedfs.holds(issued.ticket.key)


def test_the_table_is_as_long_as_it_claims() -> None:
    assert len(POST_ATTACKS) + len(PUT_ATTACKS) >= 120
    assert all(name.partition(" ")[2] in {**POST_ATTACKS, **PUT_ATTACKS} for name in LAX)
