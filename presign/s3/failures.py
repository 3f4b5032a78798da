"""What a call of boto3 raises.

A clause ``except call_errors()`` is evaluated only when something was raised. So botocore is imported only by a process
that has called it: one that only signs needs none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError


def call_errors() -> tuple[type[BotoCoreError], type[ClientError]]:
    """Return what a call of boto3 raises: the first if there was no answer, and the second if it was an error."""
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


def answer_of(error: Exception) -> Mapping[str, Any] | None:
    """Return the storage's answer, as boto3 parsed it, or None if the storage did not answer."""
    answer = getattr(error, "response", None)
    # The errors of a broken connection have an attribute of this name, too.
    return answer if isinstance(answer, dict) else None


def error_code(error: Exception) -> str:
    """Return the code of an answer that boto3 raised as an error, or an empty text."""
    code: str = (answer_of(error) or {}).get("Error", {}).get("Code", "")
    return code


def status_of(error: Exception) -> int | None:
    """Return the status of an answer that boto3 raised as an error, or None."""
    status: int | None = (answer_of(error) or {}).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status
