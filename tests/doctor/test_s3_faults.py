"""One planted fault at a time, on the S3 reference: the doctor names it, says what to do, and leaves nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from emulators.s3_lifecycle import LifecycleRule
from emulators.s3_rights import CEPH, MINIO, Leniency, Right
from emulators.serving import serve
from presign.doctor import Severity
from tests.doctor.faults import Fault, bad, codes, require_found
from tests.doctor.s3_store import (
    BUCKET,
    CORS,
    DELETES_VERSIONS,
    LISTS,
    ORIGIN,
    READS_AND_DELETES,
    SIGNS,
    VERIFIES,
    Set,
    right,
    run_store,
)

_FAILURE, _WARNING = Severity.FAILURE, Severity.WARNING


def _verifier_without(*taken: Right) -> tuple[Right, ...]:
    return tuple(each for each in VERIFIES if each not in taken)


FAULTS: tuple[Fault[Set], ...] = (
    Fault(
        name="no CORS rules",
        setting=Set(bucket={"cors": ()}),
        code="cors-preflight",
        severity=_FAILURE,
        sentence=rf"answers 403 to the preflight request of {ORIGIN} for a POST form, and does not allow it",
        paste=f'"AllowedOrigins": [\n      "{ORIGIN}"',
        causes=frozenset({"cors-answer", "cors-exposed"}),
    ),
    Fault(
        name="CORS for another origin",
        setting=Set(bucket={"cors": (replace(CORS, allowed_origins=("https://old.example.com",)),)}),
        code="cors-answer",
        severity=_FAILURE,
        sentence=f"{ORIGIN} may not read the answer to a PUT",
        paste=ORIGIN,
        causes=frozenset({"cors-preflight", "cors-exposed"}),
    ),
    Fault(
        name="CORS without the ticket's headers",
        setting=Set(bucket={"cors": (replace(CORS, allowed_headers=("content-type",)),)}),
        code="cors-headers",
        severity=_FAILURE,
        sentence=f"{ORIGIN} may not send cache-control, content-disposition, if-none-match with a PUT",
        paste='"if-none-match"',
        causes=frozenset({"cors-checksum"}),
    ),
    Fault(
        name="CORS that exposes no ETag",
        setting=Set(bucket={"cors": (replace(CORS, expose_headers=()),)}),
        code="cors-exposed",
        severity=_WARNING,
        sentence="the answer to a PUT does not expose etag",
        paste='"ExposeHeaders"',
    ),
    Fault(
        name="CORS for every origin",
        setting=Set(bucket={"cors": (replace(CORS, allowed_origins=("*",)),)}),
        code="cors-any-origin",
        severity=_WARNING,
        sentence="every origin may send a POST form",
        paste=ORIGIN,
    ),
    Fault(
        name="another region",
        setting=Set(options={"region": "eu-west-1"}),
        code="region",
        severity=_FAILURE,
        sentence="us-east-1",
    ),
    Fault(
        name="a missing bucket",
        setting=Set(options={"bucket": "missing"}),
        code="missing-bucket",
        severity=_FAILURE,
        sentence="the bucket missing does not exist",
    ),
    Fault(
        name="a signer for another prefix",
        setting=Set(signer=(replace(SIGNS, prefix="incoming/"),)),
        code="upload",
        severity=_FAILURE,
        sentence=r"answers 403 \(AccessDenied\) to a POST form",
        paste=f"arn:aws:s3:::{BUCKET}/pending/*",
        causes=frozenset({"parts"}),
    ),
    Fault(
        name="a signer without the right to the access control list that guards set",
        setting=Set(options={"sign_guards": True, "upload_method": "put"}),
        code="guards",
        severity=_FAILURE,
        sentence=(
            r"answers 403 \(AccessDenied\) to a PUT of application/octet-stream with x-amz-acl, x-amz-copy-if-match, "
            "x-amz-copy-source-if-match, and accepts it without them"
        ),
    ),
    Fault(
        name="CORS without the guards of the tickets",
        setting=Set(
            bucket={
                "cors": (
                    replace(CORS, allowed_headers=("content-type", "content-disposition", "cache-control", "if-*")),
                )
            },
            signer=(SIGNS, right("PutObjectAcl", prefix="pending/")),
            options={"sign_guards": True, "upload_method": "put"},
        ),
        code="cors-headers",
        severity=_FAILURE,
        sentence=(
            f"{ORIGIN} may not send x-amz-acl, x-amz-copy-if-match, x-amz-copy-source-if-match with a PUT "
            r"\(only the guards of the tickets\)"
        ),
        paste='"x-amz-acl"',
    ),
    Fault(
        name="a verifier that may not read",
        setting=Set(verifier=(right("DeleteObject", prefix="pending/"), *_verifier_without(READS_AND_DELETES))),
        code="read",
        severity=_FAILURE,
        sentence="the verifier does not find an upload that the storage has accepted",
        paste="s3:GetObject",
        causes=frozenset({"parts"}),
    ),
    Fault(
        name="a verifier that may not delete",
        setting=Set(verifier=(right("GetObject", prefix="pending/"), *_verifier_without(READS_AND_DELETES))),
        code="delete",
        severity=_FAILURE,
        sentence="the verifier may not delete pending objects: .*AccessDenied",
        paste="s3:DeleteObject",
    ),
    Fault(
        name="a verifier that may not publish",
        setting=Set(verifier=tuple(each for each in VERIFIES if "PutObject" not in each.actions)),
        code="publish",
        severity=_FAILURE,
        sentence="the verifier cannot publish an upload: .*AccessDenied",
        paste="s3:x-amz-copy-source",
    ),
    Fault(
        name="a signer that may not list parts",
        setting=Set(signer=(right("PutObject", prefix="pending/", never_copies=True),)),
        code="parts",
        severity=_FAILURE,
        sentence="the signer may not list and abort parts, so none were sent: .*AccessDenied",
        paste="s3:ListMultipartUploadParts",
    ),
    Fault(
        name="a store that obeys unsigned headers (MinIO)",
        setting=Set(lenient=MINIO, signer=(SIGNS, right("PutObject", "GetObject", prefix="pending/"))),
        code="unsigned-copy",
        severity=_FAILURE,
        sentence="obeys x-amz-copy-source, which nobody signed",
        paste='"s3:x-amz-copy-source": "true"',
        causes=frozenset({"unsigned-acl", "unsigned-attributes", "signer-reads"}),
    ),
    Fault(
        name="a store that obeys an unsigned ACL",
        setting=Set(lenient=MINIO),
        code="unsigned-acl",
        severity=_FAILURE,
        sentence="obeys x-amz-acl, which nobody signed",
        causes=frozenset({"unsigned-attributes"}),
    ),
    Fault(
        name="a store that ignores checksums (Ceph)",
        setting=Set(lenient=frozenset({Leniency.UNCHECKED_CHECKSUMS})),
        code="rule-checksum",
        severity=_WARNING,
        sentence="accepts a POST form with other bytes than were hashed",
    ),
    Fault(
        name="a store that drops a form's headers (Ceph)",
        setting=Set(lenient=CEPH - MINIO - {Leniency.UNCHECKED_CHECKSUMS}),
        code="headers-kept",
        severity=_WARNING,
        sentence="lost the Content-Disposition of a POST form",
    ),
    Fault(
        name="a store that ignores a policy's conditions (RustFS)",
        setting=Set(lenient=frozenset({Leniency.UNCHECKED_CONDITIONS})),
        code="rule-type",
        severity=_WARNING,
        sentence="accepts a POST form with the type text/html",
        causes=frozenset({"rule-headers", "key-bound"}),
    ),
    Fault(
        name="a store that ignores a policy's sizes",
        setting=Set(lenient=frozenset({Leniency.UNCHECKED_SIZES})),
        code="rule-size",
        severity=_WARNING,
        sentence=r"accepts a POST form of 101 bytes, where 10 to 100 are allowed",
    ),
    Fault(
        name="a store that ignores the expiry",
        setting=Set(lenient=frozenset({Leniency.UNCHECKED_EXPIRY})),
        code="expiry-checked",
        severity=_FAILURE,
        sentence="accepts a PUT with a ticket that has expired",
    ),
    Fault(
        name="a store that ignores If-None-Match",
        setting=Set(lenient=frozenset({Leniency.UNCHECKED_IF_NONE_MATCH})),
        code="rule-create-only",
        severity=_WARNING,
        sentence="accepts a second upload with the same create-only ticket",
    ),
    Fault(
        name="a store without forms",
        setting=Set(lenient=frozenset({Leniency.NO_FORMS})),
        code="post",
        severity=_FAILURE,
        sentence="answers 501 to a POST form",
    ),
    Fault(
        name="pending uploads that everybody can read",
        setting=Set(bucket={"public_prefix": ""}),
        code="pending-private",
        severity=_FAILURE,
        sentence="everybody can read what is under pending/",
    ),
    Fault(
        name="published objects that nobody can read",
        setting=Set(bucket={"public_prefix": None}),
        code="public-read",
        severity=_FAILURE,
        sentence="answers 403 to strangers who read a published object",
    ),
    Fault(
        name="published objects that everybody can read, and should not",
        setting=Set(examination={"public_read": False}),
        code="public-read",
        severity=_FAILURE,
        sentence="everybody can read what is under public/",
    ),
    Fault(
        name="a bucket that everybody can list",
        setting=Set(bucket={"listed_by_anybody": True}),
        code="pending-unlisted",
        severity=_FAILURE,
        sentence="everybody can list what is under pending/",
        causes=frozenset({"public-unlisted"}),
    ),
    Fault(
        name="a signer that may write everywhere",
        setting=Set(signer=(SIGNS, right("PutObject"))),
        code="signer-writes-elsewhere",
        severity=_WARNING,
        sentence="the signer may store objects outside of the prefixes for uploads",
        paste=f"arn:aws:s3:::{BUCKET}/pending/*",
        causes=frozenset({"signer-writes-final"}),
    ),
    Fault(
        name="a signer that may read and delete what it signs",
        setting=Set(signer=(SIGNS, READS_AND_DELETES)),
        code="signer-reads",
        severity=_WARNING,
        sentence="the credentials that sign may read pending uploads",
        causes=frozenset({"signer-deletes"}),
    ),
    Fault(
        name="a slow clock",
        setting=Set(ahead=timedelta(seconds=45)),
        code="clock",
        severity=_WARNING,
        sentence=r"this machine's clock is 4\d seconds behind the storage's",
    ),
    Fault(
        name="a clock that is slow by more than a ticket's lifetime",
        setting=Set(ahead=timedelta(seconds=120)),
        code="clock",
        severity=_FAILURE,
        sentence=r"clock",
    ),
    Fault(
        name="a limit on the age of signatures",
        setting=Set(bucket={"max_signature_age_seconds": 30}),
        code="signature-age",
        severity=_FAILURE,
        sentence="refuses a PUT with a ticket of 45 seconds, which is valid for 60",
    ),
    Fault(
        name="a limit on the age of signatures that only the longest tickets reach",
        setting=Set(bucket={"max_signature_age_seconds": 900}),
        code="signature-age",
        severity=_WARNING,
        sentence="refuses a PUT with a ticket of 3585 seconds, which is valid for 3600",
    ),
    Fault(
        name="CORS without the metadata of the policy",
        setting=Set(
            bucket={
                "cors": (
                    replace(
                        CORS,
                        allowed_headers=(
                            *("cache-control", "content-disposition", "content-type", "if-none-match"),
                            "x-amz-checksum-sha256",
                        ),
                    ),
                )
            },
            examination={"metadata": {"owner": "me"}},
        ),
        code="cors-headers",
        severity=_FAILURE,
        sentence=rf"{ORIGIN} may not send x-amz-meta-owner with a PUT",
        paste='"x-amz-meta-owner"',
    ),
    Fault(
        name="a rule that deletes pending uploads while they can be completed",
        setting=Set(
            bucket={
                "lifecycle": (
                    LifecycleRule(rule_id="abort", abort_after_days=8),
                    LifecycleRule(rule_id="expire", prefix="pending/", expire_after_days=1),
                )
            }
        ),
        code="pending-expires-early",
        severity=_WARNING,
        sentence=r"the storage deletes pending uploads after [12] day\(s\)",
        paste='"Days": 9',
    ),
    Fault(
        name="a KMS key that the signer may not use",
        setting=Set(bucket={"kms_denied_to": frozenset({"AKIASIGNER"})}),
        code="kms",
        severity=_FAILURE,
        sentence="answers 403 to a POST form of .*, and names kms",
        paste="kms:GenerateDataKey",
        causes=frozenset({"parts"}),
    ),
    Fault(
        name="a KMS key with which the signer may not join parts",
        setting=Set(bucket={"kms_decrypt_denied_to": frozenset({"AKIASIGNER"})}),
        code="kms",
        severity=_FAILURE,
        sentence=r"an upload in parts fails: .* answered COMPLETE MULTIPART UPLOAD with AccessDenied \(kms:Decrypt\)",
        paste="kms:Decrypt",
    ),
    Fault(
        name="a KMS key with which the verifier may not read",
        setting=Set(bucket={"kms_decrypt_denied_to": frozenset({"AKIAVERIFIER"})}),
        code="kms",
        severity=_FAILURE,
        sentence=r"the verifier cannot read a POST form: .* answered GET with AccessDenied \(kms:Decrypt\)",
        paste="kms:Decrypt",
    ),
    Fault(
        name="CORS without the methods of parts",
        setting=Set(
            bucket={"cors": (replace(CORS, allowed_methods=("GET", "POST")),)}, options={"upload_method": "post"}
        ),
        code="cors-preflight",
        severity=_FAILURE,
        sentence=f"answers 403 to the preflight request of {ORIGIN} for a part, and does not allow it",
        paste='"PUT"',
        causes=frozenset({"cors-exposed"}),
    ),
    Fault(
        name="CORS without the guards of parts",
        setting=Set(
            bucket={"cors": (replace(CORS, allowed_headers=("x-amz-checksum-sha256",)),)},
            options={"sign_guards": True, "upload_method": "post"},
        ),
        code="cors-headers",
        severity=_FAILURE,
        sentence=(
            f"{ORIGIN} may not send x-amz-copy-if-match, x-amz-copy-source-if-match with a part "
            r"\(only the guards of the tickets\)"
        ),
        paste='"x-amz-copy-if-match"',
    ),
    Fault(
        name="CORS without the checksum of an upload",
        setting=Set(
            bucket={
                "cors": (
                    replace(CORS, allowed_headers=("content-type", "content-disposition", "cache-control", "if-*")),
                )
            },
        ),
        code="cors-checksum",
        severity=_WARNING,
        sentence=f"{ORIGIN} may not send x-amz-checksum-sha256 with a part",
        paste='"x-amz-checksum-sha256"',
    ),
    Fault(
        name="a store that obeys an unsigned copy source in a part (MinIO)",
        setting=Set(
            lenient=MINIO,
            signer=(SIGNS, right("PutObject", "GetObject", prefix="pending/")),
            options={"upload_method": "post"},
        ),
        code="unsigned-copy",
        severity=_FAILURE,
        sentence="obeys x-amz-copy-source in a part, which nobody signed",
        causes=frozenset({"signer-reads"}),
    ),
    Fault(
        name="versions that the verifier may not delete",
        setting=Set(bucket={"versioned": True}, verifier=_verifier_without(DELETES_VERSIONS)),
        code="versions",
        severity=_WARNING,
        sentence=r"a deleted upload stays as a version; .* under pending/\.presign-doctor/",
        paste="s3:DeleteObjectVersion",
    ),
)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_planted_fault_is_found_with_its_sentence_and_nothing_is_left(fault: Fault[Set]) -> None:
    with run_store(fault.setting) as running:
        report = running.examine()
        require_found(fault, report)
        assert running.left() == []


def test_a_store_in_good_order_has_no_finding_and_nothing_is_left() -> None:
    with run_store(Set()) as running:
        report = running.examine()
        assert bad(report) == [], report.to_text()
        assert {finding.code for finding in report.of(Severity.UNKNOWN)} == {"tls"}
        assert report.exit_code == 0
        assert running.left() == []


def test_a_bucket_with_versions_keeps_no_version_and_no_delete_marker() -> None:
    with run_store(Set(bucket={"versioned": True})) as running:
        report = running.examine()
        assert bad(report) == [], report.to_text()
        assert {finding.code for finding in report.of(Severity.UNKNOWN)} == {
            "public-read",
            "publish",
            "signer-deletes-elsewhere",
            "tls",
        }
        assert {key: versions for key, versions in running.bucket.versions.items() if versions} == {}
        assert running.left() == []


def test_one_identity_for_everything_may_read_and_delete_and_write_only_under_its_prefixes() -> None:
    own = Set(two_identities=False, verifier=(SIGNS, *VERIFIES))
    with run_store(own) as running:
        report = running.examine()
        assert bad(report) == [], report.to_text()
        assert running.left() == []
    everything = right("PutObject", "GetObject", "DeleteObject", "ListMultipartUploadParts", "AbortMultipartUpload")
    with run_store(Set(two_identities=False, verifier=(everything, LISTS))) as running:
        report = running.examine()
        assert codes(report) == {"signer-writes-elsewhere", "signer-deletes-elsewhere"}, report.to_text()
        assert running.left() == []


def test_a_verifier_that_may_not_list_is_no_fault_but_the_sweep_cannot_run() -> None:
    with run_store(Set(verifier=tuple(each for each in VERIFIES if each is not LISTS))) as running:
        report = running.examine()
        assert bad(report) == [], report.to_text()
        assert {finding.code for finding in report.of(Severity.UNKNOWN)} == {"listing", "tls"}
        assert running.left() == []


def test_a_store_that_shows_no_rule_for_pending_uploads_is_no_fault_but_nothing_is_known() -> None:
    lifecycle = (
        LifecycleRule(rule_id="AbortIncompleteUploads", abort_after_days=8),
        LifecycleRule(rule_id="ExpirePublished", prefix="public/", expire_after_days=9),
    )
    with run_store(Set(bucket={"lifecycle": lifecycle})) as running:
        report = running.examine()
        assert bad(report) == [], report.to_text()
        unknown = {finding.code: finding.detail for finding in report.of(Severity.UNKNOWN)}
        assert unknown["pending-expiry"] == (
            "the storage does not say when it deletes pending uploads (NotImplemented)"
        )
        assert running.left() == []


def test_a_storage_that_sends_uploads_elsewhere_is_found() -> None:
    async def redirect(scope: Scope, receive: Receive, send: Send) -> None:
        elsewhere = "http://127.0.0.1:9/"
        await Response(status_code=307, headers={"location": elsewhere})(scope, receive, send)

    with run_store(Set()) as running, serve(redirect) as url:
        report = running.examine(backend=running.backend(public_endpoint_url=url))
        assert {finding.detail for finding in bad(report) if finding.code == "redirect"} == {
            "the storage answers 307 to a POST form of application/octet-stream",
            "the storage answers 307 to a PUT of application/octet-stream",
            "the storage answers 307 to a part",
        }
        assert running.left() == []
