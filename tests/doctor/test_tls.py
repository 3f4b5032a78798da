"""Requests without TLS, which a storage must refuse."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from emulators.certificates import write_certificate
from presign.doctor import Report, Severity
from tests.doctor.faults import bad
from tests.doctor.s3_store import Set, run_store
from tests.doctor.two_protocols import run_two_protocols


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificate")
    write_certificate(certificate=folder / "certificate.pem", key=folder / "key.pem")
    return folder / "certificate.pem", folder / "key.pem"


def _examine(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, *, takes_http: bool) -> Report:
    path, key = certificate
    monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
    with (
        run_store(Set()) as running,
        run_two_protocols(running.url, certificate=path, key=key, takes_http=takes_http) as url,
    ):
        backend = running.backend(endpoint_url=url)
        report = running.examine(backend=backend, ssl_context=ssl.create_default_context(cafile=str(path)))
        assert running.left() == []
    return report


def test_a_storage_that_accepts_an_upload_without_tls_is_found(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = _examine(certificate, monkeypatch, takes_http=True)
    assert [(finding.code, finding.severity) for finding in bad(report)] == [("tls", Severity.WARNING)]
    assert bad(report)[0].detail == "the storage accepts an upload over plain http"
    assert '"aws:SecureTransport": "false"' in (bad(report)[0].paste or "")


def test_a_storage_that_speaks_tls_alone_has_no_finding_and_everything_could_be_checked(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = _examine(certificate, monkeypatch, takes_http=False)
    assert bad(report) == [], report.to_text()
    assert report.of(Severity.UNKNOWN) == ()
