"""The checks of a request's body before it is read as JSON: its media type and its size."""

from __future__ import annotations

from collections.abc import Callable

from presign.errors import PresignError

MAX_BODY_BYTES = 32 * 1024
"""The largest request body that is read. The longest token and the digests of 100 parts fit."""

_JSON = "application/json"
_MAX_DIGITS = 20


class BodyTooLarge(PresignError):
    """The request's body has more than MAX_BODY_BYTES."""

    code = "body_too_large"
    status = 413
    title = "The request's body is too large"

    def __init__(self) -> None:
        super().__init__(f"the body may have {MAX_BODY_BYTES} bytes at most", limit=MAX_BODY_BYTES)


class UnsupportedMediaType(PresignError):
    """The request's body does not have the content type ``application/json``."""

    code = "unsupported_media_type"
    status = 415
    title = "The request's body must be JSON"


def check_media_type(content_type: str | None) -> None:
    """Raise UnsupportedMediaType unless the header ``Content-Type`` says JSON; parameters are ignored."""
    if content_type != _JSON and (content_type or "").partition(";")[0].strip().lower() != _JSON:
        raise UnsupportedMediaType(f"the content type must be {_JSON}", field="content-type")


def check_declared_length(content_length: str | bytes | None) -> None:
    """Raise BodyTooLarge if the header ``Content-Length`` announces more than MAX_BODY_BYTES; nothing is read.

    A header that is absent or no number passes: the body is then limited while it is read.
    """
    # isdigit, because int also accepts signs, spaces and underscores; and int refuses a text of 4,300 digits.
    if not content_length or not content_length.isascii() or not content_length.isdigit():
        return
    if len(content_length) > _MAX_DIGITS or int(content_length) > MAX_BODY_BYTES:
        raise BodyTooLarge


def read_limited(read: Callable[[int], bytes]) -> bytes:
    """Return a body from ``read(size)``, which returns ``b""`` at its end; raises BodyTooLarge after MAX_BODY_BYTES."""
    body = b""
    while chunk := read(MAX_BODY_BYTES + 1 - len(body)):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge
    return body
