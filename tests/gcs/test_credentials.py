"""Credentials and other settings: where they come from, and how a wrong one is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.oauth2 import service_account
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.gcs_bucket import GcsBucket
from emulators.gcs_reference import GcsReference
from emulators.serving import serve
from emulators.wire import send
from presign import ConfigurationError
from presign.gcs import GCSBackend, open_gcs
from tests.gcs.reference import ACCESS_ID, BUCKET, GRANT, HMAC_SECRET, Reference, as_sent, now, uploaded

SETTINGS = (
    "allow_http",
    "bucket",
    "bucket_bound_hostname",
    "credentials",
    "endpoint_url",
    "hmac_access_id",
    "hmac_secret",
    "pending_bucket",
    "public_endpoint_url",
    "service_account_email",
    "upload_method",
    "verifier_credentials",
    "virtual_hosted_style",
)
ANY_VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(),
    st.text(),
    st.text().map(lambda rest: f"http://{rest}"),
    st.lists(st.text()),
    st.dictionaries(st.text(), st.text()),
)


def test_a_service_account_can_be_a_path_a_mapping_credentials_or_an_environment_variable(
    gcs: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = service_account.Credentials.from_service_account_info(gcs.info)  # type: ignore[no-untyped-call]
    moment = now()
    for source in (gcs.account, str(gcs.account), gcs.info, credentials):
        backend = gcs.backend("rsa", credentials=source)
        assert backend.sign_upload(GRANT, moment).fields == gcs.backend("rsa").sign_upload(GRANT, moment).fields
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(gcs.account))
    backend = GCSBackend(bucket=BUCKET, endpoint_url=gcs.url)
    assert backend.sign_upload(GRANT, moment).fields == gcs.backend("rsa").sign_upload(GRANT, moment).fields
    assert uploaded(backend).status == 201
    assert backend.head(GRANT.key) is not None


def test_an_hmac_key_from_the_environment_signs_and_the_credentials_verify(
    gcs: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCS_HMAC_ACCESS_ID", ACCESS_ID)
    monkeypatch.setenv("GCS_HMAC_SECRET", HMAC_SECRET)
    backend = GCSBackend(bucket=BUCKET, endpoint_url=gcs.url)
    signed = backend.sign_upload(GRANT, now())
    assert signed.fields["x-goog-algorithm"] == "GOOG4-HMAC-SHA256"
    assert send(as_sent(signed)).status == 201
    # On an emulator without credentials the JSON API is asked anonymously, which this server does not allow.
    with pytest.raises(ConfigurationError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        backend.check()
    # Credentials that are given sign, unless an HMAC key is given with them.
    assert gcs.backend("rsa").sign_upload(GRANT, now()).fields["x-goog-algorithm"] == "GOOG4-RSA-SHA256"


def test_an_hmac_key_on_an_emulator_needs_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    app = GcsReference(buckets={BUCKET: GcsBucket()}, hmac_keys={ACCESS_ID: HMAC_SECRET}, anonymous_json=True)
    with serve(app) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        backend = GCSBackend(bucket=BUCKET, hmac_access_id=ACCESS_ID, hmac_secret=HMAC_SECRET)
        backend.check()
        assert uploaded(backend).status == 201
        assert backend.head(GRANT.key) is not None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"private_key": "not a key"}, "no RSA key in PEM form"),
        ({"private_key": "elliptic"}, "no RSA key"),
        ({"private_key": "x25519"}, "no RSA key"),
        ({"private_key": 5}, "has no private_key"),
        ({"client_email": "nobody"}, "client_email that is no email address"),
        ({"client_email": "signer@example.com\ud800"}, "client_email that is no email address"),
        ({"client_email": None}, "has no client_email"),
        ({"token_uri": None}, "has no token_uri"),
        ({"type": "authorized_user"}, "of another type"),
    ],
)
def test_a_service_account_of_the_wrong_form_is_refused_when_the_backend_is_built(
    gcs: Reference, other_pem: dict[str, str], tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    if change.get("private_key") in other_pem:
        change = {"private_key": other_pem[change["private_key"]]}
    info = {name: value for name, value in (gcs.info | change).items() if value is not None}
    path = tmp_path / "account.json"
    path.write_text(json.dumps(info))
    for source in (info, path):
        with pytest.raises(ConfigurationError, match=complaint) as caught:
            gcs.backend("rsa", credentials=source)
        assert caught.value.field == "credentials"
        assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.detail
        assert "PRIVATE KEY" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "not JSON", "[]", "\ud800", "[" * 100_000])
def test_a_path_that_holds_no_service_account_is_refused_when_the_backend_is_built(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "account.json"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigurationError, match="service account's JSON") as caught:
        GCSBackend(bucket=BUCKET, credentials=path)
    assert caught.value.field == "credentials"


@pytest.mark.parametrize("content", ["not JSON", "[]", "{}", '{"type": "service_account"}'])
def test_unusable_default_credentials_are_refused_with_the_setting_in_the_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path = tmp_path / "account.json"
    path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(ConfigurationError, match="the file that GOOGLE_APPLICATION_CREDENTIALS names holds no usable"):
        GCSBackend(bucket=BUCKET)


def test_a_path_of_no_file_in_the_environment_is_named_as_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(ConfigurationError, match="GOOGLE_APPLICATION_CREDENTIALS names a file that does not exist"):
        GCSBackend(bucket=BUCKET)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"bucket": "Bad/Name"}, "bucket"),
        ({"bucket": ""}, "bucket"),
        ({"bucket": None}, "bucket"),
        ({"bucket": 5}, "bucket"),
        ({"bucket": b"uploads"}, "bucket"),
        ({"pending_bucket": "Bad/Name"}, "pending_bucket"),
        ({"pending_bucket": ""}, "pending_bucket"),
        ({"pending_bucket": 5}, "pending_bucket"),
        ({"pending_bucket": "dotted.example.com", "virtual_hosted_style": True}, "virtual_hosted_style"),
        ({"verifier_credentials": 0}, "verifier_credentials"),
        ({"verifier_credentials": "no\0path"}, "verifier_credentials"),
        ({"verifier_credentials": {"type": "authorized_user"}}, "verifier_credentials"),
        ({"allow_http": "true"}, "allow_http"),
        ({"upload_method": "patch"}, "upload_method"),
        ({"upload_method": None}, "upload_method"),
        ({"upload_method": ["post"]}, "upload_method"),
        ({"endpoint_url": "localhost"}, "endpoint_url"),
        ({"endpoint_url": "http://["}, "endpoint_url"),
        ({"endpoint_url": 5}, "endpoint_url"),
        ({"endpoint_url": "https://user:pw@host"}, "endpoint_url"),
        ({"public_endpoint_url": "https://host/path"}, "public_endpoint_url"),
        ({"public_endpoint_url": "http://["}, "public_endpoint_url"),
        ({"public_endpoint_url": b"https://host"}, "public_endpoint_url"),
        ({"bucket_bound_hostname": ""}, "bucket_bound_hostname"),
        ({"bucket_bound_hostname": "["}, "bucket_bound_hostname"),
        ({"bucket_bound_hostname": 5}, "bucket_bound_hostname"),
        ({"bucket_bound_hostname": "a.example/path"}, "bucket_bound_hostname"),
        ({"bucket_bound_hostname": "a.example", "virtual_hosted_style": True}, "bucket_bound_hostname"),
        ({"bucket_bound_hostname": "a.example", "public_endpoint_url": "https://b.example"}, "bucket_bound_hostname"),
        ({"bucket": "dotted.example.com", "virtual_hosted_style": True}, "virtual_hosted_style"),
        ({"virtual_hosted_style": "false"}, "virtual_hosted_style"),
        ({"credentials": 0}, "credentials"),
        ({"credentials": [HMAC_SECRET]}, "credentials"),
        ({"credentials": "no\0path"}, "credentials"),
        ({"hmac_access_id": ACCESS_ID}, "hmac_access_id"),
        ({"hmac_secret": HMAC_SECRET}, "hmac_access_id"),
        ({"hmac_access_id": 5, "hmac_secret": HMAC_SECRET}, "hmac_access_id"),
        ({"hmac_access_id": ACCESS_ID, "hmac_secret": HMAC_SECRET.encode()}, "hmac_secret"),
        ({"hmac_access_id": "a/b", "hmac_secret": HMAC_SECRET}, "hmac_access_id"),
        ({"hmac_access_id": ACCESS_ID, "hmac_secret": HMAC_SECRET + "\n"}, "hmac_access_id"),
        ({"service_account_email": "other@example.com"}, "service_account_email"),
        ({"service_account_email": ""}, "service_account_email"),
        ({"service_account_email": 5}, "service_account_email"),
        (
            {"service_account_email": "a@b.c", "hmac_access_id": ACCESS_ID, "hmac_secret": HMAC_SECRET},
            "service_account_email",
        ),
    ],
)
def test_a_wrong_setting_is_refused_by_name_when_the_backend_is_built(
    gcs: Reference, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        GCSBackend(**{"bucket": BUCKET, "credentials": gcs.info} | options)
    assert caught.value.field == named
    assert HMAC_SECRET not in str(caught.value)


@given(name=st.sampled_from(SETTINGS), value=ANY_VALUE)
@settings(deadline=None)
def test_any_value_of_any_setting_gives_a_backend_that_signs_or_a_configuration_error(name: str, value: Any) -> None:
    hmac_key = {"hmac_access_id": ACCESS_ID, "hmac_secret": HMAC_SECRET}
    with suppress(ConfigurationError):
        GCSBackend(**{"bucket": BUCKET, **hmac_key, name: value}).sign_upload(GRANT, now())


@given(rest=st.text())
@settings(deadline=None)
def test_any_address_gives_a_backend_or_a_configuration_error(rest: str) -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GCS_HMAC_ACCESS_ID", ACCESS_ID)
        environment.setenv("GCS_HMAC_SECRET", HMAC_SECRET)
        with suppress(ConfigurationError):
            open_gcs(f"gs://{rest}")


def test_half_an_hmac_key_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCS_HMAC_ACCESS_ID", ACCESS_ID)
    with pytest.raises(ConfigurationError, match="GCS_HMAC_ACCESS_ID and GCS_HMAC_SECRET must both be set"):
        GCSBackend(bucket=BUCKET)


def test_anonymous_credentials_cannot_sign() -> None:
    with pytest.raises(ConfigurationError, match="anonymous credentials cannot sign"):
        GCSBackend(bucket=BUCKET, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
