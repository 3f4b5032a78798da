"""Signatures for Google Cloud Storage: presign, google-cloud-storage and obstore, with RSA keys and with HMAC keys.

The SDK cannot sign with HMAC keys, so presign's HMAC signatures are compared with the SDK's RSA signatures. The least
that an RSA signature takes is the 2048-bit RSA operation; the least for HMAC is written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import obstore
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.cloud import storage  # type: ignore[import-untyped]
from google.oauth2 import service_account
from obstore.store import GCSStore

from bench import sign_case
from bench.sign_case import HAND_WRITTEN, HOST_ONLY, LIFETIME, MAX_BYTES, MIN_BYTES, PRESIGN, TYPE, SigningCase, utc_now
from presign import Grant
from presign.gcs import GCSBackend

BUCKET = "example-bucket"
HMAC_KEY = {
    "hmac_access_id": "GOOG1EEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLE",
    "hmac_secret": "bGoa+V7g/yqDXvKRqq+JTFn4uQZbPiQJo4pf9RzJ",
}
SDK = "google-cloud-storage"
SDK_RSA = f"{SDK} (RSA)"
RSA_ALONE = "RSA signature alone"


def cases() -> list[SigningCase]:
    """Return the cases: POST and PUT, each with an RSA key and with an HMAC key."""
    private_key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    account = _service_account(private_key)
    credentials = service_account.Credentials.from_service_account_info(account)  # type: ignore[no-untyped-call]
    client: Any = storage.Client(project="example-project", credentials=credentials)
    bucket = client.bucket(BUCKET)
    store = GCSStore(BUCKET, service_account_key=json.dumps(account))

    def by_presign(upload_method: Any, **key: Any) -> Callable[[Grant], object]:
        backend = GCSBackend(bucket=BUCKET, upload_method=upload_method, **key)
        return lambda grant: backend.sign_upload(grant, utc_now())

    def sdk_post(grant: Grant) -> object:
        return client.generate_signed_post_policy_v4(
            BUCKET,
            grant.key,
            expiration=LIFETIME,
            conditions=[["content-length-range", MIN_BYTES, MAX_BYTES]],
            fields={"Content-Type": TYPE, "success_action_status": "201"},
            scheme="https",
        )

    def sdk_put(grant: Grant) -> object:
        return bucket.blob(grant.key).generate_signed_url(
            version="v4",
            method="PUT",
            expiration=LIFETIME,
            content_type=TYPE,
            headers={"x-goog-content-length-range": f"{MIN_BYTES},{MAX_BYTES}"},
            scheme="https",
        )

    def rsa_alone(grant: Grant) -> str:
        return private_key.sign(grant.key.encode(), padding.PKCS1v15(), hashes.SHA256()).hex()

    return [
        SigningCase(
            name="GCS POST, RSA",
            signers={PRESIGN: by_presign("post", credentials=account), RSA_ALONE: rsa_alone, SDK: sdk_post},
            bounds=[(PRESIGN, "at most", 1.05, RSA_ALONE)],
        ),
        SigningCase(
            name="GCS PUT, RSA",
            signers={
                PRESIGN: by_presign("put", credentials=account),
                RSA_ALONE: rsa_alone,
                SDK: sdk_put,
                "obstore": lambda grant: obstore.sign(store, "PUT", grant.key, LIFETIME),
            },
            notes={"obstore": HOST_ONLY},
            bounds=[(PRESIGN, "at most", 1.05, RSA_ALONE)],
        ),
        SigningCase(
            name="GCS POST, HMAC",
            signers={PRESIGN: by_presign("post", **HMAC_KEY), HAND_WRITTEN: _hand_written, SDK_RSA: sdk_post},
            bounds=[(SDK_RSA, "at least", 50, PRESIGN)],
        ),
        SigningCase(
            name="GCS PUT, HMAC",
            signers={PRESIGN: by_presign("put", **HMAC_KEY), HAND_WRITTEN: _hand_written, SDK_RSA: sdk_put},
            notes={HAND_WRITTEN: "signs the form of the POST"},
            bounds=[(SDK_RSA, "at least", 50, PRESIGN)],
        ),
    ]


def _service_account(private_key: rsa.RSAPrivateKey) -> dict[str, str]:
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "example-project",
        "private_key_id": "example",
        "private_key": pem.decode(),
        "client_email": "signer@example-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "https://token.invalid/",
    }


def _hand_written(grant: Grant) -> dict[str, str]:
    conditions = [
        {"bucket": BUCKET},
        {"key": grant.key},
        {"Content-Type": TYPE},
        {"success_action_status": "201"},
        {"x-goog-algorithm": "GOOG4-HMAC-SHA256"},
        {"x-goog-credential": f"{HMAC_KEY['hmac_access_id']}/20300101/auto/storage/goog4_request"},
        {"x-goog-date": "20300101T000000Z"},
        ["content-length-range", MIN_BYTES, MAX_BYTES],
    ]
    return sign_case.sign_policy(conditions, expiration="2030-01-01T00:00:00Z", key=HMAC_KEY["hmac_secret"].encode())
