"""Publishing: from an uploaded object to the object that the application may use.

Each function can be interrupted at any step and called again. It then ends in the same state, with the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from presign.backends.backend import AlreadyPublished, Backend, ObjectChanged, ObjectHead, ObjectStore
from presign.errors import NotUploaded, PresignError, StorageUnavailable
from presign.messages import Grant
from presign.progress import ReportBytes, ignore_bytes
from presign.verification import first_bytes_needed, reads_the_object

T = TypeVar("T")

Judge = Callable[[Grant, ObjectStore, ObjectHead], PresignError | None]
"""Return the error of an object that must not be used, or None; raise CompletionPending if there is no verdict yet."""

_ATTEMPTS = 3


def complete_pending(
    backend: Backend,
    grant: Grant,
    judge: Judge,
    *,
    judging_is_costly: bool,
    report_copied: ReportBytes = ignore_bytes,
) -> ObjectHead:
    """Judge the pending upload of ``grant``, publish it, and return the published object.

    If an object was published earlier, it is the result, and what has been uploaded with the same ticket since then is
    deleted. With ``judging_is_costly``, such an upload is deleted without being judged. ``report_copied`` is called
    while the storage copies the object, if the storage tells how far it is.

    Raises what ``judge`` returns, after the pending upload is deleted; NotUploaded if nothing is stored; and
    StorageUnavailable, also if clients replace the object again and again.
    """
    return _repeat_if_changed(lambda: _complete_pending_once(backend, grant, judge, judging_is_costly, report_copied))


def complete_in_place(backend: Backend, grant: Grant, judge: Judge) -> ObjectHead:
    """Judge the object that was uploaded to its final key, and return it.

    Raises what ``judge`` returns, after the object is deleted; NotUploaded if nothing is stored; and
    StorageUnavailable.
    """
    return _repeat_if_changed(lambda: _complete_in_place_once(backend, grant, judge))


def _complete_pending_once(
    backend: Backend, grant: Grant, judge: Judge, judging_is_costly: bool, report_copied: ReportBytes
) -> ObjectHead:
    pending, key = backend.pending, grant.upload_key
    head = pending.head(key, first_bytes=first_bytes_needed(grant))
    if head is None:
        published = backend.head(grant.key)
        if published is None:
            raise _not_uploaded(grant)
        return published
    if judging_is_costly or reads_the_object(grant, head):
        published = backend.head(grant.key)
        if published is not None:
            pending.delete(key, head=head)
            return published
    failure = judge(grant, pending, _with_attributes(backend, grant, head))
    if failure is not None:
        published = backend.head(grant.key)
        pending.delete(key, head=head)
        if published is not None:
            return published
        raise failure
    try:
        report_copied(0, head.size)
        published = backend.publish(grant, head, report_copied=report_copied)
    except AlreadyPublished:
        published = backend.head(grant.key)
        if published is None:
            raise StorageUnavailable(f"{backend.name} does not show the published object yet") from None
    pending.delete(key, head=head)
    return published


def _complete_in_place_once(backend: Backend, grant: Grant, judge: Judge) -> ObjectHead:
    head = backend.head(grant.key, first_bytes=first_bytes_needed(grant))
    if head is None:
        raise _not_uploaded(grant)
    failure = judge(grant, backend, _with_attributes(backend, grant, head))
    if failure is not None:
        backend.delete(grant.key, head=head)
        raise failure
    return head


def _with_attributes(backend: Backend, grant: Grant, head: ObjectHead) -> ObjectHead:
    """Return ``head`` with the attributes that only another request shows; see Backend.unexpected_attributes."""
    attributes = backend.unexpected_attributes(grant)
    return replace(head, unexpected_headers={**head.unexpected_headers, **attributes}) if attributes else head


def _repeat_if_changed(complete: Callable[[], T]) -> T:
    for _ in range(_ATTEMPTS - 1):
        try:
            return complete()
        except ObjectChanged:
            continue
    return complete()


def _not_uploaded(grant: Grant) -> NotUploaded:
    return NotUploaded(
        f"nothing is stored under {grant.upload_key}, or the server's credentials may not read it",
        field="key",
        value=grant.upload_key,
    )
