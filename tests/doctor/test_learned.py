"""What a store has shown, given to the backend of each cloud: no ticket then promises more."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from google.auth.credentials import AnonymousCredentials

from presign import Backend, ConfigurationError, Presigner, Rule, UploadPolicy, UploadRequest, open_backend
from presign.azure import AzureBackend
from presign.backends.diagnosis import Diagnosable
from presign.backends.knowledge import StoreKnowledge
from presign.gcs import GCSBackend
from presign.s3 import S3Backend
from tests.conftest import TOKEN_SECRET

_NOW = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
_POLICY: dict[str, Any] = {"content_types": {"image/png"}, "max_bytes": 100, "prefix": "public/"}


def _s3(**options: Any) -> Backend:
    session = boto3.Session("AKIAEXAMPLE", "a secret")
    return S3Backend(bucket="uploads", region="eu-central-1", session=session, **options)


def _azure(**options: Any) -> Backend:
    key = base64.b64encode(bytes(64)).decode()
    return AzureBackend(**{"container": "uploads", "account_name": "account", "account_key": key, **options})


def _gcs(**options: Any) -> Backend:
    return GCSBackend(
        bucket="uploads",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        hmac_access_id="GOOG1EXAMPLE000000001",
        hmac_secret="a" * 40,
        **options,
    )


@pytest.mark.parametrize("build", [_s3, _azure, _gcs])
def test_a_rule_that_was_not_shown_falls_back_to_completion_and_is_refused_where_the_storage_must_keep_it(
    build: Callable[..., Backend],
) -> None:
    create_only = UploadPolicy(**_POLICY, create_only=True)
    plain = build()
    request = UploadRequest(content_type="image/png", size=48)
    before = Presigner(backend=plain, policy=create_only, secret=TOKEN_SECRET).issue(request).enforced
    assert before[Rule.CREATE_ONLY] == "storage"
    kept = frozenset(rule for rule, by in before.items() if by == "storage") - {Rule.CREATE_ONLY}
    host = _host(plain)
    learned = StoreKnowledge(storage=plain.name, host=host, shown={"put": kept, "post": frozenset()})
    backend = build(learned=learned)
    after = Presigner(backend=backend, policy=create_only, secret=TOKEN_SECRET).issue(request).enforced
    assert after == {**before, Rule.CREATE_ONLY: "completion"}
    with pytest.raises(ConfigurationError, match="does not itself enforce create_only"):
        Presigner(
            backend=backend,
            policy=UploadPolicy(**_POLICY, create_only=True, require_at_storage={Rule.CREATE_ONLY}),
            secret=TOKEN_SECRET,
        )
    # Without a pending key, completion cannot keep this rule either.
    with pytest.raises(ConfigurationError, match="cannot enforce create_only"):
        Presigner(
            backend=backend, policy=UploadPolicy(**_POLICY, create_only=True, pending_prefix=None), secret=TOKEN_SECRET
        )
    with pytest.raises(ConfigurationError, match="learned is about 's3://another', and this is"):
        build(learned=StoreKnowledge(storage="s3://another", host=host, shown={}))
    with pytest.raises(ConfigurationError, match=r"on the host 'another\.example', and uploads are sent to"):
        build(learned=StoreKnowledge(storage=plain.name, host="another.example", shown={}))


_PUBLIC = "https://files.example.com"


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (_s3, {}),
        (_s3, {"endpoint_url": "https://S3.Example.com:443"}),
        (_s3, {"endpoint_url": "http://127.0.0.1:8333", "public_endpoint_url": _PUBLIC}),
        (_azure, {}),
        (_azure, {"account_name": None, "account_url": "http://127.0.0.1:10000/account"}),
        (_azure, {"public_account_url": f"{_PUBLIC}:8443"}),
        (_gcs, {}),
        (_gcs, {"virtual_hosted_style": True}),
        (_gcs, {"bucket_bound_hostname": _PUBLIC, "pending_bucket": "uploads-pending"}),
    ],
)
def test_the_host_is_the_one_that_tickets_send_uploads_to(
    build: Callable[..., Backend], options: dict[str, Any]
) -> None:
    backend = build(**options)
    for create_only in (False, True):
        for grant in UploadPolicy(**_POLICY, create_only=create_only).possible_grants():
            assert urlsplit(backend.sign_upload(grant, _NOW).url).netloc == _host(backend)


def _host(backend: Backend) -> str:
    assert isinstance(backend, Diagnosable)
    return backend.diagnosis().host


@pytest.mark.parametrize("build", [_s3, _azure, _gcs])
def test_nothing_is_promised_of_what_was_not_tried(build: Callable[..., Backend]) -> None:
    plain = build()
    backend = build(learned=StoreKnowledge(storage=plain.name, host=_host(plain), shown={}))
    for create_only in (False, True):
        for grant in UploadPolicy(**_POLICY, create_only=create_only).possible_grants():
            assert backend.enforces(grant) == frozenset()
            assert backend.parts is not None
            assert backend.parts.enforces(grant) == frozenset()


def test_a_store_whose_forms_did_not_work_gets_a_put() -> None:
    grant = UploadPolicy(**_POLICY).possible_grants()[0]
    rules = frozenset({Rule.SIZE, Rule.TYPE})
    assert _s3().enforces(grant) >= rules | {Rule.HEADERS}
    backend = _s3(learned=StoreKnowledge(storage="s3://uploads", host=_host(_s3()), shown={"put": rules}))
    presigner = Presigner(backend=backend, policy=UploadPolicy(**_POLICY), secret=TOKEN_SECRET)
    assert presigner.requires_size, "a PUT binds an exact size only"
    ticket = presigner.issue(UploadRequest(content_type="image/png", size=48))
    assert ticket.method == "PUT"
    assert {rule for rule, by in ticket.enforced.items() if by == "storage"} == rules


def test_an_address_has_the_path_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    monkeypatch.setenv("AZURE_STORAGE_KEY", base64.b64encode(bytes(64)).decode())
    grant = UploadPolicy(**_POLICY, create_only=True).possible_grants()[0]
    addresses = {
        "s3://uploads": ("uploads.s3.eu-central-1.amazonaws.com", "s3://uploads/public/?region=eu-central-1&"),
        "azblob://account/uploads": ("account.blob.core.windows.net", "azblob://account/uploads/public/?"),
    }
    for name, (host, address) in addresses.items():
        path = tmp_path / "learned.json"
        StoreKnowledge(storage=name, host=host, shown={"put": frozenset({Rule.CREATE_ONLY})}).write(path)
        backend, _ = open_backend(f"{address}learned={path}")
        assert backend.enforces(grant) == {Rule.CREATE_ONLY}


def test_the_verifiers_access_key_comes_from_the_environment_whole_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASIGNER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    address = "s3://uploads/public/?region=eu-central-1"
    monkeypatch.setenv("PRESIGN_VERIFIER_ACCESS_KEY_ID", "AKIAVERIFIER")
    with pytest.raises(ConfigurationError, match="must both be set, or neither"):
        open_backend(address)
    monkeypatch.setenv("PRESIGN_VERIFIER_SECRET_ACCESS_KEY", "another secret")
    backend, _ = open_backend(address)
    assert isinstance(backend, S3Backend)
    assert backend.diagnosis().has_two_identities
    now_signed = backend.sign_upload(UploadPolicy(**_POLICY).possible_grants()[0], _NOW)
    assert "AKIASIGNER" in now_signed.fields["x-amz-credential"]
