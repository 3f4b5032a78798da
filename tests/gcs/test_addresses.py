"""The addresses of a bucket and of a backend, and which of them the signatures contain."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from google.cloud import storage  # type: ignore[import-untyped]
from google.oauth2 import service_account

from emulators.wire import Attempt, Form, send
from presign import ConfigurationError
from presign.gcs import GCSBackend, open_gcs
from tests.gcs.reference import BUCKET, EVERYTHING, GRANT, PENDING, PNG, Reference, as_sent, now, uploaded


@pytest.mark.parametrize(
    ("options", "sdk_options", "sdk_endpoint"),
    [
        ({}, {}, None),
        ({"virtual_hosted_style": True}, {"virtual_hosted_style": True}, None),
        (
            {"bucket_bound_hostname": "uploads.example.com"},
            {"bucket_bound_hostname": "uploads.example.com", "scheme": "https"},
            None,
        ),
        (
            {"bucket_bound_hostname": "http://uploads.example.com:8080", "allow_http": True},
            {"bucket_bound_hostname": "http://uploads.example.com:8080"},
            None,
        ),
        ({"endpoint_url": "http://localhost:4443"}, {}, "http://localhost:4443"),
        (
            {
                "endpoint_url": "http://storage:4443",
                "public_endpoint_url": "http://localhost:4443",
                "allow_http": True,
            },
            {},
            "http://localhost:4443",
        ),
    ],
)
def test_every_style_of_address_is_signed_as_the_sdk_signs_it(
    gcs: Reference, options: dict[str, Any], sdk_options: dict[str, Any], sdk_endpoint: str | None
) -> None:
    backend = GCSBackend(bucket=BUCKET, credentials=gcs.info, **options)
    client = storage.Client(
        project="project",
        credentials=service_account.Credentials.from_service_account_info(gcs.info),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": sdk_endpoint} if sdk_endpoint else None,
    )
    blob = client.bucket(BUCKET).blob("public/ä b+c.png")
    lifetime = timedelta(minutes=5)
    theirs = blob.generate_signed_url(version="v4", expiration=lifetime, **sdk_options)
    signed_at = datetime.strptime(Attempt(method="GET", url=theirs).parameter("X-Goog-Date"), "%Y%m%dT%H%M%S%z")
    assert backend.sign_download(blob.name, signed_at, expires_in=lifetime) == theirs

    grant = replace(EVERYTHING, key=blob.name, create_only=True, sha256=hashlib.sha256(PNG).hexdigest())
    headers = {
        "Content-Type": "image/png",
        "Content-Disposition": 'inline; filename="a b.png"',
        "Cache-Control": "max-age=60",
        "x-goog-meta-owner": "alice",
        "x-goog-meta-a_b": "x y",
        "x-goog-content-length-range": "10,100",
        "x-goog-if-generation-match": "0",
        "x-goog-content-sha256": hashlib.sha256(PNG).hexdigest(),
    }
    theirs = blob.generate_signed_url(
        version="v4", method="PUT", expiration=grant.expires_in, headers=dict(headers), **sdk_options
    )
    signed_at = datetime.strptime(Attempt(method="PUT", url=theirs).parameter("X-Goog-Date"), "%Y%m%dT%H%M%S%z")
    ours = backend.sign_upload(grant, signed_at)
    assert (ours.url, ours.headers) == (theirs, headers)

    form = client.generate_signed_post_policy_v4(BUCKET, blob.name, expiration=lifetime, **sdk_options)
    assert backend.sign_upload(replace(EVERYTHING, key=blob.name), now()).url == form["url"]


@pytest.mark.parametrize("style", ["virtual", "custom"])
def test_uploads_to_a_virtual_host_and_to_a_custom_domain_are_stored(
    gcs: Reference, kind: str, method: str, style: str
) -> None:
    port = gcs.url.rpartition(":")[2]
    options: dict[str, Any] = (
        {"virtual_hosted_style": True, "public_endpoint_url": f"http://localhost:{port}"}
        if style == "virtual"
        else {"bucket_bound_hostname": f"http://cdn.invalid:{port}", "allow_http": True}
    )
    host = f"{BUCKET}.localhost:{port}" if style == "virtual" else f"cdn.invalid:{port}"
    sent = as_sent(gcs.backend(kind, upload_method=method, **options).sign_upload(GRANT, now()))
    attempt = sent.attempt() if isinstance(sent, Form) else sent
    assert attempt.url.startswith(f"http://{host}/")
    # No name server knows these hosts: the connection goes to the server, and Host says who was meant.
    direct = replace(attempt, url=attempt.url.replace(f"http://{host}", gcs.url)).with_header("Host", host)
    assert send(direct).status in {200, 201}
    assert list(gcs.objects) == [GRANT.key]


@pytest.mark.parametrize(
    ("options", "upload_url", "object_url"),
    [
        ({}, "https://storage.googleapis.com/waiting/", "https://storage.googleapis.com/uploads/"),
        (
            {"virtual_hosted_style": True},
            "https://waiting.storage.googleapis.com/",
            "https://uploads.storage.googleapis.com/",
        ),
        ({"bucket_bound_hostname": "a.example"}, "https://storage.googleapis.com/waiting/", "https://a.example/"),
        (
            {"bucket_bound_hostname": "a.example", "virtual_hosted_style": True},
            "https://waiting.storage.googleapis.com/",
            "https://a.example/",
        ),
        (
            {"bucket_bound_hostname": "a.example", "public_endpoint_url": "https://b.example"},
            "https://b.example/waiting/",
            "https://a.example/",
        ),
    ],
)
def test_a_pending_bucket_has_a_location_of_its_own(
    gcs: Reference, method: str, options: dict[str, Any], upload_url: str, object_url: str
) -> None:
    options = {"pending_bucket": "waiting", "credentials": gcs.info, "upload_method": method, **options}
    backend = GCSBackend(bucket=BUCKET, **options)
    pending, direct = backend.sign_upload(PENDING, now()), backend.sign_upload(GRANT, now())
    path = "" if method == "post" else PENDING.upload_key
    assert pending.url.partition("?")[0] == f"{upload_url}{path}"
    path = "" if method == "post" else GRANT.key
    assert direct.url.partition("?")[0] == f"{object_url}{path}"
    assert backend.object_url("k") == f"{object_url}k"


@pytest.mark.parametrize("setting", ["endpoint_url", "public_endpoint_url", "bucket_bound_hostname"])
def test_an_endpoint_without_tls_beyond_this_machine_must_be_asked_for(gcs: Reference, setting: str) -> None:
    options: dict[str, Any] = {"bucket": BUCKET, "credentials": gcs.info, setting: "http://storage.example.com"}
    with pytest.raises(ConfigurationError, match="allow_http") as caught:
        GCSBackend(**options)
    assert caught.value.field == setting
    GCSBackend(**options, allow_http=True)
    GCSBackend(**options | {setting: "http://127.0.0.1:4443"})


def test_an_emulator_host_beyond_this_machine_must_be_asked_for(
    gcs: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "storage:4443")
    with pytest.raises(ConfigurationError, match="allow_http") as caught:
        open_gcs(f"gs://{BUCKET}/p/?credentials={gcs.account}")
    assert caught.value.field == "STORAGE_EMULATOR_HOST"
    backend, _ = open_gcs(f"gs://{BUCKET}/p/?credentials={gcs.account}&allow_http=true")
    assert backend.object_url("k") == f"http://storage:4443/{BUCKET}/k"


@pytest.mark.parametrize("written", ["{url}", "{host}"])
def test_storage_emulator_host_works_with_and_without_a_scheme(
    gcs: Reference, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", written.format(url=gcs.url, host=gcs.url.removeprefix("http://")))
    backend = GCSBackend(bucket=BUCKET, credentials=gcs.info)
    backend.check()
    assert uploaded(backend).status == 201
    assert backend.head(GRANT.key) is not None


def test_a_url_gives_the_backend_and_the_prefix(gcs: Reference) -> None:
    backend, prefix = open_gcs(
        f"gs://{BUCKET}/public/in-here/?credentials={gcs.account}&endpoint_url={gcs.url}&upload_method=put"
    )
    assert (backend.name, prefix) == (f"gs://{BUCKET}", "public/in-here/")
    signed = backend.sign_upload(GRANT, now())
    assert (signed.method, signed.url.split("?")[0]) == ("PUT", f"{gcs.url}/{BUCKET}/{GRANT.key}")
    backend, _ = open_gcs(
        f"gs://{BUCKET}/p/?credentials={gcs.account}&verifier_credentials={gcs.account}&pending_bucket=waiting"
    )
    assert backend.sign_upload(PENDING, now()).url == "https://storage.googleapis.com/waiting/"
    backend, prefix = open_gcs(f"gs://{BUCKET}/p/?credentials={gcs.account}&virtual_hosted_style=true")
    assert backend.object_url("p/k") == f"https://{BUCKET}.storage.googleapis.com/p/k"
    backend, prefix = open_gcs(f"gs://{BUCKET}/p/?credentials={gcs.account}&bucket_bound_hostname=cdn.example.com")
    assert backend.object_url("p/k") == "https://cdn.example.com/p/k"


@pytest.mark.parametrize(
    ("rest", "complaint"),
    [
        ("s3://uploads/p/", "must look like gs://"),
        ("gs:///p/", "must look like gs://"),
        ("gs://key@uploads/p/", "must look like gs://"),
        ("gs://uploads/p/#x", "must look like gs://"),
        ("gs://uploads/p/?upload_method", "name=value"),
        ("gs://uploads/p/?hmac_secret=x", "and nothing else"),
        ("gs://uploads/p/?upload_method=put&upload_method=post", "and nothing else"),
        ("gs://uploads/p/?upload_method=", "and nothing else"),
        ("gs://uploads/p/?virtual_hosted_style=yes", "true or false"),
        ("gs://uploads/p/?upload_method=patch", "auto, post or put"),
    ],
)
def test_a_url_with_anything_unknown_is_refused(rest: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        open_gcs(rest)
