"""Each permission in the custom roles is needed, and all together are enough: presign itself works with exactly these.

The reference server asks the roles of the program for each request. So if a permission is taken away, an operation of
presign must fail, and if none is, all operations must succeed. The server does not ask for
``storage.multipartUploads.create``: Google's table of permissions has it for each step of an upload in parts.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from presign import PresignError, RuleViolated, Ticket, UploadRequest
from presign.testing.requests import UploadAttempt
from tests.infra.gcp.program import PAGE, GoogleStack, RunningStack, deploy, running
from tests.infra.gcp.reference_cloud import ReferenceCloud
from tests.infra.gcp.test_gcp_access import PNG, TWO_IDENTITIES, presigner
from tests.infra.page import Page

_NOT_PNG = b"x" * len(PNG)
_IN_PARTS: dict[str, Any] = {"parts_from_bytes": 1, "max_bytes": 100 * 1024**2}


def _uploaded(stack: RunningStack, body: bytes = PNG) -> Ticket:
    ticket = presigner(stack).issue(UploadRequest(content_type="image/png", size=len(PNG)))
    assert Page(origin=PAGE, http=stack.http).upload(ticket, body).is_success
    return ticket


def publishes(stack: RunningStack) -> None:
    ticket = _uploaded(stack)
    stored = presigner(stack).complete(ticket.token)
    assert stack.bucket.objects[stored.key].body == PNG
    assert list(stack.bucket.objects) == [stored.key]
    assert presigner(stack).complete(ticket.token) == stored


def refuses_and_deletes(stack: RunningStack) -> None:
    with pytest.raises(RuleViolated):
        presigner(stack).complete(_uploaded(stack, _NOT_PNG).token)
    assert not stack.bucket.objects


def takes_files_in_parts(stack: RunningStack) -> None:
    application = presigner(stack, **_IN_PARTS)
    ticket = application.issue(UploadRequest(content_type="image/png", size=len(PNG)))
    assert ticket.parts is not None
    (request,) = ticket.parts.requests
    part = UploadAttempt(method="PUT", url=request.url, headers=request.headers, fields={}, body=PNG)
    assert part.send() == 200
    assert application.list_parts(ticket.token).numbers == (1,)
    assert stack.bucket.objects == {}
    stored = application.complete(ticket.token)
    assert stack.bucket.objects[stored.key].body == PNG


def ends_files_in_parts(stack: RunningStack) -> None:
    application = presigner(stack, **_IN_PARTS)
    application.abort(application.issue(UploadRequest(content_type="image/png", size=len(PNG))).token)
    assert not stack.bucket.uploads


def sweeps(stack: RunningStack) -> None:
    _uploaded(stack)
    assert [each.key for each in stack.backend().pending.list_objects("pending/")]


def lets_everybody_read(stack: RunningStack) -> None:
    stored = presigner(stack).complete(_uploaded(stack).token)
    assert stack.http.get(f"{stack.url}/{stack.stack.bucket}/{stored.key}").content == PNG


def signs_downloads(stack: RunningStack) -> None:
    application = presigner(stack, public_read=False)
    stored = application.complete(_uploaded(stack).token)
    url = application.sign_download(stored.key, expires_in=timedelta(minutes=1))
    assert stack.http.get(url).content == PNG


Operation = Callable[[RunningStack], None]

_NEEDED_FOR: dict[str, Operation] = {
    "uploads-signer-pending-role storage.objects.create": publishes,
    "uploads-signer-pending-role storage.multipartUploads.listParts": takes_files_in_parts,
    "uploads-signer-pending-role storage.multipartUploads.abort": ends_files_in_parts,
    "uploads-signer-verifier-pending-role storage.objects.get": publishes,
    "uploads-signer-verifier-pending-role storage.objects.delete": refuses_and_deletes,
    "uploads-signer-verifier-pending-role storage.objects.list": sweeps,
    "uploads-signer-verifier-public-role storage.objects.create": publishes,
    "uploads-signer-verifier-public-role storage.objects.get": publishes,
    "uploads-reader-role storage.objects.get": lets_everybody_read,
}
_PRIVATE = {"uploads-signer-public-role storage.objects.get": signs_downloads}


def _stack(*, public: bool) -> GoogleStack:
    return deploy(ReferenceCloud(), {**TWO_IDENTITIES, "publicRead": public})


def _role(stack: GoogleStack, name: str) -> str:
    role_id = stack.run.resources[name].inputs["roleId"]
    (found,) = (each for each in stack.cloud.state.roles if each.endswith(f"/{role_id}"))
    return found


@pytest.mark.parametrize("right", [*_NEEDED_FOR, *_PRIVATE])
def test_without_one_permission_presign_cannot_do_its_work(right: str) -> None:
    name, permission = right.split()
    operation = (_NEEDED_FOR | _PRIVATE)[right]
    stack = _stack(public=right in _NEEDED_FOR)
    role = _role(stack, name)
    stack.cloud.state.roles[role] = tuple(each for each in stack.cloud.state.roles[role] if each != permission)
    with running(stack) as server, pytest.raises((PresignError, AssertionError, pytest.fail.Exception)):
        operation(server)


@pytest.mark.parametrize("public", [True, False])
def test_with_all_permissions_presign_works(public: bool) -> None:
    rights = _NEEDED_FOR if public else _PRIVATE
    stack = _stack(public=public)
    with running(stack) as server:
        for operation in dict.fromkeys(rights.values()):
            operation(server)
            server.bucket.objects.clear()


def test_every_permission_is_shown_to_be_needed() -> None:
    shown = {*_NEEDED_FOR, *_PRIVATE}
    for public in (True, False):
        stack = _stack(public=public)
        for name, resource in stack.run.resources.items():
            if resource.type != "gcp:projects/iAMCustomRole:IAMCustomRole" or "sign-blob" in name:
                continue
            for permission in resource.inputs["permissions"]:
                if permission == "storage.multipartUploads.create":
                    continue
                alias = f"{name} {permission}"
                assert alias in shown or (not public and alias in _NEEDED_FOR), alias
