"""Checks that any backend enforces what its tickets promise."""

from presign.testing.conformance import CHECKS
from presign.testing.interruption import InterruptedBackend
from presign.testing.subject import Subject

__all__ = ["CHECKS", "InterruptedBackend", "Subject"]
