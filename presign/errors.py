"""Everything that presign raises, each with a stable code and the HTTP status that fits it.

::

    PresignError
    ├── ConfigurationError            the program is set up wrongly; raised when something is built, never by a request
    ├── InvalidRequest          400   the request is malformed
    │   ├── TooLarge            413   the declared size is above the policy's maximum
    │   ├── TooSmall            422   the declared size is below the policy's minimum
    │   └── TypeNotAdmitted     415   the policy does not admit this content type
    ├── Unauthenticated         401   for ``authorize`` to raise: nobody is signed in
    ├── Forbidden               403   for ``authorize`` to raise: not allowed to upload
    │   └── InvalidToken        403   a completion token that this application did not issue, or not to this owner
    │       └── TokenExpired    403   a completion token past its time
    ├── TooManyRequests         429   for ``authorize`` to raise: slow down
    ├── NotUploaded             409   nothing has been stored under this token's key
    ├── RuleViolated            422   what was stored breaks the grant; it has been deleted
    ├── CredentialsUnavailable  503   nothing to sign with at the moment
    └── StorageUnavailable      503   the storage did not answer, or not as it should
"""

from __future__ import annotations

from typing import ClassVar

_SHOWN_CHARACTERS = 100


class PresignError(Exception):
    """The base of everything that presign raises.

    ``field``, ``value`` and ``limit`` say what was wrong where one input is to blame. They hold what the caller sent or
    configured, never a credential, signature, policy or token.
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
        limit: str | int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.value = value if isinstance(value, int) or value is None else shown(value)
        self.limit = limit

    def problem(self) -> dict[str, str | int]:
        """Return this error as the members of an RFC 9457 problem document."""
        members: dict[str, str | int] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        for name in ("field", "value", "limit"):
            member = getattr(self, name)
            if member is not None:
                members[name] = member
        return members


class ConfigurationError(PresignError, ValueError):
    """The program is set up wrongly; the message names the setting and the remedy."""

    code = "configuration_error"
    title = "The server is set up wrongly"


class InvalidRequest(PresignError, ValueError):
    """The request is malformed: not the JSON, the types or the values that the contract asks for."""

    code = "malformed_request"
    status = 400
    title = "The request is malformed"


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


class TypeNotAdmitted(InvalidRequest):
    """The policy does not admit this content type."""

    code = "type_not_admitted"
    status = 415
    title = "This type of file is not admitted"


class Unauthenticated(PresignError):
    """Nobody is signed in; for an application's ``authorize`` to raise."""

    code = "unauthenticated"
    status = 401
    title = "Sign in first"


class Forbidden(PresignError):
    """Whoever asks may not do this; for an application's ``authorize`` to raise."""

    code = "forbidden"
    status = 403
    title = "Not allowed"


class InvalidToken(Forbidden):
    """The completion token was not issued by this application, or not to this owner."""

    code = "invalid_token"
    title = "The completion token is not valid"


class TokenExpired(InvalidToken):
    """The completion token is past its time."""

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


class NotUploaded(PresignError):
    """Nothing has been stored under the token's key, or the application may not read it."""

    code = "not_uploaded"
    status = 409
    title = "Nothing has been uploaded yet"


class RuleViolated(PresignError):
    """What was stored breaks the grant, and has been deleted; ``rule`` is the broken rule, such as ``"size"``."""

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
        limit: str | int | None = None,
    ) -> None:
        super().__init__(detail, field=field, value=value, limit=limit)
        self.rule = rule

    def problem(self) -> dict[str, str | int]:
        """Return this error as the members of an RFC 9457 problem document, with the broken ``rule``."""
        return {**super().problem(), "rule": self.rule}


class CredentialsUnavailable(PresignError):
    """There is nothing to sign with at the moment: no credentials, or they expired and could not be renewed."""

    code = "credentials_unavailable"
    status = 503
    title = "Uploads are not possible at the moment"


class StorageUnavailable(PresignError):
    """The storage did not answer, or answered with an error of its own."""

    code = "storage_unavailable"
    status = 503
    title = "The storage is not available at the moment"


def shown(value: str) -> str:
    """Return untrusted text fit for a message or a log line: one line of printable ASCII, of bounded length."""
    shortened = value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "..."
    return ascii(shortened)[1:-1]
