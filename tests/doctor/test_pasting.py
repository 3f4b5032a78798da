"""What the doctor prints to paste is right: whoever pastes it, and nothing else, ends with a store in good order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from emulators.cors import CorsRule
from presign.doctor import Finding, Report, Severity
from tests.doctor.s3_store import ORIGIN, Running, Set, run_store
from tests.infra.iam_evaluation import RightsOf

_OF_THE_SIGNER = frozenset({"upload", "parts", "signer-writes-elsewhere", "signer-writes-final"})
_OF_THE_VERIFIER = frozenset({"read", "delete", "publish", "versions"})
_EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::uploads", "arn:aws:s3:::uploads/*"]}
    ],
}


def _paste(running: Running, policies: dict[str, dict[str, Any]], finding: Finding) -> None:
    """Do with it what AWS does: a bucket has one CORS configuration, and an identity has several policies."""
    assert finding.paste is not None
    pasted = json.loads(finding.paste)
    if finding.code.startswith("cors-"):
        running.bucket.cors = tuple(_cors_rule(rule) for rule in pasted)
    elif finding.code.startswith("signer-"):
        # It is too strong, so this takes the place of what it had.
        policies["AKIASIGNER"] = {finding.code: pasted}
    else:
        of_the_signer = finding.code in _OF_THE_SIGNER and running.setting.two_identities
        policies["AKIASIGNER" if of_the_signer else "AKIAVERIFIER"][finding.code] = pasted


def _cors_rule(rule: Mapping[str, Any]) -> CorsRule:
    return CorsRule(
        allowed_origins=tuple(rule["AllowedOrigins"]),
        allowed_methods=tuple(rule["AllowedMethods"]),
        allowed_headers=tuple(rule["AllowedHeaders"]),
        expose_headers=tuple(rule["ExposeHeaders"]),
    )


def _examine_and_paste(running: Running, policies: dict[str, dict[str, Any]]) -> list[Report]:
    """Examine, paste what helps against each finding, and examine again, until nothing is left to paste."""
    reports: list[Report] = []
    while len(reports) < 8:
        running.rights.update(
            {name: [RightsOf(document=each) for each in of.values()] for name, of in policies.items()}
        )
        reports.append(running.examine())
        pasted = [
            finding
            for finding in (*reports[-1].of(Severity.FAILURE), *reports[-1].of(Severity.WARNING))
            if finding.paste is not None
        ]
        if not pasted:
            break
        # What is pasted first must be enough, so nothing takes its place.
        first_of_cors = [finding for finding in pasted if finding.code.startswith("cors-")][:1]
        for finding in pasted:
            if not finding.code.startswith("cors-") or finding in first_of_cors:
                _paste(running, policies, finding)
    return reports


@pytest.mark.parametrize("two_identities", [True, False])
def test_who_pastes_what_the_doctor_prints_ends_with_a_store_in_good_order(two_identities: bool) -> None:
    setting = Set(two_identities=two_identities, bucket={"cors": ()})
    policies: dict[str, dict[str, Any]] = {"AKIASIGNER": {}, "AKIAVERIFIER": {}}
    with run_store(setting) as running:
        reports = _examine_and_paste(running, policies)
        assert reports[0].exit_code == 2
        assert reports[-1].exit_code == 0, reports[-1].to_text()
        assert running.left() == []
    # One paste of a CORS rule is enough, whichever finding it comes from.
    of_cors = [[f.code for f in report.findings if f.code.startswith("cors-") and f.paste] for report in reports]
    assert len([codes for codes in of_cors if codes]) == 1, of_cors
    seen = {finding.code for report in reports for finding in report.findings if finding.paste is not None}
    assert seen >= {"delete", "upload", "parts", "cors-preflight"}


@pytest.mark.parametrize("two_identities", [True, False])
def test_who_replaces_a_policy_that_allows_too_much_by_what_is_printed_can_still_verify(two_identities: bool) -> None:
    signer = "AKIASIGNER" if two_identities else "AKIAVERIFIER"
    with run_store(Set(two_identities=two_identities)) as running:
        running.rights[signer] = [RightsOf(document=_EVERYTHING)]
        strong = running.examine()
        (finding,) = (each for each in strong.findings if each.code == "signer-writes-elsewhere")
        assert finding.severity is Severity.WARNING
        running.rights[signer] = [RightsOf(document=json.loads(finding.paste or ""))]
        report = running.examine(origin=ORIGIN)
    assert report.exit_code == 0, report.to_text()
