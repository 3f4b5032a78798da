"""Large files in blocks on Azurite: what a client can do with a block's signature, and what completion makes of it."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import pytest

from emulators.wire import Attempt
from presign import (
    Accept,
    Completion,
    ConfigurationError,
    InspectedObject,
    PartsMissing,
    Presigner,
    Reject,
    Rejected,
    Rule,
    RuleViolated,
    StorageUnavailable,
    Ticket,
    UploadEnded,
    UploadRequest,
)
from presign.azure import AzureBackend
from presign.testing import InterruptedBackend
from tests.azure.accounts import PNG, RunningAccount

PART_BYTES = 1000
TAIL = b"the last block"
PARTS = (PNG.ljust(PART_BYTES, b"\0"), PNG.ljust(PART_BYTES, b"\1"), TAIL)
FILE = b"".join(PARTS)


def _presigner(account: RunningAccount, *, backend: Any = None, **policy: Any) -> Presigner:
    rules: dict[str, Any] = {
        "max_bytes": 10 * PART_BYTES,
        "parts_from_bytes": PART_BYTES,
        "part_bytes": PART_BYTES,
        "metadata": {"tenant": "7"},
        "cache_control": "max-age=60",
        "public_read": True,
    }
    return account.presigner(backend=backend or account.publishing_backend(), **rules | policy)


def _issue(presigner: Presigner, size: int = len(FILE)) -> Ticket:
    return presigner.issue(UploadRequest(content_type="image/png", size=size, hashes_parts=True))


def _attempts(ticket: Ticket) -> list[Attempt]:
    assert ticket.parts is not None
    return [Attempt(method="PUT", url=each.url, body=PARTS[each.number - 1]) for each in ticket.parts.requests]


def _commit(account: RunningAccount, ticket: Ticket) -> None:
    """Complete an upload, but be interrupted after its commit."""
    backend: Any = InterruptedBackend(
        account.publishing_backend(), fail_at=2, failure=StorageUnavailable("interrupted on purpose")
    )
    with pytest.raises(StorageUnavailable):
        _presigner(account, backend=backend).complete(ticket.token)


def _send_file(account: RunningAccount, ticket: Ticket) -> None:
    for attempt in _attempts(ticket):
        assert account.send(attempt).status == 201


def _with(attempt: Attempt, body: bytes, *headers: tuple[str, str], **parameters: str) -> Attempt:
    """Return a request with the same signature for something else than a block."""
    changed = attempt.without_parameter("comp").without_parameter("blockid")
    for name, value in parameters.items():
        changed = changed.with_another_parameter(name, value)
    return replace(changed, headers=headers, body=body)


def _block_list(*attempts: Attempt) -> bytes:
    blocks = "".join(f"<Latest>{attempt.parameter('blockid')}</Latest>" for attempt in attempts)
    return f'<?xml version="1.0" encoding="utf-8"?><BlockList>{blocks}</BlockList>'.encode()


def test_a_file_in_blocks_is_published_byte_for_byte(account: RunningAccount) -> None:
    presigner = _presigner(account)
    ticket = _issue(presigner)
    assert set(ticket.enforced.values()) == {"completion"}
    assert ticket.parts is not None
    assert not ticket.parts.plan.needs_sha256
    _send_file(account, ticket)
    assert account.blobs("pending") == [], "nothing is there before the server commits it"
    assert presigner.list_parts(ticket.token).numbers == (1, 2, 3)
    stored = presigner.complete(ticket.token)
    assert presigner.complete(ticket.token) == stored
    answer = account.anonymous_get("public", ticket.key)
    assert (answer.status, answer.body) == (200, FILE)
    assert answer.headers["cache-control"] == "max-age=60"
    assert answer.headers["x-ms-meta-tenant"] == "7"
    assert account.blobs("pending") == []
    assert presigner.list_parts(ticket.token).numbers == (1, 2, 3)


def test_blocks_of_wrong_sizes_and_of_other_uploads_are_never_committed(account: RunningAccount) -> None:
    presigner = _presigner(account)
    ticket, other = _issue(presigner), _issue(presigner)
    first, second, last = _attempts(ticket)
    foreign = _attempts(other)[1].parameter("blockid")
    own_id = base64.b64encode(b"0123456789abcdef01234567-000002").decode()
    sent = {
        "a right block": first,
        "a block that is too large": second.with_body(PARTS[1] + b"!"),
        "a block that is too small": last.with_body(TAIL[:-1]),
        "a block of another upload": second.with_parameter("blockid", foreign),
        "a block with an id of its own": second.with_parameter("blockid", own_id),
    }
    statuses = {name: account.send(attempt).status for name, attempt in sent.items()}
    assert statuses == dict.fromkeys(sent, 201), "a signature binds neither the id nor the length"
    assert presigner.list_parts(ticket.token).numbers == (1,)
    with pytest.raises(PartsMissing) as caught:
        presigner.complete(ticket.token)
    assert caught.value.numbers == (2, 3)
    assert account.blobs("pending") == []
    for attempt in (second, last):
        assert account.send(attempt).status == 201
    presigner.complete(ticket.token)
    assert account.anonymous_get("public", ticket.key).body == FILE


# What a client can do with a block's signature beside staging the block, and the rule that it breaks.
ABUSES: dict[str, tuple[Rule, Any]] = {
    "commits no block": (Rule.SIZE, lambda first, *_: _with(first, _block_list(), comp="blocklist")),
    "commits one block alone": (Rule.SIZE, lambda first, *_: _with(first, _block_list(first), comp="blocklist")),
    "commits one block three times": (
        Rule.SIZE,
        lambda first, *_: _with(first, _block_list(first, first, first), comp="blocklist"),
    ),
    "commits as another type": (
        Rule.TYPE,
        lambda *all_: _with(all_[0], _block_list(*all_), ("x-ms-blob-content-type", "text/html"), comp="blocklist"),
    ),
    "commits with metadata of its own": (
        Rule.HEADERS,
        lambda *all_: _with(
            all_[0],
            _block_list(*all_),
            ("x-ms-blob-content-type", "image/png"),
            ("x-ms-meta-role", "admin"),
            comp="blocklist",
        ),
    ),
    "puts a page of the right size": (
        Rule.TYPE,
        lambda first, *_: _with(
            first,
            b"<script>alert(1)</script>".ljust(len(FILE)),
            ("x-ms-blob-type", "BlockBlob"),
            ("x-ms-blob-content-type", "image/png"),
        ),
    ),
    "puts an append blob": (
        Rule.SIZE,
        lambda first, *_: _with(first, b"", ("x-ms-blob-type", "AppendBlob"), ("x-ms-blob-content-type", "image/png")),
    ),
}


@pytest.mark.parametrize(("rule", "abuse"), ABUSES.values(), ids=ABUSES)
def test_a_blob_that_the_client_made_itself_is_judged_and_deleted(
    account: RunningAccount, rule: Rule, abuse: Any
) -> None:
    presigner = _presigner(account)
    ticket = _issue(presigner)
    attempts = _attempts(ticket)
    _send_file(account, ticket)
    assert account.send(abuse(*attempts)).status == 201, "the signature permits it"
    with pytest.raises(RuleViolated) as caught:
        presigner.complete(ticket.token)
    assert caught.value.rule == rule.value
    assert account.blobs("pending") == []
    assert account.blobs("public") == []


def test_a_client_that_commits_the_whole_file_itself_gets_no_more_than_the_verified_copy(
    account: RunningAccount,
) -> None:
    presigner = _presigner(account)
    ticket = _issue(presigner)
    attempts = _attempts(ticket)
    _send_file(account, ticket)
    headers = (("x-ms-blob-content-type", "image/png"),)
    assert account.send(_with(attempts[0], _block_list(*attempts), *headers, comp="blocklist")).status == 201
    stored = presigner.complete(ticket.token)
    assert account.anonymous_get("public", ticket.key).headers["x-ms-meta-tenant"] == "7"
    other = _with(attempts[0], b"<script>".ljust(len(FILE)), ("x-ms-blob-type", "BlockBlob"), *headers)
    assert account.send(other).status == 201, "the signature still permits it"
    assert presigner.complete(ticket.token) == stored
    assert account.anonymous_get("public", ticket.key).body == FILE
    assert account.blobs("pending") == []


def test_a_blob_that_replaces_the_committed_one_is_never_published(account: RunningAccount) -> None:
    presigner = _presigner(account)
    ticket = _issue(presigner)
    _send_file(account, ticket)
    script = _with(
        _attempts(ticket)[0],
        b"<script>".ljust(len(FILE)),
        ("x-ms-blob-type", "BlockBlob"),
        ("x-ms-blob-content-type", "image/png"),
        ("x-ms-meta-tenant", "7"),
    )
    for step in ("head", "publish"):
        backend: Any = InterruptedBackend(account.publishing_backend())
        backend.before[step] = lambda: account.send(script)
        with pytest.raises(RuleViolated):
            _presigner(account, backend=backend).complete(ticket.token)
        assert account.blobs("public") == []
        assert account.blobs("pending") == []
        _send_file(account, ticket)


@pytest.mark.parametrize("ends", ["published", "rejected", "swept"])
def test_a_lease_that_a_client_took_does_not_keep_the_pending_blob(account: RunningAccount, ends: str) -> None:
    presigner = _presigner(account)
    ticket = _issue(presigner)
    _send_file(account, ticket)
    lease = _with(
        _attempts(ticket)[0], b"", ("x-ms-lease-action", "acquire"), ("x-ms-lease-duration", "-1"), comp="lease"
    )
    if ends == "published":
        backend: Any = InterruptedBackend(account.publishing_backend())
        backend.before["head"] = lambda: account.send(lease)
        _presigner(account, backend=backend).complete(ticket.token)
        assert backend.calls.count("delete") == 1
        assert account.anonymous_get("public", ticket.key).body == FILE
    else:
        assert account.send(_with(_attempts(ticket)[0], _block_list(), comp="blocklist")).status == 201
        assert account.send(lease).status == 201
    if ends == "rejected":
        with pytest.raises(RuleViolated):
            presigner.complete(ticket.token)
    if ends == "swept":
        later = account.presigner(
            backend=account.publishing_backend(), clock=lambda: datetime.now(timezone.utc) + timedelta(days=30)
        )
        assert later.sweep().deleted == 1
    assert account.blobs("pending") == []


@pytest.mark.parametrize("name", ["se", "sp", "sr", "sv", "sig", "st"])
def test_what_the_signature_covers_cannot_be_changed(account: RunningAccount, name: str) -> None:
    ticket = _issue(_presigner(account))
    attempt = _attempts(ticket)[0]
    value = attempt.parameter(name)
    changed = value.replace("2", "3", 1) if name in {"se", "sv", "st"} else f"A{value[1:]}" if name == "sig" else "rw"
    assert account.send(attempt.with_parameter(name, changed)).status in {400, 403}
    path = f"/{account.azurite.account_url.rpartition('/')[2]}/public/{quote(ticket.key)}"
    assert account.send(attempt.with_path(path)).status == 403
    assert account.blobs("public") == []
    for method in ("GET", "DELETE"):
        assert account.send(_with(attempt, b"").with_method(method)).status in {400, 403, 404}


def test_an_abort_deletes_the_blocks_and_never_a_committed_file(account: RunningAccount) -> None:
    presigner = _presigner(account)
    ticket = _issue(presigner)
    _send_file(account, ticket)
    presigner.abort(ticket.token)
    presigner.abort(ticket.token)
    pending_key = f"pending/{ticket.key.rpartition('/')[2]}"
    assert account.blobs("pending") == [f"{pending_key}.ended"]
    assert account.uncommitted("pending") == []
    _send_file(account, ticket)
    for call in (presigner.list_parts, presigner.complete):
        with pytest.raises(UploadEnded):
            call(ticket.token)
    assert account.blobs("public") == [], "blocks that arrive after an abort are never committed"
    ticket = _issue(presigner)
    _send_file(account, ticket)
    _commit(account, ticket)
    [pending] = set(account.blobs("pending")) - {f"{pending_key}.ended"}
    assert pending.endswith(ticket.key.rpartition("/")[2]), "committed, and not yet judged"
    presigner.abort(ticket.token)
    presigner.complete(ticket.token)
    assert account.anonymous_get("public", ticket.key).body == FILE
    assert presigner.list_parts(ticket.token).numbers == (1, 2, 3)


def test_an_abort_that_ends_between_its_steps_is_an_abort(account: RunningAccount) -> None:
    presigner = _presigner(account)
    parts = account.publishing_backend().parts
    assert parts is not None
    ticket = _issue(presigner)
    _send_file(account, ticket)
    grant: Any = presigner._tokens.open(ticket.token, now=ticket.now)
    # What is done before the first request that can delete something.
    parts._blocks.get().container.mark_ended(grant.pending_key)
    with pytest.raises(UploadEnded):
        presigner.complete(ticket.token)
    presigner.abort(ticket.token)
    assert account.uncommitted("pending") == []
    assert account.blobs("public") == []


def test_an_abort_never_deletes_a_blob_that_a_client_puts_there_meanwhile(account: RunningAccount) -> None:
    presigner = _presigner(account)
    ticket = _issue(presigner)
    key = f"pending/{ticket.key.rpartition('/')[2]}"
    blob_type = (("x-ms-blob-type", "BlockBlob"), ("x-ms-blob-content-type", "image/png"))
    parts: Any = account.publishing_backend().parts
    blocks = parts._blocks.get()
    blob = blocks.container.blob(key)
    commit = blob.commit_block_list

    def commit_and_lose(*arguments: Any, **options: Any) -> Any:
        committed = commit(*arguments, **options)
        assert account.send(_with(_attempts(ticket)[0], b"another blob", *blob_type)).status == 201
        return committed

    blob.commit_block_list = commit_and_lose
    blocks.container.blob = lambda name: blob
    blocks.discard(key)
    assert account.blobs("pending") == [key]


def _at(days: float) -> Any:
    return lambda: datetime.now(timezone.utc) + timedelta(days=days)


def test_a_sweep_ends_uploads_whose_token_has_expired_and_deletes_the_marks_of_those_that_were_aborted(
    account: RunningAccount,
) -> None:
    presigner = _presigner(account, resumable_for=timedelta(days=2))
    old, aborted, finished = (_issue(presigner) for _ in range(3))
    for ticket in (old, aborted, finished):
        _send_file(account, ticket)
    presigner.abort(aborted.token)
    mark = f"pending/{aborted.key.rpartition('/')[2]}.ended"
    presigner.complete(finished.token)
    nearly, later = (_presigner(account, resumable_for=timedelta(days=2), clock=_at(days)) for days in (2.9, 3.1))
    swept = nearly.sweep()
    assert (swept.aborted, swept.deleted, swept.kept, swept.parts_failure) == (0, 0, 0, None)
    assert account.blobs("pending") == [mark]
    assert presigner.list_parts(old.token).numbers == (1, 2, 3)
    planned = later.sweep(dry_run=True)
    assert (planned.aborted, planned.deleted, planned.kept, planned.failed) == (1, 0, 0, ())
    assert len(account.uncommitted("pending")) == 1
    assert account.blobs("pending") == [mark]
    assert later.sweep() == planned, "the mark is deleted, and is no upload"
    assert (account.uncommitted("pending"), account.blobs("pending")) == ([], [])
    assert later.sweep().aborted == 0
    with pytest.raises(PartsMissing):
        presigner.complete(old.token)
    assert account.anonymous_get("public", finished.key).body == FILE


def test_a_sweep_never_deletes_a_blob_that_was_committed_after_it_listed_the_blocks(account: RunningAccount) -> None:
    presigner = _presigner(account)
    ticket = _issue(presigner)
    _send_file(account, ticket)
    parts = account.publishing_backend().parts
    assert parts is not None
    [listed] = parts.list_uploads("pending/")
    assert listed.key == f"pending/{ticket.key.rpartition('/')[2]}"
    assert abs(listed.started_at - datetime.now(timezone.utc)) < timedelta(minutes=5)
    _commit(account, ticket)
    parts.sweep(listed)
    assert list(parts.list_uploads("pending/")) == []
    presigner.complete(ticket.token)
    assert account.anonymous_get("public", ticket.key).body == FILE


def test_a_blob_to_which_a_block_was_staged_later_is_no_unfinished_upload(account: RunningAccount) -> None:
    presigner = _presigner(account)
    ticket = _issue(presigner)
    _send_file(account, ticket)
    _commit(account, ticket)
    assert account.send(_attempts(ticket)[1]).status == 201
    parts = account.publishing_backend().parts
    assert parts is not None
    assert list(parts.list_uploads("pending/")) == []


def test_a_file_that_the_application_has_deleted_can_be_sent_again_and_inspect_can_refuse_its_key(
    key_account: RunningAccount,
) -> None:
    deleted: set[str] = set()
    told: list[Completion] = []

    def inspect(uploaded: InspectedObject) -> Accept | Reject:
        return Reject("this file was taken down") if uploaded.key in deleted else Accept()

    backend = key_account.publishing_backend()
    policy = _presigner(key_account, backend=backend).policy
    secret = "the secret of this application"
    presigner = Presigner(backend=backend, policy=policy, secret=secret, inspect=inspect, on_complete=told.append)
    ticket = _issue(presigner)
    _send_file(key_account, ticket)
    first = presigner.complete(ticket.token)
    public = key_account.admin.get_blob_client("public", ticket.key)
    for is_refused in (False, True):
        public.delete_blob()
        if is_refused:
            deleted.add(ticket.key)
        with pytest.raises(PartsMissing):
            presigner.complete(ticket.token)
        _send_file(key_account, ticket)
        if is_refused:
            with pytest.raises(Rejected, match="taken down"):
                presigner.complete(ticket.token)
            assert not public.exists()
        else:
            assert presigner.complete(ticket.token).etag != first.etag
    assert [completion.stored.key for completion in told] == [ticket.key] * 2


def test_blocks_with_ids_of_the_clients_own_are_left_to_azure(account: RunningAccount) -> None:
    presigner = _presigner(account)
    ticket = _issue(presigner)
    first = _attempts(ticket)[0]
    for own_id in ("00000000-000001", "x" * 30):
        container = account.admin.get_container_client("pending")
        for name in account.uncommitted("pending"):
            container.upload_blob(name, b"", overwrite=True)
            container.delete_blob(name)
        attempt = first.with_parameter("blockid", base64.b64encode(own_id.encode()).decode())
        assert account.send(attempt).status == 201
        parts = account.publishing_backend().parts
        assert parts is not None
        assert list(parts.list_uploads("pending/")) == []
        assert len(account.uncommitted("pending")) == 1


@pytest.mark.parametrize(
    ("backend", "policy", "field"),
    [
        ({}, {"pending_prefix": None, "public_read": False}, "pending_prefix"),
        ({}, {"require_at_storage": {Rule.SIZE}}, "require_at_storage"),
        ({}, {"part_bytes": 4001 * 1024**2}, "part_bytes"),
        ({}, {"max_bytes": 50_000 * 4000 * 1024**2 + 1}, "max_bytes"),
    ],
)
def test_a_policy_that_blocks_cannot_keep_is_refused(
    key_account: RunningAccount, backend: dict[str, Any], policy: dict[str, Any], field: str
) -> None:
    _presigner(key_account)
    with pytest.raises(ConfigurationError) as caught:
        _presigner(key_account, backend=key_account.publishing_backend(**backend), **policy)
    assert caught.value.field == field


def test_with_bound_headers_there_are_no_parts(identity_account: RunningAccount) -> None:
    values: dict[str, Any] = {"container": "public", "pending_container": "pending"}
    backend = AzureBackend(
        account_url=identity_account.azurite.account_url, **identity_account.credentials, bind_headers=True, **values
    )
    assert backend.parts is None
    with pytest.raises(ConfigurationError, match="stores no files in parts"):
        _presigner(identity_account, backend=backend)


def test_by_default_only_files_that_are_too_large_for_one_request_come_in_blocks(key_account: RunningAccount) -> None:
    presigner = _presigner(key_account, parts_from_bytes=None, part_bytes=16 * 1024**2, max_bytes=2**40)
    largest = 5000 * 1024**2
    assert _issue(presigner, size=largest).parts is None
    ticket = _issue(presigner, size=largest + 1)
    assert ticket.parts is not None
    assert ticket.parts.plan.count == 313
    with pytest.raises(ConfigurationError, match="needs a pending_prefix"):
        _presigner(key_account, parts_from_bytes=None, max_bytes=2**40, pending_prefix=None, public_read=False)
