"""What ``check`` finds out with one request, on Amazon S3 and on other stores."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import boto3
import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from emulators.s3_bucket import S3Bucket
from emulators.s3_reference import S3Reference
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from presign import ConfigurationError, Presigner, Rule, UploadPolicy
from presign.backends.connections import Connections
from presign.backends.knowledge import StoreKnowledge
from presign.s3 import S3Backend
from tests.conftest import TOKEN_SECRET
from tests.doctor.s3_store import Set, run_store
from tests.s3.broken_connections import broken

SESSION = boto3.Session(aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="a secret")


def _backend(**options: Any) -> S3Backend:
    values: dict[str, Any] = {"bucket": "my-bucket", "region": "eu-central-1", "session": SESSION}
    return S3Backend(**values | options)


class AnswersEmptyListings:
    """A store that answers a listing of no objects without a look at the bucket, as MinIO does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if b"max-keys=0" in scope.get("query_string", b""):
            empty = "<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>"
            await Response(empty, media_type="application/xml")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class NamesNoRegion:
    """A store that refuses another region without naming its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [pair for pair in message["headers"] if pair[0] != b"x-amz-bucket-region"]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_without)


def _reference(**buckets: S3Bucket) -> S3Reference:
    return S3Reference(buckets=buckets, access_keys={"AKIAEXAMPLE": HmacKey(secret="a secret")}, region="eu-central-1")


def test_a_missing_bucket_is_found_on_a_store_that_lists_no_objects_of_it() -> None:
    with serve(AnswersEmptyListings(_reference(**{"my-bucket": S3Bucket()}))) as url:
        _backend(endpoint_url=url).check()
        with pytest.raises(ConfigurationError, match="the bucket missing does not exist"):
            _backend(endpoint_url=url, bucket="missing").check()


def test_the_region_that_a_store_names_is_the_remedy_on_any_store() -> None:
    with (
        serve(_reference(**{"my-bucket": S3Bucket()})) as url,
        pytest.raises(ConfigurationError, match="is in eu-central-1, not in us-west-2") as caught,
    ):
        _backend(endpoint_url=url, region="us-west-2").check()
    assert (caught.value.field, caught.value.value, caught.value.limit) == ("region", "us-west-2", "eu-central-1")


def test_a_store_that_refuses_the_region_without_naming_its_own_is_no_success() -> None:
    with (
        serve(NamesNoRegion(_reference(**{"my-bucket": S3Bucket()}))) as url,
        pytest.raises(ConfigurationError, match="refuses the region us-west-2") as caught,
    ):
        _backend(endpoint_url=url, region="us-west-2").check()
    assert caught.value.field == "region"


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket"])
def test_a_store_that_names_a_region_in_each_answer_may_forbid_the_list(code: str) -> None:
    """Its answer shows that it accepts the region: it has verified the signature."""

    async def forbid(scope: Scope, receive: Receive, send: Send) -> None:
        body = f"<Error><Code>{code}</Code><Region>us-east-1</Region></Error>"
        await Response(body, status_code=403 if code == "AccessDenied" else 404)(scope, receive, send)

    with serve(forbid) as url:
        if code == "AccessDenied":
            _backend(endpoint_url=url).check()
        else:
            with pytest.raises(ConfigurationError, match="does not exist"):
                _backend(endpoint_url=url).check()


@pytest.mark.parametrize("host", ["account.r2.cloudflarestorage.com", "s3.eu-central-003.backblazeb2.com"])
def test_forms_for_a_store_that_has_none_are_refused_before_the_first_upload(host: str) -> None:
    with pytest.raises(ConfigurationError, match="has no POST forms; set upload_method=put") as caught:
        _backend(endpoint_url=f"https://{host}", upload_method="post").check()
    assert caught.value.field == "upload_method"


def test_forms_of_which_the_doctor_has_learned_nothing_are_refused_with_that_reason() -> None:
    put = frozenset({Rule.TYPE})
    learned = StoreKnowledge(storage="s3://my-bucket", host="minio.example.com", shown={"put": put})
    with pytest.raises(ConfigurationError, match="learned shows no POST form that worked") as caught:
        _backend(endpoint_url="https://minio.example.com", upload_method="post", learned=learned).check()
    assert caught.value.field == "upload_method"


@pytest.mark.parametrize(("seconds", "is_late"), [(90, True), (30, False), (-90, False)])
def test_a_clock_that_is_slow_by_more_than_a_ticket_lasts_is_found_at_the_start(seconds: int, is_late: bool) -> None:
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=100, prefix="public/")
    with run_store(Set(ahead=timedelta(seconds=seconds))) as running:
        presigner = Presigner(backend=running.backend(), policy=policy, secret=TOKEN_SECRET)
        if is_late:
            with pytest.raises(
                ConfigurationError, match=r"clock is \d+ seconds slow, and tickets last for 60"
            ) as caught:
                presigner.check()
            assert caught.value.field == "clock"
        else:
            presigner.check()
        long_lived = replace(policy, expires_in=timedelta(minutes=10))
        Presigner(backend=running.backend(), policy=long_lived, secret=TOKEN_SECRET).check()
        running.backend().check()


def test_a_check_through_boto3_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connections, "send", broken)
    with serve(_reference(**{"my-bucket": S3Bucket()})) as url:
        _backend(endpoint_url=url).check()
        with pytest.raises(ConfigurationError, match="the bucket missing does not exist"):
            _backend(endpoint_url=url, bucket="missing").check()
