"""The checks of a request's body before it is read as JSON: its media type and its size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from presign.errors import PresignError, TooManyRequests

MAX_BODY_BYTES = 32 * 1024
"""The largest request body that is read, unless it is a list. The longest token and the digests of 100 parts fit."""

MAX_LARGER_BODIES = 4
"""How many bodies that are larger than MAX_BODY_BYTES one owner may send at the same time, on an event loop."""

_RETRY_AFTER_SECONDS = 1
_JSON = "application/json"
_MAX_DIGITS = 20


class BodyTooLarge(PresignError):
    """The request's body has more than MAX_BODY_BYTES, or than its endpoint's own limit."""

    code = "body_too_large"
    status = 413
    title = "The request's body is too large"

    def __init__(self, limit: int = MAX_BODY_BYTES) -> None:
        super().__init__(f"the body may have {limit} bytes at most", limit=limit)


class UnsupportedMediaType(PresignError):
    """The request's body does not have the content type ``application/json``."""

    code = "unsupported_media_type"
    status = 415
    title = "The request's body must be JSON"


class LargerBodies:
    """The bodies that are larger than MAX_BODY_BYTES and on their way: an owner may send few of them at the same time.

    A server on an event loop takes any number of connections. Without this limit, one user could fill its memory with
    lists that never end. Without an owner there is no limit. For one event loop.
    """

    def __init__(self) -> None:
        self._by_owner: Counter[str] = Counter()

    @contextmanager
    def claim(self, owner: object) -> Iterator[None]:
        """Count one more while the block lasts; raises TooManyRequests if that is too many."""
        if not isinstance(owner, str):
            yield
            return
        if self._by_owner[owner] >= MAX_LARGER_BODIES:
            raise TooManyRequests(
                f"you may send {MAX_LARGER_BODIES} lists of more than {MAX_BODY_BYTES} bytes at the same time",
                retry_after=_RETRY_AFTER_SECONDS,
            )
        self._by_owner[owner] += 1
        try:
            yield
        finally:
            self._by_owner[owner] -= 1
            if not self._by_owner[owner]:
                del self._by_owner[owner]


def check_media_type(content_type: str | None) -> None:
    """Raise UnsupportedMediaType unless the header ``Content-Type`` says JSON; parameters are ignored."""
    if content_type != _JSON and (content_type or "").partition(";")[0].strip().lower() != _JSON:
        raise UnsupportedMediaType(f"the content type must be {_JSON}", field="content-type")


def check_declared_length(content_length: str | bytes | None, limit: int = MAX_BODY_BYTES) -> None:
    """Raise BodyTooLarge if the header ``Content-Length`` announces more than ``limit`` bytes; nothing is read.

    A header that is absent or no number passes: the body is then limited while it is read.
    """
    if declares_more_than(limit, content_length):
        raise BodyTooLarge(limit)


def declares_more_than(limit: int, content_length: str | bytes | None) -> bool:
    """Say whether the header ``Content-Length`` announces more than ``limit`` bytes."""
    # isdigit, because int also accepts signs, spaces and underscores; and int refuses a text of 4,300 digits.
    if not content_length or not content_length.isascii() or not content_length.isdigit():
        return False
    return len(content_length) > _MAX_DIGITS or int(content_length) > limit


def limit_of_larger_body(start: bytes | bytearray, limit: int, list_limit: int) -> int:
    """Return the limit of a body with more than ``limit`` bytes, of which ``start`` was read: its first byte decides.

    It is ``list_limit`` for a list, which begins with ``[``. Raises BodyTooLarge for any other body, and for a list of
    which more than ``list_limit`` bytes were read.
    """
    if list_limit <= limit or not start.startswith(b"["):
        raise BodyTooLarge(limit)
    if len(start) > list_limit:
        raise BodyTooLarge(list_limit)
    return list_limit


def read_limited(
    read: Callable[[int], bytes],
    limit: int = MAX_BODY_BYTES,
    *,
    list_limit: int = 0,
    content_length: str | bytes | None = None,
) -> bytes:
    """Return a body from ``read(size)``, which returns ``b""`` at its end; raises BodyTooLarge above ``limit``.

    A list may have ``list_limit`` bytes, if that is more. ``content_length`` is the header: a body that it says is too
    large is not read. If only a list may have that length, the first byte is read alone, to see whether it begins one.
    """
    # Not bytes: each of many small pieces would then cost a copy of all that came before.
    body = bytearray()
    if declares_more_than(limit, content_length):
        check_declared_length(content_length, max(limit, list_limit))
        body += read(1)
        limit = limit_of_larger_body(body, limit, list_limit)
    while chunk := read(limit + 1 - len(body)):
        body += chunk
        if len(body) > limit:
            limit = limit_of_larger_body(body, limit, list_limit)
    return bytes(body)
