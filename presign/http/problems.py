"""Every error as a problem document (RFC 9457), with the status and the headers that belong to it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from presign.errors import (
    CompletionPending,
    ConfigurationError,
    CredentialsUnavailable,
    Forbidden,
    InvalidRequest,
    PresignError,
    StorageUnavailable,
    TooManyRequests,
    Unauthenticated,
)
from presign.http.request_body import BodyTooLarge, UnsupportedMediaType

RETRY_AFTER_SECONDS = 5
"""When a client may ask again after a 503."""

_HEADERS = {"Content-Type": "application/problem+json", "Cache-Control": "no-store"}
# The codes of presign's own errors, for a framework that answers with the same status.
_CODES = {
    400: InvalidRequest.code,
    401: Unauthenticated.code,
    403: Forbidden.code,
    404: "not_found",
    405: "method_not_allowed",
    413: BodyTooLarge.code,
    415: UnsupportedMediaType.code,
    429: TooManyRequests.code,
}
_DETAILS = {404: "nothing is served at this address", 405: "this address does not accept this method"}

_log = logging.getLogger("presign")


class ProblemResponse(NamedTuple):
    """A response that says what went wrong; ``body`` is the JSON document."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def wsgi_headers(self) -> dict[str, str]:
        """The headers that a WSGI application may send: ``Connection`` belongs to the server (PEP 3333)."""
        return {name: value for name, value in self.headers.items() if name != "Connection"}


def is_server_fault(error: Exception) -> bool:
    """Say whether the program is to blame, so that the server must log the error with its traceback."""
    return not isinstance(error, PresignError) or isinstance(error, ConfigurationError)


def problem_response(error: Exception) -> ProblemResponse:
    """Return the response for an error; one that is the server's fault is not described to the client.

    Logs CredentialsUnavailable and StorageUnavailable.
    """
    if is_server_fault(error):
        hidden = PresignError("the server failed; its log has the details")
        return _response({**hidden.problem(), "code": "internal"})
    assert isinstance(error, PresignError)  # noqa: S101  (everything else is the server's fault)
    headers = {}
    if isinstance(error, TooManyRequests | CompletionPending):
        headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, CredentialsUnavailable | StorageUnavailable):
        _log.error("%s: %s", error.code, error.detail)
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    elif isinstance(error, BodyTooLarge):
        # The server does not read the rest of the body, so the connection cannot carry another request.
        headers["Connection"] = "close"
    return _response(error.problem(), headers)


def problem_response_for_status(
    status: int, *, title: str, detail: str | None = None, headers: Mapping[str, str] | None = None
) -> ProblemResponse:
    """Return the response for an error of the framework itself, such as an unknown address (404)."""
    problem = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail or _DETAILS.get(status, title),
        "code": _CODES.get(status, "http_error"),
    }
    return _response(problem, headers or {})


def _response(problem: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> ProblemResponse:
    return ProblemResponse(
        status=problem["status"], headers={**_HEADERS, **(headers or {})}, body=orjson.dumps(problem)
    )
