from __future__ import annotations

import time
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from emulators.bucket_readiness import PROBE_KEY, wait_until_bucket_takes_objects
from emulators.processes import StartFailed
from emulators.serving import serve

LISTING = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult><Name>b</Name><KeyCount>{count}</KeyCount>{contents}</ListBucketResult>"""
CONTENTS = "<Contents><Key>{key}</Key><Size>{size}</Size></Contents>"


class SlowStore:
    """An S3 server whose bucket takes no objects at first: every method answers 500 a number of times."""

    def __init__(self, *, failures: int, status: int = 500, objects: dict[str, bytes] | None = None) -> None:
        self.objects = dict(objects or {})
        self.answered: list[tuple[str, str, int]] = []
        self._status = status
        self._failures = dict.fromkeys(("PUT", "GET", "DELETE"), failures)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = self._answer(request.method, request.url.path.removeprefix("/b").strip("/"), await request.body())
        self.answered.append((request.method, request.url.path, response.status_code))
        await response(scope, receive, send)

    def _answer(self, method: str, key: str, body: bytes) -> Response:
        if method == "GET" and not key:
            contents = "".join(CONTENTS.format(key=key, size=len(value)) for key, value in self.objects.items())
            return Response(LISTING.format(count=len(self.objects), contents=contents), media_type="application/xml")
        if self._failures[method] > 0:
            self._failures[method] -= 1
            return Response(status_code=self._status)
        if method == "PUT":
            self.objects[key] = body
            return Response(headers={"ETag": '"1"'})
        if method == "DELETE":
            self.objects.pop(key)
            return Response(status_code=204)
        return Response(self.objects[key])


def client(url: str) -> Any:
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    session = boto3.Session(aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1")
    return session.client("s3", endpoint_url=url, config=config)


def test_a_bucket_is_ready_once_an_object_was_stored_and_read_back_and_nothing_stays() -> None:
    store = SlowStore(failures=5)
    with serve(store) as url:
        wait_until_bucket_takes_objects(client(url), "b")
    succeeded = [(method, path) for method, path, status in store.answered if status < 300]
    assert succeeded[-3:] == [(method, f"/b/{PROBE_KEY}") for method in ("PUT", "GET", "DELETE")]
    assert len([status for _, _, status in store.answered if status == 500]) == 15
    assert store.objects == {}


def test_a_bucket_with_objects_is_ready_only_when_they_can_be_read() -> None:
    store = SlowStore(failures=3, objects={"empty": b"", "earlier": b"content"})
    with serve(store) as url:
        wait_until_bucket_takes_objects(client(url), "b")
    reads = [(path, status) for method, path, status in store.answered if method == "GET" and path == "/b/earlier"]
    assert reads == [("/b/earlier", 500)] * 3 + [("/b/earlier", 200)]
    assert set(store.objects) == {"empty", "earlier"}


def test_a_bucket_that_never_takes_objects_is_a_sentence_with_its_name() -> None:
    with (
        serve(SlowStore(failures=10**9)) as url,
        pytest.raises(StartFailed, match=r"the store takes no objects in the bucket b: .*500"),
    ):
        wait_until_bucket_takes_objects(client(url), "b", timeout_seconds=0.3)


def test_an_answer_that_time_does_not_change_is_raised_at_once() -> None:
    started = time.monotonic()
    with serve(SlowStore(failures=10**9, status=403)) as url, pytest.raises(ClientError, match="403"):
        wait_until_bucket_takes_objects(client(url), "b")
    assert time.monotonic() - started < 30
