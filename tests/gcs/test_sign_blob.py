"""Signatures by a key that Google holds, through signBlob of the IAM Service Account Credentials API."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import google.oauth2.credentials
import pytest
from google.auth.exceptions import TransportError
from google.oauth2 import service_account

from presign import ConfigurationError, CredentialsUnavailable
from presign.gcs import SIGN_BLOB_LIFETIME, GCSBackend
from tests.gcs.reference import GRANT, Reference, RemoteSigner, answer, http_server, now, uploaded


@dataclass(kw_only=True)
class Iam:
    """The IAM Service Account Credentials API's signBlob, in front of a service account's own key."""

    url: str
    requests: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200
    delay_seconds: float = 0.0


@pytest.fixture
def iam(gcs: Reference, monkeypatch: pytest.MonkeyPatch) -> Iterator[Iam]:
    state = Iam(url="")
    account = service_account.Credentials.from_service_account_info(gcs.info)  # type: ignore[no-untyped-call]

    def respond(request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        state.requests.append((request.path, request.headers["Authorization"]))
        time.sleep(state.delay_seconds)
        signature = account.sign_bytes(base64.b64decode(body["payload"]))
        signed = {"keyId": "1", "signedBlob": base64.b64encode(signature).decode()}
        content = json.dumps(signed if state.status == 200 else {"error": "a-token may not"}).encode()
        answer(request, state.status, content)

    with http_server(respond) as url:
        state.url = url
        monkeypatch.setattr("google.auth.iam._IAM_SIGN_ENDPOINT", f"{url}/v1/projects/-/serviceAccounts/{{}}:signBlob")
        yield state


def workload(gcs: Reference, **options: Any) -> GCSBackend:
    """A workload with a token, no key, and the right to sign in a service account's name."""
    credentials = google.oauth2.credentials.Credentials(token="a-token")  # type: ignore[no-untyped-call]
    email = gcs.info["client_email"]
    return gcs.backend("rsa", **{"credentials": credentials, "service_account_email": email} | options)


def test_a_workload_without_a_key_signs_through_sign_blob(gcs: Reference, iam: Iam, method: str) -> None:
    backend = workload(gcs, upload_method=method)
    assert iam.requests == [], "nothing is signed before it is asked for"
    assert uploaded(backend).status in {200, 201}
    path = f"/v1/projects/-/serviceAccounts/{gcs.info['client_email']}:signBlob"
    assert iam.requests == [(path, "Bearer a-token")]
    backend.check()
    assert backend.head(GRANT.key) is not None


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_workload_that_may_not_sign_is_told_which_role_it_needs(gcs: Reference, iam: Iam, status: int) -> None:
    iam.status = status
    backend = workload(gcs)
    with pytest.raises(CredentialsUnavailable, match=r"roles/iam\.serviceAccountTokenCreator") as caught:
        backend.sign_upload(GRANT, now())
    assert "a-token" not in str(caught.value)
    assert caught.value.__suppress_context__
    with pytest.raises(ConfigurationError, match=r"roles/iam\.serviceAccountTokenCreator"):
        backend.check()


def test_a_signature_that_takes_too_long_fails_at_the_time_limit(
    gcs: Reference, iam: Iam, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam.delay_seconds = 1.0
    monkeypatch.setattr("presign.gcs.signing_keys.SIGN_BLOB_SECONDS", 0.2)
    backend = workload(gcs)
    started = time.monotonic()
    with pytest.raises(CredentialsUnavailable, match=r"did not sign within 0\.2 seconds"):
        backend.sign_upload(GRANT, now())
    assert time.monotonic() - started < 0.9


def test_an_exception_of_any_signer_becomes_credentials_unavailable(gcs: Reference) -> None:
    def fail(message: bytes) -> bytes:
        raise TransportError("the token a-token was refused")  # type: ignore[no-untyped-call]

    backend = gcs.backend("sign_blob", credentials=RemoteSigner(gcs.info, sign=fail))
    with pytest.raises(CredentialsUnavailable, match="TransportError") as caught:
        backend.sign_download("k", now(), expires_in=timedelta(minutes=1))
    assert "a-token" not in str(caught.value)


def test_credentials_without_a_service_account_are_refused_with_the_setting_that_names_one(gcs: Reference) -> None:
    with pytest.raises(ConfigurationError, match="set service_account_email"):
        workload(gcs, service_account_email=None)


@pytest.mark.parametrize("email", ["nobody", "a@b/c", "a b@c", "ä@b.c"])
def test_a_service_account_email_that_is_no_address_is_refused(gcs: Reference, email: str) -> None:
    with pytest.raises(ConfigurationError, match="must be a service account's email address"):
        workload(gcs, service_account_email=email)


def test_a_signature_lives_at_most_twelve_hours_with_sign_blob_and_seven_days_with_any_other_key(
    gcs: Reference, kind: str, method: str
) -> None:
    backend = gcs.backend(kind, upload_method=method)
    moment = now()
    start = moment.replace(microsecond=0)
    signed = backend.sign_upload(replace(GRANT, expires_in=timedelta(days=7)), moment)
    longest = SIGN_BLOB_LIFETIME if kind == "sign_blob" else timedelta(days=7)
    assert signed.expires_at == start + longest
    url = backend.sign_download("k", moment, expires_in=timedelta(days=7))
    assert f"X-Goog-Expires={int(longest.total_seconds())}&" in url
    for lifetime in (timedelta(days=8), timedelta(milliseconds=999)):
        if kind == "sign_blob" and lifetime > longest:
            continue
        with pytest.raises(ConfigurationError, match="604800"):
            backend.sign_upload(replace(GRANT, expires_in=lifetime), moment)
        with pytest.raises(ConfigurationError, match="604800"):
            backend.sign_download("k", moment, expires_in=lifetime)
