"""What ``presign doctor`` must do differently on each cloud. A backend that supports it has a method ``diagnosis``."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

from presign.backends.backend import SignedUpload
from presign.messages import Grant

Outcome = Literal["good", "bad", "unknown"]
"""What a test has shown; ``unknown`` if the test could not be made, or showed nothing."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One thing that was seen. ``code`` is the finding's stable name, and ``detail`` one sentence without secrets."""

    code: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What an application needs of its storage; from this, a diagnosis makes settings for an operator to paste.

    - ``origin``: the page's origin, such as ``https://app.example.com``; None if it is not known.
    - ``methods``, ``headers``: those of the tickets; headers are in lower case, sorted.
    - ``pending_prefix``: None if uploads go straight to ``prefix``.
    """

    prefix: str
    pending_prefix: str | None
    origin: str | None
    methods: tuple[str, ...]
    headers: tuple[str, ...]


EXPIRES_EARLY = "pending-expires-early"
"""The code of the finding that the storage deletes pending uploads too early."""

MIN_DAYS_OF_PENDING = 2
"""The days for which a pending upload must stay: it can be completed for a day after its ticket has expired."""


def expires_early(days: int) -> Observation:
    """Return that a rule deletes pending uploads after so many days, which are too few."""
    return Observation(
        code=EXPIRES_EARLY, outcome="bad", detail=f"the storage deletes pending uploads after {days} day(s)"
    )


class Diagnosis(Protocol):
    """The tests of one cloud. Methods that call the service raise StorageUnavailable if it does not answer."""

    @property
    def host(self) -> str:
        """The host that browsers send uploads to, with a port if it is not the usual one, in lower case."""

    @property
    def exposed_headers(self) -> tuple[str, ...]:
        """The headers of the storage's answers that a page needs to read, in lower case."""

    @property
    def has_two_identities(self) -> bool:
        """Whether one identity signs, and another one verifies."""

    @property
    def can_limit_signer(self) -> bool:
        """Whether the rights of the credentials that sign can be limited; an account key of Azure has every right."""

    @property
    def versions_need_a_right(self) -> bool:
        """Whether an identity needs another right to delete an object's version than to delete the object."""

    @property
    def can_limit_signature_age(self) -> bool:
        """Whether the storage has a setting that refuses signatures of some age, although they have not expired."""

    @property
    def hides_missing_objects(self) -> bool:
        """Whether a missing object cannot be deleted without the right to list, so that a refusal shows nothing."""

    @property
    def guard_names(self) -> Set[str]:
        """The names, in lower case, of the headers that tickets carry only to keep others out; see sign_unguarded."""

    def list_url(self, prefix: str, *, is_pending: bool) -> str:
        """Return the unsigned URL, as browsers reach the storage, that lists the objects under ``prefix``."""

    def sign_unguarded(self, grant: Grant, now: datetime) -> SignedUpload | None:
        """Return the signed upload of ``grant`` without guards, or None if the backend signs none.

        Guards are signed headers that only keep others from adding their own, such as a condition that no copy meets.
        """

    def pending_expiry(self, key: str) -> Observation:
        """Say whether the storage itself deletes the pending object under ``key`` if nobody completes it."""

    def rights_of_signer(
        self, *, stored_key: str, missing_key: str, elsewhere_key: str | None
    ) -> Iterator[Observation]:
        """Try what the signer should not be able to do, without changing anything.

        ``stored_key`` is the key of a pending object. There is no object under ``missing_key`` and ``elsewhere_key``.
        ``elsewhere_key`` is outside of all prefixes of the application, or None if nothing is outside of them.
        """

    def parts_expiry(self, key: str) -> Observation:
        """Say whether the storage itself deletes the parts of uploads to ``key`` that nobody finishes."""

    def remedy(self, code: str, wanted: Wanted) -> str | None:
        """Return what to paste into the storage's settings for a finding, or None if there is nothing to paste."""


@runtime_checkable
class Diagnosable(Protocol):
    """A backend that ``presign doctor`` can examine with the tests of its cloud."""

    def diagnosis(self) -> Diagnosis:
        """Return the examination of this backend's own storage, with the backend's own credentials."""
