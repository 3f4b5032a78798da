"""Why an upload failed, in words that can be printed: no message has a token, a signature or a header's value."""

from __future__ import annotations

_MAX_SHOWN_CHARACTERS = 500
_NOT_THERE = frozenset({(404, ""), (404, "not_found"), (405, ""), (405, "method_not_allowed")})
"""Answers of an address where the contract is not served: by something else than presign, or by presign."""


class UploadFailed(Exception):
    """The base class of what ``Upload`` raises; ``str()`` says what went wrong and never grants access.

    ::

        UploadFailed
        ├── Refused          the application's server refused a request, with a code
        ├── StorageRefused   the storage refused the file or a part
        ├── NotReachable     a server did not answer, or answered that it cannot serve now
        └── FileChanged      the file on the disk has changed since its upload began
    """


class Refused(UploadFailed):
    """The application's server refused a request with this ``status`` and ``code``.

    ``numbers`` are the parts that the storage lacks, for the code ``parts_missing``. ``field`` is the member of the
    request that was refused, or empty. ``limit`` is the number that the server accepts there, or None.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        code: str,
        numbers: tuple[int, ...] = (),
        field: str = "",
        limit: int | None = None,
    ) -> None:
        reason = f"{status} {printable(code)}" if code else str(status)
        remedy = "; give the address that has /upload below it" if (status, code) in _NOT_THERE else ""
        super().__init__(f"the server refused the request: {printable(detail)} ({reason}){remedy}")
        self.status = status
        self.code = code
        self.numbers = numbers
        self.field = field
        self.limit = limit

    @property
    def has_ended(self) -> bool:
        """Whether nobody can go on with this upload."""
        return self.code in {"upload_ended", "invalid_token", "token_expired"}

    @property
    def is_verdict(self) -> bool:
        """Whether the server has refused the stored file itself."""
        return self.status == 422 or self.has_ended


class StorageRefused(UploadFailed):
    """The storage refused the file or a part."""

    def __init__(self, status: int, code: str) -> None:
        reason = f"{status} {printable(code)}".strip()
        super().__init__(f"the storage refused the upload: {reason}")


class NotReachable(UploadFailed):
    """A server did not answer, or answered that it cannot serve now; the same request can succeed later."""


class FileChanged(UploadFailed):
    """The file on the disk has changed since its upload began."""


def printable(text: str) -> str:
    """Return text of a server as one line without characters that change what a terminal shows."""
    shortened = text if len(text) <= _MAX_SHOWN_CHARACTERS else text[:_MAX_SHOWN_CHARACTERS] + "..."
    return "".join(character if character.isprintable() else "?" for character in shortened)
