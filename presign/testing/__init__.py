"""Checks that any backend enforces what its tickets promise, and a storage in memory for an application's own tests."""

from presign.testing.conformance import CHECKS
from presign.testing.interruption import InterruptedBackend
from presign.testing.memory import MemoryBackend, MemoryObject, SignParts
from presign.testing.refusals import RefusedByStorage
from presign.testing.requests import UploadAttempt
from presign.testing.subject import Subject

__all__ = [
    "CHECKS",
    "InterruptedBackend",
    "MemoryBackend",
    "MemoryObject",
    "RefusedByStorage",
    "SignParts",
    "Subject",
    "UploadAttempt",
]
