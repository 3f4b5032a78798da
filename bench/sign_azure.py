"""Signing for Azure: presign, azure-storage-blob, obstore and the raw floor; an account key, and a delegation key.

The SAS permits reading one blob, over https, with the same start and end for all. Each call signs another blob. The
user delegation key is made up: the call by which the backend fetches it is the only one that is replaced.
"""

from __future__ import annotations

import base64
import hmac
import uuid
from datetime import datetime, timedelta
from unittest import mock
from urllib.parse import quote

import obstore
from azure.core.credentials import AccessToken
from azure.storage.blob import BlobSasPermissions, BlobServiceClient, UserDelegationKey, generate_blob_sas
from obstore.store import AzureStore

from bench.alternating import Case, Contender, each, utc_now
from bench.targets import SpeedTarget, Target
from presign import Grant
from presign.azure import AzureBackend
from presign.signing import sas
from presign.signing.signing_time import signing_time

ACCOUNT = "exampleaccount"
CONTAINER = "uploads"
BASE_URL = f"https://{ACCOUNT}.blob.core.windows.net/{CONTAINER}/"
# Random bytes serve as well as a real account's.
ACCOUNT_KEY = base64.b64encode(bytes(range(64))).decode()
DELEGATION_KEY = base64.b64encode(bytes(range(32))).decode()
LIFE = timedelta(seconds=60)
SKEW = timedelta(minutes=5)
_LIFE_SECONDS = int(LIFE.total_seconds())
_SKEW_SECONDS = int(SKEW.total_seconds())
OBJECTS = 8_192
DELEGATION_SECONDS = 86_400

SERVICE = "Azure service SAS"
DELEGATION = "Azure user delegation SAS"
PRESIGN = "presign"
SDK = "azure-storage-blob"
FLOOR = "floor"

TARGETS = [
    SpeedTarget(
        target=Target(what=f"{case}: the SDK by presign", relation="at least", bound=10),
        case=case,
        slower=SDK,
        than=PRESIGN,
    )
    for case in (SERVICE, DELEGATION)
]


def cases() -> list[Case]:
    """Return the Azure cases."""
    keys = [f"public/{uuid.uuid4().hex}" for _ in range(OBJECTS)]
    return [_service_case(keys), _delegation_case(keys)]


def _service_case(keys: list[str]) -> Case:
    backend = AzureBackend(container=CONTAINER, account_name=ACCOUNT, account_key=ACCOUNT_KEY)
    store = AzureStore(CONTAINER, account_name=ACCOUNT, account_key=ACCOUNT_KEY)
    raw_key = base64.b64decode(ACCOUNT_KEY)
    start, expiry = _times(utc_now())

    def by_sdk(key: str) -> str:
        now = utc_now()
        query = generate_blob_sas(
            ACCOUNT,
            CONTAINER,
            key,
            account_key=ACCOUNT_KEY,
            permission=BlobSasPermissions(read=True),
            start=now - SKEW,
            expiry=now + LIFE,
            protocol="https",
        )
        return f"{BASE_URL}{key}?{query}"

    def by_floor(key: str) -> str:
        signed = f"r\n{start}\n{expiry}\n/blob/{ACCOUNT}/{CONTAINER}/{key}\n\n\nhttps\n{sas.VERSION}\nb\n\n\n\n\n\n\n"
        return _floor_url(key, start, expiry, "", hmac.digest(raw_key, signed.encode(), "sha256"))

    return Case(
        name=SERVICE,
        contenders=[
            Contender(
                name=PRESIGN,
                run=each(keys, lambda key: backend.sign_download(key, utc_now(), expires_in=LIFE)),
                note="AzureBackend.sign_download: the URL, as the others",
            ),
            Contender(
                name="presign, whole Put Blob",
                run=each(_grants(keys), lambda grant: backend.sign_upload(grant, utc_now())),
                note="AzureBackend.sign_upload: method, URL and headers too",
            ),
            Contender(name=FLOOR, run=each(keys, by_floor)),
            Contender(name=SDK, run=each(keys, by_sdk)),
            Contender(name="obstore", run=each(keys, lambda key: obstore.sign(store, "GET", key, LIFE))),
        ],
    )


def _delegation_case(keys: list[str]) -> Case:
    signed_start = signing_time(int(utc_now().timestamp())).iso
    signed_expiry = signing_time(int(utc_now().timestamp()) + DELEGATION_SECONDS).iso
    identity = {
        "signed_oid": str(uuid.uuid4()),
        "signed_tid": str(uuid.uuid4()),
        "signed_start": signed_start,
        "signed_expiry": signed_expiry,
        "signed_service": "b",
        "signed_version": sas.VERSION,
    }
    delegation_key = sas.DelegationKey(**identity, key=sas.decode_key(DELEGATION_KEY))
    sdk_key = UserDelegationKey()  # type: ignore[no-untyped-call]
    for name, value in identity.items():
        setattr(sdk_key, name, value)
    sdk_key.value = DELEGATION_KEY
    raw_key = base64.b64decode(DELEGATION_KEY)
    with mock.patch.object(BlobServiceClient, "get_user_delegation_key", return_value=sdk_key):
        backend = AzureBackend(container=CONTAINER, account_name=ACCOUNT, credential=_Identity())

    def by_sdk(key: str) -> str:
        now = utc_now()
        query = generate_blob_sas(
            ACCOUNT,
            CONTAINER,
            key,
            user_delegation_key=sdk_key,
            permission=BlobSasPermissions(read=True),
            start=now - SKEW,
            expiry=now + LIFE,
            protocol="https",
        )
        return f"{BASE_URL}{key}?{query}"

    def by_floor(key: str) -> str:
        signed = (
            f"r\n{signed_start}\n{signed_expiry}\n/blob/{ACCOUNT}/{CONTAINER}/{key}\n{delegation_key.fields}\n\n\n"
            f"\nhttps\n{sas.VERSION}\nb\n\n\n\n\n\n\n\n"
        )
        digest = hmac.digest(raw_key, signed.encode(), "sha256")
        return _floor_url(key, signed_start, signed_expiry, delegation_key.query, digest)

    return Case(
        name=DELEGATION,
        contenders=[
            Contender(
                name=PRESIGN,
                run=each(keys, lambda key: backend.sign_download(key, utc_now(), expires_in=LIFE)),
                note="AzureBackend.sign_download: the URL, as the others",
            ),
            Contender(
                name="presign, whole Put Blob",
                run=each(_grants(keys), lambda grant: backend.sign_upload(grant, utc_now())),
                note="AzureBackend.sign_upload: method, URL and headers too",
            ),
            Contender(name=FLOOR, run=each(keys, by_floor)),
            Contender(name=SDK, run=each(keys, by_sdk)),
        ],
    )


class _Identity:
    """An identity whose tokens nobody asks for."""

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        raise NotImplementedError


def _grants(keys: list[str]) -> list[Grant]:
    return [
        Grant(key=key, content_type="image/png", min_bytes=1, max_bytes=10 * 2**20, expires_in=LIFE) for key in keys
    ]


def _times(now: datetime) -> tuple[str, str]:
    second = int(now.timestamp())
    return signing_time(second - _SKEW_SECONDS).iso, signing_time(second + _LIFE_SECONDS).iso


def _floor_url(key: str, start: str, expiry: str, identity: str, digest: bytes) -> str:
    signature = quote(base64.b64encode(digest))
    return f"{BASE_URL}{key}?st={start}&se={expiry}&sp=r&spr=https&sv={sas.VERSION}&sr=b{identity}&sig={signature}"
