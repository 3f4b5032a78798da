"""The signals that tell the application's other parts about uploads.

- ``upload_completed``: ``completion`` (see ``presign.Completion``) was published. Like ``on_complete``, it is sent at
  least once: again if a completion is repeated. An exception of a receiver ends the completion, which can be repeated.
- ``upload_rejected``: an upload broke a rule or was rejected by ``inspect``, and was deleted. ``error`` is the
  ``presign.RuleViolated`` or ``presign.Rejected``, ``owner`` the user's primary key as text, or None.

Both have the ``alias`` of the setting PRESIGN. Their ``sender`` is the class ``presign.Presigner``: Django compares
senders by identity, so a text could not be one.
"""

from __future__ import annotations

from django.dispatch import Signal

from presign.errors import Rejected, RuleViolated
from presign.messages import Completion
from presign.presigner import Presigner

upload_completed = Signal()
upload_rejected = Signal()


def announce_completed(completion: Completion) -> None:
    """Send ``upload_completed``."""
    upload_completed.send(sender=Presigner, alias=completion.kind, completion=completion)


def announce_rejected(alias: str, error: RuleViolated | Rejected, owner: str | None) -> None:
    """Send ``upload_rejected``; an exception of a receiver is logged, because the upload is deleted already."""
    upload_rejected.send_robust(sender=Presigner, alias=alias, error=error, owner=owner)
