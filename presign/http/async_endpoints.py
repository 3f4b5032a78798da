"""The endpoints for an event loop: what waits for the storage does so in threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from presign.backends.expiring_credentials import CredentialsExpired
from presign.errors import (
    CompletionPending,
    ConfigurationError,
    CredentialsUnavailable,
    PresignError,
    StorageUnavailable,
)
from presign.http.bounded_threads import BoundedThreads
from presign.http.endpoints import answer_abort, answer_complete, answer_parts, answer_parts_list
from presign.messages import CompletionRequest, StoredObject, UploadRequest
from presign.presigner import Presigner, awaiter_of_running_loop

MAX_THREADS = 20
TIMEOUT_SECONDS = 9.0
_PARTS_RETRY_AFTER_SECONDS = 2

T = TypeVar("T")
Answer = Callable[[bytes, str | None], Awaitable[bytes]]
"""Returns the body of the answer for the body of a request and its owner; raises a PresignError."""


class AsyncEndpoints:
    """Answer requests of any number of presigners; a storage that hangs does not block the event loop.

    - ``max_threads``: how many completions can run at once. If a ticket needs a call to a service, such as the one that
      begins an upload in parts, the calls run in as many further threads.
    - ``timeout_seconds``: how long a request waits for such a call, before CredentialsUnavailable or StorageUnavailable
      is raised. The call goes on in its thread.

    Raises ConfigurationError for a limit of 0 or less.
    """

    def __init__(self, *, max_threads: int = MAX_THREADS, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        if max_threads < 1:
            raise ConfigurationError("max_threads must be at least 1", field="max_threads", value=max_threads)
        if timeout_seconds <= 0:
            raise ConfigurationError("timeout_seconds must be more than 0", field="timeout_seconds")
        self._timeout_seconds = timeout_seconds
        self._upload_threads = BoundedThreads(max_threads=max_threads, name="presign upload")
        self._complete_threads = BoundedThreads(max_threads=max_threads, name="presign complete")

    def uploader(self, presigner: Presigner) -> Answer:
        """Return what answers ``POST /upload``; it needs no thread, unless ``Presigner.issuing_does_io``."""

        async def upload(body: bytes, owner: str | None) -> bytes:
            request = UploadRequest.from_json(body)
            if not presigner.issuing_does_io(request):
                try:
                    return presigner.issue(request, owner=owner).to_json()
                except CredentialsExpired:
                    # A thread can wait until they are renewed; the event loop must not.
                    pass
            ticket = self._upload_threads.submit(lambda: presigner.issue(request, owner=owner).to_json())
            late: PresignError = (
                CredentialsUnavailable(f"there was no signature within {self._timeout_seconds:g} seconds")
                if presigner.backend.signing_does_io or not presigner.issuing_does_io(request)
                else StorageUnavailable(f"the storage began no upload within {self._timeout_seconds:g} seconds")
            )
            return await _result(ticket, self._timeout_seconds, late)

        return upload

    def completer(self, presigner: Presigner) -> Answer:
        """Return what answers ``POST /complete``."""

        async def complete(body: bytes, owner: str | None) -> bytes:
            # Coroutine functions of the application run here, on the loop that its other coroutines use.
            await_result = awaiter_of_running_loop()
            try:
                return await self._completed(partial(answer_complete, presigner, body, owner, await_result))
            except _Late:
                if presigner.is_in_parts(CompletionRequest.from_json(body).token):
                    # The store puts thousands of parts together, and copies them. That may take minutes.
                    raise CompletionPending(
                        "the file is being put together", retry_after=_PARTS_RETRY_AFTER_SECONDS
                    ) from None
                raise

        return complete

    def part_signer(self, presigner: Presigner) -> Answer:
        """Return what answers ``POST /parts``; it needs no thread, unless signing does I/O."""
        signing_does_io = presigner.backend.signing_does_io

        async def sign(body: bytes, owner: str | None) -> bytes:
            if not signing_does_io:
                try:
                    return answer_parts(presigner, body, owner)
                except CredentialsExpired:
                    pass
            signed = self._upload_threads.submit(partial(answer_parts, presigner, body, owner))
            late = CredentialsUnavailable(f"there was no signature within {self._timeout_seconds:g} seconds")
            return await _result(signed, self._timeout_seconds, late)

        return sign

    def part_lister(self, presigner: Presigner) -> Answer:
        """Return what answers ``POST /parts/list``."""
        return self._storage_call(partial(answer_parts_list, presigner))

    def aborter(self, presigner: Presigner) -> Answer:
        """Return what answers ``POST /abort``."""
        return self._storage_call(partial(answer_abort, presigner))

    def _storage_call(self, call: Callable[[bytes, str | None], bytes]) -> Answer:
        async def answer(body: bytes, owner: str | None) -> bytes:
            content = self._upload_threads.submit(partial(call, body, owner))
            late = StorageUnavailable(f"the storage did not answer within {self._timeout_seconds:g} seconds")
            return await _result(content, self._timeout_seconds, late)

        return answer

    async def complete(self, presigner: Presigner, token: str, owner: str | None) -> StoredObject:
        """Do the same as ``Presigner.complete_async``, within the limits."""
        await_result = awaiter_of_running_loop()
        return await self._completed(partial(presigner.complete, token, owner=owner, await_result=await_result))

    async def _completed(self, call: Callable[[], T]) -> T:
        stored = self._complete_threads.submit(call)
        late = _Late(f"the completion did not end within {self._timeout_seconds:g} seconds")
        return await _result(stored, self._timeout_seconds, late)


class _Late(StorageUnavailable):
    """A completion that has not ended; it goes on in its thread."""


async def _result(future: Future[T], seconds: float, late: PresignError) -> T:
    """Return the result of a call in a thread; raise ``late`` if it is not there after ``seconds``."""
    waiting = asyncio.wrap_future(future)
    try:
        done, _ = await asyncio.wait([waiting], timeout=seconds)
    finally:
        # Without effect on a call that has ended; one that still waits for a thread is not made.
        waiting.cancel()
    if not done:
        raise late
    return waiting.result()
