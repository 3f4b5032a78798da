"""Every exception of presign, each with a stable code and the HTTP status that fits it.

::

    PresignError
    ├── ConfigurationError            the program's settings are wrong
    ├── InvalidRequest          400   the request is not valid
    │   ├── TooLarge            413   the declared size is above the policy's maximum
    │   ├── TooSmall            422   the declared size is below the policy's minimum
    │   └── TypeNotAllowed      415   the policy does not allow this content type
    ├── Unauthenticated         401   for ``authorize`` to raise: nobody is signed in
    ├── Forbidden               403   for ``authorize`` to raise: this user may not upload
    │   └── InvalidToken        403   the completion token is not from this application, or belongs to another owner
    │       └── TokenExpired    403   the completion token has expired
    ├── TooManyRequests         429   for ``authorize`` to raise: the client must slow down
    ├── CompletionPending       202   the upload is being completed, or its inspection has not ended; ask again
    ├── NotUploaded             409   nothing is stored under the token's key
    ├── PartsMissing            409   the store lacks parts of the file; send them, and complete again
    ├── UploadEnded             410   the store has no such upload in parts any more, and no object of it
    ├── RuleViolated            422   the stored object broke a rule and was deleted
    ├── Rejected                422   the application's own inspection rejected the object, which was deleted
    ├── CredentialsUnavailable  503   there are no valid credentials to sign with
    └── StorageUnavailable      503   the storage did not answer, or answered with an error of its own
"""

from __future__ import annotations

from typing import Any, ClassVar

# It checks the installation. Almost every module imports this one, also where __init__.py is not presign's own.
import presign.installation  # noqa: F401
from presign.progress import CompletionProgress

_MAX_SHOWN_CHARACTERS = 100
_MAX_SHOWN_NUMBERS = 1000

Limit = str | int | tuple[str, ...]
"""The bound that a value broke: one bound, or all values that are allowed."""


class PresignError(Exception):
    """The base class of all exceptions of presign.

    ``field``, ``value`` and ``limit`` say what was wrong with one input. ``value`` is what the client sent or the
    program configured; it never holds credentials, a signature, a policy or a token.
    """

    code: ClassVar[str] = "presign_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"

    def __init__(
        self,
        detail: str,
        *,
        field: str | None = None,
        value: str | int | None = None,
        limit: Limit | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.value: str | int | None = value if isinstance(value, int) or value is None else sanitize(value)
        self.limit = limit

    def problem(self) -> dict[str, Any]:
        """Return this error as the members of an RFC 9457 problem document."""
        members: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            # An application's own reason may repeat a name from inside a file, which Python reads with surrogates.
            "detail": self.detail.encode(errors="replace").decode(),
            "code": self.code,
        }
        for name in ("field", "value", "limit"):
            member = getattr(self, name)
            if member is not None:
                members[name] = list(member) if isinstance(member, tuple) else member
        return members


class ConfigurationError(PresignError, ValueError):
    """The program's settings are wrong; the message names the setting and the remedy.

    Raised when a policy, a backend or a presigner is built, by ``Backend.check``, and for arguments that only the
    program can give wrongly, such as the lifetime of ``sign_download`` or an owner that is not text.
    """

    code = "configuration_error"
    title = "The server's settings are wrong"


class InvalidRequest(PresignError, ValueError):
    """The request is not valid: it is not JSON, or a member is missing, unknown, or has a wrong type or value."""

    code = "invalid_request"
    status = 400
    title = "The request is not valid"


class TooLarge(InvalidRequest):
    """The declared size is above the policy's maximum."""

    code = "too_large"
    status = 413
    title = "The file is too large"


class TooSmall(InvalidRequest):
    """The declared size is below the policy's minimum."""

    code = "too_small"
    status = 422
    title = "The file is too small"


class TypeNotAllowed(InvalidRequest):
    """The policy does not allow this content type; ``limit`` holds the types that it allows."""

    code = "type_not_allowed"
    status = 415
    title = "This type of file is not allowed"


class Unauthenticated(PresignError):
    """Nobody is signed in; for an application's ``authorize`` to raise."""

    code = "unauthenticated"
    status = 401
    title = "Sign in first"


class Forbidden(PresignError):
    """The user may not do this; for an application's ``authorize`` to raise."""

    code = "forbidden"
    status = 403
    title = "Not allowed"


class InvalidToken(Forbidden):
    """This application did not issue the completion token, or issued it to another owner."""

    code = "invalid_token"
    title = "The completion token is not valid"


class TokenExpired(InvalidToken):
    """The completion token has expired."""

    code = "token_expired"
    title = "The completion token has expired"


class TooManyRequests(PresignError):
    """The client asks too often; for an application's ``authorize`` to raise. ``retry_after`` is in seconds."""

    code = "too_many_requests"
    status = 429
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class CompletionPending(PresignError):
    """The upload cannot be completed yet: another call completes it, or ``inspect`` answered NotYet.

    Nothing is lost: the same call can be made again after ``retry_after`` seconds. ``progress`` says how far the
    completion is, if this process runs it.
    """

    code = "completion_pending"
    status = 202
    title = "The upload is not completed yet"

    def __init__(self, detail: str, *, retry_after: int, progress: CompletionProgress | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.progress = progress

    def problem(self) -> dict[str, Any]:
        """Return this error as the members of an RFC 9457 problem document, with the ``progress`` if it is known."""
        members = super().problem()
        if self.progress is not None:
            members["progress"] = self.progress.to_dict()
        return members


class NotUploaded(PresignError):
    """Nothing is stored under the token's key, or the application's credentials may not read it."""

    code = "not_uploaded"
    status = 409
    title = "Nothing has been uploaded yet"


class PartsMissing(PresignError):
    """The store lacks parts of the file, or has them with another size; ``numbers`` names them.

    Nothing is lost: the client sends these parts, and completes again. A problem document has at most 1,000 numbers.
    """

    code = "parts_missing"
    status = 409
    title = "Parts of the file are missing"

    def __init__(self, detail: str, *, numbers: tuple[int, ...]) -> None:
        super().__init__(detail, field="numbers", value=len(numbers))
        self.numbers = numbers

    def problem(self) -> dict[str, Any]:
        """Return this error as the members of an RFC 9457 problem document, with the missing ``numbers``."""
        return {**super().problem(), "numbers": list(self.numbers[:_MAX_SHOWN_NUMBERS])}


class UploadEnded(PresignError):
    """The upload in parts was aborted, rejected or forgotten by the store; the client needs a new ticket."""

    code = "upload_ended"
    status = 410
    title = "The upload has ended"


class RuleViolated(PresignError):
    """The stored object broke a rule of its grant and was deleted; ``rule`` names the rule, such as ``"size"``."""

    code = "rule_violated"
    status = 422
    title = "The upload broke a rule and was deleted"

    def __init__(
        self,
        detail: str,
        *,
        rule: str,
        field: str | None = None,
        value: str | int | None = None,
        limit: Limit | None = None,
    ) -> None:
        super().__init__(detail, field=field, value=value, limit=limit)
        self.rule = rule

    def problem(self) -> dict[str, Any]:
        """Return this error as the members of an RFC 9457 problem document, with the broken ``rule``."""
        return {**super().problem(), "rule": self.rule}


class Rejected(PresignError):
    """The application's own inspection rejected the object, which was deleted; ``detail`` is the reason."""

    code = "rejected"
    status = 422
    title = "The upload was rejected and deleted"


class CredentialsUnavailable(PresignError):
    """There are no valid credentials to sign with: none were found, or they expired and could not be renewed."""

    code = "credentials_unavailable"
    status = 503
    title = "Uploads are not possible at the moment"


class StorageUnavailable(PresignError):
    """The storage did not answer, or answered with an error of its own."""

    code = "storage_unavailable"
    status = 503
    title = "The storage is not available at the moment"


def sanitize(value: str) -> str:
    """Return untrusted text as one line of printable ASCII of bounded length, for messages and logs."""
    shortened = value if len(value) <= _MAX_SHOWN_CHARACTERS else value[:_MAX_SHOWN_CHARACTERS] + "..."
    return ascii(shortened)[1:-1]
