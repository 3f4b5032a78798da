"""The two endpoints, from a request's body to the body of the answer."""

from __future__ import annotations

from presign.messages import CompletionRequest, UploadRequest
from presign.presigner import AwaitResult, Presigner

SUCCESS_HEADERS = {
    "Content-Type": "application/json",
    # A ticket is for one client and one use: no cache may store it.
    "Cache-Control": "no-store",
}
"""The headers of an answer with status 200."""


def answer_upload(presigner: Presigner, body: bytes, owner: str | None) -> bytes:
    """Return the ticket for ``POST /upload`` as JSON; raises what ``UploadRequest`` and ``Presigner.issue`` raise."""
    return presigner.issue(UploadRequest.from_json(body), owner=owner).to_json()


def answer_complete(
    presigner: Presigner, body: bytes, owner: str | None, await_result: AwaitResult | None = None
) -> bytes:
    """Return the stored object for ``POST /complete`` as JSON; raises what ``Presigner.complete`` raises.

    This waits for the storage, and for the application's ``inspect`` and ``on_complete``.
    """
    token = CompletionRequest.from_json(body).token
    return presigner.complete(token, owner=owner, await_result=await_result).to_json()
