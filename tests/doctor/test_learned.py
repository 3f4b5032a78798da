"""What a store has shown, given to the backend of each cloud: no ticket then promises more."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from google.auth.credentials import AnonymousCredentials

from presign import Backend, ConfigurationError, Presigner, Rule, UploadPolicy, UploadRequest, open_backend
from presign.azure import AzureBackend
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
    return AzureBackend(container="uploads", account_name="account", account_key=key, **options)


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
    learned = StoreKnowledge(storage=plain.name, shown={"put": kept, "post": frozenset()})
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
    with pytest.raises(ConfigurationError, match="learned is about"):
        build(learned=StoreKnowledge(storage="s3://another", shown={}))


@pytest.mark.parametrize("build", [_s3, _azure, _gcs])
def test_nothing_is_promised_of_what_was_not_tried(build: Callable[..., Backend]) -> None:
    backend = build(learned=StoreKnowledge(storage=build().name, shown={}))
    for create_only in (False, True):
        for grant in UploadPolicy(**_POLICY, create_only=create_only).possible_grants():
            assert backend.enforces(grant) == frozenset()
            assert backend.parts is not None
            assert backend.parts.enforces(grant) == frozenset()


def test_a_store_whose_forms_did_not_work_gets_a_put() -> None:
    grant = UploadPolicy(**_POLICY).possible_grants()[0]
    rules = frozenset({Rule.SIZE, Rule.TYPE})
    assert _s3().enforces(grant) >= rules | {Rule.HEADERS}
    backend = _s3(learned=StoreKnowledge(storage="s3://uploads", shown={"put": rules}))
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
        "s3://uploads": "s3://uploads/public/?region=eu-central-1&",
        "azblob://account/uploads": "azblob://account/uploads/public/?",
    }
    for name, address in addresses.items():
        path = tmp_path / "learned.json"
        StoreKnowledge(storage=name, shown={"put": frozenset({Rule.CREATE_ONLY})}).write(path)
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
