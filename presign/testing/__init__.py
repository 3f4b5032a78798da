"""Checks that compare any backend with what its tickets promise."""

from presign.testing.conformance import CHECKS, Subject
from presign.testing.interruption import InterruptedBackend

__all__ = ["CHECKS", "InterruptedBackend", "Subject"]
