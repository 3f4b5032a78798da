"""The parts of a large file: several at a time, each hashed if the store checks that, and repeated alone."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence

from presign.uploading.api import Api, PartRequest, Plan
from presign.uploading.connections import BUSY_STATUSES, ONCE, Connections
from presign.uploading.errors import FileChanged, NotReachable, StorageRefused, UploadFailed
from presign.uploading.source import SourceFile, Stopped
from presign.uploading.storage import headers_of, storage_code

ATTEMPTS = 6
"""How often one part is sent before the upload fails; the waits between take half a minute."""

_TOO_MANY_REQUESTS = 429
# With these, S3 and Azure say that they have not done what was asked, because too much is asked.
_THROTTLED_CODES = frozenset({"SlowDown", "ServerBusy"})
_MAX_RENEWALS = 2
_POLL_SECONDS = 0.1
_END_SECONDS = 5.0


class PartsSender:
    """Send parts of ``source`` with ``parallel`` threads.

    The calling thread hashes parts and asks for their signatures, a few parts before they are sent. A part is read from
    the file while it is sent, so no part is ever in memory as a whole. ``on_progress`` gets how many more bytes the
    storage has confirmed since its last call, in the calling thread. ``digests`` are the SHA-256 of all parts if they
    were computed before, else empty.
    """

    def __init__(
        self,
        *,
        api: Api,
        connections: Connections,
        source: SourceFile,
        token: str,
        plan: Plan,
        parallel: int,
        on_progress: Callable[[int], None],
        digests: Sequence[str] = (),
    ) -> None:
        self._api = api
        self._connections = connections
        self._source = source
        self._token = token
        self._plan = plan
        self._parallel = parallel
        self._on_progress = on_progress
        self._digests = digests
        self._ready: queue.Queue[PartRequest | None] = queue.Queue(maxsize=plan.at_once)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._confirmed_bytes = 0

    def send(self, numbers: Sequence[int], requests: Sequence[PartRequest] = ()) -> None:
        """Send the parts with these numbers; ``requests`` are those that the server has signed already.

        Returns when the storage has confirmed all of them. Otherwise raises UploadFailed, and no thread sends any more.
        """
        threads = [
            threading.Thread(target=self._work, name="presign upload", daemon=True)
            for _ in range(min(self._parallel, len(numbers)))
        ]
        for thread in threads:
            thread.start()
        try:
            self._feed(numbers, {each.number: each for each in requests})
            for _ in threads:
                self._put(None)
            for thread in threads:
                while thread.is_alive():
                    self._check()
                    thread.join(_POLL_SECONDS)
            self._check()
        except UploadFailed:
            self._stop.set()
            deadline = time.monotonic() + _END_SECONDS
            for thread in threads:
                thread.join(max(0, deadline - time.monotonic()))
            raise
        finally:
            # After an interruption nobody waits for the threads: they end with the process.
            self._stop.set()

    def _feed(self, numbers: Sequence[int], signed: dict[int, PartRequest]) -> None:
        known = [number for number in numbers if number in signed]
        for number in known:
            self._put(signed[number])
        others = [number for number in numbers if number not in signed]
        for start in range(0, len(others), self._plan.at_once):
            for request in self._sign(others[start : start + self._plan.at_once]):
                self._put(request)

    def _put(self, request: PartRequest | None) -> None:
        while True:
            self._check()
            try:
                self._ready.put(request, timeout=_POLL_SECONDS)
                return
            except queue.Full:
                continue

    def _check(self) -> None:
        """Raise what a thread has raised, and report what the storage has confirmed since the last call."""
        with self._lock:
            failure, confirmed_bytes, self._confirmed_bytes = self._failure, self._confirmed_bytes, 0
        if confirmed_bytes:
            self._on_progress(confirmed_bytes)
        if failure is not None:
            raise failure

    def _sign(self, numbers: Sequence[int]) -> tuple[PartRequest, ...]:
        if not self._plan.needs_sha256:
            return self._api.sign_parts(self._token, numbers, None)
        digests = []
        for number in numbers:
            self._check()
            digests.append(self._digests[number - 1] if self._digests else self._hashed(number))
        return self._api.sign_parts(self._token, numbers, digests)

    def _size_of(self, number: int) -> int:
        return min(self._plan.part_size, self._source.size - self._plan.start_of(number))

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    request = self._ready.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    continue
                if request is None:
                    return
                self._send_part(request)
                with self._lock:
                    self._confirmed_bytes += self._size_of(request.number)
        except Stopped:
            return
        except BaseException as error:
            with self._lock:
                self._failure = self._failure or error
            self._stop.set()

    def _send_part(self, request: PartRequest) -> None:
        renewals = 0
        for attempt in range(1, ATTEMPTS + 1):
            if time.monotonic() >= request.deadline:
                [request] = self._sign([request.number])
            wait_seconds, is_throttled = 0.0, False
            failure: UploadFailed
            try:
                status, code, wait_seconds = self._send_once(request)
                if 200 <= status <= 299:
                    return
                failure = StorageRefused(status, code)
                is_busy = status in BUSY_STATUSES
                is_throttled = status == _TOO_MANY_REQUESTS or code in _THROTTLED_CODES
            except NotReachable as error:
                failure, is_busy = error, True
            if not is_busy:
                renewals += 1
                self._check_unchanged(request.number)
            if attempt == ATTEMPTS or renewals > _MAX_RENEWALS:
                raise failure
            if is_busy:
                # A random wait, so that the threads do not send again all at once.
                backoff_seconds = random.uniform(0.5, 1) * 2 ** (attempt - 1)  # noqa: S311  (no secret)
                if self._stop.wait(max(wait_seconds, backoff_seconds)):
                    raise Stopped
            if is_throttled:
                # It has not taken the part, and to list all parts would ask for even more.
                continue
            # The answer may have been lost, and asking costs less than sending again. If the upload is gone, the
            # storage refuses its parts, and the server says so here.
            _, stored = self._api.list_parts(self._token, file_size=self._source.size)
            if request.number in stored:
                return
            if not is_busy:
                [request] = self._sign([request.number])
        raise AssertionError("the last attempt returns or raises")

    def _check_unchanged(self, number: int) -> None:
        """Raise FileChanged if the file, or the bytes of this part, are not those that were hashed."""
        self._source.check_unchanged()
        if self._digests and self._hashed(number) != self._digests[number - 1]:
            raise FileChanged("the file was changed after it was hashed; run the command again to upload it anew")

    def _hashed(self, number: int) -> str:
        return self._source.sha256(self._plan.start_of(number), self._size_of(number))

    def _send_once(self, request: PartRequest) -> tuple[int, str, float]:
        start, size = self._plan.start_of(request.number), self._size_of(request.number)
        with self._source.body(start, size, stop=self._stop) as body:
            answer = self._connections.send(
                "PUT", request.url, headers=headers_of(request.headers), body=body, retries=ONCE
            )
        return answer.status, storage_code(answer.body), answer.retry_after_seconds
