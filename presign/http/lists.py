"""Lists: one request for many tickets, or for many completions, in which every file has a verdict of its own.

The body is a JSON array of the objects that single requests have, and the answer an array of the same length and order.
Each item of the answer is what the single request would get::

    {"status": 200, "body": {"method": "POST", ...}}
    {"status": 503, "body": {"code": "storage_unavailable", ...}, "retry_after": 5}

Only what concerns the whole request is a problem of the whole request: a list that is empty, has too many items, or is
no JSON.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import orjson

from presign.backends.expiring_credentials import CredentialsExpired
from presign.errors import ConfigurationError, InvalidRequest, PresignError
from presign.http.bounded_threads import BoundedThreads
from presign.http.deadlines import late_completion, late_signature, late_storage
from presign.http.endpoints import begins_at_storage
from presign.http.long_completions import LongCompletions
from presign.http.problems import ProblemResponse, is_server_fault, problem_response
from presign.http.request_body import MAX_BODY_BYTES
from presign.http.side_by_side import run_side_by_side, when_all_ended
from presign.messages import MAX_NAME_CHARACTERS, CompletionRequest, UploadRequest
from presign.presigner import Presigner

MAX_FILES = 100
"""How many files one request may have."""

LIST_PATHS = frozenset({"/upload", "/complete"})
"""The endpoints that take lists."""

Explain = Callable[[Exception], ProblemResponse]
"""Returns the problem of one item, and reports an error that is the server's fault; called in an ``except`` clause."""

T = TypeVar("T")

# A file's name may consist of commas; its other members need fewer than 20.
_MAX_COMMAS_PER_FILE = MAX_NAME_CHARACTERS + 20

_log = logging.getLogger("presign")


class TooManyFiles(InvalidRequest):
    """The list has more items than one request may have; ``limit`` says how many it may have."""

    code = "too_many_files"
    status = 413
    title = "Too many files in one request"


def is_list(body: bytes) -> bool:
    """Say whether a body is a JSON array, if it is JSON."""
    return body.lstrip().startswith(b"[")


def explain_and_log(error: Exception) -> ProblemResponse:
    """Return the problem of one item; log an error that is the server's fault, with its traceback."""
    if is_server_fault(error):
        _log.error("the server failed for one file of a list", exc_info=error)
    return problem_response(error)


class ListAnswer:
    """The answer to a list, while other threads still make some of its items.

    A request waits for ``all_ended`` for ``timeout_seconds`` at most, and then calls ``to_json``.
    """

    def __init__(self, count: int, *, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self._items: list[bytes | Exception | None] = [None] * count
        self._awaited: list[tuple[Sequence[int], Future[Any], Callable[[], bytes]]] = []
        self._end_with_request: list[Future[Any]] = []

    def put(self, indexes: Sequence[int], item: bytes | Exception) -> None:
        """Set the items with these indexes: the body of an answer with status 200, or an error."""
        for index in indexes:
            self._items[index] = item

    def put_later(
        self,
        indexes: Sequence[int],
        future: Future[Any],
        result: Callable[[], bytes],
        *,
        ends_with_request: bool = False,
    ) -> None:
        """Let the items with these indexes be what ``result`` returns, or raises, after ``future`` has ended.

        ``result`` is also called if the request cannot wait any longer. A call that ``ends_with_request`` is not made
        if it still waits for a thread then.
        """
        self._awaited.append((indexes, future, result))
        if ends_with_request:
            self._end_with_request.append(future)

    @property
    def is_ready(self) -> bool:
        """Whether no thread makes any of the items."""
        return not self._awaited

    def all_ended(self) -> Future[None]:
        """Return a future that ends when all threads have made their items."""
        return when_all_ended(future for _, future, _ in self._awaited)

    def give_up(self) -> None:
        """Cancel the calls that wait for a thread and that no other request will wait for."""
        for future in self._end_with_request:
            future.cancel()

    def wait(self, explain: Explain = explain_and_log) -> bytes:
        """Wait in this thread, and return the answer as JSON."""
        wait([future for _, future, _ in self._awaited], self.timeout_seconds)
        return self.to_json(explain)

    def to_json(self, explain: Explain = explain_and_log) -> bytes:
        """Return the answer as JSON; an item that is not ready is an error, as for a single request that is late.

        Calls that still wait for a thread then are not made.
        """
        for indexes, _, result in self._awaited:
            try:
                self.put(indexes, result())
            except Exception as error:
                self.put(indexes, error)
        return b"[%b]" % b",".join(self._encoded(explain))

    def _encoded(self, explain: Explain) -> list[bytes]:
        # Items of equal requests have one error, which is reported once.
        refusals: dict[int, bytes] = {}
        encoded = []
        for item in self._items:
            if isinstance(item, bytes):
                encoded.append(b'{"status":200,"body":%b}' % item)
                continue
            assert item is not None  # noqa: S101  (each item was put, or was awaited)
            if id(item) not in refusals:
                try:
                    # Reporters of errors ask for the exception that is being handled.
                    raise item
                except Exception as error:
                    refusals[id(item)] = _encoded_problem(explain(error))
            encoded.append(refusals[id(item)])
        return encoded


class Uploads(ListAnswer):
    """The answer to a list for ``POST /upload``, whose tickets ``issue`` makes."""

    def __init__(
        self,
        items: Sequence[Any],
        *,
        presigner: Presigner,
        owner: str | None,
        start: Callable[[Uploads, dict[int, UploadRequest]], None],
        timeout_seconds: float,
    ) -> None:
        super().__init__(len(items), timeout_seconds=timeout_seconds)
        self._presigner = presigner
        self._owner = owner
        self._start = start
        self._requests = enumerate(items)
        self._needs_io: dict[int, UploadRequest] = {}

    def issue(self, count: int | None = None) -> bool:
        """Issue the next ``count`` tickets, or all of them; say whether some are left.

        This is computation. The tickets that need I/O are issued in threads, which are started after the last one.
        """
        # What all tickets need is looked up once.
        presigner, owner, items = self._presigner, self._owner, self._items
        signing_does_io = presigner.backend.signing_does_io
        for index, item in islice(self._requests, count):
            try:
                request = UploadRequest.from_json(_as_object(item))
                if signing_does_io or presigner.comes_in_parts(request):
                    self._needs_io[index] = request
                else:
                    items[index] = presigner.issue(request, owner=owner).to_json()
            except CredentialsExpired:
                # A thread can wait until they are renewed; an event loop must not.
                self._needs_io[index] = request
            except Exception as error:
                items[index] = error
        if any(item is None and index not in self._needs_io for index, item in enumerate(items)):
            return True
        self._start(self, self._needs_io)
        return False


class Lists:
    """Answer the lists of any number of presigners, within the limits that single requests have.

    - ``max_files``: how many items a list may have.
    - ``max_threads``: how many threads each of the others has. One list takes half of them at most, so that it delays
      other requests little.
    - ``timeout_seconds``: how long a request waits for all of its items.
    - ``signing_threads``: for tickets that a service signs.
    - ``storage_threads``: for uploads in parts, which the storage begins.
    - ``completion_threads`` and ``long_completions``: for completions.

    Raises ConfigurationError for a ``max_files`` of 0 or less.
    """

    def __init__(
        self,
        *,
        max_files: int,
        max_threads: int,
        timeout_seconds: float,
        signing_threads: BoundedThreads,
        storage_threads: BoundedThreads,
        completion_threads: BoundedThreads,
        long_completions: LongCompletions,
    ) -> None:
        if max_files < 1:
            raise ConfigurationError("max_files must be at least 1", field="max_files", value=max_files)
        self._max_files = max_files
        self._max_threads = max_threads
        self._at_once = max(1, max_threads // 2)
        self._timeout_seconds = timeout_seconds
        self._signing_threads = signing_threads
        self._storage_threads = storage_threads
        self._completion_threads = completion_threads
        self._long_completions = long_completions

    def limited_to(self, max_files: int) -> Lists:
        """Return the same with another ``max_files``; both use the same threads. Raises ConfigurationError."""
        return Lists(
            max_files=max_files,
            max_threads=self._max_threads,
            timeout_seconds=self._timeout_seconds,
            signing_threads=self._signing_threads,
            storage_threads=self._storage_threads,
            completion_threads=self._completion_threads,
            long_completions=self._long_completions,
        )

    @property
    def max_body_bytes(self) -> int:
        """The largest body of a list: a list fits if each of its items fits into a single request."""
        return MAX_BODY_BYTES * self._max_files

    def body_limit(self, path: str) -> int:
        """Return ``max_body_bytes`` for an endpoint that takes lists, and 0 for any other."""
        return self.max_body_bytes if path in LIST_PATHS else 0

    def uploads(
        self,
        presigner: Presigner,
        body: bytes,
        owner: str | None,
        *,
        around: Callable[[Callable[[], bytes]], Callable[[], bytes]] = lambda call: call,
    ) -> Uploads:
        """Return the answer to a list for ``POST /upload``; the caller then calls its ``issue``.

        ``around`` adds to a call what it needs in another thread. Raises InvalidRequest and TooManyFiles.
        """

        def issue(request: UploadRequest) -> bytes:
            return presigner.issue(request, owner=owner).to_json()

        def start(answer: Uploads, requests: dict[int, UploadRequest]) -> None:
            begun: dict[Sequence[int], Callable[[], bytes]] = {}
            signed: dict[Sequence[int], Callable[[], bytes]] = {}
            for index, request in requests.items():
                calls = begun if begins_at_storage(presigner, request) else signed
                calls[(index,)] = around(partial(issue, request))
            self._run(answer, begun, self._storage_threads, late_storage(self._timeout_seconds), bytes)
            self._run(answer, signed, self._signing_threads, late_signature(self._timeout_seconds), bytes)

        presigner.prepare_in_background()
        return Uploads(
            self._items(body), presigner=presigner, owner=owner, start=start, timeout_seconds=self._timeout_seconds
        )

    def completions(
        self,
        presigner: Presigner,
        body: bytes,
        owner: str | None,
        *,
        call_for: Callable[[str, bool], Callable[[], T]],
        to_json: Callable[[T], bytes],
    ) -> ListAnswer:
        """Return the answer to a list for ``POST /complete``, which other threads make.

        ``call_for`` returns the call that completes the upload of a token. Its second argument says whether the call
        may go on after the request, as that for a file in parts. ``to_json`` makes an answer from the call's result.
        A token that comes twice is completed once, and both items have the same answer. Raises InvalidRequest and
        TooManyFiles.
        """
        items = self._items(body)
        answer = ListAnswer(len(items), timeout_seconds=self._timeout_seconds)
        indexes_of: dict[str, list[int]] = {}
        for index, item in enumerate(items):
            try:
                indexes_of.setdefault(CompletionRequest.from_json(_as_object(item)).token, []).append(index)
            except InvalidRequest as error:
                answer.put([index], error)
        calls: dict[Sequence[int], Callable[[], T]] = {}
        long_calls: dict[tuple[Presigner, str, str | None], Callable[[], T]] = {}
        for token, indexes in indexes_of.items():
            if presigner.is_in_parts(token):
                long_calls[(presigner, token, owner)] = call_for(token, True)
            else:
                calls[tuple(indexes)] = call_for(token, False)
        joined = self._long_completions.join_all(long_calls, at_once=self._at_once, owner=owner)
        for key, completion in joined.items():
            _, token, _ = key
            progress = partial(presigner.completion_progress, token)
            deliver = partial(self._long_completions.deliver, key, completion, progress=progress)
            answer.put_later(indexes_of[token], completion, partial(_delivered, deliver, to_json))
        self._run(answer, calls, self._completion_threads, late_completion(self._timeout_seconds), to_json)
        return answer

    def _run(
        self,
        answer: ListAnswer,
        calls: dict[Sequence[int], Callable[[], T]],
        threads: BoundedThreads,
        late: PresignError,
        to_json: Callable[[T], bytes],
    ) -> None:
        """Make the calls in ``threads``; a result that is not there in time is the error ``late``."""
        futures = run_side_by_side(threads, list(calls.values()), at_once=self._at_once)
        for indexes, future in zip(calls, futures, strict=True):
            answer.put_later(indexes, future, partial(_result, future, late, to_json), ends_with_request=True)

    def _items(self, body: bytes) -> list[Any]:
        # A body can have a million values. To read these takes so long that other requests would notice it.
        if body.count(b",") > self._max_files * _MAX_COMMAS_PER_FILE:
            raise TooManyFiles(
                f"one request may have {self._max_files} files at most, and this list has more values than they need",
                limit=self._max_files,
            )
        try:
            items: list[Any] = orjson.loads(body)
        except orjson.JSONDecodeError:
            # The cause's message repeats the body.
            raise InvalidRequest("the body is not JSON") from None
        if not items:
            raise InvalidRequest("the list is empty; it must have an object for each file", limit=self._max_files)
        if len(items) > self._max_files:
            raise TooManyFiles(
                f"one request may have {self._max_files} files at most; send the others in another request",
                value=len(items),
                limit=self._max_files,
            )
        return items


def _as_object(item: object) -> dict[str, Any]:
    # Text must not be read as JSON a second time.
    if not isinstance(item, dict):
        raise InvalidRequest("each item of the list must be a JSON object")
    return item


def _delivered(deliver: Callable[[], T], to_json: Callable[[T], bytes]) -> bytes:
    return to_json(deliver())


def _result(future: Future[T], late: PresignError, to_json: Callable[[T], bytes]) -> bytes:
    if future.cancel() or not future.done():
        raise late
    return to_json(future.result())


def _encoded_problem(problem: ProblemResponse) -> bytes:
    # A framework's own refusal may have the header in another case, or with a date.
    seconds = next((value for name, value in problem.headers.items() if name.lower() == "retry-after"), "")
    retry_after = f',"retry_after":{int(seconds)}' if seconds.isascii() and seconds.isdigit() else ""
    return b'{"status":%d,"body":%b%b}' % (problem.status, problem.body, retry_after.encode())
