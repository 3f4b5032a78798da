"""The reference server, without any setting of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519

from emulators.gcs_accounts import generate_credentials, trusted_account
from emulators.gcs_bucket import GcsBucket
from emulators.gcs_reference import GcsReference, page_rule
from emulators.serving import serve
from tests.gcs.reference import ACCESS_ID, BUCKET, HMAC_SECRET, Reference, now

SETTINGS = ("GCS_HMAC_ACCESS_ID", "GCS_HMAC_SECRET", "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST")
PAGE = "http://localhost:8080"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    account = tmp_path_factory.mktemp("gcs") / "account.json"
    generate_credentials(account, token_uri="http://unknown.invalid/token")
    ahead: list[timedelta] = []
    app = GcsReference(
        buckets={BUCKET: GcsBucket(cors=(page_rule(PAGE),), public_prefix="public/"), "other": GcsBucket()},
        service_accounts=trusted_account(account),
        hmac_keys={ACCESS_ID: HMAC_SECRET},
        bearer_tokens=frozenset({"a-token"}),
        clock=lambda: now() + sum(ahead, timedelta()),
        custom_domains={"cdn.invalid": BUCKET},
    )
    with serve(app) as url:
        generate_credentials(account, token_uri=f"{url}/token")
        yield Reference(url=url, app=app, account=account, clock=ahead)


@pytest.fixture
def gcs(running: Reference) -> Reference:
    running.clock.clear()
    for bucket in running.app.buckets.values():
        bucket.objects.clear()
    return running


@pytest.fixture(params=["rsa", "hmac", "sign_blob"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["post", "put"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def other_pem() -> dict[str, str]:
    def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey) -> str:
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    return {
        "rsa": pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        "elliptic": pem(ec.generate_private_key(ec.SECP256R1())),
        "x25519": pem(x25519.X25519PrivateKey.generate()),
    }
