"""The endpoints: their addresses, and the way from a request's body to the body of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from presign.errors import ConfigurationError
from presign.messages import CompletionRequest, PartsRequest, UploadRequest
from presign.presigner import AwaitResult, Presigner

SUCCESS_HEADERS = {
    "Content-Type": "application/json",
    # A ticket is for one client and one use: no cache may store it.
    "Cache-Control": "no-store",
}
"""The headers of an answer with status 200."""


def presigners_by_path(presigner: Presigner | Sequence[Presigner]) -> dict[str, Presigner]:
    """Return each presigner under the beginning of its addresses: ``"/avatars"``, or ``""`` for a single presigner.

    Raises ConfigurationError for two presigners with the same name, for one whose prefix lies in another's pending
    place, and for none.
    """
    if isinstance(presigner, Presigner):
        return {"": presigner}
    paths = {f"/{each.name}": each for each in presigner}
    if not paths or len(paths) != len(presigner):
        raise ConfigurationError("every presigner needs a name of its own, such as name='avatars'", field="presigner")
    for one in presigner:
        for other in presigner:
            _check_apart(one, other)
    return paths


def begins_at_storage(presigner: Presigner, request: UploadRequest) -> bool:
    """Say whether a ticket waits for the storage, which begins an upload in parts, and for no service that signs."""
    return presigner.comes_in_parts(request) and not presigner.backend.signing_does_io


def answer_upload(presigner: Presigner, body: bytes, owner: str | None) -> bytes:
    """Return the ticket for ``POST /upload`` as JSON; raises what ``UploadRequest`` and ``Presigner.issue`` raise.

    This waits for the storage if ``Presigner.issuing_does_io``.
    """
    presigner.prepare_in_background()
    return presigner.issue(UploadRequest.from_json(body), owner=owner).to_json()


def answer_complete(
    presigner: Presigner, body: bytes, owner: str | None, await_result: AwaitResult | None = None
) -> bytes:
    """Return the stored object for ``POST /complete`` as JSON; raises what ``Presigner.complete`` raises.

    This waits for the storage, and for the application's ``inspect`` and ``on_complete``.
    """
    token = CompletionRequest.from_json(body).token
    return presigner.complete(token, owner=owner, await_result=await_result).to_json()


def answer_parts(presigner: Presigner, body: bytes, owner: str | None) -> bytes:
    """Return the requests of parts for ``POST /parts`` as JSON; raises what ``Presigner.sign_parts`` raises."""
    return sign_parts(presigner, PartsRequest.from_json(body), owner)


def answer_parts_for_uppy(presigner: Presigner, body: bytes, owner: str | None) -> bytes:
    """Do the same for Uppy's Companion mode, because Uppy 6 sends no headers with a part."""
    return sign_parts_for_uppy(presigner, PartsRequest.from_json(body), owner)


def sign_parts(presigner: Presigner, request: PartsRequest, owner: str | None) -> bytes:
    """Return the same as ``answer_parts`` for a request that was read already."""
    return presigner.sign_parts(request.token, request.numbers, owner=owner, sha256=request.sha256).to_json()


def sign_parts_for_uppy(presigner: Presigner, request: PartsRequest, owner: str | None) -> bytes:
    """Return the same as ``answer_parts_for_uppy`` for a request that was read already."""
    return presigner.sign_parts(
        request.token, request.numbers, owner=owner, sha256=request.sha256, url_alone=True
    ).to_json()


def answer_list_parts(presigner: Presigner, body: bytes, owner: str | None) -> bytes:
    """Return what the store has for ``POST /parts/list`` as JSON; raises what ``Presigner.list_parts`` raises.

    This waits for the storage.
    """
    return presigner.list_parts(CompletionRequest.from_json(body).token, owner=owner).to_json()


def answer_abort(presigner: Presigner, body: bytes, owner: str | None) -> bytes:
    """End an upload in parts for ``POST /abort``, and return an empty JSON object.

    This waits for the storage, and raises what ``Presigner.abort`` raises.
    """
    presigner.abort(CompletionRequest.from_json(body).token, owner=owner)
    return b"{}"


ANSWERS: Mapping[str, Callable[[Presigner, bytes, str | None], bytes]] = MappingProxyType(
    {
        "/upload": answer_upload,
        "/complete": answer_complete,
        "/parts": answer_parts,
        "/parts/list": answer_list_parts,
        "/abort": answer_abort,
    }
)
"""For the path of each endpoint, what makes the body of the answer from the body of a request and its owner."""

ANSWERS_FOR_UPPY = MappingProxyType({**ANSWERS, "/parts": answer_parts_for_uppy})
"""The same for what Uppy asks for in its Companion mode."""


def _check_apart(one: Presigner, other: Presigner) -> None:
    """Raise ConfigurationError if the sweep of ``one`` would delete what ``other`` stores under final keys.

    A pending container or bucket of its own is left out: nothing is published there.
    """
    pending_prefix = one.policy.pending_prefix
    if pending_prefix is None or one.backend.pending is not one.backend or one.backend.name != other.backend.name:
        return
    if other.policy.prefix.startswith(pending_prefix):
        raise ConfigurationError(
            f"the prefix of {other.name!r} lies in the pending_prefix of {one.name!r}, {pending_prefix!a}, where old "
            "objects are deleted; choose another one",
            field="prefix",
            value=other.policy.prefix,
        )
