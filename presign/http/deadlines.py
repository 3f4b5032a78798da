"""What a request is told if a call in another thread has not ended in time."""

from __future__ import annotations

from presign.errors import CredentialsUnavailable, StorageUnavailable


def late_signature(timeout_seconds: float) -> CredentialsUnavailable:
    """Return the error for a service that did not sign in time."""
    return CredentialsUnavailable(f"there was no signature within {timeout_seconds:g} seconds")


def late_storage(timeout_seconds: float) -> StorageUnavailable:
    """Return the error for a storage that did not answer in time."""
    return StorageUnavailable(f"the storage did not answer within {timeout_seconds:g} seconds")


def late_completion(timeout_seconds: float) -> StorageUnavailable:
    """Return the error for a completion that did not end in time."""
    return StorageUnavailable(f"the completion did not end within {timeout_seconds:g} seconds")
