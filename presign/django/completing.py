"""The completion of an upload by its token, for the view, the form field, and the application's own code."""

from __future__ import annotations

from presign.django.presigners import get_presigner
from presign.django.signals import announce_rejected
from presign.errors import Rejected, RuleViolated
from presign.messages import StoredObject
from presign.presigner import AwaitResult


def complete_upload(
    alias: str, token: str, *, owner: str | None, await_result: AwaitResult | None = None
) -> StoredObject:
    """Verify and publish what was uploaded, send the signal, and return the object; a repeated call does the same.

    ``owner`` is the primary key of the user as text. Raises what ``presign.Presigner.complete`` raises. This waits for
    the storage.

    A database transaction that is rolled back later does not take the published object back. Where that matters, call
    this in ``transaction.on_commit``: the row is then there before the upload is verified.
    """
    try:
        return get_presigner(alias).complete(token, owner=owner, await_result=await_result)
    except (RuleViolated, Rejected) as error:
        announce_rejected(alias, error, owner)
        raise
