"""The endpoints for an event loop: what waits for the storage does so in threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from presign.backends.expiring_credentials import CredentialsExpired
from presign.errors import ConfigurationError, PresignError
from presign.http.bounded_threads import BoundedThreads
from presign.http.deadlines import late_completion, late_signature, late_storage
from presign.http.endpoints import (
    answer_abort,
    answer_list_parts,
    answer_parts,
    answer_parts_for_uppy,
    begins_at_storage,
)
from presign.http.lists import MAX_FILES, Explain, ListAnswer, Lists, explain_and_log, is_list
from presign.http.long_completions import LongCompletions
from presign.messages import CompletionRequest, StoredObject, UploadRequest
from presign.presigner import Presigner, awaiter_of_running_loop

MAX_THREADS = 20
TIMEOUT_SECONDS = 9.0

T = TypeVar("T")
Answer = Callable[[bytes, str | None], Awaitable[bytes]]
"""Returns the body of the answer for the body of a request and its owner; raises a PresignError."""

_Call = Callable[[Presigner, bytes, str | None], bytes]
# About a millisecond, in which the event loop serves no other request.
_TICKETS_AT_A_TIME = 20


class AsyncEndpoints:
    """Answer requests of any number of presigners; a storage that hangs does not block the event loop.

    - ``max_threads``: how many completions can run at once. Completions of large files, other calls to the storage, and
      calls to a service that signs run in as many further threads each.
    - ``timeout_seconds``: how long a request waits for such a call. The call goes on in its thread. The request raises
      CompletionPending if it completes a large file, and CredentialsUnavailable or StorageUnavailable otherwise.
    - ``max_files``: how many files one request may have, if its body is a list (see ``presign.http.lists``).
    - ``explain``: makes the problem of one item of a list.

    Raises ConfigurationError for a limit of 0 or less.
    """

    def __init__(
        self,
        *,
        max_threads: int = MAX_THREADS,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_files: int = MAX_FILES,
        explain: Explain = explain_and_log,
    ) -> None:
        if max_threads < 1:
            raise ConfigurationError("max_threads must be at least 1", field="max_threads", value=max_threads)
        if timeout_seconds <= 0:
            raise ConfigurationError("timeout_seconds must be more than 0", field="timeout_seconds")
        self._timeout_seconds = timeout_seconds
        self._upload_threads = BoundedThreads(max_threads=max_threads, name="presign upload")
        self._storage_threads = BoundedThreads(max_threads=max_threads, name="presign parts")
        self._complete_threads = BoundedThreads(max_threads=max_threads, name="presign complete")
        self._long_completions = LongCompletions(max_threads=max_threads)
        self._explain = explain
        self.lists: Lists = Lists(
            max_files=max_files,
            max_threads=max_threads,
            timeout_seconds=timeout_seconds,
            signing_threads=self._upload_threads,
            storage_threads=self._storage_threads,
            completion_threads=self._complete_threads,
            long_completions=self._long_completions,
        )

    def answers(self, presigner: Presigner) -> Mapping[str, Answer]:
        """Return what answers each endpoint, by its path, as ``presign.http.endpoints.ANSWERS`` does for threads."""
        return {
            "/upload": self._uploader(presigner),
            "/complete": self._completer(presigner),
            "/parts": self._part_signer(presigner, answer_parts),
            "/parts/list": self._storage_caller(presigner, answer_list_parts),
            "/abort": self._storage_caller(presigner, answer_abort),
        }

    def answers_for_uppy(self, presigner: Presigner) -> Mapping[str, Answer]:
        """Return the same for what Uppy asks for in its Companion mode."""
        return {**self.answers(presigner), "/parts": self._part_signer(presigner, answer_parts_for_uppy)}

    async def complete(self, presigner: Presigner, token: str, owner: str | None) -> StoredObject:
        """Do the same as ``Presigner.complete_async``, within the limits."""
        call = _completion_call(presigner, token, owner)
        if presigner.is_in_parts(token):
            return await self.in_long_completion_thread(presigner, token, owner, call)
        return await self.in_completion_thread(call)

    async def in_upload_thread(self, call: Callable[[], T]) -> T:
        """Return the result of a call that signs, within the limits; raises CredentialsUnavailable if it is late."""
        late = late_signature(self._timeout_seconds)
        return await _result(self._upload_threads.submit(call), self._timeout_seconds, late)

    async def in_storage_thread(self, call: Callable[[], T]) -> T:
        """Return the result of a short call to the storage, within the limits; raises StorageUnavailable if it is late.

        Such calls begin, list and abort uploads in parts.
        """
        late = late_storage(self._timeout_seconds)
        return await _result(self._storage_threads.submit(call), self._timeout_seconds, late)

    async def in_completion_thread(self, call: Callable[[], T]) -> T:
        """Return the result of a call that completes, within the limits; raises StorageUnavailable if it is late."""
        late = late_completion(self._timeout_seconds)
        return await _result(self._complete_threads.submit(call), self._timeout_seconds, late)

    async def in_long_completion_thread(
        self, presigner: Presigner, token: str, owner: str | None, call: Callable[[], T]
    ) -> T:
        """Return the result of a call that completes a file in parts; raises CompletionPending if it is late.

        The call then goes on, and the next request with the same token and owner waits for the same call.
        """
        key = (presigner, token, owner)
        completion = self._long_completions.join(key, call, owner=owner)
        # The completion must go on if this request gives up, so the request waits for another future.
        ended: Future[None] = Future()
        completion.add_done_callback(lambda _: ended.set_result(None))
        await asyncio.wait([asyncio.wrap_future(ended)], timeout=self._timeout_seconds)
        progress = partial(presigner.completion_progress, token)
        return self._long_completions.deliver(key, completion, progress=progress)

    async def finished(self, answer: ListAnswer, *, explain: Explain | None = None) -> bytes:
        """Return the answer to a list as JSON after all of its items are made, within the limits."""
        if answer.is_ready:
            return answer.to_json(explain or self._explain)
        all_ended = asyncio.wrap_future(answer.all_ended())
        try:
            await asyncio.wait([all_ended], timeout=answer.timeout_seconds)
            return answer.to_json(explain or self._explain)
        finally:
            all_ended.cancel()
            answer.give_up()

    def _uploader(self, presigner: Presigner) -> Answer:
        """Return what answers ``POST /upload``; it needs no thread, unless the ticket needs I/O."""

        async def upload(body: bytes, owner: str | None) -> bytes:
            if is_list(body):
                answer = self.lists.uploads(presigner, body, owner)
                while answer.issue(_TICKETS_AT_A_TIME):
                    await asyncio.sleep(0)
                return await self.finished(answer)
            presigner.prepare_in_background()
            request = UploadRequest.from_json(body)
            if not presigner.issuing_does_io(request):
                try:
                    return presigner.issue(request, owner=owner).to_json()
                except CredentialsExpired:
                    # A thread can wait until they are renewed; the event loop must not.
                    pass
            in_thread = self.in_storage_thread if begins_at_storage(presigner, request) else self.in_upload_thread
            return (await in_thread(partial(presigner.issue, request, owner=owner))).to_json()

        return upload

    def _part_signer(self, presigner: Presigner, call: _Call) -> Answer:
        """Return what answers ``POST /parts``; it needs no thread, unless signing does I/O."""

        async def sign(body: bytes, owner: str | None) -> bytes:
            if not presigner.backend.signing_does_io:
                try:
                    return call(presigner, body, owner)
                except CredentialsExpired:
                    # As for a ticket.
                    pass
            return await self.in_upload_thread(partial(call, presigner, body, owner))

        return sign

    def _storage_caller(self, presigner: Presigner, call: _Call) -> Answer:
        async def answer(body: bytes, owner: str | None) -> bytes:
            return await self.in_storage_thread(partial(call, presigner, body, owner))

        return answer

    def _completer(self, presigner: Presigner) -> Answer:
        async def complete(body: bytes, owner: str | None) -> bytes:
            if is_list(body):
                answer = self.lists.completions(
                    presigner,
                    body,
                    owner,
                    call_for=lambda token, _: _completion_call(presigner, token, owner),
                    to_json=StoredObject.to_json,
                )
                return await self.finished(answer)
            token = CompletionRequest.from_json(body).token
            return (await self.complete(presigner, token, owner)).to_json()

        return complete


def _completion_call(presigner: Presigner, token: str, owner: str | None) -> Callable[[], StoredObject]:
    """Return the call that completes an upload in another thread, for a request on the running event loop."""
    # Coroutine functions of the application run on the loop that its other coroutines use.
    return partial(presigner.complete, token, owner=owner, await_result=awaiter_of_running_loop())


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
