"""Checks that compare any backend with what its tickets promise."""

from presign.testing.conformance import CHECKS, Subject

__all__ = ["CHECKS", "Subject"]
