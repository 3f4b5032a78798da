"""Signing for Google Cloud Storage: presign, google-cloud-storage, obstore and the raw floor; RSA and HMAC keys.

The RSA floor is one 2048-bit signature and nothing else; the HMAC floor is one HMAC and the JSON. The SDK has no HMAC
keys, so that both kinds are compared with its RSA. Each call signs another object. The keys are made for the run.
"""

from __future__ import annotations

import base64
import hmac
import json
import uuid
from datetime import timedelta
from typing import Any

import obstore
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.cloud import storage  # type: ignore[import-untyped]
from google.oauth2 import service_account
from obstore.store import GCSStore

from bench.alternating import Case, Contender, Run, each, utc_now
from bench.targets import SpeedTarget, Target
from presign import Grant
from presign.gcs import GCSBackend

BUCKET = "example-bucket"
EMAIL = "signer@example-project.iam.gserviceaccount.com"
HMAC_ACCESS_ID = "GOOG1EEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLE"
HMAC_SECRET = "bGoa+V7g/yqDXvKRqq+JTFn4uQZbPiQJo4pf9RzJ"
TYPE = "image/png"
MIN_BYTES, MAX_BYTES = 1, 10 * 2**20
LIFE = timedelta(seconds=60)
OBJECTS = 8_192

POST_RSA = "GCS POST, RSA"
PUT_RSA = "GCS PUT, RSA"
POST_HMAC = "GCS POST, HMAC"
PUT_HMAC = "GCS PUT, HMAC"
PRESIGN = "presign"
SDK = "google-cloud-storage"
SDK_RSA = "google-cloud-storage (RSA)"
FLOOR = "floor"

TARGETS = [
    *(
        SpeedTarget(
            target=Target(what=f"{case}: presign by the raw signature", relation="at most", bound=1.05),
            case=case,
            slower=PRESIGN,
            than=FLOOR,
        )
        for case in (POST_RSA, PUT_RSA)
    ),
    *(
        SpeedTarget(
            target=Target(what=f"{case}: the SDK's RSA by presign", relation="at least", bound=50),
            case=case,
            slower=SDK_RSA,
            than=PRESIGN,
        )
        for case in (POST_HMAC, PUT_HMAC)
    ),
]


def cases() -> list[Case]:
    """Return the GCS cases."""
    keys = [f"public/{uuid.uuid4().hex}" for _ in range(OBJECTS)]
    grants = [
        Grant(key=key, content_type=TYPE, min_bytes=MIN_BYTES, max_bytes=MAX_BYTES, expires_in=LIFE) for key in keys
    ]
    private_key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    account = _service_account(private_key)
    by_sdk = _Sdk(account)
    store = GCSStore(BUCKET, service_account_key=json.dumps(account))

    def signed(method: str, *, by_hmac: bool) -> Run:
        backend = GCSBackend(
            bucket=BUCKET,
            upload_method="post" if method == "POST" else "put",
            credentials=None if by_hmac else account,
            hmac_access_id=HMAC_ACCESS_ID if by_hmac else None,
            hmac_secret=HMAC_SECRET if by_hmac else None,
        )
        return each(grants, lambda grant: backend.sign_upload(grant, utc_now()))

    def raw_signature(key: str) -> str:
        return private_key.sign(key.encode(), padding.PKCS1v15(), hashes.SHA256()).hex()

    rsa_floor = Contender(name=FLOOR, run=each(keys, raw_signature), note="the RSA signature alone")
    hmac_floor = Contender(name=FLOOR, run=each(keys, _hmac_floor), note="a policy's JSON, base64 and one HMAC")
    whole_put = Contender(
        name="obstore",
        run=each(keys, lambda key: obstore.sign(store, "PUT", key, LIFE)),
        note="signs the host only: neither type nor size",
    )
    return [
        Case(
            name=POST_RSA,
            contenders=[
                Contender(name=PRESIGN, run=signed("POST", by_hmac=False)),
                rsa_floor,
                Contender(name=SDK, run=each(keys, by_sdk.post)),
            ],
        ),
        Case(
            name=PUT_RSA,
            contenders=[
                Contender(name=PRESIGN, run=signed("PUT", by_hmac=False)),
                rsa_floor,
                Contender(name=SDK, run=each(keys, by_sdk.put)),
                whole_put,
            ],
        ),
        Case(
            name=POST_HMAC,
            contenders=[
                Contender(name=PRESIGN, run=signed("POST", by_hmac=True)),
                hmac_floor,
                Contender(name=SDK_RSA, run=each(keys, by_sdk.post)),
            ],
        ),
        Case(
            name=PUT_HMAC,
            contenders=[
                Contender(name=PRESIGN, run=signed("PUT", by_hmac=True)),
                hmac_floor,
                Contender(name=SDK_RSA, run=each(keys, by_sdk.put)),
            ],
        ),
    ]


class _Sdk:
    """The SDK as its users hold it: one client and one bucket, made once."""

    def __init__(self, account: dict[str, str]) -> None:
        credentials = service_account.Credentials.from_service_account_info(account)  # type: ignore[no-untyped-call]
        self._client: Any = storage.Client(project="example-project", credentials=credentials)
        self._bucket: Any = self._client.bucket(BUCKET)

    def post(self, key: str) -> object:
        """Return a signed form with the same conditions."""
        return self._client.generate_signed_post_policy_v4(
            BUCKET,
            key,
            expiration=LIFE,
            conditions=[["content-length-range", MIN_BYTES, MAX_BYTES]],
            fields={"Content-Type": TYPE, "success_action_status": "201"},
            scheme="https",
        )

    def put(self, key: str) -> object:
        """Return a signed URL with the same headers signed."""
        return self._bucket.blob(key).generate_signed_url(
            version="v4",
            method="PUT",
            expiration=LIFE,
            content_type=TYPE,
            headers={"x-goog-content-length-range": f"{MIN_BYTES},{MAX_BYTES}"},
            scheme="https",
        )


def _service_account(private_key: rsa.RSAPrivateKey) -> dict[str, str]:
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "example-project",
        "private_key_id": "example",
        "private_key": pem.decode(),
        "client_email": EMAIL,
        "client_id": "1",
        "token_uri": "https://token.invalid/",
    }


def _hmac_floor(key: str) -> tuple[bytes, str]:
    document = {
        "expiration": "2030-01-01T00:00:00Z",
        "conditions": [
            {"bucket": BUCKET},
            {"key": key},
            {"Content-Type": TYPE},
            {"success_action_status": "201"},
            {"x-goog-algorithm": "GOOG4-HMAC-SHA256"},
            {"x-goog-credential": f"{HMAC_ACCESS_ID}/20300101/auto/storage/goog4_request"},
            {"x-goog-date": "20300101T000000Z"},
            ["content-length-range", MIN_BYTES, MAX_BYTES],
        ],
    }
    policy = base64.b64encode(json.dumps(document).encode())
    return policy, hmac.digest(HMAC_SECRET.encode(), policy, "sha256").hex()
