"""What a client can do wrong with the parts of a large file, over HTTP: each has its answer, and nothing is public."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from presign import Presigner, UploadPolicy
from presign.testing import MemoryBackend, RefusedByStorage
from tests.adapters.serving import ADAPTERS
from tests.conftest import PNG, TOKEN_SECRET

PART_BYTES = 40
FILE = PNG.ljust(PART_BYTES, b"a") + b"b" * PART_BYTES + b"the last part"
PARTS = [FILE[start : start + PART_BYTES] for start in range(0, len(FILE), PART_BYTES)]


@contextmanager
def _client(backend: MemoryBackend, **policy: Any) -> Iterator[httpx.Client]:
    rules: dict[str, Any] = {
        "content_types": {"image/png"},
        "max_bytes": 100_000,
        "prefix": "public/",
        "parts_from_bytes": PART_BYTES,
        "part_bytes": PART_BYTES,
    }
    presigner = Presigner(name="videos", backend=backend, policy=UploadPolicy(**rules | policy), secret=TOKEN_SECRET)
    with (
        ADAPTERS["asgi"]([presigner], lambda user: user) as url,
        httpx.Client(base_url=f"{url}/videos", headers={"X-User": "alice"}, timeout=60) as client,
    ):
        yield client


def _ticket(client: httpx.Client, **members: Any) -> Any:
    answer = client.post("upload", json={"type": "image/png", "size": len(FILE), **members})
    assert answer.status_code == 200, answer.text
    return answer.json()


def _refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_of_10000_parts_the_last_one_is_signed_all_are_listed_and_1000_missing_ones_are_named() -> None:
    backend = MemoryBackend()
    with _client(backend) as client:
        ticket = _ticket(client, size=10_000, part_size=1)
        token = {"token": ticket["token"]}
        assert ticket["parts"]["count"] == 10_000
        (last,) = client.post("parts", json={**token, "numbers": [10_000]}).json()["requests"]
        outside = client.post("parts", json={**token, "numbers": [10_001]})
        assert (*_refusal(outside), outside.json()["limit"]) == (400, "invalid_request", 10_000)
        missing = client.post("complete", json=token)
        assert _refusal(missing) == (409, "parts_missing")
        assert (missing.json()["numbers"], missing.json()["value"]) == (list(range(1, 1001)), 10_000)
        backend.upload_part(last, b"z")
        body = PNG.ljust(9_999, b"a")
        for start in range(0, 9_999, 100):
            numbers = list(range(start + 1, min(start + 100, 9_999) + 1))
            for request in client.post("parts", json={**token, "numbers": numbers}).json()["requests"]:
                backend.upload_part(request, body[request["number"] - 1 :][:1])
        assert client.post("parts/list", json=token).json()["numbers"] == list(range(1, 10_001))
        stored = client.post("complete", json=token).json()
        assert backend.objects[stored["key"]].content == body + b"z"


@pytest.mark.parametrize(("part_size", "limit"), [(1, 2), (5 * 1024**3 + 1, 5 * 1024**3)])
def test_parts_that_are_too_many_or_too_large_are_refused_with_the_nearest_size(part_size: int, limit: int) -> None:
    with _client(MemoryBackend()) as client:
        answer = client.post("upload", json={"type": "image/png", "size": 50_001, "part_size": part_size})
        assert (*_refusal(answer), answer.json()["field"], answer.json()["limit"]) == (
            400,
            "invalid_request",
            "part_size",
            limit,
        )


def test_a_file_of_no_bytes_is_too_small_or_comes_in_one_request() -> None:
    with _client(MemoryBackend(), parts_from_bytes=1) as client:
        answer = client.post("upload", json={"type": "image/png", "size": 0})
        assert _refusal(answer) == (422, "too_small")
    with _client(MemoryBackend(), parts_from_bytes=1, min_bytes=0, verify_content=False) as client:
        ticket = _ticket(client, size=0)
        assert "parts" not in ticket
        assert client.post("parts", json={"token": ticket["token"], "numbers": [1]}).json()["code"] == "invalid_token"


@pytest.mark.parametrize("ends", ["aborted", "forgotten"])
def test_an_upload_that_ends_while_its_parts_are_sent_is_ended_for_every_request(ends: str) -> None:
    backend = MemoryBackend()
    with _client(backend) as client:
        ticket = _ticket(client)
        token = {"token": ticket["token"]}
        first, second, _ = ticket["parts"]["requests"]
        backend.upload_part(first, PARTS[0])
        if ends == "aborted":
            assert client.post("abort", json=token).json() == {}
        else:
            (upload,) = backend.parts.list_uploads("pending/")
            backend.parts.sweep(upload)
        with pytest.raises(RefusedByStorage, match="no such upload"):
            backend.upload_part(second, PARTS[1])
        for path in ("parts/list", "complete"):
            assert _refusal(client.post(path, json=token)) == (410, "upload_ended")
        assert client.post("abort", json=token).json() == {}
        assert backend.objects == {}


def test_parts_with_another_digest_than_the_ticket_allows_are_deleted_at_completion() -> None:
    backend = MemoryBackend()
    digests = [hashlib.sha256(part).digest() for part in PARTS]
    digest = {"part_size": PART_BYTES, "sha256": hashlib.sha256(b"".join(digests)).hexdigest()}
    with _client(backend) as client:
        ticket = _ticket(client, parts_digest=digest)
        assert ticket["enforced"]["checksum"] == "completion"
        token = {"token": ticket["token"]}
        sent = [*PARTS[:2], PARTS[2][::-1]]
        body = {**token, "numbers": [1, 2, 3], "sha256": [hashlib.sha256(part).hexdigest() for part in sent]}
        requests = client.post("parts", json=body).json()["requests"]
        with pytest.raises(RefusedByStorage, match="SHA-256"):
            backend.upload_part(requests[2], PARTS[2])
        for request, part in zip(requests, sent, strict=True):
            backend.upload_part(request, part)
        refused = client.post("complete", json=token)
        assert (*_refusal(refused), refused.json()["rule"]) == (422, "rule_violated", "checksum")
        assert backend.objects == {}
        assert _refusal(client.post("complete", json=token)) == (410, "upload_ended")


def test_a_part_that_is_sent_twice_counts_once_and_as_it_came_last() -> None:
    backend = MemoryBackend()
    with _client(backend) as client:
        ticket = _ticket(client)
        for request, part in zip(ticket["parts"]["requests"], PARTS, strict=True):
            backend.upload_part(request, b"x" * len(part))
            backend.upload_part(request, part)
        token = {"token": ticket["token"]}
        assert client.post("parts/list", json=token).json()["numbers"] == [1, 2, 3]
        assert backend.objects[client.post("complete", json=token).json()["key"]].content == FILE
