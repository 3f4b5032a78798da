"""Shared access signatures: byte for byte those of azure-storage-blob, and of the documented fields where it has none.

azure-storage-blob signs its own newest version alone: 16 fields with an account key, 28 with a user delegation key. The
24 and 26 fields of earlier versions come from its string to sign without the fields that came later, and Azurite
accepts them in tests/azure/test_uploads.py. Bound request headers (`srh`) are parity only: no server that runs offline
checks them, but the verifier in emulators/, which was written from the documentation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import parse_qsl, quote
from uuid import UUID

import pytest
from azure.storage.blob import UserDelegationKey, generate_blob_sas
from azure.storage.blob._serialize import _SUPPORTED_API_VERSIONS

from presign.errors import ConfigurationError
from presign.signing import sas
from presign.signing.hmac_sha256 import HmacSha256Key

SDK_VERSION = _SUPPORTED_API_VERSIONS[-1]
EXAMPLES = 10_000
DELEGATED_USER, BOUND = slice(13, 15), slice(21, 23)

# Printable ASCII often, for what quoting has to tell apart; and Latin, Greek, Chinese and a character beyond 16 bits.
CHARACTERS = [chr(code) for code in range(32, 127)] * 3 + [*"¡éßŁžƒλΩ中文\U0001f408"]
HEADER_NAMES = [
    "content-type",
    "content-length",
    "content-md5",
    "x-ms-blob-type",
    "x-ms-blob-content-type",
    "x-ms-blob-content-disposition",
    "x-ms-blob-cache-control",
    "x-ms-meta-a",
    "x-ms-meta-a_b",
]

SIGNATURE = {
    "account": "myaccount",
    "container": "uploads",
    "blob": "public/cat.png",
    "permissions": "c",
    "start": "2026-01-02T03:04:05Z",
    "expiry": "2026-01-02T03:05:05Z",
    "protocol": "https",
    "content_disposition": "",
}
DELEGATION_KEY = {
    "signed_oid": "11111111-1111-1111-1111-111111111111",
    "signed_tid": "22222222-2222-2222-2222-222222222222",
    "signed_start": "2026-01-01T00:00:00Z",
    "signed_expiry": "2026-01-08T00:00:00Z",
    "signed_service": "b",
    "signed_version": "2020-12-06",
    "value": base64.b64encode(b"delegation key of the tests").decode(),
}


def generated(test: str) -> Iterator[Random]:
    """One source of inputs for each case, the same in every run."""
    return (Random(f"{test} {case}") for case in range(EXAMPLES))


def text(random: Random, longest: int, alphabet: Sequence[str] = CHARACTERS) -> str:
    return "".join(random.choices(alphabet, k=random.randint(1, longest)))


def moment(random: Random) -> str:
    return (datetime(2020, 12, 6) + timedelta(seconds=random.randrange(2_500_000_000))).isoformat() + "Z"


def base64_key(random: Random) -> str:
    return base64.b64encode(random.randbytes(random.randint(1, 80))).decode()


def signature(random: Random) -> dict[str, str]:
    return {
        "account": text(random, 24, "abcdefghijklmnopqrstuvwxyz0123456789"),
        "container": random.choice(["$web", "$root", text(random, 63, "abcdefghijklmnopqrstuvwxyz0123456789-")]),
        "blob": text(random, 60),
        "permissions": random.choice(["c", "r", "cw", "racwd", "d"]),
        "start": moment(random),
        "expiry": moment(random),
        "protocol": random.choice(["", "https"]),
        "content_disposition": random.choice(["", text(random, 40)]),
    }


def delegation_key(random: Random) -> dict[str, str]:
    return {
        "signed_oid": str(UUID(int=random.getrandbits(128))),
        "signed_tid": str(UUID(int=random.getrandbits(128))),
        "signed_start": moment(random),
        "signed_expiry": moment(random),
        "signed_service": "b",
        "signed_version": random.choice(_SUPPORTED_API_VERSIONS),
        "value": base64_key(random),
    }


def request_headers(random: Random) -> dict[str, str]:
    return {name: text(random, 30) for name in random.sample(HEADER_NAMES, random.randint(0, len(HEADER_NAMES)))}


def own_sas(
    signature: dict[str, str],
    key: HmacSha256Key | sas.DelegationKey,
    *,
    version: str,
    request_headers: dict[str, str] | None = None,
) -> str:
    names = ("account", "container", "permissions", "start", "expiry", "protocol", "content_disposition")
    shared = {name: signature[name] for name in names}
    signer = sas.SasSigner(key, version=version, request_headers=request_headers, **shared)
    return signer.sign(signature["blob"])


def sdk_arguments(signature: dict[str, str]) -> dict[str, Any]:
    return {
        "account_name": signature["account"],
        "container_name": signature["container"],
        "blob_name": signature["blob"],
        "permission": signature["permissions"],
        "start": signature["start"],
        "expiry": signature["expiry"],
        "protocol": signature["protocol"] or None,
        "content_disposition": signature["content_disposition"] or None,
    }


def own_key(fields: dict[str, str]) -> sas.DelegationKey:
    named = {name: value for name, value in fields.items() if name != "value"}
    return sas.DelegationKey(key=sas.decode_key(fields["value"]), **named)


def sdk_key(fields: dict[str, str]) -> UserDelegationKey:
    key = UserDelegationKey()  # type: ignore[no-untyped-call]
    for name, value in fields.items():
        setattr(key, name, value)
    return key


def signature_of(string_to_sign: str, key: str) -> str:
    digest = hmac.digest(base64.b64decode(key), string_to_sign.encode(), "sha256")
    return base64.b64encode(digest).decode()


def test_a_service_sas_is_that_of_the_sdk() -> None:
    for random in generated("service"):
        fields, key = signature(random), base64_key(random)
        expected = generate_blob_sas(account_key=key, **sdk_arguments(fields))
        own = own_sas(fields, sas.decode_key(key), version=SDK_VERSION)
        assert own == expected, fields


def test_a_user_delegation_sas_of_every_version_is_that_of_the_sdk() -> None:
    for random in generated("user delegation"):
        fields, key, headers = signature(random), delegation_key(random), request_headers(random)
        strings_to_sign: list[str] = []
        expected = generate_blob_sas(
            user_delegation_key=sdk_key(key),
            request_headers=headers or None,
            sts_hook=strings_to_sign.append,
            **sdk_arguments(fields),
        )
        own = own_key(key)
        newest = own_sas(fields, own, version=SDK_VERSION, request_headers=headers)
        assert newest == expected, fields

        bound = "".join(f"{name}:{value}\n" for name, value in headers.items())
        unbound = strings_to_sign[0].replace(f"\n{bound}\n", "\n\n", 1) if bound else strings_to_sign[0]
        # What the same request signed before headers could be bound, and before there was a delegated user.
        for version, later in (("2025-07-05", [BOUND]), ("2020-12-06", [BOUND, DELEGATED_USER])):
            earlier = unbound.split("\n")
            assert len(earlier) == 28
            earlier[17] = version
            for span in later:
                assert earlier[span] == ["", ""]
                del earlier[span]
            query = own_sas(fields, own, version=version)
            sent = expected.partition("&srh=")[0].partition("&sig=")[0].replace(f"sv={SDK_VERSION}", f"sv={version}", 1)
            assert query == f"{sent}&sig={quote(signature_of(chr(10).join(earlier), key['value']))}", fields


def test_a_service_sas_signs_the_sixteen_documented_fields() -> None:
    key = base64.b64encode(b"account key of the tests").decode()
    string_to_sign = "\n".join(
        [
            "r",  # sp
            "2026-01-02T03:04:05Z",  # st
            "2026-01-02T03:05:05Z",  # se
            "/blob/myaccount/uploads/public/a b.png",
            "",  # si
            "",  # sip
            "https",  # spr
            "2020-12-06",  # sv
            "b",  # sr
            "",  # snapshot
            "",  # ses
            "",  # rscc
            'attachment; filename="a b.png"',  # rscd
            "",  # rsce
            "",  # rscl
            "",  # rsct
        ]
    )
    signer = sas.SasSigner(
        sas.decode_key(key),
        account="myaccount",
        container="uploads",
        permissions="r",
        start="2026-01-02T03:04:05Z",
        expiry="2026-01-02T03:05:05Z",
        protocol="https",
        content_disposition='attachment; filename="a b.png"',
    )
    assert signer.sign("public/a b.png") == (
        "st=2026-01-02T03%3A04%3A05Z&se=2026-01-02T03%3A05%3A05Z&sp=r&spr=https&sv=2020-12-06&sr=b"
        "&rscd=attachment%3B%20filename%3D%22a%20b.png%22"
        f"&sig={quote(signature_of(string_to_sign, key))}"
    )


@pytest.mark.parametrize(("version", "field_count"), [("2020-12-06", 24), ("2025-07-05", 26), ("2026-04-06", 28)])
def test_a_user_delegation_sas_signs_the_documented_fields_of_its_version(version: str, field_count: int) -> None:
    later = {24: [], 26: ["", ""], 28: ["", ""]}[field_count]
    bound = ["", ""] if field_count == 28 else []
    fields = [
        *["c", "2026-01-02T03:04:05Z", "2026-01-02T03:05:05Z", "/blob/myaccount/uploads/public/cat.png"],
        *["11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"],  # skoid, sktid
        *["2026-01-01T00:00:00Z", "2026-01-08T00:00:00Z", "b", "2020-12-06"],  # skt, ske, sks, skv
        *["", "", ""],  # saoid, suoid, scid
        *later,  # skdutid, sduoid
        *["", "https", version, "b", "", ""],  # sip, spr, sv, sr, snapshot, ses
        *bound,  # srh, srq
        *["", "", "", "", ""],  # rscc, rscd, rsce, rscl, rsct
    ]
    assert len(fields) == field_count
    query = own_sas(SIGNATURE, own_key(DELEGATION_KEY), version=version)
    assert dict(parse_qsl(query))["sig"] == signature_of("\n".join(fields), DELEGATION_KEY["value"])


def test_bound_headers_are_signed_with_their_values_and_named_without() -> None:
    headers = {"content-type": "image/png", "content-length": "20"}
    query = own_sas(SIGNATURE, own_key(DELEGATION_KEY), version="2026-04-06", request_headers=headers)
    string_to_sign = (
        "c\n2026-01-02T03:04:05Z\n2026-01-02T03:05:05Z\n/blob/myaccount/uploads/public/cat.png\n"
        "11111111-1111-1111-1111-111111111111\n22222222-2222-2222-2222-222222222222\n"
        "2026-01-01T00:00:00Z\n2026-01-08T00:00:00Z\nb\n2020-12-06\n\n\n\n\n\n\nhttps\n2026-04-06\nb\n\n\n"
        "content-type:image/png\ncontent-length:20\n\n\n\n\n\n\n"
    )
    assert "&srh=content-type,content-length&sig=" in query
    assert dict(parse_qsl(query))["sig"] == signature_of(string_to_sign, DELEGATION_KEY["value"])
    assert "image" not in query


@pytest.mark.parametrize("version", ["2020-12-06", "2025-07-05", "2026-02-06"])
def test_a_version_that_cannot_bind_headers_refuses_to(version: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        own_sas(SIGNATURE, own_key(DELEGATION_KEY), version=version, request_headers={"a": "b"})
    assert (caught.value.field, caught.value.value, caught.value.limit) == ("version", version, "2026-04-06")


def test_an_account_key_refuses_to_bind_headers() -> None:
    key = sas.decode_key(DELEGATION_KEY["value"])
    with pytest.raises(ConfigurationError, match="user delegation key"):
        own_sas(SIGNATURE, key, version="2026-04-06", request_headers={"a": "b"})


@pytest.mark.parametrize("kind", ["service", "user delegation"])
def test_a_signer_of_many_blobs_signs_each_as_if_it_were_the_only_one(kind: str) -> None:
    key = sas.decode_key(DELEGATION_KEY["value"]) if kind == "service" else own_key(DELEGATION_KEY)
    shared: dict[str, Any] = {name: value for name, value in SIGNATURE.items() if name != "blob"}
    blobs = [f"public/{number}" for number in range(100)]
    signer = sas.SasSigner(key, **shared)
    together = [signer.sign(blob) for blob in blobs]
    assert together == [sas.SasSigner(key, **shared).sign(blob) for blob in blobs]
    assert len(set(together)) == len(blobs)


@pytest.mark.parametrize("key", ["", "base64, not", "YWJj*", "YWJ", "ключ", "=", " "])
def test_a_key_that_is_not_base64_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        sas.decode_key(key)
    assert caught.value.value is None
    assert len(key) < 2 or key not in str(caught.value)


def test_neither_a_key_nor_its_owner_is_shown() -> None:
    key = own_key(DELEGATION_KEY)
    for secret in (DELEGATION_KEY["value"], DELEGATION_KEY["signed_oid"], DELEGATION_KEY["signed_tid"]):
        assert secret not in repr(key)
    assert repr(sas.decode_key(DELEGATION_KEY["value"])) == "HmacSha256Key(...)"


def test_a_decoded_key_signs_with_the_bytes_and_not_with_their_base64() -> None:
    expected = hmac.new(b"key", b"message", hashlib.sha256).digest()
    own = sas.decode_key(base64.b64encode(b"key").decode())
    assert isinstance(own, HmacSha256Key)
    assert own.digest(b"message") == expected
