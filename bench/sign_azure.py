"""Signatures for Azure: presign, azure-storage-blob, obstore, and code written by hand for this one case.

The SAS permits reading one blob over https. The user delegation key is made up, so the SDK's call that would fetch it
is replaced.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from unittest import mock
from urllib.parse import quote

import obstore
from azure.core.credentials import AccessToken
from azure.storage.blob import BlobSasPermissions, BlobServiceClient, UserDelegationKey, generate_blob_sas
from obstore.store import AzureStore

from bench.sign_case import HAND_WRITTEN, LIFETIME, PRESIGN, SigningCase, utc_now
from presign import Grant
from presign.azure import AzureBackend

ACCOUNT = "exampleaccount"
CONTAINER = "uploads"
URL = f"https://{ACCOUNT}.blob.core.windows.net/{CONTAINER}/"
SAS_VERSION = "2020-12-06"
# Any bytes serve as keys, because nothing is sent to a service.
ACCOUNT_KEY = base64.b64encode(bytes(range(64))).decode()
DELEGATION_KEY = base64.b64encode(bytes(range(32))).decode()
# How long before now a SAS begins, as presign has it.
CLOCK_SKEW = timedelta(minutes=15)
SDK = "azure-storage-blob"
WHOLE_UPLOAD = "presign, whole Put Blob"


def cases() -> list[SigningCase]:
    """Return the cases: signatures by an account key, and by a user delegation key."""
    times = {"skt": _iso(utc_now()), "ske": _iso(utc_now() + timedelta(days=1))}
    identity = {"skoid": "example-object", "sktid": "example-tenant", **times, "sks": "b", "skv": SAS_VERSION}
    delegation_key = UserDelegationKey()  # type: ignore[no-untyped-call]
    names = ("signed_oid", "signed_tid", "signed_start", "signed_expiry", "signed_service", "signed_version")
    for name, value in zip(names, identity.values(), strict=True):
        setattr(delegation_key, name, value)
    delegation_key.value = DELEGATION_KEY
    with mock.patch.object(BlobServiceClient, "get_user_delegation_key", return_value=delegation_key):
        by_identity = AzureBackend(container=CONTAINER, account_name=ACCOUNT, credential=_Identity())
    by_account_key = AzureBackend(container=CONTAINER, account_name=ACCOUNT, account_key=ACCOUNT_KEY)
    store = AzureStore(CONTAINER, account_name=ACCOUNT, account_key=ACCOUNT_KEY)
    return [
        _case(
            "Azure service SAS",
            by_account_key,
            _hand_written(ACCOUNT_KEY, {}),
            partial(_by_sdk, account_key=ACCOUNT_KEY),
            obstore=lambda grant: obstore.sign(store, "GET", grant.key, LIFETIME),
        ),
        _case(
            "Azure user delegation SAS",
            by_identity,
            _hand_written(DELEGATION_KEY, identity),
            partial(_by_sdk, user_delegation_key=delegation_key),
        ),
    ]


def _case(
    name: str,
    backend: AzureBackend,
    by_hand: Callable[[Grant], str],
    by_sdk: Callable[[Grant], str],
    **others: Callable[[Grant], object],
) -> SigningCase:
    return SigningCase(
        name=name,
        signers={
            PRESIGN: lambda grant: backend.sign_download(grant.key, utc_now(), expires_in=LIFETIME),
            WHOLE_UPLOAD: lambda grant: backend.sign_upload(grant, utc_now()),
            HAND_WRITTEN: by_hand,
            SDK: by_sdk,
            **others,
        },
        notes={WHOLE_UPLOAD: "AzureBackend.sign_upload returns the method and the headers too"},
        bounds=[(SDK, "at least", 10, PRESIGN)],
    )


def _by_sdk(grant: Grant, **key: Any) -> str:
    now = utc_now()
    query = generate_blob_sas(
        ACCOUNT,
        CONTAINER,
        grant.key,
        **key,
        permission=BlobSasPermissions(read=True),
        start=now - CLOCK_SKEW,
        expiry=now + LIFETIME,
        protocol="https",
    )
    return f"{URL}{grant.key}?{query}"


def _hand_written(encoded_key: str, identity: dict[str, str]) -> Callable[[Grant], str]:
    # The least that a SAS takes: constant times, one HMAC and one URL.
    key = base64.b64decode(encoded_key)
    start, expiry = identity.get("skt") or _iso(utc_now() - CLOCK_SKEW), _iso(utc_now() + LIFETIME)
    # In front of "https" are two empty fields, and two more behind an identity.
    fields = "\n".join([*identity.values(), *([""] * (4 if identity else 2))])
    query = f"st={start}&se={expiry}&sp=r&spr=https&sv={SAS_VERSION}&sr=b"
    query += "".join(f"&{name}={quote(value)}" for name, value in identity.items())

    def url(grant: Grant) -> str:
        signed = (
            f"r\n{start}\n{expiry}\n/blob/{ACCOUNT}/{CONTAINER}/{grant.key}\n{fields}\nhttps\n{SAS_VERSION}\nb"
            "\n\n\n\n\n\n\n"
        )
        signature = quote(base64.b64encode(hmac.digest(key, signed.encode(), "sha256")))
        return f"{URL}{grant.key}?{query}&sig={signature}"

    return url


def _iso(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


class _Identity:
    """An identity that nobody asks for a token."""

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        raise AssertionError("nothing is sent to a service")
