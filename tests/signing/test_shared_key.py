"""The account key's signature of a request: byte for byte that of azure-storage-blob."""

from __future__ import annotations

import base64
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobServiceClient, ContentSettings

from presign.signing.sas import decode_key
from presign.signing.shared_key import authorization

ACCOUNT = "myaccount"
KEY = base64.b64encode(bytes(range(64))).decode()
EXAMPLES = 1_000
NAME_CHARACTERS = "abcxyz019_."
KEY_CHARACTERS = [*"abcXYZ019-._~/ +&=?%!'()*,;:@$", *"äß中\U0001f408"]


class _Recorder(RequestsTransport):  # type: ignore[misc]
    """A transport that sends nothing, and keeps what it should have sent."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []

    def send(self, request: Any, **_: Any) -> Any:
        self.requests.append(request)
        raise ServiceRequestError("nothing is sent")


@pytest.fixture(params=[f"https://{ACCOUNT}.blob.core.windows.net", f"http://127.0.0.1:10000/{ACCOUNT}"])
def url(request: pytest.FixtureRequest) -> str:
    """The service's own URL, and an emulator's."""
    return str(request.param)


def test_a_request_is_signed_as_the_sdk_signs_it(url: str) -> None:
    transport = _Recorder()
    credential = AzureNamedKeyCredential(ACCOUNT, KEY)
    random = Random(7)
    service = BlobServiceClient(url, credential=credential, transport=transport, retry_total=0)
    for _ in range(EXAMPLES):
        _call(service, random)
    assert len(transport.requests) == EXAMPLES
    key = decode_key(KEY)
    for request in transport.requests:
        headers = {name.lower(): str(value) for name, value in request.headers.items()}
        expected = headers.pop("authorization")
        if headers.get("content-length") == "0":
            del headers["content-length"]
        # The SDK escapes a parameter's value when it makes the URL.
        target = urlsplit(request.url)
        ours = authorization(
            key,
            account=ACCOUNT,
            method=request.method,
            path=target.path,
            query=parse_qsl(target.query, keep_blank_values=True),
            headers=headers,
        )
        assert ours == expected, request.url


def _call(service: BlobServiceClient, random: Random) -> None:
    """Make one of the calls that a completion makes, with random arguments."""
    name = "".join(random.choices(KEY_CHARACTERS, k=random.randint(1, 20))).strip("/. ") or "k"
    etag: dict[str, Any] = {
        "etag": f'"0x{random.randrange(16**8):X}"',
        "match_condition": MatchConditions.IfNotModified,
    }
    blob = service.get_blob_client("uploads", name)
    metadata = {"".join(random.choices(NAME_CHARACTERS, k=random.randint(1, 6))): "a value" for _ in range(5)}
    settings = ContentSettings(content_type="image/png", content_disposition="inline", cache_control="no-store")
    calls: list[Any] = [
        lambda: blob.get_blob_properties(),
        lambda: blob.download_blob(random.randrange(9), 10, **etag),
        lambda: blob.delete_blob(delete_snapshots="include", **etag),
        lambda: blob.delete_blob(version_id="2026-11-23T12:00:00.0000000Z"),
        lambda: blob.upload_blob_from_url(
            "https://example.com/a?sig=b%2Bc", metadata=metadata, content_settings=settings, tags={"a": "b c"}
        ),
        lambda: blob.stage_block_from_url("block+/=", "https://example.com/a", source_offset=0, source_length=9),
        lambda: blob.commit_block_list([], metadata=metadata, content_settings=settings),
        lambda: next(service.get_container_client("uploads").list_blobs(name, include=["snapshots"]).by_page()),
    ]
    with pytest.raises(ServiceRequestError):
        random.choice(calls)()


def test_names_are_sorted_as_the_service_sorts_them() -> None:
    """From "Authorize with Shared Key" and the SDK's tables: hyphens count last, underscores before digits."""
    key = decode_key(KEY)
    names = ["x-ms-meta-a_b", "x-ms-meta-a1", "x-ms-metaa-a", "x-ms-meta-ab"]

    def signed(order: list[str]) -> str:
        headers = dict.fromkeys(order, "v")
        return authorization(key, account=ACCOUNT, method="GET", path="/a", query=[], headers=headers)

    assert signed(names) == signed(names[::-1])
    text = "GET\n" + "\n" * 11 + "".join(f"{name}:v\n" for name in names) + f"/{ACCOUNT}/a"
    assert signed(names) == f"SharedKey {ACCOUNT}:{base64.b64encode(key.digest(text.encode())).decode()}"
