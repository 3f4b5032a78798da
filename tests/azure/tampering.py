"""Changes to a signed upload that the storage must refuse, and those that it permits and completion must refuse."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from azure.storage.blob import ContentSettings

from emulators.azure_reference import KEY_FIELDS
from emulators.azurite import ACCOUNT_NAME
from emulators.wire import Attempt
from presign.backends.backend import ObjectHead
from tests.azure.accounts import (
    KEY,
    MINUTE,
    OBJECT_ID,
    PENDING_GRANT,
    PNG,
    TENANT_ID,
    Change,
    RunningAccount,
    utc_now,
)


def flipped(text: str) -> str:
    return ("A" if text[0] != "A" else "B") + text[1:]


def other_time(hours: int) -> str:
    return (utc_now() + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def without_headers(attempt: Attempt) -> Attempt:
    return replace(attempt, headers=())


TAMPERED: dict[str, Change] = {
    "more permissions": lambda a: a.with_parameter("sp", "cw"),
    "every permission": lambda a: a.with_parameter("sp", "racwd"),
    "other permissions": lambda a: a.with_parameter("sp", "w"),
    "no permissions": lambda a: a.without_parameter("sp"),
    "a later end": lambda a: a.with_parameter("se", other_time(2)),
    "no end": lambda a: a.without_parameter("se"),
    "an earlier start": lambda a: a.with_parameter("st", other_time(-2)),
    "no start": lambda a: a.without_parameter("st"),
    "the whole container": lambda a: a.with_parameter("sr", "c"),
    "a snapshot": lambda a: a.with_parameter("sr", "bs"),
    "a directory": lambda a: a.with_parameter("sr", "d"),
    "no resource": lambda a: a.without_parameter("sr"),
    "another signature": lambda a: a.with_parameter("sig", flipped(a.parameter("sig"))),
    "an empty signature": lambda a: a.with_parameter("sig", ""),
    "no signature": lambda a: a.without_parameter("sig"),
    "an older version": lambda a: a.with_parameter("sv", "2018-11-09"),
    "a newer version": lambda a: a.with_parameter("sv", "2024-11-04"),
    "no version": lambda a: a.without_parameter("sv"),
    "a range of addresses": lambda a: a.with_another_parameter("sip", "0.0.0.0-255.255.255.255"),
    "a stored policy": lambda a: a.with_another_parameter("si", "policy"),
    "an overridden type": lambda a: a.with_another_parameter("rsct", "text/html"),
    "an encryption scope": lambda a: a.with_another_parameter("ses", "scope"),
    "another blob": lambda a: a.with_path(f"/{ACCOUNT_NAME}/uploads/public/1"),
    "a blob above the prefix": lambda a: a.with_path(f"/{ACCOUNT_NAME}/uploads/1"),
    "a blob below": lambda a: a.with_path(f"/{ACCOUNT_NAME}/uploads/{KEY}/1"),
    "another container": lambda a: a.with_path(f"/{ACCOUNT_NAME}/other/{KEY}"),
    "reading": lambda a: a.with_method("GET").with_body(b""),
    "deleting": lambda a: a.with_method("DELETE").with_body(b""),
    "staging a block": lambda a: a.with_another_parameter("comp", "block").with_another_parameter("blockid", "MQ=="),
    "setting metadata": lambda a: without_headers(a).with_another_parameter("comp", "metadata").with_body(b""),
    "setting properties": lambda a: without_headers(a).with_another_parameter("comp", "properties").with_body(b""),
    "leasing": lambda a: (
        without_headers(a)
        .with_another_parameter("comp", "lease")
        .with_header("x-ms-lease-action", "acquire")
        .with_body(b"")
    ),
    "no blob type": lambda a: a.without_header("x-ms-blob-type"),
    "another digest": lambda a: a.with_header("x-ms-blob-content-md5", base64.b64encode(bytes(16)).decode()),
}
TAMPERED_KEYS: dict[str, Change] = {
    "another object": lambda a: a.with_parameter("skoid", TENANT_ID),
    "another tenant": lambda a: a.with_parameter("sktid", OBJECT_ID),
    "an earlier key": lambda a: a.with_parameter("skt", other_time(-1)),
    "a longer key": lambda a: a.with_parameter("ske", other_time(100)),
    "a key of another version": lambda a: a.with_parameter("skv", "2019-02-02"),
    "a key of another service": lambda a: a.with_parameter("sks", "q"),
    "any protocol": lambda a: a.with_parameter("spr", "https,http"),
    "no protocol": lambda a: a.without_parameter("spr"),
    **{f"no {name}": lambda a, name=name: a.without_parameter(name) for name in KEY_FIELDS},  # type: ignore[misc]
}


def put(attempt: Attempt, body: bytes = b"", **headers: str) -> Attempt:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return replace(attempt, headers=named, body=body)


def stores_html(account: RunningAccount, attempt: Attempt) -> Attempt:
    return put(attempt, b"<script>alert(1)</script>", x_ms_blob_type="BlockBlob", x_ms_blob_content_type="text/html")


def stores_60_megabytes(account: RunningAccount, attempt: Attempt) -> Attempt:
    return put(attempt, bytes(60_000_000), x_ms_blob_type="BlockBlob", x_ms_blob_content_type="image/png")


def stores_a_page_blob(account: RunningAccount, attempt: Attempt) -> Attempt:
    size = str(8 * 1024**4)
    return put(attempt, x_ms_blob_type="PageBlob", x_ms_blob_content_length=size, x_ms_blob_content_type="image/png")


def stores_a_copy_from_elsewhere(account: RunningAccount, attempt: Attempt) -> Attempt:
    account.blob("other", "page").upload_blob(PNG, content_settings=ContentSettings(content_type="image/png"))
    source = account.backend(container="other").sign_download("page", utc_now(), expires_in=MINUTE)
    return put(attempt, x_ms_copy_source=source, x_ms_requires_sync="true")


# What a ticket's signature permits beside the upload that it is for, and how a look shows it.
ABUSES: dict[Callable[[RunningAccount, Attempt], Attempt], Callable[[ObjectHead], bool]] = {
    stores_html: lambda head: head.content_type == "text/html",
    stores_60_megabytes: lambda head: head.size == 60_000_000 > PENDING_GRANT.max_bytes,
    stores_a_page_blob: lambda head: (
        (head.size, head.unexpected_headers["x-ms-blob-type"]) == (8 * 1024**4, "PageBlob")
    ),
    stores_a_copy_from_elsewhere: lambda head: head.unexpected_headers == {"x-ms-copy-status": "success"},
}
