"""One suite, every backend, each with its own server: each ticket sent as it is, and with one thing changed."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from emulators.azurite import ACCOUNT_KEY, Azurite
from emulators.gcs_accounts import generate_credentials, trusted_account
from emulators.gcs_bucket import GcsBucket
from emulators.gcs_reference import GcsReference
from emulators.serving import serve
from presign import (
    Backend,
    Grant,
    GrantInParts,
    ListedObject,
    ObjectHead,
    PartRequest,
    PartToSign,
    Rule,
    SignedUpload,
    StoredPart,
)
from presign.azure import AzureBackend
from presign.gcs import GCSBackend
from presign.progress import ReportBytes, ignore_bytes
from presign.testing import CHECKS, MemoryBackend, Subject
from presign.testing.completion_checks import interrupt_completions
from tests.azure.accounts import Identity, prepare_account
from tests.conftest import Store

HMAC_ACCESS_ID, HMAC_SECRET = "GOOG1ECONFORMANCE00001", "an-hmac-secret-of-the-suite"


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with Azurite(directory=tmp_path_factory.mktemp("azurite")) as running:
        prepare_account(running, {"account_key": ACCOUNT_KEY})
        yield running


@pytest.fixture(scope="module")
def azurite_with_identities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with (
        Azurite(directory=tmp_path_factory.mktemp("azurite-https"), https=True) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("REQUESTS_CA_BUNDLE", str(running.certificate))
        prepare_account(running, {"credential": Identity()})
        yield running


@dataclass(frozen=True, kw_only=True)
class Gcs:
    """The GCS reference, and a service account that it trusts."""

    url: str
    account: Path = field(repr=False)


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcs]:
    account = tmp_path_factory.mktemp("gcs") / "account.json"
    generate_credentials(account, token_uri="http://unknown.invalid/token")
    app = GcsReference(
        buckets={"uploads": GcsBucket(public_prefix="public/"), "pending": GcsBucket(), "other": GcsBucket()},
        service_accounts=trusted_account(account),
        hmac_keys={HMAC_ACCESS_ID: HMAC_SECRET},
    )
    with serve(app) as url:
        generate_credentials(account, token_uri=f"{url}/token")
        yield Gcs(url=url, account=account)


def _s3(
    server: str, upload_method: str, *, pending_prefix: str | None = "pending/"
) -> Callable[[pytest.FixtureRequest], Subject]:
    def subject(request: pytest.FixtureRequest) -> Subject:
        store: Store = request.getfixturevalue(server)
        return Subject(backend=store.backend(upload_method=upload_method), pending_prefix=pending_prefix)

    return subject


def _azure_account_key(request: pytest.FixtureRequest) -> Subject:
    running: Azurite = request.getfixturevalue("azurite")
    backend = AzureBackend(
        container="public", pending_container="pending", account_url=running.account_url, account_key=ACCOUNT_KEY
    )
    return Subject(backend=backend, upload_bucket="pending")


def _azure_straight(request: pytest.FixtureRequest) -> Subject:
    running: Azurite = request.getfixturevalue("azurite")
    backend = AzureBackend(container="uploads", account_url=running.account_url, account_key=ACCOUNT_KEY)
    return Subject(backend=backend, pending_prefix=None)


def _azure_identity(request: pytest.FixtureRequest) -> Subject:
    running: Azurite = request.getfixturevalue("azurite_with_identities")
    backend = AzureBackend(container="uploads", account_url=running.account_url, credential=Identity())
    return Subject(backend=backend, ssl_context=ssl.create_default_context(cafile=str(running.certificate)))


def _gcs(
    upload_method: Any, *, pending_prefix: str | None = "pending/", pending_bucket: str | None = None, **keys: str
) -> Callable[[pytest.FixtureRequest], Subject]:
    def subject(request: pytest.FixtureRequest) -> Subject:
        running: Gcs = request.getfixturevalue("gcs")
        return Subject(
            backend=GCSBackend(
                bucket="uploads",
                credentials=running.account,
                endpoint_url=running.url,
                upload_method=upload_method,
                pending_bucket=pending_bucket,
                **keys,  # type: ignore[arg-type]  # texts, each of them
            ),
            pending_prefix=pending_prefix,
            upload_bucket=pending_bucket,
        )

    return subject


def _memory(*, pending_prefix: str | None = "pending/") -> Callable[[pytest.FixtureRequest], Subject]:
    def subject(request: pytest.FixtureRequest) -> Subject:
        backend = MemoryBackend()
        return Subject(backend=backend, pending_prefix=pending_prefix, transport=backend.send)

    return subject


SUBJECTS: dict[str, Callable[[pytest.FixtureRequest], Subject]] = {
    "S3 auto on SeaweedFS": _s3("seaweedfs", "auto"),
    "S3 POST on SeaweedFS": _s3("seaweedfs", "post"),
    "S3 PUT on SeaweedFS": _s3("seaweedfs", "put"),
    "S3 POST on the reference": _s3("s3_reference", "post"),
    "S3 PUT on the reference": _s3("s3_reference", "put"),
    "S3 auto on SeaweedFS, straight": _s3("seaweedfs", "auto", pending_prefix=None),
    "S3 PUT on the reference, straight": _s3("s3_reference", "put", pending_prefix=None),
    "Azure service SAS": _azure_account_key,
    "Azure service SAS, straight": _azure_straight,
    "Azure user delegation SAS": _azure_identity,
    "GCS auto, RSA": _gcs("auto"),
    "GCS POST, RSA": _gcs("post", pending_bucket="pending"),
    "GCS auto, RSA, straight": _gcs("auto", pending_prefix=None),
    "GCS PUT, RSA": _gcs("put"),
    "GCS POST, HMAC": _gcs("post", hmac_access_id=HMAC_ACCESS_ID, hmac_secret=HMAC_SECRET),
    "GCS PUT, HMAC": _gcs("put", hmac_access_id=HMAC_ACCESS_ID, hmac_secret=HMAC_SECRET),
    "in memory": _memory(),
    "in memory, straight": _memory(pending_prefix=None),
}
LAX = {
    (name, "enforces_the_headers"): "SeaweedFS 4.48 stores form fields that no condition covers; Amazon S3 refuses them"
    for name in ("S3 auto on SeaweedFS", "S3 POST on SeaweedFS", "S3 auto on SeaweedFS, straight")
} | {
    (
        "S3 PUT on SeaweedFS",
        "refuses_a_ticket_before_its_start",
    ): "SeaweedFS 4.48 accepts a date in the future; S3 does not"
}


def _cases() -> list[Any]:
    cases = []
    for name in SUBJECTS:
        for check in CHECKS:
            reason = LAX.get((name, check.__name__))
            marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
            cases.append(pytest.param(name, check, id=f"{name}: {check.__name__}", marks=marks))
    return cases


@pytest.fixture(scope="module")
def subject_of(request: pytest.FixtureRequest) -> Callable[[str], Subject]:
    """Return the subject of a name, which is made once: the SDKs take long to make their clients."""

    @cache
    def made(name: str) -> Subject:
        return SUBJECTS[name](request)

    return made


@pytest.mark.parametrize(("name", "check"), _cases())
def test_a_backend_does_what_its_tickets_say(
    name: str, check: Callable[[Subject], None], subject_of: Callable[[str], Subject]
) -> None:
    check(subject_of(name))


@pytest.mark.parametrize(
    "name", ["S3 auto on SeaweedFS", "S3 PUT on SeaweedFS", "Azure service SAS", "GCS auto, RSA", "in memory"]
)
def test_50_interrupted_completions_all_end_the_same(name: str, request: pytest.FixtureRequest) -> None:
    subject = SUBJECTS[name](request)
    interruptions = 0
    while interruptions < 50:
        in_this_round = interrupt_completions(subject)
        assert in_this_round > 0
        interruptions += in_this_round


class Broken:
    """A backend that passes everything on to a good one, for one thing to be broken at a time."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @property
    def pending(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)


class IgnoresTheSize(Broken):
    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        return self.backend.sign_upload(_changed(grant, min_bytes=0, max_bytes=10**9), now)


class IgnoresTheType(Broken):
    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        return self.backend.sign_upload(_changed(grant, content_type="text/html"), now)


class ClaimsTheChecksum(Broken):
    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        return self.backend.sign_upload(_changed(grant, sha256=None), now)


class OverwritesAllTheSame(Broken):
    def enforces(self, grant: Grant) -> frozenset[Rule]:
        return self.backend.enforces(grant) | {Rule.CREATE_ONLY}

    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        return self.backend.sign_upload(_changed(grant, create_only=False), now)


class NeverEnds(Broken):
    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        signed = self.backend.sign_upload(_changed(grant, expires_in=timedelta(days=1)), now)
        return signed._replace(expires_at=now + grant.expires_in)


class BeginsAtOnce(Broken):
    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        hours = timedelta(hours=2)
        return self.backend.sign_upload(_changed(grant, expires_in=grant.expires_in + hours), now - hours)


class SignsAnotherKey(Broken):
    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        return self.backend.sign_upload(_changed(grant, pending_key="pending/always-the-same"), now)


class SaysThatAllIsWell(Broken):
    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        found = self.backend.head(key, first_bytes=first_bytes)
        return found and ObjectHead(size=24, content_type="text/plain", etag=found.etag)


class KeepsWhatItShouldDelete(Broken):
    def delete(self, key: str, *, head: Any = None) -> None:
        pass


class DeletesWhatReplacedIt(Broken):
    def delete(self, key: str, *, head: Any = None) -> None:
        self.backend.delete(key)


class PublishesAnything(Broken):
    def publish(self, grant: Grant, head: ObjectHead, *, report_copied: ReportBytes = ignore_bytes) -> ObjectHead:
        found = self.backend.head(grant.upload_key)
        assert found is not None
        self.backend.delete(grant.key)
        return self.backend.publish(grant, found)


class StoresAtTheFinalKey(Broken):
    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        return self.backend.sign_upload(_changed(grant, pending_key=None), now)


class ForgetsWhatItPublished(Broken):
    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        return None if key.startswith("public/") else self.backend.head(key, first_bytes=first_bytes)


class ListsNothing(Broken):
    def list_objects(self, prefix: str) -> Iterator[ListedObject]:
        return iter(())


class SeesNothingMissing(Broken):
    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        return self.backend.head(key, first_bytes=first_bytes) or ObjectHead(
            size=24, content_type="text/plain", etag="x"
        )


class BringsOtherBytes(Broken):
    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        found = self.backend.head(key)
        return found and replace(found, first_bytes=b"\x89PNG\r\n\x1a\n")


class ReadsFromTheStart(Broken):
    def read(self, key: str, *, offset: int, length: int, etag: str, version: str | None = None) -> bytes:
        return self.backend.read(key, offset=0, length=length, etag=etag)


class BrokenParts(Broken):
    """A backend whose uploads in parts pass everything on, for one thing to be broken at a time."""

    @property
    def parts(self) -> Any:
        return self

    @property
    def good(self) -> Any:
        return self.backend.parts

    def __getattr__(self, name: str) -> Any:
        return getattr(self.good if hasattr(self.good, name) else self.backend, name)

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        # The checksum of one request is another than the digest of parts.
        return self.backend.enforces(grant) - {Rule.CREATE_ONLY, Rule.CHECKSUM}

    def _signed(
        self, grant: GrantInParts, part: PartToSign, now: datetime, expires_in: timedelta, **signed: str
    ) -> Any:
        """Sign a part with other things than it should have."""
        signers = self.good._signers_at(now, expires_in)
        query = (("partNumber", str(part.number)), ("uploadId", grant.upload_id))
        location = self.good._browser_requests._location
        url = signers.urls.sign_url(location, "PUT", grant.upload_key, signed, query)
        return PartRequest(number=part.number, size=part.size, url=url, headers={})


class SignsNoLength(BrokenParts):
    def sign(self, grant: Any, parts: Any, now: datetime, *, expires_in: timedelta, url_alone: bool = False) -> Any:
        return [self._signed(grant, part, now, expires_in) for part in parts], now + expires_in


class SignsNoDigest(BrokenParts):
    def begin(self, grant: Grant, *, needs_sha256: bool) -> Any:
        return self.good.begin(grant, needs_sha256=False)

    def sign(self, grant: Any, parts: Any, now: datetime, *, expires_in: timedelta, url_alone: bool = False) -> Any:
        return self.good.sign(grant, [part._replace(sha256=None) for part in parts], now, expires_in=expires_in)


class SignsPartsForDays(BrokenParts):
    def sign(self, grant: Any, parts: Any, now: datetime, *, expires_in: timedelta, url_alone: bool = False) -> Any:
        return self.good.sign(grant, parts, now, expires_in=timedelta(days=1))


class SignsTheFirstPart(BrokenParts):
    def sign(self, grant: Any, parts: Any, now: datetime, *, expires_in: timedelta, url_alone: bool = False) -> Any:
        return self.good.sign(grant, [part._replace(number=1) for part in parts], now, expires_in=expires_in)


class CommitsWhatIsThere(BrokenParts):
    def list_parts(self, grant: GrantInParts) -> Any:
        listed = {part.number: part for part in self.good.list_parts(grant)}
        numbers = range(1, grant.part_count + 1)
        return [
            listed.get(number, StoredPart(number=number, size=grant.size_of(number), etag="x")) for number in numbers
        ]

    def commit(self, grant: GrantInParts, parts: Any) -> None:
        self.good.commit(grant, [part for part in parts if part.etag != "x"])


class NeverAborts(BrokenParts):
    def abort(self, grant: GrantInParts) -> None:
        pass


class CommitsTheFirstPartAlone(BrokenParts):
    def commit(self, grant: GrantInParts, parts: Any) -> None:
        self.good.commit(grant, parts[:1])


class ForgetsWhatItCommitted(BrokenParts):
    def commit(self, grant: GrantInParts, parts: Any) -> None:
        self.good.commit(grant, parts)
        self.backend.delete(grant.upload_key)


class ShowsOtherBytes(BrokenParts):
    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        found = self.backend.head(key, first_bytes=first_bytes)
        return found and replace(found, first_bytes=b"plain text")


class ListsTheDigestsOfTheFirstFile(BrokenParts):
    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.digests: dict[int, str | None] = {}

    def list_parts(self, grant: GrantInParts) -> Any:
        listed = self.good.list_parts(grant)
        return [replace(part, sha256=self.digests.setdefault(part.number, part.sha256)) for part in listed]

    def commit(self, grant: GrantInParts, parts: Any) -> None:
        self.good.commit(grant, self.good.list_parts(grant))


class ReadsTheFirstFile(BrokenParts):
    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.ranges: dict[tuple[int, int], bytes] = {}

    def lists_sha256(self, grant: Grant) -> bool:
        return False

    def read(self, key: str, *, offset: int, length: int, etag: str, version: str | None = None) -> bytes:
        content = self.backend.read(key, offset=offset, length=length, etag=etag, version=version)
        return self.ranges.setdefault((offset, length), content)


class BeginsAnotherType(BrokenParts):
    def begin(self, grant: Grant, *, needs_sha256: bool) -> Any:
        return self.good.begin(_changed(grant, content_type="text/html"), needs_sha256=needs_sha256)


@pytest.mark.parametrize(
    ("broken", "found_by"),
    [
        (SignsNoLength, "refuses_another_part_than_was_signed"),
        (SignsPartsForDays, "refuses_another_part_than_was_signed"),
        (SignsTheFirstPart, "stores_a_file_in_parts"),
        (SignsNoDigest, "refuses_other_bytes_than_were_hashed"),
        (CommitsWhatIsThere, "commits_only_whole_files"),
        (NeverAborts, "commits_only_whole_files"),
        (CommitsTheFirstPartAlone, "stores_a_file_in_parts"),
        (ForgetsWhatItCommitted, "finishes_an_interrupted_completion_of_parts"),
        (BeginsAnotherType, "stores_a_file_in_parts"),
        (ListsTheDigestsOfTheFirstFile, "verifies_the_digest_of_the_parts"),
        (ReadsTheFirstFile, "verifies_the_digest_of_the_parts"),
        (ShowsOtherBytes, "verifies_a_file_that_came_in_parts"),
        (IgnoresTheSize, "enforces_the_size_range"),
        (IgnoresTheType, "accepts_a_valid_upload"),
        (ClaimsTheChecksum, "enforces_the_checksum"),
        (OverwritesAllTheSame, "enforces_create_only"),
        (NeverEnds, "refuses_an_expired_ticket"),
        (BeginsAtOnce, "refuses_a_ticket_before_its_start"),
        (SignsAnotherKey, "accepts_a_valid_upload"),
        (SaysThatAllIsWell, "enforces_the_headers"),
        (KeepsWhatItShouldDelete, "reads_and_deletes_the_named_object"),
        (SeesNothingMissing, "completes_only_an_existing_upload"),
        (ReadsFromTheStart, "reads_and_deletes_the_named_object"),
        (BringsOtherBytes, "reads_and_deletes_the_named_object"),
        (DeletesWhatReplacedIt, "reads_and_deletes_the_named_object"),
        (ListsNothing, "reads_and_deletes_the_named_object"),
        (StoresAtTheFinalKey, "keeps_a_pending_upload_private"),
        (PublishesAnything, "keeps_what_it_published"),
        (ForgetsWhatItPublished, "finishes_an_interrupted_completion"),
    ],
)
def test_a_backend_that_is_broken_on_purpose_is_found_out(
    s3_reference: Store, broken: type[Broken], found_by: str
) -> None:
    upload_method = "put" if broken in {SaysThatAllIsWell, BeginsAtOnce} else "auto"
    subject: Any = Subject(backend=broken(s3_reference.backend(upload_method=upload_method)))
    (check,) = (check for check in CHECKS if check.__name__ == found_by)
    with pytest.raises(Exception, match=r".") as caught:
        check(subject)
    assert not isinstance(caught.value, TypeError | AttributeError), "broken in the test rather than in the backend"


def _changed(grant: Grant, **changes: Any) -> Grant:
    values = {name: getattr(grant, name) for name in grant.__dataclass_fields__}
    return Grant(**values | changes)
