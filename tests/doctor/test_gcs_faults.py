"""One planted fault at a time, on the GCS reference: the doctor names it, says what to do, and leaves nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emulators.gcs_accounts import generate_credentials, trusted_account
from emulators.gcs_bucket import GcsBucket, GcsRight
from emulators.gcs_reference import GcsReference, page_rule
from emulators.serving import serve
from presign.doctor import Report, Severity, examine
from presign.gcs import GCSBackend
from tests.doctor.faults import Changed, Fault, bad, require_found
from tests.doctor.s3_store import ORIGIN

_FAILURE, _WARNING = Severity.FAILURE, Severity.WARNING
_RULE = page_rule(ORIGIN)
_ABORT = {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 8}}
_EXPIRE = {"action": {"type": "Delete"}, "condition": {"age": 9, "matchesPrefix": ["pending/"]}}
_BUCKET, _PENDING = "uploads", "waiting"


def _right(*permissions: str, bucket: str, prefix: str = "") -> GcsRight:
    return GcsRight(permissions=frozenset(permissions), bucket=bucket, prefix=prefix)


_SIGNS = _right("create", "listParts", "abort", bucket=_PENDING, prefix="pending/")
_VERIFIES = (
    _right("get", "delete", bucket=_PENDING, prefix="pending/"),
    # Only so that the doctor can read the lifecycle rules.
    _right("list", "getBucket", bucket=_PENDING),
    _right("list", bucket=_BUCKET),
    _right("create", "get", "delete", bucket=_BUCKET, prefix="public/"),
)

FAULTS: tuple[Fault[Changed], ...] = (
    Fault(
        name="no CORS rules",
        setting=Changed(store={"cors": ()}),
        code="cors-preflight",
        severity=_FAILURE,
        sentence=f"answers 200 to the preflight request of {ORIGIN} for a POST form, and does not allow it",
        paste='"x-goog-if-generation-match"',
        causes=frozenset({"cors-answer", "cors-exposed"}),
    ),
    Fault(
        name="CORS without Google's headers",
        setting=Changed(store={"cors": (replace(_RULE, allowed_headers=("content-type",)),)}),
        code="cors-headers",
        severity=_FAILURE,
        sentence=f"{ORIGIN} may not send .*x-goog-content-length-range.* with a PUT",
        paste='"x-goog-content-length-range"',
    ),
    Fault(
        name="a pending bucket that everybody can read",
        setting=Changed(store={"pending_public": ""}),
        code="pending-private",
        severity=_FAILURE,
        sentence="everybody can read what is under pending/",
        paste=f"gs://{_PENDING} --member=allUsers",
    ),
    Fault(
        name="a pending bucket that everybody can list",
        setting=Changed(store={"listed": True}),
        code="pending-unlisted",
        severity=_FAILURE,
        sentence="everybody can list what is under pending/",
    ),
    Fault(
        name="no rule for unfinished parts",
        setting=Changed(store={"lifecycle": (_EXPIRE,)}),
        code="parts-expiry",
        severity=_WARNING,
        sentence="no rule deletes the parts of unfinished uploads",
        paste="AbortIncompleteMultipartUpload",
    ),
    Fault(
        name="no rule for pending uploads, but one for old versions",
        setting=Changed(
            store={"lifecycle": (_ABORT, {**_EXPIRE, "condition": {"age": 9, "isLive": False}})},
        ),
        code="pending-expiry",
        severity=_WARNING,
        sentence="no rule deletes pending uploads that nobody completes",
        paste='"matchesPrefix": [\n          "pending/"',
    ),
    Fault(
        name="a rule that deletes pending uploads while they can be completed",
        setting=Changed(
            store={"lifecycle": (_ABORT, {**_EXPIRE, "condition": {"age": 1, "matchesPrefix": ["pending/"]}})}
        ),
        code="pending-expires-early",
        severity=_WARNING,
        sentence=r"the storage deletes pending uploads after 1 day\(s\)",
        paste='"age": 9',
    ),
    Fault(
        name="a signer that may not create objects",
        setting=Changed(store={"signer": (_right("listParts", "abort", bucket=_PENDING),)}),
        code="upload",
        severity=_FAILURE,
        sentence=r"answers 403 \(AccessDenied\) to a PUT",
        paste="roles/storage.objectCreator",
        causes=frozenset({"parts"}),
    ),
    Fault(
        name="a verifier that may not write published objects",
        setting=Changed(store={"verifier": (*_VERIFIES[:3], _right("get", "delete", bucket=_BUCKET))}),
        code="publish",
        severity=_FAILURE,
        sentence="the verifier cannot publish an upload: .*403",
        paste=f"gs://{_BUCKET} --member=serviceAccount:VERIFIER --role=roles/storage.objectUser",
    ),
    Fault(
        name="a signer that may write under the final prefix",
        setting=Changed(store={"signer": (_SIGNS, _right("create", bucket=_BUCKET, prefix="public/"))}),
        code="signer-writes-final",
        severity=_WARNING,
        sentence="the signer may store objects under public/, past verification",
    ),
    Fault(
        name="a missing pending bucket",
        setting=Changed(backend={"pending_bucket": "missing"}),
        code="missing-bucket",
        severity=_FAILURE,
        sentence="missing does not exist",
    ),
)


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The keys of two service accounts; making a key takes longer than an examination."""
    folder = tmp_path_factory.mktemp("accounts")
    for name in ("signer", "verifier"):
        generate_credentials(folder / f"{name}.json", token_uri="http://unknown.invalid/token")
        _rewrite(folder / f"{name}.json", client_email=f"{name}@tests.invalid")
    return {name: folder / f"{name}.json" for name in ("signer", "verifier")}


def _rewrite(account: Path, **members: str) -> None:
    account.write_text(json.dumps({**json.loads(account.read_text()), **members}))


def _examine(accounts: Mapping[str, Path], changed: Changed) -> tuple[Report, list[str]]:
    """Return the report, and what is left in the buckets."""
    keys = {name: trusted_account(path) for name, path in accounts.items()}
    emails = {name: next(iter(trusted)) for name, trusted in keys.items()}
    store: dict[str, Any] = {
        "cors": (_RULE,), "pending_public": None, "listed": False, "lifecycle": (_ABORT, _EXPIRE), "signer": (_SIGNS,),
        "verifier": _VERIFIES, **changed.store,
    }  # fmt: skip
    buckets = {
        _BUCKET: GcsBucket(cors=store["cors"], public_prefix="public/"),
        _PENDING: GcsBucket(
            cors=store["cors"],
            public_prefix=store["pending_public"],
            listed_by_anybody=store["listed"],
            lifecycle=store["lifecycle"],
        ),
    }
    app = GcsReference(
        buckets=buckets,
        service_accounts={email: key for trusted in keys.values() for email, key in trusted.items()},
        rights={emails[name]: store[name] for name in keys},
    )
    with serve(app) as url:
        for path in accounts.values():
            _rewrite(path, token_uri=f"{url}/token")
        values: dict[str, Any] = {
            "bucket": _BUCKET,
            "pending_bucket": _PENDING,
            "endpoint_url": url,
            "credentials": accounts["signer"],
            "verifier_credentials": accounts["verifier"],
        }
        backend = GCSBackend(**{**values, **changed.backend})
        examination: dict[str, Any] = {"prefix": "public/", "origin": ORIGIN, "public_read": True}
        report = examine(backend, **{**examination, **changed.examination})
    uploads = [upload.key for bucket in buckets.values() for upload in bucket.uploads.values()]
    return report, [name for bucket in buckets.values() for name in bucket.objects] + uploads


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_planted_fault_is_found_with_its_sentence_and_nothing_is_left(
    accounts: Mapping[str, Path], fault: Fault[Changed]
) -> None:
    report, left = _examine(accounts, fault.setting)
    require_found(fault, report)
    assert left == []


def test_buckets_in_good_order_have_no_finding_and_nothing_is_left(accounts: Mapping[str, Path]) -> None:
    report, left = _examine(accounts, Changed())
    assert bad(report) == [], report.to_text()
    assert {finding.code for finding in report.of(Severity.UNKNOWN)} == {"tls"}
    assert left == []


_WITHOUT_LISTING = (
    *(replace(each, permissions=each.permissions - {"list"}) for each in _VERIFIES[1:]),
    _right("get", bucket=_PENDING, prefix="pending/"),
)


def test_a_verifier_that_may_delete_and_not_list_has_no_finding(accounts: Mapping[str, Path]) -> None:
    deletes = _right("get", "delete", bucket=_PENDING, prefix="pending/")
    report, left = _examine(accounts, Changed(store={"verifier": (deletes, *_WITHOUT_LISTING)}))
    assert bad(report) == [], report.to_text()
    assert ("delete", Severity.OK) in {(finding.code, finding.severity) for finding in report.findings}
    assert left == []


@pytest.mark.parametrize(
    "verifier", [_WITHOUT_LISTING, (*_VERIFIES[1:], _WITHOUT_LISTING[-1])], ids=["without listing", "with listing"]
)
def test_a_verifier_that_may_not_delete_is_found_with_one_upload_that_then_stays(
    accounts: Mapping[str, Path], verifier: tuple[GcsRight, ...]
) -> None:
    report, left = _examine(accounts, Changed(store={"verifier": verifier}))
    refused, left_over = bad(report)
    assert refused.detail == "the verifier may not delete pending objects: gs://waiting answered DELETE with 403"
    assert "roles/storage.objectUser" in (refused.paste or "")
    assert [refused.code, left_over.code] == ["delete", "left-over"]
    assert len(left) == 1
    assert left[0] in left_over.detail
