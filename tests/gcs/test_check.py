"""What check() says about each wrong setting."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler

import pytest

from presign import ConfigurationError, StorageUnavailable
from tests.gcs.reference import PENDING_BUCKET, Reference, http_server, now


def test_check_passes_if_all_settings_are_right(gcs: Reference, kind: str) -> None:
    gcs.backend(kind).check()


def test_check_names_a_bucket_that_does_not_exist(gcs: Reference, kind: str) -> None:
    with pytest.raises(ConfigurationError, match="the bucket missing does not exist") as caught:
        gcs.backend(kind, bucket="missing").check()
    assert caught.value.field == "bucket"


def test_check_names_a_pending_bucket_that_does_not_exist(gcs: Reference, kind: str) -> None:
    gcs.backend(kind, pending_bucket=PENDING_BUCKET).check()
    with pytest.raises(ConfigurationError, match="missing does not exist") as caught:
        gcs.backend(kind, pending_bucket="missing").check()
    assert caught.value.field == "pending_bucket"


def test_check_names_a_verifier_that_google_does_not_trust(
    gcs: Reference, kind: str, other_pem: dict[str, str]
) -> None:
    info = gcs.info | {"private_key": other_pem["rsa"]}
    with pytest.raises(ConfigurationError, match="check verifier_credentials") as caught:
        gcs.backend(kind, verifier_credentials=info).check()
    assert caught.value.field == "verifier_credentials"


def test_check_names_a_service_account_that_google_no_longer_trusts(gcs: Reference, other_pem: dict[str, str]) -> None:
    info = gcs.info | {"private_key": other_pem["rsa"]}
    with pytest.raises(ConfigurationError, match="refuses the signing key") as caught:
        gcs.backend("rsa", credentials=info).check()
    assert caught.value.field == "credentials"
    assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.detail
    with pytest.raises(ConfigurationError, match="expired, disabled or deleted") as caught:
        gcs.backend("hmac", credentials=info).check()
    assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.detail


@pytest.mark.parametrize("change", [{"hmac_secret": "another-secret"}, {"hmac_access_id": "GOOG1EUNKNOWN"}])
def test_check_names_an_hmac_key_that_google_does_not_know(gcs: Reference, change: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="hmac_access_id and hmac_secret") as caught:
        gcs.backend("hmac", **change).check()
    assert caught.value.field == "hmac_access_id"
    assert not set(change.values()) & set(str(caught.value).split())


@pytest.mark.parametrize("minutes", [-16, 16])
def test_check_names_a_clock_that_is_sixteen_minutes_wrong(gcs: Reference, minutes: int) -> None:
    def respond(request: BaseHTTPRequestHandler) -> None:
        request.send_response_only(404)
        request.send_header("Date", format_datetime(now() + timedelta(minutes=minutes), usegmt=True))
        request.send_header("Content-Length", "0")
        request.end_headers()

    with http_server(respond) as url, pytest.raises(ConfigurationError, match="clock") as caught:
        gcs.backend("hmac", endpoint_url=url).check()
    assert caught.value.field == "clock"


def test_check_says_that_the_endpoint_does_not_answer(gcs: Reference, kind: str) -> None:
    with pytest.raises(StorageUnavailable, match="does not answer"):
        gcs.backend(kind, endpoint_url="http://127.0.0.1:9").check()
