"""What an application has of the doctor: a command of Flask, a health check, and an examination of its presigner."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from presign import ConfigurationError, Presigner, UploadPolicy
from presign.doctor import Severity, check_health, examine, examine_presigner
from presign.flask import create_blueprint
from tests.conftest import TOKEN_SECRET
from tests.doctor.faults import bad, codes
from tests.doctor.s3_store import CORS, ORIGIN, SIGNS, Running, Set, run_store

POLICY = UploadPolicy(
    content_types={"image/png", "text/plain"}, max_bytes=10_000_000, prefix="public/", public_read=True
)


def _presigner(running: Running, *, name: str = "photos", policy: UploadPolicy = POLICY) -> Presigner:
    return Presigner(name=name, backend=running.backend(), policy=policy, secret=TOKEN_SECRET)


@pytest.fixture
def running() -> Iterator[Running]:
    with run_store(Set()) as running:
        yield running
        assert running.left() == []


def test_a_presigner_is_examined_as_its_policy_says(running: Running) -> None:
    report = examine_presigner(_presigner(running), origin=ORIGIN)
    assert bad(report) == [], report.to_text()
    details = " ".join(finding.detail for finding in report.findings)
    assert "image/png" in details
    assert "text/plain" in details
    assert not [finding for finding in report.findings if finding.code == "parts"], "no file of 10 MB comes in parts"
    assert "a ticket that is valid for 3600 seconds" in details
    long = replace(POLICY, max_expires_in=timedelta(hours=3))
    assert "a ticket that is valid for 10800 seconds" in examine_presigner(_presigner(running, policy=long)).to_text()
    large = replace(POLICY, max_bytes=1_000_000_000)
    assert [f for f in examine_presigner(_presigner(running, policy=large)).findings if f.code == "parts"]


def test_the_headers_of_the_policy_and_no_others_must_be_allowed_to_the_page() -> None:
    own = replace(POLICY, create_only=True, cache_control="max-age=60", metadata={"owner": "me"})
    names = ("cache-control", "content-type", "if-none-match", "x-amz-checksum-sha256", "x-amz-meta-owner")
    with run_store(Set(bucket={"cors": (replace(CORS, allowed_headers=names),)})) as running:
        report = examine_presigner(_presigner(running, policy=own), origin=ORIGIN)
        assert bad(report) == [], report.to_text()
        with_a_name = replace(own, content_disposition="inline", metadata={"owner": "me", "album": "7"})
        report = examine_presigner(_presigner(running, policy=with_a_name), origin=ORIGIN)
    (finding,) = bad(report)
    assert finding.code == "cors-headers"
    assert "may not send content-disposition, x-amz-meta-album with a PUT" in finding.detail


@pytest.mark.parametrize("wrong", [timedelta(0), 3600])
def test_a_lifetime_that_no_ticket_has_is_refused(running: Running, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_expires_in must be a timedelta of at least one second"):
        examine(running.backend(), prefix="public/", max_expires_in=wrong)


def test_a_policy_for_private_objects_is_not_met_by_a_public_prefix(running: Running) -> None:
    report = examine_presigner(_presigner(running, policy=replace(POLICY, public_read=False)), origin=ORIGIN)
    assert [(finding.code, finding.detail) for finding in bad(report)] == [
        ("public-read", "everybody can read what is under public/")
    ]


def test_the_command_of_flask_examines_each_presigner(running: Running) -> None:
    app = Flask(__name__)
    presigners = [_presigner(running), _presigner(running, name="texts")]
    app.register_blueprint(create_blueprint(presigners, authorize=lambda _: None), url_prefix="/files")
    result = app.test_cli_runner().invoke(args=["presign", "doctor", "--origin", ORIGIN, "--json"])
    assert result.exit_code == 0, result.output
    reports = [json.loads(line) for line in result.output.splitlines()]
    assert [report["exit_code"] for report in reports] == [0, 0]
    text = app.test_cli_runner().invoke(args=["presign", "doctor", "--origin", "https://other.example.com"])
    assert text.exit_code == 2
    assert "https://other.example.com" in text.output


def test_the_command_of_flask_says_what_is_not_installed(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Flask(__name__)
    app.register_blueprint(create_blueprint(_presigner(running), authorize=lambda _: None))
    monkeypatch.setitem(sys.modules, "presign.doctor.command", None)
    result = app.test_cli_runner().invoke(args=["presign", "doctor"])
    assert result.exit_code == 1
    assert 'pip install "presign-uploads[cli]"' in result.output


def test_a_health_check_sends_a_few_requests_and_leaves_nothing(running: Running) -> None:
    presigner = _presigner(running)
    running.watch.seen = 0
    report = check_health(presigner)
    assert report.is_healthy
    assert codes(report) == set()
    assert {finding.code for finding in report.findings} == {
        "settings",
        "delete",
        "upload",
        "read",
        "headers-kept",
        "clock",
    }
    assert running.watch.seen < 20


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        (Set(signer=(replace(SIGNS, prefix="incoming/"),)), "upload"),
        (Set(verifier=()), "delete"),
        (Set(ahead=timedelta(minutes=5)), "clock"),
        (Set(options={"bucket": "missing"}), "missing-bucket"),
    ],
)
def test_a_health_check_finds_that_uploads_do_not_work(setting: Set, code: str) -> None:
    with run_store(setting) as running:
        report = check_health(_presigner(running))
        assert not report.is_healthy
        assert {finding.code for finding in report.of(Severity.FAILURE)} == {code}
        assert running.left() == []


def test_what_a_policy_does_not_use_is_no_fault() -> None:
    """A policy without create_only sends forms, and browsers need no headers allowed for them."""
    no_headers = Set(bucket={"cors": (replace(CORS, allowed_headers=()),)})
    with run_store(no_headers) as running:
        report = examine_presigner(_presigner(running), origin=ORIGIN)
        assert bad(report) == [], report.to_text()
        create_only = replace(POLICY, create_only=True)
        report = examine_presigner(_presigner(running, policy=create_only), origin=ORIGIN)
        assert codes(report) == {"cors-headers"}
        assert running.left() == []
